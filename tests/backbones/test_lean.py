"""The keys that save memory and time, and the text that is encoded once."""

import shutil

import diffusers
import pytest
import torch

from npnet.backbones import Flux, HunyuanDiT, StableDiffusionXL, Wan
from npnet.errors import UserError
from tests import tiny
from tests.families import PROMPTS, SIZE, built, noise_for, sampled

CACHED = {"sdxl": StableDiffusionXL, "hunyuan_dit": HunyuanDiT, "wan": Wan}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    for name in CACHED:
        built(name).pipeline.save_pretrained(folder / name)
    return folder


@pytest.fixture
def saved(folders):
    return str(folders / "sdxl")


@pytest.fixture
def copy(saved, tmp_path):
    """The same pipeline elsewhere, files of the same names, sizes and times."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_a_tiny_vae_takes_the_place_of_the_large_one(saved, tmp_path):
    torch.manual_seed(0)
    blocks = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    vae = diffusers.AutoencoderTiny(**blocks, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    vae.save_pretrained(tmp_path)
    backbone = StableDiffusionXL(saved, vae=str(tmp_path), **SIZE).load()
    assert isinstance(backbone.pipeline.vae, diffusers.AutoencoderTiny)
    assert backbone.latent_shape() == (4, 8, 12)
    with torch.enable_grad():
        latents = noise_for(backbone).requires_grad_()
        images = backbone.decode(latents)
        images.sum().backward()
    assert images.shape == (2, 3, 64, 96)
    assert latents.grad.abs().sum() > 0


def test_vae_slicing_and_channels_last_change_nothing_but_memory():
    plain, lean = built("sdxl"), tiny.family("sdxl", vae_slicing=True, channels_last=True)
    assert lean.pipeline.vae.use_slicing
    assert lean.denoiser.module.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(sampled(lean), sampled(plain), atol=1e-4)
    latents = noise_for(plain)
    assert torch.allclose(lean.decode(latents), plain.decode(latents), atol=1e-5)


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_every_family_takes_channels_last_and_slicing(name):
    plain, lean = built(name), tiny.family(name, vae_slicing=True, channels_last=True)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    weights = [w for part in (lean.denoiser.module, lean.pipeline.vae) for w in part.parameters() if w.ndim in formats]
    assert weights
    assert all(weight.is_contiguous(memory_format=formats[weight.ndim]) for weight in weights)
    assert torch.allclose(sampled(lean, 2), sampled(plain, 2), atol=1e-4, rtol=1e-4)
    latents = noise_for(plain)
    assert torch.allclose(lean.decode(latents), plain.decode(latents), atol=1e-5)


def test_the_denoiser_is_compiled_where_it_is_asked_for(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    tiny.family("sdxl", compile=True)
    tiny.family("flux", compile=True)
    tiny.family("sdxl")
    assert compiled == ["UNet2DConditionModel", "FluxTransformer2DModel"]


def test_text_encoders_leave_the_device_after_encoding(monkeypatch):
    backbone = tiny.family("sdxl", offload_text_encoders=True)
    done, text = [], backbone.text_encoder
    embed = text.embed
    for name in ("text_encoder", "text_encoder_2"):
        encoder = getattr(backbone.pipeline, name)
        monkeypatch.setattr(encoder, "to", lambda device, name=name: done.append((name, str(device))))
    monkeypatch.setattr(text, "embed", lambda prompts: done.append("embed") or embed(prompts))
    monkeypatch.setattr(text, "device", torch.device("cpu", 0))  # "cpu:0" stands for the GPU
    there = [("text_encoder", "cpu:0"), ("text_encoder_2", "cpu:0")]
    back = [("text_encoder", "cpu"), ("text_encoder_2", "cpu")]
    backbone.encode(PROMPTS)
    assert done == [*there, "embed", "embed", *back]  # the prompts, and their absence
    done.clear()
    text.offload = False
    backbone.encode(PROMPTS)
    assert done == [*there, "embed"]


def test_prompts_are_encoded_once_each_and_in_batches():
    backbone = tiny.family("sd3", text_encoder_batch_size=2)
    batches = []
    embed = backbone.text_encoder.embed
    backbone.text_encoder.embed = lambda prompts: batches.append(list(prompts)) or embed(prompts)
    backbone.encode(["a", "b", "a", "c", "b"])
    assert batches == [["a", "b"], ["c"], [""]]
    batches.clear()
    backbone.encode(["d"])
    assert batches == [["d"]]


@pytest.mark.parametrize("name", CACHED)
def test_embeddings_come_from_the_disk_the_second_time(name, folders, tmp_path):
    if name == "wan":
        pytest.importorskip("accelerate", reason="diffusers loads Wan with accelerate only")
    keys = {**SIZE, **({"max_sequence_length": tiny.T5_LENGTH} if name == "wan" else {})}
    first, again = (CACHED[name](str(folders / name), embedding_cache=str(tmp_path), **keys).load() for _ in range(2))
    c = first.encode(PROMPTS)
    text = again.text_encoder
    text.embed = lambda prompts: pytest.fail("encoded again") if prompts != [""] else type(text).embed(text, prompts)
    cached = again.encode([*PROMPTS, PROMPTS[0]])
    for key, tensor in c.tensors().items():
        assert torch.equal(cached.tensors()[key][:2], tensor), key
        assert torch.equal(cached.tensors()[key][2], tensor[0]), key
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_the_cache_keeps_models_apart(saved, copy):
    def identity(path=saved, **changed):
        return StableDiffusionXL(str(path), **{**SIZE, **changed}).load().text_encoder.identity()

    assert identity() == identity(height=96)
    others = [
        identity(dtype="bfloat16"),
        identity(copy),
        identity(variant="fp16"),
        identity(variant="other"),
        identity(revision="one"),
        identity(revision="two"),
    ]
    assert len({identity(), *others}) == 1 + len(others)
    assert (
        tiny.family("flux").text_encoder.identity()
        != tiny.family("flux", max_sequence_length=8).text_encoder.identity()
    )


@pytest.mark.parametrize("file", ["text_encoder/model.safetensors", "tokenizer_2/tokenizer.json"])
def test_the_cache_sees_that_a_text_file_was_exchanged(copy, file):
    backbone = StableDiffusionXL(str(copy), **SIZE).load()
    before = backbone.text_encoder.identity()
    (copy / "unet" / "config.json").touch()  # has no part in the embeddings
    assert backbone.text_encoder.identity() == before
    (copy / file).write_bytes((copy / file).read_bytes() + b" ")
    assert backbone.text_encoder.identity() != before


def test_one_cache_serves_two_models_each_with_its_own(saved, copy, tmp_path):
    torch.manual_seed(5)
    other = tiny.CLIPTextModel(tiny.text_config())
    other.save_pretrained(copy / "text_encoder")

    def embeds(path, cache):
        backbone = StableDiffusionXL(str(path), embedding_cache=cache and str(cache), **SIZE).load()
        return backbone.encode(PROMPTS).prompt_embeds

    for _ in range(2):
        assert torch.equal(embeds(saved, tmp_path / "cache"), embeds(saved, None))
        assert torch.equal(embeds(copy, tmp_path / "cache"), embeds(copy, None))
    assert not torch.equal(embeds(saved, None), embeds(copy, None))


def test_the_embeddings_of_a_pipeline_built_elsewhere_are_not_cached(saved, tmp_path):
    backbone = StableDiffusionXL(saved, embedding_cache=str(tmp_path), **SIZE).load()
    backbone.encode(PROMPTS)
    torch.manual_seed(5)
    other = tiny.sdxl_pipeline()
    other.text_encoder = tiny.CLIPTextModel(tiny.text_config())
    ours = backbone.description.adopt(other).encode(PROMPTS).prompt_embeds
    uncached = StableDiffusionXL(saved, **SIZE).adopt(other).encode(PROMPTS).prompt_embeds
    assert torch.equal(ours, uncached)
    assert len(list(tmp_path.rglob("*.safetensors"))) == len(PROMPTS)


@pytest.mark.parametrize("name", ["sdxl", "wan"])
def test_frames_and_sizes_can_be_asked_for_one_call(name):
    backbone = built(name)
    *_, height, width = backbone.latent_shape(128, 64)
    assert (height, width) == (16, 8)
    if isinstance(backbone.description, Wan):
        assert backbone.latent_shape(64, 64, 17) == (16, 5, 8, 8)
        with pytest.raises(UserError, match="num_frames=16"):
            backbone.latent_shape(64, 64, 16)


def test_constructors_take_the_keys_of_the_common_file():
    keys = {"vae_slicing": True, "lora_scale": 0.5, "spacing": None, "text_encoder_batch_size": 4}
    assert Flux("x", device="cpu", **keys).lora_scale == 0.5
    with pytest.raises(TypeError, match="vae_slice"):
        Wan("x", device="cpu", vae_slice=True)
