"""Masks in the formats of detectors and trackers: COCO, YOLO, MOTS, and a table of boxes."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from sstlib.paths import atomic_write
from sstlib.sessions.outlines import polygon
from sstlib.sessions.product import Alpha, FileProduct, FolderProduct, Frame, Labels, Shot, box, objects
from sstlib.sessions.runlength import encoded


class Coco(FileProduct):
    """One JSON for pycocotools: each frame an image of one video, each object's mask in it an annotation whose
    `track_id` is the object's id.
    """

    place = "coco.json"
    pictures = False

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self._annotations: list[dict] = []

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        for identity, mask in objects(labels):
            self.shot.ids.add(identity)
            self._annotations.append({
                "id": len(self._annotations) + 1, "image_id": t + 1, "category_id": identity, "track_id": identity,
                "segmentation": {"size": list(labels.shape), "counts": encoded(mask)},
                "area": int(np.count_nonzero(mask)), "bbox": list(box(mask)), "iscrowd": 0
            })

    def close(self) -> None:
        shot, kinds = self.shot, self.shot.kinds()
        height, width = shot.size
        for annotation in self._annotations:
            annotation["category_id"] = kinds.index(shot.kind(annotation["track_id"])) + 1
        rate = shot.timing.rate
        json.dump({
            "info": {"description": f"masks of {shot.name}, predicted by sstlib", "version": "1.0"},
            "videos": [{"id": 1, "name": shot.name, "width": width, "height": height, "length": len(shot.frame_names),
                        "fps": float(rate)}],
            "images": [{"id": t + 1, "video_id": 1, "frame_id": t, "file_name": name, "width": width, "height": height}
                       for t, name in enumerate(shot.file_names)],
            "categories": [{"id": n, "name": name, "supercategory": "object"} for n, name in enumerate(kinds, 1)],
            "tracks": [{"id": identity, "name": shot.title(identity), "video_id": 1,
                        "category_id": kinds.index(shot.kind(identity)) + 1} for identity in sorted(shot.ids)],
            "annotations": self._annotations
        }, self.file, separators=(",", ":"))
        super().close()


class Yolo(FolderProduct):
    """A data set of Ultralytics: data.yaml, images and, a line an object, its class and its outline."""

    place = "yolo"
    unsigned = ("data.yaml", "labels/train/*.txt", "images/train/*.jpg")

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self._classes = {kind: n for n, kind in enumerate(shot.kinds())}  # classes of later objects are appended

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        name, size = self.shot.frame_names[t], labels.shape[::-1]
        with atomic_write(self.scratch / "labels" / "train" / f"{name}.txt", "w") as file:
            for identity, mask in objects(labels):
                kind = self._classes.setdefault(self.shot.kind(identity), len(self._classes))
                places = polygon(mask) / size
                file.write(" ".join([str(kind), *(f"{value:.6f}" for value in places.ravel())]) + "\n")
        with atomic_write(self.scratch / "images" / "train" / f"{name}.jpg") as file:
            Image.fromarray(frame).save(file, format="JPEG", quality=95)

    def close(self) -> None:
        with atomic_write(self.scratch / "data.yaml", "w") as file:
            file.write("train: images/train\nval: images/train\nnames:\n")
            file.writelines(f"  {n}: {json.dumps(kind, ensure_ascii=False)}\n" for kind, n in self._classes.items())
        super().close()


class Mots(FileProduct):
    """Text of the MOTS challenge: frame by its number in the video, track, class from 1 on, height, width, run-length
    mask. A track is 1000 times the class and the object's id.
    """

    place = "mots.txt"
    pictures = False

    def __init__(self, shot: Shot, folder: Path) -> None:
        super().__init__(shot, folder)
        self._classes = {kind: n for n, kind in enumerate(shot.kinds(), 1)}

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        for identity, mask in objects(labels):
            kind = self._classes.setdefault(self.shot.kind(identity), len(self._classes) + 1)
            print(self.shot.number(t), 1000 * kind + identity, kind, *labels.shape, encoded(mask), file=self.file)


class Boxes(FileProduct):
    """A table of boxes and areas in pixels, a row a frame and object; an absent object has area 0 and an empty box.
    """

    place = "boxes.csv"
    pictures = False

    def add(self, t: int, frame: Frame, labels: Labels, alpha: Alpha | None) -> None:
        rows = csv.writer(self.file, lineterminator="\n")
        if t == 0:
            rows.writerow(["frame", "name", "seconds", "id", "object", "area", "x", "y", "width", "height"])
        masks = dict(objects(labels))
        for identity in sorted(self.shot.ids | set(masks)):
            mask = masks.get(identity)
            place = [0, "", "", "", ""] if mask is None else [int(np.count_nonzero(mask)), *box(mask)]
            rows.writerow([self.shot.number(t), self.shot.frame_names[t], f"{self.shot.second(t):.6f}", identity,
                           self.shot.title(identity), *place])
