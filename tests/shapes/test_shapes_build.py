import json

import pytest
import torch

from npnet.build_shapes import main
from npnet.shapes.grammar import parse, training_prompts
from npnet.shapes.judge import judge
from npnet.shapes.pipeline import load_pipeline
from npnet.shapes.quality import wilson_interval
from npnet.shapes.sampling import draw_noise, sample
from npnet.shapes.scorer import ShapesScorer
from npnet.shapes.stages import apply_rule
from npnet.shapes.training import caption_batch, learning_rate, stream
from npnet.shapes.variants import VARIANTS
from tests.commands import exit_code


def row(step, ten, four):
    return {"step": step, "ten_steps": {"share": ten}, "four_steps": {"share": four}}


def test_the_rule_takes_the_earliest_good_snapshot_inside_the_band():
    assert apply_rule([row(1, 0.90, 0.70), row(2, 0.97, 0.75), row(3, 0.99, 0.80)]) == 2
    assert apply_rule([row(1, 0.97, 0.50), row(2, 0.97, 0.75), row(3, 0.99, 0.90)]) == 2


def test_the_rule_falls_back_on_the_best_inside_the_band_then_on_the_last():
    assert apply_rule([row(1, 0.90, 0.70), row(2, 0.95, 0.75), row(3, 0.94, 0.80)]) == 2
    assert apply_rule([row(1, 0.99, 0.90), row(2, 0.98, 0.95)]) == 2


def test_the_wilson_interval_agrees_with_published_values():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 500, 1e-3) for step in range(500)]
    assert max(rates) == pytest.approx(1e-3)
    assert rates[:40] == sorted(rates[:40])
    assert rates[40:] == sorted(rates[40:], reverse=True)


def test_a_batch_of_captions_never_holds_a_negative_that_is_true():
    meanings = sorted({parse(prompt).meaning() for prompt in training_prompts()})
    chosen, negatives = caption_batch(meanings, 64, 3, torch.Generator().manual_seed(0), set(meanings))
    assert len({scene.meaning() for scene in chosen}) == 64
    for index, negative in enumerate(negatives):
        assert negative.meaning() in meanings
        assert negative.meaning() != chosen[index // 3].meaning()


def test_each_purpose_and_variant_has_a_stream_of_its_own():
    seeds = {stream(variant, purpose).initial_seed() for variant in VARIANTS.values() for purpose in ("x", "y")}
    assert len(seeds) == 2 * len(VARIANTS)


@pytest.mark.parametrize("words", [("variant=z",), ("--variant", "z")])
def test_an_unknown_variant_is_one_line(capsys, words):
    assert exit_code(main, *words) == 2
    assert capsys.readouterr().err == "error: variant=z: no Shapes variant 'z'; there are: a, b\n"


def test_an_unknown_key_is_one_line(capsys):
    assert exit_code(main, "--quick", "varient=b") == 2
    assert capsys.readouterr().err.startswith("error: varient=b: no such key; did you mean 'variant'?")


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_quick_build_runs_every_stage_and_resumes(variant, tmp_path, capfd):
    command = ["--quick", "--variant", variant, "--output", str(tmp_path / "built")]
    assert exit_code(main, *command) == 0
    figures = json.loads((tmp_path / "built" / "quality.json").read_text())
    assert list(figures["stages"]) == [
        "vae",
        "latents",
        "text",
        "scorer",
        "unet",
        "choose",
        "pack",
        "quality",
        "network",
    ]

    pipeline = load_pipeline(tmp_path / "built" / "pipeline")
    scorer = ShapesScorer.from_directory(tmp_path / "built" / "scorer")
    texts = ["a red circle above a blue square"] * 2
    images = sample(pipeline, draw_noise(2, torch.Generator().manual_seed(0)), texts, 2)
    assert images.isfinite().all()
    assert scorer.score(images, texts).shape == judge(images, texts).all_correct.shape == (2,)

    # The same command finds everything done; another request is refused.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "built" / "pipeline").rglob("*.safetensors")}
    assert exit_code(main, *command) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    capfd.readouterr()
    assert exit_code(main, *command, "--seed", "7") == 2
    assert capfd.readouterr().err.startswith("error: ")
