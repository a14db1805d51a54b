"""Scores of pictures from elsewhere: the settings, checked without torch; ``images_job`` scores the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from npnet.bounds import Resamples
from npnet.description import imported
from npnet.errors import FieldError, UserError, reworded, under
from npnet.fields import Count, Name, checked
from npnet.instantiate import build
from npnet.metrics import Metric
from npnet.pictures.layout import Picture, find_pictures
from npnet.settings import read, resolved
from npnet.work import lock, request
from npnet.work.folder import OutputFolder
from npnet.work.job import WorkSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

ASKED = ("images", "prompts", "metric", "num_resamples", "seed")
"""The keys that decide the results."""


@dataclass(frozen=True, kw_only=True)
class ImagesSettings(WorkSettings):
    """The keys of ``evaluate.py images=...``; see ``conf/evaluate.yaml``.

    Attributes:
        images: a folder of pictures, or a JSONL that names them.
        metric: label -> metric.
        output_dir: the folder of the results.
        batch_size: pictures scored at once.
        chunk_size: pictures in one resumable piece of work.
        num_resamples: of prompts, for the intervals.
        seed: of the run.
        dry_run: only say what would be done.
    """

    images: Name
    metric: dict[str, Metric]
    output_dir: OutputFolder
    batch_size: Count = 64
    chunk_size: Count = 64
    num_resamples: Resamples = 10000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.metric:
            raise FieldError("metric", [], "at least one metric is needed")


def score_images(cfg: DictConfig) -> None:
    """Score the pictures of ``cfg.images`` with the metrics of ``cfg``.

    Raises:
        UserError: a key, path or combination that cannot work.
    """
    config = resolved(cfg)
    checked(Name, config["images"], "images")
    settings = read(ImagesSettings, config)
    asked = {key: config[key] for key in ASKED}
    workers = settings.crew()
    if not workers.share.is_whole:
        raise UserError("worker.index: with images=... one command scores all pictures; workers=N makes it faster")
    pictures = find_pictures(Path(settings.images), lambda: build(asked["prompts"], "prompts").published())
    for label, metric in settings.metric.items():
        with under(f"metric.{label}"):
            metric.check()
        require_readable(label, metric, pictures)
    request.check(settings.output_dir, lambda: asked)
    if settings.dry_run:
        prompts = len({picture.prompt for picture in pictures})
        metrics = ", ".join(settings.metric)
        print(f"would score {len(pictures)} pictures of {prompts} prompts into {settings.output_dir}: {metrics}")
        return
    with lock.hold(settings.output_dir, asked, folders=["cache"]):
        imported("npnet.evaluation.images_job:run")(settings, asked, pictures, workers)


def require_readable(label: str, metric: Metric, pictures: Sequence[Picture]) -> None:
    """Refuse pictures that a metric cannot judge, because of the words of the prompt or the size of the picture."""
    only = "" if metric.domain == "any" else f"judges pictures of backbone={metric.domain} only: "
    for picture in pictures:
        with reworded(ValueError, UserError, f"metric.{label} {only}", ": choose other metrics with metric=[...]"):
            metric.check_prompt(picture.prompt)
        if metric.picture_size not in (None, picture.size):
            needed = " x ".join(map(str, metric.picture_size or ()))
            raise UserError(f"metric.{label} judges pictures of {needed}, got {picture.size} in {picture.path}")
