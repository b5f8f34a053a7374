"""Any pattern is computed as what it is: classes of one's own of many kinds, and random unions of products, by every
implementation.
"""

import dataclasses
import functools
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from sstlib import cli, paths, weights
from sstlib.attention import KINDS, explain, general, implementations, ops, plan, sparse_attention
from sstlib.benchmarks import attention
from sstlib.benchmarks.anatomy import anatomy
from sstlib.config import ModelConfig
from sstlib.connectivity import PATTERNS, Connectivity, Dense, Grid, Local, Strided, parse
from sstlib.model import build
from sstlib.plots.architecture import architecture
from sstlib.plots.connectivity import key_bars

OWN = [name for name in implementations() if name != "reference"]


def steps(length):
    return numpy.arange(length)[:, None] - numpy.arange(length)  # query's place less key's


@dataclass(frozen=True)
class Cube(Connectivity):
    """A window in time, too."""
    radius: int = 1
    span: int = 1

    def relations(self, size):
        time, rows, columns = (abs(steps(n)) for n in size)
        return [(time <= self.span, rows <= self.radius, columns <= self.radius)]


@dataclass(frozen=True)
class Axial(Connectivity):
    """Two products that overlap."""
    def relations(self, size):
        own, every = [numpy.eye(n, dtype=bool) for n in size], [numpy.ones((n, n), bool) for n in size]
        return [(own[0], every[1], own[2]), (own[0], own[1], every[2])]


@dataclass(frozen=True)
class Cone(Connectivity):
    """A product for each distance in time."""
    def relations(self, size):
        time, rows, columns = (abs(steps(n)) for n in size)
        return [(time == d, rows <= d + 1, columns <= d + 1) for d in range(size[0])]


@dataclass(frozen=True)
class Dilated(Local):
    """Of a known pattern: every second cell of its window."""
    def relations(self, size):
        window = [(abs(d) <= 2 * r) & (d % 2 == 0) for d, r in zip((steps(n) for n in size[1:]), self.radii)]
        return [(numpy.ones((size[0],) * 2, bool), *window)]


@dataclass(frozen=True)
class Behind(Connectivity):
    """Not symmetric along any axis, and of two frames alone: the cell itself, and what is before, above and to the
    left of it.
    """
    def relations(self, size):
        before = [(0 < steps(n)) & (steps(n) <= reach) for n, reach in zip(size, (1, 3, 4))]
        return [tuple(numpy.eye(n, dtype=bool) for n in size), tuple(before)]


@dataclass(frozen=True)
class Empty(Connectivity):
    """Products without a pair, beside one that has some, as lists and tensors."""
    def relations(self, size):
        none, own = [numpy.zeros((n, n), bool) for n in size], [torch.eye(n).bool() for n in size]
        return [tuple(none), (own[0].tolist(), own[1], abs(steps(size[2])) != 1), (own[0], own[1], none[2])]


@dataclass(frozen=True)
class Halves(Connectivity):
    """Depends on the size: cells attend to their half of the frame, and the first frame to everything."""
    def relations(self, size):
        half = numpy.arange(size[2]) * 2 < size[2]
        first = numpy.zeros((size[0],) * 2, bool)
        first[0] = True
        every = [numpy.ones((n, n), bool) for n in size]
        return [(every[0], every[1], numpy.equal.outer(half, half)), (first, every[1], every[2])]


@dataclass(frozen=True)
class Turned(Grid):
    """A grid without its time line, but with all of the frame before."""
    def relations(self, size):
        before, every = steps(size[0]) == 1, [numpy.ones((n, n), bool) for n in size]
        return [*super().relations(size)[1:], (before, every[1], every[2])]


@dataclass(frozen=True)
class Offset(Strided):
    """Strides in time, too, and keys one cell to the right of a stride."""
    def relations(self, size):
        return [
            super().relations(size)[0],
            (steps(size[0]) == 2, steps(size[1]) % 2 == 0, (steps(size[2]) + 1) % self.strides[1] == 0)
        ]


@dataclass(frozen=True)
class Unseen(Dense):
    """All but the cell itself, but for the very first one."""
    def relations(self, size):
        own, every = [numpy.eye(n, dtype=bool) for n in size], [numpy.ones((n, n), bool) for n in size]
        first = [numpy.zeros((n, n), bool) for n in size]
        for relation in first:
            relation[0, 0] = True
        return [(~own[0], *every[1:]), (every[0], ~own[1], every[2]), (*every[:2], ~own[2]), tuple(first)]


class Same(Local):
    """Of a known pattern, with nothing of its own."""


CUSTOM = [
    Cube(),
    Cube(2, 0),
    Axial(),
    Cone(),
    Dilated(1),
    Behind(),
    Empty(),
    Halves(),
    Turned(),
    Offset(2),
    Unseen(),
    Same(1)
]
CUSTOM += [dataclasses.replace(pattern, causal=True) for pattern in CUSTOM]


@functools.cache
def dense(pattern, size):
    """The definition, a pair at a time: a union of products, without later frames where it is causal."""
    products = [[numpy.asarray(relation) for relation in product] for product in pattern.relations(size)]
    cells = list(numpy.ndindex(size))
    return torch.tensor([[
        any(t[q[0], k[0]] and y[q[1], k[1]] and x[q[2], k[2]]
            for t, y, x in products) and not (pattern.causal and k[0] > q[0]) for k in cells
    ] for q in cells])


def wanted(leaves, mask, labels, kind, scale, bias, queried, size):
    """Output, log-sum-exp and affinity by a dense softmax (Eq. 4 and 6)."""
    q, k, v = (t.flatten(2, 4) for t in leaves[:3])
    mask = mask[-q.shape[2]:]
    scores = q @ k.mT * scale
    masked = scores.masked_fill(~mask, -torch.inf)
    weight = masked.softmax(-1)
    members = leaves[3].flatten(2) if len(leaves) > 3 else torch.stack([labels == n for n in range(3)],
                                                                       1).flatten(2).to(q.dtype)
    unit = [t / t.norm(dim=-1, keepdim=True) for t in (q, k)]
    value = {"weight": weight, "dot": scores, "cosine": unit[0] @ unit[1].mT,
             "distance": 2 - 2 * torch.sigmoid((q[..., :, None, :] - k[..., None, :, :]).square().sum(-1) + bias)}[kind]
    frame = torch.arange(size[0]).repeat_interleave(size[1] * size[2])
    allowed = mask & (frame < frame[-q.shape[2]:, None])
    best = (value[:, :, None] * members[:, None, :, None]).masked_fill(~allowed, 0).amax(-1).clamp_min(0)
    shape = (queried, *size[1:])
    return (weight @ v).unflatten(2, shape), best.unflatten(3, shape), masked.logsumexp(-1).unflatten(2, shape)


def hold(pattern, size, queried, implementation, kind="weight", soft=False, dtype=torch.float64, dim=5, dim_v=3,
         seed=0):
    """One implementation against the definition in float64: values and gradients. Whether it took the pattern."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    leaves = [draw(2, 2, n, *size[1:], d) for n, d in ((queried, dim), (size[0], dim), (size[0], dim_v))]
    labels = torch.randint(-1, 3, (2, *size), generator=generator)
    if soft:
        leaves.append(torch.rand(2, 3, *size, generator=generator, dtype=torch.float64))
    upstream = [
        draw(2, 2, *shape) for shape in ((queried, *size[1:], dim_v), (3, queried, *size[1:]), (queried, *size[1:]))
    ]
    results = []
    for name in (implementation, None):
        own = [leaf.to(dtype if name else torch.float64).requires_grad_() for leaf in leaves]
        if name:
            try:
                result = sparse_attention(*own[:3], pattern, labels=own[3] if soft else labels, objects=3,
                                          affinity=kind, affinity_bias=0.3, scale=0.4, implementation=name)
            except ValueError as error:
                assert "cannot do this" in str(error) and "use 'torch' or 'auto'" in str(error)
                return False
        else:
            result = wanted(own, dense(pattern, size), labels, kind, 0.4, 0.3, queried, size)
        grads = torch.autograd.grad(sum((t.double() * g).sum() for t, g in zip(result, upstream)), own,
                                    allow_unused=True, materialize_grads=True)
        results.append([t.detach() for t in (*result, *grads)])
    for part, exact in zip(*results, strict=True):
        limit = 1e-10 if dtype == torch.float64 else 1e-5 * max(1.0, float(exact.abs().max()))
        assert_close(part.double(), exact, atol=limit, rtol=0)
    return True


@pytest.mark.parametrize("size, queried", [((3, 5, 7), 3), ((3, 5, 7), 1), ((5, 2, 3), 2), ((1, 1, 1), 1),
                                           ((2, 1, 11), 2)], ids=str)
@pytest.mark.parametrize("pattern", CUSTOM, ids=str)
def test_a_class_of_ones_own_is_what_it_says(pattern, size, queried):
    for number, name in enumerate(OWN):
        took = hold(pattern, size, queried, name, KINDS[(number + queried) % 4], soft=bool(queried % 2))
        assert took == (name in ("auto", "torch"))
    assert hold(pattern, size, queried, "auto", dtype=torch.float32, dim_v=5)


@pytest.mark.parametrize("pattern", [Cone(), Unseen(causal=True), Turned()], ids=str)
@pytest.mark.parametrize("scores", [1, 30, 1000])
def test_the_general_path_in_pieces_of_any_size(pattern, scores, monkeypatch):
    monkeypatch.setattr(general, "room", lambda device: scores)
    assert hold(pattern, (3, 2, 5), 2, "torch", "distance", soft=True)


@pytest.mark.parametrize("few, waste", [(0, 1.0), (0, 3.0), (99, 1.0), (99, 3.0)])
def test_the_general_path_groups_as_it_likes(few, waste, monkeypatch):
    """Lists of keys padded or not, queries joined or not."""
    monkeypatch.setattr(plan, "FEW", few)
    monkeypatch.setattr(plan, "WASTE", waste)
    for cached in (plan._listed, plan._placed):
        cached.cache_clear()
    for pattern in (Cube(), Halves(), Behind(), Dilated(1)):
        assert hold(pattern, (3, 6, 7), 2, "torch", "cosine")
    for cached in (plan._listed, plan._placed):
        cached.cache_clear()


@dataclass(frozen=True)
class Union(Connectivity):
    """Random products: of any relations, of hardly any pairs, or of nearly all, the first with each cell itself."""
    seed: int = 0
    count: int = 2

    def relations(self, size):
        draw = numpy.random.default_rng([self.seed, *size])
        result = [
            tuple(draw.random((n, n)) < draw.choice([0.1, 0.4, 0.7, 0.95, 1.0]) for n in size)
            for _ in range(self.count)
        ]
        return [
            tuple(relation | numpy.eye(len(relation), dtype=bool) for relation in product) for product in result[:1]
        ] + result[1:]


@st.composite
def unions(draw, longest):
    """A union over a buffer of prime and of single lengths, and what is asked of it."""
    size = tuple(draw(st.sampled_from([n for n in (1, 2, 3, 5, 7, 11) if n <= most])) for most in longest)
    pattern = Union(draw(st.integers(0, 2**31)), draw(st.integers(1, 5)), causal=draw(st.booleans()))
    return dict(pattern=pattern, size=size, queried=draw(st.integers(1, size[0])), kind=draw(st.sampled_from(KINDS)),
                soft=draw(st.booleans()), dim=draw(st.sampled_from([2, 5, 8])), dim_v=draw(st.sampled_from([1, 5, 8])),
                seed=draw(st.integers(0, 2**31)))


def hold_everywhere(problem):
    took = [hold(implementation=name, **problem) for name in OWN]
    assert sum(took) == 2  # auto and torch
    assert hold(implementation="reference", **problem) and hold(implementation="auto", dtype=torch.float32, **problem)
    assert problem["pattern"].pairs(problem["size"]) == int(dense(problem["pattern"], problem["size"]).sum())


EXAMPLES = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(max_examples=40, **EXAMPLES)
@given(unions((3, 3, 5)))
def test_random_unions_of_products(problem):
    hold_everywhere(problem)


@pytest.mark.slow
@settings(max_examples=300, **EXAMPLES)
@given(unions((5, 7, 11)))
def test_300_random_unions_of_products(problem):
    hold_everywhere(problem)


def gives(relations, **methods):
    """A pattern with these relations, whatever they are."""
    return type("Given", (Connectivity,), {"relations": lambda self, size: relations(size), **methods})()


def ones(size):
    return [numpy.ones((n, n), bool) for n in size]


WRONG = {
    r"over width of product 1 is bool of shape \(7, 5\); expected bool \(query, key\) of shape \(7, 7\)": gives(
        lambda size: [(*ones(size)[:2], numpy.ones((7, 5), bool))]),
    r"over time of product 2 is float64": gives(lambda size: [tuple(ones(size)),
                                                              (numpy.eye(size[0]), *ones(size)[1:])]),
    r"int64 of shape \(\)": gives(lambda size: [(1, 1, 1)]),
    r"gives ndarray as product 1; expected a list of products": gives(lambda size: tuple(ones(size))),
    r"gives tuple as product 1; expected a list of products": gives(lambda size: [tuple(ones(size)[:2])]),
    r"gives NoneType as product 1": gives(lambda size: None),
    r"product 1 of relations holds no matrices": gives(lambda size: [([[True], [True, False]], *ones(size)[1:])]),
    r"connects cell \(0, 0, 0\) of a buffer of \(3, 5, 7\) to no key": gives(lambda size: []),
    r"connects cell \(0, 2, 0\) of a buffer": gives(
        lambda size: [(ones(size)[0], numpy.arange(25).reshape(5, 5) < 10, ones(size)[2])]),
    r"connects cell \(1, 0, 0\) of a buffer": gives(
        lambda size: [(numpy.arange(9).reshape(3, 3) < 3, *ones(size)[1:])]),
    r"defines a mask of its own": gives(lambda size: [tuple(ones(size))],
                                        mask=lambda self, *size: torch.ones(105, 105, dtype=torch.bool)),
}


@pytest.mark.parametrize("implementation", ["auto", "torch", "reference"])
@pytest.mark.parametrize("message", WRONG)
def test_relations_that_are_none_are_refused(message, implementation):
    query = torch.randn(1, 1, 3, 5, 7, 4, requires_grad=True)
    for leaf in (query, query.detach()):
        with pytest.raises(ValueError, match=message):
            sparse_attention(leaf, leaf, leaf, WRONG[message], implementation=implementation)
    with pytest.raises(ValueError, match=message):
        explain(query, query, query, WRONG[message])


def test_a_query_without_a_key_is_refused_where_it_is_asked_for():
    """A causal pattern of strictly earlier frames has nothing for the first frame, and something for the last."""
    query = torch.randn(1, 1, 3, 2, 5, 4)
    pattern = gives(lambda size: [(steps(size[0]) > 0, *ones(size)[1:])])
    with pytest.raises(ValueError, match=r"cell \(0, 0, 0\).* to no key"):
        sparse_attention(query, query, query, pattern)
    result, exact = (sparse_attention(query[:, :, 1:].double(), query.double(), query.double(), pattern,
                                      implementation=name) for name in ("auto", "reference"))
    assert_close(result.output, exact.output)


def test_fields_are_of_their_types():
    for make in (lambda: Cube(radius=1.5), lambda: Cube(radius="1"), lambda: Cube(span=True),
                 lambda: Cube(causal="False"), lambda: Cube(causal=1), lambda: Local(-1),
                 lambda: parse("cube(radius=1.5)"), lambda: Dilated(-1)):
        with pytest.raises(ValueError, match="(radius|span|causal|stride) is .*expected"):
            make()
    with pytest.raises(ValueError, match="no key"):
        query = torch.randn(1, 1, 2, 3, 5, 4)
        sparse_attention(query, query, query, Cube(radius=-1))


MISTYPED = """
from sstlib.connectivity import Dense, Grid, Local, Strided, parse
for make in (lambda: Local(2, causal="False"), lambda: Grid(causal=None), lambda: Dense(causal=0), lambda: Local(1.5),
             lambda: Local(True), lambda: Local("2"), lambda: Local((1, 2, 3)), lambda: Strided(2, 1.0),
             lambda: Strided(2, causal=1), lambda: parse("grid(causal='False')"),
             lambda: parse("local(radius=1.5)"), lambda: parse("strided(2, causal=1)")):
    try:
        print("made", make())
    except ValueError as error:
        assert "expected" in str(error), error
"""


def test_fields_of_the_library_are_of_their_types():
    """In a process of its own: types in signatures are checked by the tests themselves."""
    run = subprocess.run([sys.executable, "-c", MISTYPED], capture_output=True, text=True)
    assert run.returncode == 0 and not run.stdout, run.stdout + run.stderr


def test_fields_that_cannot_be_compared_are_refused():
    @dataclass(frozen=True)
    class Listed(Connectivity):
        offsets: list = dataclasses.field(default_factory=list)

        def relations(self, size):
            return [tuple(ones(size))]

    query = torch.randn(1, 1, 2, 3, 5, 4)
    with pytest.raises(ValueError, match="Listed cannot be told from others by its fields .*tuples"):
        sparse_attention(query, query, query, Listed())


def define(reach):
    @dataclass(frozen=True)
    class Again(Connectivity):
        def relations(self, size):
            return [(ones(size)[0], ones(size)[1], abs(steps(size[2])) <= reach)]
    return Again


def test_a_class_that_is_defined_again_is_another():
    """As a cell of a notebook that is run twice: each pattern stays what it was, the name means the latest, also of
    what was called before.
    """
    query = torch.randn(1, 1, 2, 3, 5, 4, dtype=torch.float64)
    leaf = query.clone().requires_grad_()
    attend = lambda pattern, name="auto": sparse_attention(leaf, query, query, pattern, implementation=name).output
    patterns = []
    for reach in (0, 1, 4):
        patterns.append(define(reach)())
        pending = attend("again")
        assert_close(pending, attend(patterns[-1], "reference"))
        define(2)  # and then comes the gradient
        assert_close(
            *(torch.autograd.grad(out.square().sum(), leaf)[0] for out in (pending, attend(patterns[-1], "reference"))))
    assert len({attend(pattern).sum().item() for pattern in patterns}) == 3
    for pattern in patterns:
        assert_close(attend(pattern), attend(pattern, "reference"))
        with torch.no_grad():
            assert_close(attend(pattern), attend(pattern, "reference"))


ELSEWHERE = """
from dataclasses import dataclass
import numpy
from sstlib.attention import ops
from sstlib.connectivity import Connectivity, Grid

@dataclass(frozen=True)
class Again(Connectivity):
    def relations(self, size):
        return [tuple(numpy.ones((n, n), bool) for n in size)]

@dataclass(frozen=True)
class Of(Connectivity):
    part: Connectivity = Grid()

    def relations(self, size):
        return self.part.relations(size)

for pattern in (Again(), Of(Grid(causal=True))):
    print(ops.text_of(pattern))
"""


def test_a_text_of_another_process_is_never_another_class():
    """An exported graph holds the text of its pattern: it was computed as the first class that the loading process had
    used, whatever its name.
    """
    run = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    again, unread = run.stdout.splitlines()
    ops.text_of(Cube())
    latest = define(0)()
    assert ops.parse(again) == latest, "the name is what counts"
    held = dataclasses.make_dataclass("Of", [("part", Connectivity, Grid())], bases=(Cube,), frozen=True)(part=Local(1))
    assert ops.parse(ops.text_of(held)) == held
    with pytest.raises(ValueError, match="unknown connectivity 'Of of fields that no text tells.*"):
        ops.parse(unread)


def test_the_names_of_the_library_cannot_be_taken():
    before = dict(PATTERNS)
    with pytest.raises(ValueError, match="class Local: 'local' is sstlib's own pattern.*another name"):
        type("Local", (Connectivity,), {})
    assert before == PATTERNS and parse("local") == Local()


def test_pairs_are_counted_where_no_closed_form_is_given():
    for pattern, size in itertools.product(CUSTOM, [(3, 5, 7), (1, 1, 1), (4, 1, 3)]):
        assert pattern.pairs(size) == int(dense(pattern, size).sum())
    assert Cube(3, 2).pairs((16, 64, 64)) == (16 * 5 - 6) * (64 * 7 - 12) ** 2  # no mask of 34 GB on the way


def test_explain_tells_the_path_and_its_pairs():
    query = torch.randn(1, 1, 3, 5, 7, 4)
    name, reason = explain(query, query, query, Cone())
    assert name == "torch" and "general path: 3 disjoint products" in reason
    assert f"{Cone().pairs((3, 5, 7)):,} pairs a head" in reason
    assert "'native' cannot: it has no kernel for Cone" in reason and "times the pairs" in reason
    last = explain(query[:, :, :1], query, query, Grid())[1]
    assert f"{5 * 7 * 13} pairs a head, {13 / 105:.2%} of dense" in last and "general" not in last


def test_heads_may_have_patterns_of_ones_own_beside_others():
    query, key, value = (torch.randn(1, 4, 3, 5, 7, 4, dtype=torch.float64) for _ in range(3))
    patterns = [Cube(), "grid", Axial(), "cube(radius=1, span=1)"]
    together = sparse_attention(query, key, value, patterns).output
    for head, pattern in enumerate(patterns):
        alone = sparse_attention(*(t[:, head:head + 1] for t in (query, key, value)), pattern,
                                 implementation="reference").output
        assert_close(together[:, head:head + 1], alone)


@pytest.mark.parametrize("pattern", [Cone(), Axial(causal=True)], ids=str)
def test_half_precisions(pattern):
    leaves = [torch.randn(1, 2, 3, 5, 7, 4).bfloat16() for _ in range(3)]
    result, exact = sparse_attention(*leaves, pattern), sparse_attention(*(t.double() for t in leaves), pattern,
                                                                         implementation="reference")
    assert result.output.dtype == torch.bfloat16 and result.logsumexp.dtype == torch.float32
    assert_close(result.output.double(), exact.output, atol=1e-2, rtol=1e-2)
    assert_close(result.logsumexp.double(), exact.logsumexp, atol=1e-5, rtol=1e-5)


def test_the_class_of_the_readme_goes_everywhere_by_its_text(tmp_path, monkeypatch):
    """From a file through text, model and benchmark to pictures."""
    readme = (paths.ROOT / "README.md").read_text()
    [source] = [
        block.split("```")[0] for block in readme.split("```python")[1:] if "(Connectivity)" in block.split("```")[0]
    ]
    (tmp_path / "cone.py").write_text(source.replace("Cone", "Funnel"))
    with pytest.raises(ValueError, match="unknown connectivity 'funnel'.*grid"):
        parse("funnel")
    monkeypatch.setenv("SST_PATTERNS", str(tmp_path / "none.py"))
    with pytest.raises(OSError, match="^SST_PATTERNS names .*none.py', which is no file"):
        weights.load("sst-small")  # whose configuration has patterns, and no part in it
    broken_files = (("class Funnel(", "SyntaxError"), ("import nowhere", "ModuleNotFoundError"),
                    ("raise SystemExit(3)", "SystemExit"))
    for number, (broken, error) in enumerate(broken_files):
        (tmp_path / f"broken{number}.py").write_text(broken)
        monkeypatch.setenv("SST_PATTERNS", str(tmp_path / f"broken{number}.py"))
        with pytest.raises(OSError, match=f"^SST_PATTERNS names .*{number}.py', which does not run: {error}"):
            parse("funnel")
    both = [tmp_path / "left.py", tmp_path / "right.py"]
    for file in both:
        file.write_text(source.replace("Cone", "Funnel"))
    monkeypatch.setenv("SST_PATTERNS", os.pathsep.join(map(str, both)))
    with pytest.raises(OSError, match="^SST_PATTERNS names .*left.py' and .*right.py', which both define 'funnel'"):
        parse("grid")
    monkeypatch.setenv("SST_PATTERNS", str(tmp_path / "cone.py"))
    pattern = parse("funnel(speed=2)")
    assert hold(pattern, (3, 5, 7), 3, "auto") and str(pattern) == "funnel(speed=2)" and parse(str(pattern)) == pattern
    network = build(ModelConfig(layers=("funnel", "grid"), heads=1, width=8, history=2))
    assert network.layers[0].connectivity == parse("funnel")
    monkeypatch.setattr(attention, "SIZES", {"S1": attention.Buffer("S1", 2, 6, 7, 2, 4)})
    command = ["bench", "attention", "--quick", "--sizes", "S1", "--json", str(tmp_path / "own.json"), "--patterns"]
    assert cli.main([*command, "funnel(speed=2)"]) == 0
    rows = json.loads((tmp_path / "own.json").read_text())["rows"]
    assert {"torch", "torch, last frame", "torch, affinity of 3",
            "gather"} <= {row["implementation"] for row in rows if row["pattern"] == str(pattern)}
    assert cli.main([*command, "fennel"]) == 2
    picture = architecture(network.config, anatomy(network.config, 48, 64), "own")
    assert any("funnel" in text.get_text() for text in picture.axes[0].texts)
    bars = key_bars({pattern.name: float(len(pattern.neighbors((0, 0, 0), (3, 5, 7))))}, 3 * 5 * 7)
    assert pattern.name in [text.get_text() for text in bars.axes[0].get_yticklabels()]
    PATTERNS.pop("funnel")
