"""What an evaluation of folders decides by itself: how masks are read, the protocol, what counts, and whether a record
is still that of its files.
"""

import numpy as np
import pytest
from PIL import Image
from test_evaluation import write

from sstlib.cli import main
from sstlib.evaluation import Evaluation, compare, evaluate
from sstlib.evaluation.pairing import chosen
from sstlib.metrics import METRICS, Metric, score_sequence
from sstlib.video import write_mask


@pytest.fixture
def masks():
    """Two objects that move, in six frames."""
    labels = np.zeros((6, 24, 40), np.uint8)
    for t in range(6):
        labels[t, 4:12, 2 + 3 * t:12 + 3 * t], labels[t, 14:22, 4:16 + t] = 1, 2
    return labels


@pytest.fixture
def sides(tmp_path):
    return tmp_path / "prediction", tmp_path / "truth"


@pytest.fixture
def toys():
    """Two metrics that would be a quarter everywhere."""
    METRICS.add(Metric("counted", "toy", counts=lambda counts: np.full(counts.shape[:-1], 0.25)))
    METRICS.add(Metric("seen", "toy", masks=lambda prediction, truth: 0.25))
    yield
    del METRICS["counted"], METRICS["seen"]


def test_predictions_of_one_object_do_not_make_two_true_ones_one(sides, masks):
    write(sides[1] / "clip", masks)
    write(sides[0] / "clip", (masks > 0) * np.uint8(255))
    result = evaluate(*sides)
    assert result.protocol.name == "davis2017" and result.sequences["clip"].objects == (1, 2)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_true_objects_are_one_where_the_protocol_says_so(sides, masks, mode):
    write(sides[1] / "clip", masks)
    write(sides[0] / "clip", (masks > 0) * np.uint8(255), mode)
    assert evaluate(*sides, protocol="davis2016").overall()["J&F"].mean == 1


def test_the_first_prediction_may_be_of_any_kind(sides, masks):
    write(sides[1] / "clip", masks)
    write(sides[0] / "clip", masks)
    Image.new("RGB", masks.shape[:0:-1], (7, 70, 200)).save(sides[0] / "clip" / "00000.png")
    assert evaluate(*sides).overall()["J&F"].mean == 1


@pytest.mark.parametrize("lost", [(1, ), (2, ), (1, 2)])
def test_colors_are_the_objects_that_they_are_in_the_truth(sides, masks, lost):
    """Of a prediction that never shows an object the colors were numbered without it."""
    masks[:, 18:22, 34:] = 3
    for side, ids in zip(sides, ([n for n in (1, 2, 3) if n not in lost], [1, 2, 3])):
        colors = np.array([(0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)], np.uint8)
        write(side / "clip", colors[np.where(np.isin(masks, ids), masks, 0)], "RGB")
    scores = evaluate(*sides).sequences["clip"].per_object()
    assert {n: row["J"].mean for n, row in scores.items()} == {n: float(n not in lost) for n in (1, 2, 3)}


def test_youtube_starts_with_the_first_frame(sides, masks):
    masks[:2] = 0
    for side in sides:
        write(side / "clip", masks)
    notes = [any("starts there" in note for note in evaluate(*sides, protocol=name).notes)
             for name in ("youtube", "davis2017")]
    assert notes == [False, True]


def test_a_record_of_other_settings_is_not_read(sides, masks, tmp_path, toys):
    for side in sides:
        write(side / "clip", masks)
    record = tmp_path / "record.json"

    def again(**settings):
        return "unchanged" in (evaluate(*sides, record=record, **settings).notes or ("",))[-1]

    for settings in ({}, {"protocol": "davis2016"}, {}, {"groups": {"seen": {("clip", 1)}}}, {}):
        assert not again(**settings) and again(**settings)
    METRICS.add(Metric("further", "toy", counts=lambda counts: np.full(counts.shape[:-1], 0.5)))
    try:
        assert not again() and again()
        assert Evaluation.read(record).sequences["clip"].values["further"].max() == 0.5
    finally:
        del METRICS["further"]


def test_what_neither_side_shows_is_right_by_any_metric(masks, toys):
    masks[2][masks[2] == 1] = 0
    values = score_sequence(masks, masks).values
    for name in ("counted", "seen"):
        np.testing.assert_array_equal(values[name], [[0.25, 1, 0.25, 0.25], [0.25] * 4])


def test_unknown_labels_of_the_frame_that_is_given_are_not_noted(masks):
    prediction = masks.copy()
    prediction[0, :2, :2] = 9
    assert not score_sequence(prediction, masks).notes
    prediction[3, :2, :2] = 9
    assert "[9] are no objects" in score_sequence(prediction, masks).notes[0]


def test_g_is_known_where_all_four_means_are(sides, masks):
    for side in sides:
        write(side / "clip", masks)
    g = [evaluate(*sides, protocol="youtube", groups={"seen": {("clip", 1)}, "unseen": unseen}).youtube()["G"]
         for unseen in ({("clip", 2)}, set())]
    assert g == [1, None]


def test_results_on_other_annotations_are_not_compared(sides, masks):
    for side in sides:
        write(side / "clip", masks)
    first = evaluate(*sides)
    assert compare(first, evaluate(*sides)).difference.mean == 0
    masks[3, 4, 12] = 0
    write(sides[1].parent / "changed" / "clip", masks)
    with pytest.raises(ValueError, match="not the same files"):
        compare(first, evaluate(sides[0], sides[1].parent / "changed"))


def test_the_table_counts_the_objects(sides, masks):
    for side in sides:
        write(side / "clip", masks)
        write(side / "other", (masks == 1).astype(np.uint8))
    rows = [line.split() for line in evaluate(*sides, protocol="davis2017").table().splitlines()]
    assert [row[:2] for row in rows[1:3]] == [["clip", "2"], ["other", "1"]] and rows[3][:3] == ["all", "objects", "3"]


def test_objects_that_are_scored_as_one_are_in_no_group(sides, masks):
    for side in sides:
        write(side / "clip", masks)
    with pytest.raises(ValueError, match="davis2016 takes all objects of a sequence for one, .* leave groups"):
        evaluate(*sides, protocol="davis2016", groups={"seen": {("clip", 1)}})


def test_a_choice_of_sequences_is_one_whatever_its_order(sides, masks):
    """Occlusions were pooled over both of a name given twice; the other order was compared with none."""
    assert list(chosen(["b", "a", "b"], ["a", "b", "c"], "there")) == ["a", "b"]
    for name in ("one", "other"):
        for side in sides:
            write(side / name, masks)
    results = [evaluate(*sides, sequences=names) for names in (["one", "other"], ["other", "one"])]
    assert results[0].provenance == results[1].provenance and compare(*results).difference.mean == 0


def test_what_is_noted_of_the_other_result_is_told(sides, masks, capsys):
    write(sides[1] / "clip", masks)
    for name in ("whole", "part"):
        write(sides[0] / name / "clip", masks)
    (sides[0] / "part" / "clip" / "00002.png").unlink()
    folders = [sides[0] / "whole", sides[1], "--against", sides[0] / "part", "--missing", "zeros", "--processes", 1]
    assert main(["evaluate", *map(str, folders)]) == 0
    assert "note on the other: 1 missing prediction counted as empty masks: clip/00002.png" in capsys.readouterr().out


@pytest.mark.parametrize("more, words", [
    (["masks"], "--benchmark takes both folders, PREDICTIONS and ANNOTATIONS, or none"), ([], ""),
    (["--json", "scores.json"], "--benchmark times scoring and keeps no scores; leave --json out")])
def test_what_is_timed_is_not_scored(more, words, monkeypatch, capsys):
    monkeypatch.setattr("sstlib.benchmarks.scoring.benchmark", lambda *folders: {})
    assert main(["evaluate", "--benchmark", *more]) == 2 * bool(more)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("spoil, words", [
    (lambda files: [path.unlink() for path in files[2:]], "last has no annotated frame that is scored"),
    (lambda files: [write_mask(path, np.full((24, 40), 255)) for path in files], "last: the first annotation holds")])
def test_a_sequence_that_has_no_score_is_found_before_any_is_scored(sides, masks, monkeypatch, spoil, words):
    for side in sides:
        for name in ("clip", "last"):
            write(side / name, masks)
    spoil(sorted((sides[1] / "last").iterdir()))
    monkeypatch.setattr("sstlib.evaluation.folders._score", lambda *rest: pytest.fail("was scored"))
    with pytest.raises(ValueError, match=words):
        evaluate(*sides, protocol="davis2017")


@pytest.mark.parametrize("scored", [1, 2])
def test_a_sequence_without_a_prediction_is_named_whole_unless_it_has_one_frame(sides, masks, scored):
    write(sides[1] / "clip", masks[:scored + 2])
    sides[0].mkdir()
    with pytest.raises(FileNotFoundError, match="clip/00001.png;" if scored == 1 else r"clip/ \(all 2 frames\);"):
        evaluate(*sides)
