"""Releasing a trained network: its weights, its curve and a card whose every number comes from a record."""

from pathlib import Path

import pandas as pd

from sstlib import paths, weights
from sstlib.experiments import records
from sstlib.files import written_aside

CURVE_ROWS = 300
TERMS = {
    "generated": "Free of data terms: no real image was seen in training. MIT, as the code.",
    "davis2016": "Non-commercial research only, with attribution, as DAVIS 2016 (CC BY-NC 4.0; Perazzi et al., CVPR 2016) asks of what is made from it.",
}


def release(run: Path, name: str, data: str) -> list[Path]:
    """Copies a run's averaged weights to results/weights/NAME and its curve to results/runs/releases; returns the files.

    Args:
        run: folder of a finished `sst train`.
        name: what users will load it by.
        data: what it was trained on, a key of TERMS; decides the terms that the file and the card state.

    Raises:
        ValueError: unknown data; a run that has not finished.
    """
    if data not in TERMS:
        raise ValueError(f"weights trained on {data!r} have no stated terms; known: {', '.join(TERMS)}")
    facts = weights.facts(run / "weights.safetensors")
    if facts["step"] < facts["run"]["training"]["steps"]:
        raise ValueError(f"{run} stopped at step {facts['step']} of {facts['run']['training']['steps']}; finish it before it is released")
    curve = pd.read_csv(run / "curve.csv")
    facts |= {"trained_on": data, "terms": TERMS[data], "training_seconds": float(curve["seconds"].iloc[-1])}
    facts.pop("config")
    path = weights.save(weights.load(run / "weights.safetensors"), paths.WEIGHTS / f"{name}{weights.SUFFIX}", **facts)
    thin = paths.RUNS / "releases" / f"{name}-curve.csv"
    with written_aside(thin, "w") as file:
        thinned(curve).to_csv(file, index=False)
    return [path, thin, write_card(name)]


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_ROWS rows: means over equal windows of steps, every probe kept."""
    window = -(-len(curve) // CURVE_ROWS)
    groups = curve.groupby((curve["step"] - 1) // window)
    rows = groups.agg({"step": "last", "loss": "mean", "gradient_norm": "mean", "learning_rate": "last", "seconds": "last"})
    if "probe_J" in curve:
        rows["probe_J"] = groups["probe_J"].last()
    return rows.round(6)


def write_card(name: str) -> Path:
    """Writes results/weights/NAME.md from the weights file and the records that score these very weights."""
    path = paths.WEIGHTS / f"{name}.md"
    with written_aside(path, "w") as file:
        file.write(card(name))
    return path


def card(name: str) -> str:
    """The model card as Markdown: what it is, how it was trained, what it scores, its terms."""
    facts = weights.facts(name)
    run, origin = facts["run"], facts["origin"]
    training, data, model = run["training"], run["data"], run["model"]
    parameters = sum(p.numel() for p in weights.load(name).parameters())
    lines = [
        f"# {name}", "",
        f"A {model['method'].upper()} of {parameters / 1e6:.1f} million parameters: layers {', '.join(model['layers'])}, "
        f"history {model['history']}, features at stride {model['output_stride']}.", "",
        "## Training", "",
        f"- **Data**: {_data(data, training)}",
        f"- **Start**: {'the weights ' + Path(training['start']).stem if training['start'] else 'random; no pretrained weights of any kind'}.",
        f"- **Schedule**: {training['steps']} steps of {training['batch']} clips of {data['frames']} frames at {data['width']}x{data['height']}, "
        f"{training['optimizer']}, learning rate {training['learning_rate']:g} ({training['schedule']}), seed {training['seed']}; one run.",
        f"- **Cost**: {facts['training_seconds'] / 60:.0f} minutes on {origin['device']}, clip rendering not counted; torch {origin['torch']}, commit {origin['commit']}.",
        "- **Selection**: none; these are the averaged weights at the last step.", "",
        "## Scores", "", *_scores(name), "", "## Terms", "", facts["terms"], ""]
    return "\n".join(lines)


def _data(data: dict, training: dict) -> str:
    generated = f"generated clips ({data['difficulty']}), rendered from seeds"
    return f"{data['real_ratio']:.0%} {data['real']} training sequences, the rest {generated}." if data["real"] else f"{generated}; no real frame."


def _scores(name: str) -> list[str]:
    """A table row a record of these weights, or one line that there is none."""
    found = [(folder.name, record) for folder in sorted(paths.RUNS.iterdir()) if folder.is_dir()
             for record in records.read_all(folder.name) if record.variant == name]
    if not found:
        return ["No record of these weights yet."]
    rows = ["| data | J&F | J | F | frames a second | machine |", "| --- | --- | --- | --- | --- | --- |"]
    return rows + [f"| {record.provenance['data']} | {100 * record.metrics['J&F']:.1f} | {100 * record.metrics['J']:.1f} | "
                   f"{100 * record.metrics['F']:.1f} | {record.cost['frames_per_second']:.1f} | {record.provenance['device']} |"
                   for _, record in found]
