"""Questions to trained networks: each is one entry, and each answer is one run record for a network."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sstlib import weights
from sstlib.config.entries import Registry
from sstlib.experiments import attended, choices, histories, knockouts, plans, records
from sstlib.experiments.validation import fingerprint
from sstlib.model import Propagator
from sstlib.provenance import provenance


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: in commands, and the folder of its records in results/runs.
        title: what is asked.
        data: on which it is measured, for the record.
        measure: computes the metrics of a network.
    """

    name: str
    title: str
    data: str
    measure: Callable[[Propagator], dict[str, Any]]


QUESTIONS: Registry[Question] = Registry(
    "question",
    Question(knockouts.EXPERIMENT, "what carries the mask: J without each input of the decoder, and with true masks in "
             "memory", knockouts.DATA, knockouts.measure),
    Question(attended.HIDDEN, "where attention goes while an object is hidden and when it returns",
             attended.HIDDEN_DATA, attended.hidden),
    Question(attended.ROUTES, "how far a mask travels along the routes of attention", attended.ROUTES_DATA,
             attended.traveled),
    Question(histories.EXPERIMENT, "how many past frames a network can use: J with other histories than it was trained "
             "with", histories.DATA, histories.measure),
    Question(choices.EXPERIMENT, "at which size a network works best, and what its gate on presence costs and saves",
             choices.DATA, choices.measure),
)


def named(source: str) -> tuple[str, int]:
    """Variant and seed that a record of a weights file has: those of its run (VARIANT-seedN), else the name of a
    release, file or folder and 0. Networks of other experiments than the plan's own are named with it, as theirs has
    variants of these names.
    """
    path = Path(source)
    _, training, experiment, folder = ("", "", "", "", *path.parts[:-1])[-4:]
    for name in (path.stem, folder):
        if run := re.fullmatch(r"(.+)-seed(\d+)", name):
            other = training == "training" and experiment != plans.EVIDENCE
            return (f"{experiment}-{run[1]}" if other else run[1]), int(run[2])
    if path.name in (f"weights{weights.SUFFIX}", weights.HUB_FILE):  # every run has such a file
        path = path.absolute().parent
    return path.absolute().name.removesuffix(weights.SUFFIX), 0


def analyze(question: str, sources: Iterable[str], fresh: bool = False) -> list[Path]:
    """Answers a question for networks, unless there are records of the same weights; each is written when it is done.

    Args:
        question: one of `QUESTIONS`.
        sources: names of releases or weights files of runs.
        fresh: make them anew.

    Raises:
        FileNotFoundError: no such weights, or the data are not there.
        ValueError: no such question, or one that does not fit the method.
    """
    entry, written = QUESTIONS.find(question), []
    for source in sources:
        variant, seed = named(source)
        record, file = records.find(entry.name, variant, seed), fingerprint(source)
        if fresh or record is None or record.config.get("weights") != file:
            network = weights.load(source)
            config = {"weights": file, "model": network.config.to_dict()}
            record = records.RunRecord(entry.name, variant, seed, config, entry.measure(network), {},
                                       provenance(entry.data))
            record.write()
        written.append(record.path)
    return written
