"""GenEval in this process: tiny detectors, colours by a tiny CLIP, and the file that comes of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig

from npnet.errors import FieldError, UserError
from npnet.metrics import geneval
from npnet.metrics.geneval_rules import COLOURS, Found
from npnet.metrics.runtime import geneval as here
from npnet.metrics.runtime.detector import NAMES, Detector
from tests.commands import exit_code
from tests.metrics import tiny
from tests.metrics.tiny_detectors import write_mask2former, write_yolos

CUP = {"tag": "single_object", "prompt": "a photo of a cup", "include": [{"class": "cup", "count": 1}]}
RED = {
    "tag": "colors",
    "prompt": "a photo of a red computer mouse",
    "include": [{"class": "computer mouse", "count": 1, "color": "red"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    write_mask2former(folder / "mask2former")
    write_yolos(folder / "yolos")
    tiny.write_clip(folder / "clip")
    return folder


@pytest.fixture(params=["mask2former", "yolos"])
def detector(request, folder):
    return Detector(str(folder / request.param))


def drawing(seed=0, size=(50, 40)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture
def pictures(tmp_path):
    """Two tasks of two pictures, as GenEval lays them out."""
    for number, record in enumerate((CUP, RED)):
        samples = tmp_path / "pictures" / f"{number:05d}" / "samples"
        samples.mkdir(parents=True)
        (samples.parent / "metadata.jsonl").write_text(json.dumps(record))
        for picture in range(2):
            drawing(2 * number + picture).save(samples / f"{picture:04d}.png")
    return tmp_path / "pictures"


def test_eighty_classes_have_names_and_labels_without_one_are_left_out(detector):
    assert len(NAMES) == len(set(NAMES)) == 80
    assert detector.names == {0: "cup", 1: "computer mouse"}


def test_a_detector_gives_boxes_inside_the_picture_and_masks_where_it_has_them(detector, monkeypatch):
    monkeypatch.setattr("npnet.metrics.runtime.detector.CONFIDENCE", 0.0)
    picture = drawing()
    found = detector(picture)
    assert found and found.keys() <= {"cup", "computer mouse"}
    objects = [one for group in found.values() for one in group]
    for one in objects:
        assert 0 <= one.score <= 1
        left, top, right, bottom = one.box
        if one.mask is not None:
            assert one.mask.shape == (40, 50)
            assert 0 <= left < right <= 50 and 0 <= top < bottom <= 40
    assert all(one.mask is None for one in objects) == (detector.kind == "YolosForObjectDetection")


def test_a_mask_has_its_own_rectangle_as_box_and_its_logits_as_score(folder):
    detector = Detector(str(folder / "mask2former"))
    masks = torch.full((1, 5, 384, 384), -20.0)
    masks[0, 2, 96:192, 0:96] = 20.0
    classes = torch.zeros(1, 5, 5)
    classes[0, :, 4] = 30.0  # nothing
    classes[0, 2] = torch.tensor([0.0, 30.0, 0.0, 0.0, 0.0])
    outputs = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)
    ((label, one),) = detector._masked(outputs, (40, 80))
    assert (label, one.box) == (1, (0.0, 10.0, 20.0, 20.0))
    assert one.score == pytest.approx(1, abs=1e-5)
    assert one.mask.sum() == 20 * 10


def test_a_box_comes_in_pixels(folder):
    detector = Detector(str(folder / "yolos"))
    logits = torch.zeros(1, 2, 5)
    logits[0, 0, 4] = logits[0, 1, 0] = 30.0
    outputs = SimpleNamespace(logits=logits, pred_boxes=torch.tensor([[[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1.0]]]))
    ((label, one),) = detector._boxed(outputs, (40, 80))
    assert (label, one.box, one.mask) == (0, (0.0, 0.0, 40.0, 40.0), None)


def test_the_digest_is_of_the_weights(folder, tmp_path):
    first = Detector(str(folder / "yolos")).sha256
    assert first == Detector(str(folder / "yolos")).sha256
    assert first != Detector(str(write_yolos(tmp_path / "other", seed=1))).sha256


def test_an_object_is_cut_out_along_its_box_with_gray_around_its_mask():
    picture = Image.new("RGB", (6, 4), (10, 20, 30))
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:4] = True
    cut = np.asarray(here.cut_out(picture, Found(1.0, (1.0, 1.0, 5.0, 3.0), mask)))
    assert cut.shape == (2, 4, 3)
    assert cut[0].tolist() == [[153] * 3, [10, 20, 30], [10, 20, 30], [153] * 3]
    assert here.cut_out(picture, Found(1.0, (2.2, 1.1, 2.3, 1.2))).size == (1, 1)


def test_a_colour_is_the_one_whose_words_are_nearest(folder):
    colours = here.ColourReader(str(folder / "clip"))
    objects = [Found(1.0, (0, 0, 20, 20)), Found(1.0, (10, 5, 45, 38))]
    picture = drawing()
    trunk, expected = colours.trunk, []
    for one in objects:
        (seen,) = trunk.embed_images(colours.preprocess.pil([here.cut_out(picture, one)]))
        texts = [
            trunk.embed_texts(
                [f"a photo of a {c} cup", f"a photo of a {c}-colored cup", f"a photo of a {c} object"], set()
            )
            for c in COLOURS
        ]
        means = torch.stack([text.mean(0) / text.mean(0).norm() for text in texts])
        expected.append(COLOURS[int((means @ seen).argmax())])
    assert colours(picture, "cup", objects) == expected


def test_detections_made_by_hand_come_out_as_records(pictures):
    def detector(picture):
        return {
            "cup": [Found(0.5, (0, 0, 9, 9)), Found(0.2, (0, 0, 9, 9))],
            "computer mouse": [Found(0.8, (1, 2, 3, 4))],
        }

    stand_in = SimpleNamespace(names={0: "cup", 1: "computer mouse"}, source="by hand", kind="Hand", sha256="0")
    answers = iter([["red"], ["blue"]])

    class Colours:
        sha256 = "1"

        def __call__(self, picture, name, objects):
            assert (name, len(objects), picture.mode) == ("computer mouse", 1, "RGB")
            return next(answers)

    class Hand(SimpleNamespace):
        __call__ = staticmethod(detector)

    tasks, hand, colours = here.find_tasks(pictures, None), Hand(**vars(stand_in)), Colours()
    made_by = here.check_labels(tasks, hand, colours)
    rows = [here.judged(task, hand, colours, made_by) for task in tasks]
    assert [row["correct"] for row in rows] == [True, True, True, False]
    assert rows[3]["reason"] == "computer mouse: blue instead of 1 red"
    assert json.loads(rows[0]["details"]) == {"cup": [[0, 0, 9, 9, 0.5]], "computer mouse": [[1, 2, 3, 4, 0.8]]}
    assert rows[0]["detector"]["name"] == "by hand"


def test_the_command_writes_a_file_that_names_its_detector_and_sums_it_up(folder, pictures, tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    models = [f"detector={folder / 'mask2former'}", f"clip={folder / 'clip'}"]
    assert exit_code(geneval.main, str(results), f"images={pictures}", *models) == 0
    out = capsys.readouterr().out
    assert out.count("not comparable with figures of the published detector") == 1
    rows = geneval.read(results)
    assert [row["tag"] for row in rows] == ["single_object"] * 2 + ["colors"] * 2
    sha256 = Detector(str(folder / "mask2former")).sha256
    assert {row["detector"]["sha256"] for row in rows} == {sha256} and sha256[:16] in out
    assert json.loads(rows[0]["metadata"]) == CUP
    assert geneval.summary(rows).tasks["colors"].prompts == 1
    capsys.readouterr()
    assert exit_code(geneval.main, str(results)) == 0
    assert capsys.readouterr().out == out
    assert exit_code(geneval.main, str(results), f"images={pictures}", *models) == 2
    assert "already exists" in capsys.readouterr().err


def test_pictures_in_another_layout_get_their_tasks_from_the_metadata_file(pictures, tmp_path):
    metadata = tmp_path / "evaluation_metadata.jsonl"
    metadata.write_text("".join(json.dumps(record) + "\n" for record in (RED, CUP)))
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(2):
        drawing(number).save(flat / f"{number:07d}-{5:010d}.png")  # what evaluate.py keeps
    found = here.find_tasks(flat, metadata)
    assert [(path.name[:7], task.prompt) for path, task in found] == [
        ("0000000", RED["prompt"]),
        ("0000001", CUP["prompt"]),
    ]
    with pytest.raises(UserError, match="metadata=FILE"):
        here.find_tasks(flat, None)
    metadata.write_text("".join(json.dumps(record) + "\n" for record in (CUP, {**CUP, "tag": "counting"})))
    with pytest.raises(UserError, match="line 2: another task has the prompt"):
        here.find_tasks(flat, metadata)


def test_a_class_that_the_detector_has_no_label_for_is_refused(folder, pictures):
    record = {**CUP, "include": [{"class": "dog", "count": 1}]}
    (pictures / "00000" / "metadata.jsonl").write_text(json.dumps(record))
    colours = SimpleNamespace(sha256="")
    with pytest.raises(FieldError, match="detector=.*has no label for dog"):
        here.check_labels(here.find_tasks(pictures, None), Detector(str(folder / "yolos")), colours)


def test_what_is_no_detector_and_results_of_two_are_refused(folder, tmp_path):
    CLIPConfig().save_pretrained(tmp_path / "clip")
    with pytest.raises(FieldError, match="not a detector of transformers: clip detects no objects"):
        Detector(str(tmp_path / "clip"))
    rows = [{"tag": "colors", "prompt": "a", "correct": True, "detector": {"name": name}} for name in "ab"]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="line 2 is of another detector"):
        geneval.read(tmp_path / "two.jsonl")
    with pytest.raises(UserError, match="its folder does not exist"):
        geneval.GenEvalSettings("/nowhere/x.jsonl", images=str(tmp_path)).check()
    with pytest.raises(FieldError, match="images=DIR is needed"):
        geneval.GenEvalSettings("x", metadata="y").check()
