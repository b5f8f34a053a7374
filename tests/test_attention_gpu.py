"""The GPU's implementations: under Triton's interpreter and FlexAttention's eager path here, on the GPU itself where
there is one.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from sstlib import paths
from sstlib.attention import explain, sparse_attention
from sstlib.attention.triton import tiles
from sstlib.connectivity import Dense, Grid, Local, Strided

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
PROBLEMS = [(Local(2), (2, 3, 9), 2), (Local((1, 9), causal=True), (2, 3, 10), 1), (Grid(), (2, 3, 4), 2),
            (Grid(causal=True), (3, 2, 3), 1), (Strided(2), (2, 3, 3), 2),
            (Strided((2, 1), 2, causal=True), (3, 3, 2), 2), (Dense(causal=True), (2, 3, 5), 2),
            (Local(0), (1, 1, 1), 1)]
KINDS = [("weight", False), ("weight", True), ("distance", False), ("distance", True), ("cosine", True), ("dot", True)]


def solve(pattern, size, queried, implementation, dtype, kind="weight", soft=False, groups=(1, 2), device="cpu", dim=5,
          source=torch.float32):
    """Outputs and gradients on unit-scale tensors rounded to `source`, all in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(source).to(device, dtype)
    leaves = [
        draw(*groups, n, *size[1:], d).requires_grad_() for n, d in ((queried, dim), (size[0], dim), (size[0], 3))
    ]
    labels = torch.randint(-1, 3, (groups[0], *size), generator=generator).to(device)
    if soft:
        labels = torch.rand(groups[0], 3, *size, generator=generator).to(source).to(device, dtype).requires_grad_()
        leaves.append(labels)
    out = sparse_attention(*leaves[:3], pattern, labels=labels, objects=3, affinity=kind, affinity_bias=0.25,
                           scale=dim**-0.5, implementation=implementation)
    loss = sum((t.cpu().double() * torch.randn(t.shape, generator=generator)).sum() for t in out)
    grads = torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
    return [t.detach().cpu().double() for t in (*out, *grads)]


def check(result, exact, tolerance):
    """Values within 1e-6 and affinities and gradients within 5e-6 of the float64 reference, or within a half
    precision's own.
    """
    for number, (a, b) in enumerate(zip(result, exact, strict=True)):
        limit = tolerance or (1e-6 if number in (0, 2) else 5e-6)
        assert_close(a, b, atol=limit * max(1.0, float(b.abs().max())), rtol=0)


interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1",
                                 reason="for Triton's interpreter, TRITON_INTERPRET=1, in a process of its own")


@needs_triton
@pytest.mark.slow
def test_the_triton_kernels_are_right_under_the_interpreter():
    """In a process of its own: Triton's own functions are interpreted or not from its import on, and PyTorch's import
    is that.
    """
    if importlib.metadata.version("triton").startswith("3.5."):
        pytest.skip("the interpreter of Triton 3.5, that of PyTorch 2.9, does not work with NumPy 2.4")
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", "interpreted", __file__], capture_output=True,
                         text=True, env=os.environ | {"TRITON_INTERPRET": "1"})
    assert run.returncode == 0 and "skipped" not in run.stdout, run.stdout[-2000:]


@interpreted
@pytest.mark.parametrize("number", range(len(PROBLEMS)), ids=lambda number: str(PROBLEMS[number]))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # cells beyond the border, which nobody reads
def test_the_interpreted_kernels_match_the_reference(number):
    kind, soft = KINDS[number % len(KINDS)]
    how = dict(zip(
        ("pattern", "size", "queried"), PROBLEMS[number])) | dict(kind=kind, soft=soft, groups=[(1, 2), (2, 1),
                                                                                                (1, 1)][number % 3])
    check(solve(implementation="triton", dtype=torch.float32, **how),
          solve(implementation="reference", dtype=torch.float64, **how), None)


@interpreted
@pytest.mark.parametrize("pattern, size", [(Local(2), (2, 11, 9)), (Local((1, 9), causal=True), (3, 5, 20))], ids=str)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_interpreted_kernels_mask_windows_by_a_matrix_product(pattern, size, monkeypatch):
    monkeypatch.setattr("sstlib.attention.triton.tiles.MARKED", (torch.float32,))
    how = dict(pattern=pattern, size=size, queried=2, soft=True)
    check(solve(implementation="triton", dtype=torch.float32, **how),
          solve(implementation="reference", dtype=torch.float64, **how), None)


@interpreted
@pytest.mark.parametrize("longest", [2, 128])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_interpreted_kernels_take_long_rows_and_histories(longest, monkeypatch):
    """Rows that one program cannot hold, and more frames than a time line's program holds at a time."""
    monkeypatch.setattr("sstlib.attention.triton.tiles.ROW", longest)
    how = dict(pattern=Grid(causal=longest == 2), size=(6, 2, 3), queried=5, kind="cosine")
    check(solve(implementation="triton", dtype=torch.float32, **how),
          solve(implementation="reference", dtype=torch.float64, **how), None)


@interpreted
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_interpreted_kernels_take_half_precision(monkeypatch):
    """float16: the interpreter multiplies bfloat16 as whole numbers, which leaves that to the test on a GPU."""
    monkeypatch.setattr("sstlib.attention.triton.tiles.MARKED", ())
    how = dict(pattern=Local(1), size=(2, 3, 4), queried=2, source=torch.float16)
    check(solve(implementation="triton", dtype=torch.float16, **how),
          solve(implementation="reference", dtype=torch.float64, **how), 2e-3)


COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from sstlib.attention.triton import tile_kernels
constants = dict(ROWS=8, COLUMNS=8, CELLS=64, OWN_FRAME=False, WINDOW=True, SELF=True, EVEN=False, MARKED=True,
                 PRECISION="ieee", D=16, DP=16, V=16, VP=16, CAUSAL=True, CONTINUE=False, OBJECTS=3, OBJECTS_P=4,
                 MODE="add", REMEMBER=True)
types = {"scale": "fp32", "slope": "fp32", "argmax": "*i32"} | dict.fromkeys(("q", "k", "v", "out"), "*bf16")
types |= dict.fromkeys(("lse", "terms", "key_term", "query_term", "best"), "*fp32")
types |= dict.fromkeys(constants, "constexpr")
signature = {name: types.get(name, "i32") for name in tile_kernels.forward.arg_names}
made = compile(ASTSource(tile_kernels.forward, signature, constants), target=GPUTarget("cuda", 90, 32))
assert "wgmma" in made.asm["ptx"]
"""


@needs_triton
def test_the_kernels_compile_for_a_gpu_where_there_is_none():
    """In a process of its own: under the interpreter a kernel is no longer one that compiles."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]


def test_the_shapes_are_nearly_the_fastest_recorded():
    record = json.loads((paths.RUNS / "benchmarks" / "triton_shapes.json").read_text())
    seen = {}
    for row in record["rows"]:
        if row["size"] == "S2" and "shape" in row and row.get("precision", tiles.PRECISION) == tiles.PRECISION:
            seen.setdefault((row["pattern"], row["kernel"], row["dtype"]),
                            {})[tiles.Shape(*row["shape"])] = row["microseconds"]
    assert len(seen) >= 12
    for (pattern, kernel, dtype), times in seen.items():
        assert times[tiles.SHAPES[pattern][kernel][dtype == "float32"]] <= 1.02 * min(times.values()), (pattern, kernel,
                                                                                                        dtype)


FLEX = [Local(2), Local((1, 9), causal=True), Strided((3, 2), 2, causal=True), Dense(causal=True)]


def flexed(pattern, size, queried, implementation, dtype, device="cpu", differentiate=False):
    """Output, log-sum-exp and gradients without labels, which FlexAttention does not take."""
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(1, 2, n, *size[1:], 16, generator=generator).to(device, dtype) for n in (queried, size[0], size[0])
    ]
    leaves = [leaf.requires_grad_(differentiate) for leaf in leaves]
    result = sparse_attention(*leaves, pattern, scale=0.25, implementation=implementation)
    grads = torch.autograd.grad(result.output.square().sum() + result.logsumexp.sum(), leaves) if differentiate else ()
    return [t.detach().cpu().double() for t in (result.output, result.logsumexp, *grads)]


@pytest.mark.parametrize("pattern", FLEX, ids=str)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_in_tile_order_matches_the_reference(pattern):
    """Forward: it has no gradient on a CPU."""
    for a, b in zip(flexed(pattern, (3, 10, 11), 2, "flex", torch.float64),
                    flexed(pattern, (3, 10, 11), 2, "reference", torch.float64)):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_flex_attention_says_what_it_cannot():
    query, labels = torch.randn(1, 1, 2, 3, 5, 4), torch.zeros(1, 2, 3, 5, dtype=torch.long)
    for pattern, options, why in (("grid", {}, "lines"), ("local", dict(labels=labels, objects=1), "affinity")):
        with pytest.raises(ValueError, match=f"'flex' cannot do this: .*{why}"):
            sparse_attention(query, query, query, pattern, implementation="flex", **options)


@pytest.mark.gpu
@pytest.mark.parametrize("pattern", FLEX, ids=str)
def test_flex_attention_on_a_gpu(pattern):
    exact = flexed(pattern, (3, 30, 41), 3, "reference", torch.float64, differentiate=True)
    for a, b in zip(flexed(pattern, (3, 30, 41), 3, "flex", torch.float32, "cuda", differentiate=True), exact,
                    strict=True):
        assert_close(a, b, atol=1e-3 * float(b.abs().max()), rtol=0)  # its products may run in tf32


def test_without_a_gpu_its_implementations_say_so(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    query = torch.randn(1, 1, 2, 3, 5, 4)
    with pytest.raises(ValueError, match="'triton' cannot do this: .*(not on cpu|not installed)"):
        sparse_attention(query, query, query, "grid", implementation="triton")


CASES = [
    *PROBLEMS, (Local(7), (3, 30, 41), 3), (Grid(), (5, 33, 70), 5), (Grid(), (2, 5, 131), 2),
    (Strided(8), (4, 35, 30), 1), (Strided(4, causal=True), (3, 21, 70), 3), (Dense(), (2, 9, 31), 2)
]
HALVES = [(torch.float32, None), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)]


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["triton", "torch"])
@pytest.mark.parametrize("dtype, tolerance", HALVES, ids=str)
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: str(CASES[number]))
def test_on_a_gpu(number, implementation, dtype, tolerance):
    """Two kinds each, in head widths that tensor cores take and that they do not: a GPU compiles each of them anew,
    for seconds.
    """
    pattern, size, queried = CASES[number]
    for turn in (0, 3):
        (kind, soft), dim = list(zip(KINDS, (16, 5, 32, 16, 64, 7)))[(number + turn + HALVES.index(
            (dtype, tolerance))) % len(KINDS)]
        how = dict(pattern=pattern, size=size, queried=queried, kind=kind, soft=soft, dim=dim, source=dtype)
        check(solve(implementation=implementation, dtype=dtype, device="cuda", **how),
              solve(implementation="reference", dtype=torch.float64, **how), tolerance)


@pytest.mark.gpu
def test_a_gpu_takes_triton_and_says_so():
    query = torch.randn(1, 1, 2, 3, 5, 4, device="cuda")
    name, reason = explain(query, query, query, "grid")
    assert name == "triton" and "fastest" in reason
