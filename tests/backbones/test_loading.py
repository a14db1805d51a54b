"""From a directory to a backbone, and every way in which that fails: one clear line before anything is computed."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import diffusers
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import CLIPTokenizer

from npnet import backbones
from npnet.backbones import Flux, StableDiffusion3, StableDiffusionXL, Wan, files
from npnet.backbones.runtime import loading
from tests import refusals, tiny
from tests.families import PROMPTS, built, noise_for

LOADED = {
    "sd": backbones.StableDiffusion,
    "sdxl": StableDiffusionXL,
    "hunyuan_dit": backbones.HunyuanDiT,
    "sd3": StableDiffusion3,
    "flux": Flux,
    "flux2_klein": backbones.Flux2Klein,
    "z_image_base": backbones.ZImage,
    "qwen_image": backbones.QwenImage,
    "sana_sprint": backbones.SanaSprint,
    "wan": Wan,
}
TAKE_LENGTHS = ("sd3", "flux", "flux2_klein", "z_image_base", "qwen_image", "sana_sprint", "wan")
HUB_ID = "nobody/nothing"
refusal = partial(refusals.refusal, where="backbone")


def keys(name):
    t5 = {"max_sequence_length": tiny.T5_LENGTH} if name in TAKE_LENGTHS else {}
    distilled = {"guidance_distilled": True} if name == "flux2_klein" else {}
    frames = {"num_frames": 9} if name == "wan" else {}
    return {"height": 64, "width": 96, "device": "cpu", **t5, **distilled, **frames}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")

    def save(name):
        if not (folder / name).is_dir():
            built(name).pipeline.save_pretrained(folder / name)
        return folder / name

    return save


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved("sdxl"), tmp_path / "sdxl")
    return tmp_path / "sdxl"


def needs_accelerate(name):
    if name == "wan":
        pytest.importorskip("accelerate", reason="diffusers loads Wan with accelerate only")


@pytest.mark.parametrize("name", LOADED)
def test_a_saved_pipeline_is_loaded_as_it_was(name, saved):
    needs_accelerate(name)
    backbone = LOADED[name](str(saved(name)), **keys(name))
    backbone.check()
    sizes = backbone.latent_shape(), backbone.embed_dims()  # of its small files
    backbone = backbone.load()
    assert sizes == (backbone.latent_shape(), backbone.embed_dims())
    noise = noise_for(backbone)
    ours, before = (b.sample(noise, b.encode(PROMPTS), 2, 3.0) for b in (backbone, built(name)))
    assert torch.equal(ours, before)


@pytest.fixture
def without_t5(tmp_path):
    pipeline = tiny.sd3_pipeline()
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(tmp_path / "sd3")
    return pipeline, tmp_path / "sd3"


@pytest.mark.parametrize("named", [True, False], ids=["[null, null]", "left out"])
def test_stable_diffusion_3_without_its_t5_is_loaded_as_it_was(without_t5, named):
    pipeline, folder = without_t5
    index = json.loads((folder / "model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None]
    if not named:
        index = {name: value for name, value in index.items() if not name.endswith("_3")}
        (folder / "model_index.json").write_text(json.dumps(index))
    description = StableDiffusion3(str(folder), **keys("sd3"))
    description.check()
    loaded, before = description.load(), description.adopt(pipeline)
    noise, sizes = noise_for(loaded), description.embed_dims()
    ours, theirs = (b.encode(PROMPTS) for b in (loaded, before))
    assert ours.prompt_embeds.shape[1:] == (sizes["prompt_length"], sizes["prompt_embed_dim"])
    assert torch.equal(loaded.sample(noise, ours, 2, 3.0), before.sample(noise, theirs, 2, 3.0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokenizer_3": ["transformers", "T5Tokenizer"]}, "its tokenizer_3 lacks a text_encoder_3"),
        ({"text_encoder_3": ["transformers", "T5EncoderModel"]}, "its text_encoder_3 lacks a tokenizer_3"),
        ({"text_encoder_3": None}, "text_encoder_3=None; a list of two is needed"),
        ({"vae": [None, None]}, "it has no vae"),
        ({"text_encoder": [None, None]}, "it has no text_encoder"),
    ],
)
def test_half_of_an_optional_part_and_a_needed_one_that_is_none_are_refused(without_t5, changed, said):
    index = without_t5[1] / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changed))
    description = StableDiffusion3(str(without_t5[1]), **keys("sd3"))
    assert said in refusal(description.check)


def test_a_part_that_comes_from_elsewhere_need_not_be_in_the_pipeline(saved, tmp_path):
    pipeline, folder = tiny.sd3_pipeline(), tmp_path / "sd3"
    pipeline.vae.save_pretrained(tmp_path / "vae")
    pipeline.transformer.save_pretrained(tmp_path / "transformer")
    shutil.copytree(saved("sd3"), folder, ignore=shutil.ignore_patterns("vae", "transformer"))
    parts = {"vae": str(tmp_path / "vae"), "denoiser": str(tmp_path / "transformer")}
    index = folder / "model_index.json"
    for change in ({}, {"vae": [None, None], "transformer": [None, None]}):
        index.write_text(json.dumps(json.loads(index.read_text()) | change))
        description = StableDiffusion3(str(folder), **keys("sd3"), **parts)
        description.check()
        assert description.load().latent_shape() == (4, 8, 12)
    assert "vae" in refusal(StableDiffusion3(str(folder), **keys("sd3"), denoiser=parts["denoiser"]).check)


@pytest.mark.parametrize("name", LOADED)
def test_a_half_precision_network_gives_float32_predictions(name, saved):
    needs_accelerate(name)
    exact = built(name)
    backbone = LOADED[name](str(saved(name)), **keys(name), dtype="bfloat16").load()
    assert backbone.denoiser.module.dtype == torch.bfloat16
    assert backbone.pipeline.vae.dtype == (torch.float32 if name == "wan" else torch.bfloat16)
    noise, c = noise_for(backbone), backbone.encode(PROMPTS)
    here, there = backbone.steps(3)[0]
    prediction = backbone.predict(noise, here, c, 3.0)
    assert prediction.dtype == torch.float32
    reference = exact.predict(noise, here, exact.encode(PROMPTS), 3.0)
    assert 0 < (prediction - reference).abs().max() < 0.1 * reference.abs().max()
    moved = backbone.move(noise, prediction, here, there)
    assert not torch.equal(moved.bfloat16().float(), moved)  # the step is not rounded to the network's format
    assert backbone.sample(noise, c, 2, 3.0).dtype == torch.float32
    assert backbone.decode(noise).dtype == torch.float32


def test_loading_shows_no_bars_and_leaves_the_settings_as_they_were(saved, capfd):
    import huggingface_hub.utils as hub

    folder = saved("sdxl")
    capfd.readouterr()
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.is_progress_bar_enabled() for library in libraries], hub.are_progress_bars_disabled()
    try:
        for switch in ("enable", "disable"):
            for library in libraries:
                getattr(library, f"{switch}_progress_bar")()
            getattr(hub, f"{switch}_progress_bars")()
            StableDiffusionXL(str(folder), **keys("sdxl")).load()
            assert capfd.readouterr().err == ""
            assert {library.is_progress_bar_enabled() for library in libraries} == {switch == "enable"}
            assert hub.are_progress_bars_disabled() == (switch == "disable")
    finally:
        for library, was_on in zip(libraries, before[0], strict=True):
            (library.enable_progress_bar if was_on else library.disable_progress_bar)()
        (hub.disable_progress_bars if before[1] else hub.enable_progress_bars)()


def test_a_missing_helper_library_is_said(saved, monkeypatch):
    monkeypatch.setattr("npnet.backbones.wan.find_spec", lambda name: None)
    backbone = Wan(str(saved("wan")), **keys("wan"))
    assert refusal(backbone.check).endswith("pip install accelerate")


def test_a_pipeline_of_another_dtype_is_not_adopted():
    backbone = StableDiffusionXL("unused", device="cpu", dtype="bfloat16")
    assert "torch.bfloat16 was asked for, the pipeline's is torch.float32" in refusal(
        lambda: backbone.adopt(tiny.sdxl_pipeline())
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere/at/all", "/nowhere/at/all: no diffusers pipeline there (model_index.json is missing)"),
        ("sdxl", "sdxl: no diffusers pipeline there (model_index.json is missing)"),
        ("./sdxl", "sdxl: no diffusers pipeline there (model_index.json is missing)"),
        ("one/two/three", "one/two/three: no diffusers pipeline there (model_index.json is missing)"),
    ],
)
def test_a_missing_directory_is_refused(path, said):
    assert refusal(StableDiffusionXL(path, device="cpu").check) == f"backbone.path={said}"


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("unet", "(unet/ is missing)"),
        ("unet/config.json", "(unet/config.json is missing)"),
        ("vae/diffusion_pytorch_model.safetensors", "(vae/*.safetensors is missing)"),
        ("tokenizer_2/tokenizer.json", "(tokenizer_2/its vocabulary is missing)"),
        ("scheduler/scheduler_config.json", "(scheduler/scheduler_config.json is missing)"),
    ],
)
def test_an_incomplete_directory_is_refused(copy, removed, said):
    if (copy / removed).is_dir():
        shutil.rmtree(copy / removed)
    else:
        (copy / removed).unlink()
    assert refusal(StableDiffusionXL(str(copy), device="cpu").check) == (
        f"backbone.path={copy}: the pipeline is incomplete {said}"
    )


def test_a_file_that_was_cut_short_is_refused(copy):
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "(unet/diffusion_pytorch_model.safetensors is cut short)" in refusal(
        StableDiffusionXL(str(copy), device="cpu").check
    )


def test_a_missing_shard_is_refused(copy):
    index = {"weight_map": {"conv_in.weight": "diffusion_pytorch_model-00002-of-00002.safetensors"}}
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert "(unet/diffusion_pytorch_model-00002-of-00002.safetensors is missing)" in refusal(
        StableDiffusionXL(str(copy), device="cpu").check
    )


def test_an_unreadable_index_is_refused(copy):
    (copy / "model_index.json").write_text("{")
    assert "model_index.json cannot be read" in refusal(StableDiffusionXL(str(copy), device="cpu").check)


def test_a_tokenizer_without_words_is_refused(copy):
    """Offline, transformers makes one silently where its files are missing."""
    shutil.rmtree(copy / "tokenizer_2")
    CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[]).save_pretrained(copy / "tokenizer_2")
    backbone = StableDiffusionXL(str(copy), **keys("sdxl"))
    assert "tokenizer_2 has an empty vocabulary" in refusal(backbone.load)


@pytest.mark.parametrize("make", [tiny.tokenizer, tiny.t5_tokenizer, tiny.bert_tokenizer, tiny.chat_tokenizer])
def test_every_kind_of_empty_tokenizer_is_recognised(make, tmp_path):
    pipeline = SimpleNamespace(components={"tokenizer": make(), "text_encoder": None})
    loading.check_tokenizers("here", pipeline)
    pipeline.components["tokenizer"] = type(make()).from_pretrained(str(tmp_path))
    assert "tokenizer has an empty vocabulary" in refusal(lambda: loading.check_tokenizers("here", pipeline))


def test_a_hub_that_is_switched_off_is_said(monkeypatch):
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    said = "not in the local hub cache, and HF_HUB_OFFLINE is set"
    assert refusal(StableDiffusionXL(HUB_ID, device="cpu").check) == f"backbone.path={HUB_ID}: {said}"
    local = StableDiffusionXL(HUB_ID, device="cpu", vae="nobody/tiny-vae")
    monkeypatch.setattr(files, "check_pipeline", lambda *_: None)
    assert refusal(local.check) == f"backbone.vae=nobody/tiny-vae: {said}"


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("no connection\nat all")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    backbone = StableDiffusionXL(HUB_ID, device="cpu")
    assert "the hub cannot be reached; give a local folder" in refusal(backbone.load)


def test_what_a_loader_raises_becomes_one_line(copy):
    config = json.loads((copy / "unet" / "config.json").read_text())
    (copy / "unet" / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 8}))
    assert f"backbone.path={copy}: cannot be loaded:" in refusal(StableDiffusionXL(str(copy), **keys("sdxl")).load)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: StableDiffusionXL("x", dtype="float16", device="cpu"), "float16 needs a GPU; allowed on the CPU"),
        (lambda: StableDiffusionXL("x", dtype="half", device="cpu"), "backbone.dtype=half: allowed: float32"),
        (lambda: StableDiffusionXL("x", device="tpu!").load(), "not a torch device"),
        (lambda: StableDiffusionXL("x", device="cuda").load(), "there is no GPU here"),
        (
            lambda: StableDiffusionXL("x", height=1001, device="cpu").check(),
            "backbone.height=1001: a whole number that is a positive multiple of 8",
        ),
        (
            lambda: StableDiffusionXL("x", width=12.5, device="cpu").check(),
            "backbone.width=12.5: a whole number that is a positive multiple of 8",
        ),
        (
            lambda: Flux("x", width=1016, device="cpu").check(),
            "backbone.width=1016: a whole number that is a positive multiple of 16",
        ),
        (
            lambda: Wan("x", num_frames=80, device="cpu").check(),
            "backbone.num_frames=80: a whole number that is a multiple of 4 and one more",
        ),
        (
            lambda: Flux("x", max_sequence_length=513, device="cpu").check(),
            "max_sequence_length=513: a whole number of at least 1 and of at most 512",
        ),
        (
            lambda: StableDiffusion3("x", shift=0.0, device="cpu").check(),
            "backbone.shift=0.0: a number above 0, or null",
        ),
        (
            lambda: StableDiffusion3("x", spacing="trailing", device="cpu").check(),
            "StableDiffusion3 takes null, or a list",
        ),
        (lambda: StableDiffusion3("x", spacing=[900, 950], device="cpu").check(), "falling numbers from 0 to 1000"),
        (lambda: StableDiffusionXL("x", spacing="traling", device="cpu").check(), "did you mean 'trailing'"),
        (
            lambda: StableDiffusionXL("x", spacing=[999, 500.5], device="cpu").check(),
            "falling whole numbers from 0 to 999",
        ),
        (
            lambda: backbones.HunyuanDiT("x", spacing="ays", device="cpu").check(),
            "backbone.spacing=ays: allowed: leading",
        ),
        (lambda: StableDiffusionXL("x", text_encoder_batch_size=0, device="cpu").check(), "text_encoder_batch_size=0"),
    ],
)
def test_keys_that_cannot_work_are_refused(make, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert said in refusal(make)


def test_a_gpu_without_bfloat16_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert "this GPU does not support it" in refusal(Flux("x", dtype="bfloat16", device="cuda").load)
    assert "there are 1 GPUs here" in refusal(Flux("x", device="cuda:1").load)


def test_a_two_stage_video_model_is_refused(saved):
    pipeline = tiny.wan_pipeline()
    pipeline.register_to_config(boundary_ratio=0.9)
    assert "allowed: Wan 2.1" in refusal(lambda: Wan("x", device="cpu").adopt(pipeline))


def test_a_checkpoint_that_predicts_something_else_is_refused():
    assert "prediction_type='sample'; allowed: epsilon, v_prediction" in refusal(lambda: tiny.sdxl("sample"))
