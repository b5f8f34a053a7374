"""Fast objects: equal steps of 5 to 10% of the width, turned back at the border, the object whole in every frame."""

import numpy as np
import pytest
from PIL import Image

from sstlib.datasets import davis_compositions, fast_objects, open_dataset
from sstlib.datasets.davis_compositions import HEIGHT, WIDTH
from sstlib.evaluation import evaluate_on
from sstlib.video import write_mask


@pytest.fixture
def davis(tmp_path, monkeypatch):
    """Two sequences, each of one box of its own color that sways on gray."""
    for number, (name, color) in enumerate({"ball": (250, 20, 20), "cart": (20, 20, 250)}.items()):
        for t in range(20):
            mask = np.zeros((90, 160), np.uint8)
            mask[30:60 - 3 * number, 60 + t:100 + t] = 1
            pixels = np.full((90, 160, 3), 90 + 60 * number, np.uint8)
            pixels[mask > 0] = color
            path = tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)
            write_mask(tmp_path / f"Annotations/480p/{name}/{t:05d}.png", mask)
    (tmp_path / "ImageSets/2016").mkdir(parents=True)
    (tmp_path / "ImageSets/2016/val.txt").write_text("ball\ncart\n")
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    monkeypatch.setattr(fast_objects, "CLIPS", 1)
    yield tmp_path
    for made in (davis_compositions.material, davis_compositions.covers, davis_compositions.shown, fast_objects._made):
        made.cache_clear()


def test_steps_are_equal_within_the_frame_and_as_long_as_is_said():
    for seed in range(30):
        box = np.array([100.0, 60.0])
        way = fast_objects.middles(np.random.default_rng(seed), box)
        assert (way - box / 2 >= 0).all() and (way + box / 2 <= [WIDTH, HEIGHT]).all()
        each = np.abs(np.diff(way, axis=0))
        straight = np.isclose(each, np.median(each, 0)).all(1)  # in the others it turned
        assert straight.sum() >= 6 and 0.05 <= np.hypot(*each[straight].T).min() / WIDTH
        assert np.hypot(*each.T).max() / WIDTH <= 0.1 + 1e-9


def test_a_composed_object_moves_over_anothers_frames_and_nothing_else_changes(davis):
    [sequence] = open_dataset("davis-fast-objects", "test")
    assert sequence.name == "composed-00" and len(sequence) == fast_objects.FRAMES
    clip = sequence.clip
    grounds = davis_compositions.shown("test", davis, "cart", 0)[0]
    for frame, labels, ground in zip(clip.frames, clip.labels, grounds):
        rows, columns = np.nonzero(labels)
        box = labels[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
        assert box.mean() > 0.98 and box.shape[1] / box.shape[0] == pytest.approx(40 / 30, rel=0.1)  # whole
        assert box.shape[1] <= 0.25 * WIDTH + 2
        inner = frame[rows.min() + 6:rows.max() - 5, columns.min() + 6:columns.max() - 5].reshape(-1, 3)
        assert (np.abs(inner.astype(int) - (250, 20, 20)) < 30).all()  # the ball, cut out
        other = np.ones(labels.shape, bool)
        other[max(rows.min() - 6, 0):rows.max() + 7, max(columns.min() - 6, 0):columns.max() + 7] = False
        assert np.array_equal(frame[other], ground[other])
    again = fast_objects._made.__wrapped__(sequence)
    assert np.array_equal(again.frames, clip.frames) and np.array_equal(again.labels, clip.labels)


@pytest.mark.parametrize("dataset", ["fast-objects", "davis-fast-objects"])
def test_clips_are_scored_by_name(davis, tmp_path, dataset):
    [sequence] = open_dataset(dataset, "test")
    first = sequence.label(0)
    for kind in ("truth", "copied"):
        for t, name in enumerate(sequence.frame_names):
            write_mask(tmp_path / kind / sequence.name / f"{name}.png", sequence.label(t) if kind == "truth" else first)
    truth, copied = (evaluate_on(dataset, tmp_path / kind) for kind in ("truth", "copied"))
    assert truth.sequences[sequence.name].similarity.mean() == 1
    assert copied.sequences[sequence.name].similarity[0][1:].mean() < 0.2
    for without_effect in ({"protocol": "youtube"}, {"groups": {sequence.name: {1: "seen"}}}):
        with pytest.raises(ValueError, match=f"{dataset} is scored as davis2017, without seen and unseen objects"):
            evaluate_on(dataset, tmp_path / "truth", **without_effect)
    for names, words in (([], "at least one name"), (sequence.name, "at least one name"), (["x"], "has no x; it has ")):
        with pytest.raises(ValueError, match=words):
            evaluate_on(dataset, tmp_path / "truth", sequences=names)


def test_without_davis_only_the_generated_clips_are_there(monkeypatch):
    monkeypatch.setenv("SST_DAVIS", "")
    with pytest.raises(FileNotFoundError, match="DAVIS|davis"):
        open_dataset("davis-fast-objects", "test", "/nowhere")
    assert len(open_dataset("fast-objects", "test")) == fast_objects.CLIPS
