"""Golden noise from a trained network: one small forward, no evaluation of the diffusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet import checks, paths
from npnet.errors import UserError, one_line
from npnet.noise.base import NoiseMethod
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones import Backbone


def misfit(config: Mapping[str, Any], backbone: Backbone) -> str | None:
    """Say why a network of these constructor arguments cannot serve a loaded ``backbone``; None where it can."""
    name, shape, dims = type(backbone).__name__, backbone.latent_shape(), backbone.embed_dims()
    if len(shape) != 3 or shape[0] != config["latent_channels"]:
        return f"was trained for latents ({config['latent_channels']}, h, w), {name}'s are {shape}"
    if config["text_term"] == "off":
        return None
    tied = ["prompt_embed_dim"]
    tied += ["prompt_length"] if config["text_term"] == "ada_group_norm" else []
    tied += ["pooled_embed_dim"] if config["text_term"] == "spatial" and config["pooled_embed_dim"] else []
    wrong = [key for key in tied if config[key] != dims[key]]
    if not wrong:
        return None
    got, there = (", ".join(f"{key} {values[key]}" for key in wrong) for values in (config, dims))
    return f"was trained for {got}, {name} has {there}; without its text term it may fit (text_term=off)"


class Network(NoiseMethod):
    """Apply a trained member of ``npnet.networks`` (Golden Noise, section 3).

    Args:
        network_path: a directory that ``train.py`` left (``network/``), an official ``.pth``, or a hub id; the default
            is the network that ships with the Shapes model.
        text_term: ``off`` applies the network without its text term, and then needs no embeddings.
    """

    # a network trained by MSE shrinks the noise towards the mean of its targets
    variance_bound = (0.4, 2.5)

    def __init__(self, network_path: str | None = None, text_term: str | None = None) -> None:
        self.network_path = network_path
        self.text_term = text_term
        self.network: Any = None

    def check(self) -> None:
        """See ``NoiseMethod.check``: a local path must exist."""
        if self.network_path is None:
            return
        if isinstance(self.network_path, list):
            raise UserError(f"network_path={self.network_path}: one network is needed; several are for evaluate.py")
        checks.text({"network_path": self.network_path}, "network_path")
        path = Path(self.network_path)
        looks_local = path.is_absolute() or self.network_path.startswith(".") or self.network_path.count("/") != 1
        if looks_local and not path.exists():
            raise UserError(f"network_path={self.network_path}: no such file or directory")
        if path.is_dir() and not (path / "config.json").is_file():
            raise UserError(f"network_path={self.network_path}: no network there (config.json is missing)")

    def load(self, backbone: Backbone, metrics: Mapping[str, Any] | None = None) -> Self:
        """See ``NoiseMethod.load``.

        Raises:
            UserError: no network is given for a backbone that ships none, its files are no network, or it was trained
                for other latents or other embeddings than the backbone's.
        """
        from npnet.networks import NPNet

        path = self.network_path
        if path is None:
            if backbone.domain != "shapes":
                raise UserError("noise.npnet needs network_path=DIR (only the Shapes model ships a network)")
            path = str(paths.shapes_weights(getattr(backbone, "shapes_variant", "a")) / "network")
        try:
            network = NPNet.from_pretrained(path, text_term=self.text_term)
        except (ValueError, OSError) as error:
            raise UserError(f"network_path={path}: {one_line(error)}") from error
        fault = misfit(network.config, backbone)
        if fault:
            raise UserError(f"network_path={path}: {fault}")
        self.network = network.to(backbone.device)
        return self

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``; deterministic."""
        with torch.no_grad():
            golden = self.network(
                noise.to(backbone.device),
                conditioning.prompt_embeds,
                conditioning.pooled_prompt_embeds,
                conditioning.prompt_mask,
            )
        return NoiseResult(golden.to(noise))

    def forwards(self, backbone: Backbone) -> int:
        """See ``NoiseMethod.forwards``: the diffusion model is not evaluated."""
        return 0
