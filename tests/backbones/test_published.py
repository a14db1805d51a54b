"""Every shipped YAML against the published configuration, with the full-size models on the meta device."""

from functools import cache

import diffusers
import pytest
import torch
import transformers
from hydra import compose, initialize_config_dir

from npnet.backbones import samplers
from npnet.backbones.runtime import samplers as runtime_samplers
from npnet.instantiate import build
from npnet.paths import config_dir
from npnet.records import Conditioning
from tests import tiny
from tests.backbones.published import DISTILLED, LANGUAGE_MODELS, MODELS

YAMLS = sorted(path.stem for path in (config_dir() / "backbone").glob("*.yaml"))


def composed(name, *overrides):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("evaluate", [f"backbone={name}", *overrides]).backbone


def part(class_name, config):
    if hasattr(diffusers, class_name):
        cls = getattr(diffusers, class_name)
        return cls.from_config(config) if "Scheduler" in class_name else cls(**config)
    cls = getattr(transformers, class_name)
    return cls(cls.config_class(**config))


def tokenizers(parts):
    made = {}
    for name, (class_name, _) in parts.items():
        if name.startswith("text_encoder"):
            made[name.replace("text_encoder", "tokenizer")] = (
                tiny.bert_tokenizer() if "Bert" in class_name else tiny.t5_tokenizer()
            )
            if "CLIP" in class_name:
                clip = tiny.tokenizer()
                clip.model_max_length = 77
                made[name.replace("text_encoder", "tokenizer")] = clip
    return made


@cache
def full_size(name):
    """The YAML's backbone around the full-size models, without numbers."""
    model = MODELS[name]
    with torch.device("meta"):
        parts = {key: part(*described) for key, described in model["parts"].items() if key != "scheduler"}
    parts["scheduler"] = part(*model["parts"]["scheduler"])
    pipeline = getattr(diffusers, model["pipeline"])(**parts, **tokenizers(model["parts"]), **model["options"])
    resident = ["backbone.offload_text_encoders=false"] if "offload_text_encoders" in composed(name) else []
    backbone = build(composed(name, "backbone.device=meta", *resident), "backbone")
    return backbone.adopt(pipeline.to(getattr(torch, backbone.dtype)))


def test_every_shipped_yaml_is_checked_here():
    assert set(YAMLS) == {*MODELS, "shapes", "shapes_b"}


@pytest.fixture(params=sorted(MODELS))
def name(request):
    return request.param


def test_the_yaml_says_what_the_paper_and_the_hub_say(name):
    node, backbone, model = composed(name), full_size(name), MODELS[name]
    assert sum(p.numel() for p in backbone.denoiser.module.parameters()) == model["parameters"]
    for known in (backbone, backbone.description):  # with the weights, and before
        assert known.latent_shape() == model["latent_shape"]
        assert tuple(known.embed_dims().values()) == model["embed_dims"]
    assert (backbone.description.height, backbone.description.width) == (node.height, node.width)
    assert getattr(torch, node.dtype) == backbone.dtype != torch.float32
    if model["prediction_type"]:
        assert backbone.schedule().predicts == model["prediction_type"]
    counts = backbone.settings["num_inference_steps"]
    starts = tuple(backbone.timesteps(counts[use])[0] for use in ("collect", "evaluate"))
    assert starts == pytest.approx(model["first_levels"], abs=1e-4)
    for use in ("collect", "evaluate"):
        assert len(backbone.steps(counts[use])) == counts[use]
        assert backbone.description.schedule().steps(counts[use]) == backbone.steps(counts[use])


def test_the_papers_settings():
    def settings(name):
        s = composed(name).settings
        steps = s.num_inference_steps
        return s.guidance_scale, s.inversion_guidance_scale, steps.collect, steps.evaluate

    assert settings("sdxl") == (5.5, 1.0, 10, 50)
    assert settings("dreamshaper") == (3.5, 1.0, 4, 50)
    assert settings("hunyuan_dit") == (5.0, 1.0, 10, 50)
    assert settings("sd14") == (7.5, 1.0, 10, 50)
    assert settings("sd35_medium") == (7.0, 1.0, 10, 28)


def conditioning_by_hand(name, backbone):
    """What ``encode`` gives, as to shapes, from the widths of the text encoders."""

    def empty(length, encoder):
        width = encoder.config.get_text_config().hidden_size * LANGUAGE_MODELS.get(name, 1)
        return torch.empty(1, length, width, device="meta")

    pipeline = backbone.pipeline
    if name in LANGUAGE_MODELS:
        rows = empty(backbone.embed_dims()["prompt_length"], pipeline.text_encoder)
        masked = backbone.text_encoder.masked and name != "z_image"  # whose lists ask for lengths
        mask = torch.empty(rows.shape[:2], dtype=torch.long, device="meta") if masked else None
        negative = (rows, mask) if "unconditional_branch" in backbone.capabilities else (None, None)
        return Conditioning(("a",), rows, negative[0], prompt_mask=mask, negative_prompt_mask=negative[1])
    if not hasattr(pipeline, "text_encoder_2"):
        rows = empty(512, pipeline.text_encoder)
        return Conditioning(("a",), rows, rows)
    rows, more = empty(77, pipeline.text_encoder), empty(256, pipeline.text_encoder_2)
    mask, more_mask = (torch.empty(1, length, dtype=torch.long, device="meta") for length in (77, 256))
    extras = {"prompt_embeds_2": more, "prompt_mask_2": more_mask}
    extras |= {f"negative_{key}": tensor for key, tensor in extras.items()}
    return Conditioning(("a",), rows, rows, prompt_mask=mask, negative_prompt_mask=mask, extras=extras)


def test_the_full_size_denoiser_takes_what_the_encoders_give(name):
    backbone = full_size(name)
    dims, meta = backbone.embed_dims(), torch.device("meta")
    if name in (
        "wan",
        "hunyuan_dit",
        *LANGUAGE_MODELS,
    ):  # masked encoders ask for numbers, which the meta device does not have
        conditioning = conditioning_by_hand(name, backbone)
    else:
        with torch.no_grad():
            conditioning = backbone.encode(["a"])
    assert conditioning.prompt_embeds.shape == (1, dims["prompt_length"], dims["prompt_embed_dim"])
    if dims["pooled_embed_dim"]:
        assert conditioning.pooled_prompt_embeds.shape == (1, dims["pooled_embed_dim"])
    latents = torch.empty(1, *backbone.latent_shape(), device=meta)
    with torch.no_grad():
        branches = backbone.predict_branches(latents, backbone.timesteps(4)[0], conditioning)
        images = backbone.decode(latents)
    assert branches.conditional.shape == latents.shape
    assert (branches.unconditional is None) == (name in DISTILLED)
    frames = (backbone.description.num_frames,) if name == "wan" else ()
    assert images.shape == (1, *frames, 3, backbone.description.height, backbone.description.width)


def test_every_sampler_can_be_made_from_the_published_schedule(name):
    backbone = full_size(name)
    if backbone.kind == "flow":
        return
    for sampler in samplers.SAMPLERS:
        scheduler = runtime_samplers.make_scheduler(sampler, backbone.schedule().published)
        assert scheduler.config.beta_end == MODELS[name]["parts"]["scheduler"][1]["beta_end"]
        assert scheduler.config.prediction_type == MODELS[name]["prediction_type"]


def test_the_keys_of_every_yaml_are_parameters_of_its_class():
    for name in YAMLS:
        node = composed(name, "backbone.device=cpu", *([] if name.startswith("shapes") else ["backbone.dtype=float32"]))
        build(node, "backbone").schedule()
