"""DAVIS-Occlusion, composed of a DAVIS made here: the target hidden for just as long as it should be, truth exact."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sstlib.cli import main
from sstlib.datasets import davis_compositions, davis_occlusion, davis_occlusion_scenes, manifests, open_dataset
from sstlib.datasets.davis_compositions import BYSTANDER, FRAMES, LENGTHS, RAMP, TARGET
from sstlib.evaluation.occlusion_windows import first_copied, follow, nothing_predicted, passage
from sstlib.video import write_mask

REAL = os.environ.get("SST_DAVIS")
# half width and height, of 160x90 pixels
CASES = {"ball": (12, 9), "box": (14, 30), "car": (22, 12), "dog": (10, 12), "egg": (9, 9)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Five sequences of one solid object each, which sways; every object of its own color on gray noise of its own."""
    folder = tmp_path_factory.mktemp("DAVIS")
    y, x = np.mgrid[:90, :160]
    for number, (name, (wide, high)) in enumerate(CASES.items()):
        for t in range(0, 24, 2):
            middle = 80 + 20 * np.sin(t / 6 + number), 45 + 8 * np.cos(t / 5 + number)
            mask = ((x - middle[0]) / wide) ** 4 + ((y - middle[1]) / high) ** 4 <= 1
            pixels = np.random.default_rng((number, t)).integers(90, 130, (90, 160, 1), np.uint8).repeat(3, 2)
            pixels[mask] = np.roll((240, 30, 30), number) if number < 3 else np.roll((230, 230, 20), number)
            path = folder / f"JPEGImages/480p/{name}/{t:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)
            write_mask(folder / f"Annotations/480p/{name}/{t:05d}.png", mask.astype(np.uint8))
    (folder / "ImageSets/2016").mkdir(parents=True)
    for split in ("val", "train"):
        (folder / f"ImageSets/2016/{split}.txt").write_text("\n".join(CASES))
    return folder


@pytest.fixture(scope="module")
def davis(place):
    """The variable that names it, and a benchmark of two scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SST_DAVIS", str(place))
        patch.setattr(davis_occlusion, "SCENES", {"test": 2})
        forget()
        yield place
    forget()


def forget():
    """What was read and composed: these tests change what it was made of."""
    for name in ("material", "covers", "shown", "beneath"):
        getattr(davis_compositions, name).cache_clear()
    davis_occlusion._held.cache_clear()
    manifests.stated.cache_clear()


@pytest.fixture(scope="module")
def manifest(davis, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "manifest.json"
    davis_occlusion.write_manifest(path)
    return path.read_text()


@pytest.fixture
def stated(manifest, tmp_path, monkeypatch):
    """The manifest of the two scenes, in a file of this test's own."""
    path = tmp_path / "manifest.json"
    path.write_text(manifest)
    monkeypatch.setattr(davis_occlusion, "MANIFEST", path)
    manifests.stated.cache_clear()
    davis_occlusion._held.cache_clear()
    return path


def test_splits_share_no_sequence_and_no_clip():
    stated = json.loads(davis_occlusion.MANIFEST.read_text())
    assert stated["version"] == davis_occlusion.VERSION
    made, clips = {split: set() for split in davis_occlusion.SCENES}, []
    for split, count in davis_occlusion.SCENES.items():
        scenes = [one for one in stated["scenes"].values() if one["split"] == split]
        assert len(scenes) == count
        for one in scenes:
            assert tuple(map(int, one["clips"])) == LENGTHS
            parts = {one["scene"][part] for part in ("ground", "target", "occluder")}
            assert len(parts) == 3
            made[split] |= parts
            clips += [clip["sha256"] for clip in one["clips"].values()]
    assert len(set(clips)) == len(clips)
    assert made["val"] <= set(davis_compositions.HELD_OUT)
    assert not made["train"] & made["val"] and not made["test"] & (made["train"] | made["val"])


def test_the_target_is_hidden_for_just_so_long_and_all_else_is_alike(stated):
    rows = list(davis_occlusion.scenes("test"))
    assert len(rows) == 2 and all(tuple(clip.length for clip in row) == LENGTHS for row in rows)
    assert rows[0][0].scene.target != rows[1][0].scene.target
    for row in rows:
        onset, control = row[0].scene.onset, row[0].clip
        assert 4 + RAMP <= onset and onset + max(LENGTHS) + RAMP + 8 <= FRAMES
        full, seen = control.amodal.sum((1, 2)), (control.labels == TARGET).sum((1, 2))
        assert np.array_equal(seen, full) and (full > 0).all()
        for clip in row[1:]:
            time = np.arange(FRAMES)
            hidden = (time >= onset) & (time < onset + clip.length)
            seen = (clip.clip.labels == TARGET).sum((1, 2))
            assert np.array_equal(seen == 0, hidden)
            whole = (time <= onset - RAMP) | (time >= onset + clip.length - 1 + RAMP)
            assert np.array_equal(seen[whole], full[whole])
            assert np.array_equal(clip.amodal, control.amodal)
            same = time <= onset - RAMP
            assert np.array_equal(clip.clip.frames[same], control.frames[same])
            assert np.array_equal(clip.clip.labels[same], control.labels[same])
            both = (clip.clip.labels == control.labels) & (control.labels > 0)
            differ = (clip.clip.frames[both] != control.frames[both]).any(-1)
            assert differ.mean() < 0.01, "objects that are seen in both look the same, but for the occluder's soft rim"
        assert (control.labels[0] == BYSTANDER).any()


def test_no_scene_is_good_whose_occluder_comes_too_near_or_whose_bystander_is_not_given_whole(stated, davis):
    first = next(davis_occlusion.scenes("test"))[0]
    scene, masks = first.scene, davis_compositions.placed_target(first.scene, "test", davis)
    cover = davis_compositions.covers("test", davis, scene.occluder)[scene.occluder_frame]
    occluder = davis_compositions.cut_out(cover, cover, scene.enlarged)
    good = {}
    for apart in range(scene.apart, scene.apart // 2, -3):
        near = scene.replace(apart=apart)
        over = davis_compositions.occluded(near, 0, masks, occluder)
        touched = any((own & mask).any() for own, mask in zip(over, masks))
        good.setdefault(touched, set()).add(davis_occlusion_scenes._is_good(near, masks, "test", davis))
    assert True in good[False] and good[True] == {False}
    masks[0][tuple(place[::5] for place in np.nonzero(first.label(0) == BYSTANDER))] = True
    assert not davis_occlusion_scenes._is_good(scene, masks, "test", davis)


def test_no_scene_has_parts_that_are_too_small_or_too_large(stated, davis, monkeypatch):
    """Each bound is put to just above and just below what a scene has: share of the frame, and enlargement of 4."""
    scene, scenes = next(davis_occlusion.scenes("test"))[0].scene, davis_occlusion_scenes
    masks = davis_compositions.placed_target(scene, "test", davis)
    cover = davis_compositions.covers("test", davis, scene.occluder)[scene.occluder_frame]
    large = davis_compositions.cut_out(cover, cover, scene.enlarged).cover >= 128
    target = scenes._shown("test", davis, scene.target, scene.target_start).mean((1, 2)).min()
    bystander = scenes._shown("test", davis, scene.ground, scene.ground_start).mean((1, 2)).min()
    for factor, good in ((0.99, True), (1.01, False)):
        monkeypatch.setattr(scenes, "OCCLUDER", large.sum() / masks[0].size / factor)
        assert (scenes._with_occluder(scene, masks, "test", davis) is not None) == good
        monkeypatch.setattr(scenes, "LEAST", factor * bystander)
        assert scenes._is_seen(scene, "test", davis) == good
        monkeypatch.setattr(scenes, "LEAST", factor * target * scene.reduced**2)
        assert (scenes._with_target(np.random.default_rng(0), scene, "test", davis) is not None) == good
        monkeypatch.setattr(scenes, "LEAST", 0)
    monkeypatch.setattr(scenes, "OCCLUDER", 100)
    monkeypatch.setattr(scenes, "SOLID", 0)
    assert scenes._with_occluder(scene, np.ones_like(masks), "test", davis) is None, "enlarged more than 4 times"


def test_no_scene_has_a_bystander_that_is_not_seen_or_a_target_that_would_leave_the_frame(stated, davis, monkeypatch):
    scene, scenes = next(davis_occlusion.scenes("test"))[0].scene, davis_occlusion_scenes
    monkeypatch.setattr(scenes, "_is_seen", lambda *_: False)
    assert scenes._find(np.random.default_rng(0), scene.target, [*CASES], "test", davis) is None
    wide = np.zeros((FRAMES, davis_compositions.HEIGHT, davis_compositions.WIDTH), bool)
    for t, left in enumerate(np.linspace(0, wide.shape[2] - 60, FRAMES).astype(int)):
        wide[t, 100:160, left:left + 60] = True
    monkeypatch.setattr(scenes, "_shown", lambda *_: wide)
    assert scenes._with_target(np.random.default_rng(0), scene, "test", davis) is None


def test_labels_are_the_objects_colors(stated):
    """Every object has one color: where the frame shows it, there its label is and nowhere else, but for rims."""
    colors = {name: np.roll((240, 30, 30), n) if n < 3 else np.roll((230, 230, 20), n) for n, name in enumerate(CASES)}
    for row in davis_occlusion.scenes("test"):
        clip, scene = row[3].clip, row[3].scene
        for value, name in ((TARGET, scene.target), (BYSTANDER, scene.ground)):
            alike = (np.abs(clip.frames.astype(int) - colors[name]).max(-1) < 25)
            assert (clip.labels[alike] == value).mean() > 0.98 and alike[clip.labels == value].mean() > 0.8


def test_scenes_are_found_again_and_composed_the_same(stated, tmp_path):
    forget()
    davis_occlusion.write_manifest(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == stated.read_text()
    assert len(davis_occlusion.content_hash("test")) == 16
    assert [clip.name for clip in open_dataset("davis-occlusion", "test")][:2] == ["test-00-00", "test-00-01"]


def test_clips_plug_into_the_measure_of_occlusions(stated):
    row = next(davis_occlusion.scenes("test"))
    tracks = {}
    for name, floor in (("truth", lambda labels: labels), ("copied", first_copied), ("nothing", nothing_predicted)):
        tracks[name] = [follow(floor(clip.clip.labels), clip.clip.labels, clip.amodal) for clip in (row[4], row[0])]
    truth, copied, nothing = (passage(*tracks[name]) for name in ("truth", "copied", "nothing"))
    assert truth.soon == truth.soon_control == truth.end == 1 and truth.claimed == 0
    assert nothing.soon == 0 and nothing.claimed == 0 and copied.claimed > 0.3 and 0 < copied.soon < 1


def test_another_davis_is_refused_and_another_decoder_is_not(stated):
    content = json.loads(stated.read_text())
    clips = content["scenes"]["test-00"]["clips"]
    clips["4"]["sha256"] = clips["8"]["sha256"] = "0" * 32
    clips["8"]["thumbnail"][0] += 3
    stated.write_text(json.dumps(content))
    forget()
    row = {clip.length: clip for clip in next(davis_occlusion.scenes("test"))}
    assert len(row[4].clip.frames) == FRAMES
    with pytest.raises(ValueError, match="clip test-00-08 is not that of DAVIS-Occlusion version 1"):
        row[8].frame(0)


def test_what_was_read_of_one_copy_is_not_taken_for_another(stated, tmp_path, monkeypatch):
    assert len(open_dataset("davis-occlusion", "test")) == 14
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no list of the val sequences"):
        open_dataset("davis-occlusion", "test")


def test_one_command_writes_it_in_davis_layout(stated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(davis_occlusion, "LENGTHS", (0, 2))
    assert main(["data", "davis-occlusion", "--split", "test", "--out", str(tmp_path / "out")]) == 0
    assert "content" in capsys.readouterr().out
    read = open_dataset(str(tmp_path / "out"))
    assert sorted(one.name for one in read) == ["test-00-00", "test-00-02", "test-01-00", "test-01-02"]
    clip = next(davis_occlusion.scenes("test"))[1]
    one = next(one for one in read if one.name == "test-00-02")
    assert np.array_equal(one.label(9), clip.label(9)) and np.abs(one.frame(9).astype(int) - clip.frame(9)).mean() < 6
    amodal = np.asarray(Image.open(tmp_path / "out/Amodal/test-00-02/00009.png"))
    assert np.array_equal(amodal, clip.amodal[9])
    index = json.loads((tmp_path / "out/test.json").read_text())
    assert index["clips"]["test-00-02"]["length"] == 2 and index["clips"]["test-00-02"]["scene"]["target"] in CASES


@pytest.mark.parametrize("length", LENGTHS)
def test_the_occluder_comes_stays_and_goes(length):
    away = davis_compositions.offsets(30, 8, length)
    expected = [max(8 - t, t - (8 + length - 1), 0) * 10 for t in range(FRAMES)]
    assert away.tolist() == (expected if length else [max(30, value) for value in expected])


@pytest.mark.skipif(REAL is None, reason="SST_DAVIS names no DAVIS folder")
def test_scenes_of_the_real_one_hide_their_target_for_just_so_long():
    forget()
    for clip in list(davis_occlusion.scenes("test", Path(REAL)))[5][::3]:
        seen = (clip.clip.labels == TARGET).any((1, 2))
        hidden = np.arange(FRAMES) - clip.scene.onset
        assert np.array_equal(~seen, (hidden >= 0) & (hidden < clip.length))
        assert davis_occlusion.fingerprint(clip.clip).thumbnail == pytest.approx(clip.stated.thumbnail, abs=2)
    forget()


def test_validation_scenes_are_of_sequences_that_no_recipe_trains_on():
    from sstlib.config.presets import HELD_OUT

    assert davis_compositions.HELD_OUT == HELD_OUT
