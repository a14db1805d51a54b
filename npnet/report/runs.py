"""Finished evaluations for ``compare``: their results, a line for each picture, and the digests of their cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.data.json_lines import read_json_lines
from npnet.errors import UserError
from npnet.evaluation.contract import FINISHED, SAMPLES, Results, read_results, samples_of
from npnet.evaluation.identity import FOLDER
from npnet.fields import checked
from npnet.untrusted import read_json

Key = tuple[str, int]
"""A sample: its prompt and its seed."""
_CONTENTS = ("methods", "spaces")


@dataclass(frozen=True)
class Run:
    """An evaluation.

    Attributes:
        name: its folder.
        results: content of ``results.json``.
        lines: method -> network -> sample -> its line of ``samples.jsonl``.
        digests: of the networks (``methods``) and of the spaces of features (``spaces``), by label, in its cells.
    """

    name: str
    results: Results
    lines: dict[str, dict[str, dict[Key, Any]]]
    digests: dict[str, dict[str, str]]

    @property
    def samples(self) -> list[Key]:
        """Return the samples, in order."""
        return list(next(iter(next(iter(self.lines.values())).values())))


def read_run(path: Path) -> Run:
    """Read an evaluation.

    Raises:
        UserError: a file is missing, cannot be read, or the two do not belong together.
    """
    folder = path.parent if path.name == "results.json" else path
    if not (folder / "results.json").is_file():
        raise UserError(f"{path}: no finished evaluation there (results.json is missing)")
    results = read_results(folder / "results.json")
    if not (folder / SAMPLES).is_file():
        raise UserError(f"{path}: samples.jsonl is missing (of an earlier version); npnet sweep shows its table")
    file = samples_of(folder, results)
    lines: dict[str, dict[str, dict[Key, Any]]] = {}
    for number, line in read_json_lines(file, str(file)):
        try:
            method, key = str(line["method"]), (str(line["prompt"]), int(line["seed"]))
            scores = {name: _number(line["scores"][name]) for name in results["metrics"]}
            forwards = float(line["cost"]["forwards"])
            network = str(line.get("network", method))
            noise = {str(name): value for name, value in line.get("noise", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{file}: line {number} is not of an evaluation") from error
        lines.setdefault(method, {}).setdefault(network, {})[key] = {
            "scores": scores,
            "forwards": forwards,
            "noise": noise,
        }
    whole = {len(samples) for networks in lines.values() for samples in networks.values()}
    if lines.keys() != results["methods"].keys() or whole != {results["num_pairs"]}:
        raise UserError(f"{file}: is not of the results.json beside it")
    return Run(str(folder), results, lines, _digests(folder))


def _digests(folder: Path) -> dict[str, dict[str, str]]:
    """Return what the cells of an evaluation are filed under; nothing where its results alone were copied."""
    found = read_json(folder / FINISHED) if (folder / FINISHED).is_file() and (folder / FOLDER).is_dir() else {}
    contents = found.get("contents", {}) if isinstance(found, dict) else {}
    return {key: checked(dict[str, str], contents.get(key, {}), f"{folder / FINISHED}: {key}") for key in _CONTENTS}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
