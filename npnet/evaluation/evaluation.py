"""The evaluation as a job of ``npnet.work``: resumable chunks, by one or more worker processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from npnet.data.prompts import Sample
from npnet.drawing.webp import encode_webp
from npnet.engine.batches import Kept, Sampling
from npnet.engine.loading import load_parts
from npnet.engine.methods import Evaluator, MethodScores
from npnet.engine.writing import Writer
from npnet.evaluation.cells import Cell, Drawn, Key, Noted, Value, folder_of, sha256, stored_picture, write_cell
from npnet.evaluation.lacking import Work, lacking
from npnet.evaluation.plan import EvaluationPlan
from npnet.evaluation.store import Store
from npnet.evaluation.versions import versions
from npnet.metrics.diversity import to_texts
from npnet.metrics.runtime.base import to_tensor
from npnet.metrics.spaces import load_spaces
from npnet.pictures.opener import open_picture
from npnet.work import atomic
from npnet.work.job import Advance

METHODS_SHOWN = 3
"""In the progress; all of them are in the tables at the end."""
QUALITY = 95
"""Of larger pictures, as WebP; small ones are kept exactly."""


class EvaluationJob:
    """The ``npnet.work.job.Job`` of an evaluation; descriptions alone until ``setup``.

    Its chunks depend only on the samples, so that all workers of a job array divide them in the same way. In each
    chunk, only results that no cell holds are computed.

    Args:
        plan: of the evaluation.
        output_dir: of the run.
    """

    def __init__(self, plan: EvaluationPlan, output_dir: Path | str) -> None:
        self.settings, self.samples, self.wanted = plan.settings, plan.samples, plan.wanted()
        self.spaces = plan.loaded_spaces()
        self.output_dir = Path(output_dir)
        self.num_chunks = -(-len(self.samples) // self.settings.chunk_size)
        self.store = Store(self.output_dir, self.wanted.methods.values(), mends=True)
        self._loaded: Evaluator | None = None
        self._begun: set[str] = set()

    def chunk(self, index: int) -> list[Sample]:
        """Return the samples of a chunk."""
        size = self.settings.chunk_size
        return self.samples[index * size : (index + 1) * size]

    def num_samples(self, chunk: int) -> int:
        """See ``Job.num_samples``."""
        return len(self.chunk(chunk))

    def is_done(self, chunk: int) -> bool:
        """See ``Job.is_done``; a damaged cell is not done, and a message has said so."""
        return not lacking(self.store, self.wanted, self.chunk(chunk))

    @property
    def _evaluator(self) -> Evaluator:
        assert self._loaded is not None, "setup comes first"
        return self._loaded

    def setup(self, worker: int, device: str) -> None:
        """See ``Job.setup``: load what the settings describe."""
        settings = self.settings
        loaded = load_parts(settings, device)
        sampling = Sampling(settings.num_inference_steps, settings.guidance_scale, settings.sampler, settings.seed)
        wanted = self.wanted.kept
        kept = Kept(lambda sample: sample.key in wanted) if wanted else None
        spaces = load_spaces(self.spaces, loaded.backbone.device)
        self._loaded = Evaluator(
            loaded.backbone, loaded.methods, loaded.scorers, sampling, settings.batch_size, kept, spaces
        )

    def run(self, chunk: int, advance: Callable[[Advance], None]) -> None:
        """See ``Job.run``."""
        works, done = lacking(self.store, self.wanted, self.chunk(chunk)), 0
        for work in works:
            count = len(work.samples) if work is works[0] else 0  # a sample is counted once
            if work.draws:
                self._draw(work, advance if count else lambda step: None)
            else:
                self._score_pictures(work)
                advance(Advance(count))
            done += count
        advance(Advance(self.num_samples(chunk) - done))

    def _draw(self, work: Work, advance: Callable[[Advance], None]) -> None:
        evaluator = self._evaluator
        pictures: dict[tuple[str, Key], str] = {}
        done = 0

        def watch(count: int, records: dict[str, MethodScores]) -> None:
            nonlocal done
            advance(Advance(count - done, wins_of_batch(records, done)))
            done = count

        def save(label: str, sample: Sample, picture: Tensor) -> None:
            key = sample.prompt, sample.seed
            path = stored_picture(self.output_dir, self.wanted.methods[label], key)
            pictures[label, key] = write_picture(path, picture)

        with Writer() as writer:
            records = evaluator.run(
                work.samples, lambda *given: writer.submit(save, *given), watch, work.labels, work.metrics, work.spaces
            )
        keys = [(sample.prompt, sample.seed) for sample in work.samples]
        for label, record in records.items():
            making = Drawn(
                device=str(evaluator.backbone.device),
                first=label not in self._begun,  # its first batch also includes the start-up
                cost=record.cost,
                batches=record.batches,
                peak_bytes=record.peak_bytes,
                traces=record.traces,
                pictures=[pictures.get((label, key)) for key in keys],
            )
            self._begun.add(label)
            self._write(work, label, record.scores, record.features, making, record.noise)

    def _score_pictures(self, work: Work) -> None:
        """Score kept pictures by metrics, and compute features in spaces, that were added later."""
        for label in work.labels:
            scores: dict[str, list[float]] = {name: [] for name in work.metrics}
            features: dict[str, list[str]] = {name: [] for name in work.spaces}
            for start in range(0, len(work.samples), self.settings.batch_size):
                batch = work.samples[start : start + self.settings.batch_size]
                paths = [self._stored(label, sample) for sample in batch]
                opened = [open_picture(path, str(path)) for path in paths]
                prompts = [sample.prompt for sample in batch]
                for name, found in scores.items():
                    scorer = self._evaluator.scorers[name]
                    found += scorer.score_pil(opened, prompts).double().cpu().tolist()
                for name, texts in features.items():
                    images = torch.stack([to_tensor(picture.convert("RGB")) for picture in opened])
                    with torch.no_grad():
                        texts += to_texts(self._evaluator.scoring.spaces[name].features(images, prompts))
            self._write(work, label, scores, features, None, {})

    def _write(
        self,
        work: Work,
        label: str,
        scores: Mapping[str, list[float]],
        features: Mapping[str, list[str]],
        making: Drawn | None,
        noise: Mapping[str, list[float]],
    ) -> None:
        prompts = {sample.prompt for sample in work.samples}
        scorers = {name: self._evaluator.scorers[name] for name in work.metrics}
        noted = {
            name: Noted(sorted(prompts & scorer.meter.truncated), scorer.smoke, scorer.text_length, scorer.remarks())
            for name, scorer in scorers.items()
        }
        digests = self.wanted.metrics
        values: dict[str, list[Value]] = {name: list(found) for name, found in noise.items()}
        values |= {self.wanted.spaces[name]: list(texts) for name, texts in features.items()}
        cell = Cell(
            samples=[(sample.prompt, sample.seed) for sample in work.samples],
            scores={digests[name]: list(found) for name, found in scores.items()},
            metrics={digests[name]: found for name, found in noted.items()},
            versions=versions(),
            drawn=making,
            values=values,
        )
        write_cell(folder_of(self.output_dir, self.wanted.methods[label]), cell)

    def _stored(self, label: str, sample: Sample) -> Path:
        return stored_picture(self.output_dir, self.wanted.methods[label], (sample.prompt, sample.seed))


def write_picture(path: Path, picture: Tensor) -> str:
    """Write a kept picture (the middle frame of a video), and return its SHA-256.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    data = encode_webp(picture, QUALITY)
    atomic.make_folder(path.parent)
    with atomic.writing(path):
        path.write_bytes(data)  # it is complete before the chunk counts as done, which is enough
    return sha256(data)


def wins_of_batch(records: Mapping[str, MethodScores], start: int) -> dict[str, float]:
    """Count, from sample ``start`` on, the figures of the progress line: ``LABEL METRIC`` -> wins against standard."""
    standard = records.get("standard")
    if standard is None or not standard.scores:
        return {}
    values = {"": float(len(next(iter(standard.scores.values()))) - start)}
    for label, record in records.items():
        for name, scores in record.scores.items():
            if label != "standard":
                pairs = zip(scores[start:], standard.scores[name][start:], strict=True)
                values[f"{label} {name}"] = float(sum(ours > theirs for ours, theirs in pairs))
    return values


def describe_wins(values: Mapping[str, float]) -> str:
    """Write the summed ``wins_of_batch``: the winning rate of the first methods so far, on the first metric of each."""
    pairs = values.get("", 0.0)
    shown: dict[str, str] = {}
    for name, wins in values.items():
        label = name.partition(" ")[0]
        if name and label not in shown:
            shown[label] = f"{name} wins {100 * wins / max(pairs, 1):.0f} %"
    more = len(shown) - METHODS_SHOWN
    return ", ".join([*shown.values()][:METHODS_SHOWN]) + (f", and {more} more" if more > 0 else "")
