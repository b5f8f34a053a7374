"""Video files in and out, and contact sheets. PyAV is imported only when a file is opened."""

from sstlib.movies.reading import VIDEO_SUFFIXES, VideoSequence, open_clip
from sstlib.movies.writing import CODECS, Timing, VideoWriter, checked_codec, contact_sheet, write_video

__all__ = [
    "CODECS", "VIDEO_SUFFIXES", "Timing", "VideoSequence", "VideoWriter", "checked_codec", "contact_sheet", "open_clip",
    "write_video"
]
