"""Lightning's loggers that write elsewhere: what they would find out at their first row is asked before the work."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from npnet.errors import UserError, reworded

WITHOUT = ("offline", "disabled", "dryrun")
"""Modes of Weights & Biases that need no key."""


def check_logins(nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse Weights & Biases where its library has no key, or one that its server does not take.

    Args:
        nodes: label -> keys of a logger.

    Raises:
        UserError: names the logger, and says what its library says.
    """
    for label, keys in nodes.items():
        ours = str(keys.get("_target_")).startswith("lightning.") and str(keys["_target_"]).endswith(".WandbLogger")
        if ours and not keys.get("offline") and keys.get("mode") not in WITHOUT:
            with _said(label, f"run `wandb login`, set WANDB_API_KEY, or logger.{label}.offline=true"):
                importlib.import_module("wandb").login()


def begin(loggers: Mapping[str, Any]) -> None:
    """Let every logger begin; most do at their first row.

    Args:
        loggers: label -> logger of Lightning's. One of files alone (``CSVLogger``) has nothing to begin.

    Raises:
        UserError: names the one that cannot.
    """
    for label, logger in loggers.items():
        if type(logger).__name__ != "CSVLogger":
            with _said(label, "leave it out of logger=[...]"):
                _ = logger.experiment


def _said(label: str, remedy: str) -> AbstractContextManager[None]:
    # each library has errors of its own
    return reworded(Exception, UserError, f"logger.{label}: ", f"; {remedy}", but=UserError)
