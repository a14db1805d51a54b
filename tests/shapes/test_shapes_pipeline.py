import json
import math

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from npnet.shapes import WEIGHTS, weights
from npnet.shapes.grammar import held_out_prompts, training_prompts
from npnet.shapes.judge import judge
from npnet.shapes.pipeline import load_pipeline
from npnet.shapes.quality import measure_autoencoder, measure_scorer
from npnet.shapes.sampling import draw_noise, encode_prompts, sample
from npnet.shapes.scorer import ShapesScorer
from npnet.shapes.stages import RULE, apply_rule

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline()


@pytest.fixture(scope="module")
def stages():
    return json.loads((weights() / "quality.json").read_text())["stages"]


def spread(groups, count):
    """Prompts from the whole of a group."""
    return list(groups)[:: len(groups) // count][:count]


def test_plain_diffusers_loads_and_runs_the_shipped_pipeline(pipeline):
    plain = StableDiffusionXLPipeline.from_pretrained(weights() / "pipeline")
    plain.set_progress_bar_config(disable=True)
    modules = (plain.unet, plain.vae, plain.text_encoder, plain.text_encoder_2)
    assert {parameter.dtype for module in modules for parameter in module.parameters()} == {torch.float32}
    noise = draw_noise(1, torch.Generator().manual_seed(0))
    texts = spread(held_out_prompts(), 1)
    settings = {"latents": noise, "num_inference_steps": 4, "guidance_scale": 5.5, "output_type": "pt"}
    images = plain(texts[0], height=32, width=32, **settings).images
    torch.testing.assert_close(images, sample(pipeline, noise, texts, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("steps", "guidance_scale"), [(4, 5.5), (10, 5.5), (10, 3.0)])
def test_the_pipelines_own_call_equals_the_loop(pipeline, steps, guidance_scale):
    texts = spread(training_prompts(), 3)
    noise = draw_noise(3, torch.Generator().manual_seed(1))
    settings = {"latents": noise, "num_inference_steps": steps, "guidance_scale": guidance_scale, "output_type": "pt"}
    images = pipeline(texts, **settings).images
    torch.testing.assert_close(images, sample(pipeline, noise, texts, steps, guidance_scale), atol=1e-5, rtol=0)


def test_the_default_size_of_the_pipeline_is_a_shapes_picture(pipeline):
    assert pipeline(spread(training_prompts(), 1), num_inference_steps=1, output_type="pt").images.shape == (
        1,
        3,
        32,
        32,
    )


def test_four_leading_steps_start_at_751(pipeline):
    pipeline.scheduler.set_timesteps(4)
    assert pipeline.scheduler.timesteps.tolist() == [751, 501, 251, 1]


def test_an_empty_negative_prompt_is_zeros(pipeline):
    _, negative, _, negative_pooled = pipeline.encode_prompt("a red circle above a blue square", device="cpu")
    assert negative.abs().max() == negative_pooled.abs().max() == 0


def test_prompt_embeddings_have_sdxls_layout_and_tell_prompts_apart(pipeline):
    texts = spread(training_prompts(), 100)
    embeds, pooled = encode_prompts(pipeline, texts)
    assert embeds.shape == (100, 16, pipeline.unet.config.cross_attention_dim)
    assert pooled.shape == (100, pipeline.text_encoder_2.config.projection_dim)
    distances = torch.cdist(embeds.flatten(1), embeds.flatten(1)) + torch.eye(100)
    assert distances.min() > 0.1


def test_sampling_does_not_depend_on_the_batch_size(pipeline):
    texts = spread(held_out_prompts(), 5)
    noise = draw_noise(5, torch.Generator().manual_seed(2))
    together = sample(pipeline, noise, texts, 4)
    torch.testing.assert_close(sample(pipeline, noise, texts, 4, batch_size=2), together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("group", ["training_prompts", "held_out_prompts"])
@pytest.mark.parametrize(("steps", "count"), [(10, 72), (4, 120)])
def test_the_shipped_weights_give_the_stated_accuracy(pipeline, stages, group, steps, count):
    stated = stages["quality"][f"guidance 5.5, {steps} steps"][group]["share"]
    texts = spread(training_prompts() if group == "training_prompts" else held_out_prompts(), count)
    images = sample(pipeline, draw_noise(count, torch.Generator().manual_seed(321)), texts, steps)
    right = judge(images, texts).all_correct.sum().item()
    # Four standard deviations of a binomial count, and one picture more.
    assert abs(right - stated * count) <= 4 * math.sqrt(count * stated * (1 - stated)) + 1


def test_the_stated_accuracies_leave_something_to_gain(stages):
    ten, four = stages["quality"]["guidance 5.5, 10 steps"], stages["quality"]["guidance 5.5, 4 steps"]
    for group in ("training_prompts", "held_out_prompts"):
        assert ten[group]["count"] >= 1000
        assert ten[group]["share"] >= 0.93
        assert 0.60 <= four[group]["share"] <= 0.85


def test_the_shipped_snapshot_was_chosen_on_training_prompts_by_the_rule(stages):
    assert stages["choose"]["rule"] == RULE
    assert stages["choose"]["step"] == apply_rule(stages["choose"]["snapshots"])


def test_the_autoencoder_gives_the_stated_quality(pipeline, stages):
    measured = measure_autoencoder(pipeline.vae, held_out_prompts(), 192, torch.Generator().manual_seed(3))
    assert abs(measured["psnr_decibels"] - stages["vae"]["psnr_decibels"]) < 0.7
    assert measured["judge_on_reconstructed"]["share"] > stages["vae"]["judge_on_reconstructed"]["share"] - 0.06
    assert abs(measured["scaled_latent_std"] - 1) < 0.05


def test_the_scorer_gives_the_stated_quality(stages):
    scorer = ShapesScorer.from_directory(weights() / "scorer")
    stated = stages["scorer"]["held_out_prompts"]
    measured = measure_scorer(scorer, held_out_prompts(), 384, torch.Generator().manual_seed(4))
    for name in ("mean_score_of_caption", "mean_score_of_hard_negative"):
        assert abs(measured[name] - stated[name]) < 0.05
    assert measured["caption_above_hard_negative"]["share"] > stated["caption_above_hard_negative"]["share"] - 0.03


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in WEIGHTS.glob("*/pipeline")))
def test_shipped_weights_are_small_and_hold_no_pickles(folder):
    files = [path for name in ("pipeline", "scorer") for path in (WEIGHTS / folder / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12 * MEGABYTE
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}


def test_an_unknown_variant_or_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Shapes weights for variant 'zzz'; there are: a"):
        weights("zzz")
    with pytest.raises(FileNotFoundError, match="no pipeline in"):
        load_pipeline(tmp_path)
