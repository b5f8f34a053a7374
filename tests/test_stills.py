"""Clips made of one frame with masks, and weights adapted to a video by them."""

import numpy as np
import pytest
from PIL import Image

from sstlib import weights
from sstlib.cli import build_parser, main
from sstlib.cli.adapt import prepared
from sstlib.config import MODELS, ModelConfig
from sstlib.config.presets import adaptation
from sstlib.datasets import open_dataset, stills, training_sample
from sstlib.experiments import adapting, records
from sstlib.training import train
from sstlib.video import VOID, write_mask

COLORS = {1: (220, 30, 30), 2: (30, 30, 220)}


def still(rows=60, columns=100):
    """A gray frame with a red and a blue square, and void around the red one."""
    frame, labels = np.full((rows, columns, 3), 128, np.uint8), np.zeros((rows, columns), np.uint8)
    labels[18:42, 18:42] = VOID
    for identity, part in ((1, np.s_[20:40, 20:40]), (2, np.s_[30:50, 60:80])):
        frame[part], labels[part] = COLORS[identity], identity
    return frame, labels


@pytest.mark.parametrize("apart", [False, True])
def test_a_moving_clip_is_labeled_where_its_objects_are(monkeypatch, apart):
    monkeypatch.setattr(stills, "APART", float(apart))
    frame, labels = still()
    drawn = []
    for seed in range(12):
        frames, masks = stills.moving_clip(np.random.default_rng(seed), frame, labels, 4, 48, 80)
        assert frames.shape == (4, 48, 80, 3) and masks.shape == (4, 48, 80) and frames.dtype == masks.dtype == np.uint8
        red, blue = (np.argmax(COLORS[o]) for o in (1, 2))
        other = frames.astype(int) - frames.mean(3, keepdims=True)
        for identity, channel in ((1, red), (2, blue)):
            inside = other[masks == identity][:, channel]
            assert not len(inside) or np.median(inside) > 40  # the color of the object, whatever its light
        unlabeled = np.abs(other[masks == 0]).max(1) > 60
        assert unlabeled.mean() < 0.02  # edges alone: neither object is left where it was cut out
        assert (masks == VOID).any() <= (not apart)
        drawn.append(masks)
    assert sum((one[0] != one[-1]).any() for one in drawn) == 12  # all moves
    assert sum(one[0].any() for one in drawn) >= 10  # and is mostly seen


def test_objects_move_by_themselves_only_apart(monkeypatch):
    """The distance of two objects over their size changes where each has a path, and not where the camera moves."""
    frame, labels = still()

    def changes(seed):
        _, masks = stills.moving_clip(np.random.default_rng(seed), frame, labels, 5, 240, 400)
        ratios = []
        for one in masks:
            places = [np.argwhere(one == o) for o in (1, 2)]
            if any(len(place) < 4000 or place.min() == 0 or (place.max(0) >= (239, 399)).any() for place in places):
                continue  # cut by the border, or covered
            apart = np.linalg.norm(places[0].mean(0) - places[1].mean(0))
            ratios.append(apart / np.sqrt(np.mean([len(place) for place in places])))
        return max(ratios) / min(ratios) - 1 if len(ratios) > 1 else None

    both = []
    for probability in (0.0, 1.0):
        monkeypatch.setattr(stills, "APART", probability)
        seen = [change for change in map(changes, range(30)) if change is not None]
        assert len(seen) >= 5
        both.append(np.median(seen))
    assert both[0] < 0.05 < 0.1 < both[1]


def test_a_frame_without_an_object_is_refused():
    with pytest.raises(ValueError, match="no object"):
        stills.moving_clip(np.random.default_rng(0), still()[0], np.zeros((60, 100), np.uint8), 4, 48, 80)


def test_stills_are_written_as_sequences_of_one_frame_and_trained_on_as_clips(tmp_path):
    frame, labels = still()
    stills.write(tmp_path, "dog", {"00003": (frame, labels), "00010": (frame, labels)}, 50)
    sequences = open_dataset(str(tmp_path))
    assert [one.name for one in sequences] == ["dog-00003", "dog-00010"]
    assert sequences[0].frame(0).shape == (30, 50, 3) and stills.objects(sequences[0].label(0)) == [1, 2]
    data = adaptation(MODELS["sst-tiny"], "", tmp_path, labels.shape, 2).data
    assert (data.height, data.width) == (64, 96)
    first, again = (training_sample(data, 0, 3) for _ in range(2))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all() and (first[1][0] != first[1][-1]).any()


def test_what_others_trained_and_what_was_calibrated_does_not_learn(tmp_path):
    size = (480, 854)
    assert adaptation(MODELS["sst-photo"], "a", tmp_path, size, 1).training.freeze == ("backbone.trunk", "presence.")
    config = adaptation(ModelConfig(), "a", tmp_path, size, 1)
    assert config.training.freeze == () and config.training.start == "a"
    assert (config.data.height, config.data.width) == (288, 512)


@pytest.fixture
def folder(tmp_path):
    """A video of three equal frames, and the mask of the first."""
    frame, labels = still()
    (tmp_path / "clip").mkdir()
    for t in range(3):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{t:05d}.png")
    write_mask(tmp_path / "mask.png", labels)
    return tmp_path


def test_the_command_adapts_and_goes_on_to_the_same_weights(folder, tiny_weights, capsys):
    whole, parts = folder / "whole", folder / "parts"
    command = ["adapt", str(folder / "clip"), "--mask", str(folder / "mask.png"), "--weights", str(tiny_weights),
               "--steps", "3", "--threads", "1"]
    assert main([*command, "--out", str(whole)]) == 0
    assert "give them to sst segment --weights" in capsys.readouterr().out
    before, after = weights.load(tiny_weights), weights.load(whole / "weights.safetensors")
    assert after.config == before.config and after.longest == before.longest
    changed = {name for name, value in after.named_parameters() if (value != before.get_parameter(name)).any()}
    assert any(name.startswith("decoder.") for name in changed)
    assert main(["segment", str(folder / "clip"), "--mask", str(folder / "mask.png"), "--weights",
                 str(whole / "weights.safetensors"), "--out", str(folder / "masks")]) == 0

    config = prepared(build_parser().parse_args([*command, "--out", str(parts)]))
    train(config, parts, until=2, quiet=True)  # then interrupted
    assert main([*command, "--out", str(parts)]) == 0
    resumed = weights.load(parts / "weights.safetensors")
    assert resumed.longest == after.longest
    assert all((value == after.get_parameter(name)).all() for name, value in resumed.named_parameters())


def test_a_run_on_other_masks_is_not_taken_for_this_one(folder, tiny_weights, capsys):
    command = ["adapt", str(folder / "clip"), "--weights", str(tiny_weights), "--steps", "1", "--threads", "1", "--out",
               str(folder / "out")]
    assert main([*command, "--mask", str(folder / "mask.png")]) == 0
    other = np.zeros((60, 100), np.uint8)
    other[5:20, 5:20] = 1
    write_mask(folder / "other.png", other)
    assert main([*command, "--mask", str(folder / "other.png")]) == 2
    assert "holds an adaptation to other frames or masks" in capsys.readouterr().err
    assert main([*command, "--mask", str(folder / "other.png"), "--absent", "1@2"]) == 2
    assert main([*command[:-1], str(folder / "clip"), "--mask", str(folder / "mask.png")]) == 2
    assert "which is read" in capsys.readouterr().err


def test_what_is_won_is_told_by_split():
    ways = {way: {"sequences": {name: {"J&F": value + 0.01 * n} for n, name in enumerate("abc")}, "tenths": [90, last]}
            for way, value, last in ((adapting.RELEASED, 0.5, 40.0), (adapting.ADAPTED, 0.6, 60.0))}
    ways[adapting.ADAPTED]["sequences"]["a"]["J&F"] = 0.63
    record = records.RunRecord(adapting.EXPERIMENT, "one", 0, {}, {"train": ways, "val": ways}, {})
    held_out, validation = adapting.sentences(record)
    assert "3 held-out sequences: J&F 62.0, 51.0 without, +11.0 (+6.7 to +15.3)" in held_out
    assert "J in the last tenth 60.0, 40.0 without." in validation
