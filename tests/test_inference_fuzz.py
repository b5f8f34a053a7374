"""Segmenters fed with whatever arrays there are: right results for what is right, one clear line for the rest."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sstlib.config import named_model
from sstlib.inference import LEAST, Segmenter
from sstlib.model import build

VOID = 255
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 3, 5, 97]))
KINDS = ["uint8", "int16", "int64", "uint64", "bool", "float32", "float64", "complex64"]
VALUES = {
    "ids": [0, 1, 2, 254], "far ids": [0, 3, 254], "void": [VOID], "nothing": [0], "void and an id": [0, VOID, 7],
    "too large": [0, 256, 300], "negative": [-1, 0, 1], "huge": [0, 2**40]
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(named_model("sst-tiny").replace(matching="reference", layers=("local(radius=2)",))).eval()


@st.composite
def labels(draw, size):
    """Labels of some kind, often of the frame's size and often with an object."""
    shape = draw(st.sampled_from([size, size, size, size, (*size, 1), size[::-1], (size[0] + 1, size[1]), (0, 0)]))
    values = draw(st.sampled_from(sorted(VALUES)))
    kind = draw(st.sampled_from(KINDS))
    drawn = np.random.default_rng(draw(st.integers(0, 99))).choice(np.array(VALUES[values], np.int64), shape)
    if kind.startswith("float") and draw(st.booleans()):
        return np.where(drawn > 0, np.nan, drawn).astype(kind)
    return drawn.astype(kind)


def usable(given, size: tuple[int, int], first: bool) -> bool:
    """Whether labels can be taken, said without the code under test."""
    if given.shape != size or given.dtype.kind not in "uib":
        return False
    values = {int(value) for value in np.unique(given)}
    return values <= set(range(256)) and (not first or bool(values - {0, VOID}))


@st.composite
def cases(draw):
    size = draw(SIDES), draw(SIDES)
    return size, draw(labels(size)), draw(labels(size)), draw(st.sampled_from([None, 16, 0])), draw(st.booleans())


def check(network, case) -> None:
    size, first, later, longest, flip = case
    segmenter, rng = Segmenter(network, longest=longest, flip=flip), np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    if max(size) < LEAST:
        with pytest.raises(ValueError, match=rf"^the frame is {size[1]}x{size[0]} pixels, [^\n]+$"):
            segmenter.step(frames[0], np.ones(size, np.uint8))
        return
    if not usable(first, size, True):
        with pytest.raises(ValueError, match="^[^\n]+$"):
            segmenter.step(frames[0], first)
        first = np.ones(size, np.uint8)  # and nothing of the refused labels is left
    prediction = segmenter.step(frames[0], first)
    assert np.array_equal(prediction.labels, np.where(first == VOID, 0, first))
    assert prediction.ids == (0, *sorted(set(np.unique(first).tolist()) - {0, VOID}))
    if usable(later, size, False):
        prediction = segmenter.step(frames[1], later)
        shown = (later != 0) & (later != VOID)
        assert np.array_equal(prediction.labels[shown], later[shown])
    else:
        with pytest.raises(ValueError, match="^[^\n]+$"):
            segmenter.step(frames[1], later)
    prediction = segmenter.step(frames[2])
    assert prediction.labels.shape == size and prediction.labels.dtype == np.uint8 and set(np.unique(
        prediction.labels)) <= set(prediction.ids)
    assert prediction.probabilities.shape == (len(prediction.ids), *size) and np.isfinite(
        prediction.probabilities).all()
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)
    for values in (prediction.confidence, prediction.presence, prediction.doubt):
        assert set(values) == set(prediction.ids[1:]) and all(0 <= value <= 1 for value in values.values())


WIDE = np.zeros((2, 700), np.uint8)
WIDE[:, 100:200] = 3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
@example(((1, 1), np.ones((1, 1), bool), np.full((1, 1), VOID), None, False))
@example(((3, 5), np.full((3, 5), 254), np.zeros((3, 5), np.uint8), 16, True))
@example(((2, 700), WIDE, WIDE[:, ::-1], 16, False))
@example(((700, 2), WIDE.T, WIDE.T == 3, None, False))
def test_any_labels_are_taken_or_refused_in_a_line(network, case):
    check(network, case)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True)
@given(cases())
def test_five_hundred_labels_are_taken_or_refused_in_a_line(network, case):
    check(network, case)


def test_a_scale_that_leaves_nothing_is_refused(network):
    with pytest.raises(ValueError, match="the frame is 40x30 pixels, 4 in the network"):
        Segmenter(network, scales=(1.0, 0.1)).step(np.zeros((30, 40, 3), np.uint8), np.ones((30, 40), np.uint8))


@pytest.mark.parametrize("frame", [
    np.zeros((0, 5, 3), np.uint8),
    np.zeros((5, 0, 3), np.uint8),
    np.zeros((5, 5), np.uint8),
    np.zeros((5, 5, 4), np.uint8),
    np.zeros((5, 5, 3), np.int16),
    np.full((5, 5, 3), np.nan),
    np.zeros((1, 5, 5, 3), np.uint8),
    np.zeros((3, 5, 5), np.uint8)
])
def test_frames_that_are_none_are_refused_in_a_line(network, frame):
    with pytest.raises(ValueError,
                       match=r"^the frame is [^\n]+ give RGB as uint8 of shape \(height, width, 3\), values 0\.\.255$"):
        Segmenter(network).step(frame, np.ones(frame.shape[:2], np.uint8))


@pytest.mark.parametrize(
    "change", [np.flipud, np.fliplr, lambda x: np.asfortranarray(x), lambda x: np.broadcast_to(x[5:6], x.shape)])
def test_arrays_of_any_layout_are_read_as_they_are(network, change):
    frame = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    mask = np.zeros((17, 23), np.uint8)
    mask[3:9, 4:15] = 2
    strided, plain = Segmenter(network), Segmenter(network)
    for given_ in (mask, None):
        views = [change(frame), None if given_ is None else change(given_)]
        views[0].flags.writeable = False
        a, b = strided.step(*views), plain.step(*(None if view is None else view.copy(order="C") for view in views))
        np.testing.assert_array_equal(a.memberships, b.memberships)
