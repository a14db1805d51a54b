"""The description that all families of diffusers share: their keys, and sizes read from small files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from npnet.backbones import files
from npnet.backbones.base import Backbone
from npnet.backbones.layout import Configs, Facts, Layout, Side8
from npnet.backbones.schedules import Schedule, VariancePreservingSchedule
from npnet.backbones.spacing import check_spacing
from npnet.backbones.traits import CAPABILITIES
from npnet.bounds import Number, is_whole
from npnet.description import imported
from npnet.errors import FieldError
from npnet.fields import Count, Name

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone

LOADING = "npnet.backbones.runtime.pipeline"
"""Turns the description of a pipeline into a model; reached by name, so that a description needs no torch."""


@dataclass(frozen=True)
class PipelineBackbone(Backbone):
    """A family with a diffusers pipeline; it defines its ``layout``, ``facts_of`` and runtime.

    Args:
        path: a diffusers directory, or a hub id.
        height: picture height in pixels; the default is the published size.
        width: picture width in pixels.
        revision: of the hub repository.
        variant: of the weight files (``fp16``), or None.
        spacing: see ``schedules``.
        denoiser: other weights of the same layout (a DPO U-Net): a directory, ``owner/name/subfolder`` on the hub, or
            a ``.safetensors`` file of either.
        lora: see ``runtime.lora.fuse``.
        lora_scale: 1 is the LoRA as it was trained.
        vae: another VAE of the same latents (a tiny one for scoring): a directory or hub id.
        vae_slicing: decode one picture at a time.
        text_encoder_batch_size: prompts encoded at once.
        offload_text_encoders: keep the text encoders off the GPU except while they encode.
        guidance_distilled: the checkpoint was distilled from guided sampling (turbo, Lightning): only the conditional
            branch is evaluated, and ``guidance_scale`` changes nothing.
        embedding_cache: a folder; see ``npnet.data.tensor_cache``.
        channels_last: memory layout of the denoiser and the VAE.
        compile: compile the denoiser with ``torch.compile``, at its first call.
    """

    layout: ClassVar[Layout]
    able: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - {"cross_attention_maps"}
    """The family's capabilities; a checkpoint may have lost some in its distillation."""
    lacking: ClassVar[Mapping[str, str]] = {
        "unconditional_branch": "its guidance is distilled; backbone.guidance_distilled=false evaluates the branch"
    }

    path: Name
    _: KW_ONLY
    height: Side8 = 1024
    width: Side8 = 1024
    revision: str | None = None
    variant: str | None = None
    spacing: str | tuple[float, ...] | None = None
    denoiser: str | None = None
    lora: str | None = None
    lora_scale: Number = 1.0
    vae: str | None = None
    vae_slicing: bool = True
    text_encoder_batch_size: Count = 32
    offload_text_encoders: bool = False
    guidance_distilled: bool = False
    embedding_cache: str | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_spacing(self.spacing, self.kind, self.layout.ays is not None, self.name)

    @property
    def capabilities(self) -> frozenset[str]:  # type: ignore[override]
        """See ``Backbone.capabilities``."""
        return self.able - ({"unconditional_branch"} if self.guidance_distilled else set())

    # --- what a family states ------------------------------------------------------------------------------------

    @abstractmethod
    def facts_of(self, configs: Configs) -> Facts:
        """Return the checkpoint's sizes; values missing in ``configs`` are the family's published ones."""

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """Return the schedule of a scheduler configuration of diffusers."""
        return VariancePreservingSchedule(published, self.spacing, self.layout.ays)

    def published_schedule(self) -> Mapping[str, Any]:
        """Return the family's published scheduler configuration; see ``Layout.scheduler``."""
        return self.layout.scheduler

    @property
    def source(self) -> str:
        """The diffusers directory or hub id."""
        return self.path

    @property
    def weight_variant(self) -> str | None:
        """The variant of the weight files."""
        return self.variant

    def replaced(self) -> tuple[str, ...]:
        """Return the parts of the pipeline that are loaded from another place."""
        whole = self.denoiser and not self.denoiser.endswith(".safetensors")
        return (*([self.layout.denoiser] if whole else []), *(["vae"] if self.vae else []))

    def needed(self) -> dict[str, str | None]:
        """Return the parts that the pipeline itself must have; see ``Layout.needed``."""
        return {name: kind for name, kind in self.layout.needed().items() if name not in self.replaced()}

    # --- what follows from it ------------------------------------------------------------------------------------

    def check(self) -> None:
        """See ``Description.check``: every path that is given."""
        files.check_pipeline("path", self.source, self.revision, self.needed(), self.replaced())
        files.check_part("denoiser", self.denoiser, (self.layout.denoiser_class,))
        files.check_part("vae", self.vae, self.layout.vae_classes)
        files.check_lora("lora", self.lora)

    def schedule(self) -> Schedule:
        """See ``Backbone.schedule``: of the checkpoint's own small file where it is here, else as published."""
        found = files.small_file(self.source, "scheduler/scheduler_config.json", "path", self.revision)
        return self.make_schedule(self.published_schedule() if found is None else found)

    def facts(self) -> Facts:
        """Return the checkpoint's sizes, as far as they are known here without the weights."""
        return self.facts_of(cache(self.part_config))

    def part_config(self, part: str) -> Mapping[str, Any]:
        """Return the configuration of a part, if it is on this machine.

        The tokenizers of language models state a length of 31 digits, which is refused; their families do not need it.
        """
        name = "tokenizer_config.json" if part.startswith("tokenizer") else "config.json"
        return files.small_file(self.source, f"{part}/{name}", "path", self.revision) or {}

    def latent_shape(
        self, height: int | None = None, width: int | None = None, *, facts: Facts | None = None
    ) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(C, height / f, width / f)``, f the VAE factor.

        Raises:
            FieldError: the VAE and the patches cannot divide a side.
        """
        facts = self.facts() if facts is None else facts
        height, width = self.height if height is None else height, self.width if width is None else width
        self.check_size(facts, height=height, width=width)
        return (facts.latent_channels, height // facts.vae_factor, width // facts.vae_factor)

    def embed_dims(self, *, facts: Facts | None = None) -> dict[str, int]:
        """See ``Backbone.embed_dims``."""
        facts = self.facts() if facts is None else facts
        return {name: getattr(facts, name) for name in ("prompt_embed_dim", "prompt_length", "pooled_embed_dim")}

    def check_size(self, facts: Facts, **sides: Any) -> None:
        """Refuse a side that the VAE and the patches of a checkpoint cannot divide.

        Raises:
            FieldError: names the side, and what is needed.
        """
        multiple = facts.vae_factor * self.layout.patch_size
        for name, side in sides.items():
            if not is_whole(side) or side < 1 or side % multiple:
                raise FieldError(name, side, f"a whole number that is a positive multiple of {multiple} is needed")
            if facts.largest_side is not None and side > facts.largest_side:
                raise FieldError(name, side, f"this checkpoint has positions for up to {facts.largest_side} pixels")

    def load(self, device: str | None = None) -> LoadedBackbone:
        """See ``Backbone.load``.

        Raises:
            FieldError: a path is incomplete, or the hub cannot be reached.
        """
        return imported(f"{LOADING}:load")(self, device)

    def adopt(self, pipeline: Any, device: str | None = None) -> LoadedBackbone:
        """Use a pipeline of this family that already exists (with own parts or adapters, or a tiny model in tests).

        Args:
            pipeline: of diffusers.
            device: see ``Backbone.load``.

        Raises:
            FieldError: the dtype of its denoiser or the latents of its VAE differ from the description, or a side does
                not fit.
        """
        return imported(f"{LOADING}:adopt")(self, pipeline, device)
