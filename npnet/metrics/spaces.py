"""Spaces of features, which measure how different the pictures of one prompt are; these descriptions need no torch.

A space turns a picture into numbers, and ``diversity`` compares these numbers. Each space has its own scale, so every
figure names its space. ``runtime.features`` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from npnet.bounds import Positive
from npnet.description import Description, load_each
from npnet.fields import Name
from npnet.weights.files import WEIGHTS, is_smoke
from npnet.weights.sources import check_source

if TYPE_CHECKING:
    import torch

    from npnet.metrics.runtime.space import LoadedSpace


@dataclass(frozen=True)
class FeatureSpace(Description):
    """The description of a space of features; a new one also has a runtime, and a YAML in ``conf/diversity/``."""

    domain: ClassVar[str] = "any"
    """The backbones whose pictures it reads: ``any``, or the ``domain`` that a backbone states."""
    has_weights: ClassVar[bool] = False
    """A model is loaded: it is computed only where some prompt has several pictures."""
    unit: ClassVar[str] = ""
    """Of a distance; texts without a unit are pure numbers."""

    @property
    def kernel_width(self) -> float | None:
        """The width of the Gaussian kernel of the Vendi score; None uses the cosine of two features."""
        return None

    def is_smoke(self) -> bool:
        """Say whether the weights are random, made for a test."""
        return False

    def load(self, device: torch.device | str = "cpu") -> LoadedSpace:
        """Load the model that computes the features onto ``device``.

        Raises:
            UserError: files are missing or damaged, or do not fit.
        """
        return self.runtime_class()(self, device)


@dataclass(frozen=True)
class Pixels(FeatureSpace):
    """Mean colours of a 16 x 16 grid; a distance is the root of the mean squared difference, in [0, 1].

    Args:
        width: of the Vendi score's Gaussian kernel. 0.1 is our choice, near the median distance of two pictures of
            standard noise on the built-in model.
    """

    runtime = "npnet.metrics.runtime.features:PixelSpace"

    width: Positive = 0.1

    @property
    def kernel_width(self) -> float:
        """See ``FeatureSpace.kernel_width``."""
        return self.width


@dataclass(frozen=True)
class PretrainedSpace(FeatureSpace):
    """A space of a published model, named by the default of ``path`` (a local folder or hub id)."""

    has_weights = True

    path: Name

    def is_smoke(self) -> bool:
        """See ``FeatureSpace.is_smoke``."""
        return is_smoke(self.path)

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", WEIGHTS)


@dataclass(frozen=True)
class CLIPImages(PretrainedSpace):
    """CLIP's embedding of the picture, of unit length. It depends more on what is shown than on how.

    Args:
        path: local folder or hub id; the default is the model of ``clipscore``, and both then share it.
    """

    runtime = "npnet.metrics.runtime.features:CLIPSpace"

    path: Name = "openai/clip-vit-base-patch32"


@dataclass(frozen=True)
class DINOv2(PretrainedSpace):
    """DINOv2's class token of the picture (Oquab et al. 2023, arXiv 2304.07193), of unit length.

    It was trained without texts, so pose, place and texture count as well as content. Pictures: shortest side to 224 by
    a bicubic filter, then the middle square. (The transform of the authors cuts an eighth off.)

    Args:
        path: local folder or hub id.
    """

    runtime = "npnet.metrics.runtime.features:DINOv2Space"

    path: Name = "facebook/dinov2-base"


def load_spaces(spaces: Mapping[str, FeatureSpace], device: torch.device | str) -> dict[str, LoadedSpace]:
    """Load each space, by its label.

    Raises:
        UserError: names the label, the key, and what is wrong.
    """
    return load_each("diversity", spaces, device)
