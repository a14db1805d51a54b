"""An evaluation in resumable chunks, by one or more worker processes.

Under ``output_dir``: ``images/LABEL/KEY.webp``, every method's picture of the samples that ``keep_images`` asks for;
``chunks/000000.json``, the scores and costs of a chunk, written last: it says that the chunk is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.data.prompts import Sample
from npnet.drawing.webp import encode_webp
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import Evaluator, MethodScores, Trace
from npnet.errors import under
from npnet.instantiate import build, build_all
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.records import Cost
from npnet.work import atomic
from npnet.work.job import Advance

METHODS_SHOWN = 3
"""In the progress; all of them are in the tables at the end."""
QUALITY = 95
"""Of larger pictures, as WebP; small ones are kept exactly."""


class EvaluationJob:
    """The ``npnet.work.job.Job`` of an evaluation; plain data until ``setup``.

    Args:
        config: the resolved configuration (``Plan.config``).
        samples: all samples, in order.
        output_dir: of the run.
    """

    def __init__(self, config: Mapping[str, Any], samples: Sequence[Sample], output_dir: Path) -> None:
        self.config = dict(config)
        self.samples = list(samples)
        self.output_dir = Path(output_dir)
        self.size = int(config["chunk_size"])
        self.num_chunks = -(-len(self.samples) // self.size)
        self.kept = {sample.key for sample in self.samples[: num_kept(config, len(self.samples))]}

    def chunk(self, index: int) -> list[Sample]:
        """Return the samples of a chunk."""
        return self.samples[index * self.size : (index + 1) * self.size]

    def marker(self, index: int) -> Path:
        """Return the path of a chunk's done-marker."""
        return self.output_dir / "chunks" / f"{index:06d}.json"

    def num_samples(self, chunk: int) -> int:
        """See ``Job.num_samples``."""
        return len(self.chunk(chunk))

    def is_done(self, chunk: int) -> bool:
        """See ``Job.is_done``."""
        return self.marker(chunk).is_file()

    def prepare(self) -> None:
        """Make the folders; the caller holds the folder's lock."""
        atomic.make_folder(self.output_dir / "chunks")
        for label in self.config["noise"]:
            atomic.make_folder(picture_path(self.output_dir, label, self.samples[0]).parent)

    def setup(self, worker: int, device: str) -> None:
        """See ``Job.setup``: build the configuration's objects once more, in this process, and load them."""
        node = dict(self.config["backbone"])
        if node.get("device", "auto") == "auto":
            node["device"] = device
        with under("backbone"):
            self.backbone: LoadedBackbone = build(node, "backbone").load()
        self.metrics: dict[str, Metric] = build_all(self.config["metric"], "metric")
        for metric in self.metrics.values():
            metric.load(self.backbone.device)
        self.methods: dict[str, NoiseMethod] = build_all(self.config["noise"], "noise")
        for method in self.methods.values():
            method.load(self.backbone, {name: self.metrics[name] for name in method.scorers})
        config = self.config
        sampling = Sampling(config["num_inference_steps"], config["guidance_scale"], config["sampler"], config["seed"])
        kept = Kept(lambda sample: sample.key in self.kept)
        self.evaluator = Evaluator(
            self.backbone, self.methods, self.metrics, sampling, config["batch_size"], kept, self.save_picture
        )
        self.batches_before = 0

    def run(self, chunk: int, report: Callable[[Advance], None]) -> None:
        """See ``Job.run``."""
        done = 0
        prompts = {sample.prompt for sample in self.chunk(chunk)}

        def after_batch(count: int, records: dict[str, MethodScores]) -> None:
            nonlocal done
            report(Advance(count - done, wins_of_batch(records, done)))
            done = count

        records = self.evaluator.run(self.chunk(chunk), after_batch)
        value = {
            "samples": [sample.key for sample in self.chunk(chunk)],
            "device": str(self.backbone.device),
            "first": self.batches_before == 0,  # its first batch also paid for starting up
            "methods": {label: _plain(record) for label, record in records.items()},
            "metrics": {
                name: {"truncated": sorted(prompts & metric.truncated), "smoke": metric.smoke}
                for name, metric in self.metrics.items()
            },
        }
        self.batches_before += 1
        atomic.write_json(self.marker(chunk), value)

    def save_picture(self, label: str, sample: Sample, picture: Tensor) -> None:
        """Write a kept picture; of a video the frame in the middle."""
        path = picture_path(self.output_dir, label, sample)
        try:
            path.write_bytes(encode_webp(picture, QUALITY))  # whole before the done-marker is, which is enough
        except OSError as error:
            raise atomic.cannot_write(path, error) from error


def num_kept(config: Mapping[str, Any], num_samples: int) -> int:
    """Return of how many samples, the first ones, every method's picture is kept: ``keep_images``."""
    keep = config["keep_images"]
    return num_samples if keep == "all" else min(int(keep), num_samples)


def picture_path(output_dir: Path, label: str, sample: Sample) -> Path:
    """Return where a method's picture of a sample lies."""
    return Path(output_dir) / "images" / label / f"{sample.key}.webp"


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


def read_chunk(job: EvaluationJob, index: int) -> dict[str, Any]:
    """Read a done-marker; the records are ``MethodScores`` again, NaN where JSON holds null."""
    value = json.loads(job.marker(index).read_text(encoding="utf-8"))
    # a marker's keys are sorted; methods and metrics go back to the order they were asked for
    value["methods"] = {
        label: _record(value["methods"][label], list(job.config["metric"])) for label in job.config["noise"]
    }
    return value


def _plain(record: MethodScores) -> dict[str, Any]:
    value = asdict(record)
    value["scores"] = {name: [_or_null(score) for score in scores] for name, scores in record.scores.items()}
    for trace in value["traces"]:
        trace["scores"] = [[_or_null(score) for score in scores] for scores in trace["scores"]]
    return value


def _record(plain: Mapping[str, Any], names: Sequence[str]) -> MethodScores:
    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    return MethodScores(
        scores={name: [number(score) for score in plain["scores"][name]] for name in names},
        cost=Cost(**plain["cost"]),
        batches=[(int(count), float(seconds)) for count, seconds in plain["batches"]],
        peak_bytes=plain["peak_bytes"],
        traces=[Trace(t["forwards"], [[number(s) for s in row] for row in t["scores"]]) for t in plain["traces"]],
    )


def _or_null(score: float) -> float | None:
    return score if abs(score) < float("inf") else None
