"""Golden noise as a block of modular diffusers gives what it gives in the plain pipeline."""

from functools import cache

import pytest
import torch
from diffusers.modular_pipelines import ModularPipelineBlocks
from diffusers.modular_pipelines.stable_diffusion_xl import StableDiffusionXLAutoBlocks

from npnet import GoldenNoise
from npnet.errors import UserError
from npnet.networks import NPNet
from npnet.pipelines.modular import GoldenNoiseBlock
from tests.pipelines.test_golden import SIZES, STEPS, Listening, pipeline

CALL = {"prompt": ["a red fox", "two dogs"], "num_inference_steps": STEPS, "output_type": "pt", **SIZES}


def modular(block):
    blocks = StableDiffusionXLAutoBlocks()
    blocks.sub_blocks["denoise"].sub_blocks.insert("golden_noise", block, 1)
    pipe = blocks.init_pipeline()
    parts = pipeline("sdxl").components
    pipe.update_components(**{name: parts[name] for name in pipe.component_names if parts.get(name) is not None})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def listening():
    return modular(GoldenNoiseBlock(GoldenNoise(Listening())))


def generator():
    return torch.Generator().manual_seed(3)


def test_the_pictures_are_those_of_the_plain_pipeline():
    pipe, plain = listening(), pipeline("sdxl")
    found = pipe(**CALL, generator=generator(), output="images")
    scale = pipe.guider.guidance_scale
    golden = GoldenNoise(Listening()).attach(plain)
    expected = plain(**CALL, generator=generator(), guidance_scale=scale).images
    golden.detach()
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, plain(**CALL, generator=generator(), guidance_scale=scale).images, atol=1e-2)


def test_latents_that_are_given_stay_as_they_are():
    latents = torch.randn(2, 4, 8, 12, generator=generator())
    state = listening()(**CALL, latents=latents)
    plain = pipeline("sdxl")(**CALL, latents=latents, guidance_scale=listening().guider.guidance_scale).images
    assert torch.allclose(state.get("images"), plain, atol=1e-4)


def test_a_hub_repository_needs_three_files_of_the_block(tmp_path):
    network = NPNet(latent_channels=4, latent_size=(8, 12), text_term="off", residual_branch=False)
    GoldenNoiseBlock(GoldenNoise(network)).save_pretrained(tmp_path)
    assert {"modular_config.json", "golden_noise_block.py", "config.json"} <= {path.name for path in tmp_path.iterdir()}
    block = ModularPipelineBlocks.from_pretrained(str(tmp_path), trust_remote_code=True, network=str(tmp_path))
    assert isinstance(block, GoldenNoiseBlock)
    for name, tensor in network.state_dict().items():
        assert torch.equal(block.network.state_dict()[name], tensor)
    with pytest.raises(ValueError, match="trust_remote_code"):
        ModularPipelineBlocks.from_pretrained(str(tmp_path), trust_remote_code=False, network=str(tmp_path))


def test_a_block_without_a_network_is_refused():
    with pytest.raises(UserError, match="network=PATH is needed"):
        GoldenNoiseBlock()
    with pytest.raises(UserError, match="a block applies a network"):
        GoldenNoiseBlock(GoldenNoise(method="inversion"))
