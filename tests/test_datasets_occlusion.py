"""SST-Occlusion: its axes, its content, and the DAVIS tree that it is written as."""

import contextlib
import json
import types

import numpy as np
import pytest

from sstlib import cli, video
from sstlib.datasets import manifests, open_dataset, sst_occlusion
from sstlib.synthetic import ClipSpec


def test_each_axis_varies_alone():
    sequences = list(sst_occlusion.clips("test"))
    assert {s.axis for s in sequences} == {"length", "likeness", "objects", "speed"}
    for sequence in sequences:
        field = sst_occlusion.AXES[sequence.axis][0]
        assert getattr(sequence.spec, field) == sequence.value
        for other, value in sst_occlusion.BASE.items():
            assert other == field or getattr(sequence.spec, other) == value
    assert {s.value for s in sequences if s.axis == "length"} == {0, 1, 2, 4, 8, 16, 32}


def test_splits_share_no_name_and_no_seed():
    everything = [s for split in sst_occlusion.CLIPS for s in sst_occlusion.clips(split)]
    assert len({s.name for s in everything}) == len({s.seed for s in everything}) == len(everything)


@pytest.mark.parametrize("index", [0, 3, 5])
def test_small_clips_are_hidden_as_long_as_their_axis_says(index):
    sequence = open_dataset("sst-occlusion", "mini")[index]
    share = sequence.clip.visible_share[:, 0]
    assert (share == 0).sum() == sequence.value
    assert isinstance(sequence, video.Sequence) and len(sequence) == len(sequence.frame_names) == len(share)
    np.testing.assert_array_equal(sequence.frame(2), sequence.clip.frames[2])
    assert set(np.unique(sequence.label(0))) == {0, 1, 2}  # all objects are given in the first frame


def test_the_manifest_states_every_clip_and_no_other():
    stated = json.loads(sst_occlusion.MANIFEST.read_text())
    assert stated["version"] == sst_occlusion.VERSION
    assert set(stated["clips"]) == {str(s.seed) for split in sst_occlusion.CLIPS for s in sst_occlusion.clips(split)}
    assert len(sst_occlusion.content_hash("test")) == 16


def test_one_clip_of_each_axis_is_what_the_manifest_states():
    for axis in sst_occlusion.AXES:
        sequence = next(s for s in sst_occlusion.clips("val") if s.axis == axis and s.value >= 0.5)
        assert sequence.clip.frames.shape[1:3] == (240, 432)  # raises where the content differs


def test_other_content_is_refused_but_other_rounding_is_not(monkeypatch):
    sequence = next(sst_occlusion.clips("mini"))
    clip = sequence.clip
    changed = sst_occlusion.fingerprint(clip) | {"sha256": "0" * 32}
    sst_occlusion._rendered.cache_clear()
    monkeypatch.setattr(manifests, "stated", lambda path, kind: {str(sequence.seed): changed})
    np.testing.assert_array_equal(sequence.clip.frames, clip.frames)
    sst_occlusion._rendered.cache_clear()
    changed["thumbnail"] = [value + 9 for value in changed["thumbnail"]]
    with pytest.raises(ValueError, match="mini-length-0-0 is not that of SST-Occlusion version"):
        sequence.frame(0)
    sst_occlusion._rendered.cache_clear()


@pytest.fixture
def small(monkeypatch):
    """A benchmark of two short small clips."""
    size = dict(frames=15, height=48, width=64, size=14.0, objects=2)
    some = [
        sst_occlusion.OcclusionSequence(f"clip-{n}", "length", float(n), ClipSpec(occlusion=n, **size), (9, n))
        for n in (0, 1)
    ]
    monkeypatch.setattr(sst_occlusion, "clips", lambda split: iter(some))
    monkeypatch.setattr(
        manifests,
        "stated",
        lambda path, kind: {
            str(s.seed): {"sha256": "x", "thumbnail": sst_occlusion.fingerprint(_render(s))["thumbnail"]} for s in some
        },
    )
    return some


def _render(sequence):
    from sstlib.synthetic import render

    return render(sequence.spec, sequence.seed)


def test_the_written_tree_is_read_back_as_davis(tmp_path, small):
    for sequence in small:
        sst_occlusion.write(tmp_path, sequence)
        sst_occlusion.write(tmp_path, sequence)  # once more over what is there
    sst_occlusion.write_index(tmp_path, "test")
    assert not list(tmp_path.rglob(".*"))
    read = open_dataset("sst-occlusion", "test", tmp_path)
    assert [s.name for s in read] == ["clip-0", "clip-1"]
    for made, result in zip(small, read, strict=True):
        assert len(result) == 15
        for t in (0, 7, 14):
            np.testing.assert_array_equal(result.label(t), made.label(t))
            assert np.abs(result.frame(t).astype(int) - made.frame(t)).mean() < 8
            full = video.read_mask(tmp_path / "Amodal" / made.name / "1" / f"{t:05d}.png")
            np.testing.assert_array_equal(full, made.clip.full(1)[t])
    known = json.loads((tmp_path / "test.json").read_text())
    assert known["clips"]["clip-1"]["value"] == 1 and known["version"] == sst_occlusion.VERSION


def test_the_command_states_the_content_of_every_clip(tmp_path, small, capsys):
    assert cli.main(["data", "manifest", "--out", str(tmp_path / "stated.json")]) == 0
    assert "other than that of version" in capsys.readouterr().out
    stated = json.loads((tmp_path / "stated.json").read_text())
    assert stated["version"] == sst_occlusion.VERSION
    assert stated["clips"] == {str(s.seed): sst_occlusion.fingerprint(_render(s)) for s in small}


def test_the_command_refuses_a_split_that_is_not_there(tmp_path, capsys):
    assert cli.main(["data", "occlusion", "--out", str(tmp_path), "--split", "mini2"]) == 2
    assert "mini2" in capsys.readouterr().err


def test_clips_are_not_written_into_another_data_set_whose_lists_they_would_replace(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: pytest.fail("clips are written"))
    (tmp_path / "JPEGImages/480p/bear").mkdir(parents=True)
    assert cli.main(["data", "occlusion", "--out", str(tmp_path), "--split", "val"]) == 2
    assert "holds sequences that are not of SST-Occlusion (bear), and its lists" in capsys.readouterr().err


def test_a_split_that_is_named_twice_is_written_once(tmp_path, monkeypatch, capsys):
    pool = contextlib.nullcontext(types.SimpleNamespace(imap_unordered=lambda write, clips: clips))
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: types.SimpleNamespace(Pool=lambda *rest: pool))
    monkeypatch.setattr(sst_occlusion, "write_index", lambda *rest: None)
    (tmp_path / "JPEGImages/480p" / next(sst_occlusion.clips("test")).name).mkdir(parents=True)
    assert cli.main(["data", "occlusion", "--out", str(tmp_path), "--split", "val", "--split", "val"]) == 0
    assert f", {len(list(sst_occlusion.clips('val')))} clips in" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_writes_the_benchmark(tmp_path):
    assert cli.main(["data", "occlusion", "--out", str(tmp_path), "--split", "val", "--processes", "2"]) == 0
    assert len(open_dataset("sst-occlusion", "val", tmp_path)) == len(list(sst_occlusion.clips("val")))
