"""From a table and a setting to the project's own commands, each with its folder; nothing is composed or loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.papers.jobs import Job, word
from npnet.papers.setting import PromptChoice, Setting, settings
from npnet.papers.table import WHOLE, Role, Table, tables

FOLDER = Path("outputs/papers")


@dataclass(frozen=True)
class Asked:
    """What the user may say beside table and setting.

    Attributes:
        network_path: the whole network, instead of the shipped or trained one: a folder, a released ``.pth``.
        prompts_folder: where prompt files lie that are not fetched.
        methods: instead of the table's.
        train: train the whole network even where one is shipped.
        folder: of all outputs.
        keys: further keys of every evaluation, as for a small try.
    """

    network_path: str | None = None
    prompts_folder: Path | None = None
    methods: tuple[str, ...] = ()
    train: bool = False
    folder: Path = FOLDER
    keys: Mapping[str, Any] = field(default_factory=dict)


def plan(name: str, table: Table, where: str, asked: Asked) -> list[Job]:
    """Return the jobs of a table on a setting, in their order, each once.

    Args:
        name: of the table, which names its folder.
        table: the table.
        where: name of the setting, one on which it can be made.
        asked: what else was said.
    """
    if table.same_as:
        return plan(table.same_as, tables()[table.same_as], where, asked)
    setting = settings()[where]
    jobs: dict[Path, Job] = {}
    owner = setting.transfer.setting if table.transfer and setting.transfer else where
    labels = [*(asked.methods or table.methods)]
    roles = dict(table.networks)
    if WHOLE in labels and not asked.network_path and not (settings()[owner].shipped and not (asked.train or roles)):
        roles = {WHOLE: Role(), **roles}
    for label, role in roles.items():
        of = owner if label == WHOLE else where
        for job in _training(label, role, of, settings()[of], asked):
            jobs[job.output_dir] = job
    for job in _evaluations(name, table, where, setting, owner, labels, roles, asked):
        jobs[job.output_dir] = job
    return list(jobs.values())


def _training(label: str, role: Role, where: str, setting: Setting, asked: Asked) -> Iterator[Job]:
    """Collect, select and train what one network needs."""
    pairs, root = setting.pairs, asked.folder / where
    assert pairs is not None, "a setting with networks has pairs"
    own = "_".join(f"{key.rpartition('.')[2]}_{value}" for key, value in role.collect.items())
    folder = root / (f"pairs_{own}" if own else "pairs")
    metric = {} if setting.shipped else {"metric": list(_selecting(role))}
    if "metric" in role.filter:  # selections by several models need the scores of all
        folder = root / "pairs_four"
        metric = {"metric": ["pickscore", "hpsv2", "aes", "imagereward"]}
    collecting = {
        "backbone": setting.backbone,
        "prompts": pairs.use,
        "prompts.limit": pairs.prompts,
        "seeds.per_prompt": pairs.per_prompt,
        **metric,
        "keep_all": True,
        **pairs.keys,
        **role.collect,
    }
    yield Job("collect", folder, collecting, pairs.prompts)
    if role.filter:
        selected = root / "selections" / label.removesuffix("_equal_steps")
        yield Job("filter", selected, {"shards": str(folder), **role.filter})
        folder = selected
    training: dict[str, Any] = {**setting.networks[role.form], "data.shards": str(folder), **setting.recipe}
    training |= role.train
    count = num_pairs(label, role, setting)
    if pairs.count is not None or role.share != 1:
        training["data.max_pairs"] = count
    if role.equal_steps:
        whole = num_pairs(WHOLE, Role(), setting)
        training["trainer.max_epochs"] = math.ceil(training["trainer.max_epochs"] * whole / count)
    start = training.get("init_from")
    missing = None if start is None or Path(start).exists() else f"{start} is needed: the network to start from"
    for seed in setting.training_seeds:
        place = root / "networks" / label / f"seed_{seed}"
        yield Job("train", place, {**training, "seed": seed}, pairs=count, missing=missing)


def _selecting(role: Role) -> list[str]:
    return list(role.filter.get("metric", ["hpsv2"]))


def num_pairs(label: str, role: Role, setting: Setting) -> int:
    """Return how many pairs a network is trained on, by the kept shares that the setting states."""
    pairs = setting.pairs
    assert pairs is not None, "a setting with networks has pairs"
    tried = pairs.prompts * pairs.per_prompt
    kept = int(tried * pairs.kept.get(label.removesuffix("_equal_steps"), pairs.kept.get(WHOLE, 1.0)))
    if role.train.get("data.kept_only") is False:
        kept = tried
    return int(min(kept, pairs.count or kept) * role.share)


def _evaluations(
    name: str,
    table: Table,
    where: str,
    setting: Setting,
    owner: str,
    labels: list[str],
    roles: Mapping[str, Role],
    asked: Asked,
) -> Iterator[Job]:
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
    if WHOLE in methods and WHOLE in roles:
        keys["network_path"] = _networks(asked.folder / owner, WHOLE, settings()[owner])
    elif WHOLE in methods and asked.network_path:
        keys["network_path"] = asked.network_path
    elif WHOLE in methods and owner != where:
        keys["network_path"] = "npnet/shapes/weights/a/network"
    for label in methods:
        tuned = {**setting.methods.get(_known(label), {}), **table.method_keys.get(label, {})}
        if _known(label) != label and not tuned:
            tuned = {"num_inference_steps": setting.num_inference_steps}  # a key of it makes the label a node
        keys |= {f"noise.{label}.{key}": value for key, value in tuned.items()}
    for label in roles:
        if label != WHOLE:
            node = label.replace(".", "_")
            keys[f"+noise.{node}._target_"] = "npnet.noise.Network"
            keys[f"+noise.{node}.network_path"] = _networks(asked.folder / where, label, setting)
    keys |= setting.transfer.keys if table.transfer and setting.transfer else {}
    keys |= table.keys
    sweep = table.sweep_on.get(where, table.sweep)
    for prompts in [wanted for wanted in table.prompts if wanted in setting.prompts]:
        chosen, missing = _prompts(setting.prompts[prompts], asked)
        for case, of_case in (table.cases or {"": {}}).items():
            for values in itertools.product(*sweep.values()):
                point = dict(zip(sweep, values, strict=True))
                words = [case] * bool(case) + [f"{key}={word(value)}" for key, value in point.items()]
                folder = asked.folder / where / name / Path(prompts, *words)
                place = {"prompts": prompts, **({"case": case} if case else {}), **point}
                known = {**keys, **chosen, **of_case, **point, **asked.keys}
                yield Job("evaluate", folder, known, setting.prompts[prompts].count, None, place, missing)


def _prompts(choice: PromptChoice, asked: Asked) -> tuple[dict[str, Any], str | None]:
    keys: dict[str, Any] = {"prompts": choice.use, "prompts.limit": choice.count}
    if choice.file is None:
        return keys, None
    path = (asked.prompts_folder or Path()) / choice.file
    missing = None if path.is_file() else f"prompts_folder=DIR with {choice.file} is needed"
    return {**keys, "prompts.path": str(path)}, missing


def _networks(root: Path, label: str, setting: Setting) -> str:
    seeds = setting.training_seeds
    words = "{" + ",".join(map(str, seeds)) + "}" if len(seeds) > 1 else str(seeds[0])
    return str(root / "networks" / label / f"seed_{words}" / "network")


def _known(label: str) -> str:
    """Return the method whose name a label is, or continues."""
    methods = ("noise_diffusion", "erasure_injection", "semantic_erasure")
    return next((method for method in methods if label.startswith(method)), label)
