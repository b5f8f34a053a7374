"""One task: a command in its own process, and the record of its completion."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sstlib
from sstlib.config.values import read_json
from sstlib.paths import absolute, write_whole
from sstlib.paths.digests import sha256

START_FAILED = 75  # exit status of a child that never began its work (EX_TEMPFAIL); the only one worth another attempt
ATTEMPTS = 3
PATIENCE = 5.0  # seconds between asking a child to end and ending it
POLL = 0.5
SHOWN = 25  # last lines of the log that are shown as the error of a task


@dataclasses.dataclass(frozen=True)
class Task:
    """A module to run in its own process, what it makes, and where its completion is recorded.

    With a `stamp`, the runner writes `record` when the command has ended with status 0: the stamp, time, seconds, and a
    digest of the output. Without one, the command writes its own record, atomically, as its last step, and `complete`
    says whether that record exists and has the present configuration.
    """

    name: str
    command: tuple[str, ...]  # module and arguments, as after `python -m`
    output: Path
    record: Path
    log: Path
    stamp: dict[str, Any] | None = None
    complete: bool = False
    note: str = ""  # on its result, if that is reused
    partial: Path | None = None  # where the command writes its output until it is whole
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def done(self) -> bool:
        """Whether there is a record of the same fingerprint that describes the existing output."""
        if self.stamp is None:
            return self.complete
        written = read_record(self.record)
        return (written.get("fingerprint") == self.stamp["fingerprint"] and self.output.is_file()
                and written.get("digest") == sha256(self.output))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a task ended: ran, reused, failed or interrupted."""

    name: str
    status: str
    seconds: float = 0.0
    error: str = ""
    attempts: int = 1
    note: str = ""


def execute(task: Task, stopped: Callable[[], bool] = lambda: False) -> Outcome:
    """Runs a task in a child process; `stopped` is called twice a second and ends it early."""
    began = time.monotonic()
    task.log.parent.mkdir(parents=True, exist_ok=True)
    task.output.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        status = None if stopped() else _run_child(task, stopped)
        if status != START_FAILED:
            break
    seconds = round(time.monotonic() - began, 1)
    if status is None:
        if task.partial:
            task.partial.unlink(missing_ok=True)
        return Outcome(task.name, "interrupted", seconds)
    error = _settle(task, status, seconds)
    return Outcome(task.name, "failed" if error else "ran", seconds, error, attempt)


def _run_child(task: Task, stopped: Callable[[], bool]) -> int | None:
    """Exit status of the command, None if it was stopped."""
    with tempfile.TemporaryDirectory(prefix="sst-") as scratch, open(task.log, "wb") as log:
        environment = _environment(task, Path(scratch))
        child = subprocess.Popen([sys.executable, "-m", "sstlib.reproduction.child", *task.command], env=environment,
                                 stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while True:
                try:
                    return child.wait(POLL)
                except subprocess.TimeoutExpired:
                    if stopped():
                        return None
        finally:
            _end(child)


def _environment(task: Task, scratch: Path) -> dict[str, str]:
    """The child's environment: one thread, the same sstlib as here, and not the user's IPython profile."""
    (scratch / "profile_default").mkdir()
    (scratch / "profile_default" / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.log_level = 40  # no warning about plain TCP at each start\nc.HistoryManager.enabled = False\n")
    package = str(Path(sstlib.__file__).resolve().parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    fixed = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
             "IPYTHONDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return inherited | absolute(inherited) | fixed | task.environment


def _end(child: subprocess.Popen) -> None:
    """Terminates what is left of a child's process group, gently first; a kernel ends itself without its parent."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(PATIENCE)
        except (ProcessLookupError, PermissionError):
            break
        except subprocess.TimeoutExpired:
            continue
    child.stdin.close()
    child.wait()


def _settle(task: Task, status: int, seconds: float) -> str:
    """Moves the output into place and writes the record, or keeps a failed command's output; returns the error."""
    failed = task.output.with_suffix(".failed" + task.output.suffix)
    if status:
        if task.partial and task.partial.exists():
            os.replace(task.partial, failed)
        return tail(task.log) or _how_it_ended(status)
    if task.partial:
        os.replace(task.partial, task.output)
        failed.unlink(missing_ok=True)
    if task.stamp is not None:
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        content = task.stamp | {"finished": finished, "seconds": seconds, "digest": sha256(task.output)}
        write_whole(task.record, json.dumps(content, indent=1))
    return "" if task.record.is_file() else f"ended with status 0 but without its record {task.record}"


def _how_it_ended(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}, saying nothing"


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").rstrip().splitlines()[-SHOWN:]) if log.is_file() else ""


def read_record(path: Path) -> dict[str, Any]:
    """A record's content; empty if there is none or it cannot be read."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}
