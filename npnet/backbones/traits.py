"""The properties of a diffusion model that need no weights: sizes, levels, costs and capabilities."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from npnet.backbones.schedules import Schedule
from npnet.backbones.spacing import Kind
from npnet.bounds import Guidance
from npnet.description import Description, imported
from npnet.errors import FieldError, UserError, under
from npnet.fields import Count, Name, checked

CAPABILITIES = ("unconditional_branch", "cross_attention_maps", "decode", "differentiable_decode")
"""``cross_attention_maps``: a U-Net whose attention processors (``attn1``, ``attn2``) can be replaced."""


ShippedNetwork = Literal["recommended", "paper", "reward"]
"""Which of the networks that ship with a model."""

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu", "xla", "hpu", "npu", "mtia", "vulkan", "meta")
"""Of torch; whether one is here is known where torch is."""
SETTINGS: dict[str, Any] = {
    "guidance_scale": Guidance,
    "inversion_guidance_scale": Guidance,
    "num_inference_steps": Mapping[Literal["collect", "evaluate"], Count],
    "sampler": Name,
    "batch_size": Mapping[Literal["collect", "evaluate"], Count],
}
"""What the commands read of ``Backbone.settings``; a model may note more."""


@dataclass(frozen=True, kw_only=True)
class BackboneTraits(Description, ABC):
    """The properties of a model that need no weights; the loaded model uses nothing else of its description.

    Args:
        settings: the published values of this model, for the commands' defaults: ``guidance_scale``,
            ``inversion_guidance_scale``, ``num_inference_steps`` (``collect`` and ``evaluate``), ``sampler`` (for
            evaluations and generated pictures; pairs use the default one), and ``batch_size``, the number of pairs or
            pictures that are computed at once (``collect`` and ``evaluate``).
        device: ``auto`` (a GPU when there is one), or a torch device.
        dtype: of the network; the step arithmetic is always float32.
    """

    kind: ClassVar[Kind] = "variance_preserving"
    domain: ClassVar[str] = "any"
    """``shapes`` for the built-in model, whose metrics judge nothing else."""
    affine_guidance: ClassVar[bool] = True
    """Whether guidance mixes two predictions and does no more; see ``Denoiser.mix``."""
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    lacking: ClassVar[Mapping[str, str]] = {}
    """For a capability that is not there: what a person can do about it."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    device: Name = "auto"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, annotation in SETTINGS.items():
            if name in self.settings:
                checked(annotation, self.settings[name], f"settings.{name}")
        if self.device != "auto" and not re.fullmatch(rf"({'|'.join(DEVICE_TYPES)})(:\d+)?", self.device):
            raise FieldError("device", self.device, "this is not a torch device; allowed: auto, cpu, cuda, cuda:N")
        if self.device == "cpu" and self.dtype == "float16":
            raise FieldError("dtype", self.dtype, "float16 needs a GPU; allowed on the CPU: float32, bfloat16")

    @property
    def name(self) -> str:
        """The family's name, for messages."""
        return type(self).__name__

    @abstractmethod
    def schedule(self) -> Schedule:
        """Return levels, coefficients and steps, as far as they are known without the weights."""

    @abstractmethod
    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """Return ``(C, *grid)`` of one sample, by default at the configured size."""

    @abstractmethod
    def embed_dims(self) -> dict[str, int]:
        """Return ``prompt_embed_dim`` (D), ``prompt_length`` (L) and ``pooled_embed_dim`` (P, 0 when there is none)."""

    def shipped_network(self, which: ShippedNetwork) -> str | None:
        """Return the folder of a network that ships with the project for this model; None where none does.

        Args:
            which: ``recommended``; ``paper`` for the published form, trained on pairs as published; ``reward`` for the
                recommended one, trained further on a metric (experimental).
        """
        return None

    def check_device(self) -> None:
        """Refuse a device that this machine lacks, or that cannot compute in ``dtype``; this imports torch.

        Raises:
            UserError: lists the devices of this machine.
        """
        imported("npnet.backbones.runtime.devices:placement")(self)

    def device_note(self) -> list[str]:
        """Return a dry run's line about a named device that this machine lacks."""
        if self.device in ("auto", "cpu", "meta"):
            return []
        try:
            with under("backbone"):
                self.check_device()
        except UserError as error:
            return [f"not on this machine: {error}"]
        return []

    def check_prompts(self, prompts: Iterable[str]) -> None:
        """Refuse prompts with words that the model does not know.

        Raises:
            UserError: names the first such prompt.
        """

    def require(self, needed: Sequence[str], who: str) -> None:
        """Refuse ``who`` (``noise.LABEL``) if this family lacks a capability that it needs.

        Raises:
            UserError: names the method, the backbone and what is missing.
        """
        missing = [name for name in needed if name not in self.capabilities]
        if missing:
            hints = "; ".join(self.lacking[name] for name in missing if name in self.lacking)
            raise UserError(
                f"{who} needs {', '.join(missing)}, which {self.name} does not have" + (f" ({hints})" if hints else "")
            )


class Capable(Protocol):
    """A model, described or loaded, that says what it can do."""

    @property
    def capabilities(self) -> frozenset[str]:
        """See ``BackboneTraits``."""


def num_branches(backbone: Capable, guidance_scale: float) -> int:
    """Return the denoiser forwards for one latent at a step: 2 with an unconditional branch, else 1."""
    return 2 if guidance_scale != 1 and "unconditional_branch" in backbone.capabilities else 1
