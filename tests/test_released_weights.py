"""What each released weights file says of three frames made here by a formula: twelve probabilities that are far from 0
and 1.

A change of the network's code that keeps shapes but not meaning (a gate reversed, a map swapped, a scale left out)
makes released weights worthless without any error. The ways of computing, C++ or PyTorch's own, one thread or two,
AVX-512, AVX2 or none of both, were seen to differ by at most 0.000002 in any pixel; the tolerance is fifty times that,
and a hundredth of what such a change moves.

`python tests/test_released_weights.py` adds the values of files that have none yet; those of a file never change.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sstlib import weights
from sstlib.model import unroll

GOLDENS = Path(__file__).parent / "goldens" / "released_probabilities.json"
# name: rows of frame, object, row, column, probability
KNOWN = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {}
TOLERANCE = 1e-4
SIZE = (90, 122)


def scene():
    """Three frames (1, 3, 3, height, width) of two disks that drift over a pattern, and their masks in the first
    frame.
    """
    y, x = np.mgrid[:SIZE[0], :SIZE[1]].astype(float)
    frames, labels = [], None
    for t in range(3):
        ground = np.stack([np.sin(0.13 * x + 0.4 * c) * np.cos(0.17 * y - 0.9 * c) for c in range(3)])
        frame = 0.45 + 0.2 * ground
        disks = [(x - 38 - 5 * t)**2 + (y - 40 - 2 * t)**2 < 17**2, (x - 84 + 4 * t)**2 + (y - 52 + 3 * t)**2 < 14**2]
        for disk, color, pitch in zip(disks, ((0.8, 0.3, 0.2), (0.2, 0.5, 0.75)), (0.9, 0.6)):
            painted = np.array(color)[:, None, None] + 0.1 * np.sin(pitch * (x - 5 * t)) * np.sin(pitch * y)
            frame = np.where(disk, painted, frame)
        frames.append(np.round(255 * frame.clip(0, 1)) / 255)
        labels = disks[0] + 2 * (disks[1] & ~disks[0]) if labels is None else labels
    memberships = np.stack([labels == o for o in range(3)])
    return torch.from_numpy(np.stack(frames)[None]).float(), torch.from_numpy(memberships[None]).float()


@torch.no_grad()
def probabilities(name):
    """Of each object at each pixel of the second and third frame."""
    frames, memberships = scene()
    return unroll(weights.load(name), frames, memberships)[0].softmax(1)


@pytest.mark.parametrize("name", weights.released())
def test_released_weights_mean_what_they_meant(name):
    assert name in KNOWN, f"a new release: python {Path(__file__).name} adds its values, and only those"
    result = probabilities(name)
    assert len(KNOWN[name]) == 12 and all(0.25 < expected < 0.75 for *_, expected in KNOWN[name])
    for *place, expected in KNOWN[name]:
        assert result[tuple(place)].item() == pytest.approx(expected, abs=TOLERANCE), place


def unsure(result):
    """Three places of each object in each of two frames, spread over those between 0.3 and 0.7."""
    for frame in range(2):
        for o in (1, 2):
            places = ((result[frame, o] > 0.3) & (result[frame, o] < 0.7)).nonzero()
            for n in (1, 3, 5):
                row, column = places[n * len(places) // 6].tolist()
                yield frame, o, row, column, round(result[frame, o, row, column].item(), 6)


if __name__ == "__main__":
    rows = KNOWN | {name: list(unsure(probabilities(name))) for name in weights.released() if name not in KNOWN}
    lines = [
        f' "{name}": [\n  ' + ",\n  ".join(json.dumps(row) for row in values) + "\n ]" for name, values in rows.items()
    ]
    GOLDENS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
