"""The judge: measures colours, shapes and relation in a picture by geometry, without a learned part.

It shares nothing with the scorer or the text encoders, and is only used for reports, never to select a noise. Pixels
that differ from the ground are divided into two objects by place. An object's colour is the nearest hue of the palette,
its shape the template that overlaps it most, and the relation is that of the two centres.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from npnet.shapes import IMAGE_SIZE
from npnet.shapes.grammar import COLOURS, RELATIONS, SHAPES, parse_each
from npnet.shapes.scenes import AREAS, PALETTE, TILT, coverage, pixel_centres

__all__ = ["Reading", "Verdict", "judge", "read"]

MIN_CONTRAST = 0.15
"""A pixel counts as far as it departs from the ground by more than this (Euclidean, RGB in [0, 1])."""
MIN_AREA = 20.0
"""Least area of an object, in pixels; the smallest that is drawn covers 50."""
MIN_STRENGTH = 0.4
"""Least departure of an object's inside from the ground, as a share of the palette's: fainter ones do not count."""
INSIDE = 20
"""How many of an object's strongest pixels stand for its inside."""
MIN_PURITY = 0.9
"""Least mean cosine between an object's pixels and its mean hue: an object has one colour."""
MIN_OVERLAP = 0.7
"""Least intersection over union of an object and the best template; no drawn object is below 0.88.

The one threshold that moves the figures: at 0.65 about a point more at 10 steps and two at 4 steps, at 0.75 two and
five fewer. It and the way objects are told apart were settled after looking at generated pictures (the overlap of
held-out prompts too); the snapshot had been trained by then, and the figures in ``quality.json`` are on later seeds.
"""
WINDOW = 20
"""Side of the square around an object's centre in which templates are compared, in pixels."""
ITERATIONS = 6
PIECE = 64
SCALES = (0.93, 1.0, 1.07)
ANGLES = (-TILT, 0.0, TILT)


@dataclass(frozen=True)
class Reading:
    """What is in B pictures: for the two objects, in no order, (B, 2) each.

    ``colours`` and ``shapes`` index ``COLOURS`` and ``SHAPES``; ``x``, ``y`` are centres in pixels; ``overlap``,
    in [0, 1], says how well the best template fits. ``clear`` (B,) is false where there are not just two well-formed
    objects.
    """

    colours: Tensor
    shapes: Tensor
    x: Tensor
    y: Tensor
    overlap: Tensor
    clear: Tensor


@dataclass(frozen=True)
class Verdict:
    """Which parts of a prompt a picture shows, (B,) bool each; the last two are false where the colours are wrong.

    ``positions`` (B, 4) are where the objects are, in pixels: x and y of the prompt's first, then of its second.
    """

    all_correct: Tensor
    colours: Tensor
    shapes: Tensor
    relation: Tensor
    positions: Tensor


@torch.no_grad()
def read(images: Tensor) -> Reading:
    """Read pictures: (B, 3, 32, 32) in [0, 1]."""
    if images.ndim != 4 or images.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"the judge reads pictures (B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}), got {tuple(images.shape)}")
    # In pieces: many templates are held for each picture.
    pieces = [_read(piece) for piece in images.float().cpu().clamp(0, 1).split(PIECE)]
    return Reading(*(torch.cat(values) for values in zip(*map(astuple, pieces), strict=True)))


def _read(images: Tensor) -> Reading:
    departure, palette = _departure_from_ground(images)
    weights = (departure.norm(dim=1) - MIN_CONTRAST).clamp(min=0)
    parts = _part_by_place(weights)
    shares = parts * weights[:, None]

    # Hue: the mean over each object; strength and shape: what lies along it. A faint object keeps its shape.
    hues = F.normalize(torch.einsum("bchw,bkhw->bkc", departure, shares), dim=2)
    along = torch.einsum("bchw,bkc->bkhw", departure, hues)
    seen = parts * (weights > 0)[:, None]
    cosines = along / departure.norm(dim=1).clamp(min=1e-6)[:, None]
    purity = (cosines * shares).sum((2, 3)) / shares.sum((2, 3)).clamp(min=1e-6)
    inside = (along * seen).flatten(2).topk(INSIDE, dim=2).values.mean(2)
    colours = torch.einsum("bkc,bpc->bkp", hues, F.normalize(palette, dim=2)).argmax(2)
    expected = palette.norm(dim=2).gather(1, colours)
    objects = (along * seen / inside.clamp(min=1e-6)[..., None, None]).clamp(0, 1)

    areas = objects.sum((2, 3))
    x, y = (((grid * objects).sum((2, 3)) / areas.clamp(min=1e-6)) for grid in pixel_centres())
    shapes, overlap = _fit_templates(objects, areas.clamp(min=1e-6), x, y)
    fit = (areas >= MIN_AREA) & (inside >= MIN_STRENGTH * expected) & (purity >= MIN_PURITY) & (overlap >= MIN_OVERLAP)
    return Reading(colours, shapes, x, y, overlap, fit.all(1))


def judge(images: Tensor, prompts: Sequence[str]) -> Verdict:
    """Compare what pictures show with what prompts say.

    Args:
        images: (B, 3, 32, 32) RGB in [0, 1].
        prompts: B prompts of the grammar.

    Raises:
        ValueError: a prompt is not of the grammar, or the shapes do not fit.
    """
    scenes = parse_each(prompts, len(images))
    reading = read(images)
    said = torch.tensor([[COLOURS.index(s.colour), COLOURS.index(s.other_colour)] for s in scenes]).reshape(-1, 2)
    told = torch.tensor([[SHAPES.index(s.shape), SHAPES.index(s.other_shape)] for s in scenes]).reshape(-1, 2)
    relation = torch.tensor([RELATIONS.index(s.relation) for s in scenes], dtype=torch.long)

    colours, shapes, x, y = _in_order(reading, said[:, :1])
    colours_right = (colours == said).all(1)
    shapes_right = colours_right & reading.clear & (shapes == told).all(1)
    dx, dy = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    seen = torch.where(dx.abs() > dy.abs(), torch.where(dx > 0, 0, 1), torch.where(dy > 0, 2, 3))
    relation_right = colours_right & (seen == relation)
    places = torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)
    return Verdict(colours_right & shapes_right & relation_right, colours_right, shapes_right, relation_right, places)


def _in_order(reading: Reading, first: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return colours, shapes, x and y, (B, 2) each, the object of the colour ``first`` (B, 1) in front."""
    turned = (reading.colours[:, :1] != first).expand(-1, 2)
    parts = (reading.colours, reading.shapes, reading.x, reading.y)
    colours, shapes, x, y = (torch.where(turned, value.flip(1), value) for value in parts)
    return colours, shapes, x, y


def _departure_from_ground(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures (B, 3, 32, 32) and palette (B, 6, 3) less the ground, the median colour of the border."""
    border = torch.ones(IMAGE_SIZE, IMAGE_SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    ground = images[:, :, border].median(2).values
    return images - ground[:, :, None, None], PALETTE - ground[:, None]


def _part_by_place(weights: Tensor) -> Tensor:
    """Return two objects as masks (B, 2, 32, 32), by the nearer of two centres (Lloyd's, from the longer axis).

    Args:
        weights: (B, 32, 32), how much each pixel counts.
    """
    places = torch.stack(pixel_centres())
    total = weights.sum((1, 2)).clamp(min=1e-6)
    mean = torch.einsum("bhw,chw->bc", weights, places) / total[:, None]
    offsets = places - mean[..., None, None]
    spread = torch.einsum("bhw,bchw,bdhw->bcd", weights, offsets, offsets) / total[:, None, None]
    axis = torch.linalg.eigh(spread).eigenvectors[:, :, -1] * spread.diagonal(dim1=1, dim2=2).sum(1).sqrt()[:, None]
    centres = torch.stack([mean - axis, mean + axis], 1)
    for _ in range(ITERATIONS):
        distances = (places - centres[..., None, None]).square().sum(2)
        masks = F.one_hot(distances.argmin(1), 2).permute(0, 3, 1, 2).float()
        shares = masks * weights[:, None]
        centres = torch.einsum("bkhw,chw->bkc", shares, places) / shares.sum((2, 3)).clamp(min=1e-6)[..., None]
    return masks


def _fit_templates(objects: Tensor, masses: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best shape of each object and its intersection over union, (B, 2) each.

    A template has the object's centre and area; tilts and slightly other sizes are tried too.
    """
    half = WINDOW // 2
    padded = F.pad(objects, (half, half, half, half))
    left, top = x.floor().long(), y.floor().long()
    steps = torch.arange(WINDOW)
    rows = (top[..., None] + steps)[..., :, None].expand(-1, -1, WINDOW, WINDOW)
    columns = (left[..., None] + steps)[..., None, :].expand(-1, -1, WINDOW, WINDOW)
    images, parts = torch.arange(len(objects))[:, None, None, None], torch.arange(2)[None, :, None, None]
    window = padded[images, parts, rows, columns]

    # Pixel centres relative to the object's own.
    dx = columns - half + 0.5 - x[..., None, None]
    dy = rows - half + 0.5 - y[..., None, None]
    overlaps = torch.zeros(len(SHAPES), *masses.shape)
    for shape, area in enumerate(AREAS):
        for scale, angle in product(SCALES, ANGLES):
            radii = scale * (masses / area).sqrt()
            template = coverage(shape, dx, dy, radii[..., None, None], torch.tensor(angle))
            shared = torch.minimum(template, window).sum((-2, -1))
            union = template.sum((-2, -1)) + masses - shared
            overlaps[shape] = torch.maximum(overlaps[shape], shared / union)
    overlap, shapes = overlaps.max(0)
    return shapes, overlap
