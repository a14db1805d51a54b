"""Every snippet in Python of the README and of the documentation runs."""

import re
from pathlib import Path

import torch
from PIL.Image import Image

from npnet import NPNet
from npnet.paths import shapes_weights
from tests.pairs import write_folder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_snippet_of_the_readme_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippet.strip().splitlines()) <= 8
    names: dict = {}
    exec(snippet, names)  # what a reader would type
    assert isinstance(names["image"], Image)


def test_the_readme_is_short():
    assert len(README.split()) <= 900


def test_every_snippet_of_the_page_runs():
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code = "\n".join(snippets).replace("MODEL", str(shapes_weights() / "pipeline"))
    names: dict = {}
    exec(code.replace("NETWORK", str(shapes_weights() / "network")), names)  # what a reader would type
    assert isinstance(names["image"], Image)
    assert len(names["images"]) == 2
    assert names["latents"].shape == (1, 4, 16, 16)


def test_the_snippet_that_measures_a_network_on_pairs_runs(tmp_path, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "outputs" / "finetune" / "held_out", [6, 4])
    NPNet(latent_size=(8, 8), text_term="off", residual_branch=False).save_pretrained(
        tmp_path / "outputs" / "finetune" / "tuned_0" / "network"
    )
    exec(snippet, {})  # what a reader would type
    assert "MSE" in capsys.readouterr().out


def test_the_snippet_that_applies_a_network_runs():
    page = (ROOT / "docs" / "concepts" / "network.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shapes = {"noise": (2, 4, 16, 16), "prompt_embeds": (2, 16, 96), "pooled_prompt_embeds": (2, 48)}
    names: dict = {name: torch.zeros(shape) for name, shape in shapes.items()}
    exec(snippet.replace("run/network", str(shapes_weights() / "network")), names)  # what a reader would type
    assert names["golden_noise"].shape == shapes["noise"]


def test_no_page_has_a_snippet_that_no_test_runs():
    found = {page.name for page in PAGES if "```python" in page.read_text("utf-8")}
    assert found == {
        "README.md",
        "using.md",
        "training.md",
        "network.md",
        "extending.md",
    }  # the last has a test of its own
