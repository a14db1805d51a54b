"""The learned map noise x prompt -> golden noise: NPNet, its parts, and how it is stored."""

from npnet.networks.checkpoint import initialise_from
from npnet.networks.npnet import NPNet
from npnet.networks.svd import Decomposition, decompose

__all__ = ["Decomposition", "NPNet", "decompose", "initialise_from"]
