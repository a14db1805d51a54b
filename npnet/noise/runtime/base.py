"""The runtime of a noise method, which ``load`` returns: noise and prompts in, better noise out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import FieldError, closest
from npnet.records import Conditioning, NoiseResult


class Optimising(Protocol):
    """What a loaded method asks of its description, a ``NoiseMethod``."""

    @property
    def scorers(self) -> tuple[str, ...]:
        """See ``NoiseMethod.scorers``."""


M = TypeVar("M", bound=Optimising)


class LoadedMethod(ABC, Generic[M]):
    """A noise method that is ready to run. It keeps no state between calls.

    Args:
        method: its description.
        backbone: the loaded model that the method runs on.
        scorers: loaded metrics by label; those that the method optimises are kept.

    Raises:
        UserError: a metric that the method optimises is not among ``scorers``.
    """

    def __init__(self, method: M, backbone: LoadedBackbone, scorers: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.method = method
        for label in method.scorers:
            if label not in scorers:
                raise FieldError("scorer", label, f"this run has no such metric; {closest(label, scorers)}")
        self.scorers = {label: scorers[label] for label in method.scorers}

    @abstractmethod
    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """Return the better noise.

        Args:
            noise: ``(B, C, *grid)``, N(0, I).
            conditioning: the B prompts.
            backbone: the model the noise is for.
            generators: one for each sample. Every random draw of the method comes from it, so that a sample's result
                does not depend on the rest of the batch (draws are equal bit for bit, values up to rounding).

        Returns:
            Noise of the same shape and dtype; see ``NoiseResult``.
        """
