"""Training on a reward: its gradient is the one that autograd finds from end to end, and nothing else is touched."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from npnet import seeding
from npnet.networks import NPNet
from npnet.noise.runtime.gradient import sample_in_graph
from npnet.training import penalties
from npnet.training.drawn import DescribedModels
from npnet.training.drawn_module import Models
from npnet.training.optimisation import Optimisation
from npnet.training.reward import Reward
from npnet.training.reward_module import RewardModule
from tests import tiny
from tests.fakes import SHAPE, Brightness, LinearBackbone, TargetScorer, linear
from tests.training.affine import Affine

PROMPTS = ["one", "one", "two", "two"]
STEPS, SCALE = 3, 2.5
PLAIN = Reward(reward="target", gradient_clip=None, recompute=False)


def unet():
    torch.manual_seed(0)
    network = NPNet(
        latent_size=8,
        prompt_embed_dim=64,
        prompt_length=4,
        pooled_embed_dim=6,
        text_term="spatial",
        singular_value_branch="off",
        trunk={"widths": [8, 8]},
        alpha_init=1.0,
        beta_init=1.0,
    )
    for weights in network.parameters():  # fresh ones start at zero, and a zero has no gradient to compare
        torch.nn.init.normal_(weights, std=0.1)
    return network


def module(objective=PLAIN, network=None, backbone=None, scorers=None, kind="variance_preserving"):
    backbone = linear(kind, device="cpu") if backbone is None else backbone
    metrics = {"target": TargetScorer(), "brightness": Brightness()}
    described = DescribedModels(LinearBackbone(kind), metrics, STEPS, SCALE)
    network = unet() if network is None else network
    made = RewardModule(network, Optimisation(), objective, described, 0)
    made._models = Models(backbone, scorers or {label: metric.load() for label, metric in metrics.items()})
    made._trainer = SimpleNamespace(current_epoch=0, global_step=0, global_rank=0, strategy=None)
    return made


def batch(prompts=PROMPTS, shape=SHAPE, epoch=0):
    seeds = range(100 * epoch, 100 * epoch + len(prompts))
    return {"source_noise": seeding.source_noises(seeds, shape), "prompts": list(prompts)}


def gradients(made, loss):
    made.zero_grad()
    loss.backward()
    return {name: weights.grad.clone() for name, weights in made.network.named_parameters() if weights.grad is not None}


def step(objective, **options):
    made = module(objective, **options)
    outputs = made.training_step(batch(), 0)
    return gradients(made, outputs["loss"]), outputs


def from_end_to_end(objective, kind):
    """The loss as it is written down, in one graph."""
    made, given = module(objective, kind=kind), batch()
    conditioning = made.encode(PROMPTS)
    noise = given["source_noise"].requires_grad_()
    golden = made.network.improve(noise, conditioning)
    images = made.models.backbone.decode(made.models.backbone.sample(golden, conditioning, STEPS, SCALE))
    loss = -made.models.scorers["target"].score(images, PROMPTS).mean()
    features = objective.diversity_space.load().features(images, PROMPTS)
    loss = loss + objective.diversity * penalties.alikeness(features, PROMPTS, 0.1)
    loss = loss + sum(made.penalties(golden, noise).values())
    return gradients(made, loss), loss


EVERYTHING = {"l2": 0.3, "kl": 0.2, "norm": 0.01, "diversity": 0.5, "noises_per_prompt": 2}


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
@pytest.mark.parametrize(
    "keys",
    [{}, EVERYTHING, {**EVERYTHING, "recompute": True, "decode_batch_size": 3}],
    ids=["reward", "everything", "recomputed"],
)
def test_the_gradient_at_the_detached_noise_is_that_from_end_to_end(kind, keys):
    objective = replace(PLAIN, **keys)
    found, outputs = step(objective, kind=kind)
    expected, loss = from_end_to_end(objective, kind)
    assert float(outputs["loss"].detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6 * float(gradient.abs().max()) + 1e-9), name
    assert sum(float(gradient.norm()) for gradient in expected.values()) > 1e-3


def test_recomputed_gradients_are_the_plain_ones_to_the_bit():
    backbone = tiny.sdxl()
    noise = seeding.source_noises([1, 2], backbone.latent_shape())
    conditioning = backbone.encode(["a", "b"])
    found = []
    for recompute in (False, True):
        leaf = noise.clone().requires_grad_()
        latents = sample_in_graph(backbone, leaf, conditioning, 3, SCALE, recompute=recompute)
        found.append((latents.detach(), torch.autograd.grad(latents.square().sum(), leaf)[0]))
    with torch.no_grad():
        assert torch.equal(found[0][0], backbone.sample(noise, conditioning, 3, SCALE))
    for plain, recomputed in zip(*found, strict=True):
        assert torch.equal(plain, recomputed)


def test_the_first_evaluations_alone_hold_the_rest_constant():
    backbone, given = linear(device="cpu"), batch()
    conditioning = backbone.encode(PROMPTS)

    def slope(evaluations):
        leaf = given["source_noise"].clone().requires_grad_()
        latents = sample_in_graph(backbone, leaf, conditioning, STEPS, SCALE, evaluations)
        return torch.autograd.grad(latents.sum(), leaf)[0]

    assert torch.equal(slope(STEPS), slope(None))
    held = 1.0
    for here, there in backbone.steps(STEPS):
        held *= backbone.step_coefficients(here, there)[0]
    assert torch.allclose(slope(0), torch.full((), held).expand_as(slope(0)), rtol=1e-5)
    assert len({round(float(slope(count).mean()), 6) for count in range(STEPS + 1)}) == STEPS + 1


def test_a_finite_difference_agrees_with_the_gradient():
    made, given = module(replace(PLAIN, diversity=0.5, noises_per_prompt=2)), batch()
    conditioning = made.encode(PROMPTS)
    aim = made.aim(given["source_noise"].clone(), given["source_noise"], conditioning)
    direction = aim.gradient / aim.gradient.norm()
    values = [
        float(made.aim(given["source_noise"] + sign * 0.05 * direction, given["source_noise"], conditioning).value)
        for sign in (-1, 1)
    ]
    expected = float((aim.gradient * direction).sum()) / len(PROMPTS)
    assert (values[1] - values[0]) / 0.1 == pytest.approx(expected, rel=0.01)


def test_each_samples_gradient_is_cut_before_it_reaches_the_network():
    made = module(replace(PLAIN, gradient_clip=1e-6), network=Affine())
    found = gradients(made, made.training_step(batch(), 0)["loss"])
    # the shift is moved by the mean of the samples' gradients, summed over a channel's 64 cells
    assert float(found["shift"].norm()) <= 1e-6 * math.sqrt(64) + 1e-12
    whole, _ = step(PLAIN, network=Affine())
    assert float(whole["shift"].norm()) > 1e-4


def test_a_step_takes_as_many_backwards_as_forwards_and_leaves_models_as_they_were():
    backbone = tiny.sdxl()
    parts = (backbone.pipeline.unet, backbone.pipeline.vae, backbone.pipeline.text_encoder)
    before = [{name: tensor.clone() for name, tensor in part.state_dict().items()} for part in parts]
    network = Affine(prompt_embed_dim=64)
    made = module(Reward(reward="target"), network, backbone, {"target": Brightness().load()})
    for recompute in (False, True):
        made.objective = Reward(reward="target", recompute=recompute)
        cost = backbone.cost
        outputs = made.training_step(batch(["a", "b"], backbone.latent_shape()), 0)
        assert gradients(made, outputs["loss"])["shift"].abs().sum() > 0
        spent = backbone.cost - cost
        assert spent.backwards == 2 * 2 * STEPS
        assert recompute or spent.forwards == spent.backwards
    for part, old in zip(parts, before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in part.state_dict().items())
        assert all(weights.grad is None for weights in part.parameters())


def trained(objective, steps):
    made = module(objective, network=Affine())
    with torch.no_grad():
        made.network.scale.fill_(0.7)
        made.network.shift.fill_(0.3)
    optimiser = torch.optim.Adam(made.network.parameters(), lr=0.1)
    for index in range(steps):
        loss = made.training_step(batch(epoch=index), 0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    given = batch()
    with torch.no_grad():
        change = made.network.improve(given["source_noise"], made.encode(PROMPTS)) - given["source_noise"]
    return float(change.square().mean().sqrt())


@pytest.mark.parametrize("weight", ["l2", "kl"])
def test_a_large_weight_drives_the_output_to_the_identity(weight):
    assert trained(replace(PLAIN, gradient_clip=0.1, **{weight: 1000.0}), 40) < 0.05
    assert trained(PLAIN, 40) > 0.3


def test_the_reward_rises_and_the_validation_says_so():
    made = module(replace(PLAIN, gradient_clip=0.1), network=Affine())
    optimiser = torch.optim.Adam(made.network.parameters(), lr=0.05)

    def validated():
        told = {}
        made.log_dict = lambda values, **options: told.update(values)
        made.on_validation_epoch_start()
        made.validation_step(batch(), 0)
        made.on_validation_epoch_end()
        return told

    before = validated()
    for index in range(40):
        loss = made.training_step(batch(epoch=index + 1), 0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = validated()
    assert after["val/reward"] > before["val/reward"] + 0.001
    assert after["val/reward"] == after["val/target"]
    assert before["val/change"] == 0 < after["val/change"]
    names = ("brightness", "variance", "neighbour_correlation", "low_frequency_share", "diversity", "level", "contrast")
    assert {f"val/{name}" for name in names} <= after.keys()
    with torch.no_grad():
        images = made.pictures(linear(device="cpu").sample(batch()["source_noise"], made.encode(PROMPTS), STEPS, SCALE))
    assert before["val/level"] == pytest.approx(float(images.mean()), rel=1e-5)
    apart = [(images[i] - images[i + 1]).square().mean().sqrt() for i in (0, 2)]
    assert before["val/diversity"] == pytest.approx(float(sum(apart)) / 2, rel=1e-5)
