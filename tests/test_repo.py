"""Rules that the repository keeps: one list of requirements, small files, rooms that import in one direction."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sstlib").rglob("*.py"))
VAGUE = {"utils", "util", "misc", "helpers", "helper", "common"}
RARE = ("av", "papermill", "nbconvert", "dask", "distributed", "ipywidgets", "anywidget", "matplotlib", "pandas", "cv2",
        "pycocotools", "IPython")
LEAN = ("attention", "connectivity", "inference", "metrics", "model", "synthetic", "weights")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras):
    """What an installation with these extras asks the package index for."""
    wanted = [] if extras else list(project()["dependencies"])
    for extra in extras:
        for text in project()["optional-dependencies"][extra]:
            requirement = Requirement(text)
            wanted += requirements(*sorted(requirement.extras)) if requirement.name == "sstlib" else [text]
    return list(dict.fromkeys(wanted))


def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def constraints():
    lines = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip()]
    return {canonicalize_name(pin.name): pin for pin in lines}


def test_environment_equals_pyproject():
    [pip] = [entry["pip"] for entry in environment() if isinstance(entry, dict)]
    assert pip == [*requirements(), *requirements("test")]


def test_every_requirement_is_pinned_within_its_range():
    pins = constraints()
    for text in [*requirements(), *requirements("test")]:
        wanted = Requirement(text)
        [pin] = pins[canonicalize_name(wanted.name)].specifier
        assert pin.operator == "==" and wanted.specifier.contains(pin.version), text


def test_pins_hold_on_every_machine():
    for name, pin in constraints().items():
        assert pin.url is None and "+" not in str(
            pin.specifier), f"{name}: a local version or file is found on one machine only"


def test_continuous_integration_runs_the_tests_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("make reproduce", "make test", "-m venv", "-c constraints.txt"):
        assert command in readme, command


def test_the_readme_tests_what_make_tests():
    """The same words, but for what make runs in two processes; with a limit a cell that a busy machine keeps, too."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    rules = re.findall(r"^\t\$\(PYTEST\) (.+)$", makefile, re.MULTILINE)
    assert len(rules) == 2 and " && ".join(f".venv/bin/python -m pytest {rule}" for rule in rules) in readme
    assert int(re.search(r"--nbval-cell-timeout=(\d+)", makefile)[1]) >= 600


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text())
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing


LONG = {  # functions of more than 40 lines
    # A Triton kernel is one program: what it calls is pasted in, and its running sums would go in and out of each part
    "sstlib/attention/triton/line_kernels.py": {"forward", "backward"},
    "sstlib/attention/triton/tile_kernels.py": {"forward", "backward_key"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small_and_named_for_what_they_do(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    assert path.stem not in VAGUE
    long = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno - node.lineno + 1 > 40}
    assert long == LONG.get(str(path.relative_to(ROOT)), set())


def test_the_model_side_imports_neither_notebooks_nor_plots():
    code = (f"import sys; from sstlib import {', '.join(LEAN)}; "
            f"print(*[name for name in {RARE!r} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_what_is_shipped_of_data_stands_in_its_readme_with_its_terms():
    shipped = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, capture_output=True, text=True)
    if shipped.returncode:
        pytest.skip("needs a clone of the repository")
    readme = (ROOT / "data" / "README.md").read_text()
    for name in {Path(line).name for line in shipped.stdout.splitlines()} - {"README.md"}:
        assert f"`{name}`" in readme, name
    assert sum((ROOT / name).stat().st_size for name in shipped.stdout.splitlines()) < 100_000
