"""Load the model, methods and metrics of a command's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from npnet.backbones import Backbone
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import under
from npnet.metrics import Metric, load_metrics
from npnet.noise import NoiseMethod, load_methods
from npnet.noise.runtime.base import LoadedMethod


class Asked(Protocol):
    """The settings that are read here."""

    @property
    def backbone(self) -> Backbone:
        """The model."""
        ...

    @property
    def noise(self) -> Mapping[str, NoiseMethod]:
        """The methods by label."""
        ...

    @property
    def metric(self) -> Mapping[str, Metric]:
        """The metrics by label."""
        ...


@dataclass(frozen=True)
class Loaded:
    """A backbone, and metrics and noise methods by label."""

    backbone: LoadedBackbone
    scorers: Mapping[str, Any]
    methods: Mapping[str, LoadedMethod[Any]]


def load_parts(settings: Asked, device: str | None = None) -> Loaded:
    """Load the backbone, the metrics on its device, and the noise methods with them.

    Args:
        settings: of the command.
        device: of a worker, where the backbone's own field leaves it open.

    Raises:
        UserError: weights are missing or damaged.
    """
    with under("backbone"):
        backbone = settings.backbone.load(device if settings.backbone.device == "auto" else None)
    scorers = load_metrics(settings.metric, backbone.device)
    return Loaded(backbone, scorers, load_methods(settings.noise, backbone, scorers))
