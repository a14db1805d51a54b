"""The parts that a loaded model is composed of: a text encoder, a denoiser, a decoder, its sizes and a meter.

A family writes small subclasses. Nothing here enters ``no_grad`` by itself; callers do.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from npnet.records import Conditioning, Cost

T = TypeVar("T")

MOST_CONSTANTS = 1024
"""Constants that a denoiser holds; each is a number or a small table for one timestep, batch or size."""


class TextEncoder(ABC):
    """Prompts to tensors."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode each distinct prompt once; the embeddings are on the model's device."""


class Denoiser(ABC):
    """The network that is evaluated at every step; a family writes ``denoise``.

    Args:
        module: the network.
        device: where it lies.
        dtype: that it computes in.
    """

    def __init__(self, module: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.module, self.device, self.dtype = module, device, dtype
        self._constants: dict[Hashable, Any] = {}
        self._prepared: dict[bool, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}

    def once(self, make: Callable[[], T], *key: Hashable) -> T:
        """Return the result of ``make``, computed once for each ``key``, so that steps copy nothing from the host.

        Args:
            make: makes tensors that are never changed.
            key: all that they depend on.
        """
        if key not in self._constants:
            if len(self._constants) >= MOST_CONSTANTS:
                self._constants.clear()
            with torch.inference_mode(False):  # an inference tensor could not be used under gradients later
                self._constants[key] = make()
        return self._constants[key]

    def full(self, number: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a tensor with one number on the device (a timestep or a guidance scale), made once."""
        return self.once(lambda: torch.full(shape, number, device=self.device, dtype=dtype), number, shape, dtype)

    @abstractmethod
    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """Call the network once, in its own dtype.

        Args:
            latents: ``(B, C, *grid)`` in the network's dtype.
            label: the timestep the network is told.
            inputs: the tensors of the conditioning by name, without ``extras.``, B rows, floating ones in that dtype.

        Returns:
            The network's output, ``(B, C, *grid)``.
        """

    def with_guidance(self, conditioning: Conditioning, guidance_scale: float) -> Conditioning:
        """Return what the network is given at ``guidance_scale``; families with embedded guidance put it in here."""
        return conditioning

    def mix(self, conditional: Tensor, unconditional: Tensor, guidance_scale: float) -> Tensor:
        """Mix the two predictions ``(B, C, *grid)``; affine in the scale unless the description says otherwise."""
        return unconditional + guidance_scale * (conditional - unconditional)

    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        """Run the network in its own dtype and return float32.

        Args:
            latents: ``(B, C, *grid)``.
            label: the timestep the network is told.
            conditioning: B prompts.
            unconditional: run both halves; the output is then ``(2B, C, *grid)``, unconditional half first.
        """
        inputs = self._inputs(conditioning, unconditional)
        latents = torch.cat([latents, latents]) if unconditional else latents
        # the network does not know the end level; 0 is the nearest
        return self.denoise(latents.to(self.device, self.dtype), max(label, 0.0), inputs).float()

    def _inputs(self, conditioning: Conditioning, unconditional: bool) -> dict[str, Tensor]:
        """Return the inputs of ``denoise``, made once for a batch and not at each step."""
        given = conditioning.tensors()
        known, inputs = self._prepared.get(unconditional, ({}, {}))
        if known.keys() == given.keys() and all(known[name] is tensor for name, tensor in given.items()):
            return inputs
        keeps = not any(tensor.requires_grad for tensor in given.values())  # a graph serves one backward pass
        with torch.inference_mode(False) if keeps else contextlib.nullcontext():
            inputs = self._joined(conditioning.to(self.device, self.dtype).tensors(), unconditional)
        if keeps:
            self._prepared[unconditional] = given, inputs
        return inputs

    def _joined(self, tensors: Mapping[str, Tensor], unconditional: bool) -> dict[str, Tensor]:
        inputs = {}
        for name, tensor in tensors.items():
            if not name.startswith(("negative_", "extras.negative_")):
                both = [tensors.get(negative(name), tensor), tensor]
                inputs[name.removeprefix("extras.")] = torch.cat(both) if unconditional else tensor
        return inputs


class Decoder(ABC):
    """Latents to pictures."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Decode to pictures ``(B, 3, H, W)`` (video: ``(B, F, 3, H, W)``), float32 in [0, 1]; differentiable."""


class Sizes(Protocol):
    """The shapes of a loaded model: a description, or a description with the sizes of a checkpoint."""

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``."""

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``."""


class Meter:
    """The counter of forwards and backwards; ``cost`` only grows."""

    def __init__(self) -> None:
        self.cost = Cost()

    def add(self, cost: Cost) -> None:
        """Add what was spent."""
        self.cost += cost


def negative(name: str) -> str:
    """Return the unconditional counterpart's name: ``extras.x`` -> ``extras.negative_x``."""
    return f"extras.negative_{name.removeprefix('extras.')}" if name.startswith("extras.") else f"negative_{name}"
