"""Golden noise as a block of modular diffusers, for the families that diffusers has in this form.

The block comes before the one that prepares the latents. It draws the same noise, applies the network, and stores the
result in ``latents``. Later blocks use it like latents from the user.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.modular_pipelines import InputParam, ModularPipelineBlocks, OutputParam
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from npnet import backbones
from npnet.errors import UserError
from npnet.pipelines.attached import seeds_of
from npnet.pipelines.families import as_argument, as_backbone, family_of
from npnet.pipelines.golden import GoldenNoise
from npnet.pipelines.methods import improve
from npnet.pipelines.prompts import ENCODED, calls_of, overheard
from npnet.work import atomic

FAMILIES = (
    backbones.StableDiffusionXL,
    backbones.StableDiffusion3,
    backbones.Flux,
    backbones.Flux2Klein,
    backbones.QwenImage,
    backbones.ZImage,
    backbones.Wan,
)
"""Those whose blocks leave embeddings in the state under the names by which the plain pipeline takes them."""
IN_FLOAT32 = (backbones.ZImage, backbones.Wan)
"""Those that draw their noise in float32, whatever the network computes in."""
FROM_PICTURES = re.compile("Img2Img|WithStrength|ImageLatents|withImage")
"""In the names of blocks beside the one that draws the noise, where noise is not all that a picture starts from."""
SIZES = ("height", "width", "num_frames", "max_sequence_length")
PREPARES = "PrepareLatentsStep"
"""Ends the name of the block that draws the noise: ``FluxPrepareLatentsStep``."""
CODE = "golden_noise_block"
"""The file of a hub repository that names the class."""


class GoldenNoiseBlock(ModularPipelineBlocks):
    """Better initial noise by a trained network.

    There are two ways to get one:

        block = GoldenNoiseBlock("path/or/hub-id")
        block = ModularPipelineBlocks.from_pretrained(REPOSITORY, trust_remote_code=True, network=REPOSITORY)

    The second is for repositories that ``save_pretrained`` wrote. A block finds its place by itself:

        block.insert_into(blocks)

    Args:
        network: a folder that ``train.py`` left, a hub id, an official ``.pth``, or a ``GoldenNoise`` with a network.

    Raises:
        UserError: there is no network.
        ValueError, OSError: see ``NPNet.from_pretrained``.
    """

    def __init__(self, network: str | GoldenNoise | None = None) -> None:
        super().__init__()
        if network is None:
            raise UserError("GoldenNoiseBlock: network=PATH is needed: a folder or a hub id")
        golden = network if isinstance(network, GoldenNoise) else GoldenNoise.from_pretrained(network)
        if golden.network is None:
            raise UserError("GoldenNoiseBlock: a block applies a network; other noise methods need attach()")
        self.golden, self.network = golden, golden.network

    @property
    def description(self) -> str:
        """What the block does, for diffusers."""
        return "Draws the initial noise and improves it by a trained network; latents that are given stay as they are."

    @property
    def inputs(self) -> list[InputParam]:
        """What is read of the state, for diffusers."""
        encoded = {name for family in FAMILIES for names in ENCODED[family] for name in names} - {"prompt_embeds"}
        optional = ("latents", "prompt", "generator", "dtype", *SIZES)
        return [
            *(InputParam(name) for name in (*optional, *sorted(encoded))),
            InputParam("prompt_embeds", required=True),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What is left in the state, for diffusers."""
        return [
            OutputParam("latents", type_hint=torch.Tensor, description="golden noise, before the scheduler's scale")
        ]

    def insert_into(self, blocks: Any) -> None:
        """Insert the block before each block that draws the noise of text-to-image sampling.

        Args:
            blocks: of a whole pipeline, such as ``StableDiffusionXLAutoBlocks()``.

        Raises:
            UserError: no block draws noise, or it is of no family that has golden noise here.
        """
        found = list(_places(blocks))
        if not found:
            known = ", ".join(family.layout.pipeline.removesuffix("Pipeline") for family in FAMILIES)
            raise UserError(
                f"{type(blocks).__name__}: no block that draws noise for a prompt; allowed: those of {known}"
            )
        for container, index in found:
            container.sub_blocks.insert("golden_noise", self, index)

    @torch.no_grad()
    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        """Draw and improve the noise.

        Args:
            components: the modular pipeline.
            state: of its run.

        Raises:
            UserError: the network was trained for another model, or a size does not fit.
        """
        mine: Any = self  # diffusers gives its base classes no types
        block = mine.get_block_state(state)
        if block.latents is None:
            block.latents = self._golden(components, block)
        mine.set_block_state(state, block)
        return components, state

    def _golden(self, components: Any, block: Any) -> Tensor:
        family = family_of(components)
        sizes = {name: getattr(block, name) or getattr(components, f"default_{name}", None) for name in SIZES}
        backbone = as_backbone(components, **sizes)
        embeds = {name: getattr(block, name) for names in ENCODED[family] for name in names}
        dtype = torch.float32 if family in IN_FLOAT32 else block.dtype or components.vae.dtype
        shape = (len(block.prompt_embeds), *backbone.latent_shape())
        noise = randn_tensor(shape, generator=block.generator, device=backbone.device, dtype=dtype)
        conditioning = overheard(backbone, calls_of(family, block.prompt, embeds), len(noise))
        method, seeds = self.golden.load(components, backbone, {}), seeds_of(block.generator, noise)
        better = improve(method, backbone, noise.float(), conditioning, seeds)
        return as_argument(components, better).to(noise)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> None:
        """Write what a hub repository needs: the network, and two files that name this class.

        Args:
            save_directory: made where it is not there.
            push_to_hub: not done here; push the folder as any other.
            **options: see ``ModularPipelineBlocks.save_pretrained``.

        Raises:
            UserError: ``push_to_hub`` was asked for.
        """
        if push_to_hub:
            raise UserError("push_to_hub=True: save to a folder, and push that (hf upload)")
        self.network.save_pretrained(Path(save_directory))
        mine: Any = self  # see ``__call__``
        mine.register_to_config(auto_map={"ModularPipelineBlocks": f"{CODE}.{type(self).__name__}"})
        mine.save_config(save_directory=save_directory, **options)
        code = (
            f'"""Needs npnet-lightning."""\n\nfrom {type(self).__module__} import {type(self).__name__}  # noqa: F401\n'
        )
        atomic.write_bytes(Path(save_directory) / f"{CODE}.py", code.encode())


def _places(blocks: Any) -> Iterator[tuple[Any, int]]:
    """Return the blocks of blocks, at any depth, in which noise is drawn for text alone, and where in them."""
    named = {f"{family.layout.pipeline.removesuffix('Pipeline')}{PREPARES}" for family in FAMILIES} | {
        f"Flux2{PREPARES}"
    }
    inside = list(blocks.sub_blocks.values())
    from_pictures = any(FROM_PICTURES.search(type(inner).__name__) for inner in inside)
    for index, inner in enumerate(inside):
        if type(inner).__name__ in named and not from_pictures:
            yield blocks, index
        elif getattr(inner, "sub_blocks", None):
            yield from _places(inner)
