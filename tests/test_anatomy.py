"""Counts of the anatomy against the sums that they stand for, and what is measured of a network that runs."""

import json

import pytest
import torch

from sstlib import weights
from sstlib.benchmarks.anatomy import anatomy
from sstlib.benchmarks.frames import stage_seconds, streamed
from sstlib.cli import main
from sstlib.clocks import resident_megabytes
from sstlib.config import MODELS, named_model
from sstlib.config.values import scaled
from sstlib.connectivity import parse
from sstlib.inference import Segmenter
from sstlib.model import build
from sstlib.plots.architecture import architecture, stage_bars
from sstlib.synthetic.endless import endless_video

TINY = named_model("sst-tiny")


@pytest.mark.parametrize("causal", [False, True])
def test_pairs_are_those_of_the_queries_that_are_computed(causal):
    layers = ("local(radius=2, causal=True)", "strided(stride=3)", "grid")
    config = TINY.replace(causal=causal, layers=layers, history=2)
    rows = {row.module: row for row in anatomy(config, 40, 56)}
    frames, (height, width) = 3, (5, 7)
    for number, text in enumerate(config.layers):
        mask = parse(text).mask(frames, height, width)
        queries = mask[-height * width:] if causal or number == 2 else mask
        assert rows[f"layers.{number}"].pairs == config.heads * int(queries.sum())
    assert rows[""].pairs == sum(rows[f"layers.{n}"].pairs for n in range(3))


def test_multiply_adds_and_parameters_are_sums_over_modules():
    config = TINY.replace(matching="reference")
    rows = {row.module: row for row in anatomy(config, 48, 80, objects=2)}
    stem = rows["backbone.stem"]
    assert stem.output == (1, 8, 24, 40) and stem.multiply_adds == 4 * 4 * 3 * 8 * 24 * 40
    network = build(config)
    assert rows[""].parameters == sum(p.numel() for p in network.parameters())
    assert rows["backbone"].multiply_adds == sum(
        row.multiply_adds for name, row in rows.items() if name.startswith("backbone."))
    layer, cells, width = rows["layers.1"], 6 * 10, config.width
    # Query and output of one frame, keys of three
    linear = cells * (width * width * (2 + 2 * 3) + 2 * config.feedforward * width * width)
    assert layer.multiply_adds == linear + layer.pairs * (2 * width // config.heads + 3)
    assert rows["decoder"].output == (1, 3, 12, 20) and rows[""].output == (1, 3, 48, 80)


def test_the_encoder_s_work_hardly_depends_on_the_number_of_objects():
    one, ten = (
        {row.module: row for row in anatomy(named_model("sst-small"), 480, 854, objects)} for objects in (1, 10))
    assert one["backbone"] == ten["backbone"]
    assert one["layers.0"].pairs == ten["layers.0"].pairs
    assert ten["layers.0"].multiply_adds < 1.6 * one["layers.0"].multiply_adds
    assert ten["decoder"].multiply_adds > 5 * one["decoder"].multiply_adds


# Whose windows are 625 steps, slow to count
@pytest.mark.parametrize("name", [name for name in MODELS if "cfbi" not in name])
def test_every_named_model_has_an_anatomy(name):
    rows = anatomy(MODELS[name], 96, 160, depth=1)
    assert rows[-1].output == (1, 2, 96, 160)
    low, high = {"tiny": (0, 3e5), "small": (2e6, 7e6), "photo": (2e6, 3e6)}.get(name.rsplit("-", 1)[1], (6e7, 7e7))
    assert low < rows[-1].parameters < high


def test_the_command_prints_table_and_json(capsys):
    assert main([
        "model", "sst-tiny", "--size", "48x80", "--set", "history=1", "--time", "--objects", "2", "1", "--threads", "1",
        "--json", "--beside", 'layers=["dense"]'
    ]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["history"] == 1 and printed["rows"][-1]["output"] == [1, 3, 48, 80]
    assert [(row["threads"], row["objects"], row["changed"]) for row in printed["seconds"]] == [(1, 2, ""), (1, 1, ""),
                                                                                                (1, 2,
                                                                                                 'layers=["dense"]')]
    assert main(["model", "sst-tiny", "--size", "48x80"]) == 0
    assert "layers.1" in capsys.readouterr().out
    assert main(["model"]) == 0
    assert set(MODELS) <= set(capsys.readouterr().out.split())
    for wrong in (["sst-huge"], ["sst-tiny", "--size", "4x5"], ["sst-tiny", "--set",
                                                                "tau=2"], ["sst-tiny", "--objects", "1",
                                                                           "0"], ["sst-tiny", "--stream", "0"]):
        assert main(["model", *wrong]) == 2
    assert "expected one of" in capsys.readouterr().err


@pytest.mark.parametrize("config", [
    named_model("sst-small"),
    TINY.replace(layers=("grid", "strided(stride=4)", "dense"), history=16),
    named_model("stm-tiny"),
    named_model("sst-r101-paper").replace(backbone="resnet18")
], ids=lambda config: f"{config.method}-{len(config.layers)}")
def test_the_figure_shows_the_anatomy_and_no_text_covers_another(config):
    rows = anatomy(config, 96, 160)
    drawing = architecture(config, rows, "name, 160 × 96 pixels")
    drawing.draw_without_rendering()
    texts = [text for text in drawing.axes[0].texts if text.get_text()]
    shown = " ".join(text.get_text() for text in texts)
    named = {row.module: row for row in rows}
    for name in ("backbone", "decoder", *(name for name in named if name.startswith("layers."))):
        assert scaled(named[name].parameters) in shown and scaled(named[name].multiply_adds) in shown
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in texts]
    for number, box in enumerate(boxes):
        assert drawing.bbox.fully_containsx(box.x0) and drawing.bbox.fully_containsx(box.x1), texts[number]
        assert not (others := [
            texts[i].get_text() for i, other in enumerate(boxes) if i != number and box.overlaps(other)
        ]), others


def test_the_command_draws_a_png(tmp_path, capsys):
    assert main(["model", "sst-tiny", "--size", "48x80", "--figure", str(tmp_path / "tiny.png")]) == 0
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")
    assert main(["model", "sst-tiny", "--size", "48x80", "--figure", str(tmp_path / "tiny.jpg")]) == 2
    assert "ends with .png" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--json", "sst-tiny"], ["--time"], ["--set", "heads=2"], ["--stream", "3"]])
def test_what_is_to_be_done_with_no_network_is_not_passed_over(more, capsys, tmp_path, monkeypatch):
    """The name after --json is taken for its file's."""
    monkeypatch.chdir(tmp_path)
    assert main(["model", *more]) == 2
    output, message = capsys.readouterr()
    assert not output and f"{more[0]} is of a network, and none is named" in message and not list(tmp_path.iterdir())


@pytest.mark.parametrize("more, words", [
    (["--figure", "tiny.jpg"], "ends with .png"), (["--beside", "heads=2"], "--beside goes with --time"),
    (["--time", "--beside", "heads"], "--beside heads"), (["--time", "--beside", "heads=0"], "heads is 0; expected")])
def test_what_the_command_cannot_do_is_refused_before_it_measures(capsys, monkeypatch, more, words):
    monkeypatch.setattr("sstlib.benchmarks.anatomy.anatomy", lambda *rest: pytest.fail("was computed"))
    assert main(["model", "sst-tiny", *more]) == 2
    assert words in capsys.readouterr().err


def test_the_command_writes_what_a_stream_took(tmp_path, capsys):
    path = tmp_path / "stream.json"
    assert main(["model", "sst-tiny", "--size", "48x80", "--stream", "3", "--threads", "1", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert [row["frame"] for row in record["stream"]] == [3] and record["provenance"]["cores"]
    assert "frame 3:" in capsys.readouterr().err


def test_a_stream_is_looked_at_every_so_often_and_at_its_end():
    def counted():
        for pair in endless_video(40, 56):
            drawn.append(1)
            yield pair

    drawn = []
    torch.manual_seed(0)
    segmenter = Segmenter(build(TINY))
    rows = list(streamed(segmenter, counted(), frames=5, every=2))
    assert [row["frame"] for row in rows] == [2, 4, 5] and len(drawn) == 5
    assert segmenter.memories[0].time == 5
    assert all(
        row["peak_megabytes"] >= row["held_megabytes"] > 0 for row in rows) and rows[-1]["seconds"] > rows[0]["seconds"]


def test_resident_megabytes_are_those_that_were_taken():
    before = resident_megabytes()
    taken = torch.ones(50_000_000)
    assert 0.9 < (resident_megabytes() - before) * 1e6 / taken.nbytes < 1.1
    assert resident_megabytes("VmHWM") >= resident_megabytes()


@pytest.mark.parametrize("clock", ["wall", "processor"])
def test_every_stage_takes_time_and_a_step_more_than_one_of_them(clock):
    torch.manual_seed(0)
    seconds = stage_seconds(build(TINY).eval(), 48, 80, objects=2, rounds=2, clock=clock)
    assert all(seconds[stage] > 0 for stage in ("backbone", "encoder", "decoder", "memory"))
    assert seconds["step"] > seconds["decoder"]  # which it includes


def test_stage_bars_are_as_long_as_the_stages_took():
    rows = [{"threads": 1, "objects": 3, "backbone": 0.1, "encoder": 0.2, "decoder": 0.3, "memory": 0.05, "step": 0.7},
            {"threads": 2, "objects": 1, "backbone": 0.2, "encoder": 0.1, "decoder": 0.1, "memory": 0.01, "step": 0.5}]
    axes = stage_bars(rows).axes[0]
    bars = [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in axes.patches]
    assert bars == [(0, 100), (0, 200), (100, 200), (200, 100), (300, 300), (300, 100), (600, 50), (400, 10)]
    assert [text.get_text() for text in axes.texts] == ["1.4 frames a second", "2.0 frames a second"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3 objects, 1 thread", "1 object, 2 threads"]


def test_a_file_of_weights_is_described_whole_or_refused(tmp_path, tiny_weights, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = weights.load(tiny_weights)
    own = weights.save(network, tmp_path / "run" / "weights.safetensors", step=7, terms="none")
    for name in ("run/weights.safetensors", "run"):
        assert main(["model", name, "--size", "48x80"]) == 0
        first, *table = capsys.readouterr().out.splitlines()
        assert first == f"{name}: weights; step 7; for frames of up to {network.longest} pixels; terms: none"
        assert main(["model", "sst-tiny", "--size", "48x80"]) == 0
        assert table[1:] == capsys.readouterr().out.splitlines()[1:]
    before = own.read_bytes()
    assert main(["model", "run", "--json", str(own)]) == 2 and own.read_bytes() == before
    assert "which is read" in capsys.readouterr().err
    own.write_bytes(before[:-1])
    for name, words in (("run", "weights.safetensors is not a safetensors file"),
                        ("gone.safetensors", "no weights 'gone.safetensors'")):
        assert main(["model", name]) == 2 and words in capsys.readouterr().err
