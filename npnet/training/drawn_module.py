"""Training without pairs; see ``npnet.training.drawn``. Experimental."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import FieldError, under
from npnet.metrics import load_metrics
from npnet.metrics.diversity import by_prompt, mean_pairwise_distance
from npnet.metrics.runtime.base import Scorer
from npnet.metrics.runtime.features import PixelSpace
from npnet.metrics.spaces import Pixels
from npnet.networks import NoiseNetwork
from npnet.noise.runtime import whiteness
from npnet.noise.runtime.gradient import clip_gradient, sample_in_graph
from npnet.records import Conditioning
from npnet.training import penalties
from npnet.training.drawn import DescribedModels, DrawnObjective
from npnet.training.module import NetworkModule
from npnet.training.optimisation import Optimisation

O = TypeVar("O", bound=DrawnObjective)  # noqa: E741 - as in objective


@dataclass(frozen=True)
class Models:
    """The loaded models; they are not trained, moved or saved.

    Attributes:
        backbone: the model.
        scorers: by label.
    """

    backbone: LoadedBackbone
    scorers: Mapping[str, Scorer]


@dataclass(frozen=True)
class Aim:
    """The objective's result for a batch of noises.

    Attributes:
        value: the value to maximise, a scalar.
        gradient: of B times the value with respect to the noises, ``(B, C, *grid)``.
        told: values to log, by name.
    """

    value: Tensor
    gradient: Tensor
    told: Mapping[str, Tensor]


class DrawnModule(NetworkModule, Generic[O]):
    """Training of a network on the pictures of its noise.

    Args:
        network: to train.
        optimisation: how.
        objective: for what.
        described: the models of the objective, loaded when training begins.
        seed: of the probes of the divergence.

    Raises:
        FieldError: the divergence of this network cannot be computed.
    """

    def __init__(
        self, network: NoiseNetwork, optimisation: Optimisation, objective: O, described: DescribedModels, seed: int
    ) -> None:
        super().__init__(network, optimisation)
        self.objective, self.described, self.seed = objective, described, seed
        self._models: Models | None = None
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0
        if objective.kl and network.decomposer() is not None:
            needed = (
                "the Jacobian leaves the SVD out; it needs a network without one (network.singular_value_branch=off)"
            )
            raise FieldError("kl", objective.kl, needed)

    @property
    def models(self) -> Models:
        """What was loaded."""
        assert self._models is not None
        return self._models

    def on_fit_start(self) -> None:
        """Load the models in the process that trains.

        Raises:
            UserError: they cannot be loaded.
        """
        place = str(self.device) if self.described.backbone.device == "auto" else None
        with torch.random.fork_rng():
            with under("backbone"):
                backbone = self.described.backbone.load(place)
            self._models = Models(backbone, load_metrics(self.described.metrics, backbone.device))

    @abstractmethod
    def aim(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> Aim:
        """Return the value to maximise and its gradient.

        Args:
            golden: the network's noise, ``(B, C, *grid)``, detached.
            noise: the network's input.
            conditioning: of the B prompts.
        """

    @abstractmethod
    def measures(self, golden: Tensor, noise: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        """Return the validation figures of each sample, by name: ``(B,)`` each."""

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, Any]:
        """Return a loss with the right value and the clipped gradient, and values to log."""
        asked = self.objective
        noise = batch["source_noise"].requires_grad_(asked.kl > 0)
        conditioning = self.encode(batch["prompts"])
        golden = self.network.improve(noise, conditioning)
        with torch.autocast(self.device.type, enabled=False):  # the models compute in their own precision
            aim = self.aim(golden.detach().float(), noise.detach(), conditioning)
        gradient = aim.gradient.to(golden)
        if asked.gradient_clip is not None:
            gradient = clip_gradient(gradient, asked.gradient_clip)
        handed_on = (golden * gradient).flatten(1).sum(1).mean()
        costs = self.penalties(golden.float(), noise)
        loss = handed_on.detach() - handed_on - aim.value + sum(costs.values())
        told = {**aim.told, **{name: cost.detach() for name, cost in costs.items()}, "loss": loss.detach()}
        return {"loss": loss, "told": {f"train/{name}": value for name, value in told.items()}}

    def penalties(self, golden: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return the configured penalties with their weights, by name; see ``npnet.training.penalties``."""
        asked, change = self.objective, golden - noise
        found = {}
        if asked.l2:
            found["l2"] = asked.l2 * penalties.l2_penalty(change).mean()
        if asked.kl:
            place = (self.trainer.current_epoch, self.trainer.global_step, self.trainer.global_rank)
            generators = seeding.streams(range(len(noise)), "probe of the divergence", self.seed, *place)
            probes = torch.where(seeding.randn_like(noise, generators) < 0, -1.0, 1.0)
            term = penalties.jacobian_term(change, noise, probes, asked.kl_powers)
            found["kl"] = asked.kl * (penalties.l2_penalty(change) + term).mean()
        if asked.norm:
            found["norm"] = asked.norm * penalties.norm_penalty(golden).mean()
        return found

    def encode(self, prompts: list[str]) -> Conditioning:
        """Encode the prompts, outside of any graph."""
        with torch.no_grad():
            return self.models.backbone.encode(prompts)

    def in_graph(self, leaf: Tensor, conditioning: Conditioning, guidance_scale: float) -> Tensor:
        """Sample from ``leaf`` with a graph, as configured."""
        asked = self.objective
        return sample_in_graph(
            self.models.backbone,
            leaf,
            conditioning,
            self.described.num_inference_steps,
            guidance_scale,
            asked.gradient_evaluations,
            asked.recompute,
        )

    def pictures(self, latents: Tensor) -> Tensor:
        """Decode clean latents, a few at a time."""
        return torch.cat(
            [self.models.backbone.decode(rows) for rows in latents.split(self.objective.decode_batch_size)]
        )

    def on_validation_epoch_start(self) -> None:
        """Start new sums."""
        self._sums.clear()
        self._count = 0

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        """Add up the figures of each sample."""
        with torch.inference_mode(False), torch.no_grad():  # what models keep from a call must also work in training
            noise, conditioning = batch["source_noise"].clone(), self.encode(batch["prompts"])
            golden = self.network.improve(noise, conditioning).float()
            with torch.autocast(self.device.type, enabled=False):
                told = {**shape_of_noise(golden, noise), **self.measures(golden, noise, conditioning)}
        for name, values in told.items():
            self._sums[name] += float(values.double().sum())
        self._count += len(noise)

    def on_validation_epoch_end(self) -> None:
        """Log the means."""
        self.log_dict({f"val/{name}": total / self._count for name, total in self._sums.items()}, prog_bar=True)


def shape_of_noise(golden: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Return the root mean square change of the noise, and measures of its whiteness, ``(B,)`` each."""
    return {
        "change": (golden - noise).flatten(1).square().mean(1).sqrt(),
        "variance": whiteness.variance(golden),
        "neighbour_correlation": whiteness.neighbour_correlation(golden),
        "low_frequency_share": whiteness.low_frequency_share(golden),
    }


def style_and_diversity(images: Tensor, prompts: list[str]) -> dict[str, Tensor]:
    """Return each picture's mean level and contrast, and its prompt's diversity in pixels, ``(B,)`` each."""
    flat = images.flatten(1)
    apart, features = flat.new_zeros(len(images)), PixelSpace(Pixels()).features(stills(images), prompts)
    for places in by_prompt(prompts).values():
        apart[places] = mean_pairwise_distance(features[places])
    return {"level": flat.mean(1), "contrast": flat.std(1), "diversity": apart}


def stills(images: Tensor) -> Tensor:
    """Return pictures ``(B, 3, H, W)`` unchanged, or the middle frame of videos."""
    return images if images.ndim == 4 else images[:, images.shape[1] // 2]
