"""Rules of every notebook in notebooks/, by glob; that their outputs are right is nbval's part."""

import ast
import base64
import re

import nbformat
import pytest

from sstlib import paths
from sstlib.reproduction.notebooks import declared, tidy
from sstlib.reproduction.parameters import parse_parameters
from sstlib.reproduction.report import body_of, heading, markdown_html

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/~])/(?:home|root|tmp|work|Users|usr|opt|mnt|var|private)/|[A-Z]:\\\\")
TEACHING = {"01", "02", "03", "07", "08"}
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
    assert list(declared(path)) == [node.target.id for node in nodes]


@EACH
def test_numbers_among_the_parameters_say_their_range(path):
    for name, (kind, comment) in declared(path).items():
        if kind in ("int", "float"):
            assert re.search(r"at least|above|one of", comment), f"{name}: {comment}"
        default = next(node.value for node in ast.parse(parameter_cells(path)[0].source).body if node.target.id == name)
        parse_parameters([f"{path.stem}:{name}={ast.literal_eval(default)}"])


@EACH
def test_opens_with_what_is_expected_and_ends_with_what_was_seen_of_it(path):
    cells = read(path).cells
    assert "**Expected" in cells[0].source
    place = next(number for number, cell in enumerate(cells)
                 if cell.cell_type == "markdown" and cell.source.startswith("## What was seen"))
    heading_cell, last = cells[place:]
    text = "".join(output.data.get("text/markdown", "") for output in last.outputs if "data" in output)
    assert text.strip() and "expect" in heading_cell.source.lower() + text.lower(), "what became of the expectation?"


@EACH
def test_exercises_have_folded_answers_that_are_checked(path):
    cells = read(path).cells
    answers = [number for number, cell in enumerate(cells) if "answer" in cell.metadata.get("tags", [])]
    assert len(answers) in (2, 3)
    for number in answers:
        assert "<details><summary>Answer</summary>" in cells[number - 1].source
        assert cells[number].metadata.jupyter.source_hidden and "assert" in cells[number].source


@EACH
def test_cells_that_only_draw_are_folded(path):
    for cell in code_of(path):
        if only_draws(cell):
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source


def only_draws(cell):
    """Whether a cell makes a figure, saves it and shows it, and does nothing else."""
    nodes = [node for node in ast.parse(python_of(cell)).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    texts = [ast.unparse(node) for node in nodes]
    return bool(texts) and all(re.match(r"figure = (?!.* else )|save\(figure|display\(figure\)$|figure$", text)
                               for text in texts)


@EACH
def test_progress_bars_stand_in_cells_whose_output_nobody_compares(path):
    """A bar's text depends on the machine."""
    for cell in code_of(path):
        if "tqdm(" in cell.source or "progress=True" in cell.source:
            assert "nbval-ignore-output" in cell.metadata.get("tags", []), cell.source


def test_formulas_are_drawn_in_the_report_and_numbered_as_in_the_paper():
    numbers = set()
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            if cell.cell_type == "markdown" and "$" in cell.source:
                page = markdown_html(cell.source)
                assert "class='formula'>" not in page.replace("<svg class='formula'", ""), cell.source
                numbers |= set(map(int, re.findall(r"<span class='number'>\((\d+)\)", page)))
    assert numbers >= {1, 2, 3, 4, 5, 6, 8, 9, 10}  # Eq. 7 is Eq. 10 with other names


def test_a_comparison_through_an_occlusion_moves():
    [moving] = re.findall(r"data:image/avif;base64,([\w+/=]+)", (paths.NOTEBOOKS / "05_occlusion.ipynb").read_text())
    assert base64.b64decode(moving)[4:12] == b"ftypavis" and (paths.FIGURES / "occlusion_animation.avif").is_file()


@EACH
def test_figures_are_described_by_the_code_that_drew_them(path):
    for cell in code_of(path):
        for output in cell.outputs:
            for mime in {"image/png", "image/jpeg"} & set(output.get("data", {})):
                description = output.metadata.get(mime, {}).get("alt", "")
                assert len(description) > 30 and not description.endswith((".png", ".jpg")), cell.source
            for picture in re.findall(r"<img [^>]*>", output.get("data", {}).get("text/html", "")):
                assert re.search(r'alt="[^"]{30,}"', picture), cell.source


@EACH
def test_pictures_of_its_page_in_the_report_are_described(path):
    pictures = re.findall(r"<img [^>]*>", body_of(read(path), path.stem))
    assert all(re.search(r'alt="[^"]{30,}"', picture) and "No description" not in picture for picture in pictures)


@EACH
def test_tables_are_whole_and_count_no_rows(path):
    for cell in code_of(path):
        for output in cell.outputs:
            data = output.get("data", {})
            for table in re.findall(r"<table.*?</table>", data.get("text/html", ""), re.DOTALL):
                assert not re.search(r"NaN|&lt;NA&gt;|\.\.\.|\u2026", table), cell.source
                assert "<th>0</th>" not in table.partition("<tbody>")[2], f"row numbers: {cell.source}"
            for row in re.findall(r"^\|.*\|$", data.get("text/markdown", ""), re.MULTILINE):
                assert not re.search(r"\bnan\b|\.\.\.|\u2026", row, re.IGNORECASE), row


@EACH
def test_links_between_notebooks_lead_somewhere(path):
    linked = {target for cell in read(path).cells if cell.cell_type == "markdown"
              for target in re.findall(r"\]\((\w+\.ipynb)", cell.source)}
    assert all((paths.NOTEBOOKS / target).is_file() for target in linked)
    assert len(linked) >= (2 if path.stem[:2] in TEACHING else 0), "on and back"


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


def test_every_figure_is_made_by_a_notebook():
    """One that no notebook makes any more shows what was withdrawn."""
    code = "\n".join(cell.source for path in NOTEBOOKS for cell in code_of(path))
    names = re.findall(r'\bsave\((?:[^()]|\([^()]*\))*?, f?"([^"]+)"', code)
    assert len(names) > 30
    patterns = [re.sub(r"\{[^}]*\}", "[^/]+", name) for name in names]
    figures = [path.stem for path in paths.FIGURES.iterdir() if path.is_file()]
    assert [name for name in figures if not any(re.fullmatch(one, name) for one in patterns)] == []
