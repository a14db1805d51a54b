"""CLIP models of transformers: one trunk for all metrics of a process that name the same checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from npnet.weights.files import WEIGHTS, exists, local_path
from npnet.weights.sources import read_config
from npnet.weights.tensors import build_empty, load_strict, read_state, require_loaded
from npnet.weights.tokenizers import load_tokenizer

VIT_H_14: dict[str, Any] = {
    "projection_dim": 1024,
    "text_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "hidden_act": "gelu",
        "projection_dim": 1024,
        "eos_token_id": 2,
    },
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_attention_heads": 16,
        "num_hidden_layers": 32,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
        "projection_dim": 1024,
    },
}
"""``laion/CLIP-ViT-H-14-laion2B-s32B-b79K``; ``eos_token_id`` 2 makes transformers pool at the largest token id, the
first end mark, as that repository's own configuration does."""


class ClipTrunk:
    """A CLIP model with its tokenizer, ready and frozen.

    Attributes:
        model: ``transformers.CLIPModel``.
        tokenizer: of the text model; None where only pictures are scored.
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device) -> None:
        self.model, self.tokenizer, self.device = model, tokenizer, device

    @property
    def image_size(self) -> int:
        """Return the side of the pictures it reads, in pixels."""
        return int(self.model.config.vision_config.image_size)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Normalised pixels -> ``(B, D)`` float32 of unit length."""
        pooled = self.model.vision_model(pixel_values=pixels.to(self.device)).pooler_output
        return _unit(self.model.visual_projection(pooled))

    def embed_texts(self, prompts: Sequence[str], truncated: set[str]) -> Tensor:
        """Texts -> ``(B, D)`` float32 of unit length; adds what was cut to ``truncated``."""
        ids, mask = tokenize(self.tokenizer, prompts, self.text_length, truncated)
        output = self.model.text_model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        return _unit(self.model.text_projection(output.pooler_output))

    @property
    def text_length(self) -> int:
        """Return the tokens that the text model reads, start and end marks included."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def logit_scale(self) -> Tensor:
        """Return what cosines are multiplied with in the published scores."""
        return self.model.logit_scale.float().exp()


_TRUNKS: WeakValueDictionary[tuple[str, str, str], ClipTrunk] = WeakValueDictionary()


def load_clip(
    source: str, device: torch.device | str, field: str = "path", tokenizer_source: str | None = None
) -> ClipTrunk:
    """Load a CLIP checkpoint, or return the one that another metric of this process loaded and still holds.

    Args:
        source: local folder or hub id.
        device: where it runs.
        field: for the error line.
        tokenizer_source: where the tokenizer lies (field ``tokenizer_path``), by default beside the model.

    Raises:
        UserError: files are missing, or do not fit.
    """
    name, tokenizer_name = (
        str(local_path(s).resolve()) if exists(local_path(s)) else s for s in (source, tokenizer_source or source)
    )
    identity = (name, tokenizer_name, str(torch.device(device)))
    trunk = _TRUNKS.get(identity)
    if trunk is None:
        model = build_clip(read_config(source, field) or {})
        load_strict(model, read_state(source, WEIGHTS, field), field, source)
        require_loaded(model)
        tokenizer = load_tokenizer(tokenizer_source or source, "tokenizer_path" if tokenizer_source else field)
        trunk = ClipTrunk(model.to(device), tokenizer, torch.device(device))
        _TRUNKS[identity] = trunk
    return trunk


def build_clip(config: dict[str, Any]) -> Any:
    """Build an empty ``CLIPModel`` from its ``config.json``."""
    return build_empty(lambda: CLIPModel(CLIPConfig.from_dict(config)))


def tokenize(
    tokenizer: Any, prompts: Sequence[str], length: int, truncated: set[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Turn texts into ``(B, length)`` token ids and their mask; cut and filled up to ``length``.

    Args:
        tokenizer: of transformers.
        prompts: B texts.
        length: tokens, the tokenizer's own marks included.
        truncated: gets the prompts that were longer.
    """
    table = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    if truncated is not None:
        lengths = [len(ids) for ids in tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]]
        truncated.update(text for text, count in zip(prompts, lengths, strict=True) if count > length)
    return table["input_ids"], table["attention_mask"]


def half_on_gpu(device: torch.device, dtype: torch.dtype = torch.float16) -> AbstractContextManager[Any]:
    """Return the context in which the published code runs its models: half precision on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, dtype) if device.type == "cuda" else nullcontext()


def _unit(embeds: Tensor) -> Tensor:
    return torch.nn.functional.normalize(embeds.float(), dim=-1)
