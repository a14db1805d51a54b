"""The README's picture: the first prompts of an evaluation, one row for each method; nothing is picked.

python benchmarks/before_after.py outputs/demo/evaluate docs/before_after.png
"""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw

CELL, GAP, LABEL = 112, 6, 92


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what evaluate.py left")
    parser.add_argument("target", type=Path, help="the picture to write")
    parser.add_argument("--columns", type=int, default=8)
    options = parser.parse_args()
    methods = list(json.loads((options.folder / "results.json").read_text())["methods"])
    chunk = json.loads(sorted((options.folder / "chunks").glob("*.json"))[0].read_text())
    keys = first_of_each_prompt(chunk["samples"])[: options.columns]
    width = LABEL + options.columns * (CELL + GAP)
    sheet = Image.new("RGB", (width, len(methods) * (CELL + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for row, method in enumerate(methods):
        top = row * (CELL + GAP)
        draw.text((4, top + CELL // 2 - 6), method, fill="black", font_size=14)
        for column, key in enumerate(keys):
            picture = Image.open(options.folder / "images" / method / f"{key}.webp").convert("RGB")
            sheet.paste(picture.resize((CELL, CELL), Image.Resampling.NEAREST), (LABEL + column * (CELL + GAP), top))
    options.target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.target, optimize=True)


def first_of_each_prompt(keys: list[str]) -> list[str]:
    """A key is the prompt's number and the seed."""
    seen: dict[str, str] = {}
    for key in keys:
        seen.setdefault(key.split("-")[0], key)
    return list(seen.values())


if __name__ == "__main__":
    main()
