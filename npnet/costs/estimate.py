"""Estimate the memory and time of a run on a GPU from counts, without a GPU.

A batch is denoised while the pictures of the batch before are decoded and scored (``npnet.engine.pipeline``), so both
are in memory at once. If that does not fit, one stage runs after the other, and if that does not fit either, the batch
is halved. The weights are in memory all the time, except those of offloaded text encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from npnet.costs.counts import Part
from npnet.costs.gpus import GPU

MARGIN = 1.2
"""On what is held beside the weights: the allocator holds more than is alive, and cuDNN's workspaces are not seen."""
CONTEXT_BYTES = 2**29
"""Of CUDA itself, in each process."""
TEXT, DENOISER, DECODER = "text encoders", "denoiser", "decoder"


@dataclass(frozen=True)
class Run:
    """A run of a backbone, by what it computes for each of its samples (pairs, or pictures).

    Attributes:
        denoiser: counts of an evaluation, a row for each branch of each latent.
        decoder: of a picture.
        text: of a prompt.
        scorers: of a picture, by label.
        batch_size: samples at once.
        rows: of the denoiser for each sample, in one call.
        pictures: of each sample.
        forwards: denoiser forwards for each sample, in all.
        prompts: encoded at once.
        offloaded: the text encoders lie on the GPU only while they encode.
    """

    denoiser: Part
    decoder: Part
    text: Part
    scorers: Mapping[str, Part] = field(default_factory=dict)
    batch_size: int = 1
    rows: int = 2
    pictures: int = 1
    forwards: float = 0
    prompts: int = 32
    offloaded: bool = False

    @property
    def flops(self) -> dict[str, float]:
        """Return the FLOPs of a sample by part."""
        scored = {label: part.total_flops * self.pictures for label, part in self.scorers.items()}
        return {
            DENOISER: self.denoiser.total_flops * self.forwards,
            DECODER: self.decoder.total_flops * self.pictures,
            **scored,
            TEXT: self.text.total_flops,
        }

    @property
    def launches(self) -> float:
        """Return the kernels of a sample: those of a batch, shared."""
        of_batch = [part.launches(rows) * calls for part, rows, calls in self._calls()]
        return sum(of_batch) / self.batch_size

    def seconds(self, gpu: GPU) -> float:
        """Return what a sample takes on a GPU, reading and writing left out."""
        return sum(gpu.seconds(part, rows, calls) for part, rows, calls in self._calls()) / self.batch_size

    def _calls(self) -> Iterator[tuple[Part, int, float]]:
        """Yield each part with the rows of its calls, and their number, for a batch."""
        size = self.batch_size
        yield self.denoiser, self.rows * size, self.forwards / self.rows
        for part in (self.decoder, *self.scorers.values()):
            yield part, self.pictures * size, 1
        yield self.text, self.prompts, size / self.prompts

    @property
    def weights(self) -> dict[str, int]:
        """Return the bytes of the weights by part."""
        scorers = {label: part.weights_bytes for label, part in self.scorers.items()}
        parts = {DENOISER: self.denoiser, DECODER: self.decoder, TEXT: self.text}
        return {name: part.weights_bytes for name, part in parts.items()} | scorers

    def held(self, batch_size: int | None = None) -> dict[str, int]:
        """Return the bytes that each part holds at its peak, its weights left out."""
        size = batch_size or self.batch_size
        scorers = {label: part.held_bytes(self.pictures * size) for label, part in self.scorers.items()}
        return {
            DENOISER: self.denoiser.held_bytes(self.rows * size),
            DECODER: self.decoder.held_bytes(self.pictures * size),
            TEXT: self.text.held_bytes(self.prompts),
            **scorers,
        }

    def peak(self, batch_size: int | None = None, overlaps: bool = True) -> int:
        """Return the memory that the run needs, in bytes, with margin.

        Args:
            batch_size: samples at once; by default the run's.
            overlaps: a batch is scored while the next one is denoised.
        """
        weights, held = self.weights, self.held(batch_size)
        resident = sum(weights.values()) - (weights[TEXT] if self.offloaded else 0)
        encoding = sum(weights.values()) + MARGIN * held.pop(TEXT)
        denoising = held.pop(DENOISER)
        finishing = max(held.values())
        sampling = resident + MARGIN * (denoising + finishing if overlaps else max(denoising, finishing))
        return round(max(encoding, sampling)) + CONTEXT_BYTES

    def fit(self, gpu: GPU) -> str | None:
        """Say in words how the run fits a GPU; None where it does not."""
        memory = (gpu.memory or 0) * 2**30
        if self.peak() <= memory:
            return "fits"
        size = self.batch_size
        if self.peak(overlaps=False) <= memory:
            return "fits, without overlap"
        while size > 1:
            size //= 2
            if self.peak(size, overlaps=False) <= memory:
                return f"fits, {size} at once"
        return None


def training_seconds(gpu: GPU, step: Part, batch_size: int, half: bool) -> float:
    """Return what a step of training takes on a GPU.

    Args:
        gpu: where.
        step: counts of a sample's forward and backward pass, in float32.
        batch_size: samples.
        half: products are made in half precision (``trainer.precision=bf16-mixed``).
    """
    part = step if not half else _in_half(step)
    return gpu.seconds(part, batch_size)


def training_peak(step: Part, batch_size: int) -> int:
    """Return the memory of a step of training in float32, in bytes, with margin."""
    return round(step.weights_bytes + step.held_bytes(batch_size) * MARGIN) + CONTEXT_BYTES


def _in_half(part: Part) -> Part:
    return replace(part, flops={"half": part.total_flops, "convolution": 0, "float32": 0})
