"""Folders of the repository, found from the package's own place and never from the working directory."""

import os
import subprocess
from pathlib import Path


def _named(variable: str, default: Path) -> Path:
    """The folder that an environment variable names, whether it is there or not; the default where it is not set, or empty.

    Raises:
        ValueError: it names a file.
    """
    folder = Path(os.environ.get(variable) or default).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{variable} names {folder}, which is a file; name a folder, or leave {variable} out")
    return folder


ROOT = _named("SSTVOS_HOME", Path(__file__).resolve().parents[1])
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
TABLES = RESULTS / "tables"
FIGURES = _named("SST_FIGURES", RESULTS / "figures")  # elsewhere for a notebook that runs with other parameters
WEIGHTS = RESULTS / "weights"
EXECUTED = RESULTS / "executed"
REPORT = RESULTS / "report"
CACHE = _named("SST_CACHE", Path("~/.cache/sstlib"))


def davis() -> Path | None:
    """The DAVIS folder that `SST_DAVIS` or `data/DAVIS` names, or None where there is none.

    Raises:
        FileNotFoundError: `SST_DAVIS` is set but is not a folder; a typo must not silently mean "no DAVIS".
    """
    named = os.environ.get("SST_DAVIS")
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"SST_DAVIS names {folder}, which is not a folder; point it at the folder that holds JPEGImages/")
        return folder
    folder = DATA / "DAVIS"
    return folder if folder.is_dir() else None


def photographs() -> Path | None:
    """The photographs with masks that `SST_PHOTOGRAPHS`, `data/photographs` or `data/photographs.zip` name, or None where there are none.

    Raises:
        FileNotFoundError: `SST_PHOTOGRAPHS` is set but is neither a folder nor a file.
    """
    named = os.environ.get("SST_PHOTOGRAPHS")
    if named:
        place = Path(named).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"SST_PHOTOGRAPHS names {place}, which does not exist; point it at the folder or the zip file with "
                                    "SET/JPEGImages and SET/Annotations")
        return place
    return next((place for place in (DATA / "photographs", DATA / "photographs.zip") if place.exists()), None)


def commit() -> str:
    """The commit of the checkout, with `+changes` where the library differs from it; `unknown` outside git."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "sstlib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
