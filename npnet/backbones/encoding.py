"""Prompts to tensors: each once, in batches, from the disk where they were encoded before."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet.backbones import sources
from npnet.backbones.base import Backbone
from npnet.data.embeddings import EmbeddingCache
from npnet.records import Conditioning


class TextEncoding(Backbone):
    """The text half of a pipeline; a family writes ``embed``, and ``embed_nothing`` where it is not of ""."""

    path: str
    revision: str | None
    variant: str | None
    pipeline: Any
    text_encoder_batch_size: int
    offload_text_encoders: bool
    embedding_cache: str | None
    loaded_from_path: bool
    """False of a pipeline built elsewhere, whose text encoders may be any: its embeddings are not cached."""
    _unconditional: dict[str, Tensor] | None = None

    @abstractmethod
    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """Run the text encoders once, without guidance.

        Returns:
            Tensors by the names of ``Conditioning`` (a further one: ``extras.NAME``), each ``(B, ...)``.
        """

    def embed_nothing(self) -> dict[str, Tensor]:
        """Return the unconditional counterpart of ``embed``, one row: by default of the empty prompt."""
        return self.embed([""])

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """See ``Backbone.encode``; longer prompts are cut at the tokenizer's length, as diffusers does."""
        row = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompts))}
        self.move_text_encoders(self.device)
        table = self._embed_all(list(row))
        if len(row) < len(prompts):
            rows = [row[prompt] for prompt in prompts]
            table = {name: tensor[rows] for name, tensor in table.items()}
        if "unconditional_branch" in self.capabilities:
            if self._unconditional is None:
                self._unconditional = self.embed_nothing()
            for name, tensor in self._unconditional.items():
                # one row, shown B times
                table[negative(name)] = tensor.to(self.device).expand(len(prompts), *tensor.shape[1:])
        if self.offload_text_encoders:
            self.move_text_encoders(torch.device("cpu"))
        extras = {name.removeprefix("extras."): t for name, t in table.items() if name.startswith("extras.")}
        named: dict[str, Any] = {name: t for name, t in table.items() if not name.startswith("extras.")}
        return Conditioning(tuple(prompts), extras=extras, **named)

    def _embed_all(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode distinct prompts in batches; those in the cache are read instead."""
        cached = self.embedding_cache and self.loaded_from_path
        cache = EmbeddingCache(self.embedding_cache, self.identity()) if cached else None
        known = {prompt: cache.read(prompt) if cache else None for prompt in prompts}
        missing = [prompt for prompt, tensors in known.items() if tensors is None]
        for start in range(0, len(missing), self.text_encoder_batch_size):
            batch = missing[start : start + self.text_encoder_batch_size]
            embedded = self.embed(batch)
            for row, prompt in enumerate(batch):
                known[prompt] = {name: tensor[row] for name, tensor in embedded.items()}
                if cache:
                    cache.write(prompt, known[prompt])
        names = known[prompts[0]]
        return {name: torch.stack([known[prompt][name].to(self.device) for prompt in prompts]) for name in names}

    def identity(self) -> str:
        """Return what decides the embeddings, as a text: the model, its revision, variant and text files, the dtype."""
        folder = Path(self.path)
        found = None if folder.is_dir() else sources.cached_file(self.path, "model_index.json", self.revision)
        files = [
            (str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns)
            for file in sorted([*folder.glob("text_encoder*/*"), *folder.glob("tokenizer*/*")])
        ]
        source = str(found.parent) if found else str(folder.resolve() if folder.is_dir() else self.path)
        asked = (self.revision, self.variant, str(self.dtype))
        return json.dumps([type(self).__name__, source, *asked, self.embed_dims(), files])

    def move_text_encoders(self, device: torch.device) -> None:
        """Move every text encoder to ``device``."""
        for name, part in self.pipeline.components.items():
            if name.startswith("text_encoder") and part is not None:
                part.to(device)


def negative(name: str) -> str:
    """Return the unconditional counterpart's name: ``extras.x`` -> ``extras.negative_x``."""
    return f"extras.negative_{name.removeprefix('extras.')}" if name.startswith("extras.") else f"negative_{name}"
