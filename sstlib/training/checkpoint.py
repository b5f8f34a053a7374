"""Everything that a run needs to go on as if it had never stopped, in one file written aside and renamed."""

import pickle
from pathlib import Path
from typing import Any

import torch

from sstlib.config import RunConfig
from sstlib.files import written_aside


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state so that `path` is always whole: the last complete checkpoint, or the new one.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with written_aside(path) as file:
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
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint; delete it to start again") from error
    given, stored = config.to_dict(), state["config"]
    for part, values in given.items():
        for key, value in values.items():
            if stored.get(part, {}).get(key) != value:
                raise ValueError(f"{path} is of a run with {part}.{key} = {stored.get(part, {}).get(key)!r}, this one has "
                                 f"{value!r}; give another folder, or delete the checkpoint to start again")
    return state
