"""SST-Occlusion 2: its scenes, its content, and networks and floors scored on pairs."""

import collections
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sstlib import video
from sstlib.cli import main
from sstlib.datasets import DATASETS, manifests, open_dataset, sst_occlusion, sst_occlusion_2
from sstlib.evaluation import Evaluation, evaluate_on
from sstlib.evaluation import passages as scored
from sstlib.evaluation.occlusion_windows import Windows, first_copied, nothing_predicted
from sstlib.evaluation.passages import segment_scenes
from sstlib.experiments.records import RunRecord
from sstlib.releasing import card
from sstlib.synthetic.paired import FRAMES, LENGTHS
from sstlib.synthetic.spec import BACK


def test_every_scene_comes_at_every_length_with_one_onset_and_splits_share_none():
    stated = json.loads(sst_occlusion_2.MANIFEST.read_text())
    assert stated["version"] == sst_occlusion_2.VERSION == 2
    seeds = [tuple(one["seed"]) for one in stated["scenes"].values()]
    assert len(set(seeds)) == len(seeds) == sum(sst_occlusion_2.SCENES.values())
    assert sst_occlusion_2.SCENES["test"] >= 24
    for split, count in sst_occlusion_2.SCENES.items():
        rows = list(sst_occlusion_2.scenes(split))
        assert len(rows) == count
        for row in rows:
            assert tuple(sequence.length for sequence in row) == LENGTHS
            [scene] = {sequence.scene for sequence in row}
            known = stated["scenes"][row[0].scene_name]
            assert known["onset"] == scene.onset and set(known["clips"]) == {str(length) for length in LENGTHS}
            assert scene.onset + max(LENGTHS) + BACK + 3 <= FRAMES and scene.spec.frames == FRAMES
    names = [
        sequence.name for split in sst_occlusion_2.SCENES for row in sst_occlusion_2.scenes(split) for sequence in row
    ]
    assert len(set(names)) == len(names)
    assert len({sst_occlusion_2.content_hash(split) for split in sst_occlusion_2.SCENES}) == 2


def test_a_clip_is_what_the_manifest_states():
    sequences = open_dataset("sst-occlusion-2", "val")
    sequence = next(one for one in sequences if one.length == 4)
    share = sequence.clip.visible_share[:, 0]  # raises where the content differs
    onset = sequence.scene.onset
    assert np.flatnonzero(share == 0).tolist() == list(range(onset, onset + 4))
    assert isinstance(sequence, video.Sequence) and len(sequence) == len(sequence.frame_names) == FRAMES
    np.testing.assert_array_equal(sequence.frame(3), sequence.clip.frames[3])
    assert set(np.unique(sequence.label(0))) == {0, 1, 2}
    assert len(Windows.of(share).back) == BACK


def test_other_content_is_refused(monkeypatch):
    row = next(sst_occlusion_2.scenes("val"))
    known = json.loads(json.dumps(manifests.stated(sst_occlusion_2.MANIFEST, "scenes")))
    monkeypatch.setattr(manifests, "stated", lambda path, kind: known)
    monkeypatch.setattr(type(row[0].scene), "clip", lambda self, length: made)
    made = sst_occlusion.render(replace(row[0].scene.spec, frames=16, height=48, width=64, occlusion=1), 3)
    sst_occlusion_2._rendered.cache_clear()
    with pytest.raises(ValueError, match=f"clip {row[2].name} is not that of SST-Occlusion version 2"):
        row[2].frame(0)
    known[row[2].scene_name]["clips"]["2"] = sst_occlusion.fingerprint(made)
    np.testing.assert_array_equal(row[2].frame(5), made.frames[5])
    sst_occlusion_2._rendered.cache_clear()


def test_no_folder_is_read(tmp_path):
    with pytest.raises(ValueError, match="SST-Occlusion 2 is rendered"):
        open_dataset("sst-occlusion-2", "test", tmp_path)


class Drawn:
    """A square that stays, and is hidden from frame 6 on for some frames."""

    def __init__(self, length):
        self.amodal = np.zeros((20, 16, 16), bool)
        self.amodal[:, 4:10, 4:10] = True
        self.labels = self.amodal.astype(np.uint8)
        self.labels[6 : 6 + length] = 0

    def __len__(self):
        return len(self.labels)

    def frame(self, t):
        return np.repeat(self.labels[t][..., None], 3, axis=2) * 255

    def label(self, t):
        return self.labels[t]


def test_scenes_are_segmented_length_by_length_against_their_control():
    reads = collections.Counter()

    class Rendered(Drawn):
        def frame(self, t):
            reads[self, t] += 1
            return super().frame(t)

    scenes = [[Rendered(0), Rendered(1), Rendered(4)], [Rendered(0), Rendered(2), Rendered(3)]]

    def forgetful(frames, labels):
        """Follows what is bright, until it has been dark for two frames."""
        result, gone = [labels[0]], 0
        for frame in frames[1:]:
            gone = gone + 1 if not frame.any() else gone if gone >= 2 else 0
            result.append((frame[..., 0] > 0).astype(np.uint8) * (gone < 2))
        return np.stack(result)

    result, copied, empty = segment_scenes(scenes, {
        "forgetful": forgetful, "copied": lambda _, labels: first_copied(labels),
        "empty": lambda _, labels: nothing_predicted(labels)}).values()
    assert result.loss().tolist() == [[0, 1], [1, 1]] and result["claimed"].tolist() == [[0, 0], [0, 0]]
    assert copied["claimed"].tolist() == [[1, 1], [1, 1]] and copied.loss().tolist() == [[0, 0], [0, 0]]
    assert set(reads.values()) == {1}  # for all three
    assert empty["back_control"].tolist() == [[0, 0], [0, 0]] and np.isnan(empty["bystander"]).all()


@pytest.fixture
def toy(monkeypatch):
    """A data set of two scenes of squares, whose clips have names and lengths."""
    rows = []
    for number in range(2):
        row = []
        for length in (0, 2, 5):
            clip = Drawn(length)
            clip.name, clip.scene_name, clip.length = f"{number}-{length}", str(number), length
            clip.frame_names = [f"{t:05d}" for t in range(len(clip))]
            row.append(clip)
        rows.append(tuple(row))
    entry = DATASETS["sst-occlusion-2"]
    monkeypatch.setitem(DATASETS, "sst-occlusion-2", replace(
        entry, scenes=lambda split, folder=None: iter(rows), content=lambda split: "0123"))
    return rows


def test_a_card_tells_what_an_occlusion_costs(toy):
    """A mask that comes back after a frame in which the square is seen again: J 0, then 1 in the four after it."""
    def late(frames, labels):
        seen = (labels == 1).any((1, 2))
        returns = np.flatnonzero(~seen)
        predicted = (labels == 1).astype(np.uint8)
        if len(returns):
            predicted[returns[-1] + 1] = 0
            predicted[returns, 0, 0] = 1
        return predicted

    tables = {name: table.to_dict() for name, table in segment_scenes(toy, {"predictions": late}).items()}
    table = {"lengths": [2, 5], "scenes": ["0", "1"], "tables": tables}
    record = RunRecord("davis-occlusion", "sst-new", 0, {}, {"occlusion": {"passages": table}}, {},
                       {"data": "toys 1 test"})
    text = card._hidden(record)
    assert "toys 1 test" in text[0] and text[2].startswith("2 scenes") and card._hidden(None) == []
    area = toy[0][0].amodal[0].sum()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text if line.startswith("| this network")]
    for row, length in zip(rows, ("2", "5"), strict=True):
        claimed = f"{1 / area:.2f}"
        assert row[:4] == ["this network", length, "80.0 (80.0 to 80.0)", "100.0"]
        assert row[4:6] == [f"{claimed} ({claimed} to {claimed})", claimed]
        assert row[6] == "100.0"


def test_a_card_tells_a_scene_that_claims_much_from_many_that_claim_something(toy):
    right = segment_scenes(toy, {"right": lambda _, labels: labels})["right"]
    table = {name: [*rows, rows[0]] for name, rows in right.to_dict().items()}
    table["claimed"] = [[0.0, 0.5], [0.0, 0.5], [3.0, 0.5]]
    passages = {"lengths": [2, 5], "scenes": ["0", "1", "2"], "tables": {"predictions": table}}
    record = RunRecord("davis-occlusion", "sst-new", 0, {}, {"occlusion": {"passages": passages}}, {}, {"data": "toys"})
    rows = [line.split("|") for line in card._hidden(record) if line.startswith("| this network")]
    assert [[cell.strip() for cell in row[5:7]] for row in rows] == [["1.00 (0.00 to 3.00)", "0.00"],
                                                                    ["0.50 (0.50 to 0.50)", "0.50"]]


@pytest.mark.parametrize("scenes", [True, False])
def test_whole_clips_are_scored_as_the_entry_says(toy, tmp_path, monkeypatch, scenes):
    """YouTube-VOS's protocol scores the last frame too; the first may be a picture, as it is never read."""
    for clip in (clips := [clip for row in toy for clip in row]):
        clip.clip = SimpleNamespace(labels=clip.labels, visible_share=(clip.labels == 1).mean((1, 2))[:, None])
        for frame, labels in zip(clip.frame_names, clip.labels):
            video.write_mask(tmp_path / clip.name / f"{frame}.png", labels)
        Image.new("RGB", (16, 16), (7, 70, 200)).save(tmp_path / clip.name / f"{clip.frame_names[0]}.png")
    entry = replace(DATASETS["sst-occlusion-2"], protocol="youtube", open=lambda *_: clips)
    monkeypatch.setitem(DATASETS, entry.name, entry if scenes else replace(entry, scenes=None))
    result = evaluate_on(entry.name, tmp_path)
    assert result.protocol.name == "youtube" and result.overall()["J&F"].mean == 1
    assert {score.frames for score in result.sequences.values()} == {tuple(clips[0].frame_names[1:])}


def test_a_folder_of_masks_is_scored_in_pairs_with_floors_beside_it(toy, tmp_path, capsys):
    """The masks follow the square until it is hidden, and then stay empty: all is lost after, nothing claimed."""
    for row in toy:
        for clip in row:
            until = (np.arange(20) < (6 if clip.length else 20))[:, None, None]
            seen = (clip.labels * until).astype(np.uint8)
            for t, frame in enumerate(clip.frame_names):
                video.write_mask(tmp_path / "masks" / clip.name / f"{frame}.png", seen[t])
    record = tmp_path / "record.json"
    call = ["evaluate", str(tmp_path / "masks"), "--dataset", "sst-occlusion-2", "--json", str(record)]
    assert main(call) == 0
    output = capsys.readouterr().out
    assert "through 2 occlusions" in output and "first mask copied:" in output
    passages = Evaluation.read(record).occlusion["passages"]
    assert passages["lengths"] == [2, 5] and passages["scenes"] == ["0", "1"]
    mine, copied, empty = (scored.rows(passages, source) for source in passages["tables"])
    assert [row["hidden for"] for row in mine] == [2, 5]
    for row in mine:
        assert (row["before"], row["claimed"], row["back"], row["control back"]) == (1, 0, 0, 1)
        assert (row["end"], row["control end"]) == (0, 1)
        assert row["loss"].mean == row["loss"].low == 1 and np.isnan(row["bystander"]) and row["J returning"] == 0
    assert all(row["claimed"] == row["back"] == 1 for row in copied) and all(row["back"] == 0 for row in empty)
    for names, message in ((["0-2"], "missing: 0-0"), (["0-0", "1-0"], "name clips with an occlusion"),
                           (["0-0", "0-2", "1-0", "1-5"], "missing: 0-5, 1-2")):
        assert main([*call, "--sequences", *names]) == 2 and message in capsys.readouterr().err
    assert main([*call, "--sequences", "0-0", "0-5", "1-0", "1-5"]) == 0
    assert Evaluation.read(record).occlusion["passages"]["lengths"] == [5]
    capsys.readouterr()
    assert main([*call, "--sequences", "0-0", "0-2", "0-5"]) == 0 and "through 1 occlusions" in capsys.readouterr().out
    assert main([*call, "--sequences", "0-3"]) == 2 and "has no 0-3" in capsys.readouterr().err
    (tmp_path / "masks" / "1-5" / "00007.png").unlink()
    assert main(call) == 2 and main([*call, "--missing", "zeros"]) == 0
