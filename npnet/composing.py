"""Errors of Hydra and OmegaConf as one line, and the help of a command."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from npnet.errors import UserError, one_line, unknown
from npnet.experiments import experiments
from npnet.key_comments import annotated
from npnet.option_files import member
from npnet.paths import config_dir, options


def check_flags(arguments: Sequence[str]) -> Any:
    """Read Hydra's flags; its own parser prints its usage and leaves by itself.

    Raises:
        UserError: a flag is unknown, or several do not go together.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (keys are written KEY=VALUE; --help shows them)")

    vars(parser)["error"] = refuse
    args = parser.parse_intermixed_args(list(arguments))
    modes = [args.run, args.multirun, args.cfg, args.info, args.shell_completion]
    if sum(bool(mode) for mode in modes) > 1 or (args.resolve and not args.cfg):
        refuse("flags that do not go together (--run, --multirun, --cfg, --info; --resolve goes with --cfg)")
    return args


def composition_error(name: str, error: BaseException, folders: Sequence[Path]) -> str:
    """Turn a configuration error of Hydra or OmegaConf into one line that names the wrong value and the choices.

    Args:
        name: of the command.
        error: what was raised.
        folders: that YAML groups are looked up in, see ``paths.config_dirs``.
    """
    text = str(error)
    if match := re.search(r"An item is already at '([^']*)'", text):
        return f"+{match[1]}: this key already exists; write {match[1]}=VALUE, without the +"
    if match := re.match(r"Additional config directory '([^']*)' not found", text):
        return f"--config-dir {match[1]}: no such folder"
    if match := re.match(r"Could not override '([^']*)'", text):
        return _unknown_key(name, match[1], error, folders)
    if match := re.search(r"Could not (?:load|find) '([^']*)/([^'/]*)'", text):
        own = "; for one of your own, add --config-dir DIR" if not folders[:-1] else ""
        return f"{unknown(match[1], match[2], options(match[1], folders))}{own}"
    text = re.split(r"\n\s*(?:Config search path|Set hydra\.searchpath|See https?:|full_key:|object_type=)", text)[0]
    text = text.removeprefix("KeyError raised while resolving interpolation: ")
    key = getattr(error, "full_key", None)
    if key and str(key) not in text:
        text = f"{key}: {text}"
    override = getattr(error, "override", None)
    if override is not None and str(override) not in text:
        text = f"{override}: cannot be read as KEY=VALUE: {text}"
    cause = error.__cause__
    if cause is not None and str(cause) and str(cause).split("\n")[0] not in text:
        text += ": " + str(cause).split("\n")[0]
    return one_line(text)


def wrong_group(arguments: Sequence[str], error: ValueError, folders: Sequence[Path]) -> str:
    """Say which group was given something else than a name of one of its files."""
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        allowed = options(group, folders) if group.isidentifier() else {}
        names = value.strip("[]")
        if allowed and names and not set(names.split(",")) & set(allowed):
            return f"{argument}: a name is needed, or a list of names; allowed: {', '.join(allowed)}"
    return one_line(error)


def help_text(name: str, summary: str, folders: Sequence[Path], overrides: Sequence[str] = ()) -> str:
    """Return a command's help: its groups with their choices, its experiments in a line each, and its keys.

    Args:
        name: of the command.
        summary: what it does, in a line.
        folders: see ``paths.config_dirs``.
        overrides: what else was typed; the keys are shown as they would be with it.
    """
    cfg = _composed(name, folders, overrides)
    lines = [f"npnet {name} [KEY=VALUE ...]", "", summary, ""]
    lines += ["Choices:"]
    groups = sorted(path.name for path in config_dir().iterdir() if path.is_dir() and path.name in cfg)
    lines += [f"  {f'{group}=':<11}{', '.join(options(group, folders))}" for group in groups]
    found = experiments(name, folders)
    if found:
        width = max(map(len, found))
        lines += ["", "Experiments (complete configurations), chosen with experiment=NAME:"]
        lines += [f"  {experiment:<{width}}  {text}".rstrip() for experiment, text in found.items()]
    keys = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    lines += ["", "Keys and their current values:", "", annotated(OmegaConf.to_yaml(keys).rstrip(), cfg, name, folders)]
    if "dry_run" in keys:
        lines += ["", "dry_run=true shows what would be done. --multirun runs the command for several values of a key."]
    return "\n".join(lines)


def _composed(name: str, folders: Sequence[Path], overrides: Sequence[str] = ()) -> DictConfig:
    GlobalHydra.instance().clear()
    paths = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[:-1])}]"] if folders[:-1] else []
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(name, [*overrides, *paths], return_hydra_config=True)


def _unknown_key(name: str, key: str, error: BaseException, folders: Sequence[Path]) -> str:
    """Say which key was probably meant."""
    keys = _keys(_composed(name, folders))
    if key in keys:
        return f"the key {key!r} cannot have this value: {one_line(str(error.__cause__).split(chr(10))[0])}"
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    if key.startswith(("noise.", "metric.")):
        group, label, *rest = key.split(".")
        if group not in keys:
            told = "npnet collect and npnet evaluate have it, and estimate it with dry_run=true"
            return f"the key {key!r} is not known: npnet {name} has no {group}; {told}"
        if f"{group}.{label}" not in keys:
            return _unknown_in_member(key, group, label, ".".join(rest), hint, folders)
    return f"the key {key!r} is not known{hint}; --cfg job shows all keys"


def _unknown_in_member(key: str, group: str, label: str, rest: str, hint: str, folders: Sequence[Path]) -> str:
    """Say what is wrong with a key of a member that is not in the configuration."""
    file = options(group, folders).get(label)
    if file is None:
        such = f"{'npnet' if group == 'noise' else 'hpsv2'}_mine"
        names = f"a label starts with the name of a member, such as {such}, and has only letters, digits and _"
        return f"the key {key!r} is not known{hint}; {names}"
    own = [name for name in member(file) if name != "_target_"]
    if rest in own:
        return f"the key {key!r} is of a member that is not chosen; add {label} to {group}=[...]"
    near = difflib.get_close_matches(rest, own, n=1)
    told = f" (did you mean {near[0]!r}?)" if near else f"; allowed: {', '.join(own)}"
    return f"the key {key!r} is not known{told}"


def _keys(node: Any, where: str = "") -> list[str]:
    keys = []
    for key in node:
        path = f"{where}{key}"
        child = node._get_node(key)
        keys += [path, *(_keys(child, f"{path}.") if isinstance(child, DictConfig) and not child._is_none() else [])]
    return keys
