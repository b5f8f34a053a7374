"""The direct reader of masks against Pillow, filter by filter, and what it leaves to Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sstlib.video import png, read_mask

pytestmark = pytest.mark.skipif(png._library() is None, reason="no C++ compiler: masks are read through Pillow")


def encoded(rows: np.ndarray, filters: list[int], kind: int = 0, depth: int = 8, width: int | None = None) -> bytes:
    """A PNG of bytes `rows` filtered by the specification's formulas, written independently of any reader."""
    data, before = b"", np.zeros(rows.shape[1], int)
    for number, row in zip(filters, rows.astype(int)):
        left, corner = np.r_[0, row[:-1]], np.r_[0, before[:-1]]
        estimate = left + before - corner
        near = np.stack([abs(estimate - left), abs(estimate - before), abs(estimate - corner)]).argmin(axis=0)
        paeth = np.choose(near, [left, before, corner])
        guess = [np.zeros_like(row), left, before, (left + before) // 2, paeth][number]
        data += bytes([number]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        before = row

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width or rows.shape[1], len(rows), depth, kind, 0, 0, 0)
    colors = chunk(b"PLTE", bytes(768)) if kind == 3 else b""
    stream = zlib.compress(data)
    half = len(stream) // 2
    parts = [chunk(b"IHDR", header), colors, chunk(b"IDAT", stream[:half]), chunk(b"IDAT", stream[half:])]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (1, 13), (11, 1), (23, 37)])
@pytest.mark.parametrize("kind", [0, 3])
def test_every_filter_and_kind_reads_as_pillow_does(size, kind):
    generator = np.random.default_rng(7)
    rows = generator.integers(256, size=size, dtype=np.uint8)
    for filters in [[n] * size[0] for n in range(5)] + [generator.integers(5, size=size[0]).tolist()]:
        content = encoded(rows, filters, kind)
        values, mode = png.decode(content)
        np.testing.assert_array_equal(values, rows)
        with Image.open(io.BytesIO(content)) as image:
            assert mode == image.mode
            np.testing.assert_array_equal(values, np.array(image))


@pytest.mark.parametrize("depth", [1, 8])
def test_what_claims_to_be_large_is_left_to_pillow(depth, monkeypatch):
    assert png.LARGEST < Image.MAX_IMAGE_PIXELS, "which Pillow warns of"
    rows = np.zeros((23, 37 * depth // 8), np.uint8)
    content = encoded(rows, [0] * 23, depth=depth, width=rows.shape[1] * 8 // depth)
    pixels = png.decode(content)[0].size
    monkeypatch.setattr(png, "LARGEST", pixels)
    assert png.decode(content) is not None
    monkeypatch.setattr(png, "LARGEST", pixels - 1)
    assert png.decode(content) is None


@pytest.mark.parametrize("width", [1, 8, 29])
def test_one_bit_masks_read_as_pillow_does(width):
    rows = np.random.default_rng(7).integers(256, size=(5, (width + 7) // 8), dtype=np.uint8)
    content = encoded(rows, [0, 1, 2, 3, 4], depth=1, width=width)
    values, mode = png.decode(content)
    with Image.open(io.BytesIO(content)) as image:
        assert mode == image.mode == "1"
        np.testing.assert_array_equal(values, np.array(image).astype(np.uint8))


def test_other_kinds_and_damaged_files_are_left_to_pillow(tmp_path):
    good = encoded(np.arange(77, dtype=np.uint8).reshape(7, 11), [0] * 7)
    color, spoilt = encoded(np.zeros((2, 3)), [0, 0], kind=2), good[:70] + b"xxxx" + good[74:]
    header = good[12:28] + b"\1"  # interlaced
    interlaced = good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
    indexed = encoded(np.arange(77, dtype=np.uint8).reshape(7, 11), [0] * 7, kind=3)
    start, first, palette, rest = indexed[:8], indexed[8:33], indexed[33:813], indexed[813:]
    assert png.decode(start + first + palette + rest) is not None
    orders = [start + first + palette + palette + rest, start + palette + first + rest]
    for bad in (b"", b"not a png", good[:40], good[:-20], spoilt, color, interlaced, *orders):
        assert png.decode(bad) is None
    path = tmp_path / "mask.png"
    path.write_bytes(good[:50])
    with pytest.raises(ValueError, match="mask.png"):
        read_mask(path)
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="mask.png.*color image"):
        read_mask(path)


def test_a_wrong_checksum_is_damage_of_what_the_picture_needs_and_not_of_a_comment():
    good = encoded(np.zeros((7, 11)), [0] * 7)
    assert png.damage(good[:33] + struct.pack(">I", 2) + b"tEXtab" + bytes(4) + good[33:]) == ""
    assert png.damage(good[:29] + bytes(4) + good[33:]) == "wrong checksum of its part IHDR"


def test_filters_of_black_hold_nothing_and_of_interlaced_pixels_nothing_is_known():
    black = encoded(np.zeros((2, 18)), [1, 2], kind=2, depth=16, width=3)
    assert not png.lower_bytes_alone(black) and png.lower_bytes_alone(black[:28] + b"\1" + black[29:])
