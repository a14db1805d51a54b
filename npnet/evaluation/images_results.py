"""Means of pictures from elsewhere, in the schema of ``results.py`` under the label ``images``, and the table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich import table as tables

from npnet.drawing.terminal import add_row, cell, console
from npnet.evaluation.contract import Entry, ImageResults, ScorerFacts
from npnet.evaluation.results import SCHEMA_VERSION, plain
from npnet.evaluation.versions import versions
from npnet.metrics import Metric, statistics
from npnet.metrics.traits import notes
from npnet.pictures.layout import Picture
from npnet.pictures.opener import rotation_note

LABEL = "images"
Table = Mapping[str, Sequence[float | None]]
"""Metric label -> the score of each picture, in order; None where it is not finite."""


def to_lines(pictures: Sequence[Picture], table: Table) -> bytes:
    """Return the bytes of ``scores.jsonl``: one record for each picture, in order."""
    lines = []
    for index, picture in enumerate(pictures):
        record: dict[str, Any] = {"image": str(picture.path), "sha256": picture.digest, "prompt": picture.prompt}
        if picture.tag is not None:
            record["tag"] = picture.tag
        record["scores"] = {label: scores[index] for label, scores in table.items()}
        lines.append(json.dumps(record, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def make_results(
    asked: Mapping[str, Any],
    pictures: Sequence[Picture],
    metrics: Mapping[str, Metric],
    table: Table,
    facts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> ImageResults:
    """Return means with 95 % intervals over prompts.

    Args:
        asked: the keys that decide the results, as plain values.
        pictures: in their order.
        metrics: by label.
        table: the scores.
        facts: the notes of the cache's runs on each metric.
    """
    prompts = [picture.prompt for picture in pictures]
    note = rotation_note(sum(picture.is_rotated for picture in pictures))
    numbers = [[math.nan if score is None else score for score in table[label]] for label in metrics]
    averages = statistics.means(numbers, prompts, asked["num_resamples"])
    entries: dict[str, Entry] = {}
    noted: dict[str, ScorerFacts] = {}
    for (label, metric), average in zip(metrics.items(), averages, strict=True):
        truncated = {prompt for fact in facts[label] for prompt in fact["truncated"]} & set(prompts)
        smoke = any(fact["smoke"] for fact in facts[label])
        remarks = [remark for fact in facts[label] for remark in fact.get("remarks", [])]  # earlier caches have none
        entries[label] = {
            "mean": average.mean,
            "interval": list(average.interval),
            "count": average.count,
            "missing": average.missing,
            "display_scale": metric.display_scale,
            "optimised": False,
        }
        noted[label] = {
            "display_scale": metric.display_scale,
            "random_weights": smoke,
            "notes": [*notes(smoke, truncated, metric.text_length), *dict.fromkeys(remarks)],
        }
    made: ImageResults = {
        "schema_version": SCHEMA_VERSION,
        "num_pairs": len(pictures),
        "num_prompts": len(set(prompts)),
        "smoke": any(about["random_weights"] for about in noted.values()),
        "methods": {LABEL: {"metrics": entries, "versus": {}}},
        "metrics": noted,
        "notes": [note] if note else [],
        "settings": dict(asked),
        "versions": versions(),
    }
    return cast(ImageResults, plain(made))


def print_results(results: ImageResults) -> None:
    """Print the means as a table."""
    table = tables.Table(title=cell(f"{results['num_pairs']} pictures, {results['num_prompts']} prompts"))
    for name in ("metric", "mean", "95 % interval", "pictures"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for label, entry in results["methods"][LABEL]["metrics"].items():
        mean, low, high = (
            "-" if value is None else f"{entry['display_scale'] * value:.4g}"
            for value in (entry["mean"], *entry["interval"])
        )
        add_row(table, [label, mean, f"{low} to {high}", entry["count"]])
    screen = console()
    screen.print(table)
    for label, noted in results["metrics"].items():
        for note in noted["notes"]:
            screen.print(cell(f"{label}: {note}"))
    for note in results["notes"]:
        screen.print(cell(note))
