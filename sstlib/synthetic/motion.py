"""Where things are in each frame: paths, turning, scaling and bending of the layers, and the camera.

Lengths are in frame heights, the origin is the frame's center, x points right and y down. A placement maps a sprite's
square [-1, 1]^2 to such positions; bending is two shears by sine waves, which has an exact inverse.
"""

import math

import numpy as np

from sstlib.synthetic.spec import ClipSpec


def wander(rng: np.random.Generator, frames: int, deviation: float) -> np.ndarray:
    """A smooth random function of time of about the given deviation: two slow sine waves."""
    t = np.arange(frames)
    period = rng.uniform(10, 60, 2)
    phase = rng.uniform(0, 2 * math.pi, 2)
    weight = rng.uniform(0.5, 1, 2)
    return deviation * (weight[:, None] * np.sin(2 * math.pi * t / period[:, None] + phase[:, None])).sum(0)


def path(rng: np.random.Generator, spec: ClipSpec, radius: float) -> np.ndarray:
    """Positions (frames, 2) of something that moves at about `spec.speed`, turning slowly, kept mostly inside the frame."""
    speed = spec.speed / 100 * rng.uniform(0.4, 1.6)
    half = np.array([spec.width / spec.height / 2, 0.5])
    room = np.maximum(half - 0.5 * radius, 0.1 * half)
    place = rng.uniform(-0.85, 0.85, 2) * room
    heading = rng.uniform(0, 2 * math.pi)
    turning = rng.normal(0, 0.08)
    places = np.empty((spec.frames, 2))
    for t in range(spec.frames):
        places[t] = place
        heading += turning + rng.normal(0, 0.1)
        if rng.random() < spec.sudden:
            heading = rng.uniform(0, 2 * math.pi)
            place = place + rng.normal(0, 0.5 * radius, 2)
        place = place + speed * np.array([math.cos(heading), math.sin(heading)])
        if abs(place[0]) > room[0]:
            heading = math.pi - heading
        if abs(place[1]) > room[1]:
            heading = -heading
        place = np.clip(place, -room * 1.1, room * 1.1)
    return places


def placement(position: np.ndarray, angle: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Matrices (frames, 3, 3) that scale by `size` (frames, 2), turn by `angle` and move to `position`."""
    matrix = np.zeros((len(position), 3, 3))
    c, s = np.cos(angle), np.sin(angle)
    matrix[:, 0, 0], matrix[:, 0, 1] = c * size[:, 0], -s * size[:, 1]
    matrix[:, 1, 0], matrix[:, 1, 1] = s * size[:, 0], c * size[:, 1]
    matrix[:, :2, 2] = position
    matrix[:, 2, 2] = 1
    return matrix


def own_motion(rng: np.random.Generator, spec: ClipSpec, radius: float, places: np.ndarray) -> np.ndarray:
    """Placements of an object along `places`: it turns, swells, shrinks and is foreshortened smoothly."""
    frames = len(places)
    angle = rng.uniform(-math.pi, math.pi) + wander(rng, frames, 0.3 * spec.deformation) + rng.normal(0, 0.02) * np.arange(frames)
    grown = radius * np.exp(wander(rng, frames, spec.scale_change * 0.7))
    seen = np.stack([1 + wander(rng, frames, 0.1 * spec.deformation), 1 + wander(rng, frames, 0.1 * spec.deformation)], 1)
    return placement(places, angle, grown[:, None] * np.clip(seen, 0.6, 1.4))


def bending(rng: np.random.Generator, spec: ClipSpec, frames: int) -> np.ndarray:
    """Two shears (frames, 2, 3): amplitude, frequency and phase of the sine that moves y by x, then x by y."""
    result = np.empty((frames, 2, 3))
    for k in range(2):
        result[:, k, 0] = wander(rng, frames, 0.12 * spec.deformation)
        result[:, k, 1] = rng.uniform(1.5, 3.5)
        result[:, k, 2] = rng.uniform(0, 2 * math.pi) + rng.normal(0, 0.2) * spec.deformation * np.arange(frames)
    return result


def camera(rng: np.random.Generator, spec: ClipSpec) -> np.ndarray:
    """Matrices (frames, 3, 3) from the scene to the view: pan, zoom, roll and a little shake."""
    frames, amount = spec.frames, spec.camera
    pan = np.stack([wander(rng, frames, 0.12 * amount), wander(rng, frames, 0.07 * amount)], 1)
    pan += rng.normal(0, 0.004 * amount * (rng.random() < 0.5), (frames, 2))
    pan -= pan[0]
    zoom = np.exp(wander(rng, frames, 0.08 * amount))
    return placement(pan, wander(rng, frames, 0.05 * amount), np.stack([zoom, zoom], 1) / zoom[0])
