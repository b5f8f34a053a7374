"""The row on real frames: the released weights on DAVIS-2016 validation, and masks that others published."""

import hashlib
from pathlib import Path

from sstlib import paths, weights
from sstlib.datasets import open_dataset
from sstlib.evaluation import evaluate
from sstlib.experiments import records
from sstlib.experiments.execute import peak_megabytes, score, summary
from sstlib.metrics import PROTOCOLS
from sstlib.provenance import provenance

EXPERIMENT = "davis2016"


def davis_rows() -> list[Path]:
    """Scores every released network of the main line (`sst-...`) on the 20 validation sequences, where DAVIS is at hand.

    Returns the records: those that are there for these very weights are kept.

    Raises:
        FileNotFoundError: `SST_DAVIS` or data/DAVIS names a folder that is not DAVIS 2016.
    """
    return [davis_row(name) for name in weights.released() if name.startswith("sst-")] if paths.davis() else []


def davis_row(name: str) -> Path:
    """The record of one weights file, made unless there is one of the same bytes."""
    fingerprint = hashlib.sha256(weights.find(name).read_bytes()).hexdigest()[:16]
    path = records.record_path(EXPERIMENT, name, 0)
    if path.exists() and records.read(path).config.get("weights") == fingerprint:
        return path
    facts = weights.facts(name)
    metrics, seconds, frames = score(weights.load(name), open_dataset("davis2016", "val"), PROTOCOLS["davis2016"])
    metrics["trained_on"] = facts.get("trained_on", "")
    cost = {"frames_per_second": frames / seconds, "peak_megabytes": peak_megabytes()}
    config = {"weights": fingerprint, "model": facts["config"]}
    return records.RunRecord(EXPERIMENT, name, 0, config, metrics, cost, provenance("davis2016 val 480p")).write(path)


def published_masks_row(name: str, folder: Path | str, trained_on: str) -> Path:
    """The record of masks that others published (SEQUENCE/FRAME.png), scored by the same code on the same frames."""
    annotations = paths.davis()
    if annotations is None:
        raise FileNotFoundError("no DAVIS folder to score against; name one in SST_DAVIS")
    result = evaluate(folder, annotations / "Annotations" / "480p", protocol="davis2016")
    metrics = summary(list(result.sequences.values())) | {"trained_on": trained_on}
    return records.RunRecord(EXPERIMENT, name, 0, {"masks": result.provenance["predictions"]["fingerprint"]}, metrics, {},
                             provenance("davis2016 val 480p")).write()
