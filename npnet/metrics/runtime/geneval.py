"""GenEval in this process: a detector of transformers, CLIP for colours, and the published rules.

The published figures come from another detector, Mask2Former of MMDetection, which finds other objects at the same
confidence. So the records name their detector.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from PIL import Image as Images
from PIL.Image import Image

from npnet.data.checksums import file_sha256
from npnet.data.json_lines import read_json_lines, write_json_lines
from npnet.data.tensors import fingerprint
from npnet.errors import FieldError, UserError
from npnet.metrics.geneval import GenEvalSettings
from npnet.metrics.geneval_rules import COLOURS, Found, Task, counted, faults, read_task
from npnet.metrics.runtime.clip import load_clip
from npnet.metrics.runtime.detector import Detector
from npnet.metrics.runtime.pixels import Preprocess
from npnet.pictures.layout import find_pictures
from npnet.pictures.opener import open_picture, picture_files
from npnet.work.devices import resolve_device

TEMPLATES = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")
REPORTED = 100
"""Pictures between two messages."""
GRAY = "#999"
"""Around an object, while its colour is read."""


class ColourReader:
    """CLIP as a classifier of the ``COLOURS`` of objects, with the published prompts, whose embeddings are averaged."""

    def __init__(self, source: str, device: torch.device | str = "cpu") -> None:
        self.trunk = load_clip(source, device, "clip")
        self.sha256 = fingerprint(self.trunk.model.state_dict())
        self.preprocess = Preprocess(self.trunk.image_size)

    @torch.no_grad()
    def __call__(self, picture: Image, name: str, objects: Sequence[Found]) -> list[str]:
        """Return the colour of each object of a class."""
        words = [template.format(colour, name) for colour in COLOURS for template in TEMPLATES]
        texts = self.trunk.embed_texts(words, set()).unflatten(0, (len(COLOURS), len(TEMPLATES)))
        pictures = self.trunk.embed_images(self.preprocess.pil([cut_out(picture, one) for one in objects]))
        return [COLOURS[index] for index in (pictures @ F.normalize(texts.mean(1), dim=-1).T).argmax(-1).tolist()]


def run(settings: GenEvalSettings) -> None:
    """Judge the pictures of ``settings.images`` and write ``settings.results``; a killed run resumes.

    Raises:
        UserError: see ``find_tasks``, ``check_labels``, ``judged`` and ``write_json_lines``.
    """
    assert settings.images is not None
    tasks = find_tasks(settings.images, settings.metadata)
    device = resolve_device(settings.device)
    detector, colours = Detector(settings.detector, device), ColourReader(settings.clip, device)
    made_by = check_labels(tasks, detector, colours)
    pictures = [[str(path), file_sha256(path), task.record] for path, task in tasks]
    request = {"detector": made_by, "pictures": pictures}
    judge = partial(judged, detector=detector, colours=colours, made_by=made_by)
    write_json_lines(Path(settings.results), request, tasks, judge, REPORTED)


def cut_out(picture: Image, one: Found) -> Image:
    """Return the picture inside an object's box, gray where its mask is not."""
    if one.mask is not None:
        gray = Images.new("RGB", picture.size, GRAY)
        picture = Images.composite(picture, gray, Images.fromarray(one.mask))
    left, top, right, bottom = (round(value) for value in one.box)
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def find_tasks(images: Path, metadata: Path | None) -> list[tuple[Path, Task]]:
    """Return every picture with its task.

    Args:
        images: a folder in GenEval's layout; with ``metadata``, whatever ``npnet.pictures.layout`` reads.
        metadata: GenEval's ``evaluation_metadata.jsonl``.

    Raises:
        UserError: nothing is there, a task is none of GenEval's, or pictures and prompts do not match.
    """
    found = list(_laid_out(images) if metadata is None else _matched(images, metadata))
    if not found:
        hint = "" if metadata is not None else "; metadata=FILE says the tasks of pictures in another layout"
        raise UserError(f"images={images}: no folder NUMBER/metadata.jsonl with pictures in NUMBER/samples{hint}")
    return found


def _laid_out(images: Path) -> Iterator[tuple[Path, Task]]:
    for file in sorted(images.glob("*/metadata.jsonl")):
        record = next((record for _, record in read_json_lines(file, f"images={file}")), None)
        task = read_task(record, f"images={file}")
        yield from ((path, task) for path in picture_files(file.parent / "samples"))


def _matched(images: Path, metadata: Path) -> Iterator[tuple[Path, Task]]:
    tasks: dict[str, Task] = {}
    prompts = []
    for number, record in read_json_lines(metadata, f"metadata={metadata}"):
        task = read_task(record, f"metadata={metadata}: line {number}")
        if tasks.setdefault(task.prompt, task).record != task.record:
            raise UserError(f"metadata={metadata}: line {number}: another task has the prompt {task.prompt!r} too")
        prompts.append(task.prompt)
    for picture in find_pictures(images, lambda: prompts):
        if picture.prompt not in tasks:
            raise UserError(f"metadata={metadata}: has no task for {picture.path} ({picture.prompt!r})")
        yield picture.path, tasks[picture.prompt]


def check_labels(tasks: Sequence[tuple[Path, Task]], detector: Detector, colours: ColourReader) -> dict[str, Any]:
    """Return what names the detector in the records.

    Raises:
        FieldError: of ``detector``: it has no label for a class that a task names.
    """
    lacking = sorted(set().union(*(task.names() for _, task in tasks)) - set(detector.names.values()))
    if lacking:
        raise FieldError("detector", detector.source, f"has no label for {', '.join(lacking[:5])}")
    return {
        "name": detector.source,
        "class": detector.kind,
        "sha256": detector.sha256,
        "clip_sha256": colours.sha256,
        "transformers": transformers.__version__,
    }


def judged(
    pictured: tuple[Path, Task], detector: Detector, colours: ColourReader, made_by: dict[str, Any]
) -> dict[str, Any]:
    """Judge a picture; the record has the form of the published detector's file, and names the detector.

    Raises:
        PictureError: a file is no picture.
    """
    path, task = pictured
    picture = open_picture(path, f"images: {path}", upright=True)
    found = counted(detector(picture), task.tag)
    wrong = faults(task, found, partial(colours, picture))
    boxes = {name: [[*one.box, one.score] for one in objects] for name, objects in found.items()}
    return {
        "filename": str(path),
        "tag": task.tag,
        "prompt": task.prompt,
        "correct": not wrong,
        "reason": "\n".join(wrong),
        "metadata": json.dumps(task.record),
        "details": json.dumps(boxes),
        "detector": made_by,
    }
