"""Records are whole or absent; sweeps know what is missing; tables come from records alone."""

import dataclasses
import json
import re
import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest

from sstlib import paths, releasing, reproduction, weights
from sstlib.cli import main
from sstlib.config import MODELS, RunConfig, TrainingConfig
from sstlib.datasets import DATASETS, Benchmark, sst_occlusion
from sstlib.evaluation import evaluate_clips
from sstlib.experiments import (
    SWEEPS,
    RunRecord,
    evidence,
    findings,
    missing,
    plans,
    records,
    run,
    table_files,
    tables,
    validation,
)
from sstlib.experiments.sweeps import SEEDS, variants
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.releasing import card
from sstlib.reproduction import runs as sweep
from sstlib.statistics.uncertainty import bootstrap
from sstlib.training.checkpoint import write_curve
from sstlib.video import write_mask


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    monkeypatch.setattr(paths, "TABLES", tmp_path / "tables")
    return tmp_path


def record_of(variant, seed, score):
    one = run(variant, seed)
    return RunRecord(one.experiment, variant, seed, one.config.to_dict(),
                     {"J&F": score, "J": score - 0.1, "F": score + 0.1},
                     {"training_seconds": 60.0, "frames_per_second": 10.0, "parameters": 800_000})


def test_a_record_is_read_back_as_written(runs):
    record = record_of("base", 1, 0.5)
    assert records.read(record.write()) == record
    assert [path.name for path in runs.rglob("*") if path.is_file()] == ["base-seed1.json"]


def test_missing_runs_are_those_without_a_record_of_their_configuration(runs):
    assert len(missing(SWEEPS["history"])) == 3 * len(SEEDS)
    path = record_of("base", 0, 0.5).write()
    assert len(missing(SWEEPS["history"])) == 3 * len(SEEDS) - 1
    values = json.loads(path.read_text())
    values["config"]["training"]["steps"] += 1
    path.write_text(json.dumps(values))
    assert len(missing(SWEEPS["history"])) == 3 * len(SEEDS)


def test_a_run_shared_by_sweeps_is_missing_once(runs):
    paths_of_all = [one.record_path for one in missing(SWEEPS.values())]
    assert len(paths_of_all) == len(set(paths_of_all)) == sum(one.short for one in variants().values()) * len(SEEDS)


def test_every_variant_is_shown_in_some_sweep():
    assert {variant for sweep in SWEEPS.values() for variant in sweep.labels_of(short=False)} == set(variants())


def test_a_broken_record_is_named(runs):
    path = record_of("base", 0, 0.5).write()
    path.write_text("{")
    with pytest.raises(ValueError, match="base-seed0.json is not a run record"):
        missing(SWEEPS["history"])


def damaged(**changes):
    return json.dumps(dataclasses.asdict(record_of("base", 0, 0.5)) | changes)


DAMAGED = {
    "another kind of JSON": ("[]", r"holds \[\]; expected a JSON object"),
    "null": ("null", "holds None"),
    "cut off": ('{"experiment": "short"', "is not JSON"),
    "a key of its own": (damaged(extra=1), "a key is 'extra'; expected one of 'experiment'"),
    "no metrics": (damaged(metrics=None), "metrics is None"),
    "a seed that is none": (damaged(seed="0"), "seed is '0'; expected a whole number"),
    "a list of metrics": (damaged(metrics=[]), r"metrics is \[\]; expected an object"),
    "twice a key": ('{"seed": 0, "seed": 1}', "the key 'seed' is there twice"),
    "nothing in it": ("{}", "the key 'experiment' is missing"),
    "not a number": (damaged(metrics={"J&F": float("nan")}), "NaN is no number"),
    "deep": ('{"config": ' * 100_000, "nested too deeply"),
    "no text": ("\x00\xff", "is not JSON"),
}


@pytest.mark.parametrize("text, message", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("command",
                         [["sweep", "history", "--list"], ["sweep", "history", "--only", "base", "--seed", "0"]],
                         ids=["list", "make"])
def test_a_damaged_record_is_one_line_and_is_kept(runs, text, message, command, capsys):
    path = record_of("base", 0, 0.5).write()
    path.write_text(text, encoding="latin-1")
    assert main(command) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and f"{path} is not a run record" in output and re.search(
        message, output) and "delete it and run the sweep again" in output
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("value", [None, "0.5", 1.5, -0.1, True, []])
def test_a_score_that_is_none_is_named_with_its_record(runs, value):
    path = record_of("base", 0, 0.5).write()
    path.write_text(damaged(metrics={"J&F": value, "J": 0.1, "F": 0.1}))
    with pytest.raises(ValueError,
                       match=r"short/base-seed0.json: metrics.J&F is .*expected a number of at least 0 and at most 1"):
        tables.measured("history")


def test_a_record_of_another_configuration_is_named_where_that_is_no_configuration(runs):
    path = record_of("base", 0, 0.5).write()
    values = json.loads(path.read_text())
    values["config"]["model"]["history"] = "three"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="base-seed0.json: config.model.history is 'three'; expected a whole number"):
        missing(SWEEPS["history"])
    values["config"]["model"].pop("history")  # as before there was the field: its default, 3, is what the base run has
    path.write_text(json.dumps(values))
    assert run("base", 0).done


def test_a_reused_record_says_which_code_made_it(runs, capsys):
    one = record_of("base", 0, 0.5)
    other = dataclasses.replace(one, seed=1, config=run("base", 1).config.to_dict(),
                                provenance={"commit": "0123456789ab", "code": "of another day"})
    dataclasses.replace(one, provenance=provenance("generated")).write()
    other.write()
    assert run("base", 0).done and run("base", 1).done and run("base", 0).note == ""
    assert main(["sweep", "history", "--list"]) == 0
    assert "1 of them made by other code, commit 0123456789ab; sst sweep --fresh makes them again" in capsys.readouterr(
    ).out
    tasks = [sweep.task("history", run("base", seed)) for seed in (0, 1)]
    with reproduction.Engine() as engine:
        message = reproduction.summary(engine.run(tasks))
    assert [line.split(maxsplit=4)[3:] for line in message.splitlines()[:2]] == [["reused"], ["reused", "made by other "
                                                                                                     "code, commit "
                                                                                                     "0123456789ab; "
                                                                              "sst sweep --fresh makes them again"]]


def test_what_a_stopped_scoring_left_is_checked(tmp_path):
    [clip] = [clip for clip in sst_occlusion.clips("mini") if clip.value == 0]
    (tmp_path / f"{clip.name}.json").write_text('{"seconds": "soon", "frames": 3}')
    with pytest.raises(ValueError, match=f"{clip.name}.json: seconds is 'soon'; expected a number .*delete it"):
        validation.predict(build(MODELS["sst-tiny"]), [clip], tmp_path)


def test_unknown_variant_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown variant 'grid-9'; known: encoding-none"):
        run("grid-9", 0)


def test_table_holds_mean_and_spread_of_the_records(runs):
    for seed, score in enumerate((0.5, 0.6, 0.7)):
        record_of("base", seed, score).write()
    table = tables.measured("history").set_index("variant")
    np.testing.assert_allclose(table.loc["3", ["J&F", "J&F sd", "J"]].astype(float), [60, 10, 50])
    assert table.loc["1", "runs"] == 0 and np.isnan(table.loc["1", "J&F"])


@pytest.mark.parametrize("sweep", ["encoding", "history", "pattern"])
def test_published_columns_find_their_variants(runs, sweep):
    number = {"encoding": "3", "history": "4", "pattern": "5"}[sweep]
    printed = evidence.table(plans.read(), sweep)[evidence.PAPER]
    assert sorted(printed[printed != "–"].astype(float)) == sorted(tables.published(number)["J&F"])


def test_published_overall_scores_are_the_means_that_they_claim_to_be():
    for table, printed_wrong in (("2", {"PReMVOS"}), ("5", set())):
        frame = tables.published(table).dropna()
        far = frame[(frame["J&F"] - (frame["J"] + frame["F"]) / 2).abs() > 0.0501]
        assert set(far.get("method", far.iloc[:, 0])) == printed_wrong


def test_markdown_rounds_and_dashes():
    frame = tables.pd.DataFrame({"method": ["a"], "J": [75.44], "F": [np.nan], "ok": [True]})
    assert tables.markdown(frame) == "| method | J | F | ok |\n| --- | --- | --- | --- |\n| a | 75.4 | – | yes |\n"


def test_tables_for_people_have_intervals_beside_their_values():
    frame = pd.DataFrame({"J_seen": [80.0, 81.0], "mean": [-1.04, np.nan], "low": [-2.0, np.nan],
                          "high": [-0.04, np.nan], "even": [1.0, 2.0]})
    shown = table_files.readable(frame)
    assert list(shown) == ["J seen", "difference (95%)", "even"]
    assert shown["difference (95%)"].tolist() == ["-1.0 (-2.0 to +0.0)", "–"]
    shares = table_files.readable(frame.rename(columns={"mean": "share"}))
    assert shares["share (95%)"][0] == "-1.0 (-2.0 to 0.0)"


def test_tables_are_written_whole(runs, tmp_path):
    written = table_files.write_tables(tmp_path / "tables")
    assert {"encoding.csv", "history.md", "pattern.csv", "rivals.csv", "davis2016.csv",
            "published-2.md"} <= {path.name for path in written}
    assert not list((tmp_path / "tables").glob(".*"))


def test_implied_contour_of_the_published_tables():
    rows = findings.implied_contour(["1a", "1b", "6"]).set_index(["table", "method"])
    np.testing.assert_allclose(rows.loc[("YouTube-VOS 2018 validation", "CFBI"), "implied mean F"], 84.6)
    np.testing.assert_allclose(rows.loc[("YouTube-VOS 2019 validation", "SST (Local)"), "implied mean F"], 84.85)


def test_masks_of_a_rival_are_no_result_of_this_project():
    table = pd.DataFrame([["OSVOS", "tests", 90.0, 90.0, 90.0, np.nan],
                          ["sst-small", "generated", 60.0, 60.0, 60.0, np.nan],
                          ["CFBI", "DAVIS", np.nan, np.nan, np.nan, 50.0]],
                         columns=["method", "training", "J&F", "J", "F", "published J&F"])
    *rows, best = findings.standing(table).splitlines()
    assert "published masks" in rows[0] and "published masks" not in rows[1]
    assert "networks is sst-small, 60.0: 30.0 points below OSVOS's masks, 90.0 (95% over sequences: " in best
    assert ", 10.0 points above CFBI's published score (DAVIS), 50.0." in best
    scores = findings.davis2016_sequences()
    ahead = bootstrap({name: [score] for name, score in (scores["OSVOS"] - scores["sst-small"]).items()})
    assert f": {ahead.high:.1f} below to {ahead.low:.1f} below)" in best and ahead.low > 0


@pytest.fixture
def finished(tmp_path, runs, monkeypatch):
    """A folder as `sst train` leaves it, and results in a temporary folder."""
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path / "weights")
    config = RunConfig(MODELS["sst-tiny"], TrainingConfig(steps=700))
    curve = [{"step": n, "loss": 1 / n, "gradient_norm": 1.0, "learning_rate": 0.1, "seconds": 2.0 * n}
             for n in range(1, 701)]
    curve[-1]["probe_J"] = 0.5
    write_curve(tmp_path / "run" / "curve.csv", curve)
    weights.save(build(config.model), tmp_path / "run" / "weights.safetensors", run=config.to_dict(), step=700,
                 origin=provenance("generated"))
    return tmp_path / "run"


def runs_of(name):
    return paths.RUNS / "releases" / f"{name}-curve.csv"


def test_a_release_is_loaded_by_name_and_says_its_terms(finished):
    assert main(["release", str(finished), "sst-test", "--data", "davis2016"]) == 0
    written = [paths.WEIGHTS / "sst-test.safetensors", runs_of("sst-test"), paths.WEIGHTS / "sst-test.md"]
    assert all(path.exists() for path in written)
    assert weights.load("sst-test").config == MODELS["sst-tiny"]
    text = written[-1].read_text()
    assert "Non-commercial" in text and "No record of these weights yet" in text
    assert "Random weights to begin with" in text
    thin = tables.pd.read_csv(written[1])
    assert len(thin) <= records.CURVE_ROWS and thin["step"].iloc[-1] == 700 and thin["probe_J"].iloc[-1] == 0.5


def test_a_release_works_at_the_size_that_was_chosen_for_it(finished, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    assert main(["release", str(finished), "sst-test", "--data", "generated", "--longest", "640"]) == 0
    assert weights.load("sst-test").longest == 640 and weights.facts("sst-test")["longest"] == 640
    assert "frames of at most 640 pixels" in (paths.WEIGHTS / "sst-test.md").read_text()
    again = finished.parent / "again"
    shutil.copytree(finished, again)
    shutil.copy(paths.WEIGHTS / "sst-test.safetensors", again / "weights.safetensors")
    assert main(["release", str(again), "sst-other", "--data", "generated", "--longest", "512"]) == 0
    assert weights.load("sst-other").longest == 512
    before, picture = weights.facts("sst-other"), paths.FIGURES / "sst-other" / "failure-1.jpg"
    picture.parent.mkdir(parents=True)
    picture.touch()
    assert main(["release", "sst-other", "--longest", "512"]) == 0 and picture.exists(), "nothing has changed"
    assert main(["release", "sst-other", "--longest", "480"]) == 0 and not picture.exists()
    assert weights.facts("sst-other") == before | {"longest": 480}, "what was trained is what it was"
    assert "frames of at most 480 pixels" in (paths.WEIGHTS / "sst-other.md").read_text()
    assert main(["release", "sst-other", "--start", "sst-test"]) == 2
    assert "--start only with them" in capsys.readouterr().err
    assert main(["release", "nothing-of-that-name", "--longest", "480"]) == 2
    assert "nothing-of-that-name" in capsys.readouterr().err


def test_a_release_closes_at_the_presence_that_was_chosen_for_it(finished, capsys):
    assert main(["release", str(finished), "sst-test", "--data", "generated", "--gate", "0.1"]) == 2
    assert "presence_gate" in capsys.readouterr().err  # of a network without a presence head
    network = build(MODELS["sst-tiny"].replace(presence=True, presence_gate=0.4))
    file = finished / "weights.safetensors"
    facts = {key: value for key, value in weights.facts(file).items() if key in ("run", "step", "origin")}
    weights.save(network, file, **facts)
    assert main(["release", str(finished), "sst-test", "--data", "generated"]) == 0
    assert weights.load("sst-test").config.presence_gate == 0.4
    assert main(["release", str(finished), "sst-test", "--data", "generated", "--gate", "0.1"]) == 0
    assert weights.load("sst-test").config == network.config.replace(presence_gate=0.1)
    tensors = weights.load("sst-test").state_dict()
    for gate in (0.3, 0.0):
        assert main(["release", "sst-test", "--gate", str(gate)]) == 0
        changed = weights.load("sst-test")
        assert changed.config == network.config.replace(presence_gate=gate)
        assert all(tensor.equal(tensors[key]) for key, tensor in changed.state_dict().items())
        assert ("| presence_gate | 0.3 |" in (paths.WEIGHTS / "sst-test.md").read_text()) == (gate == 0.3)
    assert weights.facts("sst-test")["run"] == facts["run"], "what was trained is what it was"


def test_an_unfinished_run_is_not_released(finished):
    facts = weights.facts(finished / "weights.safetensors")
    weights.save(weights.load(finished / "weights.safetensors"), finished / "weights.safetensors", run=facts["run"],
                 step=10, origin=facts["origin"])
    with pytest.raises(ValueError, match="stopped at step 10 of 700"):
        releasing.release(finished, "sst-test", "generated")
    with pytest.raises(ValueError, match="no stated terms; known: generated, photographs, davis2016"):
        releasing.release(finished, "sst-test", "imagenet")


@pytest.mark.parametrize("name", ["", ".", "..", "../figures", "a/b", "/tmp/x", "-x y", ".hidden"])
def test_a_release_is_named_as_one_file_or_nothing_is_touched(finished, monkeypatch, tmp_path, name):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    (tmp_path / "figures" / "of-another").mkdir(parents=True)
    assert main(["release", "--data", "generated", "--", str(finished), name]) == 2
    assert (tmp_path / "figures" / "of-another").is_dir()


def test_a_run_that_cannot_be_released_loses_nothing_of_the_release_before_it(finished, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    releasing.release(finished, "sst-test", "generated")
    (tmp_path / "figures" / "sst-test").mkdir(parents=True)
    before = {path: path.read_bytes() for path in paths.WEIGHTS.iterdir()}
    facts = weights.facts(finished / "weights.safetensors")
    network = build(MODELS["sst-tiny"])
    for damage, message in ((lambda: weights.save(network, finished / "weights.safetensors", step=700),
                             "tells of no run: its metadata lacks run, origin"),
                            (lambda: weights.save(network, finished / "weights.safetensors", **facts | {"run": 5}),
                             "run.the configuration is 5"), (lambda: (finished / "curve.csv").write_text("step,loss\n"),
                                                             "curve.csv lacks step, loss")):
        weights.save(network, finished / "weights.safetensors",
                     **{key: value for key, value in facts.items() if key != "config"})
        damage()
        assert main(["release", str(finished), "sst-test", "--data", "generated"]) == 2
        assert message in capsys.readouterr().err
    network.decoder.get_parameter(next(name for name, _ in network.decoder.named_parameters())).data.fill_(float("nan"))
    write_curve(finished / "curve.csv",
                [{"step": 700, "loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.1, "seconds": 2.0}])
    weights.save(network, finished / "weights.safetensors",
                 **{key: value for key, value in facts.items() if key != "config"})
    assert main(["release", str(finished), "sst-test", "--data", "generated"]) == 2
    assert "not finite" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in paths.WEIGHTS.iterdir()
            } == before and (tmp_path / "figures" / "sst-test").is_dir()


def test_a_release_is_not_made_from_itself(finished, capsys):
    (paths.WEIGHTS).mkdir()
    shutil.copyfile(finished / "curve.csv", paths.WEIGHTS / "curve.csv")
    shutil.copyfile(finished / "weights.safetensors", paths.WEIGHTS / "weights.safetensors")
    assert main(["release", str(paths.WEIGHTS), "weights", "--data", "generated"]) == 2
    assert "which is read" in capsys.readouterr().err


@pytest.mark.parametrize("name, made", [("davis2016", tables.davis2016), ("releases", evidence.releases),
                                        ("networks", tables.networks)])
def test_the_tables_of_the_readme_are_those_made_from_records(name, made):
    table = made()
    if not len(table):
        pytest.skip("nothing was scored yet")
    path = paths.TABLES / f"{name}.md"
    assert path.exists() and tables.markdown(
        table) == path.read_text(), "`sst reproduce` writes the table from the records"
    assert path.read_text() in (paths.ROOT / "README.md").read_text(), f"put results/tables/{name}.md into README.md"


@pytest.fixture
def started(finished, tmp_path):
    """The folder of a run that started from the release sst-old, and that release."""
    facts = weights.facts(finished / "weights.safetensors")
    network, run = weights.load(finished / "weights.safetensors"), facts["run"]
    early = facts["origin"] | {"finished": "2026-01-01T00:00:00Z"}
    weights.save(network, paths.WEIGHTS / "sst-old.safetensors", run=run, step=700, origin=early,
                 training_seconds=600.0)
    run = run | {"training": run["training"] | {"start": "sst-old"}}
    weights.save(network, finished / "weights.safetensors", run=run, step=700, origin=facts["origin"])
    return finished


def test_a_card_tells_of_every_run_since_random_weights(started):
    releasing.release(started, "sst-new", "generated")
    assert [run["name"] for run in weights.lineage("sst-new")] == ["sst-old", "sst-new"]
    text = (paths.WEIGHTS / "sst-new.md").read_text()
    assert "Random weights to begin with" in text and "Cost: 33 minutes in all" in text  # 600 s and 2 x 700 s
    assert len([line for line in text.splitlines() if "no real frame" in line]) == 2
    releasing.release(started, "sst-new", "generated")
    assert (paths.WEIGHTS / "sst-new.md").read_text() == text, "released again it is the same"


def test_a_release_of_the_same_name_keeps_the_one_before_as_its_ancestor(started):
    for _ in range(2):
        releasing.release(started, "sst-old", "generated")
        assert len(weights.lineage("sst-old")) == 2


def test_runs_before_the_oldest_that_a_file_tells_of_come_from_its_start(started):
    file = started / "weights.safetensors"
    facts = {key: value for key, value in weights.facts(file).items() if key != "config"}
    again = facts["run"] | {"training": facts["run"]["training"] | {"start": "sst-mid"}}
    weights.save(weights.load(file), file,
                 **facts | {"run": again, "ancestry": [facts | {"name": "sst-mid", "training_seconds": 60.0}]})
    releasing.release(started, "sst-new", "generated")
    assert [run["name"] for run in weights.lineage("sst-new")] == ["sst-mid", "sst-new"]
    releasing.release(started, "sst-new", "generated", start="sst-old")
    assert [run["name"] for run in weights.lineage("sst-new")] == ["sst-old", "sst-mid", "sst-new"]
    assert "Random weights to begin with" in (paths.WEIGHTS / "sst-new.md").read_text()


def test_a_start_that_was_made_after_the_run_is_no_start_of_it(started):
    old = paths.WEIGHTS / "sst-old.safetensors"
    facts = weights.facts(old)
    earlier = weights.save(weights.load(old), paths.WEIGHTS.parent / "kept.safetensors",
                           **{k: v for k, v in facts.items() if k != "config"})
    late = facts["origin"] | {"finished": "2199-01-01T00:00:00Z"}
    weights.save(weights.load(old), old, run=facts["run"], step=700, origin=late)
    with pytest.raises(ValueError, match="was made later; name a copy of what it was by --start FILE"):
        releasing.release(started, "sst-new", "generated")
    assert main(["release", str(started), "sst-new", "--data", "generated", "--start", str(earlier)]) == 0
    assert [run["name"] for run in weights.lineage("sst-new")] == ["kept", "sst-new"]


def test_a_card_says_in_what_its_network_is_not_the_papers(finished):
    releasing.release(finished, "sst-test", "generated")
    text = (paths.WEIGHTS / "sst-test.md").read_text()
    rows = {
        line.split(" | ")[0].strip("| "): line for line in text.split("the paper's |")[1].splitlines()
        if line.startswith("| ")
    }
    differing = {
        name for name, value in MODELS["sst-tiny"].to_dict().items()
        if value != MODELS["sst-r101-paper"].to_dict()[name]
    }
    assert set(rows) - {"---", "run", "1"} == differing and rows["norm"] == "| norm | layer | frn |"
    assert "no step was picked by a score" in text and "The recipe was" not in text


@pytest.mark.parametrize("name", ["sst-photo", "sst-small", "sst-small-davis2016"])
def test_the_cards_are_those_made_from_records(name):
    path = paths.WEIGHTS / f"{name}.md"
    assert card.card(name) == path.read_text(), "`sst release NAME` writes the card"


def small_benchmark():
    return dataclasses.replace(DATASETS["sst-occlusion"],
                               benchmark=Benchmark("mini", "mini", lambda clip: clip.value in (0, 2)))


def test_a_scoring_makes_each_clip_once(tmp_path, monkeypatch):
    """More of them than are held at a time."""
    entry = small_benchmark()
    some = dataclasses.replace(entry.benchmark, chosen=lambda clip: clip.axis == "length" and clip.value < 4)
    monkeypatch.setitem(DATASETS, "sst-occlusion", dataclasses.replace(entry, benchmark=some))
    rendered, render = [], sst_occlusion.render
    monkeypatch.setattr(sst_occlusion, "render", lambda *given: rendered.append(given) or render(*given))
    sst_occlusion._rendered.cache_clear()
    _, floors, seconds, frames = validation._scored(build(MODELS["sst-tiny"]), "sst-occlusion", tmp_path)
    assert len(rendered) == len(set(rendered)) == len(floors.scores["first mask copied"]) == 3
    assert frames == 22 + 23 + 24 - 3 and seconds > 0


def test_a_stopped_scoring_goes_on_and_its_record_makes_the_card(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(paths, "TABLES", tmp_path / "tables")
    monkeypatch.setitem(DATASETS, "sst-occlusion", small_benchmark())
    for name in ("sst-occlusion-2", "fast-objects"):
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], benchmark=None))
    monkeypatch.delenv("SST_DAVIS", raising=False)
    releasing.release(finished, "sst-test", "generated")
    first, second = validation.sequences_of("sst-occlusion")
    folder = validation.predictions("sst-test", "sst-occlusion")
    validation.predict(weights.load("sst-test"), [first], folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert main(["release", "sst-test", "--score"]) == 0
    assert len(before) == len(first) and {path: path.stat().st_mtime_ns for path in before} == before
    record = validation.record_of("sst-test", "sst-occlusion")
    truth = evaluate_clips(folder, "mini", sequences=[first.name, second.name])
    assert record.metrics["J&F"] == pytest.approx(truth.overall()["J&F"].mean, rel=1e-6)
    for clip in (first, second):
        for frame in clip.frame_names:
            write_mask(tmp_path / "copied" / clip.name / f"{frame}.png", clip.label(0))
    copied = evaluate_clips(tmp_path / "copied", "mini", sequences=[first.name, second.name]).overall()["J&F"].mean
    assert record.metrics["floors"]["first mask copied"] == pytest.approx(copied, rel=1e-6)
    text = (paths.WEIGHTS / "sst-test.md").read_text()
    assert "over the length of an occlusion stands here" in text and "| 0 | 1 |" not in text
    assert f"A copied first mask scores J&F {100 * copied:.1f} on mini." in text
    assert "../figures/sst-test/failure-2.jpg" in text and not list((tmp_path / "runs").glob("sst-occlusion/.*"))
    weights.save(build(MODELS["sst-tiny"]), paths.WEIGHTS / "sst-test.safetensors", step=1)
    assert validation.record_of("sst-test", "sst-occlusion") is None, "a record is of the very weights"
    releasing.release(finished, "sst-test", "generated", None)
    weights.save(build(MODELS["sst-tiny"]), paths.WEIGHTS / "sst-test.safetensors",
                 **{k: v for k, v in weights.facts("sst-test").items() if k != "config"})
    validation.score("sst-test", "sst-occlusion")
    assert [one["J&F"] for one in validation.earlier("sst-test", "sst-occlusion")] == [record.metrics["J&F"]]
    assert f"weights were scored on the same sequences (mini: J&F {100 * record.metrics['J&F']:.1f})" in card.card(
        "sst-test")


def test_masks_of_others_become_a_row(runs, tmp_path):
    masks = tmp_path / "masks"
    for t in range(4):
        label = np.zeros((20, 30), np.uint8)
        label[5:10, 5 + t:12 + t] = 1
        write_mask(masks / "cow" / f"{t:05d}.png", label)
    call = [
        "evaluate",
        str(masks),
        str(masks), "--row", "OTHERS", "--trained-on", "ImageNet", "--processes", "1", "--protocol"
    ]
    assert main([*call, "davis2017"]) == 2
    assert main([*call, "davis2016"]) == 0
    row = tables.davis2016().set_index("method").loc["OTHERS"]
    assert (row["J&F"], row["training"]) == (100, "ImageNet")
    assert "| OTHERS | ImageNet | 100.0 |" in (paths.TABLES / "davis2016.md").read_text()


def test_a_release_goes_to_the_hub_with_its_card(finished, monkeypatch, tmp_path):
    hub_mixin = pytest.importorskip("huggingface_hub.hub_mixin", reason="the optional huggingface_hub is not installed")

    class Hub:
        def __init__(self, **options):
            pass

        def create_repo(self, repo_id, **options):
            return types.SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **options):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(hub_mixin, "HfApi", Hub)
    releasing.release(finished, "sst-test", "davis2016")
    assert main(["release", "sst-test", "--push", "someone/sst-test"]) == 0
    pushed = tmp_path / "hub" / "someone" / "sst-test"
    assert (pushed / "README.md").read_text().startswith("---\nlicense: cc-by-nc-4.0\n")
    assert (pushed / "model.safetensors").read_bytes() == (paths.WEIGHTS / "sst-test.safetensors").read_bytes()
    assert weights.load(pushed).config == MODELS["sst-tiny"]


def test_a_push_without_its_package_is_refused_before_anything_is_written(finished, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["release", str(finished), "sst-test", "--data", "davis2016", "--push", "someone/sst-test"]) == 2
    assert "pip install 'sstlib[hub]'" in capsys.readouterr().err
    assert not list(paths.WEIGHTS.glob("sst-test*"))
