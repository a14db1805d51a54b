"""Quality against diversity against cost, from an evaluation that kept its pictures and drew several seeds a prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from npnet.data.prompts import Sample
from npnet.drawing import figures, sheets
from npnet.drawing.palette import style_of
from npnet.errors import UserError
from npnet.metrics import statistics
from npnet.metrics.diversity import by_prompt, mean_pairwise_distance, vendi_score
from npnet.metrics.runtime.features import SPACES

REFERENCE = "standard"


@dataclass
class Method:
    """What one method did: a list for each sample, in the evaluation's order; pictures ``(N, 3, H, W)`` in [0, 1]."""

    prompts: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    forwards: list[float] = field(default_factory=list)
    pictures: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def read_methods(folder: Path) -> dict[str, Method]:
    """Read ``samples.jsonl`` and ``images/`` of an evaluation.

    Raises:
        UserError: the folder holds no finished evaluation, or not every picture was kept.
    """
    file = folder / "samples.jsonl"
    if not file.is_file():
        raise UserError(f"{file}: not there; run evaluate.py into this folder first")
    methods: dict[str, Method] = {}
    order: dict[str, int] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        method = methods.setdefault(row.get("network", row["method"]), Method())
        method.prompts.append(row["prompt"])
        method.keys.append(Sample(order.setdefault(row["prompt"], len(order)), row["prompt"], row["seed"]).key)
        method.forwards.append(row["cost"]["forwards"])
        for name, score in row["scores"].items():
            method.scores.setdefault(name, []).append(float("nan") if score is None else score)
    for label, method in methods.items():
        files = [folder / "images" / label / f"{key}.webp" for key in method.keys]
        if missing := sum(not path.is_file() for path in files):
            raise UserError(f"{folder}: {missing} pictures of {label} were not kept; evaluate with keep_images=all")
        method.pictures = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in files])
        method.pictures = method.pictures.permute(0, 3, 1, 2).float() / 255
    return methods


def diversity(method: Method, space: str) -> tuple[list[str], list[float], list[float]]:
    """Return the prompts with several pictures, and of each the mean pairwise distance and the Vendi score."""
    kind, groups = SPACES[space], by_prompt(method.prompts)
    found = kind.features(method.pictures, method.prompts)
    distances = [mean_pairwise_distance(found[rows]) for rows in groups.values()]
    return list(groups), distances, [vendi_score(kind.similarity(found[rows])) for rows in groups.values()]


def share_where_right(method: Method, standard: Method, space: str, metric: str) -> tuple[float, Any, int]:
    """Return a method's share of standard's distance over the prompts whose every picture is right by both.

    Where pictures are wrong a space that reads them can see distances that mean nothing.

    Args:
        method: of the share.
        standard: what it is a share of, on the same samples.
        space: a key of ``SPACES``.
        metric: which says 1 of what is right.

    Returns:
        The share, its interval, and the number of prompts.
    """
    right = [min(pair) == 1 for pair in zip(method.scores[metric], standard.scores[metric], strict=True)]
    kept = {prompt: own for prompt, own in by_prompt(method.prompts).items() if all(right[row] for row in own)}
    spreads = []
    for side in (method, standard):
        found = SPACES[space].features(side.pictures, side.prompts)
        spreads.append([mean_pairwise_distance(found[own]) for own in kept.values()])
    ours, theirs = spreads
    interval = statistics.ratio_interval(ours, theirs, list(kept)) if kept else (None, None)
    return sum(ours) / sum(theirs) if kept else float("nan"), interval, len(kept)


def rows(methods: Mapping[str, Method], metrics: Sequence[str], spaces: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each method: means, differences to standard, and shares of its diversity, with intervals."""
    standard = {space: diversity(methods[REFERENCE], space) for space in spaces}
    table = []
    for label, method in methods.items():
        row: dict[str, Any] = {"method": label, "forwards": float(np.mean(method.forwards))}
        for name in metrics:
            row[name] = statistics.means(method.scores[name], method.prompts)[0]
            row[f"{name} gain"] = paired(methods, label, REFERENCE, name)
        for space in spaces:
            prompts, spread, vendi = diversity(method, space)
            _, usual, _ = standard[space]
            row[space] = statistics.means(spread, prompts)[0]
            row[f"{space} share"] = (sum(spread) / sum(usual), statistics.ratio_interval(spread, usual, prompts))
            row[f"{space} vendi"] = statistics.means(vendi, prompts)[0]
        table.append(row)
    return table


def paired(methods: Mapping[str, Method], one: str, other: str, metric: str) -> statistics.Comparison:
    """Return one method against another by a metric, on the same samples."""
    return statistics.compare(methods[one].scores[metric], methods[other].scores[metric], methods[one].prompts)[0]


def to_markdown(table: Sequence[Mapping[str, Any]], metrics: Mapping[str, float], spaces: Sequence[str]) -> str:
    """Return the rows as a Markdown table; ``metrics`` are labels with what their scores are multiplied by."""
    heads = ["noise", "forwards"]
    for name in metrics:
        heads += [name, f"{name}, gain"]
    for space in spaces:
        heads += [f"{space}: distance", "share of standard's, %", "Vendi"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in table:
        cells = [row["method"], f"{row['forwards']:.0f}"]
        for name, scale in metrics.items():
            gain = row[f"{name} gain"]
            cells.append(_with(row[name].mean, row[name].interval, scale, 2 if scale == 1 else 1))
            plain = row["method"] == REFERENCE
            cells.append("" if plain else _with(gain.mean_difference, gain.difference_interval, scale, 1, "+"))
        for space in spaces:
            share, interval = row[f"{space} share"]
            cells += [f"{row[space].mean:.3f}", _with(share, interval, 100, 0), f"{row[f'{space} vendi'].mean:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with(value: float, interval: Sequence[float | None], scale: float, digits: int, sign: str = "") -> str:
    low, high = (float("nan") if end is None else scale * end for end in interval)
    return f"{scale * value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def plot(table: Sequence[Mapping[str, Any]], metric: str, space: str, path: Path) -> None:
    """Draw quality against the share of standard's diversity; a point's area grows with its forwards."""
    with figures.styled(1, 1, (7.0, 4.4), dpi=150) as (figure, [axis]):
        for number, row in enumerate(table):
            share, (low, high) = row[f"{space} share"]
            style = {**style_of(number), "markersize": 4 + row["forwards"] ** 0.5, "linestyle": "none", "alpha": 0.85}
            axis.errorbar(
                100 * share,
                100 * row[metric].mean,
                xerr=figures.whiskers(share, (low, high), 100),
                yerr=figures.whiskers(row[metric].mean, row[metric].interval, 100),
                label=f"{row['method']} ({row['forwards']:.0f} forwards)",
                elinewidth=1.0,
                **style,
            )
        axis.set_xlabel(f"diversity: distance of {space}, % of standard's")
        axis.set_ylabel(f"quality: {metric}, %")
        axis.grid(visible=True, linewidth=0.5, alpha=0.5)
        figures.without_frame(axis)
        axis.legend(fontsize=8, loc="lower left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.save(figure, path)


def contact_sheet(methods: Mapping[str, Method], num_prompts: int, metric: str, path: Path) -> None:
    """Draw every seed of the first prompts, a row for each method: what diversity looks like."""
    places = [row for own in list(by_prompt(methods[REFERENCE].prompts).values())[:num_prompts] for row in own]
    sheets.draw_side_by_side(
        path,
        [methods[REFERENCE].prompts[row] for row in places],
        {_short(label): [method.pictures[row] for row in places] for label, method in methods.items()},
        {
            _short(label): ["right" if method.scores[metric][row] == 1 else "wrong" for row in places]
            for label, method in methods.items()
        },
        f"the seeds of {num_prompts} prompts side by side; right or wrong by {metric}",
        cell=72,
    )


def _short(label: str) -> str:
    return label.replace("best_of_", "best")
