"""One video carried from its given masks through all its frames, step by step, into whatever takes the masks."""

from sstlib.sessions.clip import Clip, Part, first_object
from sstlib.sessions.sinks import MaskFolder, Sink
from sstlib.sessions.walk import carry, walk

__all__ = ["Clip", "MaskFolder", "Part", "Sink", "carry", "first_object", "walk"]
