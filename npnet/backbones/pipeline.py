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
    denoiser_class: str
    """Of diffusers."""
    vae_classes: tuple[str, ...] = ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL")
    """The published VAE's first."""
    text_parts: tuple[str, ...] = ("text_encoder", "tokenizer")
    """The text components that the family cannot do without."""
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
        self.height = self.default_size[0] if height is None else height
        self.width = self.default_size[1] if width is None else width
        self.spacing = spacing
        self.replaced_denoiser, self.replaced_vae, self.lora, self.lora_scale = denoiser, vae, lora, lora_scale
        self.vae_slicing, self.channels_last, self.compile = vae_slicing, channels_last, compile
        self.text_encoder_batch_size, self.offload_text_encoders = text_encoder_batch_size, offload_text_encoders
        self.embedding_cache, self.loaded_from_path = embedding_cache, False
        self.pipeline: Any = None

    # --- loading -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """See ``Backbone.check``: sizes, spacing, and every path that is given."""
        self.check_size(height=self.height, width=self.width)
        self.check_schedule()
        count = self.text_encoder_batch_size
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"backbone.text_encoder_batch_size={count}: a whole number of at least 1 is needed")
        if isinstance(self.lora_scale, bool) or not isinstance(self.lora_scale, int | float):
            raise UserError(f"backbone.lora_scale={self.lora_scale}: a number is needed")
        sources.check_source("backbone.path", self.path, self.revision, self.needed_parts())
        sources.check_part("backbone.denoiser", self.replaced_denoiser, (self.denoiser_class,))
        sources.check_part("backbone.vae", self.replaced_vae, self.vae_classes)
        sources.check_lora("backbone.lora", self.lora)

    def needed_parts(self) -> dict[str, str | None]:
        """Return the parts that the pipeline must have, each with its class where only one will do."""
        return {self.denoiser_name: self.denoiser_class, "vae": None, **dict.fromkeys(self.text_parts)}

    def knows_schedule(self) -> bool:
        """See ``Backbone.knows_schedule``: it lies in a small file, which is read where it is on this machine."""
        if self.pipeline is None:
            published = sources.published_schedule("backbone.path", self.path, self.revision)
            if published is not None:
                self.prepare_schedule(published)
            return published is not None
        return True

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
            parts["vae"] = loading.load_part("backbone.vae", self.vae_classes, vae, self.dtype)
        if denoiser and not denoiser.endswith(".safetensors"):
            classes = (self.denoiser_class,)
            parts[self.denoiser_name] = loading.load_part("backbone.denoiser", classes, denoiser, self.dtype)
        pipeline = loading.load_pipeline(
            self.pipeline_class,
            self.path,
            self.dtype,
            self.revision,
            self.variant,
            self.float32_parts,
            self.needed_parts(),
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
        self.adopt(pipeline)
        self.loaded_from_path = True
        return self

    def pipeline_options(self) -> dict[str, Any]:
        """Return further arguments of the pipeline's constructor."""
        return {}

    def adopt(self, pipeline: Any) -> Self:
        """Use a pipeline of this family that was built elsewhere (own parts, adapters, tiny models in tests).

        Raises:
            UserError: its denoiser has another dtype than the backbone, its VAE other latents, or a side does not fit.
        """
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self.loaded_from_path = pipeline, False
        if self.denoiser.dtype != self.dtype:
            raise UserError(f"backbone.dtype: {self.dtype} was asked for, the pipeline's is {self.denoiser.dtype}")
        for name, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                stays = self.offload_text_encoders and name.startswith("text_encoder")
                module.requires_grad_(False).eval().to("cpu" if stays else self.device)
        self.size_multiple = self.vae_factor * self.patch_size
        self.check_size(height=self.height, width=self.width)
        self.check_vae()
        if self.channels_last:
            for module in (self.denoiser, pipeline.vae):
                loading.set_channels_last(module)
        if self.vae_slicing:
            pipeline.vae.enable_slicing()
        if self.compile:
            self.denoiser.compile()
        self._unconditional = None
        self.prepare_schedule(pipeline.scheduler.config)
        return self

    def check_vae(self) -> None:
        """Refuse a VAE of other latents than the denoiser's.

        Raises:
            UserError: names the numbers of channels.
        """
        config = self.pipeline.vae.config
        found, needed = getattr(config, "latent_channels", None) or config.z_dim, self.latent_channels()
        if found != needed:
            which = f"vae={self.replaced_vae}" if self.replaced_vae else f"path={self.path}"
            raise UserError(f"backbone.{which}: a VAE of {found} latent channels; {needed} are the denoiser's")

    @property
    def denoiser(self) -> Any:
        """The network that is evaluated at every step."""
        return getattr(self.pipeline, self.denoiser_name)

    # --- geometry ------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(C, height / f, width / f)``, f the VAE factor."""
        height, width = self.height if height is None else height, self.width if width is None else width
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
