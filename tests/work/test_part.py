import pytest

from npnet.errors import UserError
from npnet.work.part import WHOLE, Part, part_of


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_parts_of_an_array_are_every_chunk_once(count):
    parts = [Part(index, count).chunks(11) for index in range(count)]
    assert sorted(chunk for part in parts for chunk in part) == list(range(11))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("config", [{}, {"worker": None}, {"worker": {"index": None, "count": None}}])
def test_without_the_keys_a_command_computes_everything(config):
    assert part_of(config) == WHOLE
    assert list(WHOLE.chunks(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        (0, None, "worker.count: is needed too"),
        (None, 4, "worker.index: is needed too"),
        (4, 4, "worker.index=4: with worker.count=4, allowed are 0 to 3"),
        (-1, 4, "worker.index=-1"),
        ("a", 4, "worker.index=a"),
        (0, 0, "worker.count=0"),
        (0, True, "worker.count=True"),
    ],
)
def test_a_wrong_index_or_count_is_one_line(index, count, message):
    with pytest.raises(UserError, match=message):
        part_of({"worker": {"index": index, "count": count}})


def test_the_array_is_a_group_of_keys():
    with pytest.raises(UserError, match="worker=3: worker.index and worker.count are needed"):
        part_of({"worker": 3})
