"""What holds for every noise method: each YAML in conf/noise, on a UNet, on a flow model and on the built-in model."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf

from npnet.compatibility import check_method, resolve
from npnet.errors import UserError
from npnet.instantiate import build
from npnet.laws.noise import LAWS, Case
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
    "npnet_paper": 0,
    "npnet_reward": 0,
    "noise_diffusion": (2 + 1) * SCORED,
    "semantic_erasure": 0,
    "erasure_injection": 2,
    "initno": 2 * 2 + 2,
    "best_of_n": 4 * SCORED,
    "zero_order_search": (2 * 2 + 1) * SCORED,
    "reno": 3 * SCORED,
    "divin": 2,
}
"""The documented cost of one sample, written out for the methods of this project; a new one need not be here."""
BACKWARDS = {"initno": 6 - 3, "reno": 2 * SCORED, "divin": 2}
SCORER_CALLS = {"noise_diffusion": 3, "best_of_n": 4, "zero_order_search": 5, "reno": 3}
SLOW_LAWS = ("the_description_imports_no_torch", "the_description_travels", "the_description_cannot_be_changed")
"""Those that ask nothing of the backbone, so that one is enough."""
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


def has_budget(label):
    return "budget" in OmegaConf.load(config_dir() / "noise" / f"{label}.yaml")[label]


def is_search(label):
    return "scorer" in OmegaConf.load(config_dir() / "noise" / f"{label}.yaml")[label]


def yaml_node(label, network):
    node = OmegaConf.load(config_dir() / "noise" / f"{label}.yaml")
    settings = {
        "guidance_scale": 5.5,
        "num_inference_steps": STEPS,
        "network_path": network,
        "backbone": {"settings": {"inversion_guidance_scale": 1.0}},
    }
    values = OmegaConf.to_container(OmegaConf.merge(settings, node), resolve=True)[label]
    return {**values, **SMALLER.get(label, {})}


@pytest.fixture(params=LABELS)
def label(request):
    return request.param


@pytest.fixture
def scorer(family):
    return ("shapes_scorer", ShapesScorer().load()) if family == "shapes" else ("ramp", Ramp().load())


@pytest.fixture
def method(label, backbone, network_path, scorer):
    """The method as its YAML describes it, its scorer settled as the commands do."""
    network = network_path(backbone) if label.startswith("npnet") else None
    return make(label, network, backbone, scorer, **({"network_path": network} if network else {}))


def make(label, network, backbone, scorer, **changes):
    made = build({**yaml_node(label, network), **changes}, f"noise.{label}")
    return resolve(backbone.description, {label: made}, {scorer[0]: scorer[1].metric})[label]


@pytest.fixture(scope="module")
def cases():
    return {}


@pytest.fixture
def case(label, family, method, backbone, scorer, cases):
    """The case, after what every command does before it runs a method; the laws share its first run."""
    if label in REFUSED.get(family, {}):
        with pytest.raises(UserError, match=REFUSED[family][label]) as caught:
            check_method(label, method, backbone.description)
        assert f"noise.{label}" in str(caught.value) and "\n" not in str(caught.value)
        pytest.skip("refused, in one line")
    check_method(label, method, backbone.description)
    made = Case(method, backbone, {scorer[0]: scorer[1]}, PROMPTS, SEEDS, 5.5, STEPS)
    return cases.setdefault((label, family), made)


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.__name__)
def test_a_method_obeys_the_law_or_says_that_it_does_not_apply(law, case, family):
    if law.__name__ in SLOW_LAWS and family != "unet":
        pytest.skip("asked once")
    law(case)


def test_the_cost_is_the_one_written_here(label, case):
    [scorer] = case.scorers.values()
    calls = scorer.meter.calls
    run = case.run()
    count = len(run.noise)
    if label in FORWARDS:
        assert run.cost.forwards == count * FORWARDS[label]
        assert case.method.forwards(case.backbone) in (None, FORWARDS[label])
        assert run.cost.backwards == count * BACKWARDS.get(label, 0)
        assert scorer.meter.calls - calls == count * SCORER_CALLS.get(label, 0)
        assert not run.result.trace or run.result.trace[-1].forwards == FORWARDS[label]


@pytest.mark.parametrize("family", ["unet"], indirect=True)
@pytest.mark.parametrize("label", [label for label in LABELS if has_budget(label)], indirect=True)
def test_a_search_is_capped_by_a_budget_of_forwards_or_of_seconds(label, case, scorer, monkeypatch):
    one_round = 1 if label == "initno" else SCORED
    most = case.once().cost.forwards / len(PROMPTS)

    def spent(**budget):
        run = replace(case, method=make(label, None, case.backbone, scorer, budget=budget)).run()
        return run.cost.forwards / len(run.noise), torch.equal(run.noise, run.result.noise)

    for forwards in (one_round - 1, one_round, 2 * one_round + one_round // 2):
        if forwards > 0:  # none at all is refused
            assert spent(forwards=forwards) == (forwards // one_round * one_round, forwards <= one_round)
    assert spent(forwards=10_000)[0] == most == FORWARDS.get(label, most)
    clock = iter(range(0, 10_000, 10))  # a round lasts 10 seconds, and so does everything between two rounds
    monkeypatch.setattr("npnet.noise.runtime.search.time.monotonic", lambda: float(next(clock)))
    assert spent(seconds=25)[0] == one_round
    assert spent(seconds=5) == (0, True)


@pytest.mark.parametrize("family", ["unet"], indirect=True)
@pytest.mark.parametrize("label", [label for label in LABELS if is_search(label)], indirect=True)
def test_a_search_keeps_a_start_that_reaches_its_threshold_at_the_cost_of_scoring_it(label, case, scorer):
    stopping = make(label, None, case.backbone, scorer, threshold=-1e6)
    run = replace(case, method=stopping).run()
    assert torch.equal(run.noise, run.result.noise)
    assert run.cost.forwards == len(PROMPTS) * SCORED
    assert stopping.forwards(case.backbone.description) is None
