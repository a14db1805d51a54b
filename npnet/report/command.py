"""What ``evaluate.py`` runs: check and plan without torch, then the evaluation and its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from npnet.description import imported
from npnet.errors import UserError, under
from npnet.evaluation.contract import read_results
from npnet.evaluation.plan import make_plan
from npnet.settings import resolved
from npnet.work import lock

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig) -> None:
    """Compare the noise methods of ``cfg`` by its metrics, on its prompts.

    Leaves ``results.json``, ``results.md``, ``report.html``, ``images/`` and ``chunks/`` under ``cfg.output_dir``. A
    killed run resumes with the same command; a finished folder stays as it is.

    Raises:
        UserError: a key, path or combination that cannot work.
    """
    if resolved(cfg).get("images") is not None:
        imported("npnet.evaluation.images:score_images")(cfg)
        return
    plan = make_plan(cfg)
    settings = plan.settings
    workers = settings.crew()
    if settings.dry_run:
        print(f"would evaluate into {settings.output_dir}:\n{plan.describe()}")
        return
    with under("backbone"):
        settings.backbone.check_device()
    output_dir = Path(settings.output_dir)
    with lock.hold(output_dir, plan.request(), workers.share, folders=["chunks"]):
        if is_finished(output_dir):
            print(f"{output_dir}: finished already, nothing to do")
            imported("npnet.report.making:show")(output_dir)
            return
        imported("npnet.report.making:run")(plan, output_dir, workers)


def is_finished(output_dir: Path) -> bool:
    """Say whether the results and the report are there; results that cannot be read are made again."""
    try:
        read_results(output_dir / "results.json")
    except UserError:
        return False
    return (output_dir / "report.html").is_file()
