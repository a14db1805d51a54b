"""The command ``python collect.py``: check, then collect, or say what would be collected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npnet.cli import run
from npnet.description import imported
from npnet.loggers import check_logins
from npnet.work import request

if TYPE_CHECKING:
    from omegaconf import DictConfig


def collect(cfg: DictConfig) -> None:
    """Collect the pairs of ``cfg`` into ``cfg.output_dir``; a finished folder is not changed.

    Raises:
        UserError: a value, path, folder or combination is not allowed.
    """
    plan = imported("collect.plan:make_plan")(cfg)
    workers = plan.settings.crew()
    request.check(plan.settings.output_dir, lambda: plan.request)
    if plan.settings.dry_run:
        check_logins(plan.settings.logger)
        print(imported("collect.dry_run:dry_run_text")(plan))
    else:
        imported("collect.collection:run")(plan, workers)


def main() -> None:
    """Run the command line."""
    run("collect")
