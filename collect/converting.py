"""The job of a conversion: chunk i becomes shard i."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from collect.convert import ConvertPlan
from collect.filling import ShardJob, fill_folder, hold
from collect.npz import read_npz
from collect.published import Found
from collect.selection import NOT_FINITE, Selection, verdict
from collect.writer import ShardWriter
from npnet.data.sidecars import TriedPair
from npnet.records import NoisePair
from npnet.work.job import Advance, Workers


class ConvertJob(ShardJob):
    """The job of a conversion; see ``ShardJob``."""

    def __init__(self, plan: ConvertPlan) -> None:
        self.plan = plan
        sizes = [len(plan.chunk(chunk)) for chunk in range(plan.num_chunks)]
        super().__init__(plan.settings.output_dir, plan.request, sizes)

    def fill(
        self, chunk: int, writer: ShardWriter, advance: Callable[[Advance], None]
    ) -> tuple[list[TriedPair], dict[str, Any]]:
        """Read the pairs' files and write them; see ``ShardJob.fill``."""
        tried = [self._convert(pair, writer) for pair in self.plan.chunk(chunk)]
        advance(Advance(len(tried)))
        return tried, {}

    def _convert(self, pair: Found, writer: ShardWriter) -> TriedPair:
        sample = pair.sample
        source, golden = read_npz(pair.path, sample.prompt_index)
        scores = dict(zip(self.plan.metrics, pair.line.scores, strict=True))
        reason = Selection().reject_reason({name: scores[name] for name in self.plan.metrics[:1]})
        if not all(bool(torch.isfinite(noise.half()).all()) for noise in (source, golden)):
            reason = NOT_FINITE
        kept, written = verdict(reason, keep_all=True)
        if written:
            made = NoisePair(sample.key, sample.prompt, sample.seed, source, golden, scores, kept)
            writer.add(made, sample.prompt_index)
        return TriedPair(sample.key, sample.prompt, sample.prompt_index, sample.seed, scores, kept, reason, written)


def run(plan: ConvertPlan, workers: Workers) -> None:
    """Write what is missing of the shards; a finished folder is left as it is.

    Raises:
        UserError: the folder holds something else; see ``read_npz``.
    """
    job = ConvertJob(plan)
    with hold(job, workers):
        fill_folder(job, workers, title="converting", card=True)
