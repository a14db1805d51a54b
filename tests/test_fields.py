"""The one checker: what an annotation allows passes, anything else is one line that names key and value."""

import gc
import math
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Any, Literal

import pytest

from npnet.bounds import MultipleOf, Number
from npnet.description import Description, imported
from npnet.errors import FieldError, UserError, shown, under
from npnet.fields import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Count,
    Name,
    NotEmpty,
    NotNegative,
    Positive,
    Seed,
    Share,
    Whole,
    checked,
    from_mapping,
)
from npnet.settings import read


@dataclass(frozen=True)
class Budget(Description):
    forwards: Count | None = None
    seconds: NotNegative | None = None


@dataclass(frozen=True)
class Search(Description):
    scale: NotNegative
    cycles: Count = 1
    label: Literal["destination", "source"] = "destination"
    levels: str | tuple[float, ...] | None = None
    budget: Budget = Budget()
    weights: Mapping[str, float] | None = None


ALLOWED = [
    (int, 3, 3),
    (float, 3, 3.0),
    (float, -0.5, -0.5),
    (bool, False, False),
    (str, "", ""),
    (Name, "a", "a"),
    (Whole, 0, 0),
    (Share, 1, 1.0),
    (Seed, 2**32 - 1, 2**32 - 1),
    (int | None, None, None),
    (Literal["all"] | Whole, "all", "all"),
    (Literal["all"] | Whole, 4, 4),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, int], [1, 2], (1, 2)),
    (Annotated[tuple[str, ...], NotEmpty()], ["a"], ("a",)),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (Annotated[int, AtLeast(8), AtMost(16), MultipleOf(8)], 16, 16),
    (Annotated[float, Above(0), Below(1)], 0.5, 0.5),
    (Any, object, object),
]


@pytest.mark.parametrize(("annotation", "value", "held"), ALLOWED, ids=str)
def test_what_is_allowed_is_held_in_its_own_type(annotation, value, held):
    found = checked(annotation, value, "key")
    assert found == held and type(found) is type(held)


REFUSED = [
    (int, True, "key=true: a whole number is needed"),
    (int, 1.0, "key=1.0: a whole number is needed"),
    (int, "3", 'key="3": a whole number is needed'),
    (float, math.nan, "key=nan: a number is needed"),
    (float, math.inf, "key=inf: a number is needed"),
    (float, False, "key=false: a number is needed"),
    (bool, 0, "key=0: true or false is needed"),
    (str, 5, "key=5: a text (write digits in quotes) is needed"),
    (Count, 0, "key=0: a whole number of at least 1 is needed"),
    (Share, 1.5, "key=1.5: a number of at least 0 and of at most 1 is needed"),
    (Name, "", 'key="": a text that is not empty is needed'),
    (Count | None, 0, "key=0: a whole number of at least 1, or null is needed"),
    (Literal["yes", "no"], "ye", "key=ye: did you mean 'yes'? allowed: yes, no"),
    (Literal[1, 2], True, "key=true: allowed: 1, 2"),
    (tuple[int, ...], "12", 'key="12": a list is needed'),
    (tuple[int, ...], [1, "x"], "key[1]=x: a whole number is needed"),
    (tuple[int, int], [1], "key=[1]: a list of 2 is needed"),
    (dict[str, float], [1], "key=[1]: a group of keys is needed"),
    (dict[str, float], {"a": "x"}, "key.a=x: a number is needed"),
    (Positive, -1, "key=-1: a number above 0 is needed"),
    (Positive, 1e300, "key=1e+300: a number above 0 (at most 1e+06 in size) is needed"),
    (Number, -1e300, "key=-1e+300: a number (at most 1e+06 in size) is needed"),
    (Annotated[float, Above(0), Below(1)], 1, "key=1: a number above 0 and below 1 is needed"),
    (Annotated[int, MultipleOf(8)], 12, "key=12: a whole number that is a multiple of 8 is needed"),
    (int, None, "key=null: a whole number is needed"),
]


@pytest.mark.parametrize(("annotation", "value", "line"), REFUSED, ids=str)
def test_what_is_not_allowed_is_one_line(annotation, value, line):
    with pytest.raises(FieldError) as caught:
        checked(annotation, value, "key")
    assert str(caught.value) == line


def test_a_description_checks_itself_and_holds_what_its_annotations_say():
    search = Search(1, levels=[3, 2.5], budget={"forwards": 4}, weights={"a": 1})
    assert (search.scale, search.levels, search.budget, search.weights) == (1.0, (3.0, 2.5), Budget(4), {"a": 1.0})
    assert pickle.loads(pickle.dumps(search)) == search
    with pytest.raises(FrozenInstanceError):
        search.cycles = 2


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"cycles": 0}, "noise.mine.cycles=0: a whole number of at least 1 is needed"),
        ({"budget": {"forwards": 0}}, "noise.mine.budget.forwards=0: a whole number of at least 1, or null is needed"),
        ({"budget": {"fowards": 2}}, "noise.mine.budget.fowards=2: no such key; did you mean 'forwards'?"),
        ({"budget": 3}, "noise.mine.budget=3: a group of keys is needed"),
        ({"weights": {"a": "b"}}, "noise.mine.weights.a=b: a number is needed"),
    ],
)
def test_every_level_adds_its_name_to_the_key(keys, line):
    with pytest.raises(FieldError) as caught, under("noise"), under("mine"):
        Search(1, **keys)
    assert str(caught.value).startswith(line)


def test_an_error_travels_between_processes():
    error = FieldError("a.b", 3, "less is needed")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.key, again.value) == (str(error), "a.b", 3)


def test_a_mapping_lacks_no_key_and_has_no_other():
    assert from_mapping(Search, {"scale": 2}) == Search(2)
    for mapping, line in (({}, "scale=null: this key is missing"), ({"scale": 1, "x": 2}, "x=2: no such key")):
        with pytest.raises(FieldError, match=line):
            from_mapping(Search, mapping)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("true", '"true"'),
        ("1e3", '"1e3"'),
        ("a b", "a b"),
        (["a", 1], "[a,1]"),
        ("", '""'),
    ],
)
def test_a_value_is_written_as_it_would_be_typed(value, text):
    assert shown(value) == text


def test_settings_are_built_from_their_nodes_and_name_what_is_missing():
    @dataclass(frozen=True)
    class Settings(Description):
        search: Search
        seed: Seed = 0

    node = {"_target_": f"{__name__}.Search", "scale": 2}
    Settings.__annotations__ = {"search": Search, "seed": Seed}
    with pytest.raises(UserError, match="search"):
        read(Settings, {"seed": 1})
    with pytest.raises(UserError, match="seed=-1"):
        read(Settings, {"search": node, "seed": -1})


def test_a_runtime_is_found_by_its_place():
    assert imported("npnet.fields:checked") is checked


def test_garbage_is_not_looked_for_while_a_module_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quiet_module.py").write_text("import gc\n\nseen = gc.isenabled()\n")
    assert imported("quiet_module:seen") is False
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError):
        imported("no_such_module:seen")
    assert gc.isenabled()
