"""Clips to learn from: each sample is drawn from its own seed, so workers and restarts do not change what is drawn."""

import functools
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sstlib.config import DataConfig
from sstlib.config.fields import naming
from sstlib.config.values import Number
from sstlib.datasets import augmentation, composing
from sstlib.datasets.photographs import open_photographs
from sstlib.datasets.registry import open_dataset
from sstlib.shapes import Float, Int, UInt8
from sstlib.synthetic import ClipSpec, random_spec, render, render_batch
from sstlib.synthetic.spec import AROUND_OCCLUSION
from sstlib.video import Sequence

LEAST_VISIBLE = 0.001  # share of the reference frame that an object must cover to be labeled
TRIES = 8
COMPRESSED = 0.4  # probability that a generated clip goes through JPEG, as real frames did

Sample = tuple[UInt8[np.ndarray, "time height width 3"], UInt8[np.ndarray, "time height width"]]


def training_batch(
    data: DataConfig, seed: int, batch: int, first: int = 0, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "batch time 3 height width"], Int[Tensor, "batch time height width"]]:
    """Frames in [0, 1] and labels of `batch` clips on `device`, the samples `first`, `first` + 1, ... of step `seed`.

    Sample i of a step is the same whoever draws it and whatever else is drawn: a process of several takes its part by
    `first`.
    Labels are 0, 1..n and, in real clips that have it, 255 for void.
    """
    samples = training_samples(data, seed, range(first, first + batch), device)
    frames, labels = (torch.from_numpy(np.stack(values)).to(device) for values in zip(*samples, strict=True))
    return frames.permute(0, 1, 4, 2, 3).float().div_(255).contiguous(), labels.long()


def training_sample(data: DataConfig, seed: int, index: int) -> Sample:
    """One clip, generated or cut from a real one, and its labels, whose objects 1..n all show in the first frame."""
    return training_samples(data, seed, [index])[0]


def training_samples(
    data: DataConfig, seed: int, indices: Iterable[int], device: torch.device | str = "cpu"
) -> list[Sample]:
    """Several samples, those that are generated rendered together on `device`; each is the same as alone.

    What is drawn is the same on every device; pixels are the same to the byte on the CPU, and to rounding elsewhere.
    """
    samples: dict[int, Sample] = {}
    left = indices = list(indices)
    for attempt in range(TRIES):
        drawn, wishes = {}, {}
        rngs = {index: np.random.default_rng((seed, index, attempt)) for index in left}
        for index, rng in rngs.items():
            kind = rng.random()
            if kind < data.real_ratio:
                drawn[index] = _real(rng, data)
            elif kind < data.real_ratio + data.photo_ratio:
                drawn[index] = _composed(rng, data)
            elif data.occluded and rng.random() < data.occluded:
                drawn[index] = _occluded(rng, data, (seed, index, attempt), device)
            else:
                wishes[index] = _wish(rng, data)
        clips = render_batch(list(wishes.values()), [(seed, index, attempt) for index in wishes], device)
        drawn |= {index: (_filmed(rngs[index], clip.frames), clip.labels)
                  for index, clip in zip(wishes, clips, strict=True)}
        for index, (frames, labels) in drawn.items():
            samples[index] = frames, augmentation.keep_objects(rngs[index], labels, data.objects, LEAST_VISIBLE)
        left = [index for index in left if not (samples[index][1][0] % 255).any()]
        if not left:
            break
    return [samples[index] for index in indices]


def _wish(rng: np.random.Generator, data: DataConfig) -> ClipSpec:
    return random_spec(data.difficulty, rng, frames=data.frames, height=data.height, width=data.width,
                       objects=int(rng.integers(1, data.objects + 1)))


def _occluded(rng: np.random.Generator, data: DataConfig, seed: tuple[int, ...], device: torch.device | str) -> Sample:
    """A generated clip in which an occluder hides object 1 completely and leaves again. Coming and going take more
    frames than a training clip has, so it consists of every few frames of a longer clip.
    """
    gap = -(-AROUND_OCCLUSION // (data.frames - 1)) + int(rng.integers(1, 3))
    frames = gap * (data.frames - 1) + 1
    # What it can be hidden behind, and slow enough that thinned out it moves as other clips' objects do
    size, speed = np.exp(rng.uniform(np.log((12, 0.5)), np.log((26, 3))))
    spec = random_spec(data.difficulty, rng, frames=frames, height=data.height, width=data.width,
                       objects=int(rng.integers(1, data.objects + 1)), sudden=0.0, exposure=0.0, size=float(size),
                       speed=float(speed), occlusion=int(rng.integers(1, frames - AROUND_OCCLUSION + 1)), hidden=1.0)
    try:
        clip = render(spec, seed, device)
    except ValueError:  # none of its scenes has that occlusion: nothing to learn from, and another one is drawn
        return (np.zeros((data.frames, data.height, data.width, 3), np.uint8),
                np.zeros((data.frames, data.height, data.width), np.uint8))
    return _filmed(rng, clip.frames[::gap]), clip.labels[::gap]


def _filmed(rng: np.random.Generator, frames: UInt8[np.ndarray, "time height width 3"]
            ) -> UInt8[np.ndarray, "time height width 3"]:
    """Frames of a generated clip, sometimes with JPEG artifacts."""
    if rng.random() > COMPRESSED:
        return frames
    quality = int(rng.integers(25, 90))
    return np.stack([_compressed(frame, quality) for frame in frames])


def _compressed(frame: UInt8[np.ndarray, "height width 3"], quality: int) -> UInt8[np.ndarray, "height width 3"]:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _real(rng: np.random.Generator, data: DataConfig) -> Sample:
    """A clip cut from one sequence and relit; cut-outs of photographs, if these are used, or else objects of another
    sequence may be laid over it, each with probability `data.pasted`.
    """
    mixture = real_mixture(data.real, data.held_out)

    gap = int(rng.integers(1, data.max_gap + 1)) if data.photo_ratio else data.max_gap  # slow and fast clips

    def cut() -> Sample:
        if "+" in data.real:
            sequence = mixture[int(rng.choice(len(mixture), p=[odds for _, odds in mixture]))][0]
        else:
            sequence = mixture[int(rng.integers(len(mixture)))][0]
        return augmentation.cut_clip(
            rng, sequence, data.frames, data.height, data.width, gap, data.reference == "anywhere", data.crop == "cfbi"
        )

    clip = cut()
    if data.photo_ratio and rng.random() < data.pasted:
        clip = composing.overlaid(rng, open_photographs(), clip, data.objects, data.hidden)
    elif rng.random() < data.pasted:
        clip = augmentation.paste(rng, clip, cut(), labeled=data.objects > 1 and rng.random() < 0.6)
    return (augmentation.relight(rng, clip[0]) if data.relit else clip[0]), clip[1]


def _composed(rng: np.random.Generator, data: DataConfig) -> Sample:
    """A clip composed of photographs, relit, sometimes with JPEG artifacts."""
    frames, labels = composing.compose(rng, open_photographs(), data.frames, data.height, data.width, data.objects,
                                       data.hidden)
    return _filmed(rng, augmentation.relight(rng, frames)), labels


def require_clips(data: DataConfig) -> None:
    """Raises the errors that drawing the first clip would, in advance.

    Raises:
        ValueError: an unknown preset or data set, or a sequence held out that it does not have; names the key.
        OSError: missing data.
    """
    with naming("data.difficulty"):
        for preset in data.difficulty.split("+"):
            random_spec(preset, 0)
    if data.real:
        real_mixture(data.real, data.held_out)
    if data.photo_ratio:
        with naming("data.photo_ratio"):
            open_photographs()


@functools.cache
def real_mixture(real: str, held_out: tuple[str, ...] = ()) -> list[tuple[Sequence, float]]:
    """The training sequences of one or several data sets, without those held out by name, each with its probability.

    Raises:
        ValueError: a held-out sequence that no data set has, nothing left of one, or no mixture.
    """
    with naming("data.real"):
        opened = {name: (open_dataset(name, "train"), weight) for name, weight in weights_of(real).items()}
    names = {sequence.name for sequences, _ in opened.values() for sequence in sequences}
    if unknown := sorted(set(held_out) - names):
        raise ValueError(f"data.held_out names {unknown[0]!r}, which {real} train does not have")
    total, mixture = sum(weight for _, weight in opened.values()), []
    for name, (sequences, weight) in opened.items():
        allowed = [sequence for sequence in sequences if sequence.name not in held_out]
        if not allowed:
            raise ValueError(f"data.held_out leaves no sequence of {name} train to draw from")
        mixture += [(sequence, weight / total / len(allowed)) for sequence in allowed]
    return mixture


def weights_of(real: str) -> dict[str, float]:
    """The data sets of a mixture and how often each is drawn from: davis2017*2+youtube2019, or one alone.

    Raises:
        ValueError: a data set twice, or a weight that is no number above 0.
    """
    if Path(real).exists():  # a folder of one's own, whatever its name
        return {real: 1.0}
    weights: dict[str, float] = {}
    for part in real.split("+"):
        name, times, weight = part.partition("*")
        if name in weights:
            raise ValueError(f"{real!r} names {name!r} twice; give it a weight: {name}*2")
        kind = Number(0, above=True)
        weights[name] = kind.check(kind.read(weight), f"the weight of {name} in {real!r}") if times else 1.0
    return weights
