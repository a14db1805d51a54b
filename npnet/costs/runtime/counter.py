"""Count the cost of a computation on fake GPU tensors, which have shape, dtype and device but no numbers.

``FakeTensorMode`` gives tensors on ``cuda:0`` without a driver. A mode beneath it sees every operation: FLOPs by the
formulas of ``torch.utils.flop_counter``, launches, and the bytes of all storages that are alive. Attention takes the
fused kernel, as on a real GPU: without one, torch takes the path that writes the whole attention matrix.

Live bytes are not what the caching allocator reserves, and workspaces of cuDNN are not seen: ``npnet.costs`` adds a
margin.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from npnet.costs.counts import KINDS, Kind, Part

CUDA = torch.device("cuda:0")
aten: Any = torch.ops.aten
NO_KERNEL = {aten.empty, aten.empty_strided, aten.empty_like, aten.detach, aten._unsafe_view, aten.lift_fresh}
"""Operations that launch nothing, beside views."""


class Counter(TorchDispatchMode):
    """Counts what is computed while it is entered; memory that was there before is not counted.

    Only memory of ``device`` is. A number that the host reads (whether a noise is finite) is 1.

    Attributes:
        flops: by kind of arithmetic, see ``npnet.costs.counts.KINDS``.
        launches: kernels.
        reads: numbers that the host read.
        live: bytes that are held now.
        peak: the most that were.
    """

    def __init__(self, device: torch.device = CUDA) -> None:
        super().__init__()
        self._device = device
        self.flops: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.launches = self.reads = self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        packet = func._overloadpacket
        if packet is aten._local_scalar_dense:
            self.reads += 1
            return 1
        out = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view and packet not in NO_KERNEL:
            self.launches += 1
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            self.flops[_kind(packet, args)] += flops
        given = {t.untyped_storage()._cdata for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor, given)
        return out

    def _hold(self, tensor: Tensor, given: set[int]) -> None:
        """Follow a new storage; a view of a weight is none."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if tensor.device.type != self._device.type or key in self._known or key in given:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _kind(packet: Any, args: Sequence[Any]) -> Kind:
    tensor = next(arg for arg in args if isinstance(arg, Tensor))
    if tensor.dtype in (torch.float16, torch.bfloat16):
        return "half"
    return "convolution" if "convolution" in str(packet) else "float32"


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Take the place of ``scaled_dot_product_attention``: the memory-efficient kernel, whatever the shapes."""
    if attn_mask is not None:
        dtype = query.dtype if attn_mask.dtype == torch.bool else attn_mask.dtype
        attn_mask = attn_mask.to(dtype).expand(*query.shape[:-1], key.shape[-2])
    shapes = query.shape
    query, key, value = (tensor.reshape(-1, *tensor.shape[-3:]) for tensor in (query, key, value))
    if attn_mask is not None:
        attn_mask = attn_mask.reshape(-1, *attn_mask.shape[-3:])
    keeps = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    out = aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, keeps, dropout_p, is_causal, scale=scale
    )[0]
    return out.reshape(*shapes[:-1], value.shape[-1])


@contextmanager
def fused_attention() -> Iterator[None]:
    """Let attention take the fused kernel that a GPU has; the fake device would take the mathematical path."""
    functional: Any = nn.functional
    before = functional.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    functional.scaled_dot_product_attention = _attention
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = before[0]
        torch.backends.mha.set_fastpath_enabled(before[1])


def empty(mode: FakeTensorMode, like: Tensor, dtype: torch.dtype | None = None, device: torch.device = CUDA) -> Tensor:
    """Return a fake tensor of the shape of another; a floating one in ``dtype``."""
    kind = dtype if dtype is not None and like.is_floating_point() else like.dtype
    with mode:
        return torch.empty(like.shape, dtype=kind, device=device)


def move(
    mode: FakeTensorMode, module: nn.Module, dtype: torch.dtype | None = None, device: torch.device = CUDA
) -> nn.Module:
    """Put fake tensors into the places of a module's, as ``module.to`` would."""
    known: dict[int, nn.Parameter] = {}  # tied weights stay tied
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if id(parameter) not in known:
                    fake = empty(mode, parameter, dtype, device)
                    known[id(parameter)] = nn.Parameter(fake, requires_grad=False)
                part._parameters[name] = known[id(parameter)]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = empty(mode, buffer, dtype, device)
        for name, constant in vars(part).items():  # tensors that ``module.to`` does not know
            if isinstance(constant, Tensor):
                vars(part)[name] = empty(mode, constant, device=torch.device("cpu"))
    module.to = partial(_to, mode, module, device)  # type: ignore[method-assign, assignment]
    return module.eval()


def _to(mode: FakeTensorMode, module: nn.Module, device: torch.device, *args: Any, **kwargs: Any) -> nn.Module:
    wanted = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.dtype)]
    return move(mode, module, wanted[0] if wanted else None, device)


def weight_bytes(*modules: nn.Module) -> int:
    """Return the bytes of the modules' parameters and buffers, shared ones once."""
    held = {id(t): t for module in modules for t in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in held.values())


def count(mode: FakeTensorMode, compute: Callable[[int], Any], weights_bytes: int, device: torch.device = CUDA) -> Part:
    """Count a part of a model by computing two rows, and three; the difference is what a further row costs.

    Args:
        mode: of its tensors.
        compute: makes its inputs, runs it on so many rows and returns what it made.
        weights_bytes: of the part.
        device: whose memory is counted.
    """
    two, three = (_counted(mode, compute, rows, device) for rows in (2, 3))
    row_bytes, row_launches = max(0, three.peak - two.peak), max(0, three.launches - two.launches)
    return Part(
        weights_bytes=weights_bytes,
        flops={kind: three.flops[kind] - two.flops[kind] for kind in KINDS},
        first_launches=two.launches - row_launches,
        row_launches=row_launches,
        first_bytes=max(0, two.peak - row_bytes),
        row_bytes=row_bytes,
    )


def _counted(mode: FakeTensorMode, compute: Callable[[int], Any], rows: int, device: torch.device) -> Counter:
    counter = Counter(device)
    with fused_attention(), mode, counter:
        compute(rows)
    return counter
