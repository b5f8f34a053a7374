"""Frames that come once: raw or as a video from a pipe, or from a camera, each as it was and as it comes."""

import io
import os
import queue
import re
import subprocess
import threading
import warnings
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from sstlib import paths, video, weights
from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.model import build
from sstlib.movies import Incomplete, Stream, VideoSequence, is_stream

HEIGHT, WIDTH = 32, 48
FRAMES = np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3), np.uint8)


class FakeCamera:
    """OpenCV's capture of a few frames; what it was asked for and whether it was let go of."""

    frames, rate, opened, released = FRAMES, 15.0, [], []

    def __init__(self, number):
        self.opened.append(number)
        self.left = list(self.frames)

    def isOpened(self):
        return bool(len(self.frames))

    def get(self, property_):
        assert property_ == cv2.CAP_PROP_FPS
        return self.rate

    def read(self):
        return (True, self.left.pop(0)[..., ::-1]) if self.left else (False, None)

    def release(self):
        self.released.append(True)


@pytest.fixture
def camera(monkeypatch):
    class Camera(FakeCamera):
        opened, released = [], []

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    return Camera


def test_raw_frames_come_as_they_are(tmp_path):
    stream = Stream("-", io.BytesIO(FRAMES.tobytes()), (HEIGHT, WIDTH), 12.5)
    result = list(stream)
    np.testing.assert_array_equal(result, FRAMES)
    assert all(frame.flags.writeable for frame in result), "they are the caller's own, to be drawn on"
    assert stream.rate == Fraction(25, 2)


def test_each_frame_is_there_before_the_next_is_written():
    """A frame of a pipe that stays open."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as target:
        frames = iter(Stream("-", source, (HEIGHT, WIDTH)))
        for frame in FRAMES:
            threading.Thread(target=target.write, args=(frame.tobytes(),)).start()
            np.testing.assert_array_equal(next(frames), frame)


Y4M, BLACK = b"YUV4MPEG2 W48 H32 F25:1 C444\n", b"FRAME\n" + bytes(3 * HEIGHT * WIDTH)


def test_frames_of_a_video_are_there_before_the_pipe_is_full():
    """They waited until 32 KiB had come, which are many seconds of a still picture."""
    reading, writing = os.pipe()
    received = queue.SimpleQueue()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as target:
        thread = threading.Thread(target=lambda: [received.put(frame) for frame in Stream("-", source)])
        thread.start()
        target.write(Y4M + 3 * BLACK)
        try:
            assert received.get(timeout=20).shape == (HEIGHT, WIDTH, 3)
        finally:
            target.close()
            thread.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "it broke")], ids=["Ctrl-C", "the pipe breaks"])
@pytest.mark.parametrize("whole", [0, 2])
def test_what_ends_the_reading_of_a_video_is_raised_after_the_frames_that_came(error, whole):
    """FFmpeg printed it and passed it over, or called the video damaged."""
    class Ending(io.BytesIO):
        def read1(self, size=-1):
            content = super().read1(size)
            if not content:
                raise error
            return content

        read = read1

    received = []
    with pytest.raises(type(error)) as raised:
        for frame in Stream("-", Ending(Y4M + whole * BLACK)):
            received.append(frame)
    assert raised.value is error and len(received) == whole


@pytest.mark.parametrize("left", [1, HEIGHT * WIDTH * 3 - 1])
def test_raw_frames_that_end_within_one_are_told(left):
    content = FRAMES[:2].tobytes() + FRAMES[2].tobytes()[:left]
    frames = iter(Stream("-", io.BytesIO(content), (HEIGHT, WIDTH)))
    next(frames), next(frames)
    with pytest.raises(ValueError, match=f"standard input ends within frame 2, after {left} of its 4608 bytes.*48x32"):
        next(frames)


PIPED = {"matroska": ("libx264", "yuv444p", {"qp": "0"}), "yuv4mpegpipe": ("wrapped_avframe", "yuv444p", {}),
         "mpegts": ("mpeg2video", "yuv420p", {}), "mjpeg": ("mjpeg", "yuvj444p", {})}


@pytest.mark.parametrize("container", PIPED)
def test_a_video_that_is_piped_comes_as_its_decoder_gives_it(tmp_path, container):
    codec, pixels, options = PIPED[container]
    with av.open(str(tmp_path / "clip"), "w", format=container) as file:
        stream = file.add_stream(codec, rate=20, width=WIDTH, height=HEIGHT, pix_fmt=pixels, options=options)
        for frame in FRAMES:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    with av.open(str(tmp_path / "clip")) as file:
        expected = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with (subprocess.Popen(["cat", str(tmp_path / "clip")], stdout=subprocess.PIPE) as process,
          warnings.catch_warnings()):
        warnings.simplefilter("error", Incomplete)
        stream = Stream("-", process.stdout)
        result = list(stream)
    np.testing.assert_array_equal(result, expected)
    assert len(result) == len(FRAMES) and (container == "mjpeg" or stream.rate == 20)
    if container in ("yuv4mpegpipe", "matroska"):  # which say where they end, or where a frame does
        content = (tmp_path / "clip").read_bytes()
        with pytest.warns(Incomplete, match="standard input ends before .* cut off"):
            assert len(list(Stream("-", io.BytesIO(content[:len(content) * 5 // 8])))) < len(FRAMES)


@pytest.mark.parametrize("name, numbers, spoilt", [("late.mkv", range(2, 20), ()), ("damaged.mkv", range(20), (12,))])
@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_piped_video_is_read_as_its_file_where_it_begins_late_or_is_damaged(tmp_path, codec, name, numbers, spoilt):
    """A capture that was joined between key frames, and one of which a packet holds no frame."""
    picture = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 3), np.uint8)
    with av.open(str(tmp_path / "whole.mkv"), "w") as file:
        stream = file.add_stream(codec, rate=20, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        stream.codec_context.gop_size = 5
        for t in range(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture + np.uint8(t), format="rgb24")))
        file.mux(stream.encode())
    with av.open(str(tmp_path / "whole.mkv")) as file, av.open(str(tmp_path / name), "w") as target:
        copied = target.add_stream_from_template(file.streams.video[0])
        for t, packet in enumerate(file.demux(video=0)):
            if t in numbers:
                written = av.Packet(bytes(packet.size) if t in spoilt else bytes(packet))
                written.pts, written.dts, written.time_base = packet.pts, packet.dts, packet.time_base
                written.is_keyframe, written.stream = packet.is_keyframe, copied
                target.mux(written)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = VideoSequence(tmp_path / name)
        piped = list(Stream("-", io.BytesIO((tmp_path / name).read_bytes())))
    np.testing.assert_array_equal(piped, [read.frame(t) for t in range(len(read))])
    assert 12 <= len(read) < 20 and len(caught) == 2 * bool(spoilt), [str(one.message) for one in caught]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_told(content):
    with pytest.raises(ValueError, match="standard input: not a video, or damaged"):
        list(Stream("-", io.BytesIO(content)))


def test_a_camera_gives_its_frames_and_is_let_go_of(camera):
    stream = Stream("camera:3")
    np.testing.assert_array_equal(list(stream), FRAMES)
    assert camera.opened == [3] and camera.released == [True] and stream.rate == 15
    stream = Stream("camera:0", rate=10)
    next(iter(stream))
    stream.close()
    assert camera.released == [True, True] and stream.rate == 10
    camera.frames = []
    with pytest.raises(ValueError, match="camera:1 cannot be opened"):
        list(Stream("camera:1"))
    assert len(camera.released) == 3


@pytest.mark.parametrize("name", ["camera:", "camera:x", "camera:-1", "clip.mp4", "camera:0/clip.mp4", ""])
def test_other_names_are_no_streams(name):
    assert not is_stream(name)
    with pytest.raises(ValueError, match="expected - for standard input, or camera:NUMBER"):
        Stream(name)


def test_a_size_is_of_raw_frames_alone():
    with pytest.raises(ValueError, match="a size goes with raw frames from standard input"):
        Stream("camera:0", size=(4, 4))


def example(word):
    """The code of the README in which a word occurs."""
    blocks = re.findall(r"```python\n(.*?)```", (paths.ROOT / "README.md").read_text(), re.DOTALL)
    [code] = [block for block in blocks if word in block]
    return code


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """Masks that the README names, in the current folder; and a small network in the place of the released one."""
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:20, 5:17] = 1
    video.write_mask("dog_00000.png", labels)
    video.write_mask("first.png", labels)
    video.write_mask("another.png", 2 * np.roll(labels, 20, 1))
    torch.manual_seed(0)
    network = build(named_model("sst-tiny")).eval()
    monkeypatch.setattr(weights, "load", lambda name: network)
    segmenter = Segmenter(network)
    return [segmenter.step(frame, labels if t == 0 else None).labels for t, frame in enumerate(FRAMES)]


def test_the_readme_follows_what_is_piped_in(masks, monkeypatch):
    class Input:
        buffer = io.BytesIO(FRAMES.tobytes())

    monkeypatch.setattr("sys.stdin", Input)
    code = example("movies.Stream")
    assert len(code.splitlines()) <= 10
    exec(code.replace("(480, 854)", f"({HEIGHT}, {WIDTH})"), {})
    result = [video.read_mask(f"masks/{t:05d}.png", video.Reading("ids")) for t in range(len(FRAMES))]
    np.testing.assert_array_equal(result, masks)


def test_the_readme_follows_a_camera(masks, camera, monkeypatch):
    camera.frames, shown = np.concatenate([FRAMES] * 6), []
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: 27 if len(shown) == 33 else -1)
    names = {}
    exec(example("cv2.VideoCapture(0)"), names)
    assert len(shown) == 33 and camera.released == [True] and names["segmenter"].ids == [0, 1, 2]
    np.testing.assert_array_equal(shown[5][..., ::-1], video.overlay(FRAMES[5], masks[5]))
