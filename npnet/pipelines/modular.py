"""Golden noise as a block of modular diffusers, for Stable Diffusion XL.

The block stands before the one that prepares the latents. It draws the noise as that one would, takes it through the
network, and leaves it in ``latents``, which every later block uses as it uses latents that a person gives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers.modular_pipelines import InputParam, ModularPipelineBlocks, OutputParam
from diffusers.utils.torch_utils import randn_tensor

from npnet.errors import UserError
from npnet.pipelines.attached import seeds_of
from npnet.pipelines.families import as_backbone
from npnet.pipelines.golden import GoldenNoise
from npnet.records import Conditioning
from npnet.work import atomic

CODE = "golden_noise_block"
"""The file of a hub repository that names the class."""
EMBEDS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")


class GoldenNoiseBlock(ModularPipelineBlocks):
    """Better initial noise by a trained network.

    Two ways to get one::

        block = GoldenNoiseBlock("path/or/hub-id")
        block = ModularPipelineBlocks.from_pretrained(REPOSITORY, trust_remote_code=True, network=REPOSITORY)

    The second is for repositories that ``save_pretrained`` wrote. In the blocks of a pipeline it comes second in
    ``denoise``, after the one that counts the prompts::

        blocks.sub_blocks["denoise"].sub_blocks.insert("golden_noise", block, 1)

    Args:
        network: a folder that ``train.py`` left, a hub id, an official ``.pth``, or a ``GoldenNoise`` with a network.

    Raises:
        UserError: there is no network.
        ValueError, OSError: see ``NPNet.from_pretrained``.
    """

    model_name = "stable-diffusion-xl"

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
        optional = ("latents", "prompt", "height", "width", "generator", "dtype", *EMBEDS[1:])
        return [
            *(InputParam(name) for name in optional),
            InputParam("num_images_per_prompt", default=1),
            InputParam("batch_size", required=True),
            InputParam("prompt_embeds", required=True),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What is left in the state, for diffusers."""
        return [
            OutputParam("latents", type_hint=torch.Tensor, description="golden noise, before the scheduler's scale")
        ]

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
            backbone = as_backbone(components, height=block.height, width=block.width)
            count = block.batch_size * block.num_images_per_prompt
            dtype = block.dtype or components.vae.dtype
            noise = randn_tensor(
                (count, *backbone.latent_shape()), generator=block.generator, device=backbone.device, dtype=dtype
            )
            said = [block.prompt] if isinstance(block.prompt, str) else list(block.prompt or [""] * block.batch_size)
            prompts = tuple(prompt for prompt in said for _ in range(count // len(said)))
            conditioning = Conditioning(prompts, **{name: getattr(block, name) for name in EMBEDS})
            better = self.golden.improve(
                components, noise.float(), conditioning, backbone, seeds_of(block.generator, noise), {}
            )
            block.latents = better.to(noise)
        mine.set_block_state(state, block)
        return components, state

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
            raise UserError("push_to_hub=True: save to a folder, and push that (huggingface-cli upload)")
        self.network.save_pretrained(Path(save_directory))
        mine: Any = self  # see ``__call__``
        mine.register_to_config(auto_map={"ModularPipelineBlocks": f"{CODE}.{type(self).__name__}"})
        mine.save_config(save_directory=save_directory, **options)
        code = (
            f'"""Needs npnet-lightning."""\n\nfrom {type(self).__module__} import {type(self).__name__}  # noqa: F401\n'
        )
        atomic.write_bytes(Path(save_directory) / f"{CODE}.py", code.encode())
