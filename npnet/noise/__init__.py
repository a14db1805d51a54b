"""Noise methods: initial noise in, better initial noise out; see ``base`` for the contract. Nothing imports torch."""

from npnet.noise.base import NoiseMethod, load_methods
from npnet.noise.best_of_n import BestOfN
from npnet.noise.divin import DivIn
from npnet.noise.erasure_injection import ErasureInjection
from npnet.noise.initno import InitNO
from npnet.noise.inversion import Inversion
from npnet.noise.noise_diffusion import NoiseDiffusion
from npnet.noise.npnet import Network
from npnet.noise.reno import ReNO
from npnet.noise.repaint import Repaint
from npnet.noise.search import Budget, SearchMethod
from npnet.noise.semantic_erasure import SemanticErasure
from npnet.noise.standard import Standard
from npnet.noise.zero_order_search import ZeroOrderSearch

__all__ = [
    "BestOfN",
    "Budget",
    "DivIn",
    "ErasureInjection",
    "InitNO",
    "Inversion",
    "Network",
    "NoiseDiffusion",
    "NoiseMethod",
    "ReNO",
    "Repaint",
    "SearchMethod",
    "SemanticErasure",
    "Standard",
    "ZeroOrderSearch",
    "load_methods",
]
