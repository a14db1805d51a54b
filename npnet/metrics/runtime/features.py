"""The runtimes of ``npnet.metrics.spaces``: they compute features of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from npnet.metrics.runtime.clip import half_on_gpu, load_clip
from npnet.metrics.runtime.pixels import Preprocess
from npnet.metrics.runtime.space import LoadedSpace
from npnet.metrics.spaces import CLIPImages, DINOv2
from npnet.weights.files import WEIGHTS
from npnet.weights.sources import read_config
from npnet.weights.tensors import build_empty, load_strict, read_state, require_loaded

GRID = 16
"""Places in each direction whose mean colours ``PixelSpace`` reads."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINOV2_SIZE = 224


class PixelSpace(LoadedSpace):
    """Mean colours of a grid, such that a distance is the root of the mean squared difference of values."""

    def features(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See ``LoadedSpace.features``: differentiable."""
        colours = F.adaptive_avg_pool2d(images.float(), GRID).flatten(1)
        return colours / colours.shape[1] ** 0.5


class CLIPSpace(LoadedSpace):
    """CLIP's projected embedding; one trunk with the metrics that name the same checkpoint."""

    def __init__(self, space: CLIPImages, device: torch.device | str = "cpu") -> None:
        super().__init__(space, device)
        self.trunk = load_clip(space.path, device)
        self.preprocess = Preprocess(self.trunk.image_size)

    def features(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See ``LoadedSpace.features``: differentiable, unit length."""
        with half_on_gpu(self.device):
            return self.trunk.embed_images(self.preprocess.tensor(images)).float()


class DINOv2Space(LoadedSpace):
    """DINOv2's class token."""

    def __init__(self, space: DINOv2, device: torch.device | str = "cpu") -> None:
        super().__init__(space, device)
        config = read_config(space.path, "path") or {}
        model: Any = build_empty(lambda: Dinov2Model(Dinov2Config.from_dict(config)))
        load_strict(model, read_state(space.path, WEIGHTS, "path"), "path", space.path)
        require_loaded(model)
        self.model = model.to(device)
        self.preprocess = Preprocess(DINOV2_SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def features(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See ``LoadedSpace.features``: differentiable, unit length."""
        with half_on_gpu(self.device):
            found = self.model(pixel_values=self.preprocess.tensor(images).to(self.device)).pooler_output
        return F.normalize(found.float(), dim=1)
