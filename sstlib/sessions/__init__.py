"""One video segmented from its given masks frame by frame, and the sinks that take the masks.

>>> from sstlib import synthetic, video, weights
>>> clip = synthetic.render(synthetic.random_spec("easy", 1, frames=3), 1)
>>> sequence = video.ArraySequence(clip.frames, clip.labels[0])
>>> [(t, masks.ids) for t, masks in segment_sequence(weights.load("sst-small"), sequence)]
[(0, (0, 1, 2)), (1, (0, 1, 2)), (2, (0, 1, 2))]
"""

from sstlib.sessions.clip import Clip, Part, first_object, size_of
from sstlib.sessions.corrections import Corrections
from sstlib.sessions.outcome import confidence_table, object_lines, worst_share
from sstlib.sessions.session import Session, carry, segment_sequence
from sstlib.sessions.sinks import MaskFolder, Sink

__all__ = ["Clip", "Corrections", "MaskFolder", "Part", "Session", "Sink", "carry", "confidence_table",
           "first_object", "object_lines", "segment_sequence", "size_of", "worst_share"]
