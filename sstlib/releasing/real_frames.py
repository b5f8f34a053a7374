"""The rows on real frames: released weights on DAVIS-2016 validation, and published masks of other methods."""

import re
from pathlib import Path

from sstlib import paths, weights
from sstlib.datasets import DATASETS
from sstlib.evaluation import Evaluation
from sstlib.experiments import records, table_files, tables, validation
from sstlib.provenance import provenance

EXPERIMENT = "davis2016"


def davis_rows() -> list[Path]:
    """Scores every released network of the main line (`sst-...`) on the 20 validation sequences, if DAVIS is available.

    Returns the paths of the records; existing records of exactly these weights are kept.

    Raises:
        FileNotFoundError: `SST_DAVIS` or data/DAVIS names a folder that is not DAVIS 2016.
    """
    return [validation.score(name, EXPERIMENT) for name in weights.released() if name.startswith("sst-")
            ] if paths.davis() else []


def published_masks_row(name: str, result: Evaluation, trained_on: str, dataset: str = EXPERIMENT) -> list[Path]:
    """Adds a row to a data set's table for masks of another method, from a result of `sst evaluate`: writes its record,
    and the table again.

    Raises:
        ValueError: as `require_row`.
    """
    require_row(name, dataset, result.protocol.name, list(result.sequences))
    metrics = validation.measured(result) | {"trained_on": trained_on}
    masks = {"masks": result.provenance["predictions"]["fingerprint"]}
    record = records.RunRecord(dataset, name, 0, masks, metrics, {},
                               provenance(validation.benchmarks()[dataset].title)).write()
    return [record, *table_files.write(dataset, tables.on_dataset(dataset))]


def require_row(name: str, dataset: str, protocol: str, sequences: list[str] | None = None) -> None:
    """Refuses what cannot be a row of a data set's table.

    Args:
        sequences: names of the scored sequences, if they are known already.

    Raises:
        ValueError: there is no such table, its rows are scored otherwise or over other sequences, or the row is that of
            a network's weights.
    """
    known = table_files.of_datasets()
    if dataset not in known:
        raise ValueError(f"there is no table of {dataset}, but of {', '.join(known)}; score these masks on one of them")
    if protocol != DATASETS[dataset].protocol:
        raise ValueError(f"the table holds rows of {dataset}, these masks were scored as {protocol}; use --dataset "
                         f"{dataset}")
    if not re.fullmatch(r"\w[\w .+()-]*", name):
        raise ValueError(f"a row cannot be called {name!r}; give it a name of letters, digits, spaces and . + - ( )")
    rows = {record.variant: record for record in records.read_all(dataset)}
    if name in rows and "weights" in rows[name].config:
        raise ValueError(f"row {name} is that of the weights of this name; give these masks another")
    for other in rows.keys() - {name} if sequences else ():
        if alone := sorted(set(rows[other].metrics["sequences"]).symmetric_difference(sequences)):
            raise ValueError(f"rows of one table are of the same sequences, and {alone[0]} is not in both these masks "
                             f"and row {other}; score all of {dataset} {DATASETS[dataset].benchmark.split}")
