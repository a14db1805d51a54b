"""Nothing damaged or foreign is taken for a result of an evaluation: it is computed again, and this is said."""

import json
import logging
import shutil

import pytest
from omegaconf import OmegaConf

from npnet.errors import UserError
from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import config
from tests.evaluation.test_command import comparable, run


@pytest.fixture
def stopped(finished, tmp_path):
    """The finished run without its results, as if it had been stopped before them."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("results.json", "report.html"):
        (folder / name).unlink()
    return folder


def chunk(folder, number=1):
    return folder / "chunks" / f"{number:06d}.json"


def change_a_score(folder):
    value = json.loads(chunk(folder).read_text())
    value["methods"]["best"]["scores"]["target"][2] = 5.0
    chunk(folder).write_text(json.dumps(value))


def copy_a_chunk(folder):
    shutil.copy(chunk(folder, 0), chunk(folder))


def cut(folder):
    chunk(folder).write_bytes(chunk(folder).read_bytes()[:100])


def empty(folder):
    chunk(folder).write_bytes(b"")


def other_json(folder):
    chunk(folder).write_text("[1, 2]")


def pictures(folder):
    names = json.loads(chunk(folder).read_text())["pictures"]
    return [folder / name for name in sorted(names)]


def flip_a_bit_of_a_picture(folder):
    data = bytearray(pictures(folder)[3].read_bytes())
    data[40] ^= 1
    pictures(folder)[3].write_bytes(bytes(data))


def remove_a_picture(folder):
    pictures(folder)[0].unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (change_a_score, "was changed or is damaged"),
        (copy_a_chunk, "is of other samples"),
        (cut, "cannot be read"),
        (empty, "cannot be read"),
        (other_json, "was changed or is damaged"),
        (flip_a_bit_of_a_picture, ".webp was changed or is damaged"),
        (remove_a_picture, ".webp is gone"),
    ],
)
def test_a_damaged_chunk_is_computed_again_and_this_is_said(stopped, finished, caplog, harm, said):
    untouched = chunk(stopped, 0).stat().st_mtime_ns
    harm(stopped)
    logging.getLogger("npnet").propagate = True
    with caplog.at_level(logging.WARNING, logger="npnet"):
        run(stopped)
    assert comparable(stopped) == comparable(finished)
    assert [path.read_bytes() for path in pictures(stopped)] == [path.read_bytes() for path in pictures(finished)]
    (line,) = [record.getMessage() for record in caplog.records if "computed again" in record.getMessage()]
    assert "000001.json" in line
    assert said in line
    assert chunk(stopped, 0).stat().st_mtime_ns == untouched


def test_results_that_cannot_be_read_are_made_again(tmp_path, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "results.json").write_bytes((folder / "results.json").read_bytes()[:50])
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
