"""A plan of a sweep and what its runs say: order, refusals, verdicts, and that only what stands above the floor is a
result.
"""

import dataclasses
import json
import re
import types

import numpy as np
import pytest

from sstlib import paths
from sstlib.cli import main
from sstlib.experiments import RunRecord, bases, costs, evidence, following, plans, records
from sstlib.experiments.sweeps import SWEEPS
from sstlib.plots.differences import cost_and_quality
from sstlib.statistics.comparison import compare
from sstlib.statistics.verdicts import LOOKS
from sstlib.training.checkpoint import write_curve

NAMES = [f"sequence-{n}" for n in range(20)]
PLAN, RIVALS = plans.read(), plans.read("rivals")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path


def keep(variant, seed, scores, losses=(0.5,) * 24, code=None, plan=PLAN):
    """A record with a J&F (0..1) for each sequence, and a loss (0..1) for each scene at two lengths."""
    run = plan.base.run(variant, seed)
    back = [[0.9 - loss] * 2 for loss in losses]
    table = {"back": back, "back_control": [[0.9] * 2] * len(losses), "claimed": [[0.1] * 2] * len(losses)}
    metrics = {"J": float(np.mean(scores)), "F": float(np.mean(scores)), "J&F": float(np.mean(scores)),
               "sequences": {name: {"J&F": float(score)} for name, score in zip(NAMES, scores, strict=True)},
               "floors": {"first mask copied": 0.25, "nothing predicted": 0.0},
               "passages": {"lengths": [4, 16], "scenes": [], "tables": {"predictions": table}}}
    cost = {"training_seconds": 1800.0, "frames_per_second": following.TRIED / 1800}
    return RunRecord(run.experiment, variant, seed, run.config.to_dict(), metrics, cost,
                     {"computed_by": code or plan.computed_by, "commit": "abc"}).write()


def varied(mean, seed):
    return np.clip(mean + 0.02 * np.random.default_rng(seed).standard_normal(20), 0, 1)


def test_the_committed_plans_have_every_variant_the_levels_of_verdicts_and_small_families():
    assert len({*PLAN.order, *RIVALS.order}) == 16 and {*PLAN.order} & {*RIVALS.order} == {"base"}
    assert PLAN.order[:2] == ("base", "grid-2"), "local against grid, the paper's largest effect"
    families = [family.name for plan in (PLAN, RIVALS) for family in plan.families]
    assert len(set(families)) == len(families), "a file of claims each"
    assert {*families} >= {"occlusion", "pattern", "layers", "rivals", *SWEEPS}
    assert all(1 <= len(family.claims) <= 4 for plan in (PLAN, RIVALS) for family in plan.families)
    assert PLAN.seeds == RIVALS.seeds == (5, 8) and [run.seed for run in PLAN.runs()[:5]] == [*range(5)]
    assert len(PLAN.runs()) == 65 and len(RIVALS.runs()) == 20


@pytest.mark.parametrize("change, says", [
    ({"looks": [{"seeds": 5, "level": 0.05}]}, "levels"), ({"order": ["base", "nothing"]}, "unknown variant 'nothing'"),
    ({"order": ["base"]}, "a variant of history-occlusion"), ({"base": "nothing"}, "neither a preset"),
])
def test_a_plan_that_cannot_be_followed_is_said_in_a_line(tmp_path, change, says, capsys):
    content = json.loads((paths.ROOT / "results" / "plans" / "evidence.json").read_text()) | change
    (tmp_path / "plan.json").write_text(json.dumps(content))
    assert main(["sweep", "--plan", str(tmp_path / "plan.json"), "--list"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and says in message and "plan.json is no plan" in message


def test_the_list_says_what_is_done_what_is_next_and_for_how_long(place, capsys):
    for seed in range(5):
        keep("base", seed, varied(0.5, seed))
    keep("grid-2", 0, varied(0.5, 9))
    assert main(["sweep", "--plan", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"done +base +5 of 5 seeds$", lines[0])
    assert re.match(r"partly +grid-2 +1 of 5 seeds +sst sweep --plan --only grid-2$", lines[1])
    assert "6 runs took 6.0 hours; 59 are left of the looks that are due: 59 hours" in lines[-3]
    assert lines[-2] == "next: grid-2" and PLAN.commit in lines[-1]
    assert main(["sweep", "rivals", "--plan", "--list"]) == 2 and "NAME cannot go with it" in capsys.readouterr().err


def test_runs_are_made_by_the_plan_s_code_in_its_order_and_come_back(place, monkeypatch):
    """The worktree is lent the records that are there, and its new ones come back; a failed run ends it."""
    keep("base", 0, varied(0.5, 0))
    first, commands = list(PLAN.order[:3]), []

    def started(command, cwd, env, check):
        commands.append(command)
        variant = command[command.index("--only") + 1]
        assert (place / "there/results/runs/evidence/base-seed0.json").is_file() and env["SSTVOS_HOME"] == str(cwd)
        for seed in range(5):
            path = keep(variant, seed, varied(0.5, seed))
            path.rename(place / "there/results/runs/evidence" / path.name)
        steps = [{"step": 1, "loss": 0.5, "gradient_norm": 1.0, "learning_rate": 0.1, "seconds": 2.0}]
        write_curve(place / f"there/results/training/evidence/{variant}-seed4/curve.csv", steps)
        return types.SimpleNamespace(returncode=3 if variant == first[-1] else 0)

    monkeypatch.setattr(following, "_worktree", lambda commit: place / "there")
    monkeypatch.setattr(following.subprocess, "run", started)
    assert following.follow(PLAN, 2) == 3
    assert [command[command.index("--only") + 1] for command in commands] == first
    assert all(command[-2:] == ["--jobs", "2"] for command in commands)
    assert {run.variant for run in PLAN.runs() if run.done} == set(first)
    assert [path.name for path in sorted((paths.RUNS / "evidence").glob("*.csv"))] == [
        f"{variant}-seed4-curve.csv" for variant in sorted(first)]
    assert following.follow(PLAN, only="dense-2") == 0 and commands[-1][-2:] == ["--seeds", "5"]
    assert [command[command.index("--only") + 1] for command in commands[3:]] == ["dense-2"]
    with pytest.raises(ValueError, match="--only is 'nothing'"):
        following.follow(PLAN, only="nothing")


def test_the_second_look_is_due_where_the_first_left_a_claim_open_and_is_made_with_its_seeds(place, monkeypatch):
    [pattern] = [family for family in PLAN.families if family.name == "pattern"]
    means = {"base": 0.60, "grid-2": 0.30, "localstrided-2": 0.598, "strided-2": 0.45}
    noisy = {"localstrided-2": 0.02}

    def made(variant, seed):
        shift = noisy.get(variant, 0) * np.random.default_rng([7, seed]).standard_normal()
        return keep(variant, seed, varied(means[variant] + shift, [len(variant), seed]))

    for variant in ("base", "grid-2", "localstrided-2"):
        for seed in range(5):
            made(variant, seed)
    assert set(evidence.seeds_due(PLAN).values()) == {5}, "strided-2 had no first look yet"
    for seed in range(5):
        made("strided-2", seed)
    first = evidence.verdicts(PLAN, pattern)
    assert [one.kind for one in first.values()] == ["seen", "undecided", "seen", "seen"]
    due = evidence.seeds_due(PLAN)
    assert {variant for variant, seeds in due.items() if seeds == 8} == {"base", "localstrided-2"}
    rows = evidence.table(PLAN, "pattern").set_index("variant")
    assert rows.loc["Local, 2 layers", "seeds"] == "5 of 8" and rows.loc["Grid, 2 layers", "seeds"] == "5 of 5"

    def started(command, cwd, env, check):
        variant, number = command[command.index("--only") + 1], int(command[-1])
        orders.append((variant, number))
        for seed in range(number):
            if variant in means:
                made(variant, seed)
        return types.SimpleNamespace(returncode=0)

    orders = []
    monkeypatch.setattr(following, "_worktree", lambda commit: place)
    monkeypatch.setattr(following.subprocess, "run", started)
    assert following.follow(PLAN) == 0
    assert [one for one in orders if one[1] == 8] == [("base", 8), ("localstrided-2", 8)]
    assert orders[:9] == [(variant, 5) for variant in PLAN.order if variant not in means], "every first look before"
    second = evidence.verdicts(PLAN, pattern)
    [name] = [name for name, one in first.items() if not one.decided]
    assert second[name].look == 2 and second[name].claim.difference.seeds == 8
    assert {key: one for key, one in second.items() if key != name} == {k: v for k, v in first.items() if k != name}
    rows = evidence.decisions(PLAN, pattern).set_index("claim")
    assert rows.loc[name, "verdict"].endswith(", 8 seeds")
    assert all(row.endswith(", 5 seeds") for row in rows["verdict"].drop(name))


def test_records_of_other_code_are_refused(place):
    keep("base", 0, varied(0.5, 0), code="other")
    with pytest.raises(ValueError, match="base-seed0.json was made by other code"):
        PLAN.records()


def test_claims_are_decided_by_their_own_differences_at_the_level_of_all_of_the_family(place):
    [pattern] = [family for family in PLAN.families if family.name == "pattern"]
    assert all(str(one).startswith("not run yet") for one in evidence.verdicts(PLAN, pattern).values())
    for seed in range(5):
        keep("base", seed, varied(0.6, seed))
        keep("grid-2", seed, varied(0.3, 50 + seed))
    first, *others = evidence.verdicts(PLAN, pattern).values()
    assert first.kind == "seen" and all(str(one).startswith("not run yet: ") for one in others)
    assert first.level == LOOKS[0] / 4, "claims without runs count, too"
    made = PLAN.records()
    own = compare(evidence.scores(made["grid-2"], "J&F", 5), evidence.scores(made["base"], "J&F", 5))
    assert first.claim.difference == own and own.mean == pytest.approx(30, abs=2)
    [occlusion] = [family for family in RIVALS.families if family.name == "occlusion"]
    for seed in range(5):
        noise = 0.01 * np.random.default_rng(seed).standard_normal(24)
        keep("base", seed, varied(0.6, seed), 0.2 + noise, plan=RIVALS)
        keep("recurrent", seed, varied(0.6, seed), 0.6 - noise, plan=RIVALS)
    [name] = [name for name in evidence.verdicts(RIVALS, occlusion) if "Recurrent" in name]
    decided = evidence.verdicts(RIVALS, occlusion)[name]
    assert "SST (Local) loses less than Recurrent" == name and decided.kind == "seen"
    assert decided.claim.difference.mean == pytest.approx(40, abs=1)


def test_a_row_is_a_result_only_above_the_floor(place):
    for seed in range(3):
        keep("base", seed, varied(0.5, seed))
        keep("grid-2", seed, varied(0.26, seed) + np.linspace(-0.2, 0.2, 20))
    rows = evidence.table(PLAN, "pattern").set_index("variant")
    assert rows.loc["Local, 2 layers", "result"].startswith("yes: results/runs/evidence/base-seed")
    assert rows.loc["Grid, 2 layers", "result"] == "no: its interval holds the floor"
    keep("recurrent", 0, varied(0.1, 0), plan=RIVALS)
    listed = evidence.table(RIVALS, "rivals").set_index("variant")["result"]
    assert listed["Recurrent"] == "no: below the floor"
    assert listed["STM"] == "not run yet: `sst sweep --plan rivals --only stm`"
    assert rows.loc["Grid, 1 layer", "result"] == "not run yet: `sst sweep --plan --only grid-1`"
    assert rows.loc["floor: first mask copied", "J&F"] == "25.0" and (rows != "").all().all()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_committed_tables_are_those_of_the_records_and_call_no_floor_a_result(sweep):
    plan = RIVALS if sweep == "rivals" else PLAN
    rows = evidence.table(plan, sweep)
    assert (paths.TABLES / f"{sweep}.md").read_text() == evidence.tables.markdown(rows)
    named = rows.set_index("variant")["result"]
    for variant, runs in plan.records().items():
        if runs and (name := bases.labels(sweep).get(variant)) in named:
            ahead = np.mean([run.score("J&F") - run.metrics["floors"]["first mask copied"] for run in runs.values()])
            assert ahead > 0.05 or named[name].startswith("no: "), f"{variant} stands on the floor"
    assert not rows.isna().any().any()


def test_power_is_that_of_the_spread_over_seeds(place):
    rng = np.random.default_rng(0)
    sequences = 0.1 * rng.standard_normal(20)
    for seed, shift in enumerate(0.02 * rng.standard_normal(60)):
        keep("base", seed, 0.5 + sequences + shift + 0.01 * rng.standard_normal(20))
    row = evidence.power(PLAN.records()["base"]).iloc[0]
    assert row["sd seeds"] == pytest.approx(2, rel=0.3) and row["sd sequences"] == pytest.approx(10, rel=0.4)
    assert row["smallest, 3 seeds"] > row["smallest, 5 seeds"] > row["smallest, 8 seeds"] > 0
    for record in records.read_all("evidence")[1:]:
        record.path.unlink()
    with pytest.raises(ValueError, match="two"):
        evidence.power(PLAN.records()["base"])


def test_cost_stands_beside_quality(place):
    """Ratios are of one round each: a round in which the machine was slow for all says nothing."""
    seconds = {"base": [1.0, 2.0, 4.0], "grid-2": [0.5, 1.0, 2.4], "grid-1": [0.2, 0.6, 1.2], "history-1": [1.0] * 3}
    RunRecord(costs.EXPERIMENT, PLAN.base.name, 0, {}, {"seconds": seconds}, {}).write()
    for seed in range(2):
        keep("base", seed, varied(0.5, seed))
        keep("grid-2", seed, varied(0.3, seed))
    rows = costs.table(PLAN, "pattern")
    assert list(rows["variant"]) == ["Grid, 1 layer", "Grid, 2 layers", "Local, 2 layers"]
    np.testing.assert_allclose(rows["times"], [0.3, 0.5, 1.0])
    np.testing.assert_allclose(rows.loc[1, ["least", "most"]].astype(float), [0.5, 0.6])
    np.testing.assert_allclose(rows["mean"], [np.nan, 100 * np.mean([varied(0.3, n) for n in range(2)]),
                                              100 * np.mean([varied(0.5, n) for n in range(2)])])
    assert costs.shown(rows).iloc[0].tolist() == ["Grid, 1 layer", "0.30 (0.20 to 0.30)", 0, evidence.NOT_RUN]
    axes = cost_and_quality(rows, 25.0).axes[0]
    floor, *points = axes.get_lines()
    assert floor.get_ydata()[0] == 25 and {float(line.get_xdata()[0]) for line in points} == {0.5, 1.0}
    assert [[0.5, rows.loc[1, "mean"]], [0.6, rows.loc[1, "mean"]]] in [
        bar.get_segments()[0].tolist() for bar in axes.collections], "quartiles of its time"
    assert costs.table(RIVALS, "rivals").empty, "nothing was timed"


def test_steps_of_a_plan_s_networks_are_timed_in_turns(place, monkeypatch, capsys):
    monkeypatch.setattr(costs, "SIZE", (64, 96))
    small = dataclasses.replace(PLAN, order=("base", "history-1"))
    record = costs.measure(small, rounds=3)
    assert {name: len(rounds) for name, rounds in record.metrics["seconds"].items()} == {"base": 3, "history-1": 3}
    assert min(min(rounds) for rounds in record.metrics["seconds"].values()) > 0
    assert record.path.name == "evidence-seed0.json" and record.config["size"] == [64, 96]
    assert main(["sweep", "--time"]) == 2 and "--plan" in capsys.readouterr().err
    assert main(["sweep", "--plan", "--time", "--jobs", "2"]) == 2 and "--jobs cannot" in capsys.readouterr().err


def test_readme_counts_the_claims_of_the_plan_as_they_stand():
    known = [verdict for family in PLAN.families for verdict in evidence.verdicts(PLAN, family).values()]
    undecided = sum(not isinstance(verdict, str) and not verdict.decided for verdict in known)
    counted = re.search(r"(\w+) claims are undecided(?:; (\w+) still lacks? runs)?\.",
                        (paths.ROOT / "README.md").read_text())
    words = "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen".split()
    assert [words.index(word.lower()) for word in counted.groups("no")] == [
        undecided, sum(isinstance(verdict, str) for verdict in known)]
