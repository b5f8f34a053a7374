"""Masks drawn by hand in JupyterLab, and carried through a clip under the eyes of who drew them."""

from sstlib.drawing.annotator import Annotator
from sstlib.drawing.interactive import InteractiveSegmentation

__all__ = ["Annotator", "InteractiveSegmentation"]
