"""Draws a scene: samples each layer where it can be seen, far to near, and keeps the exact truth beside the picture."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.shapes import Bool, Float, Shaped, UInt8
from sstlib.synthetic.scene import Scene, draw_scene
from sstlib.synthetic.spec import ClipSpec


@dataclass
class Clip:
    """A generated clip with its truth, also of what is hidden.

    Attributes:
        frames: RGB.
        labels: the visible object at each pixel, 0 for none; always the depth-ordered overlap of `amodal`.
        amodal: full masks of the movers, whether visible or not.
        ids: label of each mover; 0 for unlabelled distractors and occluders.
        order: depth of each mover in each frame, 0 the nearest.
    """

    spec: ClipSpec
    frames: UInt8[np.ndarray, "time height width 3"]
    labels: UInt8[np.ndarray, "time height width"]
    amodal: Bool[np.ndarray, "time mover height width"]
    ids: Shaped[np.ndarray, "mover"]
    order: Shaped[np.ndarray, "time mover"]

    @property
    def visible_share(self) -> Float[np.ndarray, "time object"]:
        """Visible pixels over all pixels of objects 1..n within the frame; NaN where the object is outside it."""
        share = np.full((len(self.labels), self.spec.objects), np.nan)
        for n in range(self.spec.objects):
            full = self.amodal[:, self.ids == n + 1].any(1).sum((1, 2))
            seen = (self.labels == n + 1).sum((1, 2))
            np.divide(seen, full, out=share[:, n], where=full > 0)
        return share


def render(spec: ClipSpec, seed: int | tuple[int, ...], device: torch.device | str = "cpu") -> Clip:
    """Generates the clip that a wish and a seed determine; on the CPU the same bytes every time."""
    scene = draw_scene(spec, seed, device)
    frames, labels, amodal = draw(scene)
    pixels = (frames * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1)
    order = np.tile(np.arange(len(scene.ids))[::-1], (spec.frames, 1)).copy()
    return Clip(spec, pixels.contiguous().cpu().numpy(), labels.cpu().numpy(), amodal.cpu().numpy(), scene.ids, order)


def draw(scene: Scene) -> tuple[Float[Tensor, "time 3 height width"], Tensor, Bool[Tensor, "time mover height width"]]:
    """Frames in [0, 1], labels and amodal masks of a scene."""
    spec = scene.spec
    device = scene.sprites.device
    ground = _material(scene.ground, np.zeros((spec.frames, 2, 3)), np.zeros((spec.frames, 2), int), spec.height, spec.width, device)
    frames = functional.grid_sample(scene.background.expand(spec.frames, -1, -1, -1), ground, padding_mode="reflection", align_corners=False)
    labels = torch.zeros(spec.frames, spec.height, spec.width, dtype=torch.uint8, device=device)
    amodal = torch.zeros(spec.frames, len(scene.ids), spec.height, spec.width, dtype=torch.bool, device=device)
    for layer, sprite in enumerate(scene.sprites):
        _paint(scene, layer, sprite, frames, labels, amodal)
    return _photograph(scene, frames), labels, amodal


def _paint(scene: Scene, layer: int, sprite: Tensor, frames: Tensor, labels: Tensor, amodal: Tensor) -> None:
    """Draws one layer over what is there, in a window as large as the layer ever gets."""
    spec = scene.spec
    corners, (rows, columns) = windows(scene.placements[layer], scene.bends[layer], spec.height, spec.width)
    if not rows or not columns:
        return
    grid = _material(scene.placements[layer], scene.bends[layer], corners, rows, columns, sprite.device)
    shown = functional.grid_sample(sprite.expand(spec.frames, -1, -1, -1), grid, padding_mode="border", align_corners=False)
    pixels = np.sqrt(np.abs(np.linalg.det(scene.placements[layer][:, :2, :2]))).clip(8)
    level = shown[:, 3]
    opacity = (level * torch.from_numpy(pixels.astype(np.float32)).to(level.device)[:, None, None] + 0.5).clamp_(0, 1)[:, None]
    inside = level > 0
    mover = int(scene.mover[layer])
    for t, (y, x) in enumerate(corners):
        view = frames[t, :, y:y + rows, x:x + columns]
        view.lerp_(shown[t, :3], opacity[t])
        labels[t, y:y + rows, x:x + columns].masked_fill_(inside[t], int(scene.ids[mover]))
        amodal[t, mover, y:y + rows, x:x + columns] |= inside[t]


def windows(placements: np.ndarray, bends: np.ndarray, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Upper left corners (frames, 2) and the common size of windows that hold a layer in every frame."""
    reach = 1 + np.abs(bends[:, ::-1, 0])  # the second shear moves x, the first y
    half = np.abs(placements[:, :2, :2]) @ reach[..., None]
    center = placements[:, :2, 2]
    low = np.floor(center - half[..., 0]).astype(int)
    size = np.minimum(np.ceil(2 * half[..., 0]).astype(int).max(0) + 2, (width, height))
    corner = np.clip(low, 0, np.array([width, height]) - size)
    gone = (low + size <= 0) | (low >= (width, height))
    if gone.any(1).all():
        return corner[:, ::-1], (0, 0)
    return corner[:, ::-1], (int(size[1]), int(size[0]))


def _material(placements: np.ndarray, bends: np.ndarray, corners: np.ndarray, rows: int, columns: int, device) -> Tensor:
    """Sprite coordinates (frames, rows, columns, 2) of the pixels of each frame's window: the exact inverse of its placement."""
    inverse = np.linalg.inv(placements)
    origin = inverse[:, :2, :2] @ (corners[:, ::-1, None] + 0.5) + inverse[:, :2, 2:]
    m = torch.from_numpy(np.concatenate([inverse[:, :2, :2], origin], 2).astype(np.float32)).to(device)[..., None]
    x = torch.arange(columns, dtype=torch.float32, device=device)
    y = torch.arange(rows, dtype=torch.float32, device=device)
    grid = torch.empty(len(m), rows, columns, 2, device=device)
    u = torch.add((m[:, 0, 0] * x + m[:, 0, 2])[:, None], (m[:, 0, 1] * y)[..., None])
    v = torch.add((m[:, 1, 0] * x + m[:, 1, 2])[:, None], (m[:, 1, 1] * y)[..., None])
    if np.any(bends):
        b = torch.from_numpy(bends.astype(np.float32)).to(device)[..., None, None]
        u = u - b[:, 1, 0] * torch.sin(b[:, 1, 1] * v + b[:, 1, 2])
        v = v - b[:, 0, 0] * torch.sin(b[:, 0, 1] * u + b[:, 0, 2])
    grid[..., 0], grid[..., 1] = u, v
    return grid


def _photograph(scene: Scene, frames: Tensor) -> Tensor:
    """Light, blur and sensor noise of each frame."""
    spec = scene.spec
    gain = torch.from_numpy(scene.gain.astype(np.float32)).to(frames.device)
    frames = frames * gain[..., None, None]
    deviation = spec.blur * spec.height / 240
    if deviation > 0.2:
        reach = min(int(np.ceil(2.5 * deviation)), (min(spec.height, spec.width) - 1) // 2)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=frames.device) / deviation) ** 2)
        taps = (taps / taps.sum()).expand(3, 1, -1)
        frames = functional.pad(frames, (reach, reach, reach, reach), mode="reflect")
        frames = functional.conv2d(functional.conv2d(frames, taps[:, :, None], groups=3), taps[..., None], groups=3)
    if spec.noise:
        for t, (y, x) in enumerate(scene.tile_corner):
            frames[t].add_(scene.tile[:, y:y + spec.height, x:x + spec.width], alpha=spec.noise)
    return frames.clamp_(0, 1)
