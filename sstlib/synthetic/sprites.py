"""One layer: a sprite (color and level over [-1, 1]^2), placed and bent in every frame, and how it is sampled."""

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from sstlib.shapes import Float, Int
from sstlib.synthetic.textures import to_device

Placements = Float[np.ndarray, "time 3 3"]
Bends = Float[np.ndarray, "time 2 3"]

AWAY = np.array([[1.0, 0, -1e4], [0, 1.0, -1e4], [0, 0, 1.0]])  # a placement that nobody sees


def whole(device: torch.device | str) -> bool:
    """Whether layers are drawn over whole frames of all clips at once: where launches cost, and not pixels."""
    return torch.device(device).type != "cpu"


def unbent(frames: int) -> np.ndarray:
    """Bending of a rigid layer."""
    return np.zeros((frames, 2, 3))


def windows(placements: Placements, bends: Bends, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """Windows that hold a layer in each frame: upper left corners (time, 2), and one size, rows and columns."""
    reach = 1 + np.abs(bends[:, ::-1, 0])  # the first shear moves y, the second x
    half = (np.abs(placements[:, :2, :2]) @ reach[..., None])[..., 0] + 1
    low = np.floor(placements[:, :2, 2] - half).astype(int)
    size = np.ceil(2 * half).astype(int) + 1
    seen = ((low + size > 0) & (low < (width, height))).all(1)
    if not seen.any():
        return low[:, ::-1], 0, 0
    size = np.minimum(size[seen].max(0), (width, height))
    corners = np.clip(low, 0, np.array([width, height]) - size)
    return corners[:, ::-1], int(size[1]), int(size[0])


def material(placements: Placements, bends: Bends, corners: Int[np.ndarray, "time 2"], rows: int, columns: int,
             device: torch.device | str, whole: bool = False) -> Float[Tensor, "time rows columns 2"]:
    """Where on the sprite each pixel's center lies: the inverse of `placements` and `bends`.

    Pixels are those of a window at `corners`; or those of the whole frame, counted from `corners` all the same, so that
    they come out as in the window to the last bit.
    """
    inverse = np.linalg.inv(placements)
    origin = inverse[:, :2, :2] @ (corners[:, ::-1, None] + 0.5) + inverse[:, :2, 2:]
    m = to_device(np.concatenate([inverse[:, :2, :2], origin], 2), device)[..., None]
    y, x = (torch.arange(size, dtype=torch.float32, device=device)[None] for size in (rows, columns))
    if whole:
        y, x = (axis - corner for axis, corner in zip((y, x), to_device(corners.T, device)[..., None], strict=True))
    u = (m[:, 0, 0] * x + m[:, 0, 2])[:, None] + (m[:, 0, 1] * y)[..., None]
    v = (m[:, 1, 0] * x + m[:, 1, 2])[:, None] + (m[:, 1, 1] * y)[..., None]
    if np.any(bends[:, :, 0]):
        b = to_device(bends, device)[..., None, None]
        u = u - b[:, 1, 0] * torch.sin(b[:, 1, 1] * v + b[:, 1, 2])
        v = v - b[:, 0, 0] * torch.sin(b[:, 0, 1] * u + b[:, 0, 2])
    return torch.stack([u, v], -1)


def pixels(
    points: Float[np.ndarray, "*place 2"], placement: Float[np.ndarray, "3 3"], bend: Float[np.ndarray, "2 3"]
) -> np.ndarray:
    """Where points of the sprite are in the frame, in pixels (x, y), centers at one half: undoes `material`."""
    u, v = points[..., 0], points[..., 1]
    v = v + bend[0, 0] * np.sin(bend[0, 1] * u + bend[0, 2])
    u = u + bend[1, 0] * np.sin(bend[1, 1] * v + bend[1, 2])
    return np.stack([u, v], -1) @ placement[:2, :2].T + placement[:2, 2]


def sample(sprite: Float[Tensor, "*sprite channel side other"], grid: Float[Tensor, "time rows columns 2"],
           outside: str = "border") -> Float[Tensor, "time channel rows columns"]:
    """Bilinear samples of one sprite, or of several for as many parts of the time."""
    sprite = sprite.expand(len(grid), -1, -1, -1) if sprite.ndim == 3 else sprite
    parts = grid.unflatten(0, (len(sprite), -1)).flatten(1, 2)
    shown = functional.grid_sample(sprite, parts, padding_mode=outside, align_corners=False)
    return shown.unflatten(2, (-1, grid.shape[1])).transpose(1, 2).flatten(0, 1)


def opacity(level: Float[Tensor, "time rows columns"], placements: Placements) -> Float[Tensor, "time 1 rows columns"]:
    """Antialiased cover of each pixel by a layer, from its level and the pixels that a level of 1 spans."""
    span = np.sqrt(np.abs(np.linalg.det(placements[:, :2, :2]))).clip(8)
    return (level * to_device(span, level.device)[:, None, None] + 0.5).clamp_(0, 1)[:, None]
