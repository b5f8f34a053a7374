"""The benchmark's rivals compute what they claim, and its record is whole."""

import json

import pytest
import torch
from torch.testing import assert_close

from sstlib import benchmarks, cli
from sstlib.attention import sparse_attention
from sstlib.connectivity import Grid, Local, Strided


@pytest.mark.parametrize("pattern", [Grid(), Local(2, causal=True), Strided(3)], ids=str)
def test_gathered_and_unfolded_attention_are_the_same_attention(pattern):
    query, key, value = (torch.randn(1, 1, 3, 5, 7, 4) for _ in range(3))
    wanted = sparse_attention(query, key, value, pattern).output[0, 0]
    index, valid = benchmarks._gather_index(pattern.mask(3, 5, 7))
    found = benchmarks.gathered(*(t.flatten(2, 4) for t in (query, key, value)), index, valid)
    assert_close(found.view_as(wanted), wanted, atol=2e-6, rtol=2e-6)
    if isinstance(pattern, Local):
        found = benchmarks.unfolded(query[0, 0], key[0, 0], value[0, 0], 2)
        assert_close(found.view_as(wanted), wanted, atol=2e-6, rtol=2e-6)


def test_a_record_is_written_whole(tmp_path, monkeypatch):
    tiny = benchmarks.Buffer("S1", 2, 6, 7, 2, 4)
    monkeypatch.setattr(benchmarks, "SIZES", {"S1": tiny})
    monkeypatch.setattr(benchmarks, "_growth", lambda *_: [])
    monkeypatch.setattr(benchmarks, "_aside", lambda *job: (0.5, 2e6))
    path = tmp_path / "attention.json"
    assert cli.main(["bench", "attention", "--json", str(path), "--sizes", "S1", "--quick"]) == 0
    record = json.loads(path.read_text())
    assert record["kind"] == "benchmark" and record["name"] == "attention" and record["machine"]["limits"]["matmul_gflops"] > 0
    for row in record["rows"]:
        assert row["milliseconds"] > 0 and row["repeats"] >= 1 and row["direction"] in (benchmarks.FORWARD, benchmarks.BOTH)
    assert {row["peak_megabytes"] for row in record["rows"]} == {None, 2.0}


def test_an_unknown_size_is_refused_and_writes_nothing(tmp_path, capsys):
    assert cli.main(["bench", "attention", "--json", str(tmp_path / "a.json"), "--sizes", "S9"]) == 2
    assert "S9" in capsys.readouterr().err and not list(tmp_path.iterdir())
