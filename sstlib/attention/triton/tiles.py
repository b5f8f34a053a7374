"""Attention by the Triton kernels of tile_kernels.py and line_kernels.py: on an NVIDIA GPU, or anywhere under Triton's
interpreter (TRITON_INTERPRET=1).
"""

import functools
import importlib.util
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sstlib.attention.affinity import Ranking, Wanted
from sstlib.attention.tensors import Key, Output, PerQuery, Query, Some, Value
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Size, Strided

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Precisions in which the tensor cores mask a window; in others, as in tiles of one long row, places are compared
MARKED = DTYPES
# Of products of float32: three on the tensor cores are as exact as one beside them, and twice as fast
PRECISION = "tf32x3"


class Shape(NamedTuple):
    """How a kernel divides its work: sides of a tile, other cells at a time, and how it is launched."""

    rows: int
    columns: int
    cells: int
    num_warps: int
    num_stages: int


# By pattern and kernel, for half precisions and for float32: the fastest of results/runs/benchmarks/triton_shapes.json,
# nearly
SHAPES = {
    "local": {
        "forward": (Shape(8, 8, 64, 4, 3), Shape(8, 4, 32, 2, 2)), "backward_query": (Shape(8, 8, 64, 4,
                                                                                            3), Shape(8, 4, 32, 2, 2)),
        "backward_key": (Shape(8, 8, 64, 2, 3), Shape(8, 8, 32, 4, 2))
    },
    "strided": {
        "forward": (Shape(8, 8, 64, 4, 3), Shape(8, 8, 32, 4, 2)), "backward_query": (Shape(8, 8, 64, 4,
                                                                                            3), Shape(8, 8, 32, 4, 2)),
        "backward_key": (Shape(8, 8, 64, 2, 3), Shape(8, 8, 32, 4, 2))
    },
    "row": {kernel: (Shape(1, 64, 64, 4, 1),) * 2 for kernel in ("forward", "backward_query", "backward_key")},
    "column": {
        kernel: (Shape(64, 1, 32, 4, 3), Shape(64, 1, 64, 4, 1))
        for kernel in ("forward", "backward_query", "backward_key")
    },
}
ROW = 128  # the longest row whose gradients one program computes
FRAMES = 4  # frames of a cell that a thread of the time line's kernels holds: more spill registers


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def lacks(pattern: Connectivity, dtype: torch.dtype, device: torch.device) -> str:
    """Why the kernels cannot do this, or an empty text."""
    if not _installed():
        return "Triton is not installed"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it runs on an NVIDIA GPU, not on {device.type}"
    if dtype not in DTYPES:
        return f"it computes in float32, not {str(dtype).removeprefix('torch.')}"
    return "" if type(pattern) in (Dense, Grid, Local, Strided) else f"it has no kernel for {pattern.name}"


class Line(NamedTuple):
    """What one launch of the tile kernels covers: a pattern, or the rows or the columns of Grid."""

    name: str
    st: int = 1
    sy: int = 1
    sx: int = 1
    ry: int = 0
    rx: int = 0
    own_frame: bool = False
    itself: bool = True  # whether a cell is its own key

    def shape(self, kernel: str, half: bool, size: Size) -> Shape:
        """The measured shape, cut down to lattices that are smaller than it; a tile has 16 cells at least."""
        shape = SHAPES[self.name][kernel][not half]
        height, width = -(-size[1] // self.sy), -(-size[2] // self.sx)
        rows, columns = min(shape.rows, _power(height)), min(shape.columns, _power(width))
        if rows * columns < 16:
            rows, columns = (16, 1) if self.name == "column" else (1, 16) if self.name == "row" else (rows, 16 // rows)
        span = min(height, rows + 2 * self.ry) * min(width, columns + 2 * self.rx)
        warps = min(shape.num_warps, rows * columns // 16)  # a warp has 16 queries at least
        return Shape(rows, columns, max(16, min(shape.cells, _power(span))), warps, shape.num_stages)

    def even(self, size: Size, cells: int) -> bool:
        """Whether other cells come in full numbers, so that none has to be masked."""
        span = [
            1 if reach == 0 else n // stride
            for n, stride, reach in zip(size[1:], (self.sy, self.sx), (self.ry, self.rx))
        ]
        return size[1] % self.sy == 0 and size[2] % self.sx == 0 and span[0] * span[1] % cells == 0


def _power(number: int) -> int:
    """The power of two that is not below a number."""
    return 1 << (number - 1).bit_length()


def _lines(pattern: Connectivity, size: Size) -> list[Line]:
    """The launches that a pattern takes; Grid's time line, after them, has kernels of its own."""
    _, height, width = size
    if type(pattern) is Grid:
        return [Line("row", rx=width, own_frame=True), Line("column", ry=height, own_frame=True, itself=False)]
    if type(pattern) is Local:
        ry, rx = (min(r, n) for r, n in zip(pattern.radii, size[1:]))
        return [Line("local", ry=ry, rx=rx)]
    st, sy, sx = (pattern.temporal_stride, *pattern.strides) if type(pattern) is Strided else (1, 1, 1)
    return [Line("strided", st, sy, sx, height, width)]


@functools.cache
def _kernels() -> tuple[Any, Any]:
    from sstlib.attention.triton import line_kernels, tile_kernels
    return tile_kernels, line_kernels


def _cells(tensor: Tensor) -> Tensor:
    """With cells a fixed distance apart and channels side by side, copied where they are not; heads cut from
    channels are.
    """
    *_, t, y, x, d = tensor.stride()
    even = d == 1 and y == tensor.shape[4] * x and t == tensor.shape[3] * y
    return tensor if even else tensor.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    """Of batch, head and cell."""
    return [s for t in tensors for s in (t.stride(0), t.stride(1), t.stride(4))]


class Problem(NamedTuple):
    """What every kernel of one call is told."""

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: Connectivity
    scale: float

    @property
    def size(self) -> Size:
        """Frames, rows and columns of the buffer."""
        frames, rows, columns = self.key.shape[2:5]
        return frames, rows, columns

    @property
    def groups(self) -> int:
        """Heads of all batches."""
        return self.query.shape[0] * self.query.shape[1]

    @property
    def half(self) -> bool:
        """Whether the tensor cores take the tensors as they are."""
        return self.query.dtype != torch.float32

    def constants(self) -> dict[str, Any]:
        """Channels, and the powers of two of at least 16 that tensor cores take."""
        dim, dim_v = self.query.shape[-1], self.value.shape[-1]
        return dict(D=dim, DP=max(16, _power(dim)), V=dim_v, VP=max(16, _power(dim_v)))

    def tiles(self, kernel: str, line: Line, tensors: list[Some], strided: list[Some], numbers: list, frames: int,
              **constants: Any) -> None:
        """One of the tile kernels over the tiles of some frames, with arguments in the order that the kernels name
        them.
        """
        size, queried = self.size, self.query.shape[2]
        shape = line.shape(kernel, self.half, size)
        tiles = -(-size[1] // (line.sy * shape.rows)), -(-size[2] // (line.sx * shape.columns))
        many = frames * min(line.sy, size[1]) * min(line.sx, size[2]) * tiles[0] * tiles[1]
        options = dict(ROWS=shape.rows, COLUMNS=shape.columns, CELLS=shape.cells, CAUSAL=self.pattern.causal,
                       OWN_FRAME=line.own_frame, WINDOW=line.name == "local", SELF=line.itself,
                       EVEN=line.even(size, shape.cells), PRECISION=PRECISION, MARKED=line.name == "local"
                       and self.query.dtype in MARKED and shape.rows + shape.columns <= 16)
        getattr(_kernels()[0], kernel)[many,
                                       self.groups](*tensors, *_strides(*strided), self.scale, *numbers, queried, *size,
                                                    *line[1:6], *tiles, **self.constants(), **options, **constants,
                                                    num_warps=shape.num_warps, num_stages=shape.num_stages)

    def time_line(self, kernel: str, tensors: list[Some], strided: list[Some], numbers: list,
                  **constants: Any) -> None:
        """One of the time line's kernels over the cells of a frame, as many as a warp reads 16 bytes a thread of."""
        time, height, width = self.size
        widths = self.constants()
        cells = max(1, 32 * (16 // self.query.element_size()) // max(widths["DP"], widths["VP"]))
        getattr(_kernels()[1],
                kernel)[-(-height * width // cells),
                        self.groups](*tensors, *_strides(*strided), self.scale, *numbers, self.query.shape[2], time,
                                     height * width, **widths, CELLS=cells, FRAMES=min(FRAMES, _power(time)),
                                     CAUSAL=self.pattern.causal, **constants, num_warps=1)

    def rows(self, line: Line, tensors: list[Some], strided: list[Some], add: bool) -> None:
        """Gradients of all rows, or of all columns, each by one program."""
        time, height, width = self.size
        lines, length, apart, step = (height, width, width, 1) if line.rx else (width, height, 1, width)
        _kernels()[1].backward_row[time * lines,
                                   self.groups](*tensors, *_strides(*strided), self.scale, self.query.shape[1],
                                                self.query.shape[2], time, height * width, lines, length, apart, step,
                                                **self.constants(), CELLS=max(16, _power(length)), SELF=line.itself,
                                                CONTINUE=add, PRECISION=PRECISION, num_warps=4)


class _Ranks(NamedTuple):
    """Arguments of the kernels about ranking, and where they leave the best scores and keys."""

    tensors: list[Tensor]
    best: Tensor
    argmax: Tensor
    slope: float
    per_head: int
    constants: dict[str, Any]


def _ranks(rank: Ranking | None, query: Tensor, lse: Tensor, scale: float, remember: bool) -> _Ranks:
    """Of a call; without a ranking nothing is read, written or computed."""
    argmax = torch.empty(0, dtype=torch.int32, device=query.device)
    if rank is None:
        return _Ranks([lse] * 3, lse, argmax, 0.0, 0, dict(OBJECTS=0, OBJECTS_P=1, MODE="", REMEMBER=False))
    objects, shape = rank.terms.shape[1], query.shape
    best = lse.new_empty(*shape[:2], objects, *shape[2:5])
    return _Ranks([lse if t is None else t.float().contiguous() for t in rank[2:]], best,
                  argmax.new_empty(best.shape if remember else 0), 2 / scale,
                  int(rank.terms.shape[0] == shape[0] * shape[1]),
                  dict(OBJECTS=objects, OBJECTS_P=_power(objects), MODE=rank.mode, REMEMBER=remember))


def forward(query: Query, key: Key, value: Value, pattern: Connectivity, scale: float, wanted: Wanted | None,
            remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Output, log-sum-exp, affinities and their keys, of (batch, head, time, height, width, dim) tensors."""
    q, k, v = inputs = [_cells(t.detach()) for t in (query, key, value)]
    problem, shape, lines = Problem(q, k, v, pattern, scale), q.shape[:5], _lines(pattern, tuple(k.shape[2:5]))
    output, lse = q.new_empty(*shape, v.shape[-1]), q.new_empty(shape, dtype=torch.float32)
    ranks = _ranks(wanted.ranking(query, key, scale) if wanted else None, q, lse, scale, remember)
    unranked = _ranks(None, q, lse, scale, False)
    partial = output if len(lines) == 1 else torch.empty_like(output, dtype=torch.float32)
    for number, line in enumerate(lines):
        ranking = ranks if len(lines) == 1 else unranked  # of Grid only the time line leaves the query's frame
        problem.tiles("forward", line, [*inputs, partial, lse, *ranking.tensors, ranking.best, ranking.argmax], inputs,
                      [ranking.slope, shape[1], ranking.per_head], shape[2], CONTINUE=number > 0, **ranking.constants)
    if type(pattern) is Grid:
        problem.time_line("forward", [*inputs, partial, lse, output, *ranks.tensors, ranks.best, ranks.argmax], inputs,
                     [ranks.slope, shape[1], ranks.per_head], **ranks.constants)
    return output, lse, wanted.affinity(query, lse, ranks.best, scale) if wanted else None, ranks.argmax


def backward(query: Query, key: Key, value: Value, output: Output, lse: PerQuery, grad: Output,
             grad_lse: PerQuery | None, pattern: Connectivity, scale: float) -> tuple[Tensor, ...]:
    """Gradients of query, key and value."""
    q, k, v, g = inputs = [_cells(t.detach()) for t in (query, key, value, grad)]
    problem, frames = Problem(q, k, v, pattern, scale), (q.shape[2], k.shape[2])
    delta = torch.linalg.vecdot(g.float(), output.float())
    delta = (delta if grad_lse is None else delta.sub_(grad_lse)).contiguous()
    read = [*inputs, lse.contiguous(), delta]
    grads = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v)]
    partial = [torch.empty_like(t, dtype=torch.float32) for t in grads] if type(pattern) is Grid else grads
    for number, line in enumerate(_lines(pattern, problem.size)):
        if type(pattern) is Grid and max(problem.size[1:]) <= ROW:
            problem.rows(line, [*read, *partial], inputs, number > 0)
            continue
        problem.tiles("backward_query", line, [*read, partial[0]], inputs, [q.shape[1]], frames[0], CONTINUE=number > 0)
        problem.tiles("backward_key", line, [*read, *partial[1:]], inputs, [q.shape[1]], frames[1], CONTINUE=number > 0)
    if type(pattern) is Grid:
        problem.time_line("backward", [*read, *partial, *grads], inputs, [q.shape[1]])
    return tuple(grads)


def exponentials(device: str, rounds: int = 4096) -> int:
    """Fills a GPU with exponentials, and says how many."""
    from sstlib.attention.triton.kernel_parts import exponentials as kernel

    programs = 64 * torch.cuda.get_device_properties(device).multi_processor_count
    kernel[(programs,)](torch.empty(programs * 256, device=device), rounds, 256, num_warps=8)
    return programs * 256 * rounds
