"""Ablations of training: each recipe leaves out one part, and the table pairs seeds, sequences and scenes."""

import numpy as np
import pytest

from sstlib import paths
from sstlib.config.presets import HELD_OUT, PRESETS
from sstlib.experiments import ablations, bases, records

LEFT_OUT = {"pretrained": {"model.backbone", "training.start", "training.freeze"}, "photographs": {"data.photo_ratio"},
            "occlusion": {"data.real", "data.hidden"}, "reference": {"model.keep_reference", "model.landmarks"},
            "presence": {"model.presence", "model.presence_compared", "model.presence_gate"}}


def test_a_recipe_leaves_out_one_part_and_nothing_else():
    whole = PRESETS["ablation"]
    assert set(ablations.PARTS) == set(LEFT_OUT) and whole.data.held_out == HELD_OUT
    for part, fields in LEFT_OUT.items():
        recipe = PRESETS[f"ablation-{part}"]
        assert set(whole.differences(recipe)) == fields
        assert bases.Base.named(f"ablation-{part}").run("base", 2).config.training.seed == 2


def write(base, seed, quality, lost, claimed, code="c"):
    """Scores of two sequences, and of two scenes at two lengths."""
    passages = {"back_control": [[0.9, 0.9]] * 2, "back": [[0.9 - one, 0.9 - one] for one in lost],
                "claimed": [[one, 3 * one] for one in claimed]}
    metrics = {"sequences": {name: {"J&F": value} for name, value in zip("ab", quality, strict=True)},
               "passages": {"tables": {"predictions": passages}}}
    records.RunRecord(base, "base", seed, {}, metrics, {}, {"computed_by": code}).write()


def test_differences_are_paired_by_seed_and_sequence(tmp_path, monkeypatch):
    """Seeds on which the whole scores 20 points apart, and without a part always 5 less: the interval is that of 5."""
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert ablations.table().empty
    for seed, base in enumerate((0.3, 0.5, 0.7)):
        write("ablation", seed, (base, base + 0.1), (0.1, 0.2), (0.0, 0.1))
        if seed < 2:
            write("ablation-presence", seed, (base - 0.05, base + 0.05), (0.3, 0.4), (0.2, 0.3))
    table = ablations.table().set_index("measure")
    assert set(table["without"]) == {ablations.PARTS["presence"]} and (table["seeds"] == 2).all()
    for field in ("mean", "low", "high"):
        np.testing.assert_allclose(table[field], [-5, 20, 40])
    assert ablations.summary(ablations.table()).startswith("3 of 3 intervals leave out 0: J&F, DAVIS 2016, without ")
    np.testing.assert_allclose(table["whole"], [45, 15, 10])
    np.testing.assert_allclose(table["without it"], [40, 35, 50])


def test_runs_of_two_versions_of_the_code_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    write("ablation", 0, (0.3, 0.4), (0.1, 0.2), (0.0, 0.1))
    write("ablation-presence", 0, (0.3, 0.4), (0.1, 0.2), (0.0, 0.1), code="other")
    with pytest.raises(ValueError, match="ablation.*ablation-presence.*made by different code"):
        ablations.table()
