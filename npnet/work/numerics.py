"""The keys that decide rounding: ``threads_per_worker``, ``float32_matmul_precision`` and ``cudnn_tf32``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from npnet.bounds import NumWorkers
from npnet.description import Description
from npnet.fields import Count, Name, Seed

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


@dataclass(frozen=True, kw_only=True)
class RunKeys(Description):
    """Keys of ``conf/run/default.yaml``, which every command has and checks, whether or not it reads them.

    Attributes:
        task_name: names the folder where ``output_dir`` does not.
        workers: processes, of the commands that have some.
        threads_per_worker: of torch; for this and the next two see ``Numerics``.
        float32_matmul_precision: of products in float32.
        cudnn_tf32: of convolutions in float32 on a GPU.
        seed: of all random draws.
        dry_run: only say what would be done.
    """

    task_name: Name | int | float = "npnet"
    workers: NumWorkers = 1
    threads_per_worker: Count = 1
    float32_matmul_precision: MatmulPrecision = "highest"
    cudnn_tf32: bool = True
    seed: Seed = 0
    dry_run: bool = False

    @property
    def numerics(self) -> Numerics:
        """How each process computes."""
        return Numerics(self.threads_per_worker, self.float32_matmul_precision, self.cudnn_tf32)


def is_usual(key: str, value: Any) -> bool:
    """Say whether a key has its usual value from ``USUAL``; requests then leave it out."""
    return key in USUAL and value == USUAL[key]
