"""The checkpoints of a run: when and how they are written, and from which one a killed run resumes.

A checkpoint is written whole or not at all, and the one before is kept as ``last.previous.ckpt``. If the last one is
damaged, the run resumes from the one before. The checksums in the zip format of the file show damage. A checkpoint does
not contain its path, so the folder of a run can be moved, copied and renamed.

``last.ckpt`` is written only between two steps of the optimiser or between two epochs, never during the end of an
epoch. So validation, callbacks and rows of ``metrics.csv`` at the end of an epoch happen exactly once in every run.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from npnet.errors import UserError, reworded
from npnet.training.keeping import FOLDER
from npnet.weights.tensors import load_values
from npnet.work.atomic import AtomicFile, make_folder

LAST, PREVIOUS, BEST = "last.ckpt", "last.previous.ckpt", "best.ckpt"
log = logging.getLogger(__name__)


class AtomicCheckpoints(CheckpointIO):
    """Lightning's checkpoint plugin: it writes every checkpoint whole or not at all, first on the same disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint``; the former ``last`` one is kept beside it.

        Raises:
            UserError: the disk is full, or the folder cannot be written; existing files are unchanged.
        """
        path = Path(path)
        make_folder(path.parent)
        with AtomicFile(path.with_name(f"{path.stem}.new")) as file:
            target: Any = file  # torch.save needs only its ``write``
            torch.save(checkpoint, target)
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(PREVIOUS))
        path.with_name(f"{path.stem}.new").replace(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint; see ``read``."""
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint after comparing its checksums; nothing in it is executed.

    Raises:
        UserError: it is missing or damaged, or is not a checkpoint of a training run.
    """
    with (
        reworded((ValueError, OSError), UserError, f"{path}: is damaged or not a checkpoint: ", but=FileNotFoundError),
        reworded(FileNotFoundError, lambda why: UserError(f"{path}: no such checkpoint"), but=UserError),
    ):
        found = load_values(path)
    if not isinstance(found, dict) or not {"state_dict", "global_step"} <= found.keys():
        raise UserError(f"{path}: is not a checkpoint of a training run")
    return found


def newest(output_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint from which a run resumes, and its path; None where there is none.

    Raises:
        UserError: all checkpoints are damaged.
    """
    errors = []
    for name in (LAST, PREVIOUS):
        path = output_dir / FOLDER / name
        if not path.is_file():
            continue
        try:
            found = read(path)
        except UserError as error:
            errors.append(error)
            continue
        for damaged in errors:
            log.warning("%s; resuming from %s", damaged, path)
        return path, found
    if errors:
        raise UserError(f"{errors[0]}; remove {output_dir / FOLDER} to start again")
    return None


class Latest(Checkpoint):
    """Write the checkpoint from which a killed run resumes.

    Args:
        every_n_train_steps: the largest number of optimiser steps that can be lost.
    """

    def __init__(self, every_n_train_steps: int = 200) -> None:
        self.every_n_train_steps = every_n_train_steps
        self._saved_at = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last checkpoint."""
        return {"saved_at": self._saved_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count from there."""
        self._saved_at = int(state_dict["saved_at"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint within an epoch, where only the next step follows."""
        done = batch_idx + 1
        stepped = done % trainer.accumulate_grad_batches == 0
        validates = trainer.val_check_batch not in (None, math.inf) and done % trainer.val_check_batch == 0
        if stepped and not validates and done < trainer.num_training_batches:
            self._save(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Write a checkpoint between two epochs, if it was due at the end of the last one."""
        self._save(trainer)

    def _save(self, trainer: Any) -> None:
        step, every = trainer.global_step, self.every_n_train_steps
        if step // every > self._saved_at // every:
            self._saved_at = step
            trainer.save_checkpoint(Path(trainer.default_root_dir) / FOLDER / LAST)


class Best(Checkpoint):
    """Keep the checkpoint whose monitored value is best, as ``best.ckpt``.

    Args:
        monitor: see ``keeping.BestCheckpoint``.
        mode: ``min`` or ``max``.
    """

    def __init__(self, monitor: str = "val/mse", mode: Literal["min", "max"] = "min") -> None:
        self.monitor, self.mode = monitor, mode
        self.score: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self.score = state_dict["score"]

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Check the value after a validation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not self.monitor.startswith("train/"):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Check the value after an epoch, if no validation measures it."""
        if self.monitor.startswith("train/") or not trainer.datamodule.num_samples(validation=True):
            self._look(trainer)

    def _look(self, trainer: Any) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is None or not math.isfinite(float(value)):
            return
        score = float(value)
        if self.score is None or (score < self.score if self.mode == "min" else score > self.score):
            self.score = score
            trainer.save_checkpoint(Path(trainer.default_root_dir) / FOLDER / BEST)
