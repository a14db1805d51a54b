"""What ``train.py`` runs: check, prepare, fit, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet import checks
from npnet.errors import UserError, one_line
from npnet.instantiate import build, build_all

if TYPE_CHECKING:
    from omegaconf import DictConfig

NETWORK = "network"
"""Folder of the exported network, under ``output_dir``; written last, so it says that training is done."""


def train(cfg: DictConfig) -> None:
    """Train the network that ``cfg`` describes on the pairs of ``cfg.data.shards``.

    Raises:
        UserError: a key, path or data set that training cannot use.
    """
    from omegaconf import OmegaConf

    from npnet.work import lock, request

    check(cfg)
    data = build(cfg.data, "data")
    data.check()
    if cfg.dry_run:
        print(f"would train on {data.num_samples(False)} pairs, validate on {data.num_samples(True)}")
        return
    output_dir = Path(cfg.output_dir)
    asked = OmegaConf.to_container(cfg, resolve=True)
    for key in ("output_dir", "dry_run", "workers"):
        asked.pop(key)
    with lock.hold(output_dir):
        request.claim(output_dir, asked)
        if (output_dir / NETWORK / "config.json").is_file():
            print(f"{output_dir}: finished already, nothing to do")
            return
        fit(cfg, data, output_dir)


def check(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before torch is imported."""
    checks.positive_int(cfg, "data.batch_size")
    checks.positive_int(cfg, "threads_per_worker")
    checks.positive_int(cfg, "trainer.max_epochs")
    checks.choice(cfg, "export_dtype", ("float32", "float16", "bfloat16"))
    shards = cfg.data.shards
    if not shards:
        raise UserError("data.shards=DIR is needed: a folder that collect.py left")
    if not Path(shards).is_dir():
        raise UserError(f"data.shards={shards}: no such folder")


def fit(cfg: DictConfig, data: Any, output_dir: Path) -> None:
    """Train, going on where a killed run stopped, and export the best network."""
    from functools import partial

    import lightning as L
    import torch
    from lightning.pytorch.loggers import CSVLogger

    from npnet.networks import svd
    from npnet.training import history
    from npnet.training.callbacks import EpochLines, FiniteLoss, RandomState

    quieten_lightning()
    torch.set_num_threads(cfg.threads_per_worker)
    L.seed_everything(cfg.seed, verbose=False)
    network = make_network(cfg, data)
    module = build(cfg.module, "module", network=network)
    if network.singular_values is not None:
        data.decompose = partial(svd.decompose, signs=network.config["singular_vector_signs"])
    last = output_dir / "checkpoints" / "last.ckpt"
    resuming = last.is_file()
    history.set_aside(output_dir)
    loggers = list(build_all(cfg.logger, "logger").values())
    watched = sys.stderr.isatty()
    trainer = build(
        cfg.trainer,
        "trainer",
        default_root_dir=str(output_dir),
        logger=loggers or False,
        enable_progress_bar=watched,
        callbacks=[
            RandomState(),
            FiniteLoss(),
            *build_all(cfg.callbacks, "callbacks").values(),
            *([] if watched else [EpochLines()]),
        ],
    )
    steps_done = 0
    if resuming:
        steps_done = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        print(f"going on from step {steps_done}")
    for logger in loggers:
        if isinstance(logger, CSVLogger) and trainer.is_global_zero:
            history.bring_back(output_dir, logger, steps_done)
    print(f"{data.num_samples(False)} pairs to train on, {data.num_samples(True)} to validate on", flush=True)
    trainer.fit(module, data, ckpt_path=str(last) if resuming else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        export(cfg, data, module, trainer, output_dir)


def quieten_lightning() -> None:
    """Leave out Lightning's advice: standard error is for what went wrong."""
    import logging
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for name in ("lightning.*", "torch.utils.data.*"):
        warnings.filterwarnings("ignore", module=name)


def make_network(cfg: DictConfig, data: Any) -> Any:
    """Build ``cfg.network`` for the shapes of the data, or take the weights of ``cfg.init_from``."""
    pair = data.first()
    embeds = pair.prompt_embeds or {}
    facts: dict[str, Any] = {
        "latent_channels": pair.source_noise.shape[0],
        "latent_size": list(pair.source_noise.shape[1:]),
    }
    if "prompt_embeds" in embeds:
        facts["prompt_length"], facts["prompt_embed_dim"] = embeds["prompt_embeds"].shape
        facts["pooled_embed_dim"] = len(embeds["pooled_prompt_embeds"]) if "pooled_prompt_embeds" in embeds else 0
    elif cfg.network.get("text_term") != "off":
        raise UserError(
            f"data.shards={data.folder}: the shards hold no embeddings; collect with keep_embeds=true, "
            "or train with network.text_term=off"
        )
    network = build(cfg.network, "network", **facts)
    if cfg.init_from is None:
        return network.load()
    from npnet.networks import NPNet

    try:
        trained = NPNet.from_pretrained(cfg.init_from)
        network.load_state_dict(trained.state_dict())
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(f"init_from={cfg.init_from}: {one_line(error)[:400]}") from error
    return network


def export(cfg: DictConfig, data: Any, module: Any, trainer: Any, output_dir: Path) -> None:
    """Write the best network (by ``val/mse``, else the last) with its card, as the last act of training."""
    import torch

    from npnet.training.card import write_card

    best = next((c.best_model_path for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), "")
    if best:
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
    temporary = output_dir / f".{NETWORK}"
    module.network.eval().save_pretrained(temporary, dtype=getattr(torch, cfg.export_dtype))
    metrics = {name: round(float(value), 6) for name, value in trainer.callback_metrics.items()}
    training = {
        "selected_by": data.shards[0].request.get("selected_by", []) if data.shards else [],
        "pairs": data.num_samples(False),
        "validation_pairs": data.num_samples(True),
        "last_epoch_metrics": metrics,
        "settings": json.loads((output_dir / "request.json").read_text()),
    }
    (temporary / "training.json").write_text(json.dumps(training, indent=2, sort_keys=True) + "\n")
    write_card(temporary, training)
    temporary.rename(output_dir / NETWORK)
    print(f"network: {output_dir / NETWORK}")
