"""The objectives of training: the ``objective`` keys of ``train.py``. The default is equation 8 on pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from npnet.description import Description
from npnet.errors import FieldError, closest
from npnet.fields import Name, NotNegative, Positive

if TYPE_CHECKING:
    from npnet.networks import NoiseNetwork
    from npnet.training.run_settings import RunSettings

WATCHING = ("npnet.training.keeping.BestCheckpoint", "lightning.pytorch.callbacks.EarlyStopping")
"""Callbacks that watch a value."""


@dataclass(frozen=True)
class Objective(Description):
    """One way to train a network: a description, a LightningModule and a YAML in ``conf/objective/``.

    Args:
        monitor: the value that the usual callbacks watch.
        mode: whether the best of it is its smallest or its largest.
    """

    takes_pairs: ClassVar[bool] = False
    """Whether it trains on shards of pairs; else on prompts, with noise of its own."""
    samples: ClassVar[str] = "noises"
    """What is counted."""

    monitor: Name = field(default="val/mse", kw_only=True)
    mode: Literal["min", "max"] = field(default="min", kw_only=True)

    @abstractmethod
    def monitored(self, settings: RunSettings) -> Sequence[str]:
        """Return the values at the end of an epoch that a callback may monitor; an evaluation adds its own."""

    def optimised(self) -> tuple[str, ...]:
        """Return the labels of the metrics that the loss optimises."""
        return ()

    def cost(self, settings: RunSettings) -> str:
        """Return a dry run's lines on the cost of a step and of the preparation, or nothing."""
        return ""

    def check_run(self, settings: RunSettings) -> None:
        """Refuse settings that do not go with this objective, before anything is loaded.

        Raises:
            FieldError: names the key.
        """
        allowed = self.monitored(settings)
        for label, node in settings.callbacks_by_label():
            monitor = node.keys.get("monitor")
            if node.keys.get("_target_") not in WATCHING or monitor in allowed:
                continue
            if not self.takes_pairs or not str(monitor).startswith("evaluation/"):
                names = [*allowed, *(["evaluation/METRIC/winning_rate"] if self.takes_pairs else [])]
                raise FieldError(f"callbacks.{label}.monitor", monitor, closest(monitor, names))

    def embed_dims(self, settings: RunSettings) -> dict[str, int]:
        """Return the sizes of the embeddings, see ``Backbone.embed_dims``; empty where the data holds them."""
        return {}

    @abstractmethod
    def load_data(self, settings: RunSettings) -> Any:
        """Return the Lightning data module; its ``check`` examines the data.

        Raises:
            UserError: parts that do not go together.
        """

    def check_data(self, data: Any) -> None:
        """Refuse data that lacks what this objective reads, after its ``check``.

        Raises:
            FieldError: names the key.
        """

    @abstractmethod
    def load_module(self, network: NoiseNetwork, settings: RunSettings, data: Any) -> Any:
        """Return the LightningModule; its models are loaded when training begins.

        Args:
            network: to train.
            settings: of the run.
            data: what ``load_data`` returned.
        """


@dataclass(frozen=True)
class PairsObjective(Objective):
    """Learn golden noise from pairs: the mean squared error of equation 8. The keys are experimental.

    Args:
        preference: weight of a loss that prefers the side that the selection preferred (see ``pair_losses``). With
            ``data.kept_only=false`` it also uses the rejected pairs, and then prefers their source noise.
        preference_scale: how strong a preference must be; the larger the scale, the weaker it may be.
        gain_power: the weight of a pair is its gain to this power; at 0 all pairs have the same weight.
        gain_metric: the metric of the gain; null uses the first one in the shards.
    """

    runtime = "npnet.training.module:NPNetModule"
    takes_pairs = True
    samples = "pairs"

    preference: NotNegative = field(default=0.0, kw_only=True)
    preference_scale: Positive = field(default=10.0, kw_only=True)
    gain_power: NotNegative = field(default=0.0, kw_only=True)
    gain_metric: Name | None = field(default=None, kw_only=True)

    def monitored(self, settings: RunSettings) -> Sequence[str]:
        """See ``Objective.monitored``."""
        return ("train/mse", "val/mse", "val/relative_mse", "val/direction_share")

    def check_run(self, settings: RunSettings) -> None:
        """See ``Objective.check_run``."""
        settings.data.check()
        super().check_run(settings)

    def check_data(self, data: Any) -> None:
        """See ``Objective.check_data``."""
        if self.gain_metric is not None and not self.gain_power:
            raise FieldError(
                "objective.gain_metric", self.gain_metric, "is used only with objective.gain_power above 0"
            )
        if self.gain_power and (not data.metrics or self.gain_metric not in (None, *data.metrics)):
            needed = f"the metrics whose scores the shards hold: {', '.join(data.metrics) or 'none'}"
            raise FieldError("objective.gain_metric", self.gain_metric, needed)

    def load_data(self, settings: RunSettings) -> Any:
        """See ``Objective.load_data``."""
        return settings.data.load()

    def load_module(self, network: NoiseNetwork, settings: RunSettings, data: Any) -> Any:
        """See ``Objective.load_module``."""
        return settings.module.runtime_class()(network, settings.module, self)
