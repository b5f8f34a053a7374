"""What sparse attention is measured against: gathered and unfolded copies of the keys, FlexAttention, NATTEN."""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.attention import flex as fused
from sstlib.connectivity import Local
from sstlib.native import pytorch
from sstlib.shapes import Bool, Float, Int

Frames = Float[Tensor, "time height width dim"]


def gather_index(mask: Bool[Tensor, "query key"]) -> tuple[Tensor, Tensor]:
    """The keys of each query side by side, padded to the longest list, and which of them are real."""
    counts = mask.sum(1)
    valid = torch.arange(int(counts.max())) < counts[:, None]
    index = torch.zeros(valid.shape, dtype=torch.long)
    index[valid] = mask.nonzero()[:, 1]
    return index, valid


def gathered(query: Float[Tensor, "1 1 query dim"], key: Float[Tensor, "1 1 key dim"],
             value: Float[Tensor, "1 1 key dim"], index: Int[Tensor, "query most"],
             valid: Bool[Tensor, "query most"]) -> Tensor:
    """Attention over gathered copies of each query's keys: the simple way, of (1, 1, cell, dim) tensors."""
    keys, values = key[0, 0][index], value[0, 0][index]
    scores = torch.einsum("qd,qkd->qk", query[0, 0], keys).masked_fill_(~valid, -float("inf"))
    return torch.einsum("qk,qkd->qd", scores.softmax(-1), values)


def unfolded(query: Frames, key: Frames, value: Frames, radius: int) -> Tensor:
    """Causal local attention by F.unfold of every earlier frame, of (time, height, width, dim) tensors."""
    frames, height, width, dim = key.shape
    side = 2 * radius + 1
    patches = [
        functional.unfold(t.permute(0, 3, 1, 2), side, padding=radius).unflatten(1, (dim, side * side))
        for t in (key, value)
    ]
    inside = functional.unfold(torch.ones(1, 1, height, width), side, padding=radius)[0] > 0
    outputs = []
    for t in range(frames):
        q = query[t].flatten(0, 1)
        scores = torch.einsum("qd,tdkq->tkq", q, patches[0][:t + 1]).masked_fill_(~inside, -float("inf"))
        weights = scores.flatten(0, 1).softmax(0).view_as(scores)
        outputs.append(torch.einsum("tkq,tdkq->qd", weights, patches[1][:t + 1]))
    return torch.stack(outputs)


def flex(flat: list[Float[Tensor, "1 head cell dim"]], mask: Bool[Tensor, "query key"]) -> Callable[[], Tensor]:
    """FlexAttention, compiled for this mask by the first call."""
    blocks = pytorch.block_mask(lambda b, h, q, k: mask[q, k], *mask.shape, mask.device)
    return lambda: fused.compiled()(*flat, block_mask=blocks)


def natten(one: list[Float[Tensor, "1 head time height width dim"]], pattern: Local) -> Callable[[], Tensor]:
    """NATTEN's window of the same size, causal in time. It is shifted at the border where the paper's is cut off: a
    rival in time only.
    """
    def run() -> Tensor:
        from natten import na3d
        window = (one[0].shape[2], *(2 * radius + 1 for radius in pattern.radii))
        return na3d(*(t.permute(0, 2, 3, 4, 1, 5) for t in one), kernel_size=window,
                    is_causal=(pattern.causal, False, False), scale=1.0)
    return run
