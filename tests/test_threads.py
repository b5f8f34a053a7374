"""The number of threads of a step: what is faster is found, kept, and looked at again; nobody's setting is changed."""

import os
import subprocess
import sys

import pytest
import torch

from sstlib.threads import LAST, Pace


def spent(pace: Pace, seconds: dict[int, float], steps: int) -> float:
    """Simulated seconds of so many steps, each taking what its number of threads takes."""
    total = 0.0
    for _ in range(steps):
        count = pace.count
        pace.note(count, seconds[count])
        total += seconds[count]
    return total


@pytest.mark.parametrize("slow", [1.1, 3.0, 15.0])
@pytest.mark.parametrize("most", [2, 8])
def test_shared_cores_cost_hardly_more_than_one_thread(slow, most):
    assert spent(Pace(most), {1: 1.0, most: slow}, 300) < 300 + 9 * slow


@pytest.mark.parametrize("most", [2, 8])
def test_free_cores_are_used(most):
    assert spent(Pace(most), {1: 2.0, most: 1.0}, 300) < 1.07 * 300


def test_a_change_of_load_is_noticed():
    pace, free, shared = Pace(2), {1: 2.0, 2: 1.0}, {1: 2.0, 2: 6.0}
    spent(pace, free, 200)
    assert pace.best == 2
    assert spent(pace, shared, 40) < 40 * 2.0 + 4 * 6.0  # at once: steps became slower
    assert pace.best == 1
    spent(pace, free, LAST + 4)  # nothing tells that cores are free again but another look
    assert pace.best == 2


def test_one_slow_step_is_no_reason_to_change():
    pace = Pace(2)
    spent(pace, {1: 2.0, 2: 1.0}, 50)
    pace.note(pace.count, 9.0)
    spent(pace, {1: 2.0, 2: 1.0}, 6)
    assert pace.best == 2


def test_the_callers_setting_is_back_after_each_step():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        pace, seen = Pace(), set()
        for _ in range(30):
            with pace.step():
                seen.add(torch.get_num_threads())
            assert torch.get_num_threads() == 3
        with pytest.raises(ValueError, match="bad frame"), pace.step():
            raise ValueError("bad frame")
        assert torch.get_num_threads() == 3 and seen == {1, 3}
    finally:
        torch.set_num_threads(before)


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    command = [sys.executable, "-c", "import os, sstlib; print(os.environ['GOMP_SPINCOUNT'])"]
    bare = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    assert subprocess.run(command, env=bare, capture_output=True, text=True, check=True).stdout == "1000\n"
    assert subprocess.run(command, env=bare | {"GOMP_SPINCOUNT": "7"}, capture_output=True, text=True,
                          check=True).stdout == "7\n"
