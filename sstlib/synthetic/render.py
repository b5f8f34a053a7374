"""Draws a scene: samples each layer where it can be seen, far to near, and keeps the exact truth beside the picture."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.shapes import Bool, Float, Shaped, UInt8
from sstlib.synthetic import layers
from sstlib.synthetic.scene import Scene, draw_scene
from sstlib.synthetic.spec import ClipSpec
from sstlib.synthetic.textures import to_device

LEAST_GIVEN = 0.002  # share of frame 0 that each object covers where an occlusion is planned
TRIES = 40  # scenes that are drawn until the truth is what was wished


@dataclass
class Clip:
    """A generated clip with its truth, also of what is hidden.

    Attributes:
        frames: RGB.
        labels: the visible object at each pixel, 0 for none; always the depth-ordered overlap of `amodal`.
        amodal: full masks of the movers within the frame, whether visible or not.
        ids: label of each mover; 0 for unlabelled distractors and occluders.
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
            grid = layers.material(
                scene.placements[layer, now],
                scene.bends[layer, now],
                np.zeros((1, 2), int),
                spec.height,
                spec.width,
                "cpu",
            )
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
    seed = seed if isinstance(seed, tuple) else (seed,)
    for attempt in range(TRIES):
        scene = draw_scene(spec, (*seed, attempt), device)
        frames, labels, amodal = (values.cpu() for values in draw(scene))
        order = np.tile(np.arange(len(scene.ids))[::-1], (spec.frames, 1)).copy()
        pixels = (frames * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        clip = Clip(spec, pixels.numpy(), labels.numpy(), amodal.numpy(), scene.ids, order, scene)
        if spec.occlusion is None or _as_wished(clip):
            return clip
    raise ValueError(f"no scene of {TRIES} has the wished occlusion of {spec.occlusion} frames "
                     f"(size {spec.size}, speed {spec.speed}); make the object smaller or slower")


def _as_wished(clip: Clip) -> bool:
    """Whether frame 0 gives all objects, and object 1 is hidden as asked in just as many frames in a row."""
    spec, share = clip.spec, clip.visible_share[:, 0]
    given = [(clip.labels[0] == n + 1).mean() for n in range(spec.objects)]
    if np.isnan(share).any() or share[0] < 0.9 or min(given) < LEAST_GIVEN or clip.full(1).mean((1, 2)).min() < 0.004:
        return False
    if not spec.occlusion:
        return bool(share.min() > 0.9)
    if spec.hidden == 1:
        asked = share == 0
        between = share[~asked].min() > 0.02
    else:
        asked = np.abs(share - (1 - spec.hidden)) < 0.05
        between = share.min() > 1 - spec.hidden - 0.05
    runs = np.flatnonzero(asked)
    return bool(between and len(runs) == spec.occlusion and runs[-1] - runs[0] == spec.occlusion - 1)


def draw(
    scene: Scene,
) -> tuple[
    Float[Tensor, "time 3 height width"], UInt8[Tensor, "time height width"], Bool[Tensor, "time mover height width"]
]:
    """Frames in [0, 1], labels and amodal masks of a scene."""
    spec = scene.spec
    device = scene.sprites.device
    still, whole = layers.unbent(spec.frames), np.zeros((spec.frames, 2), int)
    ground = layers.material(scene.ground, still, whole, spec.height, spec.width, device)
    frames = functional.grid_sample(
        scene.background.expand(spec.frames, -1, -1, -1), ground, padding_mode="reflection", align_corners=False
    )
    labels = torch.zeros(spec.frames, spec.height, spec.width, dtype=torch.uint8, device=device)
    amodal = torch.zeros(spec.frames, len(scene.ids), spec.height, spec.width, dtype=torch.bool, device=device)
    for layer in range(len(scene.sprites)):
        _paint(scene, layer, frames, labels, amodal)
    return _photograph(scene, frames), labels, amodal


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
    away = np.diff(placements[:, :2, 2], axis=0, append=0)[:, ::-1] * spec.exposure
    away[-1] = away[-2] if spec.frames > 1 else 0
    darkness = float(scene.shadow[mover])
    for t, (y, x) in enumerate(corners.tolist()):
        window = (slice(y, y + rows), slice(x, x + columns))
        if darkness:
            _cast(frames[t], cover[t], y, x, darkness, spec.height)
        color, over = _smeared(shown[t, :3], cover[t], away[t])
        frames[t][:, window[0], window[1]].lerp_(color, over)
        labels[t][window].masked_fill_(inside[t], int(scene.ids[mover]))
        amodal[t, mover][window].logical_or_(inside[t])


def _cast(frame: Tensor, cover: Tensor, y: int, x: int, darkness: float, height: int) -> None:
    """Darkens what lies a little below and right of a layer."""
    down = max(height // 40, 1)
    part = frame[:, y + down:, x + down:][:, :cover.shape[1], :cover.shape[2]]
    part.mul_(1 - darkness * cover[:, :part.shape[1], :part.shape[2]])


def _smeared(color: Tensor, cover: Tensor, away: np.ndarray) -> tuple[Tensor, Tensor]:
    """A layer as an open shutter sees it while it moves by `away` (rows, columns): the mean over three places."""
    step = np.rint(away / 3).astype(int)
    if not step.any() or np.abs(step).max() * 3 > min(cover.shape[1:]):
        return color, cover
    places = [(int(k * step[0]), int(k * step[1])) for k in (-1, 0, 1)]
    paint = color * cover
    paint, over = (sum(torch.roll(value, place, (1, 2)) for place in places) / 3 for value in (paint, cover))
    return paint / over.clamp_min(1e-4), over


def _photograph(scene: Scene, frames: Tensor) -> Tensor:
    """Light, blur and sensor noise of each frame."""
    spec = scene.spec
    if spec.appearance:
        frames *= to_device(scene.gain, frames.device)[..., None, None]
    variance = (spec.blur * spec.height / 240) ** 2
    passes = int(np.ceil(variance / 0.5 - 1e-9)) if min(spec.height, spec.width) > 2 else 0
    for t, (y, x) in enumerate(scene.corners.tolist()):
        frame = frames[t]
        for _ in range(passes):
            _soften(frame, variance / passes / 2)
        if spec.noise:
            frame.add_(scene.grain[:, y:y + spec.height, x:x + spec.width], alpha=spec.noise)
    return frames.clamp_(0, 1)


def _soften(frame: Tensor, weight: float) -> None:
    """Blurs in place along columns, then rows, by taps (weight, 1 - 2 weight, weight): variance 2 weight."""
    for axis in (1, 2):
        size = frame.shape[axis]
        step = torch.diff(frame, dim=axis)
        frame.narrow(axis, 0, size - 1).add_(step, alpha=weight)
        frame.narrow(axis, 1, size - 1).sub_(step, alpha=weight)
