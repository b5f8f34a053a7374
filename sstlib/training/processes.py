"""Training one run on several processes (torchrun): who this process is, and gradients averaged over all."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from sstlib.config.values import Whole
from sstlib.shapes import Shaped


@dataclass(frozen=True)
class Place:
    """This process among those of the run."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Which of the clips 0..batch-1 of a step are this process's.

        Raises:
            ValueError: the processes cannot share the batch evenly.
        """
        if batch % self.world:
            raise ValueError(
                f"a batch of {batch} clips does not divide over {self.world} processes; make it a multiple")
        each = batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def mean(self, values: Shaped[torch.Tensor, "..."]) -> torch.Tensor:
        """The mean of a small tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values = values / self.world
        return values


@dataclass(frozen=True)
class Positions(Sequence[int]):
    """Positions in the run of the clips that a process draws, step after step, without a long run's list."""

    steps: range
    batch: int
    mine: range

    def __len__(self) -> int:
        return len(self.steps) * len(self.mine)

    def __getitem__(self, index: int) -> int:  # type: ignore[override]  # nobody slices
        step, place = divmod(index, len(self.mine))
        return self.steps[step] * self.batch + self.mine[place]


@contextlib.contextmanager
def joined() -> Iterator[Place]:
    """Joins the process group that torchrun describes, if any, and leaves it at the end.

    Raises:
        RuntimeError: the group has another size than torchrun announced: the run would silently train something else.
    """
    number = Whole(most=100_000)
    world, local = (number.check(number.read(os.environ.get(name) or default), f"{name}, which torchrun sets,")
                    for name, default in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Place(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        if dist.get_world_size() != world:
            raise RuntimeError(f"the process group has {dist.get_world_size()} members, torchrun announced {world}")
        yield Place(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
