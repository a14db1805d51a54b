"""How the time of each command grows with what it is given: what it does beside the models, in CPU seconds.

    python benchmarks/growth.py            # a few minutes
    python benchmarks/growth.py --largest  # and 100,000 prompts planned, 2,000 shards, 10,000 prompts reported
    python benchmarks/growth.py --only shards --largest

- plan: ``collect.py`` reads and counts prompts, draws their seeds and makes the folder's request.
- resume: ``collect.py`` in a folder that is finished: each shard's checksum is compared, and the summary made. Each tar
  is hashed once, which is asserted.
- status: what ``npnet status`` reads.
- find: ``train.py`` looks at its shards, and draws an epoch's order.
- report: ``evaluate.py`` where every score is there: 11 methods, 6 metrics, one of them with preferences.

Everything is made up; no model is loaded.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).parent.parent))  # for tests.pairs, which writes the shards

import collect.plan
from collect.survey import survey
from collect.writer import is_finished
from npnet.data import checksums
from npnet.data.pairs import Pairs
from npnet.data.shards import list_shards
from npnet.evaluation.cells import Cell, Drawn, Noted, folder_of, write_cell
from npnet.evaluation.evaluation import EvaluationJob
from npnet.evaluation.plan import EvaluationPlan, make_plan
from npnet.paths import config_dir
from npnet.records import Cost
from npnet.report import making
from tests import pairs

SIZES = {"plan": [1_000, 10_000], "shards": [20, 200], "report": [100, 1_000]}
LARGEST = {"plan": 100_000, "shards": 2_000, "report": 10_000}
METRICS = "[hpsv2,pickscore,aes,imagereward,clipscore,mps]"
METHODS = 11
CHUNK = 64


def composed(command: str, *overrides: str) -> Any:
    """Return the configuration of a command on SDXL."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(command, ["backbone=sdxl", *overrides])


def prompt_file(folder: Path, count: int) -> Path:
    """Write so many distinct prompts, of about 20 words."""
    words = sorted(set("".join(char if char.isalpha() else " " for char in __doc__).split()))
    draw = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    path = folder / f"{count}.txt"
    path.write_text("\n".join(f"{' '.join(draw.choice(words, 20))} {number}" for number in range(count)))
    return path


def plan(count: int, folder: Path) -> Callable[[], object]:
    """Return the planning of a collection of ``count`` prompts."""
    path = prompt_file(folder, count)
    cfg = composed("collect", "prompts=file", f"prompts.path={path}", f"output_dir={folder}", "metric=hpsv2")
    return lambda: collect.plan.make_plan(cfg).request


def shards(count: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is done with a folder of ``count`` shards of 64 small pairs."""
    where = pairs.write_folder(folder / f"pairs-{count}", [CHUNK] * count)
    paths = [Path(shard.path) for shard in list_shards(where)]
    request_sha256: Any = None  # of shards without a request

    def resume() -> None:
        checksums._known.cache_clear()  # as in a new process
        assert all(is_finished(path, request_sha256) for path in paths)
        survey(where, verify=True)
        assert checksums._known.cache_info().misses == len(paths)

    def find() -> None:
        data = Pairs(str(where)).load()
        data.check()
        data.train_dataloader().stream.order()

    return {"resume": resume, "status": lambda: survey(where).num_kept, "find": find}


def report(count: int, folder: Path) -> Callable[[], object]:
    """Return the report of 11 methods on ``count`` prompts by 6 metrics, whose cells are there."""
    labels = [f"inversion_{number}" for number in range(1, METHODS)]
    path = prompt_file(folder, count)
    cfg = composed(
        "evaluate",
        *("prompts=file", f"prompts.path={path}", "keep_images=0", f"output_dir={folder}", f"metric={METRICS}"),
        "metric.mps.path=owner/name",
        "noise=standard",
        *(f"+noise.{label}._target_=npnet.noise.Inversion" for label in labels),
        *(f"+noise.{label}.guidance_scale=7" for label in labels),
        *(f"+noise.{label}.num_inference_steps=10" for label in labels),
        *(f"+noise.{label}.inversion_guidance_scale={1 + number / 8}" for number, label in enumerate(labels)),
    )
    made = make_plan(cfg)
    write_cells(made, folder)
    return lambda: making.run(made, folder, made.settings.crew())


def write_cells(made: EvaluationPlan, folder: Path) -> None:
    """Write made-up scores of every method on every sample."""
    draw = np.random.default_rng(0)
    job = EvaluationJob(made, folder)
    for method in made.methods.values():
        for number in range(job.num_chunks):
            keys = [(sample.prompt, sample.seed) for sample in job.chunk(number)]
            size = len(keys)
            drawn = Drawn("cpu", False, Cost(size), [(size, 1.0)], pictures=[None] * size)
            scores = {digest: draw.normal(size=size).tolist() for digest in made.metrics.values()}
            noted = {digest: Noted([], False) for digest in made.metrics.values()}
            write_cell(folder_of(folder, method), Cell(keys, scores, noted, {}, drawn))


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call; what it prints is left out."""
    started = time.process_time()
    with redirect_stdout(io.StringIO()):
        work()
    return time.process_time() - started


def print_row(name: str, unit: str, sizes: Sequence[int], found: Sequence[float]) -> None:
    """Print how one command's time grows; the last ratio is of seconds over that of sizes: 1 where it is in line."""
    cells = ", ".join(f"{size:,}: {value:.2f}" for size, value in zip(sizes, found, strict=True))
    growth = (found[-1] / found[-2]) / (sizes[-1] / sizes[-2])
    print(f"| {name} | {unit} | {cells} | {growth:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", action="store_true", help="the largest sizes too")
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=list(SIZES), help="what grows; all of them")
    options = parser.parse_args()
    sizes = {name: [*own, *([LARGEST[name]] if options.largest else [])] for name, own in SIZES.items()}
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    print("| command | what grows | CPU seconds | last step, over in line |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "plan" in options.only:
            plan(100, folder)()  # imports the tokenizer
            print_row("plan", "prompts", sizes["plan"], [seconds(plan(size, folder)) for size in sizes["plan"]])
        by_command: dict[str, list[float]] = {}
        for size in sizes["shards"] if "shards" in options.only else []:
            for command, work in shards(size, folder).items():
                by_command.setdefault(command, []).append(seconds(work))
        for command, found in by_command.items():
            print_row(command, "shards of 64 pairs", sizes["shards"], found)
        if "report" in options.only:
            found = [seconds(report(size, folder / f"report-{size}")) for size in sizes["report"]]
            print_row("report", "prompts, 11 methods, 6 metrics", sizes["report"], found)


if __name__ == "__main__":
    main()
