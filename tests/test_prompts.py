"""Masks from boxes, clicks, scribbles and polygons, on pictures whose truth is known by construction."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sstlib.cli import main, one_line
from sstlib.video import prompts

SIZE = (120, 160)


def picture(*shapes):
    """Ellipses (left, top, right, bottom, color) on a greenish texture, and the mask of each."""
    noise = np.random.default_rng(0).integers(-20, 21, (*SIZE, 3))
    image, masks = Image.new("RGB", SIZE[::-1], (70, 130, 80)), []
    for *corners, color in shapes:
        ImageDraw.Draw(image).ellipse(corners, fill=color)
        mask = Image.new("1", SIZE[::-1])
        ImageDraw.Draw(mask).ellipse(corners, fill=1)
        masks.append(np.array(mask))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8), masks


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


FRAME, (RED, BLUE) = picture((20, 30, 70, 90, (200, 60, 50)), (100, 20, 140, 100, (50, 70, 190)))


def test_a_box_gives_the_object_that_fills_it():
    mask = prompts.mask_from_box(FRAME, (20, 30, 51, 61))
    assert mask.dtype == bool and overlap(mask, RED) > 0.95
    assert overlap(prompts.mask_from_box(FRAME, (100.0, 20, 41, 81)), BLUE) > 0.95
    np.testing.assert_array_equal(mask, prompts.mask_from_box(FRAME, (20, 30, 51, 61)))


@pytest.mark.parametrize("hole, stays", [(5, False), (30, True)], ids=["an eye", "a ring"])
def test_small_holes_are_filled_and_large_ones_stay(hole, stays):
    rows, columns = np.mgrid[:120, :160]
    away = np.hypot(rows - 60, columns - 80)
    noise = np.random.default_rng(0).integers(0, 20, (120, 160, 3))
    frame = (np.where((away <= 45) & (away > hole), 180, 40)[..., None] + noise).astype(np.uint8)
    scribbles = np.zeros((120, 160), np.uint8)
    scribbles[58:62, 80 - 40:80 - 34] = 1
    for mask in (prompts.mask_from_box(frame, (30, 10, 100, 100)), prompts.mask_from_scribbles(frame, scribbles) == 1):
        assert mask[60, 80] != stays and mask[60, 42]
    scribbles[59:62, 79:82] = 255  # what was said to be beside the object is no hole in it
    assert not prompts.mask_from_scribbles(frame, scribbles)[60, 80]


def test_nothing_outside_of_the_box_is_of_the_object():
    mask = prompts.mask_from_box(FRAME, (20, 30, 45, 61))
    assert mask[:, 20:65].sum() > 0.9 * RED[:, 20:65].sum() and not mask[:, 65:].any() and not mask[:, :20].any()


def test_clicks_give_the_object_and_not_another_of_its_colors():
    frame, (left, right) = picture((20, 30, 60, 90, (200, 60, 50)), (110, 30, 150, 90, (200, 60, 50)))
    mask = prompts.mask_from_points(frame, [(40, 60)])
    assert overlap(mask, left) > 0.9 and not (mask & right).any()
    assert overlap(prompts.mask_from_points(frame, [(40, 60), (130, 60)]), left | right) > 0.9


def test_a_click_beside_the_object_takes_away_what_it_is_on():
    frame, (inner, outer) = picture((60, 40, 100, 80, (200, 60, 50)), (64, 78, 96, 110, (60, 60, 190)))
    both = prompts.mask_from_points(frame, [(80, 50), (80, 100)])
    alone = prompts.mask_from_points(frame, [(80, 50)], background=[(80, 100)])
    assert (both & outer).sum() > 0.8 * outer.sum() and not alone[100, 80]
    assert overlap(alone, inner & ~outer) > 0.85


def test_a_large_picture_is_cut_out_in_full_size():
    large = np.repeat(np.repeat(FRAME, 5, 0), 5, 1)
    expected = np.repeat(np.repeat(RED, 5, 0), 5, 1)
    assert overlap(prompts.mask_from_points(large, [(220, 300)]), expected) > 0.95


@pytest.mark.parametrize("background", [255, 9])
def test_scribbles_give_every_object_and_stay_what_they_are(background):
    drawn = np.zeros(SIZE, np.uint8)
    drawn[55:65, 40:50], drawn[40:80, 118:122], drawn[5:8, 10:150] = 3, 7, background
    labels = prompts.mask_from_scribbles(FRAME, drawn, background)
    assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 3, 7}
    assert overlap(labels == 3, RED) > 0.95 and overlap(labels == 7, BLUE) > 0.95
    for identity in (3, 7):
        assert (labels[drawn == identity] == identity).all()
    assert not labels[drawn == background].any()


def test_a_polygon_holds_what_its_line_goes_around():
    mask = prompts.mask_from_polygon((10, 12), [(2, 1), (8, 1), (8, 5), (2, 5)])
    expected = np.zeros((10, 12), bool)
    expected[1:6, 2:9] = True
    np.testing.assert_array_equal(mask, expected)
    triangle = prompts.mask_from_polygon((100, 100), [(10, 10), (90, 10), (10, 90)])
    assert abs(triangle.sum() - 3200) < 130 and triangle[20, 20] and not triangle[80, 80]


BAD = {  # what is asked, and words of the error
    "a box beyond the frame": (lambda: prompts.mask_from_box(FRAME, (100, 20, 70, 50)), "not in the frame.*160x120"),
    "a box of no width": (lambda: prompts.mask_from_box(FRAME, (100, 20, 0, 50)), "not in the frame"),
    "a box left of the frame": (lambda: prompts.mask_from_box(FRAME, (-1, 20, 20, 50)), "not in the frame"),
    "no number": (lambda: prompts.mask_from_box(FRAME, (float("nan"), 20, 20, 50)), "a number of the box"),
    "the whole frame": (lambda: prompts.mask_from_box(FRAME, (0, 0, 160, 120)), "whole frame.*polygon"),
    "one pixel": (lambda: prompts.mask_from_box(FRAME, (8, 8, 1, 1)), "too little"),
    "no click": (lambda: prompts.mask_from_points(FRAME, []), "no point on the object"),
    "a click outside": (lambda: prompts.mask_from_points(FRAME, [(160, 20)]), "160,20 is not in the frame"),
    "a click outside, of the background": (lambda: prompts.mask_from_points(FRAME, [(16, 20)], [(0, 120)]), "0,120"),
    "a click of both": (lambda: prompts.mask_from_points(FRAME, [(16, 20)], [(16, 20)]), "on the object and beside"),
    "a line": (lambda: prompts.mask_from_polygon((9, 9), [(1, 1), (2, 2)]), "polygon of 2 points"),
    "a corner outside": (lambda: prompts.mask_from_polygon((9, 9), [(1, 1), (2, 2), (10, 3)]), "10,3 is not in"),
    "one corner thrice": (lambda: prompts.mask_from_polygon((9, 9), [(2, 2)] * 3), "lie on a line"),
    "corners on a line": (lambda: prompts.mask_from_polygon((9, 9), [(1, 1), (5, 5), (3, 3), (2, 2)]), "lie on a line"),
    "nothing drawn": (lambda: prompts.mask_from_scribbles(FRAME, np.zeros(SIZE, np.uint8)), "nothing was drawn"),
    "another size": (lambda: prompts.mask_from_scribbles(FRAME, np.ones((3, 4), np.uint8)), "4x3.*160x120"),
    "gray": (lambda: prompts.mask_from_box(FRAME[..., 0], (1, 1, 4, 4)), "give RGB"),
}


@pytest.mark.parametrize("ask, words", BAD.values(), ids=BAD)
def test_what_cannot_be_meant_is_refused(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_clicked_on_belongs_to_the_object(seed):
    draws = np.random.default_rng(seed)
    frame = draws.integers(0, 256, (*draws.integers(12, 90, 2), 3), np.uint8)
    height, width = frame.shape[:2]
    points = [(int(draws.integers(width)), int(draws.integers(height))) for _ in range(3)]
    mask = prompts.mask_from_points(frame, points[:2], [point for point in points[2:] if point not in points[:2]])
    assert mask.shape == (height, width) and all(mask[y, x] for x, y in points[:2])


def test_without_opencv_it_is_said_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"sstlib\[prompts\]") as caught:
        prompts.mask_from_box(FRAME, (20, 30, 51, 61))
    assert one_line("sst segment", caught.value) == \
        "sst segment: this needs cv2, which is not installed: pip install 'sstlib[prompts]'"
    monkeypatch.setattr("sstlib.cli.build_parser", lambda: prompts.mask_from_box(FRAME, (20, 30, 51, 61)))
    assert main([]) == 2


def test_an_object_is_looked_for_within_what_its_clicks_span(monkeypatch):
    """Three clicks close together are on a small object: disks around them of the radius that one click has to have
    hold more of the ground than its disk, and colors of the ground were taken for the object's.
    """
    likely = []
    monkeypatch.setattr(prompts, "_cut", lambda frame, known: likely.append(
        (known == prompts.MAYBE_OBJECT).sum()) or (known == prompts.OBJECT) | (known == prompts.MAYBE_OBJECT))
    for points in ([(80, 60)], [(80, 60), (84, 62), (77, 66)], [(30, 30), (130, 40), (80, 100)], [(80, 60)] * 3):
        prompts.mask_from_points(FRAME, points)
    one, close, apart, same = likely
    assert close < one / 2 and apart > 2 * one and same == one


@pytest.mark.parametrize("others, radius", [
    ([(84, 60)], 12),  # disks around both meet in the middle between them
    ([(60, 76), (60, 66)], 8),  # the two that are farthest apart count
    ([(63, 60)], 0.03 * 160),  # not less, as an object is larger than what a click wavers
    ([(132, 60)], 0.15 * 160),  # nor more than around a single click
], ids=["two", "three", "close", "far"])
def test_around_each_of_several_clicks_is_looked_half_as_far_as_they_are_apart(monkeypatch, others, radius):
    trimaps = []
    monkeypatch.setattr(prompts, "_cut", lambda frame, known: trimaps.append(known.copy()) or known % 2 == 1)
    prompts.mask_from_points(FRAME, clicks := [(60, 60), *others])
    known, (rows, columns) = trimaps[0], np.mgrid[:SIZE[0], :SIZE[1]]
    clicked = np.min([np.hypot(columns - x, rows - y) for x, y in clicks], 0) <= prompts.CLICK * max(SIZE) / 2
    y, x = np.nonzero(clicked)
    away = np.hypot(rows[..., None] - y, columns[..., None] - x).min(-1)
    inner = np.s_[1:-1, 1:-1]  # the border is the ground's
    np.testing.assert_array_equal((known == prompts.OBJECT)[inner], clicked[inner])
    np.testing.assert_array_equal((known == prompts.MAYBE_OBJECT)[inner], (~clicked & (away <= radius))[inner])


STRIPED = np.full((90, 140, 3), 90, np.uint8)  # an object of the ground's two colors in other shares: nothing to cut by
STRIPED[::3], STRIPED[20:70:2, 40:100] = 160, 160
REGION = np.zeros((90, 140), bool)
REGION[20:70, 40:100] = True


@pytest.mark.parametrize("prompt", [
    lambda frame: prompts.mask_from_box(frame, (40, 20, 60, 50)),
    lambda frame: prompts.mask_from_points(frame, [(70, 45)]),
    lambda frame: prompts.mask_from_points(frame, [(60, 45), (80, 45), (70, 35)]),
], ids=["box", "one point", "three points"])
def test_where_colors_tell_nothing_the_middle_of_what_was_marked_is_the_object(monkeypatch, prompt):
    """GrabCut that leaves of the object only what it is told for sure."""
    rounds = []
    monkeypatch.setattr(prompts, "_cut", lambda frame, known: rounds.append(known.copy()) or known == prompts.OBJECT)
    mask = prompt(STRIPED)
    assert len(rounds) == 2 and not (mask & ~REGION).any()
    assert mask.sum() > max(1.5 * (rounds[0] == prompts.OBJECT).sum(), 40)


def test_what_colors_tell_is_not_tried_twice(monkeypatch):
    rounds, cut = [], prompts._cut
    monkeypatch.setattr(prompts, "_cut", lambda frame, known: rounds.append(known) or cut(frame, known))
    prompts.mask_from_box(FRAME, (20, 30, 51, 61))
    prompts.mask_from_points(FRAME, [(45, 60)])
    assert len(rounds) == 2
