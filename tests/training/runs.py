"""Training runs as a user starts them, small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from npnet.messages import plain_messages
from npnet.networks import NPNet
from npnet.paths import config_dir
from npnet.training.callbacks import FiniteLoss
from npnet.training.command import train

SMALL = [
    "network=shapes",
    "network.trunk.img_size=16",
    "network.trunk.embed_dim=16",
    "network.trunk.depths=[1,1]",
    "network.trunk.num_heads=[2,2]",
    "network.trunk.window_size=2",
    "data.batch_size=8",
    "module.learning_rate=2e-3",
]
LIGHT = [*SMALL, "network.residual_branch=false"]
"""Without the Swin."""
FAKE_BACKBONE = ["backbone=shapes", "backbone._target_=tests.fakes.LinearBackbone"]
EVALUATION = [
    *FAKE_BACKBONE,
    "metric=[]",
    "+metric.target._target_=tests.fakes.TargetScorer",
    "prompts=list",
    "prompts.list=[one,two,three]",
    "callbacks.evaluation.every_n_epochs=1",
    "callbacks.evaluation.num_inference_steps=2",
    "callbacks.evaluation.seeds.per_prompt=2",
]


class Killed(BaseException):
    """A run's sudden end."""


def run(pairs, output_dir, *overrides, small=SMALL):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", [f"data.shards={pairs}", f"output_dir={output_dir}", *small, *overrides])
    with plain_messages():
        train(cfg)


def run_killed_at(step, pairs, output_dir, *overrides, **options):
    """Run until ``step`` optimiser steps are done, then die."""

    def kill(self, trainer, *rest):
        if trainer.global_step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FiniteLoss, "on_train_batch_start", kill)
        with pytest.raises(Killed):
            run(pairs, output_dir, *overrides, **options)
    assert not (Path(output_dir) / "network").exists()


def weights(folder):
    return NPNet.from_pretrained(folder / "network").state_dict()


def checkpoint(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(a, b):
    assert a.keys() == b.keys()
    assert {name: float((a[name] - b[name]).abs().max()) for name in a if not torch.equal(a[name], b[name])} == {}
    return True
