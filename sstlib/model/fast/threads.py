"""How many threads a step takes: as many as there are cores that no other program uses.

A step is some hundred short parallel regions. Where another program holds a core, each region waits for the thread that
is not running: two threads on two cores, one of them busy, took 0.8 to 3.2 s for a step that takes one thread 0.22 s.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sstlib import clocks

WINDOW = 0.2  # seconds over which use is averaged: the kernel counts in hundredths
NEGLIGIBLE = 0.25  # of a core in use by others does not keep a thread from it


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """Seconds that this process's cores have worked since the machine's start, whoever for; None outside of Linux."""
    try:
        with open("/proc/stat") as file:
            rows = [line.split() for line in file if line.startswith("cpu")]
    except OSError:
        return None
    own = os.sched_getaffinity(0)
    # user, nice, system, idle, iowait, irq, softirq, steal; what comes after is part of user and nice
    ticks = [[int(value) for value in row[1:9]] for row in rows if row[0][3:].isdigit() and int(row[0][3:]) in own]
    return sum(sum(row) - row[3] - row[4] for row in ticks) / os.sysconf("SC_CLK_TCK")


class Load:
    """How many cores other programs use, on average over some tenths of a second."""

    def __init__(self):
        self._last = self._counters()
        # As if they used all but one until something is known, and none where nothing can be known.
        self.others = 0.0 if self._last[1] is None else cores() - 1.0

    @staticmethod
    def _counters() -> tuple[float, float | None, float]:
        return clocks.now(), busy_seconds(), clocks.now("processor")

    def update(self) -> None:
        """Looks at the counters again where the last look is long enough ago."""
        if clocks.now() - self._last[0] < WINDOW:
            return
        last, self._last = self._last, self._counters()
        elapsed, busy, own = (None if now is None else now - before for now, before in zip(self._last, last))
        if busy is not None:
            self.others = max(0.0, busy - own) / elapsed


LOAD = Load()  # from the import on, so that the first step knows something


def free_threads(most: int) -> int:
    """Threads that find a core of their own: at least one, at most so many."""
    LOAD.update()
    return max(1, min(most, int(cores() - LOAD.others + NEGLIGIBLE)))


@contextmanager
def shared_cores() -> Iterator[None]:
    """Within, no more threads are taken than find a core of their own; afterward the caller's setting holds again.

    The number of threads changes the last bits of a result: set one (`torch.set_num_threads(1)`) where runs must be
    equal to the bit.
    """
    most = torch.get_num_threads()
    count = free_threads(most) if most > 1 else 1
    if count == most:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(most)
