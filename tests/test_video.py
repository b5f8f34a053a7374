"""Frames and masks in and out."""

import contextlib
import inspect
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sstlib import paths, video
from sstlib.movies import Incomplete, open_clip
from sstlib.video import pictures


def labels_of(shape=(7, 11), ids=(0, 1, 2, 5, 254, 255), seed=0):
    return np.random.default_rng(seed).choice(np.array(ids, np.uint8), shape)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 17), st.integers(1, 23), st.integers(0, 1000))
def test_palette_png_round_trip_is_identical(tmp_path_factory, height, width, seed):
    path = tmp_path_factory.mktemp("mask") / "00000.png"
    labels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    video.write_mask(path, labels)
    with Image.open(path) as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(video.read_mask(path), labels)
    assert [p.name for p in path.parent.iterdir()] == ["00000.png"]


def test_palette_is_that_of_davis_and_pascal_voc():
    first = [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    ]
    np.testing.assert_array_equal(video.palette()[:9], first)
    np.testing.assert_array_equal(video.palette()[255], (224, 224, 192))


@pytest.mark.parametrize("mode", ["L", "LA", "I", "I;16", "P", "PA"])
def test_masks_are_read_by_value_whatever_the_mode(tmp_path, mode):
    labels = labels_of()
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(video.palette().tobytes())
    elif mode == "PA":
        image.putpalette(video.palette().tobytes())
        image = image.convert("PA")
    elif mode == "I;16":
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = image.convert(mode)
    path = tmp_path / ("m.tif" if mode in ("PA", "I") else "m.png")
    image.save(path)
    np.testing.assert_array_equal(video.read_mask(path), labels)


def test_binary_masks_become_zero_and_one(tmp_path):
    shape = labels_of(ids=(0, 1))
    Image.fromarray(shape * 255).save(tmp_path / "gray.png")
    Image.fromarray(shape.astype(bool)).save(tmp_path / "bit.png")
    Image.fromarray(np.stack([shape * 255, np.full_like(shape, 200)], -1)).save(tmp_path / "la.png")
    for name in ("gray", "bit", "la"):
        np.testing.assert_array_equal(video.read_mask(tmp_path / f"{name}.png"), shape)


def gray_clip(folder, *masks):
    for t, labels in enumerate(masks):
        for part in ("frames", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(folder / "frames" / f"{t}.png")
        Image.fromarray(labels).save(folder / "masks" / f"{t}.png")
    return video.FolderSequence(folder / "frames", folder / "masks")


def test_the_first_mask_with_anything_on_it_says_what_255_means_in_a_gray_clip(tmp_path):
    shape = labels_of(ids=(0, 255))
    nothing, ids = np.zeros_like(shape), labels_of(ids=(0, 2, 7, 255))
    by_id = gray_clip(tmp_path / "ids", nothing, ids, shape)
    np.testing.assert_array_equal(by_id.label(1), ids)
    np.testing.assert_array_equal(by_id.label(2), shape)  # void, and no object 1
    binary = gray_clip(tmp_path / "binary", nothing, shape, shape)
    np.testing.assert_array_equal(binary.label(2), shape & 1)
    assert not binary.label(0).any()
    mixed = gray_clip(tmp_path / "mixed", shape, ids)
    with pytest.raises(ValueError, match="masks/1.png: mask has value 2, but the clip's first one is binary"):
        mixed.label(1)


def test_void_stays_where_there_are_objects_beside_it(tmp_path):
    labels = labels_of(ids=(0, 3, 255))
    Image.fromarray(labels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(video.read_mask(tmp_path / "m.png"), labels)


def test_bad_masks_are_refused_by_name(tmp_path):
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.full((5, 7), 300, np.uint16)).save(tmp_path / "high.png")
    (tmp_path / "text.png").write_text("no image")
    for name, word in (("rgb", "color image"), ("high", "up to 300"), ("text", "not an image")):
        with pytest.raises(ValueError, match=f"{name}.png.*{word}"):
            video.read_mask(tmp_path / f"{name}.png")
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        video.read_mask(tmp_path / "nothing.png")


def test_ids_that_a_png_cannot_hold_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="256"):
        video.write_mask(tmp_path / "m.png", np.full((3, 5), 256))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels, words", [
    (labels_of() * .7, "not whole numbers"), (labels_of()[None], "shape (1, 7, 11)"), (labels_of()[..., None], "shape"),
    (np.full((7, 11), 300), "from 300 to 300"), (np.ma.array(labels_of(), mask=True), "77 of the 77 elements")])
def test_what_holds_no_labels_is_not_written_as_a_mask(tmp_path, labels, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        inspect.unwrap(video.write_mask)(tmp_path / "mask.png", labels)  # as a caller without checks of shapes has it
    assert "mask.png" in str(refused.value) and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("frame, labels", [
    (np.zeros((7, 11, 3)), labels_of()), (np.zeros((7, 11), np.uint8), labels_of()),
    (np.zeros((7, 9, 3), np.uint8), labels_of()), (np.zeros((7, 11, 3), np.uint8), labels_of() * .7)])
def test_an_overlay_of_other_numbers_or_sizes_is_refused(frame, labels):
    with pytest.raises(ValueError, match="labels"):
        inspect.unwrap(video.overlay)(frame, labels)


@pytest.mark.parametrize("labels", [{3: labels_of()}, {-1: labels_of()}, {0: labels_of() * .7}])
def test_labels_of_no_frame_and_no_labels_are_refused_in_arrays(labels):
    with pytest.raises(ValueError, match="labels"):
        video.ArraySequence(np.zeros((3, 7, 11, 3), np.uint8), labels)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), paths.atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def tree(tmp_path, names=("f10", "f2", "f1"), shape=(6, 10)):
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in names:
        Image.fromarray(np.full((*shape, 3), int(name[1:]), np.uint8)).save(frames / f"{name}.png")
    return frames


def test_folder_frames_come_in_the_order_of_their_numbers(tmp_path):
    sequence = video.FolderSequence(tree(tmp_path))
    assert sequence.frame_names == ["f1", "f2", "f10"]
    assert [int(sequence.frame(t)[0, 0, 0]) for t in range(len(sequence))] == [1, 2, 10]
    assert isinstance(sequence, video.Sequence) and sequence.label(0) is None


def test_a_folder_with_one_mask_labels_its_first_frame(tmp_path):
    frames = tree(tmp_path)
    video.write_mask(tmp_path / "given.png", labels_of((6, 10)))
    sequence = video.FolderSequence(frames, tmp_path / "given.png")
    np.testing.assert_array_equal(sequence.label(0), labels_of((6, 10)))
    assert sequence.label(1) is None


def test_broken_folders_are_told_by_name(tmp_path):
    frames = tree(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty.*no images"):
        video.FolderSequence(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent"):
        video.FolderSequence(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent.png"):
        video.FolderSequence(frames, tmp_path / "absent.png")
    masks = tmp_path / "masks"
    video.write_mask(masks / "f3.png", labels_of((6, 10)))
    with pytest.raises(ValueError, match="f3.png.*no frame"):
        video.FolderSequence(frames, masks)
    (masks / "f3.png").unlink()
    video.write_mask(masks / "f1.png", labels_of((5, 10)))
    with pytest.raises(ValueError, match="f1.png.*10x5.*10x6"):
        video.FolderSequence(frames, masks).label(0)
    Image.fromarray(np.zeros((6, 10, 3), np.uint8)).save(frames / "f1.jpg")
    with pytest.raises(ValueError, match="same name"):
        video.FolderSequence(frames)


def test_a_truncated_jpeg_is_told_by_name(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(frames / "00000.jpg")
    whole = (frames / "00000.jpg").read_bytes()
    (frames / "00000.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="00000.jpg.*decoded"):
        video.FolderSequence(frames).frame(0)


@pytest.mark.parametrize("suffix", sorted(pictures.FRAME_SUFFIXES))
def test_a_frame_that_is_cut_off_is_found_when_its_folder_is_opened(tmp_path, suffix):
    """Not after the masks of all before it; what phones put behind a picture's end is none of it."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    paths = [tmp_path / f"{t:05d}{suffix}" for t in range(3)]
    for path in paths:
        picture.save(path)
    whole = paths[2].read_bytes()
    for more in (b"", b"\0", b"a film behind the picture" * 99):
        paths[2].write_bytes(whole + more)
        assert open_clip(tmp_path).size == (64, 96)
    for length in (len(whole) // 2, len(whole) - 40):
        paths[2].write_bytes(whole[:length])
        with pytest.raises(ValueError, match="00002.*(cannot be decoded|damaged)"):
            open_clip(tmp_path)


def test_arrays_are_a_sequence():
    frames = np.zeros((3, 5, 7, 3), np.uint8)
    first = labels_of((5, 7))
    sequence = video.ArraySequence(frames, first)
    assert isinstance(sequence, video.Sequence) and sequence.frame_names == ["00000", "00001", "00002"]
    np.testing.assert_array_equal(sequence.label(0), first)
    np.testing.assert_array_equal(sequence.label(-3), first)
    assert sequence.label(2) is None
    with pytest.raises(ValueError, match="frame 1.*shape"):
        video.ArraySequence(frames, {1: first[:4]})
    with pytest.raises(ValueError, match="frame 0: labels are"):
        video.ArraySequence(frames, first.astype(int) + 1000)


def test_overlay_tints_objects_and_leaves_the_rest():
    frame = np.full((5, 7, 3), 100, np.uint8)
    labels = np.zeros((5, 7), np.uint8)
    labels[1:4, 2:6] = 1
    labels[0, 0] = 255
    shown = video.overlay(frame, labels)
    np.testing.assert_array_equal(shown[labels != 1], 100)
    np.testing.assert_array_equal(shown[2, 4], (114, 50, 50))
    np.testing.assert_array_equal(frame, 100)


def test_a_listing_holds_pictures_alone_in_the_order_of_their_numbers(tmp_path):
    for name in ("10.PNG", "9.png", "a7.Png", "100.png", ".hidden.png", "._9.png", "Thumbs.db", "notes.txt"):
        Image.new("RGB", (4, 3)).save(tmp_path / name, format="PNG")
    (tmp_path / "1.png").mkdir()
    assert list(video.images(tmp_path)) == ["9", "10", "100", "a7"]


def test_numbers_below_zero_come_before_it(tmp_path):
    names = ["-0010", "-2", "-1", "0", "3", "10", "a-3", "a-20"]  # in these last, - parts the name from its number
    for name in names:
        Image.new("RGB", (4, 3)).save(tmp_path / f"{name}.png")
    assert list(video.images(tmp_path)) == names


@pytest.mark.parametrize("names", [
    ["\uff11", "\uff12", "\uff11\uff10"], ["f\u0967", "f\u0968", "f\u0967\u0966"],
    ["f\u00b9", "f\u00b2", "f\u00b9\u2070"], ["-\uff12", "-\uff11", "\uff10"]],
                         ids=["as wide as Japanese letters", "Devanagari", "superscript", "below zero"])
def test_digits_of_other_scripts_are_numbers_too(tmp_path, names):
    for name in names:
        Image.new("RGB", (4, 3)).save(tmp_path / f"{name}.png")
    assert list(video.images(tmp_path)) == names


SEVERAL = {  # names of frames, and the warning about them
    "two cameras": (["a1", "a2", "b1", "b2"], "2 kinds of names .*: a1 to a2 \\(2\\), b1 to b2 \\(2\\); give"),
    "a mask among them": (["1", "2", "10", "mask"], "2 kinds of names .*: 1 to 10 \\(3\\), mask; give"),
    "many": (["1", "2", "a", "b", "c", "d"], "5 kinds of names .*: 1 to 2 \\(2\\), a, b, c, ...; give"),
    "dates": (["2024-01-09 10.59", "2024-01-10 11.00"], ""), "names alone": (["a", "b", "c"], ""), "one": (["a"], ""),
    "a gap": (["0001", "0002", "0005"], ": 2 frames are missing by number, between 0002 and 0005; what is there"),
    "gaps of every fifth": (["a0_b", "a5_b", "a15_b", "a20_b", "a25_b", "a35_b"],
                            "2 frames are missing by number, between a5_b and a15_b, a25_b and a35_b; what"),
    "below zero": (["-2", "-1", "0", "2"], "1 frame is missing by number, between 0 and 2; what"),
    "every fifth": (["00000", "00005", "00010"], ""), "milliseconds": (["0033", "0066", "0100", "0133"], ""),
    "any numbers": (["3", "17", "44", "45", "102"], ""),
}


@pytest.mark.parametrize("names, warning", SEVERAL.values(), ids=SEVERAL)
def test_a_folder_that_may_be_more_than_a_clip_says_so(tmp_path, names, warning):
    for name in names:
        Image.new("RGB", (4, 3)).save(tmp_path / f"{name}.png")
    with pytest.warns(Incomplete, match=warning) if warning else contextlib.nullcontext():
        assert len(open_clip(tmp_path)) == len(names)


def test_pictures_that_are_not_read_are_named(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in ("3.heic", "10.HEIC", ".4.heic", "notes.txt"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"no images .*; 2 pictures .* not read \(3.heic, 10.HEIC\): save them"):
        open_clip(folder)
    Image.new("RGB", (4, 3)).save(folder / "1.png")
    with pytest.warns(Incomplete, match=r"2 pictures of a kind that is not read \(3.heic, 10.HEIC\): save them"):
        assert len(open_clip(folder)) == 1
    with pytest.raises(FileNotFoundError, match="there are some in its folder clip: name that"):
        open_clip(tmp_path)


@pytest.mark.parametrize("name, content, words", [
    ("a.npz", b"PK\3\4", ".npz is not read as an image; expected .bmp, "), ("mask", b"ids", "its kind is not read"),
    ("a.png", b"", "empty, without a byte; copy"),
    ("a.png", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    ("a.jpg", b"\0\0\0\x18ftypheic", "HEIC, AVIF or a video by its content"), ("a.png", b"x", "not an image, or dam")])
def test_what_is_no_image_that_is_read_is_told_as_what_it_is(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {words}"):
        video.read_mask(tmp_path / name)


@pytest.mark.parametrize("names, word", [(("1.jpg", "1.png"), "name"), (("1.png", "01.png"), "number"),
                                         (("f2-1.png", "f02-1.jpg"), "number"), (("1.PNG", "1.png"), "name")])
def test_two_pictures_of_one_number_are_refused(tmp_path, names, word):
    for name in names:
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{'|'.join(names)}.*has the same {word}; keep one of them"):
        video.images(tmp_path)


def test_a_folder_in_the_place_of_an_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name}: a folder, and one image is expected here"):
        video.read_mask(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_pictures_is_refused_and_not_waited_for(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    with pytest.raises(ValueError, match="2.png: a pipe or a device"):
        video.images(tmp_path)
    with pytest.raises(ValueError, match="2.png: a pipe or a device"):
        video.read_mask(tmp_path / "2.png")


def test_frames_of_several_sizes_are_named_when_a_folder_is_opened(tmp_path):
    frames = tree(tmp_path)
    Image.fromarray(np.zeros((10, 6, 3), np.uint8)).save(frames / "f11.png")
    with pytest.raises(ValueError, match="f11.png: the frame is 6x10, the first one, f1.png, is 10x6"):
        open_clip(frames)
    exif = Image.Exif()
    exif[0x0112] = 6
    # A phone held upright for one frame
    Image.fromarray(np.zeros((10, 6, 3), np.uint8)).save(frames / "f11.png", exif=exif)
    with pytest.warns(Incomplete, match="between f2 and f10"):
        assert open_clip(frames).size == (6, 10)


ORIENTED = {
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p), 7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1)
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_frames_are_shown_upright(tmp_path, orientation, suffix):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"f.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(ORIENTED[orientation](upright)))
    stored.save(path, **({"tiffinfo": {0x0112: orientation}} if suffix == "tif" else {"exif": exif, "quality": 95}))
    assert np.abs(video.read_frame(path).astype(int) - upright).mean() < 4
    assert video.picture_size(path) == (32, 48)


def test_a_damaged_orientation_is_none(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(frame).save(tmp_path / "f.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_array_equal(video.read_frame(tmp_path / "f.png"), frame)


def test_frames_of_every_mode_keep_their_brightness(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (6, 10), np.uint8)
    rgb = np.repeat(gray[..., None], 3, axis=2)
    opaque = Image.merge("LA", [Image.fromarray(gray), Image.new("L", (10, 6), 255)])
    for name, image in {
            "16.png": Image.fromarray(gray.astype(np.uint16) * 257), "8.png": Image.fromarray(gray), "la.png": opaque,
            "rgba.png": opaque.convert("RGBA"), "p.png": Image.fromarray(gray).convert("P"),
            "cmyk.tif": Image.fromarray(rgb).convert("CMYK")
    }.items():
        image.save(tmp_path / name)
        np.testing.assert_array_equal(video.read_frame(tmp_path / name), rgb, err_msg=name)
    Image.fromarray(gray > 99).save(tmp_path / "1.png")
    np.testing.assert_array_equal(video.read_frame(tmp_path / "1.png")[..., 0], (gray > 99) * 255)


def test_frames_whose_white_or_ground_is_not_known_are_refused(tmp_path):
    gray = np.arange(60, dtype=np.uint8).reshape(6, 10)
    seen = Image.merge("LA", [Image.fromarray(gray), Image.fromarray(gray)])
    hole = Image.fromarray(gray).convert("P")
    pictures = {
        "f.tif": Image.fromarray(gray.astype(np.float32)), "i.tif": Image.fromarray(gray.astype(np.int32)),
        "la.png": seen, "rgba.png": seen.convert("RGBA")
    }
    for name, image in pictures.items():
        image.save(tmp_path / name)
    hole.save(tmp_path / "p.png", transparency=7)
    for name in (*pictures, "p.png"):
        with pytest.raises(ValueError, match=f"{name}: the frame (holds|has)"):
            video.read_frame(tmp_path / name)
