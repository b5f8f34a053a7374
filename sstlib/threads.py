"""How many threads a step takes: all of them while the cores are free, one while other programs use them.

A step is some hundred short parallel regions. Where another program holds a core, each region waits for the thread that
is not running: two threads on two cores, one of them busy, took 0.8 to 3.2 s for a step that takes one thread 0.22 s.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FIRST, LAST = 8, 64  # steps from one look at the other number to the next: doubled as long as the choice stays
SLOWER = 1.5  # a step that takes so many times the usual is a reason to look at once
SAMPLES = 2


class Pace:
    """Chooses between one thread and as many as PyTorch is set to, by which of the two is faster, again and again.

    The choice changes the last bits of a result, as the number of threads does; set one thread where runs must be equal
    to the bit.
    """

    def __init__(self, most: int | None = None):
        self.most = most or torch.get_num_threads()
        self.best, self.wait, self.between = 1, 0, FIRST
        self.seconds = {count: deque(maxlen=SAMPLES) for count in (1, self.most)}

    @property
    def count(self) -> int:
        """Threads of the next step."""
        looking = self.wait == 0 and len(self.seconds[self.best]) == SAMPLES
        return self._other if looking else self.best

    @property
    def _other(self) -> int:
        return 1 if self.best == self.most else self.most

    @contextmanager
    def step(self, usual: bool = True) -> Iterator[None]:
        """Sets the threads for what is done within, and measures it if it is a usual step."""
        if self.most == 1:
            yield
            return
        count = self.count
        torch.set_num_threads(count)
        started = time.perf_counter()
        try:
            yield
        finally:
            torch.set_num_threads(self.most)
        if usual:
            self.note(count, time.perf_counter() - started)

    def note(self, count: int, seconds: float) -> None:
        """Takes into account what a step with so many threads took."""
        known = self.seconds[count]
        if count == self.best:
            sudden = len(known) == SAMPLES and seconds > SLOWER * min(known)
            known.append(seconds)
            self.wait = 0 if sudden else max(0, self.wait - 1)
            return
        known.append(seconds)
        if len(known) < SAMPLES and seconds < SLOWER * min(self.seconds[self.best]):
            return
        stays = min(known) >= min(self.seconds[self.best])
        self.between = min(2 * self.between, LAST) if stays else FIRST
        self.best, self.wait = self.best if stays else count, self.between
        self.seconds[self._other].clear()
