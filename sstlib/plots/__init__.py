"""Every figure of the project: arrays in, a matplotlib Figure out, in one restrained style (`style`)."""

from sstlib.plots.style import bare, figure, jpeg, png, save, styled

__all__ = ["bare", "figure", "jpeg", "png", "save", "styled"]
