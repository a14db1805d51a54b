"""The comments of the YAML files beside the keys that a command's help shows: what each key means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from npnet.paths import config_dir, options

_LINE = re.compile(r"(?P<space> *)(?P<key>[A-Za-z_]\w*):(?:\s[^#]*?)?(?:\s+#\s*(?P<comment>.*))?")
_COLUMN = 44


def annotated(text: str, cfg: DictConfig, name: str, folders: Sequence[Path]) -> str:
    """Return a composed configuration with what its files say of each key.

    Args:
        text: the configuration as YAML.
        cfg: the same, with Hydra's own node.
        name: of the command.
        folders: see ``paths.config_dirs``.
    """
    comments: dict[str, str] = {}
    for file, prefix in _files(cfg, name, folders):
        for path, comment, _ in _keys(file.read_text(encoding="utf-8")):
            if comment:
                comments[f"{prefix}{path}"] = comment
    lines = text.splitlines()
    for path, _, number in _keys(text):
        if path in comments:
            lines[number] = f"{lines[number]:<{_COLUMN}} # {comments[path]}"
    return "\n".join(lines)


def _files(cfg: DictConfig, name: str, folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the files that the configuration was composed from, each with the path that its keys stand under."""
    choices: Mapping[str, str | None] = cfg.hydra.runtime.choices
    for choice, chosen in choices.items():
        group, _, package = choice.partition("@")
        file = options(group, folders).get(chosen or "")
        if file is not None and not group.startswith("hydra/"):
            yield file, "" if group == "run" else f"{package or group}."
    for key in map(str, cfg):
        labels = cfg[key] if isinstance(cfg[key], DictConfig) else {}
        known = options(key, folders) if key not in choices else {}
        yield from ((known[str(label)], f"{key}.") for label in labels if label in known)
    yield config_dir() / f"{name}.yaml", ""


def _keys(text: str) -> Iterator[tuple[str, str | None, int]]:
    """Yield the keys of a YAML text: dotted path, comment at the end of its line, and line number from 0."""
    above: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines()):
        if match := _LINE.fullmatch(line):
            depth = len(match["space"])
            above = [(other, key) for other, key in above if other < depth] + [(depth, match["key"])]
            yield ".".join(key for _, key in above), match["comment"], number
