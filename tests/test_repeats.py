"""Other seeds of a release's last run: what counts as one, what is kept of it, and the spread in the card."""

import numpy as np
import pytest
import torch

from sstlib import paths, releasing, weights
from sstlib.cli import main
from sstlib.config import MODELS, RunConfig, TrainingConfig
from sstlib.experiments import records, validation
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.releasing import card, repeats
from sstlib.training.checkpoint import write_curve

RELEASED = {"a": 0.6, "b": 0.8}  # J&F of two sequences; each other seed has as many hundredths more
BEFORE = {"name": "first", "step": 3, "origin": provenance("generated")}


def trained(folder, ancestry=(BEFORE,), **changes):
    """A folder as `sst train` leaves it, of a run that began with other weights."""
    training = TrainingConfig(steps=20, start="parts:somewhere").replace(**changes)
    config = RunConfig(MODELS["sst-tiny"].replace(presence=True, presence_gate=0.4), training)
    write_curve(folder / "curve.csv", [{"step": n, "loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.1,
                                        "seconds": 2.0 * n} for n in range(1, 21)])
    torch.manual_seed(training.seed)
    first = {"run": config.to_dict(), "training_seconds": 1.0}
    weights.save(build(config.model), folder / "weights.safetensors", run=config.to_dict(), step=20,
                 origin=provenance("generated"), ancestry=[first | one for one in ancestry])
    return folder


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A release of seed 0 with another gate and size than its run had, scored on one benchmark, and the files that are
    scored from then on.
    """
    for name in ("WEIGHTS", "RUNS", "RESULTS", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    two = {name: validation.benchmarks()[name] for name in ("sst-occlusion", "davis2016")}
    monkeypatch.setattr(validation, "benchmarks", lambda: two)
    files = []

    def score(name, benchmark):
        files.append(name)
        seed = weights.facts(name)["run"]["training"]["seed"]
        sequences = {key: {"J&F": value + seed / 100} for key, value in RELEASED.items()}
        metrics = {"J&F": 0.7 + seed / 100, "J": 0.7, "F": 0.7, "sequences": sequences}
        return records.RunRecord(benchmark, str(name), 0, {"weights": validation.fingerprint(name)}, metrics,
                                 {"frames_per_second": 1.0}, provenance("two sequences"))

    monkeypatch.setattr(validation, "scored", score)
    releasing.release(trained(tmp_path / "run"), "sst-test", "generated", longest=320, gate=0.1)
    validation.score("sst-test", "davis2016")
    files.clear()
    return files


def test_other_seeds_are_scored_as_the_release_is_and_their_spread_is_in_its_card(scored, tmp_path, capsys):
    assert "Trained once, with one seed." in card.card("sst-test") and "one was trained" in card.card("sst-test")
    for seed, precision in ((5, "bfloat16"), (2, "float32")):
        run = trained(tmp_path / f"run{seed}", seed=seed, precision=precision)
        assert main(["release", str(run), "sst-test", "--repeat"]) == 0
    file = scored[0]
    assert len(scored) == 2 and weights.facts(file)["longest"] == 320
    assert weights.load(file).config.presence_gate == 0.1 and not list(paths.WEIGHTS.glob("*seed*"))
    for key, tensor in weights.load(tmp_path / "run5" / "weights.safetensors").state_dict().items():
        assert tensor.equal(weights.load(file).state_dict()[key])
    [row] = repeats.table("sst-test").to_dict("records")
    assert {key: row[key] for key in ("data", "measure", "hidden for")} == {
        "data": "davis2016", "measure": "J&F", "hidden for": None}
    assert [row[key] for key in ("released", "seed 2", "seed 5 (bfloat16)")] == pytest.approx([70, 72, 75])
    assert (row["mean"], row["sd"]) == pytest.approx((np.mean([70, 72, 75]), np.std([70, 72, 75], ddof=1)))
    text = card.card("sst-test")
    assert "| davis2016 | J&F | – | 70.0 | 72.0 | 75.0 | 72.3 | 2.5 |" in text and "over 3 seeds" in text
    assert "made again with 2 other seeds" in text and "one was trained" not in text and "one seed." not in text
    assert text == (paths.WEIGHTS / "sst-test.md").read_text()
    capsys.readouterr()
    assert main(["release", str(tmp_path / "run5"), "sst-test", "--repeat"]) == 0
    assert len(scored) == 2, "what is scored is not scored again"
    assert "repeats-davis2016/sst-test-seed5.json" in capsys.readouterr().out


def test_seeds_of_another_release_of_the_name_do_not_count(scored, tmp_path):
    assert main(["release", str(trained(tmp_path / "run5", seed=5)), "sst-test", "--repeat"]) == 0
    assert len(repeats.table("sst-test"))
    releasing.choose("sst-test", gate=0.3)
    validation.score("sst-test", "davis2016")
    assert repeats.table("sst-test").empty and "one was trained" in card.card("sst-test")
    releasing.choose("sst-test", gate=0.1)
    releasing.release(trained(tmp_path / "again", seed=7), "sst-test", "generated", longest=320, gate=0.1)
    validation.score("sst-test", "davis2016")
    assert main(["release", str(tmp_path / "run5"), "sst-test", "--repeat"]) == 0
    assert "seed 5" in repeats.table("sst-test"), "the same weights are another seed of other ones, too"


@pytest.mark.parametrize("changes, differing", [
    ({}, "nothing, not even in the seed"), ({"seed": 5, "steps": 10}, "training.steps"),
    ({"seed": 5, "ancestry": [BEFORE | {"origin": provenance("davis2016")}]}, "the runs before it")])
def test_what_differs_in_more_than_the_seed_is_no_repeat(scored, tmp_path, capsys, changes, differing):
    assert main(["release", str(trained(tmp_path / "other", **changes)), "sst-test", "--repeat"]) == 2
    message = capsys.readouterr().err
    assert f"it differs in {differing};" in message and "--set training.seed=N" in message and not scored


def test_a_repeat_takes_a_run_and_a_name_alone(scored, tmp_path, capsys):
    run = str(trained(tmp_path / "run5", seed=5))
    for more in (["--gate", "0.1"], ["--data", "generated"], ["--score"], ["--stage"]):
        assert main(["release", run, "sst-test", "--repeat", *more]) == 2
    assert main(["release", "sst-test", "--repeat"]) == 2
    assert capsys.readouterr().err.count("goes with RUN and NAME alone") == 5 and not scored
