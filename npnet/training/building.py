"""What a run is built of, built before anything is loaded or written, so that mistakes show at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import Logger

from npnet.data.datamodule import PairData
from npnet.description import Description
from npnet.errors import UserError, reworded, under
from npnet.instantiate import Node
from npnet.loggers import check_logins
from npnet.training.plan import check_callbacks, check_checkpoint, check_limits
from npnet.training.processes import check_processes
from npnet.training.settings import TrainSettings
from npnet.training.start import build_network
from npnet.training.trainer_keys import check_nodes_are_there
from npnet.work.devices import check_accelerator


def process_rank() -> int:
    """Return this process's number in a distributed run, as its launcher (Lightning, torchrun, SLURM) says; else 0."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), 0)


def build_callbacks(settings: TrainSettings, data: PairData) -> list[Any]:
    """Build the callbacks and let them check their needs, before anything is written.

    Raises:
        UserError: one cannot be built, or monitors a validation that will not take place.
    """
    checked = check_callbacks(settings, data)
    callbacks: list[Any] = []
    for label, node in settings.callbacks_by_label():
        callback = checked.get(label) or node.build(Callback)
        is_described = isinstance(callback, Description)
        callbacks.append(callback.load() if is_described else callback)
    # averaged weights replace the current ones until this callback's turn at the end of a validation, so it comes last
    return sorted(callbacks, key=lambda callback: isinstance(callback, WeightAveraging))


def check_nodes(settings: TrainSettings, data: PairData) -> None:
    """Build network, loggers and trainer once, to find mistakes that would otherwise show late.

    Raises:
        UserError: one of them refuses a key.
    """
    check_checkpoint(settings)
    check_processes(settings, data)
    check_limits(settings, data)
    build_network(settings, data)
    build_loggers((settings.logger or {}).values())
    if settings.export_from is None:
        check_nodes_are_there(settings.trainer)
        if process_rank() == 0:
            check_logins({label: node.keys for label, node in (settings.logger or {}).items()})
    build_trainer(settings)


def build_loggers(nodes: Iterable[Node]) -> None:
    """Build the loggers, to see whether this works; they write nothing before their first row.

    Raises:
        UserError: one refuses a key.
    """
    for node in nodes:
        node.build(Logger)


def build_trainer(settings: TrainSettings) -> None:
    """Build the trainer, to see whether this works on this machine and with what its launcher started.

    Raises:
        UserError: it refuses a key, or Slurm or torchrun started another number of processes than the keys say.
    """
    where = settings.trainer.where
    with under(where):
        check_accelerator(str(settings.trainer.keys.get("accelerator", "auto")))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = settings.trainer.build(L.Trainer, default_root_dir=str(settings.output_dir), **quiet)
    if trainer.world_size > 1 or process_rank() > 0:  # Lightning itself compares the two later, and not of one device
        started = trainer._accelerator_connector.cluster_environment
        with reworded(ValueError, UserError, f"{where}: "):
            started.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)
