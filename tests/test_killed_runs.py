"""`sst segment` killed by signal 9 at random moments and started again: what it leaves in the end is, to the byte, what
a run leaves that nobody killed.
"""

import functools
import multiprocessing
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import running
import squares
from test_movies_files import with_sound

from sstlib.movies import write_video
from sstlib.video import write_mask

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(running.PRELOADED)
SHAPE = (64, 96)
KILLS = 10
FIXED = {80: (1, 30), 150: (1, 5), 200: (2, 60)}  # frame of a correction, object, column

OPTIONS = {  # what is given beside the video, of 300 frames or as many that are taken, and its mask
    "plain": [],
    "files that need all masks": ["--overlay", "--codec", "vp9", "--export", "coco,boxes,yolo,mots,objects", "--sheet",
                                  "{out}.png", "--confidence", "{out}.csv"],
    "files that need all probabilities": ["--overlay", "--export", "soft,webm,green", "--confidence", "{out}.csv"],
    "corrections, both ways from a middle frame": ["--corrections", "fixed", "--at", "150", "--export", "coco,yolo",
                                                   "--confidence", "{out}.csv"],
    "some frames": ["--start", "20", "--stop", "620", "--stride", "2", "--export", "coco,boxes", "--flip"],
    "several videos": ["--scales", "1", "1.5", "--history", "2", "--export", "boxes", "--exit-doubt", "1"],
}


square = functools.partial(squares.square, SHAPE, size=(32, 24))


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Makes the video that a case takes, masks for it and corrections in the current folder; returns what is typed."""
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(1).integers(0, 256, (640, *SHAPE, 3), np.uint8)

    def made(name):
        if name == "several videos":
            for one in "abc":
                write_video(Path("clips") / f"{one}.mp4", frames[:100])
                write_mask(Path("masks") / f"{one}.png", square())
            return "clips/*.mp4", "masks"
        write_mask("mask.png", square())
        for t, (identity, column) in FIXED.items():
            write_mask(Path("fixed") / f"{t:05d}.png", square(identity, column))
        with_sound(Path("clip.mp4"), "libx264", "aac", 48_000, "stereo", frames[:640 if name == "some frames" else 300])
        return "clip.mp4", "mask.png"
    return made


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def left_by(name):
    """All that a run left in its folder and beside it, without what says how fast it was."""
    beside = [Path(f"{name}{suffix}") for suffix in (".csv", ".png")]
    return content(Path(name)), [path.read_bytes() for path in beside if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_killed_at_ten_moments_a_run_ends_as_if_it_had_not_been(given, tiny_weights, name):
    """A kill comes at a random moment of all that was left to do; where nothing was, the run is begun anew."""
    draws = np.random.default_rng(2)
    video, mask = given(name)

    def begun(out):
        arguments = ["segment", video, "--mask", mask, "--out", out, "--weights", str(tiny_weights), "--threads", "1",
                     *(option.format(out=out) for option in OPTIONS[name])]
        process = FORKS.Process(target=running.command, args=(Path.cwd(), arguments))
        process.start()
        while process.is_alive() and not Path(out).exists():
            time.sleep(0.01)
        return process

    process, started = begun("whole"), time.monotonic()
    process.join()
    assert process.exitcode == 0
    seconds, kills, ends = time.monotonic() - started, 0, 0
    while kills < KILLS or process.exitcode != 0:
        process = begun("out")
        process.join(draws.uniform(0, seconds) if kills < KILLS else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            continue
        assert process.exitcode == 0
        ends += 1
        assert left_by("out") == left_by("whole"), f"after {kills} kills"
        assert not list(Path("out").rglob(".*"))
        if kills < KILLS:
            shutil.rmtree("out")
            for beside in ("out.csv", "out.png"):
                Path(beside).unlink(missing_ok=True)
    assert ends
