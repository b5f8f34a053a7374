"""What PyTorch does to functions, done to attention: a matrix of transforms and implementations, each right or refused
in one sentence.

Right is what the same transform gives of dense attention in float64.
"""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass

import numpy
import pytest
import torch
from patterns import ONE_EACH
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from sstlib.attention import KINDS, implementations, kernels, plan, sparse_attention
from sstlib.connectivity import Connectivity, Local

SIZE, DIM, OBJECTS = (2, 2, 3), 3, 2
DOUBLE = ("auto", "reference", "torch", "flex")  # native and triton compute in float32


@dataclass(frozen=True)
class Corner(Connectivity):
    """Two products, of a window before and of the own row, for the general path."""
    def relations(self, size):
        before = [numpy.subtract.outer(numpy.arange(n), numpy.arange(n)) for n in size]
        return [tuple((0 <= d) & (d <= 1) for d in before), (before[0] == 0, before[1] == 0, before[2] == before[2])]


PATTERNS = [*(dataclasses.replace(p, causal=True) if isinstance(p, Local) else p for p in ONE_EACH), Corner()]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64) * 0.7


class Problem:
    """Attention as a function of query, key and value in any precision: output, affinity and log-sum-exp, or the
    first and last alone.
    """

    def __init__(self, pattern, kind, implementation, soft):
        self.pattern, self.kind, self.implementation = pattern, kind, implementation
        self.labels = torch.randint(0, OBJECTS, (1, *SIZE), generator=torch.Generator().manual_seed(0))
        if soft:
            self.labels = torch.rand(1, OBJECTS, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    @property
    def dtype(self):
        return torch.float64 if self.implementation in DOUBLE else torch.float32

    def leaves(self, *batch):
        return [
            draw(*batch, 1, 2, n, *SIZE[1:], dim, seed=seed).to(self.dtype)
            for seed, (n, dim) in enumerate(((1, DIM), (2, DIM), (2, DIM + 1)))
        ]

    def __call__(self, query, key, value, labels=None):
        labels = self.labels if labels is None else labels
        if self.kind is None:
            return sparse_attention(query, key, value, self.pattern, implementation=self.implementation)[::2]
        labels = labels.to(query.dtype) if labels.is_floating_point() else labels
        return tuple(
            sparse_attention(query, key, value, self.pattern, labels=labels, objects=OBJECTS, affinity=self.kind,
                             affinity_bias=0.2, implementation=self.implementation))

    def scalar(self, *leaves):
        return sum((part * torch.arange(part.numel()).view(part.shape).cos()).square().sum() for part in self(*leaves))


def gradient(problem):
    leaves = [t.requires_grad_() for t in problem.leaves()]
    return torch.autograd.grad(problem.scalar(*leaves), leaves)


def twice(problem):
    leaves = [t.requires_grad_() for t in problem.leaves()]
    first = torch.autograd.grad(problem.scalar(*leaves), leaves, create_graph=True)
    return torch.autograd.grad(sum((g * g.detach().cos()).sum() for g in first), leaves)


def thrice(problem):
    """Along one direction, for query alone."""
    query, *rest = problem.leaves()
    leaf, total = query.requires_grad_(), None
    for _ in range(3):
        total = torch.autograd.grad(
            problem.scalar(leaf, *rest) if total is None else total.sum(), leaf, create_graph=True)[0]
    return [total.detach()]


def duals(problem):
    """Forward mode without torch.func, of key alone."""
    query, key, value = problem.leaves()
    with forward_ad.dual_level():
        result = problem(query, forward_ad.make_dual(key, draw(*key.shape, seed=9).to(key.dtype)), value)
        return [forward_ad.unpack_dual(part).tangent for part in result]


def jvp(problem):
    leaves = problem.leaves()
    primals, tangents = torch.func.jvp(problem, tuple(leaves),
                                       tuple(draw(*t.shape, seed=7).to(t.dtype) for t in leaves))
    return [*primals, *tangents]


def vjp(problem):
    result, pull = torch.func.vjp(problem, *problem.leaves())
    return [*result, *pull(tuple(torch.ones_like(t).cumsum(-1) for t in result))]


def hessian(problem):
    """Forward over reverse, by vmap, along two directions of the query."""
    query, key, value = problem.leaves()
    slope = torch.func.grad(lambda q: problem.scalar(q, key, value))
    return [
        torch.vmap(lambda direction: torch.func.jvp(slope, (query,), (direction,))[1])(draw(2, *query.shape,
                                                                                            seed=3).to(query.dtype))
    ]


def vmap(problem):
    """Over several axes; keys and values along another than the first, or not at all."""
    query, key, value = problem.leaves(2)
    once = torch.vmap(problem, (0, 3, None))(query, key.movedim(0, 3), value[0])
    return [
        *once, *torch.vmap(torch.vmap(problem, (0, None, 0)), (0, 0, None))(torch.stack([query, -query]), key, value)
    ]


def vmap_of_labels(problem):
    query, key, value = problem.leaves()
    return torch.vmap(lambda labels: problem(query, key, value, labels))(torch.stack(
        [problem.labels, problem.labels.flip(-1)]))


def vmap_of_grad(problem):
    return torch.vmap(torch.func.grad(problem.scalar, argnums=(0, 1, 2)))(*problem.leaves(2))


def grad_through_vmap(problem):
    leaves = [t.requires_grad_() for t in problem.leaves(2)]
    return torch.autograd.grad(torch.vmap(problem.scalar)(*leaves).sum(), leaves)


def grad_of_vmap(problem):
    return torch.func.grad(lambda *leaves: torch.vmap(problem.scalar)(*leaves).sum(),
                           argnums=(0, 2))(*problem.leaves(2))


def checkpointed(problem):
    results = []
    for reentrant in (True, False):
        leaves = [t.requires_grad_() for t in problem.leaves()]
        checkpoint(problem.scalar, *leaves, use_reentrant=reentrant).backward()
        results += [leaf.grad for leaf in leaves]
    return results


def unbatched(problem):
    """An empty batch."""
    leaves = [t[:0].requires_grad_() for t in problem.leaves()]
    labels, problem.labels = problem.labels, problem.labels[:0]
    result = problem(*leaves)
    grads = torch.autograd.grad(sum(part.sum() for part in result), leaves)
    problem.labels = labels
    return [*result, *grads]


def double_in_reverse(problem):
    """Forward-mode derivatives by two reverse ones."""
    query, key, value = problem.leaves()
    return [
        torch.autograd.functional.jvp(lambda q: problem.scalar(q, key, value), query,
                                      draw(*query.shape, seed=5).to(query.dtype))[1]
    ]


def reverse_over_forward(problem):
    """The gradient of a forward-mode derivative, without torch.func."""
    query, *rest = problem.leaves()
    query.requires_grad_()
    with forward_ad.dual_level():
        result = problem.scalar(forward_ad.make_dual(query, torch.ones_like(query)), *rest)
        slope = forward_ad.unpack_dual(result).tangent
        return [slope.detach(), *torch.autograd.grad(slope, query)]


TRANSFORMS = [
    gradient, twice, thrice, duals, jvp, vjp, hessian, vmap, vmap_of_labels, vmap_of_grad, grad_through_vmap,
    grad_of_vmap, checkpointed, unbatched, double_in_reverse, reverse_over_forward
]
# Need operations that they can see through
THROUGH = {duals, jvp, vjp, hessian, vmap_of_grad, grad_of_vmap, reverse_over_forward}


def refused(transform, pattern, kind, implementation):
    """Whether an implementation has to say that it cannot do this."""
    if implementation in ("auto", "torch", "reference"):
        return False
    if implementation == "native":
        return transform in THROUGH or type(pattern) not in kernels.KERNELS
    return True  # there is no GPU; FlexAttention differentiates and maps nowhere else


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
# PyTorch's own forward mode calls it
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_the_matrix(transform, pattern, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    number = TRANSFORMS.index(transform) + PATTERNS.index(pattern)
    for kind, soft in ((KINDS[number % 4], number % 3 == 0), (None, False)):
        if kind is None and transform is vmap_of_labels:
            continue
        exact = transform(Problem(pattern, kind, "reference", soft))
        for implementation in implementations():
            problem = Problem(pattern, kind, implementation, soft)
            if refused(transform, pattern, kind, implementation):
                with pytest.raises(ValueError, match=f"'{implementation}' cannot do this: .*; use 'torch' or 'auto'"):
                    transform(problem)
                continue
            tolerance = 1e-9 if problem.dtype == torch.float64 else 2e-4
            for result, wanted in zip(transform(problem), exact, strict=True):
                assert_close(result.double(), wanted, atol=tolerance * (1 + float(wanted.detach().abs().sum())), rtol=0)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("implementation", ["auto", "torch", "reference"])
def test_tensors_without_data_have_shapes(pattern, implementation):
    """On the meta device, and fake ones; an implementation that has no kernel for a device says so."""
    real = Problem(pattern, "weight", "auto", False)
    shapes = [(t.shape, t.dtype) for t in real(*real.leaves())]
    for cached in (plan._listed, plan._placed):
        cached.cache_clear()  # what is remembered may be of real tensors alone
    problem = Problem(pattern, "weight", implementation, False)
    labels = problem.labels
    problem.labels = labels.to("meta")
    assert [(t.shape, t.dtype) for t in problem(*(t.to("meta") for t in problem.leaves()))] == shapes
    with FakeTensorMode(allow_non_fake_inputs=implementation == "reference") as mode:
        problem.labels = mode.from_tensor(labels)
        fake = [mode.from_tensor(t).requires_grad_() for t in problem.leaves()]
        result = problem(*fake)
        assert [(t.shape, t.dtype) for t in result] == shapes
        grads = torch.autograd.grad(sum(t.sum() for t in result), fake)
        again = torch.autograd.grad(
            sum(t.sum() for t in torch.autograd.grad(problem.scalar(*fake), fake, create_graph=True)), fake)
    assert [g.shape for g in grads] == [g.shape for g in again] == [t.shape for t in fake]
    assert_close(
        Problem(pattern, "dot", "torch", True)(*problem.leaves()),
        Problem(pattern, "dot", "reference", True)(*problem.leaves()))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_nothing_may_be_mapped(pattern):
    problem = Problem(pattern, "weight", "auto", True)
    query, key, value = problem.leaves()
    one, none = (torch.vmap(problem, (0, None, None))(query.expand(n, *query.shape), key, value) for n in (1, 0))
    assert [t.shape for t in none] == [(0, *t.shape[1:]) for t in one]


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_along_what_has_no_part_are_none(kind):
    """Affinities know nothing of values, whatever is to be differentiated again."""
    problem = Problem("local(radius=1)", kind, "auto", True)
    query, key, value = problem.leaves()
    affinity = problem(query, key, value.requires_grad_())[1]
    assert torch.autograd.grad(affinity.sum(), value, create_graph=True, allow_unused=True) == (None,)


def test_flex_attention_refuses_tensors_without_data():
    query = torch.empty(1, 1, 2, 3, 5, 4, device="meta")
    with pytest.raises(ValueError, match="'flex' cannot do this: it takes no tensors without data"):
        sparse_attention(query, query, query, "local", implementation="flex")


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_autocast_leaves_scores_exact(pattern):
    """Also where a transform has ordinary operations in place of the operator's own; their gradients within autocast
    are in bfloat16.
    """
    query, key, value = (t.float() for t in Problem(pattern, None, "auto", False).leaves())
    exact = sparse_attention(query, key, value, pattern)
    with torch.autocast("cpu", torch.bfloat16):
        result = [
            sparse_attention(query, key, value, pattern),
            torch.vmap(lambda q: sparse_attention(q, key, value, pattern)[::2])(query[None])
        ]
        slope = torch.func.grad(lambda q: sparse_attention(q, key, value, pattern).output.sum())(query)
    assert_close(result[0].logsumexp, exact.logsumexp)
    assert_close(result[1][0][0], exact.output)
    assert_close(slope,
                 torch.func.grad(lambda q: sparse_attention(q, key, value, pattern).output.sum())(query), atol=1e-2,
                 rtol=0)


GRAPHS = """
import torch
from torch.testing import assert_close
from sstlib.attention import sparse_attention
from sstlib.connectivity import Grid, parse
import tests_patterns

torch.manual_seed(0)
leaves = [torch.randn(1, 2, 2, 3, 5, dim, requires_grad=True) for dim in (4, 4, 6)]
labels = torch.randint(0, 2, (1, 2, 3, 5))
for pattern in ("local(radius=1)", tests_patterns.Corner(causal=True), [Grid(), "corner"]):
    def attend(query, key, value):
        return tuple(sparse_attention(query, key, value, pattern, labels=labels, objects=2, affinity="distance"))

    class Layer(torch.nn.Module):
        def forward(self, *given):
            return attend(*given)

    plain = attend(*leaves)
    slopes = torch.autograd.grad(sum(t.square().sum() for t in plain), leaves)
    torch._dynamo.reset()
    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)(*leaves)
    exported = torch.export.export(Layer(), tuple(leaves)).module()(*leaves)
    mapped = torch.compile(torch.vmap(attend), backend="aot_eager", fullgraph=True)(*(t[None] for t in leaves))
    assert_close(tuple(t[0] for t in mapped), plain)
    for found in (compiled, exported):
        assert_close(found, plain)
        assert_close(torch.autograd.grad(sum(t.square().sum() for t in found), leaves), slopes)

def several(query, key, value, labels):  # sides are symbols, but for those of the bias
    return tuple(sparse_attention(query, key, value, "grid", labels=labels, objects=2, affinity="distance",
                                  affinity_bias=bias))

bias = torch.nn.Parameter(torch.randn(2))
for numbers in (labels, torch.rand(1, 2, 2, 3, 5)):
    torch._dynamo.reset()
    whole = torch.compile(several, backend="aot_eager", fullgraph=True, dynamic=True)
    assert_close(whole(*leaves, numbers), several(*leaves, numbers))

corner = lambda q: sparse_attention(q, *leaves[1:], "corner").output
along = lambda query: torch.func.jvp(corner, (query,), (torch.ones_like(query),))[1]
assert_close(torch.compile(along, backend="aot_eager")(leaves[0]), along(leaves[0]))  # the graph breaks there
exported = torch.export.export(Layer(), tuple(leaves)).module()  # of the last pattern
try:
    print("computed", torch.func.jvp(lambda query: exported(query, *leaves[1:]), (leaves[0],), (leaves[0],)))
except ValueError as error:
    assert "no forward-mode derivatives in a compiled or exported graph" in str(error), error
"""
CORNER = '''
from dataclasses import dataclass
import numpy
from sstlib.connectivity import Connectivity

@dataclass(frozen=True)
class Corner(Connectivity):
    def relations(self, size):
        before = [numpy.subtract.outer(numpy.arange(n), numpy.arange(n)) for n in size]
        return [tuple((0 <= d) & (d <= 1) for d in before), (before[0] == 0, before[1] == 0, before[2] == before[2])]
'''
RANK = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close
from sstlib.attention import sparse_attention
import tests_patterns

class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.project = torch.nn.Linear(4, 4)

    def forward(self, cells):
        return sum(sparse_attention(*[self.project(cells)] * 3, pattern).output.square().sum()
                   for pattern in ("grid", "local(radius=1)", "corner"))

rank, layer = int(sys.argv[1]), Layer()
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
batches = torch.randn(2, 1, 2, 2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
parallel = DistributedDataParallel(layer)
parallel(batches[rank]).backward()
alone = Layer()
(sum(alone(batch) for batch in batches) / 2).backward()
assert_close(layer.project.weight.grad, alone.project.weight.grad)
torch.distributed.destroy_process_group()
"""


def aside(tmp_path, script, *arguments):
    """A process of its own: shape checks that tests wrap around every function cannot be traced."""
    (tmp_path / "tests_patterns.py").write_text(CORNER)
    (tmp_path / "script.py").write_text(script)
    return subprocess.Popen([sys.executable, str(tmp_path / "script.py"), *arguments], stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def test_graphs_are_whole_and_right(tmp_path):
    """torch.compile with fullgraph and torch.export, of patterns as texts and as objects, one's own and mixed, under
    vmap, too.
    """
    run = aside(tmp_path, GRAPHS)
    out, error = run.communicate()
    assert run.returncode == 0 and not out, out + error[-3000:]


@pytest.mark.slow
def test_data_parallel_gradients_are_the_mean(tmp_path):
    runs = [aside(tmp_path, RANK, str(rank), str(tmp_path / "meeting")) for rank in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors[0][-3000:]
