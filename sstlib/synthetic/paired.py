"""One scene in which an object is hidden for no, a few, or many frames, all else being the same.

Background, objects, paths, camera, light and noise are drawn from the scene's seed, which does not know how long the
object is hidden. The occluder's coming and going has a stream of its own: until it hides all of the object, clips with
an occlusion are the same to the byte; afterwards they differ only where the occluder, its edge and its shadow are. In
the clip of length 0, the control, it comes near and never hides the object. A scene is good for all lengths or none.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sstlib.synthetic.occluder import Crossing
from sstlib.synthetic.render import TRIES, Clip, as_wished, clips_of
from sstlib.synthetic.scene import draw_scenes
from sstlib.synthetic.spec import AROUND_OCCLUSION, BACK, BEFORE, WHOLE, ClipSpec

LENGTHS = (0, 1, 2, 4, 8, 16, 32)  # frames in which the object is hidden in full; 0 is the control
FRAMES = 54  # of every clip: 7 to 11 before the object is hidden, 32 at most, 11 at least for it to return and be seen
STREAM = 1  # tells the occluder's random stream from the scene's


@dataclass(frozen=True)
class PairedScene:
    """A scene that was found good for all of its lengths.

    Attributes:
        spec: of the clips, `occlusion` aside.
        seed: of the scene.
        attempt: which of the scenes that this seed can draw it is.
        lengths: the frames of full occlusion that it is good for.
    """

    spec: ClipSpec
    seed: tuple[int, ...]
    attempt: int = 0
    lengths: tuple[int, ...] = LENGTHS

    @functools.cached_property
    def crossing(self) -> Crossing:
        """How the occluder comes and goes, whatever the length.

        It is drawn as for an occlusion so long that `BACK` whole frames are left after the longest one.
        """
        longest = replace(self.spec, occlusion=max(self.lengths) + BACK - BEFORE)
        return Crossing(np.random.default_rng((*self.seed, self.attempt, STREAM)), longest)

    @property
    def onset(self) -> int:
        """The first frame in which the object is hidden in full, at every length."""
        return self.crossing.first

    def clip(self, length: int) -> Clip:
        """Renders the scene with the object hidden for that many frames; on the CPU the same bytes every time.

        Raises:
            ValueError: not one of the scene's lengths.
        """
        if length not in self.lengths:
            raise ValueError(
                f"the scene is good for occlusions of {', '.join(map(str, self.lengths))} frames, not {length}"
            )
        spec = replace(self.spec, occlusion=length)
        return next(clips_of(draw_scenes([spec], [(*self.seed, self.attempt)], crossing=self.crossing)))


def find_scene(spec: ClipSpec, seed: int | tuple[int, ...], lengths: Sequence[int] = LENGTHS) -> PairedScene:
    """The first scene of a seed that shows what is wished at every length.

    Raises:
        ValueError: `spec` says itself how long the object is hidden, there is no control among the lengths, the longest
            does not fit, or none of several scenes is good.
    """
    if spec.occlusion is not None or spec.hidden != 1:
        raise ValueError(f"occlusion is {spec.occlusion} and hidden {spec.hidden}; leave both as they are by default: "
                         "a paired scene is hidden in full for each of the given lengths")
    if 0 not in lengths or len(set(lengths)) < 2:
        raise ValueError(f"lengths are {tuple(lengths)}; expected 0, the control, and at least one more")
    needed = max(lengths) + BACK - BEFORE + AROUND_OCCLUSION
    if spec.frames < needed:
        raise ValueError(
            f"{spec.frames} frames are too few to hide the object for {max(lengths)} and to see it return; "
            f"expected at least {needed}"
        )
    seed = seed if isinstance(seed, tuple) else (seed,)
    longest_first = sorted(lengths, reverse=True)  # what fails mostly fails there
    for attempt in range(TRIES):
        scene = PairedScene(spec, seed, attempt, tuple(lengths))
        if all(shows(scene.clip(length), scene.onset) for length in longest_first):
            return scene
    raise ValueError(f"none of {TRIES} scenes shows the object around each of {tuple(lengths)} hidden frames "
                     f"(size {spec.size}, speed {spec.speed}); make it smaller or slower")


def shows(clip: Clip, onset: int) -> bool:
    """Whether object 1 is hidden as wished from `onset` on, and whole in `BACK` frames after and all of the control."""
    if not as_wished(clip):
        return False
    share, length = clip.visible_share[:, 0], clip.spec.occlusion
    if not length:
        return bool(share.min() >= WHOLE)
    on_time = not share[[onset, onset + length - 1]].any()
    return on_time and int((share[onset + length :] >= WHOLE).sum()) >= BACK
