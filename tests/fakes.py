"""A diffusion model, metrics and a noise method without weights: exact, tiny and fast, for laws about the rest.

Reachable from YAML too: ``FAKE_OVERRIDES`` turns any command's defaults into these.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones import END, Backbone, Coefficients, Schedule, Step
from npnet.backbones.runtime.devices import placement
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.parts import Decoder, Denoiser, TextEncoder
from npnet.backbones.schedules import refused
from npnet.metrics.base import Metric
from npnet.metrics.runtime.base import Scorer
from npnet.noise import NoiseMethod
from npnet.noise.runtime import LoadedMethod
from npnet.records import Conditioning, NoiseResult

SHAPE = (4, 8, 8)
DATA_STD = 0.5
OVERSHOOT = 4.87
FAKE_OVERRIDES = [
    "backbone=shapes",
    "backbone._target_=tests.fakes.LinearBackbone",
    "metric=[]",
    "+metric.target._target_=tests.fakes.TargetScorer",
    "prompts=list",
]
"""With ``prompts.list=[...]`` these make a command run on the fakes."""


def prompt_mean(prompt: str) -> Tensor:
    """The mean of the prompt's data, ``SHAPE``: smooth, of standard deviation about 0.8; "" is the mean of nothing."""
    if not prompt:
        return torch.zeros(SHAPE)
    coarse = torch.randn(SHAPE[0], 2, 2, generator=seeding.stream(0, "fake mean", prompt))
    return 0.8 * torch.nn.functional.interpolate(coarse[None], size=SHAPE[1:], mode="bilinear")[0]


class LinearSchedule(Schedule):
    """SDXL's table with steps of our own, or flow matching with levels from 1 to 0."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.table = (1 - betas).cumprod(0).tolist()

    def spaced(self, num_inference_steps: int) -> list[Step]:
        if num_inference_steps > 1000:
            raise refused(num_inference_steps, "allowed: 1 to 1000")
        if self.kind == "flow":
            levels = [*(1 - i / num_inference_steps for i in range(num_inference_steps)), END]
            return [Step(*pair) for pair in pairwise(levels)]
        stride = 1000 // num_inference_steps
        starts = [float(i * stride + 1) for i in reversed(range(num_inference_steps))]
        return [Step(t, t - stride if t >= stride else END) for t in starts]

    def coefficients(self, timestep: float) -> Coefficients:
        if timestep < 0:
            return Coefficients(1.0, 0.0)
        if self.kind == "flow":
            return Coefficients(1.0 - timestep, timestep)
        product = self.table[round(timestep)]
        return Coefficients(math.sqrt(product), math.sqrt(1.0 - product))


class LinearText(TextEncoder):
    """The embedding of a prompt is its mean, one token for each channel; ``encoded`` lists the prompts given."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.encoded = device, []

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        self.encoded += list(dict.fromkeys(prompts))
        means = torch.stack([prompt_mean(prompt).flatten(1) for prompt in prompts]).to(self.device)
        means[["NaN" in prompt for prompt in prompts]] = math.nan
        pooled = means.flatten(1)[:, :6]
        return Conditioning(tuple(prompts), means, torch.zeros_like(means), pooled, torch.zeros_like(pooled))


class LinearDenoiser(Denoiser):
    """E[epsilon | x_t], or E[velocity | x_t], computed in the dtype of the latents."""

    def __init__(self, schedule: Schedule, delay_seconds: float) -> None:
        super().__init__(None, torch.device("cpu"), torch.float32)
        self.schedule, self.delay_seconds = schedule, delay_seconds

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        means = inputs["prompt_embeds"].view(-1, *SHAPE).to(latents)
        alpha, sigma = self.schedule.coefficients(label)
        residual = (latents - alpha * means) / (alpha**2 * DATA_STD**2 + sigma**2)
        epsilon = sigma * residual
        return epsilon - (means + alpha * DATA_STD**2 * residual) if self.schedule.kind == "flow" else epsilon

    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        time.sleep(self.delay_seconds)
        means = conditioning.prompt_embeds
        if unconditional:
            means = torch.cat([conditioning.negative_prompt_embeds, means])
            latents = torch.cat([latents, latents])
        return self.denoise(latents, label, {"prompt_embeds": means})


class LinearDecoder(Decoder):
    """Pictures of 16 x 16 pixels: the first three channels, squashed and doubled in size."""

    def decode(self, latents: Tensor) -> Tensor:
        images = torch.sigmoid(latents[:, :3].float())
        return torch.nn.functional.interpolate(images, scale_factor=2, mode="nearest")


class LoadedLinear(LoadedBackbone):
    """The runtime of ``LinearBackbone``."""

    def __init__(self, description: LinearBackbone, device: str | None = None) -> None:
        place, dtype = placement(description, device)
        seconds = description.delay_seconds
        delay = float(os.environ.get("FAKE_DELAY_SECONDS", 0)) if seconds is None else seconds
        schedule = description.schedule()
        super().__init__(
            description,
            LinearText(place),
            LinearDenoiser(schedule, delay),
            LinearDecoder(),
            device=place,
            dtype=dtype,
            schedule=schedule,
        )

    @property
    def encoded(self) -> list[str]:
        """The prompts given to the encoder."""
        return self.text_encoder.encoded


@dataclass(frozen=True)
class LinearBackbone(Backbone):
    """The exact denoiser of data N(mean(prompt), DATA_STD^2): linear in its input, so laws can be stated in numbers.

    Args:
        kind: ``variance_preserving`` (SDXL's schedule) or ``flow``.
        delay_seconds: of every evaluation, so that a run can be killed in its middle; the environment variable
            ``FAKE_DELAY_SECONDS`` does the same without being a part of the configuration.
        path, height, width, vae_slicing: accepted and not used, so that
            ``backbone._target_=tests.fakes.LinearBackbone`` is enough.
        settings, device, dtype: see ``Backbone``.

    A prompt that contains "NaN" gives pictures that are not finite.
    """

    runtime: ClassVar[type | str] = LoadedLinear

    kind: Literal["variance_preserving", "flow"] = "variance_preserving"
    delay_seconds: float | None = None
    path: str | None = None
    height: int | None = None
    width: int | None = None
    vae_slicing: bool = False

    def schedule(self) -> Schedule:
        return LinearSchedule(self.kind)

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        return SHAPE

    def embed_dims(self) -> dict[str, int]:
        return {"prompt_embed_dim": SHAPE[1] * SHAPE[2], "prompt_length": SHAPE[0], "pooled_embed_dim": 6}


def linear(kind: str = "variance_preserving", **keys: Any) -> LoadedBackbone:
    """``LinearBackbone``, loaded."""
    return LinearBackbone(kind, **keys).load()


class Targets(Scorer):
    """The scorer of ``TargetScorer``."""

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        targets = LinearDecoder().decode(OVERSHOOT * torch.stack([prompt_mean(prompt) for prompt in prompts]))
        return -(images - targets.to(images)).square().flatten(1).mean(1)


@dataclass(frozen=True)
class TargetScorer(Metric):
    """Minus the mean squared distance to the picture of ``OVERSHOOT`` times the prompt's mean; differentiable.

    Guidance of 5.5 overshoots the mean about so far, so that re-denoise sampling wins here in about half of the pairs.
    """

    runtime = Targets
    differentiable = True


class Brightest(Scorer):
    """The scorer of ``Brightness``."""

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return images.flatten(1).mean(1)


@dataclass(frozen=True)
class Brightness(Metric):
    """The mean of the picture; ignores the prompt."""

    runtime = Brightest
    uses_prompt = False
    differentiable = True


@dataclass(frozen=True)
class ShapesOnly(Brightness):
    """A metric that judges pictures of the built-in model only."""

    domain = "shapes"


class LoadedRedraw(LoadedMethod):
    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        return NoiseResult(seeding.randn_like(noise, generators))


@dataclass(frozen=True)
class Redraw(NoiseMethod):
    """Fresh noise from the samples' generators: a method that is random and evaluates nothing."""

    runtime = LoadedRedraw

    def forwards(self, backbone: Backbone) -> int:
        return 0
