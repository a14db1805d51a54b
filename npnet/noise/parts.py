"""Whether a backbone, noise methods, metrics and prompts go together; asked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from npnet.backbones.samplers import check_sampler
from npnet.errors import UserError, under

if TYPE_CHECKING:
    from npnet.backbones import Backbone
    from npnet.metrics.base import Metric
    from npnet.noise.base import NoiseMethod


def check_parts(
    backbone: Backbone,
    methods: Mapping[str, NoiseMethod],
    metrics: Mapping[str, Metric],
    num_inference_steps: int | None = None,
    sampler: str = "default",
) -> None:
    """Check each part, then that they go together.

    Args:
        backbone: the model.
        methods: label -> noise method.
        metrics: label -> metric.
        num_inference_steps: of the sampling; None where nothing is sampled yet.
        sampler: see ``Backbone.sample``.

    Raises:
        UserError: names the part, and what it lacks.
    """
    for label, metric in metrics.items():
        if metric.domain not in ("any", backbone.domain):
            raise UserError(
                f"metric.{label} judges pictures of backbone={metric.domain} only, got {backbone.name}: "
                "choose other metrics with metric=[...]"
            )
        metric.check()
    with under("backbone"):
        backbone.check()
    check_sampler(sampler, backbone, num_inference_steps)
    if "decode" not in backbone.capabilities:
        raise UserError(f"{backbone.name} makes no pictures by itself, so metrics cannot score it")
    for label, method in methods.items():
        method.check_backbone(backbone, label)
        check_scorers(label, method, metrics)
        method.check()


def check_scorers(label: str, method: NoiseMethod, metrics: Mapping[str, Metric]) -> None:
    """Refuse a method whose scorers are not among the metrics, or give it no gradients where it follows them."""
    missing = [name for name in method.scorers if name not in metrics]
    if missing:
        wanted = ",".join([*metrics, *missing])
        raise UserError(f"noise.{label} optimises {', '.join(missing)}: add it to the metrics, metric=[{wanted}]")
    if getattr(method, "needs_gradients", False):
        for name in method.scorers:
            if not metrics[name].differentiable:
                able = ", ".join(other for other, metric in metrics.items() if metric.differentiable) or "none"
                raise UserError(f"noise.{label} follows gradients, which metric.{name} does not have; have: {able}")


def check_prompts(backbone: Backbone, prompts: Iterable[str]) -> None:
    """Refuse prompts that the model has no words for.

    Raises:
        UserError: names the first such prompt.
    """
    backbone.check_prompts(prompts)
