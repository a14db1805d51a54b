import pytest

from npnet.data.prompts import PromptFile, PromptList, ShapesPrompts, assign_seeds
from npnet.errors import UserError


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a cat\n\n  two dogs \n"),
        ("p.csv", "prompt\na cat\ntwo dogs\n"),
        ("p.csv", '\ufeff"Prompts","Category"\n"a cat","x"\n"two dogs","y"\n'),
        ("p.csv", "id,caption,note\n0,a cat,\n1,,empty\n2,two dogs,x\n"),
        ("p.json", '["a cat", "two dogs"]'),
        ("p.json", '{"simple": [{"prompt": "a cat", "indices": [2]}], "hard": [{"prompt": "two dogs"}]}'),
        ("p.jsonl", '{"prompt": "a cat"}\n\n"two dogs"\n'),
    ],
)
def test_every_format_gives_the_same_prompts(tmp_path, name, text):
    assert PromptFile(written(tmp_path, name, text)).read() == ["a cat", "two dogs"]


def test_a_table_written_without_quoting_loses_no_prompt_at_a_comma(tmp_path):
    text = 'id,caption,note\n0,a cat, by Klimt, oil\n1,"an unbalanced quote\n2,two dogs\n'
    assert PromptFile(written(tmp_path, "p.csv", text)).read() == [
        "a cat, by Klimt, oil",
        "an unbalanced quote",
        "two dogs",
    ]


def test_a_quoted_table_keeps_commas_and_line_breaks(tmp_path):
    text = 'prompt,n\n"a cat, by Klimt",1\n"two\ndogs",2\n'
    assert PromptFile(written(tmp_path, "p.csv", text)).read() == ["a cat, by Klimt", "two\ndogs"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n \n", "holds no prompt"),
        ("p.csv", "id,words\n1,a cat\n", "no column named prompt"),
        ("p.json", "[1, 2]", "neither a text nor a record"),
        ("p.json", "{", "not JSON"),
        ("p.jsonl", '{"prompt": "a"}\nnope\n', "line 2 is not JSON"),
        ("p.xml", "<a/>", "allowed are .txt"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message) as caught:
        PromptFile(written(tmp_path, name, text)).read()
    assert name in str(caught.value)


def test_a_missing_file_and_bad_limits_are_refused():
    with pytest.raises(UserError, match="no such file"):
        PromptFile("nowhere/p.txt")
    with pytest.raises(UserError, match="prompts.path=FILE is needed"):
        PromptFile()
    for limit in (0, -1, "x", True):
        with pytest.raises(UserError, match="prompts.limit"):
            PromptList(["a"], limit=limit)
    with pytest.raises(UserError, match="prompts.split='test'"):
        ShapesPrompts("test")


def test_limit_keeps_the_first():
    assert PromptList(["a", "b", "c"], limit=2).read() == ["a", "b"]


def test_seeds_are_drawn_per_prompt_or_taken_from_the_list():
    drawn = assign_seeds(["a", "b"], {"range": [0, 1024], "per_prompt": 3, "list": None}, 0)
    assert [s.prompt_index for s in drawn] == [0, 0, 0, 1, 1, 1]
    assert len({(s.prompt, s.seed) for s in drawn}) == 6
    listed = assign_seeds(["a", "b"], {"range": [0, 1], "per_prompt": 1, "list": [7, 5]}, 0)
    assert [(s.prompt, s.seed) for s in listed] == [("a", 7), ("a", 5), ("b", 7), ("b", 5)]


def test_a_prompts_seeds_do_not_depend_on_the_other_prompts():
    seeds = {"range": [0, 1024], "per_prompt": 2, "list": None}
    alone = [s.seed for s in assign_seeds(["b"], seeds, 0)]
    assert [s.seed for s in assign_seeds(["a", "b"], seeds, 0) if s.prompt == "b"] == alone


def test_keys_sort_as_the_samples_and_hold_no_dot():
    samples = assign_seeds(["x"] * 12, {"range": [0, 9], "per_prompt": 1, "list": [3, 20]}, 0)
    keys = [s.key for s in samples]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert not any("." in key for key in keys)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"range": [5, 3], "per_prompt": 1}, r"seeds.range=\[5, 3\]"),
        ({"range": [0], "per_prompt": 1}, "two whole numbers"),
        ({"range": "0,5", "per_prompt": 1}, "two whole numbers"),
        ({"range": [0, 3], "per_prompt": 5}, "seeds.per_prompt=5: allowed are 1 to 4"),
        ({"range": [0, 3], "per_prompt": 0}, "seeds.per_prompt=0"),
        ({"range": [0, 3], "per_prompt": 1, "list": []}, "seeds.list"),
        ({"range": [0, 3], "per_prompt": 1, "list": [1, 1]}, "distinct"),
        ({"range": [0, 3], "per_prompt": 1, "list": [-1]}, ">= 0"),
    ],
)
def test_seeds_that_cannot_be_drawn_are_refused(seeds, message):
    with pytest.raises(UserError, match=message):
        assign_seeds(["a"], seeds, 0)
