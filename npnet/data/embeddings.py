"""The only embedding cache: what a text encoder made of a prompt, on disk, one file for each prompt.

Under ``folder``: ``IDENTITY/HASH.safetensors``, IDENTITY a digest of everything that decides the embeddings (the model,
its revision or files, the dtype), HASH a digest of the prompt's text. Files appear whole or not at all, so several
processes can share a folder; each carries a digest of its values, and one that is damaged is made again.
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


class EmbeddingCache:
    """Embeddings of one model.

    Args:
        folder: shared by any number of models.
        identity: a text that differs wherever the embeddings could.
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        self.folder = Path(folder) / digest(identity)

    def path(self, prompt: str) -> Path:
        """Return the file of ``prompt``."""
        return self.folder / f"{digest(prompt)}.safetensors"

    def holds(self, prompt: str) -> bool:
        """Say whether ``read`` would find ``prompt``."""
        return self.read(prompt) is not None

    def read(self, prompt: str) -> dict[str, Tensor] | None:
        """Return the tensors of ``prompt`` by name, on the CPU, or None where they are not stored, or damaged."""
        try:
            with safe_open(self.path(prompt), framework="pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):  # the last ones: odd dtypes
            return None
        # files of earlier versions have no digest
        right = facts.get("prompt") == prompt and facts.get("sha256", "") in ("", fingerprint(tensors))
        return tensors if right else None

    def write(self, prompt: str, tensors: Mapping[str, Tensor]) -> None:
        """Store the tensors of ``prompt``.

        Raises:
            UserError: the folder cannot be written.
        """
        atomic.make_folder(self.folder)
        plain: dict[str, Any] = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        atomic.write_bytes(self.path(prompt), save(plain, metadata={"prompt": prompt, "sha256": fingerprint(plain)}))


def digest(text: str) -> str:
    """Return 32 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
