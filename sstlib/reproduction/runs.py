"""Runs of sweeps as tasks: their selection, and the command that makes each one."""

from collections.abc import Sequence
from typing import Any

from sstlib import paths


def select(names: list[str], variant: str | None = None, seed: int | None = None) -> list:
    """The selected runs with the names of their sweeps; a run that two sweeps share comes once."""
    from sstlib import experiments, reproduction

    runs = {run.record_path: (name, run) for name in reversed(names) for run in experiments.SWEEPS[name].runs()}
    for choice, field in ((variant, "variant"), (seed, "seed")):
        if choice is not None:
            known = sorted({getattr(run, field) for _, run in runs.values()})
            reproduction.require_known(choice, known, f"no {field} {choice!r} in {', '.join(names)}")
            runs = {path: entry for path, entry in runs.items() if getattr(entry[1], field) == choice}
    return sorted(runs.values(), key=lambda entry: names.index(entry[0]))


def run_name(run: Any) -> str:
    return f"{run.experiment}/{run.variant}-seed{run.seed}"


def note(run: Any) -> str:
    """The summary's note on a reused run that other code made; else empty."""
    return f"{run.note}; sst sweep --fresh makes them again" if run.note else ""


def task(name: str, run: Any, fresh: bool = False, options: Sequence[str] = (), device: str = ""):
    """A run as a task: this command again, for this run alone, in a process of its own.

    Args:
        name: the sweep.
        run: the run.
        fresh: whether it is made again.
        options: of the command, which select its base.
        device: cpu, cuda or cuda:NUMBER; empty for the default.
    """
    from sstlib import reproduction

    command = ("sstlib", "sweep", name, "--only", run.variant, "--seed", str(run.seed), *options,
               *(["--fresh"] if fresh else []))
    environment = {"SSTVOS_HOME": str(paths.ROOT)} | visible(device)
    log = paths.EXECUTED / "logs" / f"{run_name(run).replace('/', '-')}.log"
    return reproduction.Task(run_name(run), command, output=run.record_path, record=run.record_path, complete=run.done,
                             note=note(run) if run.done else "", log=log, environment=environment)


def visible(device: str) -> dict[str, str]:
    """The environment variables with which a process sees only that device."""
    number = {"cpu": ""}.get(device, device.partition(":")[2] or None)
    return {} if number is None else {"CUDA_VISIBLE_DEVICES": number}
