"""The names under which the metrics still call ``npnet.weights``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from npnet.weights.files import WEIGHTS, is_smoke
from npnet.weights.files import matches as _matches
from npnet.weights.sources import read_config
from npnet.weights.tensors import LEGACY_BUFFERS, build_empty, read_state, require_loaded
from npnet.weights.tensors import read_tensors as read_weights

__all__ = [
    "LEGACY_BUFFERS",
    "WEIGHTS",
    "_matches",
    "build_empty",
    "is_smoke",
    "read_config",
    "read_state",
    "read_weights",
    "require_loaded",
]


def check_source(source: str | None, key: str, hint: str = "") -> None:
    """See ``weights.sources.check_source``."""
    from npnet.weights.sources import check_source

    check_source(source, key, hint=hint)


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    dtype: torch.dtype | None = torch.float32,
    ignored: Sequence[str] = LEGACY_BUFFERS,
) -> None:
    """See ``weights.tensors.load_strict``."""
    from npnet.weights.tensors import load_strict

    key, _, source = where.partition("=")
    load_strict(module, state, key, source, dtype, ignored)


def load_tokenizer(source: str, key: str) -> Any:
    """See ``weights.tokenizers.load_tokenizer``."""
    from npnet.weights.tokenizers import load_tokenizer

    return load_tokenizer(source, key)
