"""Finds the scenes of DAVIS-Occlusion: drawn at random, using masks alone, and accepted if the occluder hides the whole
target and nothing else does.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sstlib.datasets.davis_compositions import (
    FRAMES,
    HEIGHT,
    LENGTHS,
    RAMP,
    WIDTH,
    Scene,
    covers,
    cut_out,
    material,
    middles,
    occluded,
    placed_target,
    walked,
)

TRIES = 60  # scenes drawn for a target
LEAST = 0.003  # share of the frame that target and bystander cover at least, in every frame
TALLEST, WIDEST = 0.4, 0.35  # of the frame, the target's box
SOLID = 0.97  # share of the box around an occluder's middle that it must fill
OCCLUDER = 0.4  # share of the frame that the occluder may cover
SHOWN = 0.5  # share of the bystander that the others leave in sight at least


def find_scenes(split: str, folder: Path, count: int, seed: tuple[int, ...]) -> Iterator[Scene]:
    """Scenes of a split; its sequences take turns as the target, and one that gives no scene is skipped.

    Raises:
        ValueError: the sequences do not give so many.
    """
    names = sorted(material(split, folder))
    scenes = number = 0
    while scenes < count:
        if number >= 6 * len(names):
            raise ValueError(f"{split}: {scenes} scenes found of {count}; DAVIS 2016's sequences give them all")
        scene = _find(np.random.default_rng((*seed, number)), names[number % len(names)], names, split, folder)
        number += 1
        if scene is not None:
            yield scene
            scenes += 1


def _find(rng: np.random.Generator, target: str, names: list[str], split: str, folder: Path) -> Scene | None:
    others = [name for name in names if name != target]
    for _ in range(TRIES):
        ground, occluder = (str(name) for name in rng.choice(others, 2, replace=False))
        scene = Scene(ground=ground, ground_start=_start(rng, split, folder, ground), target=target,
                      target_start=_start(rng, split, folder, target), occluder=occluder,
                      occluder_frame=int(rng.integers(_frames(split, folder, occluder))),
                      angle=float(rng.integers(360)),
                      onset=int(rng.integers(4 + RAMP, FRAMES - max(LENGTHS) - RAMP - 10)))
        scene = _with_target(rng, scene, split, folder) if _is_seen(scene, split, folder) else None
        masks = scene and placed_target(scene, split, folder)
        scene = scene and _with_occluder(scene, masks, split, folder)
        if scene is not None and _is_good(scene, masks, split, folder):
            return scene
    return None


def _frames(split: str, folder: Path, name: str) -> int:
    return len(covers(split, folder, name))


def _start(rng: np.random.Generator, split: str, folder: Path, name: str) -> int:
    """A first frame, one of three, so that frames are read once and reused."""
    return int(rng.integers(3)) * (_frames(split, folder, name) // 6)


def _shown(split: str, folder: Path, name: str, start: int) -> np.ndarray:
    """Masks of a sequence in the frames of a clip."""
    masks = covers(split, folder, name)
    return masks[walked(len(masks), start)] >= 128


def _is_seen(scene: Scene, split: str, folder: Path) -> bool:
    """Whether the bystander is large enough in every frame."""
    return bool(_shown(split, folder, scene.ground, scene.ground_start).mean((1, 2)).min() >= LEAST)


def _with_target(rng: np.random.Generator, scene: Scene, split: str, folder: Path) -> Scene | None:
    """The scene with the target small enough, at a random place within all frames; None if that is impossible."""
    masks = _shown(split, folder, scene.target, scene.target_start)
    heights, widths = masks.any(2), masks.any(1)
    reduced = min(1.0, TALLEST * HEIGHT / heights.sum(1).max(), WIDEST * WIDTH / widths.sum(1).max())
    scene = scene.replace(reduced=float(np.floor(100 * reduced) / 100))
    if masks.mean((1, 2)).min() * scene.reduced**2 < LEAST:
        return None
    ends = []  # by how much it may be moved either way
    for sweep, length in ((widths.any(0), WIDTH), (heights.any(0), HEIGHT)):
        places = (np.flatnonzero(sweep)[[0, -1]] - length / 2) * scene.reduced
        ends.append((int(np.ceil(2 - length / 2 - places[0])), int(length / 2 - 3 - places[1])))
    if any(low >= high for low, high in ends):
        return None
    return scene.replace(right=int(rng.integers(*ends[0])), down=int(rng.integers(*ends[1])))


def _with_occluder(scene: Scene, target: np.ndarray, split: str, folder: Path) -> Scene | None:
    """The scene with the occluder large enough, and starting far enough away; None if that is impossible."""
    cover = covers(split, folder, scene.occluder)[scene.occluder_frame]
    if (cover >= 128).mean() < LEAST:
        return None
    small = cut_out(cover, cover, 1.0).cover >= 128
    share = next((s for s in np.linspace(0.95, 0.35, 13) if _middle(small, s).mean() >= SOLID), None)
    if share is None:
        return None
    hidden = target[scene.onset:scene.onset + max(LENGTHS)]
    path = middles(target.astype(np.uint8) * 255)[scene.onset:scene.onset + max(LENGTHS)]
    reach = np.zeros(2)
    for mask, middle in zip(hidden, path, strict=True):
        rows, columns = np.nonzero(mask)
        reach = np.maximum(reach, [np.abs(columns - middle[0]).max() + 2, np.abs(rows - middle[1]).max() + 2])
    enlarged = float(np.round((2 * reach / share / small.shape[::-1]).max(), 2))
    if enlarged > 4 or enlarged**2 * small.sum() > 1.2 * OCCLUDER * HEIGHT * WIDTH:
        return None
    large = cut_out(cover, cover, enlarged)
    if (large.cover >= 128).sum() > OCCLUDER * HEIGHT * WIDTH:
        return None
    apart = int(np.hypot(*(np.array(large.cover.shape[::-1]) / 2 + reach)))
    heading = np.abs([np.cos(np.radians(scene.angle)), np.sin(np.radians(scene.angle))])
    with np.errstate(divide="ignore"):
        apart = min(apart, int(np.ceil(((np.array(large.cover.shape[::-1]) / 2 + reach + 2) / heading).min())))
    return scene.replace(enlarged=enlarged, apart=apart)


def _middle(mask: np.ndarray, share: float) -> np.ndarray:
    rows, columns = (int(n * (1 - share) / 2) for n in mask.shape)
    return mask[rows:mask.shape[0] - rows, columns:mask.shape[1] - columns]


def _is_good(scene: Scene, target: np.ndarray, split: str, folder: Path) -> bool:
    """Whether the target is hidden exactly when it should be, and the bystander stays visible."""
    ground = _shown(split, folder, scene.ground, scene.ground_start)
    cover = covers(split, folder, scene.occluder)[scene.occluder_frame]
    occluder = cut_out(cover, cover, scene.enlarged)
    whole = ground.sum((1, 2))
    for length in (max(LENGTHS), 0):
        own = np.stack(list(occluded(scene, length, target, occluder)))
        seen = (target & ~own).sum((1, 2)) / target.sum((1, 2))
        around = (ground & ~target & ~own).sum((1, 2))
        if (around < SHOWN * whole).any() or around[0] < 0.9 * whole[0]:
            return False
        hidden = np.arange(FRAMES) - scene.onset
        expected = (hidden >= 0) & (hidden < length)
        far = (hidden <= -RAMP) | (hidden >= length - 1 + RAMP)
        if not np.array_equal(seen == 0, expected) or (seen[far if length else ...] < 1).any():
            return False
    return True
