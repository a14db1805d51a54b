"""Training NPNet: the mean squared error of equation 8, on pairs of source and golden noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from npnet.errors import UserError, unknown
from npnet.training import figures


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


class NPNetModule(L.LightningModule):
    """A network, its loss and its optimiser (Golden Noise, section 3.3 and appendix A).

    Args:
        network: a member of ``npnet.networks``.
        learning_rate: of AdamW (published: 1e-4).
        weight_decay: of AdamW, on everything (published code: PyTorch's default, 0.01).
        schedule: ``constant`` (published) or ``cosine`` to zero over the run.
        warmup_steps: linear warm-up from zero.
        betas: of AdamW.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.01,
        schedule: str = "constant",
        warmup_steps: int = 0,
        betas: Sequence[float] = (0.9, 0.999),
    ) -> None:
        super().__init__()
        if not isinstance(learning_rate, (int, float)) or not learning_rate > 0:
            raise UserError(f"learning_rate={learning_rate!r}: a number above 0 is needed")
        if schedule not in ("constant", "cosine"):
            raise unknown("schedule", schedule, ("constant", "cosine"))
        if not isinstance(betas, Sequence) or len(betas) != 2 or not all(_is_share(beta) for beta in betas):
            raise UserError(f"betas={betas!r}: two numbers from 0 to below 1 are needed")
        self.network = network
        self.learning_rate, self.weight_decay = float(learning_rate), float(weight_decay)
        self.schedule, self.warmup_steps, self.betas = schedule, int(warmup_steps), tuple(betas)
        self._validation: list[Tensor] = []

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the predicted golden noise ``(B, C, *grid)``; every sample is conditioned on its own prompt."""
        return figures.predict(self.network, batch)

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Return the loss of one batch."""
        loss = nn.functional.mse_loss(self(batch), batch["golden_noise"])
        size = len(batch["source_noise"])
        self.log("train/mse", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Mapping[str, Any], batch_index: int) -> None:
        """Log the gates: at 0 the text term and the residual branch are closed."""
        for name in ("alpha", "beta"):
            gate = getattr(self.network, name, None)
            if isinstance(gate, Tensor):
                self.log(name, gate.detach().mean(), on_step=False, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        """Begin a new sum."""
        self._validation = []

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> None:
        """Take down the errors of one batch."""
        self._validation.append(figures.pair_errors(self(batch), batch["source_noise"], batch["golden_noise"]))

    def on_validation_epoch_end(self) -> None:
        """Log the error, the error relative to predicting the source noise, and the direction share, over all pairs."""
        values = figures.summarise(torch.cat(self._validation))
        self.log_dict({f"val/{name}": value for name, value in values.items()}, prog_bar=True)

    def _num_steps(self) -> int:
        """Return the optimiser steps of the whole run.

        Not ``trainer.estimated_stepping_batches``: it sets the loaders up before a checkpoint's loader state is there
        to be loaded, and a resumed run would then begin its epoch again.
        """
        batches = len(self.trainer.datamodule.train_dataloader())
        steps = -(-batches // self.trainer.accumulate_grad_batches) * int(self.trainer.max_epochs or 1)
        return min(steps, self.trainer.max_steps) if self.trainer.max_steps > 0 else steps

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, betas=self.betas
        )
        total = self._num_steps() if self.schedule == "cosine" else 0

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
            if not total:
                return warm
            progress = min(1.0, step / total)
            return warm * 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
