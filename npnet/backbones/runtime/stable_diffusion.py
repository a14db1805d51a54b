"""The U-Net families: Stable Diffusion 1.x and 2.x, SDXL, and SDXL with a ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime import loading
from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser, without_safety_checker
from npnet.backbones.runtime.text import PipelineText
from npnet.backbones.stable_diffusion import CONTROLNETS, StableDiffusionXLControlNet, read_picture
from npnet.errors import FieldError


class SDText(PipelineText):
    """One CLIP."""

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        embeds, _ = self.pipeline.encode_prompt(prompts, self.device, 1, do_classifier_free_guidance=False)
        return {"prompt_embeds": embeds}


class SDDenoiser(PipelineDenoiser):
    """A U-Net that reads one text."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        timestep = self.full(label)
        return self.module(latents, timestep, encoder_hidden_states=inputs["prompt_embeds"], return_dict=False)[0]


class SDXLText(PipelineText):
    """Two CLIPs, and the second one's pooled text."""

    returned = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, do_classifier_free_guidance=False
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def embed_nothing(self) -> dict[str, Tensor]:
        """See ``PipelineText.embed_nothing``: zeros, where the checkpoint says so (SDXL does)."""
        nothing = self.embed([""])
        if self.pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(tensor) for name, tensor in nothing.items()}
        return nothing


class SDXLDenoiser(PipelineDenoiser):
    """A U-Net that also gets the sizes of the picture and the pooled text."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        timestep = self.full(label)
        return self.module(latents, timestep, **self.conditions(latents, inputs), return_dict=False)[0]

    def conditions(self, latents: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the further inputs of the U-Net: text, pooled text, and SDXL's six sizes."""
        height, width = (side * self.vae_factor for side in latents.shape[-2:])
        count, dtype = len(latents), latents.dtype
        sizes = self.once(
            lambda: latents.new_tensor([[height, width, 0, 0, height, width]]).expand(count, -1),
            *("sizes", height, width, count, dtype),
        )
        return {
            "encoder_hidden_states": inputs["prompt_embeds"],
            "added_cond_kwargs": {"text_embeds": inputs["pooled_prompt_embeds"], "time_ids": sizes},
        }


class ControlNetDenoiser(SDXLDenoiser):
    """SDXL's U-Net with the residuals of a ControlNet.

    Args:
        adopted: a pipeline that has one.
    """

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted)
        description = adopted.description
        assert isinstance(description, StableDiffusionXLControlNet)
        self.scale, self._picture = description.controlnet_conditioning_scale, None
        if description.control_image:
            size = {"height": description.height, "width": description.width}
            picture = read_picture("control_image", description.control_image)
            self._picture = self.pipeline.control_image_processor.preprocess(picture, **size).to(self.device)

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        timestep = self.full(label)
        given = self.conditions(latents, inputs)
        down, middle = self.pipeline.controlnet(
            latents,
            timestep,
            **given,
            controlnet_cond=self.picture(latents, inputs),
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return self.module(
            latents,
            timestep,
            **given,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def picture(self, latents: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the control image of each sample.

        Raises:
            FieldError: there is none.
        """
        picture = inputs.get("control_image")
        if picture is None:
            if self._picture is None:
                raise FieldError("control_image", None, "a picture is needed")
            own, dtype = self._picture, latents.dtype
            picture = self.once(lambda: own.to(dtype), "picture", dtype).expand(len(latents), -1, -1, -1)
        return picture.to(latents.dtype)


def check_one_text(description: PipelineBackbone, pipeline: Any) -> None:
    """Refuse a U-Net that ``SDDenoiser`` cannot run."""
    _check_unet(description, pipeline, reads_sizes=False)


def check_sizes_read(description: PipelineBackbone, pipeline: Any) -> None:
    """Refuse a U-Net that ``SDXLDenoiser`` cannot run."""
    _check_unet(description, pipeline, reads_sizes=True)


def without_watermark(description: PipelineBackbone, dtype: torch.dtype) -> dict[str, Any]:
    """Leave out the invisible watermark."""
    return {"add_watermarker": False}


def with_controlnet(description: StableDiffusionXLControlNet, dtype: torch.dtype) -> dict[str, Any]:
    """Load the ControlNet."""
    controlnet = loading.load_part("controlnet", CONTROLNETS, description.controlnet, dtype)
    return {"add_watermarker": False, "controlnet": controlnet}


def _check_unet(description: PipelineBackbone, pipeline: Any, reads_sizes: bool) -> None:
    """Refuse a U-Net of the other family, or one that reads its guidance scale (an LCM), which is not passed."""
    key, source = ("denoiser", description.denoiser) if description.denoiser else ("path", description.source)
    if (pipeline.unet.config.addition_embed_type == "text_time") != reads_sizes:
        found = "no U-Net of SDXL's layout" if reads_sizes else "a U-Net of SDXL's layout"
        raise FieldError(key, source, f"{found}, so nothing for {description.name}")
    if pipeline.unet.config.time_cond_proj_dim is not None:
        raise FieldError(key, source, "its U-Net reads the guidance scale (LCM); use the LCM LoRA")


SD = Parts(SDText, SDDenoiser, options=without_safety_checker, check=check_one_text)
SDXL = Parts(SDXLText, SDXLDenoiser, options=without_watermark, check=check_sizes_read)
CONTROLNET = Parts(SDXLText, ControlNetDenoiser, options=with_controlnet, check=check_sizes_read)
