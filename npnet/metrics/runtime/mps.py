"""The scorer of ``npnet.metrics.mps``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from npnet.metrics.mps import FILES, HINT, MPS
from npnet.metrics.runtime.clip import VIT_H_14, tokenize
from npnet.metrics.runtime.mps_cross import CrossModel
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke
from npnet.weights.sources import check_source, read_config
from npnet.weights.tensors import build_empty, load_strict, read_state, require_loaded
from npnet.weights.tokenizers import load_tokenizer


class MPSModel(nn.Module):
    """CLIP ViT-H/14 and the cross model, by the names of the published file."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = CLIPModel(CLIPConfig.from_dict({k: v for k, v in config.items() if k != "cross_model"}))
        self.cross_model = CrossModel(config["projection_dim"], **config.get("cross_model", {}))

    def forward(self, pixels: Tensor, ids: Tensor, condition_ids: Tensor, threshold: float) -> Tensor:
        """Return exp(logit_scale) times the cosine of the prompt and the picture that read it, ``(B,)`` float32."""
        words, prompt = self._texts(ids)
        conditions, _ = self._texts(condition_ids)
        likeness = (words @ conditions[0].T).amax(-1)  # (B, L): of each word to the condition's nearest one
        likeness = likeness / likeness.amax(-1, keepdim=True)
        bias = torch.zeros_like(likeness).masked_fill(likeness <= threshold, float("-inf"))
        patches = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).last_hidden_state)
        picture = self.cross_model(patches, words, bias[:, None])[:, 0]
        cosine = nn.functional.cosine_similarity(picture.float(), prompt.float(), dim=-1)
        return self.model.logit_scale.float().exp() * cosine

    def _texts(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return every word's projection, ``(B, L, D)``, and the end mark's, ``(B, D)``."""
        output = self.model.text_model(input_ids=ids)
        return self.model.text_projection(output.last_hidden_state), self.model.text_projection(output.pooler_output)


class MPSScorer(PixelScorer):
    """The model, its tokenizer, and the token ids of the condition."""

    def __init__(self, metric: MPS, device: torch.device | str = "cpu") -> None:
        check_source(metric.path, "path", hint=HINT)
        path = str(metric.path)
        config = read_config(path, "path") or {}
        self.model = build_empty(lambda: MPSModel(config if "vision_config" in config else VIT_H_14))
        state = read_state(path, FILES, "path")
        # a conversion on the hub holds the same names one level deeper
        state = {name.removeprefix("mps."): value for name, value in state.items()}
        dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
        load_strict(self.model, state, "path", path, dtype=dtype)
        require_loaded(self.model)
        self.model.to(device)
        self.tokenizer = load_tokenizer(metric.tokenizer_path or path, "tokenizer_path")
        self.threshold = metric.threshold
        sizes: Any = self.model.model.config
        self.num_tokens = int(sizes.text_config.max_position_embeddings)
        self.condition_ids = tokenize(self.tokenizer, [metric.condition], self.num_tokens)[0].to(device)
        preprocess = Preprocess(int(sizes.vision_config.image_size), middle="floor")
        super().__init__(metric, device, preprocess, self.num_tokens, is_smoke(path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        ids, _ = tokenize(self.tokenizer, prompts, self.num_tokens, self.meter.truncated)
        pixels = pixels.to(self.device, self.model.model.dtype)
        return self.model(pixels, ids.to(self.device), self.condition_ids, self.threshold)
