"""Tables of prompts are read row by row: a bad row changes the reading of no other."""

import json

import pytest

from npnet.data.prompts import PromptFile
from npnet.data.seeds import Seeds, assign_seeds
from npnet.errors import UserError, under


def read(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with under("prompts"):
        return PromptFile(str(tmp_path / name)).read()


GOOD = '"a red car, shiny",cars\na dog,animals\n'
ROWS = [
    ("a cat,animals,", "a cat"),
    ("a cat,animals", "a cat"),
    ('"Albus" - a portrait,people', '"Albus" - a portrait'),
    ('"he said ""hi"", then left",people', 'he said "hi", then left'),
    ('"he said \\"hi\\", then left",people', 'he said "hi", then left'),
    ('"two\nlines",n', "two\nlines"),
    ('"two\nlines ""with"" quotes\nand a third, too",n', 'two\nlines "with" quotes\nand a third, too'),
    ('"never closed,people', "never closed"),
    ('a "quoted" word,people', 'a "quoted" word'),
    ("no category", "no category"),
    (f'"{"x" * 140_000}, and more",long', f"{'x' * 140_000}, and more"),
    (f"{'x' * 140_000},long", "x" * 140_000),
]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("row", "prompt"), ROWS, ids=range(len(ROWS)))
def test_each_row_is_read_by_itself_and_changes_no_other(tmp_path, row, prompt, place):
    rows = ['"a red car, shiny",cars', "a dog,animals"]
    rows.insert(place, row)
    expected = ["a red car, shiny", "a dog"]
    expected.insert(place, prompt)
    found = read(tmp_path, "p.csv", "prompt,category\n" + "\n".join(rows) + "\n")
    assert list(found.prompts) == expected
    assert found.left_out == {}


def test_what_cannot_be_read_is_refused_by_its_line(tmp_path):
    with pytest.raises(
        UserError, match=r"^prompts\.path=.*p\.csv: line 4 has 3 columns, but the header has 2: a prompt that"
    ):
        read(tmp_path, "p.csv", f"prompt,category\n{GOOD}a cat, sitting,animals\n")
    with pytest.raises(UserError, match=r"p\.tsv: line 2 has 3 columns, but the header has 2: .*holds a tab"):
        read(tmp_path, "p.tsv", "prompt\tn\na\tcat\t1\n")


def test_one_row_that_ends_early_makes_no_category_a_prompt(tmp_path):
    text = "prompt,category\na dog\na cat,animals\na fish\na bird\n"
    assert list(read(tmp_path, "p.csv", text).prompts) == ["a dog", "a cat", "a fish", "a bird"]


FORMS = {
    "p.tsv": "id\tcaption\n0\ta cat, by Klimt\n1\ttwo dogs\n",
    "p.json": '{"index": 0, "caption": "a cat, by Klimt"}\n{"index": 1, "caption": "two dogs"}\n',
    "q.json": json.dumps({"0": "a cat, by Klimt", "1": "two dogs"}),
    "coco.json": json.dumps(
        {
            "info": {"year": 2014},
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "annotations": [
                {"image_id": 1, "id": i, "caption": c} for i, c in enumerate(["a cat, by Klimt", "two dogs"])
            ],
        }
    ),
    "records.json": json.dumps({"3": {"prompt": "a cat, by Klimt"}, "4": {"prompt": "two dogs"}}),
}


@pytest.mark.parametrize("name", FORMS)
def test_files_as_people_publish_them_give_their_prompts(tmp_path, name):
    assert read(tmp_path, name, FORMS[name]).prompts == ("a cat, by Klimt", "two dogs")


def test_a_parquet_file_gives_its_column_and_its_seeds(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"picture": [b"x"] * 3, "Caption": ["a cat", None, "two dogs"], "seed": [5, 6, 7]})
    parquet.write_table(table, tmp_path / "p.parquet")
    found = PromptFile(str(tmp_path / "p.parquet")).read()
    assert found.prompts == ("a cat", "two dogs") and found.left_out == {"empty": 1}
    assert found.seeds == {"a cat": (5,), "two dogs": (7,)}
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match=r"path=.*p\.parquet: "):
        PromptFile(str(tmp_path / "p.parquet")).read()


def test_a_null_among_the_prompts_is_left_out_and_counted(tmp_path):
    for name, text in [
        ("a.json", '["a cat", null, "a dog"]'),
        ("a.jsonl", '"a cat"\nnull\n{"prompt": null}\n"a dog"\n'),
    ]:
        found = read(tmp_path, name, text)
        assert found.prompts == ("a cat", "a dog")
        assert found.left_out == {"empty": 1 if name == "a.json" else 2}


def test_the_official_training_lines_own_seeds_are_the_pairs_seeds(tmp_path):
    lines = [{"index": 0, "seed": 7, "caption": "a cat"}, {"index": 1, "seed": 3, "caption": "a dog"}]
    lines.append({"index": 2, "seed": 9, "caption": "a cat"})
    found = read(tmp_path, "SDXL_step_10_training.json", "".join(json.dumps(line) + "\n" for line in lines))
    assert found.prompts == ("a cat", "a dog") and found.left_out == {}
    samples = assign_seeds(found, Seeds(list="own"), 0)
    assert [(s.prompt, s.seed) for s in samples] == [("a cat", 7), ("a cat", 9), ("a dog", 3)]
    assert Seeds(list="own").number(found) == 3
    bare = read(tmp_path, "p.txt", "a cat\na dog\n")
    with pytest.raises(UserError, match=r"^seeds\.list=own: 2 prompts have no seed in their file.*the first: 'a cat'"):
        assign_seeds(bare, Seeds(list="own"), 0)


HOSTILE = {
    "deep": "[" * 50_000 + "]" * 50_000,
    "not so deep": "[" * 200 + "]" * 200,
    "a huge number": '{"prompt": "a", "seed": ' + "9" * 5000 + "}",
    "infinity": '{"prompt": "a", "n": Infinity}',
    "NaN": '["a", NaN]',
    "too large": '{"prompt": "a", "n": 1e999}',
    "cut": '["a',
    "numbers": "[1, 2]",
    "a record without a prompt": '[{"title": "x"}]',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_one_line(tmp_path, name):
    with pytest.raises(UserError) as caught:
        read(tmp_path, "p.json", HOSTILE[name])
    assert str(caught.value).startswith("prompts.path=") and "\n" not in str(caught.value)
