import io
import json
import re
from html.parser import HTMLParser

import pytest
from omegaconf import OmegaConf

from npnet.report import formats, wording
from npnet.report.command import evaluate
from npnet.report.tables import print_tables
from tests.evaluation.extra_fakes import PROMPTS, config


def page_of(folder):
    return (folder / "report.html").read_text()


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


class Tags(HTMLParser):
    """Collects a page's tags, and refuses one whose elements do not close in order."""

    VOID = frozenset(("meta", "img", "br", "input", "link"))

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in ("p", "li"):
            assert self.open.pop() == tag
        else:
            while self.open.pop() != tag:
                pass


def test_the_page_is_whole_in_itself(finished):
    page = page_of(finished)
    assert "http://" not in page
    assert "https://" not in page
    tags = Tags(page).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in tags}
    sources = [attrs["src"] for tag, attrs in tags if "src" in attrs]
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert all(attrs["href"].startswith("#") for _, attrs in tags if "href" in attrs)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_shows_the_first_pictures_of_every_method_and_both_ends_alike(finished):
    page = page_of(finished)
    for prompt in PROMPTS[:3]:
        assert f"standard: {prompt}" in page
    assert page.count("largest gains in close</h3>") == page.count("largest losses in close</h3>") == 1  # of best
    assert page.count("largest gains in target</h3>") == page.count("largest losses in target</h3>") == 1
    images = [attrs for tag, attrs in Tags(page).tags if tag == "img"]
    # 3 samples of 3 methods, and for each of 2 methods 6 gains and 6 losses with two pictures each
    assert len(images) == 3 * 3 + 2 * 2 * 6 * 2
    assert all(attrs["class"] == "pixelated" and attrs["alt"] for attrs in images)
    assert "✓ right" in page or "✗ wrong" in page


def test_a_small_run_says_smoke_once(finished):
    page, tables = page_of(finished), io.StringIO()
    print_tables(results_of(finished), tables)
    assert page.count("SMOKE: only 24 pairs") == 1
    assert tables.getvalue().count("SMOKE: only 24 pairs") == 1


@pytest.mark.parametrize(("pairs", "points"), [(100, 10), (200, 7)])
def test_as_many_pairs_as_the_paper_has_are_no_smoke_but_say_what_they_can_show(finished, pairs, points):
    said = wording.banner({**results_of(finished), "num_pairs": pairs, "num_prompts": pairs})
    assert "SMOKE" not in said
    assert f"about {points} points" in said


def test_a_run_of_400_pairs_does_not_say_smoke(finished):
    tables = io.StringIO()
    print_tables({**results_of(finished), "smoke": False}, tables)
    assert "SMOKE" not in tables.getvalue()


def test_an_optimised_metric_carries_the_dagger_wherever_it_is_shown(finished):
    page, tables, results = page_of(finished), io.StringIO(), results_of(finished)
    print_tables(results, tables)
    rows = {row.method: row for row in wording.score_rows(results)}
    assert rows["best"].scores[0].endswith("†")
    assert not any("†" in score for score in (*rows["redraw"].scores, *rows["best"].scores[1:]))
    for row in wording.comparison_rows(results, wording.pairs_versus_standard(results)):
        assert ("†" in row.metric) == (row.method == "best" and row.metric.startswith("target"))
    assert "target†" in tables.getvalue()
    assert "† optimised" in tables.getvalue()
    assert rows["best"].scores[0] in page


def test_the_terminal_shows_quality_and_cost_side_by_side(finished):
    tables, results = io.StringIO(), results_of(finished)
    print_tables(results, tables)
    line = next(line for line in tables.getvalue().splitlines() if line.lstrip().startswith("best"))
    assert wording.score_text(results, "best", "target") in line
    assert f"{results['methods']['best']['cost']['forwards']:.4g}" in line


def test_text_of_users_is_shown_and_never_run(tmp_path):
    prompts = ["<b>bold</b> & 'quoted'", "a <script>alert(1)</script> cup"]
    evaluate(OmegaConf.create(config(prompts, 1, output_dir=str(tmp_path / "run"))))
    page = page_of(tmp_path / "run")
    assert "<b>bold</b>" not in page
    assert page.count("<script") == 1
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#39;quoted&#39;" in page
    Tags(page)


@pytest.mark.parametrize("noise", [("standard",), ("redraw",), ("redraw", "best"), ("standard", "again")])
def test_any_selection_of_methods_gives_a_page(tmp_path, noise):
    evaluate(OmegaConf.create(config(PROMPTS[:1], 2, noise, output_dir=str(tmp_path / "run"))))
    Tags(page_of(tmp_path / "run"))
    assert set(results_of(tmp_path / "run")["methods"]) == set(noise)


def test_a_method_against_itself_is_no_clear_difference(tmp_path):
    evaluate(OmegaConf.create(config(noise=("standard", "again"), output_dir=str(tmp_path / "run"))))
    entry = results_of(tmp_path / "run")["methods"]["again"]["versus_standard"]["target"]
    assert (entry["winning_rate"], entry["ties"], entry["mean_difference"]) == (0, 1, 0)
    assert entry["verdict"] == "undecided"
    assert "again: no clear difference on target" in page_of(tmp_path / "run")


def test_a_null_control_is_called_one_wherever_it_is_shown(tmp_path):
    evaluate(OmegaConf.create(config(noise=("standard", "erased"), output_dir=str(tmp_path / "run"))))
    page, tables, results = page_of(tmp_path / "run"), io.StringIO(), results_of(tmp_path / "run")
    print_tables(results, tables)
    assert {label: method["null_control"] for label, method in results["methods"].items()} == {
        "standard": False,
        "erased": True,
    }
    for text in (page, tables.getvalue()):
        assert text.count("erased (null control)") >= 1 + 2  # the mean, and each metric against standard
        assert wording.NULL_CONTROL in text
        assert "standard (null control)" not in text


def test_missing_scores_are_said_in_the_tables(tmp_path):
    evaluate(
        OmegaConf.create(config(["a cup", "a NaN cup"], 2, ("standard", "redraw"), output_dir=str(tmp_path / "run")))
    )
    entry = results_of(tmp_path / "run")["methods"]["standard"]["metrics"]["target"]
    assert (entry["count"], entry["missing"]) == (2, 2)
    assert "(2 missing)" in page_of(tmp_path / "run")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\N{EN DASH}"), (0.004, "0.00"), (-0.004, "0.00"), (-1.5, "\N{MINUS SIGN}1.50"), (1.5, "1.50")],
)
def test_numbers_are_written_for_people(value, text):
    assert formats.number(value) == text
    assert formats.number(1.5, signed=True) == "+1.50"
    assert formats.p_text(0.0001) == "< 0.001"
