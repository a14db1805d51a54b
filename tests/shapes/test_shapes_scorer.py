import pytest
import torch

from npnet.shapes import weights
from npnet.shapes.grammar import hard_negatives, held_out_prompts, parse, prompts
from npnet.shapes.scenes import draw
from npnet.shapes.scorer import ShapesScorer


@pytest.fixture(scope="module")
def scorer():
    return ShapesScorer.from_directory(weights() / "scorer")


@pytest.fixture(scope="module")
def drawn():
    texts = list(held_out_prompts())
    return texts, draw([parse(text) for text in texts], torch.Generator().manual_seed(11))


def test_a_score_is_a_float_for_each_picture_between_minus_one_and_one(scorer, drawn):
    texts, images = drawn
    scores = scorer.score(images, texts)
    assert scores.shape == (len(texts),)
    assert scores.dtype == torch.float32
    assert scores.abs().max() <= 1 + 1e-6


def test_the_caption_is_preferred_to_hard_negatives(scorer, drawn):
    texts, images = drawn
    right = scorer.score(images, texts)
    for which in range(10):
        negatives = [hard_negatives(parse(text))[which].text() for text in texts]
        assert (right > scorer.score(images, negatives)).float().mean() > 0.97


def test_prompts_of_one_meaning_score_alike(scorer, drawn):
    texts, images = drawn
    told_otherwise = [parse(text).reversed().text() for text in texts]
    assert torch.equal(scorer.score(images, texts), scorer.score(images, told_otherwise))


def test_climbing_the_gradient_raises_the_score(scorer, drawn):
    texts, images = drawn
    start = images[:8].clone().requires_grad_()
    wrong = [hard_negatives(parse(text))[0].text() for text in texts[:8]]
    before = scorer.score(start, wrong)
    (slope,) = torch.autograd.grad(before.sum(), start)
    assert slope.isfinite().all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()
    step = 1e-2 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    assert (scorer.score(start + step, wrong) > before).all()


def test_larger_pictures_are_resized_and_stay_differentiable(scorer, drawn):
    texts, images = drawn
    larger = torch.nn.functional.interpolate(images[:4], size=(96, 64), mode="bilinear").requires_grad_()
    scores = scorer.score(larger, texts[:4])
    assert (scores - scorer.score(images[:4], texts[:4])).abs().max() < 0.1
    scores.sum().backward()
    assert larger.grad.abs().sum() > 0


def test_a_score_does_not_depend_on_the_batch(scorer, drawn):
    texts, images = drawn
    alone = torch.cat([scorer.score(images[i : i + 1], texts[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, scorer.score(images[:6], texts[:6]), atol=1e-5, rtol=1e-5)


def test_a_scorer_survives_saving(tmp_path, drawn):
    texts, images = drawn
    torch.manual_seed(0)
    scorer = ShapesScorer(widths=(8, 16, 16), hidden=16, dimension=8)
    scorer.save(tmp_path)
    again = ShapesScorer.from_directory(tmp_path)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    difference = again.score(images, texts) - scorer.score(images, texts)
    assert difference.abs().max() < 5e-3


def test_mistakes_are_refused_in_one_line(scorer, tmp_path):
    with pytest.raises(ValueError, match="not a Shapes prompt"):
        scorer.score(torch.zeros(1, 3, 32, 32), ["a cat"])
    with pytest.raises(ValueError, match="as many pictures as prompts"):
        scorer.score(torch.zeros(2, 3, 32, 32), [prompts()[0]])
    with pytest.raises(ValueError, match="got \\(1, 1, 32, 32\\)"):
        scorer.score(torch.zeros(1, 1, 32, 32), [prompts()[0]])
    with pytest.raises(FileNotFoundError, match="no Shapes scorer"):
        ShapesScorer.from_directory(tmp_path)
