"""Every figure of the project: arrays in, a matplotlib Figure out, in one restrained style (`style`)."""

from sstlib.plots import differences as answers
from sstlib.plots import flows as routes
from sstlib.plots import reach as connectivity
from sstlib.plots.style import bare, figure, jpeg, png, save, styled

__all__ = ["answers", "bare", "connectivity", "figure", "jpeg", "png", "routes", "save", "styled"]
