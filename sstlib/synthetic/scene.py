"""Everything random about a clip, drawn from its seed on the CPU: sprites, placements, order, light."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sstlib.synthetic import motion
from sstlib.synthetic.silhouettes import KINDS, silhouettes
from sstlib.synthetic.spec import ClipSpec
from sstlib.synthetic.textures import noise_fields, textures

BACKGROUND_REACH = 1.3  # the background's half width, in half widths of the frame


@dataclass
class Scene:
    """A clip before it is drawn. Movers are things with a depth of their own; a mover has one or more layers.

    Attributes:
        background: its texture (3, size, size), over [-1, 1]^2.
        ground: placements (frames, 3, 3) of the background, in pixels.
        sprites: red, green, blue and level (layer, 4, size, size), over [-1, 1]^2; farthest layer first.
        placements: (layer, frames, 3, 3), in pixels.
        bends: (layer, frames, 2, 3), see `motion.bending`.
        mover: index of each layer's mover.
        ids: label of each mover, 0 for the unlabelled; the farthest mover is the first.
        gain: light a frame and channel (frames, 3).
        tile: sensor noise of deviation 1 and where each frame takes it from.
    """

    spec: ClipSpec
    background: Tensor
    ground: np.ndarray
    sprites: Tensor
    placements: np.ndarray
    bends: np.ndarray
    mover: np.ndarray
    ids: np.ndarray
    gain: np.ndarray
    tile: Tensor
    tile_corner: np.ndarray


def draw_scene(spec: ClipSpec, seed: int | tuple[int, ...], device: torch.device | str = "cpu") -> Scene:
    """Draws all that is random about a clip."""
    rng = np.random.default_rng(seed)
    movers = spec.objects + spec.distractors
    limbs = [int(rng.integers(1, 4)) if rng.random() < 0.25 + 0.25 * spec.deformation else 0 for _ in range(movers)]
    sprites = _sprites(rng, spec, limbs, device)
    view = motion.camera(rng, spec)
    to_pixels = np.array([[spec.height, 0, spec.width / 2], [0, spec.height, spec.height / 2], [0, 0, 1.0]])
    layers: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    order = rng.permutation(movers)
    for depth, who in enumerate(order):
        for sprite, placed, bend in _mover_layers(rng, spec, int(who), limbs):
            layers.append((depth, sprite, to_pixels @ view @ placed, bend))
    ids = np.where(order < spec.objects, order + 1, 0)
    reach = BACKGROUND_REACH * max(spec.width / spec.height, 1) / 2
    ground = to_pixels @ view @ np.diag([reach, reach, 1.0])[None]
    size = 2 ** math.ceil(math.log2(max(spec.width, spec.height)))
    drift = np.stack([motion.wander(rng, spec.frames, 0.25 * spec.appearance) for _ in range(3)], 1)
    gain = np.exp(0.3 * drift + 0.7 * drift.mean(1, keepdims=True))
    pad = 16
    tile = torch.from_numpy(rng.standard_normal((3, spec.height + pad, spec.width + pad), dtype=np.float32)).to(device)
    return Scene(spec, _background(rng, size, device), ground, sprites[[s for _, s, _, _ in layers]],
                 np.stack([p for _, _, p, _ in layers]), np.stack([b for _, _, _, b in layers]), np.array([d for d, _, _, _ in layers]),
                 ids, gain / gain[0], tile, rng.integers(0, pad, (spec.frames, 2)))


def _sprites(rng: np.random.Generator, spec: ClipSpec, limbs: list[int], device: torch.device | str) -> Tensor:
    """One sprite a mover, then one a mover for its limbs; distractors are mixed towards object 1 by `spec.likeness`."""
    movers = len(limbs)
    size = max(32, 2 ** math.ceil(math.log2(0.5 * spec.height)))
    color = textures(rng, 2 * movers, size, device)
    for m in range(movers):  # limbs look like their body or have another color
        if rng.random() < 0.6:
            color[movers + m] = color[m]
    for m in range(spec.objects, movers):
        color[m] = spec.likeness * color[0] + (1 - spec.likeness) * color[m]
        color[movers + m] = spec.likeness * color[movers] + (1 - spec.likeness) * color[movers + m]
    rough = noise_fields(rng, 1, size, device)[0, :4]
    kinds = [str(kind) for kind in rng.choice(KINDS, movers, p=[0.3, 0.15, 0.3, 0.1, 0.15])] + ["blob"] * movers
    level = silhouettes(rng, kinds, size, rough[torch.arange(2 * movers) % 4])
    axis = torch.linspace(-1, 1, size, device=device)
    shading = torch.from_numpy((rng.normal(0, 0.12, (2 * movers, 2, 1, 1))).astype(np.float32)).to(device)
    color = color * (1 + shading[:, :1] * axis[None, None, None, :] + shading[:, 1:] * axis[None, None, :, None])
    return torch.cat([color.clamp(0, 1), level[:, None]], 1)


def _mover_layers(rng: np.random.Generator, spec: ClipSpec, who: int, limbs: list[int]):
    """(sprite, placements, bends) of a mover's layers: its body and limbs that swing about joints on it."""
    radius = spec.size / 100 * math.exp(rng.normal(0, 0.25))
    body = motion.own_motion(rng, spec, radius, motion.path(rng, spec, radius))
    layers = [(who, body, motion.bending(rng, spec, spec.frames))]
    for _ in range(limbs[who]):
        around = rng.uniform(0, 2 * math.pi)
        joint = rng.uniform(0.2, 0.55) * np.array([math.cos(around), math.sin(around)])
        swing = around + motion.wander(rng, spec.frames, 0.6 * spec.deformation)
        length, width = rng.uniform(0.3, 0.6), rng.uniform(0.12, 0.25)
        limb = motion.placement(np.tile(joint, (spec.frames, 1)), swing, np.tile([length, width], (spec.frames, 1)))
        out = np.array([[1, 0, 0.6], [0, 1, 0], [0, 0, 1.0]])  # the joint is at the limb's near end, not at its middle
        layers.insert(int(rng.integers(0, 2)) * len(layers), (len(limbs) + who, body @ limb @ out, np.zeros((spec.frames, 2, 3))))
    return layers


def _background(rng: np.random.Generator, size: int, device: torch.device | str) -> Tensor:
    """A scene of many regions: textures that cover one another along smooth and straight boundaries."""
    material = textures(rng, 4, size, device)
    shape = noise_fields(rng, 1, size, device)[0]
    result = material[0]
    for k in range(1, 4):
        edge = float(rng.choice([3.0, 40.0]))
        cover = torch.sigmoid(edge * (shape[k] - float(rng.uniform(-0.3, 0.8))))
        result = torch.lerp(result, material[k], cover)
    return result
