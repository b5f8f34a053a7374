"""Random outlines as level fields on [-1, 1]^2: positive inside, in units of that square, negative outside."""

import math

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Float
from sstlib.synthetic.textures import to_device

KINDS = ("blob", "polygon", "body", "thin", "rough")
COVER = "cover"  # compact, so that it hides much for its size
HARMONICS = 7
SEGMENTS = 7


def silhouettes(
    rng: np.random.Generator, kinds: list[str], size: int, rough: Float[Tensor, "some size size"]
) -> Float[Tensor, "count size size"]:
    """Level fields of outlines of the given kinds; `rough` are noises of deviation 1 that fray the rough ones."""
    device = rough.device
    axis = torch.linspace(-1, 1, size, device=device)
    x, y = axis[None, None, :], axis[None, :, None]
    level = torch.empty(len(kinds), size, size, device=device)
    members = {kind: [i for i, given in enumerate(kinds) if given == kind] for kind in (*KINDS, COVER)}
    for kind, indices in members.items():
        if not indices:
            continue
        if kind in ("body", "thin"):
            level[indices] = _capsules(rng, len(indices), kind == "thin", x, y)
        else:
            level[indices] = _radial(rng, len(indices), kind, x, y)
        if kind == "rough":
            level[indices] += 0.12 * rough[[i % len(rough) for i in indices]]
    # nothing touches the sprite's border, so that what lies outside the sprite is outside the outline
    return torch.minimum(level, 0.9 - torch.maximum(x.abs(), y.abs()))


def _radial(rng: np.random.Generator, count: int, kind: str, x: Tensor, y: Tensor) -> Tensor:
    """Outlines given by their radius over the angle: Fourier blobs, or polygons with straight sides."""
    aspect = to_device(np.exp(rng.uniform(-0.7, 0.7, (count, 1, 1)) * (0.3 if kind == COVER else 1)), x.device)
    u, v = x * aspect.clamp_min(1), y / aspect.clamp_max(1)
    radius = torch.sqrt(u * u + v * v)
    angle = torch.atan2(v, u)
    if kind == "polygon":
        sides = rng.integers(3, 8, (count, 1, 1))
        step = to_device(2 * math.pi / sides, x.device)
        turned = angle + to_device(rng.uniform(0, 6.28, (count, 1, 1)), x.device)
        local = torch.remainder(turned, step) - step / 2
        return 0.9 * torch.cos(step / 2) - radius * torch.cos(local) + 0.1
    order = np.arange(1, HARMONICS + 1)
    size = rng.normal(0, 1, (count, HARMONICS)) * rng.uniform(0.05, 0.1 if kind == COVER else 0.3, (count, 1)) / order
    phase = rng.uniform(0, 2 * math.pi, (count, HARMONICS))
    outline = torch.full_like(radius, 0.68)
    for k in range(HARMONICS):
        a, p = (to_device(v[:, k, None, None], x.device) for v in (size, phase))
        outline = outline + a * torch.cos((k + 1) * angle + p)
    return outline.clamp_min(0.12) - radius


def _capsules(rng: np.random.Generator, count: int, thin: bool, x: Tensor, y: Tensor) -> Tensor:
    """Unions of thick segments: a trunk with limbs, or one long thin curve."""
    ends = np.zeros((count, SEGMENTS, 2, 2))
    radii = np.zeros((count, SEGMENTS))
    for n in range(count):
        if thin:
            heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.6, SEGMENTS))
            joints = np.concatenate(
                [np.zeros((1, 2)), np.cumsum(0.27 * np.stack([np.cos(heading), np.sin(heading)], 1), 0)]
            )
            joints = joints - (joints.max(0) + joints.min(0)) / 2
            joints *= 0.85 / max(np.abs(joints).max(), 0.3)
            ends[n] = np.stack([joints[:-1], joints[1:]], 1)
            radii[n] = rng.uniform(0.05, 0.1)
        else:
            trunk = rng.uniform(-0.25, 0.25, (2, 2)) + np.array([[0, -0.3], [0, 0.3]])
            for k in range(SEGMENTS):
                start = trunk[0] + (trunk[1] - trunk[0]) * rng.random()
                reach, turn = rng.uniform(0.35, 0.6), rng.uniform(0, 2 * math.pi)
                ends[n, k] = trunk if k == 0 else (start, start + reach * np.array([math.cos(turn), math.sin(turn)]))
                radii[n, k] = rng.uniform(0.2, 0.35) if k == 0 else rng.uniform(0.07, 0.17)
    segment = to_device(ends, x.device)
    width = to_device(radii, x.device)
    level = None
    for k in range(SEGMENTS):
        a, d = segment[:, k, 0], segment[:, k, 1] - segment[:, k, 0]
        px, py = x - a[:, 0, None, None], y - a[:, 1, None, None]
        dx, dy = d[:, 0, None, None], d[:, 1, None, None]
        along = ((px * dx + py * dy) / (dx * dx + dy * dy).clamp_min(1e-6)).clamp(0, 1)
        here = width[:, k, None, None] - torch.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2 + 1e-12)
        level = here if level is None else torch.maximum(level, here)
    return level
