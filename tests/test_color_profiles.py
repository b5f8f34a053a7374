"""Frames of a color profile (Display P3, Adobe RGB, a printer's gray) are read in sRGB, as viewers show them."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from sstlib import video

ADOBE = [[.60974, .20528, .14919], [.31111, .62567, .06322], [.01947, .06087, .74457]]  # of Adobe RGB to XYZ, under D50
SRGB = [[.43607, .38515, .14307], [.22249, .71687, .06061], [.01392, .09708, .71410]]
GAMMA = 563 / 256


def number(value):
    """A signed fraction of 16 bits beyond the point, as ICC files write it."""
    return struct.pack(">i", round(value * 65536))


def profile(space=b"RGB ", columns=ADOBE, gamma=GAMMA):
    """An ICC profile (version 2) of primaries and one exponent; of gray, of the exponent alone."""
    white = [.9642, 1, .8249]
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    name = b"a screen\0"
    text = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78 + 3)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0\0\0\0", b"wtpt": b"XYZ " + bytes(4)
            + b"".join(map(number, white))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for at, color in enumerate("rgb"):
            tags[f"{color}XYZ".encode()] = b"XYZ " + bytes(4) + b"".join(number(row[at]) for row in columns)
            tags[f"{color}TRC".encode()] = curve
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag, start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ") + bytes(
        12) + b"acsp" + bytes(28) + b"".join(map(number, white))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def shown(light):
    """sRGB from 0 to 255 of linear light."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= .0031308, 12.92 * light, 1.055 * light**(1 / 2.4) - .055)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_a_frame_of_another_screen_has_the_colors_of_an_ordinary_one(ending, frame, tmp_path):
    Image.fromarray(frame).save(tmp_path / f"f.{ending}", icc_profile=profile(), lossless=True)
    expected = shown((frame / 255)**GAMMA @ np.transpose(np.linalg.inv(SRGB) @ ADOBE))
    read = video.read_frame(tmp_path / f"f.{ending}")
    assert np.abs(read - expected).max() <= 2
    assert np.abs(read.astype(int) - frame).max() > 30, "the profile does say something"


def test_gray_has_the_brightness_of_its_profile(frame, tmp_path):
    gray, dark = frame[..., 0], profile(b"GRAY", gamma=3.0)
    for image in (Image.fromarray(gray), Image.merge("LA", [Image.fromarray(gray), Image.new("L", (24, 16), 255)])):
        image.save(tmp_path / "f.png", icc_profile=dark)
        assert np.abs(video.read_frame(tmp_path / "f.png") - shown((gray / 255)**3)[..., None]).max() <= 2


def test_indexed_and_opaque_frames_are_of_their_profile_too(frame, tmp_path):
    Image.fromarray(frame).save(tmp_path / "f.png", icc_profile=profile())
    expected = video.read_frame(tmp_path / "f.png")
    Image.fromarray(frame).convert("RGBA").save(tmp_path / "f.png", icc_profile=profile())
    np.testing.assert_array_equal(video.read_frame(tmp_path / "f.png"), expected)
    few = Image.fromarray(frame).quantize(8)
    few.convert("RGB").save(tmp_path / "f.png", icc_profile=profile())
    expected = video.read_frame(tmp_path / "f.png")
    few.save(tmp_path / "f.png", icc_profile=profile())
    np.testing.assert_array_equal(video.read_frame(tmp_path / "f.png"), expected)


@pytest.mark.parametrize("of", [
    ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"", b"no profile",
    profile()[:150], profile(b"GRAY")
], ids=["sRGB", "empty", "none", "cut off", "of gray"])
def test_a_profile_of_srgb_or_of_nothing_that_is_there_changes_nothing(of, frame, tmp_path):
    Image.fromarray(frame).save(tmp_path / "f.png", icc_profile=of)
    np.testing.assert_array_equal(video.read_frame(tmp_path / "f.png"), frame)


def test_masks_are_ids_whatever_their_profile(tmp_path):
    label = np.zeros((16, 24), np.uint8)
    label[4:9, 5:12] = 1
    label[10:14, 5:12] = 2
    Image.fromarray(label).save(tmp_path / "m.png", icc_profile=profile(b"GRAY", gamma=3.0))
    np.testing.assert_array_equal(video.read_mask(tmp_path / "m.png"), label)
