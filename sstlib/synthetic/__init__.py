"""Clips made from a seed, with exact truth, also of what is hidden."""

from sstlib.synthetic.render import Clip, render, render_batch
from sstlib.synthetic.spec import PRESETS, ClipSpec, random_spec

__all__ = ["PRESETS", "Clip", "ClipSpec", "random_spec", "render", "render_batch"]
