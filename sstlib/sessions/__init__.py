"""One video carried from its given masks through all its frames, step by step, into whatever takes the masks."""

from sstlib.sessions.clip import Clip, Part, first_object, size_of
from sstlib.sessions.corrections import Corrections
from sstlib.sessions.outcome import confidence_table, object_lines, worst_share
from sstlib.sessions.session import Session, carry, segment_sequence
from sstlib.sessions.sinks import MaskFolder, Sink

__all__ = ["Clip", "Corrections", "MaskFolder", "Part", "Session", "Sink", "carry", "confidence_table",
           "first_object", "object_lines", "segment_sequence", "size_of", "worst_share"]
