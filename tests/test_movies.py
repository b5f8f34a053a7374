"""Video files in and out, and contact sheets."""

import io
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from sstlib import movies, video
from sstlib.movies import reading


def clip(count=7, height=46, width=62):
    """Frames that say which they are: brightness grows with time, and a square moves."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for t in range(count):
        frames[t] = 20 + 25 * (t % 9)
        frames[t, 10:20, 4 + t % 30:14 + t % 30] = (200, 40, 40)
    return frames


@pytest.mark.parametrize("height, width, rate", [(46, 62, 24), (45, 63, Fraction(30000, 1001)), (48, 64, 12.5)])
def test_a_video_written_and_read_back_has_the_same_count_size_and_rate(tmp_path, height, width, rate):
    frames = clip(23, height, width)
    assert movies.write_video(tmp_path / "out" / "clip.mp4", frames, rate) == 23
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    read = movies.VideoSequence(tmp_path / "out" / "clip.mp4")
    assert isinstance(read, video.Sequence) and read.name == "clip" and read.frame_names[:2] == ["00000", "00001"]
    assert len(read) == 23 and read.frame(0).shape == (height, width, 3)
    assert abs(float(read.rate) - float(rate)) < 1e-3
    for t in (0, 5, 22):
        assert np.abs(read.frame(t).astype(int) - frames[t]).mean() < 6, t


def test_frames_of_a_video_are_found_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CACHE_BYTES", 5 * 46 * 62 * 3)
    monkeypatch.setattr(reading, "RUN_ON", 8)
    frames = clip(90)
    movies.write_video(tmp_path / "clip.mp4", frames)
    read = movies.VideoSequence(tmp_path / "clip.mp4")
    order = [*range(89, -1, -7), 0, 3, 88, 2, *np.random.default_rng(0).integers(0, 90, 12).tolist(), -1]
    for t in order:
        assert np.abs(read.frame(t).astype(int) - frames[t]).mean() < 6, t
    assert len(read._cache) == 5


def test_drawing_on_a_frame_changes_none_that_is_read_later(tmp_path):
    movies.write_video(tmp_path / "clip.mp4", np.full((3, 32, 48, 3), 100, np.uint8))
    video.write_mask(tmp_path / "mask.png", np.eye(32, 48, dtype=np.uint8))
    read = movies.open_clip(tmp_path / "clip.mp4", tmp_path / "mask.png")
    read.frame(0)[:] = 0
    read.label(0)[:] = 0
    assert read.frame(0).min() > 90 and read.label(0).sum() == 32


def test_a_video_and_its_mask(tmp_path):
    movies.write_video(tmp_path / "clip.mp4", clip(3))
    labels = np.zeros((46, 62), np.uint8)
    labels[10:20, 4:14] = 7
    video.write_mask(tmp_path / "first.png", labels)
    read = movies.open_clip(tmp_path / "clip.mp4", tmp_path / "first.png")
    np.testing.assert_array_equal(read.label(0), labels)
    assert read.label(1) is None
    video.write_mask(tmp_path / "first.png", labels[:-2])
    with pytest.raises(ValueError, match="first.png.*62x44.*62x46"):
        movies.open_clip(tmp_path / "clip.mp4", tmp_path / "first.png")


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_that_was_cut_off_says_so_and_gives_what_is_there(tmp_path, suffix):
    import av

    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=62, height=46, pix_fmt="yuv420p")
        for picture in clip(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    assert len(movies.VideoSequence(whole)) == 60
    cut.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    with pytest.warns(UserWarning, match=f"cut{suffix}: the header tells of 60 frames, .* may be cut off"):
        read = movies.VideoSequence(cut)
    assert 5 < len(read) < 50
    assert np.abs(read.frame(5).astype(int) - clip(6)[5]).mean() < 12


def test_broken_videos_are_told_by_name(tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").write_bytes(b"")
    movies.write_video(tmp_path / "whole.mp4", clip(40))
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    for name, words in {"text": "not a video", "empty": "empty, without a byte; copy or download it again", "cut": "",
                        "pointer": "a pointer of Git LFS, which stands for the file; fetch that"}.items():
        with pytest.raises(ValueError, match=f"{name}.mp4: {words}"):
            movies.VideoSequence(tmp_path / f"{name}.mp4").frame(0)
    with pytest.raises(FileNotFoundError, match="absent.mp4"):
        movies.open_clip(tmp_path / "absent.mp4")
    with pytest.raises(ValueError, match="notes.txt.*expected a folder"):
        movies.open_clip(tmp_path / "notes.txt")


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path):
    frames = [*clip(3), clip(1, 40, 62)[0]]
    with pytest.raises(ValueError, match="frame 3 is 62x40, the first is 62x46"):
        movies.write_video(tmp_path / "clip.mp4", frames)
    with pytest.raises(ValueError, match="no frames"):
        movies.write_video(tmp_path / "clip.mp4", [])
    assert not list(tmp_path.iterdir())


def test_contact_sheets_hold_all_pictures_in_rows():
    pictures = [np.full((31, 41, 3), 10 * n, np.uint8) for n in range(7)]
    sheet = movies.contact_sheet(pictures, columns=3, width=20, gap=2)
    assert sheet.shape == (3 * (15 + 2) - 2, 3 * (20 + 2) - 2, 3)
    assert [int(sheet[17 * (n // 3), 22 * (n % 3), 0]) for n in range(7)] == [10 * n for n in range(7)]
    assert (sheet[-1, -1] == 255).all()
    with pytest.raises(ValueError, match="no pictures"):
        movies.contact_sheet([])


@pytest.mark.parametrize("width", [16, 48, 62, 64])
def test_no_encoder_writes_beyond_its_memory(tmp_path, width):
    """x265 does where frames are narrow, and glibc's checks see it when the encoder is closed."""
    environment = os.environ | {
        "LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    if subprocess.run([sys.executable, "-c", "pass"], env=environment, capture_output=True).stderr:
        pytest.skip("glibc's checks of memory are not there")
    code = f"""
import numpy as np
from sstlib import movies
for codec in ("hevc", "h264", "vp9"):
    frames = np.random.default_rng(0).integers(0, 256, (8, 80, {width}, 3), np.uint8)
    with movies.VideoWriter("clip" + movies.CODECS[codec].suffix, movies.Timing(), codec) as writer:
        for frame in frames:
            writer.write(frame)
    print(codec)
"""
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.split() == ["hevc", "h264", "vp9"], ended.stderr[-300:]


@pytest.mark.parametrize("progress, terminal, silent", [
    (True, True, False),
    (False, True, True),
    (True, False, True),
])
def test_reading_a_long_file_shows_how_far_it_is(tmp_path, monkeypatch, progress, terminal, silent):
    movies.write_video(tmp_path / "clip.mp4", clip(12))
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(reading, "SHORT", 0)
    assert len(movies.open_clip(tmp_path / "clip.mp4", progress=progress)) == 12
    assert (screen.getvalue() == "") == silent
    assert silent or "reading clip.mp4" in screen.getvalue() and "/12 " in screen.getvalue()
