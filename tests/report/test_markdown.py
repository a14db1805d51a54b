import json

import pytest

from npnet.report.markdown import tables


@pytest.fixture(scope="module")
def text(finished):
    return (finished / "results.md").read_text()


def rows_of(text, title):
    """The cells of the table under ``title``, the heading first."""
    body = next(part for part in text.split("\n\n**") if part.startswith(title)).split("\n\n")[1]
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines()]
    assert set(lines[1]) == {"---"}
    return [lines[0], *lines[2:]]


def test_every_table_is_rectangular_and_the_text_says_smoke_once_where_pairs_are_few(text):
    for title in (
        *("Mean score", "Mean gain on standard", "Winning rate against standard", "Against each other"),
        *("Diversity of the pictures", "Noise statistics"),
    ):
        rows = rows_of(text, title)
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1
    assert text.count("SMOKE: only 24 pairs") == 1


def test_the_numbers_are_those_of_the_results(finished, text):
    methods = json.loads((finished / "results.json").read_text())["methods"]
    heading, *rows = rows_of(text, "Mean score")
    spread = "diversity (pixels), % of standard's"
    assert heading == ["method", "target", "close, % right", spread, "forwards a picture"]
    assert [row[0] for row in rows] == list(methods)
    for row in rows:
        assert float(row[2].split()[0]) == pytest.approx(100 * methods[row[0]]["metrics"]["close"]["mean"], abs=0.06)
    gains = rows_of(text, "Mean gain on standard")
    assert [row[0] for row in gains] == ["method", "redraw", "best"]
    assert gains[2][1].endswith("†")
    assert not gains[1][1].endswith("†")
    assert "† optimised" in text


def test_without_standard_or_others_their_tables_are_left_out(finished):
    results = json.loads((finished / "results.json").read_text())
    results["methods"] = {"best": {**results["methods"]["best"], "versus": {}}}
    results["diversity"]["against"] = "best"
    assert tables(results).count("**") == 6  # scores, diversity and noise
