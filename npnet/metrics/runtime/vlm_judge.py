"""The scorer of ``npnet.metrics.vlm_judge``, which asks the server about each picture."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from npnet.errors import one_line
from npnet.metrics.runtime.base import Scorer
from npnet.metrics.runtime.chat_server import ChatServer
from npnet.metrics.vlm_judge import VLMJudge


class VLMJudgeScorer(Scorer):
    """Asks for a number.

    Raises:
        FieldError, UserError: see ``ChatServer``.
    """

    def __init__(self, metric: VLMJudge, device: torch.device | str = "cpu") -> None:
        super().__init__(metric, device)
        self.judge = metric
        self.server = ChatServer(metric.url, metric.model, metric.key_variable, metric.timeout_seconds, metric.attempts)

    def remarks(self) -> list[str]:
        """See ``Scorer.remarks``: the model, as the server names it, and the question."""
        models = ", ".join(sorted(self.server.answered_by)) or self.judge.model
        return [f"judged by {models}; SHA-256 of the question: {self.judge.question_sha256}"]

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._score_pil([to_pil_image(image) for image in images.detach().float().clamp(0, 1).cpu()], prompts)

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        with ThreadPoolExecutor(self.judge.parallel) as threads:
            return torch.tensor(list(threads.map(self._ask, pictures, prompts)), dtype=torch.float32)

    def _ask(self, picture: Image, prompt: str) -> float:
        reply = self.server.ask(picture, self.judge.question.replace("{}", prompt))["message"]["content"]
        number = self.judge.number_of(reply) if isinstance(reply, str) else None
        if number is None:
            limits = f"a number from 0 to {self.judge.highest:g} is needed"
            raise self.server.refused(f"the model answered {one_line(reply)[:100]!r}; {limits}")
        return number
