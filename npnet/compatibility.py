"""Checks that a backbone, noise methods, metrics and prompts go together.

They use descriptions, before anything is loaded. An error names its key as the user types it: the parts know their own
fields, and the labels are added here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from npnet.backbones.samplers import check_sampler
from npnet.description import imported
from npnet.errors import FieldError, UserError, under
from npnet.noise.search import SearchMethod

if TYPE_CHECKING:
    from npnet.backbones import Backbone
    from npnet.backbones.traits import BackboneTraits
    from npnet.data.prompts import Prompts, PromptSet
    from npnet.data.seeds import Seeds
    from npnet.metrics.base import Metric
    from npnet.metrics.spaces import FeatureSpace
    from npnet.noise.base import NoiseMethod


@contextmanager
def part(where: str) -> Iterator[None]:
    """Name the part that an error raised inside is about: its key by ``under``, any other line by a word in front."""
    with under(where):
        try:
            yield
        except FieldError:
            raise
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def resolve(
    backbone: Backbone, methods: Mapping[str, NoiseMethod], metrics: Mapping[str, Metric]
) -> dict[str, NoiseMethod]:
    """Fill in what methods leave open: a search without a ``scorer`` gets the first metric that it can maximise.

    That is the first of the run's metrics, in their order, that judges this backbone's pictures and, where the method
    follows gradients, has them.

    Args:
        backbone: the model.
        methods: label -> noise method.
        metrics: label -> metric.

    Returns:
        The methods by the same labels, in the same order.

    Raises:
        UserError: no metric will do.
    """
    return {
        label: _with_scorer(label, method, backbone, metrics)
        if isinstance(method, SearchMethod) and method.scorer is None
        else method
        for label, method in methods.items()
    }


def _with_scorer(label: str, method: SearchMethod, backbone: Backbone, metrics: Mapping[str, Metric]) -> NoiseMethod:
    for name, metric in metrics.items():
        if fits(metric, backbone) and (metric.differentiable or not method.needs_gradients):
            return replace(method, scorer=name)
    with_gradients = " and gives gradients, which it follows" if method.needs_gradients else ""
    needed = f"a metric is needed that judges pictures of {backbone.name}{with_gradients}"
    raise FieldError(f"noise.{label}.scorer", None, f"{needed}; this run has: {', '.join(metrics) or 'none'}")


def fits(reader: Metric | FeatureSpace, backbone: Backbone) -> bool:
    """Say whether a metric, or a space of features, reads the pictures of a backbone."""
    return reader.domain in ("any", backbone.domain)


def check_parts(
    backbone: Backbone,
    methods: Mapping[str, NoiseMethod],
    metrics: Mapping[str, Metric],
    num_inference_steps: int | None = None,
    sampler: str = "default",
) -> dict[str, NoiseMethod]:
    """Check each part and that they go together, and settle what the methods leave open, see ``resolve``.

    Args:
        backbone: the model.
        methods: label -> noise method.
        metrics: label -> metric.
        num_inference_steps: of the sampling; None where nothing is sampled yet.
        sampler: see ``Backbone.sample``.

    Returns:
        The methods by the same labels, with what they left open settled.

    Raises:
        UserError: names the part, and what it lacks.
    """
    _check_readers("metric", "judges", "metrics", backbone, metrics)
    with under("backbone"):
        backbone.check()
    check_sampler(sampler, backbone, num_inference_steps)
    if "decode" not in backbone.capabilities:
        raise UserError(f"{backbone.name} makes no pictures by itself, so metrics cannot score it")
    settled = resolve(backbone, methods, metrics)
    for label, method in settled.items():
        check_method(label, method, backbone)
        check_scorers(label, method, metrics)
        if method.applied_network is not None:
            with part(f"noise.{label}"):
                method.applied_network.check_fit(backbone)
    return settled


def check_spaces(backbone: Backbone, spaces: Mapping[str, FeatureSpace]) -> None:
    """Refuse spaces of features that do not read the pictures of ``backbone``, or whose files are not there.

    Raises:
        UserError: names the space.
    """
    _check_readers("diversity", "reads", "spaces", backbone, spaces)


def _check_readers(
    group: str, reads: str, plural: str, backbone: Backbone, readers: Mapping[str, Metric] | Mapping[str, FeatureSpace]
) -> None:
    """Refuse what cannot read the pictures of ``backbone``, or whose files are not there."""
    for label, reader in readers.items():
        if not fits(reader, backbone):
            raise UserError(
                f"{group}.{label} {reads} pictures of backbone={reader.domain} only, got {backbone.name}: "
                f"choose other {plural} with {group}=[...]"
            )
        with under(f"{group}.{label}"):
            reader.check()


def check_network_path(config: Mapping[str, Any], methods: Mapping[str, NoiseMethod]) -> None:
    """Refuse a command's ``network_path`` where no method of the run applies a network.

    Raises:
        FieldError: names it.
    """
    path = config.get("network_path")
    if path is not None and not any(_takes_network(method) for method in methods.values()):
        raise FieldError("network_path", path, f"no method applies one ({', '.join(methods)}); add npnet to noise")


def _takes_network(method: NoiseMethod) -> bool:
    """Say whether a method's YAML reads the command's key; a search has a ``network_path`` of its own."""
    return hasattr(method, "network_path") and not isinstance(method, SearchMethod)


def settled_nodes(nodes: Mapping[str, Any], methods: Mapping[str, NoiseMethod]) -> dict[str, Any]:
    """Write what ``check_parts`` settled into the configuration's nodes, which name what a folder was asked for.

    Args:
        nodes: label -> node of ``noise``.
        methods: by the same labels, as ``check_parts`` returned them.
    """
    settled = dict(nodes)
    for label, method in methods.items():
        if isinstance(method, SearchMethod) and nodes[label].get("scorer") is None:
            settled[label] = {**nodes[label], "scorer": method.scorer}
    return settled


def check_method(label: str, method: NoiseMethod, backbone: BackboneTraits) -> None:
    """Refuse a method that cannot run on ``backbone``, or whose files are not there.

    Raises:
        UserError: names the method by its label.
    """
    backbone.require(method.needs, f"noise.{label}")
    with part(f"noise.{label}"):
        method.check_backbone(backbone)
        method.check()


def check_scorers(label: str, method: NoiseMethod, metrics: Mapping[str, Metric]) -> None:
    """Refuse a method whose scorers are not among the metrics, or give it no gradients where it follows them.

    Raises:
        UserError: names the method by its label.
    """
    check_raised(f"noise.{label}", method.scorers, method.needs_gradients, metrics)


def check_raised(who: str, labels: Iterable[str], needs_gradients: bool, metrics: Mapping[str, Metric]) -> None:
    """Refuse labels that are not among the metrics, or whose metrics give no gradients to ``who`` follows them.

    Raises:
        UserError: names ``who``.
    """
    labels = list(labels)
    missing = [name for name in labels if name not in metrics]
    if missing:
        wanted = ",".join([*metrics, *missing])
        raise UserError(f"{who} optimises {', '.join(missing)}: add it to the metrics, metric=[{wanted}]")
    for name in labels if needs_gradients else ():
        if not metrics[name].differentiable:
            able = ", ".join(other for other, metric in metrics.items() if metric.differentiable) or "none"
            raise UserError(f"{who} follows gradients, which metric.{name} does not have; have: {able}")


def check_ready(backbone: Backbone, methods: Mapping[str, NoiseMethod]) -> None:
    """Refuse a device that this machine lacks, and networks whose weights cannot be applied; this imports torch.

    A command calls it before its work. A dry run does not, because the GPU for the run may be in another machine.

    Raises:
        UserError: names the device, or the network.
    """
    with under("backbone"):
        backbone.check_device()
    for label, method in methods.items():
        if method.applied_network is not None:
            with part(f"noise.{label}"):
                imported("npnet.noise.runtime.npnet:read_network")(method.applied_network, backbone)


def read_prompts(backbone: Backbone, prompts: Prompts, seeds: Seeds) -> PromptSet:
    """Read a run's prompts, and check that they can have seeds and that the model has words for them.

    Called after what costs nothing to check: reading may fetch a published file.

    Raises:
        UserError: the prompts cannot be read, have no seed, or are not the model's.
    """
    with under("prompts"):
        prompts.check()
        found = prompts.read()
    seeds.number(found)
    check_prompts(backbone, found.prompts)
    return found


def check_prompts(backbone: Backbone, prompts: Iterable[str]) -> None:
    """Refuse prompts with words that the model does not know.

    Raises:
        UserError: names the first such prompt.
    """
    backbone.check_prompts(prompts)
