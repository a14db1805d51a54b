"""The command ``npnet build-shapes``: its keys; the work is ``npnet.shapes.build``'s."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from npnet.arguments import asked
from npnet.description import Description, imported
from npnet.errors import FieldError, UserError, reworded
from npnet.fields import Name, Seed
from npnet.shapes.variants import get_variant
from npnet.work.folder import OutputFolder

SUMMARY = "Make the built-in model's weights from their seed."


@dataclass(frozen=True)
class BuildSettings(Description):
    """The keys of ``build-shapes``.

    Attributes:
        variant: which sizes, a or b.
        seed: instead of the variant's own.
        output: folder to write to, ``outputs/shapes-VARIANT`` by default.
        quick: a few steps of every stage, to test the path.
    """

    variant: Name = "a"
    seed: Seed | None = None
    output: OutputFolder | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        with reworded(ValueError, partial(FieldError, "variant", self.variant)):
            get_variant(self.variant)


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: a key is not allowed, or the folder holds a build with other settings.
    """
    settings = asked(BuildSettings, arguments, "build-shapes", SUMMARY)
    if settings is None:
        return
    variant = get_variant(settings.variant)
    variant = replace(variant, seed=settings.seed) if settings.seed is not None else variant
    output = settings.output or Path(f"outputs/shapes-{variant.name}")
    build, quick = imported("npnet.shapes.build:build"), imported("npnet.shapes.build:quick")
    with reworded(ValueError, UserError):
        # With so few steps, a second thread does not pay off: on a busy machine it mostly waits.
        figures = build(quick(variant), output, num_threads=1) if settings.quick else build(variant, output)
    print(json.dumps(figures, indent=2))
