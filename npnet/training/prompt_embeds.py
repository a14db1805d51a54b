"""Prompt embeddings for shards that hold none: made once for each distinct prompt, and kept on disk.

The folder's content depends only on the model's name in the collection's request or in the configuration. So a folder
that was filled on one machine can be used on another, which then needs no text encoder.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import torch

from npnet import backbones
from npnet.data import places, schema
from npnet.data.tensor_cache import TensorCache
from npnet.errors import UserError, under
from npnet.instantiate import build
from npnet.training.start import make_network, needs_text
from npnet.work.job import Advance
from npnet.work.progress import Progress

if TYPE_CHECKING:
    from npnet.data.datamodule import PairData
    from npnet.data.found import FoundPairs
    from npnet.training.settings import TrainSettings

log = logging.getLogger(__name__)

PACKAGE = "npnet.backbones."


def provide(settings: TrainSettings, data: PairData) -> None:
    """Let ``data`` find the embeddings of its prompts in ``data.embeddings_cache``, and make those that are missing.

    Raises:
        UserError: no backbone is known, the pairs were collected with another one, or it cannot be loaded.
    """
    node = backbone_node(settings, data)
    cache = _cache(settings, data, node)
    missing = [prompt for prompt in data.prompts() if not cache.holds(prompt)]
    if missing and settings.init_from is not None:  # an impossible start is refused before the backbone is loaded
        make_network(settings, data, build(node, "backbone", backbones.Backbone).embed_dims())
    data.embeddings = cache.read
    if missing:
        fill(cache, missing, node, settings.data.batch_size)


def backbone_node(settings: TrainSettings, data: FoundPairs) -> dict[str, Any]:
    """Return the configuration of the backbone that the pairs are of: ``backbone=NAME``, else the collection's own.

    A request may come from a stranger, so only a backbone of this project is built from it, from plain values.

    Raises:
        UserError: see ``provide``.
    """
    asked = dict(data.request.get("backbone") or {})
    where = f"data.shards={','.join(data.places)}"
    if settings.backbone is not None:
        node = dict(settings.backbone.keys)
        if asked and asked.get("_target_") != node.get("_target_"):
            raise UserError(f"backbone: {node.get('_target_')} is asked for, {where} is of {asked.get('_target_')}")
        return node
    target = str(asked.get("_target_", ""))
    name = target.removeprefix(PACKAGE)
    if not target.startswith(PACKAGE) or name not in backbones.__all__:
        lacks = "the shards hold no embeddings, and their request names no backbone of this project"
        raise UserError(f"{where}: {lacks}: choose it with backbone=NAME, or train with network.text_term=off")
    plain = (str, int, float, bool)
    return {k: v for k, v in asked.items() if isinstance(v, plain) and "${" not in str(v)}


def _cache(settings: TrainSettings, data: FoundPairs, node: dict[str, Any]) -> TensorCache:
    facts = places.backbone_facts(data.request) or places.backbone_facts({"backbone": node})
    text_facts = {name: facts.get(name) for name in ("_target_", "path", "revision")}
    return TensorCache(str(settings.data.embeddings_cache), json.dumps(["training", text_facts], sort_keys=True))


def check(settings: TrainSettings, data: FoundPairs) -> None:
    """Refuse pairs whose missing embeddings the backbone could not make, before anything is loaded.

    Raises:
        UserError: see ``provide``.
    """
    if data.holds_embeddings or not needs_text(settings.network):
        return
    node = backbone_node(settings, data)
    cache = _cache(settings, data, node)
    if not all(cache.path(prompt).is_file() for prompt in data.prompts()):
        described = build(node, "backbone", backbones.Backbone)
        with under("backbone"):
            described.check()


def fill(cache: TensorCache, prompts: list[str], node: dict[str, Any], batch_size: int) -> None:
    """Encode ``prompts`` and write them to ``cache`` in the form of shards; a killed run resumes."""
    with torch.random.fork_rng(devices=[]):
        described = build(node, "backbone")
        with under("backbone"):
            described.check()
            backbone = described.load()
        log.info(f"encoding {len(prompts)} prompts into {cache.folder}")
        with Progress("encoding prompts", lambda values: "", 0, len(prompts)) as progress:
            progress.begin()
            for start in range(0, len(prompts), batch_size):
                batch = prompts[start : start + batch_size]
                with torch.no_grad():
                    conditioning = backbone.encode(batch)
                for row, prompt in enumerate(batch):
                    tensors = schema.prompt_embeds(conditioning, row)
                    cache.write(prompt, {name: schema.to_half(tensor) for name, tensor in tensors.items()})
                progress.add(Advance(len(batch), {}))
