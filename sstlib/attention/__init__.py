"""Sparse attention over video (section 3.2) with object affinity (Eq. 4): `sparse_attention` is the front door.

`reference` is the definition; `blocks` and `grid` compute the same in PyTorch without an attention map.
"""

from sstlib.attention.affinity import KINDS
from sstlib.attention.front import IMPLEMENTATIONS, Attended, explain, sparse_attention
from sstlib.attention.ops import usable

__all__ = ["IMPLEMENTATIONS", "KINDS", "Attended", "explain", "sparse_attention", "usable"]
