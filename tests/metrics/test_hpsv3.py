"""HPSv3 against transformers' own model and processor, asked as the published code asks them."""

import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor

from benchmarks.scorers import QWEN2_VL_7B
from npnet.errors import FieldError
from npnet.metrics.runtime import hpsv3, hpsv3_question
from npnet.metrics.runtime.base import to_tensor
from npnet.weights.tensors import build_empty, read_tensors
from tests.metrics.tiny_image_text import HPSV3_CODE, QWEN2_VL

PROMPTS = ["a red cube", "two dogs on a boat", "a"]


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    sizes = [(600, 600), (90, 300), (31, 47)]
    made = [torch.randint(0, 256, (height, width, 3), generator=generator) for width, height in sizes]
    return [Image.fromarray(value.to(torch.uint8).numpy()) for value in made]


@torch.no_grad()
def published(scorer, pictures, prompts):
    """Mean and log-deviation by the published steps: padded rows, and what follows the mark is read too."""
    body, tokenizer = scorer.model.body, scorer.tokenizer
    shrunk = [picture.resize(scorer._size(*picture.size[::-1])[::-1], Image.BICUBIC) for picture in pictures]
    patch = QWEN2_VL["vision_config"]["patch_size"]
    seen = Qwen2VLImageProcessor(patch_size=patch, min_pixels=4, max_pixels=10**9)(shrunk, return_tensors="pt")
    counts = (seen["image_grid_thw"].prod(-1) // 4).tolist()
    texts = [
        f"{hpsv3.BEFORE}{'<|image_pad|>' * count}{hpsv3.AFTER}"
        f"{scorer.question.replace('{text_prompt}', prompt)}<|im_end|>\n<|im_start|>assistant\n"
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    rows = [torch.tensor(tokenizer(text)["input_ids"]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    embeds = body.get_input_embeddings()(ids)
    features = body.visual(seen["pixel_values"], grid_thw=seen["image_grid_thw"]).pooler_output
    places = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>"))[..., None].expand_as(embeds)
    states = body(inputs_embeds=embeds.masked_scatter(places, features), attention_mask=mask).last_hidden_state
    return scorer.model.rm_head(states[ids == tokenizer.convert_tokens_to_ids("<|Reward|>")])


def test_a_score_is_the_mean_that_the_published_steps_give(metrics, pictures):
    scorer = metrics["hpsv3"]
    expected = published(scorer, pictures, PROMPTS)
    torch.testing.assert_close(scorer.score_pil(pictures, PROMPTS), expected[:, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected[:, 0], expected[:, 1], atol=1e-3)


def test_a_square_is_read_at_448_and_every_side_is_a_multiple_of_28(metrics):
    size = lambda *sides: hpsv3.smart_resize(*sides, 28, hpsv3.PIXELS, hpsv3.PIXELS)  # noqa: E731
    assert {size(side, side) for side in (64, 448, 512, 1024, 2048)} == {(448, 448)}
    for sides in ((100, 300), (768, 1344), (1500, 20)):
        height, width = size(*sides)
        assert height % 28 == width % 28 == 0
        assert (height > width) == (sides[0] > sides[1])
    assert metrics["hpsv3"]._size(1024, 1024) == (448, 448)


def test_only_the_text_up_to_the_mark_decides_and_the_prompt_is_in_it(metrics):
    scorer = metrics["hpsv3"]
    assert scorer._asked("two dogs") == "rate two dogs  of it <|Reward|>"
    assert scorer.metric.check_prompt("a <b> | c") is None
    with pytest.raises(ValueError, match=r"holds <\|image_pad\|>"):
        scorer.metric.check_prompt("a cat <|image_pad|>")


def test_another_question_than_the_published_one_is_told(metrics):
    digest = hpsv3_question.sha256_of("rate {text_prompt}  of it <|Reward|> END")
    assert f"the question differs from the published one; SHA-256: {digest}" in metrics["hpsv3"].notes()


def test_the_question_is_read_from_the_package_or_its_file_and_nothing_runs(tmp_path):
    file, package = tmp_path / "data_collator_qwen.py", tmp_path / "hpsv3.whl"
    file.write_text(HPSV3_CODE)
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(hpsv3_question.FILE, HPSV3_CODE)
    assert hpsv3_question.read_question(str(file)) == "rate {text_prompt}  of it <|Reward|> END"
    assert hpsv3_question.read_question(str(package)) == hpsv3_question.read_question(str(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "is not the code of HPSv3"),
        ("INSTRUCTION = 'a {text_prompt}'", "is not the code of HPSv3"),
        ("INSTRUCTION = 'a'\nprompt_with_special_token = '<|Reward|>'", "its question needs"),
        ("INSTRUCTION = '<|Reward|>'\nprompt_with_special_token = '{text_prompt}'", "its question needs"),
        ("INSTRUCTION = open('x')\nprompt_with_special_token = '{text_prompt} <|Reward|>'", "is not the code"),
    ],
)
def test_other_code_is_refused(text, words, tmp_path):
    (tmp_path / "x.py").write_text(text)
    with pytest.raises(FieldError, match=f"code_path=.*{words}"):
        hpsv3_question.read_question(str(tmp_path / "x.py"))


def test_files_with_the_names_that_transformers_gives_today_score_the_same(sources, metrics, tmp_path, pictures):
    kind, arguments = sources["hpsv3"]
    state = read_tensors(Path(arguments["path"], "HPSv3.safetensors"), "x")
    today = {
        f"model.{hpsv3.rename(name)}" if not name.startswith(("rm_head", "lm_head")) else name: value
        for name, value in state.items()
    }
    assert "model.language_model.layers.0.mlp.up_proj.weight" in today
    save_file(today, tmp_path / "HPSv3.safetensors")
    again = kind(**{**arguments, "path": str(tmp_path), "base_path": arguments["path"]}).load()
    assert torch.equal(again.score_pil(pictures, PROMPTS), metrics["hpsv3"].score_pil(pictures, PROMPTS))


def test_the_model_of_the_published_size_takes_the_published_tensors():
    words = 151_658
    config = Qwen2VLConfig.from_dict(QWEN2_VL_7B)
    assert sum(p.numel() for p in build_empty(lambda: Qwen2VLForConditionalGeneration(config)).parameters()) == (
        8_291_375_616
    )
    config.text_config.vocab_size = words
    state = {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): value
        for name, value in build_empty(lambda: Qwen2VLForConditionalGeneration(config)).state_dict().items()
    }
    head = {0: (1024, 3584), 3: (16, 1024), 5: (2, 16)}
    for layer, shape in head.items():
        state |= {
            f"rm_head.{layer}.weight": torch.empty(shape, device="meta"),
            f"rm_head.{layer}.bias": torch.empty(shape[0], device="meta"),
        }
    model = build_empty(lambda: hpsv3.RewardModel(QWEN2_VL_7B, words))
    hpsv3.give(model, state, "x", torch.bfloat16)
    assert {value.dtype for value in model.body.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.rm_head.parameters()} == {torch.float32}
    with pytest.raises(FieldError, match="1 unknown"):
        hpsv3.give(model, state | {"more": torch.empty(1, device="meta")}, "x", torch.bfloat16)
    with pytest.raises(FieldError, match="2 missing"):
        hpsv3.give(model, {n: v for n, v in state.items() if "rm_head.5" not in n}, "x", torch.bfloat16)


def test_pictures_that_were_prepared_are_those_of_transformers_processor(metrics, pictures):
    scorer = metrics["hpsv3"]
    height, width = scorer._size(*pictures[0].size[::-1])
    resized = pictures[0].resize((width, height), Image.BICUBIC)
    patch = QWEN2_VL["vision_config"]["patch_size"]
    expected = Qwen2VLImageProcessor(patch_size=patch, min_pixels=4, max_pixels=10**9)(resized, return_tensors="pt")
    patches, *grid = scorer.patching.patchify(hpsv3.normalised(to_tensor(resized)[None]), *scorer.patch)
    torch.testing.assert_close(patches[0], expected["pixel_values"], rtol=0, atol=1e-5)
    assert [1, *grid] == expected["image_grid_thw"][0].tolist()
