"""The state of a backbone that must be the same after a use."""

from __future__ import annotations

from typing import Any

import torch


def state_of(backbone: Any) -> dict[str, Any]:
    """Return a backbone's attributes by identity, the cost and what is cached left out, and its modules' modes."""
    values: dict[str, Any] = {
        name: id(value) for name, value in vars(backbone).items() if name not in ("cost", "encoded")
    }
    pipeline = getattr(backbone, "pipeline", None)
    for name, part in [*vars(backbone).items(), *getattr(pipeline, "components", {}).items()]:
        if not isinstance(part, torch.nn.Module):
            continue
        values[f"{name} (training mode)"] = part.training
        values[f"{name} (gradients)"] = tuple(parameter.requires_grad for parameter in part.parameters())
        processors = getattr(part, "attn_processors", None)
        values[f"{name} (attention)"] = None if processors is None else [id(own) for own in processors.values()]
    return values
