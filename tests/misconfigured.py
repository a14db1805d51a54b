"""Bad and odd configurations: the typical mistakes at every key of a composed configuration, drawn from a seed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from npnet.cli import COMMANDS
from npnet.composing import composition_error, wrong_group
from npnet.description import imported
from npnet.errors import UserError, one_line
from npnet.experiments import check_experiment
from npnet.labels import with_new_labels, with_open_keys
from npnet.paths import config_dir, config_dirs

VALUES = {
    "null": ["null"],
    "negative": ["-1", "-0.5"],
    "zero": ["0"],
    "huge": ["99999999999999999999999", "1e300", "4294967296"],
    "fraction": ["0.5"],
    "not finite": ["nan", "inf", "-inf"],
    "text": ["nosuch", "'3'", "'a b'", "/nosuch/path"],
    "empty": ["''"],
    "list": ["[]", "[1,2]", "[[1]]", "[null]"],
    "mapping": ["{}", "{a:1}", "{_target_:builtins.dict}"],
    "boolean": ["true"],
    "interpolation": ["'${nosuch}'", "'${oc.env:NOSUCH_VARIABLE}'"],
    "control": ["'a\\x1b[31mb'", "'a\\0b'"],
}
"""Kind of mistake -> what is typed after ``=``."""
TARGETS = ["builtins.dict", "os.getcwd", "nosuch.Nowhere", "npnet.metrics.Nowhere", "3", "null", "''", "[]"]


@dataclass(frozen=True)
class Mistake:
    """One override of a command, and the kind of mistake it is."""

    command: str
    key: str
    kind: str
    override: str

    def __str__(self) -> str:
        return f"{self.command} {self.override}"


@dataclass(frozen=True)
class Outcome:
    """How a command took a configuration: what it printed, the error line, or the exception that is a bug."""

    line: str | None = None
    bug: BaseException | None = None
    printed: str = ""


def composed(command: str, overrides: list[str]) -> DictConfig:
    """Return a command's configuration, as ``npnet COMMAND OVERRIDES`` composes it."""
    folders = config_dirs(overrides)
    check_experiment(command, overrides, folders)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        typed = with_open_keys(overrides) if command == "train" else overrides
        return compose(command, with_new_labels(typed, folders))


def tried(command: str, overrides: list[str]) -> Outcome:
    """Run a command in this process; as ``npnet.command`` does, but exceptions are handed back."""
    out, folders = StringIO(), config_dirs(overrides)
    try:
        with redirect_stdout(out), redirect_stderr(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imported(COMMANDS[command].place)(composed(command, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        return Outcome(composition_error(command, error, folders))
    except UserError as error:
        return Outcome(str(error) if one_line(error) != str(error) else one_line(error))
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("Config group override"):
            return Outcome(wrong_group(overrides, error, folders))
        return Outcome(bug=error)
    return Outcome(printed=out.getvalue())


def keys_of(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key of a configuration with what stands there; groups too, before what is in them."""
    for key in node:
        child = node._get_node(key)
        path = f"{where}{key}"
        yield path, child
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from keys_of(child, f"{path}.")


def mistakes(command: str, base: list[str], draw: random.Random, left_out: tuple[str, ...]) -> list[Mistake]:
    """Return the typical mistakes at every key of a command's configuration; of each kind one value is drawn."""
    config = composed(command, base)
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
    found = []
    for key, node in keys_of(config):
        if key.split(".")[0] == "hydra" or key in left_out:
            continue
        if key.endswith("._target_"):
            values = [("foreign", target) for target in TARGETS]
        elif isinstance(node, DictConfig) and key in groups:
            values = [("wrong name", "nosuch"), ("null", "null")]
        else:
            values = [(kind, draw.choice(texts)) for kind, texts in VALUES.items()]
        found += [Mistake(command, key, kind, f"{key}={value}") for kind, value in values]
        found.append(Mistake(command, key, "deleted", f"~{key}"))
        if isinstance(node, DictConfig) and not node._is_none():
            found.append(Mistake(command, f"{key}.no_such_key", "unknown key", f"+{key}.no_such_key=1"))
            found.append(Mistake(command, f"{key}.no_such_key", "unknown key", f"{key}.no_such_key=1"))
    return found
