"""Where things are in each frame: paths, turning, scaling and bending of the layers, and the camera.

Lengths are in frame heights, the origin is the frame's center, x points right and y down. A placement maps a sprite's
square [-1, 1]^2 to such positions; bending is two shears by sine waves, which has an exact inverse.
"""

import math

import numpy as np

from sstlib.shapes import Float
from sstlib.synthetic.spec import ClipSpec


def wander(rng: np.random.Generator, spec: ClipSpec, deviation: float) -> np.ndarray:
    """A smooth random function of time of about the given deviation: two slow sine waves."""
    turns = 2 * math.pi * spec.pace / rng.uniform(12, 70, (2, 1))
    phase = rng.uniform(0, 2 * math.pi, (2, 1))
    return deviation * (rng.uniform(0.6, 1.4, (2, 1)) * np.sin(turns * np.arange(spec.frames) + phase)).sum(0)


def path(rng: np.random.Generator, spec: ClipSpec, radius: float, room: float) -> np.ndarray:
    """Positions (frames, 2) of what moves at about `spec.speed`, turning slowly, and back at the edge of its room.

    Args:
        radius: of what moves.
        room: how much of that radius stays inside the frame at its edges, about: 1 all of it, -1 may leave.
    """
    speed = spec.speed / 100 * rng.uniform(0.7, 1.3)
    half = np.array([spec.width / spec.height / 2, 0.5])
    room_half = np.maximum(half - room * radius, 0.1 * half)
    place = rng.uniform(-0.85, 0.85, 2) * np.minimum(room_half, half - 0.4 * min(radius, 0.5))
    heading = rng.uniform(0, 2 * math.pi)
    turning = rng.normal(0, 0.06, spec.frames) + rng.normal(0, 0.06)
    sudden = rng.random(spec.frames) < spec.sudden
    jumps = rng.normal(0, 0.5 * radius, (spec.frames, 2))
    places = np.empty((spec.frames, 2))
    for t in range(spec.frames):
        places[t] = place
        heading += turning[t]
        if sudden[t]:
            heading += math.pi * jumps[t, 0] / max(radius, 1e-6)
            place = place + jumps[t]
        place = place + speed * np.array([math.cos(heading), math.sin(heading)])
        if abs(place[0]) > room_half[0] and place[0] * math.cos(heading) > 0:
            heading = math.pi - heading
        if abs(place[1]) > room_half[1] and place[1] * math.sin(heading) > 0:
            heading = -heading
    return places


def placement(position: Float[np.ndarray, "frames 2"], angle: Float[np.ndarray, "frames"],
              size: Float[np.ndarray, "frames 2"]) -> np.ndarray:
    """Matrices (frames, 3, 3) that scale by `size` (frames, 2), turn by `angle` and move to `position`."""
    matrix = np.zeros((len(position), 3, 3))
    c, s = np.cos(angle), np.sin(angle)
    matrix[:, 0, 0], matrix[:, 0, 1] = c * size[:, 0], -s * size[:, 1]
    matrix[:, 1, 0], matrix[:, 1, 1] = s * size[:, 0], c * size[:, 1]
    matrix[:, :2, 2] = position
    matrix[:, 2, 2] = 1
    return matrix


def own_motion(rng: np.random.Generator, spec: ClipSpec, radius: float,
               places: Float[np.ndarray, "frames 2"]) -> np.ndarray:
    """Placements of an object along `places`: it turns, swells, shrinks and is foreshortened smoothly."""
    spin = spec.pace * rng.normal(0, 0.02) * np.arange(spec.frames)
    angle = rng.uniform(-math.pi, math.pi) + wander(rng, spec, 0.25 * spec.deformation) + spin
    grown = radius * np.exp(wander(rng, spec, 0.6 * spec.scale_change))
    seen = np.stack([1 + wander(rng, spec, 0.12 * spec.deformation) for _ in range(2)], 1).clip(0.5, 1.5)
    return placement(places, angle, grown[:, None] * seen)


def bending(rng: np.random.Generator, spec: ClipSpec) -> np.ndarray:
    """Two shears (frames, 2, 3): amplitude, frequency and phase of the sine that moves y by x, then x by y."""
    result = np.empty((spec.frames, 2, 3))
    for k in range(2):
        result[:, k, 0] = wander(rng, spec, 0.11 * spec.deformation)
        result[:, k, 1] = rng.uniform(1.5, 3.5)
        result[:, k, 2] = rng.uniform(0, 2 * math.pi) + spec.pace * rng.normal(0, 0.15) * spec.deformation * np.arange(
            spec.frames
        )
    return result


def limb(rng: np.random.Generator, spec: ClipSpec) -> np.ndarray:
    """Placements of a limb on its body's square: it swings about a joint, which is near its inner end."""
    around = rng.uniform(0, 2 * math.pi)
    joint = rng.uniform(0.2, 0.55) * np.array([math.cos(around), math.sin(around)])
    swing = around + wander(rng, spec, 0.5 * spec.deformation)
    size = np.array([rng.uniform(0.3, 0.65), rng.uniform(0.12, 0.28)])
    outward = np.array([[1, 0, 0.6], [0, 1, 0], [0, 0, 1.0]])
    return placement(np.tile(joint, (spec.frames, 1)), swing, np.tile(size, (spec.frames, 1))) @ outward


def camera(rng: np.random.Generator, spec: ClipSpec) -> np.ndarray:
    """Matrices (frames, 3, 3) from scene to view: pan, zoom, roll, a little shake; frame 0 is the scene itself."""
    amount = spec.camera
    pan = np.stack([wander(rng, spec, 0.12 * amount), wander(rng, spec, 0.07 * amount)], 1)
    pan += rng.normal(0, 0.004 * amount * (rng.random() < 0.5), (spec.frames, 2))
    zoom = np.exp(wander(rng, spec, 0.08 * amount))
    roll = wander(rng, spec, 0.05 * amount)
    view = placement(pan, roll, np.stack([zoom, zoom], 1))
    return view @ np.linalg.inv(view[0])
