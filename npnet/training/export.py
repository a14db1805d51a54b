"""The end of training: the best network with what it was trained on, how, and how well, written as the last act."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet.training.accuracy import Measurement, measure, say
from npnet.training.card import CURVES, draw_curves, write_card

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from npnet.data.datamodule import PairData

NETWORK = "network"
"""Folder of the exported network, under ``output_dir``; written last, so it says that training is done."""


def export(
    cfg: DictConfig, data: PairData, module: Any, trainer: Any, output_dir: Path, start: str, before: Measurement | None
) -> None:
    """Write the best network (by ``val/mse``, else the last).

    Args:
        cfg: of the run.
        data: of the run.
        module: the trained LightningModule.
        trainer: that trained it.
        output_dir: of the run.
        start: what training started from, in words; empty for fresh weights.
        before: the network's errors on the validation pairs before training.
    """
    import torch

    best = next((c.best_model_path for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), "")
    if best and Path(best).is_file() and Path(best).stem == "best":
        module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    network = module.network.to("cpu").eval()
    temporary = output_dir / f".{NETWORK}"
    shutil.rmtree(temporary, ignore_errors=True)  # a killed run's
    network.save_pretrained(temporary, dtype=getattr(torch, cfg.export_dtype))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    training = {
        "selected_by": data.request.get("selected_by", []),
        "pairs": data.num_samples(False),
        "validation_pairs": data.num_samples(True),
        "epochs": trainer.current_epoch,
        "last_epoch_metrics": {name: round(value, 6) for name, value in metrics.items() if math.isfinite(value)},
        "start": start,
        "held_out": held_out(network, data, before),
        "settings": json.loads((output_dir / "request.json").read_text()),
    }
    (temporary / "training.json").write_text(json.dumps(training, indent=2, sort_keys=True, allow_nan=False) + "\n")
    if (output_dir / "metrics.csv").is_file():
        draw_curves(output_dir / "metrics.csv", temporary / CURVES)
    write_card(temporary, training, type(network))
    temporary.rename(output_dir / NETWORK)
    print(f"network: {output_dir / NETWORK}")


def held_out(network: Any, data: PairData, before: Measurement | None) -> dict[str, Any]:
    """Measure the exported network on the validation pairs, and print what came of it."""
    if not data.num_samples(True):
        return {}
    after = measure(network, data.val_dataloader(), "cpu")
    found = {"after": after.figures()}
    if before is not None:
        found |= {"before": before.figures(), "change": after.change_since(before)}
        print(f"before: {say(found['before'])}")
    print(f"{'after' if before else 'held out'}: {say(found['after'])}")
    return found
