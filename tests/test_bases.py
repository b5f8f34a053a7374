"""Sweeps on any base: which runs they are, that records of two are not mixed, and what a network is tried on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from sstlib import paths, provenance
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.config.presets import PRESETS
from sstlib.experiments import RunRecord, bases, records, trials
from sstlib.experiments import execute as execution
from sstlib.experiments.bases import Base
from sstlib.experiments.sweeps import SWEEPS, VARIANTS
from sstlib.metrics import PROTOCOLS, score_sequence
from sstlib.model import build
from sstlib.reproduction import runs as tasks
from sstlib.reproduction.runs import visible
from sstlib.synthetic import ClipSpec, render
from sstlib.video import ArraySequence

COMMAND = ["sweep", "history", "--base", "evidence", "--seeds", "2"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path


def keep(run, computed_by=None):
    origin = {"computed_by": provenance.computed_by() if computed_by is None else computed_by, "commit": "abc",
              "code": provenance.code()}
    return RunRecord(run.experiment, run.variant, run.seed, run.config.to_dict(), {}, {}, origin).write()


def test_every_variant_is_a_change_of_the_base_with_its_one_kernel_size():
    base = Base.named("evidence")
    everything = bases.select(base, SWEEPS, range(2))
    assert {run.variant for _, run in everything} == {*VARIANTS, "recurrent", "stm", "cfbi"}
    assert len(everything) == 2 * 16
    layers = {run.variant: run.config.model.layers for _, run in everything}
    assert layers["base"] == ("local(radius=2)",) * 2 and layers["strided-2"] == ("strided(stride=5)",) * 2
    assert layers["localstrided-2"] == ("local(radius=2)", "strided(stride=5)") and layers["grid-3"] == ("grid",) * 3
    for _, run in everything:
        assert run.config.training == base.config.training.replace(seed=run.seed)
        assert run.config.data == base.config.data
        model = run.config.model.replace(layers=base.config.model.layers)
        assert len(base.config.model.differences(model)) == (run.variant != "base" and "layers" not in VARIANTS.get(
            run.variant, SimpleNamespace(changes={})).changes), run.variant
    paper = {run.variant: run.config for _, run in bases.select(Base.named("sst-paper"), ["pattern"], [0])}
    for variant, model in (("strided-2", "sst-r101-strided"), ("localstrided-2", "sst-r101-localstrided"),
                           ("grid-2", "sst-r101-grid-2"), ("base", "sst-r101-paper")):
        assert paper[variant].model == MODELS[model], "the paper's own rows"
    assert [run.variant for _, run in bases.select(base, ["pilot"], range(5))] == ["base"] * 5


def test_a_base_is_a_preset_or_a_file_with_steps_of_its_own(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(PRESETS["evidence"].to_dict()))
    assert Base.named(str(path)).config == PRESETS["evidence"] and Base.named(str(path)).name == "mine"
    longer = Base.named("evidence", 600)
    assert longer.name == "evidence-600-steps" and longer.config.training.steps == 600
    assert longer.config.training.warmup == 2 * PRESETS["evidence"].training.warmup
    assert Base.named("evidence", 300) == Base.named("evidence")
    again = Base.named(longer.options()[1], int(longer.options()[3]))
    assert again == longer, "its options mean the same base in another process"
    path.rename(tmp_path / "short.json")
    with pytest.raises(ValueError, match="rename the file"):
        Base.named(str(tmp_path / "short.json"))
    with pytest.raises(ValueError, match="expected local"):
        config = PRESETS["evidence"]
        Base("grids", "", config.replace(model=config.model.replace(layers=("grid",)))).run("strided-2", 0)


@pytest.mark.parametrize("sweep", ["history", "pattern"])
def test_runs_of_a_pattern_that_nobody_knows_are_not_listed(tmp_path, capsys, sweep):
    config = PRESETS["evidence"]
    config = config.replace(model=config.model.replace(layers=("local(radius=2)", "lokal")))
    (tmp_path / "mine.json").write_text(json.dumps(config.to_dict()))
    assert main(["sweep", sweep, "--base", str(tmp_path / "mine.json"), "--list"]) == 2
    output, message = capsys.readouterr()
    assert not output and "mine.json: model.layers: unknown connectivity 'lokal'" in message


def test_the_list_tells_what_is_done_and_each_run_is_one_task(place, capsys):
    base = Base.named("evidence")
    keep(base.run("history-8", 1))
    assert main([*COMMAND, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 4 and [line.split()[-1] for line in lines if line.startswith("done")] == [
        "evidence/history-8-seed1"]
    run = base.run("history-1", 0)
    task = tasks.task("history", run, options=base.options(), device="cuda:1")
    assert task.environment["CUDA_VISIBLE_DEVICES"] == "1" and not task.done()
    assert visible("cpu") == {"CUDA_VISIBLE_DEVICES": ""} and visible("cuda") == visible("") == {}


def test_a_task_makes_exactly_its_run(place, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(execution, "execute", lambda run: (made.append(run), records.read(keep(run)))[1])
    for name, run in bases.select(Base.named("evidence", 40), SWEEPS, [1])[::5]:
        task = tasks.task(name, run, options=Base.named("evidence", 40).options())
        assert main(list(task.command[1:])) == 0 and made[-1] == run
        assert main(list(task.command[1:])) == 0 and "is done" in capsys.readouterr().out
    assert len(made) == 4


@pytest.mark.parametrize("kind", ["configuration", "code"])
def test_records_of_two_configurations_or_codes_are_not_mixed(place, capsys, kind):
    base = Base.named("evidence")
    run = base.run("history-1", 0)
    path = keep(run, None if kind == "configuration" else "other")
    if kind == "configuration":
        content = json.loads(path.read_text())
        content["config"]["training"]["learning_rate"] = 0.5
        path.write_text(json.dumps(content))
    assert main([*COMMAND, "--list"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "history-1-seed0.json" in message and "--fresh" in message
    assert ("learning_rate is 0.5" if kind == "configuration" else "other code (commit abc)") in message
    assert main(["sweep", "rivals", "--base", "evidence", "--list"]) == 2, "not beside runs of other variants either"
    assert main([*COMMAND, "--list", "--fresh"]) == 0, "what is made again may be anything"


@pytest.mark.parametrize("call, says", [
    (["sweep", "--seeds", "3"], "name it by --base"), (["sweep", "pilot"], "no sweep 'pilot'"),
    (["sweep", "patterns", "--base", "evidence"], "there are pilot, encoding"),
    (["sweep", "history", "--base", "evidence", "--only", "grid-1"], "no variant 'grid-1' in history"),
    ([*COMMAND, "--seed", "0"], "--seed 0 is one seed and --seeds 2 are several"),
    (["sweep", "--base", "nothing"], "neither a preset"), ([*COMMAND, "--device", "gpu"], "expected cpu, cuda"),
])
def test_what_cannot_be_is_said_in_a_line(call, says, capsys):
    assert main(call) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and says in message


def test_what_only_shows_results_is_not_the_code_that_computes_them(tmp_path, monkeypatch):
    for name in ("model/sst.py", "cli/sweep.py", "plots/curves.py", "experiments/trials.py", "experiments/card.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    digest, matters = provenance.computed_by.__wrapped__, {}
    for path in tmp_path.rglob("*.py"):
        before = digest()
        path.write_text("2")
        matters[path.stem] = digest() != before
    assert matters == {"sst": True, "trials": True, "sweep": False, "curves": False, "card": False}


class Paired:
    """A rendered clip as one of a pair."""

    def __init__(self, length, clip):
        self.clip, self.length, self.name, self.scene_name, self.amodal = clip, length, f"a-{length}", "a", clip.full(1)

    def __len__(self):
        return len(self.clip.frames)

    def frame(self, t):
        return self.clip.frames[t]

    def label(self, t):
        return self.clip.labels[t]


@pytest.fixture
def trial(monkeypatch):
    """What networks are tried on, made small: one sequence, whose labels it returns, and one pair of scenes."""
    clips = {n: render(ClipSpec(frames=30, height=48, width=64, occlusion=n, size=25.0, objects=1), 3) for n in (0, 4)}
    rows = [[Paired(n, clip) for n, clip in clips.items()]]
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 48, 64), np.uint8)
    for t in range(20):
        truth[t, 10:30, 5 + t:25 + t] = 1

    class Labeled(ArraySequence):
        def label(self, t):
            return truth[t]

    sequence = Labeled(rng.integers(0, 255, (20, 48, 64, 3), np.uint8), truth[0], name="s")
    monkeypatch.setattr(trials, "open_dataset", lambda name, split: [sequence])
    monkeypatch.setattr(trials, "_scenes", lambda: rows)
    monkeypatch.setattr(trials, "LENGTHS", (4,))
    return truth


def test_a_trial_scores_real_sequences_and_pairs_with_floors_beside(trial):
    config = RunConfig(MODELS["sst-tiny"])
    metrics, seconds, frames = trials.measured(build(config.model), config)
    assert seconds > 0 and frames == 19 + 2 * 29
    copied = score_sequence(np.repeat(trial[:1], 20, 0), trial, PROTOCOLS["davis2016"], "s")
    assert metrics["floors"]["first mask copied"] == pytest.approx(copied.overall()["J&F"].mean)
    assert metrics["floors"]["nothing predicted"] == 0 and 0 <= metrics["J&F"] <= 1
    assert len(metrics["tenths"]) == 10 and set(metrics["passages"]["tables"]) == {
        "predictions", "first mask copied", "nothing predicted"}
    drift = trials.tenths([np.nanmean(copied.similarity, axis=0)])
    assert drift[0] > drift[-1] and drift[0] == pytest.approx(copied.similarity[0, :2].mean())


def test_one_row_trained_anew_by_one_command_gives_its_record_again(trial, tmp_path, monkeypatch, capsys):
    config = RunConfig(
        MODELS["sst-tiny"].replace(layers=("local(radius=1)",) * 2, width=16, heads=2),
        TrainingConfig(steps=3, batch=1, warmup=1, checkpoint_every=2, own_masks_from=0.5),
        DataConfig(height=32, width=48, frames=3, objects=1, difficulty="easy"))
    (tmp_path / "small.json").write_text(json.dumps(config.to_dict()))

    def made(folder, seed):
        monkeypatch.setattr(paths, "RESULTS", tmp_path / folder)
        monkeypatch.setattr(paths, "RUNS", tmp_path / folder / "runs")
        command = ["sweep", "pilot", "--base", str(tmp_path / "small.json"), "--only", "base", "--seed", str(seed)]
        assert main(command) == 0
        weights = tmp_path / folder / "training" / "small" / f"base-seed{seed}" / "weights.safetensors"
        with safe_open(weights, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return records.read(records.record_path("small", "base", seed)), tensors

    (first, weights), (again, same), (_, other) = made("first", 3), made("again", 3), made("first", 4)
    assert again.metrics == first.metrics and again.config == first.config
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not all(torch.equal(weights[name], other[name]) for name in weights), "the seed decides"
