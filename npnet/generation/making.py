"""Makes the pictures of a plan: PNG files that say what they are, and a sheet of them side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from PIL import PngImagePlugin
from torch import Tensor

from npnet.data.prompts import Sample
from npnet.drawing.sheets import draw_side_by_side
from npnet.drawing.webp import to_picture
from npnet.engine.batches import Kept, Sampling
from npnet.engine.loading import load_parts
from npnet.engine.methods import Evaluator, MethodScores
from npnet.engine.writing import Writer
from npnet.errors import UserError
from npnet.metrics.runtime.base import to_tensor
from npnet.metrics.spaces import FeatureSpace, load_spaces
from npnet.pictures.opener import open_picture, read_text
from npnet.text import count
from npnet.untrusted import parse_json
from npnet.work import atomic
from npnet.work.job import Advance
from npnet.work.numerics import Numerics
from npnet.work.progress import Progress
from npnet.work.torch_settings import apply

if TYPE_CHECKING:
    from npnet.generation.command import GenerationPlan

FACTS = "npnet"
"""The text chunk of a PNG that holds a picture's facts, as JSON. ``parameters`` holds them for people's viewers."""
MAX_COLUMNS = 12
"""Of the sheet."""
SHEET = "sheet.png"


def make(plan: GenerationPlan) -> str:
    """Make the missing pictures, and the sheet.

    Returns:
        A line that says where the pictures are, and what they cost.

    Raises:
        UserError: a file in the way is another picture, or a part cannot be loaded.
    """
    settings, folder = plan.settings, Path(plan.settings.output_dir)
    missing = {
        label: [sample for sample in plan.samples if not is_there(plan, label, sample)] for label in settings.noise
    }
    todo = sum(map(len, missing.values()))
    scores: dict[str, dict[str, list[float]]] = {}
    if todo or settings.metric:
        scores = _make(plan, missing if not settings.metric else dict.fromkeys(settings.noise, plan.samples), todo)
    shown = plan.samples[:MAX_COLUMNS]
    draw_side_by_side(
        folder / SHEET,
        [f"{sample.prompt} (seed {sample.seed})" for sample in shown],
        {label: [_read(plan.path(label, sample)) for sample in shown] for label in settings.noise},
        {label: _notes(scores.get(label, {}), plan, len(shown)) for label in settings.noise},
        ", ".join(settings.metric),
        cell=256,
    )
    return f"{count(todo, 'picture')} made in {folder}; side by side: {folder / SHEET}"


def load_evaluator(plan: GenerationPlan, spaces: Mapping[str, FeatureSpace] = MappingProxyType({})) -> Evaluator:
    """Load what makes and scores the pictures of a plan.

    Args:
        plan: of a generation.
        spaces: label -> space of features to take of each picture.

    Raises:
        UserError: a part cannot be loaded.
    """
    settings = plan.settings
    threads = settings.threads_per_worker or torch.get_num_threads()
    apply(Numerics(threads, settings.float32_matmul_precision, settings.cudnn_tf32))
    parts = load_parts(settings)
    how = settings.num_inference_steps, settings.guidance_scale, settings.sampler, settings.seed
    sampling = Sampling(*how, settings.negative_prompt)
    loaded = load_spaces(spaces, parts.backbone.device)
    return Evaluator(parts.backbone, parts.methods, parts.scorers, sampling, settings.batch_size, Kept(), loaded)


def is_there(plan: GenerationPlan, label: str, sample: Sample) -> bool:
    """Say whether a picture is there.

    Raises:
        UserError: its file is another picture.
    """
    path = plan.path(label, sample)
    if not path.is_file():
        return False
    if facts_of(path) != json.loads(json.dumps(plan.facts(label, sample))):
        raise UserError(f"{path}: is another picture, made with other settings; choose another folder with --out DIR")
    return True


def facts_of(path: Path) -> dict[str, Any] | None:
    """Return what a picture of this project was made from; None for any other file."""
    try:
        text = read_text(path, str(path), FACTS)
        found = None if text is None else parse_json(text.encode())
    except (UserError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def encode_png(picture: Tensor, facts: Mapping[str, Any]) -> bytes:
    """Return a PNG file of ``(3, H, W)`` uint8 (a video's frame in the middle) with its facts."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(FACTS, json.dumps(facts))
    info.add_itxt("parameters", "\n".join(f"{key}: {json.dumps(value)}" for key, value in facts.items()))
    buffer = io.BytesIO()
    to_picture(picture).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _make(plan: GenerationPlan, missing: Mapping[str, list[Sample]], todo: int) -> dict[str, dict[str, list[float]]]:
    """Sample and write the pictures of ``missing``; returns their scores."""
    evaluator = load_evaluator(plan)
    atomic.make_folder(Path(plan.settings.output_dir))
    found: dict[str, MethodScores] = {}
    total = sum(map(len, missing.values()))
    with Writer() as writer, Progress("pictures", lambda values: "", finished=0, total=total) as progress:

        def take(label: str, sample: Sample, picture: Tensor) -> None:
            writer.submit(_write, plan.path(label, sample), picture, plan.facts(label, sample))
            progress.add(Advance(1))

        for label, samples in missing.items():
            if samples:
                found |= evaluator.run(samples, take, labels=[label])
    return {label: record.scores for label, record in found.items()}


def _write(path: Path, picture: Tensor, facts: Mapping[str, Any]) -> None:
    atomic.write_bytes(path, encode_png(picture, facts))


def _read(path: Path) -> Tensor:
    return to_tensor(open_picture(path, str(path)))


def _notes(scores: Mapping[str, list[float]], plan: GenerationPlan, number: int) -> list[str]:
    scales = {name: metric.display_scale for name, metric in plan.settings.metric.items()}
    return [", ".join(f"{scales[name] * values[i]:.2f}" for name, values in scores.items()) for i in range(number)]
