"""A callback that takes down what each process of a distributed run was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback


class Witness(Callback):
    """Leave ``rank-N.json`` under ``folder``: the prompts of each epoch, and the sum of the weights at the end."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.epochs: list[list[str]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append([])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.epochs[-1].append(batch["prompts"])

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        total = sum(float(p.detach().double().sum()) for p in pl_module.parameters())
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = json.dumps({"epochs": self.epochs, "weights": total, "metrics": metrics})
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(text)
