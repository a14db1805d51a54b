"""Which prompt a picture belongs to: never a wrong one, and a refusal where that cannot be told."""

from pathlib import Path

import pytest

from npnet.errors import UserError
from npnet.pictures.matching import match
from npnet.pictures.opener import natural_order

ANIMALS = ["a dog", "a cat", "a dog", "a bird", "a fish"]
SOURCE = Path("made")


def matched(names, rows):
    found = match(SOURCE, sorted((SOURCE / name for name in names), key=natural_order), rows)
    return {str(path.relative_to(SOURCE)): prompt for path, prompt in found}


def refusal(names, rows):
    with pytest.raises(UserError) as caught:
        matched(names, rows)
    assert str(caught.value).startswith("images=made: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_numbers_count_the_rows_as_published_repeated_ones_included():
    assert matched(["0.png", "1.png", "2.png", "3.png"], ANIMALS) == {
        "0.png": "a dog",
        "1.png": "a cat",
        "2.png": "a dog",
        "3.png": "a bird",
    }


def test_a_blank_row_shifts_no_later_one():
    rows = ["a dog", "", "a cat", "a bird"]
    assert matched(["0.png", "2.png", "3.png"], rows) == {"0.png": "a dog", "2.png": "a cat", "3.png": "a bird"}


def test_a_picture_of_a_blank_row_is_refused_because_its_maker_may_have_left_the_row_out():
    said = refusal(["0.png", "1.png", "2.png"], ["a dog", "", "a cat", "a bird"])
    assert "1.png could be of 'a dog' or of 'a cat': row 1 of the prompts is empty" in said


def test_numbers_count_from_one_where_they_reach_the_last_row():
    assert matched([f"{n}.png" for n in range(1, 6)], ANIMALS)["3.png"] == "a dog"
    assert matched([f"{n}.png" for n in range(1, 6)], ANIMALS)["5.png"] == "a fish"


def test_numbers_from_one_with_the_last_one_missing_are_refused():
    said = refusal(["1.png", "2.png", "3.png", "4.png"], ANIMALS)
    assert "1.png could be of 'a cat' or of 'a dog': the numbers may count from 0 or from 1" in said


def test_numbers_that_restart_in_each_folder_are_refused():
    said = refusal(["x/0.png", "x/1.png", "y/0.png", "y/1.png"], ANIMALS)
    assert "y/0.png could be of 'a dog' or of 'a cat': x/0.png has the same number" in said
    assert "have the same number" in refusal(["x/1.png", "y/1.png", "x/0.png"], ANIMALS)


def test_several_pictures_of_a_prompt_in_one_folder_are_its_own():
    names = ["0-5.png", "0-6.png", "00001_7.png", "3-0.png"]
    assert list(matched(names, ANIMALS).values()) == ["a dog", "a dog", "a cat", "a bird"]


def test_a_number_beyond_the_rows_is_refused():
    assert "none of the number of 7.png" in refusal(["0.png", "7.png"], ANIMALS)


@pytest.mark.parametrize(
    "name",
    ["a bird.png", "a_bird.png", "A Bird.png", "a-bird_2.png", "0000_a bird.png", "a bird (1).png", "a bird/0.png"],
)
def test_a_caption_counts_before_a_number(name):
    assert matched([name, "a fish.png"], ANIMALS)[name] == "a bird"


def test_captions_and_numbers_go_together_and_a_caption_wins():
    assert matched(["0-a dog.png", "1.png"], ANIMALS) == {"0-a dog.png": "a dog", "1.png": "a cat"}
    assert matched(["0-a fish.png"], ANIMALS) == {"0-a fish.png": "a fish"}


def test_a_caption_of_two_prompts_is_refused():
    said = refusal(["a_dog.png"], ["a dog", "A dog!"])
    assert "a_dog.png could be of 'a dog' or of 'A dog!'" in said


def test_a_prompt_that_is_a_number_is_no_caption():
    assert matched(["0.png", "1.png"], ["1", "0"]) == {"0.png": "1", "1.png": "0"}


def test_a_name_without_number_or_caption_among_others_is_refused():
    assert "0.png names its prompt, grid.png does not" in refusal(["0.png", "grid.png"], ANIMALS)


def test_our_own_pictures_count_the_prompts_that_were_used():
    names = [f"standard/{n:07d}-{seed:010d}.webp" for n in range(4) for seed in (3, 12)]
    found = matched(names, ANIMALS)
    assert list(found.values()) == [p for p in ("a dog", "a cat", "a bird", "a fish") for _ in range(2)]
    assert "of the number" in refusal([f"{4:07d}-{0:010d}.webp"], ANIMALS)


def test_our_own_pictures_of_several_methods_are_not_pooled():
    names = [f"{label}/{0:07d}-{3:010d}.webp" for label in ("npnet", "standard")]
    said = refusal(names, ANIMALS)
    assert "several methods (npnet, standard)" in said
    assert "images=made/npnet" in said


def test_the_order_of_names_that_count_is_that_of_the_rows_as_published():
    names = [f"IMG_{number}.png" for number in range(7, 12)]
    assert matched(names, ANIMALS) == dict(zip(names, ANIMALS, strict=True))
    names = ["a9", "a20", "a30"]
    assert matched(names, ["one", "", "two", "three"]) == {"a9": "one", "a20": "two", "a30": "three"}


@pytest.mark.parametrize(
    "names",
    [
        ["zebra_in_the.png", "apple_on_a.png", "a_d.png"],  # captions cut short
        ["zebra_in_the_0.png", "apple_on_a_1.png", "a_d_2.png"],
        ["p0_seed1.png", "p0_seed2.png", "p1_seed1.png"],
        ["x0.png", "x1.png", "y0.png"],
        "abc",
    ],
)
def test_names_that_do_not_count_are_no_order(names):
    said = refusal(names, ["zebra in the long grass", "apple on a table", "a dog"])
    assert "could be of 'zebra in the long grass' or of 'apple on a table'" in said


def test_a_caption_that_its_number_contradicts_shows_that_numbers_are_no_rows():
    rows = ["zebra in the long grass", "apple on a table", "a dog"]
    assert "0-a_dog.png is of 'a dog' by its name" in refusal(["0-a_dog.png", "1-apple.png", "2-zebra.png"], rows)
    names = ["2-a_dog.png", "1-apple.png", "0-zebra.png"]
    assert matched(names, rows) == dict(zip(names, reversed(rows), strict=True))


def test_as_many_files_as_prompts_without_repeats_are_refused():
    said = refusal(["i0", "i1", "i2", "i3"], ANIMALS)
    assert "i2 could be of 'a dog' or of 'a bird'" in said


def test_another_count_of_files_is_refused():
    assert "3 pictures do not match 4 prompts" in refusal("abc", ANIMALS)


def test_prompts_without_a_letter_are_told_apart_by_their_rows():
    assert matched(["0.png", "2.png"], ["🐶", "", "🐱"]) == {"0.png": "🐶", "2.png": "🐱"}
