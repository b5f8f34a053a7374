"""The patterns that tests go through: all that are registered, so that a new class is in every such test by itself.

A class of one's own comes in as it is without arguments, and causal; SST_PATTERNS=file.py brings it into a run of the
tests.
"""

import dataclasses

from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided, registered

SMALL = {  # of the library's, at sizes that buffers in tests have
    Dense: [Dense(), Dense(causal=True)],
    Grid: [Grid(), Grid(causal=True)],
    Local: [Local(2), Local((1, 3)), Local(0), Local(2, causal=True)],
    Strided: [Strided(3), Strided((2, 3), 2), Strided((3, 2), 2, causal=True)],
}


def small(pattern: type[Connectivity]) -> list[Connectivity]:
    """Some patterns of a class; none where it cannot be made without arguments, or says not how its axes are
    related.
    """
    needed = [f for f in dataclasses.fields(pattern) if f.default is f.default_factory is dataclasses.MISSING]
    if needed or pattern.relations is Connectivity.relations:
        return []
    return SMALL.get(pattern) or [pattern(), pattern(causal=True)]


# Those have tests of their own
KINDS = [kind for kind in registered().values() if not kind.__module__.startswith("test_")]
EVERY = [pattern for kind in KINDS for pattern in small(kind)]
ONE_EACH = [patterns[0] for kind in KINDS if (patterns := small(kind))]
