"""What every metric holds to, whatever it measures."""

import inspect

import pytest
import torch
from PIL import Image

import npnet.metrics
from npnet.metrics import Metric, PixelMetric, ShapesJudge, SoftmaxPreference
from npnet.shapes import prompts as shapes_prompts
from tests.metrics.conftest import LABELS

BATCH = 3


@pytest.fixture(params=LABELS)
def metric(request, metrics):
    return metrics[request.param]


def texts(metric):
    if metric.domain == "shapes":
        return list(shapes_prompts())[:BATCH]
    return ["a red cube", "two dogs on a boat", ""]


def pictures(metric, height=44, width=36, seed=0):
    if isinstance(metric, ShapesJudge):
        height = width = 32
    return torch.rand(BATCH, 3, height, width, generator=torch.Generator().manual_seed(seed))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_member_is_tested_here():
    kinds = {value for value in vars(npnet.metrics).values() if inspect.isclass(value) and issubclass(value, Metric)}
    assert {kind.__name__ for kind in kinds - {Metric, PixelMetric, SoftmaxPreference}} == {
        "HPSv2",
        "PickScore",
        "AES",
        "ImageReward",
        "CLIPScore",
        "MPS",
        "VQAScore",
        "ShapesScorer",
        "ShapesJudge",
    }


def test_scores_are_finite_floats_one_for_each_picture(metric):
    scores = metric.score(pictures(metric), texts(metric))
    assert scores.shape == (BATCH,)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_a_batch_scores_as_its_pictures_alone(metric):
    images, prompts = pictures(metric), texts(metric)
    alone = torch.cat([metric.score(images[i : i + 1], prompts[i : i + 1]) for i in range(BATCH)])
    close(metric.score(images, prompts), alone)


def test_scores_follow_a_permutation(metric):
    images, prompts, order = pictures(metric), texts(metric), [2, 0, 1]
    close(metric.score(images[order], [prompts[i] for i in order]), metric.score(images, prompts)[order])


def test_pictures_decide(metric):
    if isinstance(metric, ShapesJudge):
        pytest.skip("noise is wrong in every picture")
    prompts = [texts(metric)[0]] * BATCH
    scores = metric.score(pictures(metric), prompts)
    if (scores == 0).all():  # CLIPScore cuts off at zero
        scores = metric.score(1 - pictures(metric, seed=5) ** 3, prompts)
    assert len(set(scores.tolist())) > 1


def test_prompts_decide_where_they_are_used(metric):
    if isinstance(metric, ShapesJudge):
        pytest.skip("noise is wrong for every prompt")
    images = pictures(metric)[:1].expand(BATCH, -1, -1, -1)
    scores = metric.score(images, texts(metric)).tolist()
    assert (max(scores) - min(scores) > 1e-4) == metric.uses_prompt


@pytest.mark.parametrize("size", [(32, 32), (20, 61), (90, 33)])
def test_pictures_of_any_size_are_scored(metric, size):
    if isinstance(metric, ShapesJudge) and size != (32, 32):
        pytest.skip("the judge reads 32 x 32")
    assert torch.isfinite(metric.score(pictures(metric, *size), texts(metric))).all()


def test_pictures_in_minus_one_to_one_are_refused(metric):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        metric.score(pictures(metric) * 2 - 1, texts(metric))


def test_another_number_of_prompts_is_refused(metric):
    with pytest.raises(ValueError, match="prompts"):
        metric.score(pictures(metric), texts(metric)[:2])
    with pytest.raises(ValueError, match="one text"):
        metric.score(pictures(metric), "abc")


def test_a_long_prompt_is_cut_and_noted(metric):
    if metric.text_length is None or not metric.uses_prompt:
        assert metric.domain == "shapes" or not metric.uses_prompt or metric.family == "image_text"
        return
    metric.truncated.clear()
    long = "q " * (metric.text_length + 1)
    images = pictures(metric)[:2]
    assert torch.isfinite(metric.score(images, ["q", long])).all()
    assert metric.truncated == {long}
    assert any(str(metric.text_length) in note and "1 prompt was" in note for note in metric.notes())
    metric.truncated.clear()


def test_notes_say_that_random_weights_mean_nothing(metric):
    assert metric.smoke == (not isinstance(metric, ShapesJudge))
    assert any(note.startswith("smoke") for note in metric.notes()) == metric.smoke


def test_an_identical_pair_is_undecided(metric):
    images = pictures(metric)
    close(metric.compare(images, images, texts(metric)), torch.full((BATCH,), 0.5))


def test_the_probabilities_of_a_pair_sum_to_one(metric):
    a, b = pictures(metric), pictures(metric, seed=1)
    forth, back = metric.compare(a, b, texts(metric)), metric.compare(b, a, texts(metric))
    close(forth + back, torch.ones(BATCH))
    assert (forth >= 0).all()
    better = metric.score(b, texts(metric)) > metric.score(a, texts(metric))
    assert ((forth > 0.5) == better).all()


def test_gradients_flow_to_the_pictures_where_declared(metric):
    images = pictures(metric).requires_grad_()
    scores = metric.score(images, texts(metric))
    assert scores.requires_grad == metric.differentiable
    if metric.differentiable:
        (scores + scores.detach() * 0).sum().backward()
        touched = images.grad.abs().amax((1, 2, 3)) > 0
        assert (touched | (scores == 0)).all()
        assert touched.any()


def test_pil_and_tensors_of_the_same_pixels_score_alike(metric):
    shape = (32, 32) if isinstance(metric, ShapesJudge) else (44, 36)
    pixels = (pictures(metric, *shape) * 255).round().byte()
    files = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pixels]
    scores = metric.score(pixels.float() / 255, texts(metric))
    gap = (metric.score_pil(files, texts(metric)) - scores).abs().max()
    assert gap <= 0.05 * max(1.0, float(scores.abs().max()))


def test_pil_pictures_of_different_sizes_go_together(metric):
    sizes = [(32, 32)] * 2 if isinstance(metric, ShapesJudge) else [(40, 40), (64, 30)]
    files = [Image.new("RGB", size, colour) for size, colour in zip(sizes, ("red", "blue"), strict=True)]
    together = metric.score_pil(files, texts(metric)[:2])
    alone = torch.cat([metric.score_pil([f], [t]) for f, t in zip(files, texts(metric), strict=False)])
    close(together, alone)


def test_videos_are_averaged_over_evenly_spaced_frames(metric):
    frames = pictures(metric)
    video = torch.stack([frames, frames.flip(0)], dim=1)[:2]  # (2, 2, 3, H, W)
    prompts = texts(metric)[:2]
    each = torch.stack([metric.score(video[:, i], prompts) for i in range(2)])
    close(metric.score(video, prompts), each.mean(0))


def test_every_picture_scored_is_counted(metric):
    before = metric.calls
    metric.score(pictures(metric)[:2], texts(metric)[:2])
    assert metric.calls == before + 2
