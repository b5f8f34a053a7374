"""Clips made from a seed, with exact truth, also of what is hidden."""

from sstlib.synthetic.render import Clip, render
from sstlib.synthetic.spec import PRESETS, ClipSpec, random_spec

__all__ = ["PRESETS", "Clip", "ClipSpec", "random_spec", "render"]
