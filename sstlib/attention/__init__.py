"""Sparse attention over video (section 3.2) with object affinity (Eq. 4): `sparse_attention` is the front door.

`reference` is the definition. The others compute the same without an attention map: `portable` in PyTorch (`blocks` and
`grid`, on `softmax`), `native` in C++ on a CPU, `tiles` in Triton on a GPU, and `flex` by FlexAttention, which the
caller must name.

>>> query = torch.randn(1, 2, 3, 11, 13, 8)  # batch, head, time, height, width, dim
>>> labels = torch.randint(0, 3, (1, 3, 11, 13))  # of two objects and the background
>>> output, affinity, lse = sparse_attention(query, query, query, "local(radius=2)", labels=labels, objects=3)
>>> tuple(output.shape), tuple(affinity.shape)
((1, 2, 3, 11, 13, 8), (1, 2, 3, 3, 11, 13))
"""

from sstlib.attention.affinity import KINDS
from sstlib.attention.choice import implementations, usable
from sstlib.attention.front import Attended, explain, sparse_attention

__all__ = ["KINDS", "Attended", "explain", "implementations", "sparse_attention", "usable"]
