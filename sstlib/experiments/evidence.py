"""What the runs of a plan say: scores by seed and sequence, verdicts on its claims, tables in the paper's layout.

All numbers are in percent. A row counts as a result if its interval over seeds and sequences lies above the score of a
copied first mask. If it does not, the table says so; if there are no runs, it gives the command that makes them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sstlib.experiments import bases, plans, records, tables
from sstlib.experiments.plans import MEASURES, Expected, Family, Plan
from sstlib.experiments.sweeps import SWEEPS
from sstlib.shapes import Float
from sstlib.statistics import looks, pilot
from sstlib.statistics.comparison import Difference
from sstlib.statistics.looks import Followed
from sstlib.statistics.uncertainty import UNKNOWN, Interval, bootstrap
from sstlib.statistics.verdicts import LOOKS, Verdict

COPIED, NOTHING = "first mask copied", "nothing predicted"
PREDICTIONS = "predictions"
NOT_RUN = "not run yet"
PAPER = "paper J&F (DAVIS 2017)"
POWERED = (LOOKS[0], *LOOKS)  # level at which each number of `pilot.SEEDS` is looked at
Runs = Mapping[int, records.RunRecord]


def scores(runs: Runs, measure: str, seeds: int) -> Float[np.ndarray, "seed sequence"]:
    """A measure (of `plans.MEASURES`) of a variant's runs; a missing seed is a row of NaN.

    Raises:
        ValueError: no run.
    """
    rows = {seed: _values(record, measure) for seed, record in runs.items() if seed < seeds}
    if not rows:
        raise ValueError(f"there is no run of these {seeds} seeds")
    empty = np.full(len(next(iter(rows.values()))), np.nan)
    return np.array([rows.get(seed, empty) for seed in range(seeds)])


def _values(record: records.RunRecord, measure: str) -> list[float]:
    if measure == "loss":
        return (100 * lost(record)).tolist()
    return [100 * one["J&F"] for one in record.metrics["sequences"].values()]


def lost(record: records.RunRecord) -> Float[np.ndarray, "scene"]:
    """What the target's J&F loses by an occlusion in its first whole frames after it, mean over the lengths."""
    table = record.metrics["passages"]["tables"][PREDICTIONS]
    return np.mean(np.array(table["back_control"]) - np.array(table["back"]), axis=1)


def interval(values: Float[np.ndarray, "seed sequence"]) -> Interval:
    """The 95% interval of the mean over seeds and sequences; of one seed, over sequences alone."""
    measured = values[~np.isnan(values).all(axis=1)]
    if len(measured) > 1:
        return Difference.of(measured).interval()
    return bootstrap({str(n): [value] for n, value in enumerate(measured[0])})


def score(runs: Runs) -> Interval:
    """J&F of a variant over all of its runs; NaN if there are none."""
    return interval(scores(runs, "J&F", max(runs) + 1)) if runs else UNKNOWN


def floor(runs: Runs, name: str = COPIED) -> float:
    """J&F of a floor on the sequences that the runs were tried on."""
    return 100 * next(iter(runs.values())).metrics["floors"][name]


def stands(runs: Runs, seeds: int) -> bool:
    """Whether runs are a result: the whole interval lies above the score of a copied first mask."""
    return interval(scores(runs, "J&F", seeds)).low > floor(runs)


def verdicts(plan: Plan, family: Family) -> dict[str, Verdict | str]:
    """The verdict on each claim, by the claim's words; as long as runs of its first look are missing, which ones. A
    claim that the first look left undecided gets the verdict of the second once all runs of that exist.
    """
    by_variant = plan.records()
    known = looks.verdicts(_followed(family, by_variant, plan), plan.seeds)
    return {name: verdict or _missing(claim, by_variant, plan.seeds[0])
            for claim, (name, verdict) in zip(family.claims, known.items(), strict=True)}


def seeds_due(plan: Plan) -> dict[str, int]:
    """The number of seeds due for each variant: that of the second look if the first left a claim on it undecided."""
    by_variant, again = plan.records(), set()
    for family in plan.families:
        undecided = looks.open_claims(_followed(family, by_variant, plan), plan.seeds)
        again |= {variant for claim in family.claims if words(family, claim) in undecided
                  for variant in (claim.better, claim.worse)}
    return {variant: plan.seeds[variant in again] for variant in by_variant}


def _followed(family: Family, by_variant: Mapping[str, Runs], plan: Plan) -> list[Followed]:
    """The claims with the paired differences of their runs, positive in the direction of the claim (of losses the
    smaller is the better).
    """
    sign = -1 if family.measure == "loss" else 1

    def values(variant: str) -> Float[np.ndarray, "seed sequence"]:
        runs = {seed: run for seed, run in by_variant[variant].items() if seed < plan.seeds[-1]}
        return scores(runs, family.measure, plan.seeds[-1]) if runs else np.full((plan.seeds[-1], 1), np.nan)

    return [Followed(words(family, claim), sign * (values(claim.better) - values(claim.worse)), claim.margin)
            for claim in family.claims]


def _missing(claim: Expected, by_variant: Mapping[str, Runs], seeds: int) -> str:
    present = {variant: len(set(range(seeds)) & set(by_variant[variant])) for variant in (claim.better, claim.worse)}
    return f"{NOT_RUN}: " + ", ".join(f"{variant} {number} of {seeds} seeds" for variant, number in present.items()
                                      if number < seeds)


def words(family: Family, claim: Expected) -> str:
    """A claim in words."""
    verb = "loses less than" if family.measure == "loss" else "above"
    return f"{label(family.name, claim.better)} {verb} {label(family.name, claim.worse)}"


def label(family: str, variant: str) -> str:
    """The name of a variant in a family's table: from the family's own sweep, else from the first sweep that has it."""
    for sweep in (family, *family.split("-"), "rivals" if family == "occlusion" else "pattern"):
        if sweep in SWEEPS and variant in bases.labels(sweep):
            name = bases.labels(sweep)[variant]
            return f"history {name}" if sweep == "history" else name
    return variant


def decisions(plan: Plan, family: Family) -> pd.DataFrame:
    """A row a claim: the difference with its interval at the level of the decision, and the verdict with what could
    have been detected and the number of seeds.
    """
    rows = []
    for name, verdict in verdicts(plan, family).items():
        row = {"claim": name, "difference": "–", "verdict": verdict}
        if isinstance(verdict, Verdict):
            row |= {"difference": shown(verdict.interval),
                    "verdict": f"{verdict.text}, {verdict.claim.difference.seeds} seeds"}
        rows.append(row)
    return pd.DataFrame(rows)


def table(plan: Plan, sweep: str) -> pd.DataFrame:
    """A sweep in the paper's layout: measured beside published scores, with runs and records, and the two floors below.

    All columns are text, so that no cell is empty; J&F is the mean with its 95% interval over seeds and sequences.
    """
    by_variant, entry, due = plan.records(), SWEEPS.find(sweep), seeds_due(plan)
    names = {variant: name for variant, name in bases.labels(sweep).items() if variant in by_variant}
    printed = {entry.printed(row): f"{row['J&F']:.1f}" for row in tables.published(entry.published).to_dict("records")
               } if entry.published else {}
    rows = []
    for variant, name in names.items():
        runs = by_variant[variant]
        rows.append({"variant": name, "seeds": f"{len(runs)} of {due[variant]}", **_cells(plan, variant, runs),
                     PAPER: printed.get(name, "–")})
    if measured := next((runs for runs in by_variant.values() if runs), None):
        rows += [{"variant": f"floor: {name}", "seeds": "–", "J&F": f"{floor(measured, name):.1f}", "J": "–", "F": "–",
                  "result": "floor", PAPER: "–"} for name in (COPIED, NOTHING)]
    return pd.DataFrame(rows)


def _cells(plan: Plan, variant: str, runs: Runs) -> dict[str, str]:
    if not runs:
        return {"J&F": "–", "J": "–", "F": "–", "result": f"{NOT_RUN}: `{plan.command(variant)}`"}
    measured = score(runs)
    mean = {name: np.mean([100 * run.score(name) for run in runs.values()]) for name in ("J", "F")}
    result = f"yes: results/runs/{plan.base.name}/{variant}-seed*.json"
    if measured.low <= floor(runs):
        result = "no: below the floor" if measured.high < floor(runs) else "no: its interval holds the floor"
    return {"J&F": shown(measured, ""), "J": f"{mean['J']:.1f}", "F": f"{mean['F']:.1f}", "result": result}


def differences(plan: Plan, family: Family) -> pd.DataFrame:
    """A row a claim, for a figure: claim, mean, low, high and verdict; NaN if runs are missing."""
    rows = []
    for name, verdict in verdicts(plan, family).items():
        known = isinstance(verdict, Verdict)
        rows.append({"claim": name, **(verdict.interval if known else UNKNOWN).columns,
                     "verdict": verdict.text if known else NOT_RUN})
    return pd.DataFrame(rows)


def passages(runs: Runs) -> pd.DataFrame:
    """A row a source (network and floors) and a length of the occlusion, means over seeds: the target's J&F after it,
    in the same frames without it, the loss with its interval over seeds and scenes, and the area falsely claimed.
    """
    return _passages([run.metrics["passages"] for run in runs.values()])


def _passages(scored: list[dict[str, Any]]) -> pd.DataFrame:
    """`passages` for scores of `evaluation.passages`, one for each seed."""
    rows = []
    for source in scored[0]["tables"]:
        for column, length in enumerate(scored[0]["lengths"]):
            part = {name: 100 * np.array([[row[column] for row in one["tables"][source][name]] for one in scored],
                                         float)
                    for name in ("back", "back_control", "claimed")}
            lost = interval(part["back_control"] - part["back"])
            rows.append({
                "what": source, "hidden for": length, "J&F back": part["back"].mean(),
                "without occlusion": part["back_control"].mean(),
                "loss (95%)": shown(lost),
                "claimed while hidden": np.nanmean(part["claimed"])})
    return pd.DataFrame(rows)


def releases(dataset: str = "sst-occlusion-2") -> pd.DataFrame:
    """What an occlusion costs each release on paired scenes: a row a release and length, floors below; empty if no
    release was scored.
    """
    parts = []
    for record in records.read_all(dataset):
        rows = _passages([record.metrics["occlusion"]["passages"]])
        rows["what"] = rows["what"].replace(PREDICTIONS, record.variant)
        parts.append(rows)
    if not parts:
        return pd.DataFrame()
    rows = pd.concat(parts).drop_duplicates(["what", "hidden for"])
    return rows.sort_values("what", key=lambda names: names.isin([COPIED, NOTHING]), kind="stable", ignore_index=True)


def shown(estimate: Interval, sign: str = "+") -> str:
    """A mean with its interval as text; a value that rounds to 0 has no sign."""
    mean, low, high = (f"{value:{sign}z.1f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def bars(plan: Plan, sweep: str) -> pd.DataFrame:
    """A row a variant of a sweep, for a figure: variant with its number of seeds, mean, low, high, and the score that
    the paper printed (NaN if none).
    """
    rows, shown_rows = [], table(plan, sweep)
    names = {name: variant for variant, name in bases.labels(sweep).items()}
    for _, row in shown_rows[shown_rows["variant"].isin(names)].iterrows():
        runs = plan.records()[names[row["variant"]]]
        rows.append({"variant": f"{row['variant']} (n={len(runs)})", **score(runs).columns,
                     "printed": np.nan if row[PAPER] == "–" else float(row[PAPER])})
    return pd.DataFrame(rows)


def power(runs: Runs) -> pd.DataFrame:
    """What a comparison can find given the spread of the pilot, a row a measure: standard deviations of one network's
    score over seeds, over sequences and of the residual, and the smallest differences that are detected with a power
    of 0.8, with 3 or 5 seeds at the first look and 8 at the second.

    One network does not tell how the difference of two varies over sequences: it is assumed to vary as the residual
    does, and runs of one seed to be as independent as any two. The level is that of the first of four claims.

    Raises:
        ValueError: fewer than two seeds.
    """
    rows = []
    for measure, words_ in MEASURES.items():
        values = scores(runs, measure, max(runs) + 1)
        one = pilot.Components.of(values)
        difference = one.of_a_difference(one.rest)
        rows.append({"measure": words_, "seeds": len(runs), "sequences": values.shape[1],
                     "mean": float(np.nanmean(values)), "sd seeds": one.seed, "sd sequences": one.sequence,
                     "sd rest": one.rest,
                     **{f"smallest, {seeds} seeds": difference.expected(seeds, values.shape[1]).detectable(
                         level / plans.MOST_CLAIMS) for seeds, level in zip(pilot.SEEDS, POWERED, strict=True)}})
    return pd.DataFrame(rows)


def effects(powers: pd.DataFrame) -> pd.DataFrame:
    """The smallest effects of `power`, for a figure: a row a measure and number of seeds."""
    return pd.DataFrame([{"measure": row["measure"], "seeds": seeds, "effect": row[f"smallest, {seeds} seeds"]}
                         for _, row in powers.iterrows() for seeds in pilot.SEEDS])
