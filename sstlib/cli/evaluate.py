"""`sst evaluate PREDICTIONS ANNOTATIONS`: J and F of folders of masks, on the screen, as JSON and CSV, and compared."""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from sstlib.cli import _arguments
from sstlib.datasets import DATASETS
from sstlib.evaluation import MISSING, Evaluation, compare, evaluate, evaluate_on, youtube_groups
from sstlib.evaluation.folders import existing_folder, folder_masks
from sstlib.evaluation.result import is_record, is_table
from sstlib.metrics import METRICS, PROTOCOLS
from sstlib.paths import STREAMS, refuse_inputs
from sstlib.statistics.uncertainty import Interval

HELP = "score predicted masks against annotations: region similarity J and contour accuracy F"
EXAMPLES = """examples:
  sst evaluate masks Annotations/480p --protocol davis2016               folders of SEQUENCE/FRAME.png
  sst evaluate masks --dataset davis2017 --json masks.json --csv masks.csv
  sst evaluate masks Annotations --meta valid/meta.json --seen train/meta.json       seen and unseen objects apart
  sst evaluate masks Annotations --against other_masks                   difference with its interval
"""
SHOWN = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("predictions", metavar="PREDICTIONS", nargs="?",
                        help="folder of SEQUENCE/FRAME.png, label maps or binary masks")
    parser.add_argument("annotations", metavar="ANNOTATIONS", nargs="?", help="folder of true masks, the same layout")
    _arguments.close_with(parser, EXAMPLES)
    scored = parser.add_argument_group("what is scored")
    scored.add_argument("--dataset", choices=sorted(DATASETS), help="take annotations and protocol of a known data set")
    scored.add_argument("--split", metavar="NAME", help="the data set's part (default: " + "; ".join(
                        f"{split}: {', '.join(name for name, one in DATASETS.items() if one.scored == split)}"
                        for split in dict.fromkeys(one.scored for one in DATASETS.values())) + ")")
    scored.add_argument("--protocol", choices=sorted(PROTOCOLS),
                        help="what is scored; by default the data set's, or davis2016 for binary masks, else davis2017")
    scored.add_argument("--sequences", nargs="+", metavar="NAME", help="score these sequences only")
    scored.add_argument("--missing", choices=MISSING, default="error",
                        help="missing predictions end with an error (default), or count as empty masks")
    youtube = parser.add_argument_group("YouTube-VOS", "objects of categories that training had apart from others")
    youtube.add_argument("--meta", metavar="FILE",
                         help="YouTube-VOS: meta.json of the split, for J and F of seen and unseen objects")
    youtube.add_argument("--seen", metavar="FILE",
                         help="YouTube-VOS: meta.json of the training set, or a JSON list of seen categories")
    results = parser.add_argument_group("results", "beside the table on the screen")
    results.add_argument("--json", type=_arguments.new_file, metavar="FILE",
                         help="record of everything, per frame too; an unchanged one is read, not made again")
    results.add_argument("--csv", type=_arguments.new_file, metavar="FILE", help="write the table, a row an object")
    results.add_argument("--against", metavar="B", help="compare with another result: its folder, or its JSON record")
    results.add_argument("--row", metavar="METHOD",
                         help="also keep the result as a row of the data set's table in results/tables, beside the "
                              "releases (data sets of real frames; by default davis2016)")
    results.add_argument("--trained-on", metavar="TEXT", default="",
                         help="with --row: what the method was trained on, as the table says it")
    run = parser.add_argument_group("run")
    run.add_argument("--processes", type=_arguments.threads, default=min(8, os.cpu_count() or 1), metavar="N",
                     help="score so many sequences at a time (default: one a core, up to 8)")
    run.add_argument("--benchmark", action="store_true",
                     help="time scoring against a plain implementation instead, on the two folders or on generated "
                          "clips")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints the table."""
    if arguments.benchmark:
        from sstlib.benchmarks import scoring

        _require_timed_alone(arguments)
        print(scoring.report(scoring.benchmark(arguments.predictions, arguments.annotations)))
        return 0
    if arguments.predictions is None:
        raise ValueError("give the folder of PREDICTIONS")
    if (arguments.annotations is None) == (arguments.dataset is None):
        raise ValueError("give either the folder of ANNOTATIONS or --dataset")
    if (arguments.meta is None) != (arguments.seen is None):
        raise ValueError("--meta and --seen go together: seen and unseen objects are told apart by both")
    for option, needed in (("split", "dataset"), ("trained_on", "row")):
        if getattr(arguments, option) and not getattr(arguments, needed):
            raise ValueError(f"--{option.replace('_', '-')} goes with --{needed}; add that, or leave it out")
    _refuse_inputs(arguments)
    if arguments.row is not None:
        _require_row(arguments)
    scored = _scorer(arguments)
    other = _other(arguments.against)
    result = scored(arguments.predictions, arguments.json)
    report(result)
    if arguments.csv:
        result.write_table(arguments.csv)
    if arguments.row is not None:
        from sstlib.releasing.real_frames import published_masks_row

        written = published_masks_row(arguments.row, result, arguments.trained_on, arguments.dataset or "davis2016")
        print(f"row {arguments.row}:", *written)
    if other is not None:
        report_comparison(result, scored(other, None) if isinstance(other, Path) else other)
    return 0


def _require_timed_alone(arguments: argparse.Namespace) -> None:
    """Raises a ValueError for one folder of two, and for options of scores, as scoring is only timed."""
    if (arguments.predictions is None) != (arguments.annotations is None):
        raise ValueError("--benchmark takes both folders, PREDICTIONS and ANNOTATIONS, or none of them")
    for option in ("dataset", "split", "protocol", "sequences", "meta", "seen", "json", "csv", "against", "row",
                   "trained_on"):
        if getattr(arguments, option):
            raise ValueError(f"--benchmark times scoring and keeps no scores; leave --{option.replace('_', '-')} out")


def _require_row(arguments: argparse.Namespace) -> None:
    """Refuses what cannot be a row before it is scored; the default protocol is that of the table."""
    from sstlib.releasing.real_frames import require_row

    dataset = arguments.dataset or "davis2016"
    entry = DATASETS.find(dataset)
    arguments.protocol = arguments.protocol or entry.protocol
    names = arguments.sequences or (None if arguments.dataset else list(folder_masks(
        existing_folder(arguments.annotations, "annotations"))))
    require_row(arguments.row, dataset, arguments.protocol, names)
    if entry.benchmark and arguments.split not in (None, entry.benchmark.split):
        raise ValueError(f"the table holds rows of {dataset} {entry.benchmark.split}, not of {arguments.split}; leave "
                         "--split or --row out")


def _other(against: str | None) -> Evaluation | Path | None:
    """What a result is compared with: a record, or a folder that is still to be scored."""
    if against is None:
        return None
    return Evaluation.read(Path(against)) if Path(against).is_file() else existing_folder(against, "predictions")


def _refuse_inputs(arguments: argparse.Namespace) -> None:
    """Refuses to overwrite inputs, and files that this command did not write."""
    outputs = {"--json": arguments.json, "--csv": arguments.csv}
    inputs = [arguments.predictions, arguments.annotations, arguments.meta, arguments.seen, arguments.against]
    if any(path and Path(path).exists() for path in outputs.values()):  # a new file is none of these
        folders = [
            Path(path) for path in (arguments.predictions, arguments.annotations, arguments.against)
            if path and Path(path).is_dir()
        ]
        inputs += [file for folder in folders for file in folder.glob("*/*")]
    refuse_inputs(outputs, inputs)
    for option, content, is_own in (("--json", "record of an evaluation", is_record), ("--csv", "table", is_table)):
        path = outputs[option]
        if path and path.is_file() and path not in STREAMS and path.stat().st_size and not is_own(path):
            raise ValueError(f"{option} would replace {path}, which is no {content} of this command; give another name")


def _scorer(arguments: argparse.Namespace) -> Callable[[str | Path, Path | None], Evaluation]:
    """A function that scores a folder of predictions with the command's settings, and writes the record if given a
    path.
    """
    groups = youtube_groups(arguments.meta, arguments.seen) if arguments.meta else None
    settings = {"sequences": arguments.sequences, "missing": arguments.missing, "progress": True, "groups": groups,
                "processes": arguments.processes, "protocol": arguments.protocol}
    if arguments.dataset:
        return lambda predictions, record: evaluate_on(arguments.dataset, predictions, arguments.split, record=record,
                                                       **settings)
    return lambda predictions, record: evaluate(predictions, arguments.annotations, record=record, **settings)


def report(result: Evaluation) -> None:
    """Prints the table, the intervals, YouTube-VOS's numbers and the notes."""
    print(result.table())
    for measure, interval in result.intervals().items():
        print(f"{measure:>3} {percent(interval)}")
    if youtube := result.youtube():
        values = (f"{k} {100 * v:.1f}" for k, v in youtube.items() if k != "official" and v is not None)
        print("YouTube-VOS, unofficial (the server's averaging is not public): " + ", ".join(values))
    if "passages" in result.occlusion:
        report_passages(result.occlusion["passages"])
    elif result.occlusion:
        report_occlusion(result.occlusion)
    for note in result.notes:
        print(f"note: {note}")


def report_passages(passages: dict) -> None:
    """Prints a line for each length of the occlusion, and those of the floors: scores of the target, and the loss."""
    from sstlib.evaluation.passages import WINDOWS, rows

    print(f"the target through {len(passages['scenes'])} occlusions, J&F; loss against the same scene without one")
    print(f"{'hidden for':>10} " + " ".join(f"{name:>12}" for name in WINDOWS) + "  loss")
    for source in passages["tables"]:
        if source != "predictions":
            print(f"{source}:")
        for row in rows(passages, source):
            cells = " ".join(f"{100 * row[name]:12.1f}" for name in WINDOWS)
            print(f"{row['hidden for']:10} {cells}  {percent(row['loss'], '+', 'scenes')}")


def report_occlusion(groups: dict[str, dict]) -> None:
    """Prints a line for each group of clips: J while hardly visible and after the return, identity, false claims."""
    def shown(value: float | None) -> str:
        return f"{'-' if value is None else format(100 * value, '.1f'):>12}"

    print(f"{'occlusion':16}{'J seen < 25%':>14}{'J when back':>13}{'swaps':>7}{'under other':>13}{'claimed gone':>14}")
    for name, group in groups.items():
        hardly, back = group["by_visible_share"][0]["J"], group["after_reappearance"]["mean"]
        identity, gone = group["identity"], group["while_gone"]["share"]
        under = shown(identity["share"])
        print(f"{name:16}  {shown(hardly)} {shown(back)}{identity['swaps']:7} {under}  {shown(gone)}")


def percent(interval: Interval, sign: str = "", over: str = "sequences") -> str:
    """A mean with its interval, if it has one."""
    mean, low, high = (format(100 * value, f"{sign}.1f") for value in (interval.mean, interval.low, interval.high))
    bounds = f" ({interval.level:.0%} interval over {over} {low} to {high})"
    return mean if math.isnan(interval.low) else mean + bounds


def report_comparison(result: Evaluation, other: Evaluation) -> None:
    """Prints the difference from another result, the sequences that cause it, and notes on the other alone."""
    for measure in ("J&F", *METRICS):
        comparison = compare(other, result, measure)
        print(f"{measure:>3} {percent(comparison.difference, '+')} against the other; better in {comparison.better} "
              f"sequences, worse in {comparison.worse}, equal in {comparison.equal} "
              f"(sign test p = {comparison.probability:.2g})")
        if not comparison.deciding:
            continue
        shown = ", ".join(f"{name} {100 * comparison.contributions[name]:+.2f}" for name in comparison.deciding[:SHOWN])
        print(f"    without {len(comparison.deciding)} of them there would be no such difference: {shown}"
              + (" ..." if len(comparison.deciding) > SHOWN else ""))
    for note in other.notes:
        if note not in result.notes:
            print(f"note on the other: {note}")
