"""Masks from the files of labeling tools: COCO (JSON), LabelMe (JSON, one an image) and CVAT (XML, of images or of a
video), with the names of their objects.

Who is the same object in two frames, the file must tell (COCO's `track_id`, which CVAT keeps among its attributes,
LabelMe's and CVAT's group, CVAT's track), or each frame must hold one of a label. Of regions that overlap, the later
one, or the one of the higher `z_order`, lies on top; an object that nothing is left of is refused. So are boxes, which
are no masks, and files of several clips whose frames have the same names.
"""

import base64
import binascii
import io
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from sstlib.config.values import parse_json
from sstlib.shapes import Bool, UInt8
from sstlib.video.pictures import files_of, require_file
from sstlib.video.regions import (
    LARGEST,
    Region,
    Size,
    coordinates,
    ellipse_mask,
    named,
    one_size,
    pasted,
    polygon_mask,
    require_near,
)

SUFFIXES, LABELME = (".json", ".xml"), (".json",)
VOID, MOST = 255, 254
LISTED = 4  # places that are given one by one


class Labeled(NamedTuple):
    """What a file says: masks by the names of their frames without suffix, or by number where it is of a video."""

    kind: str
    size: Size  # height and width
    masks: dict[str | int, UInt8[np.ndarray, "height width"]]
    names: dict[int, str]  # of the objects
    passed_over: tuple[str, ...] = ()  # sentences about what else it says


def read_labels(path: Path | str, frames: Collection[str] = ()) -> Labeled:
    """The masks of a file, or of a folder of LabelMe's files.

    Args:
        frames: names of the clip's frames; a file of LabelMe that has none of these is of the image that it names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another kind, without masks, or not clear about who is who.
    """
    path = file = Path(path)
    files = files_of(path, LABELME) if path.is_dir() else [path]
    try:
        parts = [_parts(file := one, frames) for one in files]
        file = path
        if len({(kind, size) for kind, size, _ in parts}) > 1 or len(parts) > 1 and parts[0][0] != "LabelMe":
            raise ValueError("its files are not all LabelMe's, of one size")
        regions = [region for _, _, shapes in parts for region in shapes]
        return Labeled(*parts[0][:2], *_numbered([region for region in regions if not region.outside], parts[0][1]),
                       _outside(regions))
    except OSError as error:
        raise type(error)(f"{file}: it cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ElementTree.ParseError) as error:
        reason = f"it lacks the key {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise ValueError(f"{file}: no masks can be read from it ({reason})") from None


def _parts(path: Path, frames: Collection[str]) -> tuple[str, Size, list[Region]]:
    require_file(path)
    if path.suffix.lower() == ".xml":
        return _cvat(ElementTree.fromstring(path.read_bytes()))
    content = parse_json(path.read_bytes(), path.name)
    keys = set(content) if isinstance(content, dict) else set()
    if "shapes" in keys:
        picture = content.get("imagePath")
        drawn_on = _stem(picture) if isinstance(picture, str) and picture.strip() else ""
        return _labelme(content, drawn_on if path.stem not in frames and drawn_on in frames else path.stem)
    if keys >= {"images", "annotations"}:
        return _coco(content)
    raise ValueError("it is neither COCO's JSON (images and annotations) nor LabelMe's (shapes); export it as COCO")


def _numbered(regions: list[Region], size: Size) -> tuple[dict[str | int, np.ndarray], dict[int, str]]:
    """Labels of each frame, and the names of the ids."""
    frames = list(dict.fromkeys(region.frame for region in regions))
    _require_one_clip(regions)
    ids: dict[tuple, int] = {}
    masks = {frame: np.zeros(size, np.uint8) for frame in frames}
    for number, region in enumerate(regions):
        if region.void:
            masks[region.frame][region.mask] = VOID
            continue
        key = region.label, region.key
        if region.key is None:
            alike = [other for other in regions if other.frame == region.frame and other.label == region.label
                     and other.key is None and not other.void]
            if len(alike) > 1 and len(frames) > 1:
                raise ValueError(f"frame {region.frame} holds {len(alike)} regions {region.label!r}, and nothing says "
                                 "which is which in another frame; give them track ids or groups, or other labels")
            key += (number,) if len(alike) > 1 else ()
        identity = ids.setdefault(key, len(ids) + 1)
        if identity > MOST:
            raise ValueError(f"more than {MOST} objects")
        masks[region.frame][region.mask] = identity
    if not ids:
        raise ValueError("its regions are all crowds (iscrowd), which are void and no object; set iscrowd to 0 where "
                         "one is an object" if regions else "it holds no polygon and no mask")
    labels, names = [label for label, *_ in ids], {}
    for (label, *_), identity in ids.items():
        nth = sum(other == label for other in labels[:identity])
        names[identity] = f"{label} {nth}" if labels.count(label) > 1 else label
    shown = set().union(*(np.unique(mask).tolist() for mask in masks.values()))
    if hidden := [names[identity] for identity in names if identity not in shown]:
        raise ValueError(f"nothing of {hidden[0]!r} shows: it lies outside of its image, or beneath others; of two "
                         "regions the later one, or the one of the higher z_order, lies on top")
    return masks, names


def _require_one_clip(regions: list[Region]) -> None:
    """Raises a ValueError where pictures of several folders or kinds would be one frame."""
    pictures: dict[str | int, str] = {}
    for region in regions:
        if (first := pictures.setdefault(region.frame, region.picture)) != region.picture:
            raise ValueError(f"its images {first!r} and {region.picture!r} would be one frame; give a file of one clip")


def _stem(name: str) -> str:
    """The name of a frame from that of its file, which may have folders of any system before it."""
    return Path(re.split(r"[/\\]", named(name))[-1]).stem


def _coco(content: dict[str, Any]) -> tuple[str, Size, list[Region]]:
    labels = {entry["id"]: named(entry["name"]) for entry in content.get("categories", [])}
    images = {entry["id"]: entry for entry in content["images"]}
    tracks = {entry["id"]: entry.get("name") for entry in content.get("tracks", [])}  # as sst segment names them
    size = one_size([(entry["height"], entry["width"]) for entry in images.values()])
    if len(images) < len(content["images"]):
        raise ValueError("two of its images have the same id")
    regions = []
    for entry in content["annotations"]:
        if entry["image_id"] not in images:
            raise ValueError(f"an annotation is of image {entry['image_id']!r}, which is not among its images")
        picture, category = images[entry["image_id"]]["file_name"], entry["category_id"]
        label = labels.get(category, f"category {category}")
        if not entry.get("segmentation"):
            raise ValueError(f"{label!r} in {picture} is a box or a point alone, which is no mask; draw polygons, or "
                             "give the box by --box")
        known = (entry.get("attributes") or {}) | entry
        key = next((known[name] for name in ("track_id", "instance_id") if known.get(name) is not None), None)
        regions.append(Region(_stem(picture), tracks.get(key) or label, key, coco_mask(entry["segmentation"], size),
                              bool(entry.get("iscrowd")), picture))
    return "COCO", size, regions


def coco_mask(segmentation: Any, size: Size) -> Bool[np.ndarray, "height width"]:
    """A region as COCO writes it: polygons, run lengths, or run lengths in COCO's compression.

    Raises:
        ValueError: it is damaged, or of another size.
    """
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"run lengths are of size {segmentation['size']}, their image is {list(size)}")
        counts = segmentation["counts"]
        return _runs(_decompressed(counts) if isinstance(counts, str) else counts, size[::-1]).T
    from pycocotools import mask as coco

    polygons = [coordinates(polygon) for polygon in segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers; expected x and y of three corners or more")
        require_near(polygon, size)
    merged = coco.merge(coco.frPyObjects(polygons, *size))
    return _runs(_decompressed(merged["counts"].decode()), size[::-1]).T


def _decompressed(text: str) -> list[int]:
    """Run lengths from COCO's text: five bits a letter from 48 on, the sixth says that more follow; from the third on
    they are differences to the last but one.
    """
    counts, value, shift = [], 0, 0
    for letter in text.encode():
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("compressed run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths are cut off")
    return counts


def _runs(counts: Any, size: Size) -> np.ndarray:
    """Pixels from lengths of runs, row by row, beginning outside of the object."""
    lengths = np.array([count if type(count) is int else -1 for count in counts], np.int64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths add up to {lengths.sum()} pixels; expected {size[0] * size[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size)


def _labelme(content: dict[str, Any], stem: str) -> tuple[str, Size, list[Region]]:
    size, regions = one_size([(content["imageHeight"], content["imageWidth"])]), []
    for shape in content["shapes"]:
        kind, points = shape.get("shape_type") or "polygon", [tuple(coordinates(point)) for point in shape["points"]]
        if kind == "polygon":
            mask = polygon_mask(points, size)
        elif kind == "circle":
            if len(points) != 2:
                raise ValueError(f"a circle of {len(points)} points; expected its center and a point on it")
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            mask = ellipse_mask(x, y, radius, radius, size)
        elif kind == "mask":
            mask = pasted(_picture(shape["mask"]), round(points[0][0]), round(points[0][1]), size)
        else:
            raise ValueError(f"shape {named(shape['label'])!r} is a {kind}, which is no mask; draw polygons"
                             + (", or give the box by --box" if kind == "rectangle" else ""))
        regions.append(Region(stem, named(shape["label"]), shape.get("group_id"), mask))
    return "LabelMe", size, regions


def _picture(text: Any) -> np.ndarray:
    """A mask as LabelMe keeps it: a picture in base64."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            if image.width * image.height > LARGEST:
                raise ValueError("a mask is too large")
            return np.array(image.convert("L")) > 0
    except (binascii.Error, OSError, SyntaxError, TypeError) as error:
        raise ValueError(f"a mask is no picture ({error})") from None


def _cvat(root: ElementTree.Element) -> tuple[str, Size, list[Region]]:
    if root.tag != "annotations":
        raise ValueError(f"the XML is <{root.tag}>; expected CVAT's <annotations>")
    images, tracks = root.findall("image"), root.findall("track")
    if images:
        size = one_size([(int(_of(image, "height")), int(_of(image, "width"))) for image in images])
        regions = []
        for image in images:
            for shape in sorted(_shapes(image), key=lambda shape: int(shape.get("z_order") or 0)):
                group = shape.get("group_id")
                regions.append(Region(_stem(_of(image, "name")), named(shape.get("label")),
                                      None if group in (None, "0") else group, _cvat_mask(shape, size),
                                      picture=_of(image, "name")))
        return "CVAT", size, regions
    original = next(root.iter("original_size"), None)
    if original is None:
        raise ValueError("it says no size of the video (meta/.../original_size)")
    size, drawn = one_size([(int(original.findtext("height")), int(original.findtext("width")))]), []
    for track in tracks:
        for shape in _shapes(track):
            if shape.get("keyframe", "1") == "1":
                outside = shape.get("outside", "0") == "1"
                region = Region(int(_of(shape, "frame")), named(track.get("label")), track.get("id"),
                                np.zeros(size, bool) if outside else _cvat_mask(shape, size), outside=outside)
                drawn.append((region.frame, int(shape.get("z_order") or 0), len(drawn), region))
    return "CVAT", size, [region for *_, region in sorted(drawn, key=lambda entry: entry[:3])]


def _outside(regions: list[Region]) -> tuple[str, ...]:
    """What is to be said of objects that are outside of a frame: CVAT ends tracks so, and single shapes as well, so
    that nobody knows whether the object is gone.
    """
    places = [f"{region.label} (track {region.key}) from frame {region.frame} on" for region in regions
              if region.outside]
    listed = ", ".join(places[:LISTED]) + ", ..." * (len(places) > LISTED)
    return (f"outside is {listed}, which is not taken for gone, as what is drawn on one frame alone ends so, too; for "
            "an object that is gone there is --absent", ) if places else ()


def _shapes(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The regions of an image or a track."""
    for shape in parent:
        if shape.tag in ("polygon", "mask", "ellipse"):
            yield shape
        elif shape.tag in ("box", "polyline", "points", "cuboid", "skeleton"):
            raise ValueError(f"{shape.get('label') or parent.get('label')!r} is a {shape.tag}, which is no mask; draw "
                             "polygons or masks" + (", or give it by --box" if shape.tag == "box" else ""))


def _of(element: ElementTree.Element, name: str) -> str:
    """An attribute that must be there."""
    if not (value := element.get(name)):
        raise ValueError(f"one of its <{element.tag}> has no {name}")
    return value


def _cvat_mask(shape: ElementTree.Element, size: Size) -> np.ndarray:
    def number(name: str) -> float:
        return coordinates([float(_of(shape, name))])[0]

    if shape.tag == "ellipse":
        turned = math.radians(number("rotation")) if "rotation" in shape.attrib else 0.0
        return ellipse_mask(number("cx"), number("cy"), number("rx"), number("ry"), size, turned)
    if shape.tag == "polygon":
        return polygon_mask([tuple(map(float, point.split(","))) for point in _of(shape, "points").split(";")], size)
    part = one_size([(int(number("height")), int(number("width")))])
    counts = [int(count) for count in _of(shape, "rle").split(",")]
    return pasted(_runs(counts, part), int(number("left")), int(number("top")), size)
