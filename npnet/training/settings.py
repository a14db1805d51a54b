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
    """The keys of ``train.py``, with the objective.

    Attributes:
        objective: the objective; see ``RunSettings`` for the other keys.
    """

    objective: Objective = field(default_factory=PairsObjective)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective.check_run(self)


def request_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides the result of a training, as JSON values, without paths in its own folder.

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
    if asked["data"].get("decompositions_cache") is not None:  # the folder itself does not matter
        del asked["data"]["decompositions_cache"]
    if asked.get("objective") == ON_PAIRS:  # the behaviour of runs before this key existed
        del asked["objective"]
    return asked


def check_folder(settings: TrainSettings, asked: Mapping[str, Any]) -> None:
    """Refuse a folder of another request; a request for more epochs of the same run is allowed.

    Raises:
        UserError: see ``requests.claim``.
    """
    requests.check(Path(settings.output_dir), lambda: asked_anew(settings, asked))


def asked_anew(settings: TrainSettings, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request that the run's folder must have; what may differ is taken from the folder.

    A finished run may get more epochs, and a checkpoint may be exported in any dtype.

    Raises:
        FieldError: only the dtype of a finished run's network differs.
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
    """Return whether a request differs from another one only by more epochs."""
    epochs = [request.get("trainer", {}).get("max_epochs") for request in (asked, there)]
    if not all(isinstance(count, int) for count in epochs) or epochs[0] <= epochs[1]:
        return False
    return {**asked, "trainer": {**asked["trainer"], "max_epochs": epochs[1]}} == there
