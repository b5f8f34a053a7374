"""The rows on real frames: the released weights on DAVIS-2016 validation, and masks that others made."""

from pathlib import Path

from sstlib import paths, weights
from sstlib.datasets import DATASETS
from sstlib.evaluation import Evaluation
from sstlib.experiments import records, table_files, tables, validation
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


def published_masks_row(name: str, result: Evaluation, trained_on: str, dataset: str = EXPERIMENT) -> list[Path]:
    """A row of a data set's table for masks that others made, from what `sst evaluate` scored: its record, and the
    table anew.

    Raises:
        ValueError: there is no such table, or it was scored otherwise than its rows are.
    """
    known = table_files.of_datasets()
    if dataset not in known:
        raise ValueError(f"there is no table of {dataset}, but of {', '.join(known)}; score these masks on one of them")
    if result.protocol.name != DATASETS[dataset].protocol:
        raise ValueError(f"the table holds rows of {dataset}, these masks were scored as {result.protocol.name}; "
                         f"use --dataset {dataset}")
    metrics = validation.measured(result) | {"trained_on": trained_on}
    masks = {"masks": result.provenance["predictions"]["fingerprint"]}
    record = records.RunRecord(dataset, name, 0, masks, metrics, {},
                               provenance(validation.benchmarks()[dataset].title)).write()
    return [record, *table_files.write(dataset, tables.on_dataset(dataset))]
