"""SHA-256 of whatever identifies a result: bytes, texts, files."""

import hashlib
import os
from pathlib import Path


def sha256(*parts: bytes | str | Path) -> str:
    """The digest of some parts one after the other, in hexadecimal; of a path the file's content.

    Raises:
        OSError: a file that cannot be read.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as file:
                while chunk := file.read(1 << 20):
                    total.update(chunk)
        else:
            total.update(part.encode(errors="surrogateescape") if isinstance(part, str) else part)
    return total.hexdigest()


def distinct_name(path: Path | str) -> str:
    """A name for what is made of a file or folder: its folder's, its own, and digits of its whole path, since many
    are called `frames`. It is the same every time, and no longer than a file system's names may be.
    """
    whole = Path(os.path.realpath(Path(path).expanduser()))
    return f"{whole.parent.name[:20]} {whole.stem[:36]} {sha256(str(whole))[:6]}".strip()
