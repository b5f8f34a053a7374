"""The network (section 3), its rivals, and what they are made of; `fast/` is there for speed alone.

A method is a subclass of `Propagator` with an entry in `networks.METHODS`, by whose name `build` asks for it.

>>> network = build(MODELS["sst-tiny"])
>>> frames, masks = torch.rand(1, 4, 3, 32, 48), torch.eye(2)[torch.randint(0, 2, (1, 32, 48))].movedim(-1, 1)
>>> tuple(unroll(network, frames, masks).shape)  # a clip from the masks of its first frame: logits of all others
(1, 3, 2, 32, 48)
"""

from sstlib.config import MODELS
from sstlib.model.baselines import CFBI, STM, Recurrent
from sstlib.model.memory import Features, Memory, Remembered
from sstlib.model.propagator import Propagator, build, own_memberships, unroll
from sstlib.model.sst import SST

__all__ = [
    "CFBI", "MODELS", "SST", "STM", "Features", "Memory", "Propagator", "Recurrent", "Remembered", "build",
    "own_memberships", "unroll",
]
