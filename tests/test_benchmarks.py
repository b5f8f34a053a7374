"""The benchmark's rivals compute what they claim, and its record is whole."""

import ctypes
import json

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from sstlib import cli, clocks, native
from sstlib.attention import sparse_attention
from sstlib.attention.kernels import FOLDER
from sstlib.benchmarks import attention, ratios, rivals, scoring
from sstlib.connectivity import Grid, Local, Strided


@pytest.mark.parametrize("pattern", [Grid(), Local(2, causal=True), Strided(3)], ids=str)
def test_gathered_and_unfolded_attention_are_the_same_attention(pattern):
    query, key, value = (torch.randn(1, 1, 3, 5, 7, 4) for _ in range(3))
    wanted = sparse_attention(query, key, value, pattern).output[0, 0]
    index, valid = rivals.gather_index(pattern.mask(3, 5, 7))
    result = rivals.gathered(*(t.flatten(2, 4) for t in (query, key, value)), index, valid)
    assert_close(result.view_as(wanted), wanted, atol=2e-6, rtol=2e-6)
    if isinstance(pattern, Local):
        result = rivals.unfolded(query[0, 0], key[0, 0], value[0, 0], 2)
        assert_close(result.view_as(wanted), wanted, atol=2e-6, rtol=2e-6)


def test_a_record_is_written_whole_and_in_pieces(tmp_path, monkeypatch, capsys):
    tiny = attention.Buffer("S1", 2, 6, 7, 2, 4)
    monkeypatch.setattr(attention, "SIZES", {"S1": tiny, "S2": tiny._replace(name="S2")})
    monkeypatch.setattr(attention, "_aside", lambda *job: (0.5, 2e6))
    path = tmp_path / "attention.json"
    command = ["bench", "attention", "--json", str(path), "--quick"]
    assert cli.main([*command, "--sizes", "S1", "memory"]) == 0
    record = json.loads(path.read_text())
    assert record["kind"] == "benchmark" and record["name"] == "attention" and record["parts"]["S1"]["limits"][
        "matmul_gflops"] > 0
    assert set(record["parts"]) == {"S1", "memory"} and record["left_out"]["S1"].keys() <= {"natten"}
    for row in record["rows"]:
        assert row["milliseconds"] > 0 and row["repeats"] >= 1 and row["direction"] in (attention.FORWARD,
                                                                                        attention.BOTH)
    assert {row["peak_megabytes"] for row in record["rows"] if row["part"] == "memory"} == {2.0}
    assert cli.main([*command, "--sizes", "S2", "--merge"]) == 0
    merged = json.loads(path.read_text())
    assert [row for row in merged["rows"] if row["part"] != "S2"] == record["rows"] and set(
        merged["parts"]) == {"S1", "S2", "memory"}
    command += ["--sizes", "S1", "memory", "--merge", "--patterns", "grid", "strided(stride=8, causal=True)"]
    assert cli.main(command) == 2 and json.loads(path.read_text()) == merged
    assert "the rows of local(radius=7, causal=True) in S1, memory would be lost" in capsys.readouterr().err
    assert cli.main([*command, "local(radius=7, causal=True)"]) == 0


def test_a_row_says_what_its_time_is_compared_with():
    pattern = Local(1, causal=True)
    times = {("dense", "sdpa", "forward"): 100.0, (str(pattern), "native", "forward"): 10.0,
             (str(pattern), "sdpa, masked", "forward"): 150.0}
    row = {"milliseconds": 5.0, "pattern": str(pattern), "implementation": "native, last frame", "direction": "forward"}
    attention._relate(attention.Contender(pattern, "", "forward", lambda: None), row, times, (4, 5, 7))
    assert row["ratio_to_dense"] == 20 and row["ratio_to_masked_dense"] == 30
    # The last of four frames has 4 of the 10 pairs of frames
    assert row["times_share_of_pairs"] == pytest.approx(0.5 / (4 / 10))


def test_an_unknown_size_is_refused_and_writes_nothing(tmp_path, capsys):
    assert cli.main(["bench", "attention", "--json", str(tmp_path / "a.json"), "--sizes", "S9"]) == 2
    assert "S9" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_costs_are_those_of_the_rows():
    def row(implementation, direction, size="S1", **values):
        return {
            "part": size, "size": size, "pattern": "grid", "implementation": implementation, "direction": direction,
            **values
        }

    rows = pd.DataFrame([
        row("native", attention.BOTH, times_forward=3.0),
        row("native", attention.FORWARD, times_forward=9.0),
        row("native, affinity of 3", attention.FORWARD, times_without_affinity=1.1),
        row("gather", attention.BOTH, times_forward=8.0),
        row("native, last frame", attention.FORWARD, "S2", times_share_of_pairs=1.2)
    ])
    table = ratios.costs(rows)
    assert list(table.index) == [("grid", "native")]
    assert table["forward+backward / forward", "S1"].item() == 3 and table["with affinity / without",
                                                                           "S1"].item() == 1.1
    assert table["last frame / its share", "S2"].item() == 1.2 and pd.isna(table["last frame / its share", "S1"].item())


def test_rows_are_set_against_dense_attention_and_the_bound():
    def row(implementation, direction, milliseconds, dense):
        return {
            "pattern": "local(radius=7, causal=True)", "implementation": implementation, "direction": direction,
            "milliseconds": milliseconds, "ratio_to_dense": dense / milliseconds, "exp_bound_milliseconds": 0.5
        }

    rows = pd.DataFrame([
        row("flex", attention.FORWARD, 2.0, 8.0),
        row("flex", attention.BOTH, 5.0, 20.0),
        row("flex, last frame", attention.FORWARD, 1.0, 8.0)
    ])
    table = ratios.against_dense(rows)
    assert list(table.index) == [("local(radius=7)", "flex")]
    assert table["ms"].loc[("local(radius=7)", "flex")].to_dict() == {"forward": 2.0, "+backward": 5.0}
    assert table["x dense", "+backward"].item() == 4 and table["x bound", "forward"].item() == 4


def test_operations_behind_a_machine_s_limits_are_those_that_were_done():
    """A multiply-add brings each number nearer to 1, so that their sum becomes their number; powers are summed."""
    library = native.load(FOLDER / "limits.cpp")
    if library is None:
        pytest.skip("no C++ compiler: limits are PyTorch's")
    result = ctypes.c_float()
    operations = library.multiply_add(ctypes.c_int64(20_000), ctypes.byref(result))
    assert operations == 2 * round(result.value) > 0
    powers = [2**-1.1, 2**-2.3, 2**-3.7, 2**-4.9]
    for rounds in (1, 100):
        count = library.exponentiate(ctypes.c_int64(rounds), ctypes.byref(result))
        assert result.value == pytest.approx(rounds * count * sum(powers) / len(powers), rel=1e-4)


def test_the_first_turn_does_not_count(monkeypatch):
    monkeypatch.setattr(clocks, "seconds", lambda method, clock: method())
    methods = {"slow at first": iter([9.0, 2.0, 4.0]).__next__, "even": iter([1.0, 1.0, 1.0]).__next__}
    assert scoring._turns(methods, 2, 100, "wall") == {"slow at first": 30, "even": 10}
