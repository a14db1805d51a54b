"""The cache of tensors on disk, with one file for each text, such as the embeddings of a prompt.

Under ``folder``: ``IDENTITY/HASH.safetensors``, IDENTITY a digest of everything else that decides the values (for
embeddings: the model, its revision or files, the dtype), HASH a digest of the text. Files are written whole or not at
all, so several processes can share a folder. Each holds a digest of its values, and a damaged one is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from npnet.data.tensors import fingerprint
from npnet.work import atomic


class TensorCache:
    """What was computed of texts, in one way.

    Args:
        folder: shared by any number of ways.
        identity: a text that differs wherever the values could.
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        self.folder = Path(folder) / digest(identity)

    def path(self, text: str) -> Path:
        """Return the file of ``text``."""
        return self.folder / f"{digest(text)}.safetensors"

    def holds(self, text: str) -> bool:
        """Say whether ``read`` would find ``text``."""
        return self.read(text) is not None

    def read(self, text: str) -> dict[str, Tensor] | None:
        """Return the tensors of ``text`` by name, on the CPU, or None where they are not stored, or damaged."""
        try:
            with safe_open(self.path(text), framework="pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):  # the last ones: odd dtypes
            return None
        # files of earlier versions have no digest
        right = facts.get("prompt") == text and facts.get("sha256", "") in ("", fingerprint(tensors))
        return tensors if right else None

    def write(self, text: str, tensors: Mapping[str, Tensor]) -> None:
        """Store the tensors of ``text``.

        Raises:
            UserError: the folder cannot be written.
        """
        atomic.make_folder(self.folder)
        plain: dict[str, Any] = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        facts = {"prompt": text, "sha256": fingerprint(plain)}
        # a file that does not reach the disk is made again
        atomic.write_bytes(self.path(text), save(plain, metadata=facts), durable=False)


def digest(text: str) -> str:
    """Return 32 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
