"""Numbers that readers see, each computed anew from the bare JSON of its records, without the code that shows it."""

import json
import re

import numpy as np
import pytest

from sstlib import paths


def read(experiment, variant):
    """Metrics of all records of a variant, by seed."""
    files = sorted((paths.ROOT / "results" / "runs" / experiment).glob(f"{variant}-seed*.json"))
    assert files, f"no record of {experiment}/{variant}"
    return [json.loads(file.read_text())["metrics"] for file in files]


def score(experiment, variant, name="J&F"):
    return 100 * np.mean([one[name] for one in read(experiment, variant)])


def first(experiment, variant):
    """J&F of the first seed alone."""
    return 100 * read(experiment, variant)[0]["J&F"]


def adapted(way):
    """On validation, of a network adapted to each video, or as released: J&F, and J in the last tenth."""
    scores = read("adapting", "sst-photo")[0]["val"][way]
    return 100 * np.mean([one["J&F"] for one in scores["sequences"].values()]), scores["tenths"][-1]


def passage(metrics, field, length):
    known = metrics.get("passages") or metrics["occlusion"]["passages"]
    column = known["lengths"].index(length)
    return 100 * np.mean([row[column] for row in known["tables"]["predictions"][field]])


def base(field, length):
    return np.mean([passage(one, field, length) for one in read("evidence", "base")])


def rival(name, field, length, experiment="evidence-forced"):
    return np.mean([passage(one, field, length) for one in read(experiment, name)])


def loss(name, experiment="evidence-forced"):
    """What an occlusion costs, mean over its lengths."""
    return np.mean([rival(name, "back_control", length, experiment) - rival(name, "back", length, experiment)
                    for length in (4, 16)])


def costs(plan, variant):
    """Median over rounds of a step's time, in multiples of the base's."""
    [metrics] = read("costs", plan)
    return np.median(np.array(metrics["seconds"][variant]) / metrics["seconds"]["base"])


def release(name, field, length=16):
    return passage(read("sst-occlusion-2", name)[0], field, length)


def text_of(file):
    """What a reader sees: a page, or the sources and outputs of a notebook."""
    path = paths.ROOT / file
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    shown = ["".join(out.get("text") or out.get("data", {}).get("text/markdown", "")) for out in outputs]
    return "\n".join(["".join(cell["source"]) for cell in cells] + shown)


def carried(name, taken):
    """Mean J over seeds, sequences and frames with something taken away."""
    return 100 * np.mean([[np.mean(one[taken]) for one in metrics["sequences"].values()]
                          for metrics in read("knockouts", name)])


def trial(name):
    """Mean J of a network of the trial that chose the rivals' schedule, over sequences held out."""
    [metrics] = read("choices", name)
    return 100 * np.mean([np.mean(sizes["854"]) for sizes in metrics["sequences"].values()])


def looked(name, place):
    """Share of the last layer's attention while the object is hidden and a past frame shows it, mean over scenes."""
    [metrics] = read("attention-hidden", name)
    means = []
    for rows in metrics["scenes"].values():
        last = max(row["layer"] for row in rows)
        means.append(np.mean([row["attention"][place] for row in rows
                              if row["layer"] == last and not row["visible"] and row["object in memory"]]))
    return 100 * np.mean(means)


def area(name, distance):
    """By how much attention's area under the curve is above that of even attention."""
    [metrics] = read("mask-routes", name)
    return 100 * np.mean([one[distance]["attention"] - one[distance]["even"] for one in metrics["sequences"].values()])


def prompted(data, kind):
    record = json.loads((paths.ROOT / "results" / "runs" / "benchmarks" / "prompts.json").read_text())
    return np.median([row["J"][kind] for row in record["rows"] if row["data"] == data])


def lost(name):
    [metrics] = read("davis-occlusion", name)
    return passage(metrics, "back_control", 16) - passage(metrics, "back", 16)


def stepped(objects, file="steps"):
    record = json.loads((paths.ROOT / "results" / "runs" / "benchmarks" / f"{file}.json").read_text())
    [seconds] = [row["seconds"] for row in record["rows"] if row["objects"] == objects]
    own, other = np.median(seconds, axis=0)
    return own / other


def left_out(part, field="J&F"):
    """What changes without a part of the training, mean over seeds, and over lengths of an occlusion."""
    means = []
    for name in (f"ablation-{part}", "ablation"):
        lengths = [rival("base", field, length, name) for length in (4, 16)] if field == "claimed" else [
            loss("base", name) if field == "loss" else score(name, "base")]
        means.append(np.mean(lengths))
    return means[0] - means[1]


RIVALS = {"SST \\(Local\\)": "base", "CFBI": "cfbi", "recurrent": "recurrent", "STM": "stm"}  # by README's names


def rival_cells(name):
    """What stands before each number of a row of README's table of rivals, and the number from the records."""
    yield "", lambda: score("evidence-forced", name)
    after = r"[^|]*\| [^|]*\| "
    yield after, lambda: rival(name, "back", 16)
    yield after + r"[\d.]+ \| ", lambda: rival(name, "back_control", 16)
    if name != "base":
        yield r"[^|]*\| ", lambda: score("evidence-forced", "base") - score("evidence-forced", name)
        yield after + r"[\d.]+ \| [\d.]+ \| ", lambda: loss("base") - loss(name)


TENTHS = read("davis2016", "sst-small")[0]["frames"]
HIDDEN = read("davis-occlusion", "sst-photo")[0]
CARD, PHOTO = "results/weights/sst-small.md", "results/weights/sst-photo.md"
NUMBER = r"([\d.]+)"
ROW, SKIPPED = r"\| sst-photo \| [a-z][^|]*\| ", r"(?:[^|]*\| )"  # of the table of releases, and a cell of it
TRACES = [  # file, what stands around the number, and the number from the records
    ("README.md", rf"scenes costs {NUMBER} points of J&F more without the given frame", lambda: left_out(
        "reference", "loss")),
    ("README.md", rf"and {NUMBER} more without the\s+pretrained features", lambda: left_out("pretrained", "loss")),
    ("README.md", rf"hidden object {NUMBER} points more of its area", lambda: left_out("pretrained", "claimed")),
    ("README.md", rf"{NUMBER} more without photographs", lambda: left_out("photographs", "claimed")),
    ("README.md", rf"{NUMBER} more without clips in which", lambda: left_out("occlusion", "claimed")),
    ("README.md", rf"J&F falls by {NUMBER} points without presence", lambda: -left_out("presence")),
    ("README.md", rf"rises by {NUMBER} without clips in which", lambda: left_out("occlusion")),
    ("README.md", rf"\| sst-small-davis2016 \| davis2016 \| {NUMBER} \| [\d.]+ to [\d.]+ \| [\d.]+ \| [\d.]+ \| –",
     lambda: score("davis2016", "sst-small-davis2016")),
    ("README.md", rf"\| sst-small \| generated \| [\d.]+ \| [\d.]+ to [\d.]+ \| {NUMBER} \| [\d.]+ \| –",
     lambda: score("davis2016", "sst-small", "J")),
    ("README.md", rf"\| OSVOS \| .*?\) \| [\d.]+ \| [^|]+ \| [\d.]+ \| {NUMBER}",
     lambda: score("davis2016", "OSVOS", "F")),
    ("README.md", rf"\| sst-small \| 16 \| [\d.]+ \| {NUMBER}", lambda: release("sst-small", "back_control")),
    ("README.md", rf"\| sst-small-davis2016 \| 4 \| {NUMBER}", lambda: release("sst-small-davis2016", "back", 4)),
    ("README.md", rf"a median J of {NUMBER}", lambda: prompted("photographs", "box")),
    ("README.md", rf"three points \.73 and {NUMBER}", lambda: prompted("davis2016 val", "three points")),
    ("README.md", rf"{ROW}{SKIPPED}{{2}}{NUMBER}", lambda: score("fast-objects", "sst-photo", "J")),
    ("README.md", rf"{ROW}{SKIPPED}{{3}}{NUMBER}", lambda: score("davis-fast-objects", "sst-photo", "J")),
    ("README.md", rf"{ROW}{SKIPPED}{{4}}{NUMBER}", lambda: passage(HIDDEN, "returning", 4)),
    ("README.md", rf"{ROW}{SKIPPED}{{5}}{NUMBER} \(", lambda: round(passage(HIDDEN, "claimed", 4))),
    ("README.md", rf"{ROW}{SKIPPED}{{7}}{NUMBER} \(", lambda: round(passage(HIDDEN, "claimed", 16))),
    ("README.md", rf"16 frames costs `sst-photo` {NUMBER} points", lambda: lost("sst-photo")),
    ("README.md", rf"\| sst-photo \| 16 \| {NUMBER}", lambda: release("sst-photo", "back")),
    ("README.md", rf"validation sequences its J&F is {NUMBER} points lower",
     lambda: score("davis2016", "sst-small") - score("davis2016", "sst-small-occlusion")),
    ("README.md", rf"first five frames: {NUMBER} points more", lambda: passage(
        read("davis-occlusion", "sst-small-occlusion")[0], "returning", 4) - passage(
            read("davis-occlusion", "sst-small")[0], "returning", 4)),
    ("README.md", rf"`sst-small-occlusion` {NUMBER} \(", lambda: lost("sst-small-occlusion")),
    ("README.md", rf"\| sst-small-occlusion \| 4 \| {NUMBER}", lambda: release("sst-small-occlusion", "back", 4)),
    ("results/plans/rivals.json", rf"854 pixels is {NUMBER} with it", lambda: trial("recurrent-forced")),
    ("results/plans/rivals.json", rf"with it and {NUMBER} with own masks, the", lambda: trial("recurrent-own")),
    ("results/plans/rivals.json", rf"the base's {NUMBER}\)", lambda: trial("base-forced")),
    ("README.md", rf"`sst-small-davis2016` {NUMBER} \(", lambda: lost("sst-small-davis2016")),
    ("README.md", rf"`sst-photo` takes {NUMBER} times as long", lambda: stepped(1)),
    ("README.md", rf"`sst-small-occlusion` {NUMBER} times", lambda: stepped(1, "steps-occlusion")),
    (PHOTO, rf"\| this network \| 16 \| 52.*?\| {NUMBER} \(", lambda: passage(HIDDEN, "claimed", 16) / 100),
    (PHOTO, rf"fast-objects 1, generated clips \| 12 \| {NUMBER}", lambda: score("fast-objects", "sst-photo")),
    ("README.md", rf"local attention is {NUMBER} points",
     lambda: score("evidence", "base") - score("evidence", "grid-2")),
    ("README.md", rf"then strided is {NUMBER} above",
     lambda: score("evidence", "localstrided-2") - score("evidence", "strided-2")),
    ("README.md", rf"against local then strided \({NUMBER}",
     lambda: score("evidence", "base") - score("evidence", "localstrided-2")),
    ("README.md", rf"strided against grid \({NUMBER}",
     lambda: score("evidence", "strided-2") - score("evidence", "grid-2")),
    ("README.md", rf"Grid itself scores {NUMBER} and", lambda: score("evidence", "grid-2")),
    ("README.md", rf"encoding is {NUMBER} below none",
     lambda: score("evidence", "encoding-none") - score("evidence", "base")),
    ("README.md", rf"{NUMBER} below a learned one",
     lambda: score("evidence", "encoding-learned") - score("evidence", "base")),
    ("README.md", rf"{NUMBER} below the same with time",
     lambda: score("evidence", "encoding-buffer") - score("evidence", "base")),
    ("README.md", rf"two layers of grid against one \(-{NUMBER}",
     lambda: score("evidence", "grid-1") - score("evidence", "grid-2")),
    ("README.md", rf"dense against local \(-{NUMBER}",
     lambda: score("evidence", "base") - score("evidence", "dense-2")),
    ("README.md", rf"against three \(-{NUMBER}", lambda: score("evidence", "grid-3") - score("evidence", "grid-2")),
    ("README.md", rf"eight frames score {NUMBER}", lambda: score("evidence", "history-1")),
    ("README.md", rf"eight frames score [\d.]+, {NUMBER}, ", lambda: score("evidence", "history-2")),
    ("README.md", rf"two frames are {NUMBER} above one",
     lambda: score("evidence", "history-2") - score("evidence", "history-1")),
    ("README.md", rf"three {NUMBER} above two", lambda: score("evidence", "base") - score("evidence", "history-2")),
    ("README.md", rf"eight {NUMBER} above three", lambda: score("evidence", "history-8") - score("evidence", "base")),
    ("README.md", rf"eight frames lose {NUMBER} points less",
     lambda: loss("history-1", "evidence") - loss("history-8", "evidence")),
    ("README.md", rf"its first seed has {NUMBER} so", lambda: first("evidence", "recurrent")),
    ("README.md", rf"so, and {NUMBER} with the true ones", lambda: first("evidence-forced", "recurrent")),
    ("README.md", rf"STM's has {NUMBER} and", lambda: first("evidence", "stm")),
    ("README.md", rf"STM's has [\d.]+ and {NUMBER}\.", lambda: first("evidence-forced", "stm")),
    *(("README.md", rf"\| {title} \| {before}{NUMBER}", computed) for title, name in RIVALS.items()
      for before, computed in rival_cells(name)),
    (CARD, rf"\| davis2016 val 480p \| 20 \| {NUMBER}", lambda: score("davis2016", "sst-small")),
    (CARD, rf"mean J by tenth of a sequence: {NUMBER}",
     lambda: 100 * np.mean([np.mean(np.array_split(one["J"], 10)[0]) for one in TENTHS.values()])),
    (CARD, rf"\| this network \| 16 \| {NUMBER}", lambda: release("sst-small", "returning")),
    (PHOTO, rf"\| davis2016 val 480p \| 20 \| {NUMBER}", lambda: score("davis2016", "sst-photo")),
    ("CHANGELOG.md", rf"validation is {NUMBER} with it", lambda: adapted("adapted")[0]),
    ("CHANGELOG.md", rf"with it and {NUMBER} without", lambda: adapted("as released")[0]),
    ("CHANGELOG.md", rf"of a sequence {NUMBER} and", lambda: adapted("adapted")[1]),
    ("CHANGELOG.md", rf"of a sequence 56.8 and {NUMBER}\.", lambda: adapted("as released")[1]),
    ("notebooks/05_occlusion.ipynb", rf"\| SST \(Local\) \| \d of \d \| {NUMBER}",
     lambda: score("evidence-forced", "base")),
    ("notebooks/05_occlusion.ipynb", rf"\| Recurrent \| \d of \d \| {NUMBER}",
     lambda: score("evidence-forced", "recurrent")),
    ("notebooks/05_occlusion.ipynb", rf"\| CFBI \| \d of \d \| {NUMBER}", lambda: score("evidence-forced", "cfbi")),
    ("notebooks/05_occlusion.ipynb", rf"\| STM \| \d of \d \| {NUMBER}", lambda: score("evidence-forced", "stm")),
    ("notebooks/04_ablations.ipynb", rf"\| Local, 2 layers \| \d of \d \| {NUMBER}", lambda: score("evidence", "base")),
    ("notebooks/04_ablations.ipynb", rf"\| floor: first mask copied \| – \| {NUMBER}",
     lambda: 100 * read("evidence", "base")[0]["floors"]["first mask copied"]),
    ("notebooks/04_ablations.ipynb", rf"\| sst-small \| affinity \| [\d.]+ \| -{NUMBER}",
     lambda: carried("sst-small", "nothing") - carried("sst-small", "affinity")),
    ("notebooks/04_ablations.ipynb", rf"\| sst-photo \| affinity \| {NUMBER}", lambda: carried("sst-photo", "nothing")),
    ("notebooks/04_ablations.ipynb", rf"\| base \(n=\d\) \| own masks in memory \| [\d.]+ \| \+{NUMBER}",
     lambda: carried("base", "own masks in memory") - carried("base", "nothing")),
    ("notebooks/04_ablations.ipynb", rf"attention to the object, hidden, in memory \|[^|]*\|[^|]*\| {NUMBER}%",
     lambda: looked("sst-small", 0)),
    ("notebooks/04_ablations.ipynb", rf"three frames back, against even attention \|[^|]*\|[^|]*\| \+{NUMBER}",
     lambda: area("sst-small", "3")),
    ("notebooks/05_occlusion.ipynb", rf"\| SST, base \(n=\d\) \| 4 \| {NUMBER}", lambda: base("back", 4)),
    ("notebooks/05_occlusion.ipynb", rf"where it would be {NUMBER} without", lambda: base("back_control", 16)),
    ("notebooks/05_occlusion.ipynb", rf"\| Recurrent \(n=\d\) \| 16 \| {NUMBER}",
     lambda: rival("recurrent", "back", 16)),
    ("notebooks/05_occlusion.ipynb", rf"\| CFBI \(n=\d\) \| 4 \| [\d.]+ \| {NUMBER}",
     lambda: rival("cfbi", "back_control", 4)),
    ("notebooks/05_occlusion.ipynb", rf"\| CFBI[^|]*\| latest embedding \| [\d.]+ \| -{NUMBER}",
     lambda: carried("evidence-forced-cfbi", "nothing") - carried("evidence-forced-cfbi", "latest embedding")),
    ("notebooks/05_occlusion.ipynb", rf"\| CFBI \| {NUMBER} \(", lambda: costs("evidence-forced", "cfbi")),
    ("CHANGELOG.md", rf"two grid layers take {NUMBER} of", lambda: costs("evidence", "grid-2")),
    ("notebooks/06_benchmarks.ipynb", rf"\| sst-small \| 4 \| [\d.]+ \| [\d.]+ \| \+{NUMBER}",
     lambda: release("sst-small", "back_control", 4) - release("sst-small", "back", 4)),
]


@pytest.mark.parametrize("file, around, computed", TRACES, ids=[f"{file}-{n}" for n, (file, _, _) in enumerate(TRACES)])
def test_a_number_that_is_read_is_that_of_its_records(file, around, computed):
    printed = re.search(around.replace(" ", r"\s+"), text_of(file))  # wherever lines are broken
    assert printed, f"{file} has nothing like {around}"
    digits = len(printed[1].partition(".")[2])
    assert float(printed[1]) == pytest.approx(computed(), abs=0.51 * 10**-digits)
