"""An occluder led over a target so that just the wished share of it is hidden, for just the wished frames.

The occluder follows the target's path with an offset along one direction. In each frame the offset is solved, by
bisection on the two outlines, from the share that shall be hidden: rising over `RAMP` frames, kept, falling again.
"""

import math

import numpy as np
from torch import Tensor

from sstlib.shapes import Float
from sstlib.synthetic import motion, sprites
from sstlib.synthetic.spec import BEFORE, RAMP, ClipSpec
from sstlib.synthetic.textures import to_device

Layer = tuple[Float[Tensor, "channels rows columns"], sprites.Placements, sprites.Bends]
PROBE = 40  # points a side at which the target's outline is probed
MARGIN = 0.06  # of the occluder's radius by which it overlaps what it hides


class Crossing:
    """What is random about how an occluder comes and goes."""

    def __init__(self, rng: np.random.Generator, spec: ClipSpec) -> None:
        length = spec.occlusion or 0
        self.angle = rng.uniform(0, 2 * math.pi) + rng.normal(0, 0.01) * np.arange(spec.frames)
        along = rng.uniform(0, 2 * math.pi)
        self.direction = np.array([math.cos(along), math.sin(along)])
        self.first = int(rng.integers(BEFORE + RAMP, spec.frames - length - RAMP - BEFORE + 1))
        if length:
            self.rise = spec.hidden * (np.arange(1, RAMP + 1) / (RAMP + 1) + rng.uniform(-0.1, 0.1, RAMP))


def lead_over(crossing: Crossing, spec: ClipSpec, level: Float[Tensor, "rows columns"], target: list[Layer],
              path: Float[np.ndarray, "frames 2"], radius: float) -> np.ndarray:
    """Placements (frames, 3, 3) of the occluder.

    Args:
        level: outline of the occluder.
        target: sprite, placements and bends of each of the target's layers.
        path: the target's positions (frames, 2).
        radius: the target's.
    """
    points, weights = _outline(target, path, 2.2 * radius)
    grown = 1.1 * radius

    def placed(offset: np.ndarray) -> np.ndarray:
        places = path + offset[:, None] * crossing.direction
        return motion.placement(places, crossing.angle, np.full((spec.frames, 2), grown))

    def hidden(offset: np.ndarray, margin: float = 0.0) -> np.ndarray:
        inverse = to_device(np.linalg.inv(placed(offset)), points.device)
        grid = points @ inverse[:, :2, :2].transpose(1, 2) + inverse[:, None, :2, 2]
        inside = sprites.sample(level[None], grid[:, None])[:, 0, 0] > margin
        return ((inside * weights).sum(1) / weights.sum(1)).cpu().numpy()

    still = np.zeros(spec.frames)
    while hidden(still, MARGIN).min() < 1 and grown < 5 * radius:
        grown *= 1.12
    far = 1.5 * grown + 2.2 * radius

    def offset_of(share: np.ndarray | float, side: int, margin: float = 0.0) -> np.ndarray:
        """The offset on one side at which just that share is hidden; hidden falls as the offset grows."""
        low, high = np.zeros(spec.frames), np.full(spec.frames, far)
        for _ in range(12):
            middle = (low + high) / 2
            more = hidden(side * middle, margin) >= share
            low, high = np.where(more, middle, low), np.where(more, high, middle)
        return side * low

    return placed(_offsets(crossing, spec, offset_of, far))


def _offsets(crossing: Crossing, spec: ClipSpec, offset_of, far: float) -> np.ndarray:
    """The offset in each frame, from the wished share in each: in from one side, over the target, out at the other."""
    length, first = spec.occlusion or 0, crossing.first
    t = np.arange(spec.frames)
    touch_in, touch_out = offset_of(0.002, -1), offset_of(0.002, 1)
    if not length:  # comes near, stays beside the target, leaves on the side that it came from
        return touch_in * 1.05 - 0.08 * far * np.abs(t - first)
    rise = crossing.rise
    before, after = np.clip(t - first + RAMP, 0, RAMP - 1), np.clip(first + length + RAMP - 1 - t, 0, RAMP - 1)
    entering, leaving = offset_of(rise[before], -1), offset_of(rise[after], 1)
    if spec.hidden == 1:
        near, distant = 0.9 * offset_of(1.0, -1, MARGIN), 0.9 * offset_of(1.0, 1, MARGIN)
        over = near + (distant - near) * (np.clip(t - first, 0, length - 1) + 0.5) / length
    else:  # a part stays visible: the occluder stays on one side and leaves there too
        over, leaving, touch_out = offset_of(spec.hidden, -1), offset_of(rise[after], -1), touch_in
    step = np.abs(entering[first - 1] - entering[first - RAMP]) / (RAMP - 1) + 0.02 * far
    offset = np.where(t < first, entering, np.where(t < first + length, over, leaving))
    early, late = first - RAMP - t, t - (first + length + RAMP - 1)
    offset = np.where(early > 0, touch_in - step * (early - 0.5), offset)
    return np.where(late > 0, touch_out + np.sign(touch_out) * step * (late - 0.5), offset)


def _outline(target: list[Layer], path: np.ndarray, reach: float) -> tuple[Tensor, Tensor]:
    """Probe points (frames, points, 2) in a square about the target and whether each is on it."""
    step = 2 * reach / PROBE
    to_probe = np.array([[1 / step, 0, PROBE / 2], [0, 1 / step, PROBE / 2], [0, 0, 1.0]])
    inside = None
    for sprite, placements, bends in target:
        moved = placements.copy()
        moved[:, :2, 2] -= path
        grid = sprites.material(to_probe @ moved, bends, np.zeros((len(path), 2), int), PROBE, PROBE, sprite.device)
        covered = (sprites.sample(sprite[3:], grid)[:, 0] > 0).flatten(1)
        inside = covered if inside is None else inside | covered
    axis = (np.arange(PROBE) + 0.5) * step - reach
    square = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    return to_device(square[None] + path[:, None], inside.device), inside.float()
