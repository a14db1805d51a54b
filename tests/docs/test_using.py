"""The page on use in diffusers runs from top to bottom, on the model that ships with the project."""

import re
from pathlib import Path

from PIL.Image import Image

from npnet.paths import shapes_weights

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
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
