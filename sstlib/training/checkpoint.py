"""Everything that a run needs to go on as if it had never stopped, in one file written aside and renamed."""

import pickle
from pathlib import Path
from typing import Any

import torch

from sstlib.config import RunConfig
from sstlib.files import written_aside


REMEDY = "; delete it to start again"
CONTENT = {"config": dict, "step": int, "curve": list, "seconds": float | int, "network": dict, "average": dict, "optimizer": dict,
           "random": torch.Tensor}


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
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint{REMEDY}") from error
    if not isinstance(state, dict) or (lacking := [key for key, kind in CONTENT.items() if not isinstance(state.get(key), kind)]):
        raise ValueError(f"{path} is damaged, or no checkpoint: it lacks {', '.join(lacking) if isinstance(state, dict) else 'all keys'}{REMEDY}")
    stored = RunConfig.from_dict(state["config"], f"{path}: config.")
    for key, (given, other) in config.differences(stored).items():
        raise ValueError(f"{path} is of a run with {key} = {other!r}, this one has {given!r}; "
                         "give another folder, or delete the checkpoint to start again")
    return state
