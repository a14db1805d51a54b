"""The pictures of a figure without scores, made by ``npnet generate`` as PNG files, so without loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npnet.errors import FieldError
from npnet.papers.asked import CONTROL, FISH, INCEPTION, Asked
from npnet.papers.comparing import whole_network
from npnet.papers.jobs import Job
from npnet.papers.setting import Setting
from npnet.papers.table import WHOLE, Table
from npnet.untrusted import parse_json
from npnet.work.request import digest

METADATA = "metadata.jsonl"
"""A line for each control image: ``{"file_name": ..., "text": its prompt, "case": canny}``."""


def pictures(name: str, table: Table, where: str, labels: list[str], is_trained: bool, asked: Asked) -> Iterator[Job]:
    """Return the jobs for the pictures of a figure: one folder for each method, or for each control image.

    Args:
        name: of the table.
        table: the table.
        where: the setting's name.
        labels: of the methods.
        is_trained: whether the plan trains the whole network.
        asked: what else was said.

    Raises:
        FieldError: a line of the control images' list is of another form.
    """
    setting = asked.setting(where)
    keys = {
        "backbone": setting.backbone,
        "num_inference_steps": setting.num_inference_steps,
        "guidance_scale": setting.guidance_scale,
        "seeds.list": None,
        "seeds.range": list(setting.seeds.range),
        **table.keys,
    }
    path = whole_network(where, where, is_trained, asked) if WHOLE in labels else {}
    folder = asked.root(where) / name
    if table.shows == "fid":
        yield from _of_classes(folder, table, setting, labels, keys, path, asked)
    else:
        yield from _controlled(folder, table, labels, {**keys, **path}, asked)


def _of_classes(
    folder: Path,
    table: Table,
    setting: Setting,
    labels: list[str],
    keys: dict[str, Any],
    path: dict[str, str],
    asked: Asked,
) -> Iterator[Job]:
    """Yield a folder of pictures for each method."""
    prompts = list(table.texts)
    keys = {**keys, "prompts": "list", "prompts.list": prompts}
    if asked.smoke:
        keys |= {"seeds.per_prompt": 1}
    missing = asked.input(FISH)[1] or asked.input(INCEPTION)[1]
    for label in labels:
        own = {f"noise.{label}.{key}": value for key, value in setting.methods.get(label, {}).items()}
        job = {**keys, "noise": [label], **(path if label == WHOLE else {}), **own}
        own_folder = folder / (label + _mark(asked) if label == WHOLE else label)
        yield Job("generate", own_folder, job, len(prompts), None, {"method": label}, missing)


def _controlled(folder: Path, table: Table, labels: list[str], keys: dict[str, Any], asked: Asked) -> Iterator[Job]:
    """Yield a sheet for each control image; a job that says what is missing where there are none."""
    images, missing = asked.input(f"{CONTROL}/{METADATA}")
    if missing:
        none = {"prompts": "list", "prompts.list": [missing]}
        first = next(iter(table.cases.values()))
        yield Job("generate", folder, {**keys, "noise": labels, **first, **none}, 0, None, {}, missing)
        return
    folder = folder.with_name(folder.name + _mark(asked))
    for number, line in enumerate(images.read_text(encoding="utf-8").splitlines()):
        try:
            found = parse_json(line.encode())
            file, text, case = (str(found[key]) for key in ("file_name", "text", "case"))
            of_case = table.cases[case]
        except (ValueError, TypeError, KeyError) as error:
            form = f'{{"file_name": FILE, "text": PROMPT, "case": {" or ".join(table.cases)}}} is needed'
            raise FieldError(f"{images}: line {number + 1}", line, form) from error
        own = {"+backbone.control_image": str(images.parent / file), "prompts": "list", "prompts.list": [text]}
        place = {"case": case, "prompt": text}
        yield Job("generate", folder / f"{case}_{number}", {**keys, "noise": labels, **of_case, **own}, 1, None, place)


def _mark(asked: Asked) -> str:
    """Return an ending for the folder of a network of the user's own, so that another one gets its own pictures."""
    return "" if asked.network_path is None else f"_{digest({'network_path': asked.network_path})[:8]}"
