"""A training run: claim the folder, resume from the newest checkpoint, fit, export."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger

from npnet.errors import FieldError, MachineError, UserError, one_line, reworded
from npnet.loggers import begin
from npnet.training import checkpoints, prompt_embeds
from npnet.training.accuracy import measure
from npnet.training.building import build_callbacks, check_nodes, process_rank
from npnet.training.callbacks import EpochLines, FiniteLoss
from npnet.training.export import NETWORK, Begun, Result, export
from npnet.training.keeping import FOLDER
from npnet.training.module import NetworkModule
from npnet.training.plan import exported_checkpoint, limited
from npnet.training.processes import too_few
from npnet.training.run_state import RunState, bring_back
from npnet.training.settings import TrainSettings, asked_anew, extends
from npnet.training.start import describe_start, make_network, needs_text
from npnet.work import lock
from npnet.work import request as requests
from npnet.work.atomic import write_json
from npnet.work.torch_settings import apply

log = logging.getLogger(__name__)


def run(settings: TrainSettings, request: Mapping[str, Any]) -> None:
    """Train as ``settings`` say, or resume it, and export the network.

    Args:
        settings: of the run.
        request: everything that decides the result; it is kept in the folder.

    Raises:
        UserError: a key, path or data set that training cannot use.
    """
    _quieten_lightning()
    data = settings.objective.load_data(settings)
    data.check()
    settings.objective.check_data(data)
    callbacks = build_callbacks(settings, data)
    prompt_embeds.check(settings, data)
    check_nodes(settings, data)
    output_dir = Path(settings.output_dir)
    with _held(settings, request):
        if settings.export_from is not None:
            _export_from(settings, data, output_dir, request)
        elif (output_dir / NETWORK / "config.json").is_file():
            log.info(f"{output_dir}: finished already, nothing to do")
        else:
            _fit(settings, data, output_dir, callbacks, request)


@contextmanager
def _held(settings: TrainSettings, request: Mapping[str, Any]) -> Iterator[None]:
    """Lock the folder for this request. A finished run is opened again if more epochs are requested.

    The other processes of a distributed run work in the folder that the first one has locked.
    """
    if process_rank() != 0:
        yield
        return
    output_dir, there = Path(settings.output_dir), asked_anew(settings, request)
    with lock.hold(output_dir, there, folders=[FOLDER]):
        if extends(request, there):
            before = output_dir / NETWORK
            if before.is_dir():
                kept = before.with_name(f"{NETWORK}-{there['trainer']['max_epochs']}-epochs")
                before.rename(kept)
                log.info(f"Training a finished run for more epochs. Its network so far is kept in {kept}")
            write_json(output_dir / requests.NAME, dict(request))
        yield


def _fit(
    settings: TrainSettings, data: Any, output_dir: Path, callbacks: list[Any], request: Mapping[str, Any]
) -> None:
    """Train, resuming where a killed run stopped, and export the best network."""
    first = process_rank() == 0
    by_label = {label: node.build(Logger) for label, node in (settings.logger or {}).items()}
    loggers = list(by_label.values())
    if first:
        begin(by_label)
    begun = _network(settings, data, first)
    module = settings.objective.load_module(begun.network, settings, data)
    state = RunState(settings.seed)
    watched = sys.stderr.isatty()
    always = [state, FiniteLoss(), *([] if watched or not first else [EpochLines()])]
    trainer: L.Trainer = settings.trainer.build(
        L.Trainer,
        default_root_dir=str(output_dir),
        logger=loggers or False,
        enable_progress_bar=watched,
        callbacks=[*always, *callbacks],
        plugins=[*(settings.trainer.keys.get("plugins") or []), checkpoints.AtomicCheckpoints()],
    )
    _require_batches(settings, data, trainer.world_size)
    found = checkpoints.newest(output_dir)
    rows, best_score = state.read(found[1]) if found else [], None
    if first:
        for logger in loggers:
            if isinstance(logger, CSVLogger):
                bring_back(logger, rows)
        if found:
            log.info(f"Resuming from step {found[1]['global_step']} of {_num_steps(settings, data, trainer)}")
        samples = settings.objective.samples
        log.info(f"{data.num_samples(False)} {samples} to train on, {data.num_samples(True)} to validate on")
    if found and state.finished is not None and state.finished >= settings.max_epochs:
        module.load_state_dict(found[1]["state_dict"])
        best_score = _best_score(found[1])
    else:
        state.finished = None
        _run_trainer(trainer, module, data, found[0] if found else None)
    if trainer.is_global_zero:
        best = next((c for c in trainer.checkpoint_callbacks if isinstance(c, checkpoints.Best)), None)
        _take_best(module, output_dir, best.score if best is not None and best_score is None else best_score)
        steps = trainer.global_step or (found[1]["global_step"] if found else 0)
        result = Result(begun, state.epochs, steps, state.metrics)
        export(settings, data, result, output_dir / NETWORK, request)


def _network(settings: TrainSettings, data: Any, first: bool) -> Begun:
    """Build the network. If it starts from another network, measure it and say which weights were used."""
    apply(settings.numerics)
    if needs_text(settings.network) and not data.holds_embeddings:
        prompt_embeds.provide(settings, data)
    L.seed_everything(settings.seed, verbose=False)
    network, start = make_network(settings, data)
    data.decompose = network.decomposer()
    if not settings.objective.takes_pairs and settings.init_from is None and first:
        log.warning(
            "Training starts from fresh weights, close to the identity: this takes longer and reaches less than "
            "init_from=NETWORK with a network trained on pairs"
        )
    if settings.init_from is None or not first:
        return Begun(network, "", None, start.optimised)
    words = describe_start(settings.init_from, network, start)
    log.info(words)
    measures = settings.objective.takes_pairs and data.num_samples(True)
    before = measure(network, data.val_dataloader(), "cpu") if measures else None
    return Begun(network, words, before, start.optimised)


def _run_trainer(trainer: L.Trainer, module: NetworkModule, data: Any, checkpoint: Path | None) -> None:
    try:
        trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=True)
    except SystemExit as error:  # Lightning ends like this at Ctrl-C and at SIGTERM; the command ends in its own way
        if trainer.received_sigterm:
            raise SystemExit(143) from error
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MachineError(
            f"{one_line(error)[:200]}; lower data.num_workers or data.shuffle_buffer where memory is short, and run "
            "the same command to resume"
        ) from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _num_steps(settings: TrainSettings, data: Any, trainer: L.Trainer) -> int:
    """Return the number of steps of the whole run, unless it ends early."""
    batches = limited(data.num_batches(trainer.world_size), trainer.limit_train_batches)
    return settings.max_epochs * -(-batches // trainer.accumulate_grad_batches)


def _require_batches(settings: TrainSettings, data: Any, world_size: int) -> None:
    if data.num_batches(world_size) == 0:
        raise too_few(settings, data, world_size)


def _best_score(checkpoint: Mapping[str, Any]) -> float | None:
    """Return the best value in a finished run's checkpoint."""
    states = checkpoint.get("callbacks", {})
    return next((s["score"] for name, s in states.items() if "Best" in str(name) and "score" in s), None)


def _take_best(module: NetworkModule, output_dir: Path, score: float | None) -> None:
    """Give the module the weights of the best checkpoint, where there is one."""
    if score is None:
        return
    path = output_dir / checkpoints.FOLDER / checkpoints.BEST
    with reworded(UserError, UserError, end="; export_from=last exports the last weights instead"):
        module.load_state_dict(checkpoints.read(path)["state_dict"])


def _export_from(settings: TrainSettings, data: Any, output_dir: Path, request: Mapping[str, Any]) -> None:
    """Export the network of one checkpoint of the run, beside the usual one."""
    if process_rank() != 0:
        return
    name, path = str(settings.export_from), exported_checkpoint(settings)
    with reworded(UserError, partial(FieldError, "export_from", name)):
        found = checkpoints.read(path)
    begun = _network(settings, data, first=True)
    module = settings.objective.load_module(begun.network, settings, data)
    module.load_state_dict(found["state_dict"])
    state = RunState(settings.seed)
    state.read(found)
    result = Result(begun, state.epochs, found["global_step"], state.metrics)
    export(settings, data, result, output_dir / f"{NETWORK}-{path.stem}", request)


def _quieten_lightning() -> None:
    """Hide Lightning's advice, because standard error is for errors."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("lightning.*", "torch.utils.data.*"):
        warnings.filterwarnings("ignore", module=name)
