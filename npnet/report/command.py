"""The command ``evaluate.py``: check and plan without torch, then evaluate and write the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet.compatibility import check_ready
from npnet.description import imported
from npnet.errors import UserError
from npnet.evaluation.contract import FINISHED, read_results, samples_of
from npnet.evaluation.costs import describe as describe_costs
from npnet.evaluation.identity import DIGITS, FOLDER
from npnet.evaluation.plan import EvaluationPlan, make_plan
from npnet.settings import resolved
from npnet.untrusted import read_json
from npnet.work import lock, request

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: DictConfig) -> None:
    """Compare the noise methods of ``cfg`` by its metrics, on its prompts.

    Writes ``results.json``, ``results.md``, ``report.html``, ``images/`` and ``cells/`` into ``cfg.output_dir``.
    Results in ``cells/`` are not computed again. So the same command resumes a killed run, and other methods, metrics,
    prompts or seeds add to the folder. A folder that is finished for this configuration is not changed.

    Raises:
        UserError: a key, path or combination that cannot work.
    """
    if resolved(cfg).get("images") is not None:
        imported("npnet.evaluation.images:score_images")(cfg)
        return
    plan = make_plan(cfg)
    settings = plan.settings
    workers = settings.crew()
    if (settings.output_dir / "chunks").is_dir():
        raise UserError(
            f"output_dir={settings.output_dir}: was made by an earlier version, whose evaluations do not grow; its "
            "results can still be shown (npnet sweep). Choose another output_dir"
        )
    request.check(settings.output_dir, plan.folder_request)
    if settings.dry_run:
        print(dry_run_text(plan))
        return
    check_ready(settings.backbone, settings.noise)
    output_dir = Path(settings.output_dir)
    folders = sorted({f"{FOLDER}/{method[:DIGITS]}" for method in plan.methods.values()})
    with lock.hold(output_dir, plan.folder_request(), workers.share, folders=folders):
        if is_finished(output_dir, plan.request()):
            print(f"{output_dir}: finished already, nothing to do")
            imported("npnet.report.making:show")(output_dir)
            return
        imported("npnet.report.making:run")(plan, output_dir, workers)


def dry_run_text(plan: EvaluationPlan) -> str:
    """Return what an evaluation would do, without what its folder already holds."""
    folder, to_draw, there = plan.settings.output_dir, None, []
    if (folder / FOLDER).is_dir():
        store, wanted = imported("npnet.evaluation.store:Store")(folder, plan.methods.values()), plan.wanted()
        works = imported("npnet.evaluation.lacking:lacking")(store, wanted, plan.samples)
        to_draw = imported("npnet.evaluation.lacking:to_draw")(works, wanted)
        told = imported("npnet.evaluation.lacking:describe")(works, store, wanted, len(plan.samples))
        there = [told, *_left_out(plan)]
    lines = [f"would evaluate into {folder}:", plan.describe(to_draw), *plan.settings.backbone.device_note()]
    return "\n".join([*lines, describe_costs(plan, to_draw), *there])


def _left_out(plan: EvaluationPlan) -> list[str]:
    """Say which methods the finished results would no longer show."""
    file = plan.settings.output_dir / "results.json"
    shown = read_results(file)["methods"] if file.is_file() else {}
    names = [label for label in shown if label not in plan.members]
    return [f"not named in this command, so no longer in the results: {', '.join(names)}"] if names else []


def is_finished(output_dir: Path, asked: Mapping[str, Any]) -> bool:
    """Say whether the results and the report of this request exist; unreadable ones are made again."""
    try:
        if read_json(output_dir / FINISHED) != json.loads(json.dumps(asked)):
            return False
        samples_of(output_dir, read_results(output_dir / "results.json"))
    except UserError:
        return False
    return (output_dir / "report.html").is_file()
