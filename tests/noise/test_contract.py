"""What holds for every noise method: each YAML in conf/noise, on a UNet, on a flow model and on the built-in model."""

import pytest
import torch
from omegaconf import OmegaConf

from npnet import seeding
from npnet.errors import UserError
from npnet.instantiate import build
from npnet.metrics import ShapesScorer
from npnet.networks import NPNet
from npnet.paths import config_dir
from tests import tiny
from tests.noise import linear
from tests.noise.scorers import Ramp

LABELS = sorted(path.stem for path in (config_dir() / "noise").glob("*.yaml"))
STEPS = 2
PROMPTS = ["a red circle above a blue square", "a green cross below a red square", "a cyan square above a red cross"]
SEEDS = [11, 12, 13]
SMALLER = {
    "inversion": {"guidance_scale": 3.0},  # two steps are long ones
    "noise_diffusion": {"num_rounds": 2, "num_candidates": 4, "threshold": None},
    "initno": {"num_rounds": 2, "round_steps": 2, "final_steps": 2, "cross_target": 0.0},  # nothing succeeds
    "zero_order_search": {"num_rounds": 2, "num_candidates": 2},
    "reno": {"num_iterations": 3},
}
"""Changes that keep the tests short; a new method needs none."""
SCORED = 2 * STEPS
FORWARDS = {
    "standard": 0,
    "inversion": 3,
    "repaint": 2,
    "npnet": 0,
    "noise_diffusion": (2 + 1) * SCORED,
    "semantic_erasure": 0,
    "erasure_injection": 2,
    "initno": 2 * 2 + 2,
    "best_of_n": 4 * SCORED,
    "zero_order_search": (2 * 2 + 1) * SCORED,
    "reno": 3 * SCORED,
}
"""The documented cost of one sample, written out."""
BACKWARDS = {"initno": 6 - 3, "reno": 2 * SCORED}
SCORER_CALLS = {"noise_diffusion": 3, "best_of_n": 4, "zero_order_search": 5, "reno": 3}
REFUSED = {"flow": {"repaint": "starts at pure noise", "initno": "needs cross_attention_maps"}}


@pytest.fixture(scope="module")
def network_path(tmp_path_factory):
    def make(backbone):
        path = tmp_path_factory.mktemp("network")
        shape, dims = backbone.latent_shape(), backbone.embed_dims()
        torch.manual_seed(0)
        network = NPNet(
            latent_channels=shape[0],
            latent_size=shape[1:],
            text_term="spatial",
            prompt_embed_dim=dims["prompt_embed_dim"],
            prompt_length=dims["prompt_length"],
            residual_branch=False,
            alpha_init=0.1,
        )
        network.save_pretrained(path)
        return str(path)

    return make


@pytest.fixture(scope="module")
def backbones():
    return {}


@pytest.fixture(params=["unet", "flow", "shapes"])
def family(request):
    return request.param


@pytest.fixture
def backbone(family, backbones):
    if family not in backbones:
        backbones[family] = make_backbone(family)
    return backbones[family]


def make_backbone(family):
    if family == "flow":
        return linear.of_kind("flow")
    if family == "unet":
        return tiny.sdxl()
    from npnet.backbones import Shapes

    return Shapes(device="cpu").load()


def yaml_node(label, network, scorer):
    node = OmegaConf.load(config_dir() / "noise" / f"{label}.yaml")
    settings = {
        "guidance_scale": 5.5,
        "num_inference_steps": STEPS,
        "network_path": network,
        "backbone": {"settings": {"inversion_guidance_scale": 1.0}},
    }
    values = OmegaConf.to_container(OmegaConf.merge(settings, node), resolve=True)[label]
    return {**values, **SMALLER.get(label, {}), **({"scorer": scorer} if "scorer" in values else {})}


@pytest.fixture(params=LABELS)
def label(request):
    return request.param


@pytest.fixture
def scorer(family):
    return ("shapes_scorer", ShapesScorer().load()) if family == "shapes" else ("ramp", Ramp())


@pytest.fixture
def method(label, backbone, network_path, scorer):
    """The method as its YAML describes it, not loaded yet."""
    return make(label, network_path(backbone) if label == "npnet" else None, scorer)


def make(label, network, scorer, **changes):
    return build({**yaml_node(label, network, scorer[0]), **changes}, f"noise.{label}")


def has_budget(label):
    return "budget" in OmegaConf.load(config_dir() / "noise" / f"{label}.yaml")[label]


def prepare(method, label, backbone, scorer):
    """What every command does before it runs a method."""
    method.check()
    method.check_backbone(backbone, label)
    return method.load(backbone, {scorer[0]: scorer[1]})


def run(method, backbone, rows=(0, 1, 2), dtype=torch.float32):
    noise = seeding.source_noises([SEEDS[i] for i in rows], backbone.latent_shape()).to(dtype)
    generators = seeding.streams([SEEDS[i] for i in rows], "noise method")
    conditioning = backbone.encode([PROMPTS[i] for i in rows])
    return noise, method(noise, conditioning, backbone, generators), generators


def test_the_documented_cost_of_every_method_is_written_here():
    assert sorted(FORWARDS) == LABELS


def test_a_method_obeys_the_contract_or_says_that_it_does_not_apply(label, family, method, backbone, scorer):
    if label in REFUSED.get(family, {}):
        with pytest.raises(UserError, match=REFUSED[family][label]):
            prepare(method, label, backbone, scorer)
        return
    prepare(method, label, backbone, scorer)
    before, calls = backbone.cost, scorer[1].calls
    noise, result, generators = run(method, backbone)
    cost = backbone.cost - before

    assert result.noise.shape == noise.shape
    assert result.noise.dtype == noise.dtype
    assert torch.isfinite(result.noise).all()
    assert not result.noise.requires_grad

    assert cost.forwards == len(noise) * FORWARDS[label]
    assert method.forwards(backbone) in (None, FORWARDS[label])
    assert cost.backwards == len(noise) * BACKWARDS.get(label, 0)
    assert scorer[1].calls - calls == len(noise) * SCORER_CALLS.get(label, 0)

    slack = 5 * (2 / noise[0].numel()) ** 0.5  # of a sample's variance around its expectation
    low, high = method.variance_bound
    variance = result.noise.flatten(1).var(1)
    assert (variance >= low - slack).all() and (variance <= high + slack).all(), variance

    if result.trace:
        scores = torch.stack([point.score for point in result.trace])
        assert (scores.diff(dim=0) >= 0).all()
        assert [point.forwards for point in result.trace] == sorted(point.forwards for point in result.trace)
        assert result.trace[-1].forwards == FORWARDS[label]

    again = run(method, backbone)[1]
    assert torch.equal(result.noise, again.noise)

    for row in range(len(noise)):
        _, alone, [generator] = run(method, backbone, rows=[row])
        assert torch.equal(generator.get_state(), generators[row].get_state()), "another number of draws"
        assert torch.allclose(alone.noise[0], result.noise[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["unet"], indirect=True)
@pytest.mark.parametrize("label", [label for label in LABELS if has_budget(label)], indirect=True)
def test_a_search_is_capped_by_a_budget_of_forwards_or_of_seconds(label, backbone, scorer, monkeypatch):
    one_round = 1 if label == "initno" else SCORED

    def spent(**budget):
        method = prepare(make(label, None, scorer, budget=budget), label, backbone, scorer)
        before = backbone.cost
        noise, result, _ = run(method, backbone)
        return (backbone.cost - before).forwards / len(noise), torch.equal(noise, result.noise)

    for forwards in (one_round - 1, one_round, 2 * one_round + one_round // 2):
        assert spent(forwards=forwards) == (forwards // one_round * one_round, forwards <= one_round)
    assert spent(forwards=10_000)[0] == FORWARDS[label]
    clock = iter(range(0, 10_000, 10))  # a round lasts 10 seconds, and so does everything between two rounds
    monkeypatch.setattr("npnet.noise.search.time.monotonic", lambda: float(next(clock)))
    assert spent(seconds=25)[0] == one_round
    assert spent(seconds=5) == (0, True)


@pytest.mark.parametrize("family", ["unet"], indirect=True)
def test_a_method_gives_back_the_dtype_it_was_given(label, method, backbone, scorer):
    prepare(method, label, backbone, scorer)
    noise, result, _ = run(method, backbone, dtype=torch.float16)
    assert result.noise.dtype == noise.dtype
    assert result.first_branches is None or result.first_branches.conditional.dtype == torch.float32


@pytest.mark.parametrize("family", ["unet"], indirect=True)
def test_a_first_evaluation_that_is_promised_is_the_one_sampling_starts_with(label, method, backbone, scorer):
    prepare(method, label, backbone, scorer)
    noise, result, _ = run(method, backbone)
    assert method.shares_first_evaluation(STEPS) == (result.first_branches is not None)
    if result.first_branches is not None:
        conditioning = backbone.encode(PROMPTS)
        shared = backbone.sample(noise, conditioning, STEPS, 5.5, first_branches=result.first_branches)
        assert torch.allclose(shared, backbone.sample(noise, conditioning, STEPS, 5.5), atol=1e-5)
