"""The kept pictures of the current samples, under their methods' labels: ``images/LABEL/KEY.webp``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from npnet.evaluation.cells import picture_path, stored_picture
from npnet.evaluation.plan import EvaluationPlan
from npnet.work import atomic


def show_pictures(plan: EvaluationPlan, output_dir: Path) -> None:
    """Show exactly the pictures of ``plan``, as links to the files of the cells, which need no disk space.

    Raises:
        UserError: the folder cannot be written.
    """
    wanted = plan.wanted()
    shown = {
        picture_path(output_dir, label, sample): stored_picture(output_dir, method, (sample.prompt, sample.seed))
        for label, method in plan.methods.items()
        for sample in plan.samples
        if sample.key in wanted.kept
    }
    for path in (Path(output_dir) / "images").glob("*/*.webp"):
        if path not in shown:
            path.unlink()
    for folder in (Path(output_dir) / "images").glob("*/"):
        if not any(folder.iterdir()):
            folder.rmdir()
    for path, source in shown.items():
        atomic.make_folder(path.parent)
        with atomic.writing(path):
            if not (path.exists() and path.samefile(source)):
                path.unlink(missing_ok=True)
                _link(source, path)


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path)
    except OSError:  # a file system without links
        shutil.copyfile(source, path)
