"""Masks drawn by hand, without a browser: what a change does to frames and objects, what is sent and what arrives."""

import io

import numpy as np
import pytest
from PIL import Image

from sstlib import video
from sstlib.explorers import Annotator
from sstlib.explorers.drawn import MOST_CHANGES, Annotations, labels_of, mask_bytes
from sstlib.video import ArraySequence, prompts

SIZE = HEIGHT, WIDTH = 7, 11


def labels(**pixels):
    """Labels with some pixels set: a_b = row a, column b."""
    drawn = np.zeros(SIZE, np.uint8)
    for place, identity in pixels.items():
        row, column = map(int, place.strip("p").split("_"))
        drawn[row, column] = identity
    return drawn


@pytest.fixture
def annotations():
    return Annotations(SIZE, 5)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)


class Page:
    """What a browser would see of a widget, and say to it."""

    def __init__(self, widget, view="one"):
        self.widget, self.view, self.edit, self.heard = widget, view, 0, []
        widget.send = lambda content, buffers=(): self.heard.append((content, [bytes(one) for one in buffers]))

    def says(self, kind, *buffers, **content):
        self.edit += 1
        self.heard.clear()
        self.widget._handle_custom_msg({"kind": kind, "view": self.view, "edit": self.edit, **content},
                                       [memoryview(one) for one in buffers])
        return self.heard


@pytest.fixture
def page(frames):
    return Page(Annotator(ArraySequence(frames, name="clip")))


def test_drawing_names_new_objects_and_tells_which_frames_changed(annotations):
    assert annotations.draw(3, labels(p1_2=4, p0_0=255)) == {3}
    assert annotations.names == {4: "object 4"} and annotations.first == 3
    np.testing.assert_array_equal(annotations.masks[3], labels(p1_2=4, p0_0=255))
    assert annotations.draw(1, labels(p0_0=255)) == {1}
    assert annotations.first == 3, "void alone is no object"


def test_what_was_erased_from_what_was_seen_is_absent(annotations):
    annotations.draw(0, labels(p0_0=1, p0_1=2))
    annotations.draw(2, labels(p3_3=1), before=labels(p3_3=1, p4_4=2))
    assert annotations[2].absent == {2} and annotations[0].absent == frozenset()
    annotations.draw(2, labels(p3_3=1, p4_4=2), before=annotations[2].labels)
    assert annotations[2].absent == frozenset(), "drawn again"


def test_an_erased_frame_is_as_if_never_drawn(annotations):
    annotations.draw(0, labels(p0_0=1))
    assert annotations.draw(0, labels()) == {0} and annotations.masks == {}


def test_undo_and_redo_walk_through_every_kind_of_change(annotations):
    seen = [annotations.now]
    for name, *arguments in (("add", "dog"), ("draw", 0, labels(p2_2=1)), ("draw", 4, labels(p2_3=3)),
                             ("rename", 1, "cat"), ("clear", 4), ("remove", 1)):
        getattr(annotations, name)(*arguments)
        seen.append(annotations.now)
    for state in seen[-2::-1]:
        annotations.undo()
        assert annotations.now is state
    assert annotations.undo() == set()
    for state in seen[1:]:
        annotations.redo()
        assert annotations.now is state
    assert annotations.redo() == set()


def test_a_change_after_undo_ends_what_could_be_redone(annotations):
    annotations.add()
    annotations.undo()
    annotations.draw(0, labels(p0_0=2))
    assert annotations.redo() == set() and annotations.names == {2: "object 2"}


def test_only_so_many_changes_are_kept(annotations):
    for n in range(MOST_CHANGES + 5):
        annotations.draw(0, labels(p0_0=n + 1))
    count = 0
    while annotations.undo():
        count += 1
    assert count == MOST_CHANGES and annotations.masks[0][0, 0] == 5


def test_ids_are_the_least_free_ones_up_to_254(annotations):
    annotations.draw(0, labels(p0_0=2))
    assert [annotations.add(), annotations.add()] == [1, 3]
    annotations.remove(1)
    assert annotations.add("again") == 1 and annotations.names[1] == "again"
    while len(annotations.names) < 254:
        annotations.add()
    with pytest.raises(ValueError, match="254 objects are the most"):
        annotations.add()


def test_a_removed_object_leaves_every_frame_and_nothing_else_changes(annotations):
    for t, mask in enumerate((labels(p0_0=1), labels(p0_0=2), labels(p0_0=1, p1_1=2))):
        annotations.draw(t, mask)
    annotation = annotations[1]
    assert annotations.remove(1) == {0, 2}
    assert set(annotations.masks) == {1, 2} and annotations[1] is annotation
    np.testing.assert_array_equal(annotations.masks[2], labels(p1_1=2))
    assert annotations.undo() == {0, 2}


@pytest.mark.parametrize("t, mask, message", [
    (5, labels(), "no frame 5; the clip has frames 0..4"), (0, labels().T, r"shape \(11, 7\), the frames are 11x7"),
    (0, labels().astype(np.int16) - 1, "-1 to -1; ids are 0..254"), (0, labels().astype(float), "mask is float64")
])
def test_what_is_no_mask_of_the_clip_is_refused_and_changes_nothing(annotations, t, mask, message):
    with pytest.raises(ValueError, match=message):
        annotations.draw(t, mask)
    assert annotations.now.frames == {} and annotations.undo() == set()


def test_unknown_objects_are_refused(annotations):
    for change in (annotations.remove, lambda identity: annotations.rename(identity, "dog")):
        with pytest.raises(ValueError, match="no object 7; the objects are none"):
            change(7)


@pytest.mark.parametrize("seed", range(3))
def test_masks_travel_exactly(seed):
    mask = np.random.default_rng(seed).integers(0, 256, (13, 17), np.uint8)
    np.testing.assert_array_equal(labels_of(memoryview(mask_bytes(mask))), mask)


@pytest.mark.parametrize("content, message", [(b"", "damaged"), (b"GIF89a", "damaged")])
def test_what_is_no_mask_of_the_browser_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        labels_of(content)
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, format="PNG")
    with pytest.raises(ValueError, match="mode RGB"):
        labels_of(file.getvalue())


def test_the_browser_gets_the_frames_it_asks_for_with_their_masks(page, frames):
    page.widget.draw(2, labels(p1_1=3))
    heard = page.says("want", frames=[2, 4])
    assert [content for content, _ in heard] == [{"kind": "frame", "frame": 2}, {"kind": "frame", "frame": 4}]
    (picture, mask), (_, nothing) = (buffers for _, buffers in heard)
    assert Image.open(io.BytesIO(picture)).size == (WIDTH, HEIGHT) and nothing == b""
    np.testing.assert_array_equal(labels_of(mask), labels(p1_1=3))


def test_what_the_browser_draws_arrives_and_is_told_to_other_views(page):
    [(content, [mask])] = page.says("draw", mask_bytes(labels(p2_2=9)), frame=1)
    np.testing.assert_array_equal(page.widget.masks[1], labels(p2_2=9))
    assert content == {"kind": "mask", "frame": 1, "edits": {"one": 1}, "origin": "one"}
    np.testing.assert_array_equal(labels_of(mask), labels(p2_2=9))
    assert page.widget.objects == [{"id": 9, "name": "object 9"}]


def test_undo_from_the_browser_is_told_to_all_views(page):
    page.says("draw", mask_bytes(labels(p2_2=9)), frame=1)
    page.says("draw", mask_bytes(labels(p2_2=9, p2_3=9)), frame=1)
    [(content, [mask])] = page.says("undo", frame=3)
    assert content["frame"] == 1 and content["origin"] is None and content["edits"] == {"one": 3}
    np.testing.assert_array_equal(labels_of(mask), labels(p2_2=9))
    [(content, [mask])] = page.says("undo", frame=3)
    assert mask == b"" and page.widget.objects == []
    page.says("redo", frame=0)
    np.testing.assert_array_equal(page.widget.masks[1], labels(p2_2=9))


def test_objects_are_added_named_and_removed_from_the_browser(page):
    page.says("add", frame=0)
    page.says("rename", id=1, name=" dog ")
    assert page.widget.objects == [{"id": 1, "name": "dog"}]
    page.says("rename", id=1, name="")
    assert page.widget.objects == [{"id": 1, "name": "object 1"}]
    page.says("draw", mask_bytes(labels(p0_0=1)), frame=0)
    [(content, [mask])] = page.says("remove", id=1, frame=0)
    assert content["frame"] == 0 and mask == b"" and page.widget.objects == []


def test_a_mask_file_of_any_kind_is_loaded(page):
    file = io.BytesIO()
    Image.fromarray(labels(p0_0=255)).save(file, format="BMP")
    page.says("load", file.getvalue(), frame=2)
    np.testing.assert_array_equal(page.widget.masks[2], labels(p0_0=1))


def test_what_cannot_be_done_is_told_and_the_frame_sent_again(page):
    page.widget.draw(0, labels(p0_0=1))
    for kind, buffers, content, message in (
            ("load", [b"text"], {}, "the loaded mask: "), ("draw", [mask_bytes(np.ones((3, 3), np.uint8))], {},
                                                           "shape (3, 3), the frames are 11x7"),
            ("remove", [], {"id": 8}, "no object 8")):
        page.widget.status = ""
        heard = page.says(kind, *buffers, **{"frame": 0, **content})
        assert message in page.widget.status and "/" not in page.widget.status
        assert [content["kind"] for content, _ in heard][-1:] == ["mask"]
        np.testing.assert_array_equal(page.widget.masks[0], labels(p0_0=1))


def test_a_box_becomes_what_the_prompt_finds(page, frames, monkeypatch):
    requests = []

    def prompted(frame, box):
        requests.append((frame, box))
        return labels(p4_4=1, p4_5=1).astype(bool)

    monkeypatch.setattr(prompts, "mask_from_box", prompted)
    page.widget.draw(3, labels(p0_0=1, p4_4=1))
    page.says("box", frame=3, id=2, box=[4, 4, 2, 1])
    np.testing.assert_array_equal(page.widget.masks[3], labels(p0_0=1, p4_4=2, p4_5=2))
    np.testing.assert_array_equal(requests[0][0], frames[3])
    assert requests[0][1] == (4, 4, 2, 1)


def test_scribbles_become_masks_by_the_library():
    frame = np.full((1, 60, 90, 3), 40, np.uint8)
    frame[:, 20:40, 10:30], frame[:, 20:40, 60:80] = (200, 30, 30), (30, 30, 200)
    page = Page(Annotator(ArraySequence(frame)))
    strokes = np.zeros((60, 90), np.uint8)
    strokes[28:32, 15:25], strokes[28:32, 65:75], strokes[5, 5:80] = 1, 2, 255
    page.says("draw", mask_bytes(strokes), frame=0)
    [(content, [mask])] = page.says("scribbles", frame=0)
    np.testing.assert_array_equal(labels_of(mask), prompts.mask_from_scribbles(frame[0], strokes))
    np.testing.assert_array_equal(page.widget.masks[0] == 1, (frame[0] == (200, 30, 30)).all(-1))
    page.says("undo", frame=0)
    np.testing.assert_array_equal(page.widget.masks[0], strokes)


def test_begins_with_the_mask_of_the_first_frame_and_shows_a_static_picture(frames):
    masks = np.zeros((5, *SIZE), np.uint8)
    masks[:, 2:4] = 1
    widget = Annotator(ArraySequence(frames, masks, name="clip"))
    assert list(widget.masks) == [0] and widget.clip["rate"] == 12 and widget.clip["count"] == 5
    data, metadata = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "Annotator(clip: 1 of 5 frames drawn, object 1)"
    assert metadata["image/jpeg"]["alt"] == "frame 00000 of clip with the masks of object 1"
    shown = np.asarray(Image.open(io.BytesIO(data["image/jpeg"])), int)
    assert shown.shape == (*SIZE, 3)
    assert abs(shown - video.overlay(frames[0], masks[0])).mean() < abs(shown - frames[0]).mean()


def test_the_state_that_a_notebook_keeps_is_small(page):
    state = {key: value for key, value in page.widget.get_state().items() if key not in ("_esm", "_css")}
    assert len(str(state)) < 1500
