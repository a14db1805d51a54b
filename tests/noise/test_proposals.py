"""Laws of searches whose noises come through a network, and of the score at which a search stops."""

import shutil

import pytest
import torch

from npnet import seeding
from npnet.compatibility import check_method, check_network_path
from npnet.errors import UserError
from npnet.evaluation.identity import method_digest
from npnet.evaluation.plan import optimised_for
from npnet.networks import NPNet
from npnet.noise import BestOfN, Network, NoiseDiffusion, ReNO, ZeroOrderSearch
from tests.noise import linear
from tests.noise.scorers import Listed, Ramp, load

STEPS, SCALE, SEEDS = 2, 3.0, (1, 2)
COST = 2 * STEPS
SEARCHES = [
    BestOfN(STEPS, SCALE, "m", 3),
    ZeroOrderSearch(STEPS, SCALE, "m", 1, 2),
    ReNO(STEPS, SCALE, "m", 3),
    NoiseDiffusion(STEPS, SCALE, "m", num_rounds=2, num_candidates=3, threshold=None),
]


@pytest.fixture(scope="module")
def backbone():
    return linear.of_kind()


@pytest.fixture(scope="module")
def network_path(backbone, tmp_path_factory):
    """A network that is far from the identity."""
    path = tmp_path_factory.mktemp("network")
    shape, dims = backbone.latent_shape(), backbone.embed_dims()
    torch.manual_seed(0)
    sizes = {name: dims[name] for name in ("prompt_embed_dim", "prompt_length")}
    network = NPNet(
        latent_channels=shape[0],
        latent_size=shape[1:],
        text_term="spatial",
        residual_branch=False,
        alpha_init=1.0,
        **sizes,
    )
    network.save_pretrained(path)
    return str(path)


def proposing(method, path, **options):
    return type(method)(**{**vars(method), "proposal": "npnet", "network_path": path, **options})


def run(method, backbone, noise=None, **metrics):
    noise = linear.noise_of(backbone, SEEDS) if noise is None else noise
    before = backbone.cost
    result = load(method, backbone, **metrics)(
        noise, backbone.encode(linear.PROMPTS), backbone, seeding.streams(SEEDS, "search")
    )
    return result, (backbone.cost - before).forwards


def through(network_path, backbone, noise, **options):
    method = Network(network_path, **options).load(backbone)
    return method(noise, backbone.encode(linear.PROMPTS), backbone, []).noise


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: type(method).__name__)
def test_proposals_cost_no_forward_of_the_denoiser(method, backbone, network_path):
    _, plain = run(method, backbone, m=Ramp())
    _, proposed = run(proposing(method, network_path), backbone, m=Ramp())
    assert plain == proposed == 2 * method.forwards(backbone)


@pytest.mark.parametrize("method", SEARCHES[1:], ids=lambda method: type(method).__name__)
def test_a_search_with_proposals_is_the_search_from_the_networks_noise(method, backbone, network_path):
    start = through(network_path, backbone, linear.noise_of(backbone, SEEDS))
    expected, _ = run(method, backbone, start, m=Ramp())
    found, _ = run(proposing(method, network_path), backbone, m=Ramp())
    assert torch.equal(found.noise, expected.noise)
    assert not torch.equal(start, linear.noise_of(backbone, SEEDS))


def test_best_of_n_takes_every_candidate_through_the_network(backbone, network_path):
    method = proposing(BestOfN(STEPS, SCALE, "m", 3), network_path)
    found, _ = run(method, backbone, m=Listed([0.1, 0.1], [0.2, 0.9], [0.8, 0.3]))
    generators = seeding.streams(SEEDS, "search")
    noise = linear.noise_of(backbone, SEEDS)
    second, third = (through(network_path, backbone, seeding.randn_like(noise, generators)) for _ in range(2))
    assert torch.allclose(found.noise, torch.stack([third[0], second[1]]), atol=1e-6)


@pytest.mark.parametrize(("threshold", "forwards"), [(None, 4 * COST), (0.5, 3 * COST)])
def test_with_the_drawn_noise_first_a_network_changes_only_what_scores_less(
    threshold, forwards, backbone, network_path
):
    """The first sample is good as drawn, and the network's noise is better for the second."""
    method = proposing(BestOfN(STEPS, SCALE, "m", 2), network_path, drawn_first=True, threshold=threshold)
    scores = [0.9, 0.1], [0.2, 0.7] if threshold is None else [0.7]
    found, spent = run(method, backbone, m=Listed(*scores))
    noise = linear.noise_of(backbone, SEEDS)
    assert torch.allclose(found.noise, torch.stack([noise[0], through(network_path, backbone, noise)[1]]), atol=1e-6)
    assert spent == forwards


def test_one_proposed_candidate_is_the_networks_noise_and_costs_nothing(backbone, network_path):
    found, forwards = run(proposing(BestOfN(STEPS, SCALE, "m", 1), network_path), backbone, m=Ramp())
    assert torch.equal(found.noise, through(network_path, backbone, linear.noise_of(backbone, SEEDS)))
    assert forwards == 0


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: type(method).__name__)
def test_a_proposal_takes_the_share_of_the_mean_shift_that_is_asked_for(method, backbone, network_path):
    start = through(network_path, backbone, linear.noise_of(backbone, SEEDS), mean_shift=0.5)
    loaded = load(proposing(method, network_path, mean_shift=0.5), backbone, m=Ramp())
    noise = linear.noise_of(backbone, SEEDS)
    assert torch.equal(loaded.propose(noise, backbone.encode(linear.PROMPTS), backbone), start)
    assert not torch.equal(start, through(network_path, backbone, noise))


def test_a_network_that_nothing_applies_or_that_is_not_there_is_refused(backbone, tmp_path):
    with pytest.raises(UserError, match="network_path=x: it has no effect without proposal=npnet"):
        BestOfN(STEPS, SCALE, "m", network_path="x")
    with pytest.raises(UserError, match="drawn_first=true: it has no effect without proposal=npnet"):
        BestOfN(STEPS, SCALE, "m", drawn_first=True)
    with pytest.raises(UserError, match="mean_shift=0.5: it has no effect without proposal=npnet"):
        BestOfN(STEPS, SCALE, "m", mean_shift=0.5)
    with pytest.raises(UserError, match=r"noise.b.network_path.*config.json and model.safetensors missing"):
        check_method("b", proposing(BestOfN(STEPS, SCALE, "m"), str(tmp_path)), backbone.description)
    with pytest.raises(UserError, match="only the Shapes model ships one"):
        check_method("b", BestOfN(STEPS, SCALE, "m", proposal="npnet"), backbone.description)


def test_the_commands_network_path_is_not_that_of_a_search():
    with pytest.raises(UserError, match="no method applies one .*add npnet to noise"):
        check_network_path({"network_path": "x"}, {"b": BestOfN(STEPS, SCALE, "m", proposal="npnet")})


def test_an_evaluation_marks_and_tells_apart_searches_by_the_network_that_proposes(backbone, network_path, tmp_path):
    plain, method = SEARCHES[0], proposing(SEARCHES[0], network_path)
    metrics = {"m": Ramp(), "selected": Ramp(), "other": Ramp()}
    assert optimised_for(plain, backbone.description, metrics, ["selected"]) == ["m"]
    assert optimised_for(method, backbone.description, metrics, ["selected"]) == ["m", "selected"]
    again = shutil.copytree(network_path, tmp_path / "again")
    node = {"proposal": "npnet", "network_path": str(again)}
    same, description = proposing(plain, str(again)), backbone.description
    digests = [
        method_digest({}, {**node, "network_path": path}, m, description, {"m": "1"})
        for path, m in ((network_path, method), (str(again), same))
    ]
    assert digests[0] == digests[1]
    (again / "config.json").write_text((again / "config.json").read_text() + " ")
    assert method_digest({}, node, same, description, {"m": "1"}) != digests[0]


# --- the threshold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SEARCHES[:3], ids=lambda method: type(method).__name__)
def test_a_threshold_that_nothing_reaches_changes_nothing(method, backbone):
    expected, forwards = run(method, backbone, m=Ramp())
    found, again = run(type(method)(**{**vars(method), "threshold": 2.0}), backbone, m=Ramp())
    assert torch.equal(found.noise, expected.noise)
    assert forwards == again


@pytest.mark.parametrize("method", SEARCHES[:3], ids=lambda method: type(method).__name__)
def test_a_start_that_is_good_enough_is_kept_at_the_cost_of_scoring_it(method, backbone):
    stopping = type(method)(**{**vars(method), "threshold": 0.0})
    found, forwards = run(stopping, backbone, m=Ramp())
    assert torch.equal(found.noise, linear.noise_of(backbone, SEEDS))
    assert forwards == 2 * COST
    assert stopping.forwards(backbone) is None


def test_a_sample_that_is_done_costs_no_more_and_does_not_change_the_others(backbone):
    # the second sample reaches 0.7 at once; the first goes through all three candidates
    found, forwards = run(BestOfN(STEPS, SCALE, "m", 3, threshold=0.7), backbone, m=Listed([0.1, 0.7], [0.2], [0.3]))
    whole, _ = run(BestOfN(STEPS, SCALE, "m", 3), backbone, m=Listed([0.1, 0.7], [0.2, 0.0], [0.3, 0.0]))
    assert torch.equal(found.noise, whole.noise)
    assert forwards == (2 + 1 + 1) * COST
