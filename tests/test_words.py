"""Words that the code does without, as listed in CONTRIBUTING.md for people and for these tests, and docstrings that
say what is raised.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sstlib").rglob("*.py"))
TEXTS = sorted(path for folder in ("sstlib", "tests") for path in (ROOT / folder).rglob("*")
               if path.suffix in {".py", ".cpp", ".h", ".js", ".css"})
WORDS = (ROOT / "CONTRIBUTING.md").read_text().rpartition("## Words")[2]
VAGUE = set(re.findall(r"`(\w+)`", re.search(r"how one came by it \((.+?)\)", WORDS, re.DOTALL)[1]))
BRITISH = re.findall(r"\w+ for (\w+)", re.search(r"American spelling \((.+?)\)", WORDS, re.DOTALL)[1])
PUBLIC = {"said"}  # of sstlib.experiments.causality: notebook 03 imports it


def vague(tree):
    """Names given to functions, classes, arguments, variables and attributes that have one of the words as a part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        else:
            continue
        if VAGUE & set(name.lower().split("_")):
            yield name


def british(text):
    """The words of British spelling in a text, with what follows an -ise."""
    return re.findall("|".join(f"{word[:-1]}[aei]" if word.endswith("ise") else word for word in BRITISH), text, re.I)


def test_the_lists_are_read_from_where_they_stand():
    assert {"found", "asked", "told", "here", "kept"} <= VAGUE and {"colour", "grey", "normalise"} <= set(BRITISH)


@pytest.mark.parametrize("line", [
    "def found(): 1", "lambda who: 1", "asked_for = 1", "for x, what in y: 1", "x.kept = 1", "class Told: 1",
    "[here for here in y]", "async def f(*, said=1): 1"])
def test_a_vague_name_is_noticed(line):
    assert len(list(vague(ast.parse(line)))) == 1
    assert not list(vague(ast.parse("print(found.told, here, kept=1); whatever = heretic = 1")))


def test_british_spelling_is_noticed():
    assert british("greyscale, Neighbourhood, unnormalised, optimising, a central cancellation, optimistic") == [
        "grey", "Neighbour", "normalise", "optimisi"]


def test_values_are_named_after_what_they_are():
    """Also in tests, whose own names are sentences."""
    faults = {str(path.relative_to(ROOT)): names for path in [*SOURCES, *(ROOT / "tests").glob("*.py")]
              if (names := {name for name in vague(ast.parse(path.read_text())) if not name.startswith("test_")}
                  - (PUBLIC if path.stem == "causality" else set()))}
    assert not faults


def test_spelling_is_american():
    texts = [path for path in TEXTS if path != Path(__file__)] + [ROOT / "README.md", ROOT / "data" / "README.md"]
    faults = {str(path.relative_to(ROOT)): words for path in texts if (words := british(path.read_text()))}
    assert not faults


OURS = {"AssertionError", "NotImplementedError"}  # nobody's input leads to them


def statements(function):
    """All nodes of a function but those of functions within it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            yield from statements(node)


def undocumented(tree):
    """Public functions and methods that raise what their docstrings do not name, with it; constructors may have it in
    the class's.
    """
    for owner in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]:
        for function in owner.body:
            constructs = getattr(function, "name", "") in ("__init__", "__post_init__")
            if not isinstance(function, ast.FunctionDef) or function.name[0] == "_" and not constructs:
                continue
            document = ast.get_docstring(function) or ""
            if constructs:
                document += ast.get_docstring(owner) or ""
            elif getattr(owner, "bases", None) and not document:  # as the class above it says
                continue
            names = {ast.unparse(getattr(node.exc, "func", node.exc)) for node in statements(function)
                     if isinstance(node, ast.Raise) and node.exc is not None}
            if missing := sorted(name for name in names - OURS if name[0].isupper() and name not in document):
                yield function.name, missing


def test_what_a_docstring_leaves_out_is_noticed():
    text = 'def f(x):\n    """F.\n\n    Raises:\n        {}: x.\n    """\n    raise ValueError(x)'
    assert list(undocumented(ast.parse(text.format("KeyError")))) == [("f", ["ValueError"])]
    assert not list(undocumented(ast.parse(text.format("ValueError"))))
    text = 'class A:\n    """A{}."""\n    def __init__(self):\n        raise ValueError(self)'
    assert list(undocumented(ast.parse(text.format("")))) == [("__init__", ["ValueError"])]
    assert not list(undocumented(ast.parse(text.format(", or a ValueError"))))


def test_public_functions_say_what_they_raise():
    faults = {str(path.relative_to(ROOT)): names for path in SOURCES if path.parent.name != "cli"  # all end in one line
              if (names := dict(undocumented(ast.parse(path.read_text()))))}
    assert not faults
