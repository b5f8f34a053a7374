"""Procedural textures of natural statistics: power-law noise, gratings, cells and ramps, mixed and pieced together.

Dead leaves and noise with the power-law spectrum of photographs teach features that transfer (Baradad et al. 2021).
Everything random is drawn by numpy on the CPU; torch only computes, on any device.
"""

import math

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Float

FIELDS = 5  # scalar noise fields a texture: three carry color, one warps, one cuts the pieces
NOISE_TILE = 256  # side of the white noise that all fields of a clip are filtered from
CELLS = 24


def palette(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Base colors (shape, 3): any brightness, mostly dull, now and then vivid, as in photographs."""
    grey = rng.uniform(0.03, 0.97, (*shape, 1))
    vivid = rng.choice([0.05, 0.12, 0.35], (*shape, 1), p=[0.4, 0.35, 0.25])
    return np.clip(grey + vivid * rng.standard_normal((*shape, 3)), 0, 1).astype(np.float32)


def noise_fields(rng: np.random.Generator, count: int, size: int, device: torch.device | str = "cpu") -> Float[Tensor, "count field size size"]:
    """Noise with spectrum |f|^-a, a in 0.4..2.4, stretched along a random direction; mean 0 and deviation 1 each."""
    white = torch.from_numpy(rng.random((FIELDS, min(size, NOISE_TILE), min(size, NOISE_TILE)), dtype=np.float32) - 0.5).to(device)
    spectrum = torch.fft.rfft2(white)
    if size > NOISE_TILE:  # larger fields repeat the tile's phases at double frequencies; the power law hides it
        spectrum = torch.fft.rfft2(white.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :size, :size])
    exponent = rng.uniform(0.4, 2.4, (count, FIELDS))
    exponent[:, -2:] = rng.uniform(1.6, 3.0, (count, 2))  # the fields that warp and cut are smooth
    angle = rng.uniform(0, math.pi, (count, 1)).repeat(FIELDS, 1)
    stretch = np.exp(rng.normal(0, 0.5, (count, 1)).repeat(FIELDS, 1)) * np.where(rng.random((count, 1)) < 0.2, 5.0, 1.0)
    shift = rng.integers(0, size, (count, FIELDS, 2))
    a, s, c, k = (torch.from_numpy(v.astype(np.float32)).to(device)[..., None, None] for v in (exponent, np.sin(angle), np.cos(angle), stretch))
    fy = torch.fft.fftfreq(size, 1 / size, device=device)[:, None]
    fx = torch.fft.rfftfreq(size, 1 / size, device=device)[None]
    along, across = c * fx + s * fy, c * fy - s * fx
    power = along**2 / k + across**2 * k
    phase = torch.from_numpy(shift.astype(np.float32)).to(device)[..., None, None] * (2 * math.pi / size)
    turn = fx * phase[..., 0, :, :] + fy * phase[..., 1, :, :]
    amplitude = (power + 1.0) ** (-a / 2)
    amplitude[..., 0, 0] = 0
    fields = torch.fft.irfft2(spectrum * torch.polar(amplitude, turn), s=(size, size))
    return fields / fields.flatten(-2).std(-1)[..., None, None].clamp_min(1e-9)


def textures(rng: np.random.Generator, count: int, size: int, device: torch.device | str = "cpu") -> Float[Tensor, "count 3 size size"]:
    """Random textures in [0, 1]: each one or two materials, divided by a smooth boundary."""
    def on(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(device)

    fields = noise_fields(rng, count, size, device)
    axis = torch.linspace(-1, 1, size, device=device)
    x, y = axis[None, None, :], axis[None, :, None]
    colors = on(palette(rng, (count, 3)))[..., None, None]
    # noise: brightness mostly, with some color
    contrast = np.exp(rng.uniform(math.log(0.015), math.log(0.25), (count, 1, 1)))
    direction = rng.standard_normal((count, 3, 3)) * 0.4 + np.array([1, 0.5, 0.25])[:, None]
    result = colors[:, 0] + torch.einsum("nfc,nfhw->nchw", on(contrast * direction), fields[:, :3])
    # ramp: slow change across the surface
    heading = rng.uniform(0, 2 * math.pi, (2, count, 1, 1))
    ramp = torch.sigmoid(3 * (x * on(np.cos(heading[0])) + y * on(np.sin(heading[0]))))
    result = torch.lerp(result, colors[:, 1], (ramp * on(rng.choice([0.0, 0.5], (count, 1, 1))))[:, None])
    # gratings: stripes, checks and spots, warped and with hard or soft edges
    frequency = np.exp(rng.uniform(math.log(6), math.log(60), (count, 1, 1)))
    warp = rng.choice([0.0, 0.5, 2.0], (count, 1, 1))
    first = torch.sin(on(frequency) * (x * on(np.cos(heading[1])) + y * on(np.sin(heading[1]))) + on(warp) * fields[:, 3])
    second = torch.sin(on(frequency) * (y * on(np.cos(heading[1])) - x * on(np.sin(heading[1]))) + on(warp) * fields[:, 4])
    checks = on(rng.random((count, 1, 1)) < 0.4)
    wave = torch.lerp(first, first * second, checks) + on(rng.uniform(-0.5, 0.5, (count, 1, 1)))
    share = torch.sigmoid(on(rng.choice([1.5, 12.0], (count, 1, 1))) * wave)
    amount = rng.choice([0.0, 0.3, 0.9], (count, 1, 1), p=[0.6, 0.2, 0.2])
    result = torch.lerp(result, colors[:, 2].expand_as(result), (share * on(amount))[:, None])
    result = _with_cells(rng, result, fields)
    # pieces: the far side of a smooth boundary shows another texture of the same draw
    other = torch.from_numpy(rng.permutation(count)).to(device)
    cut = torch.sigmoid(12 * (fields[:, 4] - on(rng.uniform(-0.3, 3.0, (count, 1, 1)))))
    return torch.lerp(result, result[other], cut[:, None]).clamp_(0, 1)


def _with_cells(rng: np.random.Generator, base: Tensor, fields: Tensor) -> Tensor:
    """Some of the textures divided into Voronoi cells with a color each and dark seams."""
    chosen = np.flatnonzero(rng.random(len(base)) < 0.25)
    if not len(chosen):
        return base
    device, size = base.device, base.shape[-1]
    points = torch.from_numpy(rng.uniform(-1, 1, (len(chosen), 2, CELLS, 1, 1)).astype(np.float32)).to(device)
    tints = torch.from_numpy((rng.standard_normal((len(chosen), CELLS, 3)) * rng.uniform(0.03, 0.3, (len(chosen), 1, 1))).astype(np.float32)).to(device)
    picked = torch.from_numpy(chosen).to(device)
    axis = torch.linspace(-1, 1, size, device=device)
    x = axis[None, None, :] + 0.05 * fields[picked, 3]
    y = axis[None, :, None] + 0.05 * fields[picked, 4]
    distance = (x[:, None] - points[:, 0]) ** 2 + (y[:, None] - points[:, 1]) ** 2
    nearest = distance.argmin(1)
    color = torch.gather(tints.transpose(1, 2), 2, nearest.flatten(1)[:, None].expand(-1, 3, -1)).view(-1, 3, size, size)
    result = base.clone()
    result[picked] = result[picked] + color
    return result
