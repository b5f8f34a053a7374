"""Masks of labeling tools: COCO against its own library, LabelMe and CVAT as their documentation writes them, damage
refused.
"""

import base64
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sstlib.video.labeltools import coco_mask, read_labels

SIZE = HEIGHT, WIDTH = 40, 60
ONE, TWO = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
ONE[5:20, 6:30], TWO[15:35, 25:50], TWO[20:24, 30:40] = True, True, False
BOTH = np.where(TWO, 2, ONE).astype(np.uint8)


def runs(mask):
    """Lengths of runs, from the first pixel on, beginning outside."""
    edges = np.flatnonzero(np.diff(mask.ravel().astype(int))) + 1
    lengths = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return [0, *lengths] if mask.ravel()[0] else lengths


def compressed(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def coco_text():
    regions = [{"size": list(SIZE), "counts": runs(ONE.T)}, {"size": list(SIZE), "counts": compressed(TWO)}]
    return json.dumps({
        "images": [{"id": 7, "file_name": "shots/00000.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": n, "image_id": 7, "category_id": 3, "segmentation": region}
                        for n, region in enumerate(regions)]})


def labelme_text():
    picture = io.BytesIO()
    Image.fromarray(TWO[15:35, 25:50].astype(np.uint8)).save(picture, "PNG")
    return json.dumps({"imagePath": "00000.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [
        {"label": "cat", "points": [[6, 5], [29, 5], [29, 19], [6, 19]], "group_id": None, "shape_type": "polygon"},
        {"label": "dog", "points": [[25, 15], [49, 34]], "group_id": None, "shape_type": "mask",
         "mask": base64.b64encode(picture.getvalue()).decode()}]})


PART = f'rle="{", ".join(map(str, runs(TWO[15:35, 25:50])))}" left="25" top="15" width="25" height="20"'
CVAT_IMAGES = f"""<?xml version="1.0"?><annotations><image id="0" name="00000.png" width="{WIDTH}" height="{HEIGHT}">
<mask label="dog" {PART} z_order="1"/><polygon label="cat" points="6.0,5.0;29,5;29,19;6,19" z_order="0"/>
</image></annotations>"""
CVAT_VIDEO = f"""<annotations><meta><task><original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>
</task></meta><track id="0" label="cat"><polygon frame="0" outside="0" keyframe="1" points="6,5;29,5;29,19;6,19"/>
<polygon frame="1" outside="0" keyframe="0" points="6,5;29,5;29,19"/></track>
<track id="1" label="cat"><mask frame="0" outside="0" keyframe="1" {PART}/>
<polygon frame="3" outside="1" keyframe="1" points="6,5;29,5;29,19"/></track></annotations>"""
FILES = {"coco.json": (coco_text(), "COCO", "00000", ["dog 1", "dog 2"]),
         "labelme.json": (labelme_text(), "LabelMe", "labelme", ["cat", "dog"]),
         "images.xml": (CVAT_IMAGES, "CVAT", "00000", ["cat", "dog"]),
         "video.xml": (CVAT_VIDEO, "CVAT", 0, ["cat 1", "cat 2"])}


@pytest.mark.parametrize("name", FILES)
def test_masks_and_names_come_from_each_tool(tmp_path, name):
    text, kind, frame, names = FILES[name]
    (tmp_path / name).write_text(text)
    labeled = read_labels(tmp_path / name)
    assert labeled.kind == kind and labeled.size == SIZE and list(labeled.masks) == [frame]
    assert labeled.names == dict(enumerate(names, 1))
    np.testing.assert_array_equal(labeled.masks[frame], BOTH)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in pycocotools, of NumPy 2
@pytest.mark.parametrize("seed", range(5))
def test_regions_are_as_cocos_library_decodes_them(seed):
    draws = np.random.default_rng(seed)
    mask = draws.random(SIZE) < draws.random()
    for counts in (compressed(mask), runs(mask.T)):
        np.testing.assert_array_equal(coco_mask({"size": list(SIZE), "counts": counts}, SIZE), mask)
    polygon = (draws.random(10) * 38).tolist()
    expected = coco.decode(coco.merge(coco.frPyObjects([polygon], *SIZE)))
    np.testing.assert_array_equal(coco_mask([polygon], SIZE), expected > 0)


def test_a_file_of_labelme_is_of_its_frame_however_it_is_called(tmp_path):
    (tmp_path / "drawn.json").write_text(labelme_text().replace('"00000.jpg"', r'"..\\shots\\00002.jpg"'))
    frames = ["00000", "00002", "00003"]
    assert list(read_labels(tmp_path / "drawn.json", frames).masks) == ["00002"]
    assert list(read_labels(tmp_path / "drawn.json", ["0", "1"]).masks) == ["drawn"]
    (tmp_path / "drawn.json").rename(tmp_path / "00003.json")  # a copy, in which the other image is still named
    assert list(read_labels(tmp_path / "00003.json", frames).masks) == ["00003"]


def test_what_is_outside_in_cvat_is_spoken_of_and_not_passed_over(tmp_path):
    (tmp_path / "video.xml").write_text(CVAT_VIDEO)
    labeled = read_labels(tmp_path / "video.xml")
    assert len(labeled.passed_over) == 1 and list(labeled.masks) == [0]
    assert labeled.passed_over[0].startswith("outside is cat (track 1) from frame 3 on, which is not taken for gone")
    (tmp_path / "video.xml").write_text(CVAT_VIDEO.replace('outside="1"', 'outside="0"'))
    labeled = read_labels(tmp_path / "video.xml")
    assert not labeled.passed_over and list(labeled.masks) == [0, 3]


def test_a_folder_of_files_follows_one_object_a_label(tmp_path):
    for frame in ("00000", "00004"):
        (tmp_path / f"{frame}.json").write_text(labelme_text())
    labeled = read_labels(tmp_path)
    assert list(labeled.masks) == ["00000", "00004"] and labeled.names == {1: "cat", 2: "dog"}
    (tmp_path / "._00000.json").write_bytes(bytes(99))  # which a Mac puts there
    assert read_labels(tmp_path).names == labeled.names
    (tmp_path / "00004.json").write_text(labelme_text().replace('"polygon"', '"rectangle"'))
    with pytest.raises(ValueError, match="00004.json: .*is a rectangle"):
        read_labels(tmp_path)
    (tmp_path / "00004.json").write_text(labelme_text().replace("cat", "dog"))
    with pytest.raises(ValueError, match="2 regions 'dog', and nothing says which"):
        read_labels(tmp_path)


BAD = {
    "another JSON": ('{"a": 1}', "neither COCO's JSON.*export it as COCO"), "a list": ("[5]", "export it as COCO"),
    "no JSON": ("{", "no masks can be read"),
    "a box": (labelme_text().replace('"polygon"', '"rectangle"'), "cat.* is a rectangle, which is no mask.*--box"),
    "no region": ('{"imageHeight": 4, "imageWidth": 4, "shapes": []}', "no polygon and no mask"),
    "runs too long": (coco_text().replace("[305", "[9305").replace("[245", "[9245"), "run lengths add up"),
    "a name that is none": (labelme_text().replace('"cat"', "3"), "a name is 3"),
    "no size": (coco_text().replace('"height"', '"tall"'), "it lacks the key 'height'"),
    "far away": (labelme_text().replace("[29, 5]", "[1e9, 5]"), "far outside"),
}


@pytest.mark.parametrize("text, words", BAD.values(), ids=BAD)
def test_what_holds_no_masks_is_refused(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_labels(tmp_path / "a.json")


def regions(*annotations, images=("00000.jpg", "00001.jpg")):
    """COCO's file of polygons: image, its left and upper side of 10 pixels, and other keys."""
    return json.dumps({
        "images": [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(images)],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": n, "image_id": image, "category_id": 3,
                         "segmentation": [[x, y, x + 10, y, x + 10, y + 10, x, y + 10]], **more}
                        for n, (image, x, y, more) in enumerate(annotations)]})


TWICE = CVAT_IMAGES.replace("</annotations>", CVAT_IMAGES[CVAT_IMAGES.index("<image"):])
SILENT = {  # what was read as something else than it says
    "two clips of one name": ("a.json", regions((0, 1, 1, {}), (1, 30, 9, {}), images=("a/0.png", "b/0.png")),
                              "images 'a/0.png' and 'b/0.png' would be one frame"),
    "likewise of CVAT": ("a.xml", TWICE.replace("00000.png", "b/00000.png", 1), "'b/00000.png' and '00000.png' would"),
    "two images of one id": ("a.json", regions((0, 1, 1, {})).replace('"id": 1', '"id": 0', 1), "have the same id"),
    "an image that is not there": ("a.json", regions((7, 1, 1, {})), "image 7, which is not among"),
    "a box beside a polygon": ("a.json", regions((0, 1, 1, {}), (0, 9, 9, {"segmentation": [], "bbox": [1, 2, 3, 4]})),
                               "'dog' in 00000.jpg is a box or a point alone, which is no mask.*--box"),
    "crowds alone": ("a.json", regions((0, 1, 1, {"iscrowd": 1})), "all crowds .iscrowd., which are void"),
    "an object outside": ("a.json", regions((0, 1, 1, {}), (0, 70, 70, {})), "nothing of 'dog 2' shows: it lies out"),
    "an object beneath another": ("a.json", regions((0, 1, 1, {}), (0, 1, 1, {})), "nothing of 'dog 1' shows"),
    "a circle without its edge": ("a.json", labelme_text().replace('"polygon"', '"circle"'), "a circle of 4 points"),
    "no picture of a mask": ("a.json", json.dumps(json.loads(labelme_text()) | {"shapes": [
        {"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "mask", "mask": None}]}), "a mask is no picture"),
    "no corners": ("a.xml", CVAT_IMAGES.replace('points="6.0,5.0;29,5;29,19;6,19"', ""), "<polygon> has no points"),
}


@pytest.mark.parametrize("name, text, words", SILENT.values(), ids=SILENT)
def test_what_cannot_be_meant_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: no masks can be read from it .*{words}"):
        read_labels(tmp_path / name)


def test_the_key_of_an_object_may_stand_among_attributes(tmp_path):
    """Where CVAT writes it: two dogs that take turns were one."""
    tracks = [{"attributes": {"occluded": False, "track_id": n}} for n in (0, 1)]
    (tmp_path / "a.json").write_text(regions((0, 1, 1, tracks[0]), (1, 1, 1, tracks[1]), (1, 30, 20, tracks[0])))
    labeled = read_labels(tmp_path / "a.json")
    assert labeled.names == {1: "dog 1", 2: "dog 2"}
    assert (labeled.masks["00000"][5, 5], labeled.masks["00001"][5, 5], labeled.masks["00001"][25, 35]) == (1, 2, 1)


def test_tracks_have_the_names_that_the_file_gives_them(tmp_path):
    """As sst segment writes them: counted anew, they were swapped where the first seen is dog 2."""
    content = json.loads(regions((0, 1, 1, {"track_id": 7}), (0, 30, 20, {"track_id": 5})))
    content["tracks"] = [{"id": 5, "name": "dog 1"}, {"id": 7, "name": "dog 2"}, {"id": 8}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_labels(tmp_path / "a.json").names == {1: "dog 2", 2: "dog 1"}


def test_folders_of_any_system_are_no_part_of_a_frames_name(tmp_path):
    (tmp_path / "a.json").write_text(regions((0, 1, 1, {}), images=(r"C:\shots\dog\00007.jpg", )))
    assert list(read_labels(tmp_path / "a.json").masks) == ["00007"]


@pytest.mark.parametrize("rotation", [0, 30, 90, 200.5])
def test_an_ellipse_is_turned_clockwise(tmp_path, rotation):
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="0.png" width="{WIDTH}" height="{HEIGHT}"><ellipse label="egg" cx="31" cy="20" '
        f'rx="17" ry="6" rotation="{rotation:.2f}" z_order="0"/></image></annotations>')
    mask = read_labels(tmp_path / "a.xml").masks["0"] == 1
    rows, columns = np.indices(SIZE)
    upright = ((columns - 31) + 1j * (rows - 20)) * np.exp(-1j * np.deg2rad(rotation))  # y goes down
    np.testing.assert_array_equal(mask, (upright.real / 17)**2 + (upright.imag / 6)**2 <= 1 + 1e-9)
    if rotation == 30:
        assert mask[28, 44] and not mask[12, 44]  # its right end is lower


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_refused_or_read_and_never_more(tmp_path, seed):
    draws, (text, *_) = np.random.default_rng(seed), list(FILES.values())[seed % 4]
    data = bytearray(text.encode())
    for _ in range(int(draws.integers(1, 5))):
        place = int(draws.integers(len(data)))
        part = draws.choice([b"", b"-1", b"99999999999", b"null", b"[]", b"x"])
        data[place:place + int(draws.integers(0, 12))] = part
    path = tmp_path / list(FILES)[seed % 4]
    path.write_bytes(bytes(data))
    try:
        labeled = read_labels(path)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert all(mask.shape == labeled.size for mask in labeled.masks.values())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^\S*none.json: it cannot be read \(No such file or directory\)$"):
        read_labels(tmp_path / "none.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["masks.json", "masks.xml"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="a pipe or a device, not a file"):
        read_labels(tmp_path / name)
