"""Folders of masks scored as the official evaluator scores them, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sstlib.benchmarks import scoring
from sstlib.cli import main
from sstlib.datasets import open_dataset
from sstlib.evaluation import Evaluation, compare, evaluate, youtube_groups
from sstlib.evaluation import folders as folders_module
from sstlib.metrics.scores import count_frame, score_sequence
from sstlib.video import read_mask, write_mask

GOLDENS = Path(__file__).parent / "goldens"


def write(folder: Path, labels: np.ndarray, mode: str = "P") -> None:
    folder.mkdir(parents=True)
    for index, frame in enumerate(labels):
        image = Image.fromarray(frame)
        if mode == "P":
            image.putpalette(bytes(768))
        image.convert(mode).save(folder / f"{index:05d}.png")


@pytest.fixture
def folders(tmp_path):
    """Predictions and annotations of two sequences, a copy that a test may spoil."""
    for side in ("predictions", "Annotations"):
        for name in ("vanish", "border-exit"):
            shutil.copytree(GOLDENS / side / name, tmp_path / side / name)
    return tmp_path / "predictions", tmp_path / "Annotations"


def test_command_reproduces_the_goldens(tmp_path, capsys):
    record, table = tmp_path / "record.json", tmp_path / "table.csv"
    folders = [str(GOLDENS / side) for side in ("predictions", "Annotations")]
    assert main(["evaluate", *folders, "--processes", "1", "--json", str(record), "--csv", str(table)]) == 0
    result, official = json.loads(record.read_text()), json.loads((GOLDENS / "official_values.json").read_text())
    for name, objects in official.items():
        for label, expected in objects.items():
            assert {key: result["sequences"][name]["objects"][label][key] for key in expected} == expected
    rows = [objects for sequence in official.values() for objects in sequence.values()]
    assert result["global"]["J"]["mean"] == pytest.approx(np.mean([row["J"]["mean"] for row in rows]), abs=1e-15)
    assert result["global"]["F"]["decay"] == pytest.approx(np.mean([row["F"]["decay"] for row in rows]), abs=1e-15)
    assert len(table.read_text().splitlines()) == 1 + len(rows)
    assert "all objects" in capsys.readouterr().out


def test_published_masks_of_osvos_score_as_published(davis):
    peers = davis.parent / "peers" / "osvos_davis2017_val"
    if not peers.is_dir():
        pytest.skip(f"no OSVOS masks at {peers}")
    result = evaluate(peers, davis / "Annotations" / "480p")
    official = json.loads((peers / "official_values.json").read_text())
    assert result.protocol.name == "davis2016"
    assert set(result.sequences) == set(official)
    for name, expected in official.items():
        actual = result.sequences[name].overall()
        for measure in ("J", "F"):
            assert actual[measure].to_dict() == pytest.approx(expected[measure], abs=1e-12)
    assert round(result.overall()["J"].mean, 4) == 0.7558
    assert round(result.overall()["F"].mean, 4) == 0.7763


@pytest.fixture
def davis():
    named = os.environ.get("SST_DAVIS")
    if not named:
        pytest.skip("SST_DAVIS names no DAVIS folder")
    return Path(named)


@pytest.mark.parametrize("predicted", [("L", 255), ("P", 255), ("1", 255), ("P", 1), ("L", 1), ("P", 7)], ids=str)
@pytest.mark.parametrize("true", [("L", 255), ("P", 255), ("1", 255), ("P", 1)], ids=str)
def test_binary_masks_are_one_object_however_they_are_written(tmp_path, true, predicted):
    masks = np.random.default_rng(5).random((5, 13, 31)) < 0.3
    for side, (mode, value) in {"truth": true, "prediction": predicted}.items():
        write(tmp_path / side / "clip", (masks * value).astype(np.uint8), mode)
    result = evaluate(tmp_path / "prediction", tmp_path / "truth")
    if true == ("P", 1) and predicted == ("P", 7):  # two label maps, and 7 is no object of the truth
        assert result.overall()["J"].mean == 0.0
        assert "predicted labels [7] are no objects of the truth" in result.notes[0]
    else:
        assert result.overall()["J"].mean == result.overall()["F"].mean == 1.0
    assert (result.protocol.name == "davis2016") == (true != ("P", 1) or predicted == ("P", 255))
    assert not result.protocol.single_object or "binary" in result.notes[0]


def numbered(folder, labels, names, mode="P"):
    """Masks under names of one's own."""
    folder.mkdir(parents=True)
    for frame, name in zip(labels, names, strict=True):
        image = Image.fromarray(frame)
        (image.convert("P") if mode == "P" else image).save(folder / f"{name}.png")


def moving(count=12, start=0):
    """A square that goes along, and a prediction that is the worse the later."""
    truth, prediction = np.zeros((2, count, 40, 60), np.uint8)
    for t in range(count):
        truth[t, 10:20, 3 * t:3 * t + 12] = prediction[t, 10 - t // 2:20, 3 * t + t // 2:3 * t + 12] = 1
    return truth, prediction


@pytest.mark.parametrize("first", [0, 8, 95])
def test_frames_are_in_the_order_of_their_numbers_however_they_are_written(tmp_path, first):
    truth, prediction = moving()
    truth[2:, 30:, 40:], prediction[2:, 30:, 40:] = 2, 2  # an object that joins later, and is not scored by davis2017
    results = []
    for kind, width in (("plain", 0), ("padded", 5)):
        names = [f"{first + t:0{width}d}" for t in range(len(truth))]
        numbered(tmp_path / kind / "truth" / "clip", truth, names)
        numbered(tmp_path / kind / "prediction" / "clip", prediction, names)
        results.append(evaluate(tmp_path / kind / "prediction", tmp_path / kind / "truth"))
    plain, padded = (result.to_dict()["global"] for result in results)
    assert plain == padded and 0 < plain["J"]["mean"] < 1 and plain["J"]["decay"] > 0.1
    expected = score_sequence(prediction, truth)
    np.testing.assert_array_equal(results[0].sequences["clip"].similarity, expected.similarity)


def test_predictions_named_by_the_same_numbers_are_not_paired_but_named(tmp_path):
    truth, prediction = moving(5)
    numbered(tmp_path / "truth" / "clip", truth, [f"{t:05d}" for t in range(5)])
    numbered(tmp_path / "prediction" / "clip", prediction, range(5))
    with pytest.raises(ValueError, match=r"clip/0.png: its annotation is named 00000.png.*rename it 00000.png"):
        evaluate(tmp_path / "prediction", tmp_path / "truth")
    (tmp_path / "truth" / "clip" / "2.png").write_bytes((tmp_path / "truth" / "clip" / "00002.png").read_bytes())
    with pytest.raises(ValueError, match="00002.png has the same number|2.png has the same number"):
        evaluate(tmp_path / "prediction", tmp_path / "truth")


@pytest.mark.parametrize("sides", [("truth",), ("prediction",), ("truth", "prediction")])
def test_255_is_decided_once_a_clip(tmp_path, sides):
    """As the official code has it: 255 is void, also in a frame of a gray clip that holds nothing beside."""
    truth = np.zeros((6, 40, 60), np.uint8)
    truth[:, 5:20, 5:30] = 1
    prediction = truth.copy()
    for side in sides:
        labels = {"truth": truth, "prediction": prediction}[side]
        labels[2:4, 25:, 40:] = 255
    truth[3] = np.where(truth[3] == 1, 0, truth[3])  # the object is gone, void is not
    prediction[3] = np.where(prediction[3] == 1, 0, prediction[3])
    for side, labels in (("truth", truth), ("prediction", prediction)):
        numbered(tmp_path / side / "clip", labels, range(6), mode="L")
    result = evaluate(tmp_path / "prediction", tmp_path / "truth")
    assert result.protocol.name == "davis2017"
    assert result.sequences["clip"].similarity.tolist() == [[1, 1, 1, 1]]
    assert result.sequences["clip"].objects == (1,)
    for protocol in ("davis2016", "youtube"):
        assert (evaluate(tmp_path / "prediction", tmp_path / "truth",
                         protocol=protocol).sequences["clip"].similarity == 1).all()


@pytest.mark.parametrize("ids, noted", [((1, 2), True), ((2,), True), ((1,), False)])
def test_predictions_of_one_object_where_the_truth_has_others_are_noted(tmp_path, ids, noted):
    """White on black is object 1, whatever was meant."""
    truth = np.zeros((5, 40, 60), np.uint8)
    for place, number in enumerate(ids):
        truth[:, 5:20, 5 + 25 * place:25 + 25 * place] = number
    numbered(tmp_path / "truth" / "clip", truth, range(5), mode="L")
    numbered(tmp_path / "prediction" / "clip", (truth == ids[-1]) * np.uint8(255), range(5), mode="L")
    notes = evaluate(tmp_path / "prediction", tmp_path / "truth", protocol="davis2017").notes
    assert [note for note in notes if "counts as object 1; the truth has" in note] == list(notes)[:noted]
    assert len(notes) == noted + (ids == (2,))  # of which no prediction is then
    assert not evaluate(tmp_path / "prediction", tmp_path / "truth", protocol="davis2016").notes


@pytest.mark.parametrize("protocol", ["davis2016", "davis2017", "youtube"])
def test_a_clip_whose_first_masks_are_empty_is_scored_from_its_first_object_on(tmp_path, protocol):
    truth, prediction = moving(8)
    truth[:3] = 0
    numbered(tmp_path / "truth" / "clip", truth, range(8))
    numbered(tmp_path / "prediction" / "clip", prediction, range(8))
    result = evaluate(tmp_path / "prediction", tmp_path / "truth", protocol=protocol)
    scored = slice(4, 8 if protocol == "youtube" else 7)
    values = result.sequences["clip"].similarity[0]
    expected = [(p & t).sum() / (p | t).sum() for p, t in zip(prediction[scored] > 0, truth[scored] > 0)]
    np.testing.assert_allclose(values[~np.isnan(values)], expected)
    assert protocol == "youtube" or "sequence clip: the frames before 3 show no object; it starts there" in result.notes


def test_masks_in_color_are_scored_as_those_by_id(tmp_path):
    truth, prediction = moving(6)
    numbered(tmp_path / "truth" / "clip", truth, range(6))
    numbered(tmp_path / "prediction" / "clip", prediction, range(6))
    numbered(tmp_path / "white" / "clip", np.repeat(prediction[..., None] * np.uint8(255), 3, axis=3), range(6),
             mode="RGB")
    (tmp_path / "truth" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "truth" / ".ipynb_checkpoints" / "0.png").write_bytes(b"")
    by_id, white = (evaluate(tmp_path / side, tmp_path / "truth") for side in ("prediction", "white"))
    assert by_id.to_dict()["global"] == white.to_dict()["global"] and list(by_id.sequences) == ["clip"]
    assert by_id.notes == () and white.notes == ("sequence clip: predictions are read white on black",)


@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize("place",
                         ["predictions/vanish/00004.png", "Annotations/vanish/00004.png", "meta.json", "link.png"])
def test_no_result_is_written_over_what_is_scored(folders, tmp_path, option, place, capsys):
    (tmp_path / "link.png").symlink_to(folders[1] / "vanish" / "00002.png")
    (tmp_path / "meta.json").write_text('{"videos": {}}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    meta = ["--meta", str(tmp_path / "meta.json"), "--seen", str(tmp_path / "meta.json")]
    assert main(["evaluate", *map(str, folders), *meta, "--processes", "1", option, str(tmp_path / place)]) == 2
    assert "which is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option, content", [("--json", '{"images": [], "annotations": []}'), ("--json", "[]"),
                                             ("--json", "notes"), ("--csv", "name,age\nRex,3\n")])
def test_no_file_of_another_kind_is_replaced_by_a_result(folders, tmp_path, option, content, capsys):
    place = tmp_path / "mine"
    command = ["evaluate", *map(str, folders), "--processes", "1", option, str(place)]
    place.write_text(content)
    assert main(command) == 2 and place.read_text() == content
    assert f"{option} would replace {place}, which is no " in capsys.readouterr().err
    for before in ("", None):  # as mktemp makes it, and the command's own
        if before is not None:
            place.write_text(before)
        assert main(command) == 0 and place.stat().st_size


def test_a_void_pixel_does_not_make_a_folder_binary(folders):
    assert evaluate(*folders).protocol.name == "davis2017"


def test_missing_predictions_are_listed_or_count_as_empty(folders, capsys):
    predictions, annotations = folders
    shutil.rmtree(predictions / "vanish")
    (predictions / "border-exit" / "00004.png").unlink()
    (predictions / "border-exit" / "00000.png").unlink()  # the first frame is not scored and so not needed
    with pytest.raises(FileNotFoundError, match=r"13 predictions.*border-exit/00004.png, vanish/ \(all 12 frames\)"):
        evaluate(predictions, annotations)
    assert main(["evaluate", str(predictions), str(annotations)]) == 2
    assert "--missing zeros" in capsys.readouterr().err
    result = evaluate(predictions, annotations, missing="zeros")
    assert result.sequences["border-exit"].similarity[:, 3].tolist() == [0.0, 0.0]
    assert "13 missing predictions" in result.notes[0]  # frames, however they are listed


def test_a_folder_within_that_may_be_meant_is_named(folders, tmp_path, capsys):
    """As zips are unpacked into a folder of their own, and as DAVIS lays out its annotations."""
    predictions, annotations = folders
    for place in folders:
        (tmp_path / "nested" / place.name).mkdir(parents=True)
        place.rename(tmp_path / "nested" / place.name / "480p")
    nested = [tmp_path / "nested" / place.name for place in folders]
    assert main(["evaluate", *map(str, nested)]) == 2
    assert "there are some in its folder 480p: name that, or give the folder of" in capsys.readouterr().err
    assert main(["evaluate", str(nested[0]), str(nested[1] / "480p")]) == 2
    assert "; there are some in its folder 480p: name that, or add them, or let them" in capsys.readouterr().err


def test_predictions_that_are_compared_with_nothing_are_noted(folders):
    """An extra last frame is what names that are off by one lead to."""
    predictions, annotations = folders
    assert not any("not scored" in note for note in evaluate(predictions, annotations).notes)
    shutil.copytree(predictions / "vanish", predictions / "bear")
    shutil.copy(predictions / "vanish" / "00001.png", predictions / "vanish" / "00099.png")
    notes = "\n".join(evaluate(predictions, annotations).notes)
    assert "predictions of bear are not scored" in notes and "vanish: predictions of 00099 are not scored" in notes
    notes = "\n".join(evaluate(predictions, annotations, sequences=["vanish"]).notes)
    assert "bear" not in notes and "vanish: predictions of 00099 are not scored" in notes


@pytest.mark.parametrize("missing", ["error", "zeros"])
def test_predictions_that_are_named_otherwise_are_not_missing(folders, missing):
    """They must not count as empty masks."""
    predictions, annotations = folders
    for mask in (predictions / "vanish").iterdir():
        mask.rename(mask.with_name(f"frame_{mask.name}"))
    with pytest.raises(ValueError, match=r"vanish: none of its masks \(frame_00000, .* and \d+ more\) is named"):
        evaluate(predictions, annotations, missing=missing)


@pytest.mark.parametrize("more, words", [
    (["--against", "nowhere"], "nowhere, does not exist"), (["--split", "val"], "--split goes with --dataset"),
    (["--trained-on", "x"], "--trained-on goes with --row"),
    (["--row", "x", "--protocol", "davis2017"], "scored as davis2017; use --dataset davis2016"),
    (["--row", "../x"], "a row cannot be called '../x'"),
    (["--row", "sst-small"], "sst-small is that of the weights of this name"),
    (["--row", "x"], "rows of one table are of the same sequences, and b")])
def test_options_are_refused_before_anything_is_scored(folders, capsys, monkeypatch, more, words):
    monkeypatch.setattr("sstlib.evaluation.folders._score", lambda *rest: pytest.fail("was scored"))
    assert main(["evaluate", *map(str, folders), *more]) == 2
    assert words in capsys.readouterr().err


def test_bad_input_ends_in_one_line_that_names_it(folders, tmp_path):
    predictions, annotations = folders
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate(tmp_path / "nowhere", annotations)
    with pytest.raises(FileNotFoundError, match="test_evaluation.py, is a file; give a folder"):
        evaluate(predictions, __file__)
    with pytest.raises(FileNotFoundError, match="holds no SEQUENCE/FRAME.png"):
        evaluate(predictions, annotations / "vanish")
    for none in ([], "bear"):
        with pytest.raises(ValueError, match="give a list of at least one name, or None for all"):
            evaluate(predictions, annotations, sequences=none)
    with pytest.raises(ValueError, match="the folder of annotations has no camel; it has "):
        evaluate(predictions, annotations, sequences=["camel"])
    with pytest.raises(ValueError, match="unknown protocol 'davies'"):
        evaluate(predictions, annotations, protocol="davies")
    Image.new("RGB", (83, 61)).save(predictions / "vanish" / "00003.png")
    with pytest.raises(ValueError, match="00003.png.*RGB"):
        evaluate(predictions, annotations)
    Image.new("L", (7, 9)).save(predictions / "vanish" / "00003.png")
    with pytest.raises(ValueError, match=r"00003.png.*9 x 7 and the truth 61 x 83"):
        evaluate(predictions, annotations)


def test_a_failed_evaluation_leaves_no_record(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(folders_module, "WORTHWHILE", 0)
    predictions, annotations = folders
    (predictions / "vanish" / "00004.png").write_bytes(b"not an image")
    record = tmp_path / "record" / "result.json"
    for processes in "12":
        assert main(["evaluate", *map(str, folders), "--processes", processes, "--json", str(record)]) == 2
    assert not record.parent.exists()


def test_fingerprint_changes_with_any_file_that_was_read(folders):
    predictions, annotations = folders
    before = evaluate(predictions, annotations).provenance
    assert evaluate(predictions, annotations).provenance == before
    frame = read_mask(predictions / "vanish" / "00004.png")
    Image.fromarray(1 - frame).save(predictions / "vanish" / "00004.png")
    after = evaluate(predictions, annotations).provenance
    assert after["annotations"] == before["annotations"] and after["predictions"] != before["predictions"]


def test_processes_change_nothing(folders, monkeypatch):
    monkeypatch.setattr(folders_module, "WORTHWHILE", 0)
    assert evaluate(*folders, processes=2).to_dict() == evaluate(*folders).to_dict()


def test_an_unchanged_record_is_read_and_a_stale_one_never(folders, tmp_path, monkeypatch):
    predictions, annotations = folders
    path = tmp_path / "record.json"
    first = evaluate(predictions, annotations, record=path)

    def scored(**settings) -> bool:
        """Whether evaluating again looks at the masks again; the record must then hold what that gives."""
        counted = []
        with monkeypatch.context() as patch:
            patch.setattr(folders_module, "count_frame", lambda *pair: counted.append(pair) or count_frame(*pair))
            result = evaluate(predictions, annotations, record=path, **settings)
        again = evaluate(predictions, annotations, **settings)
        record = json.loads(path.read_text())
        assert result.to_dict()["sequences"] == again.to_dict()["sequences"] == record["sequences"]
        return bool(counted)

    assert not scored()
    assert "unchanged" in evaluate(predictions, annotations, record=path).notes[-1]
    assert Evaluation.read(path).to_dict() == first.to_dict()
    for side in (predictions, annotations):
        mask = side / "vanish" / "00009.png"
        labels, before = read_mask(mask).copy(), mask.stat()
        labels[:5, :5] = 1 - labels[:5, :5]
        Image.fromarray(labels).save(mask)
        os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))  # content counts, not dates
        assert scored() and not scored()
    assert scored(sequences=["vanish"]) and not scored(sequences=["vanish"])
    assert scored(protocol="youtube")
    assert scored()
    (predictions / "vanish" / "00009.png").unlink()
    assert scored(missing="zeros")
    path.write_text("{}")
    assert scored(missing="zeros")
    monkeypatch.setattr(folders_module.counts, "SOURCE", Path(__file__))
    assert scored(missing="zeros")


def test_an_interrupted_evaluation_leaves_no_record(folders, tmp_path, monkeypatch):
    counted = iter(range(7))

    def interrupted(*pair):
        if next(counted, None) is None:
            raise KeyboardInterrupt
        return count_frame(*pair)

    monkeypatch.setattr(folders_module, "count_frame", interrupted)
    path = tmp_path / "results" / "record.json"
    assert main(["evaluate", *map(str, folders), "--processes", "1", "--json", str(path)]) == 130
    assert not path.parent.exists()


def test_youtube_vos_scores_seen_and_unseen_objects(tmp_path, capsys):
    truth = np.zeros((5, 13, 31), np.uint8)
    truth[:, 2:6, 3:9], truth[2:, 8:, 20:] = 1, 4
    prediction = truth.copy()
    prediction[:, 8:, 20:25] = 0
    write(tmp_path / "truth" / "clip", truth)
    write(tmp_path / "prediction" / "clip", prediction)
    meta, seen = tmp_path / "meta.json", tmp_path / "train.json"
    meta.write_text(json.dumps({"videos": {"clip": {"objects": {"1": {"category": "cat"}, "4": {"category": "yak"}}}}}))
    seen.write_text(json.dumps({"videos": {"other": {"objects": {"1": {"category": "cat"}}}}}))
    groups = youtube_groups(meta, seen)
    result = evaluate(tmp_path / "prediction", tmp_path / "truth", protocol="youtube", groups=groups)
    late = result.sequences["clip"].per_object()[4]
    assert late["J"].mean == pytest.approx(6 / 11) and len(result.sequences["clip"].frames) == 4
    actual = result.youtube()
    assert [actual[key] for key in ("J_seen", "F_seen", "J_unseen", "official")] == [1.0, 1.0, late["J"].mean, False]
    assert actual["G"] == pytest.approx((2 + late["J"].mean + late["F"].mean) / 4)
    assert Evaluation.from_dict(json.loads(json.dumps(result.to_dict()))).youtube() == actual
    arguments = [str(tmp_path / "prediction"), str(tmp_path / "truth"), "--protocol", "youtube", "--meta", str(meta)]
    assert main(["evaluate", *arguments, "--processes", "1", "--seen", str(seen)]) == 0
    assert "unofficial" in capsys.readouterr().out
    assert main(["evaluate", *arguments, "--seen", str(tmp_path / "truth" / "clip" / "00000.png")]) == 2
    for text in ('"catfish"', "[1]", '{"videos": {"a": {}, "a": {}}}'):
        seen.write_text(text)
        with pytest.raises(ValueError, match="train.json: expected meta.json of YouTube-VOS"):
            youtube_groups(meta, seen)
    result = evaluate(tmp_path / "prediction", tmp_path / "truth", protocol="youtube", groups={"seen": [("clip", 1)]})
    assert "1 of the objects are in no group, and count in none of YouTube-VOS's numbers: clip 4" in result.notes
    with pytest.raises(ValueError, match=r"no sequence that is scored \(clip\) is among those .*grouped \(other\)"):
        evaluate(tmp_path / "prediction", tmp_path / "truth", protocol="youtube", groups={"seen": [("other", 1)]})


def test_two_results_are_compared_from_folders_and_from_records(folders, tmp_path, capsys):
    predictions, annotations = folders
    shutil.copytree(predictions, tmp_path / "worse")
    for path in (tmp_path / "worse" / "vanish").glob("*.png"):
        Image.fromarray(np.zeros_like(read_mask(path))).save(path)
    record = tmp_path / "worse.json"
    worse, better = evaluate(tmp_path / "worse", annotations, record=record), evaluate(predictions, annotations)
    result = compare(worse, better)
    assert result.difference.mean == pytest.approx(better.overall()["J&F"].mean - worse.overall()["J&F"].mean)
    assert (result.better, result.worse, result.equal, result.deciding) == (1, 0, 1, ("vanish",))
    for other in (tmp_path / "worse", record):
        assert main(["evaluate", str(predictions), str(annotations), "--processes", "1", "--against", str(other)]) == 0
        assert "better in 1 sequences, worse in 0, equal in 1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="different sequences"):
        compare(worse, evaluate(predictions, annotations, sequences=["vanish"]))
    record.write_text("{}")
    with pytest.raises(ValueError, match="worse.json.*no record of an evaluation"):
        Evaluation.read(record)


def test_a_known_data_set_brings_its_annotations_and_protocol(folders, tmp_path, monkeypatch, capsys):
    predictions, annotations = folders
    home = tmp_path / "DAVIS"
    shutil.copytree(annotations, home / "Annotations" / "480p")
    shutil.copytree(annotations, home / "JPEGImages" / "480p")  # any images will do: frames are not looked at
    (home / "ImageSets" / "2017").mkdir(parents=True)
    (home / "ImageSets" / "2017" / "val.txt").write_text("vanish\n")
    monkeypatch.setenv("SST_DAVIS", str(home))
    record = tmp_path / "record.json"
    settings = ["--dataset", "davis2017", "--processes", "1", "--json", str(record)]
    assert main(["evaluate", str(predictions), *settings]) == 0
    expected = evaluate(*folders, sequences=["vanish"]).to_dict()
    assert json.loads(record.read_text())["sequences"] == expected["sequences"]
    assert main(["evaluate", str(predictions)]) == main(["evaluate", *map(str, folders), "--dataset", "davis2017"]) == 2
    assert "either the folder of ANNOTATIONS or --dataset" in capsys.readouterr().err


def test_benchmark_times_methods_that_agree():
    pytest.importorskip("cv2", reason="the plain implementation needs OpenCV")
    times = scoring.benchmark(GOLDENS / "predictions", GOLDENS / "Annotations", rounds=1, processes=1)
    assert all(taken > 0 for methods in times.values() for taken in methods.values())
    assert "native" in scoring.report(times)


def test_generated_clips_bring_their_truth_and_measures_of_occlusion(tmp_path, capsys):
    clip = next(clip for clip in open_dataset("sst-occlusion", "mini") if clip.value == 2)
    truth = clip.clip.labels
    for t, frame in enumerate(clip.frame_names):
        write_mask(tmp_path / clip.name / f"{frame}.png", truth[t] if clip.clip.visible_share[t, 0] > 0.9 else truth[0])
    record = tmp_path / "record.json"
    settings = ["--dataset", "sst-occlusion", "--split", "mini", "--sequences", clip.name, "--json", str(record)]
    assert main(["evaluate", str(tmp_path), *settings]) == 0
    assert "claimed gone" in capsys.readouterr().out
    result = Evaluation.read(record)
    assert result.occlusion["all"] == result.occlusion["length 2"] and set(result.occlusion) == {"all", "length 2"}
    gone = result.occlusion["all"]["while_gone"]
    assert gone["frames"] >= 2 and gone["share"] == 1.0
    assert 0 < result.overall()["J"].mean < 1
    shutil.rmtree(tmp_path / clip.name)
    assert main(["evaluate", str(tmp_path), *settings]) == 2
    assert main(["evaluate", str(tmp_path), *settings, "--missing", "zeros"]) == 0


def test_hidden_annotations_of_youtube_vos_are_not_scored(capsys):
    assert main(["evaluate", str(GOLDENS), "--dataset", "youtube2019", "--split", "valid"]) == 2
    assert "not public" in capsys.readouterr().err
