"""Run a checked plan: compute its chunks, then write its results and its report."""

from __future__ import annotations

from pathlib import Path

from npnet.evaluation import samples_file
from npnet.evaluation.contract import FINISHED, SAMPLES, read_results
from npnet.evaluation.evaluation import EvaluationJob, describe_wins
from npnet.evaluation.gathering import gather
from npnet.evaluation.kept_pictures import show_pictures
from npnet.evaluation.plan import EvaluationPlan
from npnet.evaluation.results import make_results, to_json
from npnet.noise.runtime.whiteness import MEASURES
from npnet.report import exports
from npnet.report.markdown import tables
from npnet.report.page import write_report
from npnet.report.tables import print_tables
from npnet.work import atomic
from npnet.work.job import Workers, run_job


def run(plan: EvaluationPlan, output_dir: Path, workers: Workers) -> None:
    """Compute the missing parts of ``plan`` in ``output_dir``, whose lock the caller holds, and show the results.

    In a job array, the worker that ends last makes the report.
    """
    job = EvaluationJob(plan, output_dir)
    run_job(job, workers, title="evaluate", describe=describe_wins)
    job.store.refresh()
    missing = sum(not job.is_done(chunk) for chunk in range(job.num_chunks))
    if missing:
        print(f"{workers.share}done; {missing} of {job.num_chunks} chunks are not computed yet")
        return
    measures = [*MEASURES, *plan.spaces.values()]
    gathered = {
        label: gather(job.store, method, plan.metrics, plan.samples, measures) for label, method in plan.methods.items()
    }
    results = make_results(plan, gathered)
    (output_dir / FINISHED).unlink(missing_ok=True)
    show_pictures(plan, output_dir)
    samples = samples_file.to_lines(plan, gathered)
    atomic.write_bytes(output_dir / "results.json", to_json(results, samples))
    atomic.write_bytes(output_dir / SAMPLES, samples)
    atomic.write_bytes(output_dir / "results.md", tables(results).encode())
    atomic.write_bytes(output_dir / "results.csv", exports.to_csv(results).encode())
    atomic.write_bytes(output_dir / "results.tex", exports.to_latex(results).encode())
    write_report(results, plan, {label: found.record for label, found in gathered.items()}, output_dir)
    atomic.write_json(output_dir / FINISHED, plan.request())
    show(output_dir)


def show(output_dir: Path) -> None:
    """Print the tables of ``results.json``, and where the report is."""
    print_tables(read_results(output_dir / "results.json"))
    print(f"report: {output_dir / 'report.html'}")
