"""Random outlines as level fields on [-1, 1]^2: positive inside, in units of that square, negative outside."""

import math

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Float
from sstlib.synthetic.textures import Draws, joined, to_device

KINDS = ("blob", "polygon", "body", "thin", "rough")
COVER = "cover"  # compact, so that it hides much for its size
HARMONICS = 7
SEGMENTS = 7


def draw_silhouettes(rng: np.random.Generator, kinds: list[str]) -> dict[str, Draws]:
    """What `silhouettes` needs for the outlines of one clip, by kind; `at` is where they stand among the clip's."""
    drawn = {}
    for kind in (*KINDS, COVER):
        at = np.array([i for i, given in enumerate(kinds) if given == kind], int)
        if len(at):
            draw = _draw_capsules if kind in ("body", "thin") else _draw_radial
            drawn[kind] = draw(rng, len(at), kind) | {"at": at}
    return drawn


def silhouettes(
    draws: list[dict[str, Draws]], rough: Float[Tensor, "some size size"]
) -> Float[Tensor, "count size size"]:
    """Level fields of the outlines of several clips; `rough` are noises of deviation 1 that fray the rough ones."""
    device, size = rough.device, rough.shape[-1]
    axis = torch.linspace(-1, 1, size, device=device)
    x, y = axis[None, None, :], axis[None, :, None]
    counts = [sum(len(drawn["at"]) for drawn in clip.values()) for clip in draws]
    firsts = np.cumsum([0, *counts])
    level = torch.empty(int(firsts[-1]), size, size, device=device)
    for kinds, outlines in ((("blob", "rough", COVER), _wavy), (("polygon",), _polygons),
                            (("body", "thin"), _capsules)):
        members = [(first, clip[kind]) for first, clip in zip(firsts, draws) for kind in kinds if kind in clip]
        if members:
            at = np.concatenate([first + drawn["at"] for first, drawn in members])
            level[torch.from_numpy(at).to(device)] = outlines([drawn for _, drawn in members], x, y)
    frayed = [(n, clip["rough"]["at"]) for n, clip in enumerate(draws) if "rough" in clip]
    if frayed:
        each = len(rough) // len(draws)
        noise = np.concatenate([n * each + at % each for n, at in frayed])
        at = np.concatenate([firsts[n] + at for n, at in frayed])
        level[torch.from_numpy(at).to(device)] += 0.12 * rough[torch.from_numpy(noise).to(device)]
    # nothing touches the sprite's border, so that what lies outside the sprite is outside the outline
    return torch.minimum(level, 0.9 - torch.maximum(x.abs(), y.abs()))


def _draw_radial(rng: np.random.Generator, count: int, kind: str) -> Draws:
    aspect = np.exp(rng.uniform(-0.7, 0.7, (count, 1, 1)) * (0.3 if kind == COVER else 1))
    if kind == "polygon":
        sides = rng.integers(3, 8, (count, 1, 1))
        return {"aspect": aspect, "step": 2 * math.pi / sides, "turn": rng.uniform(0, 6.28, (count, 1, 1))}
    order = np.arange(1, HARMONICS + 1)
    size = rng.normal(0, 1, (count, HARMONICS)) * rng.uniform(0.05, 0.1 if kind == COVER else 0.3, (count, 1)) / order
    return {"aspect": aspect, "size": size, "phase": rng.uniform(0, 2 * math.pi, (count, HARMONICS))}


def _polar(draws: list[Draws], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    aspect = to_device(joined(draws, "aspect"), x.device)
    u, v = x * aspect.clamp_min(1), y / aspect.clamp_max(1)
    return torch.sqrt(u * u + v * v), torch.atan2(v, u)


def _polygons(draws: list[Draws], x: Tensor, y: Tensor) -> Tensor:
    """Outlines with straight sides."""
    radius, angle = _polar(draws, x, y)
    step, turn = (to_device(joined(draws, key), x.device) for key in ("step", "turn"))
    local = torch.remainder(angle + turn, step) - step / 2
    return 0.9 * torch.cos(step / 2) - radius * torch.cos(local) + 0.1


def _wavy(draws: list[Draws], x: Tensor, y: Tensor) -> Tensor:
    """Outlines given by their radius over the angle: Fourier blobs."""
    radius, angle = _polar(draws, x, y)
    size, phase = (to_device(joined(draws, key), x.device)[..., None, None] for key in ("size", "phase"))
    outline = torch.full_like(radius, 0.68)
    for k in range(HARMONICS):
        outline = outline + size[:, k] * torch.cos((k + 1) * angle + phase[:, k])
    return outline.clamp_min(0.12) - radius


def _draw_capsules(rng: np.random.Generator, count: int, kind: str) -> Draws:
    """Thick segments: a trunk with limbs, or one long thin curve."""
    ends = np.zeros((count, SEGMENTS, 2, 2))
    radii = np.zeros((count, SEGMENTS))
    for n in range(count):
        if kind == "thin":
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
    return {"ends": ends, "radii": radii}


def _capsules(draws: list[Draws], x: Tensor, y: Tensor) -> Tensor:
    """Unions of thick segments."""
    segment, width = (to_device(joined(draws, key), x.device) for key in ("ends", "radii"))
    level = None
    for k in range(SEGMENTS):
        a, d = segment[:, k, 0], segment[:, k, 1] - segment[:, k, 0]
        px, py = x - a[:, 0, None, None], y - a[:, 1, None, None]
        dx, dy = d[:, 0, None, None], d[:, 1, None, None]
        along = ((px * dx + py * dy) / (dx * dx + dy * dy).clamp_min(1e-6)).clamp(0, 1)
        capsule = width[:, k, None, None] - torch.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2 + 1e-12)
        level = capsule if level is None else torch.maximum(level, capsule)
    return level
