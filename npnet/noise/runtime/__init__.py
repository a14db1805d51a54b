"""What noise methods do; their descriptions are one level up."""

from npnet.noise.runtime.base import LoadedMethod

__all__ = ["LoadedMethod"]
