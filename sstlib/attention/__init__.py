"""Sparse attention over video (section 3.2) with object affinity (Eq. 4): `sparse_attention` is the front door.

`reference` is the definition. The others compute the same without an attention map: `portable` in PyTorch (`blocks` and
`grid`, on `softmax`), `native` in C++ on a CPU, `tiles` in Triton on a GPU, and `flex` by FlexAttention, which the
caller must name.
"""

from sstlib.attention.affinity import KINDS
from sstlib.attention.choice import implementations, usable
from sstlib.attention.front import Attended, explain, sparse_attention

__all__ = ["KINDS", "Attended", "explain", "implementations", "sparse_attention", "usable"]
