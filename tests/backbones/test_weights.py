"""What can be put into a family's place: another denoiser, a LoRA, a ControlNet, another VAE."""

import re
import shutil

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from npnet.backbones import StableDiffusionXL, StableDiffusionXLControlNet
from npnet.backbones.stable_diffusion import read_picture
from npnet.errors import UserError, under
from tests import tiny
from tests.families import PROMPTS, SIZE, built, noise_for, reference, sampled

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines") / "sdxl"
    built("sdxl").pipeline.save_pretrained(folder)
    return str(folder)


def other_unet(folder):
    torch.manual_seed(7)
    unet = tiny.unet(**tiny.XL_ADDED)
    unet.save_pretrained(folder)
    return unet


def test_another_denoiser_of_the_same_layout(saved, tmp_path):
    unet = other_unet(tmp_path / "dpo")
    file = tmp_path / "dpo" / "diffusion_pytorch_model.safetensors"
    results = []
    for source in (tmp_path / "dpo", file):
        backbone = StableDiffusionXL(saved, denoiser=str(source), **SIZE)
        backbone.check()
        backbone = backbone.load()
        results.append(sampled(backbone))
        assert torch.equal(backbone.denoiser.module.conv_in.weight, unet.conv_in.weight)
    assert torch.equal(*results)
    assert not torch.allclose(results[0], sampled(built("sdxl")), atol=1e-2)


def test_a_denoiser_of_another_layout_is_refused(saved, tmp_path):
    save_file({"conv_in.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    with (
        pytest.raises(UserError, match="backbone.denoiser=.*safetensors: does not have the layout of the model"),
        under("backbone"),
    ):
        StableDiffusionXL(saved, denoiser=str(tmp_path / "wrong.safetensors"), **SIZE).load()
    for key in ("denoiser", "vae", "lora"):
        with pytest.raises(UserError, match=f"backbone.{key}=/nowhere: no such file or folder"), under("backbone"):
            StableDiffusionXL(saved, **{key: "/nowhere"}, **SIZE).check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no diffusers model there \(config.json is missing\)"):
        StableDiffusionXL(saved, vae=str(tmp_path / "empty"), **SIZE).load()


def lora_factors(convolution=False):
    generator = torch.Generator().manual_seed(0)
    if convolution:
        return torch.randn(2, 4, 3, 3, generator=generator), torch.randn(16, 2, 1, 1, generator=generator)
    return torch.randn(2, 32, generator=generator), torch.randn(32, 2, generator=generator)


def lora_files(folder):
    """One LoRA in the layouts in use: kohya (LCM, Lightning), diffusers, old diffusers, peft."""
    (down, up), (conv_down, conv_up) = lora_factors(), lora_factors(convolution=True)
    kohya = f"lora_unet_{LAYER.replace('.', '_')}"
    layouts = {
        "kohya": {
            f"{kohya}.lora_down.weight": down,
            f"{kohya}.lora_up.weight": up,
            f"{kohya}.alpha": torch.tensor(4.0),
            "lora_unet_conv_in.lora_down.weight": conv_down,
            "lora_unet_conv_in.lora_up.weight": conv_up,
            "lora_unet_conv_in.alpha": torch.tensor(1.0),
        },
        "diffusers": {f"unet.{LAYER}.lora.down.weight": down, f"unet.{LAYER}.lora.up.weight": up},
        "old": {
            f"unet.{LAYER.replace('.to_q', '.processor.to_q_lora')}.down.weight": down,
            f"unet.{LAYER.replace('.to_q', '.processor.to_q_lora')}.up.weight": up,
        },
        "peft": {f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up},
    }
    for layout, tensors in layouts.items():
        save_file(tensors, folder / f"{layout}.safetensors")
    return folder


@pytest.mark.parametrize(("layout", "alpha"), [("kohya", 4.0), ("diffusers", 2.0), ("old", 2.0), ("peft", 2.0)])
def test_a_lora_is_added_to_the_weights_it_names(saved, tmp_path, layout, alpha):
    source = str(lora_files(tmp_path) / f"{layout}.safetensors")
    backbone = StableDiffusionXL(saved, lora=source, lora_scale=0.5, **SIZE)
    backbone.check()
    backbone = backbone.load()
    plain = built("sdxl").denoiser.module.state_dict()
    down, up = lora_factors()
    changed = {f"{LAYER}.weight": 0.5 * alpha / 2 * up @ down}
    if layout == "kohya":
        down, up = lora_factors(convolution=True)
        changed["conv_in.weight"] = 0.5 * 1.0 / 2 * torch.einsum("or,ri...->oi...", up[:, :, 0, 0], down)
    for key, weight in backbone.denoiser.module.state_dict().items():
        expected = plain[key] + changed.get(key, torch.zeros(()))
        assert torch.allclose(weight, expected, atol=1e-6), key


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft"])
def test_a_fused_lora_is_the_one_that_peft_applies(saved, tmp_path, layout):
    pytest.importorskip("peft")
    source = str(lora_files(tmp_path) / f"{layout}.safetensors")
    if layout == "kohya":  # peft takes one alpha for all layers here
        tensors = load_file(source)
        tensors["lora_unet_conv_in.alpha"] = torch.tensor(4.0)
        save_file(tensors, source)
    ours = sampled(StableDiffusionXL(saved, lora=source, lora_scale=0.5, **SIZE).load())
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(saved)
    pipeline.load_lora_weights(source)
    pipeline.fuse_lora(lora_scale=0.5)
    theirs = sampled(StableDiffusionXL("unused", **SIZE).adopt(pipeline))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_lora_of_another_model_is_refused(saved, tmp_path):
    down, up = lora_factors()

    def load(tensors):
        save_file(tensors, tmp_path / "lora.safetensors")
        StableDiffusionXL(saved, lora=str(tmp_path / "lora.safetensors"), **SIZE).load()

    with pytest.raises(UserError, match="this model has no layer mid_block.nothing"):
        load({"unet.mid_block.nothing.lora_A.weight": down, "unet.mid_block.nothing.lora_B.weight": up})
    with pytest.raises(UserError, match="conv_in has another shape"):
        load({"unet.conv_in.lora_A.weight": down, "unet.conv_in.lora_B.weight": up})
    with pytest.raises(UserError, match="it changes text_encoder too"):
        load(
            {
                f"unet.{LAYER}.lora_A.weight": down,
                f"unet.{LAYER}.lora_B.weight": up,
                "text_encoder.q_proj.lora_A.weight": down.clone(),
                "text_encoder.q_proj.lora_B.weight": up.clone(),
            }
        )
    with pytest.raises(UserError, match="no LoRA layers of the unet in it"):
        load({"conv_in.weight": down})


@pytest.mark.parametrize("name", ["sd3", "flux", "flux2_klein", "wan"])
def test_a_lora_of_a_transformer(name, tmp_path):
    from npnet.backbones.runtime import lora

    backbone = tiny.family(name)
    layer = next(key for key, m in backbone.denoiser.module.named_modules() if key.endswith("to_q"))
    weight = backbone.denoiser.module.get_submodule(layer).weight
    before = weight.clone()
    down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
    save_file(
        {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up},
        tmp_path / "lora.safetensors",
    )
    lora.fuse(backbone.pipeline, "transformer", str(tmp_path / "lora.safetensors"), 1.0)
    assert torch.allclose(weight, before + up @ down, atol=1e-5)


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    file = tmp_path_factory.mktemp("edges") / "edges.png"
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(file)
    return str(file)


def test_a_controlnet_steers_as_in_the_diffusers_pipeline(edges):
    settings = {"controlnet": "unused", "control_image": edges, "controlnet_conditioning_scale": 0.7}
    backbone = StableDiffusionXLControlNet("unused", **settings, **SIZE).adopt(tiny.controlnet_pipeline())
    ours = sampled(backbone)
    with Image.open(edges) as image:
        theirs = reference(
            backbone,
            backbone.pipeline.scheduler,
            image=image,
            controlnet_conditioning_scale=0.7,
            control_guidance_end=1.0,
        )
    assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(ours, sampled(built("sdxl")), atol=1e-3)


def test_a_control_image_is_turned_as_its_exif_says_and_keeps_its_16_bits(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.png", exif=exif)
    assert read_picture("control_image", str(tmp_path / "turned.png")).size == (4, 8)
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(tmp_path / "deep.png")
    deep = np.asarray(read_picture("control_image", str(tmp_path / "deep.png")))[..., 0]
    assert np.array_equal(deep.ravel(), np.arange(256))


def test_a_control_image_for_each_sample(edges):
    backbone = StableDiffusionXLControlNet("unused", controlnet="unused", **SIZE).adopt(tiny.controlnet_pipeline())
    with pytest.raises(UserError, match="backbone.control_image=null: a picture is needed"), under("backbone"):
        sampled(backbone)
    c = backbone.encode(PROMPTS)
    c.extras["control_image"] = torch.stack([torch.zeros(3, 64, 96), torch.ones(3, 64, 96)])
    both = backbone.sample(noise_for(backbone), c, 2, 3.0)
    alone = backbone.sample(noise_for(backbone)[1:], c[1:], 2, 3.0)
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_a_controlnet_is_loaded_from_its_own_directory(saved, edges, tmp_path):
    tiny.controlnet_pipeline().controlnet.save_pretrained(tmp_path)
    backbone = StableDiffusionXLControlNet(saved, controlnet=str(tmp_path), control_image=edges, **SIZE)
    backbone.check()
    assert torch.isfinite(sampled(backbone.load())).all()
    with pytest.raises(UserError, match="backbone.control_image=/nowhere.png: no such file"), under("backbone"):
        StableDiffusionXLControlNet(saved, str(tmp_path), "/nowhere.png", **SIZE).check()
    with pytest.raises(UserError, match="backbone.controlnet=/nowhere: no such file or folder"), under("backbone"):
        StableDiffusionXLControlNet(saved, "/nowhere", edges, **SIZE).check()


FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


def with_changed(saved, folder, part, change):
    """A copy of the pipeline in which one weight of a part was changed; returns its name there."""
    shutil.copytree(saved, folder)
    file = folder / part / FILES[part]
    state = load_file(file)
    key = next(key for key in state if key.endswith("norm.weight") or "norm1.weight" in key)
    change(state, key)
    save_file(state, file, {"format": "pt"})
    return key.removeprefix("text_model.")


CHANGES = {
    "is missing": lambda state, key: state.pop(key),
    "another shape|expected shape": lambda state, key: state.update({key: torch.zeros(3)}),
    "holds NaN or infinity": lambda state, key: state.update({key: torch.full_like(state[key], torch.nan)}),
}


@pytest.mark.parametrize("part", FILES)
@pytest.mark.parametrize("said", CHANGES)
def test_weights_that_a_file_lacks_are_not_made_up(saved, tmp_path, capfd, part, said):
    """Transformers draws them at random and goes on; diffusers leaves them empty, or draws them too."""
    key = with_changed(saved, tmp_path / "changed", part, CHANGES[said])
    with pytest.raises(UserError, match=rf"{re.escape(key)}.*({said})") as caught, under("backbone"):
        StableDiffusionXL(str(tmp_path / "changed"), **SIZE).load("cpu")
    assert str(caught.value).startswith("backbone.path=")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_weight_too_many_is_told_as_the_library_tells_it(saved, tmp_path, caplog):
    with_changed(saved, tmp_path / "more", "text_encoder", lambda state, key: state.update(extra=torch.zeros(1)))
    StableDiffusionXL(str(tmp_path / "more"), **SIZE).load("cpu")
    assert "extra" in caplog.text


def test_a_denoiser_that_reads_its_guidance_is_refused():
    pipeline = tiny.sdxl_pipeline()
    pipeline.unet.register_to_config(time_cond_proj_dim=256)
    with pytest.raises(UserError, match="its U-Net reads the guidance scale"):
        StableDiffusionXL("unused", **SIZE).adopt(pipeline)


def test_a_directory_without_the_variants_files_is_loaded_as_it_is(saved):
    backbone = StableDiffusionXL(saved, variant="fp16", **SIZE)
    assert torch.equal(sampled(backbone.load()), sampled(built("sdxl")))
