"""What is to be collected: the checked configuration, the samples, their chunks, and the request of the folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collect.selection import RULES, Selection
from npnet import checks
from npnet.data.prompt_text import MAX_TOKENS, count_long
from npnet.data.prompts import Sample, assign_seeds, check_seeds
from npnet.errors import UserError
from npnet.instantiate import build

if TYPE_CHECKING:
    from omegaconf import DictConfig

FORMAT = 1
"""Version of the request and the sidecars."""

USED, LONG = "used", f"longer than {MAX_TOKENS} tokens, of which the text encoders read the first ones"

NOT_REQUESTED = ("output_dir", "dry_run", "workers", "worker", "engine", "task_name", "network_path", "logger", "card")
"""Keys that do not change the data, or (``network_path``) only through a node that is requested itself."""


@dataclass(frozen=True)
class CollectionPlan:
    """A collection; plain data, so that it travels to workers.

    Attributes:
        config: the resolved configuration.
        samples: every prompt with each of its seeds, in order.
        prompt_counts: of the texts of the prompt set: how many are used, longer than the text encoders read, and left
            out for which reason.
    """

    config: dict[str, Any]
    samples: list[Sample] = field(repr=False)
    prompt_counts: dict[str, int] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """Return the folder of the shards."""
        return Path(self.config["output_dir"])

    @property
    def num_chunks(self) -> int:
        """Return the number of chunks, each of which becomes a shard."""
        return -(-len(self.samples) // self.config["chunk_size"])

    def chunk(self, index: int) -> list[Sample]:
        """Return the samples of a chunk."""
        size = self.config["chunk_size"]
        return self.samples[index * size : (index + 1) * size]

    @property
    def selection(self) -> Selection:
        """Return the keep rule."""
        return Selection.from_config(self.config)

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return all that determines the data; ``request.json`` of the folder."""
        config = {key: value for key, value in self.config.items() if key not in NOT_REQUESTED}
        config["backbone"] = {key: value for key, value in config["backbone"].items() if key != "device"}
        listed = json.dumps([(s.prompt_index, s.prompt, s.seed) for s in self.samples])
        return {
            **config,
            "format": FORMAT,
            "num_samples": len(self.samples),
            "prompt_counts": self.prompt_counts,
            "num_chunks": self.num_chunks,
            "samples_sha256": hashlib.sha256(listed.encode()).hexdigest(),
            "selected_by": self.selection.selected_by(list(config["metric"])),
        }

    @cached_property
    def request_sha256(self) -> str:
        """Return the digest that every sidecar carries."""
        return digest(self.request)


def digest(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def make_plan(cfg: DictConfig) -> CollectionPlan:
    """Check the configuration's values, read the prompts and give them their seeds; loads no model.

    Raises:
        UserError: names the first key that cannot be.
    """
    from omegaconf import OmegaConf

    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    check(config)
    source = build(config["prompts"], "prompts")
    prompts = source.read()
    counts = {
        USED: len(prompts),
        LONG: count_long(prompts),
        **{f"left out: {reason}": count for reason, count in sorted(getattr(source, "left_out", {}).items())},
    }
    return CollectionPlan(config, assign_seeds(prompts, config["seeds"], config["seed"]), counts)


def check(config: dict[str, Any]) -> None:
    """Refuse values that cannot work, without importing torch.

    Raises:
        UserError: see ``make_plan``.
    """
    checks.all_finite(config)
    checks.text(config, "output_dir")
    for key in ("batch_size", "chunk_size", "workers", "threads_per_worker", "num_inference_steps"):
        checks.positive_int(config, key)
    checks.whole_number(config, "seed")
    checks.number(config, "guidance_scale", low=0)
    checks.number(config, "margin")
    for key in ("keep_all", "keep_images", "keep_embeds", "dry_run", "card"):
        checks.boolean(config, key)
    checks.choice(config, "selection", RULES)
    checks.labels(config, "noise", exactly_one=True)
    metrics = checks.labels(config, "metric")
    for group in ("backbone", "prompts", "seeds"):
        if not isinstance(checks.value_at(config, group), dict):
            raise UserError(f"{group}={config[group]}: a group of keys is needed, not a value")
    check_weights(config, metrics)
    check_seeds(config["seeds"])


def check_weights(config: dict[str, Any], metrics: list[str]) -> None:
    """Refuse weights that are not numbers of chosen metrics, or that nothing would use."""
    weights = checks.value_at(config, "weights")
    if weights is None:
        return
    if config["selection"] != "weighted":
        raise UserError(f"weights={weights}: is for selection=weighted, got selection={config['selection']}")
    if not isinstance(weights, dict):
        raise UserError(f"weights={weights}: {{METRIC: WEIGHT}} is needed, for metrics among {', '.join(metrics)}")
    for metric in weights:
        if metric not in metrics:
            raise UserError(f"weights.{metric}: is not a chosen metric; allowed: {', '.join(metrics)}")
        checks.number(config, f"weights.{metric}")
    if not Selection("weighted", 0.0, weights).selected_by(metrics):
        raise UserError(f"weights={weights}: at least one weight other than 0 is needed")
