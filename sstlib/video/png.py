"""Masks from PNG files without a detour: most of what a score takes is decoding, and this halves it."""

import ctypes
import functools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sstlib import native
from sstlib.shapes import UInt8

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MODES = {(0, 1): "1", (0, 8): "L", (3, 1): "P", (3, 8): "P"}  # color type and depth -> Pillow's name for it
LARGEST = 2 ** 26  # pixels; what claims to be larger is left to Pillow's guards
COLORS = bytes.fromhex("000000 800000 008000 808000 000080 800080 008080 808080 400000 c00000 408000 c08000 400080 "
                       "c00080 "
                       # DAVIS's, whose later ones differ by writer
                       "408080 c08080 004000 804000 00c000 80c000 004080 804080")
ORIENTING = (b"XML:com.adobe.xmp\0", b"Raw profile type ")  # texts in which programs keep orientations, too
ELSEWHERE = frozenset({b"acTL", b"eXIf"})  # animations and orientations are left to Pillow


def decode(content: bytes) -> tuple[UInt8[np.ndarray, "height width"], str] | None:
    """Values of a gray or palette PNG of 8 bits or 1, and its mode in Pillow's words; None if it is none, or damaged.

    Palettes are DAVIS's or say nothing: of other colors, indices need not be ids. No level of gray is transparent. None
    also where there is no compiler.
    The caller then asks a general reader, which knows every other kind and says what is wrong with a file.
    """
    library = _library()
    if library is None or not content.startswith(SIGNATURE):
        return None
    try:
        chunks = _chunks(content)
        width, height, depth, kind, *methods = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        colors = chunks.get(b"PLTE", b"")[:len(COLORS)]
        stride = (width * depth + 7) // 8
        size = height * (stride + 1)
        known = b"tRNS" not in chunks if kind != 3 else colors == COLORS[:len(colors)] or not any(colors)
        if (kind, depth) not in MODES or any(methods) or not 0 < width * height <= LARGEST or not known:
            return None
        stream = zlib.decompressobj()
        raw = stream.decompress(chunks[b"IDAT"], size + 1)
    except (struct.error, zlib.error, KeyError):
        return None
    if len(raw) != size or not stream.eof:
        return None
    rows = np.empty((height, stride), dtype=np.uint8)
    if library.sst_unfilter(raw, height, stride, rows.ctypes.data):
        return None
    return rows if depth == 8 else np.unpackbits(rows, axis=1, count=width), MODES[kind, depth]


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """Header, palette, transparency and compressed pixels by chunk name; the pixels have a checksum of their own, the
    others' are verified.

    Raises:
        KeyError: chunks that are not understood here.
        zlib.error: a wrong checksum.
    """
    chunks, pixels = {}, []
    for name, data, checksum in _split(content):
        if name in ELSEWHERE or data.startswith(ORIENTING) or name in chunks or (name == b"IHDR") != (not chunks):
            raise KeyError(name)
        if name == b"IDAT":
            pixels.append(data)
        elif zlib.crc32(data, zlib.crc32(name)) != checksum:
            raise zlib.error(f"checksum of {name!r}")
        elif name in (b"IHDR", b"PLTE", b"tRNS"):
            chunks[name] = data
    return chunks | {b"IDAT": b"".join(pixels)}


def damage(content: bytes) -> str:
    """What is wrong with the bytes of a PNG of any kind by its own checksums, which general readers do not all
    verify; "" if nothing.
    """
    last = b""
    for last, data, checksum in _split(content):
        if last[0] & 32 == 0 and zlib.crc32(data, zlib.crc32(last)) != checksum:  # a capital: needed for the picture
            return f"wrong checksum of its part {last.decode('latin-1')}"
    return "" if last == b"IEND" else "cut off"


def lower_bytes_alone(content: bytes) -> bool:
    """Whether a PNG of several samples of 16 bits a pixel, whose upper bytes are 0, may hold something in the others:
    general readers drop these. With transparency nothing is known of it; False of what is no such PNG.
    """
    if not content.startswith(SIGNATURE):
        return False
    parts = [(name, data) for name, data, _ in _split(content)]
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", dict(parts)[b"IHDR"])
    if depth != 16 or kind not in (2, 4, 6):
        return False
    if kind != 2 or interlaced:
        return True
    rows = zlib.decompress(b"".join(data for name, data in parts if name == b"IDAT"))
    return bool(np.frombuffer(rows, np.uint8).reshape(height, 1 + 6 * width)[:, 1:].any())  # filters leave zeros zeros


def _split(content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The chunks of a PNG: name, data and checksum; what is cut off has less data and another checksum."""
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        yield name, content[at + 8:at + 8 + size], int.from_bytes(content[at + 8 + size:at + 12 + size])
        at += size + 12
        if name == b"IEND":
            return


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = native.load(Path(__file__).with_suffix(".cpp"))
    if library is not None:
        library.sst_unfilter.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        library.sst_unfilter.restype = ctypes.c_int
    return library
