"""Which tokens are a prompt's subjects."""

import pytest

from npnet.errors import UserError
from npnet.noise import InitNO
from npnet.noise.runtime.tokens import subject_tokens, subject_words, token_places
from npnet.shapes.tokenizer import make_tokenizer
from tests import tiny

SHAPES = "a red circle to the left of a blue square"


def words(prompt):
    return [prompt[start:end] for start, end in subject_words(prompt)]


@pytest.mark.parametrize(
    ("prompt", "subjects"),
    [
        ("an elephant and a rabbit", ["elephant", "rabbit"]),
        ("a lion with a crown", ["lion", "crown"]),
        ("a bird above a turtle", ["bird", "turtle"]),
        ("a green backpack and a yellow chair", ["backpack", "chair"]),
        (SHAPES, ["circle", "square"]),
        ("Two dogs, one black cat.", ["dogs", "cat"]),
        ("portrait", ["portrait"]),
        ("", []),
        ("the and of ...", []),
    ],
)
def test_a_subject_is_the_last_word_of_a_noun_phrase(prompt, subjects):
    assert words(prompt) == subjects


@pytest.mark.parametrize("prompt", ["an elephant and a rabbit", "a bird on a turtle", "a dog under a frog"])
def test_the_places_are_those_that_noise_diffusion_published(prompt):
    start = [0, *(i + 1 for i, letter in enumerate(prompt) if letter == " ")]
    assert [1 + start.index(first) for first, _ in subject_words(prompt)] == [2, 5]


def test_places_count_the_start_token():
    tokenizer = make_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(SHAPES).input_ids)
    places = subject_tokens(SHAPES, tokenizer)
    assert places == [3, 10]
    assert [tokens[place] for place in places] == ["circle</w>", "square</w>"]


def test_a_word_of_several_tokens_stands_for_its_last_one():
    tokenizer = tiny.tokenizer()  # a token for each letter
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a cat").input_ids)
    assert [tokens[place] for place in subject_tokens("a cat", tokenizer)] == ["t</w>"]


def test_words_beyond_the_tokenizers_length_do_not_count():
    assert len(subject_tokens("a cat and a kangaroo", tiny.tokenizer())) == 1


def test_a_prompt_without_a_subject_is_refused():
    with pytest.raises(UserError, match="no subject was found in the prompt 'of the': give token_indices"):
        subject_tokens("of the", make_tokenizer())


def test_given_places_are_used_for_every_prompt_or_for_one():
    tokenizer, other = make_tokenizer(), "a red square above a blue cross"
    assert token_places([SHAPES, other], [2, 3], tokenizer) == [[2, 3], [2, 3]]
    assert token_places([SHAPES, other], {other: [2, 6]}, tokenizer) == [[3, 10], [2, 6]]


@pytest.mark.parametrize("place", [0, 11, 16, -1])
def test_a_place_outside_the_prompt_is_refused(place):
    with pytest.raises(UserError, match="its words have the places 1 to 10"):
        token_places([SHAPES], [3, place], make_tokenizer())


@pytest.mark.parametrize("indices", [[3, 0], [3, -1], [3, "3"], [3, True], [], {"a cat": []}, {}])
def test_places_that_can_be_in_no_prompt_are_refused_before_any_prompt_is_read(indices):
    with pytest.raises(UserError, match="token_indices"):
        InitNO(4, indices)
