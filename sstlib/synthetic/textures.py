"""Procedural textures of natural statistics: power-law noise, gratings, cells and ramps, mixed and pieced together.

Dead leaves and noise with the power-law spectrum of photographs teach features that transfer (Baradad et al. 2021).
Everything random is drawn by numpy on the CPU; torch only computes, on any device. All textures tile seamlessly.
"""

import math

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Float

FIELDS = 3  # scalar noise fields a texture: brightness, color, and a smooth one that warps and cuts
CELLS = 14


def to_device(values: np.ndarray, device: torch.device | str) -> Tensor:
    """Drawn numbers as float32 where they are computed with."""
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)


def base_colors(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Base colors (shape, 3): any brightness, mostly dull, now and then vivid, as in photographs."""
    grey = rng.uniform(0.03, 0.97, (*shape, 1))
    vivid = rng.choice([0.04, 0.09, 0.3], (*shape, 1), p=[0.45, 0.35, 0.2])
    warmth = np.array([0.6, 0.0, -0.8]) * rng.normal(0, 0.06, (*shape, 1))
    return np.clip(grey + vivid * rng.standard_normal((*shape, 3)) + warmth, 0, 1)


def noise_fields(
    rng: np.random.Generator, count: int, size: int, device: torch.device | str = "cpu", fields: int = FIELDS
) -> Float[Tensor, "count field size size"]:
    """Periodic noise with spectrum |f|^-a, stretched along a random direction; mean 0, deviation 1.

    The exponent a is 0.8..2.4 in amplitude (photographs have about 1); the last field's is 1.8..3, which is smooth.
    """
    white = torch.from_numpy(rng.random((fields, size, size), dtype=np.float32) - 0.5).to(device)
    exponent = rng.uniform(0.8, 2.4, (count, fields, 1, 1))
    exponent[:, -1] = rng.uniform(1.8, 3.0, (count, 1, 1))
    angle = rng.uniform(0, math.pi, (count, 1, 1))
    stretch = np.exp(rng.normal(0, 0.5, (count, 1, 1))) * np.where(rng.random((count, 1, 1)) < 0.15, 5.0, 1.0)
    c, s, k = (to_device(v, device) for v in (np.cos(angle), np.sin(angle), stretch))
    fy = torch.fft.fftfreq(size, 1 / size, device=device)[:, None]
    fx = torch.fft.rfftfreq(size, 1 / size, device=device)[None]
    along, across = c * fx + s * fy, c * fy - s * fx
    power = torch.addcmul(along.square_().div_(k), across.square_(), k)
    power[:, 0, 0] = torch.inf
    amplitude = torch.exp_(to_device(-exponent / 2, device) * torch.log_(power.add_(0.5))[:, None])
    result = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(size, size))
    result *= size / torch.linalg.vector_norm(result, dim=(-2, -1), keepdim=True).clamp_min(1e-9)
    for n, (y, x) in enumerate(
        rng.integers(0, size, (count, 2))
    ):  # one white noise serves all, each from another place
        result[n] = torch.roll(result[n], (int(y), int(x)), (-2, -1))
    return result


def textures(
    rng: np.random.Generator, count: int, size: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "count 3 size size"]:
    """Random textures in [0, 1]: each of one or two materials, divided by a smooth boundary."""
    fields = noise_fields(rng, count, size, device)
    colors = to_device(base_colors(rng, (count, 3)), device)[..., None, None]
    contrast = np.exp(rng.uniform(math.log(0.012), math.log(0.2), (count, 1, 1)))
    direction = rng.standard_normal((count, 3, 2)) * np.array([0.25, 0.6]) + np.array([1.0, 0.0])
    mixing = to_device(contrast * direction, device)
    result = colors[:, 0] + (mixing @ fields[:, :2].flatten(2)).view(count, 3, size, size)
    along, wave = _waves(rng, count, size, fields[:, -1])
    ramp = to_device(rng.choice([0.0, 0.6], (count, 1, 1), p=[0.5, 0.5]), device)
    result = result + (colors[:, 1] - colors[:, 0]) * (along * ramp)[:, None]
    amount = to_device(rng.choice([0.0, 0.3, 0.9], (count, 1, 1), p=[0.6, 0.2, 0.2]), device)
    result = torch.lerp(result, colors[:, 2].expand_as(result), (wave * amount)[:, None])
    result = _with_cells(rng, result, fields[:, -1])
    # pieces: the far side of a smooth boundary shows another texture of the same draw
    other = torch.from_numpy(rng.permutation(count)).to(device)
    cut = torch.sigmoid(12 * (fields[:, -1] - to_device(rng.uniform(-0.3, 3.0, (count, 1, 1)), device)))
    return torch.lerp(result, result[other], cut[:, None]).clamp_(0, 1)


def _waves(rng: np.random.Generator, count: int, size: int, warp: Tensor) -> tuple[Tensor, Tensor]:
    """A slow ramp and a grating, stripes or checks with soft or hard edges, each in [0, 1] and periodic."""
    device = warp.device
    axis = torch.linspace(-math.pi, math.pi, size + 1, device=device)[:-1]
    x, y = axis[None, None, :], axis[None, :, None]
    slow = to_device(rng.integers(-1, 2, (2, count, 1, 1)), device)
    along = 0.5 + 0.5 * torch.sin(slow[0] * x + slow[1] * y + to_device(rng.uniform(0, 6.28, (count, 1, 1)), device))
    frequency = np.exp(rng.uniform(math.log(2), math.log(16), count))
    heading = rng.uniform(0, 2 * math.pi, count)
    a, b = (to_device(np.round(frequency * turn)[:, None, None], device) for turn in (np.cos(heading), np.sin(heading)))
    bent = warp * to_device(rng.choice([0.0, 0.5, 2.0], (count, 1, 1)), device)
    first, second = torch.sin(a * x + b * y + bent), torch.sin(a * y - b * x + bent)
    checks = to_device(rng.random((count, 1, 1)) < 0.4, device)
    wave = torch.lerp(first, first * second, checks) + to_device(rng.uniform(-0.5, 0.5, (count, 1, 1)), device)
    return along, torch.sigmoid(to_device(rng.choice([1.5, 12.0], (count, 1, 1)), device) * wave)


def _with_cells(rng: np.random.Generator, base: Tensor, warp: Tensor) -> Tensor:
    """Some of the textures divided into Voronoi cells, each brighter or darker in its own way."""
    chosen = np.flatnonzero(rng.random(len(base)) < 0.25)
    if not len(chosen):
        return base
    device, size = base.device, base.shape[-1]
    points = to_device(rng.uniform(-1, 1, (len(chosen), CELLS, 2, 1, 1)), device)
    tints = to_device(
        rng.standard_normal((len(chosen), CELLS, 3)) * rng.uniform(0.03, 0.3, (len(chosen), 1, 1)), device
    )
    axis = torch.linspace(-1, 1, size // 2, device=device)
    bent = 0.06 * torch.nn.functional.avg_pool2d(warp[torch.from_numpy(chosen).to(device)][:, None], 2)[:, 0]
    x, y = axis[None, None, :] + bent, axis[None, :, None] - bent
    nearest, label = None, torch.zeros(len(chosen), size // 2, size // 2, dtype=torch.int64, device=device)
    for cell in range(CELLS):
        dx, dy = (x - points[:, cell, 0]).abs_(), (y - points[:, cell, 1]).abs_()
        distance = torch.minimum(dx, 2 - dx).square_().add_(torch.minimum(dy, 2 - dy).square_())
        if nearest is None:
            nearest = distance
            continue
        label.masked_fill_(distance < nearest, cell)
        nearest = torch.minimum(nearest, distance)
    color = torch.gather(tints.transpose(1, 2), 2, label.flatten(1)[:, None].expand(-1, 3, -1)).view(
        -1, 3, size // 2, size // 2
    )
    result = base.clone()
    result[torch.from_numpy(chosen).to(device)] += torch.nn.functional.interpolate(
        color, size=(size, size), mode="bilinear"
    )
    return result
