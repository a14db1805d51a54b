"""What a user may say beside table and setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.papers.setting import Setting, settings

FOLDER = Path("outputs/papers")
FISH, INCEPTION, CONTROL, TRAINING_PAIRS = "fish", "inception.pth", "control", "training_pairs.json"
"""In the folder of inputs: ImageNet's pictures, Inception's weights, control images with a ``metadata.jsonl``, and
published (prompt, seed) lists."""


@dataclass(frozen=True)
class Asked:
    """What a user may say beside table and setting.

    Attributes:
        network_path: the whole network, instead of the shipped or trained one: a folder, a released ``.pth``.
        inputs: where files lie that are not fetched.
        methods: instead of the table's.
        train: train the whole network even where one is shipped.
        folder: of all outputs.
        keys: further keys of every evaluation.
        smoke: a small try of everything, see ``Setting.small``; in a folder of its own.
    """

    network_path: str | None = None
    inputs: Path | None = None
    methods: tuple[str, ...] = ()
    train: bool = False
    folder: Path = FOLDER
    keys: Mapping[str, Any] = field(default_factory=dict)
    smoke: bool = False

    def setting(self, name: str) -> Setting:
        """Return a setting, as small as it is asked for."""
        found = settings()[name]
        return found.small() if self.smoke else found

    def root(self, name: str) -> Path:
        """Return the folder of all that is made on a setting."""
        return self.folder / "smoke" / name if self.smoke else self.folder / name

    def input(self, name: str) -> tuple[Path, str | None]:
        """Return where a file of the inputs lies, and what is missing where it is not there."""
        path = (self.inputs or Path()) / name
        return path, None if self.inputs and path.exists() else f"inputs=DIR with {name} is needed"
