"""Explorers for JupyterLab and for pages without a kernel: controls around one figure, and a click on what it shows.
And a widget in which masks are drawn by hand, carried through a clip and corrected.
"""

from sstlib.explorers.annotator import Annotator
from sstlib.explorers.interactive import InteractiveSegmentation
from sstlib.explorers.looking import Watched, attention_explorer
from sstlib.explorers.panel import Explorer, PixelPicker, place_on, slider
from sstlib.explorers.reaching import reach_explorer
from sstlib.explorers.routing import route_explorer

__all__ = ["Annotator", "Explorer", "InteractiveSegmentation", "PixelPicker", "Watched", "attention_explorer",
           "place_on", "reach_explorer", "route_explorer", "slider"]
