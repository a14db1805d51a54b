"""A new selection of pairs that were collected before: ``npnet filter shards=DIR output_dir=DIR ...``.

The sidecars hold the scores of both sides of every tried pair, so another rule needs no model. Shard i of the new
folder holds the pairs of the old shard i that the rule keeps. It equals, byte for byte, the shard that ``collect.py``
would have written with that rule. The old folder is only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from collect.plan import FORMAT
from collect.selection import NOT_FINITE, verdict
from collect.settings import FilterSettings
from npnet.cli import run
from npnet.data.checksums import data_sha256
from npnet.data.sidecars import Shard, TriedPair, list_shards
from npnet.description import imported
from npnet.errors import FieldError
from npnet.settings import read, resolved
from npnet.work.request import check as check_folder
from npnet.work.request import digest

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class FilterPlan:
    """A selection to be made.

    Attributes:
        settings: the command's keys.
        source: the finished shards.
        metrics: labels of those that select.
    """

    settings: FilterSettings
    source: Sequence[Shard] = field(repr=False)
    metrics: Sequence[str]

    def judge(self, pair: TriedPair) -> TriedPair:
        """Return a tried pair as the new rule sees it."""
        reason = NOT_FINITE
        if pair.reason != NOT_FINITE:
            reason = self.settings.rule.reject_reason({metric: pair.scores[metric] for metric in self.metrics})
        kept, written = verdict(reason, self.settings.keep_all and pair.written)
        return replace(pair, kept=kept, reason=reason, written=written)

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return the source's request under the new rule; ``filtered_from`` says where the pairs come from."""
        settings, old = self.settings, self.source[0].request
        return {
            "format": FORMAT,
            **old,
            "selection": settings.selection,
            "margin": settings.margin,
            "weights": settings.weights,
            "keep_all": settings.keep_all,
            "num_samples": sum(len(shard.tried) for shard in self.source),
            "num_chunks": len(self.source),
            "selected_by": settings.rule.selected_by(self.metrics),
            "filtered_from": {
                "shards": settings.shards,
                "request_sha256": digest(old),
                "shards_sha256": data_sha256(shard.sidecar["sha256"] for shard in self.source),
                **({"filtered_from": old["filtered_from"]} if "filtered_from" in old else {}),
            },
        }


def make_filter_plan(cfg: Any) -> FilterPlan:
    """Check the configuration against the source's sidecars.

    Raises:
        UserError: a value that cannot be, an unfinished or changed source, a metric that was not scored, or a rule
            that would keep pairs whose noises the source does not hold.
    """
    settings = read(FilterSettings, resolved(cfg))
    source = list_shards(settings.source)
    plan = FilterPlan(settings, source, _metrics(settings, source))
    settings.check_weights(plan.metrics)
    _require_written(plan)
    return plan


def _metrics(settings: FilterSettings, source: Sequence[Shard]) -> list[str]:
    scored = list(next((pair.scores for shard in source for pair in shard.tried), {}))
    asked = list(settings.metric) or source[0].request.get("selected_by") or scored
    where, allowed = settings.shards, ", ".join(scored)
    for metric in asked:
        if any(metric not in pair.scores for shard in source for pair in shard.tried):
            raise FieldError("metric", asked, f"{where} was not scored by {metric}; allowed: {allowed}")
    return asked


def _require_written(plan: FilterPlan) -> None:
    missing = [old for shard in plan.source for old in shard.tried if plan.judge(old).kept and not old.written]
    if missing:
        first = f"{missing[0].key}, rejected then as {missing[0].reason!r}"
        lacks = f"does not hold {len(missing)} pairs that this rule keeps (the first: {first})"
        needed = f"was collected with keep_all=false and {lacks}; collect with keep_all=true, or choose a stricter rule"
        raise FieldError("shards", plan.settings.shards, needed)


def filter_pairs(cfg: DictConfig) -> None:
    """Write the selection that ``cfg`` asks for into ``cfg.output_dir``; a finished folder is left as it is.

    Raises:
        UserError: see ``make_filter_plan``; the folder holds something else; a source shard is not what it was.
    """
    plan = make_filter_plan(cfg)
    workers = plan.settings.crew()
    check_folder(plan.settings.output_dir, lambda: plan.request)
    if plan.settings.dry_run:
        tried = [plan.judge(pair) for shard in plan.source for pair in shard.tried]
        kept = sum(pair.kept for pair in tried)
        print(f"would keep {kept} of {len(tried)} pairs ({kept / len(tried):.1%}), by {', '.join(plan.metrics)}")
        print(f"written to {plan.settings.output_dir}")
    else:
        imported("collect.filtering:run")(plan, workers)


def main() -> None:
    """Run the command line."""
    run("filter")


if __name__ == "__main__":
    main()
