"""`sst segment`: what it says of its input before it starts, and that nothing of a user's is lost."""

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import squares
import torch
from PIL import Image

from sstlib import paths, weights
from sstlib.cli import main
from sstlib.cli._outputs import EXPORTS
from sstlib.config import named_model
from sstlib.model import build
from sstlib.movies import VideoSequence, write_video
from sstlib.paths import alone
from sstlib.sessions import Session
from sstlib.sessions.exports import FORMATS
from sstlib.video import Reading, clip_name, read_mask, write_mask, write_picture

SHAPE = (32, 48)
FRAMES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE, 3), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file of small weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(build(named_model("sst-tiny").replace(matching="reference")).eval(), path)
    return path


square = functools.partial(squares.square, SHAPE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """frames/ of five PNG files, mask.png for the first, in the current folder."""
    monkeypatch.chdir(tmp_path)
    squares.write_frames("frames", FRAMES)
    write_mask(tmp_path / "mask.png", square())
    return tmp_path


@pytest.fixture
def sst(network, capsys):
    """Runs the command; its exit status and what it says."""
    def run(video="frames", mask="mask.png", out="out", *more):
        status = main(
            ["segment",
             str(video), "--mask",
             str(mask), "--out",
             str(out), "--weights",
             str(network), *map(str, more)])
        message = capsys.readouterr()
        return status, message.out, message.err
    return run


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_read_is_said_before_work_starts(folder, sst, monkeypatch):
    write_video("clip.mp4", FRAMES, 30000 / 1001)
    labels = square()
    labels[25:30, 30:40] = 2
    write_mask("two.png", labels)
    monkeypatch.setattr(weights, "load", lambda *given: pytest.fail("said too late"))
    with pytest.raises(pytest.fail.Exception):
        sst("clip.mp4", "two.png")
    monkeypatch.undo()
    os.chdir(folder)
    status, out, _ = sst("clip.mp4", "two.png")
    assert status == 0
    assert "clip.mp4: video of 5 frames, 48x32, 29.97 frames a second\n" in out
    assert "two.png: for frame 00000, 2 objects: 1 = 144 pixels, 2 = 50 pixels; read as: by id, a value an" in out
    Image.fromarray(square() * 255).convert("RGB").save("white.png")
    assert ("frames: folder of 5 frames, 48x32\n"
            "white.png: for frame 00002, 1 object: 1 = 144 pixels; read as: white on black\n"
            ) in sst("frames", "white.png", "other", "--at", 2)[1]


OWN = {  # an output in place of an input, by what is given
    "the folder of frames": ("frames", "mask.png", "frames"),
    "the folder of frames, by a link": ("frames", "mask.png", "link"),
    "the folder of frames, by its whole path": ("frames", "mask.png", "{here}/frames"),
    "the folder of frames, round about": ("frames", "mask.png", "out/../frames"),
    "the folder of frames, through one that is not there": ("frames", "mask.png", "new/../frames"),
    "a picture beside the frames": ("frames", "mask.png", "out", "--sheet", "frames/sheet.png"),
    "a sheet as a correction": ("frames", "mask.png", "out", "--corrections", "fixed", "--sheet", "fixed/00001.png"),
    "masks as corrections": ("frames", "mask.png", "fixed", "--corrections", "fixed"),
    "the mask among the frames": ("frames", "frames/00002.png", "frames"),
    "the folder of masks": ("frames", "masks", "masks"),
    "the mask": ("frames", "masks/00000.png", "masks"),
    "a frame by a link in the folder": ("frames", "mask.png", "linked"),
    "a frame of a part by such a link": ("frames", "mask.png", "linked", "--stop", 3),
    "a mask by a hard link in the folder": ("frames", "mask.png", "hard"),
    "the video": ("clip.mp4", "mask.png", "out", "--sheet", "clip.mp4"),
    "the video as its own overlay": ("own/overlay.mp4", "mask.png", "own", "--overlay"),
    "the mask as the sheet": ("frames", "mask.png", "out", "--sheet", "mask.png"),
    "a frame as the sheet": ("frames", "mask.png", "out", "--sheet", "frames/00003.png"),
    "the weights": ("frames", "mask.png", "out", "--sheet", "{weights}"),
    "the sheet among the masks": ("frames", "mask.png", "out", "--sheet", "out/00001.png"),
}


@pytest.mark.parametrize("given", OWN.values(), ids=OWN)
@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_nothing_that_is_read_is_written_over(folder, sst, network, given, more):
    (folder / "masks").mkdir()
    write_mask(folder / "masks" / "00000.png", square(3))
    (folder / "link").symlink_to(folder / "frames")
    for name in ("linked", "hard", "out", "own", "fixed"):
        (folder / name).mkdir()
    (folder / "linked" / "00001.png").symlink_to(folder / "frames" / "00001.png")
    os.link(folder / "mask.png", folder / "hard" / "00001.png")
    write_video(folder / "clip.mp4", FRAMES)
    write_video(folder / "own" / "overlay.mp4", FRAMES)
    before = content(folder)
    status, out, error = sst(*(str(part).format(here=folder, weights=network) for part in given), *more)
    assert status == 2 and error.count("\n") == 1
    assert re.search("(which is|are) read|would both write|leads through|among the masks", error)
    assert content(folder) == before and "masks are in" not in out


def test_two_runs_are_not_at_work_in_one_folder(folder, sst, monkeypatch):
    """The second would go on with the first as if that had been interrupted, or mix other masks with its own."""
    os.mkdir("out")
    with alone(Path("out")):
        status, _, error = sst("frames", "mask.png", "out", "--overwrite")
        assert status == 2 and "out: another run is at work in this folder" in error and not os.listdir("out")
    assert sst()[0] == 0
    load, runs = weights.load, contextlib.ExitStack()

    def load_while_another_begins(*given):
        os.mkdir("new")
        runs.enter_context(alone(Path("new")))
        return load(*given)

    monkeypatch.setattr(weights, "load", load_while_another_begins)
    with runs:
        status, _, error = sst("frames", "mask.png", "new")
        assert status == 2 and "new: another run is at work in this folder" in error and not os.listdir("new")


def test_what_an_earlier_run_left_is_named_and_kept(folder, sst):
    write_video("long.mp4", np.concatenate([FRAMES, FRAMES[:3]]))
    write_video("short.mp4", FRAMES[:3])
    assert sst("long.mp4", "mask.png", "out", "--overlay")[0] == 0
    (folder / "out" / "notes.txt").write_text("mine")
    Image.fromarray(FRAMES[0]).save(folder / "out" / "photo.jpg")
    before = content(folder)
    status, _, error = sst("short.mp4")
    assert status == 2 and "out holds 10 files already" in error and "00000.png" in error and "--overwrite" in error
    assert content(folder) == before
    status, out, _ = sst("short.mp4", "mask.png", "out", "--overwrite")
    assert status == 0 and "left in out: photo.jpg" in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "00000.png", "00001.png", "00002.png", "notes.txt", "photo.jpg"
    ]


def test_nothing_is_removed_by_a_run_that_is_refused(folder, sst, tmp_path):
    for t in range(7):
        write_mask(f"out/{t:05d}.png", square())
    before = content(folder)
    assert sst("frames", "mask.png", "out", "--overwrite", "--weights", "nowhere")[0] == 2
    assert sst("frames", "mask.png", "out", "--overwrite", "--longest", "3")[0] == 2
    assert content(folder) == before
    assert sst("frames", "mask.png", "out", "--overwrite")[0] == 0
    assert len(list((folder / "out").iterdir())) == 5


@pytest.mark.parametrize("name", ["00002.png", "coco.json"])
def test_what_a_link_in_the_folder_leads_to_is_not_replaced(folder, sst, name):
    (folder / "out").mkdir()
    (folder / "mine").write_bytes(b"a picture")
    (folder / "out" / name).symlink_to(folder / "mine")
    status, _, error = sst("frames", "mask.png", "out", "--overwrite", "--export", "coco")
    assert status == 2 and f"out/{name} is a link to {folder / 'mine'}, which would be replaced; remove" in error
    assert (folder / "mine").read_bytes() == b"a picture" and os.listdir("out") == [name]


def test_a_mask_that_lies_in_the_folder_is_not_removed(folder, sst):
    write_mask("out/given.png", square())
    status, _, error = sst("frames", "out/given.png")
    assert status == 2 and "given.png" in error
    assert sst("frames", "out/given.png", "out", "--overwrite")[0] == 0
    np.testing.assert_array_equal(read_mask("out/given.png"), square())


BAD = {  # what is done to the last mask, or the frames; words of the error
    "another shape": (lambda: write_mask("masks/00004.png", square()[:-2]),
                      "00004.png: the mask is 48x30 pixels, .*48x32; it is of another shape"),
    "another size": (lambda: write_mask("masks/00004.png", square()[::2, ::2]),
                     "00004.png: the mask is 24x16 pixels, .*48x32; resize the mask by nearest neighbor"),
    "cut off": (lambda: cut("masks/00004.png"), "00004.png: cannot be decoded"),
    "soft": (lambda: Image.fromarray(FRAMES[0, :, :, 0]).save("masks/00004.png"), "00004.png: mask holds the samples"),
    "of another kind": (lambda: Image.fromarray(square()).convert("RGB").save("masks/00004.png"), "00004.png: mask is "
                                                                                                  "a color image"),
    "of no frame": (lambda: write_mask("masks/00009.png", square()),
                    "00009.png: frames has no frame '00009'.* from 00000 to 00004"),
    "a frame of another size": (lambda: Image.fromarray(FRAMES[0, :-2]).save("frames/00004.png"), "00004.png: the "
                                                                                                  "frame is 48x30, the "
                                                                                                  "first.*48x32"),
}


def cut(name):
    with open(name, "rb") as file:
        whole = file.read()
    with open(name, "wb") as file:
        file.write(whole[:len(whole) // 2])


@pytest.mark.parametrize("damage, words", BAD.values(), ids=BAD)
def test_all_that_is_given_is_checked_before_the_first_frame(folder, sst, damage, words):
    for t in (0, 4):
        write_mask(f"masks/{t:05d}.png", square())
    damage()
    status, out, error = sst("frames", "masks")
    assert status == 2 and error.count("\n") == 1 and not (folder / "out").exists()
    assert re.search(words, error)


@pytest.mark.parametrize("labels, words", [
    (np.zeros(SHAPE, np.uint8), "hold no object, only background;"),
    (np.full(SHAPE, 255, np.uint8), "one object throughout and has no background"),
])
def test_masks_without_an_object_or_a_background_are_refused(folder, sst, labels, words):
    Image.fromarray(labels).save("mask.png")
    status, _, error = sst()
    assert status == 2 and words in error and not (folder / "out").exists()


def test_a_clip_whose_first_masks_are_empty_starts_at_its_first_object(folder, sst):
    for t, labels in ((0, 0 * square()), (1, 0 * square()), (3, square(7)), (4, square(7, 20))):
        write_mask(f"masks/{t:05d}.png", labels)
    status, out, _ = sst("frames", "masks")
    assert status == 0 and "no object before frame 00002" in out and "5 masks are in" in out
    assert not read_mask("out/00000.png").any() and not read_mask("out/00001.png").any()
    np.testing.assert_array_equal(read_mask("out/00003.png"), square(7))


def test_a_mask_without_an_object_says_nothing_of_those_that_are_known(folder, sst):
    """At a clip's start it says that there is none yet, as sst evaluate reads it."""
    for t in range(3):
        write_mask(f"masks/{t:05d}.png", square() * (t == 1))
    status, out, error = sst("frames", "masks")
    assert status == 0, error
    assert "00000.png: for frame 00000, no object; read as" in out
    assert "00002.png: for frame 00002, no object, and nothing by it; for one that is gone there is --absent; r" in out
    known = {"clip": "frames", "names": {"1": "dog"}, "absent": {"00002": [1]}}
    (folder / "masks" / "objects.json").write_text(json.dumps(known))
    out = sst("frames", "masks", "other")[1]
    assert "00002.png: for frame 00002, no object; read as" in out and "frame 00002 without dog" in out


def test_a_soft_mask_is_one_object_where_a_threshold_is_given(folder, sst):
    soft = Image.fromarray(square() * 255).resize((12, 8),
                                                  Image.Resampling.BOX).resize(SHAPE[::-1], Image.Resampling.BILINEAR)
    soft.save("mask.png")
    status, _, error = sst()
    assert status == 2 and "--threshold" in error
    status, out, _ = sst("frames", "mask.png", "out", "--threshold", 128)
    assert status == 0 and "read as: levels from 128 to 255 are the object" in out
    np.testing.assert_array_equal(read_mask("out/00000.png"), np.asarray(soft) >= 128)


@pytest.mark.parametrize("at", [-1, 5])
def test_a_frame_that_is_not_there_has_no_mask(folder, sst, at):
    status, _, error = sst("frames", "mask.png", "out", "--at", at)
    assert status == 2 and "frames has frames 0..4" in error


def test_an_interrupt_or_a_full_disk_leaves_whole_files_alone(folder, sst, monkeypatch):
    written = []

    def failing(path, labels):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write_mask(path, labels)

    monkeypatch.setattr("sstlib.sessions.sinks.write_mask", failing)
    status, _, error = sst()
    assert status == 2 and "No space left" in error and error.count("\n") <= 2
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        ".sst-segment.safetensors", "00000.png", "00001.png"
    ]
    np.testing.assert_array_equal(read_mask("out/00000.png"), square())


def test_what_a_reader_warns_of_is_a_line(folder, sst):
    import av

    with av.open("whole.mkv", "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=48, height=32, pix_fmt="yuv420p")
        for _ in range(8):
            for frame in FRAMES:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    whole = (folder / "whole.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(whole[:len(whole) // 2])
    status, _, error = sst("cut.mkv")
    assert status == 0 and error.startswith("note: cut.mkv: the header tells of 40 frames, ") and ".py" not in error


def test_exports_lie_beside_the_masks(folder, sst):
    status, out, _ = sst("frames", "mask.png", "out", "--export", "coco, boxes", "--export", "objects", "--overlay")
    assert status == 0 and "and out/coco.json\n" in out
    assert sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith("0")) == [
        "boxes.csv", "coco.json", "objects", "overlay.mp4"
    ]


def test_exports_of_an_earlier_run_are_not_left_beside_other_masks(folder, sst):
    assert sst("frames", "mask.png", "out", "--export", "coco,yolo,objects")[0] == 0
    Image.fromarray(FRAMES[0]).save(folder / "out" / "objects" / "photo.png")
    before = content(folder)
    status, _, error = sst("frames", "mask.png", "out", "--export", "coco")
    assert status == 2 and "--overwrite" in error and content(folder) == before
    status, _, error = sst("frames", "mask.png", "out", "--export", "objects", "--overwrite")
    assert status == 2 and "photo.png was not written by this command" in error and content(folder) == before
    status, out, _ = sst("frames", "mask.png", "out", "--export", "boxes", "--overwrite")
    assert status == 0 and "left in out: objects" in out
    assert not (folder / "out" / "coco.json").exists() and not (folder / "out" / "yolo").exists()
    assert (folder / "out" / "objects" / "photo.png").exists() and (folder / "out" / "boxes.csv").exists()


@pytest.mark.parametrize("place", [*filter(lambda place: "." in place, (kind.place for kind in FORMATS.values())),
                                   "yolo/notes.txt", "yolo/images/train/photo.jpg", "npz/a.npz", "objects/photo.png"])
def test_what_is_called_as_an_export_and_is_none_is_kept(folder, sst, place):
    """By its name alone a user's overlay.mp4, or a folder yolo, was taken for what an earlier run had left."""
    path = folder / "out" / place
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    status, out, _ = sst("frames", "mask.png", "out", "--overwrite")
    assert status == 0 and path.read_text() == "mine" and f"left in out: {place.partition('/')[0]}" in out
    if "/" in place:
        for mask in (folder / "out").glob("*.png"):
            mask.unlink()
        status, _, error = sst("frames", "mask.png", "out", "--overwrite", "--export", place.partition("/")[0])
        assert status == 2 and f"{path.name} was not written by this command" in error and path.read_text() == "mine"


def test_frames_within_an_export_are_not_replaced_with_it(folder, sst):
    assert sst("frames", "mask.png", "out", "--export", "yolo")[0] == 0
    before = content(folder)
    status, _, error = sst("out/yolo/images/train", "mask.png", "out", "--export", "yolo", "--overwrite")
    assert status == 2 and "in which" in error and content(folder) == before
    status, out, _ = sst("out/yolo/images/train", "mask.png", "out", "--overwrite")
    assert status == 0 and {path: (folder / path).read_bytes() for path in before if "yolo" in str(path)}


ABSENT = {  # what is said to be absent, and the frames, by number, in which the object is not
    "some frames": (["--absent", "1@1-2,4"], [1, 2, 4]),
    "by name, backward, too": (["--absent", "dog@0", "--absent", "dog@4", "--at", 2], [0, 4]),
}


@pytest.mark.parametrize("options, gone", ABSENT.values(), ids=ABSENT)
def test_an_object_is_absent_where_it_is_said_to_be(folder, prompted, options, gone):
    polygon = ["--polygon", "dog=5,8", "16,8", "16,19", "5,19", "--out"]
    assert prompted(*polygon, "plain", *(options[-2:] if "--at" in options else []))[0] == 0
    status, out, error = prompted(*polygon, "out", *options, "--confidence", "c.csv")
    assert status == 0, error
    rows = [row.split(",") for row in (folder / "c.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows if float(row[4]) == 0 and row[7] == "0"] == gone
    for t in gone:
        assert read_mask(f"plain/{t:05d}.png", Reading("ids")).any(), "else nothing is shown"


@pytest.mark.parametrize("given, message", {
    "no frame": ("1", "is not OBJECT@FRAME"), "no object": ("@3", "is not OBJECT@FRAME"),
    "words": ("1@a-b", "is not OBJECT@FRAME"), "less than nothing": ("1@-3", "is not OBJECT@FRAME"),
    "backward": ("1@4-2", "4-2 ends before it begins"),
    "beyond the end": ("1@5-9", "none of these frames is segmented"),
    "an object that is not": ("cat@3", "there is no object 'cat'; there are 1"),
    "the background": ("0@2", "no object '0'"),
    "where a mask shows it": ("1@0-2", "object 1 has a mask in frame 0"),
}.values())
def test_absences_that_cannot_be_are_refused(folder, sst, given, message):
    status, _, error = sst("frames", "mask.png", "out", "--absent", given)
    assert status == 2 and message in error and error.count("\n") == 1 and not (folder / "out").exists()


REPLACED = {"--sheet": "sheet.png", "--confidence": "c.csv", "--preview": "first.png"}


@pytest.mark.parametrize("option, name", REPLACED.items())
def test_files_beside_the_folder_are_not_replaced_either(folder, sst, option, name):
    Image.fromarray(FRAMES[0]).save(folder / name, format="PNG")
    before = content(folder)
    status, _, error = sst("frames", "mask.png", "out", option, name)
    assert status == 2 and f"{option} would replace {name}" in error and error.count("\n") == 1
    for given in ("mask.png", "frames/00001.png", str(folder / "frames" / ".." / "mask.png")):
        status, _, error = sst("frames", "mask.png", "out", option, given, "--overwrite")
        assert status == 2 and "which is read" in error and error.count("\n") == 1
    assert content(folder) == before
    assert sst("frames", "mask.png", "out", option, name, "--overwrite")[0] == 0
    assert content(folder)[Path(name)] != before[Path(name)]


@pytest.mark.parametrize("name", ["/dev/stdout", "-"])
def test_a_table_on_standard_output_replaces_no_file_that_it_goes_into(folder, network, name):
    command = [sys.executable, "-m", "sstlib", "segment", "frames", "--mask", "mask.png", "--out", "out",
               "--confidence", name, "--weights", str(network)]
    with open("table.csv", "w") as file:
        subprocess.run(command, stdout=file, check=True, env=os.environ | {"PYTHONPATH": str(paths.ROOT)})
    assert (folder / "table.csv").read_text().startswith("frame,name,object") and not (folder / "-").exists()


def test_the_folder_of_the_user_is_meant_where_a_shell_leaves_it_to_the_program(folder, network, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    (folder / "frames").rename(folder / "home")
    (folder / "mask.png").rename(folder / "~.png")  # in a name it is a letter
    assert main(["segment", "~", "--mask", "~.png", "--out=~/masks", "--weights", str(network)]) == 0
    assert len(list((folder / "home" / "masks").glob("*.png"))) == 5 and not (folder / "~").exists()


def test_a_preview_alone_replaces_previews_and_nothing_else(folder, prompted):
    polygon = ["--polygon", "5,8", "16,8", "16,19", "5,19", "--preview"]
    assert prompted(*polygon, "first.png")[0] == 0 and prompted(*polygon, "first.png")[0] == 0
    before = content(folder)
    for given, message in (("mask.png", "would replace mask.png"), ("frames/00002.png", "which is read")):
        status, _, error = prompted(*polygon, given)
        assert status == 2 and message in error and error.count("\n") == 1
    assert content(folder) == before


WRONG = {
    "an unknown name": (["--export", "coco,gif"], "there is no 'gif'; expected some of overlay"),
    "no name": (["--export", ","], "there is no ''"),
    "a quality that the codec has not": (["--overlay", "--crf", "60"], "crf of h264 is 60; expected"),
    "a quality of nothing": (["--export", "webm", "--crf", "9"], "--crf is the quality of --export overlay and green"),
    "a codec without such a quality": (["--codec", "prores"], "invalid choice: 'prores'"),
    "a sheet among the masks": (["--sheet", "out/../out/sheet.png"], "among the masks; give another folder"),
    "a preview among the masks": (["--preview", "out/first.png"], "among the masks; give another folder"),
    "a preview that is no PNG": (["--preview", "first.jpg"], "first.jpg: a preview is written as .png"),
    "a preview without a kind": (["--preview", "first"], "first: a preview is written as .png"),
    "less than no size": (["--longest", "-5"], "--longest: it is -5; expected a whole number"),
    "a sheet that is no picture": (["--sheet", "sheet.gif"], "sheet.gif: a sheet is written as .png, .jpg"),
    "a folder in the way": (["--export", "coco"], "coco.json is a folder"),
    "a file in the way": (["--export", "yolo"], "yolo is a file"),
    "a link in the way": (["--export", "soft", "--overwrite"], "soft is a link"),
    "a folder in the place of a mask": (["--out", "taken"], "00003.png is a folder; expected a file"),
    "a link to nothing": (["--out", "nowhere"], "nowhere is a link to gone, which is not there"),
}


MANY = {  # videos, a mask, and words of the error
    "no mask": (["a.mp4", "b.mp4"], None, "no mask: for several videos, --mask is a folder"),
    "one mask for all": (["?.mp4"], "mask.png", "mask.png: for several videos, --mask is a folder"),
    "a stream among files": (["a.mp4", "-"], "masks", "- is a stream, which goes alone; there are 2"),
    "two cameras": (["camera:0", "camera:1"], "masks", "camera:0 is a stream, which goes alone"),
    "a camera by name": (["camera:front"], "mask.png", "'camera:front' is no video; .* camera:NUMBER"),
    "a camera without a number": (["camera:"], "mask.png", "'camera:' is no video"),
}


@pytest.mark.parametrize("videos, mask, words", MANY.values(), ids=MANY)
def test_videos_that_cannot_be_meant_are_refused_once(folder, network, capsys, videos, mask, words):
    for name in ("a", "b"):
        write_video(f"{name}.mp4", FRAMES)
    os.mkdir("masks")
    status = main(["segment", *videos, *(["--mask", mask] if mask else []), "--out", "out", "--weights", str(network)])
    error = capsys.readouterr().err
    assert status == 2 and re.search(words, error) and error.count("\n") == 1 and not (folder / "out").exists()


@pytest.mark.parametrize("given, words", [
    (("loop.mp4",), "loop.mp4: no such video"), (("frames", "loop.png"), "loop.png: cannot be decoded"),
    (("frames", "mask.png", "out", "--corrections", "loop.mp4"), "no such folder of corrections"),
    (("linked",), "loop.png: cannot be decoded")])
def test_links_that_lead_to_themselves_are_no_fault_of_the_program(folder, sst, given, words):
    (folder / "linked").mkdir()
    for name in ("loop.mp4", "loop.png", "linked/loop.png"):
        (folder / name).symlink_to(Path(name).name)
    status, _, error = sst(*given)
    assert status == 2 and words in error and error.count("\n") == 1 and not (folder / "out").exists()


@pytest.mark.parametrize("options, message", WRONG.values(), ids=WRONG)
def test_what_cannot_be_exported_is_refused_before_work_starts(folder, sst, monkeypatch, options, message):
    (folder / "out" / "coco.json").mkdir(parents=True)
    (folder / "out" / "yolo").write_text("")
    (folder / "elsewhere").mkdir()
    (folder / "out" / "soft").symlink_to(folder / "elsewhere")
    (folder / "taken" / "00003.png").mkdir(parents=True)
    (folder / "nowhere").symlink_to("gone")
    monkeypatch.setattr(weights, "load", lambda *given: pytest.fail("said too late"))
    status, _, error = sst("frames", "mask.png", "out", *options)
    assert status == 2 and message in error and error.count("\n") == 1


def test_a_full_disk_while_exporting_leaves_the_masks_and_nothing_half_written(folder, sst, monkeypatch):
    def full(path, picture):
        if "cutout" in str(path):
            raise OSError(28, "No space left on device")
        return write_picture(path, picture)

    monkeypatch.setattr("sstlib.sessions.product.write_picture", full)
    status, _, error = sst("frames", "mask.png", "out", "--export", "overlay,webm,cutout,coco,yolo,soft")
    assert status == 2 and "No space left" in error and error.strip().count("\n") == 0
    left = sorted(path.name for path in (folder / "out").iterdir())
    assert left == [".sst-segment.safetensors", *(f"{t:05d}.png" for t in range(5))]


def test_what_help_lists_is_what_there_is():
    assert set(EXPORTS) == set(FORMATS)


def test_the_overlay_has_the_times_of_its_video(folder, sst):
    write_video("clip.mp4", FRAMES, 12.5)
    assert sst("clip.mp4", "mask.png", "out", "--overlay", "--sheet", "sheet.png")[0] == 0
    assert VideoSequence("out/overlay.mp4").rate == VideoSequence("clip.mp4").rate == 12.5
    assert (folder / "sheet.png").is_file()


def test_a_run_that_was_interrupted_goes_on_and_ends_alike(folder, sst, monkeypatch):
    assert sst("frames", "mask.png", "whole", "--threads", 1, "--confidence", "whole.csv")[0] == 0
    written = []

    def interrupted(path, labels):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        return write_mask(path, labels)

    monkeypatch.setattr("sstlib.sessions.sinks.write_mask", interrupted)
    status, _, error = sst("frames", "mask.png", "out", "--threads", 1, "--confidence", "c.csv")
    assert status == 130 and "of 5 frames are done; the same command goes on from there" in error
    monkeypatch.undo()
    os.chdir(folder)
    (folder / "out" / ".00003.png.of_a_run.part").write_bytes(b"half")
    before = content(folder)
    status, _, error = sst("frames", "mask.png", "out", "--threads", 1, "--confidence", "c.csv", "--flip")
    assert status == 2 and "differs in: --flip (was False, is True)" in error and error.count("\n") == 1
    write_mask("mask2.png", square(1, 9))
    status, _, error = sst("frames", "mask2.png", "out", "--threads", 1, "--confidence", "c.csv")
    assert status == 2 and "differs in: given masks" in error
    (folder / "mask2.png").unlink()
    assert content(folder) == before
    status, out, _ = sst("frames", "mask.png", "out", "--threads", 1, "--confidence", "c.csv")
    assert status == 0 and "goes on with the run that was interrupted in out" in out and "5 masks are in out" in out
    assert content(folder / "out") == content(folder / "whole")
    assert (folder / "c.csv").read_text() == (folder / "whole.csv").read_text()


def test_a_run_whose_masks_were_removed_begins_anew_and_not_at_its_end_alone(folder, sst, monkeypatch):
    monkeypatch.setattr("sstlib.sessions.session.STEPS", 1)
    step = Session._step

    def interrupted(session, t, frame):
        if t == 3:
            raise KeyboardInterrupt
        return step(session, t, frame)

    monkeypatch.setattr(Session, "_step", interrupted)
    assert sst()[0] == 130
    monkeypatch.setattr(Session, "_step", step)
    (folder / "out" / "00001.png").unlink()
    status, out, error = sst()
    assert status == 0 and "0 of 5 frames are done, of whose masks some were removed" in out, error
    assert len(list((folder / "out").iterdir())) == 5


def test_an_object_that_was_known_before_an_interrupt_alone_is_in_all_exports(folder, sst, monkeypatch):
    """It joined in frame 4, forward from 2; the run is interrupted backward, where nothing is known of it."""
    write_mask("fixed/00004.png", square(2, 30))
    options = ["--at", 2, "--corrections", "fixed", "--threads", 1, "--export", "coco,objects,boxes"]
    assert sst("frames", "mask.png", "whole", *options)[0] == 0
    written = []

    def interrupted(path, labels):
        written.append(path.name)
        if len(written) == 5:
            raise KeyboardInterrupt
        return write_mask(path, labels)

    monkeypatch.setattr("sstlib.sessions.sinks.write_mask", interrupted)
    assert sst("frames", "mask.png", "out", *options)[0] == 130 and written[-2:] == ["00001.png", "00000.png"]
    monkeypatch.undo()
    os.chdir(folder)
    assert sst("frames", "mask.png", "out", *options)[0] == 0
    assert content(folder / "out") == content(folder / "whole") and (folder / "out" / "objects" / "2").is_dir()


@pytest.mark.parametrize("name", ["out.mp4", "out.MKV", "out.png", "out.tar", "out.json"])
def test_a_folder_that_is_named_as_a_file_is_asked_about(folder, sst, capsys, name):
    status, _, error = sst("frames", "mask.png", name)
    assert status == 2 and f"{name} is to be a folder, and is named as a file" in error
    assert main(["train", "tiny", "--out", name]) == 2 and "is to be a folder" in capsys.readouterr().err
    assert not (folder / name).exists()
    (folder / name).mkdir()
    assert sst("frames", "mask.png", name)[0] == 0, "who made it means it"
    assert sst("frames", "mask.png", "clip.v1.2")[0] == 0


def test_some_frames_keep_their_names_and_numbers(folder, sst):
    status, out, _ = sst("frames", "mask.png", "out", "--start", 1, "--stride", 2, "--at", 3, "--confidence", "c.csv")
    assert status == 0 and "segmented are 2 of them, number 1 (named 00001) to 3, one in 2, counted from 0" in out
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["00001.png", "00003.png"]
    np.testing.assert_array_equal(read_mask("out/00003.png"), square())
    rows = (folder / "c.csv").read_text().splitlines()
    assert rows[0] == "frame,name,object,object_name,presence,doubt,confidence,area"
    assert [row.split(",")[:3] for row in rows[1:]] == [["1", "00001", "1"], ["3", "00003", "1"]]
    assert rows[2] == f"3,00003,1,,1,0,1,{(square() > 0).sum()}"


@pytest.mark.parametrize("more, words", [
    (["--start", 5], "no frame is left"), (["--stop", 6], "has 5 frames, 0..4"),
    (["--start", 3, "--stop", 3], "no frame"),
    (["--start", 2, "--at", 1], "of which this one is not segmented"), (["--box", "1,2,3,4"], "not by both"),
    (["--corrections", "mask.png"], "mask.png: is a file, not a folder of corrections"),
    (["--corrections", "."], "frames has no frame 'mask'"),
    (["--corrections", "frames/../frames"], "is the video itself"),
    (["--watch"], "--corrections"), (["--corrections", "nowhere"], "no such folder of corrections"),
])
def test_ranges_and_options_that_cannot_be_are_refused(folder, sst, more, words):
    status, _, error = sst("frames", "mask.png", "out", *more)
    assert status == 2 and words in error and error.count("\n") == 1 and not (folder / "out").exists()


@pytest.fixture
def prompted(network, capsys):
    """Runs the command with prompts in place of a mask."""
    def run(*options):
        status = main(["segment", "frames", "--weights", str(network), *map(str, options)])
        message = capsys.readouterr()
        return status, message.out, message.err
    return run


def test_prompts_are_objects_by_name_and_shown_before_the_run(folder, prompted):
    status, out, _ = prompted("--polygon", "dog=5,8", "16,8", "16,19", "5,19", "--polygon", "30,20", "40,20", "40,30",
                              "--polygon", "dog=20,2", "24,2", "24,4", "--preview", "first.png")
    assert status == 0 and "2 objects: 1 (dog) = " in out and "first.png shows frame 00000" in out
    with Image.open("first.png") as shown:
        assert shown.size == SHAPE[::-1] and not (folder / "out").exists()
    status, out, _ = prompted("--polygon", "dog=5,8", "16,8", "16,19", "5,19", "--polygon", "7=30,20", "40,20", "40,30",
                              "--at", 2, "--out", "out")
    assert status == 0 and "object 1 (dog): " in out and "object 7: " in out
    np.testing.assert_array_equal(read_mask("out/00002.png") == 1, square() == 1)


@pytest.mark.parametrize("options, words", [
    (["--box", "1,2,3"], "is not X,Y,WIDTH,HEIGHT"), (["--box", "a=1,2,x,4"], "is not X,Y,WIDTH,HEIGHT"),
    (["--box", "=1,2,3,4"], "has no name"), (["--points", "1,2", "!3"], "is not X,Y"),
    (["--points", "!1,2"], "no point on"), (["--points", "!dog=1,2"], "the ! of a point that is excluded"),
    (["--box", "-5,2,20,9"], "the box -5,2,20,9"), (["--points", "9,9", "-.5,2"], "the point -0.5,2 is not in"),
    (["--polygon", "1,1", "9,1", "9,9", "--threshold", "9"], "--threshold is for pictures of masks, and a prompt is"),
    (["--box", "-x"], "one that begins with - is given as --box=-"),
    (["--points", "48,2"], "object 1: the point 48,2 is not in the frame"),
    (["--polygon", "1,2", "3,4"], "polygon of 2"),
    (["--box", "dog=40,2,20,9"], "object dog: the box"), (["--polygon", "0=1,2", "3,4", "5,9"], "numbered 1..254"),
    (["--polygon", "1,1", "3,1", "2,3", "--polygon", "0,0", "9,0", "9,9", "0,9"], "beneath the others"),
    ([], "--mask or by"),
])
def test_prompts_that_cannot_be_meant_are_refused(folder, prompted, options, words):
    status, _, error = prompted(*options, "--out", "out")
    assert status == 2 and words in error and error.count("\n") == 1 and not (folder / "out").exists()


def test_several_videos_end_in_one_table(folder, sst):
    write_video("a.mp4", FRAMES)
    write_video("b.mp4", FRAMES[:3])
    (folder / "masks").mkdir()
    write_mask("masks/a.png", square())
    status, out, error = sst("?.mp4", "masks", "out")
    assert status == 2 and "no mask, or folder of masks, for the video b" in error
    assert out.count("masks are in out/") == 1
    assert re.search(r"\na +5 +1 +[0-9.]+ +done\nb +failed\n", out)
    error = sst("?.mp4", "masks", "out", "--history", 3)[2]
    assert "out/a holds an interrupted run that differs in: --history" in error
    write_mask("masks/b.png", square(4))
    before = content(folder / "out")
    status, out, _ = sst("?.mp4", "masks", "out")
    assert status == 0 and "was done before in out/a: 5 of 5 frames" in out and "3 masks are in out/b" in out
    assert re.search(r"\na +5 +1 +done before\nb +3 +1 +[0-9.]+ +done\n", out)
    after = content(folder / "out")
    assert {path: data for path, data in before.items() if path.suffix == ".png"}.items() <= after.items()
    assert not [path for path in after if path.name.startswith(".")]
    status, out, error = sst("?.mp4", "masks", "out")
    assert status == 2 and "out/a holds 5 files already" in error, "all were done: nothing is to be gone on with"
    status, out, _ = sst("?.mp4", "masks", "again", "--exit-doubt", 1)
    assert status == 0 and len(list((folder / "again" / "b").iterdir())) == 3
    assert sst("?.mp4", "masks", "other", "--at", 1)[0] == 2
    assert sst("nothing*.mp4", "masks", "other")[2].startswith("sst segment: nothing*.mp4: no file")


def test_clips_are_called_as_their_folders_and_links_are(folder, sst):
    for name in ("take.1", "take.mp4"):
        shutil.copytree("frames", f"clips/{name}")
        (folder / "masks").mkdir(exist_ok=True)
        write_mask(f"masks/{name}.png", square())
    (folder / "clips" / "last").symlink_to("../frames")
    write_mask("masks/last.png", square())
    status, _, error = sst("clips/*", "masks", "out", "--stop", 2)
    assert status == 0 and sorted(path.name for path in (folder / "out").iterdir()) == ["last", "take.1",
                                                                                            "take.mp4"], error
    assert clip_name(".") == folder.name and clip_name("clips/..") == folder.name and clip_name("a/b.c.mp4") == "b.c"


@pytest.mark.parametrize("option", [["--export", "coco"], ["--confidence", "c.csv"], ["--exit-doubt", "0.1"]])
def test_a_preview_alone_promises_nothing_of_masks(folder, prompted, option):
    status, _, error = prompted("--polygon", "5,8", "16,8", "16,19", "--preview", "first.png", *option)
    assert status == 2 and f"{option[0]} is of masks, which need --out DIR" in error
    assert not (folder / "first.png").exists()


def test_doubt_has_an_exit_status_of_its_own(folder, sst, monkeypatch):
    monkeypatch.setattr("sstlib.sessions.worst_share", lambda judgments: 0.4)
    assert sst("frames", "mask.png", "out", "--exit-doubt", 0.5)[0] == 0
    status, _, error = sst("frames", "mask.png", "other", "--exit-doubt", 0.3)
    assert status == 3 and "in 40% of its frames" in error


def test_masks_of_a_labeling_tool_keep_their_names(folder, sst):
    region = {"size": list(SHAPE), "counts": [5 * 32 + 8, *[12, 20] * 11, 12, 48 * 32 - (16 * 32 + 20)]}
    content = {"images": [{"id": 1, "file_name": "00002.png", "height": 32, "width": 48}],
               "categories": [{"id": 1, "name": "dog"}],
               "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": region}]}
    (folder / "a.json").write_text(json.dumps(content))
    status, out, error = sst("frames", "a.json")
    assert status == 0, error
    assert "a.json: COCO, for frame 00002, 1 object: 1 (dog) = 144 pixels" in out and "object 1 (dog): " in out
    np.testing.assert_array_equal(read_mask("out/00002.png"), square())
    assert "--threshold is for pictures of masks, and a.json is" in sst("frames", "a.json", "b", "--threshold", 9)[2]
    crowd = content["annotations"][0] | {"id": 2, "iscrowd": 1, "segmentation": [[20, 0, 30, 0, 30, 5, 20, 5]]}
    other = content["annotations"][0] | {"id": 3, "image_id": 2}
    several = content | {"images": [*content["images"], content["images"][0] | {"id": 2, "file_name": "00003.png"}],
                         "annotations": [*content["annotations"], crowd, other]}
    (folder / "b.json").write_text(json.dumps(several))
    assert "1 object: 1 (dog) = 144 pixels; void (255): 50 pixels" in sst("frames", "b.json", "c")[1]
    assert "--at 1 goes with a single mask; b.json has those of 2 frames" in sst("frames", "b.json", "d", "--at", 1)[2]
    content["images"][0] |= {"height": 16, "width": 96}
    region["size"] = [16, 96]
    (folder / "a.json").write_text(json.dumps(content))
    status, _, error = sst("frames", "a.json", "other")
    assert status == 2 and "its masks are 96x16 pixels, the frames of frames are 48x32" in error


def test_a_mask_of_a_frame_that_the_video_does_not_have_is_of_no_other(folder, sst):
    """By CVAT's number it was taken for the first, and so was --at 0 beside a folder whose masks have names."""
    (folder / "a.xml").write_text(
        '<annotations><meta><original_size><width>48</width><height>32</height></original_size></meta><track id="0" '
        'label="dog"><polygon frame="500" points="1,1;9,1;9,9"/></track></annotations>')
    assert "a.xml: frames has no frame 500; " in sst("frames", "a.xml")[2]
    assert "a.xml: CVAT, for frame 00003, 1 object" in sst("frames", "a.xml", "out", "--at", 3)[1]
    (folder / "masks").mkdir()
    write_mask("masks/00002.png", square())
    assert "--at 0 goes with a single mask; masks is a folder" in sst("frames", "masks", "other", "--at", 0)[2]


def test_a_mask_that_is_named_as_a_frame_is_of_it(folder, sst):
    """As it is in a folder of masks, and as an image of a labeling tool is: it was laid on the first frame."""
    write_mask("00003.png", square())
    assert "00003.png: for frame 00003, 1 object" in sst("frames", "00003.png", "a")[1]
    np.testing.assert_array_equal(read_mask("a/00003.png"), square())
    status, out, error = sst("frames", "00003.png", "b", "--at", 1)
    assert status == 0 and "for frame 00001" in out and not error
    assert "00003.png: for frame 00003" in sst("frames", "00003.png", "c", "--start", 1, "--stride", 2)[1]
    status, out, error = sst("frames", "00003.png", "d", "--stop", 3)
    assert status == 0 and "for frame 00000" in out
    assert "note: 00003.png is named as frame 00003, and taken for frame 00000; --at FRAME, counted" in error
    write_video("clip.mp4", FRAMES)
    status, out, error = sst("clip.mp4", "00003.png", "v")
    assert status == 0 and "for frame 00000" in out and "named as frame 00003, and taken for frame 00000" in error
    assert "note" not in sst("clip.mp4", "00003.png", "w", "--at", 3)[2]
    write_mask("3.png", square())
    status, out, error = sst("frames", "3.png", "g")
    assert status == 0 and "3.png is named as frame 00003, and taken for frame 00000; --at" in error
    assert "note" not in sst("frames", "3.png", "h", "--at", 3)[2]
    shutil.copytree("frames", "00003")
    assert "for frame 00000" in sst("00003", "00003.png", "e")[1], "it is named as its video"
    (folder / "a.json").write_text(json.dumps({
        "imageHeight": 32, "imageWidth": 48, "shapes": [{"label": "dog", "points": [[5, 8], [16, 8], [16, 19]]}]}))
    assert "a.json: LabelMe, for frame 00000, drawn on an image called a, 1 object" in sst("frames", "a.json", "f")[1]


def test_files_of_labelme_may_lie_beside_the_frames(folder, sst):
    """Where LabelMe puts them: the frames were read as masks."""
    for t in (0, 3):
        (folder / "frames" / f"{t:05d}.json").write_text(json.dumps({
            "imageHeight": 32, "imageWidth": 48,
            "shapes": [{"label": "dog", "points": [[5, 8], [16, 8], [16, 19], [5, 19]], "shape_type": "polygon"}]}))
    status, out, error = sst("frames", "frames")
    assert status == 0, error
    assert "frames: LabelMe, for frame 00003, 1 object: 1 (dog) = 144 pixels" in out
    np.testing.assert_array_equal(read_mask("out/00003.png"), square())
    assert sst("frames", "frames", "frames")[0] == 2 and not list((folder / "frames").glob(".sst*"))


def test_masks_of_a_kind_that_is_not_read_are_named(folder, sst):
    """A mask, or a correction, among others was passed over without a word."""
    for name in ("masks", "fixed"):
        (folder / name).mkdir()
        write_mask(f"{name}/00000.png", square())
        Image.fromarray(square()).save(f"{name}/00002.gif")
    status, _, error = sst("frames", "masks", "out", "--corrections", "fixed")
    assert status == 0
    for name in ("masks", "fixed"):
        assert f"note: {name}: 1 picture of a kind that is not read (00002.gif): save them as PNG or JPEG" in error
