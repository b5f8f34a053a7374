"""SHA-256 of whatever identifies a result: bytes, texts, files."""

import hashlib
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
