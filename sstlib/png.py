"""Masks from PNG files without a detour: most of what a score takes is decoding, and this halves it."""

import ctypes
import functools
import struct
import zlib
from pathlib import Path

import numpy as np

from sstlib import native
from sstlib.shapes import UInt8

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MODES = {(0, 1): "1", (0, 8): "L", (3, 1): "P", (3, 8): "P"}  # color type and depth -> Pillow's name for it
LARGEST = 2 ** 28  # bytes; what claims to be larger is left to Pillow's guards


def decode(content: bytes) -> tuple[UInt8[np.ndarray, "height width"], str] | None:
    """Values of a gray or palette PNG of 8 bits or 1, and its mode in Pillow's words; None if it is none, or damaged.

    None also where there is no compiler. The caller then asks a general reader, which knows every other kind and says
    what is wrong with a file.
    """
    library = _library()
    if library is None or not content.startswith(SIGNATURE):
        return None
    try:
        header, data = _chunks(content)
        width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        stride = (width * depth + 7) // 8
        size = height * (stride + 1)
        if (kind, depth) not in MODES or interlaced or not 0 < size < LARGEST:
            return None
        stream = zlib.decompressobj()
        raw = stream.decompress(data, size + 1)
    except (struct.error, zlib.error):
        return None
    if len(raw) != size or not stream.eof:
        return None
    rows = np.empty((height, stride), dtype=np.uint8)
    if library.sst_unfilter(raw, height, stride, rows.ctypes.data):
        return None
    return rows if depth == 8 else np.unpackbits(rows, axis=1, count=width), MODES[kind, depth]


def _chunks(content: bytes) -> tuple[bytes, bytes]:
    """The header and the compressed pixels; the zlib stream has a checksum of its own."""
    at, header, data = len(SIGNATURE), b"", []
    while at + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        if name == b"IHDR":
            header = content[at + 8:at + 8 + size]
        elif name == b"IDAT":
            data.append(content[at + 8:at + 8 + size])
        at += size + 12
    return header, b"".join(data)


@functools.cache
def _library() -> ctypes.CDLL | None:
    library = native.load(Path(__file__).with_suffix(".cpp"))
    if library is not None:
        library.sst_unfilter.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        library.sst_unfilter.restype = ctypes.c_int
    return library
