"""Prompts are placed as they say, and what they give is scored against the truth: on pictures made here."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sstlib.benchmarks import prompting
from sstlib.benchmarks.prompting import Pictured
from sstlib.metrics import region_similarity
from sstlib.video import prompts

SIZE = (90, 140)


def disk(left, top, right, bottom):
    image = Image.new("1", SIZE[::-1])
    ImageDraw.Draw(image).ellipse((left, top, right, bottom), fill=1)
    return np.array(image)


def pictured(truth, name="disk"):
    frame = np.random.default_rng(0).integers(60, 90, (*SIZE, 3), np.uint8)
    frame[truth] += 110
    return Pictured("made", name, frame, truth, np.zeros(SIZE, bool))


def test_clicks_lie_well_within_the_largest_part_and_far_apart():
    truth = disk(20, 20, 80, 70) | disk(110, 10, 120, 20)
    one, *more = prompting.clicked(truth, 3)
    assert abs(one[0] - 50) <= 3 and abs(one[1] - 45) <= 3
    depth = prompts.distance(~truth)
    assert all(depth[y, x] >= 0.5 * depth.max() and x < 90 for x, y in [one, *more])
    (ax, ay), (bx, by) = more
    assert np.hypot(ax - bx, ay - by) > 25
    assert prompting.clicked(np.ones(SIZE, bool), 1)[0][1] == 44  # what leaves the picture is not deepest at its border


def test_a_drawn_outline_is_rough_and_has_no_hole():
    truth = disk(20, 20, 80, 70)
    holed = truth & ~disk(40, 40, 50, 50)
    corners = prompting.outlined(holed)
    assert corners == prompting.outlined(truth) and 4 <= len(corners) < 40
    assert region_similarity(prompts.mask_from_polygon(SIZE, corners), truth) > 0.9


def test_a_refused_prompt_counts_nothing_and_is_counted(monkeypatch):
    whole = np.ones(SIZE, bool)
    rows = prompting.measure([pictured(disk(20, 20, 80, 70)), pictured(whole, "whole")])
    assert set(rows[0]["J"]) == set(prompting.PROMPTS) and min(rows[0]["J"].values()) > 0.85 and not rows[0]["refused"]
    assert rows[1]["J"]["box"] == 0 and "is the whole frame" in rows[1]["refused"]["box"]
    assert rows[0]["share"] == pytest.approx(disk(20, 20, 80, 70).mean())
    assert rows[0]["picture"] != rows[1]["picture"] and "/" not in rows[0]["truth"]
    text = prompting.summary(rows)
    middle = rows[0]["J"]["box"] / 2
    assert f"made           box          median J {middle:.2f}" in text and "1 of 2 refused" in text.splitlines()[0]


def test_void_pixels_do_not_count():
    truth = disk(20, 20, 80, 70)
    whole = pictured(truth)
    void = disk(15, 15, 85, 75) & ~truth
    [row] = prompting.measure([whole._replace(truth=truth & (np.arange(140) < 50), void=void | truth & (
        np.arange(140) >= 50))])
    assert row["J"]["one point"] > 0.85
