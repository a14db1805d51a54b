"""Flow-matching transformers through diffusers: Stable Diffusion 3 and 3.5, and FLUX.1.

Latents are ``(B, 16, h, w)`` in both; FLUX reads 2 x 2 patches of them as tokens, which is done and undone inside.
The levels are those of the checkpoint's own scheduler, 1000 sigma. Where its shift depends on the picture's size
(FLUX), it is that of the configured ``height`` and ``width``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import FlowMatching
from npnet.errors import UserError
from npnet.records import Conditioning


class FlowBackbone(FlowMatching, PipelineBackbone):
    """A flow-matching family.

    Args:
        path: see ``PipelineBackbone``.
        shift: of the schedule towards noise; the default is the checkpoint's.
        max_sequence_length: T5 tokens of a prompt; the default is the published one.
        **common: see ``PipelineBackbone``.
    """

    default_length = 256
    longest = 512

    def __init__(
        self, path: str, shift: float | None = None, max_sequence_length: int | None = None, **common: Any
    ) -> None:
        super().__init__(path, **common)
        self.shift = shift
        self.max_sequence_length = self.default_length if max_sequence_length is None else max_sequence_length

    def check(self) -> None:
        """See ``Backbone.check``."""
        length, shift = self.max_sequence_length, self.shift
        if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= self.longest:
            raise UserError(f"backbone.max_sequence_length={length}: allowed are 1 to {self.longest}")
        if shift is not None and (isinstance(shift, bool) or not isinstance(shift, int | float) or not shift > 0):
            raise UserError(f"backbone.shift={self.shift}: a positive number is needed")
        super().check()

    def sigmas(self, num_inference_steps: int) -> Sequence[float]:
        """See ``FlowMatching.sigmas``: the checkpoint's scheduler says which."""
        config = dict(self.published)
        if self.shift is not None:
            config |= {"flow_shift" if "flow_shift" in config else "shift": self.shift, "use_dynamic_shifting": False}
        scheduler = type(self.pipeline.scheduler).from_config(config)
        options = self.schedule_options(num_inference_steps)
        if config.get("use_dynamic_shifting"):
            options["mu"] = self._size_shift(config)
        scheduler.set_timesteps(num_inference_steps, **options)
        return [float(sigma) for sigma in scheduler.sigmas[:-1]]

    def schedule_options(self, num_inference_steps: int) -> dict[str, Any]:
        """Return what the family's pipeline passes to its scheduler."""
        return {}

    def _size_shift(self, config: Mapping[str, Any]) -> float:
        """Return mu, linear in the number of image tokens of the configured size."""
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        tokens = (self.height // self.size_multiple) * (self.width // self.size_multiple)
        return low + (high - low) * (tokens - few) / (many - few)


class StableDiffusion3(FlowBackbone):
    """Stable Diffusion 3 medium and 3.5 (medium, large); the arguments are those of ``FlowBackbone``."""

    pipeline_class = "StableDiffusion3Pipeline"
    denoiser_class = "SD3Transformer2DModel"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    size_multiple = 16
    patch_size = 2

    def check_size(self, **sides: Any) -> None:
        """See ``PipelineBackbone.check_size``.

        Raises:
            UserError: the network has no positions for so large a side (known once it is loaded).
        """
        super().check_size(**sides)
        if self.pipeline is None:
            return
        config = self.denoiser.config
        largest = config.pos_embed_max_size * config.patch_size * self.vae_factor
        for name, side in sides.items():
            if side > largest:
                raise UserError(f"backbone.{name}={side}: this checkpoint has positions for up to {largest} pixels")

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 4096, 77 + 256 and 2048."""
        config = self.denoiser.config
        return {
            "prompt_embed_dim": config.joint_attention_dim,
            "prompt_length": self.pipeline.tokenizer_max_length + self.max_sequence_length,
            "pooled_embed_dim": config.pooled_projection_dim,
        }

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompts,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        return self.denoiser(
            hidden_states=latents,
            timestep=torch.full((len(latents),), label, device=self.device),
            encoder_hidden_states=inputs["prompt_embeds"],
            pooled_projections=inputs["pooled_prompt_embeds"],
            return_dict=False,
        )[0]


class Flux(FlowBackbone):
    """FLUX.1 [dev] and [schnell].

    [dev] is distilled from guided sampling: it has no unconditional branch, and ``guidance_scale`` is a number the
    network reads. [schnell] reads none. With ``true_cfg`` both branches are evaluated, ``guidance_scale`` mixes them as
    in every other family, and the network reads ``embedded_guidance``.

    Args:
        path: see ``PipelineBackbone``.
        true_cfg: evaluate an unconditional branch (of the empty prompt) too.
        embedded_guidance: what the network reads where ``guidance_scale`` is not it.
        **common: see ``FlowBackbone``.
    """

    pipeline_class = "FluxPipeline"
    denoiser_class = "FluxTransformer2DModel"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    size_multiple = 16
    patch_size = 2
    default_length = 512
    capabilities = PipelineBackbone.capabilities - {"unconditional_branch"}
    lacking = {  # noqa: RUF012 (a constant)
        "unconditional_branch": "its guidance is distilled; backbone.true_cfg=true evaluates the branch"
    }

    def __init__(self, path: str, true_cfg: bool = False, embedded_guidance: float = 3.5, **common: Any) -> None:
        super().__init__(path, **common)
        self.true_cfg, self.embedded_guidance = true_cfg, float(embedded_guidance)
        if true_cfg:
            self.capabilities = PipelineBackbone.capabilities

    def latent_channels(self) -> int:
        """See ``PipelineBackbone.latent_channels``: a token holds 2 x 2 cells."""
        return self.denoiser.config.in_channels // 4

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 4096, 512 and 768."""
        config = self.denoiser.config
        return {
            "prompt_embed_dim": config.joint_attention_dim,
            "prompt_length": self.max_sequence_length,
            "pooled_embed_dim": config.pooled_projection_dim,
        }

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``."""
        embeds, pooled, _ = self.pipeline.encode_prompt(
            prompts, device=self.device, max_sequence_length=self.max_sequence_length
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def with_guidance(self, conditioning: Conditioning, guidance_scale: float) -> Conditioning:
        """See ``Backbone.with_guidance``: the number the network reads, one for each sample."""
        scale = self.embedded_guidance if self.true_cfg else guidance_scale
        column = torch.full((len(conditioning),), float(scale), device=self.device)
        return replace(conditioning, extras={**conditioning.extras, "guidance": column})

    def schedule_options(self, num_inference_steps: int) -> dict[str, Any]:
        """See ``FlowBackbone.schedule_options``."""
        import numpy as np

        return {"sigmas": np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)}

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        rows, columns = latents.shape[-2] // 2, latents.shape[-1] // 2
        places = torch.zeros(rows, columns, 3, device=self.device, dtype=latents.dtype)
        places[..., 1] += torch.arange(rows, device=self.device)[:, None]
        places[..., 2] += torch.arange(columns, device=self.device)[None, :]
        guidance = None
        if self.denoiser.config.guidance_embeds:
            guidance = inputs.get("guidance")
            if guidance is None:
                scale = self.embedded_guidance if self.true_cfg else self.settings.get("guidance_scale", 3.5)
                guidance = torch.full((len(latents),), float(scale), device=self.device)
            guidance = guidance.float()
        output = self.denoiser(
            hidden_states=pack(latents),
            timestep=torch.full((len(latents),), label, device=self.device, dtype=latents.dtype) / 1000,
            guidance=guidance,
            pooled_projections=inputs["pooled_prompt_embeds"],
            encoder_hidden_states=inputs["prompt_embeds"],
            txt_ids=torch.zeros(inputs["prompt_embeds"].shape[1], 3, device=self.device, dtype=latents.dtype),
            img_ids=places.flatten(0, 1),
            return_dict=False,
        )[0]
        return unpack(output, rows, columns)


def pack(latents: Tensor) -> Tensor:
    """Read 2 x 2 cells as one token: ``(B, C, 2r, 2c)`` -> ``(B, r c, 4C)``; a permutation of the numbers."""
    count, channels, height, width = latents.shape
    cells = latents.reshape(count, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, height * width // 4, channels * 4)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Undo ``pack``."""
    cells = tokens.reshape(len(tokens), rows, columns, -1, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, 2 * rows, 2 * columns)
