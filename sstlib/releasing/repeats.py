"""Other seeds of a release's last run: scored as the release is, they tell how far its scores are those of its seed.

Their weights are not kept, but their records are, in results/runs/repeats-BENCHMARK.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sstlib import paths, weights
from sstlib.config import RunConfig
from sstlib.datasets import Absent
from sstlib.experiments import gains, records, validation
from sstlib.releasing.finished_runs import finished

SEED, PRECISION = "training.seed", "training.precision"


def experiment(benchmark: str) -> str:
    """What the records of other seeds on a benchmark are filed under."""
    return f"repeats-{benchmark}"


def score(run: Path, name: str) -> Iterator[Path | str]:
    """Scores a run that made the last run of a release again by another seed, with the working size and the gate that
    were chosen for the release; yields records, those that are there included, and which data are not there.

    The run may also be of another precision, which its column in the card says: not every processor is fast in all.

    Raises:
        ValueError: the run has not finished, or differs from the release's in more than that.
    """
    facts, _ = finished(run)
    seed = _require_repeat(facts, weights.facts(name), run, name)
    released, network = weights.load(name), weights.load(run / "weights.safetensors")
    network.longest, network.config = released.longest, network.config.replace(
        presence_gate=released.config.presence_gate)
    path = paths.RESULTS / "training" / "repeats" / f"{name}-seed{seed}{weights.SUFFIX}"
    weights.save(network, path, **{key: facts[key] for key in facts if key not in ("config", "longest")})
    for benchmark in validation.benchmarks():
        if benchmark == gains.WITHDRAWN:
            continue
        known = [one for one in of(name, benchmark) if one.config["weights"] == validation.fingerprint(path)]
        if known:
            yield known[0].path
            continue
        try:
            scored = validation.scored(path, benchmark)
        except Absent as error:
            yield f"not scored on {benchmark}: {error}"
        else:
            config = scored.config | {"repeats": validation.fingerprint(name),
                                      "precision": facts["run"]["training"]["precision"]}
            yield dataclasses.replace(scored, experiment=experiment(benchmark), variant=name, seed=seed,
                                      config=config).write()


def _require_repeat(facts: dict[str, Any], released: dict[str, Any], run: Path, name: str) -> int:
    """The seed of a run that differs from a release's last run in nothing else, but perhaps the precision."""
    mine, theirs = (RunConfig.from_dict(one["run"], f"{source}: run.")
                    for one, source in ((facts, run), (released, name)))
    before, after = ([one["origin"] for one in known.get("ancestry", [])] for known in (released, facts))
    differing = set(theirs.differences(mine)) - {PRECISION, "training.start"}  # a name; the runs before it count
    if before != after:
        differing.add("the runs before it")
    if differing != {SEED}:
        others = ", ".join(sorted(differing - {SEED})) or "nothing, not even in the seed"
        raise ValueError(f"{run} is no other seed of {name}'s last run: it differs in {others}; train that "
                         f"run's recipe with --set {SEED}=N, from the same weights")
    return mine.training.seed


def of(name: str, benchmark: str) -> list[records.RunRecord]:
    """The records of other seeds of exactly this release, by seed."""
    return [one for one in records.read_all(experiment(benchmark))
            if one.variant == name and one.config["repeats"] == validation.fingerprint(name)]


def table(name: str) -> pd.DataFrame:
    """A row a benchmark and measure (percent) that the release and another seed of its last run have: the value of the
    release, that of each other seed, their mean and standard deviation; empty if there is no other seed.
    """
    rows = []
    for benchmark in validation.benchmarks():
        first, others = validation.record_of(name, benchmark), of(name, benchmark)
        for (measure, length), value in _means(first).items() if first and others else ():
            values = {"released": value} | {_title(one, name): _means(one)[measure, length] for one in others}
            known = list(values.values())
            rows.append({"data": benchmark, "measure": measure, "hidden for": length, **values, "mean": np.mean(known),
                         "sd": np.std(known, ddof=1)})
    return pd.DataFrame(rows)


def _title(record: records.RunRecord, name: str) -> str:
    """A seed, and its precision where that is not the release's."""
    precision = record.config["precision"]
    same = precision == RunConfig.from_dict(weights.facts(name)["run"]).training.precision
    return f"seed {record.seed}{'' if same else f' ({precision})'}"


def _means(record: records.RunRecord) -> dict[tuple[str, str | None], float]:
    """The mean of each measure and length over sequences or scenes; and J in the last tenth, if each has one object."""
    means = {key: float(np.nanmean(values)) for key, values in gains.by_measure(record.metrics).items()}
    if len(record.metrics.get("frames", ())) == len(record.metrics["sequences"]):
        means["J, last tenth", None] = validation.tenths(record)[-1]
    return means
