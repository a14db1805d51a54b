"""How many processes a training has, from the keys of its trainer."""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from npnet.costs import wording
from npnet.errors import FieldError
from npnet.training.settings import TrainSettings


def num_devices(settings: TrainSettings) -> int | None:
    """Return the number of processes on a machine; None where it is that of the GPUs found there."""
    devices = settings.trainer.keys.get("devices", 1)
    if isinstance(devices, str) and "," in devices:  # as Lightning reads it: the numbers of GPUs
        devices = [number for number in devices.split(",") if number.strip()]
    if isinstance(devices, (list, tuple)):
        return len(devices)
    return int(devices) if str(devices).isdigit() else None


def num_processes(settings: TrainSettings) -> int:
    """Return the number of training processes where the keys state it; a number found on the machine counts as one."""
    return (num_devices(settings) or 1) * int(settings.trainer.keys.get("num_nodes", 1))


def processes_note(settings: TrainSettings) -> str:
    """Return a dry run's line about the processes, and what a step of the optimiser takes over all of them."""
    keys, samples = settings.trainer.keys, settings.objective.samples
    accumulated, processes = int(keys.get("accumulate_grad_batches", 1)), num_processes(settings)
    batch = settings.data.batch_size * accumulated
    on_cpu = keys.get("accelerator") == "cpu"
    if num_devices(settings) is None and not on_cpu:
        number = f"one for each GPU that a machine has (trainer.devices={keys['devices']})"
        return wording.row("processes", f"{number}; a step takes {batch:,} {samples} in each")
    if processes == 1:
        place = "on the CPU" if on_cpu else "with one GPU, if there is one"
        return wording.row("processes", f"1, {place}; a step takes {batch:,} {samples}")
    place = "on CPUs" if on_cpu else "with one GPU each"
    return wording.row(
        "processes", f"{processes}, {place}; a step takes {batch:,} {samples} in each, {batch * processes:,} in all"
    )


def check_processes(settings: TrainSettings, data: Any) -> None:
    """Refuse more processes than samples to train on, and several processes in a job of ``--multirun``.

    Raises:
        FieldError: names ``trainer.devices``.
    """
    if num_processes(settings) > 1 and is_multirun():
        devices = settings.trainer.keys.get("devices")
        raise FieldError("trainer.devices", devices, "--multirun trains in one process; start a command for each job")
    if data.num_samples(False) < num_processes(settings):
        raise too_few(settings, data, num_processes(settings))


def is_multirun() -> bool:
    """Say whether this is a job of ``--multirun``, whose other processes would be told to run all jobs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def too_few(settings: TrainSettings, data: Any, processes: int) -> FieldError:
    """Build the error for more processes than samples to train on."""
    samples = f"{data.num_samples(False)} {settings.objective.samples}"
    needed = f"{samples} are fewer than the {processes} processes that would train on them"
    return FieldError("trainer.devices", settings.trainer.keys.get("devices"), needed)
