"""Every number of the model card stands where its name says."""

from huggingface_hub import ModelCard

from npnet.networks import NPNet
from npnet.training.card import draw_curves, held_out_table, write_card
from npnet.training.export import purpose


def figures(value):
    return {"value": value, "interval": [value - 0.5, value + 0.5]}


def column(start):
    names = ("mse", "relative_mse", "direction_share")
    return {"count": 9, "num_prompts": 5, **{name: figures(start + i) for i, name in enumerate(names)}}


def test_before_and_after_stand_in_their_own_columns():
    text = held_out_table({"before": column(1.0), "after": column(11.0), "change": {"mse": figures(10.0)}})
    assert "9 validation pairs, which also chose the checkpoint (5 prompts" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["before", "after"]
    for i, row in enumerate(rows[2:]):
        assert [float(cell.split()[0]) for cell in row[1:]] == [1.0 + i, 11.0 + i]
    assert "Paired change of the MSE: +10.0000 [+9.5000, +10.5000]." in text


def test_the_pairs_trained_on_and_those_validated_on_are_told_apart(tmp_path):
    training = {
        "pairs": 71,
        "validation_pairs": 13,
        "selected_by": ["pickscore"],
        "start": "",
        "held_out": {},
        "last_epoch_metrics": {"val/mse": 0.25},
        "settings": {"data": {"shards": "DIR"}},
    }
    write_card(tmp_path, training, NPNet)
    text = (tmp_path / "README.md").read_text()
    assert "Trained on 71 pairs of `DIR`, validated on 13 pairs of other prompts." in text
    assert "Pairs selected by: pickscore." in text
    assert "| val/mse | 0.25 |" in text


def test_the_first_epoch_is_drawn_at_one(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("npnet.training.card.plot_curves", lambda curves: drawn.extend(curves) or b"")
    (tmp_path / "metrics.csv").write_text("epoch,train/mse\n0,0.5\n1,0.25\n")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert [curves.lines for curves in drawn] == [{"train/mse": [(1, 0.5), (2, 0.25)]}]


PURPOSE = {
    "backbone": {"_target_": "npnet.backbones.StableDiffusionXL", "path": "owner/model"},
    "noise": {"inversion": {}},
    "num_inference_steps": 10,
    "guidance_scale": 5.5,
}


def card(tmp_path, **changed):
    training = {
        "pairs": 1,
        "validation_pairs": 9,
        "selected_by": ["hpsv2"],
        "start": "",
        "held_out": {},
        "last_epoch_metrics": {},
        "settings": {"data": {"shards": "DIR"}},
        **changed,
    }
    write_card(tmp_path, training, NPNet)
    return ModelCard.load(tmp_path / "README.md")


def test_the_card_says_what_the_network_is_for_in_the_hubs_form(tmp_path):
    found = card(tmp_path, trained_for=PURPOSE, held_out={"after": column(0.25)})
    assert found.data.base_model == "owner/model"
    assert found.data.pipeline_tag == "text-to-image"
    assert {result.metric_type: result.metric_value for result in found.data.eval_results} == {
        "mse": 0.25,
        "relative_mse": 1.25,
        "direction_share": 2.25,
    }
    assert "made by inversion at 10 steps and guidance scale 5.5" in found.text


def test_the_terms_and_the_pairs_of_a_network_travel_with_it(tmp_path):
    places = ["hf://datasets/someone/pairs/train", "/data/own", "hf://datasets/someone/pairs@v1/more"]
    told = purpose({**PURPOSE, "selected_by": ["hpsv2"]}, "openrail++", places, ["a", "b"])
    assert (told["license"], told["datasets"]) == ("openrail++", ["someone/pairs"])
    assert told["shards_sha256"] != purpose(PURPOSE, None, places, ["b", "a"])["shards_sha256"]
    found = card(tmp_path, trained_for=told)
    assert (found.data.license, found.data.datasets) == ("openrail++", ["someone/pairs"])
    assert told["shards_sha256"] in found.text
    assert "license" not in purpose(PURPOSE)


def test_a_network_that_made_things_worse_says_so(tmp_path):
    assert "its error is 1.25 times that of the noise" in card(tmp_path, held_out={"after": column(0.25)}).text
    assert "Warning" not in card(tmp_path, held_out={"after": column(-0.5)}).text
