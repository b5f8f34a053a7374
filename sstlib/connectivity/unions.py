"""Unions of products of three relations, one an axis: checked, split into products that share no pair, and counted.

A product (time, height, width) of boolean matrices relates a query to a key where all three do. Nothing here is as
large as a mask.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from sstlib.config.arrays import unmasked
from sstlib.config.values import Whole, sides

Cell = tuple[int, int, int]
Size = tuple[int, int, int]
# Boolean (query, key) matrices over time, height and width
Product = tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]
AXES = ("time", "height", "width")


def checked(name: str, relations: Any, size: Size) -> list[Product]:
    """The products as NumPy arrays.

    Raises:
        ValueError: what is no sequence of three boolean matrices each, square along their axes.
    """
    products: list[Product] = []
    for number, product in enumerate(relations if isinstance(relations, Sequence | Iterator) else [relations], start=1):
        if not isinstance(product, Sequence) or len(product) != len(AXES):
            raise ValueError(f"{name}: relations gives {type(product).__name__} as product {number}; expected a list "
                             "of products, each of three boolean matrices (over time, height, width)")
        try:
            matrices = [unmasked(relation) for relation in product]
        except (TypeError, ValueError, RuntimeError) as error:  # such as rows of several lengths, or tensors of a GPU
            raise ValueError(f"{name}: product {number} of relations holds no matrices: {error}") from None
        for axis, relation, length in zip(AXES, matrices, size):
            if relation.dtype != bool or relation.shape != (length, length):
                raise ValueError(f"{name}: the relation over {axis} of product {number} is {relation.dtype} of shape "
                                 f"{relation.shape}; expected bool (query, key) of shape {(length, length)}")
        products.append((matrices[0], matrices[1], matrices[2]))
    return products


def disjoint(products: Sequence[Product]) -> list[Product]:
    """Products of the same union that share no pair, none of them empty.

    Each pair of frames is in some of the products over time; each pair of rows in some of these, and its columns are
    related when one of them relates them. So pairs of frames, and then of rows, are taken together that are in the
    same.
    """
    distinct: dict[tuple[bytes, bytes], Product] = {}
    for members, along_time in _alike([product[0] for product in products]):
        for rows, along_y in _alike([products[member][1] for member in members]):
            along_x = numpy.logical_or.reduce([products[members[row]][2] for row in rows])
            if along_x.any():
                same = along_y.tobytes(), along_x.tobytes()
                along_time_too = distinct[same][0] | along_time if same in distinct else along_time
                distinct[same] = along_time_too, along_y, along_x
    return list(distinct.values())


def _alike(relations: Sequence[numpy.ndarray]) -> Iterator[tuple[list[int], numpy.ndarray]]:
    """Which of the relations hold together, and for which pairs exactly these do."""
    if not relations:
        return
    together = numpy.stack(relations, -1)
    codes, which = numpy.unique(
        numpy.packbits(together, axis=-1).reshape(-1, -(-len(relations) // 8)), axis=0, return_inverse=True)
    for number, code in enumerate(codes):
        if code.any():
            yield numpy.flatnonzero(numpy.unpackbits(code)).tolist(), (which == number).reshape(relations[0].shape)


def count(products: Sequence[Product]) -> int:
    """How many pairs disjoint products have."""
    return sum(
        int(along_time.sum()) * int(along_y.sum()) * int(along_x.sum()) for along_time, along_y, along_x in products)


def served(queries: Size, products: Sequence[Product]) -> numpy.ndarray:
    """Which queries (time, height, width) have a key in any of the products."""
    some = numpy.zeros(queries, dtype=bool)
    for product in products:
        along_time, along_y, along_x = (relation.any(1) for relation in product)
        some |= along_time[:, None, None] & along_y[:, None] & along_x
    return some


def spread(steps: Sequence[Sequence[Product]], cell: Cell, size: Size) -> numpy.ndarray:
    """Cells that relations (to, from) lead to from one cell, step by step; reached cells stay."""
    reached = numpy.zeros(size, dtype=bool)
    reached[inside(cell, size)] = True
    for union in steps:
        start, reached = reached.astype(numpy.float32), reached.copy()
        for product in union:
            along_time, along_y, along_x = (relation.astype(numpy.float32) for relation in product)
            hop = numpy.matmul(along_y, numpy.einsum("kt,tyx->kyx", along_time, start))
            reached |= numpy.matmul(hop, along_x.T) > 0
    return reached


def inside(cell: Cell, size: Size) -> Cell:
    """The cell, of a buffer of this size.

    Raises:
        ValueError: it lies outside, or is no three whole numbers.
    """
    if len(cell) != 3 or not all(Whole(0, n - 1).fits(i) for i, n in zip(cell, sides(size))):
        raise ValueError(f"cell {cell} lies outside a buffer of (time, height, width) {tuple(size)}; expected whole "
                         "numbers from 0, each below the buffer's")
    return cell[0], cell[1], cell[2]
