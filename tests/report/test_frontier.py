"""Laws of quality against diversity: what the table says of methods whose answer is known."""

import json

import pytest
import torch

from npnet.drawing.webp import encode_webp
from npnet.errors import UserError
from npnet.report.frontier import contact_sheet, plot, read_methods, rows, share_where_right, to_markdown

PROMPTS = ["a red circle above a blue square", "a green cross below a red square"]
SEEDS = [30, 7, 12]


@pytest.fixture
def folder(tmp_path):
    """Standard noise; the same again; and a method that draws one right picture for every seed of a prompt."""
    generator = torch.Generator().manual_seed(0)
    lines = []
    for index, prompt in enumerate(PROMPTS):
        for number, seed in enumerate(SEEDS):
            picture = torch.rand(3, 32, 32, generator=generator)
            if number == 0:
                only = picture
            for method, image, score in (("standard", picture, 0), ("same", picture, 0), ("one", only, 1)):
                path = tmp_path / "images" / method / f"{index:07d}-{seed:010d}.webp"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_webp(image))
                row = {
                    "prompt": prompt,
                    "seed": seed,
                    "method": method,
                    "scores": {"m": score},
                    "cost": {"forwards": 8},
                }
                lines.append(json.dumps(row))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_method_is_as_diverse_as_itself_and_one_picture_for_every_seed_is_not_diverse(folder):
    table = {row["method"]: row for row in rows(read_methods(folder), ["m"], ["pixels"])}
    assert table["same"]["pixels share"] == (1.0, (1.0, 1.0))
    assert table["same"]["m gain"].mean_difference == 0
    assert table["one"]["pixels share"][0] == table["one"]["pixels"].mean == 0
    assert table["one"]["pixels vendi"].mean == pytest.approx(1)
    assert table["one"]["m gain"].mean_difference == 1
    # two uniform numbers differ by 1/6 in the mean square
    assert table["standard"]["pixels"].mean == pytest.approx((1 / 6) ** 0.5, abs=0.01)


def test_the_share_where_all_is_right_leaves_out_prompts_with_a_wrong_picture(folder):
    methods = read_methods(folder)
    standard, same = methods["standard"], methods["same"]
    assert share_where_right(same, standard, "pixels", "m")[2] == 0
    for method in (standard, same):
        method.scores["m"] = [1, 1, 1, 1, 0, 1]
    share, _, count = share_where_right(same, standard, "pixels", "m")
    assert (share, count) == (1.0, 1)


def test_the_table_the_plot_and_the_sheet_are_made(folder, tmp_path):
    methods = read_methods(folder)
    table = rows(methods, ["m"], ["pixels"])
    text = to_markdown(table, {"m": 100}, ["pixels"])
    assert "| one | 8 | 100.0 [" in text and text.count("\n") == 5
    plot(table, "m", "pixels", tmp_path / "plot.png")
    contact_sheet(methods, 2, "m", tmp_path / "sheet.png")
    assert (tmp_path / "plot.png").stat().st_size > 5_000 < (tmp_path / "sheet.png").stat().st_size


def test_pictures_that_were_not_kept_are_told(folder):
    next((folder / "images" / "one").iterdir()).unlink()
    with pytest.raises(UserError, match="1 pictures of one were not kept; evaluate with keep_images=all"):
        read_methods(folder)
