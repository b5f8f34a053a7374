"""A pattern of one's own is what its class says, or is refused: never another of that class, or of its base."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import pytest
import torch
from torch.testing import assert_close

from sstlib.attention import sparse_attention
from sstlib.connectivity import Connectivity, Local, parse

SIZE = (2, 3, 5)


def window(size, radius):
    near = [abs(numpy.arange(n)[:, None] - numpy.arange(n)) <= radius for n in size[1:]]
    return [(numpy.ones((size[0],) * 2, bool), *near)]


class Windowed(Connectivity):
    """A window, as all of these classes are meant to be."""

    def relations(self, size):
        return window(size, self.radius)


@dataclass(frozen=True)
class Uncompared(Windowed):
    radius: int = dataclasses.field(default=1, compare=False)


class Plain(Windowed):
    def __init__(self, radius):
        object.__setattr__(self, "radius", radius)
        super().__init__()


@dataclass(frozen=True)
class Alike(Windowed):
    radius: int = 1

    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return 1


@dataclass(frozen=True, eq=False)
class Inherited(Windowed):
    radius: int = 1


@dataclass(frozen=True)
class Derived(Windowed):
    given: dataclasses.InitVar[int] = 1

    def __post_init__(self, given):
        object.__setattr__(self, "radius", given)
        super().__post_init__()


@pytest.mark.parametrize("kind", [Uncompared, Plain, Alike, Inherited, Derived])
@pytest.mark.parametrize("learns", [False, True])
def test_patterns_that_differ_are_not_equal_or_are_refused(kind, learns):
    """What is found out about one is kept for all that equal it: the second was computed as the first."""
    query = torch.randn(1, 1, *SIZE, 4, requires_grad=learns)
    for radius in (0, 2):
        with pytest.raises(ValueError, match=f"{kind.__name__} equals one of another (radius|causal).*is compared"):
            sparse_attention(query, query, query, kind(radius))


@dataclass(frozen=True, slots=True)
class Slotted(Windowed):
    radius: int = 1


@dataclass(frozen=True)
class Rounded(Windowed):
    """Of a field that is computed, compared as the others, and of what is computed once."""
    wide: float = 1.0
    radius: int = dataclasses.field(init=False, default=0)

    def __post_init__(self):
        object.__setattr__(self, "radius", round(self.wide))
        super().__post_init__()

    @functools.cached_property
    def near(self):
        return numpy.zeros(3)


@dataclass(frozen=True)
class Own(Windowed):
    radius: int = 1

    def __eq__(self, other):
        return type(self) is type(other) and (self.radius, self.causal) == (other.radius, other.causal)

    def __hash__(self):
        return hash(self.radius)


@pytest.mark.parametrize("kind", [Slotted, Rounded, Own])
def test_patterns_that_are_distinguished_are_each_computed(kind):
    query, key, value = torch.randn(3, 1, 1, *SIZE, 4, dtype=torch.float64)
    for radius in (0, 2):
        pattern = kind(radius)
        getattr(pattern, "near", None)
        result, local = (sparse_attention(query.clone().requires_grad_(), key, value, p).output
                         for p in (pattern, Local(radius)))
        assert_close(result, local)
    assert parse(str(kind(2))) == kind(2) and str(Rounded(2.0)) == "rounded(wide=2.0)"


def widened(**fields):
    return type("Widened", (Local,), fields)


@pytest.mark.parametrize("kind, field", [
    (widened(radius=0), "radius"), (widened(radius=0, __annotations__={"radius": int}), "radius"),
    (dataclass(frozen=True)(widened(radius=0)), "radius"), (widened(causal=True), "causal"),
    (widened(causal=property(lambda self: True)), "causal")])
def test_a_value_that_a_class_seems_to_set_is_that_of_its_patterns(kind, field):
    """Without a type, or the decorator, Python leaves a field as it was in the base."""
    with pytest.raises((ValueError, AttributeError), match=f"class Widened sets {field} to .* changes no field|setter"):
        kind()


def test_what_is_set_by_a_type_is_the_default():
    assert dataclass(frozen=True)(widened(radius=0, __annotations__={"radius": int}))().radii == (0, 0)
    assert dataclass(frozen=True)(widened(causal=True, __annotations__={"causal": ClassVar[bool]}))().causal
    listed = widened(radius=dataclasses.field(default_factory=lambda: 3), __annotations__={"radius": int})
    assert dataclass(frozen=True)(listed)().radii == (3, 3)


def test_a_closed_form_is_of_the_relations_that_it_was_found_for_also_where_they_are_mixed_in():
    class Lines:
        def relations(self, size):
            return [(numpy.ones((size[0],) * 2, bool), numpy.eye(size[1], dtype=bool), numpy.eye(size[2], dtype=bool))]

    class Mixed(Lines, Local):
        pass

    assert Mixed().pairs(SIZE) == int(Mixed().mask(*SIZE).sum()) == 2 * 2 * 3 * 5
    assert type("Below", (Local,), {})(1).pairs(SIZE) == Local(1).pairs(SIZE)


def of(relations: Any) -> Connectivity:
    return type("Given", (Connectivity,), {"relations": lambda self, size: relations(size)})()


def broken(size):
    return {}["key"]


def test_relations_that_raise_are_said_to_be_at_fault():
    """They are the user's: an error of his own came out as a fault of this library."""
    for pattern, words in ((of(broken), r"relations\(\(2, 3, 5\)\) raises KeyError: 'key'"),
                           (of(lambda size: size[3]), "raises IndexError: tuple index out of range"),
                           (type("Bare", (Connectivity,), {})(), "raises NotImplementedError: Bare .* define relations")
                           ):
        with pytest.raises(ValueError, match=words):
            pattern.pairs(SIZE)


def test_masked_matrices_and_tensors_that_learn_are_refused():
    ones = [numpy.ones((n, n), bool) for n in SIZE]
    masked = numpy.ma.array(ones[1], mask=~numpy.eye(3, dtype=bool))
    learning = torch.ones(3, 3, requires_grad=True)
    for middle, words in ((masked, "6 of the 9 elements are masked"), (learning, "requires grad")):
        with pytest.raises(ValueError, match=f"Given: product 1 of relations holds no matrices: .*{words}"):
            of(lambda size, middle=middle: [(ones[0], middle, ones[2])]).mask(*SIZE)


def test_the_declared_type_is_told_whole():
    @dataclass(frozen=True)
    class Dilations(Windowed):
        steps: tuple[int, ...] = (1, 2)

    with pytest.raises(ValueError, match=r"steps is \(1, True\); expected tuple\[int, \.\.\.\]"):
        Dilations((1, True))


def test_an_unknown_text_is_refused_whatever_classes_there_are():
    assert Plain(1).radius == 1  # which nothing can be made of without arguments that are no fields
    with pytest.raises(ValueError, match=r"unknown connectivity 'nowhere'.*local\(radius=7\).*plain"):
        parse("nowhere")
