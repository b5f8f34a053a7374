"""Experiments: variants, sweeps and run records here; `tables` (needs pandas) and `execute` (needs the network)
beside them.

>>> SWEEPS["pattern"].labels["grid-2"], run("grid-2", seed=0).config.model.layers
('Grid, 2 layers', ('grid', 'grid'))
"""

from sstlib.experiments.records import RunRecord
from sstlib.experiments.sweeps import SWEEPS, VARIANTS, Run, Sweep, missing, run

__all__ = ["SWEEPS", "VARIANTS", "Run", "RunRecord", "Sweep", "missing", "run"]
