"""Everything random about a clip, drawn from its seed on the CPU: background, sprites, placements, order, light.

A `_Plan` holds what numpy drew for one clip; no pixel has a say in it. The pixels of the sprites and backgrounds of all
clips of a batch are then made together, by the same operations whatever their number.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.synthetic import motion, occluder
from sstlib.synthetic import sprites as layers
from sstlib.synthetic.silhouettes import COVER, KINDS, draw_silhouettes, silhouettes
from sstlib.synthetic.spec import ClipSpec
from sstlib.synthetic.textures import draw_noise, draw_textures, noise_fields, textures, to_device

REACH = 1.3  # the background's width and height, in those of the frame
SPARE = 6  # sprites that only ever lie in the background
REGIONS = 4  # textures of the background
NOISE_PAD = 16  # places that the sensor noise of a frame may come from, a side


@dataclass
class Scene:
    """A clip before it is drawn. Movers are things with a depth of their own; a mover has one or more layers.

    Attributes:
        background: its texture, over [-1, 1]^2.
        ground: placements (frames, 3, 3) of the background, in pixels.
        sprites: red, green, blue and level (layer, 4, side, side), over [-1, 1]^2; the farthest layer first.
        placements: (layer, frames, 3, 3), in pixels.
        bends: (layer, frames, 2, 3), see `motion.bending`.
        mover: each layer's mover, which are numbered from the farthest to the nearest.
        ids: label of each mover, 0 for the unlabeled.
        shadow: how dark a shadow each mover casts.
        gain: light a frame and channel (frames, 3).
        grain: sensor noise of deviation 1, and the corner where each frame takes it from.
    """

    spec: ClipSpec
    background: Tensor
    ground: np.ndarray
    sprites: Tensor
    placements: np.ndarray
    bends: np.ndarray
    mover: np.ndarray
    ids: np.ndarray
    shadow: np.ndarray
    gain: np.ndarray
    grain: Tensor
    corners: np.ndarray


@dataclass
class _Layer:
    sprite: int
    placements: np.ndarray  # in the scene, before the camera
    bends: np.ndarray


def sprite_size(spec: ClipSpec) -> int:
    """Pixels a side of a sprite."""
    return max(32, 2 ** math.ceil(math.log2(0.5 * spec.height)))


class _Plan:
    """All that is random about one clip, in the order in which it is drawn."""

    def __init__(self, spec: ClipSpec, seed: int | tuple[int, ...], crossing: occluder.Crossing | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.spec = spec
        self.planned = spec.occlusion is not None
        self.count = count = spec.objects + spec.distractors + self.planned
        limbs = [int(rng.integers(1, 4)) if rng.random() < 0.2 + 0.3 * spec.deformation else 0 for _ in range(count)]
        if self.planned:
            limbs[-1] = 0
        self.regions = draw_textures(rng, REGIONS, 128 if spec.width < 220 else 256)
        self._draw_sprites(rng)
        # of the whole scene: clear, hazy, dusky, black and white
        self.vivid = float(rng.choice([1.0, 0.65, 0.4, 0.0], p=[0.3, 0.35, 0.3, 0.05]))
        self._draw_background(rng)
        self.things = [_thing(rng, spec, identity, limbs[identity], count) for identity in range(count)]
        self.order = rng.permutation(count)
        if self.planned:  # nothing but the occluder may hide the target
            last = [0, count - 1]
            self.order = np.array([identity for identity in self.order if identity not in last] + last)
            self.crossing = occluder.Crossing(rng, spec) if crossing is None else crossing
        to_pixels = np.array([[spec.height, 0, spec.width / 2], [0, spec.height, spec.height / 2], [0, 0, 1.0]])
        self.to_view = to_pixels @ motion.camera(rng, spec)
        light = np.stack([motion.wander(rng, spec, 0.25 * spec.appearance) for _ in range(3)], 1)
        self.gain = np.exp(0.3 * light + 0.7 * light.mean(1, keepdims=True))
        grain_size = (3, spec.height + NOISE_PAD, spec.width + NOISE_PAD)
        self.grain = rng.standard_normal(grain_size, dtype=np.float32) if spec.noise else np.zeros((3, 1, 1))
        self.shadow = np.where(rng.random(count) < 0.4, rng.uniform(0.15, 0.5, count), 0)
        self.corners = rng.integers(0, NOISE_PAD, (spec.frames, 2))

    def _draw_sprites(self, rng: np.random.Generator) -> None:
        """A sprite for each mover's body, one for each mover's limbs, and spare ones for the background."""
        spec, count, size = self.spec, self.count, sprite_size(self.spec)
        total = 2 * count + SPARE
        self.slope = rng.normal(0, 0.15, (2, total, 1, 1, 1)).swapaxes(0, 1)
        self.colors = draw_textures(rng, total, size)
        kinds = [str(kind) for kind in rng.choice(KINDS, count, p=[0.3, 0.12, 0.33, 0.1, 0.15])] + ["blob"] * count
        kinds += [str(kind) for kind in rng.choice(KINDS, SPARE)]
        if self.planned:
            kinds[0], kinds[count - 1] = str(rng.choice(["blob", "body"])), COVER
        self.rough = draw_noise(rng, 4, size)
        self.outlines = draw_silhouettes(rng, kinds)
        self.rounded = rng.choice([0.0, 0.35], total)
        self.hiding = int(rng.integers(REGIONS)) if spec.camouflage else 0
        # whose color, color mixed in, and outline each sprite takes over
        self.color, self.leader, self.outline = np.arange(total), np.arange(total), np.arange(total)
        self.like = np.zeros(total)
        for m in range(count):
            if rng.random() < 0.5:  # limbs look like their body, or have a color of their own
                self.color[count + m] = m
            like = 0.0 if m == 0 else spec.likeness if m >= spec.objects else spec.kinship * (rng.random() < 0.7)
            self.leader[[m, count + m]], self.like[[m, count + m]] = (0, count), like
            if rng.random() < like:  # in outline too, but an occluder keeps its own
                self.rounded[m] = self.rounded[0]
                if not (self.planned and m == count - 1):
                    self.outline[m] = 0

    def _draw_background(self, rng: np.random.Generator) -> None:
        """Regions by how sharp and where their borders are; things lying on them by sprite and placement."""
        height, width = ground_size(self.spec)
        self.shapes = draw_noise(rng, 1, 128)
        self.borders = np.array([(1.0, np.inf)] * (REGIONS - 1))
        for k in range(int(rng.choice([1, 2, REGIONS], p=[0.2, 0.3, 0.5])) - 1):
            self.borders[k] = rng.choice([2.0, 8.0, 40.0], p=[0.2, 0.3, 0.5]), rng.uniform(-0.4, 0.9)
        self.stamps = []
        for _ in range(int(rng.choice([0, 4, 12, 24]))):
            radius = height * min(0.35, 0.03 * rng.uniform(0.02, 1) ** -0.7)
            center = rng.uniform(0, 1, (1, 2)) * (width, height)
            place = motion.placement(center, rng.uniform(0, 6.28, 1), np.full((1, 2), radius))
            self.stamps.append((2 * self.count + int(rng.integers(SPARE)), place))


def ground_size(spec: ClipSpec) -> tuple[int, int]:
    """Height and width of the background."""
    return math.ceil(REACH * spec.height), math.ceil(REACH * spec.width)


def draw_scenes(
    specs: list[ClipSpec], seeds: list[tuple[int, ...]], device: torch.device | str = "cpu",
    crossing: occluder.Crossing | None = None,
) -> list[Scene]:
    """Scenes of clips of one size, their sprites and backgrounds made together.

    A `crossing` that is given is none of what the seeds draw, so that a scene is the same however long it hides.
    """
    plans = [_Plan(spec, seed, crossing) for spec, seed in zip(specs, seeds, strict=True)]
    vivid = np.array([plan.vivid for plan in plans])
    totals = [2 * plan.count + SPARE for plan in plans]
    regions = textures([plan.regions for plan in plans], device)
    sprites = _sprites(plans, totals, regions)
    for colors, clip in ((regions, vivid.repeat(REGIONS)), (sprites[:, :3], vivid.repeat(totals))):
        fade = to_device(1 - clip, device)[:, None, None, None]
        colors.lerp_(colors.mean(1, keepdim=True), fade)
    own = sprites.split(totals)
    backgrounds = _backgrounds(plans, regions, own)
    return [_scene(plan, one, background) for plan, one, background in zip(plans, own, backgrounds, strict=True)]


def _scene(plan: _Plan, sprites: Tensor, background: Tensor) -> Scene:
    spec, count, order, things = plan.spec, plan.count, plan.order, plan.things
    if plan.planned:
        body = next(layer for layer in things[0] if layer.sprite == 0)
        parts = [(sprites[layer.sprite], layer.placements, layer.bends) for layer in things[0]]
        radius = math.sqrt(abs(np.linalg.det(body.placements[:, :2, :2])).max())
        path = body.placements[:, :2, 2]
        led = occluder.lead_over(plan.crossing, spec, sprites[count - 1, 3], parts, path, radius)
        things[-1] = [_Layer(count - 1, led, layers.unbent(spec.frames))]
    flat = [(mover, layer) for mover, identity in enumerate(order) for layer in things[identity]]
    return Scene(
        spec=spec,
        background=background,
        ground=plan.to_view @ np.diag([REACH * spec.width / spec.height / 2, REACH / 2, 1.0]),
        sprites=sprites[[layer.sprite for _, layer in flat]],
        placements=np.stack([plan.to_view @ layer.placements for _, layer in flat]),
        bends=np.stack([layer.bends for _, layer in flat]),
        mover=np.array([mover for mover, _ in flat]),
        ids=np.where(order < spec.objects, order + 1, 0),
        shadow=plan.shadow,
        gain=plan.gain / plan.gain[0],
        grain=to_device(plan.grain, sprites.device),
        corners=plan.corners,
    )


def _thing(rng: np.random.Generator, spec: ClipSpec, identity: int, limbs: int, count: int) -> list[_Layer]:
    """The layers of one mover: its body, and limbs behind and before it."""
    radius = spec.size / 100 * math.exp(rng.normal(0, 0.2))
    planned = spec.occlusion is not None and identity == 0
    room = 1.2 if planned else float(rng.choice([0.6, 0.0, -1.0], p=[0.6, 0.2, 0.2]))
    body = motion.own_motion(rng, spec, radius, motion.path(rng, spec, radius, room))
    result = [_Layer(identity, body, motion.bending(rng, spec))]
    for _ in range(limbs):
        limb = _Layer(count + identity, body @ motion.limb(rng, spec), layers.unbent(spec.frames))
        result.insert(int(rng.integers(0, 2)) * len(result), limb)
    return result


def _sprites(plans: list[_Plan], totals: list[int], regions: Tensor) -> Tensor:
    """The sprites of all clips: color and level (sprite, 4, side, side)."""
    device, size = regions.device, sprite_size(plans[0].spec)
    firsts = np.cumsum([0, *totals[:-1]])

    def of_all(name: str, index: bool = False) -> Tensor:
        values = [getattr(plan, name) + first * index for first, plan in zip(firsts, plans, strict=True)]
        values = np.concatenate(values)
        return torch.from_numpy(values).to(device) if index else to_device(values, device)

    axis = torch.linspace(-1, 1, size, device=device)
    slope = of_all("slope")
    color = textures([plan.colors for plan in plans], device)
    color = color * (1 + slope[:, 0] * axis + slope[:, 1] * axis[:, None])
    hiding = torch.from_numpy(np.array([REGIONS * n + plan.hiding for n, plan in enumerate(plans)])).to(device)
    hidden = to_device(np.array([plan.spec.camouflage for plan in plans]), device)[:, None, None, None]
    behind = functional.interpolate(regions[hiding, :, :size, :size], size=(size, size))
    targets = torch.from_numpy(firsts).to(device)
    color[targets] = torch.lerp(color[targets], behind, hidden)
    color = color[of_all("color", index=True)]
    color = torch.lerp(color, color[of_all("leader", index=True)], of_all("like")[:, None, None, None])
    level = silhouettes([plan.outlines for plan in plans], noise_fields([plan.rough for plan in plans], device)[:, -1])
    level = level[of_all("outline", index=True)]
    thick = 1 + of_all("rounded")[:, None, None] * ((level * 3).clamp(0, 1) - 0.7)
    return torch.cat([(color * thick[:, None]).clamp_(0, 1), level[:, None]], 1)


def _backgrounds(plans: list[_Plan], regions: Tensor, sprites: tuple[Tensor, ...]) -> Tensor:
    """Still scenes after the dead-leaves model: regions that cover one another, and things lying on them."""
    height, width = ground_size(plans[0].spec)
    device, size = regions.device, regions.shape[-1]
    tiled = regions.repeat(1, 1, math.ceil(height / size), math.ceil(width / size))[:, :, :height, :width]
    tiled = tiled.unflatten(0, (len(plans), REGIONS))
    shapes = noise_fields([plan.shapes for plan in plans], device)
    shapes = functional.interpolate(shapes, size=(height, width), mode="bilinear")
    turned = torch.roll(shapes[:, 2], (height // 3, width // 2), (1, 2)).flip(1)
    borders = np.array([plan.borders for plan in plans])
    canvas = tiled[:, 0].clone()
    for k, shape in enumerate((shapes[:, 2], turned, shapes[:, 1])):
        if np.isfinite(borders[:, k]).all(1).any():
            sharp, place = to_device(borders[:, k].T, device)[..., None, None]
            canvas = torch.lerp(canvas, tiled[:, k + 1], torch.sigmoid(sharp * (shape - place))[:, None])
    _stamp(plans, sprites, canvas)
    return canvas


def _stamp(plans: list[_Plan], sprites: tuple[Tensor, ...], canvas: Tensor) -> None:
    """Lays things on the backgrounds, one after another: each in its window, or on all whole backgrounds at once."""
    still, (height, width), device = layers.unbent(1), canvas.shape[2:], canvas.device
    if not layers.whole(device):
        for plan, own, ground in zip(plans, sprites, canvas, strict=True):
            for sprite, place in plan.stamps:
                corners, rows, columns = layers.windows(place, still, height, width)
                grid = layers.material(place, still, corners, rows, columns, device)
                shown = layers.sample(own[sprite], grid)[0]
                y, x = corners[0]
                part = ground[:, y:y + rows, x:x + columns]
                part.lerp_(shown[:3], layers.opacity(shown[None, 3], place)[0])
        return
    for k in range(max(len(plan.stamps) for plan in plans)):
        stamps = [plan.stamps[k] if k < len(plan.stamps) else (0, layers.AWAY[None]) for plan in plans]
        places = np.concatenate([place for _, place in stamps])
        corners = np.concatenate([layers.windows(place, still, height, width)[0] for _, place in stamps])
        bends = still.repeat(len(plans), 0)
        grid = layers.material(places, bends, corners, height, width, device, whole=True)
        shown = layers.sample(torch.stack([own[sprite] for own, (sprite, _) in zip(sprites, stamps)]), grid)
        canvas.lerp_(shown[:, :3], layers.opacity(shown[:, 3], places))
