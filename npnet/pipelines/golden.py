"""``GoldenNoise``: better initial noise for a diffusers pipeline, from a trained network or another noise method."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.compatibility import check_method
from npnet.errors import UserError
from npnet.metrics import Metric
from npnet.networks import NoiseNetwork, NPNet
from npnet.noise import NoiseMethod
from npnet.noise.npnet import Network
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.npnet import LoadedNetwork
from npnet.noise.search import SearchMethod
from npnet.pipelines.attached import Attached
from npnet.pipelines.families import COUNT_ONE_LESS, as_argument, as_backbone, family_of, is_plain, other_model
from npnet.pipelines.methods import check_keys, improve, method_named, metric_named
from npnet.pipelines.prompts import Prompts, asked
from npnet.records import Conditioning

log = logging.getLogger(__name__)


class GoldenNoise:
    """A noise method for diffusers pipelines.

    There are two ways to use it:

        image = pipe(prompt, latents=golden(pipe, prompt, seed=0)).images[0]

        golden.attach(pipe)
        image = pipe(prompt, generator=torch.Generator("cpu").manual_seed(0)).images[0]

    Args:
        network: a network that improves the noise. Give either this or ``method``.
        method: a noise method by the name of its file in ``conf/noise`` (``inversion``, ``best_of_n``), or an object: a
            description of ``npnet.noise`` or of your own.
        metric: for a method that searches: a metric by its name (``hpsv2``), or a description of ``npnet.metrics``.
        **keys: keys of the method, as in its file (``num_candidates=8``). ``guidance_scale`` and
            ``num_inference_steps`` are those of the sampling where they are not given here.

    Raises:
        UserError: a name, key or value is not allowed.
    """

    def __init__(
        self,
        network: NoiseNetwork | None = None,
        *,
        method: str | NoiseMethod | None = None,
        metric: str | Metric | None = None,
        **keys: Any,
    ) -> None:
        if (network is None) == (method is None):
            raise UserError("GoldenNoise: either a network or a method is needed")
        if keys and not isinstance(method, str):
            raise UserError(f"GoldenNoise: {', '.join(keys)}: keys need the name of a method; an object has its own")
        if isinstance(method, str):
            check_keys(method, keys)
        self.network = None if network is None else network.eval()
        self.method, self.keys = method, keys
        named = metric_named(metric) if isinstance(metric, str) else metric
        label = metric if isinstance(metric, str) else "metric"
        self.metrics: dict[str, Metric] = {} if named is None else {label: named}
        self._scorers: dict[torch.device, dict[str, Any]] = {}
        self._attached: list[Attached] = []
        self._warned: set[str | None] = {None}

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        torch_dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        **options: Any,
    ) -> Self:
        """Load a network.

        Args:
            path: a folder that ``train.py`` left (``network/``), a hub id, or an official ``.pth``.
            torch_dtype: that the network computes in; the default is float32.
            device: where it lies; by default it follows the pipeline.
            **options: see ``NPNet.from_pretrained``.

        Raises:
            ValueError, OSError: see ``NPNet.from_pretrained``.
        """
        network = NPNet.from_pretrained(path, **options)
        return cls(network.to(device=device, dtype=torch_dtype))

    @torch.no_grad()  # a method that needs gradients enables them itself
    def __call__(
        self,
        pipe: Any,
        prompt: Prompts | None = None,
        *,
        seed: int | Sequence[int] = 0,
        negative_prompt: Prompts | None = None,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        max_sequence_length: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        **embeds: Any,
    ) -> Tensor:
        """Return golden noise as the pipeline takes it as ``latents``.

        Args:
            pipe: a text-to-image or text-to-video pipeline of diffusers.
            prompt: one or more.
            seed: of the first picture, while the next ones count up; or a list with one for each picture.
            negative_prompt: see the pipeline.
            num_images_per_prompt: see the pipeline.
            height: in pixels; the default is the pipeline's.
            width: in pixels; the default is the pipeline's.
            num_frames: of a video.
            max_sequence_length: see the pipeline.
            guidance_scale: of the sampling, for methods that need it.
            num_inference_steps: of the sampling, for methods that need it.
            **embeds: instead of ``prompt``: ``prompt_embeds`` and what belongs to it, as the pipeline names them.

        Returns:
            ``(B, C, *grid)``, of FLUX ``(B, tokens, 4 C)``, in the dtype and on the device of the pipeline; N(0, 1), so
            before any scaling by the scheduler, as diffusers takes it.

        Raises:
            UserError: the pipeline is of no known family, the network was trained for another model, a size does not
                fit, or the method needs what is not given.
        """
        sizes = {"height": height, "width": width, "num_frames": num_frames, "max_sequence_length": max_sequence_length}
        backbone = as_backbone(pipe, **sizes)
        conditioning = asked(family_of(pipe), backbone, prompt, negative_prompt, embeds)
        rows = [row for row in range(len(conditioning)) for _ in range(num_images_per_prompt)]
        conditioning = conditioning[rows]
        seeds = [seed + index for index in range(len(rows))] if isinstance(seed, int) else list(seed)
        if len(seeds) != len(rows):
            raise UserError(f"seed={seeds}: {len(rows)} needed, one for each picture (num_images_per_prompt=N makes N)")
        noise = seeding.source_noises(seeds, backbone.latent_shape())
        call = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps}
        better = improve(self.load(pipe, backbone, call), backbone, noise, conditioning, seeds)
        return as_argument(pipe, better).to(backbone.device, backbone.dtype)

    def attach(self, pipe: Any) -> Self:
        """Make a pipeline use golden noise in every call.

        If a call has ``latents=``, these are used unchanged.

        Args:
            pipe: of diffusers.

        Returns:
            This object.

        Raises:
            UserError: the pipeline is of no known family, or golden noise is attached to it already.
        """
        self._attached.append(Attached(pipe, self._in_pipeline))
        return self

    def detach(self) -> None:
        """Let every attached pipeline use its own noise again."""
        while self._attached:
            self._attached.pop().undo()

    def load(self, pipe: Any, backbone: LoadedBackbone, call: Mapping[str, Any]) -> LoadedMethod[Any]:
        """Return the method that improves the noise of a pipeline.

        Args:
            pipe: the pipeline.
            backbone: the pipeline as a backbone.
            call: see ``method_named``.

        Raises:
            UserError: see ``__call__``.
        """
        if self.network is not None:
            fault = self.network.misfit(backbone.latent_shape(), backbone.embed_dims(), type(pipe).__name__)
            if fault:
                raise UserError(f"GoldenNoise: {fault}")
            self._warn(other_model(pipe, self.network.trained_for))
            return LoadedNetwork(Network(), backbone, network=self.network.to(backbone.device))
        scale = call.get("guidance_scale")
        if scale is not None and family_of(pipe) in COUNT_ONE_LESS:
            scale = scale + 1
        if scale is not None and "unconditional_branch" in backbone.capabilities:
            call = {**call, "guidance_scale": max(scale, 1.0)}  # as diffusers reads it: below 1 is no guidance
        method = self.method if isinstance(self.method, NoiseMethod) else self._named(call)
        if method.forwards(backbone.description) != 0 and not is_plain(pipe):
            plain = family_of(pipe).layout.pipeline
            raise UserError(f"noise.{self.method} evaluates the denoiser by itself; allowed: networks, or {plain}")
        if isinstance(method, SearchMethod) and method.scorer is None:
            if not self.metrics:
                raise UserError(f"noise.{self.method} searches with a metric: give one, GoldenNoise(metric=NAME)")
            method = replace(method, scorer=next(iter(self.metrics)))
        check_method(str(self.method), method, backbone.description)
        return method.load(backbone, self._scorers_on(backbone.device))

    def _warn(self, other: str | None) -> None:
        """Say once that the network is used with another model."""
        if other not in self._warned:
            log.warning("GoldenNoise: the network %s", other)
        self._warned.add(other)

    def _named(self, call: Mapping[str, Any]) -> NoiseMethod:
        assert isinstance(self.method, str)
        return method_named(self.method, self.keys, call)

    def _scorers_on(self, device: torch.device) -> dict[str, Any]:
        if device not in self._scorers:
            self._scorers[device] = {label: metric.load(device) for label, metric in self.metrics.items()}
        return self._scorers[device]

    @torch.no_grad()
    def _in_pipeline(
        self,
        pipe: Any,
        noise: Tensor,
        conditioning: Conditioning,
        backbone: LoadedBackbone,
        seeds: Sequence[int],
        call: Mapping[str, Any],
    ) -> Tensor:
        return improve(self.load(pipe, backbone, call), backbone, noise.float(), conditioning, seeds)
