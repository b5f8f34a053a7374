"""Files of weights that others published, damaged or of other content, by both of their readers: one line for each."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sstlib.cli import main
from sstlib.model.resnet import ResNet
from sstlib.weights.published import load_pretrained, published

STATE = ResNet("resnet18").state_dict()
WHOLE = {name: value for name, value in STATE.items() if not name.endswith("num_batches_tracked")}


def cut(path, content=None):
    torch.save(STATE, path) if path.suffix == ".pth" else save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


def changed(change):
    return lambda path: torch.save({"state_dict": WHOLE | {"bn1.bias": change(WHOLE["bn1.bias"])}}, path)


def spoiled(values):
    values = values.clone()
    values[3] = torch.nan
    return values


FILES = {
    "cut.pth": (cut, "no file of tensors"),
    "cut.safetensors": (cut, "no file of tensors"),
    "empty.pth": (lambda path: path.write_bytes(b""), "no file of tensors"),
    "empty.safetensors": (lambda path: path.write_bytes(b""), "no file of tensors"),
    "words.pth": (lambda path: path.write_text("hello world"), "no file of tensors"),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), "no file of tensors"),
    "noise.pth": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(999)), "no file of tensors"),
    "zip.pth": (zipped, "no file of tensors"),
    "code.pth": (lambda path: path.write_bytes(pickle.dumps({"a": np.float32})), "no file of tensors"),
    "tensor.pth": (lambda path: torch.save(torch.ones(3), path), "holds a Tensor; expected tensors by name"),
    "list.pth": (lambda path: torch.save([torch.ones(3)], path), "holds a list; expected tensors by name"),
    "numbered.pth": (lambda path: torch.save({1: torch.ones(2)}, path), "holds torch.float32, torch.strided as 1;"),
    "epoch.pth": (lambda path: torch.save({"epoch": 3}, path), "holds 3 as 'epoch'; expected dense tensors"),
    "none.pth": (lambda path: torch.save({"model": {"a": None}}, path), "holds None as 'a'; expected dense tensors"),
    "whole.pth": (changed(lambda t: (100 * t).int()), "holds torch.int32, torch.strided as 'bn1.bias'"),
    "complex.pth": (changed(lambda t: t.to(torch.complex64)), "holds torch.complex64, torch.strided as 'bn1.bias'"),
    "sparse.pth": (changed(lambda t: t.to_sparse()), "holds torch.float32, torch.sparse_coo as 'bn1.bias'"),
    "nan.pth": (changed(spoiled), "numbers that are not finite.*bn1.bias has 1 of 64"),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_weights_is_refused_in_one_line_that_names_the_file(name, tmp_path):
    make, message = FILES[name]
    make(tmp_path / name)
    network = ResNet("resnet18")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for read in (lambda path: load_pretrained(network, path), lambda path: published("lite0", str(path))):
        with pytest.raises(ValueError, match=f"{name} .*{message}") as refusal:
            read(tmp_path / name)
        assert "\n" not in str(refusal.value)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_weights_of_other_precisions_are_taken(tmp_path):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({name: value.to(dtype) for name, value in STATE.items()}, tmp_path / "other.pth")
        load_pretrained(network := ResNet("resnet18"), tmp_path / "other.pth")
        assert torch.equal(network.state_dict()["conv1.weight"], STATE["conv1.weight"].to(dtype).float())


def test_a_run_says_which_file_it_cannot_start_from(tmp_path, capsys):
    cut(tmp_path / "cut.safetensors")
    for backbone in ("resnet18", "lite0"):
        assert main(["train", "tiny", "--out", str(tmp_path / "run"), "--pretrained", str(tmp_path / "cut.safetensors"),
                     "--set", f"model.backbone={backbone}"]) == 2
        assert f"training.start: {tmp_path / 'cut.safetensors'} is no file of tensors" in capsys.readouterr().err
