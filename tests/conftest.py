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
