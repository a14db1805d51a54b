import pytest

from npnet.errors import UserError
from npnet.settings import read
from npnet.work.job import WorkSettings
from npnet.work.share import WHOLE, Share


def share_of(config):
    engine = {"_target_": "npnet.work.processes.Processes"}
    return read(WorkSettings, {"engine": engine, **config}).crew().share


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_shares_of_an_array_are_every_chunk_once(count):
    shares = [Share(index, count).chunks(11) for index in range(count)]
    assert sorted(chunk for share in shares for chunk in share) == list(range(11))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("count", "numbers"), [(1, [11]), (2, [7, 4]), (3, [4, 4, 3]), (5, [4, 4, 3, 0, 0])])
def test_the_shares_of_an_array_are_every_sample_once(count, numbers):
    assert [Share(index, count).number(11, 4) for index in range(count)] == numbers


@pytest.mark.parametrize("config", [{}, {"worker": None}, {"worker": {"index": None, "count": None}}])
def test_without_the_keys_a_command_computes_everything(config):
    assert share_of(config) == WHOLE
    assert list(WHOLE.chunks(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        (0, None, "worker.count=null: is needed too"),
        (None, 4, "worker.index=null: is needed too"),
        (4, 4, "worker.index=4: with worker.count=4, allowed: 0 to 3"),
        (-1, 4, "worker.index=-1"),
        ("a", 4, "worker.index=a"),
        (0, 0, "worker.count=0"),
        (0, True, "worker.count=true"),
    ],
)
def test_a_wrong_index_or_count_is_one_line(index, count, message):
    with pytest.raises(UserError, match=message):
        share_of({"worker": {"index": index, "count": count}})


def test_the_array_is_a_group_of_keys():
    with pytest.raises(UserError, match="worker=3: a group of keys, or null is needed"):
        share_of({"worker": 3})
