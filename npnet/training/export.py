"""The end of training: write the network with its training data, settings and accuracy, as the last step."""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from npnet.data.checksums import data_sha256
from npnet.data.places import backbone_facts
from npnet.errors import UserError
from npnet.fit import PURPOSE
from npnet.networks import NoiseNetwork
from npnet.training.accuracy import Measurement, measure, say, worse
from npnet.training.card import CURVES, draw_curves, write_card
from npnet.training.record import HeldOut, Training
from npnet.training.settings import TrainSettings
from npnet.work.atomic import write_json
from npnet.work.request import digest

if TYPE_CHECKING:
    from npnet.data.datamodule import PairData

log = logging.getLogger(__name__)

NETWORK = "network"
"""Folder of the exported network, under ``output_dir``; written last, so it says that training is done."""

ON_HUB = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)")
"""An address of shards on the Hugging Face hub."""


@dataclass(frozen=True)
class Begun:
    """The start of a training run.

    Attributes:
        network: to train.
        start: where its weights come from, in words; empty for fresh weights.
        before: its errors on the validation pairs before training.
        optimised: metrics that the network it started from was trained to improve; they stay marked.
    """

    network: NoiseNetwork
    start: str = ""
    before: Measurement | None = None
    optimised: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """The result of a training run.

    Attributes:
        begun: its network now has the weights to export.
        epochs: that were done.
        steps: number of optimiser steps done.
        metrics: the last value of everything logged.
    """

    begun: Begun
    epochs: int
    steps: int
    metrics: Mapping[str, float]


def export(settings: TrainSettings, data: Any, result: Result, folder: Path, request: Mapping[str, Any]) -> None:
    """Write the network's folder, whole or not at all.

    Args:
        settings: of the run.
        data: of the run.
        result: what to write.
        folder: to write, inside the run's folder.
        request: of the run.

    Raises:
        UserError: no step was done, so that the weights are those of the start; or the folder cannot be written.
    """
    if result.steps < 1:
        raise UserError(f"{folder.parent}: no training step was taken, so there is no network to export")
    network = result.begun.network.to("cpu").eval()
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)  # a killed run's
    network.trained_for = purpose_of(settings, data, result.begun.optimised)
    network.save_pretrained(temporary, dtype=getattr(torch, settings.export_dtype))
    finite = {name: round(value, 6) for name, value in result.metrics.items() if math.isfinite(value)}
    found = {
        "selected_by": data.request.get("selected_by", []),
        PURPOSE: network.trained_for,
        settings.objective.samples: data.num_samples(False),
        f"validation_{settings.objective.samples}": data.num_samples(True),
        "epochs": result.epochs,
        "steps": result.steps,
        "last_epoch_metrics": finite,
        "start": result.begun.start,
        "held_out": held_out(network, data, result.begun.before) if settings.objective.takes_pairs else {},
        "settings": dict(request),
    }
    training = cast(Training, found)  # which of its counts are there, the objective decides
    write_json(temporary / "training.json", training)
    if (folder.parent / "metrics.csv").is_file():
        draw_curves(folder.parent / "metrics.csv", temporary / CURVES)
    write_card(temporary, training, type(network))
    if folder.is_dir():  # of another checkpoint of the same name
        shutil.rmtree(folder)
    temporary.rename(folder)
    log.info(f"network: {folder}")


def purpose_of(settings: TrainSettings, data: Any, before: Sequence[str]) -> dict[str, Any]:
    """Return what a network is for, with its optimised metrics, those of the network it started from among them."""
    optimised = dict.fromkeys([*before, *settings.objective.optimised()])
    if settings.objective.takes_pairs:
        found = purpose(data.request, settings.license, data.places, data.tars.values())
    else:
        kept = ("objective", "num_inference_steps", "guidance_scale")
        found = {"backbone": backbone_facts(data.request), **{key: data.request[key] for key in kept}}
        found |= {"license": settings.license} if settings.license else {}
    return {**found, "optimised_for": list(optimised)} if optimised else found


def purpose(
    request: Mapping[str, Any], license: str | None = None, places: Iterable[str] = (), tars: Iterable[str] = ()
) -> dict[str, Any]:
    """Return what a network is for, and its license.

    Args:
        request: of the collection that made its pairs; empty where it is not known.
        license: of the network.
        places: of the pairs; places on the hub are named.
        tars: SHA-256 of each shard's tar.
    """
    kept = ("noise", "num_inference_steps", "guidance_scale", "selected_by")
    on_hub = [match[1] for place in places if (match := ON_HUB.match(place))]
    digests = list(tars)
    found = {
        "backbone": backbone_facts(dict(request)),
        **{key: request.get(key) for key in kept},
        "collection_sha256": digest(request) if request else None,
        "shards_sha256": data_sha256(digests) if digests else None,
        "datasets": list(dict.fromkeys(on_hub)),
        "license": license,
    }
    return {name: value for name, value in found.items() if value}


def held_out(network: NoiseNetwork, data: PairData, before: Measurement | None) -> HeldOut:
    """Measure the exported network on the validation pairs, and print the result."""
    if not data.num_samples(True):
        return {}
    after = measure(network, data.val_dataloader(), "cpu")
    found: HeldOut = {"after": after.figures()}
    if before is not None:
        found |= {"before": before.figures(), "change": after.change_since(before)}
        log.info(f"before: {say(found['before'])}")
    log.info(f"{'after' if before else 'held out'}: {say(found['after'])}")
    if (fault := worse(found["after"])) is not None:
        log.warning(fault)
    return found
