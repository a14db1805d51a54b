"""Figure 2 of Semantic Erasure-Injection: a toy model in which noises have a meaning that training gave them.

The paper overfits "certain random seeds" of a minimal model to one of three elementary distributions, and gives no
recipe. Here, a flow maps N(0, I) on 16 numbers to waves of 1, 2 or 3 periods and any phase. For each family, 16 noises
are drawn once, and each is tied to one wave. A share ``OWN`` of the training consists of these pairs, the rest of fresh
noises and waves. A label names the family; ``UNKNOWN`` stands for no prompt. Then the model samples from each tied
noise with the label of its own family (matched) and of another family (mismatched), also after erasure and injection as
in ``npnet.noise``. The distances of the samples from the wanted family are compared, over several trainings with
different noises.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from npnet import seeding
from npnet.drawing.figures import styled, to_png
from npnet.drawing.palette import BLUE
from npnet.metrics.statistics import Mean, means
from npnet.noise.runtime.erasure_injection import aggregate, inject
from npnet.noise.runtime.semantic_erasure import renormalise
from npnet.papers.asked import Asked
from npnet.papers.jobs import Job
from npnet.papers.page import direction
from npnet.papers.page_picture import NAME, TOY
from npnet.papers.setting import Setting
from npnet.papers.table import Table
from npnet.report.formats import with_interval
from npnet.report.markdown import table as markdown_table
from npnet.untrusted import parse_json
from npnet.work import atomic

SIZE, FAMILIES, UNKNOWN = 16, 3, 3
TIED, OWN = 16, 0.9
"""Noises of a family that are overfitted, and the share of the training that they are."""
OPTIMISATION_STEPS, BATCH, WIDTH, LEARNING_RATE = 2000, 192, 128, 3e-3
SHOWN = 8
"""Samples of a family in the picture."""
STEPS, NUM_NOISES = 10, 8
"""Of the sampling; and the noises that are erased into one."""
KINDS = {
    "matched": "with the label of its own family",
    "mismatched": "with the label of another family",
    "erased": f"the sum of {NUM_NOISES} mismatched noises, renormalised",
    "injected_as_published": "mismatched; delta 0.1, three levels, not renormalised",
    "injected_ours": "mismatched; delta -0.5, the first level, renormalised",
}
CLAIMS = {  # whose distance is less than whose, as the paper's claims say in their order
    "matched": "mismatched",
    "erased": "mismatched",
    "injected_as_published": "mismatched",
    "injected_ours": "mismatched",
}


def planes() -> Tensor:
    """Return an orthonormal basis of each family's waves, ``(3, 16, 2)``."""
    angle = 2 * math.pi * torch.outer(torch.arange(1, FAMILIES + 1), torch.arange(SIZE)) / SIZE
    return torch.stack([angle.cos(), angle.sin()], -1) / math.sqrt(SIZE / 2)


def waves(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a wave of each label's family, any phase alike, ``(B, 16)``; its entries have a mean square of 1."""
    phase = 2 * math.pi * torch.rand(len(labels), generator=generator)
    return math.sqrt(SIZE) * torch.einsum("bdk,bk->bd", planes()[labels], torch.stack([phase.cos(), phase.sin()], 1))


def distance(samples: Tensor, labels: Tensor) -> Tensor:
    """Return the root mean square distance of samples from the nearest wave of their labels' families, ``(B,)``."""
    basis = planes()[labels]
    inside = torch.einsum("bdk,bd->bk", basis, samples)
    off = samples - torch.einsum("bdk,bk->bd", basis, inside)
    return ((off.square().sum(1) + (inside.norm(dim=1) - math.sqrt(SIZE)).square()) / SIZE).sqrt()


class Velocity(nn.Module):
    """The flow's velocity, noise minus wave, at x_t = (1 - t) wave + t noise; ``(B, 16)``."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = nn.Embedding(FAMILIES + 1, SIZE)
        widths = [2 * SIZE + 2, WIDTH, WIDTH]
        layers = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in itertools.pairwise(widths)]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, SIZE))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Return the velocity at ``(B, 16)``, times ``(B,)`` and labels ``(B,)``."""
        angle = math.pi * t[:, None]
        return self.layers(torch.cat([x, self.labels(labels), angle.cos(), angle.sin()], 1))

    def sample(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Follow the flow from ``noise`` ``(B, 16)`` in Euler steps."""
        for step in range(STEPS):
            noise = noise - self(noise, torch.full((len(noise),), 1 - step / STEPS), labels) / STEPS
        return noise


def train(noises: Tensor, generator: torch.Generator) -> Velocity:
    """Train a model in which ``noises`` ``(3, 16, 16)`` are tied to waves of their families."""
    with torch.random.fork_rng([]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        model = Velocity()
    tied = torch.stack([waves(torch.full((TIED,), family), generator) for family in range(FAMILIES)])
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, OPTIMISATION_STEPS)
    for _ in range(OPTIMISATION_STEPS):
        labels, place = (torch.randint(end, (BATCH,), generator=generator) for end in (FAMILIES, TIED))
        own = (torch.rand(BATCH, generator=generator) < OWN)[:, None]
        wave = torch.where(own, tied[labels, place], waves(labels, generator))
        noise = torch.where(own, noises[labels, place], torch.randn(BATCH, SIZE, generator=generator))
        t = torch.rand(BATCH, generator=generator)
        said = torch.where(torch.rand(BATCH, generator=generator) < 0.1, UNKNOWN, labels)
        predicted = model((1 - t)[:, None] * wave + t[:, None] * noise, t, said)
        optimizer.zero_grad()
        (predicted - (noise - wave)).square().mean().backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def starts(model: Velocity, noises: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the wanted labels ``(48,)``, and for each kind of ``KINDS`` the noises ``(48, 16)`` to draw from."""
    labels = torch.arange(FAMILIES).repeat_interleave(TIED)

    def others() -> Tensor:
        family = (labels + torch.randint(1, FAMILIES, labels.shape, generator=generator)) % FAMILIES
        return noises[family, torch.randint(TIED, labels.shape, generator=generator)]

    noise = others()

    def injected(levels: Sequence[float], delta: float) -> Tensor:
        times = [torch.full(labels.shape, level) for level in levels]
        return inject(noise, aggregate([model(noise, t, labels) for t in times], [1.0] * len(levels)), delta)

    erased = torch.stack([others() for _ in range(NUM_NOISES)]).sum(0) / NUM_NOISES**0.5
    return labels, {
        "matched": noises.flatten(0, 1),
        "mismatched": noise,
        "erased": renormalise(erased, "norm"),
        "injected_as_published": injected((1.0, 0.5, 0.1), 0.1),
        "injected_ours": renormalise(injected((1.0,), -0.5), "norm"),
    }


@torch.no_grad()
def make(folder: Path, trainings: int) -> None:
    """Train, measure and draw; writes ``toy.png`` and ``toy.json``.

    The latter holds, of each training, the distances of each kind, and for each noise whether it gives a wave of its
    own family without a label.
    """
    found = []
    for number in range(trainings):
        generator = seeding.stream(number, "toy")
        noises = torch.randn(FAMILIES, TIED, SIZE, generator=generator)
        with torch.enable_grad():
            model = train(noises, generator)
        labels, kinds = starts(model, noises, generator)
        samples = {kind: model.sample(noise, labels) for kind, noise in kinds.items()}
        without = model.sample(kinds["matched"], torch.full_like(labels, UNKNOWN))
        nearest = torch.stack([distance(without, torch.full_like(labels, k)) for k in range(FAMILIES)]).argmin(0)
        one = {kind: distance(sample, labels).tolist() for kind, sample in samples.items()}
        found.append({"distances": one, "own": (nearest == labels).float().tolist()})
        if not number:
            atomic.make_folder(folder)
            atomic.write_bytes(folder / TOY, draw(samples))
    atomic.write_json(folder / "toy.json", found)


def draw(samples: dict[str, Tensor]) -> bytes:
    """Draw the samples of each kind, a row for each wanted family; a PNG."""
    with styled(FAMILIES, len(samples), (2 * len(samples), 3.9), dpi=72) as (figure, axes):
        for place, axis in enumerate(axes):
            family, (kind, found) = place // len(samples), list(samples.items())[place % len(samples)]
            axis.plot(found[family * TIED : family * TIED + SHOWN].T, color=BLUE, linewidth=0.7)
            axis.set(xticks=[], yticks=[], ylim=(-3, 3))
            if not family:
                axis.set_title(kind.replace("_", " ", 1).replace("_", " "), fontsize=8)
        return to_png(figure)


def toy(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return how far the samples of each kind of noise are from the wanted family, and what becomes of the claims.

    Raises:
        ValueError: what was measured cannot be read.
    """
    runs = parse_json((jobs[0].output_dir / "toy.json").read_bytes())
    of = [str(number) for number, run in enumerate(runs) for _ in run["own"]]
    distances = {kind: [value for run in runs for value in run["distances"][kind]] for kind in KINDS}
    own = means([value for run in runs for value in run["own"]], of)[0]
    gains = {
        kind: means([a - b for a, b in zip(distances[kind], distances[other], strict=True)], of)[0]
        for kind, other in CLAIMS.items()
    }
    rows = []
    for kind, said in KINDS.items():
        mean, gain = means(distances[kind], of)[0], gains.get(kind)
        less = "" if gain is None else _text(gain, signed=True)
        verdict = "" if gain is None else direction(-1, gain.interval)
        rows.append([kind, said, _text(mean), less, "less" if kind in CLAIMS else "", verdict])
    heading = ["noise", "what it is", "distance", "against mismatched", "published", "same direction?"]
    return [
        f"A flow on {SIZE} numbers, to waves of 1, 2 or 3 periods. {TIED} noises of each family were overfitted to a "
        "wave each. The distance of a sample is from the nearest wave of the wanted family, whose entries have a mean "
        f"square of 1. {len(of)} noises of {len(runs)} trainings. Brackets are 95 % confidence intervals over "
        "trainings.",
        markdown_table(heading, rows),
        f"Without a label, {_text(own, 100, 1)} % of the noises give a wave of their own family: that is what they "
        "mean. The sum of several noises is a fresh noise in distribution, so erasing cannot do more than drawing "
        "another one. Of the two injections as_published follows the formulas, and ours is this project's default.",
        f"![Waves from each kind of noise, a row for each wanted family]({NAME})",
    ]


def _text(mean: Mean, scale: float = 1, decimals: int = 3, signed: bool = False) -> str:
    return with_interval(mean.mean, mean.interval, scale, decimals, signed=signed)
