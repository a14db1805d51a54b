"""A diffusers pipeline together with its description, from which a family makes its three parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from npnet.backbones.layout import Facts
from npnet.backbones.pipeline import PipelineBackbone


@dataclass(frozen=True)
class Adopted:
    """A pipeline, its description, and where it runs.

    Attributes:
        description: of the model.
        pipeline: of diffusers, its modules on the device.
        device: of the latents.
        dtype: of the network.
        loaded_from_path: False for a pipeline that existed already. Its text encoders may be any, so its embeddings are
            not cached.
        borrowed: the pipeline belongs to the caller, so its modules stay on their devices.
    """

    description: PipelineBackbone
    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    loaded_from_path: bool = False
    borrowed: bool = False

    @property
    def module(self) -> Any:
        """The network that is evaluated at every step."""
        return getattr(self.pipeline, self.description.layout.denoiser)

    @cached_property
    def facts(self) -> Facts:
        """The sizes of this very pipeline."""
        found = configs(self.pipeline)
        return self.description.facts_of(lambda part: found.get(part, {}))

    def latent_shape(self, *size: int | None, **sides: int | None) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``."""
        return self.description.latent_shape(*size, **sides, facts=self.facts)  # type: ignore[misc]

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``."""
        return self.description.embed_dims(facts=self.facts)


def configs(pipeline: Any) -> dict[str, Mapping[str, Any]]:
    """Return the configurations of a pipeline's parts, in the form of their files."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            config: Any = part.config
            found[name] = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        elif name.startswith("tokenizer") and part is not None:
            found[name] = {"model_max_length": part.model_max_length}
    return found
