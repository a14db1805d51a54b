"""A pipeline that improves its own noise: two of its methods, and its call, are replaced on this one object."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import UserError
from npnet.pipelines.families import as_backbone, family_of, packed, sampling_of, unpacked
from npnet.pipelines.prompts import calls_of, overheard
from npnet.records import Conditioning

Improve = Callable[[Any, Tensor, Conditioning, LoadedBackbone, Sequence[int], Mapping[str, Any]], Tensor]
"""Given the pipeline, its noise ``(B, C, *grid)``, the prompts, the backbone, seeds and ``sampling_of`` its call,
returns better noise."""
REPLACED = ("encode_prompt", "prepare_latents")


class Attached:
    """Records what ``encode_prompt`` returns, and improves the noise that ``prepare_latents`` draws.

    Args:
        pipe: of diffusers.
        improve: see ``Improve``.

    Raises:
        UserError: the pipeline is of no known family, or golden noise is attached to it already.
    """

    def __init__(self, pipe: Any, improve: Improve) -> None:
        family_of(pipe)
        if any(name in vars(pipe) for name in REPLACED):
            raise UserError("golden noise is already attached to this pipeline; call detach() first")
        self.pipe, self.improve = pipe, improve
        self._encode, self._prepare = pipe.encode_prompt, pipe.prepare_latents
        self._class = type(pipe)
        self._given: dict[str, Any] = {}
        self._calls: list[tuple[Any, Any]] = []
        self._length: int | None = None
        pipe.__class__ = told(self._class, self.begin)
        pipe.encode_prompt, pipe.prepare_latents = self.encode_prompt, self.prepare_latents

    def undo(self) -> None:
        """Restore the pipeline's own methods."""
        for name in REPLACED:
            vars(self.pipe).pop(name, None)
        self.pipe.__class__ = self._class

    def begin(self, given: Mapping[str, Any]) -> None:
        """Note the arguments of a call, and forget what was encoded before: by a person, or for a call that failed."""
        self._given, self._calls, self._length = dict(given), [], given.get("max_sequence_length")

    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline's own, and remember what it was asked and what it returned."""
        asked = inspect.signature(self._encode).bind(*args, **kwargs).arguments
        prompt, self._length = asked.get("prompt"), asked.get("max_sequence_length")
        prompt = list(prompt) if isinstance(prompt, list) else prompt  # Z-Image writes its template into the list
        returned = self._encode(*args, **kwargs)
        self._calls.append((prompt, returned))
        return returned

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline's own, and improve the noise that it drew; latents that were given stay as they are."""
        returned = self._prepare(*args, **kwargs)
        asked = inspect.signature(self._prepare).bind(*args, **kwargs).arguments
        calls, self._calls = self._calls, []
        if asked.get("latents") is not None:
            return returned
        latents, *rest = returned if isinstance(returned, tuple) else (returned,)
        sizes = {name: asked.get(name) for name in ("height", "width", "num_frames")}
        backbone = as_backbone(self.pipe, **sizes, max_sequence_length=self._length)
        # families of the variance-preserving kind multiply what they draw by the scheduler's first level
        scale = 1.0 if backbone.description.kind == "flow" else float(self.pipe.scheduler.init_noise_sigma)
        noise = unpacked(self.pipe, latents, backbone.latent_shape()) / scale
        if not calls:  # Z-Image's pipeline does not encode where it is given embeddings
            calls = calls_of(family_of(self.pipe), self._given.get("prompt"), self._given)
        conditioning = overheard(backbone, calls, len(noise))
        seeds, call = seeds_of(asked.get("generator"), noise), sampling_of(self.pipe, self._given)
        better = self.improve(self.pipe, noise, conditioning, backbone, seeds, call)
        latents = packed(self.pipe, better * scale).to(latents)
        return (latents, *rest) if rest else latents


def seeds_of(generator: Any, noise: Tensor) -> list[int]:
    """Return a seed for each sample's further draws: its generator's, or one that its noise decides."""
    if isinstance(generator, list):
        return [each.initial_seed() for each in generator]
    if isinstance(generator, torch.Generator) and len(noise) == 1:
        return [generator.initial_seed()]
    return [seeding.named_seed(0, hashlib.sha256(row.float().cpu().numpy().tobytes()).hexdigest()) for row in noise]


def told(cls: type, begin: Callable[[Mapping[str, Any]], None]) -> type:
    """Return a pipeline's class whose call tells ``begin`` its arguments, and none when it has ended."""

    @functools.wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(cls.__call__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        begin(bound.arguments)
        try:
            return cls.__call__(self, *args, **kwargs)
        finally:
            begin({})

    names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls.__name__, (cls,), {**names, "__call__": call})
