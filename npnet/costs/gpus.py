"""GPUs by their data sheets: what a node of ``conf/gpu`` builds."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

from npnet.bounds import Above, AtMost, Identifier, Positive
from npnet.costs.counts import KINDS, Part
from npnet.description import Description
from npnet.errors import FieldError

LAUNCH_SECONDS = 5e-6
"""What a kernel takes at least; small calls wait for the CPU that launches them."""


@dataclass(frozen=True)
class GPU(Description):
    """A GPU.

    Attributes:
        name: of a known one, whose figures these are by default; ``all`` stands for each of them.
        tflops: peak of matrix products in half precision, dense, in 10^12 a second.
        tf32_tflops: of convolutions in float32; by default half of ``tflops``.
        float32_tflops: of other products in float32; by default a sixteenth of ``tflops``.
        memory: that a process can use, in GiB.
        share: of its peak that is reached.
    """

    runtime: ClassVar[str] = ""

    name: Identifier = "all"
    tflops: Positive | None = None
    tf32_tflops: Positive | None = None
    float32_tflops: Positive | None = None
    memory: Positive | None = None
    share: Annotated[float, Above(0), AtMost(1)] = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name != "all" and self.tflops is None and self.memory is None:
            known = [gpu.name for gpu in KNOWN]
            if self.name not in known:
                needed = f"known: {', '.join(known)}; gpu.tflops= and gpu.memory= describe another one"
                raise FieldError("name", self.name, needed)

    def seconds(self, part: Part, rows: int, calls: float = 1, launches: int | None = None) -> float:
        """Return what calls of a part take: their arithmetic at ``share`` of the peak, or their launches.

        Args:
            part: its counts.
            rows: of a call.
            calls: so many.
            launches: of a call; by default the part's.
        """
        half = self.tflops or 1.0
        peaks = dict(zip(KINDS, (half, self.tf32_tflops or half / 2, self.float32_tflops or half / 16), strict=True))
        computing = sum(flops * rows / (peaks[kind] * 1e12 * self.share) for kind, flops in part.flops.items())
        return calls * max(computing, LAUNCH_SECONDS * (part.launches(rows) if launches is None else launches))


KNOWN = (
    GPU("h200", 989, 494, 67, 139),
    GPU("h100", 989, 494, 67, 79),
    GPU("a100", 312, 156, 19.5, 79),
    GPU("rtx4090", 165, 82.6, 82.6, 23.5),
    GPU("t4", 65, 8.1, 8.1, 14.5),
)
"""Their data sheets' dense peaks (RTX 4090: sums in float32). A T4 has no TF32."""


def chosen(gpu: GPU) -> list[GPU]:
    """Return the GPUs that are meant: the one that was named or described, or all that are known.

    Raises:
        FieldError: a figure of a user's own GPU is missing.
    """
    given = {field.name: value for field in fields(gpu) if (value := getattr(gpu, field.name)) is not None}
    known = [known for known in KNOWN if gpu.name in (known.name, "all")]
    if gpu.name != "all" and known:
        return [replace(known[0], **given)]
    if gpu.tflops is None and gpu.memory is None and known:
        return [replace(known, share=gpu.share) for known in known]
    for name in ("tflops", "memory"):
        if name not in given:
            needed = f"is needed: gpu.tflops= and gpu.memory= describe a GPU; known: {', '.join(k.name for k in KNOWN)}"
            raise FieldError(f"gpu.{name}", None, needed)
    return [replace(gpu, name="yours") if gpu.name == "all" else gpu]
