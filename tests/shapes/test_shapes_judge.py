import pytest
import torch

from npnet.shapes.grammar import Scene, hard_negatives, parse, prompts, scenes
from npnet.shapes.judge import judge
from npnet.shapes.scenes import draw, place, render


@pytest.fixture(scope="module")
def drawn():
    generator = torch.Generator().manual_seed(0)
    told = [scenes()[i] for i in torch.randperm(len(scenes()), generator=generator)[:240].tolist()]
    return told, draw(told, generator)


def test_pictures_are_float32_rgb_in_the_unit_range(drawn):
    _, images = drawn
    assert images.shape == (240, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1


def test_objects_are_drawn_inside_the_picture_and_apart(drawn):
    layout = place(drawn[0], torch.Generator().manual_seed(1))
    assert ((layout.centres - layout.radii[..., None] > -1) & (layout.centres + layout.radii[..., None] < 33)).all()
    distance = (layout.centres[:, 0] - layout.centres[:, 1]).norm(dim=1)
    assert (distance > layout.radii.sum(1)).all()


def test_the_same_generator_draws_the_same_pictures(drawn):
    again = [draw(drawn[0][:4], torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)


def test_the_judge_is_right_on_drawn_scenes(drawn):
    told, images = drawn
    verdict = judge(images, [scene.text() for scene in told])
    assert verdict.all_correct.sum() >= 238


def test_the_judge_does_not_mind_which_object_is_named_first(drawn):
    told, images = drawn
    verdict = judge(images, [scene.reversed().text() for scene in told])
    assert verdict.all_correct.sum() >= 238


def test_the_judge_reads_noisy_pictures(drawn):
    told, images = drawn
    noise = 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    assert judge((images + noise).clamp(0, 1), [scene.text() for scene in told]).all_correct.sum() >= 235


def test_the_judge_refuses_every_hard_negative(drawn):
    told, images = drawn
    for scene, image in zip(told[:60], images, strict=False):
        negatives = [negative.text() for negative in hard_negatives(scene)]
        assert not judge(image.expand(len(negatives), -1, -1, -1), negatives).all_correct.any()


def test_the_judge_says_what_is_wrong():
    picture = draw([Scene("red", "circle", "left", "blue", "square")], torch.Generator().manual_seed(3))
    expected = {
        "a red circle to the left of a blue square": (True, True, True),
        "a blue square to the right of a red circle": (True, True, True),
        "a red circle to the right of a blue square": (True, True, False),
        "a red circle above a blue square": (True, True, False),
        "a red square to the left of a blue circle": (True, False, True),
        "a red circle to the left of a blue cross": (True, False, True),
        "a blue circle to the left of a red square": (True, False, False),
        "a red circle to the left of a green square": (False, False, False),
    }
    verdict = judge(picture.expand(len(expected), -1, -1, -1), list(expected))
    parts = torch.stack([verdict.colours, verdict.shapes, verdict.relation], 1).tolist()
    assert [tuple(row) for row in parts] == list(expected.values())
    assert verdict.all_correct.tolist() == [all(row) for row in parts]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_empty_picture_shows_nothing(value):
    assert not judge(torch.full((1, 3, 32, 32), value), [prompts()[0]]).all_correct.any()


def test_noise_shows_nothing():
    images = torch.rand(96, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    assert not judge(images, prompts()[:96]).all_correct.any()


def test_a_single_object_does_not_pass_for_two():
    scene = parse("a red circle to the left of a blue square")
    image = draw([scene], torch.Generator().manual_seed(5))
    image[..., 16:] = image[..., :1, :1]
    assert not judge(image, [scene.text()]).all_correct.any()


def test_a_verdict_does_not_depend_on_the_batch(drawn):
    told, images = drawn
    texts = [scene.text() for scene in told[:8]]
    together = judge(images[:8], texts).all_correct
    assert together.tolist() == [judge(images[i : i + 1], texts[i : i + 1]).all_correct.item() for i in range(8)]


def test_pictures_of_another_size_and_foreign_prompts_are_refused():
    with pytest.raises(ValueError, match="32, 32"):
        judge(torch.zeros(1, 3, 64, 64), [prompts()[0]])
    with pytest.raises(ValueError, match="not a Shapes prompt"):
        judge(torch.zeros(1, 3, 32, 32), ["a cat"])
    with pytest.raises(ValueError, match="as many pictures as prompts"):
        judge(torch.zeros(2, 3, 32, 32), [prompts()[0]])


def test_positions_are_the_drawn_centres_in_the_prompts_order(drawn):
    layout = place(drawn[0], torch.Generator().manual_seed(1))
    read = judge(render(layout), [scene.text() for scene in drawn[0]]).positions
    assert ((read - layout.centres.flatten(1)).abs() < 0.5).float().mean() > 0.98
    turned = judge(render(layout), [scene.reversed().text() for scene in drawn[0]]).positions
    assert torch.equal(turned, read[:, [2, 3, 0, 1]])
