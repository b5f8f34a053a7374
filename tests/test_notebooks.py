"""Rules of every notebook in notebooks/, by glob; that their outputs are right is nbval's part."""

import ast
import re

import nbformat
import pytest

from sstlib import paths
from sstlib.reproduction.notebooks import declared, declared_parameters, tidy
from sstlib.reproduction.parameters import parse_parameters
from sstlib.reproduction.report import heading

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/~])/(?:home|root|tmp|work|Users|usr|opt|mnt|var|private)/|[A-Z]:\\\\")
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_of(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parameter_cells(path):
    return [cell for cell in code_of(path) if "parameters" in cell.metadata.get("tags", [])]


def python_of(cell):
    """The cell without IPython's own lines."""
    return "\n".join("" if line.startswith(("%", "!")) else line for line in cell.source.splitlines())


def test_there_are_notebooks_in_a_numbered_row():
    numbers = [path.stem.split("_")[0] for path in NOTEBOOKS]
    assert numbers and all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in NOTEBOOKS)
    assert len(set(numbers)) == len(numbers)


@EACH
def test_is_committed_executed_from_top_to_bottom_in_its_tidy_form(path):
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in code_of(path)]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"
    assert notebook == tidy(notebook), "run `make notebooks`: it leaves out what differs between two equal executions"


@EACH
def test_opens_with_its_number_and_its_question(path):
    opening = read(path).cells[0]
    title, question = heading(read(path))
    assert opening.cell_type == "markdown" and title.startswith(path.stem[:2])
    assert question.endswith("?") and len(question) > 15


@EACH
def test_has_one_cell_of_typed_commented_parameters_that_papermill_reads(path):
    [cell] = parameter_cells(path)
    nodes = ast.parse(cell.source).body
    assert nodes and len(nodes) == len([line for line in cell.source.splitlines() if line.strip()
                                        ]), "one assignment a line"
    for node, line in zip(nodes, filter(str.strip, cell.source.splitlines())):
        assert isinstance(node, ast.AnnAssign) and node.value is not None, line
        ast.literal_eval(node.value)
        assert re.search(r"  # \w", line), f"no comment: {line}"
    assert list(declared_parameters(path)) == [node.target.id for node in nodes]


@EACH
def test_numbers_among_the_parameters_say_their_range(path):
    for name, (kind, comment) in declared(path).items():
        if kind in ("int", "float"):
            assert re.search(r"at least|above|one of", comment), f"{name}: {comment}"
        default = next(node.value for node in ast.parse(parameter_cells(path)[0].source).body if node.target.id == name)
        parse_parameters([f"{path.stem}:{name}={ast.literal_eval(default)}"])


@EACH
def test_logic_lives_in_the_library(path):
    for cell in code_of(path):
        assert len(cell.source.splitlines()) <= 20, cell.source
        for node in ast.walk(ast.parse(python_of(cell))):
            if isinstance(node, ast.ClassDef):  # a pattern of one's own is one
                assert [base.id for base in node.bases] == ["Connectivity"
                                                            ] and node.end_lineno - node.lineno < 10, node.name
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno + 1 <= 5, node.name


@EACH
def test_is_small_and_free_of_errors_and_of_one_machine(path):
    assert path.stat().st_size < 400_000
    for cell in code_of(path):
        assert not ABSOLUTE.search(cell.source), cell.source
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            data = output.get("data", {})
            assert len(data.get("image/png", "")) * 3 / 4 < 100_000
            assert not ABSOLUTE.search(output.get("text", "") + data.get("text/plain", "") + data.get("text/html", ""))
