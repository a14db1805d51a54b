"""What a user may say beside table and setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.papers.setting import Setting, settings

FOLDER = Path("outputs/papers")
FISH, INCEPTION, CONTROL, TRAINING_PAIRS = "fish", "inception.pth", "control", "training_pairs.json"
MPS_WEIGHTS = "mps.safetensors"
"""In the folder of inputs: ImageNet's pictures, Inception's weights, control images with a ``metadata.jsonl``,
published (prompt, seed) lists, and MPS as ``npnet convert-mps`` writes it."""


@dataclass(frozen=True)
class Asked:
    """What a user may say beside table and setting.

    Attributes:
        network_path: the whole network, instead of the shipped or trained one: a folder or a released ``.pth``.
        inputs: folder of the files that are not downloaded.
        methods: instead of the table's.
        train: train the whole network even if one is shipped.
        folder: of all outputs.
        keys: further keys of every evaluation.
        smoke: a small test of everything, see ``Setting.small``, in its own folder.
    """

    network_path: str | None = None
    inputs: Path | None = None
    methods: tuple[str, ...] = ()
    train: bool = False
    folder: Path = FOLDER
    keys: Mapping[str, Any] = field(default_factory=dict)
    smoke: bool = False

    def setting(self, name: str) -> Setting:
        """Return a setting, at smoke size if requested."""
        found = settings()[name]
        return found.small() if self.smoke else found

    def root(self, name: str) -> Path:
        """Return the folder of everything on a setting."""
        return self.folder / "smoke" / name if self.smoke else self.folder / name

    def input(self, name: str) -> tuple[Path, str | None]:
        """Return the path of an input file, and what is missing if it does not exist."""
        path = (self.inputs or Path()) / name
        return path, None if self.inputs and path.exists() else f"inputs=DIR with {name} is needed"
