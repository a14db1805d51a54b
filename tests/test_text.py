"""What strangers wrote has no effect where it is shown: terminal, page, card, figure."""

import io
import re

import pytest

from npnet.drawing.comparisons import Panel, Shares, plot_shares
from npnet.drawing.curves import Curves, Series, SeriesPanel, plot_curves, plot_series
from npnet.drawing.histograms import Gains, plot_histograms
from npnet.drawing.terminal import add_row, cell, console, print_facts
from npnet.errors import UserError, one_line
from npnet.text import code, count, markdown, visible

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "bell\x07",
    "back\x08\x08\x08",
    "over\rwritten",
    "turned \u202eround",
    "zero \u2066isolate",
    "\x9b31m",
    "lone \ud800 surrogate",
    "a\x00b",
    "\u2028 line",
    "tag \U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = visible(text)
    assert shown.isprintable()
    assert shown.encode()
    assert visible(shown) == shown
    assert one_line(UserError(text)).isprintable()
    assert markdown(text).isprintable()


@pytest.mark.parametrize("text", ["plain", "naïve Übung", "赤い車", "зелёный", "👩\u200d🎨 emoji", "", "a  b", "x † y"])
def test_ordinary_text_is_left_alone(text):
    assert visible(text) == text


def test_what_is_to_be_kept_is_kept():
    assert visible("a\nb\tc", keep="\n") == "a\nb\\x09c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<script>", "\\<script>"),
        ("[x](http://y)", "[x\\](http://y)"),
        ("`code`", "\\`code\\`"),
        ("$x^2$", "\\$x^2\\$"),
        ("**bold**", "\\*\\*bold\\*\\*"),
        ("two\nlines", "two lines"),
        ("93.31 [92.9, 93.7]†", "93.31 [92.9, 93.7]†"),
        ("p < 0.001", "p < 0.001"),
        ("shapes_scorer, x 100", "shapes_scorer, x 100"),
    ],
)
def test_markdown_shows_a_text_and_obeys_none_of_it(text, shown):
    assert markdown(text) == shown


def test_code_is_closed_by_nothing_that_stands_in_it():
    assert code("a/b.tar") == "`a/b.tar`"
    assert code("a`b``c") == "```a`b``c```"
    assert code("`") == "`` ` ``"


def test_counts_are_written_in_words():
    assert (count(1, "pair"), count(1152, "pair")) == ("1 pair", "1,152 pairs")


MARKUP = ["[bold]x[/bold]", "a[/]b", "[link=http://x]y[/link]", ":smile:", "[red]"]


@pytest.mark.parametrize("text", [*MARKUP, *HOSTILE])
def test_a_terminal_gets_text_and_no_markup(text, capsys):
    table_of = io.StringIO()
    from rich.table import Table

    table = Table(title=cell(text))
    add_row(table, [text])
    screen = console(table_of)
    screen.print(table)
    screen.print(text if text in MARKUP else cell(text))
    print_facts(text, [(text, text)])
    for out in (table_of.getvalue(), capsys.readouterr().out):
        assert visible(text) in out
        assert "\x1b" not in out


@pytest.mark.parametrize("label", ["$x^2$", "$\\frac{$", "a$b", "\\$", "$\\undefined$", *HOSTILE])
def test_a_label_is_drawn_as_it_is_and_never_read_as_mathematics(label, tmp_path):
    svg = plot_shares([label], [Panel(label, [Shares(0.5, 0.2, [0.4, 0.6])])])
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts.count(visible(label)) == 2  # the row and the panel
    assert plot_histograms([Gains(label, [(0.1, True), (-0.1, False)])]).startswith(b"\x89PNG")
    assert plot_curves([Curves(label, {label: [(1, 0.5)]})]).startswith(b"\x89PNG")
    plot_series(tmp_path / "x.svg", [label], label, [SeriesPanel(label, [Series(label, [(0, 1, 0, 2)])])], label)
    assert (tmp_path / "x.svg").stat().st_size > 0
