"""Every notebook with other parameters than its own, three times: it ends clean; values out of range are refused in a
line.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from PIL import Image
from squares import write_frames

from sstlib import paths
from sstlib.paths.digests import distinct_name
from sstlib.reproduction.notebooks import declared
from sstlib.reproduction.parameters import parse_parameters
from sstlib.synthetic import random_spec, render
from sstlib.video import write_mask

CLIP, MASK = "{clip}", "{mask}"  # folder of frames, and the mask of the first
VARIANTS = {
    "00_quickstart": [{"frames": 4, "seed": 2}, {"weights_name": "sst-small-davis2016", "frames": 7, "seed": 0},
                      {"video": CLIP, "mask": MASK}],
    "01_connectivity": [{"frames": 2, "height": 2, "width": 2, "feature_height": 16, "feature_width": 16},
                        {"frames": 5, "height": 3, "width": 11, "noise": 0.1, "seed": 3},
                        {"feature_height": 31, "feature_width": 17, "noise": 0.4, "seed": 1}],
    "02_attention_routes": [{"clips": 2, "scenes": 2, "routes_drawn": 1, "clip_seed": 0, "scene_seed": 1},
                            {"released": "not-released", "clips": 2, "scenes": 2, "speed": 0.0, "seed": 2},
                            {"clip_path": CLIP, "clip_mask": MASK, "clips": 2, "scenes": 2, "speed": 12.0}],
    "03_training": [{"steps": 20, "batch": 1, "pattern": "grid", "layers": 1},
                    {"steps": 20, "batch": 1, "pattern": "dense", "layers": 1, "seed": 1},
                    {"steps": 21, "batch": 1, "pattern": "strided", "layers": 3}],
    "04_ablations": [{"least": 2}, {"least": 3}, {"least": 5}],
    "05_occlusion": [{"hidden": 1, "number": 0}, {"hidden": 4, "number": 23}, {"hidden": 32, "number": 7}],
    "06_benchmarks": [{"table": "1a"}, {"table": "1b"}, {"table": "6"}],
    "07_scaling": [{"rounds": 1, "largest": 3}, {"rounds": 1, "largest": 3, "heads": 1, "channels": 1},
                   {"rounds": 2, "largest": 3, "heads": 3, "channels": 5, "seed": 4}],
    "08_from_scratch": [{"frames": 3, "steps": 60}, {"radius": 3, "noise": 0.0, "clips": 16}, {"frames": 8, "seed": 1}],
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    made = render(random_spec("easy", 4, frames=5, height=96, width=160, objects=2, distractors=0, size=40.0), 4)
    write_frames(folder / "frames", made.frames)
    write_mask(folder / "mask.png", made.labels[0])
    return {CLIP: str(folder / "frames"), MASK: str(folder / "mask.png")}


@pytest.fixture
def home(tmp_path):
    """The project with a results/quickstart of its own, so that nothing is written into this one."""
    (tmp_path / "results").mkdir()
    for place, own in ((paths.ROOT, "results"), (paths.RESULTS, "quickstart")):
        for entry in place.iterdir():
            if entry.name not in (own, ".git"):
                (tmp_path / entry.relative_to(paths.ROOT)).symlink_to(entry)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name, variant", [(name, n) for name, variants in VARIANTS.items()
                                           for n in range(len(variants))])
def test_ends_clean_with_other_parameters(name, variant, clip, home, tmp_path):
    parameters = {key: clip.get(value, value) for key, value in VARIANTS[name][variant].items()}
    assert parse_parameters([f"{name}:{key}={value}" for key, value in parameters.items()
                             if value != "not-released"]), "in range"
    command = [sys.executable, "-m", "sstlib.reproduction.execution", str(paths.NOTEBOOKS / f"{name}.ipynb"),
               str(tmp_path / "executed.ipynb"), json.dumps(parameters)]
    surroundings = os.environ | {"SSTVOS_HOME": str(home), "SST_FIGURES": str(tmp_path / "figures"),
                                 "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_notebook_has_three_variants():
    assert set(VARIANTS) == {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    for name, variants in VARIANTS.items():
        assert len(variants) == 3 and len({json.dumps(one, sort_keys=True) for one in variants}) == 3
        assert set().union(*variants) <= set(declared(paths.NOTEBOOKS / f"{name}.ipynb"))


@pytest.mark.parametrize("name", VARIANTS)
def test_numbers_out_of_range_are_refused_in_a_line(name):
    for key, (kind, comment) in declared(paths.NOTEBOOKS / f"{name}.ipynb").items():
        wrong = ["nan", "x", "1e400"] if kind in ("int", "float") else []
        wrong += [str(float(match) - 1) if kind == "float" else str(int(match) - 1)
                  for match in re.findall(r"at least (-?\d+)", comment)]
        wrong += [str(int(match) + 1) for match in re.findall(r"at most (\d+)", comment)]
        for value in wrong:
            with pytest.raises(ValueError) as refused:
                parse_parameters([f"{name}:{key}={value}"])
            assert key in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("notebook, video, mask", [("00_quickstart", "video", "mask"),
                                                   ("02_attention_routes", "clip_path", "clip_mask")])
@pytest.mark.parametrize("size, expected", [((40, 30), "must have their frame's size"), ((160, 96), "no pixel")])
def test_a_mask_that_does_not_fit_is_refused_at_once(clip, tmp_path, notebook, video, mask, size, expected):
    Image.new("L", size).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=expected) as refused:
        parse_parameters([f"{notebook}:{video}={clip[CLIP]}", f"{notebook}:{mask}={tmp_path / 'mask.png'}"])
    assert "\n" not in str(refused.value)
    assert parse_parameters([f"{notebook}:{video}={clip[CLIP]}", f"{notebook}:{mask}={clip[MASK]}"])


@pytest.mark.parametrize("given, expected", [
    (["mask={mask}"], "00_quickstart:mask is given without video"), (["weights_name="], "no weights ''"),
    (["weights_name={mask}"], "mask.png is not a safetensors file"),
])
def test_what_would_fail_in_the_notebook_or_do_nothing_is_refused_at_once(clip, tmp_path, monkeypatch, given, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.safetensors").touch()  # nothing is no name of the current folder
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        parse_parameters([f"00_quickstart:{text.format(mask=clip[MASK])}" for text in given])


def test_clips_of_one_name_have_results_of_their_own(clip, tmp_path):
    """Two folders `frames` in folders of one name, and one of the two by another way."""
    for home in ("one", "two"):
        shutil.copytree(clip[CLIP], tmp_path / home / "holiday" / "frames")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    parameters, opening = nbformat.read(paths.NOTEBOOKS / "00_quickstart.ipynb", 4).cells[1:3]

    def results(home):
        names = {}
        exec(parameters.source, names)
        names |= {"video": str(tmp_path / home / "holiday" / "frames"), "mask": clip[MASK]}
        exec(opening.source, names)
        return names["out"]

    one, two = results("one"), results("two")
    assert one != two and one == results("link") and one.parent == two.parent == paths.RESULTS / "quickstart"
    assert one.name.startswith("holiday frames ")
    assert len(f"{distinct_name('/ä' * 9 + 'ä' * 200)} drawn".encode()) < 255
