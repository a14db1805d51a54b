"""A file of a line a picture: a killed run resumes, and two runs keep out of each other's way."""

import json

import pytest

from npnet.data.json_lines import write_json_lines
from npnet.errors import UserError

PICTURES = ["a", "b", "c", "d"]
REQUEST = {"model": "m"}


class Killed(BaseException):
    """In place of a signal: nothing is tidied up by it."""


def kept(folder):
    return [path for path in folder.iterdir() if path.name.endswith(".unfinished")]


@pytest.mark.parametrize("torn", [b"", b'{"of": "', b'{"of": "c"}', b"\0\0\0\n"])
def test_a_killed_run_resumes_and_leaves_the_bytes_of_an_undisturbed_one(torn, tmp_path):
    whole, resumed, made = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl", []

    def until_the_third(picture):
        if picture == "c":
            raise Killed
        return {"of": picture}

    def make(picture):
        made.append(picture)
        return {"of": picture}

    with pytest.raises(Killed):
        write_json_lines(resumed, REQUEST, PICTURES, until_the_third, 10)
    (unfinished,) = kept(tmp_path)
    assert not resumed.exists()
    with unfinished.open("ab") as file:
        file.write(torn)
    write_json_lines(resumed, REQUEST, PICTURES, make, 10)
    assert made == ["c", "d"]
    write_json_lines(whole, REQUEST, PICTURES, make, 10)
    assert resumed.read_bytes() == whole.read_bytes()
    assert [json.loads(line)["of"] for line in whole.open()] == PICTURES
    assert not kept(tmp_path)


def test_what_another_request_left_unfinished_is_named_and_not_mixed_in(tmp_path):
    path = tmp_path / "results.jsonl"

    def broken(picture):
        if picture == "b":
            raise Killed
        return picture

    with pytest.raises(Killed):
        write_json_lines(path, REQUEST, PICTURES, broken, 10)
    (unfinished,) = kept(tmp_path)
    with pytest.raises(UserError, match=f"{unfinished.name} beside it is of a run with other pictures"):
        write_json_lines(path, {"model": "other"}, PICTURES, str, 10)


def test_two_runs_do_not_write_the_same_file(tmp_path):
    path = tmp_path / "results.jsonl"

    def make(picture):
        with pytest.raises(UserError, match="another run is writing this file"):
            write_json_lines(path, REQUEST, PICTURES, str, 10)
        return picture

    write_json_lines(path, REQUEST, PICTURES, make, 10)
    assert path.read_text().split() == [f'"{picture}"' for picture in PICTURES]
