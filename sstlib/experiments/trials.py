"""The trial of a trained network of a base: real sequences and paired scenes, in memory, with floors beside them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from sstlib import clocks
from sstlib.config import RunConfig
from sstlib.datasets import open_dataset, sst_occlusion_2
from sstlib.evaluation.passages import FLOORS, Labels, labels_of, segment_scenes
from sstlib.metrics import PROTOCOLS, Protocol, SequenceScore, score_sequence
from sstlib.metrics.scores import averaged
from sstlib.model import Propagator
from sstlib.sessions import segment_sequence
from sstlib.shapes import Float
from sstlib.video import ArraySequence, Sequence

LONGEST = 480  # pixels of a frame's longer side inside the network
LENGTHS = (4, 16)  # frames hidden, of those that the scenes have
SCENES = 24
TENTHS = 10


def data_of(config: RunConfig) -> str:
    """The real data of the trial: DAVIS 2017 if the network was trained on that, else DAVIS 2016."""
    return "davis2017" if config.data.real == "davis2017" else "davis2016"


def data_summary(config: RunConfig) -> str:
    """The data of the trial, for records."""
    return (f"{data_of(config)} val, longest side {LONGEST}; sst-occlusion-2 test, {SCENES} scenes hidden for "
            f"{', '.join(map(str, LENGTHS))} frames, and their controls")


def require_data(config: RunConfig) -> None:
    """Raises the errors that the trial would, before anything is trained.

    Raises:
        FileNotFoundError: DAVIS is not there.
        ValueError: there are too few scenes.
    """
    open_dataset(data_of(config), "val")
    _scenes()


def measured(network: Propagator, config: RunConfig) -> tuple[dict[str, Any], float, int]:
    """Scores on real sequences, and the cost of occlusions.

    Returns:
        Metrics: J, F and J&F with those of every sequence, `tenths` (mean J by tenth of a sequence), `floors` (J&F) and
        `passages` (as `evaluation.passages`); seconds of segmentation; frames segmented.
    """
    clock = _Clock(network, "hard" if config.training.feedback == "hard" else "naive")
    protocol = PROTOCOLS[data_of(config)]
    scores, floors = [], Floors(protocol)
    for sequence in open_dataset(data_of(config), "val"):
        truth = labels_of(sequence)
        scores.append(score_sequence(clock.segment(sequence, LONGEST), truth, protocol, sequence.name))
        floors.add(truth, sequence.name)
    rows = [[clip for clip in row if clip.length in (0, *LENGTHS)] for row in _scenes()]
    floor_of = {name: lambda _, labels, made=made: made(labels) for name, made in FLOORS.items()}
    tables = segment_scenes(rows, {"predictions": lambda frames, labels: clock.segment(
        ArraySequence(frames, labels[0]), None)} | floor_of)
    metrics = summary(scores) | {
        "tenths": tenths(np.nanmean(score.similarity, axis=0) for score in scores),
        "floors": floors.means(),
        "passages": {"lengths": list(LENGTHS), "scenes": [row[0].scene_name for row in rows],
                     "tables": {name: table.to_dict() for name, table in tables.items()}}}
    return metrics, clock.seconds, clock.frames


class Floors:
    """Scores of baselines that track nothing, over sequences that are added one by one."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.scores: dict[str, list[SequenceScore]] = {name: [] for name in FLOORS}

    def add(self, truth: Labels, name: str) -> None:
        """Scores each floor on one more sequence."""
        for floor, made in FLOORS.items():
            self.scores[floor].append(score_sequence(made(truth), truth, self.protocol, name))

    def means(self) -> dict[str, float]:
        """J&F (0..1) of each floor, mean over the objects of all sequences."""
        return {name: averaged(row for one in each for row in one.per_object().values())["J&F"].mean
                for name, each in self.scores.items()}


def summary(scores: list[SequenceScore]) -> dict[str, Any]:
    """Overall J, F, J&F (mean over objects) and those of each sequence, for a run record."""
    overall = averaged(row for score in scores for row in score.per_object().values())
    sequences = {score.name: {key: value.mean for key, value in score.overall().items()} for score in scores}
    return {key: value.mean for key, value in overall.items()} | {
        "recall": {key: value.recall for key, value in overall.items()},
        "decay": {key: value.decay for key, value in overall.items()}, "sequences": sequences}


def tenths(sequences: Iterable[Float[np.ndarray, "time"]]) -> list[float]:
    """Mean J by tenth of a sequence, over sequences of at least ten frames, which shows drift."""
    parts = [np.array_split(values, TENTHS) for values in sequences if len(values) >= TENTHS]
    return np.mean([[part.mean() for part in one] for one in parts], axis=0).tolist()


def _scenes() -> list[tuple[Sequence, ...]]:
    scenes = list(sst_occlusion_2.scenes("test"))
    if len(scenes) < SCENES:
        raise ValueError(f"SST-Occlusion 2 states {len(scenes)} test scenes; {SCENES} are wanted")
    return scenes[:SCENES]


class _Clock:
    """Segments sequences, and counts seconds and frames."""

    def __init__(self, network: Propagator, aggregation: str) -> None:
        self.network, self.aggregation, self.seconds, self.frames = network, aggregation, 0.0, 0

    def segment(self, sequence: Sequence, longest: int | None) -> Labels:
        """Label maps of every frame from those of the first."""
        started = clocks.now()
        labels = [one.labels for _, one in segment_sequence(self.network, sequence, longest=longest or 0,
                                                            aggregation=self.aggregation)]
        self.seconds, self.frames = self.seconds + clocks.now() - started, self.frames + len(labels) - 1
        return np.stack(labels)
