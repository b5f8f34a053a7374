"""Damaged pictures, videos, lists and archives: each is read right or refused in one sentence; none hangs, none
leaves a part of a result.
"""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from sstlib import movies, video
from sstlib.cli import main
from sstlib.datasets import fetching, open_dataset

pytestmark = pytest.mark.slow

SHAPE = (40, 56)
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[5:20, 8:30], LABELS[25:35, 20:50] = 1, 2
FRAME = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), np.uint8)


def damaged(content, rng):
    """Bytes of a file that was cut off, of which bits are flipped, a block is zeros or noise, is missing or is there
    twice.
    """
    kind, at = rng.integers(6), int(rng.integers(len(content)))
    length = int(rng.integers(1, 60))
    if kind == 0:
        return content[:at]
    spoilt = bytearray(content)
    if kind == 1:
        for place in rng.integers(0, len(content), rng.integers(1, 9)):
            spoilt[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        spoilt[at:at + length] = bytes(len(spoilt[at:at + length]))
    elif kind == 3:
        spoilt[at:at + length] = rng.bytes(len(spoilt[at:at + length]))
    elif kind == 4:
        del spoilt[at:at + length]
    else:
        spoilt[at:at] = spoilt[at:at + length]
    return bytes(spoilt)


def as_file(image, **options):
    content = io.BytesIO()
    image.save(content, **options)
    return content.getvalue()


def paletted():
    return video.mask_image(LABELS)


MASKS = {
    "palette.png": lambda: as_file(paletted(), format="PNG"),
    "gray.png": lambda: as_file(Image.fromarray(LABELS), format="PNG"),
    "bit.png": lambda: as_file(Image.fromarray(LABELS > 0), format="PNG"),
    "color.png": lambda: as_file(paletted().convert("RGB"), format="PNG"),
    "deep.tif": lambda: as_file(Image.fromarray(LABELS.astype(np.uint16)), format="TIFF", compression="tiff_lzw"),
    "mask.gif": lambda: as_file(paletted(), format="GIF"),
    "mask.bmp": lambda: as_file(Image.fromarray(LABELS), format="BMP"),
    "lossless.webp": lambda: as_file(paletted().convert("RGB"), format="WEBP", lossless=True),
}
CHECKED = ("png",)  # kinds whose pixels have a checksum: what is read from them is right


@pytest.mark.parametrize("name", MASKS)
def test_damaged_masks_are_read_right_or_refused(tmp_path, name):
    rng, whole = np.random.default_rng(len(name)), MASKS[name]()
    expected = video.read_mask(_written(tmp_path / name, whole))
    refused = 0
    for _ in range(60):
        path = _written(tmp_path / name, damaged(whole, rng))
        try:
            labels = video.read_mask(path)
        except ValueError as error:
            assert name in str(error) and "\n" not in str(error)
            refused += 1
            continue
        if name.endswith(CHECKED) and labels.shape == expected.shape and _pixels_whole(path.read_bytes(), whole):
            np.testing.assert_array_equal(labels > 0, expected > 0)
    assert refused > 10


def _pixels_whole(content, whole):
    """Whether header, palette and pixels of a PNG are those of the whole one."""
    chunks = [[part for part in (b"IHDR", b"IDAT") if data.count(part) == 1] for data in (content, whole)]
    start = whole.index(b"IHDR")
    return chunks[0] == chunks[1] and content[:start + 21] == whole[:start + 21]


def _written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix, options", [("png", {}), ("jpg", {"quality": 90}),
                                             ("jpg", {"quality": 90, "progressive": True}), ("webp", {}), ("tif", {}),
                                             ("bmp", {}), ("ppm", {})])
def test_damaged_frames_are_read_or_refused(tmp_path, suffix, options):
    path, rng = tmp_path / f"f.{suffix}", np.random.default_rng(len(suffix))
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(FRAME).save(path, **options, **({"exif": exif} if suffix in ("png", "jpg", "webp") else {}))
    whole = path.read_bytes()
    for _ in range(40):
        _written(path, damaged(whole, rng))
        try:
            frame = video.read_frame(path)
        except ValueError as error:
            assert path.name in str(error) and "\n" not in str(error)
        else:
            assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4"),
                                           (".ts", "mpeg2video"), (".webm", "libvpx-vp9")])
def test_damaged_videos_give_what_decodes_again_or_are_refused(tmp_path, suffix, codec):
    import av

    path, rng = tmp_path / f"clip{suffix}", np.random.default_rng(len(codec))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=64, height=48, pix_fmt="yuv420p", options={"g": "6"})
        for t in range(24):
            picture = np.roll(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3), 3 * t, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    whole = path.read_bytes()
    for _ in range(12):
        _written(path, damaged(whole, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "may be cut off" is right here
            try:
                clip = movies.VideoSequence(path)
            except ValueError as error:
                assert path.name in str(error) and "\n" not in str(error)
                continue
        forward = [clip.frame(t).copy() for t in range(len(clip))]
        again = movies.VideoSequence.__new__(movies.VideoSequence)
        again.__dict__.update(clip.__dict__, _cache=type(clip._cache)(), _decoded=iter(()))
        for t in reversed(range(len(clip))):
            np.testing.assert_array_equal(again.frame(t), forward[t])


def youtube(root):
    names = ["00000", "00005", "00010"]
    for name in names:
        for part, picture in (("JPEGImages", Image.fromarray(FRAME)), ("Annotations", paletted())):
            (root / "valid" / part / "0a").mkdir(parents=True, exist_ok=True)
            picture.save(root / "valid" / part / "0a" / f"{name}.{'jpg' if part == 'JPEGImages' else 'png'}")
    meta = {
        "videos": {
            "0a": {
                "objects": {"1": {"category": "dog", "frames": names}, "2": {"category": "cat", "frames": names[1:]}}
            }
        }
    }
    (root / "valid" / "meta.json").write_text(json.dumps(meta))
    return root / "valid" / "meta.json", meta


VALUES = [
    None, True, -1, 0, 300, 1e99, "", "..", "a/b", "\0", "00000", [], [None], [1], [["00000"]], {}, {"frames": 5},
    {"": 0}
]


def places(value, path=()):
    """Every place in nested JSON, as a path of keys."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def test_lists_of_youtube_with_any_value_anywhere_are_refused_or_read(tmp_path):
    path, meta = youtube(tmp_path)
    rng = np.random.default_rng(0)
    texts = ["", "[]", "null", "5", "{", '{"videos": {}}', "[" * 100_000, '{"videos": NaN}']
    for place in places(meta):
        for value in rng.choice(len(VALUES), 5, replace=False):
            changed = json.loads(json.dumps(meta))
            if not place:
                changed = VALUES[value]
            else:
                inner = changed
                for key in place[:-1]:
                    inner = inner[key]
                inner[place[-1]] = VALUES[value]
            texts.append(json.dumps(changed))
    for text in texts:
        path.write_text(text)
        try:
            for clip in open_dataset("youtube2019", "valid", tmp_path):
                assert set(clip.scored) <= set(clip.frame_names) and all(1 <= n <= 254 for n in clip.starts)
        except (ValueError, FileNotFoundError) as error:
            assert "\n" not in str(error)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="meta.json"):
        open_dataset("youtube2019", "valid", tmp_path)


def test_damaged_archives_leave_nothing(tmp_path):
    rng, content = np.random.default_rng(3), io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"DAVIS/JPEGImages/480p/bear/{n:05d}.jpg", FRAME.tobytes()[:2000])
    whole = content.getvalue()
    for n in range(80):
        place = tmp_path / str(n)
        place.mkdir()
        path = _written(place / "data.zip", damaged(whole, rng))
        try:
            count = fetching.unpack(path, place / "out", 1 << 20)
        except ValueError as error:
            assert "data.zip" in str(error) and "\n" not in str(error)
            assert [entry.name for entry in place.iterdir()] == ["data.zip"]
        else:
            files = [file for file in (place / "out").rglob("*") if file.is_file()]
            assert count == len(files) and all(file.read_bytes() == FRAME.tobytes()[:2000] for file in files)


def member(name, content=b"1", compression=zipfile.ZIP_STORED):
    return zipfile.ZipInfo(name), content, compression


@pytest.mark.parametrize("members, words", [
    ([member("a.txt"), member("a.txt", b"2")], "twice"),
    ([member("a.txt"), member("./a.txt", b"2")], "twice"),
    ([member(".")], "no name"),
    ([member("/etc/passwd")], "would leave"),
    ([member("a/../../b")], "would leave"),
    ([member("a"), member("a/b")], "not a whole zip"),
    ([member("a/b"), member("a")], "not a whole zip"),
    ([member("zeros", bytes(3 << 20), zipfile.ZIP_DEFLATED)], "holds more than"),
    ([member("zeros", bytes(3 << 20), zipfile.ZIP_LZMA)], "holds more than"),
])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_do_harm_are_refused_whole(tmp_path, members, words):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for info, content, compression in members:
            archive.writestr(info, content, compress_type=compression)
    with pytest.raises(ValueError, match=f"bad.zip: .*{words}"):
        fetching.unpack(tmp_path / "bad.zip", tmp_path / "out", 1 << 20)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.zip"]


@pytest.mark.parametrize("kind", ["annotations", "predictions"])
def test_a_damaged_mask_in_an_evaluation_gives_no_wrong_number(tmp_path, kind, capsys):
    rng, whole = np.random.default_rng(5), MASKS["gray.png"]()
    for side in ("annotations", "predictions"):
        (tmp_path / side / "clip").mkdir(parents=True)
        for t in range(5):
            _written(tmp_path / side / "clip" / f"{t:05d}.png", whole)
    for n in range(25):
        _written(tmp_path / kind / "clip" / "00002.png", damaged(whole, rng))
        record = tmp_path / f"{n}.json"
        status = main([
            "evaluate",
            str(tmp_path / "predictions"),
            str(tmp_path / "annotations"), "--processes", "1", "--json",
            str(record)
        ])
        message = capsys.readouterr()
        if status:
            assert status == 2 and message.err.count("\n") == 1 and not record.exists()
        else:
            assert json.loads(record.read_text())["global"]["J"]["mean"] == 1.0
