"""The scorer of ``npnet.metrics.vlm_judge``: asks the server, picture by picture."""

from __future__ import annotations

import base64
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from npnet.errors import FieldError, UserError, one_line
from npnet.metrics.runtime.base import Scorer
from npnet.metrics.vlm_judge import VLMJudge
from npnet.untrusted import parse_json

BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP answers that ask for another attempt."""


class VLMJudgeScorer(Scorer):
    """Asks for a number, and remembers which model the server says that it is.

    Raises:
        FieldError: the environment variable of the key is not set.
        UserError: the address cannot be reached, which is seen before a picture is made.
    """

    def __init__(self, metric: VLMJudge, device: torch.device | str = "cpu") -> None:
        super().__init__(metric, device)
        self.judge, self.answered_by = metric, set[str]()
        key = None if metric.key_variable is None else os.environ.get(metric.key_variable)
        if metric.key_variable is not None and not key:
            raise FieldError("key_variable", metric.key_variable, "this environment variable is not set")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._reach()

    def remarks(self) -> list[str]:
        """See ``Scorer.remarks``: the model by the server's own word, and the question."""
        models = ", ".join(sorted(self.answered_by)) or self.judge.model
        return [f"judged by {models}; SHA-256 of the question: {self.judge.question_sha256}"]

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._score_pil([to_pil_image(image) for image in images.detach().float().clamp(0, 1).cpu()], prompts)

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        with ThreadPoolExecutor(self.judge.parallel) as threads:
            return torch.tensor(list(threads.map(self._ask, pictures, prompts)), dtype=torch.float32)

    def _ask(self, picture: Image, prompt: str) -> float:
        file = io.BytesIO()
        picture.save(file, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        parts = [
            {"type": "image_url", "image_url": {"url": address}},
            {"type": "text", "text": self.judge.question.replace("{}", prompt)},
        ]
        asked = {
            "model": self.judge.model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0,
            "seed": 0,
        }
        answer = self._post(json.dumps(asked).encode())
        try:
            reply = answer["choices"][0]["message"]["content"]
            number = self.judge.number_of(reply)
        except (KeyError, IndexError, TypeError):
            raise self._refused("the answer is not of the OpenAI form") from None
        if number is None:
            limits = f"a number from 0 to {self.judge.highest:g} is needed"
            raise self._refused(f"the model answered {one_line(reply)[:100]!r}; {limits}")
        self.answered_by.add(str(answer.get("model") or self.judge.model))
        return number

    def _reach(self) -> None:
        request = urllib.request.Request(f"{self.judge.url.rstrip('/')}/models", headers=self._headers)
        for attempt in range(self.judge.attempts):
            try:
                urllib.request.urlopen(request, timeout=self.judge.timeout_seconds).close()
            except urllib.error.HTTPError:
                return  # not every server lists its models, but one is there
            except OSError as error:
                if attempt + 1 == self.judge.attempts:
                    raise self._refused(f"cannot be reached: {one_line(error)}") from error
                time.sleep(2.0**attempt)
            else:
                return

    def _post(self, body: bytes) -> Any:
        request = urllib.request.Request(f"{self.judge.url.rstrip('/')}/chat/completions", body, self._headers)
        for attempt in range(self.judge.attempts):
            last = attempt + 1 == self.judge.attempts
            try:
                with urllib.request.urlopen(request, timeout=self.judge.timeout_seconds) as answer:
                    return parse_json(answer.read())
            except urllib.error.HTTPError as error:
                if last or error.code not in BUSY:
                    said = one_line(error.read(300).decode(errors="replace"))
                    raise self._refused(f"HTTP {error.code}: {said}") from error
            except OSError as error:
                if last:
                    raise self._refused(f"cannot be reached: {one_line(error)}") from error
            except ValueError as error:
                raise self._refused(f"the answer is no JSON: {one_line(error)[:100]}") from error
            time.sleep(2.0**attempt)
        raise AssertionError("an attempt returns or raises")

    def _refused(self, reason: str) -> UserError:
        return UserError(f"the judge at {self.judge.url}: {reason}")
