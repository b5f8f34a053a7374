"""Attention by the Triton kernels of tile_kernels.py: on an NVIDIA GPU, or anywhere under Triton's interpreter (TRITON_INTERPRET=1).

Tile sides and warps are reasoned, not yet measured: 64 cells make rows long enough for the tensor cores, and a window of
radius r costs (side + 2r)^2 keys for the (2r + 1)^2 that count.
"""

import functools
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from sstlib.attention.affinity import Wanted
from sstlib.connectivity import Connectivity, Dense, Grid, Local, Strided

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CELLS = 64  # cells of a tile


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
    return "" if isinstance(pattern, Dense | Grid | Local | Strided) else f"it has no kernel for {pattern.name}"


def _lines(pattern: Connectivity, size: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The kernels that a pattern takes: one, or one a line for Grid, the own cell counted on the first."""
    _, height, width = size
    all_ = dict(st=1, sy=1, sx=1, ry=height, rx=width, WINDOW=False, SELF=True, OWN_FRAME=False, LINE=False)
    if isinstance(pattern, Local):
        ry, rx = (min(r, n) for r, n in zip(pattern.radii, size[1:]))
        return [{**all_, "ry": ry, "rx": rx, "WINDOW": True, **_sides(8, 8)}]
    if isinstance(pattern, Grid):
        row, column, line = _sides(1, CELLS), _sides(CELLS, 1), _sides(8, 8)
        return [{**all_, "ry": 0, "OWN_FRAME": True, **row}, {**all_, "rx": 0, "OWN_FRAME": True, "SELF": False, **column},
                {**all_, "ry": 0, "rx": 0, "SELF": False, "LINE": True, **line}]
    if isinstance(pattern, Strided):
        sy, sx = pattern.strides
        all_ |= dict(st=pattern.temporal_stride, sy=sy, sx=sx)
        height, width = -(-height // sy), -(-width // sx)
    rows = min(8, 1 << (height - 1).bit_length())
    columns = max(16 // rows, min(CELLS // rows, 1 << (width - 1).bit_length()))
    return [{**all_, **_sides(rows, columns)}]


def _sides(rows: int, columns: int) -> dict[str, int]:
    return dict(ROWS=rows, COLUMNS=columns, KEY_ROWS=rows, KEY_COLUMNS=columns)


@functools.cache
def _kernels():
    from sstlib.attention import tile_kernels
    return tile_kernels


def _cells(tensor: Tensor) -> Tensor:
    """With cells a fixed distance apart and channels side by side, copied where they are not; heads cut from channels are."""
    *_, t, y, x, d = tensor.stride()
    even = d == 1 and y == tensor.shape[4] * x and t == tensor.shape[3] * y
    return tensor if even else tensor.contiguous()


def _launch(kernel: Any, tensors: list[Tensor | None], strided: list[Tensor], numbers: list, line: dict[str, Any], size: tuple[int, int, int],
            frames: int, groups: int, constants: dict[str, Any]) -> None:
    """One kernel over all tiles, with arguments in the order that the kernels name them."""
    step_y, step_x = (line["ROWS"], line["COLUMNS"])
    tiles = -(-size[1] // (line["sy"] * step_y)), -(-size[2] // (line["sx"] * step_x))
    classes = min(line["sy"], size[1]) * min(line["sx"], size[2])
    strides = [s for t in strided for s in (t.stride(0), t.stride(1), t.stride(4))]
    lattice = [line[name] for name in ("st", "sy", "sx", "ry", "rx")]
    options = {name: value for name, value in line.items() if name.isupper()} | constants
    many = frames * classes * tiles[0] * tiles[1]
    kernel[(many, groups)](*tensors, *strides, *numbers, *size, *lattice, *tiles, **options,
                          num_warps=8 if tensors[0].dtype == torch.float32 else 4)  # fewer spill registers on sm_90


def _widths(query: Tensor, value: Tensor) -> dict[str, int]:
    """Channels, and the powers of two of at least 16 that tensor cores take."""
    padded = lambda n: max(16, 1 << (n - 1).bit_length())
    dim, dim_v = query.shape[-1], value.shape[-1]
    return dict(D=dim, DP=padded(dim), V=dim_v, VP=padded(dim_v))


def forward(query: Tensor, key: Tensor, value: Tensor, pattern: Connectivity, scale: float, wanted: Wanted | None,
            remember: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Output, log-sum-exp, affinities and their keys, of (batch, head, time, height, width, dim) tensors."""
    rank = wanted.ranking(query, key, scale) if wanted else None
    q, k, v = (_cells(t.detach()) for t in (query, key, value))
    shape, size, heads = q.shape[:5], tuple(k.shape[2:5]), q.shape[1]
    lines = _lines(pattern, size)
    output = q.new_empty(*shape, v.shape[-1], dtype=torch.float32 if len(lines) > 1 else q.dtype)
    lse = q.new_empty(shape, dtype=torch.float32)
    objects, mode, per_head, slope, extra = 0, "", 0, 0.0, [lse] * 3
    best, argmax = lse.new_empty(0), torch.empty(0, dtype=torch.int32, device=q.device)
    if rank is not None:
        objects, mode, slope = rank.terms.shape[1], rank.mode, 2 / scale
        per_head = int(rank.terms.shape[0] == q.shape[0] * heads)
        best = lse.new_empty(*shape[:2], objects, *shape[2:])
        argmax = argmax.new_empty(best.shape if remember else 0)
        extra = [lse if t is None else t.float().contiguous() for t in rank[2:]]
    for number, line in enumerate(lines):
        ranks = objects if number == len(lines) - 1 else 0  # of Grid only the time line leaves the query's frame
        constants = dict(**_widths(q, v), CAUSAL=pattern.causal, CONTINUE=number > 0, OBJECTS=ranks, OBJECTS_P=max(1, 1 << (ranks - 1).bit_length()),
                         MODE=mode, REMEMBER=remember)
        _launch(_kernels().forward, [q, k, v, output, lse, *extra, best, argmax], [q, k, v], [scale, slope, heads, per_head, shape[2]],
                line, size, shape[2], shape[0] * heads, constants)
    return output.to(query.dtype), lse, wanted.affinity(query, lse, best, scale) if wanted else None, argmax


def backward(query: Tensor, key: Tensor, value: Tensor, output: Tensor, lse: Tensor, grad: Tensor, grad_lse: Tensor | None,
             pattern: Connectivity, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    q, k, v, g = (_cells(t.detach()) for t in (query, key, value, grad))
    size, queried, groups = tuple(k.shape[2:5]), q.shape[2], q.shape[0] * q.shape[1]
    delta = torch.linalg.vecdot(g.float(), output.float())
    delta = (delta if grad_lse is None else delta.sub_(grad_lse)).contiguous()
    lines = _lines(pattern, size)
    grads = [torch.empty(t.shape, dtype=torch.float32 if len(lines) > 1 else t.dtype, device=t.device) for t in (q, k, v)]
    for number, line in enumerate(lines):
        common = dict(numbers=[scale, q.shape[1], queried], line=line, size=size, groups=groups,
                      constants=dict(**_widths(q, v), CAUSAL=pattern.causal, CONTINUE=number > 0))
        tensors = [q, k, v, g, lse.contiguous(), delta]
        _launch(_kernels().backward_query, [*tensors, grads[0]], [q, k, v, g], frames=queried, **common)
        _launch(_kernels().backward_key, [*tensors, *grads[1:]], [q, k, v, g], frames=size[0], **common)
    return tuple(grad.to(query.dtype) for grad in grads)


def exponentials(device: str, rounds: int = 4096) -> int:
    """Fills a GPU with exponentials, and says how many."""
    programs = 64 * torch.cuda.get_device_properties(device).multi_processor_count
    _kernels().exponentials[(programs,)](torch.empty(programs * 256, device=device), rounds, 256, num_warps=8)
    return programs * 256 * rounds
