"""Generated clips: their truth, and that a seed decides every byte."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from sstlib.synthetic import PRESETS, ClipSpec, random_spec, render

SMALL = dict(frames=5, height=61, width=97)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", range(3))
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
        for t in range(5):
            expected = seen[t] / full[t] if full[t] else np.nan
            np.testing.assert_equal(clip.visible_share[t, n], expected)


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    program = ("import hashlib\nfrom sstlib.synthetic import random_spec, render\n"
               "c = render(random_spec('mixed', 7, frames=5, height=61, width=97), 7)\n"
               "print(hashlib.sha256(c.frames.tobytes() + c.labels.tobytes() + c.amodal.tobytes()).hexdigest())")
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    clip = render(random_spec("mixed", 7, **SMALL), 7)
    here = hashlib.sha256(clip.frames.tobytes() + clip.labels.tobytes() + clip.amodal.tobytes()).hexdigest()
    assert here == other
    assert not np.array_equal(clip.frames, render(random_spec("mixed", 7, **SMALL), 8).frames)


def test_bad_wishes_are_refused():
    with pytest.raises(ValueError, match="unknown preset.*'mixd'.*mixed"):
        random_spec("mixd", 0)
    with pytest.raises(ValueError, match="likeness"):
        ClipSpec(likeness=1.5)
    with pytest.raises(ValueError, match="objects"):
        ClipSpec(objects=0)
