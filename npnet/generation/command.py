"""The command ``npnet generate``: check without torch, then make the missing pictures."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnet import __version__
from npnet.compatibility import check_network_path, check_parts, check_prompts, check_ready, read_prompts, settled_nodes
from npnet.data.prompts import PromptSet, Sample
from npnet.data.seeds import assign_seeds
from npnet.description import imported
from npnet.evaluation.identity import network_contents
from npnet.generation.settings import GenerateSettings
from npnet.settings import read, resolved
from npnet.text import count
from npnet.work.numerics import USUAL, is_usual
from npnet.work.request import require_finite

if TYPE_CHECKING:
    from omegaconf import DictConfig

SAMPLING = ("backbone", "num_inference_steps", "guidance_scale", "sampler")
"""Keys that decide a picture beside its prompt, seed and method."""


@dataclass(frozen=True)
class GenerationPlan:
    """Checked pictures to be made; nothing is loaded.

    Attributes:
        settings: the command's keys.
        prompts: as they were read.
        nodes: label -> the configuration of the noise method, as plain values.
        sampling: the configuration of ``SAMPLING`` and the run's seed, as plain values.
    """

    settings: GenerateSettings
    prompts: PromptSet
    nodes: dict[str, Any]
    sampling: dict[str, Any]

    @cached_property
    def samples(self) -> list[Sample]:
        """Every prompt with each of its seeds, in order."""
        return assign_seeds(self.prompts, self.settings.seeds, self.settings.seed)

    def facts(self, label: str, sample: Sample) -> dict[str, Any]:
        """Return what a picture is made from. It is stored in the file, and identifies the picture."""
        return {
            "prompt": sample.prompt,
            "seed": sample.seed,
            "method": self.nodes[label],
            "network_sha256": self._networks[label],
            **self.sampling,
            "npnet": __version__,
        }

    def path(self, label: str, sample: Sample) -> Path:
        """Return a picture's file, named after its prompt, seed and method."""
        words = re.sub(r"[^a-z0-9]+", "-", sample.prompt.lower()).strip("-")[:40].strip("-")
        digest = hashlib.sha256(sample.prompt.encode()).hexdigest()[:6]
        return Path(self.settings.output_dir) / f"{words}-{digest}-seed-{sample.seed}-{label}.png"

    @cached_property
    def _networks(self) -> dict[str, str | None]:
        """The digest of the weights of each method's network, where they lie on this machine."""
        found = {label: network_contents(m, self.settings.backbone) for label, m in self.settings.noise.items()}
        return {label: contents[-1] if contents else None for label, contents in found.items()}


def generate(cfg: DictConfig) -> None:
    """Make pictures of the prompts of ``cfg``, one for each seed and noise method, and a sheet of them side by side.

    Existing pictures are kept, so the same command resumes.

    Raises:
        UserError: a key, value, path or combination that cannot work, or a file in the way that is another picture.
    """
    plan = make_plan(cfg)
    settings = plan.settings
    if settings.dry_run:
        total = len(plan.samples) * len(settings.noise)
        steps = f"{settings.num_inference_steps} steps, guidance {settings.guidance_scale}"
        said = f"would make {count(total, 'picture')} in {settings.output_dir}: {', '.join(settings.noise)}; {steps}"
        print("\n".join([said, *settings.backbone.device_note()]))
        return
    check_ready(settings.backbone, settings.noise)
    print(imported("npnet.generation.making:make")(plan))


def make_plan(cfg: Any) -> GenerationPlan:
    """Build and check everything that the composed configuration names.

    Raises:
        UserError: names the key, and what is allowed.
    """
    config = resolved(cfg)
    require_finite(config)
    settings = read(GenerateSettings, config)
    check_network_path(config, settings.noise)
    parts = settings.backbone, settings.noise, settings.metric
    settings = replace(settings, noise=check_parts(*parts, settings.num_inference_steps, settings.sampler))
    prompts = read_prompts(settings.backbone, settings.prompts, settings.seeds)
    sampling = {key: config[key] for key in SAMPLING} | {"run_seed": settings.seed}
    if settings.negative_prompt is not None:
        check_prompts(settings.backbone, [settings.negative_prompt])
        sampling["negative_prompt"] = settings.negative_prompt
    sampling |= {key: value for key, value in config.items() if key in USUAL and not is_usual(key, value)}
    sampling["backbone"] = {key: value for key, value in sampling["backbone"].items() if key != "device"}
    return GenerationPlan(settings, prompts, settled_nodes(config["noise"], settings.noise), sampling)
