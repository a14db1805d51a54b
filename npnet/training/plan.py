"""The plan of a training run, and checks that its parts go together; for the usual callbacks without Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npnet.costs import wording
from npnet.costs.counts import find
from npnet.description import Description, imported
from npnet.errors import FieldError, UserError, under
from npnet.fields import from_mapping
from npnet.instantiate import Node
from npnet.loggers import check_logins
from npnet.networks import arguments
from npnet.training.callback_keys import check_keys, is_known
from npnet.training.keeping import FOLDER
from npnet.training.processes import check_processes, num_processes, processes_note
from npnet.training.settings import TrainSettings
from npnet.training.trainer_keys import USUAL

CHECKPOINTS = 2
"""The best and the latest one, each with the optimiser's state."""


def describe(settings: TrainSettings) -> str:
    """Return the lines of a dry run.

    Raises:
        UserError: pairs or callbacks that training cannot use.
    """
    objective = settings.objective
    data = settings.data.find() if objective.takes_pairs else objective.load_data(settings)
    if not objective.takes_pairs:
        data.check()
    objective.check_data(data)
    check_network(settings.network)
    if not data.holds_embeddings:
        imported("npnet.training.prompt_embeds:check")(settings, data)
    check_callbacks(settings, data)
    check_checkpoint(settings)
    loggers = dict(settings.logger or {})
    unusual = [node for node in loggers.values() if not is_known(node)]
    if unusual:
        imported("npnet.training.building:build_loggers")(unusual)
    if settings.export_from is None:
        check_logins({label: node.keys for label, node in loggers.items()})
    if settings.trainer.keys.get("_target_") not in USUAL:
        imported("npnet.training.building:build_trainer")(settings)
    check_processes(settings, data)
    check_limits(settings, data)
    said = f"would train on {data.num_samples(False)} {objective.samples}, validate on {data.num_samples(True)}"
    counted = costs(settings, data) if objective.takes_pairs else []
    told = [processes_note(settings), *warmup_note(settings, data), *accelerator_note(settings)]
    return "\n".join([f"{said}{objective.cost(settings)}", *told, *counted])


def limited(batches: int, limit: float | None) -> int:
    """Return how many batches one of Lightning's limits (a number, or a share) leaves."""
    return min(batches, limit if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit)))


def batches_of_an_epoch(settings: TrainSettings, data: Any) -> int:
    """Return the number of batches of each process in an epoch; the last one may not be full."""
    batches = -(-data.num_samples(False) // (settings.data.batch_size * num_processes(settings)))
    return limited(batches, settings.trainer.keys.get("limit_train_batches"))


def check_limits(settings: TrainSettings, data: Any) -> None:
    """Refuse limits of the trainer that leave no batch of what they limit.

    Raises:
        FieldError: names the key.
    """
    keys, where = settings.trainer.keys, settings.trainer.where
    batches = batches_of_an_epoch(settings, data)
    if not batches:
        raise FieldError(f"{where}.limit_train_batches", keys["limit_train_batches"], "leaves no batch of an epoch")
    share, validated = keys.get("limit_val_batches"), -(-data.num_samples(True) // settings.data.batch_size)
    if share and validated and not limited(validated, share):
        raise FieldError(f"{where}.limit_val_batches", share, f"leaves none of the {validated} to validate on")
    interval = keys.get("val_check_interval")
    if isinstance(interval, int) and interval > batches and keys.get("check_val_every_n_epoch", 1) is not None:
        raise FieldError(f"{where}.val_check_interval", interval, f"an epoch has only {batches} batches")
    least = keys.get("min_epochs")
    if least is not None and least > settings.max_epochs:
        raise FieldError(f"{where}.min_epochs", least, f"is above {where}.max_epochs={settings.max_epochs}")


def warmup_note(settings: TrainSettings, data: Any) -> list[str]:
    """Return a line if the warm-up is as long as the run, so that the full learning rate is never reached."""
    batches = batches_of_an_epoch(settings, data)
    steps = settings.max_epochs * -(-batches // int(settings.trainer.keys.get("accumulate_grad_batches", 1)))
    warmup = settings.module.warmup_steps
    if warmup < max(steps, 2):
        return []
    return [f"module.warmup_steps={warmup}: the run has {steps} steps, so the full learning rate is never reached"]


def accelerator_note(settings: TrainSettings) -> list[str]:
    """Return a dry run's line about a named accelerator that this machine lacks."""
    name = settings.trainer.keys.get("accelerator", "auto")
    if name in ("auto", "cpu"):
        return []
    try:
        with under("trainer"):
            imported("npnet.work.devices:check_accelerator")(name)
    except FieldError as error:
        return [f"not on this machine: {error}"]
    return []


def costs(settings: TrainSettings, pairs: Any) -> list[str]:
    """Return a dry run's lines about FLOPs, memory, disk and hours of a training on pairs."""
    keys, trainer = settings.network.keys, settings.trainer.keys
    sizes = {name: value for name, value in pairs.sizes.items() if name in keys}
    counted = find("network", {**keys, **sizes})
    if counted is None:
        told = " ".join(f"network.{name}={str(value).replace(' ', '')}" for name, value in sizes.items())
        return wording.remarks([f"npnet plan network=NAME {told}"], ["network"])
    batch, processes = settings.data.batch_size, num_processes(settings)
    epoch = batches_of_an_epoch(settings, pairs)
    step, weights = counted.parts["training"], counted.parts["forward"].weights_bytes
    kept = CHECKPOINTS * step.weights_bytes + weights
    return [
        wording.describe_disk(kept, Path(settings.output_dir)),
        *wording.describe_training(
            step, batch, epoch * settings.max_epochs, settings.gpu, processes, str(trainer.get("precision", "32-true"))
        ),
    ]


def check_network(node: Node) -> None:
    """Refuse wrong keys of the network. Networks of this project need no torch for that; a user's class is imported.

    Raises:
        UserError: the class does not exist or is not a network, or a key or a value is not allowed.
    """
    if node.keys.get("_target_") not in arguments.PLACES:
        imported("npnet.training.start:check_own_network")(node)
        return
    with under(node.where):
        from_mapping(arguments.NPNetArguments, {name: node.keys[name] for name in node.keys if name != "_target_"})


def exported_checkpoint(settings: TrainSettings) -> Path:
    """Return the file that ``export_from`` names."""
    name = str(settings.export_from)
    return Path(name if name.endswith(".ckpt") else f"{settings.output_dir}/{FOLDER}/{name}.ckpt")


def check_checkpoint(settings: TrainSettings) -> None:
    """Refuse to export a checkpoint that does not exist.

    Raises:
        FieldError: names ``export_from``.
    """
    if settings.export_from is None:
        return
    if "/" in settings.export_from and not settings.export_from.endswith(".ckpt"):
        raise FieldError("export_from", settings.export_from, "best, last or a file FILE.ckpt is needed")
    if not exported_checkpoint(settings).is_file():
        raise FieldError("export_from", settings.export_from, f"{exported_checkpoint(settings)}: no such checkpoint")


def _no_validation(settings: TrainSettings, pairs: Any) -> str | None:
    """Say why no epoch has a validation; None where each has one."""
    if settings.trainer.keys.get("limit_val_batches") == 0:
        return f"{settings.trainer.where}.limit_val_batches=0 leaves no validation"
    if not pairs.num_samples(True):
        share = settings.data.validation_share
        return f"no pair is left to validate on: raise data.validation_share (got {share:g})"
    return None


def check_callbacks(settings: TrainSettings, pairs: Any) -> dict[str, Any]:
    """Refuse mistakes that a callback would find late, and return by label the callbacks that had to be built for that.

    Lightning's early stopping is checked by its keys; a user's callback is built, and its ``check`` called.

    Raises:
        UserError: a callback cannot be built, or monitors a validation that will not take place.
    """
    built: dict[str, Any] = {}
    for label, node in settings.callbacks_by_label():
        target = str(node.keys["_target_"])
        check_keys(node)
        if target.endswith("EarlyStopping"):
            if lack := _no_validation(settings, pairs):
                raise UserError(f"callbacks.{label} watches {node.keys.get('monitor')}, but {lack}")
        elif not is_known(node):
            built[label] = node.build()
            if not isinstance(built[label], Description) and not hasattr(built[label], "on_fit_start"):
                raise UserError(f"{node.where}: _target_={target} makes no Callback")
            if hasattr(built[label], "check"):
                built[label].check()
    return built
