"""What masks are exported to, read back by the libraries that it is for: as they were, or as near as is said."""

import contextlib
import io
import json
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sstlib import movies, sessions, video
from sstlib.inference import Prediction
from sstlib.movies import Timing
from sstlib.sessions import exports, films, matting
from sstlib.sessions.outlines import TOLERANCE, outlines, polygon, simplified
from sstlib.sessions.runlength import encoded
from sstlib.video import overlay

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
HEIGHT, WIDTH, COUNT = 45, 70, 6
NAMES = {1: "dog 1", 4: "dog 2", 9: "cat"}


def rle(mask):
    return {"size": list(mask.shape), "counts": encoded(mask)}


def masks_of_all_kinds():
    rng = np.random.default_rng(0)
    empty = np.zeros((HEIGHT, WIDTH), bool)
    first, ring, y, x = empty.copy(), empty.copy(), *np.mgrid[:HEIGHT, :WIDTH]
    first[0, 0] = True
    ring[3:40, 5:60] = True
    ring[10:30, 20:50] = False
    ring[12:15, 25:30] = True
    disk = (y - 20) ** 2 + (x - 33) ** 2 < 18 ** 2
    return {"empty": empty, "full": ~empty, "first pixel": first, "last pixel": first[::-1, ::-1],
            "ring and island": ring, "disk": disk, "two parts": disk & (abs(x - 33) > 3),
            "noise": rng.random((HEIGHT, WIDTH)) < 0.5, "checkers": (y + x) % 2 == 0, "one row": disk[20:21],
            "one column": disk[:, 33:34]}


KINDS = masks_of_all_kinds()


@pytest.mark.parametrize("mask", KINDS.values(), ids=KINDS)
def test_run_lengths_are_those_of_pycocotools(mask):
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encoded(mask) == expected["counts"].decode()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2 ** 32 - 1), st.floats(0, 1))
def test_run_lengths_of_any_mask_come_back(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    np.testing.assert_array_equal(coco_mask.decode(rle(mask)), mask)


def filled(rings, shape):
    """What closed outlines enclose an odd number of times, by pixel centers: one edge of one pixel row at a time."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in rings:
        for (x, y), (following, end) in zip(ring, np.roll(ring, -1, 0)):
            for row in range(min(y, end), max(y, end)):
                at = x + (row + 0.5 - y) * (following - x) / (end - y)
                crossings[row, int(np.ceil(at - 0.5))] += 1
    return crossings.cumsum(1)[:, :-1] % 2 == 1


@pytest.mark.parametrize("mask", KINDS.values(), ids=KINDS)
def test_outlines_enclose_a_mask_to_the_pixel(mask):
    rings = outlines(mask)
    np.testing.assert_array_equal(filled(rings, mask.shape), mask)
    turned = [np.concatenate([ring, ring[:2]]) for ring in rings]
    assert all((np.abs(np.diff(ring, axis=0)).min(1) == 0).all() for ring in turned), "along the edges of pixels"
    shoelace = sum((r[:-1, 0] * r[1:, 1] - r[1:, 0] * r[:-1, 1]).sum() / 2 for r in ([*ring, ring[0]] for ring in rings)
                   for r in [np.array(r)])
    assert shoelace == mask.sum(), "holes turn the other way"


@pytest.mark.parametrize("mask", [KINDS["disk"], KINDS["ring and island"], KINDS["two parts"]])
def test_a_polygon_is_the_mask_within_the_tolerance(mask):
    """Filled by pycocotools. What differs is at the edge: another pixel of the other side is beside it."""
    corners = polygon(mask)
    [text] = coco_mask.frPyObjects([corners.ravel().astype(float).tolist()], *mask.shape)
    result = coco_mask.decode(text).astype(bool)
    around = np.pad(mask, 1, mode="edge")
    neighbors = np.stack([around[1 + dy:1 + dy + mask.shape[0], 1 + dx:1 + dx + mask.shape[1]]
                          for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    edge = neighbors.any(0) & ~neighbors.all(0)
    assert not ((result != mask) & ~edge).any()
    assert (result & mask).sum() / (result | mask).sum() > 0.95
    assert len(corners) < sum(len(ring) for ring in outlines(mask)) or len(corners) < 30


@pytest.mark.parametrize("mask", KINDS.values(), ids=KINDS)
def test_an_outline_goes_around_each_part_and_each_hole(mask):
    """Pixels that touch at a corner alone are two parts, and what is around them is one."""
    opencv = pytest.importorskip("cv2", reason="counts the parts")
    rings = [np.concatenate([ring, ring[:1]]) for ring in outlines(mask)]
    areas = [(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum() for ring in rings]
    parts = opencv.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    beside = opencv.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=8)[0] - 1
    assert (sum(area > 0 for area in areas), sum(area < 0 for area in areas)) == (parts, beside - 1)


SPIKE = np.array([(0, 0), *((10 * n, n + 8 * (n % 2)) for n in range(1, 13)), (120, 12), (-30, -3)])  # past its start


@pytest.mark.parametrize("ring", [*outlines(KINDS["disk"]), SPIKE], ids=["disk", "spike"])
def test_no_corner_that_is_left_out_is_farther_than_the_tolerance(ring):
    short = simplified(ring)
    assert 8 <= len(short) < max(len(ring) / 2, 16)
    ends = np.roll(short, -1, 0)
    for corner in ring:
        along = ends - short
        share = np.clip(((corner - short) * along).sum(1) / (along ** 2).sum(1), 0, 1)
        assert np.linalg.norm(corner - short - share[:, None] * along, axis=1).min() <= TOLERANCE + 1e-9


def clip():
    """Frames, labels of objects 1, 4 and 9, of which 9 shows from frame 2 on and 4 leaves in the last."""
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:HEIGHT, :WIDTH]
    frames = np.stack([np.full((HEIGHT, WIDTH, 3), 30 + 20 * t) for t in range(COUNT)]).astype(np.uint8)
    frames[:, 8:20, 10:40] = rng.integers(0, 256, 3)
    labels = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    for t in range(COUNT):
        labels[t][(y - 14) ** 2 + (x - 15 - 3 * t) ** 2 < 90] = 1
        if t < COUNT - 1:
            labels[t, 25:40, 40 + t:55 + t] = 4
        if t > 1:
            labels[t, 30:35, 44:48] = 9
    return frames, labels


FRAMES, LABELS = clip()
FRAME_NAMES = [f"{t:05d}" for t in range(COUNT)]


def prediction(t):
    """One whose probabilities agree with its labels."""
    ids = (0, 1, 4, 9)
    logits = np.stack([(LABELS[t] == n) * 2.0 for n in ids]) + np.random.default_rng(t).random((4, HEIGHT, WIDTH))
    share = np.exp(logits) / np.exp(logits).sum(0)
    return Prediction(LABELS[t], share.astype(np.float32), ids, {}, {}, {})


def shot(**changes):
    given = dict(name="walk", frame_names=FRAME_NAMES, file_names=[f"{name}.jpg" for name in FRAME_NAMES], names=NAMES,
                 size=(HEIGHT, WIDTH), ids={1, 4, 9}, timing=Timing(Fraction(25, 2)))
    return exports.Shot(**(given | changes))


@pytest.fixture
def made(tmp_path):
    """Makes one product of the clip and gives the folder, which then holds nothing else."""
    def make(name, **changes):
        product = exports.FORMATS[name](shot(**changes), tmp_path)
        product.check(product.path)
        for t in range(COUNT):
            if product.soft == "all":
                product.take(t, prediction(t))
            else:
                product.add(t, FRAMES[t], LABELS[t], exports.alpha_of(prediction(t)) if product.soft else None)
        product.close()
        assert [path.name for path in tmp_path.iterdir()] == [product.where(product.shot.codec)]
        return product.path
    return make


def test_coco_is_read_by_pycocotools(made):
    path = made("coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [f"{name}.jpg" for name in FRAME_NAMES]
    assert {kind["id"]: kind["name"] for kind in coco.loadCats(coco.getCatIds())} == {1: "cat", 2: "dog"}
    for t in range(COUNT):
        result = np.zeros((HEIGHT, WIDTH), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[t + 1])):
            mask, identity = coco.annToMask(annotation), annotation["track_id"]
            assert annotation["area"] == mask.sum() == coco_mask.area(coco.annToRLE(annotation))
            assert annotation["bbox"] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()
            assert annotation["category_id"] == {1: 2, 4: 2, 9: 1}[identity]
            result[mask > 0] = identity
        np.testing.assert_array_equal(result, LABELS[t])
    content = json.loads(path.read_text())
    assert content["videos"] == [{"id": 1, "name": "walk", "width": WIDTH, "height": HEIGHT, "length": COUNT,
                                  "fps": 12.5}]
    assert [(track["id"], track["name"]) for track in content["tracks"]] == sorted(NAMES.items())


def test_mots_is_read_by_pycocotools(made):
    result = np.zeros_like(LABELS)
    for line in made("mots").read_text().splitlines():
        t, track, kind, height, width, counts = line.split(" ")
        assert int(track) // 1000 == int(kind) == {1: 2, 4: 2, 9: 1}[int(track) % 1000]
        result[int(t)][coco_mask.decode({"size": [int(height), int(width)], "counts": counts}) > 0] = int(track) % 1000
    np.testing.assert_array_equal(result, LABELS)


def test_yolo_is_read_by_its_rule(made):
    """A class and corners between 0 and 1 a line; corners filled by pycocotools; every image has its labels."""
    folder = made("yolo")
    described = yaml.safe_load((folder / "data.yaml").read_text())
    assert described["names"] == {0: "cat", 1: "dog"} and "path" not in described, "or it is sought elsewhere"
    images = sorted((folder / described["train"]).iterdir())
    assert [image.name for image in images] == [f"{name}.jpg" for name in FRAME_NAMES]
    for t, image in enumerate(images):
        assert np.abs(np.asarray(Image.open(image)).astype(int) - FRAMES[t]).mean() < 4
        lines = (folder / "labels" / "train" / image.name).with_suffix(".txt").read_text().splitlines()
        assert len(lines) == len(np.unique(LABELS[t])) - 1
        for identity, line in zip(np.unique(LABELS[t])[1:].tolist(), lines):
            kind, *corners = line.split()
            assert int(kind) == {1: 1, 4: 1, 9: 0}[identity]
            corners = np.array(corners, float).reshape(-1, 2)
            assert (0 <= corners).all() and (corners <= 1).all()
            [text] = coco_mask.frPyObjects([(corners * (WIDTH, HEIGHT)).ravel().tolist()], HEIGHT, WIDTH)
            result, mask = coco_mask.decode(text) > 0, LABELS[t] == identity
            assert (result & mask).sum() / (result | mask).sum() > 0.94


def test_a_class_that_comes_late_is_a_further_one(made):
    """Of an object that joins, whose class no object had at first."""
    lines = [line.split(" ") for line in made("mots", ids={1, 4}).read_text().splitlines()]
    assert {(int(track), int(kind)) for _, track, kind, *_ in lines} == {(1001, 1), (1004, 1), (2009, 2)}


def test_a_class_that_comes_late_is_a_further_one_of_yolo(made):
    folder = made("yolo", ids={1, 4})
    assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == {0: "dog", 1: "cat"}
    kinds = [line[0] for line in (folder / f"labels/train/{FRAME_NAMES[2]}.txt").read_text().splitlines()]
    assert kinds == ["0", "0", "1"]


def test_boxes_are_read_by_pandas(made):
    table = pd.read_csv(made("boxes"), dtype={"name": str})
    assert len(table) == 3 * COUNT and table["seconds"].tolist()[::3] == [t / 12.5 for t in range(COUNT)]
    for row in table.itertuples():
        mask = LABELS[row.frame] == row.id
        assert row.area == mask.sum() and row.object == NAMES[row.id] and row.name == FRAME_NAMES[row.frame]
        if mask.any():
            x, y, width, height = (int(value) for value in (row.x, row.y, row.width, row.height))
            assert mask[y:y + height, x:x + width].sum() == mask.sum()
            assert mask[y].any() and mask[y + height - 1].any() and mask[:, x].any() and mask[:, x + width - 1].any()
        else:
            assert pd.isna([row.x, row.y, row.width, row.height]).all()


def test_each_object_has_a_folder_and_every_frame(made):
    folder = made("objects")
    assert sorted(path.name for path in folder.iterdir()) == ["1-dog_1", "4-dog_2", "9-cat"]
    for path in folder.iterdir():
        result = np.stack([np.asarray(Image.open(path / f"{name}.png")) for name in FRAME_NAMES])
        np.testing.assert_array_equal(result, (LABELS == int(path.name[0])) * np.uint8(255))


def test_probabilities_come_back_in_16_bits_and_as_floats(made):
    folder = made("soft", names={})
    for t, name in enumerate(FRAME_NAMES):
        expected = prediction(t)
        for n, identity in enumerate(expected.ids[1:], 1):
            result = np.asarray(Image.open(folder / str(identity) / f"{name}.png"))
            assert result.dtype == np.uint16
            assert np.abs(result / 65535 - expected.probabilities[n]).max() <= 0.5 / 65535 + 1e-7


def test_what_rounding_leaves_outside_of_0_and_1_does_not_turn_into_its_opposite():
    values = np.array([[-1e-6, 0, 0.5, 1, 1 + 1e-5]], np.float32)
    assert matting.sixteen_bits(values).tolist() == [[0, 0, 32768, 65535, 65535]]


def test_probabilities_come_back_as_floats(made):
    folder = made("npz")
    for t, name in enumerate(FRAME_NAMES):
        expected = prediction(t)
        with np.load(folder / f"{name}.npz") as file:
            assert file["ids"].tolist() == [0, 1, 4, 9] and file["probabilities"].dtype == np.float32
            np.testing.assert_array_equal(file["probabilities"], expected.probabilities)
            np.testing.assert_array_equal(file["ids"][file["probabilities"].argmax(0)], LABELS[t])


def check_cut_out(result, t, colors):
    """Alpha is the mask and soft; within, the colors are the frame's."""
    covered = LABELS[t] > 0
    np.testing.assert_array_equal(result[..., 3] >= 128, covered)
    assert np.abs(result[..., 3].astype(int) - exports.alpha_of(prediction(t))).max() <= 16
    assert np.abs(result[covered][:, :3].astype(int) - FRAMES[t][covered]).mean() < colors


def test_cut_outs_have_the_mask_as_alpha(made):
    folder = made("cutout")
    for t, name in enumerate(FRAME_NAMES):
        check_cut_out(np.asarray(Image.open(folder / f"{name}.png")), t, 0.01)


@pytest.mark.parametrize("name, decoder, colors", [("webm", "libvpx-vp9", 8), ("prores", "prores", 4)])
def test_videos_with_alpha_have_the_mask_as_alpha(made, name, decoder, colors):
    """Of VP9 libvpx alone decodes the alpha."""
    decoder, result = av.CodecContext.create(decoder, "r"), []
    with av.open(str(made(name))) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(25, 2) and (stream.height, stream.width) == (HEIGHT, WIDTH)
        decoder.extradata = stream.codec_context.extradata
        decoder.width, decoder.height = WIDTH, HEIGHT
        decoder.codec_tag = stream.codec_context.codec_tag
        for packet in container.demux(stream):
            result += decoder.decode(packet if packet.size else None)
    assert len(result) == COUNT and "yuva" in result[0].format.name
    for t, frame in enumerate(result):
        check_cut_out(frame.to_ndarray(format="rgba"), t, colors)


@pytest.mark.parametrize("name", ["webm", "prores"])
def test_cut_outs_have_one_quality_whichever_videos_for_viewing_have(made, name):
    path = made(name)
    usual = path.stat().st_size
    path.unlink()
    assert made(name, codec="hevc", crf=51).stat().st_size == usual


CODECS = {"h264": ("overlay.mp4", "h264"), "hevc": ("overlay.mp4", "hevc"), "vp9": ("overlay.webm", "vp9")}


@pytest.mark.parametrize("codec", CODECS)
def test_the_overlay_is_of_the_codec_and_quality_asked_for(made, codec):
    path = made("overlay", codec=codec, crf=10)
    best = path.stat().st_size
    with av.open(str(path)) as container:
        assert (path.name, container.streams.video[0].codec_context.name) == CODECS[codec]
        result = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(result) == COUNT
    for t, frame in enumerate(result):
        assert np.abs(frame.astype(int) - overlay(FRAMES[t], LABELS[t])).mean() < 6
    path.unlink()
    assert made("overlay", codec=codec, crf=45).stat().st_size < best


def test_what_is_not_the_objects_is_green(made):
    with av.open(str(made("green"))) as container:
        result = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    for t, frame in enumerate(result):
        share = exports.alpha_of(prediction(t))[..., None] / 255
        assert np.abs(frame - (share * FRAMES[t] + (1 - share) * films.GREEN)).mean() < 3
        assert np.abs(frame[:3] - films.GREEN).max() < 6, "far from all objects nothing shines through"


def test_green_is_exact_before_it_is_encoded(tmp_path):
    product = films.Green(shot(), tmp_path)
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, 9:] = 255
    picture = product.picture(FRAMES[0], LABELS[0], alpha)
    np.testing.assert_array_equal(picture[:, 9:], FRAMES[0][:, 9:])
    assert (picture[:, :9] == films.GREEN).all()


def test_void_has_no_outline():
    labels = np.where(LABELS[0] == 4, 255, 0).astype(np.uint8)
    bare, around = (films.outlined(FRAMES[0], one, shot(), width=240) for one in (0 * labels, labels))
    np.testing.assert_array_equal(bare, around)


def test_a_sheet_has_the_first_and_the_last_frame(tmp_path):
    names = [f"{t:05d}" for t in range(100)]
    product = films.Sheet(shot(frame_names=names), tmp_path / "sheet.png")
    assert len(product._times) == films.SHEET and {0, 99} <= product._times and max(product._times) == 99


def test_the_sheet_outlines_and_names_objects(tmp_path):
    sheets = {}
    for name, names in (("sheet.png", NAMES), ("sheet.jpg", {})):
        product = films.Sheet(shot(names=names), tmp_path / name)
        product.check(product.path)
        for t in range(COUNT):
            product.add(t, FRAMES[t], LABELS[t], None)
        product.close()
        with Image.open(tmp_path / name) as image:
            assert image.format == {"png": "PNG", "jpg": "JPEG"}[name[-3:]]
            sheets[name] = np.asarray(image).astype(int)
    one, other = sheets.values()
    assert one.shape == other.shape and one.shape[1] == 6 * 244 - 4
    assert (np.abs(one - other).max(-1) > 100).sum() > 50, "the names differ"
    middle = one[round(14 / HEIGHT * one.shape[0]), round(15 / WIDTH * 240)]
    assert np.abs(middle - FRAMES[0][14, 15]).max() < 3, "inside an outline the picture is as it was"


@pytest.mark.parametrize("name", exports.FORMATS)
def test_a_product_that_is_not_to_be_leaves_nothing(tmp_path, name):
    product = exports.FORMATS[name](shot(), tmp_path)
    product.discard()
    if product.soft == "all":
        product.take(0, prediction(0))
    else:
        product.add(0, FRAMES[0], LABELS[0], exports.alpha_of(prediction(0)))
    product.discard()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", exports.FORMATS)
def test_what_was_not_written_here_is_not_replaced(made, name):
    path, kind = made(name), exports.FORMATS[name]
    video.write_mask(path.parent / "00000.png", LABELS[0])
    kind.check(path)
    if path.is_dir():
        Image.fromarray(FRAMES[0]).save(path / "photo.png")
        with pytest.raises(ValueError, match="photo.png was not written by this command"):
            kind.check(path)
    else:
        path.unlink()
        path.mkdir()
        with pytest.raises(ValueError, match="is a folder"):
            kind.check(path)


def test_a_sheet_is_a_picture(tmp_path):
    with pytest.raises(ValueError, match="sheet.tiff.*.png"):
        films.Sheet.check(tmp_path / "sheet.tiff")


class Unlike:
    """A sequence that is not read where no picture is wanted."""

    name, frame_names = "walk", FRAME_NAMES

    def __len__(self):
        return COUNT

    def frame(self, t):
        raise AssertionError("read")

    label = frame


def carried(folder, kinds, frames=None, sheet=None, order=range(COUNT)):
    """Masks in a folder and products of them, as a session makes them of predictions in this order."""
    clip = sessions.Clip(frames or video.ArraySequence(FRAMES), {0: LABELS[0]}, NAMES)
    taken = [sessions.MaskFolder(clip, folder, []), exports.Exports(clip, folder, kinds, sheet)]
    for _ in sessions.carry(((t, prediction(t), FRAMES[t]) for t in order), taken):
        pass


def test_products_are_in_the_order_of_the_clip_whichever_way_it_was_segmented(tmp_path, capsys):
    kinds = list(exports.FORMATS.values())
    carried(tmp_path / "forward", kinds)
    carried(tmp_path / "backward", kinds, order=[3, 4, 5, 2, 1, 0])
    message = capsys.readouterr().out.splitlines()
    assert message[0] == f"6 masks are in {tmp_path / 'forward'}"
    assert f"and {tmp_path / 'forward' / 'coco.json'}" in message
    assert len(message) == 2 * (len(kinds) + 1)
    one, other = ({path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
                  for folder in (tmp_path / "forward", tmp_path / "backward"))
    assert not [path for path in one if ".part" in str(path)] and one.keys() == other.keys()
    assert not [path for path in one if one[path] != other[path]]


def test_frames_are_read_again_only_for_what_shows_them(tmp_path):
    kinds = [exports.FORMATS[name] for name in ("coco", "mots", "boxes", "objects", "soft", "npz")]
    carried(tmp_path, kinds, Unlike())
    with pytest.raises(AssertionError, match="read"):
        carried(tmp_path / "other", [exports.Cutout], Unlike())
    assert not [path for path in (tmp_path / "other").iterdir() if path.suffix != ".png"], "nothing half-written"


def test_a_part_of_a_video_has_its_own_times(tmp_path):
    """Every second frame from the second to the sixth, of a video whose frames do not come at one rate."""
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20, width=WIDTH, height=HEIGHT + 1, options={"g": "1"})
        stream.codec_context.time_base = Fraction(1, 1000)
        for milliseconds in (300, 350, 400, 600, 650, 700, 750):
            frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = movies.VideoSequence(tmp_path / "clip.mp4")
    labels = np.zeros((HEIGHT + 1, WIDTH), np.uint8)
    labels[5:9, 5:9] = 1
    part = sessions.Part(sessions.Part(whole, range(1, 7)), range(0, 6, 2))
    clip = sessions.Clip(part, {0: labels})
    shot = exports.shot_of(clip)
    result = shot.timing
    assert [shot.second(t) for t in range(3)] == pytest.approx([0.05, 0.3, 0.4])
    assert [float(time) for time in result.times or (t / result.rate for t in range(3))] == [0, 0.25, 0.35]
    assert float(result.start) == 0.35 and result.end is None
    result = exports.shot_of(sessions.Clip(sessions.Part(whole, range(1, 3)), {0: labels})).timing
    assert float(result.end - result.start - 1 / result.rate) == 0.05


def test_tables_number_and_time_the_frames_of_a_part_as_the_whole_video_does(tmp_path):
    part = sessions.Part(video.ArraySequence(FRAMES), range(1, COUNT, 2))
    shot = exports.shot_of(sessions.Clip(part, {0: LABELS[1]}))
    for name in ("boxes", "mots"):
        product = exports.FORMATS[name](shot, tmp_path)
        for t, number in enumerate(part.times):
            product.add(t, part.frame(t), LABELS[number], None)
        product.close()
    table = pd.read_csv(tmp_path / "boxes.csv", dtype={"name": str})
    assert [*table.frame.unique()] == [*part.times] == [*map(int, table.name.unique())]
    assert [*table.seconds.unique()] == pytest.approx([t / 24 for t in part.times], abs=1e-6)
    assert shot.timing.rate == 12  # shown as long as those left out between
    rows = [line.split() for line in (tmp_path / "mots.txt").read_text().splitlines()]
    assert sorted({int(row[0]) for row in rows}) == [t for t in part.times if LABELS[t].any()]


def test_products_of_a_stream_are_those_of_the_clip(tmp_path):
    """Frames that come once, their number unknown."""
    kinds = [exports.FORMATS[name] for name in ("coco", "mots", "boxes", "objects", "soft", "npz", "cutout", "yolo")]
    carried(tmp_path / "clip", kinds)
    live = exports.LiveExports(tmp_path / "live", kinds, "clip", (HEIGHT, WIDTH), Timing(Fraction(24)), NAMES, {1, 4})
    for _ in sessions.carry(((t, prediction(t), FRAMES[t]) for t in range(COUNT)), [live]):
        pass
    expected, result = ({path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*"))
                         if path.is_file()} for folder in (tmp_path / "clip", tmp_path / "live"))
    expected = {path: content for path, content in expected.items() if len(path.parts) > 1 or path.suffix != ".png"}
    assert result == expected
