"""Files that are whole or absent: written aside in the same folder, then renamed; and never in place of what is read."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_aside(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """A file that appears under `path` only when it is whole; on an error, or an interrupt, nothing is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def refuse_inputs(outputs: Mapping[str, Path | str | None], inputs: Iterable[Path | str | None]) -> None:
    """Refuses to write what is read, or two results to one place, whatever the paths are called: links and case count not.

    Args:
        outputs: where a command writes, by what names it to its user (`--out`); None is not written.
        inputs: files and folders that it reads; None is none.

    Raises:
        ValueError: an output is an input, or another output.
    """
    sources = {_identity(Path(path)): path for path in inputs if path is not None}
    targets: dict[object, str] = {}
    for name, path in outputs.items():
        if path is None:
            continue
        identity = _identity(Path(path))
        if identity in sources:
            raise ValueError(f"{name} would write to {path}, which is read ({sources[identity]}); write elsewhere")
        if identity in targets:
            raise ValueError(f"{name} and {targets[identity]} would both write to {path}; give each its own")
        targets[identity] = name


def _identity(path: Path) -> object:
    """What a path leads to: the file itself where there is one, else the place."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino
