"""Scores released weights on a benchmark: masks are written to disk, so that an interrupted scoring can be resumed, and
then evaluated.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sstlib import clocks, paths, weights
from sstlib.config.values import Number, Whole, read_json
from sstlib.datasets import DATASETS, Benchmark, open_dataset
from sstlib.evaluation import Evaluation, evaluate_on
from sstlib.evaluation.passages import labels_of
from sstlib.experiments import records, trials
from sstlib.experiments.trials import summary
from sstlib.metrics import PROTOCOLS
from sstlib.model import Propagator
from sstlib.paths import write_whole
from sstlib.paths.digests import sha256
from sstlib.provenance import provenance
from sstlib.sessions import segment_sequence
from sstlib.statistics.uncertainty import bootstrap
from sstlib.video import Sequence, write_mask


def benchmarks() -> dict[str, Benchmark]:
    """The benchmarks that released weights are scored on: those in the entries of data sets."""
    return {name: one.benchmark for name, one in DATASETS.items() if one.benchmark}


def sequences_of(name: str) -> list[Sequence]:
    """The sequences of a data set that released weights are scored on.

    Raises:
        FileNotFoundError: it is not there.
    """
    chosen = benchmarks()[name]
    return [sequence for sequence in open_dataset(name, chosen.split) if chosen.chosen(sequence)]


def fingerprint(name: str | Path) -> str:
    """A hash of a weights file, which records keep."""
    return sha256(weights.find(name))[:16]


def record_of(name: str, benchmark: str) -> records.RunRecord | None:
    """The record of exactly these weights, if there is one."""
    record = records.find(benchmark, name)
    return record if record and record.config.get("weights") == fingerprint(name) else None


def predictions(name: str | Path, benchmark: str) -> Path:
    """The folder of masks of exactly these weights, a name or a file; git ignores it."""
    title = Path(name).name.removesuffix(weights.SUFFIX)
    return paths.RESULTS / "training" / "predictions" / benchmark / f"{title}-{fingerprint(name)}"


def score(name: str, benchmark: str) -> Path:
    """Scores released weights on a benchmark, unless there is a record of the same bytes; returns the record's path.

    Raises:
        FileNotFoundError: no such weights, or the data are not there.
    """
    if known := record_of(name, benchmark):
        return known.path
    record = scored(name, benchmark)
    _keep_earlier(name, benchmark)
    return record.write()


def scored(name: str | Path, benchmark: str) -> records.RunRecord:
    """The record, not written yet, of weights on a benchmark; goes on with the masks of an interrupted scoring.

    Raises:
        FileNotFoundError: no such weights, or the data are not there.
    """
    chosen, folder = benchmarks()[benchmark], predictions(name, benchmark)
    evaluation, floors, seconds, frames = _scored(weights.load(name), benchmark, folder)
    facts = weights.facts(name)
    cost = {"frames_per_second": frames / seconds, "peak_megabytes": clocks.peak_megabytes()}
    config = {"weights": fingerprint(name), "model": facts["config"]}
    metrics = measured(evaluation) | {"trained_on": facts.get("trained_on", "")}
    if "passages" not in evaluation.occlusion:  # which hold floors of their own
        metrics["floors"] = floors.means()
    return records.RunRecord(benchmark, str(name), 0, config, metrics, cost, provenance(chosen.title))


def _scored(network: Propagator, benchmark: str, folder: Path) -> tuple[Evaluation, trials.Floors, float, int]:
    """A benchmark segmented and scored: the evaluation, that of the floors, and seconds and frames of segmentation.

    A clip that is made when asked for is segmented, scored and given to the floors before the next one is made.
    """
    sequences, entry = sequences_of(benchmark), DATASETS.find(benchmark)
    floors, spent = trials.Floors(PROTOCOLS[entry.protocol]), []
    folder.mkdir(parents=True, exist_ok=True)

    def segment(sequence: Sequence) -> None:
        spent.append(predict(network, [sequence], folder))
        if entry.scenes is None:
            floors.add(labels_of(sequence), sequence.name)

    made = {"predict": segment} if entry.content else {}
    for sequence in () if made else sequences:
        segment(sequence)
    evaluation = evaluate_on(benchmark, folder, benchmarks()[benchmark].split,
                             sequences=[sequence.name for sequence in sequences], **made)
    return evaluation, floors, sum(seconds for seconds, _ in spent), sum(frames for _, frames in spent)


def earlier(name: str, benchmark: str) -> list[dict[str, Any]]:
    """Scores on a benchmark of weights that were released under this name before: J&F (0..1), fingerprint and commit of
    each, oldest first.
    """
    path = _earlier_path(name)
    return read_json(path).get(benchmark, []) if path.exists() else []


def _earlier_path(name: str) -> Path:
    return paths.RUNS / "releases" / f"{name}-earlier.json"


def _keep_earlier(name: str, benchmark: str) -> None:
    """Keeps the score of the previous weights, whose record is about to be replaced: the card lists the scores by which
    a recipe was chosen.
    """
    before = records.find(benchmark, name)
    if before is None or before.config.get("weights") == fingerprint(name):
        return
    one = {"J&F": before.score("J&F"), "weights": before.config.get("weights", ""),
           "commit": before.provenance.get("commit", "")}
    known = read_json(_earlier_path(name)) if _earlier_path(name).exists() else {}
    write_whole(_earlier_path(name), json.dumps(known | {benchmark: [*known.get(benchmark, []), one]}, indent=1) + "\n")


def measured(evaluation: Evaluation) -> dict[str, object]:
    """The metrics of an evaluation for a record: means, those of every sequence and at occlusions, and those of each
    frame if there is one object.
    """
    scores = list(evaluation.sequences.values())
    frames = {
        s.name: {"J": s.similarity[0].round(4).tolist(), "F": s.accuracy[0].round(4).tolist()} for s in scores
        if len(s.objects) == 1
    }
    extra = {"frames": frames} if frames else {}
    return summary(scores) | extra | ({"occlusion": evaluation.occlusion} if evaluation.occlusion else {})


def predict(network: Propagator, sequences: list[Sequence], folder: Path) -> tuple[float, int]:
    """Segments every sequence that is not done yet from the mask of its first frame, into folder/SEQUENCE/FRAME.png.

    Returns:
        Seconds of segmentation and frames segmented, including earlier calls.
    """
    totals = []
    with tqdm(total=sum(map(len, sequences)), unit="frame", ascii=True,
              mininterval=2 if sys.stderr.isatty() else 30) as bar:
        for sequence in sequences:
            bar.set_description(sequence.name)
            done = folder / f"{sequence.name}.json"  # written last
            if not done.exists():
                seconds = _segment(network, sequence, folder / sequence.name)
                write_whole(done, json.dumps({"seconds": seconds, "frames": len(sequence) - 1}))
            totals.append(_spent(done))
            bar.update(len(sequence))
    return sum(t["seconds"] for t in totals), sum(t["frames"] for t in totals)


def _spent(path: Path) -> dict[str, float | int]:
    """Seconds and frames of a sequence that is done.

    Raises:
        ValueError: its file is damaged.
    """
    content = read_json(path)
    try:
        return {"seconds": Number(0).check(content.get("seconds"), "seconds"),
                "frames": Whole(0).check(content.get("frames"), "frames")}
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it, and the masks beside it are made again") from error


def _segment(network: Propagator, sequence: Sequence, folder: Path) -> float:
    """Writes the masks of one sequence; returns the seconds of segmentation alone."""
    seconds, started = 0.0, clocks.now()
    for t, prediction in segment_sequence(network, sequence):
        seconds += clocks.now() - started
        write_mask(folder / f"{sequence.frame_names[t]}.png", prediction.labels)
        started = clocks.now()
    return seconds


def interval(record: records.RunRecord) -> tuple[float, float, float]:
    """J&F of a record in percent with its 95% bootstrap interval over sequences."""
    resampled = bootstrap({name: [means["J&F"]] for name, means in record.metrics["sequences"].items()})
    return 100 * resampled.mean, 100 * resampled.low, 100 * resampled.high


def tenths(record: records.RunRecord) -> list[float]:
    """Mean J (percent) in each tenth of a sequence's predicted frames, over all sequences of one object."""
    return trials.tenths(100 * np.array(frames["J"]) for frames in record.metrics["frames"].values())


def ranked(record: records.RunRecord) -> list[str]:
    """The sequences of a record by J&F, the worst first."""
    scores = record.metrics["sequences"]
    return sorted(scores, key=lambda name: scores[name]["J&F"])


def extremes(record: records.RunRecord) -> dict[str, str]:
    """The best, the median and the worst sequence of a record by J&F."""
    order = ranked(record)
    return {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
