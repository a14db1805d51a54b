"""A new selection of pairs that were collected before: ``python -m collect.filter shards=DIR output_dir=DIR ...``.

Both sides' scores of every pair that was tried are in the sidecars, so another rule needs no model. Shard i of the new
folder holds what the rule keeps of shard i of the old one, and is, byte for byte, the shard that ``collect.py`` would
have written under that rule. The old folder is only read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collect.plan import FORMAT, check_weights, digest
from collect.selection import NOT_FINITE, RULES, Selection, verdict
from npnet import checks
from npnet.cli import run
from npnet.data.sidecars import Shard, TriedPair, list_shards, shard_path
from npnet.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COPIED = ("cost", "forwards_per_pair", "device", "smallest_batch", "notes", "versions")
"""What a sidecar says of how its pairs were made, which a new selection does not change."""


@dataclass(frozen=True)
class FilterPlan:
    """A selection to be made.

    Attributes:
        config: the resolved configuration.
        source: the finished shards.
        metrics: labels of those that select.
    """

    config: dict[str, Any]
    source: Sequence[Shard] = field(repr=False)
    metrics: Sequence[str]

    @property
    def output_dir(self) -> Path:
        """Return the new folder."""
        return Path(self.config["output_dir"])

    @property
    def selection(self) -> Selection:
        """Return the keep rule."""
        return Selection.from_config(self.config)

    def judge(self, candidate: TriedPair) -> TriedPair:
        """Return a candidate as the new rule sees it."""
        reason = NOT_FINITE
        if candidate.reason != NOT_FINITE:
            reason = self.selection.reject_reason({metric: candidate.scores[metric] for metric in self.metrics})
        kept, written = verdict(reason, self.config["keep_all"] and candidate.written)
        return replace(candidate, kept=kept, reason=reason, written=written)

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return the source's request under the new rule; ``filtered_from`` says where the pairs come from."""
        old = self.source[0].request
        tars = json.dumps([shard.sidecar["sha256"] for shard in self.source])
        return {
            "format": FORMAT,
            **old,
            **{key: self.config[key] for key in ("selection", "margin", "weights", "keep_all")},
            "num_samples": sum(len(shard.tried) for shard in self.source),
            "num_chunks": len(self.source),
            "selected_by": self.selection.selected_by(list(self.metrics)),
            "filtered_from": {
                "shards": self.config["shards"],
                "request_sha256": digest(old),
                "shards_sha256": hashlib.sha256(tars.encode()).hexdigest(),
                **({"filtered_from": old["filtered_from"]} if "filtered_from" in old else {}),
            },
        }

    @cached_property
    def request_sha256(self) -> str:
        """Return the digest that every sidecar carries."""
        return digest(self.request)


def make_filter_plan(cfg: DictConfig) -> FilterPlan:
    """Check the configuration against the source's sidecars.

    Raises:
        UserError: a value that cannot be, an unfinished or changed source, a metric that was not scored, or a rule
            that would keep pairs whose noises the source does not hold.
    """
    from omegaconf import OmegaConf

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    checks.all_finite(config)
    checks.text(config, "output_dir")
    checks.number(config, "margin")
    for key in ("keep_all", "dry_run", "card"):
        checks.boolean(config, key)
    checks.choice(config, "selection", RULES)
    if not config["shards"]:
        raise UserError("shards=DIR is needed: a folder that collect.py left, best one with keep_all=true")
    folder, output_dir = Path(checks.text(config, "shards")), Path(config["output_dir"])
    if output_dir.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"output_dir={output_dir}: lies in shards={folder}, which is only read; choose another folder")
    source = list_shards(folder)
    plan = FilterPlan(config, source, _metrics(config, source))
    check_weights(config, list(plan.metrics))
    _require_written(plan)
    return plan


def _metrics(config: dict[str, Any], source: Sequence[Shard]) -> list[str]:
    scored = list(next((c.scores for shard in source for c in shard.tried), {}))
    asked = list(config.get("metric") or {}) or source[0].request.get("selected_by") or scored
    for metric in asked:
        if any(metric not in c.scores for shard in source for c in shard.tried):
            raise UserError(
                f"metric=[{','.join(asked)}]: {config['shards']} was not scored by {metric}; "
                f"allowed: {', '.join(scored)}"
            )
    return asked


def _require_written(plan: FilterPlan) -> None:
    missing = [old for shard in plan.source for old in shard.tried if plan.judge(old).kept and not old.written]
    if missing:
        first = missing[0]
        raise UserError(
            f"shards={plan.config['shards']}: was collected with keep_all=false and does not hold {len(missing)} pairs "
            f"that this rule keeps (the first: {first.key}, rejected then as {first.reason!r}); collect with "
            "keep_all=true, or choose a stricter rule"
        )


def filter_pairs(cfg: DictConfig) -> None:
    """Write the selection that ``cfg`` asks for into ``cfg.output_dir``; a finished folder is left as it is.

    Raises:
        UserError: see ``make_filter_plan``; the folder holds something else; a source shard is not what it was.
    """
    plan = make_filter_plan(cfg)
    tried = [plan.judge(candidate) for shard in plan.source for candidate in shard.tried]
    kept = sum(candidate.kept for candidate in tried)
    if plan.config["dry_run"]:
        print(f"would keep {kept} of {len(tried)} pairs ({kept / len(tried):.1%}), by {', '.join(plan.metrics)}")
        print(f"written to {plan.output_dir}")
        return

    from collect.finish import finish
    from collect.summary import print_summary
    from collect.survey import survey
    from collect.writer import is_finished
    from npnet.work import lock
    from npnet.work.progress import Progress

    with lock.hold(plan.output_dir, plan.request):
        places = [shard_path(plan.output_dir, number) for number in range(len(plan.source))]
        pending = [number for number, path in enumerate(places) if not is_finished(path, plan.request_sha256)]
        finished = len(tried) - sum(len(plan.source[number].tried) for number in pending)
        with Progress("filtering", lambda values: "", finished, len(tried)) as progress:
            progress.begin()
            for number in pending:
                progress.add(_filter_shard(plan, plan.source[number], places[number]))
        if not pending:
            print("finished already: nothing to do")
        found = survey(plan.output_dir)
        if plan.config["card"]:
            finish(found)
        print_summary(found)


def _filter_shard(plan: FilterPlan, source: Shard, path: Path) -> Any:
    from collect.writer import ShardWriter, write_sidecar
    from npnet.data import schema
    from npnet.data.shards import iterate_shard
    from npnet.work.job import Advance

    tried = [plan.judge(candidate) for candidate in source.tried]
    by_key = {candidate.key: candidate for candidate in tried}
    found = 0
    with ShardWriter(path) as writer:
        for sample in iterate_shard(Path(source.path)):  # compares the tar's checksum first
            candidate = by_key.get(sample[schema.KEY])
            if candidate is None:
                raise UserError(f"{source.path}: holds {sample[schema.KEY]}, which its sidecar does not list")
            found += 1
            if candidate.written:
                writer.copy(schema.with_kept(sample, candidate.kept, str(source.path)))
        if found != len(source.written):
            raise UserError(f"{source.path}: holds {found} pairs, its sidecar lists {len(source.written)}")
    copied = {name: source.sidecar[name] for name in COPIED if name in source.sidecar}
    facts = {**copied, "request": plan.request, "request_sha256": plan.request_sha256}
    write_sidecar(path, writer, tried, facts)
    return Advance(len(tried), {})


def main() -> None:
    """Run the command line."""
    run("filter")


if __name__ == "__main__":
    main()
