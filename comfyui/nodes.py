"""The nodes: load a network, make golden noise for ``SamplerCustomAdvanced``, and make the noise in a latent golden.

ComfyUI passes these values: LATENT is ``{"samples": (B, C, h, w)}``; CONDITIONING is a list of ``[prompt_embeds (1 or
B, L, D), {"pooled_output": (1 or B, P)}]``; NOISE is an object with ``seed`` and ``generate_noise(latent)``. Noise is
N(0, 1): the sampler scales it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from npnet import NPNet

CATEGORY = "golden noise"


class LoadNetwork:
    """Load a network: a folder that ``train.py`` left, a hub id, or an official ``.pth``."""

    RETURN_TYPES = ("NPNET",)
    FUNCTION = "load"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs of the node."""
        return {"required": {"network_path": ("STRING", {"default": "run/network"})}}

    def load(self, network_path: str) -> tuple[NPNet]:
        """Load the network; ComfyUI shows an error in the path or the file."""
        return (NPNet.from_pretrained(network_path.strip()),)


class GoldenNoise:
    """Golden noise for a prompt, made from the noise of a seed, for ``SamplerCustomAdvanced``."""

    RETURN_TYPES = ("NOISE",)
    FUNCTION = "make"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs of the node."""
        seed = ("INT", {"default": 0, "min": 0, "max": 2**63 - 1, "control_after_generate": True})
        return {"required": {"network": ("NPNET",), "positive": ("CONDITIONING",), "noise_seed": seed}}

    def make(self, network: NPNet, positive: Any, noise_seed: int) -> tuple[Noise]:
        """Return an object that makes the noise for the latent it is given."""
        return (Noise(network, positive, noise_seed),)


class GoldenLatent:
    """A latent of golden noise for a prompt; sample from it with ``add_noise`` off."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "improve"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the inputs of the node."""
        return {"required": {"network": ("NPNET",), "positive": ("CONDITIONING",), "noise": ("LATENT",)}}

    def improve(self, network: NPNet, positive: Any, noise: dict[str, Any]) -> tuple[dict[str, Any]]:
        """Return the latent with its samples made golden.

        Raises:
            ValueError: the samples are no noise, or the network was trained for another model.
        """
        samples = noise["samples"]
        deviation = float(samples.float().std()) if samples.numel() else 0.0
        if not 0.5 < deviation < 2:
            raise ValueError(f"the latent is no noise N(0, 1): its standard deviation is {deviation:.2f}")
        return ({**noise, "samples": golden(network, samples, positive)},)


class Noise:
    """What ``SamplerCustomAdvanced`` takes as NOISE.

    Args:
        network: makes the noise golden.
        positive: conditioning of the prompt.
        seed: of the first picture of a batch; the next ones count on, as one picture at a time would be drawn.
    """

    def __init__(self, network: NPNet, positive: Any, seed: int) -> None:
        self.network, self.positive, self.seed = network, positive, seed

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        """Return noise of the shape of ``input_latent``, ``(B, C, h, w)`` float32 on the CPU."""
        shape = input_latent["samples"].shape
        generators = [torch.Generator("cpu").manual_seed(self.seed + index) for index in range(shape[0])]
        noise = torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators])
        return golden(self.network, noise, self.positive)


@torch.no_grad()
def golden(network: NPNet, noise: Tensor, positive: Any) -> Tensor:
    """Return golden noise, of the shape, dtype and device of ``noise`` ``(B, C, h, w)``.

    The first conditioning is used. Of a prompt that is longer than the network reads, the first tokens are used, as in
    diffusers; a shorter one is refused.

    Raises:
        ValueError: there is no conditioning, or the network was trained for another model.
    """
    if not positive:
        raise ValueError("positive: a conditioning is needed")
    embeds, extras = positive[0][0], positive[0][1]
    pooled = extras.get("pooled_output")
    length = network.sizes.get("prompt_length")
    if length is not None:
        embeds = embeds[:, :length]
    dims = {"prompt_embed_dim": embeds.shape[-1], "prompt_length": embeds.shape[1]}
    dims["pooled_embed_dim"] = 0 if pooled is None else pooled.shape[-1]
    fault = network.misfit(noise.shape[1:], dims, "this model")
    if fault:
        raise ValueError(f"the network {fault}")
    device = next(network.parameters()).device
    rows = [_rows(tensor, len(noise), device) for tensor in (embeds, pooled)]
    return network(noise.to(device), *rows).to(noise)


def _rows(tensor: Tensor | None, count: int, device: torch.device) -> Tensor | None:
    """Return a row for each sample of a batch."""
    if tensor is None:
        return None
    if len(tensor) not in (1, count):
        raise ValueError(f"positive: conditionings of {len(tensor)} prompts for {count} pictures")
    return tensor.to(device).expand(count, *tensor.shape[1:])


NODE_CLASS_MAPPINGS = {
    "NPNetLoadNetwork": LoadNetwork,
    "NPNetGoldenNoise": GoldenNoise,
    "NPNetGoldenLatent": GoldenLatent,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "NPNetLoadNetwork": "Load NPNet",
    "NPNetGoldenNoise": "Golden Noise",
    "NPNetGoldenLatent": "Golden Noise of a Latent",
}
