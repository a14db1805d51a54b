"""The structure of the code by its imports: arrows run down only, nothing runs in a circle, rooms stay small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {
        *{
            "records",
            "memory",
            "seeding",
            "errors",
            "fields",
            "bounds",
            "description",
            "settings",
            "paths",
            "option_files",
            "instantiate",
        },
        *{"text", "untrusted", "command", "composing", "key_comments", "experiments", "ending", "messages", "loggers"},
        *{"arguments", "labels", "fit"},
    },
    {"shapes", "work"},
    {"weights", "drawing"},
    {"data"},
    {"pictures"},
    {"backbones", "networks", "metrics"},
    {"noise"},
    {"compatibility"},
    {"costs"},
    {"pipelines"},
    {"engine"},
    {"training"},
    {"evaluation"},
    {"report", "generation"},
    {"laws", "info", "papers", "build_shapes", "demo"},
    {"cli", "__main__"},
    {"collect"},
]
"""From the ground up; a part imports what lies below it."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
LONGEST = 250
"""Lines of a file: what a person reads in one sitting. CONTRIBUTING states it."""
IMPORTS_INSIDE = 20
"""Imports inside functions that the whole tree may have, each with its reason beside it."""
FILES = sorted([*(ROOT / "npnet").rglob("*.py"), *(ROOT / "collect").rglob("*.py")])
PARSED = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def part_of(path):
    relative = path.relative_to(ROOT)
    return "collect" if relative.parts[0] == "collect" else relative.parts[1].removesuffix(".py")


def module_of(path):
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


MODULES = {module_of(path): path for path in FILES}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(path):
    for name in imported(PARSED[path]):
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


def arrows():
    """Each file's own files that it imports, inside functions and under ``TYPE_CHECKING`` included."""
    found = {}
    for path in FILES:
        names = {name for name in imported(PARSED[path]) if name in MODULES}
        found[path] = {MODULES[name] for name in names if MODULES[name].name != "__init__.py"} - {path}
    return found


def circle(graph):
    """One circle of the graph, as a list that ends where it begins; None where there is none."""
    state, trail = {}, []

    def visit(node):
        state[node] = "open"
        trail.append(node)
        for other in sorted(graph[node]):
            if state.get(other) == "open":
                return [*trail[trail.index(other) :], other]
            if other not in state and (found := visit(other)):
                return found
        state[node] = "done"
        trail.pop()
        return None

    return next((found for node in graph if node not in state and (found := visit(node))), None)


def test_no_files_import_each_other_in_a_circle():
    found = circle(arrows())
    assert found is None, " -> ".join(str(path.relative_to(ROOT)) for path in found)


def test_a_circle_is_found_where_there_is_one():
    assert circle({1: {2}, 2: {3}, 3: {1}}) == [1, 2, 3, 1]
    assert circle({1: {2, 3}, 2: {3}, 3: set()}) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines"


def test_contributing_states_the_same_bound():
    assert f"{LONGEST} lines" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def imports_inside_functions():
    for path, tree in PARSED.items():
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, (ast.Import, ast.ImportFrom)):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_imports_stand_at_the_top_of_the_file():
    found = sorted(set(imports_inside_functions()))
    assert len(found) <= IMPORTS_INSIDE, "\n".join(found)


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [("shapes", ("npnet", "lightning")), ("networks", ("lightning", "diffusers.pipelines", "npnet"))],
)
def test_parts_that_stand_alone_stay_alone(part, forbidden):
    below = (
        "records",
        "errors",
        "bounds",
        "fields",
        "fit",
        "description",
        "paths",
        "option_files",
        "seeding",
        "untrusted",
        "weights",
        "work.atomic",
    )
    ground = tuple(f"npnet.{name}" for name in below)
    for path in (ROOT / "npnet" / part).rglob("*.py"):
        for name in imported(PARSED[path]):
            own = name.startswith(f"npnet.{part}") or name == "npnet"
            allowed = own or name.startswith(ground)
            assert allowed or not name.startswith(forbidden), f"{path.name} imports {name}"
