"""Notebooks and runs as tasks: each in its own process, scheduled by Dask, done only when its record says so."""

from sstlib.reproduction.engine import Engine, summary
from sstlib.reproduction.notebooks import choose, notebook_tasks, require_known, write_in_place
from sstlib.reproduction.parameters import parse_parameters
from sstlib.reproduction.task import Outcome, Task

__all__ = ["Engine", "Outcome", "Task", "choose", "notebook_tasks", "parse_parameters", "require_known", "summary",
           "write_in_place"]
