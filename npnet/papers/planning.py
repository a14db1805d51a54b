"""The plan of a table on a setting: the project's own commands, each with its folder; nothing is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from npnet.papers import comparing, drawing
from npnet.papers.asked import TRAINING_PAIRS, Asked
from npnet.papers.jobs import Job
from npnet.papers.setting import Pairs, Setting
from npnet.papers.table import EVALUATED, WHOLE, Role, Table, tables

PLAIN = Role()
SIZES = ("prompts.limit", "seeds.per_prompt")
"""Keys of a collection that say how many pairs are tried; a smoke test has its own."""
TRAININGS = 10
"""Of a toy, each with noises of its own."""


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
    if table.shows == "toy":
        return [Job("toy", asked.root(where) / name, {"trainings": 1 if asked.smoke else TRAININGS})]
    found = (
        [_collecting(PLAIN, where, asked)] if table.shows == "singular_vectors" else _made(name, table, where, asked)
    )
    return list({job.output_dir: job for job in found}.values())


def _made(name: str, table: Table, where: str, asked: Asked) -> Iterator[Job]:
    """Train the networks, and compare them."""
    setting = asked.setting(where)
    owner = setting.transfer.setting if table.transfer and setting.transfer else where
    labels = [*(asked.methods or table.methods_on.get(where, table.methods))]
    roles = table.networks_of(where)
    if WHOLE in labels and not asked.network_path and not (asked.setting(owner).shipped and not (asked.train or roles)):
        roles = {WHOLE: PLAIN, **roles}
    for label, role in ((label, role) for label, role in roles.items() if role.network_of is None):
        yield from _training(label, role, owner if label == WHOLE else where, asked)
    if table.shows in EVALUATED:
        yield from comparing.evaluations(name, table, where, owner, labels, roles, asked)
    if table.shows in ("fid", "controlled"):
        yield from drawing.pictures(name, table, where, labels, WHOLE in roles, asked)


def _collecting(role: Role, where: str, asked: Asked) -> Job:
    """Collect the pairs of a network."""
    setting, root = asked.setting(where), asked.root(where)
    pairs = _pairs(setting)
    own = role.collection or "_".join(f"{key.rpartition('.')[2]}_{value}" for key, value in role.collect.items())
    folder = root / (f"pairs_{own}" if own else "pairs")
    metric = {} if setting.shipped or where.startswith("shapes") else {"metric": role.filter.get("metric", ["hpsv2"])}
    if "metric" in role.filter:  # selections by several models need the scores of all
        folder = root / "pairs_four"
        metric = {"metric": ["pickscore", "hpsv2", "aes", "imagereward"]}
    prompts: dict[str, Any] = {
        "prompts": pairs.use,
        "prompts.limit": pairs.prompts,
        "seeds.per_prompt": pairs.per_prompt,
    }
    listed, lacks = asked.input(TRAINING_PAIRS)
    if lacks is None and not where.startswith("shapes"):
        folder = folder.with_name(f"{folder.name}_listed")
        prompts = {"prompts": "file", "prompts.path": str(listed), "seeds.list": "own"}
    tuned = {k: v for k, v in pairs.keys.items() if not ("noise" in role.collect and k.startswith("noise."))}
    own_keys = {key: value for key, value in role.collect.items() if not (asked.smoke and key in SIZES)}
    keys = {"backbone": setting.backbone, **prompts, **metric, "keep_all": True, **tuned, **own_keys}
    return Job("collect", folder, keys, keys.get("prompts.limit"))


def _training(label: str, role: Role, where: str, asked: Asked) -> Iterator[Job]:
    """Collect, select and train what one network needs."""
    setting, root = asked.setting(where), asked.root(where)
    if role.experiment is not None:
        shared = {"experiment": role.experiment, "backbone": setting.backbone, **_small(asked), **role.train}
        yield from _seeds(label, role, shared, where, asked)
        return
    collecting = _collecting(role, where, asked)
    yield collecting
    folder = collecting.output_dir
    if role.filter:
        selected = root / "selections" / label.removesuffix("_equal_steps")
        yield Job("filter", selected, {"shards": str(folder), **role.filter})
        folder = selected
    training: dict[str, Any] = {**setting.networks[role.form], "data.shards": str(folder), **setting.recipe}
    training |= {**role.train, **setting.recipes.get(label, {})}
    count = num_pairs(label, role, setting)
    if _pairs(setting).count is not None or role.share != 1:
        training["data.max_pairs"] = count
    if role.equal_steps:
        whole = num_pairs(WHOLE, PLAIN, setting)
        training["trainer.max_epochs"] = math.ceil(training["trainer.max_epochs"] * whole / count)
    if isinstance(begin := training.get("init_from"), Mapping):
        other = begin["setting"]
        if not asked.setting(other).shipped:
            yield from _training(WHOLE, PLAIN, other, asked)
        training["init_from"] = comparing.start_of(other, asked)
    yield from _seeds(label, role, training, where, asked, count)


def _seeds(
    label: str, role: Role, shared: dict[str, Any], where: str, asked: Asked, pairs: int | None = None
) -> Iterator[Job]:
    """Train one network with each training seed."""
    folder = asked.root(where) / "networks"
    for seed in asked.setting(where).training_seeds:
        begun = {} if role.init_from is None else {"init_from": str(folder / role.init_from / f"seed_{seed}/network")}
        keys = {**shared, **begun, "seed": seed}
        yield Job("train", folder / label / f"seed_{seed}", keys, pairs=pairs)


def _small(asked: Asked) -> dict[str, Any]:
    """Return what makes the training of an experiment as short as a test of everything needs."""
    return {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2} if asked.smoke else {}


def _pairs(setting: Setting) -> Pairs:
    assert setting.pairs is not None, "a setting with networks has pairs"
    return setting.pairs


def num_pairs(label: str, role: Role, setting: Setting) -> int:
    """Return how many pairs a network is trained on, by the kept shares that the setting states."""
    pairs = _pairs(setting)
    tried = role.collect.get("prompts.limit", pairs.prompts) * role.collect.get("seeds.per_prompt", pairs.per_prompt)
    kept = int(tried * pairs.kept.get(label.removesuffix("_equal_steps"), pairs.kept.get(WHOLE, 1.0)))
    if role.train.get("data.kept_only") is False:
        kept = tried
    return int(min(kept, pairs.count or kept) * role.share)
