"""Disks that are full and folders that cannot be written: one line, and what is there stays."""

import os
import resource
import subprocess
from contextlib import contextmanager

import pytest

from npnet.errors import UserError
from npnet.work import atomic
from tests.collected import collect_small, contents

PAGE = 4096


@contextmanager
def mounted(folder, options):
    """A file system of its own at ``folder``; skips where that is not allowed."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_with_room_the_run_goes_on(undisturbed, tmp_path):
    folder = tmp_path / "disk"
    # two chunks, the request and the lock's text fit, and a page more
    first = [data for name, data in contents(undisturbed).items() if name < "shard-000002"]
    room = sum(-(-len(data) // PAGE) * PAGE for data in first) + 2 * PAGE
    with mounted(folder, f"size={room}"):
        with pytest.raises(
            UserError, match=r"^\S+shard-00000\d\.(tar|json): cannot be written: No space left on device$"
        ):
            collect_small(folder)
        there = contents(folder)
        assert "shard-000000.json" in there and len(there) < len(contents(undisturbed))
        assert there.items() <= contents(undisturbed).items()
        assert not list(folder.glob(".*.partial"))
        with pytest.raises(UserError, match="No space left on device"):  # again: nothing is harmed by trying
            collect_small(folder)
        assert there.items() <= contents(folder).items()
        subprocess.run(["mount", "-o", "remount,size=10m", str(folder)], check=True)
        collect_small(folder)
        assert contents(folder) == contents(undisturbed)


def test_a_file_that_may_not_grow_is_one_line_and_later_the_run_goes_on(undisturbed, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"shard-00000\d\.(tar|json): cannot be written: File too large$"):
            collect_small(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path).items() <= contents(undisturbed).items()
    collect_small(tmp_path)
    assert contents(tmp_path) == contents(undisturbed)


def test_a_folder_that_cannot_be_written_is_one_line_and_stays(tmp_path):
    if os.geteuid():
        tmp_path.chmod(0o555)
        with pytest.raises(UserError, match=r"\.lock: cannot be written: Permission denied$"):
            collect_small(tmp_path)
        tmp_path.chmod(0o755)
        return
    with mounted(tmp_path / "disk", "ro"):
        for folder in ("disk", "disk/new"):
            with pytest.raises(UserError, match=r": (cannot be written|cannot be made): Read-only file system$"):
                collect_small(tmp_path / folder)


@pytest.mark.parametrize("place", ["shard-000001.tar", "shard-000001.json"])
def test_an_error_while_a_file_is_written_leaves_the_finished_ones(undisturbed, tmp_path, monkeypatch, place):
    def fail(file, data):
        if file.path.name == place:
            with atomic.writing(file.path):
                raise OSError(28, "No space left on device")
        return write(file, data)

    write = atomic.AtomicFile.write
    with monkeypatch.context() as patch:
        patch.setattr(atomic.AtomicFile, "write", fail)
        with pytest.raises(UserError, match=f"{place}: cannot be written: No space left on device"):
            collect_small(tmp_path)
    expected = {"request.json", "shard-000000.json", "shard-000000.tar"}
    assert contents(tmp_path).keys() == expected | ({"shard-000001.tar"} if place.endswith("json") else set())
    collect_small(tmp_path)
    assert contents(tmp_path) == contents(undisturbed)
