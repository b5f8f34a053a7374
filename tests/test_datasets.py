"""Readers of real data sets, each against a generated tree in its exact layout."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from sstlib import cli, paths, video
from sstlib.benchmarks import rendering
from sstlib.config import DataConfig
from sstlib.datasets import DATASETS, augmentation, open_dataset, samples, training_batch
from sstlib.datasets.youtube import write_submission

SHAPE = (12, 20)


def write_sequence(frames, masks, names, ids=(0, 1), labeled=None, gray=False):
    rng = np.random.default_rng(len(names))
    frames.mkdir(parents=True)
    for k, name in enumerate(names):
        Image.fromarray(np.full((*SHAPE, 3), k, np.uint8)).save(frames / f"{name}.jpg")
        if labeled is None or name in labeled:
            labels = rng.choice(np.array(ids, np.uint8), SHAPE)
            if gray:
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels * 255).save(masks / f"{name}.png")
            else:
                video.write_mask(masks / f"{name}.png", labels)


def davis(folder, year="2017", split="val", resolution="480p", names=("bear", "cows"), **options):
    for name in names:
        write_sequence(
            folder / "JPEGImages" / resolution / name,
            folder / "Annotations" / resolution / name,
            ["00000", "00001", "00002"],
            **options,
        )
    listing = folder / "ImageSets" / year / f"{split}.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(names) + "\n")
    return folder


def test_davis_2017_keeps_objects_apart_and_2016_merges_them(tmp_path):
    davis(tmp_path, ids=(0, 1, 3, 255))
    davis(tmp_path, year="2016", names=())
    (tmp_path / "ImageSets/2016/val.txt").write_text("bear")
    apart = open_dataset("davis2017", "val", tmp_path)
    assert [s.name for s in apart] == ["bear", "cows"] and len(apart[0]) == 3
    assert set(np.unique(apart[0].label(0))) == {0, 1, 3, 255}
    merged = open_dataset("davis2016", "val", tmp_path)
    np.testing.assert_array_equal(merged[0].label(1), np.where(apart[0].label(1) == 3, 1, apart[0].label(1)))


def test_davis_test_dev_has_the_first_mask_alone(tmp_path):
    davis(tmp_path, split="test-dev", labeled=["00000"])
    sequence = open_dataset("davis2017", "test-dev", tmp_path)[0]
    assert sequence.label(0) is not None and sequence.label(1) is None


def test_davis_finds_whichever_resolution_holds_a_sequence(tmp_path, monkeypatch):
    davis(tmp_path, year="2016", names=["boat"], resolution="360p", gray=True)
    davis(tmp_path, year="2016", names=["cows"], resolution="480p", gray=True)
    (tmp_path / "ImageSets/2016/val.txt").write_text("boat\ncows\n")
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    boat, cows = open_dataset("davis2016", "val")
    monkeypatch.setenv("SST_DAVIS", "")  # is none
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "DAVIS2016").symlink_to(tmp_path)
    monkeypatch.setattr("sstlib.paths.DATA", tmp_path / "data")
    assert [sequence.name for sequence in open_dataset("davis2016", "val")] == ["boat", "cows"]
    assert boat.folder.parent.name == "360p" and cows.folder.parent.name == "480p"
    assert set(np.unique(boat.label(0))) == {0, 1}


def test_broken_davis_trees_are_told_by_file(tmp_path):
    davis(tmp_path)
    with pytest.raises(FileNotFoundError, match="ImageSets/2017/train.txt"):
        open_dataset("davis2017", "train", tmp_path)
    (tmp_path / "Annotations/480p/bear/00000.png").unlink()
    with pytest.raises(FileNotFoundError, match="bear/00000.png.*no mask"):
        open_dataset("davis2017", "val", tmp_path)
    for text, message in ((b"bear\nbear\n", "val.txt: lists bear twice"), (b"bear\xff", "val.txt: not UTF-8")):
        (tmp_path / "ImageSets/2017/val.txt").write_bytes(text)
        with pytest.raises(ValueError, match=message):
            open_dataset("davis2017", "val", tmp_path)
    (tmp_path / "ImageSets/2017/val.txt").write_text("tiger")
    with pytest.raises(FileNotFoundError, match="tiger"):
        open_dataset("davis2017", "val", tmp_path)
    with pytest.raises(ValueError, match="no split 'valid'"):
        open_dataset("davis2017", "valid", tmp_path)
    for name in ("davis2018", ""):
        with pytest.raises(ValueError, match=f"unknown data set '{name}'; known"):
            open_dataset(name)


def test_davis_sequences_are_found_by_any_name_and_with_every_mask(tmp_path):
    davis(tmp_path, names=["bear [1]"])
    (tmp_path / "JPEGImages/480p/bear [1]").rename(tmp_path / "JPEGImages/480p/bear[1]")
    (tmp_path / "Annotations/480p/bear [1]").rename(tmp_path / "Annotations/480p/bear[1]")
    (tmp_path / "ImageSets/2017/val.txt").write_bytes(b"\xef\xbb\xbfbear[1]\r\n")  # as some editors save it
    assert [sequence.name for sequence in open_dataset("davis2017", "val", tmp_path)] == ["bear[1]"]
    (tmp_path / "Annotations/480p/bear[1]/00001.png").unlink()
    with pytest.raises(FileNotFoundError, match="00001.png: no such mask; 1 of the . frames of bear.1. lack theirs"):
        open_dataset("davis2017", "val", tmp_path)


@pytest.mark.parametrize("level", ["", "480p"])
def test_a_tree_of_ones_own_needs_no_lists(tmp_path, level):
    for name, labeled in (("a10", ["00000"]), ("a9", [])):
        frames, masks = (tmp_path / part / level / name for part in ("JPEGImages", "Annotations"))
        write_sequence(frames, masks, ["00000", "00001"], labeled=labeled)
    first, second = open_dataset(str(tmp_path))
    assert (first.name, second.name) == ("a9", "a10")
    assert first.label(0) is None and second.label(0) is not None and second.label(1) is None
    write_sequence(tmp_path / "JPEGImages" / "other" / "a9", None, ["00000"], labeled=[])
    with pytest.raises(ValueError, match="other/a9.*has the same name"):
        open_dataset(str(tmp_path))


def test_a_folder_of_frames_with_masks_is_a_data_set_of_one(tmp_path):
    write_sequence(tmp_path / "clip", tmp_path / "clip" / "masks", ["f2", "f10"], labeled=["f2"])
    [sequence] = open_dataset(str(tmp_path / "clip"))
    assert sequence.frame_names == ["f2", "f10"] and sequence.label(0) is not None
    (tmp_path / "tree" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="JPEGImages: no folder in it"):
        open_dataset(str(tmp_path / "tree"))


DATA = DataConfig(height=45, width=67, frames=3, objects=3)


def test_training_samples_depend_on_their_own_index_alone():
    frames, labels = training_batch(DATA, seed=3, batch=4)
    assert frames.shape == (4, 3, 3, 45, 67) and labels.shape == (4, 3, 45, 67)
    assert frames.min() >= 0 and frames.max() <= 1
    again = training_batch(DATA, seed=3, batch=2, first=2)
    torch.testing.assert_close((frames[2:], labels[2:]), again, rtol=0, atol=0)
    assert not torch.equal(frames, training_batch(DATA, seed=4, batch=4)[0])


def test_samples_drawn_together_are_those_drawn_alone(monkeypatch):
    monkeypatch.setattr(samples, "LEAST_VISIBLE", 0.03)  # so that some are drawn anew
    together = samples.training_samples(DATA, 3, range(5))
    for index, (frames, labels) in enumerate(together):
        alone = samples.training_sample(DATA, 3, index)
        np.testing.assert_array_equal(frames, alone[0])
        np.testing.assert_array_equal(labels, alone[1])


@pytest.mark.gpu
def test_training_batches_are_rendered_on_a_gpu():
    frames, labels = training_batch(DATA, 3, 4, device="cuda")
    expected = training_batch(DATA, 3, 4)
    assert frames.is_cuda and labels.is_cuda and frames.shape == expected[0].shape
    assert (labels.cpu() != expected[1]).float().mean() < 1e-3
    assert (frames.cpu() - expected[0]).abs().mean() < 0.01


def test_the_speed_is_measured(tmp_path, capsys, monkeypatch):
    small = functools.partial(rendering.measure, rounds=1, frames=2, height=24, width=32)
    monkeypatch.setattr(rendering, "measure", small)
    config = tmp_path / "run.json"
    config.write_text(json.dumps({"data": DataConfig(height=24, width=32).to_dict(), "training": {"batch": 1}}))
    assert cli.main(["data", "speed", "--clips", "2", "--preset",
                     str(config), "--json",
                     str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record == json.loads(capsys.readouterr().out)
    assert min(record["frames_per_second"].values()) > 0 and record["clock"] == "processor"
    assert cli.main(["data", "speed", "--device", "gpu"]) == 2
    assert "--device is 'gpu'; expected cpu, cuda or cuda:NUMBER" in capsys.readouterr().err


def test_training_objects_all_show_in_the_reference_frame():
    for seed in range(6):
        _, labels = training_batch(DATA, seed, 2)
        for clip in labels:
            ids = clip.unique().tolist()
            assert set(ids) <= set(clip[0].unique().tolist())
            assert sorted(set(ids) - {0}) == list(range(1, len(set(ids) - {0}) + 1)) and len(ids) > 1


def test_davis_2016_lists_of_its_own_archive_are_read(tmp_path):
    davis(tmp_path, names=["bear", "cows"], gray=True)
    (tmp_path / "ImageSets/480p").mkdir()
    pairs = [
        f"/JPEGImages/480p/{name}/0000{t}.jpg /Annotations/480p/{name}/0000{t}.png"
        for name in ("cows", "bear")
        for t in range(3)
    ]
    (tmp_path / "ImageSets/480p/val.txt").write_text("\n".join(pairs))
    assert [s.name for s in open_dataset("davis2016", "val", tmp_path)] == ["cows", "bear"]


@pytest.mark.parametrize("part", ["JPEGImages", "Annotations"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_links_that_leave_the_data_set_are_told(tmp_path, part, whole):
    davis(tmp_path / "davis")
    davis(tmp_path / "other")
    inside, outside = (tmp_path / tree / part / "480p" / "bear" for tree in ("davis", "other"))
    if whole:
        for path in inside.iterdir():
            path.unlink()
        inside.rmdir()
        inside.symlink_to(outside)
    else:
        suffix = "jpg" if part == "JPEGImages" else "png"
        (inside / f"00001.{suffix}").unlink()
        (inside / f"00001.{suffix}").symlink_to(outside / f"00001.{suffix}")
    with pytest.raises(ValueError, match="bear/0000.*link that leads out"):
        open_dataset("davis2017", "val", tmp_path / "davis")


def test_wrong_sizes_and_damaged_frames_of_davis_are_told(tmp_path):
    davis(tmp_path)
    sequence = open_dataset("davis2017", "val", tmp_path)[0]
    video.write_mask(tmp_path / "Annotations/480p/bear/00001.png", np.zeros((5, 20), np.uint8))
    with pytest.raises(ValueError, match="bear/00001.png: the mask is 20x5"):
        sequence.label(1)
    frame = tmp_path / "JPEGImages/480p/bear/00002.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    with pytest.raises(ValueError, match="bear/00002.jpg"):
        sequence.frame(2)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "Annotations/480p/bear/00000.png")
    with pytest.raises(ValueError, match="bear/00000.png.*color image"):
        sequence.label(0)


def youtube(folder, split="valid"):
    """Two videos; in the second, object 4 starts at the second annotated frame."""
    names = [f"{5 * k:05d}" for k in range(4)]
    root = folder / split
    for video_name, ids in (("0a", (0, 2)), ("1b", (0, 1, 4))):
        write_sequence(
            root / "JPEGImages" / video_name,
            root / "Annotations" / video_name,
            names,
            ids=ids,
            labeled=["00000", "00005"],
        )
    meta = {
        "videos": {
            "1b": {
                "objects": {"1": {"category": "dog", "frames": names}, "4": {"category": "cat", "frames": names[1:]}}
            },
            "0a": {"objects": {"2": {"category": "bird", "frames": names[:3]}}},
        }
    }
    (root / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize("name", ["youtube2018", "youtube2019"])
def test_youtube_tells_which_objects_start_when_and_which_frames_are_scored(tmp_path, name):
    second, first = open_dataset(name, "valid", youtube(tmp_path))
    assert (first.name, second.name) == ("0a", "1b")
    assert first.starts == {2: "00000"} and first.scored == ["00000", "00005", "00010"]
    assert second.starts == {1: "00000", 4: "00005"} and second.categories == {1: "dog", 4: "cat"}
    assert set(np.unique(second.label(1))) == {0, 1, 4} and second.label(2) is None


def test_youtube_at_all_frames_takes_the_masks_of_valid(tmp_path):
    youtube(tmp_path)
    for name in ("0a", "1b"):
        write_sequence(
            tmp_path / "valid_all_frames/JPEGImages" / name, None, [f"{k:05d}" for k in range(16)], labeled=[]
        )
    second, first = open_dataset("youtube2019", "valid_all_frames", tmp_path)
    assert len(first) == 16 and first.label(5) is not None and first.label(1) is None
    assert first.scored == ["00000", "00005", "00010"]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda root: (root / "meta.json").unlink(), "meta.json: no such file"),
        (lambda root: (root / "meta.json").write_text("{}"), "meta.json: not as YouTube-VOS writes it"),
        (lambda root: (root / "meta.json").write_text('{"videos": {"0a": {}, "0a": {}}}'), "'0a' is there twice"),
        (lambda root: (root / "meta.json").write_text('{"videos": {"0a": {"objects": {"1": {}, "01": {}}}}}'), "'01'"),
        (
            lambda root: (root / "meta.json").write_text('{"videos": {"0a": {"objects": {"2": {"category": "x"}}}}}'),
            "meta.json: object 2 of video 0a.*frames",
        ),
        (lambda root: (root / "JPEGImages/1b/00010.jpg").unlink(), "1b/00010.jpg.*no such file"),
        (lambda root: (root / "Annotations/1b/00005.png").unlink(), "1b/00005.png: object 4"),
        (lambda root: [p.unlink() for p in (root / "JPEGImages/0a").iterdir()], "0a: no images"),
    ],
)
def test_broken_youtube_trees_are_told_by_file(tmp_path, damage, message):
    damage(youtube(tmp_path) / "valid")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_dataset("youtube2019", "valid", tmp_path)


def test_a_submission_holds_the_scored_frames_alone(tmp_path):
    sequences = open_dataset("youtube2019", "valid", youtube(tmp_path))
    results = tmp_path / "results"
    for sequence in sequences:
        for t, name in enumerate(sequence.frame_names):
            video.write_mask(results / sequence.name / f"{name}.png", sequence.label(t % 2))
    assert write_submission(tmp_path / "out.zip", results, sequences) == 7
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert (
            sorted(archive.namelist())[:2] == ["Annotations/0a/00000.png", "Annotations/0a/00005.png"]
            and len(archive.namelist()) == 7
        )
        (tmp_path / "one.png").write_bytes(archive.read("Annotations/1b/00005.png"))
    np.testing.assert_array_equal(video.read_mask(tmp_path / "one.png"), sequences[0].label(1))


def test_a_submission_is_by_palette_and_in_the_order_of_numbers_whatever_it_is_read_from(tmp_path):
    root = tmp_path / "valid"
    write_sequence(root / "JPEGImages/0a", root / "Annotations/0a", ["8", "9", "10"], ids=(0, 2), labeled=["8"])
    known = {"category": "bird", "frames": ["10", "8", "9"]}
    (root / "meta.json").write_text(json.dumps({"videos": {"0a": {"objects": {"2": known}}}}))
    [sequence] = open_dataset("youtube2019", "valid", tmp_path)
    assert sequence.scored == ["8", "9", "10"] and sequence.starts == {2: "8"}
    (tmp_path / "masks" / "0a").mkdir(parents=True)
    for name in sequence.scored:
        video.mask_image(sequence.label(0)).convert("RGB").save(tmp_path / "masks" / "0a" / f"{name}.png")
    write_submission(tmp_path / "out.zip", tmp_path / "masks", [sequence])
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [f"Annotations/0a/{name}.png" for name in ("8", "9", "10")]
        for name in archive.namelist():
            with archive.open(name) as file, Image.open(file) as image:
                assert image.mode == "P"
                np.testing.assert_array_equal(np.asarray(image), sequence.label(0))


def test_no_file_of_the_data_set_is_replaced_by_a_submission(tmp_path, capsys):
    youtube(tmp_path / "data")
    for one in open_dataset("youtube2019", "valid", tmp_path / "data"):
        for name in one.frame_names:
            video.write_mask(tmp_path / "masks" / one.name / f"{name}.png", one.label(0))
    meta = tmp_path / "data" / "valid" / "meta.json"
    before = meta.read_bytes()
    (tmp_path / "link.zip").symlink_to(meta)
    for out in (meta, tmp_path / "link.zip"):
        assert cli.main(["data", "submission", "youtube2019", str(tmp_path / "masks"), "--folder",
                         str(tmp_path / "data"), "--overwrite", "--out", str(out)]) == 2
        assert f"--out would replace {out}, a file of the data set" in capsys.readouterr().err
        assert meta.read_bytes() == before


def test_the_command_packs_a_submission(tmp_path, capsys):
    youtube(tmp_path)
    for one in open_dataset("youtube2019", "valid", tmp_path):
        for name in one.frame_names:
            video.write_mask(tmp_path / "masks" / one.name / f"{name}.png", one.label(0))
    command = ["data", "submission", "youtube2019", str(tmp_path / "masks"), "--folder", str(tmp_path), "--out"]
    assert cli.main([*command, str(tmp_path / "out.zip")]) == 0
    assert "7 masks" in capsys.readouterr().out and zipfile.is_zipfile(tmp_path / "out.zip")
    (tmp_path / "out.zip").write_bytes(b"an archive of one's own")
    assert cli.main([*command, str(tmp_path / "out.zip")]) == 2
    assert "out.zip; give another name, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "out.zip").read_bytes() == b"an archive of one's own"
    assert cli.main([*command, str(tmp_path / "out.zip"), "--overwrite"]) == 0
    assert zipfile.is_zipfile(tmp_path / "out.zip")
    with (tmp_path / "piped.zip").open("wb") as piped:  # a file that the shell has opened is not replaced
        ended = subprocess.run([sys.executable, "-m", "sstlib", *command, "-"], stdout=piped, stderr=subprocess.PIPE)
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(tmp_path / "piped.zip") as archive:
        assert len(archive.namelist()) == 7 and archive.testzip() is None
    command[2] = "davis2017"
    assert cli.main([*command, str(tmp_path / "other.zip")]) == 2
    assert "only youtube2018, youtube2019 are submitted" in capsys.readouterr().err


@pytest.mark.parametrize("damage, message", [
    (lambda path: path.unlink(), "00005.png: the server wants"),
    (lambda path: video.write_mask(path, np.zeros((5, 20), np.uint8)), "00005.png: the mask is 20x5"),
    (lambda path: video.write_mask(path, np.full(SHAPE, 9, np.uint8)), "00005.png: has object 9"),
])
def test_a_bad_submission_is_refused_and_nothing_is_left(tmp_path, damage, message):
    sequences = open_dataset("youtube2019", "valid", youtube(tmp_path))
    results = tmp_path / "results"
    for sequence in sequences:
        for name in sequence.frame_names:
            video.write_mask(results / sequence.name / f"{name}.png", sequence.label(0))
    damage(results / "1b" / "00005.png")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_submission(tmp_path / "out" / "out.zip", results, sequences)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("colors, words", [([0, 255, 255], "0 and 255: 255 is the object"),
                                           ([(0, 0, 0), (255, 0, 0), (0, 255, 0)], "by color: 1 = #00FF00, 2 = #FF00")])
def test_a_submission_of_masks_that_say_no_ids_is_refused(tmp_path, colors, words):
    """What was numbered here went to the server as the video's ids."""
    root = tmp_path / "valid"
    write_sequence(root / "JPEGImages/0a", root / "Annotations/0a", ["0", "1"], ids=(0, 1, 2), labeled=["0"])
    objects = {n: {"category": "bird", "frames": ["0", "1"]} for n in ("1", "2")}
    (root / "meta.json").write_text(json.dumps({"videos": {"0a": {"objects": objects}}}))
    [sequence] = open_dataset("youtube2019", "valid", tmp_path)
    (tmp_path / "masks" / "0a").mkdir(parents=True)
    labels = np.zeros(SHAPE, np.uint8)
    labels[:4, :4], labels[-4:, -4:] = 1, 2
    for name in sequence.scored:
        Image.fromarray(np.array(colors, np.uint8)[labels]).save(tmp_path / "masks" / "0a" / f"{name}.png")
    with pytest.raises(ValueError, match=f"0a: masks are read {words}.*, and 0a has objects 1, 2; save these ids"):
        write_submission(tmp_path / "out.zip", tmp_path / "masks", [sequence])
    assert not (tmp_path / "out.zip").exists()


def own_tree(folder):
    write_sequence(folder / "JPEGImages" / "bear", folder / "Annotations" / "bear", ["00000", "00001"])


def own_folder(folder):
    write_sequence(folder, folder / "masks", ["00000", "00001"])


LAYOUTS = {  # how a tree is written, where a frame of it is, where its mask is
    "davis2016": (lambda root: davis(root, year="2016", gray=True), "JPEGImages/480p/bear", "Annotations/480p/bear"),
    "davis2017": (davis, "JPEGImages/480p/bear", "Annotations/480p/bear"),
    "youtube2018": (youtube, "valid/JPEGImages/0a", "valid/Annotations/0a"),
    "youtube2019": (youtube, "valid/JPEGImages/0a", "valid/Annotations/0a"),
    "a tree of one's own": (own_tree, "JPEGImages/bear", "Annotations/bear"),
    "a folder of one's own": (own_folder, "", "masks"),
}


BREAKAGES = {  # what is done to the first frame and its mask, which of them the error names
    "missing mask": (lambda frame, mask: mask.unlink(), "mask"),
    "truncated JPEG": (lambda frame, mask: frame.write_bytes(frame.read_bytes()[:frame.stat().st_size // 2]), "frame"),
    "wrong size": (lambda frame, mask: video.write_mask(mask, np.ones((5, 20), np.uint8)), "mask"),
    "RGB mask": (lambda frame, mask: Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(mask), "mask"),
    "empty file": (lambda frame, mask: mask.write_bytes(b""), "mask"),
    "mask of no frame": (lambda frame, mask: mask.rename(mask.with_name("zebra.png")), "zebra"),
    "empty folder": (lambda frame, mask: [path.unlink() for path in frame.parent.glob("*.jpg")], "folder"),
    "link out of the tree": (lambda frame, mask: (mask.rename(outside(mask)), mask.symlink_to(outside(mask))), "mask"),
}
ALLOWED = {("missing mask", "own"), ("link out of the tree", "own")}  # one's own clips need no masks and may be links


def outside(mask):
    """A place beside the folder of all that a test writes to."""
    root = next(parent for parent in mask.parents if parent.name == "tree")
    return root.with_name("elsewhere.png")


@pytest.mark.parametrize("breakage", BREAKAGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_format_tells_each_breakage_by_its_file(tmp_path, layout, breakage):
    write, frames, masks = LAYOUTS[layout]
    root = tmp_path / "tree"
    write(root)
    frame, mask = root / frames / "00000.jpg", root / masks / "00000.png"

    def read_all():
        where = (layout, "val" if "davis" in layout else "valid", root) if layout in DATASETS else (str(root),)
        for sequence in open_dataset(*where):
            for t in range(len(sequence)):
                sequence.frame(t), sequence.label(t)

    read_all()
    damage, named = BREAKAGES[breakage]
    damage(frame, mask)
    before = sorted(root.rglob("*"))
    if (breakage, layout[-3:]) in ALLOWED:
        read_all()
    else:
        name = {"frame": str(frame), "mask": str(mask), "folder": str(frame.parent), "zebra": "zebra.png"}[named]
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(name)):
            read_all()
    assert sorted(root.rglob("*")) == before


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A training split of two sequences of 90x120 with one moving object each, as `DataConfig.real`."""
    for k, name in enumerate(("bear", "cows")):
        rng = np.random.default_rng(k)
        for t in range(9):
            labels = np.zeros((90, 120), np.uint8)
            labels[20:60, 10 + 5 * t:40 + 5 * t] = 1
            for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
                (tmp_path / folder / "480p" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(
                tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg"
            )
            video.write_mask(tmp_path / f"Annotations/480p/{name}/{t:05d}.png", labels)
    (tmp_path / "ImageSets/2016").mkdir(parents=True)
    (tmp_path / "ImageSets/2016/train.txt").write_text("bear\ncows\n")
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    samples.real_mixture.cache_clear()
    yield DATA.replace(real="davis2016", real_ratio=1.0)
    samples.real_mixture.cache_clear()


def test_real_clips_are_drawn_from_their_own_index_alone(real):
    frames, labels = training_batch(real, seed=0, batch=6)
    assert frames.shape == (6, 3, 3, 45, 67)
    torch.testing.assert_close((frames[3:5], labels[3:5]), training_batch(real, 0, 2, first=3), rtol=0, atol=0)
    assert all((clip[0] > 0).any() for clip in labels)
    assert labels.max() == 2  # pasted from another clip


def test_held_out_sequences_are_not_drawn(real):
    assert [s.name for s, _ in samples.real_mixture("davis2016", ("cows",))] == ["bear"]
    with pytest.raises(ValueError, match="'tiger'"):
        samples.real_mixture("davis2016", ("tiger",))
    with pytest.raises(ValueError, match="leaves no sequence"):
        samples.real_mixture("davis2016", ("bear", "cows"))


def test_a_mixture_draws_from_each_data_set_as_often_as_it_weighs(real, tmp_path):
    """davis2016 has bear and cows, davis2017 the goat alone; weights count data sets, not sequences."""
    (tmp_path / "ImageSets/2017").mkdir()
    (tmp_path / "ImageSets/2017/train.txt").write_text("goat\n")
    for part in ("JPEGImages", "Annotations"):
        shutil.copytree(tmp_path / part / "480p/bear", tmp_path / part / "480p/goat")
    for name, share in (("davis2016+davis2017", 0.5), ("davis2016+davis2017*3", 0.75), ("davis2016*4+davis2017", 0.2)):
        odds = {sequence.name: odds for sequence, odds in samples.real_mixture(name)}
        assert odds == pytest.approx({"bear": (1 - share) / 2, "cows": (1 - share) / 2, "goat": share})
    without = samples.real_mixture("davis2016+davis2017", ("bear",))
    assert {sequence.name: odds for sequence, odds in without} == {"cows": 0.5, "goat": 0.5}
    with pytest.raises(ValueError, match="leaves no sequence of davis2017"):
        samples.real_mixture("davis2016+davis2017", ("goat",))
    with pytest.raises(ValueError, match="names 'davis2016' twice"):
        samples.real_mixture("davis2016+davis2016")
    with pytest.raises(ValueError, match="data.real: the weight of davis2016 in .* is 0; expected a number above 0"):
        samples.real_mixture("davis2016*0+davis2017")
    with pytest.raises(ValueError, match="unknown data set 'davis'"):
        samples.real_mixture("davis2016+davis")


def test_draws_from_a_mixture_follow_its_odds(monkeypatch):
    drawn, empty = [], np.zeros((3, 1, 1, 3), np.uint8)
    monkeypatch.setattr(samples, "real_mixture", lambda *_: [("a", 0.1), ("b", 0.1), ("c", 0.8)])
    monkeypatch.setattr(samples.augmentation, "cut_clip",
                        lambda rng, sequence, *_: drawn.append(sequence) or (empty, empty[..., 0]))
    data = DATA.replace(real="one+two", real_ratio=1.0, pasted=0.0, relit=False)
    for seed in range(400):
        samples._real(np.random.default_rng(seed), data)
    assert len(drawn) == 400 and abs(drawn.count("c") / 400 - 0.8) < 0.06 and abs(drawn.count("a") / 400 - 0.1) < 0.05


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_frame_gaps_are_reflected_within_the_sequence(length):
    gaps = set()
    for seed in range(60):
        indices = augmentation.frame_indices(np.random.default_rng(seed), length, 5, 3, anywhere=False)
        assert len(indices) == 5 and all(0 <= i < length for i in indices)
        gaps |= set(np.abs(np.diff(indices)).tolist())
        apart = augmentation.frame_indices(np.random.default_rng(seed), length, 5, 3, anywhere=True)
        assert all(0 <= i < length for i in apart)
    assert gaps <= {0, 1, 2, 3} and (length < 40 or {1, 2, 3} <= gaps)


def test_crops_show_an_object_of_the_reference(real):
    sequence = open_dataset("davis2016", "train")[0]
    for seed in range(10):
        frames, labels = augmentation.cut_clip(np.random.default_rng(seed), sequence, 3, 31, 41)
        assert frames.shape == (3, 31, 41, 3) and set(np.unique(labels)) <= {0, 1}
        assert (labels[0] == 1).mean() >= augmentation.CROP_PIXELS


def test_clips_are_cut_from_labeled_frames_alone():
    frames = np.zeros((9, 40, 60, 3), np.uint8)
    frames += np.arange(9, dtype=np.uint8)[:, None, None, None]
    sequence = video.ArraySequence(frames, {t: np.ones((40, 60), np.uint8) for t in (1, 5, 6)})
    assert augmentation.labeled_frames(sequence) == [1, 5, 6]
    cut = [augmentation.cut_clip(np.random.default_rng(seed), sequence, 3, 20, 30)[0] for seed in range(5)]
    assert {int(frame[0, 0, 0]) for clip in cut for frame in clip} == {1, 5, 6}


@pytest.mark.skipif("SST_DAVIS" not in os.environ, reason="SST_DAVIS names no DAVIS folder")
@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_the_real_davis_2016_reads_whole(step):
    sequences = open_dataset("davis2016", "train") + open_dataset("davis2016", "val")
    assert len(sequences) == 50
    for sequence in sequences:
        assert len(sequence.masks) == len(sequence) > 10
        for t in range(0, len(sequence), step):
            frame, labels = sequence.frame(t), sequence.label(t)
            assert frame.shape[:2] == labels.shape and set(np.unique(labels)) <= {0, 1}


def test_kept_objects_are_renamed_and_the_rest_is_background():
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[:, 0, :3], labels[:, 1, :4], labels[1, 3], labels[:, 3, 0] = 3, 9, 5, 255
    relabeled = augmentation.keep_objects(np.random.default_rng(0), labels, 3)
    np.testing.assert_array_equal(relabeled, np.select([labels == 3, labels == 9, labels == 255], [1, 2, 255], 0))
    one = augmentation.keep_objects(np.random.default_rng(0), labels, 1)
    assert set(np.unique(one)) == {0, 1, 255}


def test_pasting_covers_and_names_what_is_pasted():
    below = np.zeros((2, 31, 41, 3), np.uint8), np.ones((2, 31, 41), np.uint8)
    masks = np.zeros((2, 31, 41), np.uint8)
    masks[:, 12:20, 15:25] = 1
    above = np.full((2, 31, 41, 3), 200, np.uint8), masks
    for labeled, name in ((True, 2), (False, 0)):
        frames, labels = augmentation.paste(np.random.default_rng(1), below, above, labeled)
        np.testing.assert_array_equal(frames[..., 0] == 200, labels == name)
        assert (labels == name).any() and not below[0].any()


def test_a_run_learns_from_trees_of_both_formats_in_one_mix(real, tmp_path, monkeypatch, capsys):
    """DAVIS 2017 and YouTube-VOS 2019 as their makers lay them out, with videos of both drawn."""
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "ImageSets/2017").mkdir()
    (tmp_path / "ImageSets/2017/train.txt").write_text("bear\n")
    videos = tmp_path / "YouTube-VOS-2019" / "train"
    for part in ("JPEGImages", "Annotations"):
        shutil.copytree(tmp_path / part / "480p/cows", videos / part / "0a")
    frames = [f"{t:05d}" for t in range(9)]
    meta = {"videos": {"0a": {"objects": {"1": {"category": "cow", "frames": frames}}}}}
    (videos / "meta.json").write_text(json.dumps(meta))
    mix = "davis2017*2+youtube2019"
    odds = {sequence.name: odds for sequence, odds in samples.real_mixture(mix)}
    assert odds == pytest.approx({"bear": 2 / 3, "0a": 1 / 3})
    changes = {"data.real": mix, "data.real_ratio": "1", "data.frames": "3", "data.height": "48", "data.width": "64",
               "training.steps": "2", "training.batch": "2"}
    status = cli.main(["train", "tiny", "--out", str(tmp_path / "run"), "--workers", "0",
                       *(word for change in changes.items() for word in ("--set", "=".join(change)))])
    assert status == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "curve.csv").read_text().count("\n") >= 2
