"""The collection as a job of ``npnet.work``: chunk i becomes shard i."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from collect.plan import CollectionPlan
from npnet.data.sidecars import TriedPair, shard_path
from npnet.work.job import Advance

if TYPE_CHECKING:
    from npnet.engine.pairs import PairMaker, ScoredPairs
    from npnet.records import NoisePair


class CollectJob:
    """See ``npnet.work.job.Job``."""

    def __init__(self, plan: CollectionPlan) -> None:
        self.plan = plan
        self.num_chunks = plan.num_chunks
        self.maker: PairMaker | None = None

    def num_samples(self, chunk: int) -> int:
        """Return how many pairs the chunk tries."""
        return len(self.plan.chunk(chunk))

    def is_done(self, chunk: int) -> bool:
        """Say whether the chunk's shard and sidecar are there; a shard that is gone is made again.

        Raises:
            UserError: the shard was changed, or is another collection's.
        """
        from collect.writer import is_finished

        return is_finished(shard_path(self.plan.output_dir, chunk), self.plan.request_sha256)

    def setup(self, worker: int, device: str) -> None:
        """Build and load the model, the noise method and the metrics."""
        from collect.candidates import CandidateMaker

        self.maker = CandidateMaker.from_config(self.plan.config, device).load()

    def run(self, chunk: int, report: Callable[[Advance], None]) -> None:
        """Try the pairs of the chunk, write the shard, then the sidecar."""
        from collect.writer import ShardWriter, write_sidecar

        maker, plan = self.maker, self.plan
        assert maker is not None, "setup comes first"
        maker.start_chunk()
        before = maker.spent
        tried: list[TriedPair] = []
        path = shard_path(plan.output_dir, chunk)
        with ShardWriter(path) as writer:
            for candidates in self._batches(chunk, maker):
                entries = [self._judge(candidates, row) for row in range(len(candidates.samples))]
                for row, entry in enumerate(entries):
                    if entry.written:
                        images = candidates.images
                        pair = self._pair(candidates, row, entry)
                        writer.add(pair, entry.prompt_index, images and (images[0][row], images[1][row]))
                tried += entries
                report(Advance(len(entries), {"tried": len(entries), "kept": sum(entry.kept for entry in entries)}))
        cost = maker.spent - before
        facts: dict[str, Any] = {
            "request": plan.request,
            "request_sha256": plan.request_sha256,
            "cost": vars(cost),
            "forwards_per_pair": cost.forwards / len(tried),
            "device": _device_name(maker.backbone.device),
            "smallest_batch": maker.smallest_batch,
            "notes": {label: metric.notes() for label, metric in maker.scorers.items() if metric.notes()},
        }
        write_sidecar(path, writer, tried, facts)

    def _batches(self, chunk: int, maker: PairMaker) -> Iterator[ScoredPairs]:
        samples = self.plan.chunk(chunk)
        return maker.batches(samples, maker.encode(samples), self.plan.config["batch_size"])

    def _judge(self, candidates: ScoredPairs, row: int) -> TriedPair:
        from collect.selection import verdict

        sample, scores = candidates.samples[row], candidates.scores[row]
        reason = self.plan.selection.reject_reason(scores)
        kept, written = verdict(reason, self.plan.config["keep_all"])
        return TriedPair(sample.key, sample.prompt, sample.prompt_index, sample.seed, scores, kept, reason, written)

    def _pair(self, candidates: ScoredPairs, row: int, entry: TriedPair) -> NoisePair:
        from npnet.data import schema
        from npnet.records import NoisePair

        keep_embeds = self.plan.config["keep_embeds"]
        return NoisePair(
            key=entry.key,
            prompt=entry.prompt,
            seed=entry.seed,
            source_noise=candidates.source_noise[row],
            golden_noise=candidates.golden_noise[row],
            scores=entry.scores,
            kept=entry.kept,
            prompt_embeds=schema.prompt_embeds(candidates.conditioning, row) if keep_embeds else None,
        )


def _device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
