"""Loading the pipeline of a description, and what all families of diffusers share: the VAE, sizes and memory.

A family is ``Parts``: a text encoder with ``embed``, a denoiser with ``denoise``, and what its loading needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime import loading, lora
from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.devices import placement
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.parts import Decoder, Denoiser, TextEncoder
from npnet.errors import FieldError


class PipelineDenoiser(Denoiser):
    """The network of a pipeline; a family writes ``denoise``.

    Args:
        adopted: the pipeline, and what it was adopted for.
    """

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted.module, adopted.device, adopted.dtype)
        self.description, self.pipeline = adopted.description, adopted.pipeline
        self.vae_factor = adopted.facts.vae_factor


class VaeDecoder(Decoder):
    """The VAE of a pipeline.

    Args:
        adopted: the pipeline, and what it was adopted for.
    """

    def __init__(self, adopted: Adopted) -> None:
        self.vae, self.dtype = adopted.pipeline.vae, adopted.dtype
        self.in_float32 = "vae" in adopted.description.layout.float32_parts
        self._columns: dict[str, Tensor] = {}

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Decoder.decode``; a half-precision VAE that asks for it is run in float32, as diffusers does."""
        upcast = getattr(self.vae.config, "force_upcast", False) or self.in_float32
        dtype = torch.float32 if upcast else self.dtype
        if self.vae.dtype != dtype:
            self.vae.to(dtype)
        images = self.vae.decode(self.unscale(latents).to(dtype), return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def unscale(self, latents: Tensor) -> Tensor:
        """Return latents on the VAE's own scale: the denoiser's are shifted and scaled to unit variance."""
        config = self.vae.config
        latents = latents / (getattr(config, "scaling_factor", None) or 1.0)
        if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
            latents = latents * self._column("latents_std", latents) + self._column("latents_mean", latents)
        return latents + (getattr(config, "shift_factor", None) or 0.0)

    def _column(self, name: str, like: Tensor) -> Tensor:
        """Return a number for each channel, ``(1, C, 1, ...)``, made at the first decoding."""
        if name not in self._columns:
            with torch.inference_mode(False):  # an inference tensor could not be used under gradients later
                numbers = torch.tensor(getattr(self.vae.config, name), device=like.device, dtype=like.dtype)
            self._columns[name] = numbers.view(1, -1, *[1] * (like.ndim - 2))
        return self._columns[name]


def no_options(description: PipelineBackbone, dtype: torch.dtype) -> dict[str, Any]:
    """Return no further arguments of a pipeline."""
    return {}


def anything(description: PipelineBackbone, pipeline: Any) -> None:
    """Refuse nothing."""


def without_safety_checker(description: PipelineBackbone, dtype: torch.dtype) -> dict[str, Any]:
    """Leave out the safety checker, whose black pictures would distort the metrics."""
    return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@dataclass(frozen=True)
class Parts:
    """The parts of a family; the ``runtime`` of a description names them.

    Attributes:
        text_encoder: makes the text encoder.
        denoiser: makes the network's part.
        decoder: makes the decoder.
        options: further arguments of the pipeline.
        check: refuses a pipeline that the family does not support, before it is used.
    """

    text_encoder: Callable[[Adopted], TextEncoder]
    denoiser: Callable[[Adopted], Denoiser]
    decoder: Callable[[Adopted], Decoder] = VaeDecoder
    options: Callable[[Any, torch.dtype], dict[str, Any]] = no_options
    check: Callable[[Any, Any], None] = anything


def load(description: PipelineBackbone, device: str | None = None) -> LoadedBackbone:
    """See ``Backbone.load``."""
    _, dtype = placement(description, device)
    layout, parts = description.layout, {}
    if description.vae:
        parts["vae"] = loading.load_part("vae", layout.vae_classes, description.vae, dtype)
    weights = description.denoiser if (description.denoiser or "").endswith(".safetensors") else None
    if description.denoiser and not weights:
        classes = (layout.denoiser_class,)
        parts[layout.denoiser] = loading.load_part("denoiser", classes, description.denoiser, dtype)
    family: Parts = description.runtime_class()
    pipeline = loading.load_pipeline(description, dtype, **family.options(description, dtype), **parts)
    network = getattr(pipeline, layout.denoiser)
    if network.dtype != dtype:  # without accelerate, diffusers leaves some in float32
        network.to(dtype)
    if weights:
        loading.load_weights("denoiser", weights, network)
    if description.lora:
        lora.fuse(pipeline, layout.denoiser, description.lora, description.lora_scale)
    return adopt(description, pipeline, device, loaded_from_path=True)


def adopt(
    description: PipelineBackbone, pipeline: Any, device: str | None = None, loaded_from_path: bool = False
) -> LoadedBackbone:
    """See ``PipelineBackbone.adopt``."""
    family: Parts = description.runtime_class()
    family.check(description, pipeline)
    place, dtype = placement(description, device)
    adopted = Adopted(description, pipeline, place, dtype, loaded_from_path)
    _prepare(adopted)
    return _composed(adopted)


def borrow(description: PipelineBackbone, pipeline: Any, device: torch.device, dtype: torch.dtype) -> LoadedBackbone:
    """Use a pipeline of the caller without changing it: no module is moved, frozen or set to another mode.

    Args:
        description: of its family.
        pipeline: of diffusers; offloading hooks keep working.
        device: where it executes.
        dtype: of its network.

    Raises:
        FieldError: a side does not fit, or the pipeline is not of the family.
    """
    description.runtime_class().check(description, pipeline)
    adopted = Adopted(description, pipeline, device, dtype, borrowed=True)
    description.check_size(adopted.facts, height=description.height, width=description.width)
    return _composed(adopted)


def _composed(adopted: Adopted) -> LoadedBackbone:
    description, pipeline = adopted.description, adopted.pipeline
    family: Parts = description.runtime_class()
    return LoadedBackbone(
        description,
        family.text_encoder(adopted),
        family.denoiser(adopted),
        family.decoder(adopted),
        device=adopted.device,
        dtype=adopted.dtype,
        schedule=description.make_schedule(
            {**pipeline.scheduler.config, "_class_name": type(pipeline.scheduler).__name__}
        ),
        sizes=adopted,
        pipeline=pipeline,
    )


def _prepare(adopted: Adopted) -> None:
    """Move the modules to their devices, freeze them, and set the configured memory layout."""
    description, pipeline, module = adopted.description, adopted.pipeline, adopted.module
    pipeline.set_progress_bar_config(disable=True)
    if module.dtype != adopted.dtype:
        raise FieldError("dtype", description.dtype, f"{adopted.dtype} was asked for, the pipeline's is {module.dtype}")
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            stays = description.offload_text_encoders and name.startswith("text_encoder")
            part.requires_grad_(False).eval().to("cpu" if stays else adopted.device)
    facts = adopted.facts
    description.check_size(facts, height=description.height, width=description.width)
    config = pipeline.vae.config
    found = getattr(config, "latent_channels", None) or config.z_dim
    wanted = facts.vae_channels or facts.latent_channels
    if found != wanted:
        key, source = ("vae", description.vae) if description.vae else ("path", description.source)
        raise FieldError(key, source, f"a VAE of {found} latent channels; {wanted} are the denoiser's")
    if description.channels_last:
        for part in (module, pipeline.vae):
            loading.set_channels_last(part)
    if description.vae_slicing:
        pipeline.vae.enable_slicing()
    if description.compile:
        module.compile()
