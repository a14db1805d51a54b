"""The learned map noise x prompt -> golden noise: the contract, NPNet, its parts, and how it is stored."""

from npnet.networks.base import NoiseNetwork
from npnet.networks.initialise import initialise_from
from npnet.networks.named import network_class
from npnet.networks.npnet import NPNet
from npnet.networks.start import Start
from npnet.networks.svd import Decomposition, decompose

__all__ = ["Decomposition", "NPNet", "NoiseNetwork", "Start", "decompose", "initialise_from", "network_class"]
