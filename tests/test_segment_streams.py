"""`sst segment -` and `sst segment camera:0`: masks as frames come, into a folder or out again."""

import contextlib
import io
import json
import os
import signal
import types

import av
import cv2
import numpy as np
import pytest
from test_streams import FakeCamera

from sstlib import weights
from sstlib.cli import main
from sstlib.inference import Segmenter
from sstlib.paths import alone
from sstlib.video import Reading, read_mask, write_mask

HEIGHT, WIDTH = 32, 48
FRAMES = FakeCamera.frames
PIPED = FRAMES.tobytes()
LABELS = np.zeros((HEIGHT, WIDTH), np.uint8)
LABELS[8:20, 5:17] = 3


@pytest.fixture(scope="module")
def masks(tiny_weights):
    segmenter = Segmenter(weights.load(tiny_weights))
    return [segmenter.step(frame, LABELS if t == 0 else None).labels for t, frame in enumerate(FRAMES)]


@pytest.fixture
def sst(tmp_path, monkeypatch, tiny_weights, capfdbinary):
    """Runs the command on what is piped in; its exit status and what it writes and says."""
    monkeypatch.chdir(tmp_path)
    write_mask("first.png", LABELS)

    def run(name, *more, piped=PIPED, mask="first.png", terminal=False):
        source = io.BytesIO(piped) if isinstance(piped, bytes) else piped
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=source, isatty=lambda: terminal))
        status = main(["segment", name, "--mask", mask, "--weights", str(tiny_weights), *more])
        message = capfdbinary.readouterr()
        return status, message.out, message.err.decode()
    return run


def masks_in(folder):
    return [read_mask(path, Reading("ids")) for path in sorted(folder.glob("*.png"))]


def test_masks_of_piped_frames_lie_in_a_folder_and_so_do_exports(sst, tmp_path, masks):
    status, out, error = sst("-", "--size", "48x32", "--rate", "12.5", "--out", "out", "--export", "coco,overlay")
    assert status == 0, error
    np.testing.assert_array_equal(masks_in(tmp_path / "out"), masks)
    assert b"standard input: frames of 48x32, 12.5 a second; the first has 1 object: 3 = 144 pixels" in out
    assert b"\n6 masks are in out\n" in out
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(content["images"]) == 6 and content["videos"][0]["fps"] == 12.5
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[6:] == ["coco.json", "overlay.mp4"]
    status, _, error = sst("-", "--size", "48x32", "--out", "out")
    assert status == 2 and "--overwrite" in error


def test_a_stream_takes_the_mask_of_a_labeling_tool(sst, tmp_path):
    """As the help says that --mask does: it was no image that is read."""
    region = {"label": "dog", "points": [[5, 8], [16, 8], [16, 19], [5, 19]], "shape_type": "polygon"}
    (tmp_path / "a.json").write_text(json.dumps({"imageHeight": 32, "imageWidth": 48, "shapes": [region]}))
    status, out, error = sst("-", "--size", "48x32", "--out", "out", "--export", "coco", mask="a.json")
    assert status == 0 and b"the first has 1 object: 1 = 144 pixels" in out, error
    np.testing.assert_array_equal(masks_in(tmp_path / "out")[0], LABELS > 0)
    assert [one["name"] for one in json.loads((tmp_path / "out" / "coco.json").read_text())["tracks"]] == ["dog"]
    (tmp_path / "b.xml").write_text(
        '<annotations><meta><original_size><width>48</width><height>32</height></original_size></meta><track id="0" '
        'label="dog"><polygon frame="5" points="1,1;9,1;9,9"/></track></annotations>')
    status, _, error = sst("-", "--size", "48x32", "--out", "new", mask="b.xml")
    assert status == 2 and "b.xml: the stream has no frame 5; " in error and not (tmp_path / "new").exists()


@pytest.mark.parametrize("exists", [True, False], ids=["a folder that is there", "a new folder"])
def test_a_stream_and_another_run_are_not_at_work_in_one_folder(sst, tmp_path, monkeypatch, exists):
    """The second would mix its masks with those of the first, and take its half-written files for left ones."""
    out, load, runs = tmp_path / "out", weights.load, contextlib.ExitStack()

    def another_begins(*given):
        out.mkdir(exist_ok=True)
        (out / ".00000.png.abcdefgh.part").touch()
        runs.enter_context(alone(out))
        return load(*given) if given else None

    with runs:
        another_begins() if exists else monkeypatch.setattr(weights, "load", another_begins)
        status, _, error = sst("-", "--size", "48x32", "--out", "out")
    assert status == 2 and "out: another run is at work in this folder" in error
    assert os.listdir(out) == [".00000.png.abcdefgh.part"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert sst("-", "--size", "48x32", "--out", "out")[0] == 0
    assert sorted(os.listdir(out)) == [f"{t:05d}.png" for t in range(len(FRAMES))]


def test_an_object_of_a_stream_is_absent_where_it_is_said_to_be(sst, tmp_path, masks):
    assert masks[2].any() and masks[3].any()
    assert sst("-", "--size", "48x32", "--out", "out", "--absent", "3@2,3")[0] == 0
    shown = masks_in(tmp_path / "out")
    np.testing.assert_array_equal(shown[:2], masks[:2])
    assert not shown[2].any() and not shown[3].any()


def test_which_of_two_videos_is_followed_is_a_line(sst, tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("ffv1", rate=25, width=WIDTH, height=HEIGHT, pix_fmt="bgr0") for _ in range(2)]
        for stream in streams:
            for frame in FRAMES:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    content = (tmp_path / "two.mkv").read_bytes()
    for video in ("two.mkv", "-"):
        status, _, error = sst(video, "--out", "out", "--overwrite", piped=content)
        assert status == 0 and "holds 2 videos" in error and error.startswith("note: ") and ".py" not in error


def test_masks_go_out_again_and_nothing_else_does(sst, tmp_path, masks):
    status, out, error = sst("-", "--size", "48x32", "--out", "-")
    assert status == 0 and out == np.stack(masks).tobytes() and "6 masks were written" in error
    assert [path.name for path in tmp_path.iterdir()] == ["first.png"]


def test_a_camera_is_followed_until_it_ends_or_somebody_has_seen_enough(sst, tmp_path, masks, monkeypatch):
    class Camera(FakeCamera):
        frames = np.concatenate([FRAMES] * 3)

        def read(self):
            if len(self.left) == len(self.frames) - 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().read()

    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    assert sst("camera:0", "--out", "whole", "--export", "boxes")[0] == 0
    np.testing.assert_array_equal(masks_in(tmp_path / "whole"), masks)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    before = signal.getsignal(signal.SIGINT)
    status, _, error = sst("camera:0", "--out", "part", "--export", "boxes")
    assert status == 0, error
    np.testing.assert_array_equal(masks_in(tmp_path / "part"), masks[:4])
    assert (tmp_path / "part" / "boxes.csv").read_text().count("\n") == 5 and signal.getsignal(signal.SIGINT) == before


def test_frames_that_end_within_one_leave_what_was_whole(sst, tmp_path, masks):
    status, _, error = sst("-", "--size", "48x32", "--out", "out", "--export", "coco,cutout",
                           piped=PIPED[:-1])
    assert status == 2 and "standard input ends within frame 5" in error and error.count("\n") == 1
    np.testing.assert_array_equal(masks_in(tmp_path / "out"), masks[:5])
    assert len(list((tmp_path / "out").iterdir())) == 5


class Stalled(io.BytesIO):
    """A pipe that ends within a frame and stays open; who waits there is interrupted by a signal."""

    def __init__(self, content, number):
        super().__init__(content)
        self.number = number

    def read(self, size=-1):
        content = super().read(size)
        if len(content) < size:
            signal.raise_signal(self.number)
        return content

    read1 = read


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_ends_where_it_is_stopped_while_no_frame_comes(sst, tmp_path, masks, number):
    """It waited on, and what had come within a frame was an error that took the exports along."""
    length, before = FRAMES[0].nbytes, signal.getsignal(number)
    status, out, error = sst("-", "--size", "48x32", "--out", "out", "--export", "boxes,overlay",
                             piped=Stalled(PIPED[:3 * length + 100], number))
    assert status == 0 and not error and b"\n3 masks are in out\n" in out
    np.testing.assert_array_equal(masks_in(tmp_path / "out"), masks[:3])
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[3:] == ["boxes.csv", "overlay.mp4"]
    status, _, error = sst("-", "--size", "48x32", "--out", "none", piped=Stalled(PIPED[:9], number))
    assert status == 130 and not (tmp_path / "none").exists(), error
    assert signal.getsignal(number) == before


WRONG = {
    "a size that is none": (["-", "--size", "48"], {}, "expected WIDTHxHEIGHT"),
    "a size of nothing": (["-", "--size", "0x32"], {}, "expected WIDTHxHEIGHT"),
    "a size of a camera": (["camera:0", "--size", "48x32"], {}, "a size goes with raw frames"),
    "no frame": (["-", "--size", "48x32"], {"piped": b""}, "standard input ended before a frame came"),
    "no video": (["-"], {"piped": b"text" * 99}, "-f matroska -"),
    "a terminal": (["-", "--size", "48x32"], {"terminal": True}, "pipe frames into it"),
    "no mask": (["-", "--size", "48x32"], {"mask": "none.png"}, "none.png: no such file"),
    "a mask of another size": (["-", "--size", "32x48"], {}, "the mask is 48x32"),
    "a mask and a box": (["-", "--size", "48x32", "--box", "5,8,12,12"], {}, "not by both"),
    "an absent object with a mask": (["-", "--size", "48x32", "--absent", "3@0"], {}, "has a mask in frame 0"),
    "an absent object that is not": (["-", "--size", "48x32", "--absent", "1@3"], {}, "there is no object '1'"),
    "another frame": (["-", "--size", "48x32", "--at", "2"], {}, "--at needs all frames"),
    "a sheet": (["-", "--size", "48x32", "--sheet", "sheet.png"], {}, "--sheet needs all frames"),
    "a size of a file": (["clip.mp4", "--size", "48x32"], {}, "--size goes with frames from standard input"),
    "a file to nowhere": (["clip.mp4", "--out", "-"], {}, "--out - goes with frames from standard input"),
    "exports with nowhere to lie": (["-", "--size", "48x32", "--out", "-", "--export", "coco"], {}, "name a folder"),
}


@pytest.mark.parametrize("words, given, message", WRONG.values(), ids=WRONG)
def test_what_cannot_be_followed_is_told_in_a_line_and_leaves_nothing(sst, tmp_path, words, given, message):
    status, out, error = sst(words[0], *([] if "--out" in words else ["--out", "out"]), *words[1:], **given)
    assert status == 2 and message in error and error.count("\n") == 1 and not out
    assert [path.name for path in tmp_path.iterdir()] == ["first.png"]
