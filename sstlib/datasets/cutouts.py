"""Pictures that move over a clip: cut-outs with a path, warped and laid over frames, with the exact mask of what is
seen of them.

A layer's pixel (u, v), each in -1..1, lies at center + turn(scale * half * (u * squeeze, v)) of the frame; a slow wave
bends it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from sstlib.shapes import Bool, Float, UInt8

Frames = UInt8[np.ndarray, "time height width 3"]
Labels = UInt8[np.ndarray, "time height width"]


@dataclass(frozen=True)
class Path:
    """Where a layer is in every frame."""

    center: Float[np.ndarray, "time 2"]  # x and y in pixels
    scale: Float[np.ndarray, " time"]
    angle: Float[np.ndarray, " time"]  # radians
    squeeze: Float[np.ndarray, " time"]  # of its width, as of something that turns away
    wave: Float[np.ndarray, "time 2"]  # phases of the bending
    bend: float  # its amplitude, of half the size


@dataclass(frozen=True)
class Layer:
    """A picture with its mask and where it goes."""

    pixels: UInt8[np.ndarray, "rows columns 3"]
    mask: Bool[np.ndarray, "rows columns"]
    half: tuple[float, float]  # half of its width and height in the frame at scale 1, in pixels
    path: Path


def draw_path(rng: np.random.Generator, frames: int, size: tuple[int, int], speed: float, start: Float[np.ndarray, "2"],
              calm: float = 1.0) -> Path:
    """A smooth path from `start`: `speed` pixels a frame, a heading that wanders, turned back at the border, growing,
    turning and bending.

    Args:
        size: height and width of the frame.
        calm: how much less than usual it grows, turns and bends.
    """
    height, width = size
    center, heading = [np.asarray(start, float)], rng.uniform(0, 2 * np.pi)
    for _ in range(frames - 1):
        heading += rng.normal(0, 0.3)
        step = speed * np.exp(rng.normal(0, 0.2)) * np.array([np.cos(heading), np.sin(heading)])
        middle = center[-1] + step
        outside = (middle < 0) | (middle > (width, height))
        middle = np.where(outside, center[-1] - step, middle)
        heading = np.arctan2(*(middle - center[-1])[::-1])
        center.append(middle)
    time = np.arange(frames) / max(frames - 1, 1)
    growth = rng.normal(0, 0.35) * calm if rng.random() < 0.8 else rng.choice([-1, 1]) * rng.uniform(0.5, 1.1) * calm
    turning = rng.normal(0, 0.25) * calm
    squeeze = 1 - calm * (0.6 * rng.random() if rng.random() < 0.3 else 0.15 * rng.random()) * np.sin(
        np.pi * rng.uniform(0.3, 1) * time)**2
    wave = rng.uniform(0, 2 * np.pi, 2) + np.arange(frames)[:, None] * rng.uniform(-0.7, 0.7, 2)
    return Path(np.stack(center), np.exp(growth * (time - rng.choice([0, 1]))),
                rng.normal(0, 0.2) * calm + turning * time, squeeze, wave, float(rng.uniform(0, 0.12) * calm))


def warped(layer: Layer, size: tuple[int, int], padding: str = "zeros"
           ) -> tuple[Float[torch.Tensor, "time 3 height width"], Float[torch.Tensor, "time height width"]]:
    """Pixels in 0..255, and how much each is covered, for every frame."""
    height, width = size
    path = layer.path
    largest = np.array(layer.half) * 2 * path.scale.max()
    columns, rows = (max(2, int(np.ceil(x))) for x in largest)
    picture, mask = Image.fromarray(layer.pixels), Image.fromarray(layer.mask.astype(np.uint8) * 255)
    # Averaged where it shrinks, so that nothing flickers
    if rows < layer.mask.shape[0] or columns < layer.mask.shape[1]:
        shape = min(columns, picture.width), min(rows, picture.height)
        picture, mask = picture.resize(shape, Image.Resampling.BOX), mask.resize(shape, Image.Resampling.BOX)
    source = torch.from_numpy(np.dstack([picture, mask])).permute(2, 0, 1).float()
    grid = _grid(path, layer.half, height, width)
    sampled = F.grid_sample(source[None].expand(len(grid), -1, -1, -1), grid, "bilinear", padding, align_corners=False)
    # Color beyond the picture's border is black; divided by what lies within, it goes on.
    within = 1.0
    if padding == "zeros":
        within = F.grid_sample(
            torch.ones_like(source[None, :1]).expand(len(grid), -1, -1, -1), grid, "bilinear", padding,
            align_corners=False)
        sampled = torch.cat([sampled[:, :3] / within.clamp(min=1e-3), sampled[:, 3:]], 1)
    return sampled[:, :3], sampled[:, 3] / 255


def _grid(path: Path, half: tuple[float, float], height: int, width: int) -> Float[torch.Tensor, "time height width 2"]:
    """Where each pixel of the frames comes from, in -1..1."""
    column = lambda values: torch.from_numpy(np.asarray(values, np.float32)).view(-1, 1, 1)  # noqa: E731
    x = torch.arange(width).float().view(1, 1, -1) + 0.5 - column(path.center[:, 0])
    y = torch.arange(height).float().view(1, -1, 1) + 0.5 - column(path.center[:, 1])
    cos, sin = column(np.cos(path.angle)), column(np.sin(path.angle))
    u = (cos * x + sin * y) / column(half[0] * path.scale * path.squeeze)
    v = (cos * y - sin * x) / column(half[1] * path.scale)
    bent = u + path.bend * torch.sin(2.5 * v + column(path.wave[:, 0])), v + path.bend * torch.sin(
        2.5 * u + column(path.wave[:, 1]))
    return torch.stack(bent, -1)


def lay(frames: Float[torch.Tensor, "time 3 height width"], labels: Labels, layer: Layer, identity: int,
        light: float = 1.0) -> Bool[np.ndarray, "time height width"]:
    """Lays a layer over the frames and its identity over the labels, in place; tells which pixels are its own."""
    pixels, covered = warped(layer, labels.shape[1:])
    frames.lerp_(pixels * light, covered[:, None])
    own = covered.numpy() > 0.5
    labels[own] = identity
    return own
