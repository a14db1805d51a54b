"""The result as HTML: a row of pictures for each method, and a table of scores, costs and noise."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from PIL import Image

from npnet.demo.maker import Made
from npnet.drawing.webp import ENLARGED_PIXELS
from npnet.engine.methods import MethodScores
from npnet.evaluation.diversity import ONE_SEED, of_prompts
from npnet.evaluation.plan import optimised_for
from npnet.generation.settings import GenerateSettings
from npnet.metrics import Metric
from npnet.metrics.spaces import FeatureSpace
from npnet.report import formats, wording
from npnet.report.diversity import NOISE
from npnet.report.page import template

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Shown:
    """A picture on the page: ``uri`` holds the file whole."""

    uri: str
    seed: int
    pixelated: bool
    scores: list[str]


@dataclass(frozen=True)
class Row:
    """The row of one method; ``scores`` and ``noise`` are in the order of their headings."""

    method: str
    forwards: str
    pictures: list[Shown]
    scores: list[str]
    noise: list[str]


def render(made: Made, settings: GenerateSettings, spaces: Mapping[str, FeatureSpace]) -> str:
    """Return the piece of HTML.

    Args:
        made: the pictures.
        settings: of the command.
        spaces: label -> space of features.
    """
    metrics = settings.metric
    marks = {label: optimised_for(settings.noise[label], settings.backbone, metrics, ()) for label in made.records}
    rows = [
        Row(
            label,
            f"{record.cost.forwards / len(made.samples):.4g}",
            _pictures(made, label, metrics),
            _scores(record, metrics, marks[label]),
            _noise(record, spaces),
        )
        for label, record in made.records.items()
    ]
    said = [wording.MARKED] if any(marks.values()) else []
    diverse = [text for name in spaces for text in (f"distance ({name})", f"Vendi score ({name})")]
    return template("pictures.html.j2", TEMPLATES).render(
        prompt=made.samples[0].prompt,
        seeds=[sample.seed for sample in made.samples],
        rows=rows,
        scores=[*(_name(name, metric) for name, metric in metrics.items()), "forwards", "scorer calls", "time"],
        noise=[*diverse, *(name for name, _ in NOISE.values())],
        notes=[*said, *made.notes],
    )


def _scores(record: MethodScores, metrics: Mapping[str, Metric], marked: Sequence[str]) -> list[str]:
    """Return the mean scores, and what one picture cost."""
    count = sum(number for number, _ in record.batches)
    seconds = sum(seconds for _, seconds in record.batches) / count
    scores = [
        _text(mean(record.scores[name]), metric) + (wording.DAGGER if name in marked else "")
        for name, metric in metrics.items()
    ]
    costs = [f"{spent / count:.4g}" for spent in (record.cost.forwards, record.cost.scorer_calls)]
    return [*scores, *costs, formats.seconds_text(seconds)]


def _noise(record: MethodScores, spaces: Mapping[str, FeatureSpace]) -> list[str]:
    """Return how different the pictures are in each space, and the means of what the noise is like."""
    diverse = [text for name, space in spaces.items() for text in _diversity(record.features[name], space)]
    return [*diverse, *(formats.number(mean(record.noise[name]), scale, 3) for name, (_, scale) in NOISE.items())]


def _diversity(texts: Sequence[str], space: FeatureSpace) -> list[str]:
    """Return mean distance and Vendi score of the pictures; or why there is none."""
    if len(texts) < 2:
        return [ONE_SEED, formats.NONE]
    found = of_prompts(texts, {"": range(len(texts))}, space.kernel_width)[:, 0].tolist()
    return [formats.number(value if math.isfinite(value) else None, 1.0, 3) for value in found]


def _pictures(made: Made, label: str, metrics: Mapping[str, Metric]) -> list[Shown]:
    shown = []
    for place, data in enumerate(made.files[label]):
        with Image.open(io.BytesIO(data)) as picture:
            small = max(picture.size) < ENLARGED_PIXELS
        own = made.records[label].scores
        scores = [f"{name} {_text(own[name][place], metric)}" for name, metric in metrics.items()]
        uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        shown.append(Shown(uri, made.samples[place].seed, small, scores))
    return shown


def _name(name: str, metric: Metric) -> str:
    return name if metric.display_scale == 1 else f"{name}, x {metric.display_scale:g}"


def _text(value: float, metric: Metric) -> str:
    return formats.number(value if math.isfinite(value) else None, metric.display_scale, 2)
