"""What ``python collect.py`` runs: check, claim the folder, compute what is missing, say what is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from npnet.command import run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig


def collect(cfg: DictConfig) -> None:
    """Collect the pairs that ``cfg`` asks for into ``cfg.output_dir``; a finished folder is left as it is.

    Raises:
        UserError: a value, path, folder or combination that cannot work.
    """
    from collect.plan import make_plan

    plan = make_plan(cfg)

    from collect.candidates import CandidateMaker
    from collect.runner import CollectJob
    from collect.summary import describe, dry_run_text, print_summary
    from npnet.data.shards import list_shards
    from npnet.noise.parts import check_prompts
    from npnet.work import lock, request
    from npnet.work.runner import run_job

    maker = CandidateMaker.from_config(plan.config)
    check_prompts(maker.backbone, (sample.prompt for sample in plan.samples))
    if plan.config["dry_run"]:
        print(dry_run_text(plan, maker))
        return
    with lock.hold(plan.output_dir):
        request.claim(plan.output_dir, plan.request)
        started = time.monotonic()
        job = CollectJob(plan)
        computed = run_job(
            job,
            workers=plan.config["workers"],
            threads_per_worker=plan.config["threads_per_worker"],
            title="collecting",
            describe=describe,
        )
        if not computed:
            print("finished already: nothing to do")
        print_summary(plan, list_shards(plan.output_dir), time.monotonic() - started if computed else None)


def main() -> None:
    """Run the command line."""
    run_command("collect", collect)
