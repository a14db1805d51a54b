"""What ``train.py`` runs: check, prepare, fit, export."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet import checks
from npnet.data import places
from npnet.errors import UserError
from npnet.instantiate import build, build_all

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOT_REQUESTED = ("output_dir", "dry_run", "workers", "task_name")
"""Keys that do not change what comes out."""


def train(cfg: DictConfig) -> None:
    """Train the network that ``cfg`` describes on the pairs of ``cfg.data.shards``.

    Raises:
        UserError: a key, path or data set that training cannot use.
    """
    from omegaconf import OmegaConf

    from npnet.training.export import NETWORK
    from npnet.work import lock

    check(cfg)
    data = build(cfg.data, "data")
    data.check()
    callbacks = build_callbacks(cfg, data)
    if cfg.dry_run:
        print(f"would train on {data.num_samples(False)} pairs, validate on {data.num_samples(True)}")
        return
    output_dir = Path(cfg.output_dir)
    asked: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    asked = {key: value for key, value in asked.items() if key not in NOT_REQUESTED}
    asked["data"].pop("embeddings_cache", None)
    first = process_rank() == 0  # the other processes of a distributed run work in the folder that the first one holds
    with lock.hold(output_dir, asked) if first else nullcontext():
        if (output_dir / NETWORK / "config.json").is_file():
            print(f"{output_dir}: finished already, nothing to do")
            return
        fit(cfg, data, output_dir, callbacks)


def process_rank() -> int:
    """Return this process's number in a distributed run, as its launcher (Lightning, torchrun, SLURM) says; else 0."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), 0)


def check(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before torch is imported."""
    from omegaconf import OmegaConf

    checks.all_finite(OmegaConf.to_container(cfg, resolve=True))
    checks.text(cfg, "output_dir")
    for key in ("batch_size", "data.batch_size", "threads_per_worker", "trainer.max_epochs"):
        checks.positive_int(cfg, key)
    for key in ("data.num_workers", "data.shuffle_buffer", "seed"):
        checks.whole_number(cfg, key)
    if cfg.data.max_pairs is not None:
        checks.positive_int(cfg, "data.max_pairs")
    for key in ("data.kept_only", "dry_run"):
        checks.boolean(cfg, key)
    checks.choice(cfg, "export_dtype", ("float32", "float16", "bfloat16"))
    places.expand(cfg.data.shards)


def build_callbacks(cfg: DictConfig, data: Any) -> list[Any]:
    """Build the callbacks of ``cfg`` and let them check what they need, before anything is written.

    Raises:
        UserError: one cannot be built, or watches a validation that will not take place.
    """
    from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging

    nodes = cfg.get("callbacks") or {}
    for label, node in nodes.items():
        if "_target_" not in node:
            raise UserError(f"callbacks.{label}: this callback is not chosen; add it: callbacks=[...,{label}]")
    callbacks = build_all(nodes, "callbacks")
    for label, callback in callbacks.items():
        if isinstance(callback, EarlyStopping) and not data.num_samples(True):
            raise UserError(
                f"callbacks.{label} watches {callback.monitor}, but no pair is left to validate on: "
                f"raise data.validation_share (got {cfg.data.validation_share})"
            )
        if hasattr(callback, "check"):
            callback.check()
    # averaged weights stand in for the current ones until its turn at the end of a validation: so its turn is the last
    return sorted(callbacks.values(), key=lambda callback: isinstance(callback, WeightAveraging))


def fit(cfg: DictConfig, data: Any, output_dir: Path, callbacks: list[Any]) -> None:
    """Train, going on where a killed run stopped, and export the best network."""
    import lightning as L
    import torch
    from lightning.pytorch.loggers import CSVLogger

    from npnet.training import history, prompt_embeds
    from npnet.training.accuracy import measure
    from npnet.training.callbacks import EpochLines, FiniteLoss, RandomState
    from npnet.training.export import export
    from npnet.training.optimisation import Optimisation
    from npnet.training.start import describe_start, make_network, needs_text

    quieten_lightning()
    torch.set_num_threads(cfg.threads_per_worker)
    first = process_rank() == 0
    if needs_text(cfg) and not data.holds_embeddings:
        prompt_embeds.provide(cfg, data)
    L.seed_everything(cfg.seed, verbose=False)
    network, fresh = make_network(cfg, data)
    optimisation = build(cfg.module, "module", Optimisation)
    module = optimisation.runtime_class()(network, optimisation)
    data.decompose = network.decomposer()
    before, start = None, ""
    if cfg.init_from is not None and first:
        start = describe_start(cfg, network, fresh)
        print(start, flush=True)
        before = measure(network, data.val_dataloader(), "cpu") if data.num_samples(True) else None
    last = output_dir / "checkpoints" / "last.ckpt"
    resuming = last.is_file()
    if first:
        history.set_aside(output_dir)
    loggers = list(build_all(cfg.logger, "logger").values())
    watched = sys.stderr.isatty()
    trainer = build(
        cfg.trainer,
        "trainer",
        default_root_dir=str(output_dir),
        logger=loggers or False,
        enable_progress_bar=watched,
        callbacks=[RandomState(), FiniteLoss(), *callbacks, *([] if watched or not first else [EpochLines()])],
    )
    if first:
        steps_done = torch.load(last, map_location="cpu", weights_only=True)["global_step"] if resuming else 0
        if resuming:
            print(f"going on from step {steps_done}")
        for logger in loggers:
            if isinstance(logger, CSVLogger):
                history.bring_back(output_dir, logger, steps_done)
        print(f"{data.num_samples(False)} pairs to train on, {data.num_samples(True)} to validate on", flush=True)
    trainer.fit(module, data, ckpt_path=str(last) if resuming else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    trainer.save_checkpoint(last)
    if trainer.is_global_zero:
        export(cfg, data, module, trainer, output_dir, start, before)


def quieten_lightning() -> None:
    """Leave out Lightning's advice: standard error is for what went wrong."""
    import logging
    import warnings

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("lightning.*", "torch.utils.data.*"):
        warnings.filterwarnings("ignore", module=name)
