"""The U-Net families through diffusers: Stable Diffusion 1.x and 2.x, and Stable Diffusion XL with its kin.

SD 1.4 and 1.5 predict epsilon. SD 2.1 at 768 x 768 predicts v, which is converted; its checkpoint's scheduler says so.
Checkpoints with the layout of SDXL (DreamShaper-XL, a DPO U-Net, a fused LoRA) are SDXL here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from npnet.backbones import files
from npnet.backbones.layout import Configs, Facts, Layout, Side8, find, vae_factor
from npnet.backbones.levels import AYS
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.traits import CAPABILITIES
from npnet.bounds import Number
from npnet.errors import FieldError
from npnet.pictures.opener import PictureError, open_picture

SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}
"""Published for SD 1.x, SDXL and, but for the prediction, SD 2.1."""
SECOND = ("stable-diffusion-2", "sd2-community/", "sd-turbo")
"""What the hub ids of SD 2.x, and of the turbo model that was distilled from its base, contain."""
TURBO = {**SCHEDULER, "_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
"""Published for SD-Turbo; SDXL-Turbo's is the ancestral one of the same levels."""
CONTROLNETS = ("ControlNetModel",)


@dataclass(frozen=True)
class StableDiffusion(PipelineBackbone):
    """Stable Diffusion 1.4, 1.5 and 2.1, and SD-Turbo; the keys are those of ``PipelineBackbone``."""

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusionPipeline",
        denoiser="unet",
        denoiser_class="UNet2DConditionModel",
        scheduler=SCHEDULER,
        text_parts=("text_encoder", "tokenizer"),
        ays=AYS["sd"],
    )
    able: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.stable_diffusion:SD"

    _: KW_ONLY
    height: Side8 = 512
    width: Side8 = 512

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 768 (2.1: 1024), 77 and 0."""
        return Facts(
            latent_channels=find(configs, "unet", "in_channels", 4),
            prompt_embed_dim=find(configs, "text_encoder", "hidden_size", 1024 if self._is_second else 768),
            prompt_length=find(configs, "tokenizer", "model_max_length", 77),
            vae_factor=vae_factor(configs),
        )

    def published_schedule(self) -> Mapping[str, Any]:
        """See ``PipelineBackbone.published_schedule``: the large model of SD 2.x predicts v."""
        if "sd-turbo" in self.path.lower():
            return TURBO
        if self._is_second and not self.path.endswith("base"):
            return {**SCHEDULER, "prediction_type": "v_prediction"}
        return SCHEDULER

    @property
    def _is_second(self) -> bool:
        return any(words in self.path.lower() for words in SECOND)


XL = Layout(
    pipeline="StableDiffusionXLPipeline",
    denoiser="unet",
    denoiser_class="UNet2DConditionModel",
    scheduler=SCHEDULER,
    ays=AYS["sdxl"],
)


def xl_facts(configs: Configs) -> Facts:
    """Return the sizes of a checkpoint of SDXL's layout: 2048, 77 and 1280 as published."""
    return Facts(
        latent_channels=find(configs, "unet", "in_channels", 4),
        prompt_embed_dim=find(configs, "text_encoder", "hidden_size", 768)
        + find(configs, "text_encoder_2", "hidden_size", 1280),
        prompt_length=find(configs, "tokenizer", "model_max_length", 77),
        pooled_embed_dim=find(configs, "text_encoder_2", "projection_dim", 1280),
        vae_factor=vae_factor(configs),
    )


@dataclass(frozen=True)
class StableDiffusionXL(PipelineBackbone):
    """SDXL base 1.0 and every checkpoint with its layout; the keys are those of ``PipelineBackbone``."""

    layout: ClassVar[Layout] = XL
    able: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.stable_diffusion:SDXL"

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``."""
        return xl_facts(configs)

    def published_schedule(self) -> Mapping[str, Any]:
        """See ``PipelineBackbone.published_schedule``: SDXL-Turbo has levels of its own."""
        return TURBO if "sdxl-turbo" in self.path.lower() else SCHEDULER


@dataclass(frozen=True)
class StableDiffusionXLControlNet(PipelineBackbone):
    """SDXL with a ControlNet: all pictures follow one control image, or each has its own.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        controlnet: a directory or hub id.
        control_image: the file of the control image for all samples. To use one for each sample, put
            ``extras["control_image"]``, ``(B, 3, H, W)`` in [0, 1], into the conditioning.
        controlnet_conditioning_scale: weight of its residuals.
    """

    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusionXLControlNetPipeline",
        denoiser="unet",
        denoiser_class="UNet2DConditionModel",
        scheduler=SCHEDULER,
        ays=AYS["sdxl"],
    )
    able: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.stable_diffusion:CONTROLNET"

    controlnet: str
    control_image: str | None = None
    _: KW_ONLY
    controlnet_conditioning_scale: Number = 1.0

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``."""
        return xl_facts(configs)

    def check(self) -> None:
        """See ``Description.check``."""
        super().check()
        files.check_part("controlnet", self.controlnet, CONTROLNETS)
        if self.control_image:
            read_picture("control_image", self.control_image)


def read_picture(field: str, file: str) -> Image.Image:
    """Return a picture in RGB, turned as its EXIF orientation says, as diffusers does.

    Raises:
        FieldError: there is no such file, or it is no picture.
    """
    if not Path(file).is_file():
        raise FieldError(field, file, "no such file")
    try:
        return open_picture(Path(file), file, upright=True)
    except PictureError as error:
        raise FieldError(field, file, f"cannot be read as a picture: {error.reason}") from error
