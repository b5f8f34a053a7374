"""Routes: arrival against powers of the boolean mask."""

import numpy as np
import pytest

from sstlib.connectivity import Dense, Grid, Local, Strided
from sstlib.routes import arrival

SIZE = (3, 5, 7)
STACKS = [(Grid(),) * 3, (Local(1), Strided(2)), (Strided(3, temporal_stride=2), Local((0, 2))), (Grid(causal=True),) * 2,
          (Local(1, causal=True), Strided(2, causal=True, temporal_stride=2)), (Dense(),), (Strided(9),) * 2]


@pytest.mark.parametrize("layers", STACKS, ids=lambda layers: "-".join(map(str, layers)))
@pytest.mark.parametrize("cell", [(0, 0, 0), (1, 2, 6), (2, 4, 3)])
def test_arrival_follows_the_masks(layers, cell):
    start = np.zeros(SIZE, dtype=bool)
    start[cell] = True
    found = np.where(start, 0, -1)
    holds = start.ravel()
    for hop, layer in enumerate(layers, start=1):
        holds = (layer.mask(*SIZE).numpy() @ holds) | holds
        found[(found < 0) & holds.reshape(SIZE)] = hop
    np.testing.assert_array_equal(arrival(layers, cell, SIZE), found)
