"""The drawing widget: masks are drawn in the browser and kept here."""

import io
import threading
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from sstlib.explorers.drawn import Annotations, Drawn, labels_of, mask_bytes
from sstlib.explorers.saving import DrawnFolder
from sstlib.shapes import Shaped, UInt8
from sstlib.video import Sequence, overlay, prompts, read_mask

RATE = 12.0  # frames a second, if the clip has no rate
STATIC = 640  # pixels; width of the picture that is shown in place of the widget
FILES = Path(__file__).parent


class Annotator(anywidget.AnyWidget):
    """Draws masks on any frame of a clip: brush, eraser, polygon, box; objects by color and name; undo; zoom.

    The browser sends a mask when a stroke is finished and requests frames as it shows them; the notebook file keeps
    neither. `masks` holds what was drawn. Where widgets cannot be shown, a picture of the current frame is.

    Args:
        sequence: the clip.
        masks: initial masks by frame number; None takes the sequence's own mask of its first frame.
        rate: frames a second for playing; None for the clip's own.
        drawn: a folder that keeps FRAME.png of each frame that was drawn on; what it holds is loaded at the start, in
            place of `masks`. None for none.

    Raises:
        ValueError: the folder holds drawings of another clip, or damaged files.
    """

    _esm = (FILES / "annotator.js").read_text(encoding="utf-8")
    _css = (FILES / "annotator.css").read_text(encoding="utf-8")
    clip = traitlets.Dict().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    objects = traitlets.List().tag(sync=True)
    strip = traitlets.Dict().tag(sync=True)  # by object a letter a frame: given, seen, doubtful, lost; "-" for none
    progress = traitlets.Dict({"running": False, "done": 0}).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    folder = traitlets.Unicode().tag(sync=True)
    segments = False  # whether it propagates masks through the clip

    def __init__(self, sequence: Sequence, masks: Mapping[int, Shaped[np.ndarray, "..."]] | None = None,
                 rate: float | int | None = None, drawn: Path | str | None = None) -> None:
        self.sequence, self._folder = sequence, None if drawn is None else DrawnFolder(drawn, sequence)
        height, width = sequence.frame(0).shape[:2]
        rate = float(rate or getattr(sequence, "rate", None) or RATE)
        earlier = self._folder.read((height, width)) if self._folder else Drawn()
        self.annotations = Annotations((height, width), len(sequence), earlier)
        self._reading, self._changing = threading.Lock(), threading.RLock()
        self._edits: dict[str, int] = {}  # of each view, the number of its last change that arrived
        super().__init__(clip={"width": width, "height": height, "count": len(sequence), "rate": rate,
                               "names": list(sequence.frame_names), "segments": self.segments})
        if masks is None and (labels := sequence.label(0)) is not None:
            masks = {0: labels}
        for t, labels in (masks or {}).items() if not earlier.frames else ():
            self.annotations.draw(t, labels)
        self._changed()
        if self._folder:
            self._folder.write(self.annotations.now, self.masks)
        self.on_msg(self._heard)

    @property
    def masks(self) -> dict[int, UInt8[np.ndarray, "height width"]]:
        """The masks that were drawn, by frame number; 0 is the background, 255 void."""
        return self.annotations.masks

    def labels(self, t: int) -> UInt8[np.ndarray, "height width"] | None:
        """The labels that are shown on frame `t`."""
        annotation = self.annotations[t]
        return annotation.labels if annotation else None

    def picture(self, t: int) -> UInt8[np.ndarray, "height width 3"]:
        """Frame `t` of the clip, which one thread reads at a time."""
        with self._reading:
            return self.sequence.frame(t)

    def draw(self, t: int, labels: Shaped[np.ndarray, "..."]) -> None:
        """Sets the mask of frame `t`, as drawing it does.

        Raises:
            ValueError: no such frame, or labels of another size or with values outside 0..255.
        """
        with self._changing:
            self._changed(self.annotations.draw(t, labels, self.labels(t)))

    def add(self, name: str = "") -> int:
        """Adds an object with the smallest free id, and returns the id."""
        with self._changing:
            identity = self.annotations.add(name)
            self._changed()
            return identity

    def remove(self, identity: int) -> None:
        """Removes an object from all frames.

        Raises:
            ValueError: there is no such object.
        """
        with self._changing:
            self._changed(self.annotations.remove(identity))

    def undo(self) -> None:
        """Undoes the last change."""
        with self._changing:
            self._changed(self.annotations.undo())

    def redo(self) -> None:
        """Redoes the change that was undone last."""
        with self._changing:
            self._changed(self.annotations.redo())

    def _changed(self, frames: Set[int] = frozenset(), origin: str | None = None) -> None:
        """Sends changes to the browser; `origin` is the view in which they were drawn, which has them already."""
        self.objects = [{"id": identity, "name": name} for identity, name in self.annotations.names.items()]
        if self._folder:
            self._folder.write(self.annotations.now, frames)
        for t in sorted(frames):
            self._show(t, origin)

    def _show(self, t: int, origin: str | None = None, **more: Any) -> None:
        """Sends a frame's mask to all views."""
        self.send({"kind": "mask", "frame": t, "edits": dict(self._edits), "origin": origin, **more},
                  [mask_bytes(self.labels(t))])

    def _heard(self, widget: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """Handles a message of the browser; an error is shown there."""
        with self._changing:
            self._edits[content["view"]] = content["edit"]
            t = min(max(0, content.get("frame", 0)), len(self.sequence) - 1)
            try:
                self._acts()[content["kind"]](content, t, buffers)
            except (ValueError, OSError, ImportError) as error:
                self.status = str(error)
                self._show(t)

    def _acts(self) -> dict[str, Callable[[dict[str, Any], int, list[memoryview]], None]]:
        """The handler of each kind of message."""
        annotations = self.annotations
        return {
            "want": lambda content, t, buffers: self._send_frames(content["frames"]),
            "draw": self._take_drawn,
            "clear": lambda content, t, buffers: self._changed({t} | annotations.clear(t)),
            "add": lambda content, t, buffers: self.add(),
            "remove": lambda content, t, buffers: self.remove(content["id"]),
            "rename": lambda content, t, buffers: self._changed(annotations.rename(content["id"], content["name"])),
            "undo": lambda content, t, buffers: self.undo(),
            "redo": lambda content, t, buffers: self.redo(),
            "load": lambda content, t, buffers: self.draw(t, uploaded(buffers[0])),
            "box": self._take_box,
            "scribbles": self._take_scribbles,
        }

    def _send_frames(self, times: list[int]) -> None:
        for t in times:
            file = io.BytesIO()
            Image.fromarray(self.picture(t)).save(file, format="JPEG", quality=88)
            self.send({"kind": "frame", "frame": t}, [file.getvalue(), mask_bytes(self.labels(t))])

    def _take_drawn(self, content: dict[str, Any], t: int, buffers: list[memoryview]) -> None:
        self._changed(self.annotations.draw(t, labels_of(buffers[0]), self.labels(t)), content["view"])

    def _take_box(self, content: dict[str, Any], t: int, buffers: list[memoryview]) -> None:
        labels = self._canvas(t)
        labels[prompts.mask_from_box(self.picture(t), tuple(content["box"]))] = content["id"]
        self.draw(t, labels)

    def _take_scribbles(self, content: dict[str, Any], t: int, buffers: list[memoryview]) -> None:
        self.draw(t, prompts.mask_from_scribbles(self.picture(t), self._canvas(t)))

    def _canvas(self, t: int) -> UInt8[np.ndarray, "height width"]:
        labels = self.labels(t)
        return np.zeros(self.annotations.size, np.uint8) if labels is None else labels.copy()

    def __repr__(self) -> str:
        names = ", ".join(self.annotations.names.values()) or "no object"
        kind = type(self).__bases__[0].__name__  # each widget has a class of its own
        return f"{kind}({self.sequence.name}: {len(self.masks)} of {len(self.sequence)} frames drawn, {names})"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options)
        text = f"frame {self.sequence.frame_names[self.frame]} of {self.sequence.name} with the masks of " + (
            ", ".join(self.annotations.names.values()) or "no object")
        return {**data, "image/jpeg": self._static()}, {**metadata, "image/jpeg": {"alt": text}}

    def _static(self) -> bytes:
        """The current frame and its mask as a small JPEG."""
        picture, labels = self.picture(self.frame), self.labels(self.frame)
        image = Image.fromarray(picture if labels is None else overlay(picture, labels))
        image.thumbnail((STATIC, STATIC))
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=80)
        return file.getvalue()


def uploaded(content: memoryview | bytes) -> UInt8[np.ndarray, "height width"]:
    """Labels of a mask file of any kind that `video.read_mask` knows.

    Raises:
        ValueError: it is none.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "the loaded mask"
        path.write_bytes(content)
        try:
            return read_mask(path)
        except (ValueError, OSError) as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None
