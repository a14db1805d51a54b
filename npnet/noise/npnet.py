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
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


class Network(NoiseMethod):
    """Apply a trained member of ``npnet.networks`` (Golden Noise, section 3).

    Args:
        network_path: a directory that ``train.py`` left (``network/``), an official ``.pth``, or a hub id; the default
            is the network that ships with the Shapes model.
        text_term: ``off`` applies the network without its text term, and then needs no embeddings.
        network: the place of the network's class, ``my_pkg.MyNet``, where it is not one of this project; what a folder
            says of its class is not asked.
    """

    # a network trained by MSE shrinks the noise towards the mean of its targets
    variance_bound = (0.4, 2.5)

    def __init__(
        self, network_path: str | None = None, text_term: str | None = None, network: str | None = None
    ) -> None:
        self.network_path = network_path
        self.text_term = text_term
        self.network_class = network
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
        near = paths.network_nearby(path)
        near = f"; {near}" if near else ""
        if path.is_dir() and not (path / "config.json").is_file():
            raise UserError(f"network_path={self.network_path}: no network there (config.json is missing){near}")

    def load(self, backbone: Backbone, metrics: Mapping[str, Any] | None = None) -> Self:
        """See ``NoiseMethod.load``.

        Raises:
            UserError: no network is given for a backbone that ships none, its files are no network, or it was trained
                for other latents or other embeddings than the backbone's.
        """
        from npnet.networks import network_class

        path = self.network_path
        if path is None:
            if backbone.domain != "shapes":
                raise UserError("noise.npnet needs network_path=DIR (only the Shapes model ships a network)")
            path = str(paths.shapes_weights(getattr(backbone.description, "variant", "a")) / "network")
        try:
            options = {} if self.text_term is None else {"text_term": self.text_term}
            network = network_class(self.network_class).from_pretrained(path, **options)
        except UserError:
            raise
        except (ValueError, TypeError, OSError) as error:
            raise UserError(f"network_path={path}: {one_line(error)}") from error
        fault = network.misfit(backbone.latent_shape(), backbone.embed_dims(), backbone.name)
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
