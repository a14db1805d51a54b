"""What a person gets wrong about files, sizes and parts: one line each, before anything is computed."""

import json
import shutil
from functools import partial

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from npnet.backbones import (
    Flux,
    HunyuanDiT,
    Shapes,
    StableDiffusion,
    StableDiffusion3,
    StableDiffusionXL,
    StableDiffusionXLControlNet,
    Wan,
)
from npnet.backbones.runtime.devices import resolve_device
from npnet.weights.files import damage
from tests import refusals, tiny
from tests.families import SIZE, built

WEIGHTS = "diffusion_pytorch_model.safetensors"
refusal = partial(refusals.refusal, where="backbone")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Directories of a tiny SDXL, SD and FLUX, and of parts; read them, and leave them as they are."""
    folder = tmp_path_factory.mktemp("saved")
    for name in ("sdxl", "sd", "flux"):
        built(name).pipeline.save_pretrained(folder / name)
    tiny.vae(16).save_pretrained(folder / "vae16")
    tiny.controlnet_pipeline().controlnet.save_pretrained(folder / "controlnet")
    (folder / "text.png").write_text("no picture")
    Image.linear_gradient("L").save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:-60])
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved / "sdxl", tmp_path / "sdxl")
    return tmp_path / "sdxl"


def header(size=40, text="?"):
    return size.to_bytes(8, "little") + text.encode().ljust(size)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (f"unet/{WEIGHTS}", b"", f"(unet/{WEIGHTS} is cut short)"),
        (f"unet/{WEIGHTS}", header()[:30], f"(unet/{WEIGHTS} is cut short)"),
        (f"unet/{WEIGHTS}", bytes(5000), f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}", b"version https://git-lfs.github.com/spec/v1", f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}", header(), f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}", header()[:8] + b"\xff" * 40, f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}", header(text="[1]"), f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}", header(text='{"a": {}}'), f"(unet/{WEIGHTS} is damaged)"),
        (f"unet/{WEIGHTS}.index.json", b"{", f"(unet/{WEIGHTS}.index.json is damaged)"),
        (f"unet/{WEIGHTS}.index.json", b"\xff\xfe", f"(unet/{WEIGHTS}.index.json is damaged)"),
        (f"unet/{WEIGHTS}.index.json", b"{}", f"(unet/{WEIGHTS}.index.json is damaged)"),
        (f"unet/{WEIGHTS}.index.json", b"[]", f"(unet/{WEIGHTS}.index.json is damaged)"),
        ("model_index.json", b"[]", "model_index.json cannot be read: a JSON object is needed"),
        ("model_index.json", b"\xff", "model_index.json cannot be read: 'utf-8' codec"),
    ],
)
def test_a_damaged_directory_is_refused_by_the_check(copy, file, content, said):
    (copy / file).write_bytes(content)
    assert said in refusal(StableDiffusionXL(str(copy), **SIZE).check)


def test_whole_files_are_not_damaged(saved, tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    for file in (saved / "sdxl" / "unet" / WEIGHTS, tmp_path / "empty.safetensors"):
        assert damage(file) is None


@pytest.mark.parametrize(
    ("family", "folder", "said"),
    [
        (StableDiffusionXL, "sd", "a pipeline of another family (it has no text_encoder_2)"),
        (StableDiffusion3, "sdxl", "a pipeline of another family (it has no transformer)"),
        (
            StableDiffusion3,
            "flux",
            "another family (its transformer is FluxTransformer2DModel, not SD3Transformer2DModel)",
        ),
    ],
)
def test_a_pipeline_of_another_family_is_refused(saved, monkeypatch, family, folder, said):
    assert said in refusal(family(str(saved / folder), **SIZE).check)
    # from the hub the index is fetched first, and the weights only where it fits
    index = saved / folder / "model_index.json"
    monkeypatch.setattr("npnet.backbones.runtime.loading.fetch", lambda *_: index)
    assert said in refusal(family("owner/name", **SIZE).load)
    monkeypatch.setattr("npnet.backbones.files.cached_file", lambda *_: index)
    assert said in refusal(family("owner/name", **SIZE).check)


def test_a_u_net_of_another_family_is_refused(saved):
    said = "a U-Net of SDXL's layout, so nothing for StableDiffusion"
    assert said in refusal(StableDiffusion(str(saved / "sdxl"), **SIZE).load)
    backbone = StableDiffusionXL(str(saved / "sdxl"), denoiser=str(saved / "sd" / "unet"), **SIZE)
    assert f"denoiser={saved}/sd/unet: no U-Net of SDXL's layout, so nothing for StableDiffusionXL" in refusal(
        backbone.load
    )


@pytest.mark.parametrize(
    ("key", "source", "said"),
    [
        ("denoiser", "sdxl/vae", "its class is AutoencoderKL; allowed: UNet2DConditionModel"),
        ("denoiser", "flux/transformer", "its class is FluxTransformer2DModel; allowed: UNet2DConditionModel"),
        ("vae", "sdxl/unet", "its class is UNet2DConditionModel; allowed: AutoencoderKL, AutoencoderTiny"),
        ("controlnet", "sdxl/unet", "its class is UNet2DConditionModel; allowed: ControlNetModel"),
        ("control_image", "text.png", "cannot be read as a picture: cannot identify image file"),
        ("control_image", "cut.png", "cannot be read as a picture: "),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(saved, key, source, said):
    parts = {"controlnet": str(saved / "controlnet"), key: str(saved / source)}
    backbone = StableDiffusionXLControlNet(str(saved / "sdxl"), **parts, **SIZE)
    for function in (backbone.check, backbone.load):
        assert f"backbone.{key}={saved / source}: {said}" in refusal(function)


def test_a_part_without_a_class_is_the_published_one(saved, tmp_path):
    shutil.copytree(saved / "sdxl" / "vae", tmp_path / "vae")
    config = json.loads((tmp_path / "vae" / "config.json").read_text())
    del config["_class_name"]
    (tmp_path / "vae" / "config.json").write_text(json.dumps(config))
    backbone = StableDiffusionXL(str(saved / "sdxl"), vae=str(tmp_path / "vae"), **SIZE)
    backbone.check()
    assert type(backbone.load().pipeline.vae).__name__ == "AutoencoderKL"
    (tmp_path / "vae" / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(backbone.check)


def test_a_vae_of_other_latents_is_refused(saved):
    backbone = StableDiffusionXL(str(saved / "sdxl"), vae=str(saved / "vae16"), **SIZE)
    assert refusal(backbone.load) == (f"backbone.vae={saved}/vae16: a VAE of 16 latent channels; 4 are the denoiser's")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: StableDiffusionXL("x", spacing=5, device="cpu").check(),
            "backbone.spacing=5: a text (write digits in quotes), or a list of numbers, or null",
        ),
        (
            lambda: Wan("x", spacing=5, device="cpu").check(),
            "backbone.spacing=5: a text (write digits in quotes), or a list of numbers, or null",
        ),
        (
            lambda: HunyuanDiT("x", spacing={}, device="cpu").check(),
            "backbone.spacing={}: a text (write digits in quotes), or a list of numbers, or null",
        ),
        (
            lambda: StableDiffusionXL("x", height=0, device="cpu").check(),
            "backbone.height=0: a whole number that is a positive multiple of 8",
        ),
        (
            lambda: Shapes(width=0, device="cpu").check(),
            "backbone.width=0: a whole number that is a positive multiple of 2",
        ),
        (
            lambda: Flux("x", max_sequence_length=0, device="cpu").check(),
            "max_sequence_length=0: a whole number of at least 1 and of at most 512",
        ),
        (
            lambda: Flux("x", max_sequence_length="a", device="cpu").check(),
            "max_sequence_length=a: a whole number of at least 1 and of at most 512",
        ),
        (
            lambda: Flux("x", max_sequence_length=True, device="cpu").check(),
            "max_sequence_length=true: a whole number of at least 1 and of at most 512",
        ),
        (lambda: StableDiffusion3("x", shift="a", device="cpu").check(), "backbone.shift=a: a number above 0, or null"),
        (
            lambda: built("wan").latent_shape(num_frames=0),
            "backbone.num_frames=0: a whole number that is a multiple of 4 and one more",
        ),
        (
            lambda: built("sdxl").latent_shape(height=0),
            "backbone.height=0: a whole number that is a positive multiple of 8",
        ),
        (
            lambda: built("sdxl").latent_shape(width=0),
            "backbone.width=0: a whole number that is a positive multiple of 8",
        ),
    ],
)
def test_values_of_the_wrong_type_and_zeros_are_refused(make, said):
    assert said in refusal(make)


def test_what_is_left_out_has_its_default():
    backbone = Flux("x", width=64, device="cpu")
    assert (backbone.height, backbone.width, backbone.max_sequence_length) == (1024, 64, 512)
    assert built("wan").latent_shape() == built("wan").latent_shape(64, 96, 9)


def test_stable_diffusion_3_has_a_largest_size():
    said = "this checkpoint has positions for up to 256 pixels"
    backbone = built("sd3")
    assert backbone.latent_shape(256, 256) == (4, 32, 32)
    assert refusal(lambda: backbone.latent_shape(256, 272)) == f"backbone.width=272: {said}"
    assert refusal(lambda: tiny.family("sd3", height=512)) == f"backbone.height=512: {said}"


@pytest.mark.parametrize("device", ["mps", "xpu", "xla", "vulkan"])
def test_a_kind_of_device_that_is_not_here_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    said = f"backbone.device={device}: there is no such device here; allowed: auto, cpu"
    assert refusal(lambda: resolve_device(device)) == said


def test_a_kind_of_device_that_is_here_is_taken(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert resolve_device("mps").type == "mps"
    assert refusal(lambda: resolve_device("xpu")).endswith("allowed: auto, cpu, mps")
