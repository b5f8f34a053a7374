"""Where a result comes from: commit, code, versions, machine and data of this moment, for records and weights."""

import functools
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

from sstlib import __version__, paths
from sstlib.paths.digests import sha256

LIBRARIES = ("torch", "numpy", "matplotlib", "pandas")
SHOWING = ("anatomy", "benchmarks", "cli", "experiments", "explorers", "movies", "plots", "releasing",
           "reproduction", "statistics")
TRYING = ("execute", "trials")  # of experiments, what makes scores
SOURCES = ("*.py", "*.cpp", "*.h", "*.cu", "*.js")


def provenance(data: str) -> dict[str, Any]:
    """Commit, code, versions and machine of this process; `data` says which data was used."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    return {"commit": paths.commit(), "code": code(), "sstlib": __version__, "torch": torch.__version__,
            "python": platform.python_version(), "device": device, "processor": processor()["processor"], "data": data,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


@functools.cache
def code() -> str:
    """A hash of the library's sources as this process first saw them: two results of one code have the same,
    whatever was committed.
    """
    return tree_digest(Path(__file__).parent, *SOURCES)[:16]


@functools.cache
def computed_by() -> str:
    """A hash of the sources that a run's numbers depend on: all but the rooms that only show, ask or time."""
    folder = Path(__file__).parent
    files = sorted(path for pattern in SOURCES for path in folder.rglob(pattern)
                   if path.relative_to(folder).parts[0].removesuffix(".py") not in SHOWING or path.stem in TRYING)
    return sha256(*(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in files))[:16]


def made_by(origin: dict[str, Any]) -> str:
    """Which code made a result of this provenance, for a person; empty where it is the code that runs now."""
    if origin.get("code") == code():
        return ""
    return f"made by other code, commit {origin.get('commit', 'unknown')}"


def tree_digest(folder: Path, *patterns: str) -> str:
    """SHA-256 over the names and contents of a folder's files that match a pattern; of nothing where it is missing."""
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    return sha256(*(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in files))


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that notebooks depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def software() -> dict[str, Any]:
    """From which commit and with which libraries, without importing them."""
    return {"commit": paths.commit(), "versions": versions()}


def processor() -> dict[str, Any]:
    """The processor and how busy it is at this moment: a load above the cores means that other programs shared the
    machine.
    """
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {"processor": name, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
