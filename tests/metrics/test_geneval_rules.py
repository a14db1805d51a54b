"""GenEval's rules on detections made by hand: closed forms."""

import pytest

from npnet.errors import UserError
from npnet.metrics.geneval_rules import Found, counted, faults, read_task, relations

HERE = (40.0, 40.0, 60.0, 60.0)


def box(x, y, side=20.0):
    """A square by its centre."""
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def task(*include, exclude=(), tag="two_object"):
    return read_task({"tag": tag, "prompt": "a prompt", "include": list(include), "exclude": list(exclude)}, "here")


def never(name, objects):
    raise AssertionError("no colour was asked for")


def is_right(wanted, found, colours=never):
    return not faults(wanted, found, colours)


def some(count, where=HERE, score=0.95):
    return [Found(score, where)] * count


def test_the_confidence_that_counts_is_higher_in_counting_and_sixteen_of_a_class_are_looked_at():
    found = {"cup": [Found(score, HERE) for score in (0.2, 0.3, 0.31, 0.9, 0.91)], "dog": some(20)}
    assert [one.score for one in counted(found, "colors")["cup"]] == [0.91, 0.9, 0.31]
    assert [one.score for one in counted(found, "counting")["cup"]] == [0.91]
    assert len(counted(found, "colors")["dog"]) == 16
    assert counted({"cup": some(1, score=0.3)}, "colors") == {}


@pytest.mark.parametrize(("number", "right"), [(1, False), (2, True), (3, False)])
def test_counting_asks_for_enough_and_for_no_more(number, right):
    wanted = task({"class": "cup", "count": 2}, exclude=[{"class": "cup", "count": 3}], tag="counting")
    assert is_right(wanted, {"cup": some(number)}) is right


def test_every_included_object_must_be_there():
    wanted = task({"class": "cup", "count": 1}, {"class": "dog", "count": 1})
    assert is_right(wanted, {"cup": some(1), "dog": some(1), "cat": some(5)})
    assert faults(wanted, {"cup": some(1)}, never) == ["dog: 0 instead of 1"]


def test_a_colour_is_asked_of_the_most_confident_objects_up_to_the_count():
    wanted = task({"class": "cup", "count": 2, "color": "red"})
    asked = []

    def colours(answers):
        def read(name, objects):
            asked.append((name, len(objects)))
            return answers[: len(objects)]

        return read

    assert is_right(wanted, {"cup": some(3)}, colours(["red", "red", "blue"]))
    assert not is_right(wanted, {"cup": some(3)}, colours(["red", "blue", "red"]))
    assert asked == [("cup", 2)] * 2
    assert faults(wanted, {"cup": some(1)}, never) == ["cup: 1 instead of 2"]


@pytest.mark.parametrize(
    ("x", "y", "sides"),
    [
        (10, 50, {"left of"}),
        (90, 50, {"right of"}),
        (50, 10, {"above"}),
        (50, 90, {"below"}),
        (10, 10, {"left of", "above"}),  # 36 of 40 on each axis, of a distance of 56.6: 0.64 each
        (10, 38, {"left of"}),
        (53, 47, set()),  # within a tenth of both sizes
        (50, 50, set()),
    ],
)
def test_sides_follow_from_the_centres(x, y, sides):
    assert relations(box(x, y), box(50, 50)) == sides


def test_a_side_and_its_opposite_change_with_the_order():
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for x, y in ((5, 60), (70, 20), (90, 90), (50, 54)):
        a, b = box(x, y, 10), box(50, 50, 30)
        assert {opposite[side] for side in relations(a, b)} == relations(b, a)


def test_the_clearance_is_a_tenth_of_the_summed_sizes():
    # centres 8 apart, sizes 20 + 20: 8 - 4 is exactly half of 8, which is not more than half
    assert relations(box(58, 50), box(50, 50)) == set()
    assert relations(box(58.1, 50), box(50, 50)) == {"right of"}


def test_every_object_must_stand_so_to_every_target():
    wanted = task({"class": "cup", "count": 2}, {"class": "dog", "count": 1, "position": ["left of", 0]})
    cups = [Found(0.9, box(60, 50)), Found(0.9, box(90, 50))]
    assert is_right(wanted, {"cup": cups, "dog": some(1, box(10, 50))})
    assert faults(wanted, {"cup": cups, "dog": some(1, box(75, 50))}, never) == ["dog: right of instead of left of"]


def test_there_is_no_side_to_what_is_missing():
    wanted = task({"class": "cup", "count": 2}, {"class": "dog", "count": 1, "position": ["left of", 0]})
    assert faults(wanted, {"cup": some(1), "dog": some(1)}, never) == [
        "cup: 1 instead of 2",
        "dog: nothing to be left of",
    ]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "is not a task of GenEval"),
        ({"tag": "a", "prompt": "b"}, "include must be a list"),
        ({"tag": "a", "prompt": "b", "include": [{"class": "cup"}]}, r"include\[0\]: needs class"),
        ({"tag": "a", "prompt": "b", "include": [{"class": "cup", "count": True}]}, "needs class"),
        ({"tag": "a", "prompt": "b", "include": [{"class": "cup", "count": 1, "color": "cyan"}]}, "allowed: red"),
        (
            {"tag": "a", "prompt": "b", "include": [{"class": "cup", "count": 1, "position": ["above", 0]}]},
            "the number of an object before it",
        ),
    ],
)
def test_what_is_no_task_is_refused(record, words):
    with pytest.raises(UserError, match=f"^here: .*{words}|^here: {words}"):
        read_task(record, "here")
