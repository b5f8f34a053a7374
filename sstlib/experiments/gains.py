"""Gains of one release over another: paired differences on every valid benchmark on which both are scored."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sstlib.evaluation import passages
from sstlib.experiments import evidence, validation
from sstlib.shapes import Float

WITHDRAWN = "sst-occlusion"  # half of its score is the object that nobody hides
MEASURES = {"J returning": "returning", "J without": "returning_control", "claimed": "claimed"}  # of each scene


def gained(name: str, over: str) -> pd.DataFrame:
    """A row a benchmark and measure (percent): the value of the release `over`, that of `name`, and the mean difference
    over the same sequences or scenes with its 95% interval; empty if no benchmark has both.
    """
    rows = []
    for benchmark in validation.benchmarks():
        scored = [validation.record_of(one, benchmark) for one in (over, name)]
        if None in scored or benchmark == WITHDRAWN:
            continue
        before, after = (by_measure(record.metrics) for record in scored)
        for (measure, length), first in before.items():
            second = after[measure, length]
            difference = evidence.interval((second - first)[None])
            rows.append({"data": benchmark, "measure": measure, "hidden for": length, over: first.mean(),
                         name: second.mean(), "difference (95%)": evidence.shown(difference)})
    return pd.DataFrame(rows)


def by_measure(metrics: Mapping[str, Any]) -> dict[tuple[str, str | None], Float[np.ndarray, "sequence"]]:
    """Percent by sequence or scene, of each measure and length of the occlusion."""
    if "passages" not in metrics.get("occlusion", {}):
        return {("J&F", None): 100 * np.array([one["J&F"] for _, one in sorted(metrics["sequences"].items())])}
    known = metrics["occlusion"]["passages"]
    table = passages.tables(known)["predictions"]
    return {(measure, str(length)): 100 * table[field][:, column]
            for column, length in enumerate(known["lengths"]) for measure, field in MEASURES.items()}
