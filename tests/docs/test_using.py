"""The page on use in diffusers runs from top to bottom, on the model that ships with the project."""

import re
from pathlib import Path

from PIL.Image import Image

from npnet.paths import shapes_weights

PAGE = (Path(__file__).parents[2] / "docs" / "using.md").read_text(encoding="utf-8")


def test_every_snippet_of_the_page_runs():
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code = "\n".join(snippets).replace("MODEL", str(shapes_weights() / "pipeline"))
    names: dict = {}
    exec(code.replace("NETWORK", str(shapes_weights() / "network")), names)  # what a reader would type
    assert isinstance(names["image"], Image)
    assert len(names["images"]) == 2
    assert names["latents"].shape == (1, 4, 16, 16)
