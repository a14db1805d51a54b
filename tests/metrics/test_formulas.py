"""Every score equals a second, plain statement of the published formula, from the picture file to the number."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import T5Config, T5ForConditionalGeneration

from tests.metrics import plain

PROMPTS = ["a red cube", "two dogs on a boat", ""]
SIZES = [(44, 36), (30, 71), (33, 90)]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    # smooth, so that resizing keeps differences between pictures
    small = [rng.integers(0, 256, (9, 9, 3), dtype=np.uint8) for _ in SIZES]
    return [Image.fromarray(array).resize(size, Image.BILINEAR) for array, size in zip(small, SIZES, strict=True)]


def weights(path):
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {name: value.double() for name, value in state.get("state_dict", state).items()}


def folder(sources, label, key="path"):
    return Path(sources[label][1][key])


def ids_of(metric, prompt, length):
    table = metric.trunk.tokenizer if hasattr(metric, "trunk") else metric.tokenizer
    ids = table(prompt)["input_ids"][:length]
    ids[-1] = table.eos_token_id if table.eos_token_id is not None else ids[-1]
    return ids


def check(metric, pictures, expected, tolerance=2e-5):
    scores = metric.score_pil(pictures, PROMPTS).double()
    assert len({round(float(value), 6) for value in expected}) > 1
    torch.testing.assert_close(scores, torch.stack(list(expected)).double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("label", "file"), [("hpsv2", "HPS_v2.1_compressed.pt"), ("hpsv2_0", "HPS_v2_compressed.pt")])
def test_hpsv2_is_the_cosine_of_the_padded_picture_and_the_prompt(metrics, sources, pictures, label, file):
    state = weights(folder(sources, label) / file)
    tokens = [metrics[label].tokenizer([prompt])[0].tolist() for prompt in PROMPTS]
    expected = [
        plain.hpsv2(state, plain.longest_side_pixels(picture, 32), ids)
        for picture, ids in zip(pictures, tokens, strict=True)
    ]
    check(metrics[label], pictures, expected)


def test_pickscore_is_the_scaled_cosine(metrics, sources, pictures):
    state = weights(folder(sources, "pickscore") / "model.safetensors")
    expected = [
        state["logit_scale"].exp()
        * plain.clip_cosine(state, plain.crop_pixels(p, 32, floor=True), ids_of(metrics["pickscore"], text, 77))
        for p, text in zip(pictures, PROMPTS, strict=True)
    ]
    check(metrics["pickscore"], pictures, expected)


def test_clipscore_is_two_and_a_half_times_the_positive_cosine(metrics, sources, pictures):
    state = weights(folder(sources, "clipscore") / "model.safetensors")
    expected = [
        2.5
        * plain.clip_cosine(state, plain.crop_pixels(p, 32, floor=False), ids_of(metrics["clipscore"], text, 77)).clamp(
            min=0
        )
        for p, text in zip(pictures, PROMPTS, strict=True)
    ]
    check(metrics["clipscore"], pictures, expected)


def test_a_prefix_stands_before_every_prompt_and_notes_name_the_prompt_alone(metrics, sources, pictures):
    kind, arguments = sources["clipscore"]
    prefixed = kind(**arguments, prefix="a photo depicts ").load()
    whole = [f"a photo depicts {prompt}" for prompt in PROMPTS]
    assert torch.equal(prefixed.score_pil(pictures, PROMPTS), metrics["clipscore"].score_pil(pictures, whole))
    long = "x" * 100
    prefixed.score_pil(pictures[:1], [long])
    assert prefixed.meter.truncated == {long}


def test_aes_is_the_head_on_the_unit_embedding(metrics, sources, pictures):
    clip = weights(folder(sources, "aes", "clip_path") / "model.safetensors")
    state = weights(folder(sources, "aes") / "sac+logos+ava1-l14-linearMSE.pth")
    expected = []
    for picture in pictures:
        tokens = plain.clip_picture(clip, plain.crop_pixels(picture, 32, floor=False), 2, 2)
        pooled = plain.norm(tokens[0], clip, "vision_model.post_layernorm")
        expected.append(plain.head(plain.unit(plain.linear(pooled, clip, "visual_projection")), state))
    check(metrics["aes"], pictures, expected)


def test_imagereward_is_the_standardised_head_on_the_first_token(metrics, sources, pictures):
    state = weights(folder(sources, "imagereward") / "ImageReward.pt")
    expected = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        ids = metrics["imagereward"].tokenizer(prompt)["input_ids"][:35]
        mask = [1] * len(ids) + [0] * (35 - len(ids))
        pixels = plain.crop_pixels(picture, 32, floor=False)
        expected.append(plain.imagereward(state, pixels, ids + [0] * (35 - len(ids)), mask))
    check(metrics["imagereward"], pictures, expected, 1e-4)


@pytest.mark.parametrize("threshold", [0.01, 0.3])
def test_mps_is_the_scaled_cosine_of_the_picture_that_read_the_prompt(sources, pictures, threshold):
    kind, arguments = sources["mps"]
    metric = kind(**arguments, threshold=threshold).load()
    end = metric.tokenizer.eos_token_id
    state = weights(folder(sources, "mps") / "model.safetensors")

    def filled(text):
        ids = ids_of(metric, text, 77)
        return ids + [end] * (77 - len(ids))

    expected = [
        plain.mps(state, plain.crop_pixels(p, 32, floor=True), filled(text), filled(metric.metric.condition), threshold)
        for p, text in zip(pictures, PROMPTS, strict=True)
    ]
    check(metric, pictures, expected, 1e-4)


def test_vqascore_is_the_geometric_mean_of_yes_and_the_end_mark(metrics, sources, pictures):
    place, metric = folder(sources, "vqascore"), metrics["vqascore"]
    config = json.loads((place / "config.json").read_text())
    clip = weights(Path(config["mm_vision_tower"]) / "model.safetensors")
    state = weights(place / "pytorch_model.bin")
    model = T5ForConditionalGeneration(T5Config(**{k: v for k, v in config.items() if k != "model_type"})).eval()
    own = {name: value.float() for name, value in state.items() if not name.startswith(("mm_", "embed_tokens"))}
    model.lm_head.weight = torch.nn.Parameter(own["lm_head.weight"])  # transformers 5 ties it to the words
    model.load_state_dict(own)
    tokenizer = metric.tokenizer
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: "
    )
    expected = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        pixels = plain.square_pixels(picture, 32)
        # one of the two layers: the one before the last
        seen = plain.clip_picture({**clip}, pixels, 1, 2)[1:]
        seen = plain.linear(plain.gelu(plain.linear(seen, state, "mm_projector.0")), state, "mm_projector.2").float()
        question = f'\nDoes this figure show "{prompt}"? Please answer yes or no. ASSISTANT: '
        words = [own["shared.weight"][tokenizer(part)["input_ids"]] for part in (system, question)]
        labels = tokenizer("Yes")["input_ids"]
        assert labels[-1] == tokenizer.eos_token_id
        with torch.no_grad():
            logits = model(
                inputs_embeds=torch.cat([words[0], seen, words[1]])[None], labels=torch.tensor([labels])
            ).logits[0, :, : len(tokenizer)]
        losses = [-math.log(float(row.softmax(-1)[label])) for row, label in zip(logits, labels, strict=True)]
        expected.append(torch.tensor(math.exp(-sum(losses) / len(losses))))
    check(metric, pictures, expected, 1e-4)


def test_clip_flant5_keeps_its_own_output_layer(metrics):
    language = metrics["vqascore"].model.language
    assert not torch.equal(language.lm_head.weight, language.shared.weight)
    assert language.config.scale_decoder_outputs is False


def test_the_answer_without_its_end_mark_is_the_chance_of_yes_alone(sources, pictures):
    kind, arguments = sources["vqascore"]
    whole, alone = kind(**arguments).load(), kind(**arguments, end_mark=False).load()
    assert (alone.score_pil(pictures, PROMPTS) != whole.score_pil(pictures, PROMPTS)).all()


@pytest.mark.parametrize("label", ["vqascore_llava", "vqascore_instructblip"])
def test_an_image_text_model_is_asked_picture_by_picture(metrics, pictures, label):
    metric = metrics[label]
    model, processor = metric.model, metric.processor
    scores = metric.score_pil(pictures, PROMPTS)
    for picture, prompt, score in zip(pictures, PROMPTS, scores.tolist(), strict=True):
        question = f'Does this figure show "{prompt}"? Please answer yes or no.'
        text = f"USER: <image>\n{question} ASSISTANT:" if label == "vqascore_llava" else question
        inputs = processor(images=picture, text=text, return_tensors="pt")
        token = processor.tokenizer(metric.answer, add_special_tokens=False)["input_ids"][0]
        with torch.no_grad():
            if label == "vqascore_llava":
                logits = model(**inputs).logits[0, -1]
            else:
                logits = model(**inputs, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[0, 0]
        assert score == pytest.approx(float(logits.softmax(-1)[token]), rel=1e-4)


@pytest.mark.parametrize("label", ["vqascore_llava", "vqascore_instructblip"])
def test_an_image_text_model_has_the_gradient_of_its_own_preprocessing(metrics, label):
    """The score is the one without gradients, and a step along the gradient raises it."""
    scorer, generator = metrics[label], torch.Generator().manual_seed(3)
    image = (0.3 + 0.4 * torch.rand(1, 3, 40, 40, generator=generator)).requires_grad_()
    score = scorer.score(image, PROMPTS[:1])
    with torch.no_grad():
        assert torch.equal(scorer.score(image.detach(), PROMPTS[:1]), score.detach())
    (gradient,) = torch.autograd.grad(score.sum(), image)
    stepped = (image.detach() + 0.2 * gradient / gradient.abs().max()).clamp(0, 1)
    assert scorer.score(stepped, PROMPTS[:1]) > score.detach()


def test_what_a_picture_is_cropped_to_alone_has_a_gradient(metrics):
    image = torch.full((1, 3, 40, 80), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(metrics["vqascore_llava"].score(image, PROMPTS[:1]).sum(), image)
    assert gradient[..., 20:60].abs().max() > 0
    assert torch.equal(gradient[..., :20], torch.zeros(1, 3, 40, 20))


def test_an_end_mark_can_be_asked_of_an_image_text_model(sources, pictures):
    kind, arguments = sources["vqascore_llava"]
    metric = kind(**arguments, end_mark=True).load()
    inputs = metric.processor(
        images=pictures[0], text=f"USER: <image>\n{metric.question.format('x')} ASSISTANT:", return_tensors="pt"
    )
    yes, end = metric.tokenizer("Yes", add_special_tokens=False)["input_ids"][0], metric.tokenizer.eos_token_id
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[yes]])], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        first, second = (
            metric.model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                pixel_values=inputs["pixel_values"],
            )
            .logits[0, -2:]
            .softmax(-1)
        )
    expected = math.sqrt(float(first[yes]) * float(second[end]))
    assert metric.score_pil(pictures[:1], ["x"]).item() == pytest.approx(expected, rel=1e-4)
