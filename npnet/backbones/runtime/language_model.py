"""Encode prompts with a language model, whose hidden states replace the output of a CLIP or a T5."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from npnet.backbones.runtime.parts import negative
from npnet.backbones.runtime.text import PipelineText


class LanguageModelText(PipelineText):
    """The language model of a pipeline, which has its own template; a family writes ``table``, and ``options``."""

    masked = False
    """Whether the network is told which rows are a prompt's own."""

    @abstractmethod
    def table(self, returned: Any) -> dict[str, Tensor]:
        """Name what ``encode_prompt`` returned, by the names of ``Conditioning``."""

    def options(self) -> Mapping[str, Any]:
        """Return further arguments of ``encode_prompt``."""
        return {}

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        length = self.adopted.embed_dims()["prompt_length"]
        # a copy: Z-Image's pipeline writes its template into the list
        given = {"device": self.device, "max_sequence_length": length, **self.options()}
        return self.table(self.pipeline.encode_prompt(list(prompts), **given))

    def named(self, calls: Sequence[Any]) -> dict[str, Tensor]:
        """See ``PipelineText.named``: a second call encodes the negative prompts."""
        found = self.table(calls[0])
        for call in calls[1:2]:
            found |= {negative(name): tensor for name, tensor in self.table(call).items()}
        return found

    def filled(self, rows: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        """Fill prompts ``(B, l, D)`` and their masks up to the length that every prompt has here, with zeros."""
        missing = self.adopted.embed_dims()["prompt_length"] - rows.shape[1]
        mask = torch.ones(rows.shape[:2], device=rows.device) if mask is None else mask
        return {"prompt_embeds": pad(rows, (0, 0, 0, missing)), "prompt_mask": pad(mask.long(), (0, missing))}

    def blank(self, count: int) -> dict[str, Tensor]:
        """See ``PipelineText.blank``."""
        found = super().blank(count)
        if self.masked:
            found["prompt_mask"] = torch.ones(found["prompt_embeds"].shape[:2], device=self.device, dtype=torch.long)
        return found
