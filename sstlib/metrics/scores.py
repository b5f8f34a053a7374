"""Region similarity J and contour accuracy F of frames, objects and sequences, as the official DAVIS evaluator."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sstlib.config.arrays import mask_of
from sstlib.config.entries import Registry
from sstlib.metrics.counts import frame_counts, present
from sstlib.shapes import Float, Int, Shaped, UInt8

VOID = 255
NOTHING = np.zeros(6, dtype=np.int64)  # counts of an object that neither side holds
RECALL_THRESHOLD = 0.5
DECAY_BINS = 4


def similarity(counts: Int[np.ndarray, "*any 6"]) -> Float[np.ndarray, "*any"]:
    """Region similarity J from counts: intersection over union, 1 where both masks are empty."""
    intersection, union = counts[..., 0], counts[..., 1]
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def accuracy(counts: Int[np.ndarray, "*any 6"]) -> Float[np.ndarray, "*any"]:
    """Contour accuracy F from counts: harmonic mean of boundary precision and recall; 1 where there is no boundary."""
    precision, recall = precision_recall(counts)
    total = precision + recall
    return np.where(total == 0, 0.0, 2 * precision * recall / np.where(total == 0, 1.0, total))


def precision_recall(counts: Int[np.ndarray, "*any 6"]) -> tuple[Float[np.ndarray, "*any"], Float[np.ndarray, "*any"]]:
    """Shares of the predicted and of the true boundary that lie within the tolerance of the other.

    A boundary that is missing altogether is matched in full: precision 1 where nothing is predicted, recall 1 where
    nothing is there, so that F is 0 if only one of the two is missing and 1 if both are.
    """
    predicted, true = counts[..., 2], counts[..., 3]
    return (np.where(predicted == 0, 1.0, counts[..., 4] / np.maximum(predicted, 1)),
            np.where(true == 0, 1.0, counts[..., 5] / np.maximum(true, 1)))


def region_similarity(prediction: Shaped[np.ndarray, "_ _"], truth: Shaped[np.ndarray, "_ _"]) -> float:
    """J of one pair of masks."""
    return float(similarity(frame_counts(mask_of(prediction), mask_of(truth), (1,)))[0])


def contour_accuracy(prediction: Shaped[np.ndarray, "height width"], truth: Shaped[np.ndarray, "height width"],
                     radius: int | None = None) -> float:
    """F of one pair of masks; `radius` is the tolerance in pixels, by default 0.008 of the diagonal, rounded up."""
    return float(accuracy(frame_counts(mask_of(prediction), mask_of(truth), (1,), radius))[0])


@dataclass(frozen=True)
class Statistics:
    """Mean, recall (share of frames above 0.5) and decay (first quarter's mean less the last's) of one measure."""

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: Float[np.ndarray, "frames"]) -> "Statistics":
        """Statistics over an object's frames, NaN frames left out.

        The quarters share their end frames, as in the official evaluator; its frame numbers overflow above 256 frames,
        which is not repeated here.
        """
        values = values[~np.isnan(values)]
        if not values.size:
            return cls(float("nan"), float("nan"), float("nan"))
        edges = np.round(np.linspace(1, len(values), DECAY_BINS + 1) + 1e-10).astype(int) - 1
        first, last = values[edges[0]:edges[1] + 1], values[edges[-2]:edges[-1] + 1]
        return cls(float(values.mean()), float((values > RECALL_THRESHOLD).mean()), float(first.mean() - last.mean()))

    @classmethod
    def average(cls, statistics: Iterable["Statistics"]) -> "Statistics":
        """Plain mean of several, as the official tables average over objects; NaN where there are none."""
        table = np.array([(s.mean, s.recall, s.decay) for s in statistics]).reshape(-1, 3)
        return cls(*(float(np.mean(column)) if len(column) else float("nan") for column in table.T))

    def to_dict(self) -> dict[str, float | None]:
        """The three numbers by name, None where there is nothing to average."""
        return dict(zip(("mean", "recall", "decay"), _values(np.array([self.mean, self.recall, self.decay]))))


@dataclass(frozen=True)
class Metric:
    """A measure of each object in each frame, from 0 to 1, the best: `counts` makes it of the counts of a frame
    (..., 6) (see counts.COLUMNS), or `masks` of the predicted and the true mask; 1 where neither side has the object.
    """

    name: str
    title: str
    counts: Callable[..., np.ndarray] | None = None
    masks: Callable[..., float] | None = None


METRICS: Registry[Metric] = Registry("metric", Metric("J", "region similarity", similarity),
                                     Metric("F", "contour accuracy", accuracy))


@dataclass(frozen=True)
class Protocol:
    """What is scored. The first annotated frame of a sequence never is: its mask is given.

    Attributes:
        name: shown in tables and records.
        skip_last: leave out the last annotated frame too, as DAVIS does.
        late_objects: also score objects that are not in the first frame, each from the frame after the one it joins in
            (YouTube-VOS); otherwise ids up to the largest of the first frame, over all frames (DAVIS).
        single_object: whatever is not background is the one object, however it is written (DAVIS 2016: 0 and 255).
        official: whether this is how the published evaluator scores and averages.
    """

    name: str
    skip_last: bool = True
    late_objects: bool = False
    single_object: bool = False
    official: bool = True


PROTOCOLS = Registry("protocol", Protocol("davis2017"), Protocol("davis2016", single_object=True),
                     Protocol("youtube", skip_last=False, late_objects=True, official=False))


@dataclass(frozen=True)
class SequenceScore:
    """J and F of one sequence, a row an object, a column a scored frame; NaN where an object is not scored.

    `others` are the metrics beside these two, by name."""

    name: str
    objects: tuple[int, ...]
    frames: tuple[str, ...]
    similarity: Float[np.ndarray, "objects frames"]
    accuracy: Float[np.ndarray, "objects frames"]
    notes: tuple[str, ...] = ()
    others: Mapping[str, Float[np.ndarray, "objects frames"]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Float[np.ndarray, "objects frames"]]:
        """All metrics by name."""
        return {"J": self.similarity, "F": self.accuracy, **self.others}

    @classmethod
    def from_dict(cls, name: str, record: Mapping) -> "SequenceScore":
        """The score that `to_dict` wrote."""
        objects = list(record["objects"].values())
        known = [m for m in METRICS if m in "JF" or all(f"{m}_per_frame" in entry for entry in objects)]
        rows = {m: [[np.nan if v is None else v for v in entry[f"{m}_per_frame"]] for entry in objects] for m in known}
        values = {m: np.array(row, dtype=float).reshape(-1, len(record["frames"])) for m, row in rows.items()}
        return cls(name, tuple(map(int, record["objects"])), tuple(record["frames"]), values.pop("J"), values.pop("F"),
                   others=values)

    def per_object(self) -> dict[int, dict[str, Statistics]]:
        """Statistics of J, F, J&F and the other metrics of each object."""
        return {value: measures({m: Statistics.of(rows[i]) for m, rows in self.values.items()})
                for i, value in enumerate(self.objects)}

    def overall(self) -> dict[str, Statistics]:
        """Statistics of J, F, J&F and the other metrics averaged over the sequence's objects."""
        return averaged(self.per_object().values())

    def to_dict(self) -> dict:
        """Averages, and per object the statistics and every frame's value (null where the object is not scored)."""
        objects = {str(o): {k: s.to_dict() for k, s in statistics.items()}
                   | {f"{m}_per_frame": _values(rows[i]) for m, rows in self.values.items()}
                   for i, (o, statistics) in enumerate(self.per_object().items())}
        return {k: s.to_dict() for k, s in self.overall().items()} | {"frames": list(self.frames), "objects": objects}


def measures(values: dict[str, Statistics]) -> dict[str, Statistics]:
    """J, F, J&F and other metrics by name; J&F is the mean of the two in each of its three numbers."""
    region, contour = values["J"], values["F"]
    return {"J": region, "F": contour, "J&F": Statistics.average([region, contour])} | values


def averaged(rows: Iterable[dict[str, Statistics]]) -> dict[str, Statistics]:
    """J, F, J&F and other metrics averaged over rows, one an object, of `measures`."""
    rows = list(rows)
    return measures({m: Statistics.average(row[m] for row in rows if m in row) for m in METRICS})


def _values(row: Float[np.ndarray, "frames"]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in row]


class FrameCounts(NamedTuple):
    """What one frame contributes, whatever the protocol: counts of every object of the truth or the prediction, and
    the metrics that are made of its masks.
    """

    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    counts: dict[int, Int[np.ndarray, "6"]]
    measured: dict[tuple[str, int], float] = {}


def count_frame(prediction: Shaped[np.ndarray, "_ _"], truth: Shaped[np.ndarray, "_ _"]) -> FrameCounts:
    """Counts one frame; frames are independent of each other and may be counted in any order and process.

    Raises:
        ValueError: the sizes differ.
    """
    true, predicted = object_ids(truth), object_ids(prediction)
    either = sorted({*true, *predicted})
    counts = dict(zip(either, frame_counts(prediction, truth, either)))
    measured = {(one.name, value): one.masks(prediction == value, truth == value)
                for one in METRICS.values() if one.masks for value in either}
    return FrameCounts(true, predicted, counts, measured)


def object_ids(labels: Shaped[np.ndarray, "height width"]) -> tuple[int, ...]:
    """Ids of the objects that occur, ascending: neither background nor void."""
    return tuple(value for value in present(labels) if value not in (0, VOID))


def void_in(clip: Iterable[Shaped[np.ndarray, "height width"]]) -> bool:
    """Whether 255 is void in a clip of labels, or the object (DAVIS 2016): the first frame with anything decides."""
    return next((values != (VOID,) for labels in clip if (values := tuple(v for v in present(labels) if v))), False)


def one_object(labels: Shaped[np.ndarray, "height width"], void: bool = False) -> UInt8[np.ndarray, "height width"]:
    """All objects as object 1; `void` says whether 255 is void, and so background, or of the object (`void_in`)."""
    return ((labels != 0) & (labels != VOID)).view(np.uint8) if void else (labels != 0).view(np.uint8)


class SequenceScorer:
    """Scores a sequence frame by frame, while a model runs: `update` for every annotated frame in order, then `result`.

    Void (255) in the truth counts as background, as does any predicted label that is no object of the truth; an object
    missing from the prediction counts as empty.
    """

    def __init__(self, protocol: Protocol | str = PROTOCOLS["davis2017"], name: str = "") -> None:
        self.protocol, self.name = PROTOCOLS.find(protocol) if isinstance(protocol, str) else protocol, name
        self._names: list[str] = []
        self._frames: list[FrameCounts] = []
        self._joined: dict[int, int] = {}  # object id -> index of the first frame whose truth holds it
        # Whether 255 is void, once that is known
        self._void: dict[str, bool | None] = {"prediction": None, "truth": None}

    def update(self, prediction: Shaped[np.ndarray, "rows columns"], truth: Shaped[np.ndarray, "height width"],
               frame: str | None = None) -> dict[int, tuple[float, float]]:
        """Adds the next frame and returns its J and F by object id; empty for the first frame, whose mask is given.

        Raises:
            ValueError: the sizes differ, or the first frame holds no object where the protocol scores only those.
        """
        if self.protocol.single_object:
            prediction, truth = self._as_one("prediction", prediction), self._as_one("truth", truth)
        index = len(self._frames)
        self.add(count_frame(prediction, truth), frame)
        scored = [value for value in self._candidates(index) if value in self._joined]
        counts = np.array([self._frames[-1].counts.get(value, NOTHING) for value in scored], np.int64).reshape(-1, 6)
        return dict(zip(scored, zip(similarity(counts).tolist(), accuracy(counts).tolist())))

    def _as_one(self, side: str, labels: Shaped[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
        """The one object of a side's next frame, by what 255 is on that side."""
        if self._void[side] is None and any(present(labels)):
            self._void[side] = void_in([labels])
        return one_object(labels, bool(self._void[side]))

    def add(self, counts: FrameCounts, frame: str | None = None) -> None:
        """Adds the next frame by its counts, of a frame of one object if the protocol says so.

        Raises:
            ValueError: the first frame holds no object where the protocol scores only those.
        """
        index = len(self._frames)
        if index == 0 and not counts.truth and not self.protocol.late_objects:
            raise ValueError(f"{self._title()}: the first annotation holds no object, only background and void; "
                             "if 255 is the object, score it as davis2016")
        for value in counts.truth:
            self._joined.setdefault(value, index)
        self._names.append(f"{index:05d}" if frame is None else frame)
        self._frames.append(counts)

    def _candidates(self, index: int) -> Sequence[int]:
        """Labels that are scored in frame `index`, as far as is known by then."""
        if index == 0:
            return ()
        if self.protocol.late_objects:
            return sorted(value for value, joined in self._joined.items() if joined < index)
        return range(1, 1 + max(value for value, joined in self._joined.items() if joined == 0))

    def result(self) -> SequenceScore:
        """The sequence's score over the frames given so far.

        Raises:
            ValueError: no frame is left to score, or a metric is not from 0 to 1.
        """
        end = len(self._frames) - self.protocol.skip_last
        if end < 2:
            left_out = "first and the last" if self.protocol.skip_last else "first"
            raise ValueError(f"{self._title()} has no annotated frame that is scored: {self.protocol.name} leaves out "
                             f"the {left_out}")
        objects = tuple(value for value in self._candidates(end - 1) if value in self._joined)
        counts = np.array([[frame.counts.get(value, NOTHING) for frame in self._frames[1:end]] for value in objects],
                          dtype=np.int64).reshape(-1, end - 1, 6)
        measured = {one.name: _in_range(one, one.counts(counts) if one.counts else np.array(
            [[frame.measured[one.name, value] if value in frame.counts else 1.0 for frame in self._frames[1:end]]
             for value in objects]), counts[..., 1] > 0) for one in METRICS.values()}
        late = [self._joined[value] if self.protocol.late_objects else 0 for value in objects]
        scored = np.arange(1, end) > np.array(late, dtype=int)[:, None]
        values = {m: np.where(scored, rows, np.nan) for m, rows in measured.items()}
        return SequenceScore(self.name, objects, tuple(self._names[1:end]), values.pop("J"), values.pop("F"),
                             tuple(self._notes(objects, end)), values)

    def _title(self) -> str:
        return f"sequence {self.name or '(unnamed)'}"

    def _notes(self, objects: tuple[int, ...], end: int) -> Iterable[str]:
        late = sorted(set(self._joined) - set(objects))
        if late:
            yield f"{self._title()}: objects {late} join later and are not scored by {self.protocol.name}"
        unknown = sorted({value for frame in self._frames[1:end] for value in frame.predicted} - set(self._joined))
        if unknown:
            yield f"{self._title()}: predicted labels {unknown} are no objects of the truth and count as background"


def _in_range(metric: Metric, values: Any, held: Shaped[np.ndarray, "objects frames"]) -> np.ndarray:
    """A metric's values, 1 where neither side holds the object."""
    values = np.asarray(values, dtype=float) if held.size else np.ones(held.shape)
    if values.shape != held.shape or not ((0 <= values[held]) & (values[held] <= 1 + 1e-9)).all():
        raise ValueError(f"metric {metric.name} ({metric.title}) gives {' '.join(str(values).split()):.60}; expected a "
                         f"number from 0 to 1 for each of {held.shape[0]} objects in each of {held.shape[1]} frames")
    return np.where(held, values, 1.0)


def score_sequence(predictions: Shaped[np.ndarray, "predicted rows columns"],
                   truths: Shaped[np.ndarray, "frames height width"],
                   protocol: Protocol | str = PROTOCOLS["davis2017"], name: str = "") -> SequenceScore:
    """J and F of every object and frame of a sequence held in memory; `to_dict`, `per_object` and `overall` sum it up.

    Raises:
        ValueError: the lengths or sizes differ, nothing is left to score, or there is no such protocol.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} predicted frames against {len(truths)} annotated ones; give as many")
    scorer = SequenceScorer(protocol, name)
    if scorer.protocol.single_object:
        predictions, truths = ([one_object(labels, void_in(side)) for labels in side] for side in (predictions, truths))
    for prediction, truth in zip(predictions, truths):
        scorer.add(count_frame(prediction, truth))
    return scorer.result()
