import pytest

from npnet.shapes.grammar import WORDS, prompts
from npnet.shapes.tokenizer import BOS_ID, EOS_ID, MAX_LENGTH, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_one_token(tokenizer, word):
    ids = tokenizer(word).input_ids
    assert (ids[0], len(ids), ids[-1]) == (BOS_ID, 3, EOS_ID)


def test_every_prompt_fits_and_has_token_ids_of_its_own(tokenizer):
    ids = tokenizer(list(prompts())).input_ids
    assert max(map(len, ids)) == 12 <= MAX_LENGTH
    assert len({tuple(row) for row in ids}) == len(prompts())


def test_one_token_for_each_word_of_a_prompt(tokenizer):
    for prompt in prompts()[::97]:
        assert len(tokenizer(prompt).input_ids) == len(prompt.split()) + 2


def test_decoding_gives_the_prompt_back(tokenizer):
    for prompt in prompts()[::97]:
        assert tokenizer.decode(tokenizer(prompt).input_ids, skip_special_tokens=True) == prompt


def test_words_that_share_letters_in_awkward_ways_still_become_one_token():
    awkward = ["triangle", "tangle", "angler", "strangle", "let", "left", "lethe", "the", "theta"]
    tokenizer = make_tokenizer(awkward)
    assert all(len(tokenizer(word).input_ids) == 3 for word in awkward)


def test_the_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again(list(prompts()[:50])).input_ids == tokenizer(list(prompts()[:50])).input_ids
    assert again.model_max_length == MAX_LENGTH
