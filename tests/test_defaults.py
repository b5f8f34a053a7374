"""PyTorch's defaults are the caller's own: what the library makes has the precision and device of what it is given."""

import contextlib

import numpy as np
import pytest
import torch
from patterns import EVERY

from sstlib import synthetic, weights
from sstlib.attention import implementations, sparse_attention
from sstlib.config import MODELS
from sstlib.inference import Segmenter
from sstlib.model import build, unroll

SIZE = (3, 4, 5)
CLIP = synthetic.render(synthetic.random_spec("easy", 1, frames=3).replace(height=48, width=64), 1)


@contextlib.contextmanager
def default(dtype=torch.float32, device="cpu"):
    try:
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


DEFAULTS = {"float64": dict(dtype=torch.float64), "bfloat16": dict(dtype=torch.bfloat16), "meta": dict(device="meta")}


def attended(query, key, value, pattern, name, labels):
    leaves = [t.clone().requires_grad_() for t in (query, key, value)]
    ranks = {} if labels is None else dict(labels=labels, objects=2, affinity="weight")
    result = sparse_attention(*leaves, pattern, implementation=name, **ranks)
    total = sum(t.sum() for t in (result.output.square(), result.logsumexp, result.affinity) if t is not None)
    return [t for t in (*result, *torch.autograd.grad(total, leaves)) if t is not None]


@pytest.mark.parametrize("options", DEFAULTS.values(), ids=DEFAULTS)
@pytest.mark.parametrize("name", [name for name in implementations() if name in ("native", "torch", "reference")])
def test_operators_compute_alike_under_any_default(name, options):
    query, key, value = (torch.randn(1, 2, *SIZE, dim) for dim in (3, 3, 2))
    numbers, soft = torch.randint(2, (1, *SIZE)), torch.rand(1, 2, *SIZE)
    for pattern in EVERY:
        for labels in (None, numbers, soft):
            how = pattern, ("auto" if name == "native" else name), labels
            expected = attended(query, key, value, *how)
            with default(**options):
                results = attended(query, key, value, *how)
            for result, right in zip(results, expected, strict=True):
                torch.testing.assert_close(result, right, rtol=0, atol=0)


@pytest.mark.parametrize("options", DEFAULTS.values(), ids=DEFAULTS)
def test_networks_are_loaded_and_segment_alike_under_any_default(options):
    def predictions():
        segmenter = Segmenter(weights.load("sst-small-occlusion"))
        given = [CLIP.labels[0], None, np.where(CLIP.labels[2] == 1, 1, 255)]
        return [segmenter.step(frame, labels) for frame, labels in zip(CLIP.frames, given)]

    expected = predictions()
    with default(**options):
        results = predictions()
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.memberships, right.memberships)
        assert (result.presence, result.doubt) == (right.presence, right.doubt)


def test_a_network_that_is_built_learns_in_float32_whatever_the_default():
    frames = torch.rand(1, 3, 3, 32, 48)
    masks = torch.zeros(1, 2, 32, 48)
    masks[:, 0, :16], masks[:, 1, 16:] = 1, 1
    for name in ("sst-tiny", "cfbi-tiny", "stm-tiny", "recurrent-tiny"):
        with default(torch.float64):
            network = build(MODELS[name])
            unroll(network, frames, masks).sum().backward()
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
