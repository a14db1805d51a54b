"""Pictures of scenes: two shapes drawn from signed distances, antialiased, on a dark ground.

Coordinates are in pixels, x to the right and y down, (0, 0) the upper left corner of the upper left pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from npnet.shapes import IMAGE_SIZE
from npnet.shapes.grammar import COLOURS, RELATIONS, SHAPES, Scene

__all__ = ["AREAS", "PALETTE", "Layout", "coverage", "draw", "place", "render"]

PALETTE = torch.tensor(
    [
        (0.90, 0.12, 0.12),
        (0.12, 0.72, 0.15),
        (0.15, 0.30, 0.95),
        (0.92, 0.85, 0.12),
        (0.70, 0.15, 0.85),
        (0.12, 0.85, 0.90),
    ]
)
"""(6, 3) RGB in [0, 1], in the order of ``COLOURS``; a drawn object departs from it by at most ``COLOUR_JITTER``."""

SQUARE, TRIANGLE, ARM = 0.88, 1.2, 0.34
"""Half side, circumscribed radius and half thickness of an arm, for an object of radius 1 pixel."""

AREAS = torch.tensor([math.pi, 4 * SQUARE**2, 0.75 * math.sqrt(3) * TRIANGLE**2, 8 * ARM - 4 * ARM**2])
"""(4,) area in square pixels of an object of radius 1 pixel, in the order of ``SHAPES``."""

RADII = (4.7, 6.2)
EXTENT = 1.17
"""How far an object reaches from its centre, for radius 1, the tip of a tilted triangle aside."""
MIN_GAP, MAX_GAP, MARGIN, OFF_AXIS = 1.3, 7.0, 1.0, 4.0
TILT = math.radians(8)
COLOUR_JITTER = 0.05
GROUND = (0.04, 0.16)
"""Grey of the ground, drawn for each picture."""


@dataclass(frozen=True)
class Layout:
    """Where and how the two objects of B scenes are drawn.

    ``shapes`` (B, 2) int64 indices into ``SHAPES``; ``centres`` (B, 2, 2) x and y in pixels; ``radii`` (B, 2) pixels;
    ``angles`` (B, 2) radians; ``colours`` (B, 2, 3) RGB in [0, 1]; ``ground`` (B,) grey in [0, 1].
    """

    shapes: Tensor
    centres: Tensor
    radii: Tensor
    angles: Tensor
    colours: Tensor
    ground: Tensor


def place(scenes: Sequence[Scene], generator: torch.Generator) -> Layout:
    """Draw a layout that makes each scene true: clear of one another, inside the picture."""
    count = len(scenes)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    radii = uniform(*RADII, 2)
    span = 2 * EXTENT * radii.sum(1)
    room = IMAGE_SIZE - 2 * MARGIN - span
    gap = MIN_GAP + (room - MIN_GAP).clamp(max=MAX_GAP - MIN_GAP) * torch.rand(count, generator=generator)
    start = MARGIN + (room - gap) * torch.rand(count, generator=generator)

    relation = torch.tensor([RELATIONS.index(scene.relation) for scene in scenes])
    leading = torch.where((relation == 0) | (relation == 2), 0, 1)[:, None]
    rows = torch.arange(count)[:, None]
    order = torch.cat([leading, 1 - leading], 1)
    reach = EXTENT * radii[rows, order]
    along = torch.stack([start + reach[:, 0], start + 2 * reach[:, 0] + gap + reach[:, 1]], 1)
    along = torch.empty_like(along).scatter_(1, order, along)
    across = IMAGE_SIZE / 2 + uniform(-OFF_AXIS, OFF_AXIS, 2)
    horizontal = (relation < 2)[:, None]
    centres = torch.stack([torch.where(horizontal, along, across), torch.where(horizontal, across, along)], -1)

    colour = torch.tensor([[COLOURS.index(scene.colour), COLOURS.index(scene.other_colour)] for scene in scenes])
    colours = (PALETTE[colour] + uniform(-COLOUR_JITTER, COLOUR_JITTER, 2, 3)).clamp(0, 1)
    shapes = torch.tensor([[SHAPES.index(scene.shape), SHAPES.index(scene.other_shape)] for scene in scenes])
    return Layout(shapes, centres, radii, uniform(-TILT, TILT, 2), colours, uniform(*GROUND))


def signed_distance(shape: int, x: Tensor, y: Tensor, radii: Tensor) -> Tensor:
    """Return the distance in pixels to a shape's edge (an index into ``SHAPES``) around the origin, negative inside.

    Exact along straight edges and for the circle; at corners it is the distance to the nearest edge's line, which
    antialiasing cannot tell apart.
    """
    if shape == 0:
        return (x.square() + y.square()).sqrt() - radii
    across, along = x.abs(), y.abs()
    if shape == 1:
        return torch.maximum(across, along) - SQUARE * radii
    if shape == 2:
        return torch.maximum(0.5 * math.sqrt(3) * across - 0.5 * y, y) - 0.5 * TRIANGLE * radii
    upright = torch.maximum(across - ARM * radii, along - radii)
    level = torch.maximum(across - radii, along - ARM * radii)
    return torch.minimum(upright, level)


def coverage(shape: int, x: Tensor, y: Tensor, radii: Tensor, angles: Tensor) -> Tensor:
    """Return the share of each pixel that a shape covers, in [0, 1], all arguments broadcast.

    Args:
        shape: index into ``SHAPES``.
        x: the pixel's centre relative to the shape's own, in pixels to the right.
        y: the same, down.
        radii: pixels.
        angles: radians, clockwise.
    """
    cos, sin = angles.cos(), angles.sin()
    return (0.5 - signed_distance(shape, cos * x + sin * y, cos * y - sin * x, radii)).clamp(0, 1)


def pixel_centres(size: int = IMAGE_SIZE) -> tuple[Tensor, Tensor]:
    """Return the coordinates x and y of every pixel's centre, each (size, size)."""
    steps = torch.arange(size) + 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x, y


def render(layout: Layout) -> Tensor:
    """Draw a layout: (B, 3, 32, 32) float32 RGB in [0, 1]."""
    x, y = pixel_centres()
    cx, cy = layout.centres[..., 0, None, None], layout.centres[..., 1, None, None]
    radii, angles = layout.radii[..., None, None], layout.angles[..., None, None]
    covers = torch.stack([coverage(shape, x - cx, y - cy, radii, angles) for shape in range(len(SHAPES))])
    cover = covers.gather(0, layout.shapes[None, ..., None, None].expand(1, *covers.shape[1:]))[0]
    images = layout.ground[:, None, None, None].expand(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    for index in (0, 1):
        paint = layout.colours[:, index, :, None, None]
        images = torch.lerp(images, paint.expand_as(images), cover[:, index, None].expand_as(images))
    return images


def draw(scenes: Sequence[Scene], generator: torch.Generator) -> Tensor:
    """Draw each scene once, in a layout of its own: (B, 3, 32, 32) float32 RGB in [0, 1]."""
    return render(place(scenes, generator))
