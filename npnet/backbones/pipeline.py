"""What every family that comes as a diffusers pipeline has in common: files, devices, text, sizes, decoding.

A family states its pipeline class and sizes, and writes two functions: ``embed`` (prompts -> tensors) and ``denoise``
(one call of the network). Its noise schedule is inherited from ``schedules``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from npnet.backbones import loading, lora, sources
from npnet.backbones.base import CAPABILITIES
from npnet.backbones.encoding import TextEncoding, negative
from npnet.errors import UserError
from npnet.records import Conditioning


class PipelineBackbone(TextEncoding):
    """A family that diffusers has a pipeline for.

    Args:
        path: a diffusers directory, or a hub id.
        height: picture height in pixels, a multiple of ``size_multiple``; the default is the published size.
        width: picture width in pixels.
        revision: of the hub repository.
        variant: of the weight files (``fp16``), or none.
        spacing: see ``schedules``.
        denoiser: other weights of the same layout (a DPO U-Net): a directory, ``owner/name/subfolder`` on the hub, or
            a ``.safetensors`` file of either.
        lora: see ``lora.fuse``.
        lora_scale: 1 is the LoRA as it was trained.
        vae: another VAE of the same latents (a tiny one for scoring): a directory or hub id.
        vae_slicing: decode one picture at a time.
        text_encoder_batch_size: prompts encoded at once.
        offload_text_encoders: keep the text encoders off the GPU except while they encode.
        embedding_cache: a folder; see ``npnet.data.embeddings``.
        channels_last: memory layout of the denoiser and the VAE.
        compile: compile the denoiser with ``torch.compile``, at its first call.
        settings: see ``Backbone``.
        device: see ``Backbone``.
        dtype: see ``Backbone``.
    """

    pipeline_class: str
    denoiser_name: str = "transformer"
    default_size: tuple[int, int] = (1024, 1024)
    size_multiple: int = 8
    """Sizes in pixels are multiples of it: VAE factor times patch size."""
    patch_size: int = 1
    float32_parts: tuple[str, ...] = ()
    capabilities = frozenset(CAPABILITIES) - {"cross_attention_maps"}

    def __init__(
        self,
        path: str,
        height: int | None = None,
        width: int | None = None,
        revision: str | None = None,
        variant: str | None = None,
        spacing: str | Sequence[float] | None = None,
        denoiser: str | None = None,
        lora: str | None = None,
        lora_scale: float = 1.0,
        vae: str | None = None,
        vae_slicing: bool = False,
        text_encoder_batch_size: int = 32,
        offload_text_encoders: bool = False,
        embedding_cache: str | None = None,
        channels_last: bool = False,
        compile: bool = False,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        super().__init__(settings, device, dtype)
        self.path, self.revision, self.variant = path, revision, variant
        self.height, self.width = height or self.default_size[0], width or self.default_size[1]
        self.spacing = spacing
        self.replaced_denoiser, self.replaced_vae, self.lora, self.lora_scale = denoiser, vae, lora, lora_scale
        self.vae_slicing, self.channels_last, self.compile = vae_slicing, channels_last, compile
        self.text_encoder_batch_size, self.offload_text_encoders = text_encoder_batch_size, offload_text_encoders
        self.embedding_cache = embedding_cache
        self.pipeline: Any = None

    # --- loading -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """See ``Backbone.check``: sizes, spacing, and every path that is given."""
        self.check_size(height=self.height, width=self.width)
        self.check_schedule()
        count = self.text_encoder_batch_size
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"backbone.text_encoder_batch_size={count}: a whole number of at least 1 is needed")
        sources.check_source("backbone.path", self.path, self.revision)
        for key, source in (("denoiser", self.replaced_denoiser), ("vae", self.replaced_vae), ("lora", self.lora)):
            sources.check_part(f"backbone.{key}", source)

    def check_size(self, **sides: Any) -> None:
        """Refuse a size that the VAE and the patches cannot divide.

        Raises:
            UserError: names the side, what was got and what is needed.
        """
        for name, side in sides.items():
            if isinstance(side, bool) or not isinstance(side, int) or side < 1 or side % self.size_multiple:
                raise UserError(f"backbone.{name}={side}: a positive multiple of {self.size_multiple} is needed")

    @abstractmethod
    def check_schedule(self) -> None:
        """Refuse a spacing that the family does not have; from ``schedules``."""

    @abstractmethod
    def prepare_schedule(self, published: Mapping[str, Any]) -> None:
        """Read the noise schedule from the pipeline's; from ``schedules``."""

    def load(self) -> Self:
        """See ``Backbone.load``.

        Raises:
            UserError: a path is incomplete, or the hub cannot be reached.
        """
        denoiser, vae, parts = self.replaced_denoiser, self.replaced_vae, {}
        if vae:
            parts["vae"] = loading.load_part("backbone.vae", "AutoencoderKL", vae, self.dtype)
        if denoiser and not denoiser.endswith(".safetensors"):
            parts[self.denoiser_name] = loading.load_part("backbone.denoiser", "", denoiser, self.dtype)
        pipeline = loading.load_pipeline(
            self.pipeline_class,
            self.path,
            self.dtype,
            self.revision,
            self.variant,
            self.float32_parts,
            **self.pipeline_options(),
            **parts,
        )
        network = getattr(pipeline, self.denoiser_name)
        if network.dtype != self.dtype:  # without accelerate, diffusers leaves some in float32
            network.to(self.dtype)
        if denoiser and denoiser.endswith(".safetensors"):
            loading.load_weights("backbone.denoiser", denoiser, network)
        if self.lora:
            lora.fuse(pipeline, self.denoiser_name, self.lora, self.lora_scale)
        return self.adopt(pipeline)

    def pipeline_options(self) -> dict[str, Any]:
        """Return further arguments of the pipeline's constructor."""
        return {}

    def adopt(self, pipeline: Any) -> Self:
        """Use a pipeline of this family that was built elsewhere (own parts, adapters, tiny models in tests).

        Raises:
            UserError: its denoiser has another dtype than the backbone.
        """
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        if self.denoiser.dtype != self.dtype:
            raise UserError(f"backbone.dtype: {self.dtype} was asked for, the pipeline's is {self.denoiser.dtype}")
        for name, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                stays = self.offload_text_encoders and name.startswith("text_encoder")
                module.requires_grad_(False).eval().to("cpu" if stays else self.device)
        self.size_multiple = self.vae_factor * self.patch_size
        if self.channels_last:
            self.denoiser.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        if self.vae_slicing:
            pipeline.vae.enable_slicing()
        if self.compile:
            self.denoiser.compile()
        self._unconditional = None
        self.prepare_schedule(pipeline.scheduler.config)
        return self

    @property
    def denoiser(self) -> Any:
        """The network that is evaluated at every step."""
        return getattr(self.pipeline, self.denoiser_name)

    # --- geometry ------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(C, height / f, width / f)``, f the VAE factor."""
        height, width = height or self.height, width or self.width
        self.check_size(height=height, width=width)
        return (self.latent_channels(), height // self.vae_factor, width // self.vae_factor)

    @property
    def vae_factor(self) -> int:
        """Pixels of a latent cell, along a side."""
        return self.pipeline.vae_scale_factor

    def latent_channels(self) -> int:
        """Return C."""
        return self.denoiser.config.in_channels

    # --- the denoiser --------------------------------------------------------------------------------------------

    @abstractmethod
    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """Call the network once, in its own dtype.

        Args:
            latents: ``(B, C, *grid)`` in the network's dtype.
            label: the timestep the network is told.
            inputs: the tensors of ``embed`` by name, without ``extras.``, B rows, floating ones in that dtype.

        Returns:
            The network's output, ``(B, C, *grid)``.
        """

    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        """See ``Backbone.model_output``."""
        tensors = conditioning.to(self.device, self.dtype).tensors()
        inputs = {}
        for name, tensor in tensors.items():
            if name.startswith(("negative_", "extras.negative_")):
                continue
            halves = [tensors.get(negative(name), tensor), tensor] if unconditional else [tensor]
            inputs[name.removeprefix("extras.")] = torch.cat(halves)
        latents = torch.cat([latents, latents]) if unconditional else latents
        # the end is no level that a network knows; 0 is the nearest
        return self.denoise(latents.to(self.device, self.dtype), max(label, 0.0), inputs).float()

    # --- pictures ------------------------------------------------------------------------------------------------

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Backbone.decode``; a half-precision VAE that asks for it is run in float32, as diffusers does."""
        vae = self.pipeline.vae
        upcast = getattr(vae.config, "force_upcast", False) or "vae" in self.float32_parts
        dtype = torch.float32 if upcast else self.dtype
        if vae.dtype != dtype:
            vae.to(dtype)
        images = vae.decode(self.unscale(latents).to(dtype), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def unscale(self, latents: Tensor) -> Tensor:
        """Return latents on the VAE's own scale: the denoiser's are shifted and scaled to unit variance."""
        config = self.pipeline.vae.config
        latents = latents / (getattr(config, "scaling_factor", None) or 1.0)
        mean, std = (getattr(config, f"latents_{name}", None) for name in ("mean", "std"))
        if mean is not None and std is not None:
            column = (1, -1, *[1] * (latents.ndim - 2))
            latents = latents * latents.new_tensor(std).view(column) + latents.new_tensor(mean).view(column)
        return latents + (getattr(config, "shift_factor", None) or 0.0)
