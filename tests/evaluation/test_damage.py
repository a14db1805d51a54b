"""Nothing damaged or foreign is taken for a result of an evaluation: it is computed again, and this is said."""

import json
import logging
import shutil

import pytest
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.report.command import evaluate
from npnet.report.runs import read_run
from tests.evaluation.extra_fakes import PROMPTS, config
from tests.evaluation.test_command import cells, comparable, run


@pytest.fixture
def stopped(finished, tmp_path):
    """The finished run without its results, as if it had been stopped before them."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("results.json", "report.html"):
        (folder / name).unlink()
    return folder


def cell(folder, number=1):
    """The cell of the method ``best`` that holds the samples of a chunk."""
    found = [path for path in cells(folder) if json.loads(path.read_text())["drawn"]["traces"]]
    (path,) = [path for path in found if json.loads(path.read_text())["samples"][0][0] == PROMPTS[4 * number]]
    return path


def change_a_score(path):
    value = json.loads(path.read_text())
    next(iter(value["scores"].values()))[2] = 5.0
    path.write_text(json.dumps(value))


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def other_json(path):
    path.write_text("[1, 2]")


def pictures(path):
    return sorted(path.parent.glob("*.webp"))


def flip_a_bit_of_a_picture(path):
    data = bytearray(pictures(path)[3].read_bytes())
    data[40] ^= 1
    pictures(path)[3].write_bytes(bytes(data))


def remove_a_picture(path):
    pictures(path)[0].unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (change_a_score, "was changed or is damaged"),
        (cut, "cannot be read"),
        (empty, "cannot be read"),
        (other_json, "was changed or is damaged"),
        (flip_a_bit_of_a_picture, ".webp was changed or is damaged"),
        (remove_a_picture, ".webp is gone"),
    ],
)
def test_what_is_damaged_is_computed_again_alone_and_this_is_said(stopped, finished, caplog, harm, said):
    harmed, drawn = cell(stopped), [path.read_bytes() for path in pictures(cell(stopped))]
    ages = {path: path.stat().st_mtime_ns for path in cells(stopped) if path != harmed}
    harm(harmed)
    logging.getLogger("npnet").propagate = True
    with caplog.at_level(logging.WARNING, logger="npnet"):
        run(stopped)
    assert comparable(stopped) == comparable(finished)
    assert [path.read_bytes() for path in pictures(harmed)] == drawn
    (line,) = [record.getMessage() for record in caplog.records if "computed again" in record.getMessage()]
    assert harmed.parent.name in line
    assert said in line
    assert all(path.stat().st_mtime_ns == age for path, age in ages.items())


def one_more(path):
    text = path.read_text()
    place = text.index("1.") if "1." in text else text.index("0.")
    path.write_text(f"{text[:place]}3{text[place + 1 :]}")


@pytest.mark.parametrize(
    ("name", "harm"), [("results.json", cut), ("results.json", one_more), ("samples.jsonl", one_more)]
)
def test_results_that_were_changed_are_refused_and_made_again(name, harm, tmp_path, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    harm(folder / name)
    with pytest.raises(UserError, match=rf"{name}: (was changed|is not JSON)"):
        read_run(folder)
    run(folder)
    assert comparable(folder) == comparable(finished)


def test_an_evaluation_that_failed_while_loading_leaves_its_folder_to_the_corrected_command(tmp_path, monkeypatch):
    def fail(self, *args):
        raise UserError("model.safetensors: is damaged")

    value = config(output_dir=str(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr("tests.fakes.LinearBackbone.load", fail)
        with pytest.raises(UserError, match="is damaged"):
            evaluate(OmegaConf.create(value))
    evaluate(OmegaConf.create({**value, "guidance_scale": 3.0}))
    assert json.loads((tmp_path / "run" / "results.json").read_text())["settings"]["guidance_scale"] == 3.0
