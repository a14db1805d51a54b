"""Which trained network a noise method applies, and whether it fits a backbone."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from npnet.backbones.traits import ShippedNetwork
from npnet.bounds import Above, AtMost
from npnet.description import Description
from npnet.errors import FieldError
from npnet.fields import Name, Share
from npnet.fit import PURPOSE, elsewhere, misfit, npnet_sizes
from npnet.networks import stored
from npnet.untrusted import read_json
from npnet.weights.sources import check_source

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone
    from npnet.backbones.traits import BackboneTraits

log = logging.getLogger(__name__)
ALL_FREQUENCIES = 0.5
"""Cycles a cell: no grid holds a faster change."""
Frequency = Annotated[float, Above(0), AtMost(ALL_FREQUENCIES)]


@dataclass(frozen=True)
class NetworkSource(Description):
    """Where a trained network lies, and how much of it is applied.

    Args:
        network_path: a directory that ``train.py`` left (``network/``), an official ``.pth``, or a hub id; the default
            is the network that ships with the backbone; only Shapes ships one.
        text_term: ``off`` applies the network without its text term, and then needs no embeddings.
        network: the class of the network, such as ``my_pkg.MyNet``, where it is not one of this project. The class that
            a folder names is never used.
        shipped: which network that ships with the Shapes model to use where no ``network_path`` is given:
            ``recommended`` (a U-Net, trained on pairs that were re-denoised twice), ``paper`` (the published form) or
            ``reward`` (the recommended one, then trained on the gradient of the scorer; experimental).
        mean_shift: share of the prompt's mean shift that is applied, in [0, 1]. The mean shift is the network's average
            change over noises. It moves every noise of a prompt in the same way, and so makes the pictures more alike.
            1 applies the network unchanged; a smaller share keeps more diversity and gains less (ours,
            docs/frontier.md). It costs ``NUM_PROBES`` forwards of the network for each prompt, and none of the
            diffusion model.
        max_frequency: of the change, in cycles a cell, in (0, 0.5]: of each direction's frequencies, those above it are
            left out. 0.5 applies the network unchanged. A low value leaves the detail of the noise as it was drawn
            (after LENS, arXiv 2605.07253, which learns a low-frequency subspace; here the network is any).
    """

    network_path: Name | None = None
    text_term: Literal["off"] | None = None
    network: Name | None = None
    shipped: ShippedNetwork = "recommended"
    mean_shift: Share = 1.0
    max_frequency: Frequency = ALL_FREQUENCIES

    def __post_init__(self) -> None:
        if isinstance(self.network_path, (list, tuple)):
            needed = "one network is needed; several are for evaluate.py"
            raise FieldError("network_path", self.network_path, needed)
        super().__post_init__()

    def check(self) -> None:
        """See ``Description.check``: a local path must exist and hold a network."""
        if self.network is not None and not _is_place(self.network):
            raise FieldError("network", self.network, "the place of a class is needed, PACKAGE.CLASS")
        if self.network_path is None:
            return
        check_source(self.network_path, "network_path")
        stored.check(self.network_path, "network_path", self.network)

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``: only the Shapes model ships a network."""
        self.folder(backbone)

    def check_fit(self, backbone: BackboneTraits) -> None:
        """Refuse a network whose ``config.json`` says that it does not fit, before anything is loaded.

        A network that was trained for another model, or for latents of another size, causes a warning.

        Raises:
            FieldError: says what it was trained for.
        """
        file = Path(self.folder(backbone)) / "config.json"
        if self.network is not None or not file.is_file():
            return
        config = read_json(file)
        try:
            sizes = npnet_sizes(config if self.text_term is None else {**config, "text_term": "off"})
            size = tuple(config["latent_size"])
        except (KeyError, TypeError):
            return  # not an NPNet of this project: loading says what it is
        shape = backbone.latent_shape()
        can_go = config["text_term"] != "off" and self.text_term is None
        fault = misfit(sizes, shape, backbone.embed_dims(), backbone.name, can_go_without_text=can_go)
        if fault:
            raise FieldError("network_path", self.network_path, fault)
        own = {name: getattr(backbone, name, None) for name in ("path", "variant")}
        other = elsewhere(config.get(PURPOSE), type(backbone), own)
        if other is None and size != shape[-2:]:
            there, here = (" x ".join(map(str, sides)) for sides in (size, shape[-2:]))
            other = f"was trained for latents of {there} and is applied to {here}"
        if other is not None:
            log.warning("network_path=%s: %s", self.network_path, other)

    def folder(self, backbone: BackboneTraits | LoadedBackbone) -> str:
        """Return where the network lies: ``network_path``, or what ships with ``backbone``.

        Raises:
            FieldError: no network is given for a backbone that ships none.
        """
        if self.network_path is not None:
            return self.network_path
        described: Any = getattr(backbone, "description", backbone)
        folder: str | None = described.shipped_network(self.shipped)
        if folder is None:
            raise FieldError("network_path", None, "a network's folder is needed (only the Shapes model ships one)")
        return folder


def _is_place(name: str) -> bool:
    """Say whether ``name`` can be the place of a class; its package must be here, and is not imported."""
    parts = name.split(".")
    return len(parts) > 1 and all(map(str.isidentifier, parts)) and importlib.util.find_spec(parts[0]) is not None
