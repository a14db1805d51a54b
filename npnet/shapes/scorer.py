"""The scorer: a learned measure of how well a picture shows its prompt, used to select noises.

It takes the place of a preference model. It is trained separately, on drawn scenes of *all* prompts, with the held-out
ones, which only the generator never sees. It shares no weights with the judge or the text encoders.
"""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from npnet.shapes import IMAGE_SIZE
from npnet.shapes.grammar import COLOURS, RELATIONS, SHAPES, Scene, parse_each
from npnet.shapes.towers import ImageTower

__all__ = ["ShapesScorer"]

PARTS = (COLOURS, SHAPES, RELATIONS, COLOURS, SHAPES)
STARTS = tuple(accumulate(map(len, PARTS[:-1]), initial=0))
"""Where each part's code begins."""


class ShapesScorer(nn.Module):
    """Dual encoder of pictures and scenes; a score is the cosine of the two, in [-1, 1], higher is better.

    Args:
        widths: channels of the image tower, one halving of the picture for each.
        hidden: width of the scene encoder.
        dimension: length of the common embedding.
    """

    def __init__(self, widths: Sequence[int] = (48, 96, 160), hidden: int = 256, dimension: int = 128) -> None:
        super().__init__()
        self.config = {"widths": list(widths), "hidden": hidden, "dimension": dimension}
        self.images = ImageTower(tuple(widths), dimension)
        self.scenes = nn.Sequential(
            nn.Linear(sum(map(len, PARTS)), hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, dimension),
        )

    def embed_scenes(self, scenes: Sequence[Scene]) -> Tensor:
        """Return (B, dimension) of unit length; prompts of the same meaning embed alike."""
        return F.normalize(self.scenes(encode_scenes(scenes).to(next(self.parameters()).device)), dim=-1)

    def embed_images(self, images: Tensor) -> Tensor:
        """Return (B, dimension) of unit length, from pictures (B, 3, H, W) in [0, 1] of any size."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"the scorer reads pictures (B, 3, H, W), got {tuple(images.shape)}")
        if images.shape[2:] != (IMAGE_SIZE, IMAGE_SIZE):
            size = (IMAGE_SIZE, IMAGE_SIZE)
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        return self.images(images)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return how well each picture shows its prompt; differentiable in the pictures.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; resized to 32 x 32 where needed.
            prompts: B prompts of the grammar.

        Returns:
            (B,) float32 in [-1, 1].

        Raises:
            ValueError: a prompt is not of the grammar, or the shapes do not fit.
        """
        return (self.embed_images(images) * self.embed_scenes(parse_each(prompts, len(images)))).sum(-1)

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        tensors = {name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")

    @classmethod
    def from_directory(cls, folder: str | Path) -> "ShapesScorer":
        """Read what ``save`` wrote, as float32, ready for scoring: no gradients to its weights.

        Raises:
            FileNotFoundError: the folder holds no scorer.
        """
        folder = Path(folder)
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError(f"no Shapes scorer in {folder}: expected config.json and model.safetensors")
        scorer = cls(**json.loads((folder / "config.json").read_text()))
        scorer.load_state_dict(
            {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        )
        return scorer.eval().requires_grad_(False)


def encode_scenes(scenes: Sequence[Scene]) -> Tensor:
    """Return one-hot codes (B, 24) of the scenes' meanings, part by part."""
    rows = []
    for scene in scenes:
        told = scene.meaning()
        values = (told.colour, told.shape, told.relation, told.other_colour, told.other_shape)
        rows.append([start + part.index(value) for start, part, value in zip(STARTS, PARTS, values, strict=True)])
    return torch.zeros(len(rows), sum(map(len, PARTS))).scatter_(1, torch.tensor(rows).reshape(-1, len(PARTS)), 1.0)
