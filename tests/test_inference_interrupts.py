"""A step of a segmenter is whole or has not been: an interrupt, or no memory, leaves all as it was before the frame."""

import dataclasses

import numpy as np
import pytest
import torch

from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.model import build

HEIGHT, WIDTH = 37, 53
FRAMES = np.random.default_rng(5).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
GIVEN = np.zeros((HEIGHT, WIDTH), np.uint8)
GIVEN[3:18, 5:20], GIVEN[20:35, 30:45] = 1, 2
JOINED = np.where(GIVEN == 2, 7, 0).astype(np.uint8)
STEPS = [{"labels": GIVEN}, {}, {"labels": JOINED}, {"absent": [1]}, {}]  # one joins, one is said to be nowhere


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(named_model("sst-tiny").replace(matching="reference", landmarks=2, landmark_every=1))


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("part", ["extract", "segment", "remember", "_given", "_labels", "_judged"])
@pytest.mark.parametrize("options", [{}, {"flip": True, "aggregation": "hard"}], ids=str)
def test_a_step_that_is_interrupted_has_not_been(network, options, part, monkeypatch):
    """The frame is then given again, as by a cell of a notebook that is run once more."""
    undisturbed, segmenter = Segmenter(network, **options), Segmenter(network, **options)
    for frame, step in zip(FRAMES, STEPS):
        owner = segmenter if part.startswith("_") else segmenter.network
        with monkeypatch.context() as context:
            context.setattr(owner, part, interrupted)
            before = segmenter.size, [*segmenter.ids], {**segmenter.evidence}, [*segmenter.memories]
            called = part not in ("segment", "_given") or (segmenter.size if part == "segment" else step)
            if called:
                with pytest.raises(KeyboardInterrupt):
                    segmenter.step(frame, **step)
                assert before == (segmenter.size, segmenter.ids, segmenter.evidence, segmenter.memories)
        result, wanted = segmenter.step(frame, **step), undisturbed.step(frame, **step)
        for field in dataclasses.fields(result):
            np.testing.assert_equal(getattr(result, field.name), getattr(wanted, field.name))


def test_a_first_frame_that_is_interrupted_may_be_of_another_size(network, monkeypatch):
    segmenter = Segmenter(network)
    with monkeypatch.context() as context:
        context.setattr(segmenter.network, "remember", interrupted)
        with pytest.raises(KeyboardInterrupt):
            segmenter.step(FRAMES[0], GIVEN)
    assert segmenter.step(FRAMES[0][:30], GIVEN[:30]).labels.shape == (30, WIDTH)
