"""The language of Shapes: all prompts, their meanings, and the held-out meanings.

A scene is two objects of different colours and a relation between them. "a red circle above a blue square" and
"a blue square below a red circle" are two prompts with one *meaning*: 1920 prompts, 960 meanings. A tenth of the
meanings, with both their prompts, is held out of the generator's training.

This module needs nothing but the standard library, so that prompts can be listed and checked without torch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

__all__ = [
    "COLOURS",
    "RELATIONS",
    "SHAPES",
    "WORDS",
    "Scene",
    "hard_negatives",
    "held_out_prompts",
    "parse",
    "parse_each",
    "prompts",
    "scenes",
    "training_prompts",
]

COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left", "right", "above", "below")

PHRASES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
WORDS = ("a", *COLOURS, *SHAPES, "to", "the", "left", "right", "of", "above", "below")
"""Every word of the language; the tokenizer gives each one token."""

HELD_OUT_FRACTION = 0.1
EXAMPLE = "a red circle to the left of a blue square"


@dataclass(frozen=True, order=True)
class Scene:
    """The content of a prompt: the first object is in ``relation`` to the second."""

    colour: str
    shape: str
    relation: str
    other_colour: str
    other_shape: str

    def text(self) -> str:
        """Return the prompt that says this scene."""
        return f"a {self.colour} {self.shape} {PHRASES[self.relation]} a {self.other_colour} {self.other_shape}"

    def reversed(self) -> "Scene":
        """Return the same meaning with the objects in the other order."""
        return Scene(self.other_colour, self.other_shape, OPPOSITES[self.relation], self.colour, self.shape)

    def meaning(self) -> "Scene":
        """Return the one of the two forms that has "left" or "above"."""
        return self if self.relation in ("left", "above") else self.reversed()


@cache
def scenes() -> tuple[Scene, ...]:
    """Return all 1920 scenes in a fixed order."""
    return tuple(
        Scene(colour, shape, relation, other_colour, other_shape)
        for colour in COLOURS
        for shape in SHAPES
        for relation in RELATIONS
        for other_colour in COLOURS
        if other_colour != colour
        for other_shape in SHAPES
    )


@cache
def _scenes_by_prompt() -> dict[str, Scene]:
    return {scene.text(): scene for scene in scenes()}


@cache
def _held_out_meanings() -> frozenset[Scene]:
    # Ranked by a hash of the text: fixed for ever, and unrelated to the order of colours and shapes.
    meanings = sorted({scene.meaning() for scene in scenes()}, key=lambda s: hashlib.sha256(s.text().encode()).digest())
    return frozenset(meanings[: round(len(meanings) * HELD_OUT_FRACTION)])


def prompts() -> tuple[str, ...]:
    """Return all 1920 prompts in a fixed order."""
    return tuple(_scenes_by_prompt())


@cache
def training_prompts() -> tuple[str, ...]:
    """Return the 1728 prompts that the generator was trained on."""
    return tuple(prompt for prompt, scene in _scenes_by_prompt().items() if scene.meaning() not in _held_out_meanings())


@cache
def held_out_prompts() -> tuple[str, ...]:
    """Return the 192 prompts whose meaning the generator never saw."""
    return tuple(prompt for prompt, scene in _scenes_by_prompt().items() if scene.meaning() in _held_out_meanings())


def parse(prompt: str) -> Scene:
    """Return the scene that a prompt says; case and repeated spaces do not matter.

    Raises:
        ValueError: the prompt is not one of the 1920.
    """
    scene = _scenes_by_prompt().get(" ".join(prompt.lower().split()))
    if scene is None:
        words = f"colours: {', '.join(COLOURS)}; shapes: {', '.join(SHAPES)}; relations: {', '.join(PHRASES.values())}"
        expected = f"expected two objects of different colours, as in {EXAMPLE!r} ({words})"
        raise ValueError(f"not a Shapes prompt: {prompt!r}; {expected}")
    return scene


def parse_each(prompts: Sequence[str], count: int) -> list[Scene]:
    """Return the scenes of the prompts of ``count`` pictures.

    Raises:
        ValueError: there are more or fewer prompts, or one is not of the grammar.
    """
    if len(prompts) != count:
        raise ValueError(f"as many pictures as prompts are needed, got {count} and {len(prompts)}")
    return [parse(prompt) for prompt in prompts]


def hard_negatives(scene: Scene) -> list[Scene]:
    """Return scenes that differ from this one in a single respect, and never in words alone.

    In order: the opposite relation, the two other relations, swapped colours, one changed shape or colour for each
    value that it can take.
    """
    return [negative for negative in _variations(scene) if negative.meaning() != scene.meaning()]


def _variations(scene: Scene) -> Iterator[Scene]:
    yield replace(scene, relation=OPPOSITES[scene.relation])
    yield from (replace(scene, relation=r) for r in RELATIONS if r not in (scene.relation, OPPOSITES[scene.relation]))
    yield replace(scene, colour=scene.other_colour, other_colour=scene.colour)
    yield from (replace(scene, shape=shape) for shape in SHAPES if shape != scene.shape)
    yield from (replace(scene, other_shape=shape) for shape in SHAPES if shape != scene.other_shape)
    used = (scene.colour, scene.other_colour)
    yield from (replace(scene, colour=colour) for colour in COLOURS if colour not in used)
    yield from (replace(scene, other_colour=colour) for colour in COLOURS if colour not in used)
