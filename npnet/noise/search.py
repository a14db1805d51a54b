"""What all searches share: the score that they maximise, and their budget.

A score is the weighted sum of the ``scorer`` metrics of a picture. The backbone's own deterministic sampler makes this
picture from the noise, with the settings of the sampling. The method optimises the score, so the score is no
independent evidence.

Cost is counted in denoiser forwards for each sample, without the sampling from the returned noise. Scoring a noise
costs ``num_inference_steps`` forwards, and twice that with guidance. If the caller samples with the same settings, the
winner's finished sample is returned with its noise, so that it is not sampled again. (This is not done where a
threshold made the batch smaller before the winner was found, because a smaller batch rounds differently.)

**Proposals**: with ``proposal: npnet``, a trained network first changes the noises, which costs no forward of the
denoiser. In best of N it changes every candidate, in the other searches the noise that they start from.

A search follows small differences. Where two scores are equal up to rounding, another batch size can change the choice.
A budget in seconds makes the result depend on the machine. No other setting does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from npnet.backbones.traits import ShippedNetwork, num_branches
from npnet.bounds import Guidance, Number
from npnet.errors import FieldError
from npnet.fields import Count, Name, NotEmpty, Positive, Share, check_fields
from npnet.noise.base import NoiseMethod
from npnet.noise.npnet import Network

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone
    from npnet.backbones.traits import BackboneTraits

Labels = Annotated[tuple[Name, ...], NotEmpty()]
Weights = Annotated[Mapping[Name, float], NotEmpty()]
Scorers = Name | Labels | Weights
"""A metric's label, several labels (their scores are added), or ``{label: weight}``."""


def weights_of(scorer: Scorers | None) -> dict[str, float]:
    """Return the weight of each metric, by label; empty for None."""
    if scorer is None:
        return {}
    if isinstance(scorer, Mapping):
        return dict(scorer)
    return dict.fromkeys([scorer] if isinstance(scorer, str) else scorer, 1.0)


@dataclass(frozen=True)
class Budget:
    """What one search may spend; None means no limit.

    Attributes:
        forwards: denoiser forwards for each sample, without the sampling from the result; never exceeded.
        seconds: for one batch of prompts. It is checked between rounds: the next round is expected to last as long as
            the longest so far.
    """

    forwards: Count | None = None
    seconds: Positive | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def rounds(self, wanted: int, forwards: int) -> int:
        """Return how many of the ``wanted`` rounds fit, each costing ``forwards`` a sample."""
        if self.forwards is None or forwards == 0:
            return wanted
        return min(wanted, self.forwards // forwards)


SHIPPED: dict[str, ShippedNetwork] = {"npnet": "recommended", "npnet_paper": "paper", "npnet_reward": "reward"}
"""Proposal -> the network that ships with the Shapes model."""


@dataclass(frozen=True)
class SearchMethod(NoiseMethod):
    """A method that scores noises by their pictures.

    Args:
        num_inference_steps: of the sampling that makes the pictures.
        guidance_scale: of the same.
        scorer: what is maximised, see ``Scorers``. None stands for the first metric of the run that can be maximised;
            ``npnet.compatibility.resolve`` puts it here.
        budget: see ``Budget``.
        threshold: score at which a sample is finished and costs no more forwards; None never stops a sample early.
        proposal: the trained network that changes the noises before they are scored, named as in ``noise=`` (one of
            those that ship with the Shapes model). None scores the noises as drawn.
        network_path: of that network, see ``noise.Network``; the default is the shipped one.
        mean_shift: of the same, see ``noise.Network``.
    """

    of_proposals: ClassVar[Mapping[str, object]] = {"network_path": None, "mean_shift": 1.0}
    """Keys that need ``proposal``, with their values without it."""

    num_inference_steps: Count
    guidance_scale: Guidance
    scorer: Scorers | None = None
    budget: Budget = field(default=Budget(), kw_only=True)
    threshold: Number | None = field(default=None, kw_only=True)
    proposal: Literal["npnet", "npnet_paper", "npnet_reward"] | None = field(default=None, kw_only=True)
    network_path: Name | None = field(default=None, kw_only=True)
    mean_shift: Share = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, unset in self.of_proposals.items():
            value = getattr(self, name)
            if value != unset and self.proposal is None:
                raise FieldError(name, value, "it has no effect without proposal=npnet")

    @property
    def applied_network(self) -> Network | None:
        """See ``NoiseMethod.applied_network``: what the candidates come through."""
        if self.proposal is None:
            return None
        return Network(self.network_path, shipped=SHIPPED[self.proposal], mean_shift=self.mean_shift)

    @property
    def variance_bound(self) -> tuple[float, float]:
        """See ``NoiseMethod.variance_bound``: the network's, where one proposes."""
        network = self.applied_network
        return super().variance_bound if network is None else network.variance_bound

    def check(self) -> None:
        """See ``Description.check``: the network of the proposals must be there."""
        if self.applied_network is not None:
            self.applied_network.check()

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``; proposals need a network for this backbone."""
        super().check_backbone(backbone)
        if self.applied_network is not None:
            self.applied_network.check_backbone(backbone)

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``NoiseMethod.needs``."""
        return ("decode",)

    @property
    def weights(self) -> dict[str, float]:
        """Return the weight of each scorer, by label."""
        return weights_of(self.scorer)

    @property
    def scorers(self) -> tuple[str, ...]:
        """See ``NoiseMethod.scorers``."""
        return tuple(self.weights)

    def finishes(self, backbone: BackboneTraits, num_inference_steps: int, guidance_scale: float) -> bool:
        """See ``NoiseMethod.finishes``: yes, where the search and the sampling have the same settings."""
        same = (self.num_inference_steps, self.guidance_scale) == (num_inference_steps, guidance_scale)
        return same and self.budget.rounds(1, self.round_forwards(backbone)) > 0

    def round_forwards(self, backbone: BackboneTraits | LoadedBackbone) -> int:
        """Return the forwards that scoring one noise costs each sample."""
        return self.num_inference_steps * num_branches(backbone, self.guidance_scale)

    def foretold(self, num_rounds: int, backbone: BackboneTraits) -> int | None:
        """Return the forwards of ``num_rounds`` within the budget; None where the clock or the scores decide."""
        if self.budget.seconds is not None or self.threshold is not None:
            return None
        cost = self.round_forwards(backbone)
        return cost * self.budget.rounds(num_rounds, cost)
