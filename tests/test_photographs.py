"""Clips composed of photographs: read from folder and zip alike, the same from the same seed, masks exact, objects
hidden and seen again.
"""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from sstlib.config import DataConfig
from sstlib.datasets import composing, cutouts, training_sample
from sstlib.datasets.cutouts import Layer, Path
from sstlib.datasets.photographs import LEAST, Photographs, open_photographs
from sstlib.video import VOID, write_mask

SIZE = 48, 64  # height, width
COLORS = {1: (250, 10, 10), 2: (10, 250, 10)}


def write_photographs(folder, count=6):
    """Gray noise with a red disk and, in every second, a green box as the second object; one has a void border, one
    a speck.
    """
    y, x = np.mgrid[:40, :60]
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.repeat(rng.integers(60, 120, (40, 60, 1), np.uint8), 3, 2)
        labels = np.zeros((40, 60), np.uint8)
        labels[(y - 18) ** 2 + (x - 20 - number) ** 2 < 90] = 1
        if number % 2:
            labels[10:24, 40:52] = 2
        for identity, color in COLORS.items():
            pixels[labels == identity] = color
        for place, name in (("JPEGImages", f"{number:02d}.jpg"), ("Annotations", f"{number:02d}.png")):
            (folder / "set" / place).mkdir(parents=True, exist_ok=True)
            if place == "JPEGImages":
                Image.fromarray(pixels).save(folder / "set" / place / name, quality=100, subsampling=0)
            else:
                write_mask(folder / "set" / place / name, labels)
    return folder


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("SST_PHOTOGRAPHS", str(write_photographs(tmp_path / "photos")))
    return open_photographs()


def test_a_zip_is_read_as_the_folder_is(photographs, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(photographs.place.rglob("*.*"), reverse=True):
            archive.write(path, path.relative_to(photographs.place))
    monkeypatch.setenv("SST_PHOTOGRAPHS", str(tmp_path / "all.zip"))
    zipped = open_photographs()
    assert len(zipped) == len(photographs) == 6
    for one, other in zip(zipped, photographs, strict=True):
        assert one.name == other.name and np.array_equal(one.pixels, other.pixels) and np.array_equal(
            one.labels, other.labels)
    assert [photographs[i].name for i in (0, 5)] == ["set/00", "set/05"] and photographs[1].objects() == [1, 2]


def test_objects_are_cut_out_by_their_boxes_and_specks_are_not(photographs):
    pixels, mask = photographs[1].cut(2)
    assert mask.shape == (14, 12) and mask.all() and np.abs(pixels.astype(int) - COLORS[2]).max() < 12
    labels = photographs[0].labels.copy()
    labels[0, :int(LEAST * labels.size) - 1] = 3
    labels[39] = VOID
    assert photographs[0]._replace(labels=labels).objects() == [1]


def test_missing_photographs_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SST_PHOTOGRAPHS", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="SST_PHOTOGRAPHS names .*none, which does not exist"):
        open_photographs()
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        Photographs(tmp_path / "text.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="SET/JPEGImages/NAME.jpg"):
        Photographs(tmp_path / "empty")
    folder = write_photographs(tmp_path / "odd", 1)
    write_mask(folder / "set/Annotations/00.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="00.png is P of 5x5; expected .* 60x40"):
        Photographs(folder)[0]


def test_masks_without_an_id_are_refused_where_cut_outs_were_looked_for_without_end(tmp_path, monkeypatch):
    folder = write_photographs(tmp_path / "white", 2)
    for path in folder.rglob("*.png"):
        Image.fromarray((np.array(Image.open(path)) > 0) * np.uint8(255)).save(path)
    monkeypatch.setenv("SST_PHOTOGRAPHS", str(folder))
    with pytest.raises(ValueError, match="white: none of its 2 masks shows an object that covers 0.4% .* hold ids"):
        open_photographs()


@pytest.mark.parametrize("orientation, turns", [(3, 2), (6, 3), (8, 1)])
def test_a_photograph_is_turned_as_viewers_show_it(tmp_path, orientation, turns):
    """Its mask was drawn on what they show."""
    folder, exif = write_photographs(tmp_path / "turned", 1), Image.Exif()
    picture, mask = folder / "set/JPEGImages/00.jpg", folder / "set/Annotations/00.png"
    as_shown, exif[0x0112] = np.array(Image.open(picture)), orientation
    Image.fromarray(np.rot90(as_shown, -turns)).save(picture, quality=100, subsampling=0, exif=exif)
    photograph = Photographs(folder)[0]
    assert np.abs(photograph.pixels.astype(int) - as_shown).max() < 12
    assert np.array_equal(photograph.labels, np.array(Image.open(mask)))


def still(frames, **changes):
    """A path that goes nowhere."""
    parts = dict(center=np.full((frames, 2), (32.0, 24.0)), scale=np.ones(frames), angle=np.zeros(frames),
                 squeeze=np.ones(frames), wave=np.zeros((frames, 2)), bend=0.0)
    return Path(**parts | changes)


def test_a_layer_lies_where_its_path_says():
    """Moved by whole pixels it is the picture itself; turned by a quarter and doubled likewise."""
    mask = np.zeros((8, 12), bool)
    mask[1:7, 2:9] = True
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    center = np.array([[32.0, 24.0], [35.0, 22.0], [3.0, 2.0]])
    frames, labels = torch.zeros(3, 3, *SIZE), np.full((3, *SIZE), 7, np.uint8)
    own = cutouts.lay(frames, labels, Layer(pixels, mask, (6.0, 4.0), still(3, center=center)), 2)
    for t, (x, y) in enumerate(center.astype(int)):
        expected = np.zeros((SIZE[0] + 20, SIZE[1] + 20), bool)
        expected[y + 10 - 4:y + 10 + 4, x + 10 - 6:x + 10 + 6] = mask
        expected = expected[10:-10, 10:-10]
        assert np.array_equal(own[t], expected) and np.array_equal(labels[t] == 2, expected) and set(
            np.unique(labels)) == {2, 7}
    box = frames[0, :, 20:28, 26:38].permute(1, 2, 0).numpy()
    assert np.abs(box[mask] - pixels[mask]).max() < 1e-3 and (box[~mask] == 0).all()
    turned = Layer(pixels, mask, (6.0, 4.0),
                   still(1, center=np.array([[32.0, 24.0]]), angle=np.full(1, np.pi / 2), scale=np.full(1, 2.0)))
    covered = cutouts.warped(turned, SIZE)[1][0].numpy() > 0.5
    large = np.kron(mask, np.ones((2, 2), bool))
    expected = np.zeros(SIZE, bool)
    expected[12:36, 24:40] = np.rot90(large, -1)
    assert (covered != expected).sum() <= 4  # of rounding at the corners


def test_what_shrinks_is_averaged():
    """A fine checkerboard becomes gray, not black or white as its pixels fall; up to its border, where black begins."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    path = still(1, center=np.array([[32.2, 24.3]]))
    pixels, covered = cutouts.warped(Layer(board, np.ones((64, 64), bool), (8.0, 8.0), path), SIZE)
    assert (pixels[0][:, covered[0] > 0.01] - 127.5).abs().max() < 3


@pytest.mark.parametrize("speed", [0.5, 3.0, 6.4])
def test_paths_keep_their_speed_and_turn_back(speed):
    for seed in range(20):
        path = cutouts.draw_path(np.random.default_rng(seed), 40, SIZE, speed, np.array([32.0, 24.0]))
        steps = np.linalg.norm(np.diff(path.center, axis=0), axis=1)
        assert 0.8 * speed < steps.mean() < 1.25 * speed and steps.max() < 2.5 * speed
        assert (path.center > -2.5 * speed).all() and (path.center < np.array(SIZE[::-1]) + 2.5 * speed).all()
        assert 0.3 <= path.scale.min() and path.scale.max() <= 3.1 and (path.scale == 1).any()


def test_labels_are_what_is_seen():
    """Objects are of one color each: where the frame has it, there is the label, but for the blended border."""
    shades = {1: 0, 2: 1}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        frames, labels = torch.full((4, 3, *SIZE), 90.0), np.zeros((4, *SIZE), np.uint8)
        for identity, color in COLORS.items():
            pixels = np.full((20, 20, 3), color, np.uint8)
            path = cutouts.draw_path(rng, 4, SIZE, 3.0, rng.uniform((10, 10), (54, 38)))
            cutouts.lay(frames, labels, Layer(pixels, np.ones((20, 20), bool), (9.0, 9.0), path), identity)
        for identity, channel in shades.items():
            excess = frames[:, channel] - frames[:, 1 - channel]
            assert (labels[excess.numpy() > 200] == identity).all() and (excess.numpy()[labels == identity]
                                                                         > -120).all()


def samples(ratio=1.0, seed=3, count=24, **changes):
    data = DataConfig(height=48, width=64, frames=6, photo_ratio=ratio, **changes)
    return [training_sample(data, seed, index) for index in range(count)]


def test_samples_are_their_seeds_and_objects_are_there_at_first(photographs):
    first = samples(count=6)
    for (frames, labels), (again, same) in zip(first, samples(count=6), strict=True):
        assert frames.shape == (6, 48, 64, 3) and frames.dtype == labels.dtype == np.uint8
        assert np.array_equal(frames, again) and np.array_equal(labels, same)
        shown = set(np.unique(labels[0])) - {0}
        assert shown and set(np.unique(labels)) - {0} <= shown and max(shown) <= 3
    assert not np.array_equal(first[0][0], first[1][0])
    assert not np.array_equal(samples(count=1, seed=4)[0][0], first[0][0])


def test_objects_are_hidden_in_full_and_seen_again(photographs):
    lengths = []
    for _, labels in samples(count=40):
        for identity in set(np.unique(labels[0])) - {0}:
            seen = (labels == identity).any((1, 2))
            gone = np.flatnonzero(~seen)
            if len(gone) and seen[gone[-1]:].any():
                lengths.append(len(gone))
    assert len(lengths) >= 6 and max(lengths) >= 3 and min(lengths) == 1


@pytest.mark.parametrize("hidden, least, most", [(0.0, 0, 6), (1.0, 22, 40)])
def test_objects_hide_as_often_as_is_said(photographs, hidden, least, most):
    """Objects also leave the frame, and the largest are not hidden."""
    gone = [any(not (labels == o).any((1, 2)).all() for o in set(np.unique(labels[0])) - {0})
            for _, labels in samples(count=40, hidden=hidden)]
    assert least <= sum(gone) <= most, sum(gone)


def test_the_occluder_hides_what_it_is_to_hide(photographs):
    hidden = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels = np.zeros((6, *SIZE), np.uint8)
        for t in range(6):
            labels[t, 15:30, 10 + 4 * t:26 + 4 * t] = 1
        clip = torch.zeros(6, 3, *SIZE)
        composing._hide(rng, photographs, clip, labels)
        seen = (labels == 1).any((1, 2))
        assert seen[0] and seen[-1]
        hidden += not seen.all()
    assert hidden >= 27  # a cut-out that grew over the object may leave a rim of it


@pytest.mark.parametrize("rows, columns, hides", [((20, 26), (2, 62), True), ((4, 44), (2, 62), False)])
def test_what_fills_the_frame_both_ways_is_not_hidden(photographs, rows, columns, hides):
    clip, labels = torch.zeros(6, 3, *SIZE), np.zeros((6, *SIZE), np.uint8)
    labels[:, slice(*rows), slice(*columns)] = 1
    composing._hide(np.random.default_rng(0), photographs, clip, labels)
    assert bool(clip.any()) == hides


def test_an_occluder_waits_where_what_has_left_the_frame_was_last(photographs, monkeypatch):
    laid = []
    monkeypatch.setattr(composing, "lay", lambda clip, labels, layer, *_: laid.append(layer.path.center))
    for seed in range(30):
        labels = np.zeros((6, *SIZE), np.uint8)
        for t in range(4):
            labels[t, 20:26, 18 * t:18 * t + 6] = 1
        composing._hide(np.random.default_rng(seed), photographs, torch.zeros(6, 3, *SIZE), labels)
    gone = np.concatenate([center[4:] for center in laid])
    assert (gone == (57, 23)).all(1).any() and not (gone == (3, 23)).all(1).any()


def test_objects_of_a_background_are_labeled_where_they_are_seen(photographs):
    """They are of one color each: under the camera, mirrored with the clip, and up to the middle of their border."""
    mirrored = set()
    for seed in range(16):
        rng = np.random.default_rng(seed)
        clip, labels = composing._background(rng, photographs[1], 3, SIZE)
        redder = (clip[:, 0] - clip[:, 1]).numpy()  # of a disk on the left of its photograph and a box on the right
        for identity, excess in ((1, redder), (2, -redder)):
            assert (excess[labels == identity] > 60).all() and (labels[excess > 200] == identity).all()
        if (labels == 1).any() and (labels == 2).any():
            left, right = (np.nonzero(labels == identity)[2].mean() for identity in (1, 2))
            mirrored.add(left > right)
    assert mirrored == {False, True}


def test_a_clip_has_no_more_objects_than_it_may(photographs):
    """Also where the photograph behind has more."""
    most = {int(composing.compose(np.random.default_rng(seed), photographs, 2, *SIZE, 1, 0.0)[1].max())
            for seed in range(24)}
    assert most == {1}


def test_what_looks_like_an_object_is_none(photographs, monkeypatch):
    laid = []
    monkeypatch.setattr(composing, "TWIN", 1.0)
    monkeypatch.setattr(composing, "lay", lambda clip, labels, layer, identity, light: laid.append((layer, identity)))
    for seed in range(8):
        laid.clear()
        clip, labels = torch.zeros(3, 3, *SIZE), np.zeros((3, *SIZE), np.uint8)
        composing.add_objects(np.random.default_rng(seed), photographs, clip, labels, 1, None, 0.0)
        (model, first), (twin, second) = laid
        assert (first, second) == (1, 0) and twin.pixels is model.pixels and twin.mask is model.mask
        assert not np.array_equal(twin.path.center, model.path.center), "it goes its own way"


def test_generated_clips_are_drawn_as_they_were(photographs):
    """Photographs beside them change neither which numbers are drawn nor what is rendered."""
    mixed = samples(ratio=0.5, count=10)
    alone = samples(ratio=0.0, count=10)
    unchanged = [np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(mixed, alone, strict=True)]
    assert 2 <= sum(unchanged) <= 8


def test_cut_outs_cross_real_clips(photographs, tmp_path, monkeypatch):
    folder = tmp_path / "DAVIS"
    for number in range(8):
        pixels, labels = np.full((48, 80, 3), 90, np.uint8), np.zeros((48, 80), np.uint8)
        labels[10:34, 10 + 4 * number:34 + 4 * number] = 1
        pixels[labels == 1] = (20, 20, 240)
        path = folder / "JPEGImages/480p/one" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=100)
        write_mask(folder / "Annotations/480p/one" / f"{number:05d}.png", labels)
    (folder / "ImageSets/2016").mkdir(parents=True)
    (folder / "ImageSets/2016/train.txt").write_text("one\n")
    monkeypatch.setenv("SST_DAVIS", str(folder))
    result = samples(ratio=0.01, real="davis2016", real_ratio=0.99, count=20)
    several = sum(len(set(np.unique(labels[0])) - {0}) > 1 for _, labels in result)
    hidden = sum(
        any(not (labels[t] == o).any() for t in range(1, 6)) for _, labels in result
        for o in set(np.unique(labels[0])) - {0})
    assert several >= 4 and hidden >= 4
    with pytest.raises(ValueError, match="photo_ratio is 0.5 beside a real_ratio of 0.6"):
        DataConfig(real="davis2016", real_ratio=0.6, photo_ratio=0.5)
