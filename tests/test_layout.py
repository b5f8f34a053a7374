"""The layout shows itself: rooms import downward only, the core stays small enough to be read, no name occurs twice."""

import ast
import collections
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sstlib"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (  # a room imports only rooms of floors before its own
    ("clocks", "config", "paths", "shapes"),
    ("native",),
    ("connectivity", "provenance", "statistics", "synthetic", "weights"),
    ("attention", "metrics"),
    ("model", "routes", "video"),
    ("inference", "movies", "plots"),
    ("datasets", "sessions"),
    ("evaluation", "training"),
    ("benchmarks", "explorers"),
    ("experiments",),
    ("releasing",),
    ("reproduction",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
CORE = ("connectivity", "attention", "model", "metrics", "training", "inference")  # what a reader of the paper needs
FAST = ("attention/kernels", "attention/triton", "model/fast")  # what is there for speed alone
LARGEST_CORE = 6000
ENTRANCES = {"__init__", "__main__"}


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in SOURCES}


def imported(path):
    """Modules of the library that a file imports anywhere, also inside functions and for annotations alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name.startswith("sstlib") and name not in MODULES:
                name = name.rpartition(".")[0]
            if name.startswith("sstlib."):
                yield name


@functools.cache
def graph():
    return {module: set(imported(path)) - {module} for module, path in MODULES.items()}


def room(module):
    return module.split(".")[1] if "." in module else ""


def circles(edges):
    """The groups of nodes that lead back to themselves (Tarjan)."""
    index, low, stack, result = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                result.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return result


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_every_room_has_its_floor():
    assert {room(module) for module in MODULES} - {""} == FLOOR.keys()


def test_rooms_import_downward_only():
    upward = [f"{module} -> {other}" for module, others in graph().items() for other in others
              if room(module) and room(other) != room(module) and FLOOR[room(other)] >= FLOOR[room(module)]]
    assert not upward


def test_no_file_leads_back_to_itself():
    assert not circles(graph())


def test_no_command_imports_another():
    """Inside cli a command may use the private files beside it, which use no command."""
    commands = {
        module for module in MODULES
        if module.startswith("sstlib.cli.") and not module.rpartition(".")[2].startswith("_")
    }
    arrows = [
        f"{module} -> {other}" for module, others in graph().items() if room(module) == "cli" and module != "sstlib.cli"
        for other in others & (commands | {"sstlib.cli"})
    ]
    assert commands and not arrows


def test_the_core_is_small_enough_to_be_read():
    core = [path for path in SOURCES if room(dotted(path)) in CORE
            and not any(path.is_relative_to(PACKAGE / folder) for folder in FAST)]
    lines = collections.Counter()
    for path in core:
        lines[room(dotted(path))] += len(path.read_text().splitlines())
    assert set(lines) == set(CORE) and lines.total() < LARGEST_CORE, dict(lines)


def test_no_file_name_occurs_twice():
    names = collections.Counter(path.stem for path in SOURCES if path.stem not in ENTRANCES)
    assert not [name for name, number in names.items() if number > 1]


@pytest.mark.parametrize("pattern, place", [
    (r"\bhashlib\b", "paths/digests.py"), (r'"Range"', "paths/downloads.py"),
    (r"\bimport flex_attention\b", "attention/flex.py"), (r"\bimport create_block_mask\b", "native/pytorch.py"),
    (r"load_state_dict\(.*strict=False", "weights/published.py"),
    (r"/proc/self/|ru_maxrss|max_memory_allocated", "clocks.py"), (r"perf_counter|process_time", "clocks.py")])
def test_what_has_one_place_is_done_nowhere_else(pattern, place):
    places = [str(path.relative_to(PACKAGE)) for path in SOURCES if re.search(pattern, path.read_text())]
    assert places == [place]


def test_the_guide_names_every_room():
    guide = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("Four walks:")[0]
    assert not [room for room in FLOOR if not re.search(rf"`{room}/?`", guide) and room != "__main__"]


def test_the_walks_of_the_guide_lead_through_files_that_are_there():
    guide = (ROOT / "CONTRIBUTING.md").read_text().partition("Four walks:")[2].partition("## ")[0]
    walks = [re.sub(r" or [^,]+", "", line) for line in guide.splitlines() if ".py`" in line]
    assert len(walks) == 4
    for walk in walks:
        names = re.findall(r"`([\w/]+\.py)`(?: \(`(\w+)`\))?", walk)
        assert 1 < len(names) <= 3
        for name, function in names:
            assert re.search(rf"^ *def {function}\(" if function else "", (PACKAGE / name).read_text(), re.MULTILINE)
