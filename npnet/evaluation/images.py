"""Scores of pictures that someone else made, with a cache keyed by content: no picture is scored twice.

Under ``output_dir``: ``cache/*.json``, scores by metric and by the SHA-256 of picture and prompt (of the picture alone
where the metric reads no prompt), each file whole or not at all; ``scores.jsonl``, a line a picture; ``results.json``,
see ``images_results``. The same command again scores what is new in the folder, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet import checks
from npnet.errors import UserError, one_line, under
from npnet.instantiate import build, build_all
from npnet.metrics.base import load_metrics
from npnet.pictures.layout import Picture, find_pictures
from npnet.pictures.opener import READING, open_picture

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from npnet.metrics import Metric
    from npnet.work.job import Advance, Workers

Scores = dict[str, dict[str, float | None]]
"""Metric -> picture and prompt -> score; None where it is not finite."""


def score_images(cfg: DictConfig) -> None:
    """Score the pictures of ``cfg.images`` with the metrics of ``cfg``.

    Raises:
        UserError: a key, path or combination that cannot work.
    """
    for key in ("batch_size", "chunk_size", "num_resamples", "workers", "threads_per_worker"):
        checks.positive_int(cfg, key)
    checks.labels(cfg, "metric")
    for key in ("images", "output_dir"):
        checks.text(cfg, key)
    checks.boolean(cfg, "dry_run")
    from omegaconf import OmegaConf

    from npnet.settings import read
    from npnet.work import lock
    from npnet.work.job import WorkSettings

    workers = read(WorkSettings, cfg).crew()
    if not workers.share.is_whole:
        raise UserError("worker.index: with images=... one command scores all pictures; workers=N makes it faster")
    pictures = find_pictures(Path(cfg.images), lambda: build(cfg.prompts, "prompts").published())
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    metrics: dict[str, Metric] = build_all(cfg.metric, "metric")
    for label, metric in metrics.items():
        with under(f"metric.{label}"):
            metric.check()
        if metric.domain == "shapes":
            require_shapes(label, pictures)
    if cfg.dry_run:
        prompts = len({picture.prompt for picture in pictures})
        print(f"would score {len(pictures)} pictures of {prompts} prompts into {cfg.output_dir}: {', '.join(metrics)}")
        return
    output_dir = Path(cfg.output_dir)
    asked = {key: config[key] for key in ("images", "prompts", "metric", "num_resamples", "seed")}
    with lock.hold(output_dir, asked, folders=["cache"]):
        run(config, pictures, metrics, output_dir, workers)


def run(
    config: Mapping[str, Any],
    pictures: Sequence[Picture],
    metrics: dict[str, Metric],
    output_dir: Path,
    workers: Workers,
) -> None:
    """Score what the cache under ``output_dir`` lacks, then write and print the results."""
    from npnet.evaluation.images_results import make_results, print_results, to_lines
    from npnet.evaluation.results import to_json
    from npnet.work import atomic
    from npnet.work.job import run_job

    atomic.make_folder(output_dir / "cache")
    uses_prompt = {label: metric.uses_prompt for label, metric in metrics.items()}
    job = ImagesJob(config, pictures, uses_prompt, output_dir)
    run_job(job, workers, title="score", describe=lambda values: "")
    scores, facts = read_cache(output_dir)
    table = {
        label: [scores[job.keys[label]][content_key(picture, uses)] for picture in pictures]
        for label, uses in uses_prompt.items()
    }
    noted = {label: facts.get(job.keys[label], []) for label in metrics}
    results = make_results(config, pictures, metrics, table, noted)
    _write_if_new(output_dir / "scores.jsonl", to_lines(pictures, table))
    _write_if_new(output_dir / "results.json", to_json(results))
    print_results(results)


class ImagesJob:
    """The ``npnet.work.job.Job`` of scoring files; plain data until ``setup``.

    Args:
        config: the resolved configuration.
        pictures: with their prompts.
        uses_prompt: by metric label.
        output_dir: of the run; its cache says what is done.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        pictures: Sequence[Picture],
        uses_prompt: Mapping[str, bool],
        output_dir: Path,
    ) -> None:
        self.config, self.uses_prompt, self.output_dir = dict(config), dict(uses_prompt), Path(output_dir)
        self.keys = {label: fingerprint(label, node) for label, node in config["metric"].items()}
        known, _ = read_cache(output_dir)
        seen = {label: set(known.get(key, {})) for label, key in self.keys.items()}
        self.todo: list[tuple[Picture, list[str]]] = []
        """What to score, each picture with the metrics that lack it."""
        for picture in pictures:
            lacking = [label for label, uses in uses_prompt.items() if content_key(picture, uses) not in seen[label]]
            for label in lacking:
                seen[label].add(content_key(picture, uses_prompt[label]))
            if lacking:
                self.todo.append((picture, lacking))
        self.size = int(config["chunk_size"])
        self.num_chunks = -(-len(self.todo) // self.size)

    def chunk(self, index: int) -> list[tuple[Picture, list[str]]]:
        """Return the pictures of a chunk, with the metrics that lack them."""
        return self.todo[index * self.size : (index + 1) * self.size]

    def is_done(self, chunk: int) -> bool:
        """See ``Job.is_done``: only what the cache lacks is in the job."""
        return False

    def num_samples(self, chunk: int) -> int:
        """See ``Job.num_samples``."""
        return len(self.chunk(chunk))

    def setup(self, worker: int, device: str) -> None:
        """See ``Job.setup``."""
        self.scorers = load_metrics(build_all(self.config["metric"], "metric"), device)

    def run(self, chunk: int, report: Callable[[Advance], None]) -> None:
        """See ``Job.run``: one cache file, named by what it holds."""
        from npnet.work import atomic
        from npnet.work.job import Advance

        work = self.chunk(chunk)
        scores: Scores = {key: {} for key in self.keys.values()}
        for start in range(0, len(work), self.config["batch_size"]):
            batch = work[start : start + self.config["batch_size"]]
            opened = [open_picture(picture.path, f"images: {picture.path}") for picture, _ in batch]
            for label, scorer in self.scorers.items():
                new = [i for i, (_, lacking) in enumerate(batch) if label in lacking]
                if new:
                    found = scorer.score_pil([opened[i] for i in new], [batch[i][0].prompt for i in new])
                    names = [content_key(batch[i][0], self.uses_prompt[label]) for i in new]
                    values = map(_or_null, found.double().cpu().tolist())
                    scores[self.keys[label]] |= dict(zip(names, values, strict=True))
            report(Advance(len(batch)))
        prompts = {picture.prompt for picture, _ in work}
        facts = {
            self.keys[label]: {"truncated": sorted(prompts & scorer.meter.truncated), "smoke": scorer.smoke}
            for label, scorer in self.scorers.items()
        }
        named = hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()
        atomic.write_json(self.output_dir / "cache" / f"{named[:24]}.json", {"scores": scores, "facts": facts})


def content_key(picture: Picture, uses_prompt: bool) -> str:
    """Name a picture's content, with its prompt where that matters."""
    return hashlib.sha256(f"{picture.digest}\n{picture.prompt}".encode()).hexdigest() if uses_prompt else picture.digest


def fingerprint(label: str, node: Mapping[str, Any]) -> str:
    """Name a metric by its configuration, and by the size and age of the local files that it names."""
    files = []
    for value in node.values():
        path = Path(value) if isinstance(value, str) and value else None
        if path is not None and path.exists():
            inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            files += [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in inside]
    text = json.dumps([dict(node), files, READING], sort_keys=True)
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def require_shapes(label: str, pictures: Sequence[Picture]) -> None:
    """Refuse pictures that the metrics of the built-in model cannot judge."""
    from npnet.shapes.grammar import parse

    for picture in pictures:
        try:
            parse(picture.prompt)
        except ValueError as error:
            raise UserError(
                f"metric.{label} judges pictures of the built-in model only: {one_line(error)}: "
                "choose other metrics with metric=[...]"
            ) from error
        if picture.size != (32, 32):
            raise UserError(f"metric.{label} judges pictures of 32 x 32, got {picture.size} in {picture.path}")


def read_cache(output_dir: Path) -> tuple[Scores, dict[str, list[dict[str, Any]]]]:
    """Return all scores of a folder's cache, and what its runs noted of each metric."""
    scores: Scores = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((Path(output_dir) / "cache").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for key, values in content["scores"].items():
            scores.setdefault(key, {}).update(values)
        for key, value in content["facts"].items():
            facts.setdefault(key, []).append(value)
    return scores, facts


def _write_if_new(path: Path, data: bytes) -> None:
    """Leave a file alone that says the same already."""
    from npnet.work import atomic

    if not path.is_file() or path.read_bytes() != data:
        atomic.write_bytes(path, data)


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
