"""`sst annotate` up to the browser: what it opens, what it refuses, and what of the drawing is kept in a folder."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sstlib import weights
from sstlib.cli import _masks, annotate, build_parser, main
from sstlib.config import named_model
from sstlib.explorers import Annotator
from sstlib.model import build
from sstlib.movies import open_clip
from sstlib.sessions import Clip
from sstlib.video import ArraySequence, Reading, read_mask, write_mask


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    for t in range(3):
        Image.fromarray(np.full((12, 20, 3), 40 * t, np.uint8)).save(tmp_path / "frames" / f"{t}.png")
    return tmp_path


def parsed(*words):
    return build_parser().parse_args(["annotate", *map(str, words)])


def test_the_cell_opens_the_widget_on_the_video(folder):
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5, 3:9] = 4
    write_mask(folder / "mask.png", mask)
    given = parsed(folder / "frames", "--mask", folder / "mask.png", "--out", folder / "out", "--weights", "sst-small")
    names = {}
    exec(annotate.cell(given), names)
    session = names["session"]
    assert len(session.sequence) == 3 and session.folder == str(folder / "out" / "masks")
    np.testing.assert_array_equal(session.masks[0], mask)
    np.testing.assert_array_equal(read_mask(folder / "out" / "drawn" / "0.png", Reading("ids")), mask)


def test_what_is_drawn_is_kept_as_it_changes(folder):
    widget = Annotator(ArraySequence(np.zeros((3, 12, 20, 3), np.uint8)), drawn=folder / "kept")
    assert not (folder / "kept").exists()
    mask = np.full((12, 20), 3, np.uint8)
    widget.draw(1, mask)
    np.testing.assert_array_equal(read_mask(folder / "kept" / "00001.png", Reading("ids")), mask)
    widget.undo()
    assert list((folder / "kept").glob("*.png")) == []
    widget.redo()
    assert [path.name for path in (folder / "kept").glob("*.png")] == ["00001.png"]


def test_a_new_kernel_goes_on_with_what_was_drawn(folder):
    """Masks, names, ids without a pixel, and objects that were erased, as if nothing had happened."""
    clip = ArraySequence(np.zeros((3, 12, 20, 3), np.uint8), np.full((3, 12, 20), 9, np.uint8), "clip")
    first = Annotator(clip, masks={}, drawn=folder / "kept")
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5], mask[7:9] = 3, 4
    first.draw(0, mask)
    first._changed(first.annotations.rename(3, "a dog, Dörte"))
    first.add("a bird not seen yet")
    first.draw(2, mask)
    first.draw(2, np.where(mask == 4, 0, mask))
    assert first.annotations[2].absent == {4}
    again = Annotator(clip, drawn=folder / "kept")
    assert again.annotations.names == first.annotations.names and again.objects == first.objects
    assert again.masks.keys() == {0, 2} and again.annotations[2].absent == {4}
    for t in again.masks:
        np.testing.assert_array_equal(again.masks[t], first.masks[t])
    again.remove(3)
    third = Annotator(clip, drawn=folder / "kept")
    assert set(third.annotations.names) == {1, 4} and set(third.masks) == {0, 2}
    assert not (third.masks[0] == 3).any()


def test_a_mask_beside_what_was_drawn_and_masks_of_other_frames_are_spoken_of(folder, capsys):
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5, 3:9] = 4
    write_mask(folder / "masks" / "0.png", mask)
    given = parsed(folder / "frames", "--mask", folder / "masks" / "0.png", "--out", folder / "out")
    annotate.cell(given)
    assert "note" not in capsys.readouterr().err
    write_mask(folder / "out" / "drawn" / "1.png", mask)
    annotate.cell(given)
    assert "0.png is not taken; for that give another folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="masks is a folder, and drawing begins with one mask"):
        annotate.cell(parsed(folder / "frames", "--mask", folder / "masks"))


def test_the_same_command_goes_on_and_another_clip_is_refused(folder):
    given = parsed(folder / "frames", "--out", folder / "out", "--weights", "sst-small")
    names = {}
    exec(annotate.cell(given), names)
    names["session"].draw(1, np.full((12, 20), 2, np.uint8))
    exec(annotate.cell(given), names)  # as after Ctrl+C, and as Run All does after a restart of the kernel
    assert (names["session"].masks[1] == 2).all()
    (folder / "frames").rename(folder / "others")
    with pytest.raises(ValueError, match="objects.json: it is of frames, not of others; name another folder"):
        annotate.cell(parsed(folder / "others", "--out", folder / "out"))
    (folder / "out" / "drawn" / "objects.json").write_text('{"clip": "others", "names": {"x": 1}, "absent": {}}')
    with pytest.raises(ValueError, match="objects.json: damaged; remove it"):
        annotate.cell(parsed(folder / "others", "--out", folder / "out"))
    (folder / "out" / "drawn" / "objects.json").unlink()
    (folder / "others" / "1.png").unlink()
    with pytest.raises(ValueError, match="1.png: 20x12 pixels, no mask of others, whose 2 frames are 20x12"):
        annotate.cell(parsed(folder / "others", "--out", folder / "out"))
    (folder / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds something already \(notes.txt\); give another"):
        annotate.cell(parsed(folder / "others", "--out", folder / "out"))


def test_what_a_paint_program_has_changed_is_gone_on_from(folder):
    given, drawn = parsed(folder / "frames", "--out", folder / "out"), folder / "out" / "drawn"
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5, 3:9], mask[7:9, 3:9] = 3, 4
    write_mask(drawn / "1.png", mask)
    Image.open(drawn / "1.png").save(drawn / "2.png")  # by index, and unsigned
    Image.open(drawn / "1.png").convert("RGB").save(drawn / "0.png")
    for name in (".DS_Store", "Thumbs.db"):
        (folder / "out" / name).write_text("")
    names = {}
    exec(annotate.cell(given), names)
    assert set(names["session"].masks) == {0, 1, 2}
    for labels in names["session"].masks.values():
        np.testing.assert_array_equal(labels, mask)
    names["session"].remove(3)
    names["session"].remove(4)
    assert not any((read_mask(path, Reading("ids")) % 255).any() for path in drawn.glob("*.png"))


@pytest.mark.parametrize("name, content, message", [
    ("1.png", b"", "1.png: empty, without a byte"), ("1.png", b"half", "1.png: .*; copy or extract it again"),
    ("1.bmp", b"whole", "1.bmp: .* with masks called FRAME.png; move it"),
    ("1.png", b"white", "1.png: mask is read .* cannot be known which objects these are; save their ids"),
    ("objects.json", b"{", "objects.json: damaged; remove it")])
def test_a_drawing_that_cannot_be_gone_on_from_is_not_passed_over(folder, name, content, message):
    """It would be replaced as soon as its frame was drawn on."""
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5, 3:9] = 4
    path = folder / "out" / "drawn" / name
    write_mask(path, mask)
    if content == b"white":
        Image.fromarray((mask > 0) * np.uint8(255)).save(path)
    else:
        path.write_bytes({b"half": path.read_bytes()[:90], b"whole": path.read_bytes()}.get(content, content))
    with pytest.raises(ValueError, match=message):
        annotate.cell(parsed(folder / "frames", "--out", folder / "out"))


@pytest.mark.parametrize("words, message", [
    (["nowhere.mp4"], "no such video file or folder of frames"),
    (["frames", "--mask", "nothing.png"], "no such mask file"),
    (["frames", "--weights", "sst-nothing"], "sst-nothing"),
    (["frames", "--out", "frames"], "frames holds something already"),
    (["frames", "--out", "frames/0.png"], "expected a folder"),
    (["frames", "--port", "70000"], "at most 65535"),
])
def test_what_cannot_be_opened_is_refused_before_a_server_starts(folder, words, message, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(annotate, "served", lambda *arguments: pytest.fail("a server starts"))
    assert main(["annotate", *words]) == 2
    output = capsys.readouterr().err
    assert message in output and output.count("\n") == 1


def test_a_port_in_use_is_told(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"127.0.0.1:{port} .*give another --ip or --port"), annotate.served(
                tmp_path, "127.0.0.1", port):
            pass


def test_its_options_are_told():
    parser = argparse.ArgumentParser()
    annotate.configure(parser)
    assert {"--no-browser", "--ip", "--out"} <= set(parser._option_string_actions)


def test_what_was_drawn_is_carried_through_the_video_by_the_command_that_help_names(folder, monkeypatch, capsys):
    """Names were lost, and an object came back in the frame that it had been erased from."""
    monkeypatch.chdir(folder)
    clip = open_clip("frames")
    drawing = Annotator(clip, masks={}, drawn="drawn")
    mask = np.zeros((12, 20), np.uint8)
    mask[2:5], mask[7:9] = 3, 4
    drawing.draw(0, mask)
    drawing._changed(drawing.annotations.rename(3, "a dog, Dörte"))
    drawing.draw(2, mask)
    drawing.draw(2, np.where(mask == 4, 0, mask))
    weights.save(build(named_model("sst-tiny")).eval(), "tiny.safetensors")
    command = ["segment", "frames", "--mask", "drawn", "--weights", "tiny.safetensors", "--threads", "1", "--out"]
    assert main([*command, "out", "--confidence", "c.csv", "--export", "boxes"]) == 0
    output = capsys.readouterr().out
    assert f"{Path('drawn') / 'objects.json'}: 3 is a dog, Dörte; frame 2 without 4\n" in output
    assert '"a dog, Dörte"' in (folder / "out" / "boxes.csv").read_text("utf-8")
    rows = [row.split(",") for row in (folder / "c.csv").read_text("utf-8").splitlines()]
    last = [dict(zip(rows[0], row)) for row in rows if row[:1] == ["2"] and ",".join(row).count(",4,")]
    assert [(float(row["presence"]), float(row["doubt"]), int(row["area"])) for row in last] == [(0, 0, 0)], rows
    (folder / "drawn" / "objects.json").write_text("{")
    assert main([*command, "other"]) == 2
    assert "objects.json" in capsys.readouterr().err and not (folder / "other").exists()


def test_a_frame_that_all_was_erased_from_is_no_beginning_of_the_clip(folder, monkeypatch):
    """Frames before it were left without masks, which the widget gives them."""
    monkeypatch.chdir(folder)
    clip = open_clip("frames")
    drawing, mask, nothing = Annotator(clip, masks={}, drawn="drawn"), *np.zeros((2, 12, 20), np.uint8)
    mask[2:5], mask[7:9] = 3, 4
    drawing.draw(2, mask)
    drawing._changed(drawing.annotations.draw(1, nothing, before=mask))
    read, lines = _masks.drawn(Path("drawn"), Clip(clip, {1: nothing, 2: mask}))
    assert read.absent == {1: frozenset({3, 4})} and [*read.given] == [2] and read.before == 0
    assert lines == [f"{Path('drawn') / 'objects.json'}: frame 1 without 3, 4"]
