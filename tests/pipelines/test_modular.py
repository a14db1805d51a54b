"""Golden noise as a block of modular diffusers gives what it gives in the plain pipeline."""

from functools import cache

import diffusers
import pytest
import torch
from diffusers.modular_pipelines import ModularPipelineBlocks

from npnet import GoldenNoise
from npnet.errors import UserError
from npnet.networks import NPNet
from npnet.pipelines.modular import FAMILIES, GoldenNoiseBlock
from tests.pipelines.test_golden import STEPS, Listening, listening, pipeline, sizes

BLOCKS = {
    "sdxl": "StableDiffusionXLAutoBlocks",
    "sd3": "StableDiffusion3AutoBlocks",
    "flux": "FluxAutoBlocks",
    "flux2": "Flux2KleinBaseAutoBlocks",
    "qwen_image": "QwenImageAutoBlocks",
    "z_image": "ZImageAutoBlocks",
    "wan": "WanBlocks",
}
PROMPTS = ["a red fox", "two dogs"]


def blocks(name):
    return getattr(diffusers.modular_pipelines, BLOCKS[name])()


@cache
def modular(name):
    every = blocks(name)
    GoldenNoiseBlock(GoldenNoise(listening(name))).insert_into(every)
    pipe, parts = every.init_pipeline(), pipeline(name).components
    pipe.update_components(**{name: parts[name] for name in pipe.component_names if parts.get(name) is not None})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(name, **more):
    """The latents of two prompts at the end, two steps later."""
    given = {**sizes(name), "num_inference_steps": 2, "output_type": "pt", "prompt": list(PROMPTS)}
    given |= {"negative_prompt": ["grey", "blue"]} if name == "qwen_image" else {}  # it makes one of a missing one
    return modular(name)(**given, **more, output="latents")


def places(every, path=""):
    """The paths of the blocks in which golden noise was put."""
    for key, inner in every.sub_blocks.items():
        if key == "golden_noise":
            yield path
        elif hasattr(inner, "sub_blocks"):
            yield from places(inner, f"{path}.{key}")


def generators(count=2):
    return [torch.Generator().manual_seed(3 + number) for number in range(count)]


@pytest.fixture(params=BLOCKS)
def name(request):
    return request.param


def test_the_families_that_diffusers_has_in_this_form_are_served():
    assert len(BLOCKS) == len(FAMILIES)


def test_a_block_draws_what_is_drawn_from_golden_latents_of_the_plain_pipeline(name):
    latents = GoldenNoise(listening(name))(pipeline(name), PROMPTS, seed=3, **sizes(name))
    found = drawn(name, generator=generators())
    assert torch.allclose(found, drawn(name, latents=latents), atol=1e-5)
    source = GoldenNoise(method="standard")(pipeline(name), PROMPTS, seed=3, **sizes(name))
    assert not torch.allclose(found, drawn(name, latents=source), atol=1e-4)


def test_several_pictures_of_a_prompt_are_drawn_one_by_one(name):
    count = {"num_videos_per_prompt" if name == "wan" else "num_images_per_prompt": 2}
    if name == "sdxl":
        pytest.skip("its blocks repeat the pooled embeddings in another order than the prompts")
    together = drawn(name, generator=generators(4), **count)
    latents = GoldenNoise(listening(name))(
        pipeline(name), PROMPTS, seed=[3, 4, 5, 6], num_images_per_prompt=2, **sizes(name)
    )
    assert torch.allclose(together, drawn(name, latents=latents, **count), atol=1e-5)


def test_blocks_that_start_from_pictures_stay_as_they_are(name):
    every = blocks(name)
    GoldenNoiseBlock(GoldenNoise(listening(name))).insert_into(every)

    found = list(places(every))
    assert found
    words = ("img2img", "image2image", "inpaint", "image_conditioned")
    assert not any(word in path for path in found for word in words)


def test_the_pictures_are_those_of_the_plain_pipeline():
    pipe, plain = modular("sdxl"), pipeline("sdxl")
    call = {"prompt": PROMPTS, "num_inference_steps": STEPS, "output_type": "pt", **sizes("sdxl")}
    found = pipe(**call, generator=generators(), output="images")
    golden = GoldenNoise(Listening()).attach(plain)
    expected = plain(**call, generator=generators(), guidance_scale=pipe.guider.guidance_scale).images
    golden.detach()
    assert torch.allclose(found, expected, atol=1e-4)


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


def test_a_block_without_a_network_or_a_place_is_refused():
    with pytest.raises(UserError, match="network=PATH is needed"):
        GoldenNoiseBlock()
    with pytest.raises(UserError, match="a block applies a network"):
        GoldenNoiseBlock(GoldenNoise(method="inversion"))
    with pytest.raises(UserError, match="LTXAutoBlocks: no block that draws noise for a prompt; allowed"):
        GoldenNoiseBlock(GoldenNoise(Listening())).insert_into(diffusers.modular_pipelines.LTXAutoBlocks())
