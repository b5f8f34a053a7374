"""PyTorch's private names stand in one file, and what stands in for each gives the same."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad

from sstlib.attention import flex, sparse_attention
from sstlib.attention.plan import plan
from sstlib.connectivity import Dense, Grid, Local, Strided
from sstlib.connectivity.unions import Size
from sstlib.model.fast import Convolution3
from sstlib.native import pytorch

PACKAGE = Path(pytorch.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "pytorch.py")
PUBLIC = {"_replace", "_asdict", "_fields", "_make"}  # of named tuples
OWN = {"self", "cls"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(trees: list[ast.Module]) -> set[str]:
    """Private names that the library gives itself: functions, classes, attributes, variables."""
    names = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return names


def foreign(tree: ast.Module, own: set[str]) -> list[str]:
    """Private names of others: those imported from elsewhere, and attributes that nothing of the library defines."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            parts = [part for alias in node.names for part in (*module.split("."), *alias.name.split("."))]
            names += [part for part in parts if private(part) and module.split(".")[0] != "sstlib"]
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own | PUBLIC:
            if not (isinstance(node.value, ast.Name) and node.value.id in OWN):
                names.append(node.attr)
    return names


def test_no_other_file_uses_a_private_name():
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    own = defined(list(trees.values()))
    uses = {str(path.relative_to(PACKAGE)): names for path, tree in trees.items() if (names := foreign(tree, own))}
    assert not uses


@pytest.mark.parametrize("code", [
    "torch._foreach_add_(x)", "from torch._dynamo import config", "import torch._inductor.config", "weight._version",
    "torch.ops.aten._softmax(x)", "torch.nn.functional._pad(x)", "forward_ad._current_level",
])
def test_a_private_name_is_seen(code):
    assert foreign(ast.parse(code), set())


def test_private_names_of_the_library_are_its_own():
    assert not foreign(ast.parse("self._x, part._own, row._replace(a=1)"), {"_own"})


def test_a_name_that_is_gone_is_none():
    assert pytorch._private("_C._functorch.no_such_name") is None and pytorch._private("ops.aten._no_such_name") is None


NAMES = ["LEVEL", "TRANSFORM", "TRANSFORMS", "VMAP", "DISPATCH_MODES", "FUNCTION_MODES", "ATTENTION",
         "ATTENTION_BACKWARD", "LERP"]


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_there_in_this_version(name):
    """Where this fails all else still works, by what stands in: look for the name's successor."""
    assert getattr(pytorch, name)


def within(seen):
    """Answers of `seen` outside of everything, and within each transform and mode that it may be asked in."""
    x, answers = torch.ones(3), []

    def function(t):
        answers.append(seen())
        return t.sum()
    function(x)
    torch.func.vmap(function)(x)
    torch.func.grad(function)(x)
    torch.func.jvp(function, (x,), (x,))
    torch.func.vmap(torch.func.grad(function))(x[None])
    with forward_ad.dual_level():
        function(forward_ad.make_dual(x, x))
    with torch.inference_mode():
        function(x)
    with torch.no_grad():
        function(x)
    function(x)
    return answers


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own, for jvp
@pytest.mark.parametrize("seen, name, missing", [(pytorch.forward_mode, "LEVEL", False),
                                                 (pytorch.transformed, "TRANSFORM", None)])
def test_derivatives_and_transforms_are_seen_without_the_private_name(monkeypatch, seen, name, missing):
    known = within(seen)
    assert True in known and False in known
    monkeypatch.setattr(pytorch, name, missing)
    assert within(seen) == known


def tensors(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def results(pattern, implementation="torch"):
    """Output, log-sum-exp, affinity and gradients, and the output under vmap and with a gradient under it."""
    leaves, labels = tensors(1, 2, 3, 5, 4, 3), torch.arange(60).view(1, 3, 5, 4) % 3
    attend = lambda q: sparse_attention(q, *leaves[1:], pattern, labels=labels, objects=2,
                                        implementation=implementation)
    attended = attend(leaves[0])
    grads = torch.autograd.grad(attended.output.square().sum() + attended.affinity.sum(), leaves)
    plain = sparse_attention(*(t.detach() for t in leaves), pattern, implementation=implementation)
    mapped = torch.func.vmap(lambda q: attend(q).output)(leaves[0].detach()[None])
    slope = torch.func.grad(lambda q: attend(q).output.square().sum())(leaves[0].detach())
    return *attended, *grads, *plain[::2], mapped, slope


@pytest.mark.parametrize("name", ["TRANSFORM", "TRANSFORMS", "VMAP", "DISPATCH_MODES", "FUNCTION_MODES", "ATTENTION",
                                  "ATTENTION_BACKWARD"])
@pytest.mark.parametrize("pattern", [Local(1, causal=True), Strided(2), Grid()], ids=str)
def test_attention_is_the_same_without_a_private_name(monkeypatch, pattern, name):
    known = results(pattern)
    monkeypatch.setattr(pytorch, name, None)
    torch.testing.assert_close(results(pattern), known)


def test_plans_are_the_same_without_the_names_of_modes(monkeypatch):
    size: Size = (3, 5, 4)
    known = plan(Strided(2), size, 2, torch.device("cpu"))
    monkeypatch.setattr(pytorch, "DISPATCH_MODES", None)
    again = plan(Strided(2), size, 2, torch.device("cpu"))
    torch.testing.assert_close([axis.queries for block in again[0] for axis in block],
                               [axis.queries for block in known[0] for axis in block])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("pattern", [Dense(), Local(1, causal=True), Strided((2, 1))], ids=str)
def test_flexattention_is_the_same_without_private_names(monkeypatch, pattern):
    leaves = [t.detach().float() for t in tensors(1, 2, 3, 5, 4, 16)]
    known = flex.attention(*leaves, pattern, 1.0)
    flex._mask.cache_clear()
    monkeypatch.setattr(pytorch, "_private", lambda *_: None)
    monkeypatch.setattr(pytorch, "inspect", SimpleNamespace(signature=lambda function: inspect.Signature()))
    again = flex.attention(*leaves, pattern, 1.0)
    flex._mask.cache_clear()
    torch.testing.assert_close(again, known)


def test_averages_are_the_same_to_the_bit(monkeypatch):
    values = [t.detach() for t in tensors(5, 3)]
    averages = [[t.flip(0).clone() for t in values] for _ in range(2)]
    pytorch.lerp_(averages[0], values, 0.3)
    monkeypatch.setattr(pytorch, "LERP", None)
    pytorch.lerp_(averages[1], values, 0.3)
    torch.testing.assert_close(averages[0], averages[1], rtol=0, atol=0)
    torch.testing.assert_close(averages[0][0], values[0].flip(0) + 0.3 * (values[0] - values[0].flip(0)))


def test_constants_are_marked_as_pytorch_marks_them():
    own, known = (lambda: 1), (lambda: 1)
    assert vars(pytorch.constant(own)) == vars(torch.compiler.assume_constant_result(known)) != {}


def test_the_compiler_is_not_imported_before_something_is_compiled():
    """It takes as long as PyTorch, at every start."""
    code = "import sys, sstlib.cli, sstlib.explorers, sstlib.inference, sstlib.training; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", f"{code} and 'torch._dynamo' not in sys.modules"], check=True)


@torch.no_grad()
def test_filters_follow_weights_whose_version_is_not_told(monkeypatch):
    layer = Convolution3(16, 16)
    first = layer.filters()
    assert layer.filters() is first  # kept
    monkeypatch.setattr(pytorch, "version", lambda tensor: None)
    layer.weight.mul_(2)
    torch.testing.assert_close(layer.filters(), 2 * first)
    with torch.inference_mode():
        assert pytorch.version(torch.ones(2)) is None
