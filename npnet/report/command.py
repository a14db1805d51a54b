"""What ``evaluate.py`` runs: check, plan, run the chunks, join the results, write the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from npnet.errors import under

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from npnet.evaluation.plan import EvaluationPlan
    from npnet.work.job import Workers


def evaluate(cfg: DictConfig) -> None:
    """Compare the noise methods of ``cfg`` by its metrics, on its prompts.

    Leaves ``results.json``, ``results.md``, ``report.html``, ``images/`` and ``chunks/`` under ``cfg.output_dir``. A
    killed run goes on with the same command; a finished folder stays as it is.

    Raises:
        UserError: a key, path or combination that cannot work.
    """
    if cfg.get("images") is not None:
        from npnet.evaluation.images import score_images

        score_images(cfg)
        return
    from npnet.evaluation.plan import make_plan
    from npnet.work import lock

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
            show(output_dir)
            return
        run(plan, output_dir, workers)


def run(plan: EvaluationPlan, output_dir: Path, workers: Workers) -> None:
    """Compute what is missing of ``plan`` under ``output_dir``, whose lock the caller holds, and show the results.

    Of a job array's workers, the one that ends last makes the report.
    """
    from npnet.evaluation.evaluation import EvaluationJob, describe_wins
    from npnet.evaluation.results import make_results, to_json
    from npnet.report.markdown import tables
    from npnet.report.page import write_report
    from npnet.work import atomic
    from npnet.work.job import run_job

    job = EvaluationJob(plan.settings, plan.samples, output_dir)
    run_job(job, workers, title="evaluate", describe=describe_wins)
    missing = sum(not job.is_done(chunk) for chunk in range(job.num_chunks))
    if missing:
        print(f"{workers.share}done; {missing} of {job.num_chunks} chunks are still to come, then the report is made")
        return
    results = make_results(plan, [job.record(chunk) for chunk in range(job.num_chunks)])
    atomic.write_bytes(output_dir / "results.json", to_json(results))
    atomic.write_bytes(output_dir / "results.md", tables(results).encode())
    write_report(results, plan, job)
    show(output_dir)


def is_finished(output_dir: Path) -> bool:
    """Say whether the results and the report are there; results that cannot be read are made again."""
    try:
        json.loads((output_dir / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (output_dir / "report.html").is_file()


def show(output_dir: Path) -> None:
    """Print the tables of ``results.json``, and where the report is."""
    from npnet.report.tables import print_tables

    print_tables(json.loads((output_dir / "results.json").read_text(encoding="utf-8")))
    print(f"report: {output_dir / 'report.html'}")
