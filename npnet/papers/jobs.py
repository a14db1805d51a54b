"""One resumable command of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.arguments import quoted
from npnet.data.checksums import file_sha256
from npnet.evaluation.contract import read_results
from npnet.evaluation.training_seeds import expand
from npnet.networks.stored import WEIGHTS_FILE

FINISHED = {
    "collect": "README.md",
    "filter": "README.md",
    "train": "network/config.json",
    "generate": "sheet.png",
    "toy": "toy.json",
}
"""What a finished command leaves in its folder."""


@dataclass(frozen=True)
class Job:
    """One resumable command.

    Attributes:
        command: collect, filter, train, evaluate or generate; or toy, which ``npnet paper`` makes by itself.
        output_dir: its folder.
        keys: dotted key -> value; ``+`` in front adds a key.
        prompts: number of its prompts; None without prompts.
        pairs: of a training, as far as the setting states it.
        place: of an evaluation in its table: key -> value, prompts and case included.
        missing: why it cannot run yet.
    """

    command: str
    output_dir: Path
    keys: Mapping[str, Any]
    prompts: int | None = None
    pairs: int | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None

    @property
    def overrides(self) -> list[str]:
        """Return the command's arguments."""
        return [f"{key}={grammar(value)}" for key, value in {**self.keys, "output_dir": str(self.output_dir)}.items()]

    @property
    def is_there(self) -> bool:
        """Return whether the command has finished in its folder; for an evaluation, with any methods."""
        return self._last_file.is_file()

    @property
    def is_done(self) -> bool:
        """Return whether the command has finished in its folder; for an evaluation, with all that is wanted of it.

        So a table with other prompts or another network is made anew: the evaluation computes what is new.

        Raises:
            UserError: existing results cannot be read.
        """
        if self.command != "evaluate" or not self.is_there:
            return self.is_there
        results = read_results(self._last_file)
        metrics = set(self.keys.get("metric", ()))
        wanted = results["methods"].keys() >= self.labels and results["metrics"].keys() >= metrics
        return wanted and not any(_differs(key, value, results["settings"]) for key, value in self.keys.items())

    @property
    def _last_file(self) -> Path:
        return self.output_dir / FINISHED.get(self.command, "results.json")

    @property
    def labels(self) -> set[str]:
        """Return the labels of the noise methods that are wanted."""
        nodes = {key.split(".")[1] for key in self.keys if key.lstrip("+").startswith("noise.")}
        return {*self.keys.get("noise", ()), *nodes}

    def __str__(self) -> str:
        if self.command == "toy":
            return "a toy model, trained and measured in this process"
        words = (f'"{word}"' if set(word) & set("'[]{}$ ") else word for word in self.overrides)
        return " ".join(["npnet", self.command, *words])


def _differs(key: str, value: Any, settings: Mapping[str, Any]) -> bool:
    """Say whether an evaluation had another value of a key; of a group's option, only the keys are known."""
    if key.endswith("network_path"):
        label = key.split(".")[1] if "." in key else "npnet"
        nodes, _ = expand({label: {"network_path": value}})
        found = [settings.get("noise", {}).get(name, {}).get("network_path") for name in nodes]
        return not all(map(_are_one, found, (node["network_path"] for node in nodes.values())))
    there: Any = settings
    for name in key.lstrip("+").split("."):
        if not isinstance(there, Mapping) or name not in there:
            return False
        there = there[name]
    return not isinstance(there, Mapping) and there != (list(value) if isinstance(value, tuple) else value)


def _are_one(one: str | None, other: str | None) -> bool:
    """Say whether two networks are the same, also where one of them is a copy."""
    files = [Path(path, WEIGHTS_FILE) for path in (one, other) if path is not None]
    return one == other or (len(files) == 2 and all(map(Path.is_file, files)) and len({*map(file_sha256, files)}) == 1)


def grammar(value: Any) -> str:
    """Write a value as Hydra reads it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(grammar, value)) + "]"
    if isinstance(value, str) and (not value.replace("_", "").isalnum() or value in ("off", "on", "null")):
        return quoted(value)
    return str(value)


def word(value: Any) -> str:
    """Write the value of a swept key as a part of a path, a range as 0-1024."""
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def published_place(job: Job, backbone: str) -> dict[str, Any]:
    """Return the keys of the rows in a published table that correspond to an evaluation of ``backbone``."""
    place = {"backbone": backbone, **job.place}
    if "seeds.range" in place:
        place["seeds"] = word(place.pop("seeds.range"))
    return place


def point_of(job: Job) -> str:
    """Return the swept values as a text."""
    return " ".join(f"{key}={word(value)}" for key, value in job.place.items() if key != "prompts")
