"""Video files and streams in, video files out, and contact sheets. PyAV is imported only when a file is opened.

>>> from sstlib import paths
>>> clip = open_clip(paths.DATA / "dog.mp4")
>>> len(clip), clip.frame(0).shape
(21, (270, 480, 3))
"""

from sstlib.movies.reading import VIDEO_SUFFIXES, Incomplete, VideoSequence, is_movie, open_clip
from sstlib.movies.streams import Stream, is_stream
from sstlib.movies.writing import CODECS, Timing, VideoWriter, checked_codec, contact_sheet, write_video

__all__ = [
    "CODECS", "VIDEO_SUFFIXES", "Incomplete", "Stream", "Timing", "VideoSequence", "VideoWriter", "checked_codec",
    "contact_sheet", "is_movie", "is_stream", "open_clip", "write_video"
]
