"""CLIP-FlanT5 (Lin et al. 2024): FlanT5 that reads pictures, the model behind the published VQAScore."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, T5Config, T5ForConditionalGeneration

from npnet.errors import FieldError
from npnet.metrics.runtime.pixels import Preprocess
from npnet.weights.files import WEIGHTS
from npnet.weights.sources import is_local, read_config
from npnet.weights.tensors import build_empty, load_strict, read_state, require_loaded
from npnet.weights.tokenizers import load_tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)
TOWER = "openai/clip-vit-large-patch14-336"
TOKENIZERS = {2048: "google/flan-t5-xl", 4096: "google/flan-t5-xxl"}
"""By the width of the language model; the published repositories have no tokenizer."""


class ClipFlanT5(nn.Module):
    """CLIP's picture tokens, projected, between the two halves of the question, into an encoder-decoder."""

    def __init__(self, config: Mapping[str, Any], tower_config: Mapping[str, Any]) -> None:
        super().__init__()
        vision = CLIPVisionConfig.from_dict(dict(tower_config))
        self.tower = CLIPVisionModel(vision)
        self.layer = int(config.get("mm_vision_select_layer", -2))
        width, hidden = vision.hidden_size, int(config["d_model"])
        self.mm_projector = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        settings = {
            k: v for k, v in config.items() if not k.startswith("mm_") and k not in ("model_type", "architectures")
        }
        self.language = T5ForConditionalGeneration(T5Config.from_dict(settings))

    def forward(
        self, pixels: Tensor, before: Tensor, after: Sequence[Tensor], answer: Tensor, vocabulary: int
    ) -> Tensor:
        """Return the log-probability of each answer token, ``(B, A)`` float32.

        Args:
            pixels: ``(B, 3, S, S)``.
            before: token ids in front of the picture, the same for all.
            after: B sequences of token ids behind it.
            answer: the answer's token ids, the end mark included.
            vocabulary: tokens that the tokenizer knows; the probabilities are over these.
        """
        embed: Any = self.language.get_input_embeddings()
        states = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[self.layer]
        pictures = self.mm_projector(states[:, 1:])
        rows = [torch.cat([embed(before), picture, embed(ids)]) for picture, ids in zip(pictures, after, strict=True)]
        embeds = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=embeds.device)
        mask = (torch.arange(embeds.shape[1], device=embeds.device) < lengths[:, None]).long()
        labels = answer.repeat(len(rows), 1)
        logits = self.language(inputs_embeds=embeds, attention_mask=mask, labels=labels).logits
        chances = logits[..., :vocabulary].float().log_softmax(-1)
        return chances.gather(-1, labels[..., None]).squeeze(-1)


def load_clip_flant5(source: str, tokenizer_source: str | None, dtype: torch.dtype) -> tuple[ClipFlanT5, Any]:
    """Load the model and its tokenizer.

    The picture tower is taken from the file where it holds one, else from the tower's own checkpoint, never from both.

    Raises:
        FieldError: of ``path`` or ``tokenizer_path``: files are missing, or do not fit.
    """
    config = read_config(source, "path")
    if config is None or "d_model" not in config:
        raise FieldError("path", source, "no config.json of a CLIP-FlanT5 model")
    tower = str(config.get("mm_vision_tower", TOWER))
    tower_config = read_config(tower, "path (picture tower)") or {}
    tower_config = tower_config.get("vision_config", tower_config)
    model = build_empty(lambda: ClipFlanT5(config, tower_config))
    state = rename(read_state(source, WEIGHTS, "path"))
    if not any(name.startswith("tower.") for name in state):
        state |= rename_tower(read_state(tower, WEIGHTS, "path (picture tower)"))
    load_strict(model, state, "path", source, dtype=dtype)
    require_loaded(model)
    if tokenizer_source is None:
        tokenizer_source = source if is_local(source) else TOKENIZERS.get(int(config["d_model"]), source)
    return model, load_tokenizer(tokenizer_source, "tokenizer_path")


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the published names ours; copies of the word embeddings are dropped where the first is there."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("vision_tower."):
            renamed["tower." + re.sub(r"^vision_tower\.(vision_tower\.)?(vision_model\.)?", "", name)] = value
        elif name.startswith("mm_projector."):
            renamed[name] = value
        elif name not in ("embed_tokens.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
            renamed["language." + name] = value
    words = renamed.get("language.shared.weight")
    # no tie_weights(): transformers 5 would then overwrite FlanT5's own output layer with the word embeddings
    if words is not None:  # one tensor under the three names that transformers' state has
        renamed["language.encoder.embed_tokens.weight"] = renamed["language.decoder.embed_tokens.weight"] = words
    return renamed


def rename_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the picture half of a CLIP checkpoint."""
    prefix = "vision_model."
    return {"tower." + name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def preprocess_of(model: ClipFlanT5) -> Preprocess:
    """Return how the authors fit pictures: a square with a border in the mean colour."""
    config: Any = model.tower.config
    return Preprocess(int(config.image_size), fit="square", middle="floor")


def question_ids(tokenizer: Any, question: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the ids before and after the picture; each part ends with the tokenizer's end mark, as published."""
    before, after = (tokenizer(part)["input_ids"] for part in (SYSTEM, f"\n{question} ASSISTANT: "))
    return torch.tensor(before, device=device), torch.tensor(after, device=device)
