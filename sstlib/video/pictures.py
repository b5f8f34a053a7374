"""Image files: which of a folder they are, in which order, and how each is decoded as viewers show it."""

import functools
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from sstlib.shapes import UInt8
from sstlib.video import png

FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
UNREAD = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".jfif", ".pgm", ".pnm", ".tga", ".exr", ".hdr",
                    ".dpx", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".psd", ".svg"})  # pictures
LISTED = 4  # names, or kinds of names, that are given one by one
# How files end that begin so: JPEG, PNG, and WebP, which is read whole with its header
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xaeB`\x82", b"RI": b""}
POINTER = b"version https://git-lfs."
ORIENTATION = 0x0112  # the tag of EXIF
UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}  # what turns a picture of each orientation upright


def name_order(name: str) -> list[tuple[int, int, str]]:
    """Sorting key by name in which runs of digits count as numbers: frame2 comes before frame10. A name that is a
    number may be below zero, as those of renderers whose scene starts before frame 0.
    """
    return [(0, int(part), part) if re.fullmatch(r"-?\d+", part) else (1, 0, part)
            for part in re.findall(r"^-\d+$|\d+|\D+", unicodedata.normalize("NFKC", name))]  # ² is a digit, and no \d


def same_number(name: str) -> tuple[tuple[int, str], ...]:
    """What names have in common that differ in leading zeros alone: 8, 08 and 00008."""
    return tuple((number, "" if kind == 0 else part) for kind, number, part in name_order(name))


def composed(name: str) -> str:
    """A name by which it is found whichever system wrote it: a Mac may write é as e and an accent, others as one."""
    return unicodedata.normalize("NFC", name)


def is_picture(entry: Path | os.DirEntry) -> bool:
    """Whether a folder's entry is one of its pictures: hidden files, other kinds and folders are none."""
    name = Path(entry.name)
    return not entry.name.startswith(".") and name.suffix.lower() in FRAME_SUFFIXES and not os.path.isdir(entry)


def images(folder: Path, content: str = "frames", within: Path | None = None) -> dict[str, Path]:
    """Image files of a folder by stem, in the order of the numbers in their names: the one listing of frames and masks.

    Args:
        within: where given, a folder that links must not leave.

    Raises:
        FileNotFoundError: the folder is missing or holds no image.
        ValueError: two images share a name or a number, a link leads outside, or one is no file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of {content}")
    with os.scandir(folder) as entries:
        pictures = [
            (Path(entry.path), entry.is_symlink() or folder.is_symlink()) for entry in entries if is_picture(entry)
        ]
    listed: dict[str, Path] = {}
    numbers: dict[tuple, Path] = {}
    for path, linked in sorted(pictures, key=lambda pair: (name_order(pair[0].stem), pair[0].name)):
        twin = numbers.setdefault(same_number(path.stem), path)
        if twin != path:
            shared = "name" if twin.stem == path.stem else "number"
            raise ValueError(f"{path}: {twin.name} has the same {shared}; keep one of them")
        if linked and within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise ValueError(
                f"{path}: a link that leads out of {within}, to {path.resolve()}; put the file itself there"
            )
        require_file(path)
        listed[path.stem] = path
    if not listed:
        within = next((place.name for place in sorted(folder.iterdir())
                       if place.is_dir() and any(map(is_picture, place.iterdir()))), None)
        instead = passed_over(folder) or (f"there are some in its folder {within}: name that" if within else "")
        raise FileNotFoundError(
            f"{folder}: no images in this folder of {content} (looked for {', '.join(sorted(FRAME_SUFFIXES))})"
            + f"; {instead}" * bool(instead)
        )
    return listed


def files_of(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """What a folder holds of these kinds, in the order of their numbers, but for what is hidden, as what a Mac puts
    beside files on other disks.
    """
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in suffixes
                   and not path.name.startswith(".")), key=lambda path: name_order(path.name))


def passed_over(folder: Path) -> str:
    """What is to be said of pictures in a folder whose kind is not read, "" where there are none."""
    names = [path.name for path in files_of(folder, UNREAD)]
    if not names:
        return ""
    more = ", ..." * (len(names) > LISTED)
    return (f"{len(names)} picture{'s' * (len(names) > 1)} of a kind that is not read "
            f"({', '.join(names[:LISTED])}{more}): save them as PNG or JPEG")


def several_series(names: list[str]) -> str:
    """What is to be said of the frames of a clip whose names differ in more than numbers, "" where they do not, or no
    two are alike: two cameras in one folder, or masks among the frames.
    """
    series: dict[str, list[str]] = {}
    for name in names:
        series.setdefault(re.sub(r"^-\d+$|\d+", "0", name), []).append(name)
    if len(series) in (1, len(names)):
        return ""
    listed = ", ".join(f"{alike[0]} to {alike[-1]} ({len(alike)})" if len(alike) > 1 else alike[0]
                       for alike in [*series.values()][:LISTED]) + ", ..." * (len(series) > LISTED)
    return (f"its frames have {len(series)} kinds of names and are taken for one clip in this order: {listed}; give "
            "what is a clip of its own, or no frame, a folder of its own")


def left_out(names: list[str]) -> str:
    """What is to be said of a clip's frames whose numbers go on by one step but for some that leave frames out, ""
    where none does, or where numbers are no count: they differ in several places, or in steps of any length.
    """
    keys = [name_order(name) for name in names]
    places = [place for place, parts in enumerate(zip(*keys)) if len({*parts}) > 1]
    if len(places) != 1 or len({len(key) for key in keys}) > 1:
        return ""
    numbers = [key[places[0]][1] for key in keys]
    steps = [after - before for before, after in zip(numbers, numbers[1:])]
    step = min(steps)
    gaps = [n for n, long in enumerate(steps) if long >= 2 * step]
    if not gaps or len(gaps) > len(steps) / 2:
        return ""
    count = sum(steps[n] // step - 1 for n in gaps)
    listed = ", ".join(f"{names[n]} and {names[n + 1]}" for n in gaps[:LISTED]) + ", ..." * (len(gaps) > LISTED)
    return (f"{count} frame{'s are' if count > 1 else ' is'} missing by number, between {listed}; what is there is "
            "taken as one clip, frame after frame")


def require_file(path: Path) -> None:
    """Raises a ValueError where a path is a pipe, which would be waited for, or a device."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise ValueError(f"{path}: a pipe or a device, not a file; save it as one")


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turns whatever Pillow makes of a damaged file into one error that names it.

    Its plugins raise nearly everything on bytes that they do not expect, and warn of what is an error one step later.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no file, and instead of what else Pillow raises.
    """
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder, and one image is expected here; name the file") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path}: {_unidentified(path)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"{path}: claims to hold more than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels; "
                         "make it smaller, or copy it again if it is not that large") from None
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be decoded ({error or type(error).__name__}); copy or extract it again") from None


def _unidentified(path: Path) -> str:
    """What is to be said of a file that Pillow does not know."""
    if absent := stand_in(path):
        return absent
    content = path.read_bytes()[:8]
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return ("a TIFF of a kind that is not read, such as one of 64 bits a sample or of float colors, or damaged; "
                "save it with 8 or 16 bits a sample")
    if content[4:8] == b"ftyp":  # phones' pictures, often renamed .jpg
        return "HEIC, AVIF or a video by its content, which is not read as an image; save it as PNG or JPEG"
    if path.suffix.lower() not in FRAME_SUFFIXES:
        return f"{path.suffix or 'its kind'} is not read as an image; expected {', '.join(sorted(FRAME_SUFFIXES))}"
    return "not an image, or damaged at its start; copy or extract it again"


def stand_in(path: Path) -> str:
    """What is to be said of a file that is there in place of its content, "" of any other."""
    with open(path, "rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        return "a pointer of Git LFS, which stands for the file; fetch that (git lfs pull)"
    return "" if start else "empty, without a byte; copy or download it again"


def load_picture(path: Path) -> Image.Image:
    """A still picture, decoded whole and turned upright as its EXIF orientation says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, larger than Pillow's bound, or an animation.
    """
    # By name, Pillow maps raw TIFF as if it were upright
    with naming_damage(path), open(path, "rb") as file, Image.open(file) as image:
        pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a phone's JPEG with a preview
        image.load()
        turned = upright(image)
        if image.format == "PNG" and (wrong := png.damage(path.read_bytes())):
            raise ValueError(wrong)
    if pictures > 1:
        raise ValueError(f"{path}: holds {pictures} pictures, an animation or pages; save the one that is meant")
    return turned


def require_end(path: Path) -> None:
    """Raises a ValueError where a picture is cut off, which its header does not tell; one that does not end by its
    sign, as with a phone's appendix, or whose kind has none, is decoded to be sure.
    """
    with open(path, "rb") as file:
        sign = ENDS.get(file.read(2))
        if sign is not None:
            file.seek(-min(len(sign), file.seek(0, os.SEEK_END)), os.SEEK_END)
            if file.read() == sign:
                return
    load_picture(path)


def upright(image: Image.Image) -> Image.Image:
    """A picture as viewers show it: turned as its EXIF orientation says."""
    turn = UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as it is shown, from its header alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, or a damaged one.
    """
    with naming_damage(path), Image.open(path) as image:
        width, height = image.size
        turned = image.format != "TIFF" and _orientation(image) >= 5  # Pillow itself turns TIFF, its size too
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int:
    """The orientation that EXIF tells, 1 (upright) where it tells none or is damaged: viewers show those as they
    are.
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def read_frame(path: Path | str) -> UInt8[np.ndarray, "height width 3"]:
    """One frame in RGB, as viewers show it: upright, in sRGB by its color profile, 16-bit gray scaled to 8.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, of numbers without a known white (float, 32-bit), or with transparent pixels.
    """
    path = Path(path)
    image = load_picture(path)
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"{path}: the frame holds {'32-bit' if image.mode == 'I' else 'float'} numbers, whose white "
                         "is not "
                         "known; save frames with 8 or 16 bits a channel")
    with naming_damage(path):
        opaque = not image.has_transparency_data or image.convert("RGBA").getchannel("A").getextrema()[0] == 255
        frame = np.array(_in_srgb(image))
    if not opaque:
        raise ValueError(f"{path}: the frame has transparent pixels, and what shows through them is not known; save it "
                         "opaque")
    return frame


def _in_srgb(image: Image.Image) -> Image.Image:
    """An opaque picture in the colors of an ordinary screen: phones and Macs save those of their own (Display P3)."""
    plain = image if image.mode in ("L", "CMYK") else image.convert("L" if image.mode == "LA" else "RGB")
    profile = image.info.get("icc_profile")
    conversion = _to_srgb(profile, plain.mode) if profile else None
    return plain.convert("RGB") if conversion is None else conversion.apply(plain)


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings pixels of a color profile to sRGB; None of sRGB itself, and of a profile that is damaged or of
    another kind of pixels, which says nothing to viewers either.
    """
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(given):
            return None
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
