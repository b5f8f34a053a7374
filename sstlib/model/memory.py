"""What is kept of earlier frames, whatever the method: where objects were and how they looked, and room for more."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sstlib.shapes import Float, Int, Shaped

Objects = Shaped[Tensor, "batch _ ..."]  # with an axis of objects


@dataclass
class Features:
    """What one batch of frames looks like, before any mask is involved."""

    low: Float[Tensor, "batch low fine_height fine_width"]
    embedding: Float[Tensor, "batch embedding height width"]
    derived: dict[str, Tensor]  # what a method computes from the embedding alone, e.g. SST's tokens
    size: tuple[int, int]  # height and width of the image
    # Logits that it is in sight and that its mask is good, left by `segment`
    presence: Float[Tensor, "batch object 2"] | None = None
    level: Float[Tensor, "batch object"] | None = None  # of its presence (`presence.followed`), left by `segment`
    # (memory, result) of the encoder, left by `segment` so that `remember` need not repeat it
    encoded: tuple | None = None
    start: int = 0  # the frame's number, left by `remember` where no memory counts

    def split(self, frames: int) -> list["Features"]:
        """Features of the first so many frames, the next, and so on; slices would each fill a gradient with zeros."""
        derived = {name: value.split(frames) for name, value in self.derived.items()}
        pairs = enumerate(zip(self.low.split(frames), self.embedding.split(frames), strict=True))
        return [Features(low, embedding, {name: parts[t] for name, parts in derived.items()}, self.size)
                for t, (low, embedding) in pairs]


@dataclass(frozen=True)
class Remembered:
    """One earlier frame: where its objects are, and what a method keeps of it."""

    time: int
    memberships: Float[Tensor, "batch object height width"]  # averaged onto feature cells
    content: dict[str, Tensor]  # without an object axis
    objects: dict[str, Tensor]  # objects on axis 1

    @property
    def held(self) -> tuple[bool, ...]:
        """Whether each object is anywhere in the frame."""
        return tuple((self.memberships.sum((0, 2, 3)) > 0).tolist())

    @property
    def labels(self) -> Int[Tensor, "batch height width"]:
        """The object of each cell; -1 where nobody is."""
        most, owner = self.memberships.max(1)  # argmax takes ten times as long
        return torch.where(most > 0, owner, -1)

    def only(self, objects: Sequence[int]) -> "Remembered":
        """The frame as far as it shows these objects: what others cover belongs to nobody.

        Cells that are mostly nobody's keep no key for dense matching: they would outvote those where the same thing is
        somebody.
        """
        shown = self.memberships.new_zeros(self.memberships.shape[1])
        shown[list(objects)] = 1
        memberships = self.memberships * shown[:, None, None]
        content = dict(self.content)
        if "match" in content:
            content["match"] = content["match"] * (F.avg_pool2d(memberships, 2, ceil_mode=True).sum(1, keepdim=True)
                                                   >= 0.5)
        return dataclasses.replace(self, memberships=memberships, content=content)


@dataclass(frozen=True)
class Memory:
    """All that is known of earlier frames; its size does not depend on how many there were."""

    time: int  # frames seen
    # Frames whose masks were given; each object is in the latest that was given of it
    references: tuple[Remembered, ...]
    recent: tuple[Remembered, ...]  # oldest first
    # Embeddings summed in and outside each object over the given frames, and areas
    reference: Float[Tensor, "batch object 2 channels"]
    previous: Float[Tensor, "batch object 2 channels"]  # likewise over the latest frame
    state: dict[str, Tensor]  # what a recurrent method carries; objects on axis 1
    # Earlier frames for dense matching, oldest first; their content is `match`, at its resolution
    landmarks: tuple[Remembered, ...] = ()

    @property
    def objects(self) -> int:
        """Number of objects, the background among them."""
        return self.reference.shape[1]

    def map_objects(self, change: Callable[[Objects, bool], Objects]) -> "Memory":
        """A memory with `change(tensor, is_membership)` applied to every tensor that has an object axis."""
        changed = {id(r): dataclasses.replace(r, memberships=change(r.memberships, True),
                                              objects={k: change(v, False) for k, v in r.objects.items()})
                   for r in (*self.references, *self.recent, *self.landmarks)}
        return Memory(self.time, tuple(changed[id(r)] for r in self.references),
                      tuple(changed[id(r)] for r in self.recent), change(self.reference, False),
                      change(self.previous, False), {k: change(v, False) for k, v in self.state.items()},
                      tuple(changed[id(r)] for r in self.landmarks))

    def grow(self, objects: int) -> "Memory":
        """A memory with room for more objects, which were nowhere so far.

        Raises:
            ValueError: fewer objects than it has.
        """
        missing = objects - self.objects
        if missing < 0:
            raise ValueError(f"memberships of {objects} objects were given to a memory of {self.objects}; objects "
                             "leave by Memory.select")
        return self if missing == 0 else self.map_objects(
            lambda x, _: torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], 1))

    def forget(self, objects: Sequence[int]) -> "Memory":
        """A memory without any earlier mask or state of some objects, whose masks are given anew; the others keep their
        given masks and state.

        Recent frames and landmarks go altogether, and so does the background of given ones: it lies where the forgotten
        objects may have been, and would outvote the new masks.
        """
        others = [o for o in range(1, self.objects) if o not in objects]
        index = torch.tensor([0, *objects], device=self.reference.device)
        cleared = self.map_objects(lambda x, _: x.index_fill(1, index, 0))
        references = tuple(r.only(others) for r in cleared.references if any(r.held[o] for o in others))
        return dataclasses.replace(cleared, references=references, recent=(), landmarks=())

    def select(self, objects: list[int]) -> "Memory":
        """A memory of some objects only, in that order; what belonged to the others becomes background.

        Raises:
            ValueError: the background, 0, is not the first.
        """
        if objects[:1] != [0]:
            raise ValueError(f"objects {objects} do not begin with 0, the background, which cannot be removed")
        dropped = [o for o in range(self.objects) if o not in objects]

        def change(x: Tensor, is_membership: bool) -> Tensor:
            remaining = x[:, objects]
            if is_membership and dropped:
                remaining[:, 0] += x[:, dropped].sum(1)
            return remaining
        return self.map_objects(change)


def pool_instances(embedding: Float[Tensor, "batch channels height width"],
                   memberships: Float[Tensor, "batch object height width"]
                   ) -> Float[Tensor, "batch object 2 channels_and_area"]:
    """Sums of the embedding inside and outside each object, area in the last channel; 0 for objects that are absent."""
    present = (memberships.sum((2, 3)) > 0).to(memberships.dtype)[:, :, None, None]
    counted = torch.cat([embedding, torch.ones_like(embedding[:, :1])], 1)
    inside = torch.einsum("bohw,bchw->boc", memberships, counted)
    outside = counted.sum((2, 3))[:, None] - inside
    return torch.stack([inside, outside], 2) * present
