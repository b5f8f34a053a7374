"""Everything random about a clip, drawn from its seed on the CPU: background, sprites, placements, order, light."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.synthetic import layers, motion, occlusion
from sstlib.synthetic.silhouettes import COVER, KINDS, silhouettes
from sstlib.synthetic.spec import ClipSpec
from sstlib.synthetic.textures import noise_fields, textures, to_device

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
        ids: label of each mover, 0 for the unlabelled.
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


def draw_scene(spec: ClipSpec, seed: int | tuple[int, ...], device: torch.device | str = "cpu") -> Scene:
    """Draws all that is random about a clip."""
    rng = np.random.default_rng(seed)
    count = spec.objects + spec.distractors + (spec.occlusion is not None)
    limbs = [int(rng.integers(1, 4)) if rng.random() < 0.2 + 0.3 * spec.deformation else 0 for _ in range(count)]
    if spec.occlusion is not None:
        limbs[-1] = 0
    regions = textures(rng, REGIONS, 128 if spec.width < 220 else 256, device)
    sprites = _sprites(rng, spec, count, regions)
    # of the whole scene: clear, hazy, dusky, black and white
    vivid = float(rng.choice([1.0, 0.65, 0.4, 0.0], p=[0.3, 0.35, 0.3, 0.05]))
    for colors in (regions, sprites[:, :3]):
        colors.lerp_(colors.mean(1, keepdim=True), 1 - vivid)
    background = _background(rng, spec, regions, sprites[2 * count:])
    things = [_thing(rng, spec, who, limbs[who], count) for who in range(count)]
    order = rng.permutation(count)
    if spec.occlusion is not None:  # nothing but the occluder may hide the target
        order = np.array([who for who in order if who not in (0, count - 1)] + [0, count - 1])
        body = things[0][-1 if not limbs[0] else next(i for i, layer in enumerate(things[0]) if layer.sprite == 0)]
        parts = [(sprites[layer.sprite], layer.placements, layer.bends) for layer in things[0]]
        radius = math.sqrt(abs(np.linalg.det(body.placements[:, :2, :2])).max())
        led = occlusion.lead_over(rng, spec, sprites[count - 1, 3], parts, body.placements[:, :2, 2], radius)
        things[-1] = [_Layer(count - 1, led, layers.unbent(spec.frames))]
    to_pixels = np.array([[spec.height, 0, spec.width / 2], [0, spec.height, spec.height / 2], [0, 0, 1.0]])
    to_view = to_pixels @ motion.camera(rng, spec)
    flat = [(mover, layer) for mover, who in enumerate(order) for layer in things[who]]
    light = np.stack([motion.wander(rng, spec, 0.25 * spec.appearance) for _ in range(3)], 1)
    gain = np.exp(0.3 * light + 0.7 * light.mean(1, keepdims=True))
    grain_size = (3, spec.height + NOISE_PAD, spec.width + NOISE_PAD)
    grain = rng.standard_normal(grain_size, dtype=np.float32) if spec.noise else np.zeros((3, 1, 1))
    return Scene(
        spec=spec,
        background=background,
        ground=to_view @ np.diag([REACH * spec.width / spec.height / 2, REACH / 2, 1.0]),
        sprites=sprites[[layer.sprite for _, layer in flat]],
        placements=np.stack([to_view @ layer.placements for _, layer in flat]),
        bends=np.stack([layer.bends for _, layer in flat]),
        mover=np.array([mover for mover, _ in flat]),
        ids=np.where(order < spec.objects, order + 1, 0),
        shadow=np.where(rng.random(count) < 0.4, rng.uniform(0.15, 0.5, count), 0),
        gain=gain / gain[0],
        grain=to_device(grain, device),
        corners=rng.integers(0, NOISE_PAD, (spec.frames, 2)),
    )


def _thing(rng: np.random.Generator, spec: ClipSpec, who: int, limbs: int, count: int) -> list[_Layer]:
    """The layers of one mover: its body, and limbs behind and before it."""
    radius = spec.size / 100 * math.exp(rng.normal(0, 0.2))
    room = 1.2 if spec.occlusion is not None and who == 0 else float(rng.choice([0.6, 0.0, -1.0], p=[0.6, 0.2, 0.2]))
    body = motion.own_motion(rng, spec, radius, motion.path(rng, spec, radius, room))
    result = [_Layer(who, body, motion.bending(rng, spec))]
    for _ in range(limbs):
        limb = _Layer(count + who, body @ motion.limb(rng, spec), layers.unbent(spec.frames))
        result.insert(int(rng.integers(0, 2)) * len(result), limb)
    return result


def _sprites(rng: np.random.Generator, spec: ClipSpec, count: int, regions: Tensor) -> Tensor:
    """A sprite for each mover's body, one for each mover's limbs, and spare ones for the background."""
    device = regions.device
    size = max(32, 2 ** math.ceil(math.log2(0.5 * spec.height)))
    total = 2 * count + SPARE
    axis = torch.linspace(-1, 1, size, device=device)
    slope = to_device(rng.normal(0, 0.15, (2, total, 1, 1, 1)), device)
    color = textures(rng, total, size, device) * (1 + slope[0] * axis + slope[1] * axis[:, None])
    kinds = [str(kind) for kind in rng.choice(KINDS, count, p=[0.3, 0.12, 0.33, 0.1, 0.15])] + ["blob"] * count
    kinds += [str(kind) for kind in rng.choice(KINDS, SPARE)]
    if spec.occlusion is not None:
        kinds[0], kinds[count - 1] = str(rng.choice(["blob", "body"])), COVER
    level = silhouettes(rng, kinds, size, noise_fields(rng, 4, size, device)[:, -1])
    rounded = rng.choice([0.0, 0.35], total)
    if spec.camouflage:
        region = regions[None, int(rng.integers(REGIONS)), :, :size, :size]
        hiding = functional.interpolate(region, size=(size, size))[0]
        color[0] = torch.lerp(color[0], hiding, spec.camouflage)
    for m in range(count):
        if rng.random() < 0.5:  # limbs look like their body, or have a color of their own
            color[count + m] = color[m]
        like = 0.0 if m == 0 else spec.likeness if m >= spec.objects else spec.kinship * (rng.random() < 0.7)
        color[[m, count + m]] = torch.lerp(color[[m, count + m]], color[[0, count]], like)
        if rng.random() < like:  # in outline too, but an occluder keeps its own
            rounded[m] = rounded[0]
            if not (spec.occlusion is not None and m == count - 1):
                level[m] = level[0]
    thick = 1 + to_device(rounded[:, None, None], device) * ((level * 3).clamp(0, 1) - 0.7)
    return torch.cat([(color * thick[:, None]).clamp_(0, 1), level[:, None]], 1)


def _background(rng: np.random.Generator, spec: ClipSpec, regions: Tensor, spare: Tensor) -> Tensor:
    """A still scene after the dead-leaves model: regions that cover one another, and things lying on them."""
    height, width = math.ceil(REACH * spec.height), math.ceil(REACH * spec.width)
    size = regions.shape[-1]
    tiled = regions.repeat(1, 1, math.ceil(height / size), math.ceil(width / size))[:, :, :height, :width]
    shapes = functional.interpolate(noise_fields(rng, 1, 128, regions.device), size=(height, width), mode="bilinear")[0]
    shapes = torch.stack([shapes[2], torch.roll(shapes[2], (height // 3, width // 2), (0, 1)).flip(0), shapes[1]])
    canvas = tiled[0].clone()
    for k in range(1, int(rng.choice([1, 2, REGIONS], p=[0.2, 0.3, 0.5]))):
        sharp = float(rng.choice([2.0, 8.0, 40.0], p=[0.2, 0.3, 0.5]))
        canvas = torch.lerp(canvas, tiled[k], torch.sigmoid(sharp * (shapes[k - 1] - float(rng.uniform(-0.4, 0.9)))))
    for _ in range(int(rng.choice([0, 4, 12, 24]))):
        radius = height * min(0.35, 0.03 * rng.uniform(0.02, 1) ** -0.7)
        center = rng.uniform(0, 1, (1, 2)) * (width, height)
        place = motion.placement(center, rng.uniform(0, 6.28, 1), np.full((1, 2), radius))
        stamp = spare[int(rng.integers(SPARE))]
        corners, rows, columns = layers.windows(place, layers.unbent(1), height, width)
        shown = layers.sample(stamp, layers.material(place, layers.unbent(1), corners, rows, columns, stamp.device))[0]
        y, x = corners[0]
        canvas[:, y:y + rows, x:x + columns].lerp_(shown[:3], layers.opacity(shown[None, 3], place)[0])
    return canvas
