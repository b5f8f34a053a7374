"""Region similarity J and contour accuracy F of frames, objects and sequences, as the official DAVIS evaluator."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sstlib.metrics.counts import frame_counts, present
from sstlib.shapes import Bool, Float, Int, UInt8

VOID = 255
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


def region_similarity(prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]) -> float:
    """J of one pair of masks."""
    return float(similarity(frame_counts(prediction.astype(np.uint8), truth.astype(np.uint8), (1,)))[0])


def contour_accuracy(prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"],
                     radius: int | None = None) -> float:
    """F of one pair of masks; `radius` is the tolerance in pixels, by default 0.008 of the diagonal, rounded up."""
    return float(accuracy(frame_counts(prediction.astype(np.uint8), truth.astype(np.uint8), (1,), radius))[0])


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


PROTOCOLS = {p.name: p for p in (Protocol("davis2017"), Protocol("davis2016", single_object=True),
                                 Protocol("youtube", skip_last=False, late_objects=True, official=False))}


@dataclass(frozen=True)
class SequenceScore:
    """J and F of one sequence, a row an object, a column a scored frame; NaN where an object is not scored."""

    name: str
    objects: tuple[int, ...]
    frames: tuple[str, ...]
    similarity: Float[np.ndarray, "objects frames"]
    accuracy: Float[np.ndarray, "objects frames"]
    notes: tuple[str, ...] = ()

    def per_object(self) -> dict[int, dict[str, Statistics]]:
        """Statistics of J, F and J&F of each object."""
        return {value: measures(Statistics.of(j), Statistics.of(f))
                for value, j, f in zip(self.objects, self.similarity, self.accuracy)}

    def overall(self) -> dict[str, Statistics]:
        """Statistics of J, F and J&F averaged over the sequence's objects."""
        return averaged(self.per_object().values())

    def to_dict(self) -> dict:
        """Averages, and per object the statistics and every frame's value (null where the object is not scored)."""
        objects = {str(o): {k: s.to_dict() for k, s in statistics.items()}
                   | {"J_per_frame": _values(self.similarity[i]), "F_per_frame": _values(self.accuracy[i])}
                   for i, (o, statistics) in enumerate(self.per_object().items())}
        return {k: s.to_dict() for k, s in self.overall().items()} | {"frames": list(self.frames), "objects": objects}


def measures(similarity: Statistics, accuracy: Statistics) -> dict[str, Statistics]:
    """J, F and J&F by name; J&F is the mean of the two in each of its three numbers."""
    return {"J": similarity, "F": accuracy, "J&F": Statistics.average([similarity, accuracy])}


def averaged(rows: Iterable[dict[str, Statistics]]) -> dict[str, Statistics]:
    """J, F and J&F averaged over rows, one an object, of `measures`."""
    rows = list(rows)
    return measures(*(Statistics.average(row[k] for row in rows) for k in ("J", "F")))


def _values(row: Float[np.ndarray, "frames"]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in row]


class SequenceScorer:
    """Scores a sequence frame by frame, while a model runs: `update` for every annotated frame in order, then `result`.

    Void (255) in the truth counts as background, as does any predicted label that is no object of the truth; an object
    missing from the prediction counts as empty.
    """

    def __init__(self, protocol: Protocol = PROTOCOLS["davis2017"], name: str = "") -> None:
        self.protocol, self.name = protocol, name
        self._frames: list[str] = []
        self._counts: list[dict[int, np.ndarray]] = []
        self._joined: dict[int, int] = {}  # object id -> index of the first frame whose truth holds it
        self._predicted: set[int] = set()
        self._binary = False

    def update(self, prediction: UInt8[np.ndarray, "rows columns"], truth: UInt8[np.ndarray, "height width"],
               frame: str | None = None) -> dict[int, tuple[float, float]]:
        """Adds the next frame and returns its J and F by object id; empty for the first frame, whose mask is given.

        Raises:
            ValueError: the sizes differ, or the first frame holds no object where the protocol scores only those.
        """
        index = len(self._frames)
        if self.protocol.single_object:
            prediction, truth = self._merged(prediction, truth)
        here = _objects(truth)
        if index == 0 and not here and not self.protocol.late_objects:
            raise ValueError(f"{self._title()}: the first annotation holds no object, its values are "
                             f"{', '.join(map(str, present(truth)))}; if 255 is the object, score it as davis2016")
        for value in here:
            self._joined.setdefault(value, index)
        predicted = _objects(prediction) if index else ()
        self._predicted.update(predicted)
        occurring = sorted({*here, *predicted} & set(self._candidates(index)))
        self._frames.append(f"{index:05d}" if frame is None else frame)
        self._counts.append(dict(zip(occurring, frame_counts(prediction, truth, occurring))))
        scored = [value for value in self._candidates(index) if value in self._joined]
        row = np.array([self._counts[-1].get(value, (0,) * 6) for value in scored], dtype=np.int64).reshape(-1, 6)
        return {value: (float(j), float(f)) for value, j, f in zip(scored, similarity(row), accuracy(row))}

    def _merged(self, prediction: UInt8[np.ndarray, "rows columns"], truth: UInt8[np.ndarray, "height width"]
                ) -> tuple[UInt8[np.ndarray, "rows columns"], UInt8[np.ndarray, "height width"]]:
        """One object of all that is not 0; 255 in the truth belongs to it unless the first frame has other ids."""
        if not self._frames:
            self._binary = not _objects(truth)
        return (prediction != 0).astype(np.uint8), ((truth != 0) & (self._binary | (truth != VOID))).astype(np.uint8)

    def _candidates(self, index: int) -> list[int]:
        """Labels that are scored in frame `index`, as far as is known by then."""
        if index == 0:
            return []
        if self.protocol.late_objects:
            return sorted(value for value, joined in self._joined.items() if joined < index)
        return list(range(1, 1 + max(value for value, joined in self._joined.items() if joined == 0)))

    def result(self) -> SequenceScore:
        """The sequence's score over the frames given so far.

        Raises:
            ValueError: no frame is left to score.
        """
        end = len(self._frames) - self.protocol.skip_last
        if end < 2:
            left_out = "first and the last" if self.protocol.skip_last else "first"
            raise ValueError(f"{self._title()} has {len(self._frames)} annotated frames and none of them is scored; "
                             f"{self.protocol.name} leaves out the {left_out}")
        objects = tuple(value for value in self._candidates(end - 1) if value in self._joined)
        counts = np.zeros((len(objects), end - 1, 6), dtype=np.int64)
        scored = np.ones(counts.shape[:2], dtype=bool)
        for row, value in enumerate(objects):
            for column, found in enumerate(self._counts[1:end]):
                counts[row, column] = found.get(value, 0)
            scored[row] = not self.protocol.late_objects or np.arange(1, end) > self._joined[value]
        values = (np.where(scored, measure(counts), np.nan) for measure in (similarity, accuracy))
        return SequenceScore(self.name, objects, tuple(self._frames[1:end]), *values, tuple(self._notes(objects)))

    def _title(self) -> str:
        return f"sequence {self.name or '(unnamed)'}"

    def _notes(self, objects: tuple[int, ...]) -> Iterable[str]:
        late = sorted(set(self._joined) - set(objects))
        if late:
            yield f"{self.name}: objects {late} join after the first frame and are not scored by {self.protocol.name}"
        unknown = sorted(self._predicted - set(self._joined))
        if unknown:
            yield f"{self.name}: predicted labels {unknown} are no objects of the truth and count as background"


def _objects(labels: UInt8[np.ndarray, "height width"]) -> tuple[int, ...]:
    return tuple(value for value in present(labels) if value not in (0, VOID))


def score_sequence(predictions: UInt8[np.ndarray, "predicted rows columns"],
                   truths: UInt8[np.ndarray, "frames height width"],
                   protocol: Protocol = PROTOCOLS["davis2017"], name: str = "") -> SequenceScore:
    """J and F of every object and frame of a sequence held in memory; `to_dict`, `per_object` and `overall` sum it up.

    Raises:
        ValueError: the lengths or sizes differ, or nothing is left to score.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} predicted frames against {len(truths)} annotated ones; give as many")
    scorer = SequenceScorer(protocol, name)
    for prediction, truth in zip(predictions, truths):
        scorer.update(prediction, truth)
    return scorer.result()
