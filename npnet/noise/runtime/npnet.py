"""Golden noise from a trained network; see ``npnet.noise.npnet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.traits import BackboneTraits
from npnet.errors import FieldError, reworded
from npnet.networks import NoiseNetwork, network_class
from npnet.noise.network_source import ALL_FREQUENCIES
from npnet.noise.npnet import Network
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.whiteness import low_pass
from npnet.records import Conditioning, NoiseResult

NUM_PROBES = 16
"""Noises over which a prompt's mean shift is taken: the same for every prompt, half of them the other half's negatives,
so that what is linear in the noise cancels. Our choice."""


def read_network(method: Network, backbone: BackboneTraits | LoadedBackbone) -> NoiseNetwork:
    """Read the network that ``method`` names, on the CPU; a description as ``backbone`` is enough for a check.

    Raises:
        UserError: no network is given for a backbone that ships none, its files are no network, or it was trained for
            other latents or other embeddings than the loaded backbone's.
    """
    path = method.folder(backbone)
    with reworded((ValueError, TypeError, OSError), partial(FieldError, "network_path", path)):
        options: dict[str, Any] = {} if method.text_term is None else {"text_term": method.text_term}
        network = network_class(method.network).from_pretrained(path, **options)
    fault = network.misfit(backbone.latent_shape(), backbone.embed_dims(), backbone.name)
    if fault:
        raise FieldError("network_path", path, fault)
    return network


class LoadedNetwork(LoadedMethod[Network]):
    """Applies a network.

    Args:
        method: its description.
        backbone: loaded.
        scorers: none are used.
        network: a network that is loaded already, on the backbone's device; by default the one that ``method`` names is
            read.

    Raises:
        UserError: see ``read_network``.
    """

    def __init__(
        self,
        method: Network,
        backbone: LoadedBackbone,
        scorers: Mapping[str, Any] = MappingProxyType({}),
        network: NoiseNetwork | None = None,
    ) -> None:
        super().__init__(method, backbone, scorers)
        self.network = read_network(method, backbone).to(backbone.device) if network is None else network

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``; deterministic."""
        with torch.no_grad():
            noise = noise.to(backbone.device)
            golden = self.network.improve(noise, conditioning)
            if self.method.mean_shift < 1:
                golden = golden - (1 - self.method.mean_shift) * self._mean_shifts(golden, conditioning)
            if self.method.max_frequency < ALL_FREQUENCIES:
                golden = noise + low_pass(golden - noise, self.method.max_frequency)
        return NoiseResult(golden.to(noise))

    def _mean_shifts(self, like: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the mean change of the probes for each prompt, ``(B, C, *grid)``; equal prompts are asked once."""
        generators = seeding.streams(range(NUM_PROBES // 2), "probe of the mean shift")
        half = seeding.randn_like(like[:1].expand(len(generators), *like.shape[1:]), generators)
        probes = torch.cat([half, -half])
        found: dict[str, Tensor] = {}
        for row, prompt in enumerate(conditioning.prompts):
            if prompt not in found:
                found[prompt] = (self.network.improve(probes, conditioning[[row] * NUM_PROBES]) - probes).mean(0)
        return torch.stack([found[prompt] for prompt in conditioning.prompts])
