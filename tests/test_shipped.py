"""The networks that ship with the Shapes models."""

import json

import pytest
import torch

from npnet import NPNet, paths, seeding
from npnet.backbones import Shapes
from npnet.data.prompts import ShapesPrompts
from npnet.metrics import ShapesJudge, ShapesScorer
from npnet.noise import Network
from npnet.training.card import CURVES, write_card

PAIRS = 192
NETWORKS = ["network", "network_paper", "network_reward"]


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_small_and_says_what_selected_its_pairs(variant, name):
    folder = paths.shapes_weights(variant) / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3_000_000
    assert json.loads((folder / "training.json").read_text())["selected_by"] == ["shapes_scorer"]


def test_the_second_model_is_small_and_the_papers_network_for_it_was_fine_tuned_from_the_first_ones():
    folder = paths.shapes_weights("b")
    # three networks of less than 2 MB among it
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 12_000_000
    training = json.loads((folder / "network_paper" / "training.json").read_text())
    assert "its text term has another width or form" in training["start"]
    assert training["held_out"]["after"]["mse"]["value"] < training["held_out"]["before"]["mse"]["value"]


@pytest.mark.parametrize("variant", ["a", "b"])
def test_the_recommended_network_has_no_svd_and_learnt_two_re_denoisings_of_its_own_model(variant):
    config = json.loads((paths.shapes_weights(variant) / "network" / "config.json").read_text())
    assert (config["singular_value_branch"], config["trunk"]["widths"]) == ("off", [24, 48, 80])
    assert config["trained_for"]["noise"]["inversion"]["cycles"] == 2
    assert config["trained_for"]["backbone"].get("variant", "a") == variant


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_says_what_it_is_for_and_its_card_is_the_one_that_training_writes(variant, name, tmp_path):
    folder = paths.shapes_weights(variant) / name
    training = json.loads((folder / "training.json").read_text())
    told = NPNet.from_pretrained(folder).trained_for
    assert told == training["trained_for"]
    assert told["license"] == "apache-2.0"
    assert (told["backbone"]["_target_"], told["backbone"].get("variant", "a")) == ("npnet.backbones.Shapes", variant)
    assert (told["num_inference_steps"], told["guidance_scale"]) == (4, 5.5)
    if (folder / CURVES).is_file():
        (tmp_path / CURVES).touch()
    write_card(tmp_path, training, NPNet)
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_takes_what_the_model_gives(variant, name):
    network = NPNet.from_pretrained(paths.shapes_weights(variant) / name)
    backbone = Shapes(device="cpu", variant=variant).load()
    assert network.config["latent_size"] == list(backbone.latent_shape()[1:])
    assert {name: network.config[name] for name in backbone.embed_dims()} == backbone.embed_dims()


@pytest.fixture(scope="module", params=["recommended", "paper", "reward"])
def scores(request):
    """Scores of standard and golden noise on held-out prompts: {metric: (2, PAIRS)}."""
    backbone = Shapes(device="cpu").load()
    prompts = ShapesPrompts("held_out").read().prompts[:PAIRS]
    metrics = {"scorer": ShapesScorer().load(), "judge": ShapesJudge().load()}
    with torch.no_grad():
        conditioning = backbone.encode(prompts)
        noise = seeding.source_noises(range(50_000, 50_000 + PAIRS), backbone.latent_shape())
        golden = Network(shipped=request.param).load(backbone)(noise, conditioning, backbone, []).noise
        images = [backbone.decode(backbone.sample(x, conditioning, 4, 5.5)) for x in (noise, golden)]
        return {name: torch.stack([m.score(i, prompts) for i in images]) for name, m in metrics.items()}


@pytest.mark.parametrize("metric", ["scorer", "judge"])
def test_golden_noise_draws_held_out_prompts_better_at_four_steps(scores, metric):
    gain = scores[metric][1] - scores[metric][0]
    # 768 pairs give +10 points and more by the judge; two standard errors of this sample are about 6
    assert gain.mean() > 0
    assert gain.mean() > 1.5 * gain.std() / PAIRS**0.5
