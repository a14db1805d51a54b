"""The job of a new selection: chunk i reads shard i of the old folder and writes shard i of the new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from collect.filling import ShardJob, fill_folder, hold
from collect.filter import FilterPlan
from collect.writer import ShardWriter
from npnet.data import schema
from npnet.data.shards import iterate_shard
from npnet.data.sidecars import TriedPair
from npnet.work.job import Advance, Workers

COPIED = ("cost", "forwards_per_pair", "device", "smallest_batch", "notes", "versions")
"""What a sidecar says of how its pairs were made, which a new selection does not change."""


class FilterJob(ShardJob):
    """The job of a selection; see ``ShardJob``."""

    def __init__(self, plan: FilterPlan) -> None:
        self.plan = plan
        super().__init__(plan.settings.output_dir, plan.request, [len(shard.tried) for shard in plan.source])

    def fill(
        self, chunk: int, writer: ShardWriter, advance: Callable[[Advance], None]
    ) -> tuple[list[TriedPair], dict[str, Any]]:
        """Copy what the rule keeps, every member checked before; see ``ShardJob.fill``."""
        source = self.plan.source[chunk]
        tried = [self.plan.judge(pair) for pair in source.tried]
        by_key = {pair.key: pair for pair in tried}
        where = str(source.path)
        for sample in iterate_shard(Path(source.path)):  # compares the checksum, and each pair with its sidecar, first
            schema.check(sample, where)
            pair = by_key[sample[schema.KEY]]
            if pair.written:
                writer.copy(schema.with_kept(sample, pair.kept, where))
        advance(Advance(len(tried)))
        return tried, {name: source.sidecar[name] for name in COPIED if name in source.sidecar}


def run(plan: FilterPlan, workers: Workers) -> None:
    """Write what is missing of the selection; a finished folder is left as it is.

    Raises:
        UserError: the folder holds something else; a source shard is not what it was.
    """
    job = FilterJob(plan)
    with hold(job, workers):
        fill_folder(job, workers, title="filtering", card=plan.settings.card, license=plan.settings.license)
