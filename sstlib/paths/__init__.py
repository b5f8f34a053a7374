"""Folders of the repository, found from the package's own place (of a wheel: beneath the working directory); and files
that are whole or absent, told apart by their digests, and fetched from elsewhere.
"""

import errno
import mimetypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def _named(variable: str, default: Path) -> Path:
    """The folder that an environment variable names, whether it is there or not; the default where it is not set, or
    empty.

    Raises:
        ValueError: it names a file.
    """
    folder = Path(os.environ.get(variable) or default).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{variable} names {folder}, which is a file; name a folder, or leave {variable} out")
    return folder


# What a wheel brings: a release, and the numbers that others published
BROUGHT = Path(__file__).resolve().parents[1] / "released"
ROOT = _named("SSTVOS_HOME", Path.cwd() if BROUGHT.is_dir() else Path(__file__).resolve().parents[2])
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
TABLES = RESULTS / "tables"
FIGURES = _named("SST_FIGURES", RESULTS / "figures")  # elsewhere for a notebook that runs with other parameters
WEIGHTS = RESULTS / "weights"
PUBLISHED = (BROUGHT if BROUGHT.is_dir() else DATA) / "published.json"
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
            raise FileNotFoundError(f"SST_DAVIS names {folder}, which is not a folder; point it at the folder that "
                                    "holds JPEGImages/")
        return folder
    folder = DATA / "DAVIS"
    return folder if folder.is_dir() else None


def photographs() -> Path | None:
    """The photographs with masks that `SST_PHOTOGRAPHS`, `data/photographs` or `data/photographs.zip` name, or None
    where there are none.

    Raises:
        FileNotFoundError: `SST_PHOTOGRAPHS` is set but is neither a folder nor a file.
    """
    named = os.environ.get("SST_PHOTOGRAPHS")
    if named:
        place = Path(named).expanduser()
        if not place.exists():
            raise FileNotFoundError(f"SST_PHOTOGRAPHS names {place}, which does not exist; point it at the folder or "
                                    "the zip file with "
                                    "SET/JPEGImages and SET/Annotations")
        return place
    return next((place for place in (DATA / "photographs", DATA / "photographs.zip") if place.exists()), None)


def absolute(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that name files or folders, by absolute paths: a process that is started in
    another folder, as a notebook's, would look for them there.
    """
    given = {name: environment[name] for name in ("SST_CACHE", "SST_DAVIS", "SST_PHOTOGRAPHS", "SST_PATTERNS")
             if environment.get(name)}
    several = {name: text.split(os.pathsep) if name == "SST_PATTERNS" else [text] for name, text in given.items()}
    return {name: os.pathsep.join(os.path.abspath(os.path.expanduser(path)) for path in parts if path)
            for name, parts in several.items()}


def commit() -> str:
    """The commit of the checkout, with `+changes` where the library differs from it; `unknown` outside git."""
    if BROUGHT.is_dir():  # installed: the working directory may be a checkout of something else
        return "unknown"

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "sstlib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class NotWritten(OSError):
    """A file that cannot be written, named, with the reason and what to do about it."""

    def __str__(self) -> str:
        return self.strerror


ROOM = "make room, for bytes and for files, and give the command again"
ADVICE = {errno.ENOSPC: ROOM, errno.EDQUOT: ROOM, errno.EFBIG: "this disk, or its owner, does not allow larger files",
          errno.EIO: "the disk may be damaged, or not there any more", errno.EROFS: "name another place"}  # of writing
BEFORE = {errno.EACCES: "name another place", errno.EPERM: "name another place",  # of making or naming a file
          errno.ENOENT: "its folder was removed meanwhile", errno.ENOTDIR: "a file is in the way; name another place",
          errno.ENAMETOOLONG: "give it a shorter name"}


# By number: by name a stream that goes into a file is a second opening of it, whose text the first writes over
STREAMS = {Path("/dev/stdout"): 1, Path("/dev/stderr"): 2}


@contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """A file that appears under `path` only when it is whole; on an error, or an interrupt, nothing is left. Of a link
    the file that it leads to; a device or a pipe (`/dev/stdout`) stays one, and gets the whole at once.

    Raises:
        NotWritten: it cannot be made, written, or named; its `errno` is the system's.
    """
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}  # names as they are on disk
    if path in STREAMS or path.exists() and not path.is_file() and not path.is_dir():
        with tempfile.TemporaryFile(mode.replace("w", "w+"), **text) as whole:
            yield whole
            whole.seek(0)
            stream = STREAMS.get(path, path)
            with naming_place(path, ADVICE | BEFORE), open(stream, mode, closefd=stream is path, **text) as device:
                shutil.copyfileobj(whole, device)
        return
    with naming_place(path, ADVICE | BEFORE):
        path = resolved(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with naming_place(path), os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with naming_place(path, ADVICE | BEFORE):
            os.chmod(scratch, 0o644)
            os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):  # with its folder it is gone already
            os.unlink(scratch)
        raise


def write_whole(path: Path | str, content: str | bytes) -> Path:
    """Writes a text (UTF-8) or bytes as `atomic_write` does, whole or not at all, and returns the path.

    Raises:
        NotWritten: as `atomic_write`.
    """
    with atomic_write(path) as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def naming_place(path: Path, advice: Mapping[int, str] = ADVICE) -> Iterator[None]:
    """Turns the system's errors of writing into one that names the file and says what to do; what is read meanwhile has
    errors of its own.

    Args:
        advice: what to do, by the error's number.

    Raises:
        NotWritten: in place of such an error.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, NotWritten) or error.errno not in advice:
            raise
        raise NotWritten(error.errno, f"{path} cannot be written: {error.strerror}; {advice[error.errno]}") from error


@contextmanager
def alone(folder: Path | None, make: bool = False) -> Iterator[Callable[[], None]]:
    """Keeps a folder to this run, from now on if it is there, else from when what is given back is called: two runs at
    work in one would mix their results, and take each other's half-written files for those of a run that was killed.

    Args:
        folder: None keeps nothing.
        make: makes the folder where it is not there.

    Raises:
        NotWritten: it cannot be made.
        ValueError: another run is at work in it.
    """
    import fcntl

    held: list[int] = []

    def keep() -> None:
        if folder is None or held or not folder.is_dir():
            return
        held.append(os.open(folder, os.O_RDONLY))
        try:
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another run is at work in this folder; wait for it, or give another") from None
        except OSError:  # a file system that keeps no locks
            return

    if folder is not None and make:
        with naming_place(folder, ADVICE | BEFORE):
            folder.mkdir(parents=True, exist_ok=True)
    try:
        keep()
        yield keep
    finally:
        for descriptor in held:
            os.close(descriptor)


def refuse_inputs(outputs: Mapping[str, Path | str | None], inputs: Iterable[Path | str | None]) -> None:
    """Refuses to write what is read, or two results to one place, whatever the paths are called: links and case count
    not.

    Args:
        outputs: where a command writes, by what names it to its user (`--out`); None is not written.
        inputs: files and folders that it reads; None is none.

    Raises:
        ValueError: an output is an input, a picture among those of a folder that is read, or another output.
    """
    sources = {_identity(Path(path)): path for path in inputs if path is not None}
    targets: dict[object, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        identity = _identity(Path(path))
        if identity in sources:
            raise ValueError(f"{name} would write to {path}, which is read ({sources[identity]}); write elsewhere")
        folder = _identity(Path(path).parent)
        if folder in sources and (mimetypes.guess_type(path)[0] or "").startswith("image/"):
            raise ValueError(f"{name} would put {path} among the pictures of {sources[folder]}, which are read; write "
                             "elsewhere")
        if identity in targets:
            raise ValueError(f"{name} and {targets[identity]} would both write to {path}; give each its own")
        targets[identity] = name


def resolved(path: Path | str) -> Path:
    """What a path leads to, or would; of links that lead to themselves one of these, where Path.resolve is at its end.
    """
    return Path(os.path.realpath(path))


def _identity(path: Path) -> object:
    """What a path leads to: the file itself where there is one, else the place."""
    place = resolved(path)  # of folder/.., too, where the folder is not there yet and will be made
    try:
        status = place.stat()
    except OSError:
        return place
    return status.st_dev, status.st_ino
