"""Files fetched from elsewhere: whole, verified, and gone on with where a fetching stopped."""

import os
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from sstlib.paths import digests

CHUNK = 1 << 20


def download(url: str, folder: Path, sha256: str | None = None, quiet: bool = False) -> Path:
    """Fetches a file into `folder` unless it is there, going on where an earlier try stopped; what arrives is whole or
    stays named .part.

    Args:
        url: of the file.
        folder: where it goes, under the name that it has there.
        sha256: its digest, or at least the first 8 characters of it; None where none is known.
        quiet: show no bar.

    Raises:
        ValueError: the size or the checksum is not the expected one; a file with a wrong checksum is removed.
        OSError: the server cannot be reached.
    """
    target = folder / PurePosixPath(urllib.request.urlparse(url).path).name
    part = target.with_name(target.name + ".part")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _receive(url, part, quiet)
        os.replace(part, target)
    try:
        return verified(target, sha256)
    except ValueError as error:
        target.unlink()
        raise ValueError(f"{error}; the file was removed, fetch it again") from None


def verified(path: Path, sha256: str | None) -> Path:
    """The file, if its digest begins as expected.

    Raises:
        ValueError: it does not, or the expectation has fewer than 8 characters.
    """
    if sha256 is not None and (len(sha256) < 8 or not digests.sha256(path).startswith(sha256.lower())):
        raise ValueError(f"{path}: SHA-256 is {digests.sha256(path)}, expected {sha256}")
    return path


def _receive(url: str, part: Path, quiet: bool) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing is left to send: the part is whole, or of another file
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if total in ("", "*", str(done)):
                return
            part.unlink()
            raise OSError(f"{url}: has {total} bytes, {part} had {done} and was removed; fetch it again") from None
        raise OSError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{url}: cannot be reached ({error.reason}); fetch it by other means and name the file instead "
                      "(to sst data fetch by --zip)") from None
    with response:
        resumed = response.status == 206
        left = response.headers.get("Content-Length")
        expected = int(left) + (done if resumed else 0) if left else None
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(
                total=expected, initial=done if resumed else 0, unit="B", unit_scale=True, desc=part.stem, disable=quiet
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if expected is not None and part.stat().st_size != expected:
        raise OSError(f"{url}: {part.stat().st_size} of {expected} bytes arrived; the same command goes on from there")
