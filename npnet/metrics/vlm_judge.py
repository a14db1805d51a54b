"""A vision-language model behind an OpenAI-compatible address (vLLM, SGLang, llama.cpp or a hosted one)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from npnet.bounds import Count, Name, Positive, Question
from npnet.errors import FieldError
from npnet.metrics.base import Metric

QUESTION = (
    'How well does this picture show "{}"? Consider every object that is named, how many there are, their colours and '
    "their places. Answer with one number from 0 (nothing of it) to 100 (all of it), and nothing else."
)
NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*\d+)?\s*[.%]?")
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class VLMJudge(Metric):
    """The number that the model answers, from 0 to ``highest``; higher is better. Each picture is one request.

    If the address is on another machine, the pictures are sent there. The model answers at temperature 0, but the
    server decides whether the same picture always gets the same number. Scores of different models or questions cannot
    be compared, so the notes of a run name the model, as the server states it, and the digest of the question.

    Args:
        url: of the API, up to ``/v1``.
        model: as the server calls it.
        question: with the prompt in place of ``{}``; it must ask for one number.
        highest: the largest number that the question allows.
        key_variable: the environment variable that holds the API key; None sends no key.
        parallel: requests in progress at once.
        timeout_seconds: for one answer.
        attempts: to get one answer, where the server is busy or cannot be reached.
    """

    runtime = "npnet.metrics.runtime.vlm_judge:VLMJudgeScorer"

    url: Name = "http://localhost:8000/v1"
    model: Name = "Qwen/Qwen2.5-VL-7B-Instruct"
    question: Question = QUESTION
    highest: Positive = 100.0
    key_variable: Name | None = None
    parallel: Count = 8
    timeout_seconds: Positive = 120.0
    attempts: Count = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_address(self.url)

    @property
    def question_sha256(self) -> str:
        """The digest of the question."""
        return hashlib.sha256(self.question.encode()).hexdigest()

    def number_of(self, reply: str) -> float | None:
        """Return the number in a reply; None where it is something else, or out of bounds."""
        found = NUMBER.fullmatch(THOUGHT.sub("", reply).strip())
        number = float(found[1]) if found else None
        return number if number is not None and number <= self.highest else None


def check_address(url: str) -> None:
    """Refuse an address that cannot be one of an OpenAI-compatible server.

    Raises:
        FieldError: of ``url``.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise FieldError("url", url, "an address http://HOST/v1 or https://HOST/v1 is needed")
