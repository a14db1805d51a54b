"""``npnet generate``: what is typed, the pictures, and what their files say."""

import hashlib
import json
import sys

import pytest
from diffusers import StableDiffusionXLPipeline
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image, ImageChops

from npnet import GoldenNoise, cli
from npnet.generation.arguments import quoted, translated
from npnet.generation.making import facts_of
from npnet.paths import shapes_weights

PROMPT = "a red circle to the left of a blue square"


def ended(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["npnet", "generate", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.mark.parametrize(
    ("typed", "overrides"),
    [
        (["a fox"], ["prompts.list=['a fox']"]),
        (["--seed", "0", "1", "a fox"], ["prompts.list=['a fox']", "seeds.list=[0,1]"]),
        (["a fox", "--backbone", "sdxl", "--out", "d"], ["prompts.list=['a fox']", "backbone=sdxl", "output_dir=d"]),
        (["a", "--compare", "standard"], ["prompts.list=['a']", "noise=[standard,npnet]"]),
        (["a", "--noise", "reno", "--compare", "standard"], ["prompts.list=['a']", "noise=[standard,reno]"]),
        (["a", "--negative-prompt", "b, c"], ["prompts.list=['a']", "negative_prompt='b, c'"]),
        (["--noise=reno", "a"], ["prompts.list=['a']", "noise=[reno]"]),
        (["a", "noise.reno.momentum=0.5", "--dry_run", "true"], None),
        (["--config-dir", "d", "--help"], ["--config-dir", "d", "--help"]),
    ],
)
def test_options_are_the_overrides_of_the_other_commands(typed, overrides):
    found = translated(typed)
    assert found == (overrides or ["noise.reno.momentum=0.5", "prompts.list=['a']", "dry_run=true"])


@pytest.mark.parametrize("text", ["it's", 'say "no"', "a, b: [c] {d}", "back\\", "\\'", "\\\\'x\\", "=", "µ ✓"])
def test_every_prompt_arrives_as_it_was_typed(text):
    (override,) = OverridesParser.create().parse_overrides([f"prompts.list=[{quoted(text)}]"])
    assert override.value() == [text]


def test_pictures_say_what_they_are_and_are_made_once(tmp_path, monkeypatch, capsys):
    call = [PROMPT, "--seed", "0", "3", "--compare", "standard", "--out", str(tmp_path), "--steps", "1"]
    assert ended(monkeypatch, *call) == 0
    files = sorted(tmp_path.glob("a-red-*.png"))
    assert len(files) == 4
    network = shapes_weights() / "network" / "model.safetensors"
    facts = {(facts_of(path)["seed"], path.stem.rpartition("-")[2]): facts_of(path) for path in files}
    assert sorted(facts) == [(0, "npnet"), (0, "standard"), (3, "npnet"), (3, "standard")]
    for fact in facts.values():
        assert fact["prompt"] == PROMPT
        assert fact["num_inference_steps"] == 1
        assert json.loads(json.dumps(fact)) == fact
    assert facts[0, "npnet"]["network_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 256
        assert sheet.height > 2 * 256
    before = {path: path.stat().st_mtime_ns for path in files}
    assert ended(monkeypatch, *call, "--batch_size", "1") == 0
    assert "0 pictures made" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert ended(monkeypatch, *call, "--guidance_scale", "2") == 2
    assert "is another picture" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_negative_prompt_gives_the_picture_of_the_pipeline_and_is_one_of_its_facts(tmp_path, monkeypatch):
    unwanted = "a red circle to the left of a green square"
    call = [PROMPT, "--noise", "standard", "--steps", "2", "--negative-prompt", unwanted]
    assert ended(monkeypatch, *call, "--seed", "0", "3", "--out", str(tmp_path)) == 0
    pipe = StableDiffusionXLPipeline.from_pretrained(shapes_weights() / "pipeline")
    standard = GoldenNoise(method="standard")
    for seed in (0, 3):
        (file,) = tmp_path.glob(f"a-red-*-seed-{seed}-standard.png")
        assert facts_of(file)["negative_prompt"] == unwanted
        call = {"latents": standard(pipe, PROMPT, seed=seed), "num_inference_steps": 2, "guidance_scale": 5.5}
        drawn, free = (pipe(PROMPT, **call, **more).images[0] for more in ({"negative_prompt": unwanted}, {}))
        with Image.open(file) as found:
            assert distance(found, drawn) <= 1
            assert distance(found, free) > 10


def distance(picture, other):
    return max(high for _, high in ImageChops.difference(picture.convert("RGB"), other.convert("RGB")).getextrema())


def test_a_score_that_is_asked_for_is_that_of_the_picture(tmp_path, monkeypatch):
    call = [PROMPT, "--noise", "standard", "--metric", "shapes_scorer", "--out", str(tmp_path), "--steps", "1"]
    assert ended(monkeypatch, *call) == 0
    assert len(list(tmp_path.glob("a-red-*.png"))) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "at least one prompt"),
        (["a fox"], "not a Shapes prompt"),
        (["a", "--seed"], "--seed: a value is needed"),
        (["a", "--backbone", "sdxl"], "network_path=null"),
        ([PROMPT, "--noise", "best_of_n"], "noise.best_of_n.scorer=null"),
        ([PROMPT, "--seeds", "1"], "seeds"),
        ([PROMPT, "--negative-prompt", "grey"], "not a Shapes prompt: 'grey'"),
        ([PROMPT, "--negative-prompt", PROMPT, "--guidance_scale", "1"], "a negative prompt has no effect"),
        (
            ["a", "--backbone", "flux", "--noise", "standard", "--negative-prompt", "grey"],
            "negative_prompt needs unconditional_branch, which Flux does not have",
        ),
    ],
)
def test_a_mistake_is_one_line(typed, said, tmp_path, monkeypatch, capsys):
    assert ended(monkeypatch, *typed, "--out", str(tmp_path)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.iterdir())
