"""Readers of real data sets, each against a generated tree in its exact layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from sstlib import video
from sstlib.config import DataConfig
from sstlib.datasets import open_dataset, training_batch

SHAPE = (12, 20)


def write_sequence(frames, masks, names, ids=(0, 1), labelled=None, grey=False):
    rng = np.random.default_rng(len(names))
    frames.mkdir(parents=True)
    for k, name in enumerate(names):
        Image.fromarray(np.full((*SHAPE, 3), k, np.uint8)).save(frames / f"{name}.jpg")
        if labelled is None or name in labelled:
            labels = rng.choice(np.array(ids, np.uint8), SHAPE)
            if grey:
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels * 255).save(masks / f"{name}.png")
            else:
                video.write_mask(masks / f"{name}.png", labels)


def davis(folder, year="2017", split="val", resolution="480p", names=("bear", "cows"), **options):
    for name in names:
        write_sequence(folder / "JPEGImages" / resolution / name, folder / "Annotations" / resolution / name, ["00000", "00001", "00002"], **options)
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
    davis(tmp_path, split="test-dev", labelled=["00000"])
    sequence = open_dataset("davis2017", "test-dev", tmp_path)[0]
    assert sequence.label(0) is not None and sequence.label(1) is None


def test_davis_finds_whichever_resolution_holds_a_sequence(tmp_path, monkeypatch):
    davis(tmp_path, year="2016", names=["boat"], resolution="360p", grey=True)
    davis(tmp_path, year="2016", names=["cows"], resolution="480p", grey=True)
    (tmp_path / "ImageSets/2016/val.txt").write_text("boat\ncows\n")
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    boat, cows = open_dataset("davis2016", "val")
    assert boat.folder.parent.name == "360p" and cows.folder.parent.name == "480p"
    assert set(np.unique(boat.label(0))) == {0, 1}


def test_broken_davis_trees_are_told_by_file(tmp_path):
    davis(tmp_path)
    with pytest.raises(FileNotFoundError, match="ImageSets/2017/train.txt"):
        open_dataset("davis2017", "train", tmp_path)
    (tmp_path / "Annotations/480p/bear/00000.png").unlink()
    with pytest.raises(FileNotFoundError, match="bear/00000.png.*no mask"):
        open_dataset("davis2017", "val", tmp_path)
    (tmp_path / "ImageSets/2017/val.txt").write_text("tiger")
    with pytest.raises(FileNotFoundError, match="tiger"):
        open_dataset("davis2017", "val", tmp_path)
    with pytest.raises(ValueError, match="no split 'valid'"):
        open_dataset("davis2017", "valid", tmp_path)
    with pytest.raises(ValueError, match="davis2018.*known"):
        open_dataset("davis2018")


DATA = DataConfig(height=45, width=67, frames=3, objects=3)


def test_training_samples_depend_on_their_own_index_alone():
    frames, labels = training_batch(DATA, seed=3, batch=4)
    assert frames.shape == (4, 3, 3, 45, 67) and labels.shape == (4, 3, 45, 67)
    assert frames.min() >= 0 and frames.max() <= 1
    again = training_batch(DATA, seed=3, batch=2, first=2)
    torch.testing.assert_close((frames[2:], labels[2:]), again, rtol=0, atol=0)
    assert not torch.equal(frames, training_batch(DATA, seed=4, batch=4)[0])


def test_training_objects_all_show_in_the_reference_frame():
    for seed in range(6):
        _, labels = training_batch(DATA, seed, 2)
        for clip in labels:
            ids = clip.unique().tolist()
            assert set(ids) <= set(clip[0].unique().tolist())
            assert sorted(set(ids) - {0}) == list(range(1, len(set(ids) - {0}) + 1)) and len(ids) > 1
