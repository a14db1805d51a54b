"""The arrows of the architecture: imports run down only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {
        "text",
        "records",
        "seeding",
        "errors",
        "fields",
        "description",
        "settings",
        "paths",
        "instantiate",
        "checks",
        "command",
        "labels",
    },
    {"shapes", "work"},
    {"weights", "drawing"},
    {"data"},
    {"pictures"},
    {"backbones", "networks", "metrics"},
    {"noise", "training"},
    {"laws"},
    {"evaluation"},
    {"report"},
    {"cli", "__main__", "collect"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = sorted([*(ROOT / "npnet").rglob("*.py"), *(ROOT / "collect").rglob("*.py")])


def part_of(path):
    relative = path.relative_to(ROOT)
    return "collect" if relative.parts[0] == "collect" else relative.parts[1].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(path):
    for name in imported(path):
        words = name.split(".")
        if words[0] == "collect":
            yield "collect"
        elif words[0] == "npnet" and len(words) > 1 and words[1] in RANK:
            yield words[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_only(path):
    part = part_of(path)
    if part == "__init__":
        return
    assert part in RANK, f"{part} has no place in the architecture"
    above = {other for other in parts_imported(path) if other != part and RANK[other] > RANK[part]}
    beside = {other for other in parts_imported(path) if other != part and RANK[other] == RANK[part] != 0}
    assert not above, f"{part} imports {above}, which stand above it"
    assert not beside or part == "__main__", f"{part} imports {beside} beside it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 330, f"{lines} lines"


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [("shapes", ("npnet", "lightning")), ("networks", ("lightning", "diffusers.pipelines", "npnet"))],
)
def test_parts_that_stand_alone_stay_alone(part, forbidden):
    for path in (ROOT / "npnet" / part).rglob("*.py"):
        for name in imported(path):
            own = name.startswith(f"npnet.{part}") or name == "npnet"
            below = ("records", "errors", "fields", "paths", "seeding", "weights", "work.atomic")
            allowed = own or name.startswith(tuple(f"npnet.{part}" for part in below))
            assert allowed or not name.startswith(forbidden), f"{path.name} imports {name}"
