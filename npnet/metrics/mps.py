"""MPS, the Multi-dimensional Preference Score (Zhang et al. 2024), its overall dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from npnet.metrics import loading
from npnet.metrics.base import SoftmaxPreference
from npnet.metrics.clip import VIT_H_14, tokenize
from npnet.metrics.mps_cross import CrossModel
from npnet.metrics.pixels import PixelMetric, Preprocess

CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)
"""The published condition of the overall dimension."""
FILES = ("model.safetensors", "MPS_overall_checkpoint.safetensors", "MPS_overall.pth")
HINT = (
    "; convert the authors' file with: python -m npnet.metrics.convert_mps MPS_overall_checkpoint.pth OUT.safetensors, "
    "or leave it out: metric=[...] names the others"
)


class MPSModel(nn.Module):
    """CLIP ViT-H/14 and the cross model, by the names of the published file."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from transformers import CLIPConfig, CLIPModel

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


class MPS(SoftmaxPreference, PixelMetric):
    """exp(logit_scale) times a cosine; higher is better. Papers print the mean of ``compare`` in percent (50: equal).

    Checkpoint ``MPS_overall_checkpoint.pth`` of Kwai-Kolors/MPS, a fine-tuned CLIP ViT-H/14 in half precision (float32
    on the CPU). The published file is a pickled module, which is never executed: convert it first (``convert_mps``).
    Pictures: shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: 77 tokens, all
    of them, filling too. Words unlike the condition are hidden from the picture: those whose likeness, divided by the
    largest, is at most ``threshold``. The authors divide by the largest of the whole batch; here by the largest of the
    same prompt, which is what their code does when it is given one pair.

    Args:
        path: the converted file, or a local folder or hub id that holds one. A folder may state another architecture
            in ``config.json``.
        tokenizer_path: local folder or hub id; None: beside the model.
        threshold: 0.01 in the model's own code and in the Golden Noise comparison, 0.3 in the authors' scripts for
            HPD v2 and ImageReward.
        condition: what is asked about.
    """

    differentiable = True
    text_length = 77
    pairwise = True

    def __init__(
        self,
        path: str | None = None,
        tokenizer_path: str | None = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        threshold: float = 0.01,
        condition: str = CONDITION,
    ) -> None:
        super().__init__()
        self.path, self.tokenizer_path, self.threshold, self.condition = path, tokenizer_path, threshold, condition
        self.model: MPSModel
        self.tokenizer: Any = None

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.mps.path", HINT)
        if self.tokenizer_path is not None:
            loading.check_source(self.tokenizer_path, "metric.mps.tokenizer_path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        loading.check_source(self.path, "metric.mps.path", HINT)
        path = str(self.path)
        config = loading.read_config(path, "metric.mps.path") or {}
        config = config if "vision_config" in config else VIT_H_14
        self.model = loading.build_empty(lambda: MPSModel(config))
        state = loading.read_state(path, FILES, "metric.mps.path")
        # a conversion on the hub holds the same names one level deeper
        state = {name.removeprefix("mps."): value for name, value in state.items()}
        self.device = torch.device(device)
        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        loading.load_strict(self.model, state, f"metric.mps.path={path}", dtype=dtype)
        loading.require_loaded(self.model)
        self.model.to(self.device)
        self.tokenizer = loading.load_tokenizer(self.tokenizer_path or path, "metric.mps.tokenizer_path")
        self.text_length = int(self.model.model.config.text_config.max_position_embeddings)
        self.condition_ids = tokenize(self.tokenizer, [self.condition], self.text_length)[0].to(self.device)
        self.preprocess = Preprocess(int(self.model.model.config.vision_config.image_size), middle="floor")
        self.smoke = loading.is_smoke(path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        assert self.text_length is not None
        ids, _ = tokenize(self.tokenizer, prompts, self.text_length, self.truncated)
        pixels = pixels.to(self.device, self.model.model.dtype)
        return self.model(pixels, ids.to(self.device), self.condition_ids, self.threshold)
