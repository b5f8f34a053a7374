"""A step takes as many threads as find a free core; nobody's setting is changed."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from sstlib import clocks, inference, weights
from sstlib.model.fast import threads

LINUX = pytest.mark.skipif(threads.busy_seconds() is None, reason="the system does not say what other programs use")
BUSY = "import time; end = time.perf_counter() + {}\nwhile time.perf_counter() < end: pass"


@pytest.mark.parametrize("cores, others, most, count", [
    (2, 0.0, 2, 2), (2, 0.2, 2, 2), (2, 0.6, 2, 1), (2, 1.0, 2, 1), (2, 2.0, 2, 1), (8, 1.0, 8, 7), (8, 1.0, 4, 4),
    (8, 30.0, 8, 1), (1, 0.0, 4, 1), (4, 0.0, 4, 4),
])
def test_threads_are_those_that_find_a_core(monkeypatch, cores, others, most, count):
    monkeypatch.setattr(threads, "cores", lambda: cores)
    monkeypatch.setattr(threads.LOAD, "others", others)
    monkeypatch.setattr(threads.LOAD, "update", lambda: None)
    assert threads.free_threads(most) == count


def test_own_work_is_not_that_of_others(monkeypatch):
    """Of 3 seconds on all cores within one, this process worked 1.2: others used 1.8 cores."""
    counters = iter([(10.0, 50.0, 7.0), (11.0, 53.0, 8.2), (12.0, 53.5, 8.8)])  # the last in ticks that lag behind
    monkeypatch.setattr(threads.Load, "_counters", staticmethod(lambda: next(counters)))
    monkeypatch.setattr(threads, "cores", lambda: 4)
    load = threads.Load()
    assert load.others == 3.0  # nothing is known: all but one may be taken
    monkeypatch.setitem(clocks.CLOCKS, "wall", lambda: 10.1)
    load.update()
    assert load.others == 3.0  # too short to tell
    monkeypatch.setitem(clocks.CLOCKS, "wall", lambda: 11.0)
    load.update()
    assert load.others == pytest.approx(1.8)
    monkeypatch.setitem(clocks.CLOCKS, "wall", lambda: 12.0)
    load.update()
    assert load.others == pytest.approx(0.0)


def test_all_threads_are_taken_where_nothing_is_known(monkeypatch):
    monkeypatch.setattr(threads, "busy_seconds", lambda: None)
    assert threads.Load().others == 0.0


@LINUX
def test_own_cores_are_busy_but_when_idle_or_waiting_for_a_disk(monkeypatch):
    text = "cpu  400 10 40 9000 700 20 30 50 60\ncpu0 100 0 0 0 0 0 0 0 0\ncpu1 300 10 40 9000 700 20 30 50 60\nintr 5"
    monkeypatch.setattr(threads, "open", lambda path: io.StringIO(text), raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1})
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    assert threads.busy_seconds() == (300 + 10 + 40 + 20 + 30 + 50) / 100


@LINUX
def test_a_busy_core_is_noticed():
    """The system's counters grow by what a program spends on a core that this process may use."""
    core = min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", BUSY.format(0.6)],
                          preexec_fn=lambda: os.sched_setaffinity(0, {core})) as program:
        before = threads.busy_seconds()
        program.wait()
        assert 0.3 < threads.busy_seconds() - before
    assert threads.busy_seconds() < time.clock_gettime(time.CLOCK_BOOTTIME) * os.cpu_count()


def test_a_step_takes_free_cores_and_gives_the_setting_back(monkeypatch):
    frame = np.random.default_rng(5).integers(0, 256, (48, 80, 3), np.uint8)
    labels = np.zeros((48, 80), np.uint8)
    labels[10:30, 20:50] = 1
    segmenter, before, seen = inference.Segmenter(weights.load("sst-small")), torch.get_num_threads(), []
    monkeypatch.setattr(threads, "cores", lambda: 5)
    monkeypatch.setattr(threads.LOAD, "others", 3.0)
    monkeypatch.setattr(threads.LOAD, "update", lambda: None)
    extract = segmenter.network.extract
    monkeypatch.setattr(segmenter.network, "extract", lambda frame: seen.append(torch.get_num_threads()) or
                        extract(frame))
    try:
        torch.set_num_threads(4)
        segmenter.step(frame, labels)
        assert seen == [2] and torch.get_num_threads() == 4
        with pytest.raises(ValueError, match="a video has one size"):
            segmenter.step(np.zeros((5, 7, 3), np.uint8))
        assert torch.get_num_threads() == 4
        torch.set_num_threads(1)
        segmenter.step(frame)
        assert seen == [2, 1] and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    command = [sys.executable, "-c", "import os, sstlib; print(os.environ['GOMP_SPINCOUNT'])"]
    bare = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    assert subprocess.run(command, env=bare, capture_output=True, text=True, check=True).stdout == "1000\n"
    assert subprocess.run(command, env=bare | {"GOMP_SPINCOUNT": "7"}, capture_output=True, text=True,
                          check=True).stdout == "7\n"
