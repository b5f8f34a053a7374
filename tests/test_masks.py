"""Masks of every kind that people save: read with one rule a clip, or refused in one line that says what to do."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from sstlib import video
from sstlib.video import png
from sstlib.video.contents import content_of
from sstlib.video.masks import smallest_part

SHAPE = (48, 64)
DISK = np.hypot(*np.indices(SHAPE) - np.array([20, 24])[:, None, None]) < 11
BAR = np.zeros(SHAPE, bool)
BAR[36:44, 10:50] = True
TWO = DISK + 2 * BAR.astype(np.uint8)
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "white": (255, 255, 255), "black": (0, 0, 0)}
ORIENT = 0x0112


def painted(disk, bar=None, background="black"):
    """An RGB picture of the two shapes."""
    pixels = np.empty((*SHAPE, 3), np.uint8)
    pixels[:] = COLORS.get(background, background)
    pixels[DISK] = COLORS.get(disk, disk)
    if bar:
        pixels[BAR] = COLORS.get(bar, bar)
    return Image.fromarray(pixels)


def transparent(picture, opaque):
    image = picture.convert("RGBA")
    image.putalpha(Image.fromarray(np.uint8(opaque) * 255))
    return image


def soft(mode="L"):
    """The disk with the edges that resizing gives."""
    small = Image.fromarray(np.uint8(DISK) * 255).resize((16, 12), Image.Resampling.BOX)
    return small.resize(SHAPE[::-1], Image.Resampling.BILINEAR).convert(mode)


def indexed(labels, colors):
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette((video.palette() if colors is None else np.array(colors, np.uint8)).tobytes())
    return image


RAMP = [(n, n, n) for n in range(256)]
COLUMNS = np.indices(SHAPE)[1]
STRIPES = (np.array([20, 60, 100, 140, 180])[COLUMNS % 5] * (COLUMNS >= 12)).astype(np.uint8)  # no edges: most of it
NOISE = np.random.default_rng(0).integers(1, 256, (*SHAPE, 3), np.uint8)


def keyed(image, value):
    """A PNG in which one level, or color, is transparent."""
    image.info["transparency"] = value
    return image


READ = {  # name of the file, image, labels
    "L 0 and 255": ("m.png", Image.fromarray(np.uint8(DISK) * 255), DISK),
    "L ids": ("m.png", Image.fromarray(TWO), TWO),
    "L ids in lines": ("m.png", Image.fromarray(STRIPES), STRIPES),
    "L one gray": ("m.png", Image.fromarray(np.uint8(DISK) * 128), DISK * 128),
    "L ids and void": ("m.png", Image.fromarray(DISK + np.uint8(BAR) * 255), DISK + np.uint8(BAR) * 255),
    "1 bit": ("m.png", Image.fromarray(DISK), DISK),
    "1 bit TIFF": ("m.tif", Image.fromarray(DISK), DISK),
    "1 bit BMP": ("m.bmp", Image.fromarray(DISK), DISK),
    "P 0 and 255, gray": ("m.png", indexed(np.uint8(DISK) * 255, RAMP), DISK),
    "P 0 and 255, DAVIS's colors": ("m.png", indexed(np.uint8(DISK) * 255, None), DISK),
    "P ids": ("m.png", indexed(TWO, None), TWO),
    "P ids and void": ("m.png", indexed(DISK + np.uint8(BAR) * 255, None), DISK + np.uint8(BAR) * 255),
    "P ids, colors of one's own": ("m.png", indexed(TWO, [(0, 0, 0), (10, 200, 30), (90, 7, 240)]), TWO),
    "P, white first": ("m.png", indexed(~DISK, [(255, 255, 255), (0, 0, 0)]), DISK),
    "P, a gray image made smaller": ("m.png", indexed(TWO, [(0, 0, 0), (2, 2, 2), (5, 5, 5)]),
                                     np.array([0, 2, 5])[TWO]),
    "P, likewise in another order": ("m.png", indexed(2 - TWO, [(1, 1, 1), (7, 7, 7), (0, 0, 0)]),
                                     np.array([0, 7, 1])[TWO]),
    "P, likewise with void": ("m.png", indexed(TWO, [(0, 0, 0), (1, 1, 1), (255, 255, 255)]),
                              np.array([0, 1, 255])[TWO]),
    "P, two shades": ("m.png", indexed(TWO, [(0, 0, 0), (128, 128, 128), (255, 255, 255)]), TWO),
    "P GIF": ("m.gif", indexed(TWO, None), TWO),
    "P, black not first": ("m.png", indexed(np.where(TWO == 0, 2, TWO - 1), [(255, 0, 0), (0, 0, 255), (0, 0, 0)]),
                           (TWO > 0) * (3 - TWO)),
    "16 bit 0 and 65535": ("m.png", Image.fromarray(np.uint16(DISK) * 65535), DISK),
    "16 bit ids": ("m.png", Image.fromarray(TWO.astype(np.uint16)), TWO),
    "16 bit copies of ids": ("m.png", Image.fromarray(TWO.astype(np.uint16) * 257), TWO),
    "32 bit 0 and 255": ("m.tif", Image.fromarray(np.int32(DISK) * 255), DISK),
    "float 0 and 1": ("m.tif", Image.fromarray(np.float32(DISK)), DISK),
    "float 0 and 255": ("m.tif", Image.fromarray(np.float32(DISK) * 255), DISK),
    "float ids": ("m.tif", Image.fromarray(TWO.astype(np.float32)), TWO),
    "RGB white on black": ("m.png", painted("white"), DISK),
    "RGB ids": ("m.png", Image.fromarray(TWO).convert("RGB"), TWO),
    "RGB red on black": ("m.png", painted("red"), DISK),
    "RGB green and red": ("m.png", painted("red", "green"), DISK * 2 + BAR),  # #00FF00 comes before #FF0000
    "RGB DAVIS's colors": ("m.png", indexed(DISK + 5 * np.uint8(BAR), None).convert("RGB"), DISK + 5 * np.uint8(BAR)),
    "RGB BMP": ("m.bmp", painted("white"), DISK),
    "CMYK": ("m.tif", painted("red").convert("CMYK"), DISK),
    "RGBA white on black, opaque": ("m.png", painted("white").convert("RGBA"), DISK),
    "RGBA white on nothing": ("m.png", transparent(painted("white", background="white"), DISK), DISK),
    "RGBA red and green on nothing": ("m.png", transparent(painted("red", "green", "white"), DISK | BAR),
                                      DISK * 2 + BAR),
    "RGBA black on nothing": ("m.png", transparent(painted("black"), DISK), DISK),
    "RGBA a picture cut out": ("m.png", transparent(Image.fromarray(NOISE), DISK), DISK),
    "LA object in alpha": ("m.png", transparent(painted("black"), DISK).convert("LA"), DISK),
    "LA white on nothing": ("m.png", transparent(painted("white", background="white"), DISK).convert("LA"), DISK),
    "LA ids under one alpha": ("m.png", Image.merge("LA", [Image.fromarray(TWO), Image.new("L", SHAPE[::-1], 200)]),
                               TWO),
    "L black, white transparent": ("m.png", keyed(Image.fromarray(np.uint8(~DISK) * 255), 255), DISK),
    "L ids, 0 transparent": ("m.png", keyed(Image.fromarray(TWO), 0), TWO),
    "1 bit black, white transparent": ("m.png", keyed(Image.fromarray(~DISK), 255), DISK),
    "RGB colors, white transparent": ("m.png", keyed(painted("red", "green", "white"), (255, 255, 255)),
                                      DISK * 2 + BAR),
    "WebP without loss": ("m.webp", painted("red", "green"), DISK * 2 + BAR),
}
REFUSED = {  # name of the file, image, words of the error
    "soft L": ("m.png", soft(), "samples of a picture.*--threshold"),
    "a brush's edge": ("m.png", Image.fromarray(np.uint8(np.kron(DISK, np.ones((4, 4)))) * 255).rotate(7).resize(
        SHAPE[::-1], Image.Resampling.BOX),
                       "samples of a picture"),
    "soft P": ("m.png", soft("P"), "samples of a picture"),
    "soft RGB": ("m.png", soft("RGB"), "samples of a picture"),
    "soft red": ("m.png", Image.merge("RGB", [soft(), Image.new("L", SHAPE[::-1]), Image.new("L", SHAPE[::-1])]),
                 "samples of a picture"),
    "soft alpha": ("m.png", Image.merge("LA", [Image.new("L", SHAPE[::-1], 255), soft()]), "samples of a picture"),
    "soft float": ("m.tif", Image.fromarray(np.asarray(soft(), np.float32) / 255), "samples of a picture"),
    "soft 16 bit": ("m.png", Image.fromarray(np.asarray(soft(), np.uint16) * 257), "samples of a picture"),
    "blurred": ("m.png", Image.fromarray(np.uint8(np.clip(300 - 7 * np.hypot(*np.indices(SHAPE) - 20), 0, 255))),
                "samples of a picture"),
    "JPEG": ("m.jpg", Image.fromarray(np.uint8(DISK) * 255), "samples of a picture"),
    "JPEG in color": ("m.jpg", painted("red"), "samples of a picture"),
    "WebP with loss": ("m.webp", painted("white"), "samples of a picture"),
    "gray 0, 128, 255": ("m.png", Image.fromarray(np.uint8(DISK) * 128 + np.uint8(BAR) * 255), "gray levels 128, 255"),
    "gray 0, 85, 170, 255": ("m.png", Image.fromarray(np.minimum(np.indices(SHAPE)[1] // 12, 3).astype(np.uint8) * 85),
                             "gray levels"),
    "no black": ("m.png", painted("red", background="white"), "without a black or transparent background"),
    "P without black": ("m.png", indexed(DISK, [(255, 255, 255), (255, 0, 0)]), "without a black or transparent "
                                                                                "background"),
    "P against its colors": ("m.png", indexed(TWO, [(0, 0, 0), (0, 128, 0), (128, 0, 0)]), "two ways"),
    "half transparent": ("m.png", Image.merge("LA", [Image.new("L", SHAPE[::-1], 255),
                                                     Image.fromarray(np.uint8(DISK) * 100 + 100)]), "two ways"),
    "L ids, one transparent": ("m.png", keyed(Image.fromarray(TWO), 1), "two ways"),
    "red on nothing, all transparent": ("m.png", transparent(painted("red"), DISK & False), "two ways"),
    "a photograph": ("m.png", Image.fromarray(NOISE), "samples of a picture"),
    "ids below zero": ("m.tif", Image.fromarray(-np.int32(DISK)), "values from -1 to 0"),
    "16 bit ids above 254": ("m.png", Image.fromarray(np.uint16(DISK) * 1000), "values up to 1000"),
    "float not a number": ("m.tif", Image.fromarray(np.where(DISK, np.nan, 0).astype(np.float32)), "values up to nan"),
    "negative": ("m.tif", Image.fromarray(-np.int32(DISK)), "values"),
    "black": ("m.png", painted("black"), "color image.*holds no object"),
}


@pytest.mark.parametrize("name, image, labels", READ.values(), ids=READ)
def test_masks_of_every_kind_are_read(tmp_path, name, image, labels):
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    np.testing.assert_array_equal(video.read_mask(tmp_path / name), labels)


@pytest.mark.parametrize("name, image, words", REFUSED.values(), ids=REFUSED)
def test_what_are_no_ids_or_two_is_refused(tmp_path, name, image, words):
    image.save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"m\.\w+: (?s:.*){words}"):
        video.read_mask(tmp_path / name)


@pytest.mark.parametrize(
    "kind",
    ["soft L", "soft P", "soft RGB", "soft red", "soft alpha", "soft float", "soft 16 bit", "JPEG", "WebP with loss"])
def test_a_threshold_makes_one_object_of_soft_masks(tmp_path, kind):
    name, image, _ = REFUSED[kind]
    image.save(tmp_path / name)
    labels = video.read_mask(tmp_path / name, video.reading_of([tmp_path / name], threshold=128))
    expected = DISK if kind in ("JPEG", "WebP with loss") else np.asarray(soft()) >= 128
    assert np.count_nonzero(labels != expected) <= (0 if "soft" in kind else 4)


@pytest.mark.parametrize("kind",
                         [kind for kind in READ if "cut out" not in kind and np.array_equal(READ[kind][2], DISK)])
def test_a_threshold_changes_nothing_where_there_are_two_levels(tmp_path, kind):
    name, image, labels = READ[kind]
    image.save(tmp_path / name)
    np.testing.assert_array_equal(video.read_mask(tmp_path / name, video.reading_of([tmp_path / name], threshold=100)),
                                  labels)


@pytest.mark.parametrize("threshold", [0, -1, 256])
def test_a_threshold_is_a_level(threshold):
    with pytest.raises(ValueError, match=f"threshold is {threshold}; give a level from 1 to 255"):
        video.reading_of([], threshold)


def saved(folder, *images, suffix="png"):
    """Masks of one clip."""
    folder.mkdir()
    for n, image in enumerate(images):
        image.save(folder / f"{n}.{suffix}")
    return sorted(folder.iterdir())


def read_clip(paths):
    reading = video.reading_of(paths)
    return reading, [video.read_mask(path, reading) for path in paths]


def test_colors_are_numbered_over_a_whole_clip(tmp_path):
    paths = saved(tmp_path / "clip", painted("black"), painted("red"), painted("red", "green"), painted("green"))
    reading, labels = read_clip(paths)
    assert str(reading) == "by color: 1 = #00FF00, 2 = #FF0000"
    for result, expected in zip(labels, [0 * DISK, 2 * DISK, 2 * DISK + BAR, DISK]):
        np.testing.assert_array_equal(result, expected)


def test_a_clip_of_more_colors_than_objects_can_have_is_refused(tmp_path):
    """Each mask has few, and some are known from elsewhere."""
    shades = [Image.fromarray(np.where(DISK[..., None], np.uint8([255, 10 * n, 7]), np.uint8(0))) for n in range(20)]
    paths = saved(tmp_path / "clip", *shades)
    for known in ((), (0xFF0007,)):
        with pytest.raises(ValueError, match="the masks of this clip have 20 colors; expected at most 16"):
            video.reading_of(paths, known=known)


def test_white_on_black_is_the_object_also_where_a_frame_is_black(tmp_path):
    paths = saved(tmp_path / "clip", painted("black"), painted("white"), painted("black"))
    reading, labels = read_clip(paths)
    assert str(reading) == "white on black"
    np.testing.assert_array_equal(np.stack(labels), np.stack([0 * DISK, DISK, 0 * DISK]))


@pytest.mark.parametrize("first, second", [
    (Image.fromarray(TWO), painted("white")),
    (painted("white"), Image.fromarray(TWO)),
    (painted("red", "green"), indexed(TWO, None)),
    (indexed(TWO, None), painted("black")),
    (transparent(painted("black"), DISK), Image.fromarray(TWO)),
    (Image.fromarray(np.uint8(DISK) * 255), Image.fromarray(TWO)),
])
def test_masks_of_one_clip_are_of_one_kind(tmp_path, first, second):
    paths = saved(tmp_path / "clip", first, second)
    with pytest.raises(ValueError, match=r"[01]\.png: .*save all"):
        read_clip(paths)


def test_a_frame_of_void_alone_stays_void_in_a_clip_of_ids(tmp_path):
    void = np.uint8(BAR) * 255
    for make in (Image.fromarray, lambda labels: indexed(labels, None)):
        paths = saved(tmp_path / make.__name__.strip("<>"), make(TWO), make(void))
        np.testing.assert_array_equal(read_clip(paths)[1][1], void)
    paths = saved(tmp_path / "smaller", Image.fromarray(TWO), indexed(BAR, [(0, 0, 0), (255, 255, 255)]))
    np.testing.assert_array_equal(read_clip(paths)[1][1], void)
    paths = saved(tmp_path / "void first", indexed(void, None), indexed(TWO, None))
    np.testing.assert_array_equal(read_clip(paths)[1][0], void)
    paths = saved(tmp_path / "nothing but void", Image.fromarray(np.full_like(void, 255)), Image.fromarray(TWO))
    assert (read_clip(paths)[1][0] == 255).all()


OWN = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (10, 10, 10)]  # a palette in which white and grays are objects
THREE = np.where(COLUMNS > 55, 3, TWO).astype(np.uint8)


@pytest.mark.parametrize("objects", [[(1, 2), (1, )], [(1, ), (1, 2)], [(2, 3), (3, ), (1, ), (1, 3)], [(3, ), (2, )],
                                     [(), (1, ), (3, )]])
def test_indices_are_ids_in_a_frame_whose_colors_are_gray_too(tmp_path, objects):
    """Of a palette of one's own a frame may show white, or grays, alone: it was read by level, and void came of it."""
    frames = [np.where(np.isin(THREE, some), THREE, 0) for some in objects]
    paths = saved(tmp_path / "clip", *(indexed(labels, OWN) for labels in frames))
    reading, labels = read_clip(paths)
    assert reading.kind == "ids"
    np.testing.assert_array_equal(np.stack(labels), np.stack(frames))


@pytest.mark.parametrize("white", [1, 2, 15])
def test_white_on_black_by_any_palette_is_the_object(tmp_path, white):
    """As paint programs save it, whose palettes have white anywhere."""
    colors = [(200, 0, n) for n in range(16)]
    colors[0], colors[white] = (0, 0, 0), (255, 255, 255)
    paths = saved(tmp_path / "clip", *(indexed(white * mask, colors) for mask in (0 * BAR, DISK, BAR)))
    reading, labels = read_clip(paths)
    assert str(reading) == "by palette, 255 or white is the object"
    np.testing.assert_array_equal(np.stack(labels), np.stack([0 * DISK, DISK, BAR]))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_palettes_that_number_each_frames_colors_anew_are_refused(tmp_path, order):
    """As ImageMagick and optimizers write them: object 2 was 1 wherever it was alone."""
    red, green = (255, 0, 0), (0, 255, 0)
    frames = [indexed(TWO, [(0, 0, 0), red, green]), indexed(BAR, [(0, 0, 0), green]), indexed(DISK, [(0, 0, 0), red])]
    with pytest.raises(ValueError, match=r"[012].png: index 1 of its palette is #(FF0000, and #00FF00|00FF00, and #FF00"
                                         r"00) in [012].png, so .* save all masks of a clip with one palette, or gray"):
        read_clip(saved(tmp_path / "clip", *(frames[n] for n in order)))
    reading = read_clip(saved(tmp_path / "same", frames[0], frames[2]))[0]
    assert reading == video.Reading("ids", indices=frozenset({(1, 0xFF0000), (2, 0x00FF00)}))
    mixed = saved(tmp_path / "mixed", frames[0], indexed(BAR * 2, None))  # DAVIS's palette says that indices are ids
    np.testing.assert_array_equal(read_clip(mixed)[1][1], BAR * 2)


def test_what_was_understood_is_said():
    labels = TWO.copy()
    labels[0, :5] = 255
    assert video.areas(labels) == f"2 objects: 1 = {DISK.sum()} pixels, 2 = {BAR.sum()} pixels; void (255): 5 pixels"
    assert video.areas(0 * labels) == "no object"
    assert video.areas(np.pad(np.ones((200, 200), np.uint8), 1)) == "1 object: 1 = 40,000 pixels"


@pytest.mark.parametrize("labels, around", [(1 - DISK.astype(np.uint8), "1 is"), (np.where(TWO, TWO, 5), "5 is"),
                                            (np.where(TWO, TWO, 255), "255 is"), (np.pad(TWO[1:, 1:], 1)[1:, 1:], ""),
                                            (np.full((1, 1), 3, np.uint8), "3 is")])
def test_an_object_all_around_is_asked_about(labels, around):
    """A mask painted black on white is read as what is around the object."""
    described = video.areas(labels.astype(np.uint8))
    assert ("corners" in described) == bool(around) and around in described


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_masks_are_turned_upright(tmp_path, orientation, suffix):
    turned = {
        1: TWO, 2: TWO[:, ::-1], 3: TWO[::-1, ::-1], 4: TWO[::-1], 5: TWO.T, 6: np.rot90(TWO), 7: TWO[::-1, ::-1].T,
        8: np.rot90(TWO, -1)
    }[orientation]
    exif = Image.Exif()
    exif[ORIENT] = orientation
    path = tmp_path / f"m.{suffix}"
    if suffix == "tif":
        Image.fromarray(np.ascontiguousarray(turned)).save(path, tiffinfo={ORIENT: orientation})
    else:
        Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif)
    np.testing.assert_array_equal(video.read_mask(path), TWO)
    assert video.picture_size(path) == SHAPE


LOSSY = {"tif": {"compression": "jpeg", "quality": 75}, "avif": {"quality": 60}, "webp": {"quality": 75},
         "jp2": {"irreversible": True, "quality_layers": [20]}, "jpg": {"quality": 75}}


@pytest.mark.parametrize("suffix", LOSSY)
def test_ids_of_lossy_files_are_refused(tmp_path, suffix):
    """What is left of 1 and 2 was read as ids."""
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    picture = Image.fromarray(TWO) if suffix in ("tif", "jpg", "jp2") else Image.fromarray(TWO).convert("RGB")
    picture.save(tmp_path / f"m.{suffix}", **LOSSY[suffix])
    with pytest.raises(ValueError, match=f"m.{suffix}: mask holds the samples of a picture"):
        video.read_mask(tmp_path / f"m.{suffix}")


def test_a_color_profile_makes_no_webp_lossy(tmp_path):
    painted("red", "green").save(tmp_path / "m.webp", lossless=True, icc_profile=bytes(300))
    np.testing.assert_array_equal(video.read_mask(tmp_path / "m.webp"), DISK * 2 + BAR)


@pytest.mark.parametrize("kind", ["xmp", "raw"])
def test_masks_and_frames_are_turned_alike_by_what_their_texts_say(tmp_path, kind):
    """Masks of the commonest PNG kinds stayed as they lie, beside frames that were turned."""
    exif, note = Image.Exif(), PngInfo()
    exif[ORIENT] = 3
    if kind == "raw":
        lines = exif.tobytes().hex()
        note.add_text("Raw profile type exif", f"\nexif\n{len(lines) // 2:8}\n{lines}\n", zip=True)
    else:
        note.add_itxt("XML:com.adobe.xmp", '<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>')
    for mode in ("L", "P", "RGB"):
        Image.fromarray(TWO).convert(mode).save(tmp_path / f"{mode}.png", pnginfo=note)
    np.testing.assert_array_equal(video.read_frame(tmp_path / "RGB.png")[..., 0], TWO[::-1, ::-1])
    for mode in ("L", "P"):
        np.testing.assert_array_equal(video.read_mask(tmp_path / f"{mode}.png"), TWO[::-1, ::-1])


def test_a_tiff_that_is_not_read_is_called_one(tmp_path):
    """Of 64 bits a sample, as label images of NumPy's own integers are: it was said to be damaged."""
    pixels = TWO.astype("<i8").tobytes()
    tags = [(256, 64), (257, 48), (258, 64), (259, 1), (262, 1), (273, 8), (277, 1), (278, 48), (279, len(pixels)),
            (339, 2)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "m.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels +
                                     struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(ValueError, match="m.tif: a TIFF of a kind that is not read, such as one of 64 bits"):
        video.read_mask(tmp_path / "m.tif")


def test_animations_and_pages_are_refused(tmp_path):
    pictures = [Image.fromarray(np.uint8(DISK) * 255), Image.fromarray(np.uint8(BAR) * 255)]
    for name in ("m.gif", "m.png", "m.tif", "m.webp"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
        with pytest.raises(ValueError, match=f"{name}: holds 2 pictures"):
            video.read_mask(tmp_path / name)


def chunk(name, content, spoilt=False):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ spoilt)


def test_a_header_with_a_wrong_checksum_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 11, 7, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes([1] * 11) for _ in range(7)))
    for spoilt in (False, True):
        content = png.SIGNATURE + chunk(b"IHDR", header, spoilt) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        (tmp_path / "m.png").write_bytes(content)
        if not spoilt:
            np.testing.assert_array_equal(video.read_mask(tmp_path / "m.png"), np.ones((7, 11)))
            continue
        assert png.decode(content) is None
        with pytest.raises(ValueError, match="m.png: "):
            video.read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("channels, kind", [(3, 2), (2, 4), (4, 6)])
def test_sixteen_bits_of_which_the_lower_hold_the_ids_are_refused(tmp_path, channels, kind):
    """Pillow keeps the upper eight: ids from 1 on were read as an empty mask, in an evaluation without a word."""
    def written(ids, name):
        samples = np.repeat(ids[..., None], channels, 2).astype(">u2")
        if kind > 3:
            samples[..., -1] = 0xFFFF
        pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))
        header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], 16, kind, 0, 0, 0)
        (tmp_path / name).write_bytes(png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) +
                                      chunk(b"IEND", b""))
        return tmp_path / name

    ids = np.uint16(DISK) + 2 * np.uint16(BAR)
    with pytest.raises(ValueError, match="low.png: mask has 16 bits a sample, of which the upper 8 are read"):
        content_of(written(ids, "low.png"))
    np.testing.assert_array_equal(content_of(written(257 * ids, "both.png")).values & 0xFF, ids)
    if kind == 2:
        assert not content_of(written(0 * ids, "empty.png")).values.any(), "an object may be out of sight"


@pytest.mark.parametrize("side", [12_000, 40_000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    stream = zlib.compressobj()
    pixels = b"".join(stream.compress(bytes(1 << 20)) for _ in range(150)) + stream.flush()
    (tmp_path / "m.png").write_bytes(png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) +
                                     chunk(b"IEND", b""))
    for read in (video.read_mask, video.read_frame):
        with pytest.raises(ValueError, match="m.png: claims to hold more than 89 million pixels"):
            read(tmp_path / "m.png")


def test_only_masks_written_here_count_as_that(tmp_path):
    video.write_mask(tmp_path / "ours.png", TWO)
    indexed(TWO, None).save(tmp_path / "other.png")
    (tmp_path / "none.png").write_bytes(b"no image")
    assert [video.is_signed(tmp_path / f"{name}.png") for name in ("ours", "other", "none")] == [True, False, False]
    video.write_mask(tmp_path / "void.png", np.uint8(BAR) * 255)  # by id, as all that is written here
    np.testing.assert_array_equal(video.read_mask(tmp_path / "void.png"), np.uint8(BAR) * 255)


@pytest.mark.skipif(png._library() is None, reason="no C++ compiler")
def test_the_fast_reader_takes_davis_palettes_and_no_others():
    for colors, fast in ((None, True), ([(0, 0, 0)] * 256, True), (video.palette()[:22], True), (RAMP, False),
                         ([(9, 9, 9), (0, 0, 0)], False)):
        content = io.BytesIO()
        indexed(DISK, colors).save(content, format="PNG")
        assert (png.decode(content.getvalue()) is not None) == fast


def test_a_clip_of_1_bit_may_have_a_gray_frame_of_the_same(tmp_path):
    paths = saved(tmp_path / "clip", Image.fromarray(DISK), Image.fromarray(np.uint8(BAR) * 255),
                  Image.fromarray(0 * TWO))
    reading, labels = read_clip(paths)
    assert str(reading) == "1 bit, white on black"
    np.testing.assert_array_equal(np.stack(labels), np.stack([DISK, BAR, 0 * DISK]))


@pytest.mark.parametrize("pixels", [[], [(0, 0)], [(4, 6)], [(1, 5), (3, 2)], [(0, 3), (4, 3), (2, 6)]])
def test_the_smallest_part_holds_all_of_a_mask_and_no_row_or_column_beside_it(pixels):
    mask = np.zeros((5, 7), bool)
    for y, x in pixels:
        mask[y, x] = True
    part = smallest_part(mask)
    if not pixels:
        assert part is None
        return
    assert mask[part].sum() == len(pixels) and mask[part][[0, -1]].any(1).all() and mask[part][:, [0, -1]].any(0).all()
