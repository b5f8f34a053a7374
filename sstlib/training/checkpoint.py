"""Everything that a run needs to go on as if it had never stopped, in one file written aside and renamed."""

import contextlib
import csv
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from sstlib.config import RunConfig
from sstlib.config.values import Fields, Number, Whole
from sstlib.paths import atomic_write

REMEDY = "; delete it to start again"
# What PyTorch raises of states that do not fit
STATES = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
CONTENT = {
    "config": dict, "step": int, "curve": list, "seconds": float | int, "network": dict, "average": dict,
    "optimizer": dict, "random": torch.Tensor
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state so that `path` is always whole: the last complete checkpoint, or the new one.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # PyTorch's writer says so of a full disk
        raise OSError(f"{path} cannot be written: {error}") from error


def load(path: Path, config: RunConfig) -> dict[str, Any] | None:
    """The state in `path`, or None where there is none yet. Only tensors and plain values are read, no code.

    Raises:
        ValueError: the checkpoint is of another configuration (the first difference is named) or cannot be read.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*STATES, EOFError, OverflowError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint{REMEDY}") from error
    if not isinstance(state, dict) or (lacking :=
                                       [key for key, kind in CONTENT.items() if not isinstance(state.get(key), kind)]):
        raise ValueError(f"{path} is damaged, or no checkpoint: it lacks "
                         f"{', '.join(lacking) if isinstance(state, dict) else 'all keys'}{REMEDY}")
    try:
        Whole(0, config.training.steps).check(state["step"], "step")
        Number(0).check(state["seconds"], "seconds")
        for row in state["curve"]:
            Number().check(Fields().check(row, "a row of the curve").get("loss"), "a loss of the curve")
    except ValueError as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: {error}{REMEDY}") from error
    stored = RunConfig.from_dict(state["config"], f"{path}: config.")
    for key, (given, other) in config.differences(stored).items():
        raise ValueError(f"{path} is of a run with {key} = {other!r}, this one has {given!r}; "
                         "give another folder, or delete the checkpoint to start again")
    return state


@contextlib.contextmanager
def read_from(path: Path) -> Iterator[None]:
    """Says of states that do not fit what they are to be restored to that their checkpoint is damaged.

    Raises:
        ValueError: so.
    """
    try:
        yield
    except STATES as error:
        raise ValueError(
            f"{path} is damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}{REMEDY}") from error


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Loads the state, and looks at the shapes, which PyTorch does not.

    Raises:
        ValueError: a tensor of another shape than its parameter, or what `load_state_dict` raises.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if not isinstance(value, torch.Tensor) or (value.ndim and value.shape != parameter.shape):
                raise ValueError(f"the optimizer's {name} does not fit a parameter of {tuple(parameter.shape)}")


def write_curve(path: Path, rows: list[dict[str, float | int]]) -> None:
    """The curve as CSV, a row a step; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
