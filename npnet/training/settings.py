"""The keys of ``train.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from npnet.errors import FieldError
from npnet.training.objective import Objective, PairsObjective
from npnet.training.run_settings import RunSettings
from npnet.work import request as requests
from npnet.work.numerics import is_usual

NOT_REQUESTED = ("output_dir", "dry_run", "gpu", "workers", "task_name", "export_from", "license")
"""Keys that do not change what comes out."""

ON_PAIRS = {"_target_": "npnet.training.objective.PairsObjective", **asdict(PairsObjective())}
"""``objective=pairs``."""


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """What to train, on what, how, where to, and what is learnt.

    Attributes:
        objective: what is learnt; see ``RunSettings`` for the other keys.
    """

    objective: Objective = field(default_factory=PairsObjective)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective.check_run(self)


def request_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what a training comes to, as JSON values; paths in its own folder are no part of it.

    Args:
        config: the composed configuration, resolved.
    """
    folder = os.path.normpath(str(config["output_dir"]))

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, str) and value:
            path = os.path.normpath(value)
            if path == folder or path.startswith(folder + os.sep):
                return f"OUTPUT_DIR/{os.path.relpath(path, folder)}"
        return value

    wanted = {key: value for key, value in config.items() if key not in NOT_REQUESTED and not is_usual(key, value)}
    asked: dict[str, Any] = plain(wanted)
    asked["data"].pop("embeddings_cache", None)
    if asked["data"].get("decompositions_cache") is not None:  # where they are kept decides nothing, that they are does
        del asked["data"]["decompositions_cache"]
    if asked.get("objective") == ON_PAIRS:  # what runs did before they could be asked for another
        del asked["objective"]
    return asked


def check_folder(settings: TrainSettings, asked: Mapping[str, Any]) -> None:
    """Refuse a folder that is another request's; one that asks for more epochs of the run in it is no other.

    Raises:
        UserError: see ``requests.claim``.
    """
    requests.check(Path(settings.output_dir), lambda: asked_anew(settings, asked))


def asked_anew(settings: TrainSettings, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request that the run's folder must be of: as its own is, in what may differ.

    A finished run may be given more epochs, and a checkpoint may be exported in any dtype.

    Raises:
        FieldError: nothing but the dtype of a finished run's network differs.
    """
    folder = Path(settings.output_dir)
    if not (folder / requests.NAME).is_file():
        return asked
    there, asked = requests.read(folder), json.loads(json.dumps(asked))
    as_there = {**asked, "export_dtype": there.get("export_dtype")}
    if settings.export_from is not None:
        return as_there
    if asked != there and as_there == there:
        also = f"{folder} was made with {there['export_dtype']}; with export_from=best its network is exported so, too"
        raise FieldError("export_dtype", settings.export_dtype, also)
    return there if extends(asked, there) else asked


def extends(asked: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Return whether a request asks for more epochs than another one, and for nothing else."""
    epochs = [request.get("trainer", {}).get("max_epochs") for request in (asked, there)]
    if not all(isinstance(count, int) for count in epochs) or epochs[0] <= epochs[1]:
        return False
    return {**asked, "trainer": {**asked["trainer"], "max_epochs": epochs[1]}} == there
