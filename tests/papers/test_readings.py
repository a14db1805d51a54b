"""What a table shows beside scores: gates, singular vectors, pictures of their own."""

import json

import pytest
import torch

from npnet.errors import UserError
from npnet.networks import NPNet
from npnet.papers import toy
from npnet.papers.asked import Asked
from npnet.papers.command import main
from npnet.papers.costs import composed
from npnet.papers.meanings import fitting_less_others
from npnet.papers.page import page
from npnet.papers.planning import plan
from npnet.papers.readings import similarities
from npnet.papers.table import tables
from npnet.report.formats import NONE
from npnet.seeding import source_noises


def test_singular_vectors_of_noise_and_its_spectrum_changed_are_the_same():
    noise = source_noises(range(2), (4, 8, 8))
    for found in similarities(noise, -3 * noise):
        torch.testing.assert_close(found, torch.ones_like(found), atol=1e-4, rtol=0)


def test_singular_vectors_of_two_drawn_noises_are_as_alike_as_two_directions_of_their_space():
    """The mean absolute cosine of two random unit vectors of d dimensions is about sqrt(2 / (pi d)); d is 16 here."""
    for found in similarities(source_noises(range(64), (4, 8, 8)), source_noises(range(64, 128), (4, 8, 8))):
        assert found.mean().item() == pytest.approx((2 / (torch.pi * 16)) ** 0.5, rel=0.05)


def test_the_quarter_of_the_noises_that_fits_a_prompt_is_set_against_the_quarter_that_does_not():
    alone, drawn = [0.5, 0.9, 0.1, 0.2, 0.3, 0.8, 0.4, 0.6], [0, 7, 1, 3, 0, 5, 0, 0]
    assert fitting_less_others(alone, drawn) == (6, 2)
    assert fitting_less_others([*alone, float("nan")], [*drawn, 100]) == (6, 2), "what has no place is left out"
    assert fitting_less_others([1, 2], [5, 4]) == (4, 5)


def test_a_wave_lies_in_its_family_and_as_far_from_another_as_two_orthogonal_ones_are():
    labels = torch.arange(3).repeat(5)
    drawn = toy.waves(labels, torch.Generator().manual_seed(0))
    assert drawn.square().mean(1) == pytest.approx(1, abs=1e-5)
    assert toy.distance(drawn, labels) == pytest.approx(0, abs=1e-5)
    assert toy.distance(torch.zeros(15, 16), labels) == pytest.approx(1), "as near to no wave as to any"
    assert toy.distance(drawn, (labels + 1) % 3) == pytest.approx(2**0.5, abs=1e-5)


def test_the_noises_of_the_toy_are_those_that_it_says():
    """Matched: the tied noises in order; mismatched: those of other families; erased: of the size of a drawn one."""
    noises = source_noises(range(3), (16, 16))
    labels, kinds = toy.starts(toy.Velocity(), noises, torch.Generator().manual_seed(0))
    assert set(kinds) == set(toy.KINDS)
    assert torch.equal(kinds["matched"], noises.flatten(0, 1))
    for noise, label in zip(kinds["mismatched"], labels, strict=True):
        family = (noises == noise).all(2).any(1).nonzero().item()
        assert family != label
    for kind in ("erased", "injected_ours"):
        assert kinds[kind].square().mean(1) == pytest.approx(1, abs=1e-5)


def test_the_gates_of_a_network_stand_beside_the_published_ones(tmp_path):
    network = NPNet.from_pretrained("npnet/shapes/weights/a/network", text_term="off")
    with torch.no_grad():
        network.beta.fill_(0.25)
    network.save_pretrained(tmp_path)
    asked = Asked(network_path=str(tmp_path))
    jobs = plan("table12", tables()["table12"], "sdxl", asked)
    assert jobs == []
    text = page(tables()["table12"], "sdxl", jobs, asked)
    assert f"| off | 0.0001 | {NONE} | {NONE} | 2 | -0.0189 | 0.25 | 1 |" in text


def test_fish_are_drawn_for_each_method_at_512_pixels_and_need_imagenet_s(tmp_path):
    jobs = plan("figure10", tables()["figure10"], "sdxl", Asked(network_path="n.pth"))
    assert [job.place["method"] for job in jobs] == ["standard", "npnet"]
    other = plan("figure10", tables()["figure10"], "sdxl", Asked(network_path="other.pth"))
    same = [one.output_dir == two.output_dir for one, two in zip(jobs, other, strict=True)]
    assert same == [True, False], "another network has its own pictures"
    for job in jobs:
        config = composed(job)
        assert (config["backbone"]["height"], config["backbone"]["width"]) == (512, 512)
        number = len(config["prompts"]["list"]) * config["seeds"]["per_prompt"]
        assert 5000 <= number < 5018 and all(text.endswith("a class in ImageNet") for text in config["prompts"]["list"])
        assert list(config["noise"]) == [job.place["method"]]
    with pytest.raises(UserError, match="inputs=DIR with fish is needed"):
        main(["figure10", "setting=sdxl", "network_path=n.pth", f"folder={tmp_path}"])


def test_every_control_image_has_its_prompt_and_its_controlnet(tmp_path):
    lines = [
        {"file_name": "a.png", "text": "a fox", "case": "canny"},
        {"file_name": "b.png", "text": "a dog", "case": "depth"},
    ]
    (tmp_path / "control").mkdir()
    file = tmp_path / "control" / "metadata.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = Asked(network_path="n.pth", inputs=tmp_path)
    jobs = plan("figure14", tables()["figure14"], "sdxl", asked)
    for job, line in zip(jobs, lines, strict=True):
        backbone = composed(job)["backbone"]
        assert backbone["control_image"] == str(tmp_path / "control" / line["file_name"])
        assert line["case"] in backbone["controlnet"]
        assert composed(job)["prompts"]["list"] == [line["text"]]
    file.write_text('{"file_name": "a.png", "text": "a fox", "case": "sketch"}')
    with pytest.raises(UserError, match=r"metadata\.jsonl: line 1.*canny or depth or openpose"):
        plan("figure14", tables()["figure14"], "sdxl", asked)
