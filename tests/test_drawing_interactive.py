"""Masks carried through a clip in the background: against what `segment_sequence` gives on the same masks, after
corrections, objects that come and go, and interrupts; and what is exported against `sst segment`.
"""

import contextlib
import threading

import numpy as np
import pytest
import torch
from squares import write_frames
from test_drawing import Page

from sstlib import movies, weights
from sstlib.cli import main
from sstlib.explorers import InteractiveSegmentation, propagation
from sstlib.sessions import Clip, Session, segment_sequence
from sstlib.synthetic import ClipSpec, render
from sstlib.video import ArraySequence, write_mask

LENGTH = 9


@pytest.fixture(scope="module")
def network():
    return weights.load("sst-small")


@pytest.fixture(scope="module")
def clip():
    return render(ClipSpec(frames=LENGTH, height=48, width=80, objects=2, distractors=0, occlusion=None), 1)


@pytest.fixture
def session(network, clip):
    opened = InteractiveSegmentation(network, ArraySequence(clip.frames, name="clip"), {0: clip.labels[0]})
    yield opened
    opened.cancel()
    with contextlib.suppress(ValueError):
        opened.wait(60)


def computed(session):
    """Segments what is not up to date and gives all masks."""
    session.segment()
    session.wait(120)
    assert list(session.predictions) == list(range(LENGTH))
    return [predicted.labels for predicted in session.predictions.values()]


def expected(network, clip, given):
    """What the library gives on these masks from the start."""
    walked = segment_sequence(network, ArraySequence(clip.frames), given)
    return [prediction.labels for _, prediction in sorted(walked, key=lambda pair: pair[0])]


def test_masks_are_those_of_the_library(session, network, clip):
    np.testing.assert_array_equal(computed(session), expected(network, clip, {0: clip.labels[0]}))
    assert session.progress == {"running": False, "done": LENGTH}
    assert all(row[0] == "g" and len(row) == LENGTH for row in session.strip.values()) and len(session.strip) == 2
    assert "object 1: " in session.status and "object 2: " in session.status


@pytest.mark.parametrize("states", [1, 3, 16])
def test_a_correction_goes_on_from_its_frame(session, network, clip, states, monkeypatch):
    monkeypatch.setattr(propagation, "STATES", states)
    before = computed(session)
    computed_again = []
    step = session.propagation.step
    monkeypatch.setattr(session.propagation, "step", lambda: computed_again.append(step()) or computed_again[-1])
    session.draw(5, clip.labels[5])
    assert list(session.predictions) == [0, 1, 2, 3, 4]
    assert {row[6] for row in session.strip.values()} <= set("SDL"), "to be computed again"
    after = computed(session)
    np.testing.assert_array_equal(after, expected(network, clip, {0: clip.labels[0], 5: clip.labels[5]}))
    np.testing.assert_array_equal(after[:5], before[:5])
    assert computed_again[-4:] == [5, 6, 7, 8] and (states < 9 or len(computed_again) == 4)


@pytest.mark.parametrize("frames", [[4], [4, 2], [8, 3, 6]])
def test_masks_drawn_on_any_frames_in_any_order(network, clip, frames):
    session = InteractiveSegmentation(network, ArraySequence(clip.frames, name="clip"))
    for t in frames:
        session.draw(t, clip.labels[t])
        masks = computed(session)
    np.testing.assert_array_equal(masks, expected(network, clip, {t: clip.labels[t] for t in frames}))


def test_objects_join_and_leave(session, network, clip):
    one = np.where(clip.labels[0] == 1, 1, 0)
    session.draw(0, one)
    computed(session)
    joined = session.labels(3).copy()
    joined[clip.labels[3] == 2] = 7
    session.draw(3, joined)
    masks = computed(session)
    np.testing.assert_array_equal(masks, expected(network, clip, {0: one, 3: joined}))
    assert session.strip["7"].startswith("---g")
    session.remove(7)
    assert not any((session.labels(t) == 7).any() for t in range(LENGTH)), "gone at once"
    left = {0: one, 3: np.where(joined == 7, 0, joined)}
    np.testing.assert_array_equal(computed(session), expected(network, clip, left))
    session.undo()
    np.testing.assert_array_equal(computed(session), masks)


def test_an_erased_object_is_absent(session, network, clip):
    computed(session)
    erased = np.where(session.labels(2) == 1, 0, session.labels(2))
    assert (session.labels(2) == 1).any()
    session.draw(2, erased)
    masks = computed(session)
    assert not (masks[2] == 1).any() and session.strip["1"][2] == "l"
    np.testing.assert_array_equal(session.predictions[2].labels == 2, erased == 2)


@pytest.mark.parametrize("at", [5, 2, 0])
def test_an_object_may_be_erased_before_the_frame_that_it_was_drawn_on(network, clip, at):
    """It was seen to be gone, and exported."""
    opened = InteractiveSegmentation(network, ArraySequence(clip.frames, name="clip"), {6: clip.labels[6]})
    computed(opened)
    seen = {*np.unique(opened.labels(at)).tolist()} - {0}
    opened.draw(at, np.zeros_like(clip.labels[0]))
    whole = Clip(ArraySequence(clip.frames), {6: clip.labels[6]}, absent={at: frozenset(seen)})
    assert seen and 0 < len(opened.predictions) == LENGTH - 1 - at
    walked = {t: prediction.labels for t, prediction, _ in Session(network, whole)}
    np.testing.assert_array_equal(computed(opened), [walked[t] for t in range(LENGTH)])
    assert not opened.predictions[at].labels.any()
    opened.undo()
    np.testing.assert_array_equal(computed(opened), expected(network, clip, {6: clip.labels[6]}))


def test_a_canceled_run_goes_on(session, network, clip, monkeypatch):
    step = session.propagation.step

    def canceled_after_three():
        t = step()
        if t == 2:
            session.cancel()
        return t

    monkeypatch.setattr(session.propagation, "step", canceled_after_three)
    session.segment()
    session.wait(120)
    assert list(session.predictions) == [0, 1, 2] and "6 frames are to be segmented" in session.status
    np.testing.assert_array_equal(computed(session), expected(network, clip, {0: clip.labels[0]}))


def test_a_frame_drawn_while_it_runs_is_taken_in(session, network, clip, monkeypatch):
    step = session.propagation.step
    drawn = []

    def drawing():
        t = step()
        if t == 5 and not drawn:
            drawn.append(session.draw(3, clip.labels[3]))
        return t

    monkeypatch.setattr(session.propagation, "step", drawing)
    np.testing.assert_array_equal(computed(session), expected(network, clip, {0: clip.labels[0], 3: clip.labels[3]}))


def test_the_browser_is_told_as_masks_come_and_of_what_is_missing(network, clip):
    session = InteractiveSegmentation(network, ArraySequence(clip.frames, name="clip"))
    page = Page(session)
    page.says("segment")
    assert "draw the mask of at least one object first" in session.status
    session.draw(0, clip.labels[0])
    heard = page.says("segment")
    session.wait(120)
    assert [content["frame"] for content, _ in heard if content.get("predicted")] == list(range(LENGTH))
    session.draw(2, clip.labels[2])
    page.says("export", folder="", overlay=False)
    assert "name a folder" in session.status
    page.says("export", folder="somewhere", overlay=False)
    assert "7 of 9 frames are not segmented yet" in session.status


def test_waiting_shows_how_far_it_is_where_it_is_to(session, capsys):
    session.segment()
    session.wait(60, progress=True)
    assert f"{LENGTH}/{LENGTH}" in capsys.readouterr().err
    session.draw(5, session.labels(4))
    session.segment()
    session.wait(60)
    assert not capsys.readouterr().err


def test_what_goes_wrong_is_told_and_raised_where_one_waits(session, monkeypatch):
    def broken(t):
        raise ValueError(f"frame {t} is damaged")

    session.propagation.picture = broken
    session.segment()
    with pytest.raises(ValueError, match="frame 0 is damaged"):
        session.wait(120)
    assert session.status == "frame 0 is damaged" and not session.progress["running"]


def test_waiting_too_long_says_how_far_it_is(session, monkeypatch):
    gate = threading.Event()
    picture = session.propagation.picture
    session.propagation.picture = lambda t: gate.wait(60) and picture(t)
    session.segment()
    with pytest.raises(TimeoutError, match="after 0.01 s 0 of 9 frames"):
        session.wait(0.01)
    gate.set()


def test_the_export_is_that_of_the_command(session, network, clip, tmp_path):
    """Given the first frame and a correction: the same files, byte by byte."""
    write_frames(tmp_path / "frames", clip.frames)
    session = InteractiveSegmentation(network, movies.open_clip(tmp_path / "frames"), {0: clip.labels[0]},
                                      folder=tmp_path / "own")
    computed(session)
    session.draw(4, clip.labels[4])
    computed(session)
    session.export(overlaid=True)
    for t, labels in session.masks.items():
        write_mask(tmp_path / "given" / f"{t:05d}.png", labels)
    threads = torch.get_num_threads()
    places = [str(tmp_path / name) for name in ("frames", "given", "command")]
    assert main(["segment", places[0], "--mask", places[1], "--out", places[2], "--weights", "sst-small",
                 "--threads", "1", "--overlay"]) == 0
    torch.set_num_threads(threads)
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == names and len(names) == LENGTH + 1
    for name in names:
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name
    for folder, message in ((tmp_path / "own", "holds 10 files already"), (tmp_path / "frames", "which is read"),
                            (tmp_path / "own" / "overlay.mp4", "expected a folder")):
        with pytest.raises(ValueError, match=message):
            session.export(folder)
