"""Every test runs on one thread, with the shapes in sstlib's signatures checked by jaxtyping and beartype."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping

jaxtyping.install_import_hook("sstlib", "beartype.beartype")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _memory_is_given_back(monkeypatch):
    """Commands that keep freed memory would keep it for all tests after them."""
    monkeypatch.setattr("sstlib.native.keep_freed_memory", lambda: None)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A file of the weights of a small untrained network."""
    from sstlib import weights
    from sstlib.config import named_model
    from sstlib.model import build

    torch.manual_seed(0)
    return weights.save(build(named_model("sst-tiny")).eval(), tmp_path_factory.mktemp("weights") / "tiny.safetensors")
