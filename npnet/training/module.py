"""Training on pairs of source and golden noise: by default with the mean squared error of equation 8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from npnet.networks import NoiseNetwork
from npnet.training import accuracy, pair_losses
from npnet.training.objective import PairsObjective
from npnet.training.optimisation import Optimisation
from npnet.training.penalties import squared_error


class NetworkModule(L.LightningModule):
    """A network and its optimiser; a subclass defines the loss.

    Args:
        network: a member of ``npnet.networks``, or one of your own.
        optimisation: how it is trained.
    """

    def __init__(self, network: NoiseNetwork, optimisation: Optimisation) -> None:
        super().__init__()
        self.network, self.optimisation = network, optimisation

    def _num_steps(self) -> int:
        """Return the optimiser steps of the whole run.

        ``trainer.estimated_stepping_batches`` is not used: it sets up the loaders before their state in the checkpoint
        can be loaded, and a resumed run would then start its epoch again.
        """
        trainer: Any = self.trainer  # Lightning sets its ``datamodule`` without declaring it
        batches = len(trainer.datamodule.train_dataloader())
        steps = -(-batches // trainer.accumulate_grad_batches) * int(trainer.max_epochs or 1)
        return min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule."""
        asked = self.optimisation
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=asked.learning_rate, weight_decay=asked.weight_decay, betas=asked.betas
        )
        total = self._num_steps() if asked.schedule == "cosine" else 0

        def factor(step: int) -> float:
            return asked.factor(step, total)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class NPNetModule(NetworkModule):
    """Learning from pairs (Golden Noise, section 3.3 and appendix A; equation 8).

    Args:
        network: a member of ``npnet.networks``, or one of your own.
        optimisation: how it is trained.
        objective: the loss, and the weight of each pair.
    """

    def __init__(
        self, network: NoiseNetwork, optimisation: Optimisation, objective: PairsObjective | None = None
    ) -> None:
        super().__init__(network, optimisation)
        self.objective = objective or PairsObjective()
        self._validation: list[Tensor] = []

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the predicted golden noise ``(B, C, *grid)``; every sample is conditioned on its own prompt."""
        return accuracy.predict(self.network, batch)

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Return the loss of one batch; ``RunState`` records it."""
        prediction, asked, golden = self(batch), self.objective, batch["golden_noise"]
        if not asked.preference and not asked.gain_power:
            return nn.functional.mse_loss(prediction, golden)
        losses = squared_error(prediction, golden)
        if asked.preference:
            to_golden, to_source, kept = losses, squared_error(prediction, batch["source_noise"]), batch["kept"]
            preferred = pair_losses.preference(to_golden, to_source, kept, asked.preference_scale)
            losses = torch.where(kept, to_golden, to_source) + asked.preference * preferred
        if asked.gain_power:
            gains = batch["gains"][asked.gain_metric or next(iter(batch["gains"]))]
            losses = losses * pair_losses.weights(gains, asked.gain_power)
        return losses.mean()

    def on_validation_epoch_start(self) -> None:
        """Start a new sum."""
        self._validation = []

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        """Record the errors of one batch."""
        self._validation.append(accuracy.pair_errors(self(batch), batch["source_noise"], batch["golden_noise"]))

    def on_validation_epoch_end(self) -> None:
        """Log the error, the error relative to that of the source noise, and the direction share, over all pairs."""
        values = accuracy.summarise(torch.cat(self._validation))
        self.log_dict({f"val/{name}": value for name, value in values.items()}, prog_bar=True)
