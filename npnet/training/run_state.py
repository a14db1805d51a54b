"""The state of a run in its checkpoints besides weights and optimiser: its place, and what it has reported."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from npnet.seeding import named_seed
from npnet.training.checkpoints import FOLDER, LAST

KEY = "npnet"
MAIN = ("train/mse", "train/reward")
"""Shown on the bar."""


class RunState(Callback):
    """Keep a run's state, so that a killed and resumed run ends like an undisturbed one.

    - Its place: the epoch, and the batches done in it. Inside a hook at the end of an epoch, Lightning's own counters
      are not final; they are written with their final values.
    - The rows of ``metrics.csv``, and the means of the current epoch.
    - The draws of a step depend only on its place in the run, so no random state is kept.

    Args:
        seed: of the run.

    Attributes:
        finished: the number of epochs of the run, when all are done.
        epochs: the number of epochs done, when the run has ended.
        metrics: the last value of everything logged.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.finished: int | None = None
        self.epochs = 0
        self.metrics: dict[str, float] = {}
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    def read(self, checkpoint: Mapping[str, Any]) -> list[dict[str, str]]:
        """Load the state of a checkpoint, and return the rows of ``metrics.csv``."""
        state = checkpoint.get(KEY) or {}
        self.finished, self.epochs = state.get("finished"), int(state.get("epochs", 0))
        self.metrics = dict(state.get("metrics", {}))
        self._sums, self._count = defaultdict(float, state.get("sums", {})), int(state.get("count", 0))
        return list(state.get("rows", []))

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Let the data continue at the checkpoint's place."""
        trainer.datamodule.position = tuple(checkpoint[KEY]["position"])

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Close the counters, and add the state."""
        loops = checkpoint["loops"]["fit_loop"]
        progress = loops["epoch_progress"]
        epoch = progress["current"]["processed"]
        between_epochs = progress["current"]["started"] == epoch
        if between_epochs:
            for counters in (progress["current"], progress["total"]):
                counters["ready"] = counters["completed"] = counters["processed"]
        batches = 0 if between_epochs else loops["epoch_loop.batch_progress"]["current"]["ready"]
        whole = batches > 0 and batches == trainer.num_training_batches  # its validation chose this checkpoint
        checkpoint[KEY] = {
            "position": [epoch, batches],
            "epochs": epoch + whole,
            "finished": self.finished,
            "rows": _rows(trainer),
            "metrics": self.all_metrics(trainer),
            "sums": {} if between_epochs else dict(self._sums),
            "count": 0 if between_epochs else self._count,
        }

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Start new means."""
        self._sums.clear()
        self._count = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed what the step draws (stochastic depth)."""
        place = (trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(named_seed(self.seed, "training step", *place))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the loss and the gates."""
        size = len(batch["source_noise"])
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        values = {name: gate.detach().mean() for name, gate in pl_module.network.gates().items()}
        if isinstance(outputs, dict) and "told" in outputs:  # an objective with names of its own
            values |= outputs["told"]
        elif loss is not None:
            values["train/mse"] = loss.detach() * trainer.accumulate_grad_batches  # Lightning has divided it
        for name, value in values.items():
            self._sums[name] += size * float(value)
        self._count += size

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the epoch's means."""
        for name, total in sorted(self._sums.items()):
            pl_module.log(name, total / self._count, prog_bar=name in MAIN, sync_dist=trainer.world_size > 1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the last checkpoint of the run, before averaged weights take the current ones' place."""
        self.finished, self.epochs = trainer.max_epochs, trainer.fit_loop.epoch_progress.current.processed
        self.metrics = self.all_metrics(trainer)
        trainer.save_checkpoint(Path(trainer.default_root_dir) / FOLDER / LAST)

    def all_metrics(self, trainer: Any) -> dict[str, float]:
        """Return the last value of everything logged, before and after the run was resumed."""
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return {**self.metrics, **{name: value for name, value in now.items() if math.isfinite(value)}}


def bring_back(logger: CSVLogger, rows: list[dict[str, str]]) -> None:
    """Start ``metrics.csv`` with the rows of a checkpoint; rows of steps that are repeated are dropped."""
    writer = logger.experiment  # which removes the file of the killed run
    Path(writer.metrics_file_path).unlink(missing_ok=True)
    writer.metrics = list(rows)
    writer.save()


def _rows(trainer: Any) -> list[dict[str, str]]:
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.experiment.metrics_file_path)
            if path.is_file():
                with path.open(newline="", encoding="utf-8") as file:
                    return [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]
    return []
