import random

import pytest
from open_clip.tokenizer import SimpleTokenizer

from npnet.data import prompt_text
from npnet.data.prompt_text import count_long
from npnet.data.prompts import PromptFile, PromptList, PromptSet, ShapesPrompts
from npnet.data.seeds import Seeds
from npnet.data.seeds import assign_seeds as assign
from npnet.errors import UserError, under
from npnet.fields import from_mapping


def assign_seeds(prompts, seeds, seed):
    with under("seeds"):
        made = from_mapping(Seeds, seeds)
    return assign(PromptSet(tuple(prompts)), made, seed)


def prompts_of(source):
    with under("prompts"):
        return list(source.read().prompts)


def made(kind, *arguments, **keys):
    with under("prompts"):
        return kind(*arguments, **keys)


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
    assert prompts_of(PromptFile(written(tmp_path, name, text))) == ["a cat", "two dogs"]


def test_a_table_written_without_quoting_loses_no_prompt_at_a_comma(tmp_path):
    text = 'id,caption,note\n0,a cat, by Klimt, oil\n1,"an unbalanced quote\n2,two dogs\n'
    assert prompts_of(PromptFile(written(tmp_path, "p.csv", text))) == [
        "a cat, by Klimt, oil",
        "an unbalanced quote",
        "two dogs",
    ]


def test_a_quoted_table_keeps_commas_and_line_breaks(tmp_path):
    text = 'prompt,n\n"a cat, by Klimt",1\n"two\ndogs",2\n'
    assert prompts_of(PromptFile(written(tmp_path, "p.csv", text))) == ["a cat, by Klimt", "two\ndogs"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n \n", "holds no prompt"),
        ("p.csv", "id,words\n1,a cat\n", "no column named prompt"),
        ("p.json", "[1, 2]", "neither a text nor a record"),
        ("p.json", "{", "not JSON"),
        ("p.jsonl", '{"prompt": "a"}\nnope\n', "line 2 is not JSON"),
        ("p.xml", "<a/>", "allowed: .txt"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message) as caught:
        prompts_of(PromptFile(written(tmp_path, name, text)))
    assert name in str(caught.value)


def test_a_missing_file_and_bad_limits_are_refused():
    with pytest.raises(UserError, match="no such file"):
        PromptFile("nowhere/p.txt").check()
    with pytest.raises(UserError, match="no such file"):
        PromptFile("nowhere/p.txt").read()
    with pytest.raises(UserError, match="^prompts.path=null: FILE is needed with prompts=file"):
        made(PromptFile)
    for limit in (0, -1, "x", True):
        with pytest.raises(UserError, match="prompts.limit"):
            made(PromptList, ["a"], limit=limit)
    with pytest.raises(UserError, match="prompts.split=test: .*allowed: train, held_out"):
        made(ShapesPrompts, "test")


def test_limit_keeps_the_first():
    assert prompts_of(PromptList(["a", "b", "c"], limit=2)) == ["a", "b"]


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


def test_every_prompt_draws_its_own_seeds():
    drawn = assign_seeds(["a", "b", "c"], {"range": [0, 10**6], "per_prompt": 4, "list": None}, 0)
    seeds = [sample.seed for sample in drawn]
    assert len(set(seeds)) == len(seeds) == 12  # in a range of a million no two are equal by chance


def test_keys_sort_as_the_samples_and_hold_no_dot():
    samples = assign_seeds(["x"] * 12, {"range": [0, 9], "per_prompt": 1, "list": [3, 20]}, 0)
    keys = [s.key for s in samples]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert not any("." in key for key in keys)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"range": [5, 3], "per_prompt": 1}, r"seeds.range=\[5,3\]"),
        ({"range": [0], "per_prompt": 1}, "two whole numbers"),
        ({"range": "0,5", "per_prompt": 1}, "two whole numbers"),
        ({"range": [0, 3], "per_prompt": 5}, "seeds.per_prompt=5: allowed: 1 to 4"),
        ({"range": [0, 3], "per_prompt": 0}, "seeds.per_prompt=0"),
        ({"range": [0, 3], "per_prompt": 1, "list": []}, "seeds.list"),
        ({"range": [0, 3], "per_prompt": 1, "list": [1, 1]}, "distinct"),
        ({"range": [0, 3], "per_prompt": 1, "list": [-1]}, ">= 0"),
    ],
)
def test_seeds_that_cannot_be_drawn_are_refused(seeds, message):
    with pytest.raises(UserError, match=message):
        assign_seeds(["a"], seeds, 0)


FAULTS = [
    (b"a cat\n\n \n", {"empty": 2}),
    (b"a cat\n  a cat \nA cat\n", {"duplicate": 1}),
    ("a cat\ncafé\n".encode("latin-1"), {"not UTF-8": 1}),
    (b"a cat\ntwo\0dogs\n", {"holds a NUL": 1}),
]


@pytest.mark.parametrize(("data", "left_out"), FAULTS)
def test_what_cannot_be_a_prompt_is_left_out_and_counted(tmp_path, data, left_out):
    path = tmp_path / "p.txt"
    path.write_bytes(data)
    prompts = PromptFile(str(path))
    found = prompts.read()
    assert found.prompts[0] == "a cat"
    assert found.left_out == left_out
    assert prompts.read() == found


def test_the_rules_hold_in_every_format(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b'"a cat"\n"\\ud800"\n"two\\u0000dogs"\n"caf\xe9"\n{"text": "a cat"}\n')
    (tmp_path / "p.csv").write_bytes(b"prompt,n\na cat,1\ncaf\xe9,2\ntwo\0dogs,3\n,4\na cat,5\n")
    for name in ("p.jsonl", "p.csv"):
        prompts = PromptFile(str(tmp_path / name)).read()
        assert prompts.prompts == ("a cat",)
        assert {reason: n for reason, n in prompts.left_out.items() if reason in ("holds a NUL", "duplicate")} == {
            "holds a NUL": 1,
            "duplicate": 1,
        }
        assert prompts.left_out["not UTF-8"] == (2 if name == "p.jsonl" else 1)


def test_a_file_that_holds_nothing_but_faults_says_which(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"\xff\n\n\0x\n")
    with pytest.raises(UserError, match=r"p\.txt: holds no prompt \(left out: 1 empty, 1 holds a NUL, 1 not UTF-8\)"):
        PromptFile(str(path)).read()
    path.write_bytes("a cat\n".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16; save it as UTF-8"):
        PromptFile(str(path)).read()


def test_the_limit_counts_prompts_not_rows(tmp_path):
    assert prompts_of(PromptFile(written(tmp_path, "p.txt", "\na\na\n\nb\nc\n"), limit=2)) == ["a", "b"]


def test_a_prompt_with_an_exotic_line_separator_is_one_prompt(tmp_path):
    for name, text in [("p.txt", "a\u2028cat\x0cx\r\nb\n"), ("p.csv", "prompt\na\u2028cat\x0cx\r\nb\r\n")]:
        assert prompts_of(PromptFile(written(tmp_path, name, text))) == ["a\u2028cat\x0cx", "b"]


UNQUOTED = [
    ('0,a still from "Escape"', 'a still from "Escape"'),
    ('0,"Albus" - a portrait, oil', '"Albus" - a portrait, oil'),
    ('0,"all of it in quotes."', "all of it in quotes."),
    ('0,"A" and "B"', '"A" and "B"'),
    ("0,a cat,,", "a cat"),
    ("0,a cat, two dogs, and so on,", "a cat, two dogs, and so on"),
]


@pytest.mark.parametrize(("line", "prompt"), UNQUOTED)
def test_in_a_table_without_quoting_every_prompt_is_whole(tmp_path, line, prompt):
    text = f'id,caption,caption_zh,note\n1,one, two, three, four\n{line}\n2,"begins, and is never closed\n3,last\n'
    assert prompts_of(PromptFile(written(tmp_path, "p.csv", text))) == [
        "one, two, three, four",
        prompt,
        "begins, and is never closed",
        "last",
    ]


def test_a_quote_that_is_never_closed_swallows_no_row(tmp_path):
    text = 'prompt\na cat\n"two dogs\nthree birds\n'
    assert prompts_of(PromptFile(written(tmp_path, "p.csv", text))) == ["a cat", "two dogs", "three birds"]


def test_a_quoted_table_whose_rows_end_early_is_still_quoted(tmp_path):
    text = 'id,caption,note\n0,"a cat, by Klimt"\n1,two dogs,a note\n'
    assert prompts_of(PromptFile(written(tmp_path, "p.csv", text))) == ["a cat, by Klimt", "two dogs"]


def test_a_huge_field_is_no_crash(tmp_path):
    text = "prompt,n\n" + '"' + "x" * 200_000 + "\n" + "y" * 200_000 + ",1\n"
    assert [len(p) for p in prompts_of(PromptFile(written(tmp_path, "p.csv", text)))] == [200_000, 200_000]


def test_prompts_longer_than_77_tokens_are_counted():
    words = ["cat"] * 75
    assert count_long([" ".join(words), "short"]) == 0
    assert count_long([" ".join([*words, "cat"]), " ".join([*words, "cat"]) + ".", "short"]) == 2
    assert count_long(["ü" * 300]) == 1


def test_tokens_that_are_counted_by_words_are_those_of_the_tokenizer(monkeypatch):
    tokenizer, draw = SimpleTokenizer(), random.Random(0)
    parts = [
        "cat",
        "it's",
        "They'll",
        "8k",
        "f/1.8",
        "(((",
        ")))",
        "--ar",
        "3:2",
        "&amp;",
        "naïve",
        "<lora:x:0.8>",
        "\t",
        "_",
    ]
    prompts = [draw.choice(["", " "]).join(draw.choices(parts, k=45)) for _ in range(200)]
    counts = [len(tokenizer.encode(prompt)) for prompt in prompts]
    for limit in (100, 110, 120):
        monkeypatch.setattr(prompt_text, "MAX_TOKENS", limit)
        assert 0 < count_long(prompts) == sum(count > limit - 2 for count in counts) < len(prompts)


def test_the_published_rows_end_with_the_last_prompt_that_is_used(tmp_path):
    file = written(tmp_path, "p.txt", "a\n\nb\na\nc\n")
    assert PromptFile(path=file, limit=2).published() == ["a", "", "b"]
    assert PromptFile(path=file).published() == ["a", "", "b", "a", "c"]
