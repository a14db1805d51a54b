"""The built-in Shapes model: a genuine, small SDXL pipeline that ships with the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from npnet import paths
from npnet.backbones.stable_diffusion import StableDiffusionXL
from npnet.errors import UserError, one_line
from npnet.records import Conditioning


class Shapes(StableDiffusionXL):
    """32 x 32 pictures of two coloured shapes; latents ``(4, 16, 16)``.

    Args:
        path: another pipeline directory made by ``python -m npnet.shapes.build``; the default is a shipped one.
        height: picture height in pixels, a multiple of 2.
        width: picture width in pixels.
        settings: see ``Backbone``.
        device: see ``Backbone``.
        dtype: see ``Backbone``.
        variant: which of the shipped models, ``a`` or ``b``.
    """

    domain = "shapes"
    size_multiple = 2

    def __init__(
        self,
        path: str | None = None,
        height: int = 32,
        width: int = 32,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "float32",
        variant: str = "a",
    ) -> None:
        self.shapes_variant = variant  # `variant` is the weight files', as in diffusers
        shipped = str(paths.shapes_weights(variant) / "pipeline")
        super().__init__(path or shipped, height, width, settings=settings, device=device, dtype=dtype)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """See ``Backbone.encode``.

        Raises:
            UserError: a prompt is outside the Shapes grammar, whose words are all the model knows.
        """
        from npnet.shapes.grammar import parse

        for prompt in dict.fromkeys(prompts):
            try:
                parse(prompt)
            except ValueError as error:
                raise UserError(f"backbone=shapes: {one_line(error)}") from error
        return super().encode(prompts)
