"""Folders of masks scored as the official evaluator scores them, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sstlib.cli import main
from sstlib.evaluation import evaluate
from sstlib.video import read_mask

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
    assert main(["evaluate", *folders, "--json", str(record), "--csv", str(table)]) == 0
    found, official = json.loads(record.read_text()), json.loads((GOLDENS / "official_values.json").read_text())
    for name, objects in official.items():
        for label, expected in objects.items():
            assert {key: found["sequences"][name]["objects"][label][key] for key in expected} == expected
    rows = [objects for sequence in official.values() for objects in sequence.values()]
    assert found["global"]["J"]["mean"] == pytest.approx(np.mean([row["J"]["mean"] for row in rows]), abs=1e-15)
    assert found["global"]["F"]["decay"] == pytest.approx(np.mean([row["F"]["decay"] for row in rows]), abs=1e-15)
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
        found = result.sequences[name].overall()
        for measure in ("J", "F"):
            assert found[measure].to_dict() == pytest.approx(expected[measure], abs=1e-12)
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


def test_a_void_pixel_does_not_make_a_folder_binary(folders):
    assert evaluate(*folders).protocol.name == "davis2017"


def test_missing_predictions_are_listed_or_count_as_empty(folders, capsys):
    predictions, annotations = folders
    shutil.rmtree(predictions / "vanish")
    (predictions / "border-exit" / "00004.png").unlink()
    (predictions / "border-exit" / "00000.png").unlink()  # the first frame is not scored and so not needed
    with pytest.raises(FileNotFoundError, match=r"2 predictions.*border-exit/00004.png, vanish/ \(all 12 frames\)"):
        evaluate(predictions, annotations)
    assert main(["evaluate", str(predictions), str(annotations)]) == 2
    assert "--missing zeros" in capsys.readouterr().err
    result = evaluate(predictions, annotations, missing="zeros")
    assert result.sequences["border-exit"].similarity[:, 3].tolist() == [0.0, 0.0]
    assert "2 missing" in result.notes[0]


def test_bad_input_ends_in_one_line_that_names_it(folders, tmp_path):
    predictions, annotations = folders
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate(tmp_path / "nowhere", annotations)
    with pytest.raises(FileNotFoundError, match="holds no SEQUENCE/FRAME.png"):
        evaluate(predictions, annotations / "vanish")
    with pytest.raises(FileNotFoundError, match="no annotations of camel"):
        evaluate(predictions, annotations, sequences=["camel"])
    with pytest.raises(ValueError, match="unknown protocol 'davies'"):
        evaluate(predictions, annotations, protocol="davies")
    Image.new("RGB", (83, 61)).save(predictions / "vanish" / "00003.png")
    with pytest.raises(ValueError, match="00003.png.*RGB"):
        evaluate(predictions, annotations)
    Image.new("L", (7, 9)).save(predictions / "vanish" / "00003.png")
    with pytest.raises(ValueError, match=r"00003.png.*9 x 7 and the truth 61 x 83"):
        evaluate(predictions, annotations)


def test_a_failed_evaluation_leaves_no_record(folders, tmp_path):
    predictions, annotations = folders
    (predictions / "vanish" / "00004.png").write_bytes(b"not an image")
    record = tmp_path / "record" / "result.json"
    assert main(["evaluate", str(predictions), str(annotations), "--json", str(record)]) == 2
    assert not record.parent.exists()


def test_fingerprint_changes_with_any_file_that_was_read(folders):
    predictions, annotations = folders
    before = evaluate(predictions, annotations).provenance
    assert evaluate(predictions, annotations).provenance == before
    frame = read_mask(predictions / "vanish" / "00004.png")
    Image.fromarray(1 - frame).save(predictions / "vanish" / "00004.png")
    after = evaluate(predictions, annotations).provenance
    assert after["annotations"] == before["annotations"] and after["predictions"] != before["predictions"]
