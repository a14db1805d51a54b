"""The start of fine-tuning, as a function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npnet.networks.base import NoiseNetwork


def initialise_from(network: NoiseNetwork, source: str | Path, **hub_options: Any) -> list[str]:
    """Copy the weights of a network trained for another backbone into ``network``; see ``NoiseNetwork.start_from``.

    Returns:
        The keys left newly initialised: empty, or all of the text's.

    Raises:
        FileNotFoundError: as ``NoiseNetwork.from_pretrained``.
        ValueError: weights other than those of the text term do not match.
    """
    return list(network.start_from(source, **hub_options).fresh)
