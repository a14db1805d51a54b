"""Scores of pictures from elsewhere, with a cache keyed by content, so that no picture is scored twice.

Under ``output_dir``: ``cache/*.json`` has the scores by metric and by the SHA-256 of picture and prompt (of the picture
alone where the metric reads no prompt), each file written whole or not at all; ``scores.jsonl`` has one line for each
picture; for ``results.json`` see ``images_results``. Run again, the same command scores only new pictures in the
folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from npnet.evaluation.identity import local_files
from npnet.evaluation.images import ImagesSettings
from npnet.evaluation.images_results import make_results, print_results, to_lines
from npnet.evaluation.results import to_json
from npnet.metrics.base import load_metrics
from npnet.pictures.layout import Picture
from npnet.pictures.opener import READING, open_picture
from npnet.untrusted import read_json
from npnet.work import atomic
from npnet.work.job import Advance, Workers, run_job

Scores = dict[str, dict[str, float | None]]
"""Metric -> picture and prompt -> score; None where it is not finite."""


def run(settings: ImagesSettings, asked: Mapping[str, Any], pictures: Sequence[Picture], workers: Workers) -> None:
    """Score what the cache under ``output_dir`` lacks, then write and print the results."""
    output_dir, metrics = settings.output_dir, settings.metric
    atomic.make_folder(output_dir / "cache")
    job = ImagesJob(settings, asked["metric"], pictures)
    run_job(job, workers, title="score", describe=lambda values: "")
    scores, facts = read_cache(output_dir)
    table = {
        label: [scores[job.keys[label]][content_key(picture, uses)] for picture in pictures]
        for label, uses in job.uses_prompt.items()
    }
    noted = {label: facts.get(job.keys[label], []) for label in metrics}
    results = make_results(asked, pictures, metrics, table, noted)
    lines = to_lines(pictures, table)
    _write_if_new(output_dir / "scores.jsonl", lines)
    _write_if_new(output_dir / "results.json", to_json(results, lines))
    print_results(results)


class ImagesJob:
    """The ``npnet.work.job.Job`` of scoring files; plain data until ``setup``.

    Args:
        settings: the command's keys.
        nodes: the configuration of the metrics by label, which are keys of the cache.
        pictures: with their prompts.
    """

    def __init__(self, settings: ImagesSettings, nodes: Mapping[str, Any], pictures: Sequence[Picture]) -> None:
        self.settings = settings
        self.uses_prompt = {label: metric.uses_prompt for label, metric in settings.metric.items()}
        self.keys = {label: fingerprint(label, node) for label, node in nodes.items()}
        known, _ = read_cache(settings.output_dir)
        seen = {label: set(known.get(key, {})) for label, key in self.keys.items()}
        self.todo: list[tuple[Picture, list[str]]] = []
        """What to score, each picture with the metrics that lack it."""
        for picture in pictures:
            names = {label: content_key(picture, uses) for label, uses in self.uses_prompt.items()}
            lacking = [label for label, name in names.items() if name not in seen[label]]
            for label in lacking:
                seen[label].add(names[label])
            if lacking:
                self.todo.append((picture, lacking))
        self._scorers: Mapping[str, Any] = {}  # of the worker, once it is set up
        self.size = settings.chunk_size
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
        self._scorers = load_metrics(self.settings.metric, device)

    def run(self, chunk: int, advance: Callable[[Advance], None]) -> None:
        """See ``Job.run``: one cache file, named by what it holds."""
        work = self.chunk(chunk)
        scores: Scores = {key: {} for key in self.keys.values()}
        for start in range(0, len(work), self.settings.batch_size):
            batch = work[start : start + self.settings.batch_size]
            opened = [open_picture(picture.path, f"images: {picture.path}") for picture, _ in batch]
            for label, scorer in self._scorers.items():
                new = [i for i, (_, lacking) in enumerate(batch) if label in lacking]
                if new:
                    found = scorer.score_pil([opened[i] for i in new], [batch[i][0].prompt for i in new])
                    names = [content_key(batch[i][0], self.uses_prompt[label]) for i in new]
                    values = map(_or_null, found.double().cpu().tolist())
                    scores[self.keys[label]] |= dict(zip(names, values, strict=True))
            advance(Advance(len(batch)))
        prompts = {picture.prompt for picture, _ in work}
        facts = {
            self.keys[label]: {
                "truncated": sorted(prompts & scorer.meter.truncated),
                "smoke": scorer.smoke,
                "remarks": scorer.remarks(),
            }
            for label, scorer in self._scorers.items()
        }
        named = hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()
        atomic.write_json(self.settings.output_dir / "cache" / f"{named[:24]}.json", {"scores": scores, "facts": facts})


def content_key(picture: Picture, uses_prompt: bool) -> str:
    """Name a picture's content, with its prompt where that matters."""
    return hashlib.sha256(f"{picture.digest}\n{picture.prompt}".encode()).hexdigest() if uses_prompt else picture.digest


def fingerprint(label: str, node: Mapping[str, Any]) -> str:
    """Name a metric by its configuration, and by the size and age of the local files that it names."""
    text = json.dumps([dict(node), local_files(node), READING], sort_keys=True)
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def read_cache(output_dir: Path) -> tuple[Scores, dict[str, list[dict[str, Any]]]]:
    """Return all scores of a folder's cache, and the notes of its runs on each metric."""
    scores: Scores = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((Path(output_dir) / "cache").glob("*.json")):
        content = read_json(path)
        for key, values in content["scores"].items():
            scores.setdefault(key, {}).update(values)
        for key, value in content["facts"].items():
            facts.setdefault(key, []).append(value)
    return scores, facts


def _write_if_new(path: Path, data: bytes) -> None:
    """Write a file, unless it has the same content already."""
    if not path.is_file() or path.read_bytes() != data:
        atomic.write_bytes(path, data)


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
