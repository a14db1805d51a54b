"""The plan of a collection: checked settings, samples, chunks, and the request of the folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from collect.settings import CollectSettings
from npnet.compatibility import check_network_path, check_parts, read_prompts, settled_nodes
from npnet.data.prompt_text import MAX_TOKENS, count_long
from npnet.data.prompts import PromptSet, Sample
from npnet.data.seeds import assign_seeds
from npnet.errors import FieldError
from npnet.noise import Standard
from npnet.settings import read, resolved
from npnet.work.numerics import is_usual
from npnet.work.request import require_finite

FORMAT = 1
"""Version of the request and the sidecars."""

USED, LONG = "used", f"longer than {MAX_TOKENS} tokens, of which the text encoders read the first ones"

NOT_REQUESTED = (
    *("output_dir", "dry_run", "gpu", "workers", "worker", "engine", "task_name", "network_path", "logger"),
    *("card", "license"),
)
"""Keys that do not change the data. ``network_path`` does so only through the noise method, which is in the request."""


@dataclass(frozen=True)
class CollectionPlan:
    """A collection; workers get it.

    Attributes:
        settings: the command's keys.
        prompts: as they were read.
        asked: the configuration as plain values, what the folder's request says of it.
    """

    settings: CollectSettings
    prompts: PromptSet = field(repr=False)
    asked: dict[str, Any] = field(repr=False)

    @cached_property
    def samples(self) -> list[Sample]:
        """Return every prompt with each of its seeds, in order."""
        return assign_seeds(self.prompts, self.settings.seeds, self.settings.seed)

    @property
    def num_samples(self) -> int:
        """Return how many pairs are tried, without drawing their seeds."""
        return self.settings.seeds.number(self.prompts)

    @property
    def num_chunks(self) -> int:
        """Return the number of chunks, each of which becomes a shard."""
        return -(-self.num_samples // self.settings.chunk_size)

    @property
    def num_ours(self) -> int:
        """Return how many pairs this command tries: all, or those of one worker of a job array."""
        return self.settings.crew().share.number(self.num_samples, self.settings.chunk_size)

    def chunk(self, index: int) -> list[Sample]:
        """Return the samples of a chunk."""
        size = self.settings.chunk_size
        return self.samples[index * size : (index + 1) * size]

    @property
    def prompt_counts(self) -> dict[str, int]:
        """Return how many texts are used, are longer than the encoders read, and are left out for which reason."""
        return {
            USED: len(self.prompts),
            LONG: count_long(self.prompts.prompts),
            **{f"left out: {reason}": count for reason, count in sorted(self.prompts.left_out.items())},
        }

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return all that determines the data; ``request.json`` of the folder."""
        listed = json.dumps([(s.prompt_index, s.prompt, s.seed) for s in self.samples])
        return {
            **self.asked,
            "format": FORMAT,
            "num_samples": len(self.samples),
            "prompt_counts": self.prompt_counts,
            "num_chunks": self.num_chunks,
            "samples_sha256": hashlib.sha256(listed.encode()).hexdigest(),
            "selected_by": self.settings.rule.selected_by(list(self.settings.metric)),
        }


def make_plan(cfg: Any) -> CollectionPlan:
    """Check the configuration's values, and that they go together, and read the prompts; loads no model.

    Raises:
        UserError: names the first key that cannot be.
    """
    config = resolved(cfg)
    require_finite(config)
    settings = read(CollectSettings, config)
    if isinstance(settings.method, Standard):
        needed = "it does not change the noise; choose another noise method, such as noise=[inversion]"
        raise FieldError("noise", list(settings.noise), needed)
    check_network_path(config, settings.noise)
    noise = check_parts(settings.backbone, settings.noise, settings.metric, settings.num_inference_steps)
    settings = replace(settings, noise=noise)
    prompts = read_prompts(settings.backbone, settings.prompts, settings.seeds)
    asked = {key: value for key, value in config.items() if key not in NOT_REQUESTED and not is_usual(key, value)}
    asked["backbone"] = {key: value for key, value in config["backbone"].items() if key != "device"}
    asked["noise"] = settled_nodes(
        asked["noise"], noise
    )  # what was left open is a part of what the folder is asked for
    return CollectionPlan(settings, prompts, asked)
