"""GenEval 2's questions about each picture, answered by an image-text model of transformers or by a server."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Images
from PIL.Image import Image

from npnet.data.checksums import file_sha256
from npnet.data.json_lines import write_json_lines
from npnet.data.tensors import fingerprint
from npnet.errors import UserError, reworded
from npnet.metrics.geneval2 import GenEval2Settings
from npnet.metrics.geneval2_questions import Item, answers, read_benchmark
from npnet.metrics.runtime.chat_server import ChatServer
from npnet.metrics.runtime.image_text import answer_logits, load_image_text
from npnet.pictures.layout import find_pictures
from npnet.pictures.opener import open_picture
from npnet.untrusted import read_json
from npnet.work.devices import resolve_device

ASKED = "{} Answer in one word."
"""How the published code asks a question."""
REPORTED = 20
"""Pictures between two messages."""
LIKELIEST = 20
"""Tokens whose probabilities a server is asked for: the most that OpenAI's interface allows."""
PARALLEL = 8
"""Questions that a server is asked at once."""


class Answerer:
    """A model that gives the probability of an answer's first token.

    Attributes:
        made_by: its name, class and the SHA-256 of its weights.
    """

    def __init__(self, source: str, device: torch.device) -> None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.model, self.processor = load_image_text(source, dtype, "model")
        sha256 = fingerprint(self.model.state_dict())
        self.made_by = {"name": source, "class": type(self.model).__name__, "sha256": sha256}
        self.model.to(device)

    @torch.no_grad()
    def __call__(self, picture: Image, question: str, spellings: Sequence[str]) -> float:
        """Return the summed probabilities of the first tokens of an answer's spellings, each token once."""
        tokenize = self.processor.tokenizer
        first = {tokenize(text, add_special_tokens=False)["input_ids"][0] for text in spellings}
        target = torch.tensor([[min(first)]], device=self.model.device)
        logits = answer_logits(self.model, self.processor, picture, ASKED.format(question), target)
        return min(float(logits[0, 0].float().softmax(-1)[sorted(first)].sum()), 1.0)


class ServedAnswerer:
    """A model behind an OpenAI-compatible address, which returns its likeliest first tokens.

    An answer that is not among the ``LIKELIEST`` has a probability of 0 here.

    Attributes:
        made_by: its name by the server's own word, and the SHA-256 of how it is asked.

    Raises:
        FieldError, UserError: see ``ChatServer``; the server tells no probabilities.
    """

    def __init__(self, url: str, model: str, key_variable: str | None) -> None:
        self.server = ChatServer(url, model, key_variable)
        self(Images.new("RGB", (64, 64)), "Is there a cat?", ("Yes",))
        self.made_by = {"name": self.server.answered_by.pop(), "class": "OpenAI-compatible server"}
        self.made_by["question_sha256"] = hashlib.sha256(ASKED.encode()).hexdigest()

    def __call__(self, picture: Image, question: str, spellings: Sequence[str]) -> float:
        """Return the summed probabilities of the tokens that are a spelling of the answer."""
        asked = {"max_tokens": 1, "logprobs": True, "top_logprobs": LIKELIEST}
        choice = self.server.ask(picture, ASKED.format(question), **asked)
        try:
            tokens = choice["logprobs"]["content"][0]["top_logprobs"]
            chances = {str(each["token"]): math.exp(each["logprob"]) for each in tokens}
        except (KeyError, IndexError, TypeError):
            raise self.server.refused("it gave no probabilities of tokens (logprobs), which GenEval 2 needs") from None
        likeliest = max(chances, key=chances.__getitem__, default="")
        if likeliest.lstrip().startswith("<"):
            raise self.server.refused(f"the answer begins with {likeliest!r}; a model that answers at once is needed")
        return min(sum(chances[token] for token in chances.keys() & set(spellings)), 1.0)


def run(settings: GenEval2Settings) -> None:
    """Score the pictures of ``settings.images`` and write ``settings.results``; a killed run resumes.

    Raises:
        UserError: the list, the pictures or the model cannot be used; see ``write_json_lines``.
    """
    assert settings.images is not None and settings.benchmark is not None
    items = read_benchmark(settings.benchmark)
    pictures = find(settings.images, items)
    answerer: Any = (
        Answerer(settings.model, resolve_device(settings.device))
        if settings.url is None
        else ServedAnswerer(settings.url, settings.model, settings.key_variable)
    )
    benchmark = {"sha256": file_sha256(settings.benchmark), "prompts": len(items)}
    with reworded(OSError, UserError, f"images={settings.images}: "):
        files = [[str(path), file_sha256(path), item.prompt] for path, item in pictures]
    request = {"model": answerer.made_by, "benchmark": benchmark, "pictures": files}
    with ThreadPoolExecutor(PARALLEL if settings.url else 1) as threads:
        score = partial(scored, answerer=answerer, benchmark=benchmark, threads=threads)
        write_json_lines(Path(settings.results), request, pictures, score, REPORTED)


def find(images: Path, items: Mapping[str, Item]) -> list[tuple[Path, Item]]:
    """Return every picture with its item.

    Args:
        images: a ``.json`` file of prompt and picture, as the published code reads, or see ``npnet.pictures.layout``.
        items: by prompt.

    Raises:
        UserError: nothing is there, or a picture's prompt is not in the list.
    """
    if images.suffix == ".json":
        table = read_json(images)
        if not isinstance(table, dict) or not all(isinstance(path, str) for path in table.values()):
            raise UserError(f"images={images}: an object of prompts and the files of their pictures is needed")
        found = [(images.parent / path, prompt) for prompt, path in table.items()]
    else:
        found = [(picture.path, picture.prompt) for picture in find_pictures(images, lambda: list(items))]
    for path, prompt in found:
        if prompt not in items:
            raise UserError(f"images={images}: {path}: the prompt {prompt!r} is not in the list")
    if not found:
        raise UserError(f"images={images}: holds no picture")
    return [(path, items[prompt]) for path, prompt in found]


def scored(
    pictured: tuple[Path, Item], answerer: Any, benchmark: Mapping[str, Any], threads: ThreadPoolExecutor
) -> dict[str, Any]:
    """Ask a picture its questions and return its record.

    Raises:
        PictureError: the file is no picture.
    """
    path, item = pictured
    picture = open_picture(path, f"images: {path}", upright=True)
    chances = threads.map(lambda asked: answerer(picture, asked[0], answers(*asked)), item.questions)
    return {
        "filename": str(path),
        "prompt": item.prompt,
        "atom_count": item.atom_count,
        "skills": list(item.skills),
        "scores": list(chances),
        "model": answerer.made_by,
        "benchmark": benchmark,
    }
