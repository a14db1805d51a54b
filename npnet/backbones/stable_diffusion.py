"""Stable Diffusion XL and its kin (DreamShaper-XL, DPO UNets) through diffusers.

``steps`` follows the checkpoint's own spacing exactly as diffusers' ``DDIMScheduler`` does: the level a step lands on
is ``t - 1000 // num_inference_steps``, and below zero it is the end, where alpha is ``alphas_cumprod[0]`` when
``set_alpha_to_one`` is false (the published configuration).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from npnet.backbones.base import END, Backbone, Coefficients, Step
from npnet.errors import UserError, one_line
from npnet.records import Conditioning


class StableDiffusionXL(Backbone):
    """SDXL base 1.0 and every checkpoint with its layout.

    Args:
        path: a diffusers directory, or a hub id.
        height: picture height in pixels, a multiple of the VAE factor (8).
        width: picture width in pixels.
        revision: of the hub repository.
        variant: of the weight files (``fp16``), or none.
        text_encoder_batch_size: prompts encoded at once.
        settings: see ``Backbone``.
        device: see ``Backbone``.
        dtype: see ``Backbone``.
    """

    size_multiple: int = 8
    """Pixels of a latent cell: sizes are multiples of it."""

    def __init__(
        self,
        path: str,
        height: int = 1024,
        width: int = 1024,
        revision: str | None = None,
        variant: str | None = None,
        text_encoder_batch_size: int = 32,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        super().__init__(settings, device, dtype)
        self.path, self.revision, self.variant = path, revision, variant
        self.height, self.width = height, width
        self.text_encoder_batch_size = text_encoder_batch_size
        self.pipeline: Any = None

    # --- loading -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """See ``Backbone.check``: a local directory must hold a diffusers pipeline."""
        for name, side in (("height", self.height), ("width", self.width)):
            if not isinstance(side, int) or side < self.size_multiple or side % self.size_multiple:
                raise UserError(f"backbone.{name}={side}: a positive multiple of {self.size_multiple} is needed")
        folder = Path(self.path)
        looks_local = folder.is_absolute() or self.path.startswith(".") or self.path.count("/") != 1
        if (folder.is_dir() or looks_local) and not (folder / "model_index.json").is_file():
            raise UserError(f"backbone.path={self.path}: no diffusers pipeline there (model_index.json is missing)")

    def load(self) -> Self:
        """See ``Backbone.load``.

        Raises:
            UserError: the directory is incomplete, or the hub cannot be reached.
        """
        from diffusers import StableDiffusionXLPipeline

        options = {"revision": self.revision, "variant": self.variant} if not Path(self.path).is_dir() else {}
        if Path(self.path).is_dir() and self.variant:
            options["variant"] = self.variant
        try:
            pipeline = StableDiffusionXLPipeline.from_pretrained(
                self.path, torch_dtype=self.dtype, use_safetensors=True, add_watermarker=False, **options
            )
        except (OSError, ValueError) as error:
            raise UserError(f"backbone.path={self.path}: cannot be loaded: {one_line(error)[:300]}") from error
        for name in ("tokenizer", "tokenizer_2"):
            # transformers returns an empty vocabulary, silently, where the files are missing
            if len(getattr(pipeline, name)) < 8:
                raise UserError(f"backbone.path={self.path}: {name} has an empty vocabulary (its files are missing)")
        return self.adopt(pipeline)

    def adopt(self, pipeline: Any) -> Self:
        """Use a ``StableDiffusionXLPipeline`` that was built elsewhere (own UNet, LoRA, tiny models in tests)."""
        pipeline.set_progress_bar_config(disable=True)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            module.requires_grad_(False).eval().to(self.device)
        self.pipeline = pipeline
        self._alphas_cumprod = self._scheduler("DDIMScheduler").alphas_cumprod.double()
        self._steps: dict[int, list[Step]] = {}
        return self

    def _scheduler(self, name: str) -> Any:
        import diffusers

        return getattr(diffusers, name).from_config(self.scheduler_config())

    def scheduler_config(self) -> dict[str, Any]:
        """See ``Backbone.scheduler_config``; ``clip_sample`` is off, as SDXL publishes it."""
        return {"clip_sample": False, **dict(self.pipeline.scheduler.config)}

    # --- geometry ------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(4, height / 8, width / 8)`` for SDXL."""
        factor = self.pipeline.vae_scale_factor
        size = (height or self.height, width or self.width)
        if any(side % factor for side in size):
            raise UserError(f"height={size[0]} width={size[1]}: multiples of {factor} are needed")
        return (self.pipeline.unet.config.in_channels, size[0] // factor, size[1] // factor)

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 2048, 77 and 1280 for SDXL."""
        p = self.pipeline
        return {
            "prompt_embed_dim": p.text_encoder.config.hidden_size + p.text_encoder_2.config.hidden_size,
            "prompt_length": p.tokenizer.model_max_length,
            "pooled_embed_dim": p.text_encoder_2.config.projection_dim,
        }

    # --- text ----------------------------------------------------------------------------------------------------

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """See ``Backbone.encode``; longer prompts are cut at the tokenizer's length, as diffusers does."""
        distinct = list(dict.fromkeys(prompts))
        parts = []
        for start in range(0, len(distinct), self.text_encoder_batch_size):
            batch = distinct[start : start + self.text_encoder_batch_size]
            embeds, negative, pooled, negative_pooled = self.pipeline.encode_prompt(
                prompt=batch,
                device=self.device,
                do_classifier_free_guidance=True,
            )
            parts.append(Conditioning(tuple(batch), embeds, negative, pooled, negative_pooled))
        row = {prompt: index for index, prompt in enumerate(distinct)}
        return Conditioning.cat(parts)[[row[prompt] for prompt in prompts]]

    # --- sampling ------------------------------------------------------------------------------------------------

    def steps(self, num_inference_steps: int) -> list[Step]:
        """See ``Backbone.steps``.

        Raises:
            UserError: the checkpoint's schedule has fewer levels.
        """
        if num_inference_steps not in self._steps:
            scheduler = self._scheduler("DDIMScheduler")
            levels = scheduler.config.num_train_timesteps
            if not 1 <= num_inference_steps <= levels:
                raise UserError(f"num_inference_steps={num_inference_steps}: allowed are 1 to {levels}")
            scheduler.set_timesteps(num_inference_steps)
            stride = levels // num_inference_steps
            starts = [float(t) for t in scheduler.timesteps]
            self._steps[num_inference_steps] = [Step(t, t - stride if t >= stride else END) for t in starts]
        return self._steps[num_inference_steps]

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Backbone.coefficients``."""
        if timestep < 0:
            config = self.scheduler_config()
            product = 1.0 if config.get("set_alpha_to_one", True) else float(self._alphas_cumprod[0])
        else:
            product = float(self._alphas_cumprod[round(timestep)])
        return Coefficients(math.sqrt(product), math.sqrt(1.0 - product))

    def to_noise_pred(self, model_output: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """See ``Backbone.to_noise_pred``: epsilon checkpoints as they are, v-prediction by its definition."""
        kind = self.scheduler_config().get("prediction_type", "epsilon")
        if kind == "epsilon":
            return model_output
        if kind == "v_prediction":
            alpha, sigma = self.coefficients(timestep)
            return alpha * model_output + sigma * latents
        raise UserError(f"backbone.path={self.path}: prediction_type={kind!r}; allowed: epsilon, v_prediction")

    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        """See ``Backbone.model_output``."""
        c = conditioning.to(self.device, self.dtype)
        embeds, pooled = c.prompt_embeds, c.pooled_prompt_embeds
        if unconditional:
            latents = torch.cat([latents, latents])
            embeds = torch.cat([c.negative_prompt_embeds, embeds])
            pooled = torch.cat([c.negative_pooled_prompt_embeds, pooled])
        factor = self.pipeline.vae_scale_factor
        height, width = (side * factor for side in latents.shape[-2:])
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=self.dtype, device=self.device)
        output = self.pipeline.unet(
            latents.to(self.dtype),
            torch.tensor(label, device=self.device),
            encoder_hidden_states=embeds,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids.expand(len(latents), -1)},
            return_dict=False,
        )[0]
        return output.float()

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Backbone.decode``; a half-precision VAE that asks for it is run in float32, as diffusers does."""
        vae = self.pipeline.vae
        dtype = torch.float32 if getattr(vae.config, "force_upcast", False) else self.dtype
        if vae.dtype != dtype:
            vae.to(dtype)
        images = vae.decode((latents / vae.config.scaling_factor).to(dtype), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)
