"""One entry is all that a new thing needs: a toy of each kind is added and walks from its text to table and figure."""

import dataclasses
import json
import re
import types

import loops
import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
import torch
from test_attention_patterns import hold

from sstlib import datasets, paths, weights
from sstlib.attention import choice, explain, implementations, portable, sparse_attention
from sstlib.benchmarks import BENCHMARKS, Benchmark, against_dense, attention, costs, training
from sstlib.benchmarks.anatomy import anatomy
from sstlib.cli import main
from sstlib.config import MODELS, RunConfig, TrainingConfig
from sstlib.config.entries import Registry
from sstlib.config.networks import BACKBONES, DECODERS, ENCODINGS, METHODS, Backbone, Decoder, Encoding, Method
from sstlib.config.values import Whole
from sstlib.connectivity import Local
from sstlib.datasets import DATASETS, DataSet, samples, sst_occlusion
from sstlib.datasets.registry import tree
from sstlib.evaluation import folders
from sstlib.experiments import SWEEPS, RunRecord, evidence, findings, plans, records, run, tables
from sstlib.experiments.sweeps import SEEDS, VARIANTS, Variant
from sstlib.metrics import METRICS, Metric
from sstlib.model import Propagator, build
from sstlib.model.layers import Levels
from sstlib.plots.architecture import architecture
from sstlib.plots.curves import sequence_bars, step_stages
from sstlib.plots.differences import scores_above
from sstlib.plots.scaling import cost_dots
from sstlib.provenance import provenance
from sstlib.releasing import real_frames
from sstlib.training import loop
from sstlib.training.checkpoint import write_curve
from sstlib.video import write_mask


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where everything of a test is written."""
    for name in ("RESULTS", "RUNS", "TABLES", "WEIGHTS", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path if name == "RESULTS" else tmp_path / name.lower())
    monkeypatch.setenv("SST_DAVIS", "")
    return tmp_path


@pytest.fixture
def add():
    """Enters a toy in a registry for the length of a test."""
    entered = []

    def enter(registry, entry, **options):
        entered.append((registry, registry.add(entry, **options)))
        return entry
    yield enter
    for registry, entry in entered:
        del registry[entry.name]


def labels_of(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_a_registry_refuses_a_name_twice_and_names_what_it_has():
    registry = Registry("variant", Variant("one", {}, {}))
    with pytest.raises(ValueError, match="there is a variant 'one' already"):
        registry.add(Variant("one", {"history": 2}, {}))
    with pytest.raises(ValueError, match="unknown variant 'two'; known: one"):
        registry.find("two")
    assert registry.add(Variant("two", {}, {})) is registry.find("two") and list(registry) == ["one", "two"]
    registry.add(Variant("three", {}, {}), before="two")
    assert list(registry) == ["one", "three", "two"]
    with pytest.raises(ValueError, match="unknown variant 'five'"):
        registry.add(Variant("four", {}, {}), before="five")
    assert "four" not in registry


def film(folder, sequences=("left", "right"), frames=5):
    """Clips of a bright square that moves, with its masks."""
    for number, name in enumerate(sequences):
        for t in range(frames):
            labels = np.zeros((48, 64), np.uint8)
            labels[10:30, 8 + 3 * t:28 + 3 * t] = 1
            picture = np.random.default_rng((number, t)).integers(0, 90, (48, 64, 3), np.uint8)
            picture[labels > 0] += 150
            write_mask(folder / "Annotations" / name / f"{t:05d}.png", labels)
            (folder / "JPEGImages" / name).mkdir(parents=True, exist_ok=True)
            samples.Image.fromarray(picture).save(folder / "JPEGImages" / name / f"{t:05d}.jpg")
    return folder


@pytest.fixture
def toy_data(add, tmp_path):
    for split in ("train", "val"):
        film(tmp_path / "toys" / split)
    return add(DATASETS, DataSet("toy-squares", tree(tmp_path / "toys"),
                                 ("train", "val"), terms="drawn for a test", derived="As toys are: for playing only.",
                                 license="other", protocol="davis2016", hidden=frozenset({"train"}),
                                 benchmark=datasets.Benchmark("val", "toy-squares val")))


def test_a_data_set_is_listed_scored_and_trained_on_by_its_name(toy_data, tmp_path, capsys):
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert "toy-squares\n  train: 2 sequences, 10 frames" in listed and "terms: drawn for a test" in listed
    call = ["evaluate", str(tmp_path / "toys" / "val" / "Annotations"), "--dataset", "toy-squares", "--processes", "1"]
    assert main([*call, "--json", str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["protocol"]["name"] == "davis2016" and record["global"]["J"]["mean"] == 1.0
    assert main([*call, "--split", "train"]) == 2 and "not public" in capsys.readouterr().err
    config = RunConfig().with_changes(["data.real=toy-squares", "data.real_ratio=1", "data.frames=3"])
    frames, labels = samples.training_sample(config.data, 0, 0)
    assert len(frames) == 3 and set(np.unique(labels)) <= {0, 1, 2, 3, 4, 255} and frames.max() > 150


def test_a_data_set_s_terms_are_in_the_card_and_its_scores_in_table_and_figure(toy_data, place, monkeypatch, capsys):
    for name in ("sst-occlusion", "sst-occlusion-2", "davis-occlusion"):  # an hour of segmenting
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], benchmark=None))
    config = RunConfig(MODELS["sst-tiny"], TrainingConfig(steps=2)).with_changes(
        ["data.real=toy-squares", "data.real_ratio=0.5"])
    weights.save(build(config.model), place / "run" / "weights.safetensors", run=config.to_dict(), step=2,
                 origin=provenance("toy-squares"))
    write_curve(place / "run" / "curve.csv", [{
        "step": 2, "loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.1, "seconds": 1.0}])
    assert main(["release", str(place / "run"), "sst-toy", "--data", "toy-squares", "--score"]) == 0
    assert "not scored on davis2016: no DAVIS folder" in capsys.readouterr().out
    card = (paths.WEIGHTS / "sst-toy.md").read_text()
    assert "As toys are: for playing only." in card and "| toy-squares val | 2 |" in card
    assert weights.facts("sst-toy")["trained_on"] == "toy-squares"
    [row] = tables.on_dataset("toy-squares").to_dict("records")
    record = records.read(records.record_path("toy-squares", "sst-toy", 0))
    assert row["method"] == "sst-toy" and row["J&F"] == pytest.approx(100 * record.metrics["J&F"])
    assert (paths.TABLES / "toy-squares.csv").exists(), "write_tables asks the registry"
    bars = sequence_bars(findings.sequences_on("toy-squares"))
    assert sorted(labels_of(bars.axes[0])) == ["left", "right"]


@pytest.mark.parametrize("given, message", [
    (dict(splits=("train", "test")), "data set toys: scored names the split 'val', and its splits are train, test"),
    (dict(hidden=frozenset({"secret"})), "hidden names the split 'secret'"),
    (dict(benchmark=datasets.Benchmark("test", "toys test")), "benchmark names the split 'test'"),
    (dict(protocol="davis"), "data set toys: unknown protocol 'davis'; known: davis2017"),
    (dict(name="toys+birds"), r"data set 'toys\+birds': \+ and \* join data sets")])
def test_a_data_set_that_cannot_be_used_is_refused_where_it_is_written(given, message, tmp_path):
    entry = dict(name="toys", open=tree(tmp_path), splits=("train", "val"), terms="", derived="", license="other")
    with pytest.raises(ValueError, match=message):
        DataSet(**entry | given)


def test_masks_made_elsewhere_are_a_row_of_a_data_set_s_table_and_figure(toy_data, place, capsys):
    call = ["evaluate", str(place / "toys" / "val" / "Annotations"), "--dataset", "toy-squares", "--processes", "1"]
    assert main([*call, "--row", "copies", "--trained-on", "nothing"]) == 0
    table = (paths.TABLES / "toy-squares.md").read_text()
    assert "| copies | nothing | 100.0 | 100.0 to 100.0 | 100.0 | 100.0 | – |" in table
    bars = sequence_bars(findings.sequences_on("toy-squares"))
    assert bars.axes[0].get_legend().get_texts()[0].get_text() == "copies, mean 100.0"
    assert main([*call, "--row", "copies", "--protocol", "davis2017"]) == 2
    assert "were scored as davis2017; use --dataset toy-squares" in capsys.readouterr().err
    assert main([*call, "--row", "half", "--sequences", "left"]) == 2
    assert "right is not in both these masks and row copies; score all of toy-squares val" in capsys.readouterr().err
    assert main([*call, "--row", "train", "--split", "train"]) == 2
    assert "holds rows of toy-squares val, not of train" in capsys.readouterr().err
    result = folders.evaluate(call[1], call[1], protocol="davis2016", processes=1)
    with pytest.raises(ValueError, match="no table of sst-occlusion, but of davis2016.*, toy-squares"):
        real_frames.published_masks_row("copies", result, "", "sst-occlusion")


def test_weights_of_several_data_state_all_of_their_terms():
    from sstlib.releasing.terms import terms_of, trained_on

    assert trained_on({"real": "", "photo_ratio": 0.0}) == "generated"
    assert trained_on({"real": "", "photo_ratio": 0.2}) == "photographs", "photographs are real frames, too"
    assert trained_on({"real": "davis2017*2+youtube2019", "photo_ratio": 0.1}) == "davis2017+youtube2019+photographs"
    terms, license = terms_of("davis2016+photographs")
    assert "DAVIS 2016" in terms and "ECSSD" in terms and license == "cc-by-nc-4.0"
    assert terms_of("generated") == terms_of("sst-occlusion") and terms_of("generated")[1] == "mit"
    assert terms_of("davis2016+davis-occlusion") == terms_of("davis2016"), "one source is named once"
    assert terms_of("sst-occlusion+photographs") == terms_of("photographs")
    for name in DATASETS:
        assert all(terms_of(name))


def test_the_benchmark_names_the_version_of_sst_occlusion():
    assert DATASETS["sst-occlusion"].benchmark.title.startswith(f"sst-occlusion {sst_occlusion.VERSION} test")


def test_a_variant_is_in_its_sweep_s_runs_table_and_figure(add, place, capsys):
    add(VARIANTS, Variant("toy-history", {"history": 5}, {"history": "five", "rivals": "SST, five frames"}))
    assert main(["sweep", "history", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"missing  history     short/toy-history-seed{seed}" in listed for seed in SEEDS)
    one = run("toy-history", 0)
    assert one.config.model == run("base", 0).config.model.replace(history=5) and not one.done
    metrics = {"J": 0.5, "F": 0.7, "J&F": 0.6, "after": {"0": 0.4, "2": 0.2}, "sequences": {}}
    RunRecord(one.experiment, one.variant, one.seed, one.config.to_dict(), metrics, {"parameters": 1e6}).write()
    assert run("toy-history", 0).done
    table = tables.measured("history").set_index("variant")
    assert table.loc["five", "J&F"] == 60 and list(table.index) == list(SWEEPS["history"].labels.values())
    rows = table.reset_index().rename(columns={"J&F": "mean"}).assign(low=np.nan, high=np.nan, printed=np.nan)
    assert "five" in labels_of(scores_above(rows, 20.0).axes[0])


def test_a_variant_that_no_plan_names_has_its_row_beside_the_plan_s(add, place):
    add(VARIANTS, Variant("toy-history", {"history": 5}, {"history": "five"}))
    plan = plans.read()
    assert "five" not in set(evidence.table(plan, "history")["variant"]), "nobody planned it, and there is no run"
    metrics = {"J": 0.5, "F": 0.7, "sequences": {name: {"J&F": 0.6} for name in "abc"},
               "floors": {evidence.COPIED: 0.2, evidence.NOTHING: 0.0}}
    one = plan.base.run("toy-history", 0)
    RunRecord(one.experiment, one.variant, 0, one.config.to_dict(), metrics, {"parameters": 1e6},
              {"computed_by": plan.computed_by}).write()
    assert evidence.table(plan, "history").set_index("variant").loc["five", "J&F"] == "60.0 (60.0 to 60.0)"
    labels = labels_of(scores_above(evidence.bars(plan, "history"), 20.0).axes[0])
    assert any(label.startswith("five") for label in labels)


class ToyBackbone(torch.nn.Module):
    """Averages over blocks of pixels, and a 1x1 convolution of each."""

    def __init__(self, config):
        super().__init__()
        self.channels = (3, config.embedding, 3)
        self.lift = torch.nn.Conv2d(3, config.embedding, 1)

    def forward(self, frame):
        low, middle, coarse = (torch.nn.functional.avg_pool2d(frame, n, ceil_mode=True) for n in (4, 8, 16))
        return Levels(low, self.lift(middle), coarse)


class ToyMethod(Propagator):
    """Remembers nothing but the latest masks."""

    def __init__(self, config):
        super().__init__(config, config.embedding, 1, 0)

    def store(self, features, cells, memory, grown):
        return {}, {}, {}

    def evidence(self, features, memory):
        return features.embedding, memory.recent[-1].memberships[:, :, None]


def trained(place, monkeypatch, *changes):
    """Two steps of `sst train` with some fields changed, and the network that it left."""
    monkeypatch.setattr(loop, "PROBE_CLIPS", 1)
    small = ["training.steps=2", "training.batch=1", "data.height=32", "data.width=48", "data.frames=3", *changes]
    assert main(["train", "tiny", "--out", str(place / "run"), "--workers", "0", "--threads", "1",
                 *(f"--set={change}" for change in small)]) == 0
    return weights.load(place / "run" / "weights.safetensors")


@pytest.mark.parametrize("variant, message", [
    (Variant("toy", {"hsitory": 5}, {"history": "five"}), "variant toy: hsitory: .* did you mean 'history'?"),
    (Variant("toy/2", {"history": 5}, {"history": "five"}), "variant 'toy/2' names .* without a slash"),
    (Variant("toy", {"history": 0}, {"history": "none"}), "variant toy: history is 0; expected a whole number"),
    (Variant("toy", {"history": 5}, {"histroy": "five"}), "variant toy: unknown sweep 'histroy'; known: encoding"),
    (Variant("toy", {"history": 5}, {"history": "3"}), "variants base and toy are both '3' in the table of history")])
def test_a_variant_that_cannot_be_is_named(variant, message, add, place, capsys):
    add(VARIANTS, variant)
    for base in ([], ["--base", "evidence"]):
        assert main(["sweep", "--list", *base]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_a_variant_of_other_bases_is_no_run_of_the_short_experiment(add, place, capsys):
    with pytest.raises(ValueError, match="there is a variant 'history-8' already"):
        VARIANTS.add(Variant("history-8", {"history": 8, "causal": True}, {"history": "eight"}))
    add(VARIANTS, Variant("toy", {"history": 9}, {"history": "nine"}, short=False))
    assert "toy" not in SWEEPS["history"].labels and main(["sweep", "history", "--only", "toy", "--list"]) == 2
    capsys.readouterr()
    assert main(["sweep", "history", "--base", "evidence", "--only", "toy", "--seed", "1", "--list"]) == 0
    assert capsys.readouterr().out.split() == ["missing", "history", "evidence/toy-seed1"]


class ToyDecoder(torch.nn.Module):
    """The mean of an object's evidence at the fine resolution."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, low, shared, evidence, instance, known):
        return torch.nn.functional.interpolate(self.gain * evidence.mean(2), low.shape[-2:])


def test_a_decoder_trains_by_its_name_and_is_in_weights_and_picture(add, place, monkeypatch):
    add(DECODERS, Decoder("toy", "mean of evidence", lambda config, *channels: ToyDecoder()))
    network = trained(place, monkeypatch, "model.decoder=toy")
    assert isinstance(network.decoder, ToyDecoder) and network.decoder.gain != 2
    picture = architecture(network.config, anatomy(network.config, 32, 48), "toy")
    assert any("mean of evidence" in text.get_text() for text in picture.axes[0].texts)
    with pytest.raises(ValueError, match="presence is read off the small decoder, and decoder is 'toy'"):
        network.config.replace(presence=True)


def test_an_encoding_trains_by_its_name_and_has_its_row_in_weights_picture_and_table(add, place, monkeypatch):
    add(ENCODINGS, Encoding("toy", lambda places, channels, base: places[:, None].expand(-1, channels) / 8))
    network = trained(place, monkeypatch, "model.encoding=toy")
    code = network.encoding(torch.tensor([0, 4]), 3, 9)[1, 2, 8]
    torch.testing.assert_close(code, torch.tensor([4 / 8, 2 / 8, 1]).repeat_interleave(
        torch.tensor(network.encoding.channels)))
    picture = architecture(network.config, anatomy(network.config, 32, 48), "toy")
    assert any("toy\nencoding" in text.get_text() for text in picture.axes[0].texts)
    add(VARIANTS, Variant("toy", {"encoding": "toy"}, {"encoding": "a toy"}))
    assert {"none", "sinusoidal", "a toy"} == set(tables.measured("encoding")["variant"])


def test_a_backbone_trains_by_its_name_and_is_in_weights_card_and_picture(add, place, monkeypatch):
    add(BACKBONES, Backbone("toy", "mean of blocks", ToyBackbone))
    network = trained(place, monkeypatch, "model.backbone=toy")
    assert isinstance(network.backbone, ToyBackbone) and network.config.backbone == "toy"
    assert main(["release", str(place / "run"), "sst-toy", "--data", "generated"]) == 0
    assert "| backbone | toy | resnet101 |" in (paths.WEIGHTS / "sst-toy.md").read_text()
    state = weights.load("sst-toy").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    picture = architecture(network.config, anatomy(network.config, 32, 48), "toy")
    assert any("mean of blocks" in text.get_text() for text in picture.axes[0].texts)


def test_a_method_trains_by_its_name_and_has_its_row_and_its_mark(add, place, monkeypatch):
    add(METHODS, Method("toy", "Toy", "memory of one mask", ToyMethod, "#abcdef", "*"))
    network = trained(place, monkeypatch, "model.method=toy")
    assert isinstance(network, ToyMethod)
    assert main(["release", str(place / "run"), "toy-tiny", "--data", "generated"]) == 0
    assert (paths.WEIGHTS / "toy-tiny.md").read_text().startswith("# toy-tiny\n\nToy, ")
    one = run("toy", 0)
    assert one.config.model.method == "toy" and one in SWEEPS["rivals"].runs()
    metrics = {"J": 0.5, "F": 0.7, "J&F": 0.6, "after": {"0": 0.4, "2": 0.2}, "sequences": {}}
    RunRecord(one.experiment, one.variant, one.seed, one.config.to_dict(), metrics, {"parameters": 1e6}).write()
    assert tables.measured("rivals").set_index("variant").loc["Toy", "J&F"] == 60
    axes = sequence_bars(pd.DataFrame({"Toy": [40.0, 20.0]}, ["a", "b"])).axes[0]
    assert axes.get_legend().get_texts()[0].get_text() == "Toy, mean 30.0"
    [line] = [line for line in axes.lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert line.get_xdata().tolist() == [40, 20] and matplotlib.colors.to_hex(line.get_color()) == "#abcdef"
    picture = architecture(network.config, anatomy(network.config, 32, 48), "toy")
    assert any("Memory of one mask" in text.get_text() for text in picture.axes[0].texts)


def test_a_benchmark_is_measured_by_its_name_and_its_record_is_a_table_and_a_figure(add, place, capsys):
    add(BENCHMARKS, Benchmark("toy", "how fast nothing is", lambda options, keep: {
        "kind": "benchmark", "name": "toy", "stages": {"asleep": 0.125, "awake": 0.25 * options.rounds}},
        lambda record: tables.markdown(training.table(record)), {"--rounds": {"kind": Whole(1, 9), "default": 2}}))
    call = ["bench", "toy", "--json", str(place / "toy.json")]
    assert main(call) == 0 and "| awake | 0.5 | 80.0 |" in capsys.readouterr().out
    record = json.loads((place / "toy.json").read_text())
    assert record == {"kind": "benchmark", "name": "toy", "stages": {"asleep": 0.125, "awake": 0.5}}
    axes = step_stages(record["stages"]).axes[0]
    assert labels_of(axes) == ["awake", "asleep"] and [bar.get_width() for bar in axes.patches] == [0.5, 0.125]
    assert [text.get_text() for text in axes.texts] == ["80%", "20%"]
    assert main([*call, "--rounds", "4"]) == 0
    assert json.loads((place / "toy.json").read_text())["stages"]["awake"] == 1
    assert main([*call, "--rounds", "10"]) == 2 and "at most 9" in capsys.readouterr().err
    assert main(["bench", "toys", "--json", "x"]) == 2 and "toy" in capsys.readouterr().err


def test_an_implementation_is_chosen_held_to_the_oracle_and_measured_for_table_and_figure(add, place, monkeypatch):
    calls = []

    def forward(query, *more):
        calls.append(query.shape)
        return portable.forward(query, *more)

    lacks = lambda pattern, dtype, device: "" if str(pattern).startswith("local") else "it knows Local alone"
    module = types.SimpleNamespace(lacks=lacks, forward=forward, backward=portable.backward)
    add(choice.FASTEST, choice.Implementation("toy", module, "the toy is for a test"), before="native")
    x = torch.randn(1, 2, 3, 5, 7, 4)
    name, reason = explain(x, x, x, "local(radius=1)")
    assert name == "toy" and reason.startswith("the toy is for a test")
    assert "'toy' cannot: it knows Local alone" in explain(x, x, x, "grid")[1] and "toy" in implementations()
    with pytest.raises(ValueError, match="'toy' cannot do this: it knows Local alone"):
        sparse_attention(x, x, x, "grid", implementation="toy")
    assert hold(Local(1), (3, 5, 7), 2, "toy") and hold(Local(1), (3, 5, 7), 3, "auto") and calls
    monkeypatch.setattr(attention, "SIZES", {"S1": attention.Buffer("S1", 2, 6, 7, 2, 4)})
    call = ["bench", "attention", "--quick", "--sizes", "S1", "--json", str(place / "own.json"), "--patterns"]
    assert main([*call, "local(radius=1)", "grid"]) == 0
    rows = json.loads((place / "own.json").read_text())["rows"]
    assert {(row["pattern"], row["direction"]) for row in rows if row["implementation"] == "toy"} == {
        ("local(radius=1)", attention.FORWARD), ("local(radius=1)", attention.BOTH)}
    rows = pd.DataFrame(rows)
    [forward, both] = rows[rows["implementation"] == "toy"].to_dict("records")
    table = against_dense(rows).loc["local(radius=1)", "toy"]
    assert table["ms"].to_list() == [forward["milliseconds"], both["milliseconds"]]
    assert table["x dense"].to_list() == [forward["ratio_to_dense"], both["ratio_to_dense"]]
    axes = cost_dots(costs(rows), {}).axes[0]
    assert labels_of(axes)[-1] == "local(radius=1), toy"
    places = [point for line in axes.lines for point in line.get_xydata().tolist()]
    assert [both["times_forward"], labels_of(axes).index("local(radius=1), toy")] in places


def test_frames_are_measured_by_name(place, capsys):
    call = ["bench", "frames", "--json", str(place / "frames.json"), "--model", "sst-tiny", "--height", "48"]
    assert main([*call, "--width", "64", "--rounds", "1"]) == 0
    record = json.loads((place / "frames.json").read_text())
    assert record["name"] == "frames" and record["size"] == [48, 64] and record["provenance"]["code"]
    assert record["seconds"].keys() == {"backbone", "encoder", "decoder", "memory", "step"}
    assert "backbone" in capsys.readouterr().out


@pytest.mark.parametrize("made_of", ["counts", "masks"])
def test_a_metric_is_in_screen_record_comparison_table_and_figure(add, place, capsys, monkeypatch, made_of):
    of_counts = lambda n: 2 * n[..., 0] / np.maximum(n[..., 0] + n[..., 1], 1)
    film(place / "truth")
    for path in (place / "truth" / "Annotations" / "left").iterdir():
        labels = np.roll(samples.np.asarray(samples.Image.open(path)), 4, 1)
        write_mask(place / "moved" / "left" / path.name, labels)
    call = ["evaluate", str(place / "moved"), str(place / "truth" / "Annotations"), "--sequences", "left"]
    call += ["--json", str(place / "record.json"), "--csv", str(place / "table.csv")]
    call += ["--protocol", "davis2016"]
    assert main(call) == 0 and "toy mean" not in capsys.readouterr().out
    add(METRICS, Metric("toy", "Dice", **{made_of: of_counts if made_of == "counts" else loops.dice}))
    assert main([*call, "--row", "moved"]) == 0, "a record without the metric is made again"
    message = capsys.readouterr().out
    expected = 2 * 16 / (20 + 20)  # of 20 columns 16 overlap
    assert "toy mean" in message and f"toy {100 * expected:.1f}" in message
    record = json.loads((place / "record.json").read_text())
    assert record["global"]["toy"]["mean"] == pytest.approx(expected)
    assert record["sequences"]["left"]["objects"]["1"]["toy_per_frame"] == pytest.approx([expected] * 3)
    assert "toy mean" in (place / "table.csv").read_text()
    monkeypatch.setattr(folders, "WORTHWHILE", 1)
    assert folders.evaluate(place / "moved", place / "truth" / "Annotations", protocol="davis2016", sequences=["left"],
                            processes=2).to_dict()["sequences"] == record["sequences"], "other processes know it, too"
    write_mask(place / "small" / "left" / "00001.png", np.zeros((4, 4), np.uint8))
    assert main(["evaluate", str(place / "small"), *call[2:4], "left", "--missing", "zeros"]) == 2
    assert "4 x 4 and the truth 48 x 64" in capsys.readouterr().err
    (place / "earlier.json").write_bytes((place / "record.json").read_bytes())
    assert main([*call, "--against", str(place / "earlier.json")]) == 0
    assert "toy +0.0" in capsys.readouterr().out
    assert "toy" not in tables.measured("history"), "no record of these has it"
    assert tables.davis2016().set_index("method").loc["moved", "toy"] == pytest.approx(100 * expected)
    RunRecord("davis2016", "older", 0, {}, {"J": 0.5, "F": 0.5, "J&F": 0.5, "sequences": {"left": {"J&F": 0.5}}},
              {}).write()
    assert np.isnan(tables.davis2016().set_index("method").loc["older", "toy"])
    axes = sequence_bars(findings.sequences_on("davis2016", "toy")).axes[0]
    assert axes.get_xlabel() == "toy (%)" and labels_of(axes) == ["left"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"moved, mean {100 * expected:.1f}"]
    assert pytest.approx([100 * expected, 0]) in [point for line in axes.lines for point in line.get_xydata().tolist()]
    add(METRICS, Metric("later", "toy", counts=of_counts))
    for name, words in (("later", "no record on davis2016 has later yet"), ("none", "unknown metric 'none'")):
        with pytest.raises(ValueError, match=words):
            findings.sequences_on("davis2016", name)
