"""From a checked plan to a finished evaluation: its chunks, its results, its report."""

from __future__ import annotations

from pathlib import Path

from npnet.evaluation.contract import read_results
from npnet.evaluation.evaluation import EvaluationJob, describe_wins
from npnet.evaluation.plan import EvaluationPlan
from npnet.evaluation.results import make_results, to_json
from npnet.report.markdown import tables
from npnet.report.page import write_report
from npnet.report.tables import print_tables
from npnet.work import atomic
from npnet.work.job import Workers, run_job


def run(plan: EvaluationPlan, output_dir: Path, workers: Workers) -> None:
    """Compute what is missing of ``plan`` under ``output_dir``, whose lock the caller holds, and show the results.

    Of a job array's workers, the one that ends last makes the report.
    """
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


def show(output_dir: Path) -> None:
    """Print the tables of ``results.json``, and where the report is."""
    print_tables(read_results(output_dir / "results.json"))
    print(f"report: {output_dir / 'report.html'}")
