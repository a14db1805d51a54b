import pytest

from npnet.drawing import sheets


@pytest.mark.parametrize("text", ["short", "word " * 80, "x" * 500, "", "a\nb", "übermäßig langes Wort " * 9])
def test_long_prompts_are_cut_to_two_lines_that_fit(text):
    font = sheets.font()
    lines = sheets.wrap(text, 300, font)
    assert len(lines) <= 2
    assert all(font.getlength(line) <= 300 for line in lines)
    whole = " ".join(text.split())
    assert " ".join(lines) == whole or lines[-1].endswith("…")
