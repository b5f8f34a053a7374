"""Finished runs of training: what their weights and curves tell of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from sstlib import weights
from sstlib.config import RunConfig
from sstlib.config.values import Fields, Number, Text, Whole, shown


def finished(run: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The facts in the weights of a run's folder, and its curve.

    Raises:
        ValueError: weights without a run, a curve without its columns, or a run that has not finished.
    """
    file, table = run / "weights.safetensors", run / "curve.csv"
    facts = weights.facts(file)
    if lacking := [key for key in ("run", "step", "origin") if key not in facts]:
        raise ValueError(f"{file} tells of no run: its metadata lacks {', '.join(lacking)}; give a folder that `sst "
                         "train` made")
    _require_stated(facts, f"{file}: ")
    if not isinstance(facts.get("ancestry", []), list):
        raise ValueError(f"{file}: ancestry is {shown(facts['ancestry'])}; expected a list of the runs before")
    for number, one in enumerate(facts.get("ancestry", [])):
        _require_stated(Fields().check(one, f"{file}: ancestry[{number}]"), f"{file}: ancestry[{number}].")
        Text().check(one.get("name"), f"{file}: ancestry[{number}].name")
    curve = pd.read_csv(table)
    if lacking := [
            name for name in ("step", "loss", "gradient_norm", "learning_rate", "seconds")
            if name not in curve or not len(curve)
    ]:
        raise ValueError(f"{table} lacks {', '.join(lacking)}; expected the curve that `sst train` wrote")
    if facts["step"] < facts["run"]["training"]["steps"]:
        raise ValueError(f"{run} stopped at step {facts['step']} of {facts['run']['training']['steps']}; finish it "
                         "before it is released")
    return facts, curve


def _require_stated(one: dict[str, Any], source: str) -> None:
    """Raises a ValueError if a weights file describes a run otherwise than training does."""
    RunConfig.from_dict(one.get("run"), f"{source}run.")
    Whole().check(one.get("step"), f"{source}step")
    origin = Fields().check(one.get("origin"), f"{source}origin")
    for key in ("device", "torch", "commit", "finished"):
        Text().check(origin.get(key), f"{source}origin.{key}")
    if "training_seconds" in one:
        Number(0).check(one["training_seconds"], f"{source}training_seconds")
