"""Positional encodings over (time, height, width), added to the features before the first layer (Eq. 2, Table 3)."""

import math

import torch
from torch import Tensor, nn

from sstlib.config.networks import ENCODINGS
from sstlib.shapes import Float, Int

LONGEST = (300, 256, 256)  # table lengths of the learned encoding; 300 frames is the authors' setting


def sinusoid(positions: Float[Tensor, "cells"], channels: int, base: float) -> Float[Tensor, "cells channels"]:
    """Sine and cosine of each position at wavelengths from 2 pi to 2 pi * base (Vaswani et al., 2017).

    Args:
        positions: places on one axis; any real number, so that lengths never seen in training extrapolate.
        channels: how many columns; sines first, then cosines; an odd last column stays a sine.
        base: ratio of the longest to the shortest wavelength. 10 000 is Vaswani's, 100 that of the authors' 1-D code.
            A base so small that the longest wavelength fits the training crop leaves no phase unseen at test time.
    """
    steps = torch.arange((channels + 1) // 2, device=positions.device, dtype=positions.dtype)
    frequencies = torch.exp(steps * (-math.log(base) / max(len(steps), 1)))
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :channels]


def split_channels(width: int, axes: str) -> tuple[int, int, int]:
    """Channels of time, height and width: even thirds side by side (`concat`), or all of them summed (`sum`)."""
    if axes == "sum":
        return width, width, width
    spatial = math.ceil(width / 3 / 2) * 2
    return width - 2 * spatial, spatial, spatial


class PositionalEncoding(nn.Module):
    """P of Eq. 2 for any frame numbers and any feature size.

    Args:
        kind: one of `networks.ENCODINGS`; none is zeros, learned one table an axis (its rows that no training step has
            seen are not used, the last one that was seen stands for them).
        width: channels C of the encoder.
        base: see `sinusoid`.
        axes: `concat` gives each axis its own channels, `sum` adds three full-width codes; the paper does not say.
    """

    def __init__(self, kind: str, width: int, base: float = 10_000.0, axes: str = "concat"):
        super().__init__()
        self.kind, self.base, self.axes = ENCODINGS.find(kind).name, base, axes
        self.channels = split_channels(width, axes)
        if ENCODINGS[kind].code is None:
            self.register_buffer("trained", torch.zeros(3, dtype=torch.long))  # rows of each table, from the first on
            self.tables = nn.ParameterList(nn.Parameter(torch.randn(length, channels) * 0.02)
                                           for length, channels in zip(LONGEST, self.channels))

    def forward(self, times: Int[Tensor, "time"], height: int,
                width: int) -> Float[Tensor, "time height width channels"]:
        """Encoding of the frames numbered `times` on a grid of height x width cells.

        Raises:
            ValueError: a learned table ends before one of the positions; learned encodings do not extrapolate.
        """
        device = times.device
        axes = (times, torch.arange(height, device=device), torch.arange(width, device=device))
        codes = [self._code(axis, positions) for axis, positions in enumerate(axes)]
        if self.axes == "sum":
            return codes[0][:, None, None] + codes[1][:, None] + codes[2]
        size = (len(times), height, width)
        return torch.cat([codes[0][:, None, None].expand(*size, -1), codes[1][:, None].expand(*size, -1),
                          codes[2].expand(*size, -1)], -1)

    def _code(self, axis: int, positions: Tensor) -> Tensor:
        if (code := ENCODINGS[self.kind].code) is not None:
            return code(positions.float(), self.channels[axis], self.base)
        table, name = self.tables[axis], ("time", "height", "width")[axis]
        if positions.is_meta or not len(positions):
            return table[positions]
        if int(positions.max()) >= len(table):
            raise ValueError(f"the learned encoding knows {len(table)} positions along {name}, but position "
                             f"{int(positions.max())} was asked for; "
                             "learned encodings do not extrapolate: use encoding='sinusoidal', or smaller frames or a "
                             "shorter clip")
        if self.training:
            self.trained[axis] = self.trained[axis].maximum(positions.max() + 1)
        elif self.trained[axis] > 0:  # rows that no step has seen are noise; the last one that was seen is the nearest
            positions = positions.minimum(self.trained[axis] - 1)
        return table[positions]
