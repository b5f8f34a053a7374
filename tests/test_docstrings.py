"""The API reference has a page for every module, made of its docstrings, and its pages share one style."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sstlib import connectivity
from sstlib.reproduction import docstrings

PACKAGE = Path(connectivity.__file__).parents[1]
EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


def test_every_module_that_is_an_interface_has_a_page():
    names = docstrings.modules()
    assert {"sstlib", "sstlib.attention.front", "sstlib.connectivity", "sstlib.model.sst", "sstlib.metrics"} <= {*names}
    assert len(names) == len({*names}) and not any(name.startswith(("sstlib.cli", "sstlib.__")) for name in names)
    assert all(importlib.util.find_spec(name) for name in names)


def test_without_pdoc_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pdoc", None)
    with pytest.raises(ValueError, match=r"needs pdoc: pip install 'sstlib\[docs\]'"):
        docstrings.write(tmp_path / "api", ["sstlib.connectivity"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert docstrings.make(tmp_path / "api") == "no API reference: pip install 'sstlib[docs]'"
    assert not (tmp_path / "api").exists()


def test_pages_say_what_docstrings_say_in_one_shared_style(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "old.html").write_text("of a module that is gone")
    first = docstrings.write(tmp_path / "api", ["sstlib.connectivity", "sstlib.metrics", "sstlib.metrics.counts"])
    assert first == tmp_path / "api" / "index.html" and first.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"api"} and not (tmp_path / "api" / "old.html").exists()
    page = (tmp_path / "api" / "sstlib" / "connectivity.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", "", page).split())
    for thing in (connectivity.Grid, connectivity.Connectivity.pairs, connectivity.reach):
        assert " ".join(thing.__doc__.split("(")[0].split("`")[0].split()) in text, thing
    assert "<style>" not in page
    pages = [tmp_path / "api" / "sstlib" / name for name in ("connectivity.html", "metrics/counts.html")]
    sheets = {(page.parent / re.search(r'stylesheet" href="([^"]+)"', page.read_text())[1]).resolve() for page in pages}
    [sheet] = sheets
    assert sheet.parent == (tmp_path / "api").resolve() and len(sheet.read_text()) > 1000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_examples_of_the_reference_give_what_they_say(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    done = doctest.testmod(module, extraglobs={"np": np, "torch": torch})
    assert done.attempted and not done.failed


def test_the_rooms_of_the_core_and_those_beside_it_have_an_example():
    assert len(EXAMPLES) > 10 and {"attention", "connectivity", "evaluation", "experiments", "inference", "metrics",
                                   "model", "sessions", "training", "weights"} <= {
        path.parent.name if path.stem == "__init__" else path.stem for path in EXAMPLES}
