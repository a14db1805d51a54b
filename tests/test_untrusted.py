"""JSON from outside: limits on size, depth, numbers and characters, and one line for each fault."""

import pytest

from npnet import untrusted
from npnet.errors import UserError

GOOD = ["{}", "[1, -2.5e3, null, true]", '"\\u00fc"', str(2**63 - 1), '\ufeff{"a": [[[]]]}']
BAD = {
    "": "is not JSON",
    "{": "is not JSON",
    "NaN": "holds NaN",
    "[-Infinity]": "holds -Infinity",
    "1e400": "too large",
    "1" + "0" * 30: "a whole number of 31 digits",
    "-" + "9" * 6000: "a whole number of 6001 digits",
    "[" * 150 + "]" * 150: "nested more than",
    '{"a":' * 60_000: "nested more than",
    '{"a": "\\ud800"}': "half a surrogate",
    '{"\\udfff": 1}': "half a surrogate",
}


@pytest.mark.parametrize("text", GOOD)
def test_what_is_json_is_read_as_text_and_as_bytes(text):
    assert untrusted.parse_json(text.encode()) == untrusted.parse_json(text.lstrip("\ufeff"))


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_no_file_of_ours_holds_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(ValueError, match=BAD[text]):
        untrusted.parse_json(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: ") as caught:
        untrusted.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_a_missing_file_and_a_large_one_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe[]")
    for path in (tmp_path / "a.json", tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError) as caught:
            untrusted.read_json(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setattr(untrusted, "MOST_BYTES", 10)
    (tmp_path / "a.json").write_text('"a longer text"')
    with pytest.raises(UserError, match="has 15 bytes; at most 10 are read"):
        untrusted.read_json(tmp_path / "a.json")


def test_what_python_writes_is_let_through_where_it_is_asked_for():
    assert untrusted.parse_json("[NaN]", nan=True) != [0]
    assert untrusted.parse_json('"\\ud800"', surrogates=True) == "\ud800"
