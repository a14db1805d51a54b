"""The plan of an evaluation, made from descriptions and checked before any model is loaded."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from npnet.backbones import Backbone
from npnet.backbones.samplers import check_sampler
from npnet.compatibility import check_network_path, check_parts, check_spaces, read_prompts, settled_nodes
from npnet.data.prompts import PromptSet, Sample
from npnet.data.seeds import assign_seeds
from npnet.errors import unknown
from npnet.evaluation.identity import method_digest, metric_digest, setting_of, space_digest
from npnet.evaluation.settings import EvaluateSettings
from npnet.evaluation.training_seeds import expand
from npnet.fields import checked
from npnet.fit import PURPOSE, optimised_metrics
from npnet.metrics import Metric
from npnet.metrics.spaces import FeatureSpace
from npnet.networks import stored
from npnet.noise import NoiseMethod
from npnet.settings import read, resolved
from npnet.text import count
from npnet.untrusted import parse_json
from npnet.work.numerics import is_usual
from npnet.work.request import digest, require_finite

NOT_IN_REQUEST = ("output_dir", "dry_run", "gpu", "workers", "worker", "engine", "task_name", "network_path")
"""Keys that do not change the results. ``network_path`` changes them only through a method that is in the request."""


@dataclass(frozen=True)
class Wanted:
    """The results that an evaluation needs; labels and digests as in its plan.

    Attributes:
        methods: label -> digest.
        metrics: label -> digest.
        kept: keys of the samples whose pictures are kept.
        from_pictures: a metric that was added later scores the kept pictures.
        spaces: label -> digest, of the spaces of features that are loaded.
        repeated: the prompts with several seeds. Only their features are needed.
    """

    methods: dict[str, str]
    metrics: dict[str, str]
    kept: frozenset[str]
    from_pictures: bool = False
    spaces: dict[str, str] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EvaluationPlan:
    """A checked evaluation; nothing is loaded.

    Attributes:
        settings: the command's keys.
        prompts: as they were read.
        members: reported label -> its labels among ``settings.noise``, several for several training seeds.
        optimised: method label -> labels of the metrics it is optimised for, directly or through its training data.
        asked: the configuration as plain values, without the keys that do not change the results. Networks of several
            training seeds have one entry each; ``training_seeds`` says which belong together.
    """

    settings: EvaluateSettings
    prompts: PromptSet = field(repr=False)
    members: dict[str, list[str]]
    optimised: dict[str, list[str]]
    asked: dict[str, Any]

    @cached_property
    def samples(self) -> list[Sample]:
        """Return every prompt with each of its seeds, in order."""
        return assign_seeds(self.prompts, self.settings.seeds, self.settings.seed)

    @cached_property
    def metrics(self) -> dict[str, str]:
        """Return the digest of each metric, by its label."""
        return {label: metric_digest(node) for label, node in self.asked["metric"].items()}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Return the digest of each method, by its label among ``settings.noise``."""
        setting, backbone = self.folder_request(), self.settings.backbone
        return {
            label: method_digest(setting, self.asked["noise"][label], method, backbone, self.metrics)
            for label, method in self.settings.noise.items()
        }

    @cached_property
    def spaces(self) -> dict[str, str]:
        """Return the digest of each space of features, by its label."""
        return {label: space_digest(node) for label, node in self.asked.get("diversity", {}).items()}

    @cached_property
    def repeated(self) -> frozenset[str]:
        """Return the prompts that have several seeds."""
        seeds = Counter(sample.prompt for sample in self.samples)
        return frozenset(prompt for prompt, number in seeds.items() if number > 1)

    def loaded_spaces(self) -> dict[str, FeatureSpace]:
        """Return the spaces to load: all that have no weights, and those with weights where they are needed.

        Features that cost nothing are kept for every picture, so that a second seed of its prompt can be added later.
        """
        spaces = self.settings.diversity
        return {label: space for label, space in spaces.items() if self.repeated or not space.has_weights}

    def folder_request(self) -> dict[str, Any]:
        """Return what a folder is made for, without methods, metrics, prompts and seeds, which may change."""
        return setting_of(self.asked)

    def request(self) -> dict[str, Any]:
        """Return what decides the results and the report: the configuration, and the content of its files."""
        samples = digest({"samples": [[sample.prompt, sample.seed] for sample in self.samples]})
        contents = {"methods": self.methods, "metrics": self.metrics, "spaces": self.spaces, "samples": samples}
        return {**self.asked, **self.folder_request(), "contents": contents}

    def wanted(self) -> Wanted:
        """Return which cells the results need."""
        kept = self.samples[: self.settings.num_kept(len(self.samples))]
        keys = frozenset(sample.key for sample in kept)
        spaces = {label: self.spaces[label] for label in self.loaded_spaces()}
        from_pictures = self.settings.added_metrics == "kept"
        return Wanted(self.methods, self.metrics, keys, from_pictures, spaces, self.repeated)

    def describe(self, to_draw: Mapping[str, int] | None = None) -> str:
        """Return the lines of a dry run: how much would be computed.

        Args:
            to_draw: label -> number of pictures that are still made; None where nothing is there.
        """
        settings = self.settings
        pairs, prompts = settings.seeds.number(self.prompts), len(set(self.prompts.prompts))
        lines = [
            f"{count(pairs, 'pair')} ({count(prompts, 'prompt')}), {settings.num_inference_steps} steps, "
            f"guidance {settings.guidance_scale}, sampler {settings.sampler}, metrics: {', '.join(settings.metric)}",
        ]
        for label, method in settings.noise.items():
            forwards = self.forwards(method)
            known = "depends on the data" if forwards is None else f"{forwards} for each picture"
            number = pairs if to_draw is None else to_draw[label]
            span = "in all" if to_draw is None else f"for the {number} to be made"
            total = "" if forwards is None else f", {forwards * number} {span}"
            marked = f" (optimised: {', '.join(self.optimised[label])})" if self.optimised[label] else ""
            lines.append(f"  {label}{marked}: denoiser forwards {known}{total}")
        for label, members in self.members.items():
            if members != [label]:
                told = f"one method in the report, {label} ({len(members)} training seeds)"
                lines.append(f"  {', '.join(members)}: {told}")
        chunks = -(-pairs // settings.chunk_size)
        spaces = ", ".join(settings.diversity) or "none (diversity=[])"
        lines.append(f"diversity in: {spaces}" if pairs > prompts else "diversity: not measured, one seed per prompt")
        return "\n".join([*lines, f"{count(chunks, 'chunk')} of up to {settings.chunk_size} pairs"])

    def forwards(self, method: NoiseMethod) -> int | None:
        """Return the stated forwards of one picture; None where they must be measured."""
        settings = self.settings
        if settings.sampler != "default":
            return None  # some schedulers evaluate the denoiser twice in a step
        return method.picture_forwards(settings.backbone, settings.num_inference_steps, settings.guidance_scale)


def make_plan(cfg: Any) -> EvaluationPlan:
    """Build and check everything that the composed configuration ``cfg`` names.

    Raises:
        UserError: a key, value, path or combination that cannot work; one line that names it.
    """
    config = resolved(cfg)
    require_finite(config)
    noise = config.get("noise")
    config["noise"], members = expand(noise if isinstance(noise, Mapping) else {})
    several = {label: names for label, names in members.items() if names != [label]}
    if several:
        config["training_seeds"] = several
    settings = read(EvaluateSettings, config)
    check_network_path(config, settings.noise)
    check_sampler(settings.sampler)  # first the name, whose check needs nothing else
    parts = settings.backbone, settings.noise, settings.metric
    settings = replace(settings, noise=check_parts(*parts, settings.num_inference_steps, settings.sampler))
    check_spaces(settings.backbone, settings.diversity)
    config["noise"] = settled_nodes(config["noise"], settings.noise)
    for name in settings.optimised:
        if name not in settings.metric:
            raise unknown("optimised metric", name, settings.metric)
    prompts = read_prompts(settings.backbone, settings.prompts, settings.seeds)
    optimised = {
        label: optimised_for(method, settings.backbone, settings.metric, settings.optimised)
        for label, method in settings.noise.items()
    }
    asked = {key: value for key, value in config.items() if key not in NOT_IN_REQUEST and not is_usual(key, value)}
    return EvaluationPlan(settings, prompts, members, optimised, asked)


def optimised_for(
    method: NoiseMethod, backbone: Backbone, metrics: Mapping[str, Metric], declared: Sequence[str]
) -> list[str]:
    """Return the labels of the metrics that ``method`` optimises; its gain in them is no evidence.

    These are the metrics of its search, and the metrics that selected the training pairs of its network (or of the
    network of its proposals). ``training.json`` beside the weights names them, or else ``optimised=[...]`` does; an
    official ``.pth`` was selected for HPSv2 in any case.
    """
    names = set(method.scorers)
    network = method.applied_network
    if network is not None:
        path = Path(network.folder(backbone))
        selected = _selected_by(path)
        names |= set(declared if selected is None else selected)
        names |= set(stored.OFFICIAL_SELECTED_BY if path.suffix in stored.OFFICIAL else ())
    return [name for name in metrics if name in names]


def _selected_by(folder: Path) -> list[str] | None:
    """Return the metrics that a network was trained to improve, as named in either file of its folder.

    They selected its training pairs, or its loss raised them, or they are those of the network that it started from.

    Raises:
        FieldError: the file holds something else in this place.
    """
    found: list[str] | None = None
    for name in ("training.json", "config.json"):
        facts = None
        with contextlib.suppress(OSError, ValueError):
            facts = parse_json((folder / name).read_bytes())
        if not isinstance(facts, dict):
            continue
        selected = facts.get("selected_by")
        if selected is not None:
            names = checked(tuple[str, ...] | str, selected, f"{folder / name}: selected_by")
            found = [*(found or []), *([names] if isinstance(names, str) else names)]
        if told := optimised_metrics(facts.get(PURPOSE)):
            found = [*(found or []), *told]
    return found
