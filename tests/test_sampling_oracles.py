"""Training clips against the recipe, one pixel and one draw at a time: frames, crops, what is pasted, which light."""

import numpy as np
import pytest

from sstlib.config import DataConfig
from sstlib.datasets import augmentation, samples
from sstlib.datasets.augmentation import LARGEST_SCALE, REFERENCE_PIXELS
from sstlib.synthetic import random_spec, render
from sstlib.video import VOID, ArraySequence

HEIGHT, WIDTH = 90, 120


def drawn(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("length", [1, 2, 7, 40])
@pytest.mark.parametrize("anywhere", [False, True])
def test_frames_are_walked_to_in_gaps_and_turn_at_the_ends(length, anywhere):
    ways = set()
    for seed in range(30):
        rng = drawn(seed)
        gaps, position, way = rng.integers(1, 4, 4), int(rng.integers(length)), int(rng.choice([-1, 1]))
        expected = [position]
        ways.add(way)
        for gap in gaps:
            for _ in range(gap if length > 1 else 0):
                way = way if 0 <= position + way < length else -way
                position += way
            expected.append(position)
        if anywhere:
            expected[0] = int(rng.integers(length))
        assert augmentation.frame_indices(drawn(seed), length, 5, 3, anywhere) == expected
    assert ways == {-1, 1}


def ramps(ids=(7, 9)):
    """Twelve frames whose red is the column, whose green is the row and whose blue is ten times the frame, and labels
    that follow from them.

    Nothing shows in frames 0 to 2, the second object in frames 6 to 11 alone.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.stack([np.stack([2 * x, 2 * y, np.full_like(x, 10 * t)], -1) for t in range(12)]).astype(np.uint8)
    labels = np.stack([
        ids[0] * ((x > 30) & (x < 80) & (y > 20) & (t > 2)) + (ids[1] - ids[0]) * ((x > 50) & (x < 80) & (y > 20) &
                                                                                   (t > 5)) for t in range(12)
    ]).astype(np.uint8)
    return ArraySequence(frames, dict(enumerate(labels))), labels


def test_frames_and_masks_are_cut_and_mirrored_alike():
    sequence, labels = ramps()
    mirrored, scales, sides = set(), [], []
    for seed in range(24):
        frames, masks = augmentation.cut_clip(drawn(seed), sequence, 3, 36, 40)
        assert set(np.unique(masks)) <= {0, 7, 9}
        rows, columns = frames[..., 1].mean(2) / 2, frames[..., 0].mean(1) / 2
        assert (rows == rows[:1]).all() and (columns == columns[:1]).all(), "a clip is one part of all frames"
        for frame, mask in zip(frames, masks):
            t = round(frame[0, 0, 2] / 10)
            expected = labels[t][np.round(rows[0]).astype(int)][:, np.round(columns[0]).astype(int)]
            assert (mask == expected).mean() > 0.9
        across, down = columns[0][-1] - columns[0][0], rows[0][-1] - rows[0][0]
        mirrored.add(across < 0)
        scales.append(min(HEIGHT / 36, WIDTH / 40) * 39 / abs(across))
        sides.append(abs(across) / 39 * 35 / down)
    assert mirrored == {False, True}
    assert 0.95 < min(scales) < 1.15 < 1.3 < max(scales) < 1.05 * LARGEST_SCALE
    np.testing.assert_allclose(sides, 1, atol=0.06)


@pytest.mark.parametrize("anywhere", [False, True])
def test_a_clip_is_drawn_again_until_its_reference_shows_all_that_comes_later(anywhere):
    """Five times at most: a third of single draws would fail, and a 243rd of the clips do."""
    sequence, labels = ramps()
    failed, both = 0, 0
    for seed in range(60):
        frames, _ = augmentation.cut_clip(drawn(seed), sequence, 3, HEIGHT, WIDTH, 3, anywhere)
        first, *later = (np.round(frames[:, 0, 0, 2] / 10)).astype(int)
        unknown = set(np.unique(labels[later])) - {0, *np.unique(labels[first])}
        failed += bool(unknown) or (labels[first] > 0).mean() < REFERENCE_PIXELS
        both += 9 in labels[first]
    assert failed <= 3 and 5 < both < 60


def test_crops_of_cfbi_are_465_pixels_of_a_short_side_of_480_to_624():
    labels, enlarged = np.ones((480, 854), np.uint8), []
    for seed in range(3000):
        left, top, right, low = augmentation._crop_box(drawn(seed), labels, 465, 465, as_cfbi=True)
        assert right - left == pytest.approx(low - top) and 0 <= left and right <= 854 and 0 <= top and low <= 480
        enlarged.append(465 / (low - top))
    assert 1 <= min(enlarged) < 1.02 and 1.28 < max(enlarged) <= 1.3
    np.testing.assert_allclose(np.quantile(enlarged, [0.25, 0.5, 0.75]), [1.075, 1.15, 1.225], atol=0.02)


def test_pasting_and_light_are_left_out_when_they_are_not_wanted(monkeypatch):
    sequence, _ = ramps()
    monkeypatch.setattr(samples, "real_mixture", lambda *_: [(sequence, 1.0)])
    data = DataConfig(frames=3, height=36, width=40, real="davis2017", real_ratio=1.0, pasted=0.0, relit=False)
    for seed in range(8):
        frames, labels = samples._real(drawn(seed), data)
        rng = drawn(seed)
        rng.integers(1)
        expected = augmentation.cut_clip(rng, sequence, 3, 36, 40)
        np.testing.assert_array_equal(frames, expected[0])
        np.testing.assert_array_equal(labels, expected[1])


def test_crops_are_drawn_again_until_an_object_is_seen():
    """The object is in a corner that half of the crops miss; void is no object."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:9, :12] = 1
    labels[:, 60:] = VOID
    boxes = [augmentation._crop_box(drawn(seed), labels, 30, 40) for seed in range(60)]
    seen = [(labels[int(top):int(np.ceil(low)), int(left):int(np.ceil(right))] == 1).any()
            for left, top, right, low in boxes]
    assert np.mean(seen) > 0.85
    assert all(0 <= left < right <= WIDTH and 0 <= top < low <= HEIGHT for left, top, right, low in boxes)


@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_pasted_drifts_and_covers(labeled, seed):
    height, width, rng = 23, 31, drawn(100 + seed)
    frames, others = rng.integers(0, 256, (2, 4, height, width, 3), np.uint8)
    labels, masks = rng.choice(np.array([0, 2, VOID], np.uint8), (2, 4, height, width))
    result = augmentation.paste(drawn(seed), (frames, labels), (others, masks), labeled)
    rng = drawn(seed)
    start, drift = rng.uniform(-0.3, 0.3, 2) * (height, width), rng.normal(0, 0.03, 2) * (height, width)
    pixels, ids, places = frames.copy(), labels.copy(), set()
    for t in range(4):
        down, right = (int(round(v)) for v in start + t * drift)
        places.add((down, right))
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - right < width and masks[t, y - down, x - right] == 2:
                    pixels[t, y, x], ids[t, y, x] = others[t, y - down, x - right], 3 if labeled else 0
    np.testing.assert_array_equal(result[0], pixels)
    np.testing.assert_array_equal(result[1], ids)
    assert len(places) > 1


def test_light_is_a_gamma_a_gain_a_contrast_and_a_saturation():
    frames = drawn(3).integers(0, 256, (3, 4, 5, 3), np.uint8)
    gray = 0
    for seed in range(20):
        rng = drawn(seed)
        gamma = np.exp(rng.normal(0, 0.15))
        common, tint, flicker, contrast = (rng.normal(0, 0.15), rng.normal(0, 0.06, 3), rng.normal(0, 0.02, (3, 1, 1)),
                                           rng.normal(0, 0.15))
        saturation = rng.choice([1.0, rng.uniform(0.0, 1.4)])
        result = augmentation.relight(drawn(seed), frames)
        gray += saturation < 1
        for t, y, x in np.ndindex(3, 4, 5):
            color = []
            for c in range(3):
                value = (frames[t, y, x, c] / 255) ** gamma * np.exp(common + tint[c] + flicker[t, 0, 0])
                color.append(np.floor(np.clip(((value - 0.5) * np.exp(contrast) + 0.5) * 255 + 0.5, 0, 255)))
            mean = sum(color) / 3
            for c in range(3):
                assert abs(result[t, y, x, c] - np.clip(mean + saturation * (color[c] - mean), 0, 255)) <= 1.001
    assert 0 < gray < 20


@pytest.fixture(scope="module")
def generated():
    return render(random_spec("easy", drawn(0), frames=2, height=24, width=32, objects=1), 0)


def test_four_in_ten_generated_clips_have_been_through_jpeg(generated):
    changed = np.mean([
        (samples._filmed(drawn((seed, 5)), generated.frames) != generated.frames).any() for seed in range(400)
    ])
    assert abs(changed - samples.COMPRESSED) < 0.06


def test_real_clips_and_numbers_of_objects_come_as_often_as_the_configuration_says(generated, monkeypatch):
    requested = []
    monkeypatch.setattr(samples, "_real",
                        lambda rng, data: requested.append("real") or (generated.frames, generated.labels))
    monkeypatch.setattr(samples, "random_spec", lambda *_, objects, **__: requested.append(objects) or generated.spec)
    monkeypatch.setattr(samples, "render_batch", lambda specs, *_: [generated] * len(specs))
    samples.training_samples(DataConfig(frames=2, objects=3, real="davis2016", real_ratio=0.25), 0, range(400))
    shares = {subject: requested.count(subject) / len(requested) for subject in set(requested)}
    assert shares.keys() == {"real", 1, 2, 3} and len(requested) == 400
    assert all(abs(share - 0.25) < 0.06 for share in shares.values())


def test_a_reference_without_an_object_is_drawn_again(monkeypatch):
    empty, void, shown = (np.zeros((2, 8, 8), np.uint8) for _ in range(3))
    void[0, 0], empty[1], shown[0, :4] = VOID, 1, 1
    tries = []

    def real(rng, data):
        tries.append(len(tries))
        return np.zeros((2, 8, 8, 3), np.uint8), [empty, void, shown][min(tries[-1], 2)]

    monkeypatch.setattr(samples, "_real", real)
    _, labels = samples.training_sample(DataConfig(frames=2, real="davis2016", real_ratio=1.0), 0, 0)
    assert tries == [0, 1, 2] and (labels[0] == 1).any()


def hides(clip):
    """Whether an object of the first frame is gone in a later one and seen after that."""
    seen = [(clip[1] == identity).any((1, 2)) for identity in np.unique(clip[1][0]) if identity]
    return any((~one[:-1] & one[1:]).any() for one in seen)


def test_generated_clips_hide_an_object_as_often_as_is_said():
    data = DataConfig(frames=8, height=48, width=80, objects=2)
    never, always = ([samples.training_sample(data.replace(occluded=share), 5, index) for index in range(16)]
                     for share in (0.0, 1.0))
    assert all(frames.shape == (8, 48, 80, 3) and labels[0].any() for frames, labels in never + always)
    assert sum(map(hides, always)) >= 12 and sum(map(hides, never)) <= 4
