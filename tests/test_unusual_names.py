"""Names that file systems take and encodings do not, from the first frame to the last table."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas
import yaml
from PIL import Image

from sstlib.cli import main
from sstlib.paths import atomic_write
from sstlib.video import write_mask

NAME = b"caf\xe9 ".decode("utf-8", "surrogateescape")  # of a disk that was written in Latin-1


def test_frames_whose_names_are_not_utf8_are_segmented(tmp_path, tiny_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    labels = np.zeros((32, 48), np.uint8)
    labels[8:20, 5:17] = 1
    write_mask("mask.png", labels)
    for t in range(3):
        Image.fromarray(np.full((32, 48, 3), 50 * t, np.uint8)).save(f"frames/{NAME}{t}.png")
    assert main(["segment", "frames", "--mask", "mask.png", "--weights", str(tiny_weights), "--out", "out",
                 "--export", "coco,yolo,boxes,cutout", "--confidence", "table.csv"]) == 0
    assert sorted(os.listdir("frames")) == sorted(path for path in os.listdir("out") if path.endswith(".png"))
    names = [image["file_name"] for image in json.loads(Path("out/coco.json").read_text())["images"]]
    assert names == [f"{NAME}{t}.png" for t in range(3)]
    table = pandas.read_csv("out/boxes.csv", encoding_errors="surrogateescape")
    assert list(table["name"]) == [f"{NAME}{t}" for t in range(3)]


def test_masks_are_of_their_frames_whichever_system_wrote_the_names(tmp_path, tiny_weights, monkeypatch, capsys):
    """A Mac's frames, e and an accent, and masks with é: they were of no frame, or of the first."""
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    apart, one = (unicodedata.normalize(form, "été") for form in ("NFD", "NFC"))
    labels = np.zeros((32, 48), np.uint8)
    labels[8:20, 5:17] = 1
    for t in range(4):
        Image.fromarray(np.full((32, 48, 3), 50 * t, np.uint8)).save(f"frames/{apart}{t}.png")
        write_mask(f"truth/clip/{one}{t}.png", labels)
        write_mask(f"predicted/clip/{apart}{t}.png", labels)
    write_mask(f"masks/{one}2.png", labels)
    for n, given in enumerate((["--mask", f"masks/{one}2.png"], ["--mask", "masks"],
                               ["--mask", "masks", "--corrections", "masks"])):
        assert main(["segment", "frames", *given, "--weights", str(tiny_weights), "--out", str(n)]) == 0
        output = capsys.readouterr()
        assert f"for frame {apart}2, 1 object" in output.out and "note" not in output.err
    assert f"masks/{one}2.png: corrects 1 object" in output.out
    assert main(["evaluate", "predicted", "truth", "--processes", "1"]) == 0
    output = capsys.readouterr()
    assert "J&F 100.0" in output.out and "note" not in output.out + output.err


def test_masks_in_folders_that_are_not_utf8_are_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((16, 24), np.uint8)
    labels[4:12, 3:9] = 1
    for side in ("truth", "predicted"):
        for t in range(4):
            write_mask(Path(side) / NAME / f"{NAME}{t}.png", labels)
    for _ in range(2):  # the second time from the record
        assert main(["evaluate", "predicted", "truth", "--json", "scores.json", "--csv", "scores.csv"]) == 0
    assert json.loads(Path("scores.json").read_text())["global"]["J&F"]["mean"] == 1


def test_yaml_reads_the_names_of_objects_as_they_are(tmp_path, tiny_weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)).save("frames/0.png")
    title = "\U0001f415 \"élan\": #dog's"
    assert main(["segment", "frames", "--polygon", f"{title}=3,3", "30,3", "20,28", "--weights", str(tiny_weights),
                 "--out", "out", "--export", "yolo"]) == 0
    with open("out/yolo/data.yaml", encoding="utf-8") as file:
        assert yaml.safe_load(file)["names"] == {0: title}


def test_texts_are_utf8_whatever_the_system_writes_else(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *given: "latin-1")
    monkeypatch.setattr("locale.getencoding", lambda: "latin-1")
    with atomic_write(tmp_path / "text.csv", "w") as file:
        assert file.encoding == "utf-8"
        file.write(f"☃ {NAME}")
    assert (tmp_path / "text.csv").read_bytes() == "☃ ".encode() + b"caf\xe9 "
