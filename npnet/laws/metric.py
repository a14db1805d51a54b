"""The laws of metrics; see ``npnet.metrics.Metric`` and its ``Scorer``.

Each law takes a loaded metric and raises ``AssertionError``, with the reason, where it is broken.
"""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from npnet.laws.require import require, require_refusal
from npnet.metrics.runtime.base import Scorer
from npnet.seeding import named_seed

Law = Callable[[Scorer], None]
BATCH = 3


def texts(scorer: Scorer) -> list[str]:
    """Return ``BATCH`` different prompts that the metric can read."""
    return list(scorer.metric.example_prompts)


def pictures(scorer: Scorer, size: tuple[int, int] = (44, 36), name: str = "law") -> Tensor:
    """Return ``(BATCH, 3, H, W)`` of noise in [0, 1], of a size that the metric can read; equal for equal ``name``."""
    width, height = scorer.metric.picture_size or (size[1], size[0])
    generator = torch.Generator().manual_seed(named_seed(0, name) % 2**63)
    return torch.rand(BATCH, 3, height, width, generator=generator)


@torch.no_grad()
def scores_are_finite_floats_one_for_each_picture(scorer: Scorer) -> None:
    """Scores are float32, one for each picture, without NaN, for wide and tall pictures alike."""
    for size in ((44, 36), (20, 61), (90, 33)):
        scores = scorer.score(pictures(scorer, size), texts(scorer))
        require(scores.shape == (BATCH,), f"returned {tuple(scores.shape)} for {BATCH} pictures")
        require(scores.dtype == torch.float32, f"returned {scores.dtype}, not torch.float32")
        require(bool(scores.isfinite().all()), f"returned NaN or infinity for pictures of {size}")


@torch.no_grad()
def a_picture_does_not_depend_on_its_batch(scorer: Scorer) -> None:
    """A picture gets the same score alone, beside others, and in any order."""
    images, prompts, order = pictures(scorer), texts(scorer), [2, 0, 1]
    together = scorer.score(images, prompts)
    alone = torch.cat([scorer.score(images[i : i + 1], prompts[i : i + 1]) for i in range(BATCH)])
    _require_close(together, alone, "a picture alone scores otherwise than beside others")
    turned = scorer.score(images[order], [prompts[i] for i in order])
    _require_close(turned, together[order], "the scores do not follow the order of the pictures")


@torch.no_grad()
def prompts_decide_where_they_are_used(scorer: Scorer) -> None:
    """Different prompts give a picture different scores where ``uses_prompt`` says so, and equal ones otherwise.

    A metric that says right or wrong may call noise wrong under every prompt; so all equal zero is no fault.
    """
    images = pictures(scorer)[:1].expand(BATCH, -1, -1, -1)
    scores = scorer.score(images, texts(scorer)).tolist()
    differ = max(scores) - min(scores) > 1e-4
    if scorer.metric.uses_prompt:
        require(differ or not any(scores), "uses_prompt is true, and the prompt changes no score")
    else:
        require(not differ, "uses_prompt is false, and the prompt changes the score")


def what_cannot_be_scored_is_refused(scorer: Scorer) -> None:
    """Pictures outside [0, 1], and a wrong number of prompts, raise ``ValueError``."""
    images, prompts = pictures(scorer), texts(scorer)
    wrong: tuple[tuple[str, Tensor, Sequence[str]], ...] = (
        ("pictures in [-1, 1]", images * 2 - 1, prompts),
        ("two prompts for three pictures", images, prompts[:2]),
        ("one text in the place of prompts", images, "abc"),
    )
    for what, given, told in wrong:
        require_refusal(ValueError, partial(scorer.score, given, told), f"took {what}")


@torch.no_grad()
def a_comparison_is_a_probability(scorer: Scorer) -> None:
    """A comparison is in [0, 1], 1/2 with itself, adds up to 1 both ways round, and favours the better score."""
    a, b, prompts = pictures(scorer), pictures(scorer, name="another"), texts(scorer)
    itself = scorer.compare(a, a, prompts)
    _require_close(itself, torch.full((BATCH,), 0.5), "a picture against itself is not one half")
    forth, back = scorer.compare(a, b, prompts), scorer.compare(b, a, prompts)
    require(bool(((forth >= 0) & (forth <= 1)).all()), "is outside [0, 1]")
    _require_close(forth + back, torch.ones(BATCH), "the two ways round do not sum to one")
    better = scorer.score(b, prompts) > scorer.score(a, prompts)
    require(bool(((forth > 0.5) == better).all()), "prefers the picture of the lower score")


def gradients_reach_the_pictures_where_declared(scorer: Scorer) -> None:
    """Gradients are finite and not all zero where ``differentiable`` says so, and there are none otherwise."""
    images = pictures(scorer).requires_grad_()
    scores = scorer.score(images, texts(scorer))
    declared = bool(scorer.metric.differentiable)
    require(scores.requires_grad == declared, f"differentiable is {declared}, and the scores say otherwise")
    if not declared:
        return
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    require(bool(gradient.isfinite().all()), "gives gradients that are not finite")
    touched = gradient.abs().amax((1, 2, 3)) > 0
    require(bool(touched.any()), "gives gradients of zero")
    require(bool((touched | (scores == 0)).all()), "gives some pictures gradients of zero")


def pictures_of_pil_and_tensors_score_alike(scorer: Scorer) -> None:
    """The same 8-bit pixels score alike as PIL pictures and as tensors; PIL pictures may differ in size."""
    pixels = (pictures(scorer) * 255).round().byte()
    files = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pixels]
    with torch.no_grad():
        scores = scorer.score(pixels.float() / 255, texts(scorer))
    gap = float((scorer.score_pil(files, texts(scorer)) - scores).abs().max())
    allowed = 0.05 * max(1.0, float(scores.abs().max()))
    require(gap <= allowed, f"the two lie {gap:.3g} apart")
    only = scorer.metric.picture_size
    sizes = [(40, 40), (64, 30)] if only is None else [only] * 2
    plain = [
        Image.fromarray(np.full((h, w, 3), shade, np.uint8)) for (w, h), shade in zip(sizes, (40, 200), strict=True)
    ]
    prompts = texts(scorer)[:2]
    alone = torch.cat([scorer.score_pil([picture], [text]) for picture, text in zip(plain, prompts, strict=True)])
    _require_close(scorer.score_pil(plain, prompts), alone, "PIL pictures of two sizes score otherwise together")


@torch.no_grad()
def a_video_is_averaged_over_its_frames(scorer: Scorer) -> None:
    """A video of two frames gets the mean of its frames' scores."""
    frames, prompts = pictures(scorer), texts(scorer)
    video = torch.stack([frames, frames.flip(0)], dim=1)
    each = torch.stack([scorer.score(video[:, i], prompts) for i in range(2)])
    _require_close(scorer.score(video, prompts), each.mean(0), "a video does not score the mean of its frames")


@torch.no_grad()
def every_picture_scored_is_counted(scorer: Scorer) -> None:
    """``meter.calls`` counts every picture that is scored, as a tensor or as a PIL picture."""
    before = scorer.meter.calls
    scorer.score(pictures(scorer)[:2], texts(scorer)[:2])
    require(scorer.meter.calls == before + 2, f"counted {scorer.meter.calls - before} of 2 pictures")
    scorer.score_pil([Image.new("RGB", scorer.metric.picture_size or (32, 32))], texts(scorer)[:1])
    require(scorer.meter.calls == before + 3, "does not count PIL pictures")


@torch.no_grad()
def a_long_prompt_is_cut_and_noted(scorer: Scorer) -> None:
    """A prompt longer than ``text_length`` is still scored, and a note says that it was cut."""
    if scorer.text_length is None or not scorer.metric.uses_prompt:
        return
    long = "q " * (scorer.text_length + 1)
    scorer.meter.clear()
    scores = scorer.score(pictures(scorer)[:2], ["q", long])
    require(bool(scores.isfinite().all()), "a long prompt has no finite score")
    require(scorer.meter.truncated == {long}, "a long prompt is not counted as cut, or a short one is")
    require(any(str(scorer.text_length) in note for note in scorer.notes()), "the notes do not say where it is cut")
    scorer.meter.clear()


def the_description_travels(scorer: Scorer) -> None:
    """The description survives pickling, and its own check passes."""
    metric = scorer.metric
    again = pickle.loads(pickle.dumps(metric))
    require(again == metric, "the description is not equal to itself after pickle")
    metric.check()
    require(math.isfinite(metric.display_scale) and metric.display_scale > 0, "display_scale is not a scale")
    require(metric.num_frames >= 1, "num_frames is below 1")


def the_description_needs_no_torch(scorer: Scorer) -> None:
    """Importing the description imports no torch, where it names its runtime as ``"module:Class"``."""
    kind = type(scorer.metric)
    if isinstance(kind.runtime, type):
        return  # one file for both
    code = f"import sys, {kind.__module__}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    require(done.returncode == 0, f"{kind.__module__} imports torch")


LAWS: dict[str, Law] = {
    law.__name__.replace("_", " "): law
    for law in (
        scores_are_finite_floats_one_for_each_picture,
        a_picture_does_not_depend_on_its_batch,
        prompts_decide_where_they_are_used,
        what_cannot_be_scored_is_refused,
        a_comparison_is_a_probability,
        gradients_reach_the_pictures_where_declared,
        pictures_of_pil_and_tensors_score_alike,
        a_video_is_averaged_over_its_frames,
        every_picture_scored_is_counted,
        a_long_prompt_is_cut_and_noted,
        the_description_travels,
        the_description_needs_no_torch,
    )
}
"""Every law by its name in words; its docstring's first line says what holds, and ``npnet check`` shows it."""


def _require_close(a: Tensor, b: Tensor, otherwise: str) -> None:
    # scores of a few hundred keep a relative bound, those about zero an absolute one
    gap = (a.cpu() - b.cpu()).abs()
    require(bool((gap <= 1e-5 + 1e-4 * b.cpu().abs()).all()), f"{otherwise}: {float(gap.max()):.2g} apart")
