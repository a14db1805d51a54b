"""GenEval's task accuracies (Ghosh et al. 2023), from a detector's output file or by a detector in this process.

    npnet geneval results.jsonl
    npnet geneval results.jsonl images=DIR

The published figures come from a detector in GenEval's own environment (Mask2Former of MMDetection, and CLIP). The
first command summarises the file of that detector. The second command runs a detector of transformers by the same
rules, and writes and summarises a file of the same form, which names the detector. Its figures cannot be compared with
published ones.

A file has one line for each picture, a JSON object with ``filename``, ``tag`` (the task), ``prompt``, ``correct`` and
``metadata``. The overall score is the mean of the tasks' accuracies, as published: all tasks have the same weight,
although they have 80 to 100 prompts each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.arguments import asked
from npnet.data.json_lines import read_records
from npnet.description import Description, imported
from npnet.ending import end
from npnet.errors import FieldError
from npnet.fields import Name
from npnet.weights.sources import check_source
from npnet.work.atomic import check_new

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
SUMMARY = "Summarise the results of GenEval's detector, or run a detector here."
POSITIONAL = ("results",)


@dataclass(frozen=True)
class GenEvalSettings(Description):
    """The keys of ``geneval``.

    Attributes:
        results: the detector's output file, JSON lines; with images= it is written.
        images: pictures in GenEval's layout, to run a detector here.
        metadata: GenEval's evaluation_metadata.jsonl, for pictures in another layout, such as those of evaluate.py.
        detector: of transformers: instance segmentation, or boxes alone.
        clip: reads the colours.
        device: what computes.
    """

    results: str
    images: Path | None = None
    metadata: Path | None = None
    detector: Name = "facebook/mask2former-swin-small-coco-instance"
    clip: Name = "openai/clip-vit-large-patch14"
    device: Name = "cpu"

    def check(self) -> None:
        """See ``Description.check``."""
        if self.images is None:
            if self.metadata is not None:
                raise FieldError("metadata", self.metadata, "images=DIR is needed too")
            return
        check_new(Path(self.results), "results")
        check_source(self.detector, "detector", ["config.json"])
        check_source(self.clip, "clip", ["config.json"])


@dataclass(frozen=True)
class Task:
    """One task: ``accuracy`` = correct / pictures, in [0, 1]."""

    accuracy: float
    correct: int
    pictures: int
    prompts: int


@dataclass(frozen=True)
class GenEval:
    """What ``summary`` returns.

    Attributes:
        overall: mean of the tasks' accuracies.
        tasks: by name, in the published order.
        pictures: share of all pictures that are correct.
        prompts: share of prompts with at least one correct picture.
        missing: published tasks that the file does not have; ``overall`` is then not the published score.
        detector: what detected in this process; None for the file of another detector.
    """

    overall: float
    tasks: dict[str, Task]
    pictures: float
    prompts: float
    missing: tuple[str, ...]
    detector: Mapping[str, Any] | None = None


def read(path: str | Path) -> list[dict[str, Any]]:
    """Return the records of a detector's output file.

    Raises:
        UserError: the file does not exist, or a line is not a record of GenEval.
    """
    return read_records(Path(path), f"geneval: {path}", _fault, ["detector"])


def _fault(record: Any) -> str | None:
    if isinstance(record, dict) and not isinstance(record.get("detector", {}), dict):
        return "has a detector that is no object"
    lacking = [key for key in ("tag", "prompt", "correct") if not isinstance(record, dict) or key not in record]
    if lacking:
        return f"lacks {', '.join(lacking)}"
    return None if isinstance(record["correct"], bool) else f"has correct={record['correct']!r}, not true or false"


def summary(records: Iterable[Mapping[str, Any]]) -> GenEval:
    """Return the task accuracies of a detector's records.

    Pictures belong to one prompt when their ``metadata`` agree (their ``prompt`` where there is none).
    """
    records = list(records)
    found = list(dict.fromkeys(str(record["tag"]) for record in records))
    order = [*(task for task in TASKS if task in found), *(task for task in found if task not in TASKS)]
    tasks = {}
    for name in order:
        own = [record for record in records if record["tag"] == name]
        correct = sum(bool(record["correct"]) for record in own)
        tasks[name] = Task(correct / len(own), correct, len(own), len({_identity(record) for record in own}))
    solved: dict[str, bool] = {}
    for record in records:
        solved[_identity(record)] = solved.get(_identity(record), False) or bool(record["correct"])
    return GenEval(
        overall=sum(task.accuracy for task in tasks.values()) / len(tasks),
        tasks=tasks,
        pictures=sum(task.correct for task in tasks.values()) / len(records),
        prompts=sum(solved.values()) / len(solved),
        missing=tuple(task for task in TASKS if task not in found),
        detector=records[0].get("detector"),
    )


def _identity(record: Mapping[str, Any]) -> str:
    metadata = record.get("metadata", record["prompt"])
    return metadata if isinstance(metadata, str) else json.dumps(metadata, sort_keys=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``read``.
    """
    settings = asked(GenEvalSettings, arguments, "geneval", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    settings.check()
    if settings.images is not None:
        imported("npnet.metrics.runtime.geneval:run")(settings)
    result = summary(read(settings.results))
    for name, task in result.tasks.items():
        print(f"{name:<16} {100 * task.accuracy:6.2f} %  ({task.correct} of {task.pictures} pictures)")
    print(f"{'pictures':<16} {100 * result.pictures:6.2f} %")
    print(f"{'prompts':<16} {100 * result.prompts:6.2f} %  (at least one picture correct)")
    note = f"  (not the published score: no {', '.join(result.missing)})" if result.missing else ""
    print(f"{'overall':<16} {result.overall:.5f}{note}")
    if result.detector is not None:
        made_by = f"{result.detector.get('name')}, SHA-256 {str(result.detector.get('sha256'))[:16]}"
        print(f"detected in this process by {made_by}: not comparable with figures of the published detector")
    return 0


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
