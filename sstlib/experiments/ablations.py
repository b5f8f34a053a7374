"""What the parts of sst-photo's training gain: short runs with all of them, against runs without one.

Each is a recipe of its own, "ablation" and "ablation-PART" (`config.presets`), whose runs are made by `sst sweep pilot
--base RECIPE --seeds 3`. They have an eighth of the steps of the release's first leg: they say what a part is good for
in the first steps, and not in the end.
"""

import numpy as np
import pandas as pd

from sstlib.experiments import evidence, records
from sstlib.shapes import Float

WHOLE = "ablation"
PARTS = {"pretrained": "features of EfficientNet-Lite0 (ImageNet)", "photographs": "clips composed of photographs",
         "occlusion": "clips in which objects hide", "reference": "the given frame and landmarks, kept",
         "presence": "the presence head and its gate"}
MEASURES = {"J&F": "J&F, DAVIS 2016", "loss": "J&F lost, hidden", "claimed": "area claimed"}


def table() -> pd.DataFrame:
    """A row a part and measure: J&F on DAVIS-2016 validation; of the target in SST-Occlusion 2, J&F lost by an
    occlusion and area claimed meanwhile, means over lengths; all in percent. Its columns are the number of seeds, the
    value with all parts and without this one, and the mean difference over the same seeds and sequences or scenes with
    the ends of its 95% interval (`low`, `high`; of one seed over sequences alone). A part without runs is left out.

    Raises:
        ValueError: records of one comparison that different code made.
    """
    known, rows = {part: _runs(f"{WHOLE}-{part}") for part in PARTS}, []
    whole = _runs(WHOLE)
    for part, runs in known.items():
        seeds = sorted(whole.keys() & runs.keys())
        _require_alike([one[seed] for seed in seeds for one in (whole, runs)])
        for measure, words in MEASURES.items() if seeds else ():
            with_it, without = (np.array([_values(one[seed], measure) for seed in seeds]) for one in (whole, runs))
            change = evidence.interval(without - with_it)
            rows.append({"without": PARTS[part], "measure": words, "seeds": len(seeds), "whole": with_it.mean(),
                         "without it": without.mean(), "mean": change.mean, "low": change.low, "high": change.high})
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> str:
    """A sentence on the differences of `table` whose intervals leave out 0, and on the number of seeds."""
    clear = rows[(rows["low"] > 0) | (rows["high"] < 0)]
    listed = "; ".join(f"{row['measure']}, without {row['without']}: {row['mean']:+.1f}" for _, row in clear.iterrows())
    least = int(rows["seeds"].min())
    seeds = f"{least} seeds or more" if least > 1 else "one seed, so that no interval holds what a seed changes"
    return (f"{len(clear)} of {len(rows)} intervals leave out 0{': ' if listed else ''}{listed}. Comparisons are of "
            f"{seeds}.")


def _runs(base: str) -> dict[int, records.RunRecord]:
    return {one.seed: one for one in records.read_all(base) if one.variant == "base"}


def _values(record: records.RunRecord, measure: str) -> Float[np.ndarray, "sequence"]:
    if measure != "claimed":
        return evidence.scores({0: record}, measure, 1)[0]
    return 100 * np.mean(np.array(record.metrics["passages"]["tables"][evidence.PREDICTIONS][measure], float), axis=1)


def _require_alike(compared: list[records.RunRecord]) -> None:
    """Raises a ValueError where records were not all made by the same code."""
    codes = {one.provenance.get("computed_by"): one.path for one in compared}
    if len(codes) > 1:
        raise ValueError(f"{' and '.join(map(str, codes.values()))} were made by different code; make one again by "
                         "`sst sweep pilot --base RECIPE --fresh`")
