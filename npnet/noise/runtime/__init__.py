"""The runtimes of noise methods; their descriptions are one level up."""

from npnet.noise.runtime.base import LoadedMethod

__all__ = ["LoadedMethod"]
