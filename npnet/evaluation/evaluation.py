"""The evaluation as a job of ``npnet.work``: resumable chunks, by one or more worker processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from npnet.data.prompts import Sample
from npnet.drawing.webp import encode_webp
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import Evaluator, MethodScores
from npnet.engine.writing import Writer
from npnet.errors import under
from npnet.evaluation.chunks import (
    ChunkRecord,
    Damaged,
    Noted,
    picture_path,
    read_chunk,
    require_whole,
    sha256,
    write_chunk,
)
from npnet.evaluation.settings import EvaluateSettings
from npnet.metrics import load_metrics
from npnet.noise import load_methods
from npnet.work import atomic
from npnet.work.job import Advance

log = logging.getLogger(__name__)

METHODS_SHOWN = 3
"""In the progress; all of them are in the tables at the end."""
QUALITY = 95
"""Of larger pictures, as WebP; small ones are kept exactly."""


class EvaluationJob:
    """The ``npnet.work.job.Job`` of an evaluation; descriptions alone until ``setup``.

    Args:
        settings: of the command.
        samples: all samples, in order.
        output_dir: of the run.
    """

    def __init__(self, settings: EvaluateSettings, samples: Sequence[Sample], output_dir: Path | str) -> None:
        self.settings, self.samples, self.output_dir = settings, list(samples), Path(output_dir)
        self.num_chunks = -(-len(self.samples) // settings.chunk_size)
        self.num_kept = settings.num_kept(len(self.samples))
        self._records: dict[int, ChunkRecord] = {}  # those that were found whole
        self._evaluator: Evaluator | None = None
        self._computed = 0

    def chunk(self, index: int) -> list[Sample]:
        """Return the samples of a chunk."""
        size = self.settings.chunk_size
        return self.samples[index * size : (index + 1) * size]

    def marker(self, index: int) -> Path:
        """Return the path of a chunk's results, which say that it is done."""
        return self.output_dir / "chunks" / f"{index:06d}.json"

    def num_samples(self, chunk: int) -> int:
        """See ``Job.num_samples``."""
        return len(self.chunk(chunk))

    def is_done(self, chunk: int) -> bool:
        """See ``Job.is_done``; a chunk that is damaged, or whose pictures are, is not done, and this is said."""
        if chunk in self._records:
            return True
        if not self.marker(chunk).is_file():
            return False
        try:
            self.record(chunk)
        except Damaged as error:
            log.warning("%s %s; the chunk is computed again", self.marker(chunk), error)
            return False
        return True

    def record(self, chunk: int) -> ChunkRecord:
        """Return the results of a chunk that is done; they are read and compared once.

        Raises:
            Damaged: see ``read_chunk`` and ``require_whole``.
        """
        if chunk not in self._records:
            samples = self.chunk(chunk)
            record = read_chunk(self.marker(chunk), list(self.settings.noise), list(self.settings.metric))
            require_whole(record, samples, self._kept_of(chunk), self.output_dir)
            self._records[chunk] = record
        return self._records[chunk]

    def setup(self, worker: int, device: str) -> None:
        """See ``Job.setup``: load what the settings describe."""
        settings = self.settings
        with under("backbone"):
            backbone = settings.backbone.load(device if settings.backbone.device == "auto" else None)
        scorers = load_metrics(settings.metric, backbone.device)
        methods = load_methods(settings.noise, backbone, scorers)
        sampling = Sampling(settings.num_inference_steps, settings.guidance_scale, settings.sampler, settings.seed)
        keys = {sample.key for sample in self.samples[: self.num_kept]}
        kept = Kept(lambda sample: sample.key in keys) if keys else None
        self._evaluator = Evaluator(backbone, methods, scorers, sampling, settings.batch_size, kept)

    def run(self, chunk: int, advance: Callable[[Advance], None]) -> None:
        """See ``Job.run``."""
        evaluator, samples = self._evaluator, self.chunk(chunk)
        assert evaluator is not None, "setup comes first"
        pictures: dict[str, str] = {}
        done = 0

        def watch(count: int, records: dict[str, MethodScores]) -> None:
            nonlocal done
            advance(Advance(count - done, wins_of_batch(records, done)))
            done = count

        def save(path: Path, picture: Tensor) -> None:
            pictures[str(path.relative_to(self.output_dir))] = write_picture(path, picture)

        with Writer() as writer:
            records = evaluator.run(
                samples,
                lambda label, sample, picture: writer.submit(
                    save, picture_path(self.output_dir, label, sample), picture
                ),
                watch,
            )
        prompts = {sample.prompt for sample in samples}
        record = ChunkRecord(
            samples=[sample.key for sample in samples],
            device=str(evaluator.backbone.device),
            first=self._computed == 0,  # its first batch also paid for starting up
            methods=records,
            metrics={
                name: Noted(sorted(prompts & scorer.meter.truncated), scorer.smoke, scorer.text_length)
                for name, scorer in evaluator.scorers.items()
            },
            pictures=pictures,
        )
        self._computed += 1
        write_chunk(self.marker(chunk), record)

    def _kept_of(self, chunk: int) -> int:
        """Return of how many of a chunk's samples, the first ones, the pictures are kept."""
        return max(0, self.num_kept - chunk * self.settings.chunk_size)


def write_picture(path: Path, picture: Tensor) -> str:
    """Write a kept picture, of a video the frame in the middle, and return its SHA-256.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    data = encode_webp(picture, QUALITY)
    atomic.make_folder(path.parent)
    try:
        path.write_bytes(data)  # whole before the chunk says that it is done, which is enough
    except OSError as error:
        raise atomic.cannot_write(path, error) from error
    return sha256(data)


def wins_of_batch(records: Mapping[str, MethodScores], start: int) -> dict[str, float]:
    """Count, from sample ``start`` on, what the progress shows: ``LABEL METRIC`` -> wins against standard."""
    standard = records.get("standard")
    if standard is None:
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
