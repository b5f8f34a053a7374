"""What a clip's masks become beside palette PNGs: layers, videos, annotations and tables, by name in `FORMATS`."""

from sstlib.exports.annotations import Boxes, Coco, Mots, Yolo
from sstlib.exports.films import Green, Overlay, Prores, Sheet, Webm
from sstlib.exports.matting import Cutout, Floats, Objects, Soft, alpha_of
from sstlib.exports.product import Product, Shot
from sstlib.exports.sink import Exports, LiveExports

FORMATS: dict[str, type[Product]] = {
    "overlay": Overlay, "green": Green, "cutout": Cutout, "webm": Webm, "prores": Prores, "objects": Objects,
    "soft": Soft, "npz": Floats, "coco": Coco, "yolo": Yolo, "mots": Mots, "boxes": Boxes
}

__all__ = [
    "FORMATS", "Boxes", "Coco", "Cutout", "Exports", "Floats", "Green", "LiveExports", "Mots", "Objects", "Overlay",
    "Product", "Prores", "Sheet", "Shot", "Soft", "Webm", "Yolo", "alpha_of"
]
