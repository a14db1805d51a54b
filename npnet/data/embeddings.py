"""The only embedding cache: what a text encoder made of a prompt, on disk, one file for each prompt.

Under ``folder``: ``IDENTITY/HASH.safetensors``, IDENTITY a digest of everything that decides the embeddings (the model,
its revision or files, the dtype), HASH a digest of the prompt's text. Files appear whole or not at all, so several
processes can share a folder; a file that cannot be read is made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

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
        """Say whether ``read`` would find ``prompt``, without reading its tensors."""
        return self._read(prompt, tensors=False) is not None

    def read(self, prompt: str) -> dict[str, Tensor] | None:
        """Return the tensors of ``prompt`` by name, on the CPU, or None where they are not stored."""
        return self._read(prompt, tensors=True)

    def _read(self, prompt: str, tensors: bool) -> dict[str, Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import safe_open

        try:
            with safe_open(self.path(prompt), framework="pt") as file:
                if (file.metadata() or {}).get("prompt") != prompt:
                    return None
                names = file.keys() if tensors else ()
                return {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError):
            return None

    def write(self, prompt: str, tensors: Mapping[str, Tensor]) -> None:
        """Store the tensors of ``prompt``.

        Raises:
            UserError: the folder cannot be written.
        """
        from safetensors.torch import save

        atomic.make_folder(self.folder)
        plain: dict[str, Any] = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        atomic.write_bytes(self.path(prompt), save(plain, metadata={"prompt": prompt}))


def digest(text: str) -> str:
    """Return 32 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
