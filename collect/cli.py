"""What ``python collect.py`` runs: check, claim the folder, compute what is missing, say what is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from npnet.cli import run
from npnet.errors import UserError, under

if TYPE_CHECKING:
    from omegaconf import DictConfig


def collect(cfg: DictConfig) -> None:
    """Collect the pairs that ``cfg`` asks for into ``cfg.output_dir``; a finished folder is left as it is.

    Raises:
        UserError: a value, path, folder or combination that cannot work.
    """
    from collect.plan import make_plan
    from npnet.settings import read
    from npnet.work.job import WorkSettings, run_job

    plan = make_plan(cfg)
    workers = read(WorkSettings, plan.config).crew()
    loggers = plan.config.get("logger")
    if loggers and not workers.share.is_whole:
        raise UserError(
            f"logger=[{','.join(loggers)}]: the workers of a job array would write over each other's rows; "
            "watch them with python -m collect.status DIR"
        )

    from collect.candidates import CandidateMaker
    from collect.collection import CollectJob
    from collect.finish import finish
    from collect.summary import dry_run_text, print_summary
    from collect.survey import survey
    from collect.watch import Watch
    from npnet.noise.parts import check_prompts
    from npnet.work import lock

    maker = CandidateMaker.from_config(plan.config, "meta" if plan.config["dry_run"] else None)
    check_prompts(maker.backbone, (sample.prompt for sample in plan.samples))
    if plan.config["dry_run"]:
        print(dry_run_text(plan, maker))
        return
    with under("backbone"):
        maker.backbone.check_device()
    with lock.hold(plan.output_dir, plan.request, workers.share):
        started = time.monotonic()
        with Watch.from_config(plan.config) as watch:
            computed = run_job(CollectJob(plan), workers, title="collecting", describe=watch)
        found = survey(plan.output_dir)
        if not computed:
            print(f"{workers.share}finished already: nothing to do")
        if not workers.share.is_whole and not found.is_finished:  # the array's other workers are still to come
            print(f"{workers.share}done; {len(found.shards)} of {plan.num_chunks} shards are there")
            return
        if plan.config["card"]:
            finish(found)
        print_summary(found, time.monotonic() - started if computed else None)


def main() -> None:
    """Run the command line."""
    run("collect")
