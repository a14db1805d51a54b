"""A search and a right-or-wrong metric on the fakes, and the configuration that runs them."""

from dataclasses import dataclass

import torch

from npnet import seeding
from npnet.metrics.base import Metric
from npnet.metrics.runtime.base import Scorer
from npnet.noise import NoiseMethod
from npnet.noise.runtime import LoadedMethod
from npnet.records import NoiseResult, TracePoint
from tests.fakes import TargetScorer


class LoadedBestOf(LoadedMethod):
    def __call__(self, noise, conditioning, backbone, generators):
        best, best_score, trace = noise, None, []
        for index in range(self.method.candidates):
            candidate = noise if index == 0 else seeding.randn_like(noise, generators)
            images = backbone.decode(backbone.sample(candidate, conditioning, 2, 2.0))
            score = self.scorers["target"].score(images, conditioning.prompts)
            best_score = score if best_score is None else best_score
            better = score >= best_score
            best_score = torch.where(better, score, best_score)
            best = torch.where(better.view(-1, 1, 1, 1), candidate, best)
            trace.append(TracePoint(best_score, 4.0 * (index + 1)))
        return NoiseResult(best, trace=tuple(trace))


@dataclass(frozen=True)
class BestOf(NoiseMethod):
    """The best of ``candidates`` fresh noises by one metric, given noise first."""

    runtime = LoadedBestOf
    scorers = ("target",)

    candidates: int = 3


class Closeness(Scorer):
    """The scorer of ``Close``."""

    def _score(self, images, prompts):
        return (TargetScorer().load().score(images, prompts) > -0.025).float()


@dataclass(frozen=True)
class Close(Metric):
    """1 where the picture is close to the prompt's, else 0."""

    runtime = Closeness
    display_scale = 100.0


PROMPTS = [f"a {colour} {thing}" for colour in ("red", "blue", "green", "pale") for thing in ("cup", "door", "cat")]


def config(prompts=None, per_prompt=2, noise=("standard", "redraw", "best"), **changes):
    """A complete, plain configuration of ``evaluate.yaml``'s keys."""
    nodes = {
        "standard": {"_target_": "npnet.noise.Standard"},
        "again": {"_target_": "npnet.noise.Standard"},
        "redraw": {"_target_": "tests.fakes.Redraw"},
        "erased": {"_target_": "npnet.noise.SemanticErasure"},
        "best": {"_target_": "tests.evaluation.extra_fakes.BestOf", "candidates": 3},
        "inversion": {
            "_target_": "npnet.noise.Inversion",
            "guidance_scale": 3.0,
            "inversion_guidance_scale": 1.0,
            "num_inference_steps": 3,
        },
    }
    value = {
        "output_dir": "unset",
        "dry_run": False,
        "seed": 0,
        "workers": 1,
        "threads_per_worker": 1,
        "engine": {"_target_": "npnet.work.processes.Processes"},
        "task_name": "evaluate",
        "backbone": {"_target_": "tests.fakes.LinearBackbone", "settings": {}, "device": "cpu"},
        "noise": {label: nodes[label] for label in noise},
        "metric": {
            "target": {"_target_": "tests.fakes.TargetScorer"},
            "close": {"_target_": "tests.evaluation.extra_fakes.Close"},
        },
        "diversity": {"pixels": {"_target_": "npnet.metrics.spaces.Pixels", "width": 0.1}},
        "prompts": {
            "_target_": "npnet.data.prompts.PromptList",
            "list": list(PROMPTS if prompts is None else prompts),
            "limit": None,
        },
        "batch_size": 5,
        "chunk_size": 8,
        "num_inference_steps": 3,
        "guidance_scale": 2.0,
        "sampler": "default",
        "network_path": None,
        "seeds": {"range": [0, 100], "per_prompt": per_prompt, "list": None},
        "optimised": [],
        "num_pictures": 3,
        "keep_images": "all",
        "added_metrics": "sample",
        "num_resamples": 500,
    }
    return {**value, **changes}
