"""Clips made from a seed, with exact truth, also of what is hidden.

>>> clip = render(random_spec("easy", 1, frames=4, height=48, width=64, objects=2), 1)
>>> clip.frames.shape, clip.labels.shape, clip.amodal.shape
((4, 48, 64, 3), (4, 48, 64), (4, 2, 48, 64))
"""

from sstlib.synthetic.render import Clip, render, render_batch
from sstlib.synthetic.spec import PRESETS, ClipSpec, random_spec

__all__ = ["PRESETS", "Clip", "ClipSpec", "random_spec", "render", "render_batch"]
