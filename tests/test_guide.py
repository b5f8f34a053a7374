"""CONTRIBUTING's examples as a reader takes them: entries of registries, and files that the linter lets pass."""

import re
import subprocess
import sys
import types

import matplotlib.figure
import numpy as np
import pytest
import torch

from sstlib import paths
from sstlib.config import named_model
from sstlib.config.entries import lazily
from sstlib.config.networks import BACKBONES, ENCODINGS, METHODS, Backbone, Encoding, Method
from sstlib.connectivity import PATTERNS
from sstlib.datasets import DATASETS, Benchmark, DataSet
from sstlib.datasets.registry import tree
from sstlib.experiments.sweeps import SWEEPS, VARIANTS, Variant
from sstlib.inference import Segmenter
from sstlib.metrics import METRICS, Metric, score_sequence
from sstlib.model import build

BLOCKS = re.findall(r"```python\n(.*?)```", (paths.ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
NAMES = {"np": np, "paths": paths, "lazily": lazily, "tree": tree, "Benchmark": Benchmark, "DataSet": DataSet,
         "Metric": Metric, "Method": Method, "Backbone": Backbone, "Encoding": Encoding, "Variant": Variant}


def code(word):
    """The block in which a word occurs: its entries, and the file under them."""
    [block] = [block for block in BLOCKS if word in block]
    file = re.search(r"^(# sstlib/.*\n)?(from|import) .*", block, re.DOTALL | re.MULTILINE)
    return eval(f"[{block[:file.start() if file else None]}]", dict(NAMES)), file[0] if file else ""


@pytest.fixture
def entered(monkeypatch):
    """Enters things in a registry for the length of a test, also where a reader has entered them for good."""
    def enter(registry, things):
        for thing in things:
            monkeypatch.setitem(registry, thing.name, thing)
        return things
    return enter


@pytest.mark.parametrize("word", ["class Rows", "class Copy", "class Means", "def triangles"])
def test_files_of_the_guide_pass_the_linter(word):
    subprocess.run([sys.executable, "-m", "ruff", "check", "--stdin-filename", paths.ROOT / "sstlib" / "new.py", "-"],
                   input=code(word)[1], text=True, check=True)


def test_the_guide_s_pattern_is_the_row_and_its_figure_is_drawn(monkeypatch):
    monkeypatch.setitem(PATTERNS, "rows", None)  # which takes the class away after this test
    exec(code("class Rows")[1], {"__name__": "test_guide"})
    row = np.tile(np.repeat(np.arange(3), 5), 2)
    np.testing.assert_array_equal(PATTERNS["rows"]().mask(2, 3, 5), row[:, None] == row)
    imports, _, call = code("hop_sheets")[1].partition("\n\n")
    exec(imports, names := {})
    assert isinstance(eval(call, names), matplotlib.figure.Figure)


def test_the_guide_s_variant_is_a_run_of_table_5(entered):
    [variant] = entered(VARIANTS, code('Variant("rows-2"')[0])
    assert variant.name in {run.variant for run in SWEEPS["pattern"].runs()}


def test_the_guide_s_data_set_opens_where_it_says(entered, tmp_path):
    [birds] = entered(DATASETS, code('DataSet("birds"')[0])
    assert birds.benchmark.split in birds.splits
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "val")):
        birds.open("birds", "val", tmp_path)


def test_the_guide_s_metrics_are_what_they_are_called(entered):
    entered(METRICS, code('Metric("D"')[0])
    truth, prediction = np.zeros((2, 3, 4, 10), np.uint8)
    truth[:, :, :6] = prediction[:, :, 2:] = 1
    score = score_sequence(prediction, truth)
    assert score.values["D"] == pytest.approx(2 * 4 / (6 + 8)) and score.values["A"] == pytest.approx(4 / 10)


@pytest.mark.parametrize("word, registry, field", [("class Copy", METHODS, "method"),
                                                   ("class Means", BACKBONES, "backbone"),
                                                   ("def triangles", ENCODINGS, "encoding")])
def test_the_guide_s_network_segments(word, registry, field, entered, monkeypatch):
    entries, file = code(word)
    [entry] = entered(registry, entries)
    module = types.ModuleType(re.match(r"# (.*)\.py\n", file)[1].replace("/", "."))
    exec(file, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-tiny").replace(**{field: entry.name})).eval())
    frame, mask = np.zeros((24, 40, 3), np.uint8), np.zeros((24, 40), np.uint8)
    mask[4:12, 6:20] = 1
    segmenter.step(frame, mask)
    assert segmenter.step(frame).labels.shape == mask.shape
