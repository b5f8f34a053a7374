"""`sst segment --overlay` of videos with sound: frames are shown when they are in the source, and the sound is the
source's.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from test_movies_files import MATRICES, turned, with_sound

from sstlib.cli import main
from sstlib.movies import VideoSequence
from sstlib.video import write_mask

SHAPE, COUNT = (48, 80), 50
UNEVEN = np.cumsum([0, *np.random.default_rng(0).choice([33, 40, 67], COUNT - 1)])  # milliseconds
SOURCES = {  # suffix, sound's codec, rate and layout, frames' milliseconds, how it is turned, codec of the overlay
    "one rate": (".mp4", "aac", 48_000, "stereo", None, None, "h264"),
    "no one rate": (".mp4", "aac", 44_100, "mono", UNEVEN, None, "h264"),
    "a phone held upright": (".mov", "aac", 48_000, "stereo", None, "a quarter to the right", "hevc"),
    "upright at no one rate": (".mp4", "aac", 44_100, "stereo", UNEVEN, "upside down", "h264"),
    "Opus": (".mkv", "libopus", 48_000, "stereo", None, None, "vp9"),
}


def heard(path):
    """Codec, rate, layout, seconds from the first frame on and samples of the sound."""
    with av.open(str(path)) as container:
        start = min(frame.pts * frame.time_base for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        samples = np.concatenate([frame.to_ndarray() for frame in frames], 1)
        begins = float(frames[0].pts * frames[0].time_base - start)
        return stream.codec.canonical_name, stream.rate, stream.layout.name, begins, samples


def overlaid(video, tiny_weights, *options):
    """The command's overlay of a video, of which the whole first frame but its border is one object."""
    height, width = VideoSequence(video).frame(0).shape[:2]
    labels = np.zeros((height, width), np.uint8)
    labels[4:-4, 4:-4] = 1
    write_mask("mask.png", labels)
    status = main(["segment", str(video), "--mask", "mask.png", "--out", "out", "--weights", str(tiny_weights),
                   "--threads", "1", "--overlay", *options])
    return status, next(Path("out").glob("overlay.*"), None)


@pytest.mark.parametrize("name", SOURCES)
def test_times_and_sound_of_the_overlay_are_the_sources(tmp_path, monkeypatch, tiny_weights, name):
    monkeypatch.chdir(tmp_path)
    suffix, sound, rate, layout, stamps, angle, codec = SOURCES[name]
    video = with_sound(Path(f"clip{suffix}"), "libx264", sound, rate, layout, stamps=stamps)
    if angle:
        turned(video, MATRICES[angle][0])
    status, overlay = overlaid(video, tiny_weights, "--codec", codec)
    assert status == 0
    source, written = VideoSequence(video), VideoSequence(overlay)
    assert len(written) == COUNT and written.frame(0).shape == source.frame(0).shape
    assert np.abs(np.float64(written.times) - np.float64(source.times)).max() < 1e-3 and (
        len(set(np.diff(np.float64(source.times)).round(4))) > 1) == (stamps is not None)
    assert stamps is not None or written.rate == source.rate == 25
    (*before, begins, samples), (*after, begin, copied) = heard(video), heard(overlay)
    assert after == before and abs(begin - begins) < 1e-3
    np.testing.assert_array_equal(copied, samples)


def test_the_sound_of_some_frames_is_cut_to_them(tmp_path, monkeypatch, tiny_weights):
    monkeypatch.chdir(tmp_path)
    video = with_sound(Path("clip.mp4"), "libx264", "aac", 48_000, "stereo")
    status, overlay = overlaid(video, tiny_weights, "--start", "10", "--stop", "30")
    assert status == 0 and len(VideoSequence(overlay)) == 20
    codec, rate, layout, begins, samples = heard(overlay)
    assert (codec, rate, layout, begins) == ("aac", 48_000, "stereo", 0)
    assert abs(samples.shape[1] / rate - Fraction(20, 25)) < 0.03  # AAC comes in blocks of 1,024 samples
    loud = np.flatnonzero(np.abs(samples[0]) > 0.1)
    assert abs(loud[0] / rate - 0.1) < 0.005  # the tone begins half a second after frame 0
