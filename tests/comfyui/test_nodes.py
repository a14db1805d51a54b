"""The nodes of ComfyUI, called with its data structures."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from npnet import NPNet, seeding
from npnet.paths import shapes_weights

FOLDER = Path(__file__).parents[2] / "comfyui"
TOKENS, WIDTH, POOLED = 16, 96, 48


@pytest.fixture(scope="module")
def pack():
    # as ComfyUI loads a folder of custom_nodes
    spec = importlib.util.spec_from_file_location(
        "golden_noise_nodes", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.startswith(spec.name)]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def network(pack):
    return run(pack, "NPNetLoadNetwork", network_path=str(shapes_weights() / "network"))


def run(pack, name, **inputs):
    node = pack.NODE_CLASS_MAPPINGS[name]
    assert inputs.keys() == node.INPUT_TYPES()["required"].keys()
    (found,) = getattr(node(), node.FUNCTION)(**inputs)
    return found


def conditioning(count=1, tokens=TOKENS, width=WIDTH, pooled=POOLED):
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(count, tokens, width, generator=generator)
    return [[embeds, {"pooled_output": torch.randn(count, pooled, generator=generator)}]]


def latent(count=1, height=16, width=16):
    return {"samples": torch.zeros(count, 4, height, width)}


def test_the_noise_is_the_networks_own_for_the_noise_of_the_seed(pack, network):
    noise = run(pack, "NPNetGoldenNoise", network=network, positive=conditioning(), noise_seed=7)
    made = noise.generate_noise(latent(2))
    embeds, extras = conditioning()[0]
    source = seeding.source_noises([7, 8], (4, 16, 16))
    wanted = network(source, embeds.expand(2, -1, -1), extras["pooled_output"].expand(2, -1))
    assert noise.seed == 7
    assert torch.allclose(made, wanted, atol=1e-6)
    assert not made.requires_grad


def test_a_picture_of_a_batch_is_the_one_it_is_alone(pack, network):
    batch = run(pack, "NPNetGoldenNoise", network=network, positive=conditioning(), noise_seed=7)
    alone = run(pack, "NPNetGoldenNoise", network=network, positive=conditioning(), noise_seed=8)
    assert torch.allclose(batch.generate_noise(latent(2))[1:], alone.generate_noise(latent()), atol=1e-5)


def test_a_latent_of_noise_is_made_golden_at_any_size_and_keeps_what_goes_with_it(pack, network):
    noise = {"samples": torch.randn(1, 4, 24, 40), "batch_index": [0]}
    found = run(pack, "NPNetGoldenLatent", network=network, positive=conditioning(tokens=3 * TOKENS), noise=noise)
    assert found["samples"].shape == noise["samples"].shape
    assert found["batch_index"] == [0]
    assert not torch.equal(found["samples"], noise["samples"])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"positive": []}, "a conditioning is needed"),
        ({"positive": conditioning(width=2048)}, "was trained for prompt_embed_dim 96"),
        ({"positive": conditioning(count=3)}, "3 prompts for 1 pictures"),
        ({"noise": latent()}, "no noise"),
        ({"noise": {"samples": torch.randn(1, 16, 16, 16)}}, r"latents \(4, h, w\)"),
    ],
)
def test_what_cannot_work_is_said_aloud(pack, network, inputs, said):
    given = {"network": network, "positive": conditioning(), "noise": {"samples": torch.randn(1, 4, 16, 16)}, **inputs}
    with pytest.raises(ValueError, match=said):
        run(pack, "NPNetGoldenLatent", **given)


def test_every_node_of_ours_in_the_example_gets_its_inputs(pack):
    workflow = json.loads((FOLDER / "examples" / "sdxl.json").read_text())
    ours = [node for node in workflow.values() if node["class_type"].startswith("NPNet")]
    assert len(ours) == 2
    for node in ours:
        kinds = pack.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()["required"]
        assert node["inputs"].keys() == kinds.keys()
        for value in node["inputs"].values():
            assert not isinstance(value, list) or value[0] in workflow


def test_a_path_that_holds_no_network_is_an_error(pack):
    with pytest.raises((OSError, ValueError)):
        run(pack, "NPNetLoadNetwork", network_path="/nosuch")


def test_the_network_is_an_npnet(network):
    assert isinstance(network, NPNet)
