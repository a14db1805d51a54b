from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = [path for package in ("collect", "npnet") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tree_names_every_file(path):
    if path.name == "__init__.py":
        return
    block = README.split("```text")[1].split("```")[0]
    folder = block.split(f"\n  {path.parent.name}/")[-1] if path.parent.parent != ROOT else block
    assert f" {path.name} " in folder


def test_the_readme_names_the_two_commands_and_its_picture_is_there():
    assert "make demo" in README
    assert "make test" in README
    assert "@@" not in README
    assert (ROOT / "docs" / "before_after.png").is_file()
