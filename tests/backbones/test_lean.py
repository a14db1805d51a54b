"""The keys that save memory and time, and the text that is encoded once."""

import diffusers
import pytest
import torch

from npnet.backbones import Flux, StableDiffusionXL, Wan
from npnet.errors import UserError
from tests import tiny
from tests.families import PROMPTS, SIZE, built, noise_for, sampled


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines") / "sdxl"
    built("sdxl").pipeline.save_pretrained(folder)
    return str(folder)


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
    assert lean.denoiser.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(sampled(lean), sampled(plain), atol=1e-4)
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
    moves = []
    monkeypatch.setattr(backbone, "move_text_encoders", lambda device: moves.append(device.type))
    monkeypatch.setattr(backbone, "device", torch.device("cpu", 0))
    backbone.encode(PROMPTS)
    assert moves == ["cpu", "cpu"]
    moves.clear()
    backbone.offload_text_encoders = False
    backbone.encode(PROMPTS)
    assert moves == ["cpu"]


def test_prompts_are_encoded_once_each_and_in_batches():
    backbone = tiny.family("sd3", text_encoder_batch_size=2)
    batches = []
    embed = backbone.embed
    backbone.embed = lambda prompts: batches.append(list(prompts)) or embed(prompts)
    backbone.encode(["a", "b", "a", "c", "b"])
    assert batches == [["a", "b"], ["c"], [""]]
    batches.clear()
    backbone.encode(["d"])
    assert batches == [["d"]]


@pytest.mark.parametrize("name", ["sdxl", "hunyuan_dit", "wan"])
def test_embeddings_come_from_the_disk_the_second_time(name, tmp_path):
    first = tiny.family(name, embedding_cache=str(tmp_path))
    c = first.encode(PROMPTS)
    again = tiny.family(name, embedding_cache=str(tmp_path))
    again.embed = lambda prompts: pytest.fail("encoded again") if prompts != [""] else type(again).embed(again, prompts)
    cached = again.encode([*PROMPTS, PROMPTS[0]])
    for key, tensor in c.tensors().items():
        assert torch.equal(cached.tensors()[key][:2], tensor), key
        assert torch.equal(cached.tensors()[key][2], tensor[0]), key
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_the_cache_keeps_models_apart(saved, tmp_path):
    def identity(**changed):
        return StableDiffusionXL(saved, **{**SIZE, **changed}).load().identity()

    assert identity() == identity(height=96)
    assert identity() != identity(dtype="bfloat16")
    assert tiny.family("flux").identity() != tiny.family("flux", max_sequence_length=8).identity()


@pytest.mark.parametrize("name", ["sdxl", "wan"])
def test_frames_and_sizes_can_be_asked_for_one_call(name):
    backbone = built(name)
    *_, height, width = backbone.latent_shape(128, 64)
    assert (height, width) == (16, 8)
    if isinstance(backbone, Wan):
        assert backbone.latent_shape(64, 64, 17) == (16, 5, 8, 8)
        with pytest.raises(UserError, match="num_frames=16"):
            backbone.latent_shape(64, 64, 16)


def test_constructors_take_the_keys_of_the_common_file():
    keys = {"vae_slicing": True, "lora_scale": 0.5, "spacing": None, "text_encoder_batch_size": 4}
    assert Flux("x", device="cpu", **keys).lora_scale == 0.5
    with pytest.raises(TypeError, match="vae_slice"):
        Wan("x", device="cpu", vae_slice=True)
