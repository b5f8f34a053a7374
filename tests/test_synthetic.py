"""Generated clips: their truth, that wishes come true, and that a seed decides every byte."""

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from sstlib.synthetic import PRESETS, ClipSpec, motion, random_spec, render, render_batch, sprites, textures
from sstlib.synthetic.endless import endless_video
from sstlib.synthetic.render import _smear

SMALL = dict(frames=25, height=61, width=97)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(2))
def test_labels_are_exactly_the_depth_ordered_overlap_of_the_full_masks(preset, seed):
    clip = render(random_spec(preset, seed, objects=3, **SMALL), seed)
    expected = np.zeros_like(clip.labels)
    for t in range(len(expected)):
        for mover in np.argsort(-clip.order[t]):  # far to near
            expected[t][clip.amodal[t, mover]] = clip.ids[mover]
    np.testing.assert_array_equal(clip.labels, expected)
    assert sorted(set(clip.ids) - {0}) == [1, 2, 3]


def test_visible_share_is_visible_over_full():
    clip = render(random_spec("hard", 5, objects=4, **SMALL), 5)
    for n in range(4):
        full = clip.amodal[:, list(clip.ids).index(n + 1)].sum((1, 2))
        seen = (clip.labels == n + 1).sum((1, 2))
        for t in range(len(full)):
            expected = seen[t] / full[t] if full[t] else np.nan
            np.testing.assert_equal(clip.visible_share[t, n], expected)


def digest(clip):
    return hashlib.sha256(clip.frames.tobytes() + clip.labels.tobytes() + clip.amodal.tobytes()).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    program = ("import hashlib\nfrom sstlib.synthetic import random_spec, render\n"
               "c = render(random_spec('mixed', 7, frames=25, height=61, width=97), 7)\n"
               "print(hashlib.sha256(c.frames.tobytes() + c.labels.tobytes() + c.amodal.tobytes()).hexdigest())")
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    clip = render(random_spec("mixed", 7, **SMALL), 7)
    assert digest(clip) == other
    assert digest(clip) != digest(render(random_spec("mixed", 7, **SMALL), 8))


def batch(count=5, size=None, objects=3):
    """Wishes that differ in all but size: objects, blur, shutter, shadows, noise, and one planned occlusion."""
    size = size or dict(frames=15, height=53, width=83)
    wishes = [random_spec("mixed" if n % 2 else "hard", n, objects=1 + n % objects, **size) for n in range(count)]
    if size["frames"] > 14:
        wishes.append(random_spec("occlusion", count, **size | dict(occlusion=1, size=16.0)))
    return wishes, [(4, n) for n in range(len(wishes))]


@pytest.mark.parametrize("whole", [False, True], ids=["windows", "whole frames"])
@pytest.mark.parametrize("size", [dict(frames=15, height=53, width=83), dict(frames=2, height=128, width=240)])
def test_clips_made_together_are_to_the_byte_those_made_alone(monkeypatch, whole, size):
    wishes, seeds = batch(size=size)
    assert {bool(wish.exposure) for wish in wishes} == {False, True}
    alone = [render(wish, seed) for wish, seed in zip(wishes, seeds)]
    monkeypatch.setattr(sprites, "whole", lambda device: whole)
    for one, other in zip(alone, render_batch(wishes, seeds), strict=True):
        assert one.spec == other.spec and digest(one) == digest(other)
        np.testing.assert_array_equal(one.order, other.order)
        np.testing.assert_array_equal(one.ids, other.ids)


def test_clips_of_different_sizes_are_not_made_together():
    with pytest.raises(ValueError, match="same frames, height and width"):
        render_batch([ClipSpec(frames=2), ClipSpec(frames=3)], [0, 1])
    assert render_batch([], []) == []


class Launches(TorchDispatchMode):
    """Counts operations that compute something, each of which is at least one launch on a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += not function.is_view
        return function(*arguments, **(options or {}))


def test_a_batch_needs_hardly_more_launches_than_a_clip(monkeypatch):
    monkeypatch.setattr(sprites, "whole", lambda device: True)
    monkeypatch.setattr(textures, "rolled", lambda values, shifts: values)  # on a CPU it is one operation a texture
    counts = []
    for count in (1, 4):
        wishes = [random_spec("mixed", 4, objects=2, frames=4, height=48, width=64)] * count
        with Launches() as launches:
            render_batch(wishes, list(range(count)))
        counts.append(launches.count)
    assert counts[1] < 2 * counts[0] and counts[1] < 2500, counts


@pytest.mark.gpu
def test_a_gpu_renders_what_the_cpu_renders_but_for_rounding():
    wishes, seeds = batch(size=dict(frames=4, height=96, width=160))
    for wish, seed, clip in zip(wishes, seeds, render_batch(wishes, seeds, "cuda"), strict=True):
        expected = render(wish, seed)
        assert (clip.labels != expected.labels).mean() < 1e-3
        assert (clip.amodal != expected.amodal).mean() < 1e-3
        assert (np.abs(clip.frames.astype(int) - expected.frames) > 2).mean() < 1e-2


def bhattacharyya(a, b):
    """Likeness of the colors of two sets of pixels: 1 the same histogram, 0 none shared."""
    counts = [np.histogramdd(pixels // 32, bins=8, range=[(0, 8)] * 3)[0] / len(pixels) for pixels in (a, b)]
    return np.sqrt(counts[0] * counts[1]).sum()


def wishes_come_true(count, size):
    """Over many clips: occlusion lengths and hidden shares are the wished ones, likeness shows in the pictures."""
    seen = {0.0: [], 0.5: [], 1.0: []}
    for seed in range(count):
        rng = np.random.default_rng((9, seed))
        length, likeness = int(rng.integers(0, 17)), float(rng.choice([0.0, 0.5, 1.0]))
        hidden = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.3, 0.9))
        spec = random_spec(
            "occlusion",
            seed,
            frames=length + 15,
            occlusion=length,
            hidden=hidden,
            likeness=likeness,
            noise=0.0,
            appearance=0.0,
            objects=int(rng.integers(1, 4)),
            **size,
        )
        clip = render(spec, seed)
        share = clip.visible_share[:, 0]
        hidden_as_wished = np.abs(share - (1 - hidden)) < (1e-9 if hidden == 1 else 0.05)
        assert hidden_as_wished.sum() == length, (seed, share)
        assert np.ptp(np.flatnonzero(hidden_as_wished)) == length - 1 if length else share.min() > 0.9
        assert share[0] > 0.9 and share[-1] > 0.9
        t = int(np.argmax(clip.amodal[:, -1].sum((1, 2)) * (share == 1)))
        alone = clip.amodal[t, -1], clip.labels[t] == 1
        if min(part.sum() for part in alone) > 60:
            seen[likeness].append(bhattacharyya(clip.frames[t][alone[0]], clip.frames[t][alone[1]]))
    none, half, same = (np.mean(values) for values in seen.values())
    assert none + 0.1 < half < same - 0.1, (none, half, same)


def test_wishes_come_true_in_a_few_clips():
    wishes_come_true(24, dict(height=113, width=199))


@pytest.mark.slow
def test_wishes_come_true_in_200_clips():
    wishes_come_true(200, dict(height=240, width=432))


def test_bending_and_placing_are_exactly_undone():
    rng = np.random.default_rng(0)
    spec = random_spec("mixed", 3, deformation=1.0, **SMALL)
    bends = motion.bending(rng, spec)
    placements = motion.own_motion(rng, spec, 0.3, np.zeros((25, 2)))
    placements[:, :2] *= 61
    grid = sprites.material(placements, bends, np.zeros((25, 2), int), 13, 17, "cpu").numpy()
    for t in (0, 11, 24):
        x, y = np.meshgrid(np.arange(17) + 0.5, np.arange(13) + 0.5)
        np.testing.assert_allclose(
            sprites.pixels(grid[t].astype(float), placements[t], bends[t]), np.stack([x, y], -1), atol=1e-3
        )


@pytest.mark.parametrize("seed", range(4))
def test_motion_carries_each_full_mask_onto_the_next(seed):
    spec = ClipSpec(
        frames=2, height=113, width=171, objects=2, distractors=0, deformation=0.8, speed=4.0, pace=3.0, size=25.0
    )
    clip = render(spec, seed)
    for n in (1, 2):
        flow = clip.motion(n, 0)
        now, later = clip.full(n)
        np.testing.assert_array_equal(~np.isnan(flow[..., 0]), now)
        rows, columns = np.nonzero(now)
        x, y = (
            np.floor(columns + 0.5 + flow[rows, columns, 0]).astype(int),
            np.floor(rows + 0.5 + flow[rows, columns, 1]).astype(int),
        )
        within = (x >= 0) & (x < 171) & (y >= 0) & (y < 113)
        landed = np.zeros_like(later)
        landed[y[within], x[within]] = True
        # all but pixels at the outline land on the object, and those that land cover most of it
        assert later[y[within], x[within]].mean() > 0.9
        assert np.abs(flow[now]).max() > 0.5


def test_motion_of_a_pure_shift_is_that_shift():
    spec = ClipSpec(
        frames=3,
        height=61,
        width=97,
        objects=1,
        distractors=0,
        deformation=0.0,
        scale_change=0.0,
        camera=0.0,
        speed=5.0,
    )
    clip = render(spec, 3)
    layer = np.flatnonzero(clip.ids[clip.scene.mover] == 1)[0]
    moved = clip.scene.placements[layer, 2, :2, 2] - clip.scene.placements[layer, 1, :2, 2]
    clip.scene.placements[:, 2] = clip.scene.placements[:, 1]
    clip.scene.placements[:, 2, :2, 2] += moved
    clip.scene.bends[:, 2] = clip.scene.bends[:, 1]
    flow = clip.motion(1, 1)[clip.full(1)[1]]
    np.testing.assert_allclose(flow, np.broadcast_to(moved, flow.shape), atol=1e-3)


def test_bad_wishes_are_refused(monkeypatch):
    monkeypatch.setattr(sys.modules[render.__module__], "TRIES", 2)
    with pytest.raises(ValueError, match="unknown preset.*'mixd'.*mixed"):
        random_spec("mixd", 0)
    with pytest.raises(ValueError, match="likeness"):
        ClipSpec(likeness=1.5)
    with pytest.raises(ValueError, match="objects"):
        ClipSpec(objects=0)
    with pytest.raises(ValueError, match="occlusion is 20 in 24 frames"):
        ClipSpec(occlusion=20, frames=24)
    with pytest.raises(ValueError, match="smaller or slower"):
        render(ClipSpec(occlusion=3, frames=17, speed=300.0, height=31, width=43), 0)


def test_the_endless_video_shows_what_its_labels_say_and_its_object_leaves_and_returns():
    frames, labels = (np.stack(part) for part in zip(*itertools.islice(endless_video(61, 97), 400)))
    areas = labels.sum((1, 2), dtype=int)
    # Rasters of a disk differ by a few cells
    assert areas[0] > 0.9 * max(areas) and max(areas) > 300 and areas.min() == 0
    assert (np.diff(np.flatnonzero(areas)) > 1).any()
    bare = frames[np.flatnonzero(areas == 0)[0]]
    again = next(itertools.islice(endless_video(61, 97), 7, None))
    np.testing.assert_array_equal(again[0], frames[7])
    assert bare.std() > 5 and not np.array_equal(frames[0], frames[1])


def test_several_presets_each_get_their_share():
    drawn = [random_spec("easy+hard", seed, **SMALL).distractors for seed in range(200)]
    assert 70 < sum(count == 0 for count in drawn) < 130  # easy clips have none, hard ones two to four
    with pytest.raises(ValueError, match="unknown preset.*'heavy'.*joined by"):
        random_spec("easy+heavy", 0)


def test_what_moves_farther_than_its_window_is_seen_once():
    """Rolled on it would come in again at the other side."""
    assert _smear(np.array([[0.0, 9.0], [-6.0, 20.0], [0.0, 24.0]]), 20, 30).tolist() == [[0, 3], [0, 0], [0, 0]]
