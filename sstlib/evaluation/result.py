"""The result of an evaluation: averages, tables, a JSON record, and the comparison with another result."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from sstlib.metrics import METRICS, Protocol, SequenceScore, Statistics
from sstlib.metrics.scores import averaged
from sstlib.paths import atomic_write, write_whole
from sstlib.statistics.uncertainty import Comparison, Interval, bootstrap, paired_comparison


def columns() -> list[tuple[str, str]]:
    """Columns of tables: each metric with its statistics."""
    return [(measure, part) for measure in ("J&F", *METRICS) for part in ("mean", "recall", "decay")]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one result over the sequences of a data set.

    Attributes:
        protocol: what was scored.
        sequences: by name, in the order of the data set.
        notes: what a reader of the numbers must know: how annotations were read, what was missing or ignored.
        provenance: folders and fingerprints of the files that were read, and of the code that scored them.
        groups: seen and unseen objects as (sequence, id), for YouTube-VOS; empty elsewhere.
        occlusion: measures of occlusion by group of clips (`evaluate_clips`); empty where visibility is not known.
    """

    protocol: Protocol
    sequences: dict[str, SequenceScore]
    notes: tuple[str, ...]
    provenance: dict
    groups: dict[str, frozenset[tuple[str, int]]]
    occlusion: dict[str, dict] = field(default_factory=dict)

    def overall(self) -> dict[str, Statistics]:
        """J, F and J&F over all objects alike, as the official table: three objects of a sequence count three times."""
        return averaged(row for score in self.sequences.values() for row in score.per_object().values())

    def youtube(self) -> dict[str, float | bool | None]:
        """Mean J and F of seen and of unseen objects, and G, the mean of the four; empty where no groups are known.

        Unofficial: how the server averages is not public. Here every object counts alike within its group.
        """
        means: dict[str, float | bool | None] = {}
        for group, members in self.groups.items():
            rows = averaged(row for name, score in self.sequences.items() for value, row in score.per_object().items()
                            if (name, value) in members)
            means |= {f"{measure}_{group}": rows[measure].to_dict()["mean"] for measure in ("J", "F")}
        if not means:
            return {}
        complete = None not in means.values()
        return means | {"G": float(np.mean(list(means.values()))) if complete else None, "official": False}

    def intervals(self, level: float = 0.95) -> dict[str, Interval]:
        """Bootstrap intervals of the global means of every metric and of J&F, over sequences."""
        return {measure: bootstrap(self.means(measure), level) for measure in (*METRICS, "J&F")}

    def means(self, measure: str) -> dict[str, list[float]]:
        """The mean of each object, by sequence; objects without a scored frame are left out."""
        return {name: [row[measure].mean for row in score.per_object().values() if not np.isnan(row[measure].mean)]
                for name, score in self.sequences.items()}

    def to_dict(self) -> dict:
        """All as JSON values: `global`, `sequences` with objects and frames, `protocol`, `notes`, `provenance`."""
        return {"global": {measure: s.to_dict() for measure, s in self.overall().items()},
                "intervals": {measure: interval.to_dict() for measure, interval in self.intervals().items()},
                "youtube": self.youtube(),
                "occlusion": self.occlusion,
                "protocol": asdict(self.protocol),
                "notes": list(self.notes),
                "provenance": self.provenance,
                "groups": {group: sorted(map(list, members)) for group, members in self.groups.items()},
                "sequences": {name: score.to_dict() for name, score in self.sequences.items()}}

    @classmethod
    def from_dict(cls, record: Mapping) -> "Evaluation":
        """The evaluation that `to_dict` wrote.

        Raises:
            ValueError: it is no such record.
        """
        try:
            groups = {group: frozenset((name, value) for name, value in members)
                      for group, members in record["groups"].items()}
            sequences = {name: SequenceScore.from_dict(name, score) for name, score in record["sequences"].items()}
            return cls(Protocol(**record["protocol"]), sequences, tuple(record["notes"]), record["provenance"], groups,
                       record["occlusion"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no record of an evaluation ({type(error).__name__}: {error})") from None

    @classmethod
    def read(cls, path: str | Path) -> "Evaluation":
        """Reads a record that `write` wrote.

        Raises:
            ValueError: the file is no such record.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; `sst evaluate ... --json FILE` writes one") from None

    def write(self, path: str | Path) -> None:
        """Writes the record; the file appears whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))

    def write_table(self, path: str | Path) -> None:
        """Writes a CSV of a row an object: sequence, object, and mean, recall and decay of J&F and every metric."""
        with atomic_write(path, "w") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["sequence", "object", *(f"{measure} {part}" for measure, part in columns())])
            for name, score in self.sequences.items():
                for value, row in score.per_object().items():
                    table.writerow([name, value, *(row[measure].to_dict()[part] for measure, part in columns())])

    def table(self) -> str:
        """A row a sequence and a last one over all objects, for the screen; percent, as the papers print them."""
        width = max(map(len, ("all objects", *self.sequences)))
        head = f"{'':{width}}  objects " + " ".join(f"{measure + ' ' + part:>10}" for measure, part in columns())
        body = [(name, len(score.objects), score.overall()) for name, score in self.sequences.items()]
        body.append(("all objects", sum(count for _, count, _ in body), self.overall()))
        return "\n".join([head] + [
            f"{name:{width}}  {count:7} "
            + " ".join(f"{100 * getattr(row[measure], part):10.1f}" for measure, part in columns())
            for name, count, row in body])

    def noted(self, *notes: str) -> "Evaluation":
        """The same with more notes."""
        return replace(self, notes=self.notes + notes)


def is_record(path: Path) -> bool:
    """Whether `Evaluation.write` wrote a file, at whatever time."""
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(record, dict) and {"global", "protocol", "sequences"} <= set(record)


def is_table(path: Path) -> bool:
    """Whether `Evaluation.write_table` wrote a file, with whatever metrics."""
    with open(path, "rb") as file:
        return file.readline().startswith(b"sequence,object,")


def compare(first: Evaluation, second: Evaluation, measure: str = "J&F", level: float = 0.95) -> Comparison:
    """Compares two results of the same sequences: difference, interval, sign test, and the sequences that decide it.

    Raises:
        ValueError: they were scored differently, on other annotations, sequences or objects.
    """
    for aspect, one, other in (("protocols", first.protocol.name, second.protocol.name),
                               ("sequences", ", ".join(first.sequences), ", ".join(second.sequences))):
        if one != other:
            raise ValueError(f"the two results are of different {aspect}: {one} against {other}; compare like with "
                             "like")
    truths = [result.provenance["annotations"] for result in (first, second)]
    if truths[0]["fingerprint"] != truths[1]["fingerprint"]:
        raise ValueError(f"the annotations of the two results are not the same files ({truths[0]['folder']} and "
                         f"{truths[1]['folder']}, or they changed); score both against the same")
    return paired_comparison(first.means(measure), second.means(measure), level)
