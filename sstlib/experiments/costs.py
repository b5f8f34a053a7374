"""Cost against quality: the time of a step with each network of a plan, beside the score of its runs."""

import statistics

import pandas as pd
import torch

from sstlib.benchmarks.frames import steps_in_turns
from sstlib.experiments import bases, evidence, records, trials
from sstlib.experiments.plans import Plan
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.statistics.uncertainty import Interval

EXPERIMENT = "costs"
SIZE = (trials.LONGEST * 9 // 16, trials.LONGEST)  # height and width of DAVIS's frames in the trials


def measure(plan: Plan, rounds: int = 15) -> records.RunRecord:
    """Times a segmenter's step with every network of a plan in turns: one thread, one object, random weights, full
    memory.
    """
    torch.set_num_threads(1)
    networks = [build(plan.base.run(variant, 0).config.model).eval() for variant in plan.order]
    seconds = steps_in_turns(networks, 1, rounds, *SIZE)
    metrics = {"seconds": dict(zip(plan.order, map(list, zip(*seconds, strict=True)), strict=True))}
    return records.RunRecord(EXPERIMENT, plan.base.name, 0, {"size": list(SIZE), "base": plan.base.config.to_dict()},
                             metrics, {}, provenance("generated"))


def table(plan: Plan, sweep: str) -> pd.DataFrame:
    """A row a timed variant of a sweep, the cheapest first: the time of a step in multiples of the base's (median over
    rounds, with quartiles `least` and `most`), and mean, low and high of its J&F (percent), NaN if it was not run.
    """
    record, rows = records.find(EXPERIMENT, plan.base.name), []
    seconds = record.metrics["seconds"] if record else {}
    for variant, runs in plan.records().items():
        if variant not in seconds or variant not in bases.labels(sweep):
            continue
        least, times, most = statistics.quantiles(
            [own / base for own, base in zip(seconds[variant], seconds["base"], strict=True)], n=4)
        rows.append({"variant": bases.labels(sweep)[variant], "seeds": len(runs), "times": times, "least": least,
                     "most": most, **evidence.score(runs).columns})
    return pd.DataFrame(rows).sort_values("times", ignore_index=True) if rows else pd.DataFrame()


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` as a table for readers."""
    return pd.DataFrame([{
        "variant": row["variant"], "step, times the base's (quartiles)":
        f"{row['times']:.2f} ({row['least']:.2f} to {row['most']:.2f})", "seeds": row["seeds"], "J&F (95%)":
        evidence.shown(Interval(row["mean"], row["low"], row["high"], 0.95), "") if row["seeds"] else evidence.NOT_RUN}
        for _, row in rows.iterrows()])
