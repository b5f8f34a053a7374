"""Commands whose output is read in part alone, as by `| head -1`: they end, at most one line is said, and the exit
status is the documented one.
"""

import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from sstlib import cli
from sstlib.movies import write_video
from sstlib.video import write_mask

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), np.uint8)
PRINTING = {  # what prints on standard output, at the start or in the end
    "analyze": ["analyze", "knockouts", "{tiny}"],
    "bench": ["bench", "prompts", "--json", "bench.json"],
    "calibrate": ["calibrate", "sst-photo"],
    "data": ["data", "list"],
    "evaluate": ["evaluate", "masks", "masks"],
    "evaluate, with a table": ["evaluate", "masks", "masks", "--csv", "table.csv"],
    "model": ["model"],
    "model, one": ["model", "sst-tiny"],
    "model, as JSON": ["model", "sst-tiny", "--json"],
    "release": ["release", "sst-small"],
    "segment": ["segment", "clip.mp4", "--mask", "mask.png", "--out", "out", "--weights", "{tiny}"],
    "segment, to standard output": ["segment", "-", "--size", "48x32", "--mask", "mask.png", "--out", "-", "--weights",
                                    "{tiny}"],
    "segment, a preview alone": ["segment", "clip.mp4", "--mask", "mask.png", "--preview", "first.png"],
    "sweep": ["sweep", "--list"],
    "sweep, a plan": ["sweep", "--plan", "--list"],
    "train": ["train", "tiny", "--set", "training.steps=1", "--out", "run"],
}
MADE = {  # what takes minutes or writes into the project, by what does the work
    "sstlib.experiments.questions.analyze": lambda *given: ["record.json"],
    "sstlib.benchmarks.prompting.pictures": list,
    "sstlib.benchmarks.prompting.measure": lambda pictures: [],
    "sstlib.paths.davis": lambda: Path("."),
    "sstlib.releasing.doubt.judge": lambda name: "record.json",
    "sstlib.releasing.card.write_figures": lambda name: [],
    "sstlib.releasing.card.write_card": lambda name: "card.md",
    "sstlib.training.train": lambda *given, **more: None,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A video, a mask of its first frame and a sequence of masks in the current folder."""
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((32, 48), np.uint8)
    labels[8:20, 5:17] = 1
    write_video("clip.mp4", FRAMES)
    write_mask("mask.png", labels)
    for t in range(3):
        write_mask(Path("masks") / "dog" / f"{t:05d}.png", labels)
    return tmp_path


@pytest.fixture
def closed():
    """The end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("name", PRINTING)
def test_a_command_whose_reader_has_seen_enough_ends_quietly(folder, closed, tiny_weights, monkeypatch, capfd, name):
    for place, replaced in MADE.items():
        monkeypatch.setattr(place, replaced)
    piped = types.SimpleNamespace(buffer=io.BytesIO(FRAMES.tobytes()), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", piped)
    with os.fdopen(os.dup(closed), "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        status = cli.main([part.format(tiny=tiny_weights) for part in PRINTING[name]])
        monkeypatch.undo()
    error = capfd.readouterr().err
    assert status == 141 and error.count("\n") <= 1 and "Traceback" not in error, error
    assert not (folder / "out" / "00005.png").exists()


@pytest.mark.parametrize("arguments, status", [(["model", "sst-tiny", "--json"], 141), (["model", "nothing"], 2),
                                               (["segment", "--help"], 0)])
def test_a_process_whose_output_and_errors_nobody_reads_has_its_exit_status_all_the_same(closed, arguments, status):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-m", "sstlib", *arguments], stdout=closed, stderr=closed, env=environment)
    assert ended.returncode == status


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_are_no_fault_and_no_file_takes_their_numbers(folder, closing):
    """What a library prints would be written into such a file."""
    tried = ("import sys; from sstlib import cli; status = cli.main(['model', 'sst-tiny']); "
             "file = open('written', 'w'); file.write(f'{status} {file.fileno() > 2}')")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["sh", "-c", f'"$0" -c "$1" {closing}', sys.executable, tried], env=environment, check=True,
                   capture_output=True)
    assert (folder / "written").read_text() == "0 True"


@pytest.mark.parametrize("into", ["> result", "| cat > result"])
def test_a_record_on_standard_output_is_all_that_is_there(folder, into):
    """What is printed beside it goes to standard error."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = f'"$0" -m sstlib evaluate masks masks --json /dev/stdout {into}'
    done = subprocess.run(["sh", "-c", command, sys.executable], env=environment, check=True, capture_output=True)
    assert json.loads((folder / "result").read_text())["global"]["J&F"]["mean"] == 1
    assert b"all objects" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_what_an_output_cannot_encode_is_escaped(encoding):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": encoding}
    tried = r"from sstlib import cli; cli.build_parser = lambda: print('\u2603 \udce9'); cli.main([])"
    printed = subprocess.run([sys.executable, "-c", tried], env=environment, capture_output=True)
    snowman = "\u2603".encode() if encoding.startswith("utf") else rb"\u2603"
    assert printed.stdout.strip() == snowman + rb" \udce9"


def test_every_command_that_prints_was_tried():
    assert {words[0] for words in PRINTING.values()} == {*cli.commands()} - {"annotate", "reproduce"}  # which serve
