"""The collection: chunk i becomes shard i; each pair is tried, scored and selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from collect.filling import ShardJob, fill_folder, hold
from collect.plan import CollectionPlan
from collect.selection import verdict
from collect.watch import Watch
from collect.writer import ShardWriter
from npnet.compatibility import check_ready
from npnet.data import schema
from npnet.data.sidecars import TriedPair
from npnet.engine.pairs import PairMaker, ScoredPairs
from npnet.engine.writing import Writer
from npnet.records import NoisePair
from npnet.work.job import Advance, Workers


class CollectJob(ShardJob):
    """The job of a collection; see ``ShardJob``."""

    def __init__(self, plan: CollectionPlan) -> None:
        self.plan = plan
        sizes = [len(plan.chunk(chunk)) for chunk in range(plan.num_chunks)]
        super().__init__(plan.settings.output_dir, plan.request, sizes)
        self.maker: PairMaker | None = None

    def setup(self, worker: int, device: str) -> None:
        """Load the model, the noise method and the metrics."""
        self.maker = self.plan.settings.load(device)

    def fill(
        self, chunk: int, writer: ShardWriter, advance: Callable[[Advance], None]
    ) -> tuple[list[TriedPair], dict[str, Any]]:
        """Try the pairs of the chunk; see ``ShardJob.fill``."""
        maker, settings = self.maker, self.plan.settings
        assert maker is not None, "setup comes first"
        maker.start_chunk()
        before = maker.spent
        tried: list[TriedPair] = []
        samples = self.plan.chunk(chunk)
        with Writer() as background:  # pictures are encoded beside the sampling
            for batch in maker.batches(samples, maker.encode(samples), settings.batch_size):
                entries = [self._judge(batch, row) for row in range(len(batch.samples))]
                for row, entry in enumerate(entries):
                    if entry.written:
                        images = batch.images and (batch.images[0][row], batch.images[1][row])
                        background.submit(writer.add, self._pair(batch, row, entry), entry.prompt_index, images)
                tried += entries
                kept = sum(entry.kept for entry in entries)
                advance(Advance(len(entries), {"tried": len(entries), "kept": kept}))
        cost = maker.spent - before
        return tried, {
            "cost": vars(cost),
            "forwards_per_pair": cost.forwards / len(tried),
            "device": _device_name(maker.backbone.device),
            "smallest_batch": maker.smallest_batch,
            "notes": {label: metric.notes() for label, metric in maker.scorers.items() if metric.notes()},
        }

    def _judge(self, batch: ScoredPairs, row: int) -> TriedPair:
        sample, scores = batch.samples[row], batch.scores[row]
        reason = self.plan.settings.rule.reject_reason(scores)
        kept, written = verdict(reason, self.plan.settings.keep_all)
        return TriedPair(sample.key, sample.prompt, sample.prompt_index, sample.seed, scores, kept, reason, written)

    def _pair(self, batch: ScoredPairs, row: int, entry: TriedPair) -> NoisePair:
        return NoisePair(
            key=entry.key,
            prompt=entry.prompt,
            seed=entry.seed,
            source_noise=batch.source_noise[row],
            golden_noise=batch.golden_noise[row],
            scores=entry.scores,
            kept=entry.kept,
            prompt_embeds=schema.prompt_embeds(batch.conditioning, row) if self.plan.settings.keep_embeds else None,
        )


def run(plan: CollectionPlan, workers: Workers) -> None:
    """Collect the missing shards of the plan's folder; a finished folder is not changed.

    Raises:
        UserError: a device that is not here; the folder is another request's, or is being worked on; see ``run_job``.
    """
    check_ready(plan.settings.backbone, plan.settings.noise)
    job = CollectJob(plan)
    with hold(job, workers), Watch.of(plan.settings) as watch:
        fill_folder(
            job, workers, title="collecting", card=plan.settings.card, license=plan.settings.license, describe=watch
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
