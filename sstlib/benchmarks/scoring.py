"""How fast scoring is against a plain implementation that dilates whole frames with a disk: in memory and from files.

The plain one follows the definition of the boundary measure literally, dilating with OpenCV; it is the tests' oracle.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sstlib import clocks
from sstlib.evaluation.folders import evaluate, folder_masks
from sstlib.metrics import boundary, frame_counts, tolerance_radius
from sstlib.metrics.counts import numpy_counts
from sstlib.shapes import Bool, UInt8
from sstlib.video import read_mask, write_mask

HEIGHT, WIDTH = 480, 854
IN_MEMORY = 150  # pairs; more would only fill memory

Pair = tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]


def plain_counts(prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"],
                 radius: int) -> list[int]:
    """The six counts of one object (metrics.counts.COLUMNS) by dilating both whole boundaries with a disk.

    Raises:
        ValueError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError("the plain implementation needs OpenCV: pip install opencv-python-headless") from None
    cv2.setNumThreads(1)
    y, x = np.mgrid[-radius:radius + 1, -radius:radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    edges = [boundary(mask) for mask in (prediction, truth)]
    near = [cv2.dilate(edge.view(np.uint8), disk).view(bool) for edge in edges]
    regions = (prediction & truth, prediction | truth, *edges, edges[0] & near[1], edges[1] & near[0])
    return [int(np.count_nonzero(pixels)) for pixels in regions]


def benchmark(predictions: str | Path | None = None, annotations: str | Path | None = None, rounds: int = 5,
              processes: int = 2) -> dict[str, dict[str, float]]:
    """Times per frame in milliseconds by method, `in memory` (CPU time, one thread) and `from files` (wall clock).

    Methods take turns, and the median over rounds counts: on a busy machine only ratios within one run are meaningful.
    Without folders, clips of 854x480 are generated.

    Raises:
        ValueError: OpenCV is not installed, or the methods do not agree in every count.
    """
    with tempfile.TemporaryDirectory() as made:
        if predictions is None or annotations is None:
            predictions, annotations = _make(Path(made) / "predictions", 1), _make(Path(made) / "annotations", 0)
        predictions, annotations = Path(predictions), Path(annotations)
        files = [(predictions / name / path.name, path)
                 for name, paths in folder_masks(annotations).items() for path in paths[1:-1]]
        chosen = files[::max(1, len(files) // IN_MEMORY)]
        pairs = [tuple((read_mask(path) > 0).view(np.uint8) for path in pair) for pair in chosen]
        memory: dict[str, Callable] = {"plain": _plain, "NumPy": _numpy, "native": _native}
        _agree(pairs[:10], memory)
        methods = {"plain": lambda: [_plain(*map(_pillow, pair)) for pair in files],
                   "one process": lambda: evaluate(predictions, annotations),
                   f"{processes} processes": lambda: evaluate(predictions, annotations, processes=processes)}
        memory = {name: lambda count=count: [count(*pair) for pair in pairs] for name, count in memory.items()}
        return {"in memory": _turns(memory, rounds, len(pairs), "processor"),
                "from files": _turns(methods, max(1, rounds // 2), len(files), "wall")}


def _plain(prediction: np.ndarray, truth: np.ndarray) -> list[int]:
    return plain_counts(prediction.astype(bool), truth.astype(bool), tolerance_radius(*truth.shape))


def _numpy(prediction: np.ndarray, truth: np.ndarray) -> list[int]:
    return numpy_counts(prediction, truth, (1,), tolerance_radius(*truth.shape))[0].tolist()


def _native(prediction: np.ndarray, truth: np.ndarray) -> list[int]:
    return frame_counts(prediction, truth, (1,))[0].tolist()


def _pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image) != 0


def _agree(pairs: Sequence[Pair], methods: dict[str, Callable]) -> None:
    for pair in pairs:
        counts = {name: count(*pair) for name, count in methods.items()}
        if len(set(map(tuple, counts.values()))) != 1:
            raise ValueError(f"the implementations disagree: {counts}")


def _turns(methods: dict[str, Callable], rounds: int, frames: int, clock: str) -> dict[str, float]:
    """Median milliseconds per frame of each method, without a first turn for warm-up."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, method in methods.items():
            taken = clocks.seconds(method, clock=clock)
            if turn:
                times[name].append(taken / frames * 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _make(folder: Path, seed: int) -> Path:
    """Four clips of 50 frames, each a ragged blob that moves; another seed shifts its edge and place a little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(4):
        path, edge = np.random.default_rng(number), np.random.default_rng((number, seed))
        center, size = path.uniform((150, 250), (330, 600)), path.uniform(60, 140)
        for frame in range(50):
            center = center + path.normal(0, 4, 2)
            dy, dx = y - center[0] - edge.normal(0, 2), x - center[1] - edge.normal(0, 2)
            angle, waves = np.arctan2(dy, dx), edge.normal(0, 0.04, 12)
            radius = size * (1 + sum(wave * np.cos(n * angle + n) for n, wave in enumerate(waves, 1)))
            blob = (dy * dy + dx * dx < radius * radius).astype(np.uint8)
            write_mask(folder / f"clip{number}" / f"{frame:05d}.png", blob)
    return folder


def report(times: dict[str, dict[str, float]]) -> str:
    """The times as a table, with how many times faster than the plain one each method is."""
    lines = []
    for where, methods in times.items():
        lines += [f"{where:12} {name:12} {taken:8.3f} ms a frame {methods['plain'] / taken:7.1f} x"
                  for name, taken in methods.items()]
    return "\n".join(lines)
