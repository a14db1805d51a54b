"""The command ``train.py``; its keys are checked here, before torch is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npnet.description import imported
from npnet.settings import read, resolved
from npnet.training.settings import TrainSettings, check_folder, request_of
from npnet.work.request import require_finite

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> None:
    """Train the network that ``cfg`` describes on the pairs of ``cfg.data.shards``.

    Raises:
        UserError: a key, path or data set that training cannot use.
    """
    config = resolved(cfg)
    require_finite(config)
    settings, asked = read(TrainSettings, config), request_of(config)
    check_folder(settings, asked)
    if settings.dry_run:
        print(imported("npnet.training.plan:describe")(settings))
        return
    imported("npnet.training.run:run")(settings, asked)
