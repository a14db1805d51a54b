"""SDXL with a ControlNet: every picture follows one control image, or each its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from npnet.backbones import loading, sources
from npnet.backbones.stable_diffusion import StableDiffusionXL
from npnet.errors import UserError, one_line

CONTROLNETS = ("ControlNetModel",)


class StableDiffusionXLControlNet(StableDiffusionXL):
    """SDXL steered by a ControlNet; the rest is ``StableDiffusionXL``.

    Args:
        path: see ``PipelineBackbone``.
        controlnet: a directory or hub id.
        control_image: the file of the picture that steers every sample. A caller that wants one for each sample puts
            ``extras["control_image"]``, ``(B, 3, H, W)`` in [0, 1], into the conditioning instead.
        controlnet_conditioning_scale: weight of its residuals.
        **common: see ``PipelineBackbone``.
    """

    pipeline_class = "StableDiffusionXLControlNetPipeline"

    def __init__(
        self,
        path: str,
        controlnet: str,
        control_image: str | None = None,
        controlnet_conditioning_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(path, **common)
        self.controlnet_path, self.control_image = controlnet, control_image
        self.controlnet_conditioning_scale = float(controlnet_conditioning_scale)
        self._picture: Tensor | None = None

    def check(self) -> None:
        """See ``Backbone.check``."""
        super().check()
        sources.check_part("backbone.controlnet", self.controlnet_path, CONTROLNETS)
        if self.control_image:
            read_picture(self.control_image)

    def pipeline_options(self) -> dict[str, Any]:
        """See ``PipelineBackbone.pipeline_options``."""
        controlnet = loading.load_part("backbone.controlnet", CONTROLNETS, self.controlnet_path, self.dtype)
        return {**super().pipeline_options(), "controlnet": controlnet}

    def adopt(self, pipeline: Any) -> Self:
        """See ``PipelineBackbone.adopt``."""
        super().adopt(pipeline)
        if self.control_image:
            size = {"height": self.height, "width": self.width}
            picture = pipeline.control_image_processor.preprocess(read_picture(self.control_image), **size)
            self._picture = picture.to(self.device)
        return self

    def conditions(self, latents: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """See ``StableDiffusionXL.conditions``; the residuals are added in ``denoise``."""
        picture = inputs.get("control_image")
        if picture is None:
            if self._picture is None:
                raise UserError("backbone.control_image: a picture is needed")
            picture = self._picture.expand(len(latents), -1, -1, -1)
        return {**super().conditions(latents, inputs), "controlnet_cond": picture.to(latents.dtype)}

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        timestep = torch.tensor(label, device=self.device)
        given = self.conditions(latents, inputs)
        down, middle = self.pipeline.controlnet(
            latents, timestep, **given, conditioning_scale=self.controlnet_conditioning_scale, return_dict=False
        )
        given.pop("controlnet_cond")
        return self.denoiser(
            latents,
            timestep,
            **given,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]


def read_picture(file: str) -> Any:
    """Return the control image in RGB, a PIL picture.

    Raises:
        UserError: there is no such file, or it is no picture.
    """
    from PIL import Image

    if not Path(file).is_file():
        raise UserError(f"backbone.control_image={file}: no such file")
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"backbone.control_image={file}: no picture that can be read: {one_line(error)}") from error
