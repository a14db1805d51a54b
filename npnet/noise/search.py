"""What methods that search share: which score they raise, and a budget.

A score is the weighted sum of the ``scorer`` metrics of the picture that the backbone's own deterministic sampler makes
of the noise, under the sampling's settings. It is what the method optimises, so it is no independent evidence.

Cost is counted in denoiser forwards for each sample, the sampling from the returned noise excluded: scoring a noise
costs ``num_inference_steps`` forwards, twice that under guidance. Where the caller samples with the same settings, the
winner's sample is handed over with its noise, and the sampling costs nothing: it is not made twice. (Not where a
threshold made the batch smaller before the winner was found: a smaller batch rounds otherwise.)

**Proposals**: a search may take its noises through a trained network first (``proposal: npnet``), which costs no
forward of the denoiser. Best of N takes every candidate through it, the others the noise that they start from.

A search follows small differences: where two candidates score alike to rounding, another batch size can decide
otherwise. A budget of seconds makes the result depend on the machine, and is the one setting that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

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
    """What one search may spend; None is no limit.

    Attributes:
        forwards: denoiser forwards for each sample, the sampling from the result excluded; never exceeded.
        seconds: for one batch of prompts; checked between rounds, a round being expected to last as long as the
            longest so far.
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
        scorer: what is maximised, see ``Scorers``; None is the first metric of the run that can be, which
            ``npnet.compatibility.resolve`` puts here.
        budget: see ``Budget``.
        threshold: score at which a sample is done, and costs no more forwards; None never stops a sample early.
        proposal: takes noises through a trained network before they are scored; None scores them as drawn. The names
            are those of ``noise=``: which of the networks that ship with the Shapes model.
        network_path: of that network, see ``noise.Network``; the default is the shipped one.
        mean_shift: of the same, see ``noise.Network``.
    """

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
        for name, unset in (("network_path", None), ("mean_shift", 1.0)):
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
        """See ``NoiseMethod.finishes``: the winner was sampled, in the same way where the settings are the same."""
        same = (self.num_inference_steps, self.guidance_scale) == (num_inference_steps, guidance_scale)
        return same and self.budget.rounds(1, self.round_forwards(backbone)) > 0

    def round_forwards(self, backbone: BackboneTraits | LoadedBackbone) -> int:
        """Return what scoring one noise costs: forwards of each sample."""
        return self.num_inference_steps * num_branches(backbone, self.guidance_scale)

    def foretold(self, num_rounds: int, backbone: BackboneTraits) -> int | None:
        """Return the forwards of ``num_rounds`` within the budget; None where the clock or the scores decide."""
        if self.budget.seconds is not None or self.threshold is not None:
            return None
        cost = self.round_forwards(backbone)
        return cost * self.budget.rounds(num_rounds, cost)
