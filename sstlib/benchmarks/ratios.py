"""Ratios from a record of the attention benchmark: the cost of gradients, of affinity and of the last frame alone, and
speed against dense attention.
"""

import pandas as pd

from sstlib.attention.choice import FASTEST
from sstlib.benchmarks.contenders import BOTH, FORWARD, LAST, SIZES


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What else a call may be asked for, from the rows of a record: forward and backward in multiples of forward,
    affinity of three objects in multiples of attention without, and the last frame's queries in multiples of their
    share of the pairs.
    """
    columns = {"forward+backward / forward": (BOTH, "", "times_forward"),
               "with affinity / without": (FORWARD, ", affinity of 3", "times_without_affinity"),
               "last frame / its share": (FORWARD, LAST, "times_share_of_pairs")}
    ratios = {}
    for name, (direction, suffix, column) in columns.items():
        chosen = rows[(rows["direction"] == direction)
                      & rows["implementation"].isin([kind + suffix for kind in (*FASTEST, "sdpa")])
                      & rows["part"].isin(SIZES)]
        index = [chosen["pattern"], chosen["implementation"].str.removesuffix(suffix), chosen["size"]]
        ratios[name] = pd.Series(chosen[column].to_numpy(),
                                 pd.MultiIndex.from_arrays(index, names=["pattern", "implementation", "size"]))
    return pd.DataFrame(ratios).unstack("size")


def against_dense(rows: pd.DataFrame) -> pd.DataFrame:
    """Of rows of one machine and size: milliseconds of whole calls, how many times faster than dense attention that is,
    and forward in how many times the bound of one exponential a pair.
    """
    whole = rows[~rows["implementation"].str.contains(",") & rows["ratio_to_dense"].notna()]
    bounds = (whole["milliseconds"] / whole["exp_bound_milliseconds"]).where(whole["direction"] == FORWARD)
    whole = whole.assign(bounds=bounds, direction=whole["direction"].str.replace(FORWARD + "+", "+"),
                         pattern=whole["pattern"].str.replace(", causal=True", ""))
    columns = {"milliseconds": "ms", "ratio_to_dense": "x dense", "bounds": "x bound"}
    table = whole.pivot_table(index=["pattern", "implementation"], columns="direction", values=list(columns),
                              sort=False)
    return table.dropna(axis=1, how="all").rename(columns=columns)
