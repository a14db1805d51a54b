"""Load the model, the noise method and the metrics of a collection."""

from __future__ import annotations

from collect.settings import CollectSettings
from npnet.engine.batches import Kept, Sampling
from npnet.engine.loading import load_parts
from npnet.engine.pairs import PairMaker


def load(settings: CollectSettings, device: str | None = None, kept: Kept | None = None) -> PairMaker:
    """Load every part of a collection.

    Args:
        settings: what is asked for.
        device: of a worker, where the backbone's own field leaves it open.
        kept: in which form pictures are handed on; by default that of shards, where the settings keep them.

    Raises:
        UserError: weights are missing or damaged.
    """
    loaded = load_parts(settings, device)
    sampling = Sampling(settings.num_inference_steps, settings.guidance_scale)
    kept = kept or (Kept() if settings.keep_images else None)
    method = loaded.methods[settings.label]
    return PairMaker(loaded.backbone, settings.label, method, loaded.scorers, sampling, kept)
