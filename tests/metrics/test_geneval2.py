"""GenEval 2: the rule by closed forms, and a tiny model that is asked."""

import json
import math

import pytest
import torch
from PIL import Image

from npnet.errors import FieldError, UserError
from npnet.metrics import geneval2
from npnet.metrics.geneval2_questions import answers, read_benchmark
from npnet.metrics.runtime import geneval2 as asking
from npnet.metrics.runtime.image_text import ask
from tests.commands import exit_code
from tests.metrics.judge_server import MODEL as MODEL_OF_THE_SERVER
from tests.metrics.judge_server import serve
from tests.metrics.tiny_image_text import write_instructblip, write_llava, write_qwen3_vl

ONE = {
    "prompt": "two red cats",
    "atom_count": 3,
    "vqa_list": [["How many cats are there?", "two"], ["Are the cats red?", "Yes"], ["Are there cats?", "Yes"]],
    "skills": ["count", "attribute", "object"],
}
TWO = {"prompt": "a dog", "atom_count": 1, "vqa_list": [["Is there a dog?", "Yes"]], "skills": ["object"]}
MODEL = {"name": "m", "class": "M", "sha256": "0" * 64}


@pytest.fixture
def benchmark(tmp_path):
    path = tmp_path / "geneval2_data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in (ONE, TWO)))
    return path


@pytest.fixture
def images(tmp_path):
    """Of the published form: a table of prompts and files."""
    for name, colour in (("a.png", (200, 30, 30)), ("b.png", (20, 30, 200))):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    (tmp_path / "images.json").write_text(json.dumps({"two red cats": "a.png", "a dog": "b.png"}))
    return tmp_path / "images.json"


def record(of, scores, prompts=2):
    known = {"prompt": of["prompt"], "atom_count": of["atom_count"], "skills": of["skills"]}
    return {**known, "scores": scores, "model": MODEL, "benchmark": {"sha256": "1", "prompts": prompts}}


def test_the_figures_are_means_over_pictures_of_arithmetic_and_geometric_means():
    found = geneval2.summary([record(ONE, [0.25, 0.5, 1.0]), record(TWO, [0.6])])
    assert found.am.mean == pytest.approx(100 * ((0.25 + 0.5 + 1) / 3 + 0.6) / 2)
    assert found.gm.mean == pytest.approx(100 * (0.125 ** (1 / 3) + 0.6) / 2)
    assert {name: mean.mean for name, mean in found.skills.items()} == pytest.approx(
        {"attribute": 50, "count": 25, "object": 80}
    )
    assert found.skills["object"].count == 2
    assert {count: mean.mean for count, mean in found.atom_counts.items()} == pytest.approx({1: 60, 3: 50})
    assert (found.prompts, found.missing) == (2, 0)


def test_one_wrong_answer_takes_the_geometric_mean_and_prompts_without_a_picture_are_counted():
    found = geneval2.summary([record(ONE, [0.0, 1.0, 1.0], prompts=800)])
    assert found.gm.mean == 0
    assert found.am.mean == pytest.approx(200 / 3)
    assert found.missing == 799
    assert geneval2.geometric_mean([0.5] * 4) == pytest.approx(0.5)


def test_answers_are_spelled_as_words_and_digits_with_and_without_a_space():
    assert set(answers("How many cats are there?", "two")) == {"two", "Two", " two", " Two", "2", " 2"}
    assert set(answers("Are the cats red?", "Yes")) == {"Yes", "yes", " Yes", " yes"}


def test_the_list_is_read_as_it_is_published(benchmark):
    items = read_benchmark(benchmark)
    assert list(items) == ["two red cats", "a dog"]
    assert items["two red cats"].questions[0] == ("How many cats are there?", "two")
    assert items["a dog"].skills == ("object",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"atom_count": "3"}, "needs prompt, atom_count"),
        ({"vqa_list": []}, "needs prompt, atom_count"),
        ({"vqa_list": [["Is it?"]], "skills": ["object"]}, "pairs of a question and an answer"),
        ({"vqa_list": [["Is it?", "No"]], "skills": ["object"]}, "is 'No'; Yes is needed"),
        ({"skills": ["count"]}, "skills must name one for each of the 3 pairs"),
    ],
)
def test_another_list_is_refused(change, words, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(TWO) + "\n" + json.dumps({**ONE, **change}))
    with pytest.raises(UserError, match=f"line 2.*{words}"):
        read_benchmark(tmp_path / "x.jsonl")


def test_a_prompt_twice_and_an_empty_list_are_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(TWO) + "\n" + json.dumps(TWO))
    with pytest.raises(UserError, match="line 2: the prompt 'a dog' is there already"):
        read_benchmark(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no prompt"):
        read_benchmark(tmp_path / "x.jsonl")


@pytest.fixture(scope="module", params=["llava", "instructblip"])
def answerer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    {"llava": write_llava, "instructblip": write_instructblip}[request.param](folder)
    return asking.Answerer(str(folder), torch.device("cpu"))


def test_a_score_is_the_probability_of_the_first_tokens_each_counted_once(answerer):
    picture = Image.new("RGB", (32, 32), (90, 10, 200))
    tokenize = answerer.processor.tokenizer
    words = {tokenize(text, add_special_tokens=False)["input_ids"][0] for text in ("Yes", "yes", "a")}
    text = ask(answerer.processor, "Is it? Answer in one word.")
    inputs = answerer.processor(images=picture, text=text, return_tensors="pt")
    with torch.no_grad():
        start = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)}
        is_decoder = not hasattr(answerer.model.config, "qformer_config")
        logits = answerer.model(**inputs, **({} if is_decoder else start)).logits[0, -1]
    expected = logits.softmax(-1)[sorted(words)].sum().item()
    assert answerer(picture, "Is it?", ("Yes", "yes", "Yes", "a")) == pytest.approx(expected, rel=1e-5)
    assert 0 < expected < 1


@torch.no_grad()
def test_the_published_model_is_asked_as_the_published_code_asks_it(tmp_path):
    answerer = asking.Answerer(str(write_qwen3_vl(tmp_path / "qwen3_vl")), torch.device("cpu"))
    picture, processor = Image.new("RGB", (70, 50), (200, 10, 10)), answerer.processor
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "rate it Answer in one word."}]
    options = {"tokenize": True, "add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    inputs = processor.apply_chat_template([{"role": "user", "content": content}], **options)
    making = {"max_new_tokens": 1, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    chances = answerer.model.generate(**inputs, **making).scores[0][0].softmax(-1)
    expected = sum(chances[processor.tokenizer.convert_tokens_to_ids(word)].item() for word in ("Yes", "yes"))
    assert answerer(picture, "rate it", ("Yes", "yes", " Yes", " yes")) == pytest.approx(expected, rel=1e-4)


def test_the_command_scores_writes_and_sums_up(benchmark, images, tmp_path, capsys):
    model = write_llava(tmp_path / "llava")
    results = tmp_path / "results.jsonl"
    given = [f"images={images}", f"benchmark={benchmark}", f"model={model}"]
    assert exit_code(geneval2.main, str(results), *given) == 0
    out = capsys.readouterr().out
    rows = geneval2.read(results)
    assert [len(row["scores"]) for row in rows] == [3, 1]
    expected = [100 * math.prod(row["scores"]) ** (1 / len(row["scores"])) for row in rows]
    assert f"{sum(expected) / 2:6.2f}" in next(line for line in out.splitlines() if line.startswith("Soft-TIFA GM"))
    assert out.count("published figures are by Qwen/Qwen3-VL-8B-Instruct") == 1
    assert exit_code(geneval2.main, str(results)) == 0
    assert capsys.readouterr().out == out
    assert exit_code(geneval2.main, str(results), *given) == 2


def test_a_server_is_asked_as_published_and_the_spellings_it_tells_are_summed(benchmark, images, tmp_path, capsys):
    server = serve()
    server.chances = {"Yes": 0.5, "two": 0.25, " yes": 0.125, "No": 0.0625}
    results = tmp_path / "results.jsonl"
    given = [f"images={images}", f"benchmark={benchmark}", f"url={server.url}", "model=m"]
    assert exit_code(geneval2.main, str(results), *given) == 0
    rows = geneval2.read(results)
    assert [row["scores"] for row in rows] == [pytest.approx(s) for s in ([0.25, 0.625, 0.625], [0.625])]
    assert rows[0]["model"]["name"] == MODEL_OF_THE_SERVER
    asked = {request["messages"][0]["content"][1]["text"] for _, _, request in server.seen[1:]}
    assert asked == {f"{q} Answer in one word." for one in (ONE, TWO) for q, _ in one["vqa_list"]}
    assert f"answered by {MODEL_OF_THE_SERVER}, as its server calls it" in capsys.readouterr().out
    for chances, words in (({}, "no probabilities of tokens"), ({"<think>": 0.9}, "that answers at once")):
        server.chances = chances
        assert exit_code(geneval2.main, str(tmp_path / "other.jsonl"), *given) == 2
        assert words in capsys.readouterr().err


def test_pictures_are_found_by_prompt_and_a_foreign_one_is_refused(benchmark, images, tmp_path):
    items = read_benchmark(benchmark)
    assert [item.prompt for _, item in asking.find(images, items)] == ["two red cats", "a dog"]
    folder = tmp_path / "kept"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "0000001-0000000003.png")  # what evaluate.py keeps
    ((_, item),) = asking.find(folder, items)
    assert item.prompt == "a dog"
    images.write_text(json.dumps({"a cow": "a.png"}))
    with pytest.raises(UserError, match="'a cow' is not in the list"):
        asking.find(images, items)


def test_the_users_copy_of_the_list_is_asked_for(tmp_path):
    with pytest.raises(FieldError, match="your copy of geneval2_data.jsonl .CC BY-NC 4.0"):
        geneval2.GenEval2Settings(str(tmp_path / "r.jsonl"), images=str(tmp_path)).check()
    with pytest.raises(FieldError, match="images=DIR is needed"):
        geneval2.GenEval2Settings("x", benchmark="y").check()
    known = {"results": str(tmp_path / "r.jsonl"), "images": str(tmp_path), "benchmark": str(tmp_path / "x.jsonl")}
    with pytest.raises(FieldError, match="url=here: an address http"):
        geneval2.GenEval2Settings(**known, url="here").check()
    with pytest.raises(FieldError, match="key_variable=KEY: url=ADDRESS is needed too"):
        geneval2.GenEval2Settings(**known, key_variable="KEY").check()


@pytest.mark.parametrize(
    "change", [{"scores": [2.0]}, {"scores": [0.5, 0.5]}, {"scores": []}, {"model": "m"}, {"benchmark": {}}]
)
def test_another_results_file_is_refused(change, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(record(TWO, [0.5]) | change))
    with pytest.raises(UserError, match="line 1 is no record"):
        geneval2.read(tmp_path / "x.jsonl")


def test_results_of_two_models_are_refused(tmp_path):
    rows = [record(TWO, [0.5]), record(ONE, [0.5] * 3) | {"model": {**MODEL, "sha256": "2"}}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="line 2 is of another model"):
        geneval2.read(tmp_path / "x.jsonl")
