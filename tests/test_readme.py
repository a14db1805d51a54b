import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0].splitlines()
FILES = sorted(path for package in ("collect", "npnet") for path in (ROOT / package).rglob("*.py"))


def purpose(path):
    """The first sentence of a file's docstring, as one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "").removesuffix(".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tree_names_every_file_and_says_what_the_file_says(path):
    if path.name == "__init__.py":
        return
    folder = path.parent.relative_to(ROOT)
    start = next(i for i, line in enumerate(TREE) if line.split()[0] == f"{folder.name}/")
    indent = "  " * len(folder.parts)
    block = [line for line in TREE[start:] if line.startswith(f"{indent}{path.name} ")]
    assert [line.split(maxsplit=1)[1] for line in block[:1]] == [purpose(path)]


def test_the_tree_names_nothing_else():
    names = [line.split()[0] for line in TREE if line.split()[0].endswith(".py")]
    assert sorted(names) == sorted(path.name for path in FILES if path.name != "__init__.py")


def test_the_readme_names_the_two_commands_and_its_picture_is_there():
    assert "make demo" in README
    assert "make test" in README
    assert "@@" not in README
    assert (ROOT / "docs" / "before_after.png").is_file()
