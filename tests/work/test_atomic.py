import resource
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch

from npnet.errors import UserError
from npnet.work import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_under_its_name_and_nothing_else_stays(tmp_path):
    with atomic.AtomicFile(tmp_path / "a.bin") as file:
        file.write(b"one")
        assert not (tmp_path / "a.bin").exists()
        file.write(b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"onetwo"
    assert file.num_bytes == 6
    assert names(tmp_path) == ["a.bin"]


def test_the_digest_is_that_of_the_file(tmp_path):
    import hashlib

    with atomic.AtomicFile(tmp_path / "a.bin") as file:
        file.write(b"one")
    assert file.sha256 == hashlib.sha256(b"one").hexdigest()


def test_an_exception_leaves_the_old_file_and_no_new_one(tmp_path):
    path = tmp_path / "a.json"
    atomic.write_json(path, 1)
    with pytest.raises(RuntimeError), atomic.AtomicFile(path) as file:
        file.write(b"2")
        raise RuntimeError
    assert path.read_text() == "1\n"
    assert names(tmp_path) == ["a.json"]


def test_equal_json_values_are_equal_bytes(tmp_path):
    atomic.write_json(tmp_path / "a", {"b": 1, "a": [1.5, "ü"]})
    atomic.write_json(tmp_path / "b", {"a": [1.5, "ü"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_json_never_holds_what_is_not_finite(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "a", value)


def test_a_missing_folder_is_one_line_that_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"none/a: cannot be written: No such file"):
        atomic.write_bytes(tmp_path / "none" / "a", b"")


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"a\.bin: cannot be written: File too large") as caught:
            atomic.write_bytes(tmp_path / "a.bin", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_full_disk_is_said_whatever_the_library_that_writes_makes_of_it(tmp_path):
    """torch's writer raises a RuntimeError after a failed write; another one might pass over it."""

    def pass_over(file):
        with suppress(UserError):
            file.write(bytes(100_000))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        for write in (partial(torch.save, {"a": torch.zeros(30_000)}), pass_over):
            refused = pytest.raises(UserError, match=r"a\.bin: cannot be written: File too large")
            with refused, atomic.AtomicFile(tmp_path / "a.bin") as file:
                write(file)
            assert names(tmp_path) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_leftovers_of_killed_runs_are_removed_and_other_files_are_not(tmp_path):
    for name in (".a.json.123.partial", ".lock", "a.json"):
        (tmp_path / name).touch()
    atomic.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".lock", "a.json"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a").touch()
    for folder in ("a", "a/b"):
        with pytest.raises(UserError, match="^output_dir=.*: (a file|cannot be made)"):
            atomic.make_folder(Path(tmp_path) / folder, "output_dir")
