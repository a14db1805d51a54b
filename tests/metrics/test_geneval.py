import json

import pytest

from npnet.errors import UserError
from npnet.metrics import geneval
from tests.commands import exit_code

# task: (correct pictures of each prompt, of four)
COUNTS = {
    "single_object": [4, 4],
    "two_object": [4, 0, 1],
    "counting": [2],
    "colors": [3, 4],
    "position": [0, 0],
    "color_attr": [1, 0, 0, 0],
}


def records():
    for task, prompts in COUNTS.items():
        for number, correct in enumerate(prompts):
            for picture in range(4):
                # the same words with other metadata are another prompt, as in GenEval
                metadata = json.dumps({"tag": task, "number": number})
                yield {
                    "filename": f"{task}/{number}/samples/{picture:04d}.png",
                    "tag": task,
                    "prompt": f"a photo of {task}",
                    "correct": picture < correct,
                    "reason": "",
                    "metadata": metadata,
                    "details": "{}",
                }


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records()))
    return file


def test_the_overall_score_is_the_mean_of_the_tasks_not_of_the_pictures(path):
    result = geneval.summary(geneval.read(path))
    accuracies = {task: sum(correct) / (4 * len(correct)) for task, correct in COUNTS.items()}
    assert {name: task.accuracy for name, task in result.tasks.items()} == accuracies
    assert result.overall == pytest.approx(sum(accuracies.values()) / 6)
    assert result.pictures == pytest.approx(sum(map(sum, COUNTS.values())) / (4 * 14))
    assert result.overall != result.pictures
    assert result.missing == ()


def test_a_prompt_counts_when_any_of_its_pictures_is_correct(path):
    result = geneval.summary(geneval.read(path))
    assert result.prompts == pytest.approx(sum(c > 0 for cs in COUNTS.values() for c in cs) / 14)
    assert result.tasks["two_object"].prompts == 3


def test_tasks_come_in_the_published_order_whatever_the_files():
    shuffled = sorted(records(), key=lambda record: record["filename"], reverse=True)
    assert list(geneval.summary(shuffled).tasks) == list(geneval.TASKS)


def test_missing_tasks_are_named(path, capsys):
    some = [record for record in records() if record["tag"] in ("colors", "counting")]
    assert geneval.summary(some).missing == ("single_object", "two_object", "position", "color_attr")
    path.write_text("".join(json.dumps(record) + "\n" for record in some))
    assert exit_code(geneval.main, str(path)) == 0
    assert "not the published score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no record"),
        ("{", "line 1 is not JSON"),
        ('{"tag": "a"}', "lacks prompt, correct"),
        ('{"tag": "a", "prompt": "b", "correct": "yes"}', "not true or false"),
    ],
)
def test_other_files_are_refused_with_one_line(text, words, tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        geneval.read(tmp_path / "x.jsonl")
    assert exit_code(geneval.main, str(tmp_path / "x.jsonl")) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert exit_code(geneval.main, str(tmp_path / "missing.jsonl")) == 2
