"""How strong a LoRA is: alpha / rank, wherever its file says so, as diffusers and peft apply it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from npnet.backbones import HunyuanDiT, StableDiffusionXL
from npnet.backbones.runtime import lora
from npnet.errors import UserError, under
from tests import tiny
from tests.families import SIZE

NAMES = {"sdxl": "unet", "sd": "unet", "sd3": "transformer", "flux": "transformer", "wan": "transformer"}


def layer_of(pipeline, denoiser, end="to_q"):
    return next(key for key, _ in getattr(pipeline, denoiser).named_modules() if key.endswith(end))


def fused_by_us(name, file, scale=1.0):
    pipeline = tiny.family(name).pipeline
    lora.fuse(pipeline, NAMES[name], str(file), scale)
    return getattr(pipeline, NAMES[name]).state_dict()


def fused_by_diffusers(name, file, scale=1.0):
    pytest.importorskip("peft")
    pipeline = tiny.family(name).pipeline
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora(lora_scale=scale)
    pipeline.unload_lora_weights()
    return getattr(pipeline, NAMES[name]).state_dict()


def assert_same_change(name, file, scale=1.0):
    """Hold our fusion to that of diffusers, and to a change of some size."""
    ours, theirs = fused_by_us(name, file, scale), fused_by_diffusers(name, file, scale)
    plain = getattr(tiny.family(name).pipeline, NAMES[name]).state_dict()
    assert ours.keys() == theirs.keys() == plain.keys()
    for key, weight in ours.items():
        assert torch.allclose(weight, theirs[key], atol=1e-5), key
    assert max((ours[key] - plain[key]).abs().max() for key in plain) > 0.1


def trained(name, folder, **config):
    """A LoRA as diffusers' training scripts save it, alpha in the metadata."""
    peft = pytest.importorskip("peft")
    from diffusers.training_utils import _collate_lora_metadata

    denoiser = NAMES[name]
    pipeline = tiny.family(name).pipeline
    model = getattr(pipeline, denoiser)
    model.add_adapter(peft.LoraConfig(**{"target_modules": ["to_q", "to_k"], **config}))
    generator = torch.Generator().manual_seed(0)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:  # these start at zero
            parameter.data.normal_(generator=generator)
    layers = {f"{denoiser}_lora_layers": peft.get_peft_model_state_dict(model)}
    type(pipeline).save_lora_weights(str(folder), **layers, **_collate_lora_metadata({denoiser: model}))
    return folder / "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_the_alpha_in_the_metadata_is_applied(name, tmp_path):
    assert_same_change(name, trained(name, tmp_path, r=2, lora_alpha=8), scale=0.5)


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
@pytest.mark.parametrize(
    "config",
    [
        {"r": 2, "lora_alpha": 8, "alpha_pattern": {"to_k": 3}},
        {"r": 2, "lora_alpha": 8, "rank_pattern": {"to_k": 4}, "alpha_pattern": {".*to_k": 1}},
        {"r": 4, "lora_alpha": 8, "use_rslora": True},
    ],
)
def test_alphas_and_ranks_of_single_layers_are_applied(name, config, tmp_path):
    assert_same_change(name, trained(name, tmp_path, **config))


def with_alpha(name, file, alpha=8.0):
    """A LoRA of rank 2 with one alpha beside its layer."""
    pipeline, denoiser = tiny.family(name).pipeline, NAMES[name]
    layer = layer_of(pipeline, denoiser)
    rows, columns = getattr(pipeline, denoiser).get_submodule(layer).weight.shape
    generator = torch.Generator().manual_seed(0)
    key = f"{denoiser}.{layer}"
    tensors = {
        f"{key}.lora_A.weight": torch.randn(2, columns, generator=generator),
        f"{key}.lora_B.weight": torch.randn(rows, 2, generator=generator),
        f"{key}.alpha": torch.tensor(alpha),
    }
    save_file(tensors, file)
    return file


def test_the_alpha_beside_a_layer_of_flux_is_applied(tmp_path):
    assert_same_change("flux", with_alpha("flux", tmp_path / "lora.safetensors"))


@pytest.mark.parametrize("name", ["sd3", "wan"])
def test_an_alpha_that_diffusers_refuses_is_refused(name, tmp_path):
    file = with_alpha(name, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=r"to_q.alpha would not be applied; only lora_A and lora_B weights can be$"):
        fused_by_us(name, file)


def test_what_is_more_than_two_factors_is_refused(tmp_path):
    file = trained("sdxl", tmp_path / "dora", r=2, lora_alpha=2, use_dora=True)
    with pytest.raises(UserError, match="lora_magnitude_vector.* would not be applied"):
        fused_by_us("sdxl", file)
    layer, file = f"unet.{layer_of(tiny.sdxl_pipeline(), 'unet')}", tmp_path / "bias.safetensors"
    factors = {f"{layer}.lora_A.weight": torch.zeros(2, 32), f"{layer}.lora_B.weight": torch.zeros(32, 2)}
    save_file({**factors, f"{layer}.lora_B.bias": torch.ones(32)}, file)
    with pytest.raises(UserError, match=r"lora_B.bias would not be applied"):
        fused_by_us("sdxl", file)


def test_metadata_of_another_rank_is_refused(tmp_path):
    layer = f"unet.{layer_of(tiny.sdxl_pipeline(), 'unet')}"
    tensors = {f"{layer}.lora_A.weight": torch.randn(2, 32), f"{layer}.lora_B.weight": torch.randn(32, 2)}
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 4})}
    save_file(tensors, tmp_path / "lora.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="to_q has rank 2, its metadata says 4"):
        fused_by_us("sdxl", tmp_path / "lora.safetensors")


def test_offline_the_file_of_a_lora_on_the_hub_must_be_named(tmp_path, monkeypatch):
    tiny.sdxl_pipeline().save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(UserError) as caught, under("backbone"):
        StableDiffusionXL(str(tmp_path), lora="owner/name", **SIZE).check()
    assert str(caught.value) == (
        "backbone.lora=owner/name: HF_HUB_OFFLINE is set, so the hub cannot be searched; "
        "name the file: owner/name/FILE.safetensors"
    )
    asked = []
    monkeypatch.setattr("npnet.backbones.files.check_cached", lambda *given: asked.append(given))
    StableDiffusionXL(str(tmp_path), lora="owner/name/folder/a.safetensors", **SIZE).check()
    assert asked == [("owner/name", ["folder/a.safetensors"], "lora")]


def test_what_cannot_be_a_lora_is_refused(tmp_path):
    with pytest.raises(UserError, match="backbone.lora=x: diffusers reads no LoRA of HunyuanDiT"), under("backbone"):
        HunyuanDiT("unused", lora="x", **SIZE).check()
    with pytest.raises(UserError, match="backbone.lora_scale=a: a number is needed"), under("backbone"):
        StableDiffusionXL("unused", lora_scale="a", **SIZE).check()
    tiny.sdxl_pipeline().save_pretrained(tmp_path / "sdxl")
    (tmp_path / "lora.safetensors").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"lora.safetensors is cut short$"):
        StableDiffusionXL(str(tmp_path / "sdxl"), lora=str(tmp_path / "lora.safetensors"), **SIZE).check()


def kohya_flux(file, **further):
    """A LoRA of FLUX in kohya's layout: one layer of the network, and what else is given."""
    layer = "lora_unet_double_blocks_0_img_mlp_0"
    tensors = {f"{layer}.lora_down.weight": torch.randn(2, 32), f"{layer}.lora_up.weight": torch.randn(128, 2)}
    save_file({**tensors, f"{layer}.alpha": torch.tensor(2.0), **further}, file)
    return file


@pytest.mark.parametrize("pair", [True, False])
def test_a_file_is_fused_whole_or_not_at_all(pair, tmp_path):
    """Diffusers' converter of kohya's FLUX files drops T5 keys and changed biases without a word."""
    whole = fused_by_us("flux", kohya_flux(tmp_path / "whole.safetensors"))
    plain = tiny.family("flux").pipeline.transformer.state_dict()
    changed = [key for key in plain if not torch.equal(whole[key], plain[key])]
    assert changed == ["transformer_blocks.0.ff.net.0.proj.weight"]
    block = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    text = {f"{block}.lora_down.weight": torch.randn(2, 32), f"{block}.lora_up.weight": torch.randn(32, 2)}
    bias = {"lora_unet_double_blocks_0_img_mlp_0.diff_b": torch.ones(128)}
    further, said = (text, block) if pair else (bias, "diff_b")
    with pytest.raises(UserError, match=rf"lora=.*{said}.* would not be applied"):
        fused_by_us("flux", kohya_flux(tmp_path / "more.safetensors", **further))
    nothing = {key: torch.zeros_like(value) for key, value in further.items()}
    empty = fused_by_us("flux", kohya_flux(tmp_path / "empty.safetensors", **nothing))
    assert empty.keys() == whole.keys()


def changed(tensors, end, change):
    return {key: change(value) if key.endswith(end) else value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("end", "change", "said"),
    [
        ("lora_B.weight", lambda value: value.fill_(torch.nan), "lora_B.weight holds NaN or infinity"),
        ("lora_A.weight", lambda value: torch.cat([value, value]), r"to_q: lora_A has rank 4, lora_B \(2,\)"),
        ("lora_B.weight", lambda value: value[:, 0].contiguous(), r"to_q: lora_A has rank 2, lora_B \(\)"),
    ],
)
def test_factors_that_do_not_multiply_are_refused_in_one_line(end, change, said, tmp_path):
    file = with_alpha("sdxl", tmp_path / "whole.safetensors")
    tensors = {key: value for key, value in load_file(file).items() if not key.endswith(".alpha")}
    save_file(changed(tensors, end, change), tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=f"{said}$"):
        fused_by_us("sdxl", tmp_path / "lora.safetensors")


def test_what_the_library_leaves_out_of_a_lora_is_said_once(tmp_path, capfd):
    """Diffusers warns that it filters DoRA's scales out; the refusal says it."""
    layer = layer_of(tiny.sdxl_pipeline(), "unet").replace(".", "_")
    layer = f"lora_unet_{layer}"
    tensors = {f"{layer}.lora_down.weight": torch.randn(2, 32), f"{layer}.lora_up.weight": torch.randn(32, 2)}
    save_file({**tensors, f"{layer}.dora_scale": torch.ones(32, 1)}, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match="dora_scale would not be applied"):
        fused_by_us("sdxl", tmp_path / "lora.safetensors")
    assert capfd.readouterr().err == ""
