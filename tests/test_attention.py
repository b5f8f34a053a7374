"""Every implementation of sparse attention against the dense masked reference: values, affinities and gradients."""

import inspect
import itertools
import warnings

import numpy
import pytest
import torch
from patterns import EVERY, ONE_EACH
from torch.testing import assert_close

from sstlib.attention import KINDS, blocks, general, grid, sparse_attention
from sstlib.connectivity import Grid, Local, Strided, parse

# wide: several pieces; long: batched products in time
SIZES = [(3, 5, 7), (1, 1, 1), (2, 11, 1), (4, 6, 13), (2, 3, 150), (12, 2, 3)]


def inputs(size, queried=None, dim=5, dim_v=3, objects=3, soft=False, batch=2, heads=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    query, key, value = draw(batch, heads, queried or size[0], *size[1:],
                             dim), draw(batch, heads, *size, dim), draw(batch, heads, *size, dim_v)
    labels = torch.randint(-1, objects, (batch, *size), generator=generator)
    if soft:
        labels = torch.rand(batch, objects, *size, generator=generator, dtype=torch.float64).to(dtype)
    return query, key, value, labels


def compare(query, key, value, labels, pattern, implementation, tolerance, **options):
    """Runs both in one go with one random gradient for all outputs; labels that are memberships get one, too."""
    results = []
    for name, dtype in ((implementation, query.dtype), ("reference", torch.float64)):
        leaves = [
            t.detach().to(dtype).requires_grad_() if t.is_floating_point() else t for t in (query, key, value, labels)
        ]
        bias = torch.tensor([0.1, -0.2], dtype=dtype).repeat(query.shape[1])[:query.shape[1]].requires_grad_()
        out = sparse_attention(*leaves[:3], pattern, labels=leaves[3], affinity_bias=bias, implementation=name,
                               **options)
        generator = torch.Generator().manual_seed(1)
        loss = sum((t.double() * torch.randn(t.shape, generator=generator, dtype=torch.float64)).sum() for t in out)
        wanted = [t for t in (*leaves, bias) if t.is_floating_point()]
        grads = torch.autograd.grad(loss, wanted, allow_unused=True)
        results.append((out, [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wanted)]))
    (out, grads), (wanted_out, wanted_grads) = results
    for result, wanted in zip((*out, *grads), (*wanted_out, *wanted_grads)):
        assert_close(result.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("pattern", EVERY, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_torch_matches_reference(pattern, size):
    for queried in {1, size[0]}:
        compare(*inputs(size, queried), pattern, "torch", 1e-10, objects=3)


@pytest.mark.parametrize("pattern", EVERY, ids=str)
def test_torch_in_pieces_of_any_size_matches_reference(pattern, monkeypatch):
    for scores in (1, 100, 1000):
        for module in (blocks, general, grid):
            monkeypatch.setattr(module, "room", lambda device, scores=scores: scores)
        for queried in (1, 2, 4):
            compare(*inputs((4, 6, 7), queried), pattern, "torch", 1e-10, objects=3)


@pytest.mark.parametrize("pattern", EVERY, ids=str)
@pytest.mark.parametrize("dim_v", [3, 5])  # without the fused kernel, and with
def test_objects_that_begin_alone_and_appear_later(pattern, dim_v):
    query, key, value, labels = inputs((5, 6, 7), dim_v=dim_v)
    labels[:, :3] = 1
    labels[:, 3:] = torch.arange(7) // 3
    for kind in KINDS:
        options = {"objects": 3, "affinity": kind}
        compare(query, key, value, labels, pattern, "torch", 1e-10, **options)
        result, wanted = (sparse_attention(query, key, value, pattern, labels=labels, implementation=name, **options)
                          for name in ("torch", "reference"))
        # Without a gradient nothing remembers its key
        assert_close(result.affinity, wanted.affinity, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind, soft", list(itertools.product(KINDS, (False, True))))
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_affinity_kinds(pattern, kind, soft):
    compare(*inputs((3, 4, 5), soft=soft), pattern, "torch", 1e-10, affinity=kind, scale=0.7,
            objects=None if soft else 3)


@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_gradcheck(pattern):
    query, key, value, labels = inputs((2, 3, 4), batch=1, dim=2, dim_v=2)
    attend = lambda *leaves: sparse_attention(*leaves, pattern, labels=labels, objects=3)
    assert torch.autograd.gradcheck(attend, [t.requires_grad_() for t in (query, key, value)])


def test_heads_may_differ_in_pattern():
    query, key, value, labels = inputs((3, 5, 7), heads=4)
    patterns = [Local(1), Grid(), Local(1), Strided(2)]
    joint = sparse_attention(query, key, value, patterns, labels=labels, objects=3)
    for head, pattern in enumerate(patterns):
        alone = sparse_attention(*(t[:, head:head + 1] for t in (query, key, value)), pattern, labels=labels, objects=3)
        for together, single in zip(joint, alone):
            assert_close(together[:, head:head + 1], single)


def test_affinity_sees_earlier_frames_only_and_defaults_to_zero():
    query, key, value, labels = inputs((3, 5, 7))
    labels[:, :2] = 0
    out = sparse_attention(query, key, value, Local(2), labels=labels, objects=3)
    assert out.affinity[:, :, :, 0].abs().max() == 0  # the first frame has none before it
    assert out.affinity[:, :, 1:].abs().max() == 0  # only the last frame carries them, and nothing comes after it
    assert (out.affinity[:, :, 0, 1:] > 0).all()


@pytest.mark.parametrize("implementation", ["auto", "torch", "reference"])
def test_what_is_zero_is_at_no_angle_and_what_is_equal_is_not_nearer_than_that(implementation):
    """Of zero vectors the cosine is 0, with gradients that are numbers; squares that cancel leave no negative
    distance.
    """
    query, key, value, labels = (t.float() if t.is_floating_point() else t for t in inputs((2, 5, 7)))
    query[0, :, 1], key[1, :, 0] = 0, 0
    leaves = [t.requires_grad_() for t in (query, key, value)]
    how = dict(labels=labels.clamp_min(0), objects=3, implementation=implementation)
    result = sparse_attention(*leaves, Local(2), affinity="cosine", **how)
    assert not result.affinity.any()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(result.affinity.sum(), leaves[:2]))
    far = 30 * torch.randn(1, 2, 1, 5, 7, 5, generator=torch.Generator().manual_seed(0)).expand(2, 2, 2, 5, 7, 5)
    near = sparse_attention(far, far, value, Local(0), affinity="distance", scale=0.01, **how).affinity
    assert near[:, :, :, 1].amax(2).min() > 0.9 and near.max() <= 1


def test_hard_labels_are_memberships_of_zero_and_one():
    query, key, value, labels = inputs((3, 5, 7))
    members = torch.stack([labels == n for n in range(3)], 1).double()
    for kind in KINDS:
        hard = sparse_attention(query, key, value, Grid(), labels=labels, objects=3, affinity=kind)
        assert_close(sparse_attention(query, key, value, Grid(), labels=members, affinity=kind).affinity, hard.affinity)


@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_bfloat16_stays_within_its_rounding(pattern):
    query, key, value, labels = inputs((3, 5, 7), dtype=torch.bfloat16)
    result = sparse_attention(query, key, value, pattern, labels=labels, objects=3)
    exact = sparse_attention(query.double(), key.double(), value.double(), pattern, labels=labels, objects=3)
    assert result.output.dtype == result.affinity.dtype == torch.bfloat16 and result.logsumexp.dtype == torch.float32
    for a, b in zip(result, exact):
        assert_close(a.double(), b, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", ["weight", "distance", "cosine"])  # dot is the score itself, and may be infinite
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_where_a_score_is_no_number_no_result_is_one(pattern, number, kind):
    """The affinity of such a query was whatever its bits meant."""
    query, key, value, labels = inputs((3, 5, 7), dtype=torch.float32)
    key[0, 0, 0, 2, 3] = number
    for implementation in ("auto", "torch"):
        result = sparse_attention(query, key, value, pattern, labels=labels * 0, objects=1, affinity=kind,
                                  implementation=implementation)
        undefined = ~result.output.isfinite().all(-1)
        assert undefined.any() or number == 1e38
        assert result.logsumexp[undefined].isnan().all()
        assert result.affinity[:, :, 0, 1:][undefined[:, :, 1:]].isnan().all()  # the first frame has none before it
        if kind == "weight":
            assert not (result.affinity > 1).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_memberships_and_biases_that_are_no_numbers_give_no_affinity(pattern, kind):
    query, key, value, labels = inputs((3, 5, 7), soft=True, dtype=torch.float32)
    labels[0, 1, 0, 2, 3] = float("nan")
    bias = torch.tensor([0.0, float("nan")])
    known, reference = (sparse_attention(query, key, value, pattern, labels=labels, affinity=kind, affinity_bias=bias,
                                         implementation=name).affinity for name in ("auto", "reference"))
    assert known[reference.isnan()].isnan().all() and reference.isnan().any()
    spoilt = torch.zeros(2, 2, 3, dtype=torch.bool)  # of batch, head and object
    spoilt[0, :, 1] = True
    spoilt[:, 1] |= kind == "distance"
    assert_close(known[~spoilt], reference[~spoilt])


@pytest.mark.parametrize("pattern", EVERY, ids=str)
def test_gradients_of_large_scores_are_those_of_a_softmax(pattern):
    """Keys that are not connected score higher than all that are by thousands, whose exponential is infinite."""
    size = 3, 4, 5
    query, key, value, labels = inputs(size)
    query, key = 60 * query, 60 * key
    toward = torch.randn(2, 2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def by_definition(q, k):
        connected, frame = pattern.mask(*size), torch.arange(3).repeat_interleave(4 * 5)
        scores = (q.flatten(2, 4) @ k.flatten(2, 4).mT).masked_fill(~connected, -torch.inf)
        members = labels.flatten(1)[:, None, None] == torch.arange(3)[:, None, None]
        counts = members & connected & (frame < frame[:, None])
        return ((scores.softmax(-1)[:, :, None] * counts[:, None]).amax(-1).unflatten(-1, size) * toward).sum()

    def computed(q, k, name="auto"):
        ranked = sparse_attention(q, k, value.to(q), pattern, labels=labels, objects=3, implementation=name).affinity
        return (ranked * toward.to(q)).sum()

    leaves = [t.requires_grad_() for t in (query, key)]
    expected = torch.autograd.grad(by_definition(*leaves), leaves)
    for name in ("torch", "reference"):
        assert_close(torch.autograd.grad(computed(*leaves, name), leaves), expected, atol=1e-7, rtol=1e-7)
    assert_close(torch.func.grad(computed, (0, 1))(query.detach(), key.detach()), expected, atol=1e-7, rtol=1e-7)
    single = [t.detach().float().requires_grad_() for t in leaves]
    assert all(t.isfinite().all() for t in torch.autograd.grad(computed(*single), single))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_an_infinite_bias_is_the_limit_of_large_ones(pattern, soft):
    """2 for one head and 0 for the other, of which the C++ kernels alone made NaN."""
    query, key, value, labels = inputs((3, 5, 7), soft=soft, dtype=torch.float32)
    how = dict(labels=labels, objects=3, affinity="distance", affinity_bias=torch.tensor([-torch.inf, torch.inf]))
    results = [sparse_attention(query, key, value, pattern, implementation=name, **how).affinity
               for name in ("auto", "torch", "reference")]
    assert_close(results[0], results[2])
    assert_close(results[1], results[2])
    assert not results[2][:, 1].any() and results[2][:, 0].max() > 1


@pytest.mark.parametrize("learns", range(4))
@pytest.mark.parametrize("implementation", ["auto", "torch", "reference"])
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_an_empty_batch_has_what_any_batch_has(pattern, implementation, learns):
    """Also where memberships alone learn, which no affinity of an empty batch depends on."""
    tensors = [t[:0].requires_grad_(n == learns) for n, t in enumerate(inputs((1, 5, 7), soft=True))]
    *heads, labels = tensors
    results = sparse_attention(*heads, pattern, labels=labels, implementation=implementation)
    assert [t.shape[0] for t in results] == [0, 0, 0]
    if learns < 3 or implementation != "reference":  # of which the affinity is the constant that it is
        sum(t.sum() for t in results).backward()
        assert tensors[learns].grad.shape == tensors[learns].shape
    assert sparse_attention(*(t.detach() for t in heads), pattern, implementation=implementation).affinity is None


def members(labels, whole):
    """Memberships of three objects, in which a cell that is all of one has another number than 1."""
    return (labels[:, None] == torch.arange(3)[:, None, None, None]).double() * whole


def nested(tensor, layout):
    with warnings.catch_warnings(action="ignore"):  # PyTorch calls one of the layouts a prototype
        return torch.nested.nested_tensor(list(tensor), layout=layout)


BAD = {
    "query and key differ": lambda q, k, v, n: (q[..., :2], k, v, "grid"),
    "key and value differ": lambda q, k, v, n: (q, k, v[:, :, :1], "grid"),
    "last frames of the buffer": lambda q, k, v, n: (torch.cat([q, q], 2), k, v, "grid"),
    "2 heads": lambda q, k, v, n: (q, k, v, ["grid"] * 3),
    "connectivity is 7; expected a pattern": lambda q, k, v, n: (q, k, v, 7),
    "connectivity is None; expected a pattern": lambda q, k, v, n: (q, k, v, ["grid", None]),
    "unknown connectivity": lambda q, k, v, n: (q, k, v, "star"),
    "dtypes": lambda q, k, v, n: (q.float(), k, v, "grid"),
    "labels have shape": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n[:, 1:], objects=3)),
    "memberships have shape": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n.double(), objects=3)),
    "objects is None": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n)),
    "affinity is": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n, objects=3, affinity="angle")),
    "implementation is": lambda q, k, v, n: (q, k, v, "grid", dict(implementation="fastest")),
    "scale is": lambda q, k, v, n: (q, k, v, "grid", dict(scale=0.0)),
    r"scale is tensor\(2., requires_grad=True\)": lambda q, k, v, n: (
        q, k, v, "grid", dict(scale=torch.tensor(2.0, requires_grad=True))),
    "scale is 'a'": lambda q, k, v, n: (q, k, v, "grid", dict(scale="a")),
    "affinity_bias is None": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=None)),
    "radius is 2147483648": lambda q, k, v, n: (q, k, v, f"local(radius={2**31})"),
    "stride is 4611686018427387904": lambda q, k, v, n: (q, k, v, f"strided(stride={2**62})"),
    "scale is 1e-20; expected a number above 1e-12 and below 1e.12": lambda q, k, v, n: (
        q, k, v, "grid", dict(scale=1e-20)),
    "scale is 1e.20": lambda q, k, v, n: (q, k, v, "grid", dict(scale=1e20)),
    "scale is True": lambda q, k, v, n: (q, k, v, "grid", dict(scale=True)),
    "affinity_bias is of torch.complex64": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=torch.tensor(1j))),
    "affinity_bias is of torch.bool": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=torch.tensor([True, False]))),
    "affinity_bias is on meta and queries on cpu": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=torch.zeros(1, device="meta"))),
    "affinity_bias is of torch.float32, torch.sparse_coo": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=torch.ones(1).to_sparse())),
    "a NestedTensor torch.jagged": lambda q, k, v, n: (nested(q, torch.jagged), k, v, "grid"),
    "a Tensor torch.strided": lambda q, k, v, n: (nested(q, torch.strided), k, v, "grid"),
    "scale is inf": lambda q, k, v, n: (q, k, v, "grid", dict(scale=float("inf"))),
    "labels are torch.bool": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n > 0, objects=2)),
    "labels are torch.complex64": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n + 1j, objects=2)),
    "labels are torch.float8_e4m3fn": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n.to(torch.float8_e4m3fn))),
    "memberships are from 0 to 2": lambda q, k, v, n: (q, k, v, "grid", dict(labels=members(n, 2.0))),
    "memberships are from -1 to 0": lambda q, k, v, n: (q, k, v, "grid", dict(labels=members(n, 1.0) - 1)),
    "a Tensor torch.sparse_coo": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n.to_sparse(), objects=3)),
    "a Parameter torch.sparse_coo": lambda q, k, v, n: (torch.nn.Parameter(q.to_sparse()), k, v, "grid"),
    "objects is 10000000; say how many, 1 to 65535": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=10**7)),
    "objects is True": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n, objects=True)),
    r"objects is tensor\(\[\[1., 0.\], *\[0., 1.\]\]\); say": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=torch.eye(2))),
    "affinity_bias is nan": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=float("nan"))),
    "one of these is a ndarray": lambda q, k, v, n: (q.numpy(), k, v, "grid"),
    "one of these is a NoneType": lambda q, k, v, n: (q, None, v, "grid"),
    "one of these is a list": lambda q, k, v, n: (q, k, v, "grid", dict(labels=n.tolist(), objects=3)),
    r"affinity_bias is of torch.float32, torch.strided and shape \(5,\)": lambda q, k, v, n: (
        q, k, v, "grid", dict(labels=n, objects=3, affinity_bias=torch.zeros(5))),
}


def test_how_many_objects_may_be_a_number_of_numpy():
    """As the largest id of a mask is: 2 was refused as not being from 1 to 65535."""
    query, key, value, labels = inputs((3, 5, 7))
    attend = inspect.unwrap(sparse_attention)
    for number in (numpy.uint8(2), numpy.int64(2)):
        assert torch.equal(attend(query, key, value, "grid", labels=labels, objects=number).affinity,
                           attend(query, key, value, "grid", labels=labels, objects=2).affinity)


@pytest.mark.parametrize("text, same", [
    ("local(2147483647)", "dense"), ("strided(2147483647)", "local(0)"), ("strided(1, 2147483647)", "strided(1, 9)")])
def test_windows_and_strides_far_beyond_the_buffer_are_as_those_that_just_reach(text, same):
    query, key, value, _ = inputs((3, 5, 7))
    for name in ("torch", "native", "reference"):
        float32 = [t.float() for t in (query, key, value)]
        far, near = (sparse_attention(*float32, pattern, implementation=name) for pattern in (text, same))
        assert_close(far.output, near.output)
    assert parse(text).pairs((3, 5, 7)) == int(parse(same).mask(3, 5, 7).sum())


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    query, key, value, connectivity, *options = BAD[message](*inputs((3, 5, 7)))
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(sparse_attention)(query, key, value, connectivity, **(options[0] if options else {}))


@pytest.mark.parametrize("pattern", EVERY, ids=str)
def test_without_labels_the_fused_path_matches_too(pattern):
    query, key, value, _ = inputs((3, 5, 11), queried=2, dim=4, dim_v=4)
    results = []
    for name in ("torch", "reference"):
        leaves = [t.detach().requires_grad_() for t in (query, key, value)]
        result = sparse_attention(*leaves, pattern, implementation=name)
        results.append([
            result.output, result.logsumexp,
            *torch.autograd.grad(result.output.square().sum() + result.logsumexp.sum(), leaves)
        ])
    for a, b in zip(*results):
        assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ONE_EACH, ids=str)
def test_what_no_gradient_remembers_is_the_same(pattern, kind):
    """Without gradients no best key is kept, and an object that a piece lacks is passed over: object 3 is in one
    corner.
    """
    query, key, value, labels = inputs((3, 17, 11), objects=3)
    labels[:, 0, :2, :2] = 3
    result, exact = (sparse_attention(query, key, value, pattern, labels=labels, objects=4, affinity=kind,
                                      implementation=name) for name in ("torch", "reference"))
    for a, b in zip(result, exact):
        assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", ["weight", "distance"])
def test_a_bias_given_as_a_number_is_as_precise_as_the_tensors(kind):
    query, key, value, labels = inputs((3, 4, 5))
    result = [
        sparse_attention(query, key, value, "grid", labels=labels, objects=3, affinity=kind,
                         affinity_bias=bias).affinity for bias in (0.1, torch.tensor([0.1], dtype=torch.float64))
    ]
    assert torch.equal(*result)
