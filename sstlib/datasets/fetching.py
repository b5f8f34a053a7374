"""Unpacks archives of data sets safely."""

import errno
import filecmp
import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from sstlib.video import is_picture

CHUNK = 1 << 20
# Places outside of a zip, and files that are folders, too
DAMAGED = (errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
MOST_FILES = 2_000_000
SPLITS = "train valid test train_all_frames valid_all_frames test_all_frames"
DESKTOP = (".DS_Store", "Thumbs.db", "desktop.ini")  # what systems put into folders
PARTS = frozenset(["JPEGImages", "Annotations", "ImageSets", *SPLITS.split()])  # outer folders that are kept


def unpack(archive: Path | str, folder: Path, most: int) -> int:
    """Unpacks a zip into `folder` and returns the number of files; nothing appears there before all is unpacked.

    Outer folders, as in DAVIS's zips, are stripped, and what systems put beside files (.DS_Store) is left out.

    Raises:
        FileNotFoundError: no such zip.
        ValueError: not a zip, damaged, or with members that leave the folder, are links, or exceed `most` bytes; or it
            would replace a different picture.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such zip")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".unpacking"))
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _safe_members(archive, opened, most)
            strip = _outer(members)
            for name, member in tqdm(members.items(), desc=f"unpacking {archive.name}", unit=" files", disable=None):
                target = scratch.joinpath(*name.parts[strip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
        _require_same(scratch, folder)
        _move_into(scratch, folder)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OverflowError,
            struct.error, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGED:
            raise
        raise ValueError(f"{archive}: not a whole zip ({error}); download it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return len(members)


def _safe_members(archive: Path, opened: zipfile.ZipFile, most: int) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of a zip by path, all checked to be harmless."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    total = 0
    for member in opened.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and ":" in name.parts[0]):
            raise ValueError(f"{archive}: member {member.filename!r} would leave the folder; nothing was unpacked")
        if not name.parts:
            raise ValueError(f"{archive}: member {member.filename!r} has no name; nothing was unpacked")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"{archive}: member {member.filename!r} is a link; nothing was unpacked")
        if member.is_dir() or "__MACOSX" in name.parts or name.parts[-1] in DESKTOP or name.parts[-1].startswith("._"):
            continue
        if name in members:
            raise ValueError(f"{archive}: holds {member.filename!r} twice; nothing was unpacked")
        total += member.file_size
        if total > most or len(members) >= MOST_FILES:
            raise ValueError(f"{archive}: holds more than {most / 2**30:.1f} GiB or {MOST_FILES} files unpacked, "
                             f"more than this data set has; nothing was unpacked")
        members[name] = member
    if not members:
        raise ValueError(f"{archive}: holds no files")
    if total > (free := shutil.disk_usage(archive.parent).free):
        raise OSError(f"{archive}: needs {total / 2**30:.1f} GiB unpacked, {free / 2**30:.1f} GiB are free")
    return members


def _outer(names: Collection[PurePosixPath]) -> int:
    """How many folders all files of a zip lie in, up to one that is kept."""
    for depth in range(min(len(name.parts) for name in names) - 1):
        if len(outer := {name.parts[depth] for name in names}) > 1 or outer & PARTS:
            return depth
    return min(len(name.parts) for name in names) - 1


def _require_same(source: Path, target: Path) -> None:
    """Raises a ValueError if a picture would replace a different one, as masks of DAVIS 2016 would those of 2017."""
    for path in source.rglob("*") if target.exists() else ():
        place = target / path.relative_to(source)
        if is_picture(path) and place.is_file() and not filecmp.cmp(path, place, shallow=False):
            raise ValueError(f"{place} is another picture than that of the zip, which would replace it; nothing was "
                             "unpacked: give another folder by --into, or remove it")


def _move_into(source: Path, target: Path) -> None:
    """Moves a tree into place, merging it with existing folders."""
    if not target.exists():
        os.replace(source, target)
        return
    for entry in source.iterdir():
        if entry.is_dir() and (target / entry.name).is_dir():
            _move_into(entry, target / entry.name)
        else:
            os.replace(entry, target / entry.name)
