"""Figures of clips: what the generator's axes do, an object that is hidden and comes back."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sstlib import video
from sstlib.plots.style import ACCENT, FAINT, INK, SIGNAL, WIDTH, figure, finish, pictures, styled
from sstlib.shapes import Bool, UInt8
from sstlib.synthetic import Clip, ClipSpec, render

TINT = 0.45  # of what is seen of an object
# By axis: its name, how a value is written, values, and a seed that shows it well
EXAMPLES: dict[str, tuple[str, str, tuple[float, ...], int]] = {
    "hidden": ("share hidden", "{:.0%}", (0.4, 0.6, 0.8, 1.0), 0),
    "likeness": ("likeness\nof occluder", "{:g}", (0.0, 0.4, 0.8, 1.0), 2),
    "speed": ("speed", "{:g}% a frame", (0.5, 2.0, 4.0, 8.0), 2),
}


def examples(axis: str, height: int = 240,
             width: int = 432) -> list[tuple[str, UInt8[np.ndarray, "height width 3"]]]:
    """One picture for each value of an axis of the generator, of the same seed, so that little else differs."""
    _, text, values, seed = EXAMPLES[axis]
    wish = dict(frames=20, height=height, width=width, size=24.0 if axis == "speed" else 20.0, speed=1.5,
                camouflage=0.0, deformation=0.3, camera=0.2, appearance=0.0, likeness=0.2, blur=0.3, noise=0.0)
    wish |= (dict(objects=1, distractors=1, occlusion=5) if axis in ("hidden", "likeness") else
             dict(objects=2, distractors=0, occlusion=None))
    return [(text.format(value), _picture(render(ClipSpec(**wish | {axis: value}), seed), axis)) for value in values]


def _picture(clip: Clip, axis: str) -> UInt8[np.ndarray, "height width 3"]:
    """The frame that shows an axis best, objects tinted and outlined; for speed with a trail of earlier places."""
    share = clip.visible_share[:, 0]
    if clip.spec.occlusion:
        t = int(np.argmin(share)) if axis == "hidden" else int(np.flatnonzero(share < 0.7)[0])
        full = clip.full(1)[t]
        tint = 0.0 if axis == "likeness" else TINT  # which would hide just what is to be compared
        return with_outlines(clip.frames[t], full, clip.labels[t] == 1, tint)[view(full)]
    t = len(share) // 2
    picture = video.overlay(clip.frames[t], clip.labels[t], TINT)
    for earlier in range(t - 6, t, 2) if axis == "speed" else ():
        picture[outline(clip.labels[earlier] == 1, 2)] = (255, 255, 255)
    for n in range(1, clip.spec.objects + 1):
        picture[outline(clip.labels[t] == n, 2)] = video.palette()[n] // 2 + 127
    return picture


def view(shown: Bool[np.ndarray, "height width"], least: float = 0.6) -> tuple[slice, slice]:
    """A part of the frame, of its shape and at least so large, in whose middle a mask is, as far as the frame
    allows.
    """
    if not shown.any():
        return slice(None), slice(None)
    size = np.array(shown.shape)
    low, high = (np.array([edge(places) for places in np.nonzero(shown)]) for edge in (np.min, np.max))
    part = size * np.clip(1.3 * ((high - low + 1) / size).max(), least, 1)
    corner = np.clip((low + high + 1 - part) / 2, 0, size - part).round().astype(int)
    rows, columns = (slice(int(at), int(at + length)) for at, length in zip(corner, part, strict=True))
    return rows, columns


def outline(mask: Bool[np.ndarray, "height width"], thickness: int = 1) -> Bool[np.ndarray, "height width"]:
    """Pixels of a mask that are so near to its outside, along rows and columns."""
    inner = mask
    for _ in range(thickness):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def with_outlines(frame: UInt8[np.ndarray, "height width 3"], full: Bool[np.ndarray, "height width"],
                  visible: Bool[np.ndarray, "height width"],
                  tint: float = TINT) -> UInt8[np.ndarray, "height width 3"]:
    """A frame with what is seen of an object tinted, and the outline of all of it drawn: white where hidden."""
    picture = video.overlay(frame, visible.astype(np.uint8), tint)
    edge = outline(full, 2)  # thinner lines are lost in small pictures
    picture[edge] = (255, 255, 255)
    picture[edge & visible] = (230, 60, 40)
    return picture


@styled
def axes_gallery(rows: Mapping[str, Sequence[tuple[str, UInt8[np.ndarray, "height width 3"]]]]) -> Figure:
    """Generated pictures: in each row one property grows from left to right, all else being the same.

    Args:
        rows: by the property's name its values and pictures, as of `examples`.
    """
    height, width = next(iter(rows.values()))[0][1].shape[:2]
    columns = max(map(len, rows.values()))
    drawing = figure(len(rows) * (WIDTH / columns * height / width + 0.2), photographs=True)
    grid = pictures(drawing, {EXAMPLES[axis][0]: [image for _, image in row] for axis, row in rows.items()},
                    [""] * columns)
    for line, row in zip(grid, rows.values()):
        for axes, (text, _) in zip(line, row):
            axes.set_title(text, fontsize=8.5)
    return drawing


@styled
def hidden_object(clip: Clip) -> Figure:
    """One object over time: pictures that follow it, what is seen tinted and all outlined, above its visible share."""
    share = clip.visible_share[:, 0]
    times = _telling_times(share)
    height, width = clip.labels.shape[1:]
    drawing = figure(WIDTH / len(times) * height / width + 2.0, photographs=True)
    above, below = drawing.subfigures(2, 1, height_ratios=[WIDTH / len(times) * height / width + 0.25, 1.75])
    full, visible = clip.full(1), clip.labels == 1
    followed = [with_outlines(clip.frames[t], full[t], visible[t])[view(full[t], least=0.45)] for t in times]
    pictures(above, {"": followed}, [f"frame {t}: {share[t]:.0%}" for t in times])
    axes, frames = below.subplots(), np.arange(len(share))
    axes.fill_between(frames, share, 1, color=FAINT, linewidth=0, label="hidden")
    axes.plot(frames, share, color=ACCENT, marker=".", label="visible")
    axes.plot(times, share[times], "o", color="none", markeredgecolor=SIGNAL, markersize=9, clip_on=False,
              label="shown above")
    finish(axes, "", xlabel="frame", ylabel="visible share", ylim=(-0.04, 1.04), xlim=(0, len(share) - 1))
    axes.tick_params(colors=INK)
    return drawing


def _telling_times(share: np.ndarray) -> list[int]:
    """Frames before, in, and after the strongest occlusion."""
    low = np.flatnonzero(share <= np.nanmin(share) + 0.02)
    last = len(share) - 1
    return sorted({0, max(int(low[0]) - 2, 0), int(low[len(low) // 2]), min(int(low[-1]) + 2, last), last})
