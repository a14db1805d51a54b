"""Object detectors of transformers: instance segmentation (Mask2Former), and boxes alone (DETR's family)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection, AutoModelForUniversalSegmentation

from npnet.data.tensors import fingerprint
from npnet.errors import FieldError, reworded
from npnet.metrics.geneval_rules import CONFIDENCE, Found
from npnet.metrics.runtime.image_text import require_whole

CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, computer mouse,
tv remote, computer keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
teddy bear, hair drier, toothbrush
"""
"""COCO's 80 classes by GenEval's names."""
NAMES = tuple(name.strip() for name in CLASSES.replace("\n", " ").split(","))
ALIASES = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""What detectors call some of them."""


class Detector:
    """A detector, ready and frozen.

    Attributes:
        source: where it came from.
        kind: the class of its model.
        sha256: of its weights.
        names: GenEval's name of each of its labels that has one.
    """

    def __init__(self, source: str, device: torch.device | str = "cpu") -> None:
        with reworded(Exception, partial(FieldError, "detector", source), "not a detector of transformers: "):
            config = AutoConfig.from_pretrained(source)
            kinds: list[Any] = [AutoModelForUniversalSegmentation, AutoModelForObjectDetection]
            kind = next((kind for kind in kinds if type(config) in kind._model_mapping), None)
            if kind is None:
                raise ValueError(f"{config.model_type} detects no objects")
            loaded: Any = kind.from_pretrained(source, output_loading_info=True)
            self.processor: Any = AutoImageProcessor.from_pretrained(source)
        model, report = loaded
        require_whole(report, "detector", source)
        self.source, self.kind, self.sha256 = source, type(model).__name__, fingerprint(model.state_dict())
        self.model = model.to(device).eval().requires_grad_(False)
        labels = {int(label): _name(name) for label, name in model.config.id2label.items()}
        self.names = {label: name for label, name in labels.items() if name is not None}

    @torch.no_grad()
    def __call__(self, picture: Image) -> dict[str, list[Found]]:
        """Return what is in an RGB picture above ``CONFIDENCE``, by GenEval's names."""
        inputs = self.processor(images=picture, return_tensors="pt").to(self.model.device)
        outputs = self.model(**inputs)
        size = (picture.height, picture.width)
        found: dict[str, list[Found]] = {}
        for label, one in (
            self._masked(outputs, size) if hasattr(outputs, "masks_queries_logits") else self._boxed(outputs, size)
        ):
            if label in self.names:
                found.setdefault(self.names[label], []).append(one)
        return found

    def _masked(self, outputs: Any, size: tuple[int, int]) -> list[tuple[int, Found]]:
        options = {"threshold": CONFIDENCE, "target_sizes": [size], "return_binary_maps": True}
        (result,) = self.processor.post_process_instance_segmentation(outputs, **options)
        found = []
        for mask, segment in zip(result["segmentation"], result["segments_info"], strict=False):
            inside = mask.bool().cpu()
            rows, columns = (torch.nonzero(inside.any(axis)).flatten() for axis in (1, 0))
            box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
            found.append((int(segment["label_id"]), Found(float(segment["score"]), box, inside.numpy())))
        return found

    def _boxed(self, outputs: Any, size: tuple[int, int]) -> list[tuple[int, Found]]:
        options = {"threshold": CONFIDENCE, "target_sizes": torch.tensor([size])}
        (result,) = self.processor.post_process_object_detection(outputs, **options)
        boxes = [tuple(box) for box in result["boxes"].tolist()]
        rows = zip(result["labels"].tolist(), result["scores"].tolist(), boxes, strict=True)
        return [(label, Found(score, box)) for label, score, box in rows]


def _name(label: str) -> str | None:
    name = label.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in NAMES else None
