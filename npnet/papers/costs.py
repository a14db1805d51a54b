"""The cost of a job, from the descriptions of its parts, composed as the command itself does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from npnet.description import imported
from npnet.evaluation.settings import EvaluateSettings
from npnet.evaluation.training_seeds import expand
from npnet.generation.settings import GenerateSettings
from npnet.labels import with_new_labels
from npnet.papers.jobs import Job
from npnet.paths import config_dir, config_dirs
from npnet.settings import read, resolved


@dataclass(frozen=True)
class Cost:
    """The cost of a job.

    Attributes:
        pairs: that are tried, trained on or compared; None where that depends on existing results.
        forwards: of the denoiser in total; None where they depend on the data.
        optimisation_steps: of a training.
    """

    pairs: int | None = None
    forwards: int | None = None
    optimisation_steps: int | None = None


def composed(job: Job) -> dict[str, Any]:
    """Return a job's configuration as plain values.

    Raises:
        UserError: a key or value that the command does not take.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(job.command, with_new_labels(job.overrides, config_dirs()))
    return resolved(cfg)


def cost(job: Job) -> Cost:
    """Return what a job costs.

    Raises:
        UserError: see ``composed``.
    """
    if job.command == "toy":
        return Cost(None, 0)
    config = composed(job)
    if job.command == "train":
        batches = -(-int((job.pairs or 0) * (1 - config["data"]["validation_share"])) // config["batch_size"])
        return Cost(job.pairs, 0, config["trainer"]["max_epochs"] * batches)
    if job.command == "filter":
        return Cost(None, 0)
    if job.command == "collect":
        settings = read(imported("collect.settings:CollectSettings"), config)
        per_pair = imported("collect.dry_run:forwards_per_pair")(settings)
        if job.prompts is None:
            return Cost()
        pairs = job.prompts * settings.seeds.per_prompt
        return Cost(pairs, None if per_pair is None else per_pair * pairs)
    config["noise"], _ = expand(config["noise"])
    evaluation = _drawing(job, config)
    count = min(job.prompts or 0, evaluation.prompts.limit or 10**9) * evaluation.seeds.per_prompt
    if isinstance(evaluation.seeds.list, tuple):
        count = (job.prompts or 0) * len(evaluation.seeds.list)
    sampling = evaluation.num_inference_steps, evaluation.guidance_scale
    found = [method.picture_forwards(evaluation.backbone, *sampling) for method in evaluation.noise.values()]
    total = None if None in found else sum(f for f in found if f is not None) * count
    return Cost(count, total)


def _drawing(job: Job, config: dict[str, Any]) -> EvaluateSettings | GenerateSettings:
    """Return the settings of what draws pictures."""
    return read(GenerateSettings, config) if job.command == "generate" else read(EvaluateSettings, config)
