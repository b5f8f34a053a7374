"""The name by which notebooks know `sstlib.model.summary`."""

from sstlib.model.summary import Row, anatomy, scaled

__all__ = ["Row", "anatomy", "scaled"]
