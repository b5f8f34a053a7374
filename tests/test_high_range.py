"""Videos of high dynamic range (PQ, HLG), as phones film them: their frames are what an ordinary screen shows."""

from fractions import Fraction

import numpy as np
import pytest

from sstlib import movies

av = pytest.importorskip("av")
COLORS = np.array([(255, 255, 255), (128, 128, 128), (30, 30, 30), (200, 60, 30), (30, 160, 60), (40, 60, 200),
                   (240, 220, 60), (0, 0, 0)], np.uint8)
PATCH, HEIGHT = 32, 48
WHITE = 203  # candela a square meter of the white of ordinary video in one of high range (ITU-R BT.2408)
TO_2020 = [[.6274, .3293, .0433], [.0691, .9195, .0114], [.0164, .0880, .8956]]  # linear, from BT.709 (BT.2087)
LUMINANCE = [.2627, .6780, .0593]


def light(colors):
    """Of sRGB colors, in candela a square meter of the primaries of BT.2020."""
    share = colors / 255
    return WHITE * np.where(share <= .04045, share / 12.92, ((share + .055) / 1.055)**2.4) @ np.transpose(TO_2020)


def pq(shown):
    power = (shown / 10_000)**.1593017578125
    return ((.8359375 + 18.8515625 * power) / (1 + 18.6875 * power))**78.84375


def hlg(shown):
    """For a screen of 1,000 candela a square meter, whose gamma of 1.2 is taken back (BT.2100)."""
    luminance = shown @ np.array(LUMINANCE)[:, None] / 1000
    scene = shown / 1000 * np.maximum(luminance, 1e-9)**(1 / 1.2 - 1)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), .17883277 * np.log(np.maximum(12 * scene - .28466892, 1e-9))
                    + .55991073)


def ten_bits(signal):
    """Planes of Y, Cb and Cr in the limited range."""
    brightness = signal @ np.array(LUMINANCE)
    blue, red = (signal[..., 2] - brightness) / 1.8814, (signal[..., 0] - brightness) / 1.4746
    return [np.round(part).astype(np.uint16) for part in (64 + 876 * brightness, 512 + 896 * blue, 512 + 896 * red)]


def film(path, colors, curve, number):
    """Stripes of colors, lossless in 10 bits and labeled as BT.2020 with the curve of this number (H.273)."""
    planes = ten_bits(curve(light(np.repeat(colors[None].repeat(HEIGHT, 0), PATCH, axis=1))))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = PATCH * len(colors), HEIGHT, "yuv444p10le"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 9, 1, 9, number
        for t in range(3):
            frame = av.VideoFrame(stream.width, stream.height, stream.pix_fmt)
            for plane, values in zip(frame.planes, planes):
                padded = np.zeros((HEIGHT, plane.line_size // 2), np.uint16)
                padded[:, :values.shape[1]] = values
                plane.update(padded.tobytes())
            frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, number
            frame.pts, frame.time_base = t, Fraction(1, 5)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def stripes(frame):
    return frame[HEIGHT // 2, PATCH // 2::PATCH].astype(int)


@pytest.mark.parametrize("curve, number", [(pq, 16), (hlg, 18)])
def test_frames_of_high_range_have_the_colors_of_an_ordinary_screen(curve, number, tmp_path):
    clip = movies.open_clip(film(tmp_path / "phone.mkv", COLORS, curve, number))
    apart = np.abs(stripes(clip.frame(0)) - COLORS)
    assert apart[:3].max() <= 3 and apart[-1].max() <= 3, "grays are exact to a rounding of ten bits"
    assert apart.max() <= 16, "and colors to the grid of FFmpeg's table"
    with open(clip.path, "rb") as piped:
        for t, frame in enumerate(movies.Stream("-", piped)):
            assert (frame == clip.frame(t)).all(), "a pipe gives what the file gives"


def test_what_is_brighter_than_white_is_white(tmp_path):
    bright = film(tmp_path / "sun.mkv", COLORS[:2], lambda shown: pq(4 * shown), 16)
    assert stripes(movies.open_clip(bright).frame(1))[0].min() == 255


def test_frames_of_the_ordinary_range_stay_as_they_are(tmp_path):
    """The same file labeled as BT.2020 of 10 bits is not touched: its curve is nearly that of BT.709."""
    path = film(tmp_path / "wide.mkv", COLORS, lambda shown: shown / WHITE, 14)
    with av.open(str(path)) as file:
        plain = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert (movies.open_clip(path).frame(0) == plain).all()
