import hashlib
import subprocess
import sys

import pytest

from npnet.shapes.grammar import (
    WORDS,
    Scene,
    hard_negatives,
    held_out_prompts,
    parse,
    prompts,
    scenes,
    training_prompts,
)


def test_there_are_1920_different_prompts_of_960_meanings():
    assert len(set(prompts())) == len(prompts()) == 1920
    assert len({scene.meaning() for scene in scenes()}) == 960


def test_a_tenth_is_held_out_and_no_meaning_is_on_both_sides():
    training, held_out = set(training_prompts()), set(held_out_prompts())
    assert (len(training), len(held_out)) == (1728, 192)
    assert training | held_out == set(prompts())
    assert not {parse(p).meaning() for p in training} & {parse(p).meaning() for p in held_out}


def test_the_split_never_changes():
    digest = hashlib.sha256("\n".join(held_out_prompts()).encode()).hexdigest()
    assert digest == "093bd7efc03e00d96358cadbf97a0c59556c359a1a7908523afc8d8018a18b12"


def test_every_value_of_every_part_is_on_both_sides_of_the_split():
    for group in (training_prompts(), held_out_prompts()):
        assert set(" ".join(group).split()) == set(WORDS)


def test_parsing_the_text_of_a_scene_gives_the_scene():
    assert all(parse(scene.text()) == scene for scene in scenes())


def test_case_and_spaces_do_not_matter():
    assert parse("  A Red circle  above a BLUE square ") == Scene("red", "circle", "above", "blue", "square")


@pytest.mark.parametrize(
    "prompt", ["", "a cat", "a red circle", "a red circle above a red square", "a red circle near a blue square"]
)
def test_a_prompt_outside_the_grammar_is_refused_in_one_line(prompt):
    with pytest.raises(ValueError, match="not a Shapes prompt") as caught:
        parse(prompt)
    assert "\n" not in str(caught.value)
    assert repr(prompt) in str(caught.value)


def test_telling_a_scene_from_the_other_object_keeps_its_meaning():
    for scene in scenes():
        assert scene.reversed().meaning() == scene.meaning()
        assert scene.reversed().reversed() == scene


def test_hard_negatives_are_prompts_that_mean_something_else():
    for scene in scenes()[::7]:
        negatives = hard_negatives(scene)
        assert len(negatives) >= 10
        assert all(negative.text() in prompts() for negative in negatives)
        assert all(negative.meaning() != scene.meaning() for negative in negatives)


def test_listing_prompts_does_not_import_torch():
    code = "import sys, npnet.shapes.grammar as g; g.prompts(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
