"""An evaluation divided among the workers of a job array."""

import pytest

from npnet.errors import UserError
from npnet.work import lock
from npnet.work.share import Share
from tests.evaluation.test_command import comparable, run, state_of


def test_the_worker_of_an_array_that_ends_last_makes_the_report(tmp_path, finished, capsys):
    run(tmp_path, worker={"index": 1, "count": 2})
    assert "worker 1 of 2: done; 2 of 3 chunks are not computed yet" in capsys.readouterr().out
    assert not (tmp_path / "results.json").exists()
    run(tmp_path, worker={"index": 0, "count": 2})
    assert (tmp_path / "report.html").is_file()
    assert comparable(tmp_path) == comparable(finished)


def test_the_command_without_the_keys_finishes_what_an_array_left(tmp_path, finished):
    run(tmp_path, worker={"index": 1, "count": 3})
    kept = state_of(tmp_path / "cells")
    run(tmp_path)
    assert state_of(tmp_path / "cells").items() >= kept.items()
    assert comparable(tmp_path) == comparable(finished)


def test_a_worker_at_work_keeps_others_out_of_its_chunks(tmp_path):
    with lock.hold(tmp_path, share=Share(0, 2)):
        for worker, message in ((None, "worker.count=2 is at work"), ({"index": 0, "count": 2}, "already at work")):
            with pytest.raises(UserError, match=message):
                run(tmp_path, worker=worker)


def test_pictures_of_others_are_scored_by_one_command(tmp_path):
    with pytest.raises(UserError, match=r"worker\.index: with images=\.\.\. one command scores all pictures"):
        run(tmp_path, images="folder", worker={"index": 0, "count": 2})
