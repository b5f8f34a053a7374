"""Attention inside what PyTorch wraps around it: compilation, autocast, deterministic mode, a GPU."""

import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from sstlib.attention import sparse_attention
from sstlib.connectivity import Dense, Grid, Local, Strided

PATTERNS = [Grid(), Local(2), Strided(2, causal=True)]


def tensors(seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.randn(1, 2, 3, 5, 7, dim, generator=generator).to(device).requires_grad_() for dim in (4, 4, 6)]
    return leaves, torch.randint(0, 2, (1, 3, 5, 7), generator=generator).to(device)


COMPILED = """
import torch
from sstlib.attention import sparse_attention
from sstlib.connectivity import Local
leaves = [torch.randn(1, 2, 3, 5, 7, dim, requires_grad=True) for dim in (4, 4, 6)]
labels = torch.randint(0, 2, (1, 3, 5, 7))
for name in ("auto", "torch"):
    def loss(query, key, value):
        found = sparse_attention(query, key, value, Local(radius=2), labels=labels, objects=2, affinity="distance",
                                 implementation=name)
        return found.output.square().sum() + found.affinity.sum() + found.logsumexp.sum()
    plain = torch.autograd.grad(loss(*leaves), leaves)
    compiled = torch.autograd.grad(torch.compile(loss, backend="aot_eager", fullgraph=True)(*leaves), leaves)
    for a, b in zip(plain, compiled):
        torch.testing.assert_close(a, b)
"""


def test_one_graph_under_torch_compile():
    """In a process of its own: the shape checks that tests wrap around every function cannot be traced."""
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("implementation", ["auto", "torch"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_autocast_brings_mixed_precisions_together(pattern, implementation):
    """Heads in bfloat16, as a layer under autocast gives them, beside float32: output, affinity and gradients all
    come out.
    """
    leaves, labels = tensors()
    how = dict(labels=labels, objects=2, implementation=implementation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = sparse_attention(leaves[0].bfloat16(), leaves[1], leaves[2].bfloat16(), pattern, **how)
        plain = sparse_attention(*(leaf.bfloat16() for leaf in leaves), pattern, implementation=implementation)
    exact = sparse_attention(*(leaf.bfloat16().float() for leaf in leaves), pattern, **how)
    assert result.logsumexp.dtype == torch.float32
    assert_close(plain.logsumexp, exact.logsumexp, atol=1e-5, rtol=1e-5)  # scores stay in float32
    assert result.output.dtype == result.affinity.dtype == plain.output.dtype == torch.bfloat16
    for half in (result, plain):
        assert_close(half.output.float(), exact.output, atol=1e-2, rtol=1e-2)
    grads = [torch.autograd.grad(f.output.float().square().sum(), leaves) for f in (result, exact)]
    for a, b in zip(*grads):
        assert a.dtype == torch.float32
        assert_close(a, b, atol=2e-2 * float(b.abs().max()), rtol=0)


@pytest.mark.parametrize("implementation", ["auto", "torch"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_deterministic_mode_gives_the_same_bits_twice(pattern, implementation):
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            leaves, labels = tensors()
            result = sparse_attention(*leaves, pattern, labels=labels, objects=2, implementation=implementation)
            runs.append(torch.autograd.grad(result.output.sum() + result.affinity.sum(), leaves))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(*runs):
        assert torch.equal(a, b)


@pytest.mark.gpu
@pytest.mark.parametrize("pattern", [*PATTERNS, Dense()], ids=str)
def test_a_gpu_computes_what_the_cpu_does(pattern):
    results = []
    for device in ("cpu", "cuda"):
        leaves, labels = tensors(device=device)
        result = sparse_attention(*leaves, pattern, labels=labels, objects=2)
        grads = torch.autograd.grad(result.output.square().sum() + result.affinity.sum(), leaves)
        results.append([t.cpu() for t in (*result, *grads)])
    for a, b in zip(*results):
        assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_who_looks_sees_an_operator():
    """Without a gradient nobody has to, and dispatch would take as long as a small call; a mode sees it all the
    same.
    """
    class Seen(TorchDispatchMode):
        names: list[str] = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.append(function.name())
            return function(*args, **kwargs or {})

    query = torch.randn(1, 2, 2, 3, 5, 4)
    alone = sparse_attention(query, query, query, "grid", labels=torch.zeros(1, 2, 3, 5, dtype=torch.long), objects=1)
    with Seen():
        seen = sparse_attention(query, query, query, "grid", labels=torch.zeros(1, 2, 3, 5, dtype=torch.long),
                                objects=1)
    assert "sstlib::attend" in Seen.names
    assert_close(seen, alone, atol=0, rtol=0)
