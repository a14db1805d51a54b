import errno
import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from npnet.errors import UserError
from npnet.work import lock, request
from npnet.work.share import WHOLE, Share


def names(folder):
    return sorted(path.name for path in folder.iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from npnet.work import lock
from npnet.work.share import Share
with lock.hold(Path(sys.argv[1]), {"a": 1}, Share(*map(int, sys.argv[2:]))):
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


def test_a_folder_of_another_command_is_called_that(tmp_path):
    request.claim(tmp_path, {"seed": 0, **dict.fromkeys(("noise", "metric", "sampler"))})
    (tmp_path / "result").touch()
    with pytest.raises(UserError, match=r"belongs to another command \(see request\.json\)"):
        request.claim(tmp_path, {"seed": 0, **dict.fromkeys(("network", "data", "module"))})


def test_a_request_without_any_result_is_replaced(tmp_path):
    request.claim(tmp_path, {"a": 1})
    request.claim(tmp_path, {"a": 2})
    assert request.read(tmp_path) == {"a": 2}


def test_a_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "shard-000000.tar").touch()
    with pytest.raises(UserError, match=r"shard-000000\.tar"):
        request.claim(tmp_path, {})
    assert names(tmp_path) == ["shard-000000.tar"]


@pytest.mark.parametrize(
    "there", [{}, {"request.json": '{"a": 1}'}, {"request.json": '{"a": 1}', "x": ""}, {"x": ""}, {".lock": ""}]
)
def test_a_plan_refuses_the_folders_that_a_run_refuses_and_writes_nothing(tmp_path, there):
    folder = tmp_path / "out"
    for name, text in there.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def said(work):
        try:
            work()
        except UserError as error:
            return str(error)
        return None

    for asked in ({"a": 1}, {"a": 2}, {"a": 1, "samples_sha256": "0"}):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        planned = said(lambda asked=asked: request.check(folder, lambda: asked))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert folder.is_dir() == bool(there)
        copy = tmp_path / "copy"
        if there:
            shutil.copytree(folder, copy)
        done = said(lambda asked=asked, copy=copy: request.claim(copy, asked))
        assert planned == (done and done.replace(str(copy), str(folder)))
        shutil.rmtree(copy)


def test_what_follows_from_other_keys_is_named_only_where_nothing_else_differs(tmp_path):
    request.claim(tmp_path, {"a": 1, "samples_sha256": "0"})
    (tmp_path / "result").touch()
    with pytest.raises(UserError, match=r"configuration: a \(got 2, there 1\); choose"):
        request.claim(tmp_path, {"a": 2, "samples_sha256": "1"})
    with pytest.raises(UserError, match=r"configuration: samples_sha256 \("):
        request.claim(tmp_path, {"a": 1, "samples_sha256": "1"})


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_damaged_request_is_one_line(tmp_path, text):
    (tmp_path / "request.json").write_text(text)
    with pytest.raises(UserError, match=r"request\.json"):
        request.claim(tmp_path, {})


# --- the workers of a job array --------------------------------------------------------------------------------------


def test_workers_of_one_array_hold_a_folder_together(tmp_path):
    with lock.hold(tmp_path, share=Share(0, 3)), lock.hold(tmp_path, share=Share(2, 3)):
        assert [holder.share for holder in lock.active(tmp_path)] == [Share(0, 3), Share(2, 3)]
        assert all(f"process {os.getpid()}" in holder.who for holder in lock.active(tmp_path))
    assert lock.active(tmp_path) == []
    assert names(tmp_path) == [".lock"]


@pytest.mark.parametrize(
    ("there", "share", "message"),
    [
        (
            Share(1, 3),
            Share(1, 3),
            r"^worker\.index=1: this worker of 3 is already at work in .*process \d+, since ",
        ),
        (
            Share(1, 3),
            Share(1, 4),
            r"^output_dir=.*: worker\.count=3 is at work .* and worker\.count=4 would",
        ),
        (Share(1, 3), WHOLE, r"^output_dir=.*: worker\.count=3 is at work .* a run without worker\.index would"),
        (WHOLE, Share(1, 3), r"^output_dir=.*: a run without worker\.index is at work .* and worker\.count=3 would"),
        (WHOLE, WHOLE, "^output_dir=.*: another run is working in this folder"),
    ],
)
def test_what_would_compute_a_chunk_twice_is_refused(tmp_path, there, share, message):
    with lock.hold(tmp_path, share=there):
        with pytest.raises(UserError, match=message), lock.hold(tmp_path, share=share):
            pass
        assert [holder.share for holder in lock.active(tmp_path)] == [there]


def test_temporary_files_stay_while_others_work_and_go_with_the_last_one(tmp_path):
    mine, inside = tmp_path / ".x.host-1.partial", tmp_path / "chunks" / ".y.host-1.partial"
    inside.parent.mkdir()
    with lock.hold(tmp_path, share=Share(0, 2), folders=["chunks"]):
        mine.touch(), inside.touch()
        with lock.hold(tmp_path, share=Share(1, 2), folders=["chunks"]):
            pass
        assert mine.exists() and inside.exists()
    assert not mine.exists() and not inside.exists()


def test_a_request_is_not_replaced_under_a_run_that_has_no_result_yet(tmp_path):
    with lock.hold(tmp_path, {"a": 1}, Share(0, 2)):
        with pytest.raises(UserError, match="another configuration: a"), lock.hold(tmp_path, {"a": 2}, Share(1, 2)):
            pass
        assert request.read(tmp_path) == {"a": 1}
    with lock.hold(tmp_path, {"a": 2}, Share(1, 2)):
        assert request.read(tmp_path) == {"a": 2}


def test_a_lock_file_that_nobody_holds_means_nothing(tmp_path):
    (tmp_path / ".run-0-of-1.lock").write_text("\x00not JSON")
    assert lock.active(tmp_path) == []
    with lock.hold(tmp_path, share=Share(1, 3)):
        assert [holder.share for holder in lock.active(tmp_path)] == [Share(1, 3)]


def test_many_that_start_at_once_are_let_in_one_after_another(tmp_path):
    starts = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), str(i), "8"], stdout=subprocess.PIPE)
        for i in range(8)
    ]
    assert [process.stdout.readline() for process in starts] == [b"held\n"] * 8
    assert len(lock.active(tmp_path)) == 8
    for process in starts:
        process.kill()
        process.communicate()
    assert lock.active(tmp_path) == []


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match="file system has no locks"), lock.hold(tmp_path):
        pass


def test_the_digest_of_a_request_does_not_depend_on_the_order_of_its_keys():
    assert request.digest({"a": 1, "b": {"c": 2, "d": 3}}) == request.digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert request.digest({"a": 1}) != request.digest({"a": 2})


@pytest.mark.parametrize("node", [{"a": {"b": "x\0y"}}, {"a": ["x", "\0"]}])
def test_a_text_with_a_null_character_is_refused_wherever_it_stands(node):
    with pytest.raises(UserError, match="a.*holds a NUL"):
        request.require_finite(node)
