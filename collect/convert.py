"""Pairs in the published layout to shards: ``python -m collect.convert DIR OUTPUT [--lines FILE] [--metrics a,b]``.

As the script that trains on them does, a pair is kept when the first score of the golden picture is higher; the others
are written too, marked as rejected, so that ``collect.filter`` can select anew. There are no embeddings: training makes
them (``train.py backbone=NAME``).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collect.plan import FORMAT, USED, digest
from collect.published import Found, match, read_lines, read_npz
from collect.selection import NOT_FINITE, Selection, verdict
from npnet.data.sidecars import TriedPair, shard_path
from npnet.errors import OneLineParser, UserError, one_line

CHUNK_SIZE = 256
METRICS = {0: [], 1: ["hpsv2"], 4: ["pickscore", "hpsv2", "imagereward", "aes"]}
"""What the official script's score lists hold, by their length."""
USAGE = "python -m collect.convert DIR OUTPUT [--lines FILE] [--metrics NAME,NAME] [--chunk-size N]"


def convert(folder: Path, output_dir: Path, lines: Path | None, metrics: list[str] | None, chunk_size: int) -> None:
    """Write the pairs of ``folder`` as shards; goes on where it was interrupted.

    Raises:
        UserError: see ``read_lines``, ``match`` and ``read_npz``.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if output_dir.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{output_dir}: lies in {folder}, which is only read; choose another folder")
    where = lines if lines is not None else _only_lines(folder)
    pairs, counts = match(folder, read_lines(where), where)
    metrics = _metrics(pairs, metrics, where)

    from collect.finish import finish
    from collect.summary import print_summary
    from collect.survey import survey
    from collect.writer import is_finished
    from npnet.work import lock
    from npnet.work.progress import Progress

    chunks = [pairs[start : start + chunk_size] for start in range(0, len(pairs), chunk_size)]
    asked = {
        "format": FORMAT,
        "converted_from": {"pairs": str(folder), "lines_sha256": hashlib.sha256(where.read_bytes()).hexdigest()},
        "num_samples": len(pairs),
        "num_chunks": len(chunks),
        "chunk_size": chunk_size,
        "prompt_counts": counts,
        "selection": "all",
        "margin": 0.0,
        "weights": None,
        "keep_all": True,
        "selected_by": metrics[:1],
    }
    with lock.hold(output_dir, asked):
        pending = [n for n in range(len(chunks)) if not is_finished(shard_path(output_dir, n), digest(asked))]
        finished = len(pairs) - sum(len(chunks[number]) for number in pending)
        with Progress("converting", lambda values: "", finished, len(pairs)) as progress:
            progress.begin()
            for number in pending:
                progress.add(_write(shard_path(output_dir, number), chunks[number], metrics, asked))
        if not pending:
            print("finished already: nothing to do")
        found = survey(output_dir)
        finish(found)
        print_summary(found)
        for name, count in counts.items():
            if name != USED:
                print(f"{count} {name}")


def _write(path: Path, pairs: Sequence[Found], metrics: Sequence[str], asked: dict[str, Any]) -> Any:
    import torch

    from collect.writer import ShardWriter, write_sidecar
    from npnet.records import NoisePair
    from npnet.work.job import Advance

    candidates = []
    with ShardWriter(path) as writer:
        for pair in pairs:
            source, golden = read_npz(pair.path, pair.sample.prompt_index)
            scores = dict(zip(metrics, pair.line.scores, strict=True))
            reason = Selection().reject_reason({name: scores[name] for name in metrics[:1]})
            if not all(bool(torch.isfinite(noise.half()).all()) for noise in (source, golden)):
                reason = NOT_FINITE
            kept, written = verdict(reason, keep_all=True)
            sample = pair.sample
            if written:
                made = NoisePair(sample.key, sample.prompt, sample.seed, source, golden, scores, kept)
                writer.add(made, sample.prompt_index)
            candidates.append(
                TriedPair(sample.key, sample.prompt, sample.prompt_index, sample.seed, scores, kept, reason, written)
            )
    write_sidecar(path, writer, candidates, {"request": asked, "request_sha256": digest(asked)})
    return Advance(len(pairs), {})


def _only_lines(folder: Path) -> Path:
    found = sorted(path for suffix in ("json", "jsonl") for path in folder.glob(f"*.{suffix}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{folder}: exactly one .json or .jsonl file is needed beside the pairs (got: {names}); --lines"
        )
    return found[0]


def _metrics(pairs: Sequence[Found], given: list[str] | None, where: Path) -> list[str]:
    counts = sorted({len(pair.line.scores) for pair in pairs})
    if len(counts) != 1:
        raise UserError(f"{where}: the lines have different numbers of scores: {', '.join(map(str, counts))}")
    metrics = given if given is not None else METRICS.get(counts[0], [])
    if len(metrics) != counts[0] or len(set(metrics)) != len(metrics) or not all(metrics):
        raise UserError(f"{where}: has {counts[0]} scores for each picture; name them: --metrics NAME,NAME")
    return metrics


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code."""
    parser = OneLineParser(usage=USAGE, description="Pairs in the published layout to shards.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="holds INDEX_SEED.npz, in folders or not")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the folder of the shards")
    parser.add_argument("--lines", type=Path, help="the JSON lines; by default the only .json or .jsonl file in DIR")
    parser.add_argument("--metrics", type=lambda text: text.split(","), help="names of the scores, in their order")
    parser.add_argument("--chunk-size", type=int, default=CHUNK_SIZE, help="pairs in a shard (256)")
    try:
        options = parser.parse_args(arguments)
        if options.chunk_size < 1:
            raise UserError(f"--chunk-size={options.chunk_size}: a whole number of at least 1 is needed")
        convert(options.folder, options.output, options.lines, options.metrics, options.chunk_size)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
