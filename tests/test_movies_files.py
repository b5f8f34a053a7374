"""Video files that people have: frames are what the decoder emits, in whichever order they are asked for; sound is
kept.
"""

import ctypes
import os
import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from sstlib import movies
from sstlib.movies import reading

HEIGHT, WIDTH = 48, 80
KINDS = {  # suffix, codec, pixel format, options of the encoder
    "H.264 with B-frames": (".mp4", "libx264", "yuv420p", {"bf": "3", "g": "12"}),
    "H.264 open GOP": (".mp4", "libx264", "yuv420p", {"bf": "3", "g": "14", "x264-params": "open-gop=1:scenecut=0"}),
    "H.264 refreshed bit by bit": (".mkv", "libx264", "yuv420p", {"x264-params": "intra-refresh=1:keyint=12"}),
    "H.264 in 10 bits": (".mkv", "libx264", "yuv420p10le", {"g": "12"}),
    "H.265 open GOP": (".mp4", "libx265", "yuv420p", {
        "x265-params": "open-gop=1:keyint=15:bframes=4:scenecut=0:log-level=none:pools=1"}),
    "MPEG-2 program stream": (".mpg", "mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
    "MPEG-2 transport stream": (".ts", "mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
    "H.264 transport stream": (".ts", "libx264", "yuv420p", {"bf": "2", "g": "12"}),
    "Motion JPEG": (".avi", "mjpeg", "yuvj420p", {}),
    "MPEG-4 in AVI": (".avi", "mpeg4", "yuv420p", {"g": "12"}),
    "VP9": (".webm", "libvpx-vp9", "yuv420p", {"g": "12", "lag-in-frames": "8", "auto-alt-ref": "1",
                                               "deadline": "realtime", "cpu-used": "8"}),
    "GIF": (".gif", "gif", "rgb8", {}),
    "APNG": (".apng", "apng", "rgb24", {}),
    "raw H.264": (".h264", "libx264", "yuv420p", {"bf": "2", "g": "12"}),
    "raw H.265": (".hevc", "libx265", "yuv420p", {"x265-params": "keyint=15:bframes=3:log-level=none:pools=1"}),
    "Y4M": (".y4m", "rawvideo", "yuv420p", {}),
    "Motion JPEG alone": (".mjpeg", "mjpeg", "yuvj420p", {}),
    "MXF": (".mxf", "mpeg2video", "yuv420p", {"g": "12"}),
}
COUNT = 50


def pictures(count=COUNT):
    """Frames of which each says which it is: a bright square goes along over a ramp that brightens."""
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(count):
        frames[t] = np.linspace(0, 100, WIDTH)[None, :, None] + 2 * t
        frames[t, 4 + t % 30:16 + t % 30, t:t + 16] = (230, 60 + 3 * t, 40)
    return frames


def encoded(path, codec="libx264", pixels="yuv420p", options=None, frames=None, rate=25, stamps=None):
    """A video written by PyAV alone; `stamps` are milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, width=WIDTH, height=HEIGHT, pix_fmt=pixels, options=options
                                      or {})
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for t, picture in enumerate(pictures() if frames is None else frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[t], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copied(source, target, first=0, shift=Fraction(0), left_out=()):
    """Packets of a video from number `first` on, copied with their times shifted by seconds, as `-c copy` does."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for n, packet in enumerate(old.demux(old.streams.video[0])):
            if packet.dts is None or n < first or n in left_out:
                continue
            packet.pts += int(shift / packet.time_base)
            packet.dts += int(shift / packet.time_base)
            packet.stream = stream
            new.mux(packet)
    return target


def emitted(path):
    """What the decoder emits from the start, in its order, on one thread."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def check(path, monkeypatch, seed=0):
    """Frames in any order are those in the decoder's; nothing is warned of."""
    expected = emitted(path)
    monkeypatch.setattr(reading, "CACHE_BYTES", 4 * HEIGHT * WIDTH * 3)
    monkeypatch.setattr(reading, "RUN_ON", 5)
    video = movies.VideoSequence(path)
    assert len(video) == len(expected)
    order = [
        *range(len(video)), *range(len(video) - 1, -1, -1),
        *np.random.default_rng(seed).permutation(len(video)).tolist()
    ]
    for t in order:
        np.testing.assert_array_equal(video.frame(t), expected[t], err_msg=f"frame {t}")
        assert len(video._cache) <= 4
    return video


@pytest.mark.parametrize("suffix, codec, pixels, options", KINDS.values(), ids=KINDS)
def test_any_order_gives_the_frames_that_the_decoder_emits(tmp_path, monkeypatch, suffix, codec, pixels, options):
    path = encoded(tmp_path / f"clip{suffix}", codec, pixels, options)
    assert movies.is_movie(path)
    check(path, monkeypatch)


MATRICES = {  # of a track's header, as phones write them, and what a player does
    "upright": ((1, 0, 0, 1), lambda picture: picture),
    "a quarter to the right": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "upside down": ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    "a quarter to the left": ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
}


def turned(path, matrix):
    """Has a player turn the first track of a file."""
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    at = content.index(b"tkhd") + 44
    content[at:at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize("matrix, shown", MATRICES.values(), ids=MATRICES)
def test_a_phone_held_otherwise_gives_upright_frames(tmp_path, matrix, shown):
    path = encoded(tmp_path / "clip.mp4", options={"bf": "3", "g": "12"})
    expected = emitted(path)
    turned(path, matrix)
    video = movies.VideoSequence(path)
    assert video.size == shown(expected[0]).shape[:2]
    for t in (0, 40, 7):
        np.testing.assert_array_equal(video.frame(t), shown(expected[t]))


def test_every_frame_is_where_it_was_filmed(tmp_path):
    video = movies.VideoSequence(encoded(tmp_path / "clip.mp4", options={"bf": "3", "g": "12", "crf": "10"}))
    for t, picture in enumerate(pictures()):
        assert np.abs(video.frame(t).astype(int) - picture).mean() < 6, t


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("cut", [16, 23])
def test_a_trimmed_video_starts_where_it_was_trimmed(tmp_path, monkeypatch, suffix, cut):
    whole = encoded(tmp_path / "whole.mp4", options={"bf": "2", "g": "12"})
    trimmed = copied(whole, tmp_path / f"trim{suffix}", first=12, shift=Fraction(-cut, 25))
    video = check(trimmed, monkeypatch)
    assert len(video) == COUNT - cut
    np.testing.assert_array_equal(video.frame(0), emitted(whole)[cut])


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mpg"])
def test_a_recording_that_begins_within_a_group_starts_at_its_first_whole_frame(tmp_path, monkeypatch, suffix):
    codec = "mpeg2video" if suffix == ".mpg" else "libx264"
    whole = encoded(tmp_path / f"whole{suffix.replace('mkv', 'mp4')}", codec, options={"bf": "2", "g": "12"})
    check(copied(whole, tmp_path / f"late{suffix}", first=5), monkeypatch)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_stream_taken_from_its_middle_gives_what_can_be_decoded(tmp_path, monkeypatch, codec):
    content = encoded(tmp_path / "whole.ts", codec, options={"bf": "2", "g": "12"}).read_bytes()
    start = content.index(b"\x47", len(content) // 3)
    while content[start + 188] != 0x47:
        start = content.index(b"\x47", start + 1)
    (tmp_path / "middle.ts").write_bytes(content[start:])
    video = movies.VideoSequence(tmp_path / "middle.ts")
    assert 12 < len(video) < COUNT - 10
    frames = [video.frame(t).copy() for t in range(len(video))]
    monkeypatch.setattr(reading, "CACHE_BYTES", 1)
    for t in reversed(range(len(video))):
        np.testing.assert_array_equal(video.frame(t), frames[t])


def test_a_jump_goes_to_a_key_frame_and_not_to_the_start(tmp_path, monkeypatch):
    suffix, codec, pixels, options = KINDS["H.264 open GOP"]
    video = movies.VideoSequence(encoded(tmp_path / f"clip{suffix}", codec, pixels, options))
    jumps, emitted_from = [], video._emitted
    monkeypatch.setattr(video, "_emitted", lambda stamp=None: jumps.append(stamp) or emitted_from(stamp))
    for t in (45, 30, 43):
        video._cache.clear()
        video.frame(t)
    assert jumps and None not in jumps


def test_a_video_that_starts_late_is_whole(tmp_path, monkeypatch):
    whole = encoded(tmp_path / "whole.mp4", options={"bf": "2", "g": "12"})
    video = check(copied(whole, tmp_path / "late.mkv", shift=Fraction(5)), monkeypatch)
    assert len(video) == COUNT and video.times[:2] == [0, Fraction(1, 25)]


def test_frames_at_no_constant_rate_keep_their_times(tmp_path, monkeypatch):
    stamps = np.random.default_rng(1).integers(20, 200, COUNT).cumsum().tolist()
    video = check(encoded(tmp_path / "uneven.mp4", stamps=stamps), monkeypatch)
    expected = [Fraction(stamp - stamps[0], 1000) for stamp in stamps]
    assert video.times == expected
    movies.write_video(tmp_path / "written.mp4", (video.frame(t) for t in range(COUNT)), source=video)
    assert [round(time * 1000) for time in movies.VideoSequence(tmp_path / "written.mp4").times
            ] == [time * 1000 for time in expected]


def test_frames_of_two_sizes_are_refused_when_opened(tmp_path):
    first, second = tmp_path / "first.ts", tmp_path / "second.ts"
    encoded(first, frames=pictures(10))
    with av.open(str(second), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=32, pix_fmt="yuv420p")
        for picture in pictures(10):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:32, :64]), format="rgb24")))
        container.mux(stream.encode())
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(ValueError, match="both.ts: from frame 10 on frames are 64x32, those before are 80x48"):
        movies.VideoSequence(both)


def test_decoded_frames_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CACHE_BYTES", 10 * HEIGHT * WIDTH * 3 + 7)
    video = movies.VideoSequence(encoded(tmp_path / "clip.mp4"))
    for t in range(COUNT):
        video.frame(t)
    assert sum(frame.nbytes for frame in video._cache.values()) == 10 * HEIGHT * WIDTH * 3
    monkeypatch.setattr(reading, "CACHE_BYTES", 1)  # 8K: one is always kept
    assert video.frame(3).shape == (HEIGHT, WIDTH, 3) and list(video._cache) == [3]
    assert reading.CACHE_BYTES < 2 ** 30


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_only_a_file_that_ends_early_is_said_to_be_cut_off(tmp_path, suffix):
    whole = encoded(tmp_path / f"whole{suffix}", "mpeg4", options={"g": "12"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(movies.VideoSequence(whole)) == COUNT
    if suffix == ".mp4":
        return  # its index is at its end: test_movies has it refused
    content = whole.read_bytes()
    start = max(content.find(b"movi"), 0)  # of an AVI's frames, before which there may be more than they take
    (tmp_path / f"cut{suffix}").write_bytes(content[:start + (len(content) - start) * 2 // 3])
    with pytest.warns(UserWarning, match="the header tells of 50 frames, .* may be cut off"):
        video = movies.VideoSequence(tmp_path / f"cut{suffix}")
    for t, expected in zip(range(len(video)), emitted(whole)):
        np.testing.assert_array_equal(video.frame(t), expected)


def test_what_cannot_be_decoded_at_all_is_said_in_a_line(tmp_path):
    whole = encoded(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "unknown.mp4").write_bytes(whole.replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match="unknown.mp4: not a video that can be decoded, or damaged"):
        movies.VideoSequence(tmp_path / "unknown.mp4")
    whole = encoded(tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "none.mkv").write_bytes(whole[:whole.index(b"\x1f\x43\xb6\x75") + 12])  # where its first cluster begins
    with pytest.raises(ValueError, match="none.mkv: of 50 frames none is there in full; the file may be cut off"):
        movies.VideoSequence(tmp_path / "none.mkv")


SOUND = {
    "AAC": (".mp4", "libx264", "aac", 48_000, "stereo"), "Opus": (".mkv", "libx264", "libopus", 48_000, "stereo"),
    "PCM": (".mov", "libx264", "pcm_s16le", 44_100, "mono"), "MP3": (".avi", "mpeg4", "mp3", 44_100, "stereo"),
    "in a transport stream": (".ts", "libx264", "aac", 48_000, "stereo"),
    "96 kHz": (".mkv", "libx264", "flac", 96_000, "mono")
}


def with_sound(path, codec, sound, rate, layout, frames=None, stamps=None):
    """Frames at 25 a second or at `stamps`, in milliseconds, COUNT of them if not told, and a tone of which the first
    half second is silent.
    """
    frames = pictures() if frames is None else frames
    time = np.arange(len(frames) * rate // 25) / rate
    tone = np.where(time < 0.5, 0, 0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=frames[0].shape[1], height=frames[0].shape[0],
                                      pix_fmt="yuv420p")
        heard = container.add_stream(sound, rate=rate, layout=layout)
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for t, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = int(stamps[t]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        frame = av.AudioFrame.from_ndarray(np.stack([tone] * (2 if layout == "stereo" else 1)), format="fltp",
                                           layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(heard.encode(frame))
        container.mux(heard.encode())
    return path


def heard(path):
    """Rate, and the sound's first channel from the first frame of the video on."""
    with av.open(str(path)) as container:
        start = min(float(frame.pts * frame.time_base) for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler, samples, first = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate), [], None
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                first = float(piece.pts * piece.time_base) - start if first is None else first
                samples.append(piece.to_ndarray()[0])
    samples = np.concatenate(samples)
    return stream.rate, np.r_[np.zeros(max(0, round(first * stream.rate))),
                              samples][max(0, -round(first * stream.rate)):]


@pytest.mark.parametrize("suffix, codec, sound, rate, layout", SOUND.values(), ids=SOUND)
def test_sound_goes_with_the_frames(tmp_path, suffix, codec, sound, rate, layout):
    source = movies.VideoSequence(with_sound(tmp_path / f"clip{suffix}", codec, sound, rate, layout))
    movies.write_video(tmp_path / "out.mp4", (source.frame(t) for t in range(len(source))), source=source)
    written = movies.VideoSequence(tmp_path / "out.mp4")
    assert len(written) == len(source) and written.times == source.times
    (old, before), (new, after) = heard(source.path), heard(tmp_path / "out.mp4")
    assert new == min(old, 48_000)
    assert abs(len(after) / new - len(before) / old) < 0.03  # AAC comes in blocks of 1,024 samples
    onset = [np.flatnonzero(np.abs(tone) > 0.1)[0] / rate for tone, rate in ((before, old), (after, new))]
    assert abs(onset[0] - onset[1]) < 0.005
    loud = [np.sqrt(np.mean(tone[rate:] ** 2)) for tone, rate in ((before, old), (after, new))]
    assert loud[0] == pytest.approx(loud[1], rel=0.05) and loud[0] > 0.2


def test_a_trimmed_video_keeps_its_sound_in_step(tmp_path):
    whole = with_sound(tmp_path / "whole.mp4", "libx264", "aac", 48_000, "mono")
    with av.open(str(whole)) as old, av.open(str(tmp_path / "trim.mp4"), "w") as new:
        streams = {one.index: new.add_stream_from_template(one) for one in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                shift = int(Fraction(-10, 25) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, streams[
                    packet.stream.index]
                new.mux(packet)
    source = movies.VideoSequence(tmp_path / "trim.mp4")
    assert len(source) == COUNT - 10
    movies.write_video(tmp_path / "out.mp4", (source.frame(t) for t in range(len(source))), source=source)
    rate, tone = heard(tmp_path / "out.mp4")
    assert abs(np.flatnonzero(np.abs(tone) > 0.1)[0] / rate - 0.1) < 0.005


@pytest.mark.parametrize("codec", movies.CODECS)
def test_equal_frames_give_equal_files_whatever_cores_there_are_and_memory_held(tmp_path, codec):
    """glibc fills memory with a byte when it is handed out, so that what is read before it is written shows."""
    source = movies.VideoSequence(with_sound(tmp_path / "clip.mp4", "libx264", "aac", 48_000, "stereo"))
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC))
    cores, fill, written = os.sched_getaffinity(0), getattr(ctypes.CDLL(None), "mallopt", None), []
    for chosen, byte in ((cores, 1), ({min(cores)}, 1), (cores, 85)):
        os.sched_setaffinity(0, chosen)
        try:
            if fill:
                fill(-6, byte)  # M_PERTURB
            with movies.VideoWriter(tmp_path / "out", movies.Timing.of(source), codec, None, codec == "prores") as file:
                for t in range(6):
                    file.write(np.roll(picture, 5 * t, 1)[:240, :320, :4 if codec == "prores" else 3])
        finally:
            os.sched_setaffinity(0, cores)
            if fill:
                fill(-6, 0)
        written.append((tmp_path / "out").read_bytes())
    assert written[0] == written[1] == written[2]


def test_sound_of_an_unknown_kind_is_left_out_and_said(tmp_path):
    whole = with_sound(tmp_path / "whole.mp4", "libx264", "aac", 48_000, "stereo")
    (tmp_path / "apac.mp4").write_bytes(whole.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"zzzz"))
    source = movies.VideoSequence(tmp_path / "apac.mp4")
    with pytest.warns(movies.Incomplete, match="apac.mp4: its sound is of a kind that cannot be decoded"):
        with movies.VideoWriter(tmp_path / "out.mp4", movies.Timing.of(source)) as writer:
            for t in range(len(source)):
                writer.write(source.frame(t))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio and container.streams.video[0].frames == COUNT


@pytest.mark.parametrize("order", [("thumbnail", "film"), ("film", "thumbnail")])
def test_a_thumbnail_beside_the_film_is_not_taken_for_it(tmp_path, order):
    """From a file and from a pipe; what is not read is said."""
    kinds = {"thumbnail": ("mjpeg", "yuvj420p", 64, 36, 1), "film": ("libx264", "yuv420p", 160, 96, 12)}
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        streams = {name: container.add_stream(kinds[name][0], rate=10) for name in order}
        for name, stream in streams.items():
            _, stream.pix_fmt, stream.width, stream.height, _ = kinds[name]
        for name, stream in streams.items():
            _, _, width, height, count = kinds[name]
            black = np.zeros((height, width, 3), np.uint8)
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(black, "rgb24")))
            container.mux(stream.encode())
    place, other = order.index("film"), order.index("thumbnail")
    shown = rf"holds 2 videos, .* is read, stream {place} \(160x96\), and not {other} \(64x36\)"
    with pytest.warns(movies.Incomplete, match=rf"clip.mkv: {shown}"):
        source = movies.VideoSequence(tmp_path / "clip.mkv")
    assert (len(source), source.size) == (12, (96, 160))
    with open(tmp_path / "clip.mkv", "rb") as piped, pytest.warns(movies.Incomplete, match=f"standard input: {shown}"):
        assert [frame.shape[:2] for frame in movies.Stream("-", piped)] == [(96, 160)] * 12


@pytest.mark.parametrize("suffix, codec", [(".mkv", "mpeg2video"), (".mp4", "libx264"), (".avi", "mpeg4")])
@pytest.mark.parametrize("interlaced", [True, False])
def test_frames_of_two_moments_are_said_to_be_interlaced(tmp_path, suffix, codec, interlaced):
    """From a file and from a pipe, once, with what to do; other videos are read without a word."""
    path = encoded(tmp_path / f"clip{suffix}", codec, options={"flags": "+ildct+ilme"} if interlaced else None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(movies.VideoSequence(path)) == COUNT
        if suffix == ".mkv":
            with open(path, "rb") as piped:
                assert len(list(movies.Stream("-", piped))) == COUNT
    names = [str(path), "standard input"][:1 + (suffix == ".mkv")] if interlaced else []
    assert [str(one.message).split(" is marked as interlaced")[0] for one in caught] == names
    assert all("ffmpeg -i FILE -vf bwdif NEW" in str(one.message) for one in caught)


@pytest.mark.parametrize("suffix, codec", [(".mov", "png"), (".apng", "apng")])
def test_pictures_that_are_stored_in_passes_are_whole_moments(tmp_path, suffix, codec):
    """PNG's interlacing (Adam7) is an order of pixels in the file, which decoders mark as they mark fields."""
    path = encoded(tmp_path / f"clip{suffix}", codec, "rgb24", {"flags": "+ildct"})
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame, "or else this test shows nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(movies.VideoSequence(path)) == COUNT


ALPHA = {"BGRA": (".mkv", "ffv1", "bgra"), "ProRes 4444": (".mkv", "prores_ks", "yuva444p10le"),
         "in a channel that VP9's decoder leaves out": (".webm", "libvpx-vp9", "yuva420p")}


@pytest.mark.parametrize("suffix, codec, pixels", ALPHA.values(), ids=ALPHA)
def test_transparent_videos_are_refused_as_transparent_pictures_are(tmp_path, suffix, codec, pixels):
    """Beneath what is transparent a file may hold anything, which no player shows."""
    path = tmp_path / f"clip{suffix}"
    layers = [np.dstack([picture, picture[..., 0]]) for picture in pictures(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=WIDTH, height=HEIGHT, pix_fmt=pixels)
        for layer in layers:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(layer, format="rgba")))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=f"clip{suffix}: the video has transparency"):
        movies.VideoSequence(path)
    with open(path, "rb") as piped, pytest.raises(ValueError, match="standard input: the video has transparency"):
        list(movies.Stream("-", piped))


def test_what_could_be_transparent_and_is_not_is_read(tmp_path):
    frames = pictures(4)
    clip = movies.VideoSequence(encoded(tmp_path / "clip.mov", "png", "rgba", frames=frames))
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(clip.frame(t), frame)


@pytest.mark.parametrize("matrix, aspect", [((1, 0, 0, 1), Fraction(4, 3)), ((0, 1, -1, 0), Fraction(3, 4))])
def test_pixels_that_are_not_square_stay_so(tmp_path, matrix, aspect):
    """Also of a film that a player turns, whose pixels lie on their side."""
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for picture in pictures(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    turned(path, matrix)
    source = movies.VideoSequence(path)
    movies.write_video(tmp_path / "copy.mp4", map(source.frame, range(4)), source=source)
    assert source.aspect == movies.VideoSequence(tmp_path / "copy.mp4").aspect == aspect
    with open(path, "rb") as piped:
        stream = movies.Stream("-", piped)
        next(iter(stream))
        assert stream.aspect == aspect


@pytest.mark.parametrize("name", ["frame.png", "scan.TIFF", "moving.webp", "phone.avif"])
def test_a_picture_in_the_place_of_a_video_is_called_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(ValueError, match=f"{name}: a picture by its name; give the folder"):
        movies.open_clip(tmp_path / name)
