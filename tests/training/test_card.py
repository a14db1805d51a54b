"""Every number of the model card stands where its name says."""

from npnet.networks import NPNet
from npnet.training.card import draw_curves, held_out_table, write_card


def figures(value):
    return {"value": value, "interval": [value - 0.5, value + 0.5]}


def column(start):
    names = ("mse", "relative_mse", "direction_share")
    return {"count": 9, "num_prompts": 5, **{name: figures(start + i) for i, name in enumerate(names)}}


def test_before_and_after_stand_in_their_own_columns():
    text = held_out_table({"before": column(1.0), "after": column(11.0), "change": {"mse": figures(10.0)}})
    assert "9 validation pairs (5 prompts" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["before", "after"]
    for i, row in enumerate(rows[2:]):
        assert [float(cell.split()[0]) for cell in row[1:]] == [1.0 + i, 11.0 + i]
    assert "paired: +10.0000 [+9.5000, +10.5000]." in text


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
