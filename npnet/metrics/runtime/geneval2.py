"""GenEval 2's questions, asked of an image-text model of transformers, picture by picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from npnet.data.checksums import file_sha256
from npnet.data.json_lines import write_json_lines
from npnet.data.tensors import fingerprint
from npnet.errors import UserError
from npnet.metrics.geneval2 import GenEval2Settings
from npnet.metrics.geneval2_questions import Item, answers, read_benchmark
from npnet.metrics.runtime.image_text import answer_logits, load_image_text
from npnet.pictures.layout import find_pictures
from npnet.pictures.opener import open_picture
from npnet.untrusted import read_json
from npnet.work.devices import resolve_device

ASKED = "{} Answer in one word."
"""How the published code asks a question."""
REPORTED = 20
"""Pictures between two messages."""


class Answerer:
    """A model, asked for the probability of an answer's first token.

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


def run(settings: GenEval2Settings) -> None:
    """Score the pictures of ``settings.images`` and write ``settings.results``, whole or not at all.

    Raises:
        UserError: the list, the pictures or the model cannot be used.
    """
    assert settings.images is not None and settings.benchmark is not None
    items = read_benchmark(settings.benchmark)
    pictures = find(settings.images, items)
    device = resolve_device(settings.device)
    benchmark = {"sha256": file_sha256(settings.benchmark), "prompts": len(items)}
    scored = (record | {"benchmark": benchmark} for record in score(pictures, Answerer(settings.model, device)))
    write_json_lines(Path(settings.results), scored, len(pictures), REPORTED)


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


def score(pictures: Sequence[tuple[Path, Item]], answerer: Any) -> Iterator[dict[str, Any]]:
    """Ask every picture its questions; one record a picture.

    Raises:
        PictureError: a file is no picture.
    """
    for path, item in pictures:
        picture = open_picture(path, f"images: {path}", upright=True)
        yield {
            "filename": str(path),
            "prompt": item.prompt,
            "atom_count": item.atom_count,
            "skills": list(item.skills),
            "scores": [answerer(picture, question, answers(question, answer)) for question, answer in item.questions],
            "model": answerer.made_by,
        }
