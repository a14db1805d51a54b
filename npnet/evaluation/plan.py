"""What an evaluation will compute, built and checked before any model is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet import checks, paths
from npnet.data.seeds import Seeds, assign_seeds
from npnet.data.sidecars import file_sha256
from npnet.errors import UserError, under, unknown
from npnet.evaluation.training_seeds import expand
from npnet.fields import checked
from npnet.instantiate import build, build_all
from npnet.text import count

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from npnet.backbones import Backbone
    from npnet.data.prompts import Sample
    from npnet.metrics import Metric
    from npnet.noise import NoiseMethod

NOT_IN_REQUEST = ("output_dir", "dry_run", "workers", "worker", "engine", "task_name", "network_path")
"""Keys that do not change what comes out, or (``network_path``) only through a node that is in the request itself."""


@dataclass(frozen=True)
class Plan:
    """A checked evaluation; the objects are built and not loaded.

    Attributes:
        config: the resolved configuration as plain values; worker processes build their own objects from it. Networks
            of several training seeds are nodes of their own, and ``training_seeds`` says which.
        samples: prompts with seeds, in order.
        methods: by the labels of ``config["noise"]``.
        members: reported label -> its labels among ``methods``: several for a network of several training seeds.
        optimised: method label -> labels of the metrics it is optimised for, directly or through its training data.
    """

    config: dict[str, Any]
    samples: list[Sample]
    backbone: Backbone
    methods: dict[str, NoiseMethod]
    metrics: dict[str, Metric]
    members: dict[str, list[str]]
    optimised: dict[str, list[str]]

    def request(self) -> dict[str, Any]:
        """Return what decides the results: the configuration, and the contents behind its paths."""
        asked = {key: value for key, value in self.config.items() if key not in NOT_IN_REQUEST}
        asked["backbone"] = {key: value for key, value in asked["backbone"].items() if key != "device"}
        samples = json.dumps([[sample.prompt, sample.seed] for sample in self.samples])
        networks = {label: _fingerprint(_network_file(method)) for label, method in self.methods.items()}
        contents = {label: value for label, value in networks.items() if value is not None}
        return {**asked, "contents": {"samples": hashlib.sha256(samples.encode()).hexdigest(), **contents}}

    def describe(self) -> str:
        """Return what a dry run prints: how much would be computed."""
        config = self.config
        prompts = len({sample.prompt for sample in self.samples})
        lines = [
            f"{count(len(self.samples), 'pair')} ({count(prompts, 'prompt')}), {config['num_inference_steps']} steps, "
            f"guidance {config['guidance_scale']}, sampler {config['sampler']}, metrics: {', '.join(self.metrics)}",
        ]
        for label, method in self.methods.items():
            forwards = self._forwards(method)
            known = "depends on the data" if forwards is None else f"{forwards} for each picture"
            total = "" if forwards is None else f", {forwards * len(self.samples)} in all"
            marked = f" (optimised: {', '.join(self.optimised[label])})" if self.optimised[label] else ""
            lines.append(f"  {label}{marked}: denoiser forwards {known}{total}")
        chunks = -(-len(self.samples) // config["chunk_size"])
        return "\n".join([*lines, f"{count(chunks, 'chunk')} of up to {config['chunk_size']} pairs"])

    def _forwards(self, method: NoiseMethod) -> int | None:
        """Return the documented forwards of one picture; None where only a measurement can tell."""
        config = self.config
        if config["sampler"] != "default":
            return None  # some schedulers evaluate twice a step
        one = 2 if config["guidance_scale"] != 1 and "unconditional_branch" in self.backbone.capabilities else 1
        forwards = method.forwards(self.backbone)
        return None if forwards is None else forwards + one * config["num_inference_steps"]


def make_plan(cfg: DictConfig) -> Plan:
    """Build and check everything that ``cfg`` names.

    Raises:
        UserError: a key, value, path or combination that cannot work; one line that names it.
    """
    check_values(cfg)
    from omegaconf import OmegaConf

    from npnet.backbones.devices import placed
    from npnet.backbones.samplers import check_sampler
    from npnet.noise.parts import check_parts, check_prompts

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    checks.all_finite(config)
    config["noise"], members = expand(config["noise"])
    several = {label: names for label, names in members.items() if names != [label]}
    if several:
        config["training_seeds"] = several
    check_sampler(config["sampler"])  # the name first, which needs nothing else
    backbone = build(placed(config["backbone"], "meta" if config["dry_run"] else None), "backbone")
    metrics = build_all(cfg.metric, "metric")
    methods = build_all(config["noise"], "noise")
    check_parts(backbone, methods, metrics, config["num_inference_steps"], config["sampler"])
    for name in config["optimised"]:
        if name not in metrics:
            raise unknown("optimised metric", name, metrics)
    # after what costs nothing to check: reading may fetch a published file
    source = build(cfg.prompts, "prompts")
    with under("prompts"):
        prompts = source.read()
    samples = assign_seeds(prompts, checked(Seeds, config["seeds"], "seeds"), config["seed"])
    check_prompts(backbone, (sample.prompt for sample in samples))
    optimised = {label: optimised_for(method, metrics, config["optimised"]) for label, method in methods.items()}
    return Plan(config, samples, backbone, methods, metrics, members, optimised)


def check_values(cfg: DictConfig) -> None:
    """Refuse values that cannot work, before torch is imported."""
    from omegaconf import OmegaConf

    for key in ("batch_size", "chunk_size", "num_inference_steps", "num_resamples", "workers", "threads_per_worker"):
        checks.positive_int(cfg, key)
    for key in ("num_pictures", "seed"):
        checks.whole_number(cfg, key)
    for group in ("noise", "metric"):
        checks.labels(cfg, group)
    keep = checks.value_at(cfg, "keep_images")
    if keep != "all" and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 0):
        raise UserError(f"keep_images={keep}: all, or a whole number of at least 0, is needed")
    checks.number(cfg, "guidance_scale", low=0)
    checks.text(cfg, "output_dir")
    checks.boolean(cfg, "dry_run")
    checked(Seeds, OmegaConf.to_container(cfg.seeds), "seeds")


def optimised_for(method: NoiseMethod, metrics: Mapping[str, Metric], declared: Sequence[str]) -> list[str]:
    """Return the labels of the metrics that ``method`` was given to improve, so that its gain on them is no evidence.

    These are the scorers it searches with, and for a network the metrics that selected its training pairs: as
    ``training.json`` beside its weights says, else as ``optimised=[...]`` declares; the shipped network's pairs were
    selected by ``shapes_scorer``.
    """
    from npnet.noise import Network

    names = set(method.scorers)
    if isinstance(method, Network):
        shipped = paths.shapes_weights() / "network"
        folder = Path(method.network_path) if method.network_path else shipped
        selected = _selected_by(folder)
        if selected is None:
            selected = [*declared, *(["shapes_scorer"] if folder == shipped else [])]
        names |= set(selected)
    return [name for name in metrics if name in names]


def _selected_by(folder: Path) -> list[str] | None:
    """Return the metrics that selected a network's training pairs, where its folder says so."""
    for name in ("training.json", "config.json"):
        with contextlib.suppress(OSError, ValueError):
            selected = json.loads((folder / name).read_text(encoding="utf-8")).get("selected_by")
            if selected is not None:
                return [selected] if isinstance(selected, str) else [str(metric) for metric in selected]
    return None


def _network_file(method: NoiseMethod) -> Path | None:
    """Return the weights of a network given by a local path; None for other methods and for hub ids."""
    given = getattr(method, "network_path", None)
    if given is None:
        return None
    path = Path(given)
    return path / "model.safetensors" if path.is_dir() else path


def _fingerprint(path: Path | None) -> str | None:
    """Return the SHA-256 of a file: a network trained anew under the same name is another request."""
    return file_sha256(path) if path is not None and path.is_file() else None
