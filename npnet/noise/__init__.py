"""Noise methods: initial noise in, better initial noise out; see ``base`` for the contract."""

from npnet.noise.base import NoiseMethod
from npnet.noise.inversion import Inversion, redenoise, redenoise_gain
from npnet.noise.npnet import Network
from npnet.noise.standard import Standard

__all__ = ["Inversion", "Network", "NoiseMethod", "Standard", "redenoise", "redenoise_gain"]
