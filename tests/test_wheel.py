"""A wheel in an environment of nothing but what the core requires: operators, a release by its name, masks of a
clip.
"""

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[1]
OPERATORS = """
import torch
from sstlib import weights
from sstlib.attention import sparse_attention
x = torch.randn(1, 2, 3, 5, 7, 4)
print(tuple(sparse_attention(x, x, x, "local(radius=1)").output.shape), *weights.released(),
      type(weights.load("sst-small")).__name__)
"""


def closure(names):
    """Distributions that these need without any extra, themselves among them."""
    needed, left = {}, list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name in needed:
            continue
        try:
            needed[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        for text in needed[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return needed.values()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with the wheel, and links to what its core requires."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir",
        str(folder),
        str(ROOT)
    ]
    subprocess.run(build, check=True, capture_output=True, text=True)
    [wheel] = folder.glob("*.whl")
    packages = folder / "site"
    zipfile.ZipFile(wheel).extractall(packages)
    [metadata] = packages.glob("sstlib-*.dist-info")
    wanted = [Requirement(text) for text in importlib.metadata.PathDistribution(metadata).requires]
    core = [
        requirement.name for requirement in wanted
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    for distribution in closure(core):
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    return packages


def run(site, folder, *command):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SST"))}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-S", *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_operators_and_a_release_come_with_it(site, tmp_path):
    assert run(site, tmp_path, "-c", OPERATORS).split("\n")[0] == "(1, 2, 3, 5, 7, 4) sst-small SST"
    missing = ("import importlib.util; "
               "print(*[n for n in ('matplotlib', 'pandas', 'av', 'dask', 'pytest') if importlib.util.find_spec(n)])")
    assert run(site, tmp_path, "-c", missing).split() == []


@pytest.mark.slow
def test_a_clip_is_segmented(site, tmp_path):
    frames = tmp_path / "clip"
    frames.mkdir()
    for t in range(3):
        picture = np.full((48, 80, 3), 90, np.uint8)
        picture[10:30, 10 + 4 * t:30 + 4 * t] = (200, 40, 40)
        Image.fromarray(picture).save(frames / f"{t:05d}.png")
    mask = np.zeros((48, 80), np.uint8)
    mask[10:30, 10:30] = 1
    Image.fromarray(mask).save(tmp_path / "first.png")
    run(site, tmp_path, "-m", "sstlib", "segment", "clip", "--mask", "first.png", "--out", "masks")
    last = np.asarray(Image.open(tmp_path / "masks" / "00002.png"))
    assert last.shape == (48, 80) and (last == 1).any() and not (tmp_path / "results").exists()
