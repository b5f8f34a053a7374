"""Routes: arrival against powers of the boolean mask, Eq. 7 to 10 against sums over walks, strongest routes against
all of them.
"""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sstlib import routes
from sstlib.config import ModelConfig
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided
from sstlib.model import build

SIZE = (3, 5, 7)


class Onward(Connectivity):
    """Cells attend to the frame, the row and the columns before theirs: seen from its keys, another pattern."""
    def relations(self, size):
        return [tuple(np.tri(n, k=-1, dtype=bool) for n in size)]


STACKS = [(Onward(), Grid()), (Onward(), Onward()), (Grid(),) * 3, (Local(1), Strided(2)),
          (Strided(3, temporal_stride=2), Local((0, 2))), (Grid(causal=True),) * 2,
          (Local(1, causal=True), Strided(2, causal=True, temporal_stride=2)), (Dense(),), (Strided(9),) * 2]


@pytest.mark.parametrize("layers", STACKS, ids=lambda layers: "-".join(map(str, layers)))
@pytest.mark.parametrize("cell", [(0, 0, 0), (1, 2, 6), (2, 4, 3)])
def test_arrival_follows_the_masks(layers, cell):
    start = np.zeros(SIZE, dtype=bool)
    start[cell] = True
    result = np.where(start, 0, -1)
    holds = start.ravel()
    for hop, layer in enumerate(layers, start=1):
        holds = (layer.mask(*SIZE).numpy() @ holds) | holds
        result[(result < 0) & holds.reshape(SIZE)] = hop
    assert_array_equal(routes.arrival(layers, cell, SIZE), result)


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((2, 3, 4, 5))


def grid_neighbors(cell, size):
    """Definition of section 3.2, written out: two of three coordinates shared."""
    return [q for q in product(*map(range, size)) if sum(a != b for a, b in zip(cell, q)) <= 1]


def test_one_layer_is_equation_9(features):
    time, height, width, channels = features.shape
    expected = np.zeros_like(features)
    for t, y, x in product(range(time), range(height), range(width)):
        cell = features[t, y, x]
        for i in range(width):
            expected[t, y, x] += (cell @ features[t, y, i]) * features[t, y, i]
        for j in set(range(height)) - {y}:
            expected[t, y, x] += (cell @ features[t, j, x]) * features[t, j, x]
        for k in set(range(time)) - {t}:
            expected[t, y, x] += (cell @ features[k, y, x]) * features[k, y, x]
    assert_allclose(routes.routed(features, features, Grid(), 1), expected, rtol=1e-12)
    assert_allclose(routes.reattended(features, Grid(), 1), expected, rtol=1e-12)


def test_three_layers_are_the_sum_over_walks_and_equation_7_is_part_of_it(features):
    size, start = features.shape[:3], (1, 0, 2)
    total, displayed = np.zeros(5), np.zeros(5)
    for a in grid_neighbors(start, size):
        for b in grid_neighbors(a, size):
            for c in grid_neighbors(b, size):
                term = (features[start] @ features[a]) * (features[a] @ features[b]) * (
                    features[b] @ features[c]) * features[c]
                total += term
                t, y, x = start
                k, j, i = c
                if a == (t, y, i) and b == (t, j, i):
                    displayed += term
    assert_allclose(routes.routed(features, features, Grid(), 3)[start], total, rtol=1e-11)
    assert_allclose(routes.equation_7(features)[start], displayed, rtol=1e-11)


def test_six_routes_make_up_the_weight_between_cells_that_differ_in_all_coordinates(features):
    start, end = (0, 1, 3), (1, 2, 0)
    result = routes.axis_routes(features, start, end)
    assert sorted(result) == ["txy", "tyx", "xty", "xyt", "ytx", "yxt"]
    spread = np.zeros((*features.shape[:3], 1))
    spread[end] = 1
    assert_allclose(sum(result.values()), routes.routed(features, spread, Grid(), 3)[start][0], rtol=1e-12)
    assert_allclose(result["xyt"], (features[0, 1, 3] @ features[0, 1, 0]) * (features[0, 1, 0] @ features[0, 2, 0])
                    * (features[0, 2, 0] @ features[1, 2, 0]), rtol=1e-12)


def test_degree_in_the_features(features):
    assert_array_equal(routes.routed(2 * features, 2 * features, Grid(), 3),
                       2.0**7 * routes.routed(features, features, Grid(), 3))
    assert_array_equal(routes.reattended(2 * features, Grid(), 3), 2.0**27 * routes.reattended(features, Grid(), 3))


@pytest.mark.parametrize("hops, count", [(1, 3), (2, 1), (2, 7), (3, 5), (3, 400)])
def test_strongest_routes_are_those_of_exhaustive_search(hops, count):
    rng = np.random.default_rng(hops)
    maps = [rng.random((7, 7)) * (rng.random((7, 7)) < 0.7) for _ in range(hops)]
    maps[0] = maps[0][-3:]  # only the last three cells ask
    ends = np.array([True, False, True, True, False, False, True])
    every = []
    for walk in product(range(7), repeat=hops):
        weight, cell = 1.0, 5 - 4
        for hop_map, earlier in zip(maps, walk):
            weight, cell = weight * hop_map[cell, earlier], earlier
        if ends[walk[-1]] and weight > 0:
            every.append((weight, (5, *walk)))
    every.sort(key=lambda route: -route[0])
    result = routes.strongest_routes(maps, 5, ends, count)
    assert [cells for _, cells in result] == [cells for _, cells in every[:count]]
    assert_allclose([weight for weight, _ in result], [weight for weight, _ in every[:count]])


@pytest.mark.parametrize("scaled", [False, True])
def test_attention_maps_are_the_layers_own(scaled):
    torch.manual_seed(0)
    config = ModelConfig(layers=("local(radius=1)", "grid"), heads=1, width=8, history=2, scaled=scaled)
    network = build(config).eval()
    values, outputs = [], []
    for layer in network.layers:
        layer.register_forward_pre_hook(lambda _, given: values.append(given[2][0, 0].flatten(0, 2)))
        layer.out.register_forward_pre_hook(lambda _, given: outputs.append(given[0][0].flatten(0, 2)))
    maps = routes.attention_maps(network, torch.rand(3, 3, 24, 40), torch.rand(3, 2, 24, 40).softmax(1))
    last, first = maps
    assert first.shape == (45, 45) and last.shape == (15, 45)
    assert_array_equal(first > 0, Local(1).mask(3, 3, 5).numpy())
    assert_array_equal(last > 0, Grid().mask(3, 3, 5).numpy()[-15:])
    for attended, value, output in zip(maps[::-1], values[-2:], outputs[-2:]):
        assert_allclose(attended @ value.double().numpy(), output.numpy(), rtol=1e-4, atol=1e-5)


def test_attention_maps_of_a_causal_network_cover_its_past():
    torch.manual_seed(0)
    network = build(ModelConfig(layers=("local(radius=1)", "dense"), heads=2, width=8, history=3, causal=True)).eval()
    last, first = routes.attention_maps(network, torch.rand(3, 3, 24, 40), torch.rand(3, 2, 24, 40).softmax(1))
    for result, pattern in [(first, Local(1, causal=True)), (last, Dense(causal=True))]:
        assert_allclose(result.sum(1), 1)
        assert_array_equal(result > 0, pattern.mask(3, 3, 5).numpy())


def test_carried_is_the_product_of_the_maps():
    rng = np.random.default_rng(0)
    maps, values = [rng.random((2, 6)), rng.random((6, 6)), rng.random((6, 6))], rng.random((6, 3))
    assert_allclose(routes.carried(maps, values), maps[0] @ maps[1] @ maps[2] @ values)


def test_attention_maps_average_the_heads():
    torch.manual_seed(0)
    network = build(ModelConfig(layers=("local(radius=2)",), heads=4, width=16, history=1)).eval()
    (result,) = routes.attention_maps(network, torch.rand(2, 3, 24, 40), torch.rand(2, 3, 24, 40).softmax(1))
    assert_allclose(result.sum(1), 1)
    assert (np.unique(np.round(result[result > 0], 12)).size > 15) and not network.layers[0]._forward_pre_hooks


def test_attention_maps_refuse_more_frames_than_the_history():
    network = build(ModelConfig(history=1)).eval()
    with pytest.raises(ValueError, match="history"):
        routes.attention_maps(network, torch.rand(3, 3, 24, 40), torch.rand(3, 2, 24, 40))


def test_cell_means_leave_out_incomplete_blocks():
    pixels = np.arange(2 * 5 * 7 * 3).reshape(2, 5, 7, 3)
    means = routes.cell_means(pixels, 2)
    assert means.shape == (2, 2, 3, 3)
    assert_allclose(means[1, 1, 2], pixels[1, 2:4, 4:6].mean((0, 1)))
    assert_allclose(routes.cell_means(pixels[..., 0] > 40, 5)[0], [[(pixels[0, :, :5, 0] > 40).mean()]])


def test_color_features_compare_colors():
    colors = np.zeros((1, 2, 3, 3))
    colors[0, 1] = 0.9
    features = routes.color_features(colors, spread=0.1, anchors=6).reshape(6, 6)
    similar = features @ features.T
    assert_allclose(np.diag(similar), 1)
    assert similar[:3, :3].min() > 0.999 and similar[:3, 3:].max() < 1e-6 and features.min() >= 0
    colors[0, 1] = (0.3, 0, 0)  # of two colors one standard deviation apart each is the other's anchor at exp(-1/2)
    one, two = routes.color_features(colors, spread=0.3, anchors=2).reshape(6, 2)[[0, 5]]
    assert one @ two == pytest.approx(2 * np.exp(-0.5) / (1 + np.exp(-1)))


def test_routed_share_and_separation():
    share = routes.routed_share(np.array([[2.0, 4.0], [0.0, 0.0], [3.0, 3.0]]))
    assert_array_equal(share[:, 0], [0.5, 0, 1])
    assert routes.separation(share[:, 0], np.array([False, False, True])) == 1
    assert routes.separation(np.array([1.0, 0, 2, 1]), np.array([True, False, False, False])) == (1 + 0 + 0.5) / 3
    assert np.isnan(routes.separation(share[:, 0], np.zeros(3, bool)))


def test_middle_cell_is_covered():
    ring = np.zeros((7, 9))
    ring[1:6, 2:7] = 1
    assert routes.middle_cell(ring) == (3, 4)
    ring[2:5, 3:6] = 0
    assert ring[routes.middle_cell(ring)] == 1
    assert routes.middle_cell(np.array([[0.5, 0.95, 0.95, 1.0]])) == (0, 2), "covered about as well as any"
