"""Every member of the family: each YAML of ``conf/backbone`` around a tiny pipeline, further forms, and the fakes."""

from functools import cache

from hydra import compose, initialize_config_dir

from npnet.backbones import Backbone
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.instantiate import build
from npnet.paths import config_dir
from tests import fakes, tiny
from tests.families import EVERY, built

YAMLS = sorted(path.stem for path in (config_dir() / "backbone").glob("*.yaml"))
FAKES = {"linear": "variance_preserving", "linear_flow": "flow"}
MEMBERS = (*YAMLS, *(name for name in EVERY if name not in YAMLS), *FAKES)
SMALL = {"height": 64, "width": 96, "num_frames": 9, "max_sequence_length": tiny.T5_LENGTH, "dtype": "float32"}
PIPELINES = {
    "StableDiffusion": tiny.sd_pipeline,
    "StableDiffusionXL": tiny.sdxl_pipeline,
    "HunyuanDiT": lambda prediction_type: tiny.hunyuan_pipeline(),
    "StableDiffusion3": lambda prediction_type: tiny.sd3_pipeline(),
    "Flux": lambda prediction_type: tiny.flux_pipeline(),
    "Flux2Klein": lambda prediction_type: tiny.flux2_klein_pipeline(),
    "ZImage": lambda prediction_type: tiny.z_image_pipeline(),
    "QwenImage": lambda prediction_type: tiny.qwen_image_pipeline(),
    "SanaSprint": lambda prediction_type: tiny.sana_sprint_pipeline(),
    "Wan": lambda prediction_type: tiny.wan_pipeline(),
}
"""A further class of descriptions with a pipeline needs a tiny one here."""


@cache
def member(name: str) -> LoadedBackbone:
    """Build and load a member, once."""
    if name in FAKES:
        return fakes.linear(FAKES[name], device="cpu")
    if (name in EVERY and name not in YAMLS) or name.startswith("shapes"):
        return built(name)
    described = described_by(name)
    return described.adopt(PIPELINES[described.name](described.published_schedule().get("prediction_type")))


def described_by(name: str) -> Backbone:
    """Build the description of a YAML, of tiny pictures."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        node = compose("evaluate", [f"backbone={name}", "backbone.device=cpu"]).backbone
        changed = {key: value for key, value in SMALL.items() if key in node}
        return build({**node, **changed}, "backbone")
