"""`sst annotate` up to the browser: what it opens, what it refuses, and what of the drawing is kept in a folder."""

import argparse

import numpy as np
import pytest
from PIL import Image

from sstlib.cli import annotate, build_parser, main
from sstlib.drawing import Annotator
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
    given = parsed(folder / "frames", "--mask", folder / "mask.png", "--out", folder / "out", "--weights", "short-base")
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
    assert list((folder / "kept").iterdir()) == []
    widget.redo()
    assert [path.name for path in (folder / "kept").iterdir()] == ["00001.png"]


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
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


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
