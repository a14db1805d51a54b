"""A small network, and the official fixture's weights as a real .pth file."""

import json
import zlib
from pathlib import Path

import pytest
import torch

from npnet.networks import NPNet

OFFICIAL = Path(__file__).parent.parent / "fixtures" / "official_npnet"

SMALL = {
    "latent_size": [16, 16],
    "text_term": "spatial",
    "prompt_embed_dim": 12,
    "prompt_length": 7,
    "trunk": {"img_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "feature_layout": "spatial",
    "alpha_init": 2.0,
    "beta_init": 1.0,
}


@pytest.fixture
def small():
    """Build a small network in eval mode, the same for the same arguments."""

    def build(**changes):
        torch.manual_seed(0)
        return NPNet(**{**SMALL, **changes}).eval()

    return build


@pytest.fixture
def draw():
    """Draw N(0, 1) of a shape from a seed."""

    def randn(*shape, seed=0):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return randn


@pytest.fixture(scope="session")
def recipe():
    return json.loads((OFFICIAL / "recipe.json").read_text())


@pytest.fixture(scope="session")
def official_weights(recipe):
    """Return a maker of the official dictionary; ``width`` is that of the prompt embeddings."""
    cache = {}

    def value(group, key, shape, rule):
        if rule[0] == "const":
            return torch.tensor(rule[1])
        seed = zlib.crc32(f"{group}/{key}".encode())
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return 1 + rule[1] * drawn.abs() if rule[0] == "abs1" else rule[0] + rule[1] * drawn

    def make(width=2048):
        if width not in cache:
            groups = {
                group: {
                    e["key"]: value(group, e["key"], e["shape"], e["rule"]) for e in entries if group != "embeeding"
                }
                for group, entries in recipe["groups"].items()
                if group != "embeeding"
            } | {"embeeding": {}}
            for entry in recipe["groups"]["embeeding"]:
                shape = [8, 77 * width] if entry["key"] == "linear.weight" else entry["shape"]
                groups["embeeding"][entry["key"]] = value("embeeding", entry["key"], shape, entry["rule"])
            # saved by the published trainer as leaves of its graph
            gates = {name: torch.tensor(recipe[name], requires_grad=True) for name in ("alpha", "beta")}
            cache[width] = groups | gates
        return {name: dict(entry) if isinstance(entry, dict) else entry for name, entry in cache[width].items()}

    return make


@pytest.fixture(scope="session")
def official_path(official_weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "sdxl.pth"
    torch.save(official_weights(), path)
    return path


@pytest.fixture(scope="session")
def official_network(official_path):
    return NPNet.from_pretrained(official_path)
