"""The results of a study beside its page, so that every evaluation runs once, on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from npnet.evaluation.contract import Results
from npnet.papers.asked import FOLDER, Asked
from npnet.papers.jobs import Job
from npnet.papers.study import Part, Study
from npnet.work import atomic


def with_kept(jobs: Sequence[Job], asked: Asked, page: Path) -> list[Job]:
    """Replace the evaluations that are kept beside a page and not in the folder; leave out what only they need.

    Args:
        jobs: of one part on one setting.
        asked: says the folder.
        page: the page; its results are in the folder of its name, without the suffix.
    """
    found = [kept if not job.is_done and (kept := _kept(job, asked, page)).is_done else job for job in jobs]
    evaluations = [job for job in found if job.command == "evaluate"]
    return evaluations if all(is_kept(job, asked) for job in evaluations) else found


def is_kept(job: Job, asked: Asked) -> bool:
    """Return whether a job is an evaluation beside a page, not one in the folder of all outputs."""
    return not job.output_dir.is_relative_to(asked.folder)


def keep(job: Job, results: Results, part: Part, study: Study, asked: Asked, page: Path) -> None:
    """Write what a page needs of an evaluation: no single training seeds, and only the comparisons of the page.

    Its paths are those of the default folder, wherever the study ran.
    """
    against = {"standard", *(other for _, other in part.versus), *(goal.against for goal in study.goals.values())}
    methods = {label: _without_rest(method, against) for label, method in results["methods"].items()}
    path = _kept(job, asked, page).output_dir / "results.json"
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, json.dumps(_moved({**results, "methods": methods}, asked), indent=1).encode())


def _kept(job: Job, asked: Asked, page: Path) -> Job:
    if job.command != "evaluate":
        return job
    folder = page.with_suffix("") / job.output_dir.relative_to(asked.folder)
    return replace(job, output_dir=folder, keys=_moved(job.keys, asked))


def _without_rest(method: Mapping[str, Any], against: set[str]) -> dict[str, Any]:
    versus = {other: entry for other, entry in method["versus"].items() if other in against}
    return {**{key: value for key, value in method.items() if key != "members"}, "versus": versus}


def _moved(value: Any, asked: Asked) -> Any:
    """Write the default folder in all paths of a value."""
    if isinstance(value, str):
        return value.replace(str(asked.folder), str(FOLDER))
    if isinstance(value, Mapping):
        return {key: _moved(item, asked) for key, item in value.items()}
    return [_moved(item, asked) for item in value] if isinstance(value, list | tuple) else value
