"""GenEval 2 (Kamath et al. 2025, arXiv 2512.16853): questions about each picture, scored by Soft-TIFA.

    npnet geneval2 results.jsonl benchmark=geneval2_data.jsonl images=DIR
    npnet geneval2 results.jsonl

The list of prompts and questions is your own copy of ``geneval2_data.jsonl``. It is not shipped here because of its
license (CC BY-NC 4.0). Each line is a JSON object: ``prompt``, ``atom_count`` (how many things the prompt asks for),
``vqa_list`` (pairs of a question and its answer) and ``skills`` (one for each pair).

Soft-TIFA's score of a question is the probability of its answer under a vision-language model. For each picture, AM is
the mean and GM the geometric mean of the scores of its questions. The figure of the benchmark is 100 times the mean
over pictures, with one picture for each prompt in the published figures. GM is the published headline. Skills are
scored over all their questions, atom counts by GM.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npnet.arguments import asked
from npnet.data.json_lines import read_records
from npnet.description import Description, imported
from npnet.ending import end
from npnet.errors import FieldError
from npnet.fields import Name
from npnet.metrics.statistics import Mean, means
from npnet.metrics.vlm_judge import check_address
from npnet.weights.sources import check_source
from npnet.work.atomic import check_new

SUMMARY = "Score pictures by GenEval 2's questions (needs your own copy of its list)."
POSITIONAL = ("results",)
MODEL = "Qwen/Qwen3-VL-8B-Instruct"
"""Of the published figures."""
Rows = list[tuple[str, float]]
"""Prompts with a figure of each."""


@dataclass(frozen=True)
class GenEval2Settings(Description):
    """The keys of ``geneval2``.

    Attributes:
        results: a file of scores, JSON lines; with images= it is written.
        images: the pictures, in one of the layouts that evaluate.py reads, or a .json of prompt and file.
        benchmark: your copy of geneval2_data.jsonl.
        model: an image-text model of transformers; with url=, as the server calls it.
        url: of an OpenAI-compatible server (vLLM, SGLang), up to /v1, that returns the probabilities of tokens.
        key_variable: the environment variable that holds the server's API key.
        device: what computes.
    """

    results: str
    images: Path | None = None
    benchmark: Path | None = None
    model: Name = MODEL
    url: Name | None = None
    key_variable: Name | None = None
    device: Name = "cpu"

    def check(self) -> None:
        """See ``Description.check``."""
        if self.images is None:
            if self.benchmark is not None:
                raise FieldError("benchmark", self.benchmark, "images=DIR is needed too")
            return
        if self.benchmark is None:
            license = "CC BY-NC 4.0, facebookresearch/GenEval2"
            raise FieldError("benchmark", None, f"your copy of geneval2_data.jsonl ({license}) is needed")
        check_new(Path(self.results), "results")
        if self.url is not None:
            check_address(self.url)
        elif self.key_variable is not None:
            raise FieldError("key_variable", self.key_variable, "url=ADDRESS is needed too")
        else:
            check_source(self.model, "model", ["config.json"])


@dataclass(frozen=True)
class GenEval2:
    """What ``summary`` returns; every figure is 100 times a mean, with its 95 % interval over prompts.

    Attributes:
        gm: geometric means of the pictures' questions.
        am: their arithmetic means.
        skills: over the questions of each skill.
        atom_counts: ``gm`` of the prompts that ask for so many things.
        prompts: how many prompts have a picture.
        missing: prompts of the list without a picture.
        model: the model that answered, as named in the records.
    """

    gm: Mean
    am: Mean
    skills: dict[str, Mean]
    atom_counts: dict[int, Mean]
    prompts: int
    missing: int
    model: Mapping[str, Any]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file that ``npnet geneval2`` wrote.

    Raises:
        UserError: the file does not exist, a line is not such a record, or the file holds two models.
    """
    return read_records(path, f"geneval2: {path}", _fault, ["model", "benchmark"])


def _fault(record: Any) -> str | None:
    return None if _is_record(record) else "is no record of npnet geneval2"


def _is_record(record: Any) -> bool:
    kinds = {"prompt": str, "atom_count": int, "skills": list, "scores": list, "model": dict, "benchmark": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
        return False
    scores, named = record["scores"], isinstance(record["benchmark"].get("prompts"), int)
    right = all(type(score) in (int, float) and 0 <= score <= 1 for score in scores)
    return bool(scores) and right and named and len(scores) == len(record["skills"])


def summary(records: Sequence[Mapping[str, Any]]) -> GenEval2:
    """Return the figures of records; see ``read``."""
    prompts = [record["prompt"] for record in records]
    am = [100 * float(np.mean(record["scores"])) for record in records]
    gm = [100 * geometric_mean(record["scores"]) for record in records]
    skills: defaultdict[str, Rows] = defaultdict(list)
    atom_counts: defaultdict[int, Rows] = defaultdict(list)
    for record, geometric in zip(records, gm, strict=True):
        atom_counts[record["atom_count"]].append((record["prompt"], geometric))
        for skill, score in zip(record["skills"], record["scores"], strict=True):
            skills[skill].append((record["prompt"], 100 * score))
    number = len(set(prompts))
    return GenEval2(
        gm=means(gm, prompts)[0],
        am=means(am, prompts)[0],
        skills={name: _mean(skills[name]) for name in sorted(skills)},
        atom_counts={count: _mean(atom_counts[count]) for count in sorted(atom_counts)},
        prompts=number,
        missing=max(records[0]["benchmark"]["prompts"] - number, 0),
        model=records[0]["model"],
    )


def _mean(rows: Rows) -> Mean:
    return means([score for _, score in rows], [prompt for prompt, _ in rows])[0]


def geometric_mean(scores: Sequence[float]) -> float:
    """Return the geometric mean; 0 where a score is 0."""
    return math.exp(sum(map(math.log, scores)) / len(scores)) if all(scores) else 0.0


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``read`` and ``npnet.metrics.runtime.geneval2.run``.
    """
    settings = asked(GenEval2Settings, arguments, "geneval2", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    settings.check()
    if settings.images is not None:
        imported("npnet.metrics.runtime.geneval2:run")(settings)
    result = summary(read(Path(settings.results)))
    lines = {f"skill {name}": mean for name, mean in result.skills.items()}
    lines |= {f"{count} atoms (GM)": mean for count, mean in result.atom_counts.items()}
    for name, mean in (lines | {"Soft-TIFA AM": result.am, "Soft-TIFA GM": result.gm}).items():
        low, high = mean.interval
        print(f"{name:<20} {mean.mean:6.2f}  [{low:.2f}, {high:.2f}]  ({mean.count})")
    missing = f"; not the published score: {result.missing} have no picture" if result.missing else ""
    print(f"{result.prompts} prompts, 95 % confidence intervals over prompts{missing}")
    sha256 = result.model.get("sha256")
    which = f"SHA-256 {str(sha256)[:16]}" if sha256 else "as its server calls it"
    made_by = f"{result.model.get('name')}, {which}"
    print(f"answered by {made_by}; published figures are by {MODEL}")
    return 0


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
