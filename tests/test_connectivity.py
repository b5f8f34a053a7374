"""Connectivity: masks, neighbors, hops and pair counts against each other and against the definitions by hand."""

import contextlib
import dataclasses
import inspect
from typing import Any, Literal

import numpy
import patterns
import pytest
import torch

from sstlib.config.declared import fits
from sstlib.config.values import sides
from sstlib.connectivity import (
    PATTERNS,
    Connectivity,
    Dense,
    Grid,
    Local,
    Strided,
    arrive,
    attended,
    pairs_of_last,
    parse,
    products,
    reach,
)
from sstlib.connectivity.unions import count, disjoint, inside
from sstlib.routes import arrival, similarities


@dataclasses.dataclass(frozen=True)
class Oblique(Connectivity):
    """Symmetric along no axis: the cell itself and what is just before, above and to the right of it."""

    def relations(self, size):
        before = [numpy.subtract.outer(numpy.arange(n), numpy.arange(n)) for n in size]
        return [tuple((0 <= d) & (d <= 1) for d in (before[0], before[1], -before[2]))]


EVERY = [
    Dense(),
    Grid(),
    Local(2),
    Local((1, 3)),
    Local(0),
    Strided(3),
    Strided((2, 5)),
    Strided(2, 3),
    Local(50),
    Strided(50, 50)
]
EVERY += [dataclasses.replace(p, causal=True) for p in EVERY
          ] + [p for p in patterns.EVERY if type(p) not in (Dense, Grid, Local, Strided)]
SIZES = [(3, 5, 7), (1, 1, 1), (2, 1, 11), (5, 7, 2), (1, 13, 3)]


def connected(pattern: Connectivity, query: tuple, key: tuple, size: tuple) -> bool:
    """The definitions, one pair at a time and by their words."""
    (t, y, x), (k, j, i) = query, key
    if pattern.causal and k > t:
        return False
    if isinstance(pattern, Grid):
        return (t == k) + (y == j) + (x == i) >= 2
    if isinstance(pattern, Local):
        return abs(y - j) <= pattern.radii[0] and abs(x - i) <= pattern.radii[1]
    if isinstance(pattern, Strided):
        return (y - j) % pattern.strides[0] == (x - i) % pattern.strides[1] == (t - k) % pattern.temporal_stride == 0
    if isinstance(pattern, Dense):
        return True
    # one's own
    return any(
        all(relation[place] for relation, place in zip(product, zip(query, key)))
        for product in pattern.relations(size))


@pytest.mark.parametrize("pattern", EVERY, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_mask_pairs_and_neighbors_follow_the_definition(pattern, size):
    cells = list(numpy.ndindex(size))
    expected = numpy.array([[connected(pattern, q, k, size) for k in cells] for q in cells])
    numpy.testing.assert_array_equal(pattern.mask(*size).numpy(), expected)
    assert pattern.pairs(size) == expected.sum()
    queried = size[0] // 2 + 1  # which frames these are decides how many keys a causal pattern has
    assert pairs_of_last(queried, pattern, size) == expected[-queried * size[1] * size[2]:].sum()
    for row in {0, len(cells) // 2, len(cells) - 1}:
        assert pattern.neighbors(cells[row], size) == [c for c, on in zip(cells, expected[row]) if on]


def test_products_that_differ_in_time_alone_are_counted_as_one_union():
    """Pairs of frames that either has, or both, have the same rows and columns."""
    rows, columns = numpy.eye(3, dtype=bool), numpy.ones((2, 2), bool)
    times = [numpy.tri(5, dtype=bool), numpy.tri(5, k=2, dtype=bool).T]
    together = disjoint([(time, rows, columns) for time in times])
    assert len(together) == 1
    numpy.testing.assert_array_equal(together[0][0], times[0] | times[1])
    assert count(together) == (times[0] | times[1]).sum() * 3 * 4


@pytest.mark.parametrize("number", [1, 7, 8, 16])
def test_a_union_of_any_number_of_products_becomes_some_that_share_no_pair_and_are_not_empty(number):
    draw, size = numpy.random.default_rng(number), (2, 3, 5)
    union = [tuple(draw.random((n, n)) < 0.3 for n in size) for _ in range(number)]
    union.append((*(numpy.ones((n, n), bool) for n in size[:2]), numpy.zeros((5, 5), bool)))  # relates nothing
    parts, whole = ([numpy.kron(numpy.kron(t, y), x) for t, y, x in products] for products in (disjoint(union), union))
    numpy.testing.assert_array_equal(numpy.sum(parts, axis=0), numpy.any(whole, axis=0))
    assert all(part.any() for part in parts)


@pytest.mark.parametrize(
    "layers", [[Grid()] * 2, [Local(1), Strided(3)], [Strided(2, 2), Grid(causal=True)], [Local(1, causal=True)] * 3,
               [Oblique()] * 2, [Oblique(), Local((0, 1))]])
def test_reach_is_the_boolean_product_of_the_masks(layers):
    size = (3, 5, 7)
    product = numpy.eye(105, dtype=int)
    for layer in reversed(layers):
        product = ((product @ layer.mask(*size).numpy().astype(int)) > 0).astype(int)
    for cell in [(0, 0, 0), (2, 3, 4), (1, 4, 6)]:
        row = numpy.ravel_multi_index(cell, size)
        numpy.testing.assert_array_equal(reach(layers, cell, size).ravel(), product[row] > 0)
        numpy.testing.assert_array_equal(arrive(layers, cell, size).ravel(), product[:, row] > 0)


def test_grid_reaches_everything_in_three_hops_and_not_in_two():
    grid, size = Grid(), (4, 5, 3)
    assert grid.reach((1, 2, 0), 3, size).all() and not grid.reach((1, 2, 0), 2, size).all()
    assert grid.reach((1, 2, 0), 0, size).sum() == 1


@pytest.mark.parametrize("pattern", EVERY, ids=str)
def test_text_round_trip(pattern):
    assert parse(str(pattern)) == pattern
    assert pattern.name.lower() == str(pattern).lower()


@pytest.mark.parametrize("pattern", [Dense(), Grid(), Local(1), Strided(2)], ids=str)
@pytest.mark.parametrize("size", [(2.5, 3, 5), (3.0, 5, 7), (-1, 5, 7), (True, 5, 7), (3, 5)])
def test_what_is_no_size_or_no_number_of_hops_is_not_counted_with(pattern, size):
    for counted in (type(pattern).pairs, products):
        with pytest.raises(ValueError, match="a side of the buffer is|the size of a buffer is"):
            inspect.unwrap(counted)(pattern, size)
    with pytest.raises(ValueError, match="a side of the buffer is 7.5; expected a whole number of at least 1"):
        inspect.unwrap(Dense.pairs)(Dense(), (3, 5, 7.5))
    with pytest.raises(ValueError, match=r"the size of a buffer is 5; expected \(time, height, width\)"):
        sides(5)
    for hops in (-1, 1.5, True):
        with pytest.raises(ValueError, match="hops is .*expected a whole number"):
            inspect.unwrap(type(pattern).reach)(pattern, (0, 0, 0), hops, (3, 5, 7))


def test_layers_may_be_texts_as_in_configurations():
    layers, size = ["local(radius=1)", "grid"], (2, 3, 5)
    known = [parse(text) for text in layers]
    for way in (reach, arrive, arrival):
        numpy.testing.assert_array_equal(way(layers, (1, 0, 2), size), way(known, (1, 0, 2), size))
    features = numpy.random.default_rng(0).normal(size=(*size, 4))
    numpy.testing.assert_array_equal(similarities(features, layers[0]), similarities(features, known[0]))


def test_names_and_short_forms():
    assert Local(7).name == "Local(radius=7)" and str(Grid()) == "grid" and str(Strided(8)) == "strided(stride=8)"
    assert parse(" Local(3) ") == Local(3) and parse("strided") == Strided() and parse("local(radius=(2, 2))") == Local(
        2)
    assert set(PATTERNS) >= {"dense", "grid", "local", "strided"}
    assert Strided(3, causal=True).name == "Strided(stride=3, causal=True)", "what is any pattern's stands last"


@pytest.mark.parametrize("text, part", [("star", "grid"), ("grid(", "strided"), ("local(radius=x)", "local(radius=7)"),
                                        ("local(size=3)", "radius"), ("local(radius=-1)", "from 0 to"),
                                        ("strided(stride=0)", "from 1 to"),
                                        ("strided(temporal_stride=0)", "whole number"), ("local(radius=1.5)", "1.5"),
                                        ("local(radius=1, radius=2)", "each once"), ("a" * 9000, "(9002 characters)"),
                                        ("local(" + "-" * 9000 + "1)", "characters"), ("local({[]: 1})", "unknown"),
                                        ("local(radius=r)", "numbers, texts or tuples, and SST_PATTERNS")])
def test_bad_patterns_are_refused_by_name(text, part):
    with pytest.raises(ValueError, match="[a-z]") as error:
        parse(text)
    assert part in str(error.value)


def test_a_pattern_that_needs_arguments_is_listed_by_their_names(monkeypatch):
    monkeypatch.setitem(PATTERNS, "needing", None)  # which takes the class away after this test
    dataclasses.make_dataclass("Needing", [("near", int), ("far", int)], bases=(Connectivity,), frozen=True)
    with pytest.raises(ValueError, match=r"known patterns.*local\(radius=7\).*needing\(near, far\)"):
        parse("star")


def test_what_a_class_of_ones_own_raises_is_told_with_the_text(monkeypatch):
    """An assertion in a pattern's file was said to be a fault of this library."""
    monkeypatch.setitem(PATTERNS, "odd", None)

    @dataclasses.dataclass(frozen=True)
    class Odd(Local):
        def __post_init__(self):
            assert self.radius % 2, "radius must be odd"

    assert parse("odd(radius=3)") == Odd(3)
    with pytest.raises(ValueError, match=r"'odd\(radius=2\)': odd takes .*AssertionError: radius must be odd"):
        parse("odd(radius=2)")


def test_a_pattern_of_an_array_has_a_name_and_a_mask():
    """Its name compares fields with their defaults, of which arrays have more than one answer."""
    @dataclasses.dataclass(frozen=True)
    class Offsets(Local):
        offsets: numpy.ndarray | None = None

    pattern = Offsets(1, numpy.arange(3))
    assert pattern.name == "Offsets(radius=1, offsets=array([0, 1, 2]))"
    assert torch.equal(pattern.mask(2, 3, 5), Local(1).mask(2, 3, 5))


def test_fields_are_checked_also_of_a_class_that_does_not_call_its_base():
    @dataclasses.dataclass(frozen=True)
    class Unchecked(Local):
        def __post_init__(self):
            pass

    with pytest.raises(ValueError, match="Unchecked: radius is '2'; expected"):
        Unchecked("2").mask(1, 2, 3)


def test_a_query_without_a_key_is_named_by_its_frame_in_the_buffer():
    later = type("Later", (Connectivity,), {"relations": lambda self, size: [
        (numpy.triu(numpy.ones((size[0],) * 2, bool), 1), *(numpy.ones((n, n), bool) for n in size[1:]))]})
    with pytest.raises(ValueError, match=r"cell \(2, 0, 0\) of a buffer of \(3, 2, 5\) to no key"):
        attended(2, later(), (3, 2, 5))


@pytest.mark.parametrize("axis", range(3))
def test_a_cell_outside_is_refused(axis):
    size = (3, 4, 5)
    for place, outside in ((-1, True), (0, False), (size[axis] - 1, False), (size[axis], True)):
        cell = tuple(place if one == axis else 1 for one in range(3))
        with pytest.raises(ValueError, match=rf"\({cell[0]}, {cell[1]}, {cell[2]}\) lies outside") if outside \
                else contextlib.nullcontext():
            assert Grid().neighbors(cell, size)


@pytest.mark.parametrize("cell", [(1, 1), (1, 1, 1, 0), (1.0, 1, 1), (1, True, 1)])
def test_a_cell_of_other_axes_is_refused_also_where_types_are_not_checked(cell):
    with pytest.raises(ValueError, match="lies outside"):
        inspect.unwrap(inside)(cell, (3, 4, 5))


class Declared:
    """One field a kind of declaration, with what fits it by the words of Python's types, and what does not."""

    whole: int
    number: float
    switch: bool
    pair: tuple[int, int]
    several: tuple[int, ...]
    either: int | tuple[int, float]
    maybe: None | int
    choice: Literal["near", 2]
    open: Any
    listed: list[int]


@pytest.mark.parametrize("field, fitting, others", [
    ("whole", [0, -3], [1.0, "1", True, None, (1,)]),
    ("number", [1, 1.5], ["1", True, None]),
    ("switch", [True, False], [0, 1, "yes"]),
    ("pair", [(1, 2)], [(1,), (1, 2, 3), (), (1, 2.0), (1.0, 2), [1, 2], 1, (True, 1)]),
    ("several", [(), (1,), (1, 2, 3)], [(1, 2.0), (1.0, 2), [1], 1]),
    ("either", [1, (1, 2.5), (1, 2)], [(1, 2, 3), 1.5, (1.5, 1)]),
    ("maybe", [None, 1], [1.5, "None"]),
    ("choice", ["near", 2], ["far", 3, None]),
    ("open", [None, True, "x", 1.5], []),
    ("listed", [[1], [1.5]], []),
    ("undeclared", [None, "x"], []),
])
def test_values_of_fields_are_of_the_type_that_is_declared(field, fitting, others):
    assert [value for value in fitting if not fits(Declared, field, value)] == []
    assert [value for value in others if fits(Declared, field, value)] == []


def test_a_declaration_of_names_that_are_gone_is_taken_as_open():
    assert fits(type("Gone", (), {"__annotations__": {"field": "Unknown"}}), "field", "anything")
