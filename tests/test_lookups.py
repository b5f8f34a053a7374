"""What a query looks up, held to the operator's own output and affinity; routes held to all of them; the explorer's
clicks to what lies under them.
"""

import functools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from sstlib import explorers, routes
from sstlib.attention import sparse_attention
from sstlib.attention.affinity import KINDS
from sstlib.config import ModelConfig
from sstlib.connectivity import Dense, Grid, Local, Strided
from sstlib.inference import Segmenter
from sstlib.model import build
from sstlib.movies import open_clip
from sstlib.plots import png
from sstlib.plots.routes import GAP, _explained, frame_under
from sstlib.routes import lookups
from sstlib.video import ArraySequence, write_mask

SIZE = (3, 5, 7)
PATTERNS = (Grid(), Local((1, 2)), Strided(2), Dense(), Grid(causal=True), Strided(3, temporal_stride=2))


def inputs_of(kind, queried, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(2, time, *SIZE[1:], 3, generator=generator) for time in (queried, *SIZE[:1] * 2))
    labels = torch.randint(-1, 3, SIZE, generator=generator)
    labels[-1] = -1
    return lookups.Inputs(query, key, value, torch.zeros(3, *SIZE), labels, Local(1), 0.7, kind, (4, 5, 6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queried", [1, 3])
def test_weights_and_affinity_are_the_operators(kind, queried):
    inputs = inputs_of(kind, queried)
    for pattern in (None, *PATTERNS):
        tensors = (x[None].double() for x in (inputs.query, inputs.key, inputs.value))
        exact = sparse_attention(*tensors, pattern or inputs.connectivity, labels=inputs.labels[None], objects=3,
                                 affinity=kind, scale=0.7)
        for cell in [(2, 0, 0), (2, 4, 3), *([(0, 2, 6), (1, 3, 1)] if queried == 3 else [])]:
            place = (cell[0] - (SIZE[0] - queried), *cell[1:])
            for head in (0, 1):
                lookup = lookups.attention_of(inputs, cell, head, pattern)
                assert lookup.weights.sum() == pytest.approx(1)
                carried = np.tensordot(lookup.weights, inputs.value[head].double().numpy(), 3)
                assert_allclose(carried, exact.output[0, head][place].numpy(), rtol=1e-9, atol=1e-12)
                expected = exact.affinity[0, head][:, place[0], place[1], place[2]]
                assert_allclose(lookup.affinity, expected.numpy(), rtol=1e-9)
            mean = lookups.attention_of(inputs, cell, None, pattern)
            each = [lookups.attention_of(inputs, cell, head, pattern) for head in (0, 1)]
            assert_allclose(mean.weights, np.mean([one.weights for one in each], 0))
            assert_allclose(mean.affinity, np.mean([one.affinity for one in each], 0))


@pytest.mark.parametrize("cell, head, words", [((0, 0, 0), 0, "frames 2 to 2"), ((2, 5, 0), 0, "5 x 7 cells"),
                                               ((2, 0, -1), 0, "5 x 7 cells"), ((2, 0, 0), 2, "heads 0 to 1")])
def test_a_query_that_is_not_there_is_named(cell, head, words):
    with pytest.raises(ValueError, match=words):
        lookups.attention_of(inputs_of("dot", 1), cell, head)


def clip(frames=5, rows=40, columns=56):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (frames, rows, columns, 3), dtype=np.uint8)
    labels = np.zeros((frames, rows, columns), np.uint8)
    labels[0, 8:24, 8:32], labels[0, 24:, 40:] = 3, 7
    return ArraySequence(pictures, labels, "noise")


@functools.cache
def watched(causal=True, layers=("local(radius=2)", "grid"), **options):
    torch.manual_seed(0)
    network = build(ModelConfig(layers=layers, heads=2, width=12, history=2, causal=causal, backbone_width=8,
                                embedding=16, decoder_width=16, **options)).eval()
    return explorers.Watched(network, clip())


@pytest.mark.parametrize("causal", [True, False])
def test_a_watched_clip_is_segmented_as_ever_and_its_layers_read_what_they_read(causal):
    look = watched(causal, scaled=causal)
    segmenter, read = Segmenter(look.network), []
    for layer in segmenter.network.layers:  # its own, as the modules of a segmenter are
        layer.out.register_forward_pre_hook(lambda _, given: read.append(given[0][0, -1]))
    sequence = clip()
    for t in range(len(sequence)):
        read.clear()
        labels = segmenter.step(sequence.frame(t), sequence.label(t) if t == 0 else None).labels
        assert_array_equal(look.labels[t], labels)
        assert not t or len(read) >= 2
        for number, outputs in enumerate(read[:2] if t else []):
            inputs = look.inputs(t)[number]
            assert inputs.scale == (6**-0.5 if causal else 1)  # 12 channels in two heads
            for head in (0, 1):
                weights = look.look(t, number, head, (3, 4)).weights
                carried = np.tensordot(weights, inputs.value[head].numpy(), 3)
                assert_allclose(carried, outputs[3, 4].unflatten(-1, (2, -1))[head].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_weights_are_the_rows_of_the_whole_maps(causal):
    look, sequence = watched(causal), clip(3)
    frames = torch.from_numpy(sequence.frames).permute(0, 3, 1, 2) / 255
    memory, given = None, torch.stack([torch.from_numpy(look.labels[:3] == number) for number in look.ids], 1).float()
    for t in range(2):
        memory = look.network.remember(memory, look.network.extract(frames[t:t + 1]), given[t:t + 1])
    inputs = lookups.layer_inputs(look.network, look.network.extract(frames[2:]), memory)
    maps = routes.attention_maps(look.network, frames, given)
    for layer, whole in zip(inputs, maps[::-1]):
        assert_allclose(lookups.weights_of(layer, (2, 4, 1)).ravel(), whole[-35:][4 * 7 + 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hops, count", [(1, 3), (2, 1), (2, 7), (3, 5), (3, 400)])
def test_strongest_routes_are_those_of_the_dense_search(hops, count):
    rng = np.random.default_rng(hops)
    maps = [rng.random((7, 7)) * (rng.random((7, 7)) < 0.7) for _ in range(hops)]
    maps = [one / one.sum(1, keepdims=True) for one in maps]
    ends = np.array([True, False, True, True, False, False, True])

    def row(hop, cell):
        weights = maps[hop][cell[2]] * (ends if hop == hops - 1 else 1)
        places = np.flatnonzero(weights)
        return weights[places], np.stack([0 * places, 0 * places, places], -1)

    result = lookups.strongest(row, (0, 0, 5), hops, count)
    expected = [one for one in routes.strongest_routes(maps, 5, ends, count) if one[0] > 0]
    assert [tuple(cell[2] for cell in cells) for _, cells in result] == [cells for _, cells in expected]
    assert_allclose([weight for weight, _ in result], [weight for weight, _ in expected])


@pytest.mark.parametrize("causal", [True, False])
def test_routes_end_in_the_object_and_weigh_what_they_pass(causal):
    look = watched(causal)
    for weight, cells in look.routes(4, (2, 3), None, 1, 4, Dense()):
        assert cells[0] == (4, 2, 3) and len(cells) == 3 and cells[-1][0] == look.inputs(4)[0].times[0]
        assert look.owners(4)[(0, *cells[-1][1:])] == 1
        passed = 1.0
        for layer, start, end in zip((1, 0), cells, cells[1:]):
            inputs = look.inputs(start[0] if causal else 4)[layer]
            at = [(inputs.times.index(cell[0]), *cell[1:]) for cell in (start, end)]
            passed *= lookups.weights_of(inputs, at[0], None, Dense())[at[1]]
        assert passed == pytest.approx(weight)


def test_a_frame_is_found_under_a_place():
    assert frame_under(6.9, 7) == (0, 6.9) and frame_under(7.1, 7) is None
    assert frame_under(7 + GAP + 0.5, 7) == (1, pytest.approx(0.5))


def spot(figure, label, x, y):
    axes = next(axes for axes in figure.axes if axes.get_label() == label)
    across, up = figure.transFigure.inverted().transform(axes.transData.transform((x, y)))
    return [across, 1 - up]


def test_a_click_asks_the_cell_under_it_whatever_the_row():
    explorer = explorers.attention_explorer(watched(), 3, (2, 3), layer=1)
    assert explorer.figure.get_suptitle() == "noise: frame 4, row 3, column 4; layer 2 of 2, mean of all heads"
    for row, slot, y, x in [("Dense", 2, 4, 6), ("Strided(stride=7)", 0, 0, 0), ("routes of 2 hops", 1, 2, 5)]:
        explorer.set(time=4)
        png(explorer.figure)
        explorer.screen.stroke = [spot(explorer.figure, row, slot * (7 + GAP) + x + 0.9, y + 0.1)]
        assert [explorer.values[axis] - 1 for axis in ("time", "row", "column")] == [1 + slot, y, x]
    explorer.set(time=4)
    before = explorer.values
    explorer.screen.stroke = [spot(explorer.figure, "Dense", 7 + GAP / 2, 2.0)]
    assert explorer.values == before, "between two frames there is no cell"


def test_every_control_redraws():
    explorer = explorers.attention_explorer(watched(), 3, (2, 3))
    for change in ({"layer": 2}, {"head": 1}, {"goal": "object 7"}, {"along": "Dense"}, {"time": 1}):
        before = explorer.screen.picture
        explorer.set(**change)
        assert explorer.screen.picture != before, change
    assert "layer 2 of 2, head 1" in explorer.figure.get_suptitle()


def test_the_numbers_on_routes_are_explained():
    assert "Numbered dots: their stops" in _explained({}, [(0.5, [(0, 2, 3), (0, 1, 1)])])


def test_a_video_of_ones_own_larger_than_the_cap(tmp_path, capsys):
    sequence = clip(3, 64, 120)
    for t in range(3):
        Image.fromarray(sequence.frame(t)).save(tmp_path / f"{t}.png")
    write_mask(tmp_path / "mask" / "0.png", sequence.label(0))
    video = open_clip(tmp_path, tmp_path / "mask" / "0.png")
    look = explorers.Watched(watched().network, video, progress=True, longest=64)
    assert "3/3" in capsys.readouterr().err
    assert look.frames.shape[1:3] == (34, 64) and look.labels.shape == (3, 64, 120)
    left, right, bottom, top = look.extent()
    assert (left, top) == (0, 0) and right == 8 and bottom == 34 / 8
    assert look.inputs(2)[0].size == (3, 5, 8)


def test_what_has_no_attention_or_no_mask_is_refused():
    with pytest.raises(ValueError, match="method 'stm'"):
        explorers.Watched(build(ModelConfig(method="stm")), clip())
    sequence = clip()
    with pytest.raises(ValueError, match="no mask of its first frame"):
        explorers.Watched(watched().network, ArraySequence(sequence.frames, None, "bare"))
    with pytest.raises(ValueError, match="at least two"):
        explorers.Watched(watched().network, clip(1))
