"""The common part of all trainings: random streams, the learning rate, averages and progress."""

import math
import sys
import time
import zlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from npnet.shapes.grammar import Scene, hard_negatives
from npnet.shapes.variants import Variant

__all__ = ["Progress", "WeightAverage", "caption_batch", "learning_rate", "seed_for", "set_learning_rate", "stream"]


def seed_for(variant: Variant, purpose: str) -> int:
    """Return a seed of its own for each variant and purpose, so that no stage depends on what ran before it."""
    return variant.seed * 1_000_003 + zlib.crc32(purpose.encode())


def stream(variant: Variant, purpose: str) -> torch.Generator:
    """Return a generator with that seed."""
    return torch.Generator().manual_seed(seed_for(variant, purpose))


def learning_rate(step: int, steps: int, peak: float, warmup: int = 40, floor: float = 0.02) -> float:
    """Return linear warm-up, then half a cosine down to ``floor * peak``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the same learning rate for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = value


class WeightAverage:
    """Exponential moving average of a module's parameters, quicker at the start."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.parameters = list(module.parameters())
        self.names = [name for name, _ in module.named_parameters()]
        self.averages: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the current parameters."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.averages, tuple(self.parameters), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name; the modules trained here have no buffers."""
        return dict(zip(self.names, self.averages, strict=True))


class Progress:
    """Prints one line now and then: the step, its value, the time left."""

    def __init__(self, label: str, total: int, every_seconds: float = 15.0) -> None:
        self.label, self.total, self.every = label, total, every_seconds
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` are done."""
        now = time.monotonic()
        if now - self.last < self.every and done < self.total:
            return
        self.last = now
        left = (now - self.start) / max(1, done) * (self.total - done)
        print(f"{self.label:>8}  {done}/{self.total}  {left:4.0f} s left  {note}", file=sys.stderr, flush=True)


def caption_batch(
    meanings: Sequence[Scene], size: int, num_negatives: int, generator: torch.Generator, allowed: Iterable[Scene]
) -> tuple[list[Scene], list[Scene]]:
    """Draw scenes of different meanings, and hard negatives for each.

    Args:
        meanings: to draw from, without repetition.
        size: number of scenes B.
        num_negatives: K for each scene, drawn with repetition.
        generator: of every draw.
        allowed: meanings that a negative may have.

    Returns:
        B scenes and B * K negatives, each told from either object at random.
    """

    def told(scene: Scene) -> Scene:
        return scene.reversed() if torch.rand((), generator=generator) < 0.5 else scene

    chosen = [told(meanings[i]) for i in torch.randperm(len(meanings), generator=generator)[:size].tolist()]
    negatives = []
    for scene in chosen:
        options = [negative for negative in hard_negatives(scene) if negative.meaning() in allowed]
        picks = torch.randint(len(options), (num_negatives,), generator=generator).tolist()
        negatives += [told(options[pick]) for pick in picks]
    return chosen, negatives
