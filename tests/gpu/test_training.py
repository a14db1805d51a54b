"""The inner step of training on a fake GPU: no device is mixed, and the host reads whether the noise is finite."""

from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir

from npnet.costs.runtime.counter import empty, move
from npnet.instantiate import build
from npnet.networks import NoiseNetwork, NPNet
from npnet.paths import config_dir
from npnet.training.drawn import DescribedModels
from npnet.training.drawn_module import Models
from npnet.training.guidance_free import GuidanceFree
from npnet.training.guidance_free_module import GuidanceFreeModule
from npnet.training.module import NPNetModule
from npnet.training.optimisation import Optimisation
from npnet.training.reward import Reward
from npnet.training.reward_module import RewardModule
from tests.gpu.fake import BY_TURNS, GRADIENTS, OF_THE_FAMILY, Reads, backbone_on_gpu, noise_on_gpu
from tests.gpu.test_methods import Mean

NETWORKS = sorted(path.stem for path in (config_dir() / "network").glob("*.yaml"))


def network_of(name):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return build(compose("train", [f"network={name}"]).network, "network", NoiseNetwork)


def trained(mode, network):
    move(mode, network, device=GRADIENTS)
    return network.train().requires_grad_(True)


def has_gradients(network):
    return all(weights.grad is not None and weights.grad.device == GRADIENTS for weights in network.parameters())


@pytest.mark.parametrize(
    "name", [n if n.startswith("shapes") else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]
)
def test_a_step_on_pairs_stays_on_the_gpu(name):
    mode, network = backbone_on_gpu("sdxl", torch.float16, GRADIENTS)[0], network_of(name)
    sizes = network.config
    noise = torch.randn(2, sizes["latent_channels"], *sizes["latent_size"])
    given = {"source_noise": noise, "golden_noise": noise}
    given["prompt_embeds"] = torch.empty(2, sizes["prompt_length"], sizes["prompt_embed_dim"])
    if sizes["pooled_embed_dim"]:
        given["pooled_prompt_embeds"] = torch.empty(2, sizes["pooled_embed_dim"])
    batch = {key: empty(mode, tensor, device=GRADIENTS) for key, tensor in given.items()}
    if network.decomposer() is not None:  # by the loader
        batch["decomposition"] = [empty(mode, part, device=GRADIENTS) for part in network.decomposer()(noise)]
    module, reads = NPNetModule(trained(mode, network), Optimisation()), Reads()
    with mode, reads:
        module.training_step(batch, 0).backward()
    assert has_gradients(network)
    assert reads.found == {"require_noise"}


REWARD = Reward(reward="mean", l2=0.1, norm=0.1, kl=0.1, kl_powers=2, diversity=0.1, noises_per_prompt=2)
OBJECTIVES = {
    "reward": (RewardModule, REWARD),
    "reward, everything held": (RewardModule, Reward(reward="mean", recompute=False, gradient_clip=None)),
    "guidance_free": (GuidanceFreeModule, GuidanceFree(l2=0.1)),
}
CASES = [(objective, "sdxl", torch.float16) for objective in OBJECTIVES]
FAST = ("sd3", "z_image")
"""A flow model, and the one that reads; the other families are slow."""
CASES += [
    pytest.param("reward", *turn, marks=[] if turn[0] in FAST else pytest.mark.slow)
    for turn in BY_TURNS
    if turn[0] != "sdxl"
]


@pytest.mark.parametrize(("objective", "family", "dtype"), CASES, ids=str)
def test_a_step_without_pairs_stays_on_the_gpu(objective, family, dtype, monkeypatch):
    mode, backbone, conditioning = backbone_on_gpu(family, dtype, GRADIENTS)
    if backbone.latent_shape()[1:] != tuple(backbone.latent_shape()[-2:]):
        pytest.skip("no network of ours makes noise of videos")
    kind, asked = OBJECTIVES[objective]
    network = NPNet(
        backbone.latent_shape()[0],
        backbone.latent_shape()[1:],
        text_term="spatial",
        singular_value_branch="off",
        trunk={"widths": [8, 16]},
        **backbone.embed_dims(),
    )
    module = kind(network, Optimisation(), asked, DescribedModels(backbone.description, {}, 2, 2.0), 0)
    module._models = Models(backbone, {"mean": Mean()})
    module._trainer = SimpleNamespace(current_epoch=0, global_step=0, global_rank=0, strategy=None)
    monkeypatch.setattr(module, "encode", lambda prompts: conditioning)
    monkeypatch.setattr(torch, "lazy", torch.cpu, raising=False)  # torch's checkpoint asks for the device's module
    trained(mode, network)
    batch, reads = {"source_noise": noise_on_gpu(mode, backbone), "prompts": ["a red fox"] * 2}, Reads()
    with mode, reads:
        module.training_step(batch, 0)["loss"].backward()
    assert has_gradients(network)
    assert reads.found <= {"require_noise", "require_images"} | OF_THE_FAMILY.get(family, set())
