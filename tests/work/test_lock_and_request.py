import subprocess
import sys

import pytest

from npnet.errors import UserError
from npnet.work import lock, request


def names(folder):
    return sorted(path.name for path in folder.iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from npnet.work import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_run_until_it_dies(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(UserError, match=rf"another run is working in this folder \(.*process {holder.pid}, since"),
        lock.hold(tmp_path),
    ):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with lock.hold(tmp_path):
        pass


def test_holding_a_folder_makes_it_and_removes_leftovers(tmp_path):
    folder = tmp_path / "a" / "b"
    with lock.hold(folder):
        pass
    (folder / ".x.1.partial").touch()
    with lock.hold(folder):
        assert names(folder) == [".lock", ".run-0-of-1.lock"]
    assert names(folder) == [".lock"]


def test_a_new_folder_gets_the_request_and_the_same_request_is_accepted_again(tmp_path):
    asked = {"b": {"c": (1, 2)}, "a": 5}
    with lock.hold(tmp_path):
        request.claim(tmp_path, asked)
    before = (tmp_path / "request.json").stat().st_mtime_ns
    request.claim(tmp_path, {"a": 5.0, "b": {"c": [1, 2]}})
    assert request.read(tmp_path) == {"a": 5, "b": {"c": [1, 2]}}
    assert (tmp_path / "request.json").stat().st_mtime_ns == before


def test_another_request_is_refused_with_every_differing_key(tmp_path):
    request.claim(tmp_path, {"a": 1, "b": {"c": 2, "d": 3}})
    (tmp_path / "result").touch()
    with pytest.raises(UserError) as caught:
        request.claim(tmp_path, {"a": 1, "b": {"c": 9}, "e": "x"})
    message = str(caught.value)
    assert "b.c (got 9, there 2)" in message
    assert "b.d (got nothing, there 3)" in message
    assert 'e (got "x", there nothing)' in message
    assert "choose another output_dir" in message
    assert "a (" not in message
    assert "\n" not in message


def test_a_request_without_any_result_is_replaced(tmp_path):
    request.claim(tmp_path, {"a": 1})
    request.claim(tmp_path, {"a": 2})
    assert request.read(tmp_path) == {"a": 2}


def test_a_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "shard-000000.tar").touch()
    with pytest.raises(UserError, match=r"shard-000000\.tar"):
        request.claim(tmp_path, {})
    assert names(tmp_path) == ["shard-000000.tar"]


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_damaged_request_is_one_line(tmp_path, text):
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(UserError, match=r"request\.json"):
        request.claim(tmp_path, {})
