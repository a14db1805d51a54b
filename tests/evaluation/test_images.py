"""Scoring pictures that someone else made: layouts, the cache, and what is refused."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import ExifTags, Image

from npnet.errors import UserError
from npnet.evaluation.images import require_readable, score_images
from npnet.instantiate import build
from npnet.metrics import Metric
from npnet.paths import config_dir
from npnet.pictures.layout import find_pictures
from tests.evaluation.images_fakes import SCORED
from tests.metrics import tiny


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)


def score(source, output, *overrides, metrics=("redness",)):
    SCORED.clear()
    kinds = {"redness": "Redness", "blueness": "Blueness"}
    nodes = [f"+metric.{label}._target_=tests.evaluation.images_fakes.{kinds[label]}" for label in metrics]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        plain = compose("evaluate")
        key = f"images={source}" if "images" in plain else f"+images={source}"
        cfg = compose(
            "evaluate",
            [key, "metric=[]", *nodes, f"output_dir={output}", "num_resamples=50", "chunk_size=2", *overrides],
        )
    score_images(cfg)
    return [json.loads(line) for line in (output / "scores.jsonl").read_text().splitlines()]


def means(output):
    methods = json.loads((output / "results.json").read_text())["methods"]
    return {label: entry["mean"] for label, entry in methods["images"]["metrics"].items()}


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("one\ntwo two\nthree three three\n")
    return ("prompts=file", f"prompts.path={tmp_path / 'prompts.txt'}")


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("2.png", "red"), ("10.png", "blue"), ("1.png", "black")):
        picture(tmp_path / "made" / f"picture {name}", colour)
    return tmp_path / "made"


def test_files_go_with_prompts_in_the_natural_order_of_their_names(folder, prompts, tmp_path):
    lines = score(folder, tmp_path / "out", *prompts)
    assert [line["image"].rsplit("/", 1)[1] for line in lines] == ["picture 1.png", "picture 2.png", "picture 10.png"]
    assert [line["prompt"] for line in lines] == ["one", "two two", "three three three"]
    assert [line["scores"]["redness"] for line in lines] == [3.0, 8.0, 16.0]
    assert means(tmp_path / "out")["redness"] == pytest.approx(9.0)


def test_numbers_name_prompts_several_pictures_each(prompts, tmp_path):
    for name in ("0-5", "0000001-0000000007", "1_2", "2"):
        picture(tmp_path / "made" / f"{name}.webp", "black")
    found = {
        line["image"].rsplit("/", 1)[1]: line["prompt"] for line in score(tmp_path / "made", tmp_path / "o", *prompts)
    }
    assert found == {
        "0-5.webp": "one",
        "0000001-0000000007.webp": "two two",
        "1_2.webp": "two two",
        "2.webp": "three three three",
    }


def test_numbers_may_begin_at_one(prompts, tmp_path):
    for number in (1, 2, 3):
        picture(tmp_path / "made" / f"{number}.jpg", "black")
    lines = score(tmp_path / "made", tmp_path / "o", *prompts)
    assert lines[0]["prompt"] == "one"


def test_pictures_are_scored_against_the_rows_of_the_file_as_published(tmp_path):
    (tmp_path / "p.txt").write_text("a dog\na cat\na dog\n\na fish\na worm\n")
    for name in ("0.png", "1.png", "2.png", "4.png", "._4.png", ".ipynb_checkpoints/1-checkpoint.png"):
        picture(tmp_path / "made" / name, "black")
    lines = score(tmp_path / "made", tmp_path / "o", "prompts=file", f"prompts.path={tmp_path / 'p.txt'}")
    assert [line["prompt"] for line in lines] == ["a dog", "a cat", "a dog", "a fish"]
    limited = ("prompts=file", f"prompts.path={tmp_path / 'p.txt'}", "prompts.limit=3")
    assert len(score(tmp_path / "made", tmp_path / "limited", *limited)) == 4
    with pytest.raises(UserError, match="4 pictures do not match 2 prompts"):
        score(tmp_path / "made", tmp_path / "fewer", *limited[:2], "prompts.limit=2")


def test_a_rotation_that_is_not_applied_is_said(folder, prompts, tmp_path, capsys):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (8, 6), "red").save(folder / "picture 2.png", exif=exif)
    score(folder, tmp_path / "out", *prompts)
    assert "1 picture with an EXIF rotation, read as stored" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["notes"]) == 1


def test_a_gray_picture_with_16_bits_keeps_its_levels(tmp_path, prompts):
    pixels = np.full((8, 8), 32896, np.uint16)
    (tmp_path / "made").mkdir()
    Image.fromarray(pixels).save(tmp_path / "made" / "0.png")
    score(tmp_path / "made", tmp_path / "out", *prompts, metrics=("blueness",))
    assert means(tmp_path / "out")["blueness"] == pytest.approx(128 / 255)


def test_genevals_layout_brings_its_prompts_and_tags(tmp_path):
    for number, tag in enumerate(("colors", "position")):
        place = tmp_path / "made" / f"{number:05d}"
        for sample in range(2):
            picture(place / "samples" / f"{sample:04d}.png", (40 * sample, 0, number))
        picture(place / "grid.png", "white")
        (place / "metadata.jsonl").write_text(json.dumps({"tag": tag, "prompt": f"p{number}"}))
    lines = score(tmp_path / "made", tmp_path / "out")
    assert [(line["prompt"], line["tag"]) for line in lines] == [("p0", "colors")] * 2 + [("p1", "position")] * 2
    assert means(tmp_path / "out")["redness"] is not None


@pytest.mark.parametrize(("image", "text"), [("image", "prompt"), ("file_name", "text"), ("path", "caption")])
def test_a_jsonl_names_pictures_and_prompts(image, text, folder, tmp_path):
    listed = [{image: "picture 2.png", text: "a"}, {image: str(folder / "picture 10.png"), text: "bb"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, listed)))
    expected = [2.0, 1.0]
    for source in (folder, folder / "metadata.jsonl"):
        lines = score(source, tmp_path / f"out{source.suffix}")
        assert [line["scores"]["redness"] for line in lines] == expected


def test_no_picture_is_scored_twice(folder, prompts, tmp_path):
    first = score(folder, tmp_path / "out", *prompts)
    assert sorted(SCORED) == ["one", "three three three", "two two"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    again = score(folder, tmp_path / "out", *prompts)
    assert SCORED == []
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_the_cache_goes_by_content_so_a_renamed_copy_costs_nothing(folder, prompts, tmp_path):
    score(folder, tmp_path / "out", *prompts)
    (folder / "picture 2.png").rename(folder / "picture 3.png")
    lines = score(folder, tmp_path / "out", *prompts)
    assert SCORED == []
    picture(folder / "picture 3.png", "white")
    lines = score(folder, tmp_path / "out", *prompts)
    assert SCORED == ["two two"]
    assert [line["scores"]["redness"] for line in lines] == [3.0, 7.0, 16.0]


def test_a_metric_that_reads_no_prompt_scores_each_content_once(tmp_path):
    picture(tmp_path / "made" / "a.png", "blue")
    picture(tmp_path / "made" / "b.png", "blue")
    listed = [{"image": name, "prompt": text} for name in ("a.png", "b.png") for text in ("x", "y")]
    (tmp_path / "made" / "metadata.jsonl").write_text("\n".join(map(json.dumps, listed)))
    lines = score(tmp_path / "made", tmp_path / "out", metrics=("redness", "blueness"))
    assert sorted(SCORED) == ["*", "x", "y"]
    assert [line["scores"]["blueness"] for line in lines] == [1.0] * 4


def test_a_killed_run_goes_on_where_it_was(folder, prompts, tmp_path):
    whole = score(folder, tmp_path / "whole", *prompts)
    score(folder, tmp_path / "out", *prompts)
    cached = sorted((tmp_path / "out" / "cache").iterdir())
    assert len(cached) == 2, "chunks of two pictures"
    lost = max(cached, key=lambda path: path.stat().st_size)
    lost.unlink()
    (tmp_path / "out" / "results.json").unlink()
    (tmp_path / "out" / "cache" / ".x.json.1.partial").write_text("{")
    assert score(folder, tmp_path / "out", *prompts) == whole
    assert len(SCORED) == 2


def test_several_workers_give_the_same(folder, prompts, tmp_path):
    one = score(folder, tmp_path / "one", *prompts)
    assert score(folder, tmp_path / "two", *prompts, "workers=2") == one


def test_notes_reach_the_results(folder, prompts, tmp_path, capsys):
    score(folder, tmp_path / "out", *prompts)
    assert "1 prompt was longer than 5 tokens" in capsys.readouterr().out
    notes = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]["redness"]["notes"]
    assert any("cut there" in note for note in notes)
    assert notes.count("measured by eye") == 1


def test_a_dry_run_scores_and_writes_nothing(folder, prompts, tmp_path, capsys):
    with pytest.raises(FileNotFoundError):
        score(folder, tmp_path / "out", *prompts, "dry_run=true")
    assert "would score 3 pictures of 3 prompts" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert SCORED == []


def test_what_cannot_work_is_refused_in_one_line(folder, prompts, tmp_path):
    def refusal(source, *overrides):
        with pytest.raises(UserError) as caught:
            score(source, tmp_path / "refused", *overrides)
        assert "\n" not in str(caught.value)
        assert SCORED == []
        return str(caught.value)

    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in refusal(tmp_path / "empty")
    picture(folder / "picture 11.png", "red")
    assert "4 pictures do not match 3 prompts" in refusal(folder, *prompts)
    (folder / "picture 11.png").write_bytes(b"no picture")
    assert "cannot be read as a picture" in refusal(folder, "prompts=list", "prompts.list=[a,b,c,d]")
    (tmp_path / "bad.jsonl").write_text('{"image": "x.png"}')
    assert "line 1 needs" in refusal(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"image": "x.png", "prompt": "a"}')
    assert "no such file" in refusal(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("{")
    assert "not JSON" in refusal(tmp_path / "bad.jsonl")


def test_a_prompt_that_a_metric_cannot_read_is_one_line(tmp_path):
    node = {"_target_": "npnet.metrics.HPSv3"}
    picture = SimpleNamespace(prompt="a <|image_pad|> cube", size=(8, 8), path="x.png")
    with pytest.raises(UserError, match=r"^metric.own holds <\|image_pad\|>, which the model reads as a mark"):
        require_readable("own", build(node, "metric.own", Metric), [picture])


def test_another_request_in_the_same_folder_is_refused(folder, prompts, tmp_path):
    score(folder, tmp_path / "out", *prompts)
    with pytest.raises(UserError, match="metric"):
        score(folder, tmp_path / "out", *prompts, metrics=("redness", "blueness"))


def test_metrics_of_the_built_in_model_refuse_other_pictures(folder, prompts, tmp_path):
    with (
        pytest.raises(UserError, match="backbone=shapes only"),
        initialize_config_dir(str(config_dir()), version_base="1.3"),
    ):
        plain = compose("evaluate")
        key = f"images={folder}" if "images" in plain else f"+images={folder}"
        score_images(compose("evaluate", [key, *prompts, "metric=[shapes_judge]", f"output_dir={tmp_path / 'out'}"]))


def test_order_is_natural_across_folders(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/3.png"):
        picture(tmp_path / name, "red")
    found = find_pictures(tmp_path, lambda: [f"p{i}" for i in range(11)])
    assert [picture.prompt for picture in found] == ["p3", "p2", "p10"]


def test_the_command_scores_a_folder_with_real_metrics(folder, prompts, tmp_path):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        assert "images" in compose("evaluate")
    clip, aes = tiny.write_clip(tmp_path / "clip"), tiny.write_aes(tmp_path / "aes")
    command = [
        *(sys.executable, "evaluate.py", f"images={folder}", *prompts, "metric=[clipscore,aes]"),
        *(f"metric.clipscore.path={clip}", f"metric.aes.clip_path={clip}", f"metric.aes.path={aes}"),
        *(f"output_dir={tmp_path / 'out'}", "num_resamples=50"),
    ]
    root = config_dir().parent
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["methods"]["images"]["metrics"]) == ["clipscore", "aes"]
    assert results["smoke"] is True
