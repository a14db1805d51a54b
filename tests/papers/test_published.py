"""The published figures: of one form, and in agreement with what the papers say of them."""

import pytest

from npnet.errors import UserError
from npnet.papers.files import read
from npnet.papers.published import Published, published

TABLES = published()
FACTS = [(name, fact) for name, table in TABLES.items() for fact in table.facts]
REPEATED = [(name, slip) for name, table in TABLES.items() for slip in table.slips if slip.repeats]
DIGITS = {"pickscore": 4, "hpsv2": 2, "aes": 4, "imagereward": 4, "clipscore": 2, "mps": 2}


def test_there_is_a_file_for_every_table_of_golden_noise_that_has_figures():
    numbers = {int(table.where.split()[1]) for table in TABLES.values() if table.paper == "golden_noise"}
    assert numbers == set(range(2, 17))


@pytest.mark.parametrize(("name", "fact"), FACTS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_paper_says_of_its_figures_follows_from_them(name, fact):
    of, against = (TABLES[name].figures[figure.row][figure.metric] for figure in (fact.of, fact.against))
    found, stated = (of - against, fact.difference) if fact.ratio is None else (of / against, fact.ratio)
    assert found == pytest.approx(stated, abs=0.005)


@pytest.mark.parametrize(("name", "slip"), REPEATED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_slip_that_repeats_a_row_has_its_figures(name, slip):
    figures = TABLES[name].figures
    for metric in slip.metrics:
        assert figures[slip.row][metric] == figures[slip.repeats.row][metric]


def test_no_row_repeats_three_figures_of_another_without_being_marked():
    for name, table in TABLES.items():
        rows = [(row, figures) for row, figures in table.figures.items() if len(figures) > 2]
        marked = {tuple(sorted([slip.row, slip.repeats.row], key=str)) for slip in table.slips if slip.repeats}
        for place, (row, figures) in enumerate(rows):
            for other, same in rows[:place]:
                # the published setting itself stands in a sweep once for each key that is swept
                shared = [m for m in figures if figures[m] is not None and figures[m] == same[m]]
                if len(shared) >= 3 and name != "golden_noise_table11":
                    assert tuple(sorted([row, other], key=str)) in marked, (name, row, other)


def shared(prompts, backbone, method, steps=50):
    """Every figure of one cell of the paper's grid, by metric, over all tables that print it, slips left out."""
    found = {}
    for table in TABLES.values():
        if table.where in ("table 5", "table 8") or table.paper != "golden_noise":
            continue  # at 10 steps
        keys = {"prompts": prompts, "backbone": backbone, "method": method, "num_inference_steps": steps}
        rows = table.select(**keys, sampler="default", seeds="0-1024")
        for row, figures in rows.items() if "method" in table.keys else ():
            for metric, value in figures.items():
                if metric in DIGITS and value is not None and not table.slips_of(row, metric):
                    found.setdefault(metric, set()).add(value)
    return found


@pytest.mark.parametrize(
    ("backbone", "prompts", "method"),
    [
        ("sdxl", "pick_a_pic", "standard"),
        ("sdxl", "pick_a_pic", "inversion"),
        ("sdxl", "pick_a_pic", "npnet"),
        ("dreamshaper", "pick_a_pic", "standard"),
    ],
)
def test_a_cell_that_several_tables_print_is_the_same_in_all(backbone, prompts, method):
    found = shared(prompts, backbone, method)
    assert found and all(len(values) == 1 for values in found.values()), found


def test_a_figure_lies_on_its_metric_s_scale():
    scales = {"pickscore": (16, 25), "hpsv2": (14, 36), "aes": (5, 6.5), "clipscore": (79, 90), "mps": (46, 57)}
    scales |= {"filter_rate": (0, 100), "vqascore": (0, 1), "imagereward": (-206, 140), "seconds": (9, 18)}
    for name, table in TABLES.items():
        for row, figures in table.figures.items():
            for metric, value in figures.items():
                if value is not None and metric in scales:
                    low, high = scales[metric]
                    assert low <= value <= high, (name, row, metric)


def test_a_file_of_another_form_is_refused_by_name(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("paper: p\nwhere: w\ntitle: t\nkeys: [a]\nmetrics: [m]\nrows: [[x, 1], [x, 2]]\n")
    with pytest.raises(UserError, match=r"wrong\.yaml: .*two rows have the same"):
        read(Published, path)
