"""What README's table of features says of this library: every option in it runs, and leaves what it is there for."""

import io
import re
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_streams import FakeCamera

from sstlib.cli import main
from sstlib.movies import write_video
from sstlib.video import Reading, read_mask, write_mask

README = (Path(__file__).parents[1] / "README.md").read_text()
TABLE = README.partition("| | here | SAM 2 |")[2].partition("\n\n")[0].splitlines()[2:]
CELLS = {row.split("|")[1].strip(): row.split("|")[2] for row in TABLE}
CODE = [(name, code) for name, cell in CELLS.items() for code in re.findall("`(.+?)`", cell)]
VALUES = {"X,Y,W,H": ["5,8,20,16"], "X,Y X,Y X,Y": ["5,8", "25,8", "15,24"], "X,Y": ["15,16"]}
LEFT = {"overlay": "overlay.mp4", "green": "green.mp4", "webm": "cutout.webm", "prores": "cutout.mov",
        "coco": "coco.json", "mots": "mots.txt", "boxes": "boxes.csv"}  # of exports that are not called as the option


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """dog.mp4, dog/ and 0.png, and a correction, in the current folder."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    frames = draws.integers(60, 90, (6, 32, 48, 3), np.uint8)
    labels = np.zeros((6, 32, 48), np.uint8)
    for t in range(6):
        labels[t, 8:24, 5 + t:25 + t] = 1
    frames[labels == 1] = draws.integers(170, 200, (int(labels.sum()), 3), np.uint8)
    write_video("dog.mp4", frames)
    for name in ("dog", "fixed", "masks"):
        Path(name).mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(f"dog/{t:05d}.png")
    write_mask("0.png", labels[0])
    write_mask("fixed/00003.png", 2 * labels[3])
    write_mask("masks/dog.png", labels[0])
    monkeypatch.setattr(FakeCamera, "frames", frames)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    piped = types.SimpleNamespace(buffer=io.BytesIO(frames.tobytes()), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", piped)
    return tmp_path


def words(code):
    """The arguments that a piece of code in the table stands for."""
    options = []
    for value, typed in VALUES.items():
        if code.endswith(f" {value}"):
            options, code = typed, code.removesuffix(f" {value}")
            break
    parts = [part.strip("'") for part in code.split()]
    video = "dog.mp4" if parts[0].startswith("--") else parts.pop(0)
    prompted = parts[:1] and parts[0] in ("--box", "--points", "--polygon")
    mask = [] if prompted else ["--mask", "masks" if "*" in video else "0.png"]
    more = ["--size", "48x32"] if video == "-" else []
    return ["segment", video, *parts, *options, *mask, *more, "--out", "out"]


def test_the_table_is_read():
    assert len(CELLS) > 20 and len(CODE) > 20
    assert {code for _, code in CODE if code.startswith("sst ")} == {"sst annotate", "sst train"}


@pytest.mark.parametrize("code", [code for _, code in CODE if not code.startswith("sst ")])
def test_what_the_table_says_runs_and_leaves_what_it_is_for(folder, tiny_weights, capfd, code):
    command = words(code)
    weights = [] if "--weights" in command else ["--weights", str(tiny_weights)]
    status = main([*command, *weights])
    assert status == 0, capfd.readouterr().err
    out = folder / "out" / ("dog" if "*" in code else "")
    expected = ["00001.png", "00003.png"] if "--start" in code else [f"{t:05d}.png" for t in range(6)]
    assert sorted(path.name for path in out.glob("*.png")) == expected
    names = code.split()[1].split(",") if "--export" in code else ["overlay"] * (code == "--overlay")
    assert all((out / LEFT.get(name, name)).exists() for name in names)
    effects = {"--corrections fixed": lambda: (read_mask(out / "00003.png", Reading("ids")) == 2).any(),
               "--absent 1@3": lambda: not read_mask(out / "00003.png", Reading("ids")).any(),
               "--at 3": lambda: (read_mask(out / "00003.png") == read_mask(folder / "0.png")).all(),
               "--confidence dog.csv": lambda: (folder / "dog.csv").read_text().count("\n") == 7}
    assert effects.get(code, lambda: True)()
