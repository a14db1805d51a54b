"""Callbacks of every training run: lines for logs, and a stop at values that are not finite."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from npnet.errors import UserError

log = logging.getLogger(__name__)

SHOWN = (
    *("train/mse", "val/mse", "val/relative_mse", "val/direction_share"),
    *("train/reward", "val/reward", "val/x0_error", "val/relative_x0_error", "val/change", "val/diversity"),
)
"""Values of an epoch's line, those of them that there are."""


class EpochLines(Callback):
    """Print epoch, errors and remaining time, at most once in ``every_seconds``; for logs, which have no bar."""

    def __init__(self, every_seconds: float = 5.0) -> None:
        self.every_seconds = every_seconds
        self._started = self._first_epoch = self._last = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._started, self._first_epoch, self._last = time.monotonic(), float(trainer.current_epoch), 0.0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Print the line."""
        now, done = time.monotonic(), trainer.current_epoch + 1
        if now - self._last < self.every_seconds and done < trainer.max_epochs:
            return
        self._last = now
        left = (now - self._started) / max(done - self._first_epoch, 1) * (trainer.max_epochs - done)
        values = [f"{n} {float(trainer.callback_metrics[n]):.4f}" for n in SHOWN if n in trainer.callback_metrics]
        log.info(f"epoch {done}/{trainer.max_epochs}  {'  '.join(values)}  {left:.0f} s left")


class FiniteLoss(Callback):
    """Stop at a loss or at weights that are not finite; earlier checkpoints are kept."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Raise at a loss of NaN or infinity.

        Raises:
            UserError: names the step and the checkpoint that is kept.
        """
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None and not torch.isfinite(loss):
            raise self.error(trainer, f"the loss is {float(loss)}")

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Raise before weights are written that are not finite although the loss is.

        Raises:
            UserError: names the step, the weights, and the checkpoint that is kept.
        """
        for name, weights in pl_module.named_parameters():
            if not torch.isfinite(weights).all():
                raise self.error(trainer, f"{name} holds NaN or infinity")

    @staticmethod
    def error(trainer: Any, what: str) -> UserError:
        """Build the line."""
        kept = [path for path in ("best", "last") if (_checkpoints(trainer) / f"{path}.ckpt").is_file()]
        said = f"{' and '.join(kept)} kept in {_checkpoints(trainer)}" if kept else "no checkpoint was written yet"
        return UserError(
            f"{what} at step {trainer.global_step}: lower module.learning_rate, or clip with "
            f"trainer.gradient_clip_val, in a new output_dir; the last good checkpoint: {said}"
        )


def _checkpoints(trainer: Any) -> Path:
    return Path(trainer.default_root_dir) / "checkpoints"
