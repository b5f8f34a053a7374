"""What the causal mode changes: the comparison against itself, and against scoring one mode alone."""

import numpy as np
import pytest
import torch

from sstlib import paths, weights
from sstlib.config import named_model
from sstlib.experiments import causality, records
from sstlib.experiments.execute import segmented, summary
from sstlib.metrics import score_sequence
from sstlib.model import build
from sstlib.synthetic import random_spec, render
from sstlib.video import ArraySequence


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(0)
    return weights.save(build(named_model("sst-tiny").replace(causal=True, history=2)),
                        tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def sequences():
    clips = [
        render(random_spec("easy", np.random.default_rng(n), frames=5, height=40, width=56, objects=2), n)
        for n in range(2)
    ]
    return [ArraySequence(clip.frames, clip.labels, name=f"clip{n}") for n, clip in enumerate(clips)]


def test_each_mode_is_scored_as_it_is_alone(trained, sequences):
    result = causality.side_by_side(str(trained), sequences)
    for mode, causal in causality.MODES.items():
        network = weights.load(trained)
        network.config = network.config.replace(causal=causal)
        alone = [
            score_sequence(segmented(network, one.frames, one.labels[0]), np.stack(list(one.labels.values())),
                           name=one.name) for one in sequences
        ]
        assert result[mode] == summary(alone)
    gain = result["full_minus_causal"]["difference"]["mean"]
    assert gain == pytest.approx(result["full"]["J"] - result["causal"]["J"]) and 0 <= result["agreement"] < 1


def test_a_mode_agrees_with_itself(trained, sequences, monkeypatch):
    monkeypatch.setattr(causality, "MODES", {"causal": True, "full": True})
    result = causality.side_by_side(str(trained), sequences)
    assert result["agreement"] == 1 and result["full_minus_causal"]["difference"]["mean"] == 0


def test_a_record_is_kept_for_these_very_weights(trained, sequences, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    monkeypatch.setattr(causality, "open_dataset", lambda name, split: sequences)
    path = causality.compare(str(trained))
    cost = records.read(path).cost["multiply_adds_480p"]
    assert cost["causal"] < cost["full"]
    table, message = causality.table(records.read(path)), causality.said(records.read(path))
    assert table["mode"].tolist() == ["causal", "full"] and table["multiply-adds (10^9)"][0] == cost["causal"] / 1e9
    assert "95%" in message and ("undecided" in message or "is better" in message)
    monkeypatch.setattr(causality, "side_by_side", None)
    assert causality.compare(str(trained)) == path
