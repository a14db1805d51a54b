"""Encode prompts with a pipeline: each prompt once, in batches, or from the disk cache."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from npnet.backbones.files import INDEX
from npnet.backbones.layout import text_files
from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.parts import TextEncoder, negative
from npnet.data.tensor_cache import TensorCache
from npnet.records import Conditioning
from npnet.weights.files import local_path
from npnet.weights.sources import cached_file


class PipelineText(TextEncoder):
    """The text encoders of a pipeline. A family defines ``embed``, and ``embed_nothing`` where it is not "".

    Args:
        adopted: the pipeline, and what it was adopted for.
    """

    def __init__(self, adopted: Adopted) -> None:
        description = adopted.description
        self.adopted, self.description, self.pipeline = adopted, description, adopted.pipeline
        self.device, self.dtype = adopted.device, adopted.dtype
        self.offload = description.offload_text_encoders
        self._unconditional: dict[str, Tensor] | None = None
        cached = description.embedding_cache if adopted.loaded_from_path else None
        self._cache = TensorCache(cached, self.identity()) if cached else None

    returned: ClassVar[tuple[str, ...]] = ("prompt_embeds", "negative_prompt_embeds")
    """What the pipeline's ``encode_prompt`` returns, by the names of ``Conditioning``; what it returns after is not."""

    def named(self, calls: Sequence[Sequence[Tensor | None]]) -> dict[str, Tensor]:
        """Name the tensors that ``encode_prompt`` returned to the pipeline.

        Args:
            calls: the results of its calls for one picture or batch, in order; one call encodes all in most families.

        Returns:
            Tensors by the names of ``Conditioning``, as ``embed`` returns them, and their unconditional counterparts.
        """
        return {name: tensor for name, tensor in zip(self.returned, calls[0], strict=False) if tensor is not None}

    @abstractmethod
    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """Run the text encoders once, without guidance.

        Returns:
            Tensors by the names of ``Conditioning`` (a further one: ``extras.NAME``), each ``(B, ...)``.
        """

    def embed_nothing(self) -> dict[str, Tensor]:
        """Return the unconditional counterpart of ``embed``, one row: by default of the empty prompt."""
        return self.embed([""])

    def blank(self, count: int) -> dict[str, Tensor]:
        """Return tensors of the names and shapes that ``embed`` gives for ``count`` prompts, of any values."""
        dims = self.adopted.embed_dims()
        shapes = {"prompt_embeds": [dims["prompt_length"], dims["prompt_embed_dim"]]}
        if dims["pooled_embed_dim"]:
            shapes["pooled_prompt_embeds"] = [dims["pooled_embed_dim"]]
        return {n: torch.empty(count, *shape, device=self.device, dtype=self.dtype) for n, shape in shapes.items()}

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """See ``TextEncoder.encode``; longer prompts are cut at the tokenizer's length, as diffusers does."""
        row = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompts))}
        self.move(self.device)
        table = self._embed_all(list(row))
        if len(row) < len(prompts):
            rows = [row[prompt] for prompt in prompts]
            table = {name: tensor[rows] for name, tensor in table.items()}
        if "unconditional_branch" in self.description.capabilities:
            if self._unconditional is None:
                self._unconditional = self.embed_nothing()
            for name, tensor in self._unconditional.items():
                # one row, shown B times
                table[negative(name)] = tensor.to(self.device).expand(len(prompts), *tensor.shape[1:])
        if self.offload:
            self.move(torch.device("cpu"))
        return conditioning_of(prompts, table)

    def _embed_all(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode distinct prompts in batches; those in the cache are read instead."""
        known = {prompt: self._cache.read(prompt) if self._cache else None for prompt in prompts}
        missing = [prompt for prompt, tensors in known.items() if tensors is None]
        count = self.description.text_encoder_batch_size
        for start in range(0, len(missing), count):
            batch = missing[start : start + count]
            embedded = self.embed(batch)
            for row, prompt in enumerate(batch):
                found = {name: tensor[row] for name, tensor in embedded.items()}
                known[prompt] = found
                if self._cache:
                    self._cache.write(prompt, found)
        tables = [known[prompt] or {} for prompt in prompts]
        return {name: torch.stack([table[name].to(self.device) for table in tables]) for name in tables[0]}

    def identity(self) -> str:
        """Return a text that identifies the embeddings: the model, its revision, variant, text files and dtype."""
        asked = self.description
        folder = local_path(asked.source)
        found = None if folder.is_dir() else cached_file(asked.source, INDEX, asked.revision)
        files = [
            (str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in text_files(folder)
        ]
        source = str(found.parent) if found else str(folder.resolve() if folder.is_dir() else asked.source)
        which = (asked.revision, asked.weight_variant, str(self.dtype))
        return json.dumps([asked.name, source, *which, self.adopted.embed_dims(), files])

    def move(self, device: torch.device) -> None:
        """Move every text encoder to ``device``; those of a borrowed pipeline stay where they are."""
        if self.adopted.borrowed:
            return
        for name, part in self.pipeline.components.items():
            if name.startswith("text_encoder") and part is not None:
                part.to(device)


def with_negative(conditioning: Conditioning, unwanted: Conditioning) -> Conditioning:
    """Return a conditioning that guides away from negative prompts instead of from nothing.

    Args:
        conditioning: of B prompts.
        unwanted: of the negative prompts, B or one for all.
    """
    count = len(conditioning)
    rows = {name: tensor for name, tensor in unwanted.tensors().items() if "negative_" not in name}
    rows = {negative(name): t.expand(count, *t.shape[1:]) if len(t) == 1 else t for name, t in rows.items()}
    return conditioning_of(conditioning.prompts, {**conditioning.tensors(), **rows})


def conditioning_of(prompts: Sequence[str], table: Mapping[str, Tensor]) -> Conditioning:
    """Return the conditioning of prompts from their tensors by name (a further one: ``extras.NAME``)."""
    extras = {name.removeprefix("extras."): t for name, t in table.items() if name.startswith("extras.")}
    named: dict[str, Any] = {name: t for name, t in table.items() if not name.startswith("extras.")}
    return Conditioning(tuple(prompts), extras=extras, **named)
