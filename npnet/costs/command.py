"""The command ``npnet plan``: a table of all backbones, or the cost of one backbone or network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from npnet.backbones import Backbone
from npnet.costs import wording
from npnet.costs.counts import Counts, Group, find, keep
from npnet.costs.gpus import GPU, chosen
from npnet.costs.runs import notes
from npnet.costs.table import Jobs, jobs, plain, rows
from npnet.description import imported
from npnet.fields import Count
from npnet.instantiate import Node
from npnet.metrics import Metric
from npnet.paths import config_dirs, options
from npnet.settings import read, resolved
from npnet.work.numerics import RunKeys

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class PlanSettings(RunKeys):
    """The keys of ``npnet plan``; see ``conf/plan.yaml``.

    Attributes:
        gpu: where.
        backbone: the one that is asked about; None: all that ship.
        network: the one that is asked about.
        metric: label -> metric, of the pictures.
        pairs: to try: not all are kept.
        pictures: to evaluate.
        batch_size: of training, in one process.
    """

    gpu: GPU = field(default_factory=GPU)
    backbone: Backbone | None = None
    network: Node | None = None
    metric: dict[str, Metric] = field(default_factory=dict)
    pairs: Count = 1000
    pictures: Count = 1000
    batch_size: Count = 64


def plan(cfg: DictConfig) -> None:
    """Print the requested estimates.

    Raises:
        UserError: a key or value is not allowed, or the sizes of a model are not known.
    """
    settings = read(PlanSettings, resolved(cfg))
    lines = []
    if settings.backbone is not None:
        lines += describe_backbone(settings, settings.backbone)
    if settings.network is not None:
        lines += describe_network(settings, sized(settings.network, settings.backbone))
    print("\n".join(lines or describe_all(settings)))


def describe_all(settings: PlanSettings) -> list[str]:
    """Return the table over the backbones."""
    gpus, found = chosen(settings.gpu), all_jobs(settings)
    head = (
        f"{settings.pairs:,} pairs tried / {settings.pictures:,} pictures evaluated with {_metrics(settings)}"
        f"{wording.by(settings.workers)}"
    )
    share = f"an estimate from counts, at {100 * gpus[0].share:.0f} % of a GPU's peak; no = does not fit"
    return [
        f"{head}: {share}",
        plain(rows(found, gpus, settings.pairs, settings.pictures, settings.workers)),
        "npnet plan backbone=NAME shows the parts of one, with any of its keys; --help lists the keys",
    ]


def all_jobs(settings: PlanSettings) -> list[Jobs]:
    """Return the jobs of every backbone that is here and draws any prompt; to be called where Hydra composes."""
    arguments = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    own = [f"--config-dir={source.path}" for source in arguments if source.provider == "command-line"]
    found = []
    for name in options("backbone", config_dirs(own)):
        backbone = read(PlanSettings, resolved(compose("plan", [f"backbone={name}"]))).backbone
        if backbone is not None and backbone.domain == "any":
            found.append(jobs(name, backbone, settings.metric))
    return found


def describe_backbone(settings: PlanSettings, backbone: Backbone) -> list[str]:
    """Return what collecting and evaluating with one backbone costs; it is counted where it was not."""
    counted("backbone", backbone)
    found = jobs(backbone.name, backbone, settings.metric)
    lines = []
    for run, unit, number in ((found.pairs, "pair", settings.pairs), (found.pictures, "picture", settings.pictures)):
        if run is not None:
            lines += wording.describe(run, unit, number, settings.gpu, settings.workers)
    return lines + wording.remarks(notes(backbone, {}, settings.metric), found.missing)


def describe_network(settings: PlanSettings, network: Node) -> list[str]:
    """Return what a network costs; it is counted where it was not."""
    parts = counted("network", network).parts
    applied, step = parts["forward"], parts["training"]
    batch, workers = settings.batch_size, settings.workers
    steps = -(-settings.pairs // (batch * workers))
    held = (
        f"weights {wording.gibibytes(applied.weights_bytes)}, {applied.held_bytes(1) / 2**20:,.0f} MiB of activations"
    )
    told = wording.row("applied", f"{wording.flops(applied.total_flops)} a noise, {held}")
    span = f"in an epoch of {settings.pairs:,} pairs{wording.by(workers)}"
    return [told, *wording.describe_training(step, batch, steps, settings.gpu, workers, span=span)]


def sized(network: Node, backbone: Backbone | None) -> Node:
    """Return a network as training on pairs of a backbone makes it; see ``NoiseNetwork``."""
    if backbone is None:
        return network
    channels, *grid = backbone.latent_shape()
    sizes = {"latent_channels": channels, "latent_size": grid, **backbone.embed_dims()}
    known = {name: size for name, size in sizes.items() if name in network.keys}
    return Node(network.where, {**network.keys, **known})


def counted(group: Group, described: Any) -> Counts:
    """Return the counts of a part; counted now, in seconds, where they were not, and kept.

    Raises:
        UserError: it cannot be counted.
    """
    keys = described.keys if isinstance(described, Node) else described
    found = find(group, keys)
    if found is not None and found.exact:
        return found
    name = str(keys["_target_"]).rpartition(".")[2] if isinstance(described, Node) else described.name
    count = {"backbone": "models:count_backbone", "network": "networks:count_network"}[group]
    made: Counts = imported(f"npnet.costs.runtime.{count}")(name, described)
    path = keep(group, made)
    print(f"counted on a fake GPU, and stored in {path}")
    return made


def _metrics(settings: PlanSettings) -> str:
    return ", ".join(settings.metric) or "no metric"
