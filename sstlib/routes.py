"""Along which routes information travels through sparse attention: Eq. 7 to 10 with exact arithmetic, and routes of a trained model."""

from collections.abc import Sequence

import numpy as np

from sstlib.connectivity import Connectivity, reach
from sstlib.shapes import Int


def arrival(layers: Sequence[Connectivity], cell: tuple[int, int, int], size: tuple[int, int, int]
            ) -> Int[np.ndarray, "time height width"]:
    """The layer after which a cell's content has arrived at each cell (Fig. 1): 0 at the cell itself, -1 never.

    `reach` follows hops from an output back to the inputs; every pattern, seen from its keys, is itself with time reversed.
    """
    mirrored = (size[0] - 1 - cell[0], *cell[1:])
    reached = np.stack([reach(layers[:count][::-1], mirrored, size)[::-1] for count in range(len(layers) + 1)])
    return np.where(reached[-1], reached.argmax(axis=0), -1)
