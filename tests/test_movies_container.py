"""What FFmpeg's containers say of a video, whatever it is called: where it lies, how it is turned, where it ends."""

import shutil
import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from sstlib import movies

HEIGHT, WIDTH, COUNT, RATE = 32, 48, 6, 10
ORIENTATIONS = {  # a, b, c, d: a pixel (x, y) is shown at (a x + c y, b x + d y)
    "upright": (1, 0, 0, 1), "a quarter": (0, 1, -1, 0), "half": (-1, 0, 0, -1), "three quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1), "upside down, mirrored": (1, 0, 0, -1), "a quarter, mirrored": (0, 1, 1, 0),
    "three quarters, mirrored": (0, -1, -1, 0),
}


def picture(t):
    """No two corners alike."""
    frame = np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8)
    frame[:12, :20], frame[-8:, :30], frame[:6, -10:] = (250, 20, 20), (20, 240, 20), (20, 20, 250)
    return frame


def written(path, codec="ffv1", pixels="bgr0", stamps=None, seconds_of_sound=0):
    with av.open("file:" + str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, width=WIDTH, height=HEIGHT, pix_fmt=pixels,
                                      options={"qp": "0"} if codec == "libx264" else {})
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono") if seconds_of_sound else None
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        for t in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(t), format="rgb24")
            if stamps:
                frame.pts, frame.time_base = stamps[t], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for second in range(seconds_of_sound):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
            samples.sample_rate, samples.pts, samples.time_base = 8000, 8000 * second, Fraction(1, 8000)
            container.mux(sound.encode(samples))
    return path


@pytest.mark.parametrize("name", ["12:30.mkv", "2026-11-28T12:30:00.mkv", "file:other.mkv", "concat:other.mkv|b.mkv",
                                  "50%d.mkv", "-dash.mkv", "two\nlines.mkv"])
def test_a_name_is_never_taken_for_a_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.move(written(tmp_path / "plain.mkv"), name)
    video = movies.open_clip(name)
    assert len(video) == COUNT
    np.testing.assert_array_equal(video.frame(4), picture(4))
    written(tmp_path / "sounding.mkv", seconds_of_sound=1).replace(name)
    video = movies.open_clip(name)
    assert movies.write_video("copy.mp4", map(video.frame, range(COUNT)), source=video) == COUNT
    with av.open("copy.mp4") as container:
        assert container.streams.audio


@pytest.mark.parametrize("named", ["other.mkv", "gone.mkv", "/of/root/film.mkv"])
def test_a_file_that_names_others_is_no_video(tmp_path, named):
    """Else what it names would be read, and a run that was interrupted would not notice that it changed."""
    written(tmp_path / "other.mkv")
    script = tmp_path / "film.mkv"
    script.write_text(f"ffconcat version 1.0\nfile {named}\n")
    with pytest.raises(ValueError, match="film.mkv: is no video by its content, but names other files"):
        movies.open_clip(script)
    words = "standard input: is no video by its content, but names"
    with pytest.raises(ValueError, match=words), script.open("rb") as pipe:
        list(movies.Stream("-", pipe))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_are_turned_and_mirrored_as_players_show_them(tmp_path, orientation):
    content = bytearray(written(tmp_path / "plain.mp4", "libx264", "yuv444p").read_bytes())
    plain = movies.VideoSequence(tmp_path / "plain.mp4").frame(3)
    a, b, c, d = ORIENTATIONS[orientation]
    at = content.index(b"tkhd") + 44  # version 0: the matrix follows 40 bytes
    content[at:at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content)
    shown = movies.VideoSequence(tmp_path / "turned.mp4").frame(3)
    y, x = np.indices(plain.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    expected = np.zeros(((HEIGHT, WIDTH) if a else (WIDTH, HEIGHT)) + (3,), np.uint8)
    expected[to_y - to_y.min(), to_x - to_x.min()] = plain
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("stamps, sound", [([0, 100, 150, 600, 610, 2000], 0), ([0, 50, 100, 150, 200, 250], 0),
                                           ([0, 40, 80, 5000, 5040, 5080], 0), (None, 2)])
def test_frames_at_no_one_rate_and_longer_sound_are_not_cut_off(tmp_path, stamps, sound):
    """Of these, seconds times the rate is another number than that of the frames."""
    path = written(tmp_path / "uneven.mkv", stamps=stamps, seconds_of_sound=sound)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(movies.VideoSequence(path)) == COUNT
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[:len(path.read_bytes()) * 5 // 8])
    with pytest.warns(movies.Incomplete, match="cut off"):
        movies.VideoSequence(tmp_path / "cut.mkv")


@pytest.mark.parametrize("share", [.4, .7, .99])
@pytest.mark.parametrize("name, codec, pixels", [("whole.gif", "gif", "rgb8"), ("whole.apng", "apng", "rgb24"),
                                                 ("whole.y4m", "rawvideo", "yuv420p")])
def test_a_gif_apng_or_y4m_that_ends_early_says_so(tmp_path, share, name, codec, pixels):
    path = written(tmp_path / name, codec, pixels)
    assert len(movies.VideoSequence(path)) == COUNT
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * share)])
    with pytest.warns(movies.Incomplete, match="cut off"):
        movies.VideoSequence(path)
