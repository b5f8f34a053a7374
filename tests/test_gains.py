"""What one release has over another, against the bare JSON of their records."""

import json

import numpy as np
import pytest

from sstlib import paths
from sstlib.experiments.gains import gained

NAME, OVER = "sst-small-occlusion", "sst-small"


def metrics(benchmark, name):
    return json.loads((paths.ROOT / "results" / "runs" / benchmark / f"{name}-seed0.json").read_text())["metrics"]


def shown(table, benchmark, measure, length=None):
    row = table[(table["data"] == benchmark) & (table["measure"] == measure)]
    [row] = (row if length is None else row[row["hidden for"] == str(length)]).to_dict("records")
    text = row["difference (95%)"].replace("(", "").replace(")", "").split()
    return row[OVER], row[NAME], *map(float, (text[0], text[1], text[3]))


def test_differences_are_of_the_same_sequences():
    table = gained(NAME, over=OVER)
    before, after = (metrics("davis2016", name)["sequences"] for name in (OVER, NAME))
    differences = [100 * (after[name]["J&F"] - before[name]["J&F"]) for name in before]
    first, second, mean, low, high = shown(table, "davis2016", "J&F")
    assert (first, second) == pytest.approx((100 * metrics("davis2016", OVER)["J&F"],
                                             100 * metrics("davis2016", NAME)["J&F"]), abs=1e-3)
    assert mean == pytest.approx(np.mean(differences), abs=0.051)
    # An interval of a mean of twenty is about four standard errors wide
    assert high - low == pytest.approx(4 * np.std(differences) / 20**0.5, rel=0.15) and low < mean < high


@pytest.mark.parametrize("benchmark", ["sst-occlusion-2", "davis-occlusion"])
@pytest.mark.parametrize("measure, field", [("J returning", "returning"), ("claimed", "claimed")])
def test_differences_are_of_the_same_scenes_and_length(benchmark, measure, field):
    passages = [metrics(benchmark, name)["occlusion"]["passages"] for name in (OVER, NAME)]
    columns = [100 * np.array(one["tables"]["predictions"][field], float) for one in passages]
    table = gained(NAME, over=OVER)
    for column, length in enumerate(passages[0]["lengths"]):
        first, second, mean, low, high = shown(table, benchmark, measure, length)
        assert first == pytest.approx(columns[0][:, column].mean()) and second > 0
        assert mean == pytest.approx((columns[1] - columns[0])[:, column].mean(), abs=0.051) and low < mean < high


def test_a_release_has_nothing_over_itself_and_is_compared_with_none_that_is_not_scored():
    assert set(gained(OVER, over=OVER)["difference (95%)"]) == {"+0.0 (+0.0 to +0.0)"}
    assert gained("sst-huge", over=OVER).empty
