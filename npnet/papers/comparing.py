"""The evaluations of a table on a setting: methods, networks, and sweeps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from npnet import paths
from npnet.papers.asked import MPS_WEIGHTS, Asked
from npnet.papers.jobs import Job, word
from npnet.papers.setting import PromptChoice, Setting
from npnet.papers.table import WHOLE, Role, Table


def shipped_network() -> Path:
    """Return the folder of the network of the published form that ships with Shapes."""
    return paths.shapes_weights() / "network_paper"


def evaluations(
    name: str, table: Table, where: str, owner: str, labels: list[str], roles: Mapping[str, Role], asked: Asked
) -> Iterator[Job]:
    """Return the evaluations of a table.

    Args:
        name: of the table.
        table: the table.
        where: the setting's name.
        owner: name of the setting whose network is applied.
        labels: of the methods.
        roles: of the networks that are trained.
        asked: what else was said.
    """
    setting = asked.setting(where)
    methods = [label for label in labels if label not in roles or label == WHOLE]
    keys: dict[str, Any] = {
        "backbone": setting.backbone,
        "noise": [label for label in methods if _known(label) == label],
        "metric": list(setting.metrics if where.startswith("shapes") or not table.metrics else table.metrics),
        "num_inference_steps": setting.num_inference_steps,
        "guidance_scale": setting.guidance_scale,
        "seeds.range": list(setting.seeds.range),
        "seeds.per_prompt": setting.seeds.per_prompt,
        "optimised": [m for m in setting.optimised if m in (table.metrics or setting.metrics)],
        **setting.keys,
    }
    weights, lacks = asked.input(MPS_WEIGHTS)
    if "mps" in keys["metric"] and lacks is None:
        keys["metric.mps.path"] = str(weights)
    elif "metric.mps.path" not in asked.keys:  # its weights are not fetched
        keys["metric"] = [metric for metric in keys["metric"] if metric != "mps"]
    if WHOLE in methods:
        keys |= whole_network(where, owner, WHOLE in roles, asked)
    for label in methods:
        tuned = {**setting.methods.get(_known(label), {}), **table.method_keys.get(label, {})}
        if _known(label) != label and not tuned:
            tuned = {"num_inference_steps": setting.num_inference_steps}  # a key of it makes the label a node
        keys |= {f"noise.{label}.{key}": value for key, value in tuned.items()}
    for label, role in roles.items():
        if label != WHOLE:
            node, path = label.replace(".", "_"), _networks(asked.root(where), role.network_of or label, setting)
            if role.network_of is None:
                keys |= {f"+noise.{node}._target_": "npnet.noise.Network", f"+noise.{node}.network_path": path}
            else:
                keys |= {f"noise.{node}.{key}": value for key, value in {**role.applied, "network_path": path}.items()}
    keys |= setting.transfer.keys if table.transfer and setting.transfer else {}
    keys |= {**table.keys, **table.keys_on.get(where, {})}
    own_cases = table.cases_on.get(where, {})
    sweep = table.sweep_on.get(where, table.sweep)
    for prompts in [wanted for wanted in table.prompts if wanted in setting.prompts]:
        chosen, missing = prompts_of(setting.prompts[prompts], asked)
        for case, of_case in (table.cases or {"": {}}).items():
            for values in itertools.product(*sweep.values()):
                point = dict(zip(sweep, values, strict=True))
                words = [case] * bool(case) + [f"{key}={word(value)}" for key, value in point.items()]
                folder = asked.root(where) / name / Path(prompts, *words)
                place = {"prompts": prompts, **({"case": case} if case else {}), **point}
                known = {**keys, **chosen, **asked.keys, **of_case, **own_cases.get(case, {}), **point}
                yield Job("evaluate", folder, known, setting.prompts[prompts].count, None, place, missing)


def whole_network(where: str, owner: str, is_trained: bool, asked: Asked) -> dict[str, str]:
    """Return the keys that choose the whole network; of the setting's own model, the shipped one of the published form.

    Args:
        where: the setting's name.
        owner: name of the setting whose network is applied.
        is_trained: whether the plan trains it.
        asked: what else was said.
    """
    if is_trained:
        return {"network_path": _networks(asked.root(owner), WHOLE, asked.setting(owner))}
    if asked.network_path is not None:
        return {"network_path": asked.network_path}
    return {f"noise.{WHOLE}.shipped": "paper"} if owner == where else {"network_path": str(shipped_network())}


def start_of(name: str, asked: Asked) -> str:
    """Return the whole network of a setting, from which another setting's training starts."""
    found = asked.setting(name)
    first = asked.root(name) / "networks" / WHOLE / f"seed_{found.training_seeds[0]}" / "network"
    return str(shipped_network() if found.shipped else first)


def prompts_of(choice: PromptChoice, asked: Asked) -> tuple[dict[str, Any], str | None]:
    """Return the keys of a prompt set, and what is missing for it."""
    keys: dict[str, Any] = {"prompts": choice.use, "prompts.limit": choice.count}
    if choice.file is None:
        return keys, None
    path, missing = asked.input(choice.file)
    return {**keys, "prompts.path": str(path)}, missing


def _networks(root: Path, label: str, setting: Setting) -> str:
    seeds = setting.training_seeds
    words = "{" + ",".join(map(str, seeds)) + "}" if len(seeds) > 1 else str(seeds[0])
    return str(root / "networks" / label / f"seed_{words}" / "network")


def _known(label: str) -> str:
    """Return the method whose name a label is, or continues."""
    methods = ("noise_diffusion", "erasure_injection", "semantic_erasure")
    return next((method for method in methods if label.startswith(method)), label)
