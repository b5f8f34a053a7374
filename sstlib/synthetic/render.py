"""Draws a scene: samples each layer where it can be seen, far to near, and keeps the exact truth beside the picture."""

import functools
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sstlib.shapes import Bool, Float, Shaped, UInt8
from sstlib.synthetic import sprites as layers
from sstlib.synthetic.scene import Scene, draw_scenes
from sstlib.synthetic.spec import ClipSpec
from sstlib.synthetic.textures import gathered, to_device

LEAST_GIVEN = 0.002  # share of frame 0 that each object covers where an occlusion is planned
TRIES = 40  # scenes that are drawn until the truth is what was wished


@dataclass
class Clip:
    """A generated clip with its truth, also of what is hidden.

    Attributes:
        frames: RGB.
        labels: the visible object at each pixel, 0 for none; always the depth-ordered overlap of `amodal`.
        amodal: full masks of the movers within the frame, whether visible or not.
        ids: label of each mover; 0 for unlabeled distractors and occluders.
        order: depth of each mover in each frame, 0 the nearest.
        scene: what it was drawn from.
    """

    spec: ClipSpec
    frames: UInt8[np.ndarray, "time height width 3"]
    labels: UInt8[np.ndarray, "time height width"]
    amodal: Bool[np.ndarray, "time mover height width"]
    ids: Shaped[np.ndarray, "mover"]
    order: Shaped[np.ndarray, "time mover"]
    scene: Scene

    @property
    def visible_share(self) -> Float[np.ndarray, "time object"]:
        """Visible pixels over all pixels of objects 1..n within the frame; NaN where the object is outside it."""
        share = np.full((len(self.labels), self.spec.objects), np.nan)
        for n in range(self.spec.objects):
            full = self.full(n + 1).sum((1, 2))
            np.divide((self.labels == n + 1).sum((1, 2)), full, out=share[:, n], where=full > 0)
        return share

    def full(self, object: int) -> Bool[np.ndarray, "time height width"]:
        """The amodal masks of one object."""
        return self.amodal[:, int(np.flatnonzero(self.ids == object)[0])]

    def motion(self, object: int, t: int) -> Float[np.ndarray, "height width 2"]:
        """Where each point of an object goes from frame `t` to the next, in pixels (x, y); NaN off its amodal mask."""
        spec, scene = self.spec, self.scene
        result = np.full((spec.height, spec.width, 2), np.nan, np.float32)
        rows, columns = np.meshgrid(np.arange(spec.height) + 0.5, np.arange(spec.width) + 0.5, indexing="ij")
        for layer in np.flatnonzero(
            self.ids[scene.mover] == object
        ):  # far to near: the nearer part of the object has the last word
            now = slice(t, t + 1)
            grid = layers.material(scene.placements[layer, now], scene.bends[layer, now], np.zeros((1, 2), int),
                                   spec.height, spec.width, "cpu")
            inside = (layers.sample(scene.sprites[layer, 3:].cpu(), grid)[0, 0] > 0).numpy()
            moved = layers.pixels(
                grid[0].double().numpy()[inside], scene.placements[layer, t + 1], scene.bends[layer, t + 1]
            )
            result[inside] = moved - np.stack([columns[inside], rows[inside]], -1)
        return result


def render(spec: ClipSpec, seed: int | tuple[int, ...], device: torch.device | str = "cpu") -> Clip:
    """Generates the clip that a wish and a seed determine; on the CPU the same bytes every time.

    Raises:
        ValueError: a planned occlusion that comes about in none of several scenes, as when the object is too fast.
    """
    return render_batch([spec], [seed], device)[0]


def render_batch(
    specs: Seq[ClipSpec], seeds: Seq[int | tuple[int, ...]], device: torch.device | str = "cpu"
) -> list[Clip]:
    """The clips of several wishes and seeds, made together: on a GPU in hardly more launches than one of them alone.

    Each is the same as made alone: on the CPU to the byte. A planned occlusion is solved clip by clip.

    Raises:
        ValueError: clips of different sizes or lengths, or as `render`.
    """
    if len({(spec.frames, spec.height, spec.width) for spec in specs}) > 1:
        raise ValueError("clips made together must have the same frames, height and width; render them one by one")
    seeds = [seed if isinstance(seed, tuple) else (seed,) for seed in seeds]
    clips: dict[int, Clip] = {}
    left = list(range(len(specs)))
    for attempt in range(TRIES):
        if not left:
            break
        scenes = draw_scenes([specs[n] for n in left], [(*seeds[n], attempt) for n in left], device)
        for n, clip in zip(left, clips_of(scenes), strict=True):
            if specs[n].occlusion is None or as_wished(clip):
                clips[n] = clip
        left = [n for n in left if n not in clips]
    if left:
        spec = specs[left[0]]
        raise ValueError(f"no scene of {TRIES} has the wished occlusion of {spec.occlusion} frames "
                         f"(size {spec.size}, speed {spec.speed}); make the object smaller or slower")
    return [clips[n] for n in range(len(specs))]


def clips_of(scenes: list[Scene]) -> Iterator[Clip]:
    """Draws scenes of one size, on a GPU all of them at once."""
    together = layers.whole(scenes[0].background.device)
    for part in [scenes] if together else [[scene] for scene in scenes]:
        frames, labels, amodal = draw(part)
        pixels = (frames * 255 + 0.5).to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous().cpu().numpy()
        labels, amodal = labels.cpu().numpy(), amodal.cpu().numpy()
        for n, scene in enumerate(part):
            movers = len(scene.ids)
            order = np.tile(np.arange(movers)[::-1], (len(labels[n]), 1)).copy()
            full = amodal[n, :, :movers]
            yield Clip(scene.spec, pixels[n], labels[n], full, scene.ids, order, scene)


def as_wished(clip: Clip) -> bool:
    """Whether frame 0 gives all objects, and object 1 is hidden as asked in just as many frames in a row."""
    spec, share = clip.spec, clip.visible_share[:, 0]
    given = [(clip.labels[0] == n + 1).mean() for n in range(spec.objects)]
    if np.isnan(share).any() or share[0] < 0.9 or min(given) < LEAST_GIVEN or clip.full(1).mean((1, 2)).min() < 0.004:
        return False
    if not spec.occlusion:
        return bool(share.min() > 0.9)
    if spec.hidden == 1:
        at_share = share == 0
        between = share[~at_share].min() > 0.02
    else:
        at_share = np.abs(share - (1 - spec.hidden)) < 0.05
        between = share.min() > 1 - spec.hidden - 0.05
    runs = np.flatnonzero(at_share)
    return bool(between and len(runs) == spec.occlusion and runs[-1] - runs[0] == spec.occlusion - 1)


def draw(scenes: list[Scene]) -> tuple[Float[Tensor, "clip time 3 height width"],
                                       UInt8[Tensor, "clip time height width"],
                                       Bool[Tensor, "clip time mover height width"]]:
    """Frames in [0, 1], labels and amodal masks of scenes of one size; movers that a scene lacks are nowhere."""
    spec, device, count = scenes[0].spec, scenes[0].background.device, len(scenes)
    size = (spec.height, spec.width)
    still, corners = (
        np.concatenate([one] * count) for one in (layers.unbent(spec.frames), np.zeros((spec.frames, 2), int)))
    ground = layers.material(np.concatenate([scene.ground for scene in scenes]), still, corners, *size, device)
    frames = layers.sample(torch.stack([scene.background for scene in scenes]), ground, "reflection")
    frames = frames.unflatten(0, (count, -1))
    labels = torch.zeros(count, spec.frames, *size, dtype=torch.uint8, device=device)
    movers = max(len(scene.ids) for scene in scenes)
    amodal = torch.zeros(count, spec.frames, movers, *size, dtype=torch.bool, device=device)
    for layer in range(max(len(scene.sprites) for scene in scenes)):
        if layers.whole(device):
            _paint_whole(scenes, layer, frames, labels, amodal)
        else:
            _paint(scenes[0], layer, frames[0], labels[0], amodal[0])
    for scene, own in zip(scenes, frames, strict=True):
        _photograph(scene, own)
    return frames.clamp_(0, 1), labels, amodal


def _way(scene: Scene, layer: int) -> np.ndarray:
    """How far (rows, columns) a layer moves in each frame while the shutter is open."""
    away = np.diff(scene.placements[layer][:, :2, 2], axis=0, append=0)[:, ::-1] * scene.spec.exposure
    away[-1] = away[-2] if len(away) > 1 else 0
    return away


def _smear(away: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The steps in whole pixels at which a layer that moves by `away` is seen thrice, or zeros where it is seen
    once.
    """
    step = np.rint(away / 3).astype(int)
    return step * (np.abs(step).max(-1, keepdims=True) * 3 <= min(rows, columns))


def _paint(scene: Scene, layer: int, frames: Tensor, labels: Tensor, amodal: Tensor) -> None:
    """Draws one layer over what is there, in a window as large as the layer ever gets."""
    spec, placements, bends = scene.spec, scene.placements[layer], scene.bends[layer]
    corners, rows, columns = layers.windows(placements, bends, spec.height, spec.width)
    if not rows or not columns:
        return
    shown = layers.sample(
        scene.sprites[layer], layers.material(placements, bends, corners, rows, columns, frames.device)
    )
    inside = shown[:, 3] > 0
    cover = layers.opacity(shown[:, 3], placements)
    mover = int(scene.mover[layer])
    steps = _smear(_way(scene, layer), rows, columns).tolist()
    darkness = float(scene.shadow[mover])
    for t, ((y, x), step) in enumerate(zip(corners.tolist(), steps, strict=True)):
        window = (slice(y, y + rows), slice(x, x + columns))
        color, over = shown[t, :3], cover[t]
        if darkness:
            _cast(frames[t], over, y, x, darkness)
        if any(step):
            color, over = _thrice(color, over, functools.partial(_rolled, step))
        frames[t][:, window[0], window[1]].lerp_(color, over)
        labels[t][window].masked_fill_(inside[t], int(scene.ids[mover]))
        amodal[t, mover][window].logical_or_(inside[t])


def _rolled(step: list[int], value: Tensor, k: int) -> Tensor:
    return torch.roll(value, [k * n for n in step], (1, 2))


def _paint_whole(scenes: list[Scene], layer: int, frames: Tensor, labels: Tensor, amodal: Tensor) -> None:
    """Draws one layer of each scene over whole frames: what `_paint` does, to the last bit, with few launches."""
    spec, device = scenes[0].spec, frames.device
    height, width = spec.height, spec.width
    places, bends, corners, steps, sizes = [], [], [], [], []
    for scene in scenes:
        exists = layer < len(scene.sprites)
        places.append(scene.placements[layer] if exists else np.tile(layers.AWAY, (spec.frames, 1, 1)))
        bends.append(scene.bends[layer] if exists else layers.unbent(spec.frames))
        corner, rows, columns = layers.windows(places[-1], bends[-1], height, width)
        corners.append(corner)
        sizes.append(np.tile([max(rows, 1), max(columns, 1)], (spec.frames, 1)))
        steps.append(_smear(_way(scene, layer) if exists else np.zeros((spec.frames, 2)), rows, columns))
    places, bends, corners, steps, sizes = (np.concatenate(v) for v in (places, bends, corners, steps, sizes))
    sprites = torch.stack([scene.sprites[min(layer, len(scene.sprites) - 1)] for scene in scenes])
    shown = layers.sample(sprites, layers.material(places, bends, corners, height, width, device, whole=True))
    level, color, over = shown[:, 3], shown[:, :3], layers.opacity(shown[:, 3], places)
    movers = [int(scene.mover[layer]) if layer < len(scene.sprites) else 0 for scene in scenes]
    darkness = np.array([scene.shadow[mover] for scene, mover in zip(scenes, movers, strict=True)])
    below = frames.flatten(0, 1)
    if darkness.any():
        _cast(below, over, 0, 0, to_device(darkness.repeat(spec.frames), device)[:, None, None, None])
    if steps.any():
        color, over = _smeared_whole(color, over, corners, sizes, steps)
    below.lerp_(color, over)
    inside = (level > 0).unflatten(0, (len(scenes), -1))
    ids = np.array([scene.ids[mover] for scene, mover in zip(scenes, movers, strict=True)], np.uint8)
    ids = torch.from_numpy(ids).to(device)[:, None, None, None]
    labels.copy_(torch.where(inside, ids, labels))
    each = torch.arange(len(scenes), device=device)
    movers = torch.tensor(movers, device=device)
    amodal[each, :, movers] |= inside


def _cast(frame: Tensor, cover: Tensor, y: int, x: int, darkness: float | Tensor) -> None:
    """Darkens what lies a little below and right of a layer, whose window is at (y, x)."""
    down = max(frame.shape[-2] // 40, 1)
    part = frame[..., y + down:, x + down:][..., :cover.shape[-2], :cover.shape[-1]]
    part.mul_(1 - darkness * cover[..., :part.shape[-2], :part.shape[-1]])


def _thrice(color: Shaped[Tensor, "*frame 3 rows columns"], cover: Shaped[Tensor, "*frame 1 rows columns"],
            moved: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
    """A layer as an open shutter sees it: the mean over three places -1, 0, 1, to which `moved` brings it."""
    still = torch.cat([color * cover, cover], -3)
    mean = moved(still, -1).add_(still).add_(moved(still, 1)).div_(3)
    paint, over = mean.split([3, 1], -3)
    return paint / over.clamp_min(1e-4), over


def _smeared_whole(
    color: Tensor, cover: Tensor, corners: np.ndarray, sizes: np.ndarray, steps: np.ndarray
) -> tuple[Tensor, Tensor]:
    """`_thrice` for each frame that asks for it; steps wrap around at the edges of the layer's window, as rolling
    does.
    """
    device = color.device

    def moved(value: Tensor, k: int) -> Tensor:
        index = []
        for axis, size in enumerate(value.shape[2:]):
            at = np.arange(size) - corners[:, axis, None]
            inside = (at >= 0) & (at < sizes[:, axis, None])
            from_ = (at - k * steps[:, axis, None]) % sizes[:, axis, None] + corners[:, axis, None]
            index.append(torch.from_numpy(np.where(inside, from_, np.arange(size)).clip(0, size - 1)).to(device))
        return gathered(value, *index)

    smeared, over = _thrice(color, cover, moved)
    moving = torch.from_numpy(steps.any(1)).to(device)[:, None, None, None]
    return torch.where(moving, smeared, color), torch.where(moving, over, cover)


def _photograph(scene: Scene, frames: Tensor) -> None:
    """Light, blur and sensor noise, in place: frame by frame in a CPU's cache, all at once where launches cost."""
    spec = scene.spec
    if spec.appearance:
        frames *= to_device(scene.gain, frames.device)[..., None, None]
    variance = (spec.blur * spec.height / 240) ** 2
    passes = int(np.ceil(variance / 0.5 - 1e-9)) if min(spec.height, spec.width) > 2 else 0
    for part in [frames] if layers.whole(frames.device) else frames.split(1):
        for _ in range(passes):
            _soften(part, variance / passes / 2)
    if spec.noise:
        for frame, (y, x) in zip(frames, scene.corners.tolist(), strict=True):
            frame.add_(scene.grain[:, y:y + spec.height, x:x + spec.width], alpha=spec.noise)


def _soften(frames: Tensor, weight: float) -> None:
    """Blurs in place along columns, then rows, by taps (weight, 1 - 2 weight, weight): variance 2 weight."""
    for axis in (2, 3):
        size = frames.shape[axis]
        step = torch.diff(frames, dim=axis)
        frames.narrow(axis, 0, size - 1).add_(step, alpha=weight)
        frames.narrow(axis, 1, size - 1).sub_(step, alpha=weight)
