"""Procedural textures of natural statistics: power-law noise, gratings, cells and ramps, mixed and pieced together.

Dead leaves and noise with the power-law spectrum of photographs teach features that transfer (Baradad et al. 2021).
Everything random is drawn by numpy on the CPU; torch only computes, on any device, and for many clips at once: what
`draw_...` drew for each is joined along its first axis. All textures tile seamlessly.
"""

import math

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Float, Int, Shaped

FIELDS = 3  # scalar noise fields a texture: brightness, color, and a smooth one that warps and cuts
CELLS = 14

Draws = dict[str, np.ndarray]


def to_device(values: Shaped[np.ndarray, "..."], device: torch.device | str) -> Tensor:
    """Drawn numbers as float32 where they are computed with."""
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)


def base_colors(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Base colors (shape, 3): any brightness, mostly dull, now and then vivid, as in photographs."""
    gray = rng.uniform(0.03, 0.97, (*shape, 1))
    vivid = rng.choice([0.04, 0.09, 0.3], (*shape, 1), p=[0.45, 0.35, 0.2])
    warmth = np.array([0.6, 0.0, -0.8]) * rng.normal(0, 0.06, (*shape, 1))
    return np.clip(gray + vivid * rng.standard_normal((*shape, 3)) + warmth, 0, 1)


def joined(draws: list[Draws], key: str) -> np.ndarray:
    """What was drawn for several clips, one after another."""
    return np.concatenate([drawn[key] for drawn in draws])


def gathered(values: Shaped[Tensor, "image channel height width"], rows: Int[Tensor, "image height"],
             columns: Int[Tensor, "image width"]) -> Tensor:
    """Images put together anew from their own rows and columns."""
    values = values.gather(2, rows[:, None, :, None].expand_as(values))
    return values.gather(3, columns[:, None, None, :].expand_as(values))


def rolled(values: Shaped[Tensor, "image channel height width"], shifts: Shaped[np.ndarray, "image 2"]) -> Tensor:
    """Images rolled, each by its own rows and columns: one by one on a CPU, by one gather where launches cost."""
    if values.device.type == "cpu":
        return torch.stack(
            [torch.roll(value, shift, (1, 2)) for value, shift in zip(values, shifts.tolist(), strict=True)])
    places = (np.arange(size) - shift[:, None] for size, shift in zip(values.shape[2:], shifts.T, strict=True))
    rows, columns = (
        torch.from_numpy(place % size).to(values.device) for place, size in zip(places, values.shape[2:], strict=True)
    )
    return gathered(values, rows, columns)


def draw_noise(rng: np.random.Generator, count: int, size: int, fields: int = FIELDS) -> Draws:
    """What `noise_fields` needs for `count` textures of one clip, which share one white noise, each from another place.

    The exponent of the spectrum |f|^-a is 0.8..2.4 in amplitude (photographs have about 1); the last field's is 1.8..3,
    which is smooth.
    """
    white = rng.random((1, fields, size, size), dtype=np.float32) - 0.5
    exponent = rng.uniform(0.8, 2.4, (count, fields, 1, 1))
    exponent[:, -1] = rng.uniform(1.8, 3.0, (count, 1, 1))
    angle = rng.uniform(0, math.pi, (count, 1, 1))
    stretch = np.exp(rng.normal(0, 0.5, (count, 1, 1))) * np.where(rng.random((count, 1, 1)) < 0.15, 5.0, 1.0)
    shift = rng.integers(0, size, (count, 2))
    return {"white": white, "exponent": exponent, "angle": angle, "stretch": stretch, "shift": shift}


def noise_fields(draws: list[Draws], device: torch.device | str = "cpu") -> Float[Tensor, "count field size size"]:
    """Periodic noise with spectrum |f|^-a, stretched along a random direction; mean 0, deviation 1."""
    white = to_device(joined(draws, "white"), device)
    size = white.shape[-1]
    angle = joined(draws, "angle")
    c, s, k = (to_device(v, device) for v in (np.cos(angle), np.sin(angle), joined(draws, "stretch")))
    fy = torch.fft.fftfreq(size, 1 / size, device=device)[:, None]
    fx = torch.fft.rfftfreq(size, 1 / size, device=device)[None]
    along, across = c * fx + s * fy, c * fy - s * fx
    power = torch.addcmul(along.square_().div_(k), across.square_(), k)
    power[:, 0, 0] = torch.inf
    amplitude = torch.exp_(to_device(-joined(draws, "exponent") / 2, device) * torch.log_(power.add_(0.5))[:, None])
    spectrum = torch.fft.rfft2(white)
    if len(draws) > 1:
        clip = np.repeat(np.arange(len(draws)), [len(drawn["shift"]) for drawn in draws])
        spectrum = spectrum[torch.from_numpy(clip).to(device)]
    result = torch.fft.irfft2(spectrum * amplitude, s=(size, size))
    result *= size / torch.linalg.vector_norm(result, dim=(-2, -1), keepdim=True).clamp_min(1e-9)
    return rolled(result, joined(draws, "shift"))


def draw_textures(rng: np.random.Generator, count: int, size: int) -> Draws:
    """What `textures` needs for `count` textures of one clip."""
    drawn = draw_noise(rng, count, size)
    drawn["colors"] = base_colors(rng, (count, 3))
    contrast = np.exp(rng.uniform(math.log(0.012), math.log(0.2), (count, 1, 1)))
    drawn["mixing"] = contrast * (rng.standard_normal((count, 3, 2)) * np.array([0.25, 0.6]) + np.array([1.0, 0.0]))
    drawn["slow"] = rng.integers(-1, 2, (2, count, 1, 1)).swapaxes(0, 1)
    drawn["phase"] = rng.uniform(0, 6.28, (count, 1, 1))
    frequency = np.exp(rng.uniform(math.log(2), math.log(16), (count, 1, 1)))
    heading = rng.uniform(0, 2 * math.pi, (count, 1, 1))
    drawn["grating"] = np.stack([np.round(frequency * np.cos(heading)), np.round(frequency * np.sin(heading))], 1)
    drawn["bent"] = rng.choice([0.0, 0.5, 2.0], (count, 1, 1))
    drawn["checks"] = rng.random((count, 1, 1)) < 0.4
    drawn["level"] = rng.uniform(-0.5, 0.5, (count, 1, 1))
    drawn["edge"] = rng.choice([1.5, 12.0], (count, 1, 1))
    drawn["ramp"] = rng.choice([0.0, 0.6], (count, 1, 1), p=[0.5, 0.5])
    drawn["amount"] = rng.choice([0.0, 0.3, 0.9], (count, 1, 1), p=[0.6, 0.2, 0.2])
    drawn["celled"] = rng.random(count) < 0.25
    cells = int(drawn["celled"].sum())
    drawn["points"] = rng.uniform(-1, 1, (cells, CELLS, 2, 1, 1))
    drawn["tints"] = rng.standard_normal((cells, CELLS, 3)) * rng.uniform(0.03, 0.3, (cells, 1, 1))
    drawn["other"] = rng.permutation(count)
    drawn["cut"] = rng.uniform(-0.3, 3.0, (count, 1, 1))
    return drawn


def textures(draws: list[Draws], device: torch.device | str = "cpu") -> Float[Tensor, "count 3 size size"]:
    """Random textures in [0, 1]: each of one or two materials, divided by a smooth boundary."""
    fields = noise_fields(draws, device)
    count, _, size, _ = fields.shape
    colors = to_device(joined(draws, "colors"), device)[..., None, None]
    mixing = to_device(joined(draws, "mixing"), device)
    result = colors[:, 0] + (mixing @ fields[:, :2].flatten(2)).view(count, 3, size, size)
    along, wave = _waves(draws, fields[:, -1])
    result = result + (colors[:, 1] - colors[:, 0]) * (along * to_device(joined(draws, "ramp"), device))[:, None]
    amount = (wave * to_device(joined(draws, "amount"), device))[:, None]
    result = _with_cells(draws, torch.lerp(result, colors[:, 2].expand_as(result), amount), fields[:, -1])
    # pieces: the far side of a smooth boundary shows another texture of the same draw
    firsts = np.cumsum([0, *(len(drawn["other"]) for drawn in draws[:-1])])
    other = np.concatenate([first + drawn["other"] for first, drawn in zip(firsts, draws, strict=True)])
    cut = torch.sigmoid(12 * (fields[:, -1] - to_device(joined(draws, "cut"), device)))
    return torch.lerp(result, result[torch.from_numpy(other).to(device)], cut[:, None]).clamp_(0, 1)


def _waves(draws: list[Draws], warp: Tensor) -> tuple[Tensor, Tensor]:
    """A slow ramp and a grating, stripes or checks with soft or hard edges, each in [0, 1] and periodic."""
    slow, phase, grating, bent, checks, level, edge = (
        to_device(joined(draws, key), warp.device)
        for key in ("slow", "phase", "grating", "bent", "checks", "level", "edge")
    )
    axis = torch.linspace(-math.pi, math.pi, warp.shape[-1] + 1, device=warp.device)[:-1]
    x, y = axis[None, None, :], axis[None, :, None]
    along = 0.5 + 0.5 * torch.sin(slow[:, 0] * x + slow[:, 1] * y + phase)
    a, b, bent = grating[:, 0], grating[:, 1], warp * bent
    first, second = torch.sin(a * x + b * y + bent), torch.sin(a * y - b * x + bent)
    return along, torch.sigmoid(edge * (torch.lerp(first, first * second, checks) + level))


def _with_cells(draws: list[Draws], base: Tensor, warp: Tensor) -> Tensor:
    """Some of the textures divided into Voronoi cells, each brighter or darker in its own way."""
    chosen = np.flatnonzero(joined(draws, "celled"))
    if not len(chosen):
        return base
    device, size = base.device, base.shape[-1]
    chosen = torch.from_numpy(chosen).to(device)
    points, tints = (to_device(joined(draws, key), device) for key in ("points", "tints"))
    axis = torch.linspace(-1, 1, size // 2, device=device)
    bent = 0.06 * torch.nn.functional.avg_pool2d(warp[chosen][:, None], 2)[:, 0]
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
    result[chosen] += torch.nn.functional.interpolate(color, size=(size, size), mode="bilinear")
    return result
