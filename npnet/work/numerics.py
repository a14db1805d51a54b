"""The keys that decide rounding: ``threads_per_worker``, ``float32_matmul_precision`` and ``cudnn_tf32``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from npnet.description import Description
from npnet.fields import Count

MatmulPrecision = Literal["highest", "high", "medium"]
USUAL: Mapping[str, Any] = MappingProxyType({"float32_matmul_precision": "highest", "cudnn_tf32": True})
"""What runs did before these keys could be chosen; a request names what is otherwise."""


@dataclass(frozen=True)
class Numerics(Description):
    """How torch computes; ``npnet.work.torch_settings`` applies it.

    Attributes:
        threads: CPU threads.
        float32_matmul_precision: of products of float32 matrices, as ``torch.set_float32_matmul_precision`` has it:
            ``highest`` is float32, ``high`` rounds to TF32 (10 bits of mantissa), ``medium`` to bfloat16; on a GPU, and
            on CPUs that have such products.
        cudnn_tf32: let convolutions of float32 tensors on a GPU round to TF32.
    """

    threads: Count = 1
    float32_matmul_precision: MatmulPrecision = "highest"
    cudnn_tf32: bool = True


def is_usual(key: str, value: Any) -> bool:
    """Say whether a key has its usual value from ``USUAL``; requests then leave it out."""
    return key in USUAL and value == USUAL[key]
