"""The rows on real frames: the released weights on DAVIS-2016 validation, and masks that others published."""

from pathlib import Path

from sstlib import paths, weights
from sstlib.evaluation import Evaluation
from sstlib.experiments import records, validation
from sstlib.provenance import provenance

EXPERIMENT = "davis2016"


def davis_rows() -> list[Path]:
    """Scores every released network of the main line (`sst-...`) on the 20 validation sequences, where DAVIS is at
    hand.

    Returns the records: those that are there for these very weights are kept.

    Raises:
        FileNotFoundError: `SST_DAVIS` or data/DAVIS names a folder that is not DAVIS 2016.
    """
    return [validation.score(name, EXPERIMENT) for name in weights.released() if name.startswith("sst-")
            ] if paths.davis() else []


def published_masks_row(name: str, result: Evaluation, trained_on: str) -> Path:
    """The record of masks that others published, from what `sst evaluate` scored.

    Raises:
        ValueError: it was not scored as DAVIS 2016.
    """
    if result.protocol.name != EXPERIMENT:
        raise ValueError(f"the table holds rows of {EXPERIMENT}, these masks were scored as {result.protocol.name}; "
                         f"use --dataset {EXPERIMENT}")
    metrics = validation.measured(result) | {"trained_on": trained_on}
    masks = {"masks": result.provenance["predictions"]["fingerprint"]}
    return records.RunRecord(EXPERIMENT, name, 0, masks, metrics, {},
                             provenance(validation.benchmarks()[EXPERIMENT].title)).write()
