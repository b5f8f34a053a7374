"""Frames and masks in and out: pictures listed and opened, masks read by one rule a clip, clips as sequences.

Frames are uint8 RGB, labels uint8 with 0 background, 1..n objects (not necessarily contiguous) and 255 void.

>>> labels = np.zeros((30, 40), np.uint8)
>>> labels[10:20, 10:20] = 7
>>> areas(labels), overlay(np.zeros((30, 40, 3), np.uint8), labels).shape
('1 object: 7 = 100 pixels', (30, 40, 3))
"""

from sstlib.video.masks import (
    Reading,
    areas,
    is_signed,
    mask_image,
    palette,
    read_mask,
    reading_of,
    require_background,
    write_mask,
    write_picture,
)
from sstlib.video.pictures import FRAME_SUFFIXES, images, is_picture, name_order, picture_size, read_frame
from sstlib.video.sequences import VOID, ArraySequence, FolderSequence, LazySequence, Sequence, clip_name, overlay

__all__ = [
    "FRAME_SUFFIXES", "VOID", "ArraySequence", "FolderSequence", "LazySequence", "Reading", "Sequence", "areas",
    "clip_name", "images", "is_picture", "is_signed", "mask_image", "name_order", "overlay", "palette", "picture_size",
    "read_frame", "read_mask", "reading_of", "require_background", "write_mask", "write_picture",
]
