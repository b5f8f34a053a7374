"""Triton kernels: attention of tiles of cells over the part of the buffer that a product pattern connects them with.

A pattern with strides is a lattice of every stride-th cell in each residue class; `ly`, `lx` count its cells, and a
window holds `ry` and `rx` of them on either side. A tile is rows x columns of one lattice in one frame. The keys within
its reach stream by, frame by frame and in raster order, under a running maximum and sum (online softmax), scores in
registers, so that no attention map is stored. Object affinity keeps the best ranking score of each object beside them.
Each program owns what it writes: results do not depend on the order of programs.

One exponential a pair is the limit, at a sixteenth of the rate of multiply-adds: the base is 2, so that scaling,
subtracting the maximum and converting the base are one multiply-add, and a window is masked by the tensor cores (see
`_marks`).
"""

from typing import no_type_check

import triton
import triton.language as tl

from sstlib.attention.triton.kernel_parts import LOG2E, NEVER, counted, head_of, keep, ranked, read, write

PENALTY = tl.constexpr(2.0**60)  # the product of two is below NEVER once negated, and a number in bfloat16


@triton.jit
@no_type_check
def _place(height, width, sy, sx, tiles_y, tiles_x, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """This program's frame, residue class, lattice size and tile origin."""
    number = tl.program_id(0)
    classes_x = tl.minimum(sx, width)
    classes_y = tl.minimum(sy, height)
    x = number % tiles_x * COLUMNS
    number = number // tiles_x
    y = number % tiles_y * ROWS
    number = number // tiles_y
    cx = number % classes_x
    number = number // classes_x
    cy = number % classes_y
    return number // classes_y, cy, cx, (height - cy + sy - 1) // sy, (width - cx + sx - 1) // sx, y, x


@triton.jit
@no_type_check
def _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Lattice rows and columns of a tile's cells, which of them exist, and their places in the frame."""
    n = tl.arange(0, ROWS * COLUMNS)
    ys, xs = y + n // COLUMNS, x + n % COLUMNS
    return ys, xs, (ys < ly) & (xs < lx), (ys * sy + cy) * width + xs * sx + cx


@triton.jit
@no_type_check
def _span(y, x, ly, lx, ry, rx, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The part of a lattice within reach of a tile: origin, columns, what divides by them, cells."""
    y0, x0 = tl.maximum(y - ry, 0), tl.maximum(x - rx, 0)
    rows, columns = tl.minimum(y + ROWS + ry, ly) - y0, tl.maximum(tl.minimum(x + COLUMNS + rx, lx) - x0, 1)
    inverse = (2147483647 // columns).to(tl.uint32) + 1
    return y0, x0, columns, inverse, tl.where((y < ly) & (x < lx), rows * columns, 0)


@triton.jit
@no_type_check
def _near(n, y0, x0, columns, inverse, cy, cx, width, sy, sx):
    """Lattice rows and columns of the n-th cells of a span, in raster order, and their places in the frame."""
    rows = tl.umulhi((2 * n).to(tl.uint32), inverse).to(tl.int32)  # exact while n times columns is below 2^31
    ys, xs = y0 + rows, x0 + n - rows * columns
    return ys, xs, (ys * sy + cy) * width + xs * sx + cx


@triton.constexpr_function
def _exact(like):
    """A precision of matrix products that has the penalty: float16 does not."""
    return tl.float32 if like == tl.float32 else tl.bfloat16


@triton.jit
@no_type_check
def _marks(like, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Channels of a tile's cells that name their row and column; their product with `_penalties` masks a window.

    One step of a matrix product more costs less than two comparisons along each axis of each pair.
    """
    n, c = tl.arange(0, ROWS * COLUMNS)[:, None], tl.arange(0, 16)[None, :]
    return tl.where((c == n // COLUMNS) | (c == ROWS + n % COLUMNS), PENALTY, 0.0).to(_exact(like.dtype))


@triton.jit
@no_type_check
def _penalties(y, x, ys, xs, exist, ry, rx, like, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Channels of other cells: a penalty for each row and each column of the tile at (y, x) that is out of their
    reach.
    """
    c = tl.arange(0, 16)[None, :]
    apart = tl.where(c < ROWS, tl.abs(ys[:, None] - y - c) - ry, tl.abs(xs[:, None] - x - c + ROWS) - rx)
    used = c < ROWS + COLUMNS
    return tl.where(used & ((apart > 0) | (exist[:, None] == 0)), -PENALTY, 0.0).to(_exact(like.dtype))


@triton.jit
@no_type_check
def _scores(a, b, mask, ay, ax, by, bx, exist, ry, rx, MARKED: tl.constexpr, WINDOW: tl.constexpr, SELF: tl.constexpr,
            EVEN: tl.constexpr, PRECISION: tl.constexpr):
    """Scores, not yet scaled, of a tile and other cells, far below all others where not connected."""
    if MARKED:
        scores = tl.dot(a, tl.trans(b), mask, input_precision=PRECISION)
    else:
        scores = tl.dot(a, tl.trans(b), input_precision=PRECISION)
        connected = exist[None, :]
        if WINDOW:
            dy, dx = (by + ry)[None, :] - ay[:, None], (bx + rx)[None, :] - ax[:, None]
            connected = connected & (dy.to(tl.uint32) <= 2 * ry) & (dx.to(tl.uint32) <= 2 * rx)  # below zero is large
        if not SELF:
            connected = connected & (ay[:, None] != by[None, :])  # of a column
        if WINDOW or not SELF or not EVEN:
            scores = tl.where(connected, scores, NEVER)
    return scores


@triton.jit
@no_type_check
def _frames(now, time, st, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr):
    """The first frame that a query's frame is related to, and how many."""
    first, count = now % st, tl.cdiv((now + 1 if CAUSAL else time) - now % st, st)
    if OWN_FRAME:
        first, count = now, 1
    return first, count


@triton.jit
@no_type_check
def _begin(out, lse, cells, exist, V: tl.constexpr, VP: tl.constexpr, CONTINUE: tl.constexpr):
    """Maximum, sum of weights and weighted sum of values before any key, or where an earlier kernel ended."""
    top = tl.full(cells.shape, NEVER, tl.float32)
    total = tl.zeros(cells.shape, tl.float32)
    summed = tl.zeros([cells.shape[0], VP], tl.float32)
    if CONTINUE:
        top, total = tl.load(lse, mask=exist, other=0.0) * LOG2E, total + 1
        summed = read(out, cells, exist, V, V, VP).to(tl.float32)
    return top, total, summed


@triton.jit
@no_type_check
def _softmax(scores, values, top, total, summed, scale, PRECISION: tl.constexpr):
    """The running maximum (scaled, base 2), sum of weights and weighted sum of values after some more keys."""
    new = tl.maximum(top, tl.max(scores, 1) * scale)
    shrink = tl.exp2(top - new)
    weights = tl.exp2(scores * scale - new[:, None])
    total = total * shrink + tl.sum(weights, 1)
    return new, total, tl.dot(weights.to(values.dtype), values, summed * shrink[:, None], input_precision=PRECISION)


@triton.jit
@no_type_check
def _rank(scores, terms, side, exist, query_side, number, scale, slope, record, holder, OBJECTS: tl.constexpr,
          MODE: tl.constexpr, REMEMBER: tl.constexpr):
    """The best ranking scores after some more keys of an earlier frame, from the `number`-th of the span's keys in all
    frames on, and which keys have them; `terms` are (object, key).
    """
    o, key_term = tl.arange(0, record.shape[1]), tl.zeros(exist.shape, tl.float32)
    if MODE == "sigmoid":
        key_term = tl.load(side, mask=exist, other=0.0)
    for each in tl.static_range(OBJECTS):
        term = tl.sum(tl.where((o == each)[:, None], terms, 0.0), 0)
        rank = ranked(scores, term[None, :], key_term[None, :], query_side[:, None], scale, slope, MODE)
        if REMEMBER:
            top, at = tl.max(rank, 1, return_indices=True, return_indices_tie_break_left=False)
            top = counted(top, scale, MODE)
            better = (o == each)[None, :] & (top[:, None] > record)
            record = tl.where(better, top[:, None], record)
            holder = tl.where(better, (number + at)[:, None], holder)
        else:
            record = tl.where((o == each)[None, :], tl.maximum(record,
                                                               counted(tl.max(rank, 1), scale, MODE)[:, None]), record)
    return record, holder


@triton.jit
@no_type_check
def forward(q, k, v, out, lse, terms, key_term, query_term, best, argmax, qb, qh, qc, kb, kh, kc, vb, vh, vc, scale,
            slope, heads, per_head, queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x, D: tl.constexpr,
            DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
            CELLS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr, WINDOW: tl.constexpr,
            SELF: tl.constexpr, EVEN: tl.constexpr, MARKED: tl.constexpr, PRECISION: tl.constexpr,
            CONTINUE: tl.constexpr, OBJECTS: tl.constexpr, OBJECTS_P: tl.constexpr, MODE: tl.constexpr,
            REMEMBER: tl.constexpr):
    """Output, log-sum-exp and best ranking scores of one tile; CONTINUE goes on where an earlier kernel ended."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, ROWS, COLUMNS)
    qy, qx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS, COLUMNS)
    now, cells = time - queried + frame, cells + frame * plane
    k = head_of(k, group, heads, kb, kh)
    v = head_of(v, group, heads, vb, vh)
    out += group * queried * plane * V
    queries = read(head_of(q, group, heads, qb, qh), cells, exist, qc, D, DP)
    rows = group * queried * plane + cells
    marks, mask = _marks(queries, ROWS, COLUMNS), tl.zeros([ROWS * COLUMNS, CELLS], tl.float32)
    top, total, summed = _begin(out, lse + rows, cells, exist, V, VP, CONTINUE)
    record = tl.full([ROWS * COLUMNS, OBJECTS_P], -float("inf") if MODE == "add" else 0.0, tl.float32)
    holder = tl.full([ROWS * COLUMNS, OBJECTS_P], -1, tl.int32)
    terms += (group if per_head else group // heads) * OBJECTS * time * plane
    query_side = tl.zeros([ROWS * COLUMNS], tl.float32)
    if MODE == "sigmoid":
        query_side = tl.load(query_term + rows, mask=exist, other=0.0)
    y0, x0, columns, inverse, count = _span(y, x, ly, lx, ry, rx, ROWS, COLUMNS)
    first, frames = _frames(now, time, st, CAUSAL, OWN_FRAME)
    start, turn = 0, 0  # all frames' cells of one place come before the next place, so that they share a mask
    for _ in range(frames * tl.cdiv(count, CELLS)):
        other = first + turn * st
        n = start + tl.arange(0, CELLS)
        listed = n < count
        ky, kx, places = _near(n, y0, x0, columns, inverse, cy, cx, width, sy, sx)
        places += other * plane
        keys, values = read(k, places, listed, kc, D, DP), read(v, places, listed, vc, V, VP)
        if OBJECTS > 0:  # before they are needed, which hides the time that they take
            o = tl.arange(0, OBJECTS_P)[:, None]
            counts = (listed & (places < now * plane))[None, :] & (o < OBJECTS)  # of earlier frames
            term = tl.load(terms + o * time * plane + places[None, :], mask=counts,
                           other=-float("inf") if MODE == "add" else 0.0)
        if MARKED:
            if turn == 0:
                mask = tl.dot(marks, tl.trans(_penalties(y, x, ky, kx, listed, ry, rx, keys, ROWS, COLUMNS)))
        scores = _scores(queries, keys, mask, qy, qx, ky, kx, listed, ry, rx, MARKED, WINDOW, SELF, EVEN, PRECISION)
        top, total, summed = _softmax(scores, values, top, total, summed, scale * LOG2E, PRECISION)
        if OBJECTS > 0:
            if other < now:
                side = key_term + group * time * plane + places
                record, holder = _rank(scores, term, side, listed, query_side, other * count + start, scale, slope,
                                       record, holder, OBJECTS, MODE, REMEMBER)
        turn = tl.where(turn + 1 == frames, 0, turn + 1)
        start += tl.where(turn == 0, CELLS, 0)
    write(out, cells, exist, summed / total[:, None], V, VP, False)
    tl.store(lse + rows, (top + tl.log2(total)) / LOG2E, mask=exist)
    if OBJECTS > 0:
        keep(best, record, group, cells, exist, queried * plane, OBJECTS, OBJECTS_P)
        if REMEMBER:
            count = tl.maximum(count, 1)
            _, _, places = _near(holder % count, y0, x0, columns, inverse, cy, cx, width, sy, sx)
            holder = tl.where(holder < 0, -1, holder // count * plane + places)
            keep(argmax, holder, group, cells, exist, queried * plane, OBJECTS, OBJECTS_P)


@triton.jit
@no_type_check
def backward_query(q, k, v, grad, lse, delta, grad_q, qb, qh, qc, kb, kh, kc, vb, vh, vc, gb, gh, gc, scale, heads,
                   queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x, D: tl.constexpr,
                   DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                   CELLS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr, WINDOW: tl.constexpr,
                   SELF: tl.constexpr, EVEN: tl.constexpr, MARKED: tl.constexpr, PRECISION: tl.constexpr,
                   CONTINUE: tl.constexpr):
    """Gradient of one tile of queries, the weights computed again from the log-sum-exp."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, ROWS, COLUMNS)
    qy, qx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS, COLUMNS)
    now, cells = time - queried + frame, cells + frame * plane
    k = head_of(k, group, heads, kb, kh)
    v = head_of(v, group, heads, vb, vh)
    queries = read(head_of(q, group, heads, qb, qh), cells, exist, qc, D, DP)
    upstream = read(head_of(grad, group, heads, gb, gh), cells, exist, gc, V, VP)
    rows = group * queried * plane + cells
    marks, mask = _marks(queries, ROWS, COLUMNS), tl.zeros([ROWS * COLUMNS, CELLS], tl.float32)
    norm, minus = tl.load(lse + rows, mask=exist, other=0.0) * LOG2E, tl.load(delta + rows, mask=exist, other=0.0)
    summed = tl.zeros([ROWS * COLUMNS, DP], tl.float32)
    y0, x0, columns, inverse, count = _span(y, x, ly, lx, ry, rx, ROWS, COLUMNS)
    first, frames = _frames(now, time, st, CAUSAL, OWN_FRAME)
    start, turn = 0, 0  # all frames' cells of one place come before the next place, so that they share a mask
    for _ in range(frames * tl.cdiv(count, CELLS)):
        n = start + tl.arange(0, CELLS)
        listed = n < count
        ky, kx, places = _near(n, y0, x0, columns, inverse, cy, cx, width, sy, sx)
        places += (first + turn * st) * plane
        keys, values = read(k, places, listed, kc, D, DP), read(v, places, listed, vc, V, VP)
        if MARKED:
            if turn == 0:
                mask = tl.dot(marks, tl.trans(_penalties(y, x, ky, kx, listed, ry, rx, keys, ROWS, COLUMNS)))
        scores = _scores(queries, keys, mask, qy, qx, ky, kx, listed, ry, rx, MARKED, WINDOW, SELF, EVEN, PRECISION)
        weights = tl.exp2(scores * (scale * LOG2E) - norm[:, None])
        inner = weights * (tl.dot(upstream, tl.trans(values), input_precision=PRECISION) - minus[:, None])
        summed = tl.dot(inner.to(keys.dtype), keys, summed, input_precision=PRECISION)
        turn = tl.where(turn + 1 == frames, 0, turn + 1)
        start += tl.where(turn == 0, CELLS, 0)
    write(grad_q + group * queried * plane * D, cells, exist, summed * scale, D, DP, CONTINUE)


@triton.jit
@no_type_check
def backward_key(q, k, v, grad, lse, delta, grad_k, grad_v, qb, qh, qc, kb, kh, kc, vb, vh, vc, gb, gh, gc, scale,
                 heads, queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x, D: tl.constexpr,
                 DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                 CELLS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr, WINDOW: tl.constexpr,
                 SELF: tl.constexpr, EVEN: tl.constexpr, MARKED: tl.constexpr, PRECISION: tl.constexpr,
                 CONTINUE: tl.constexpr):
    """Gradients of one tile of keys and values: the relations are symmetric but for time, so that queries stream by."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, ROWS, COLUMNS)
    ky, kx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS, COLUMNS)
    cells += frame * plane
    q = head_of(q, group, heads, qb, qh)
    grad = head_of(grad, group, heads, gb, gh)
    lse += group * queried * plane
    delta += group * queried * plane
    keys = read(head_of(k, group, heads, kb, kh), cells, exist, kc, D, DP)
    values = read(head_of(v, group, heads, vb, vh), cells, exist, vc, V, VP)
    marks, mask = _marks(keys, ROWS, COLUMNS), tl.zeros([ROWS * COLUMNS, CELLS], tl.float32)
    to_keys = tl.zeros([ROWS * COLUMNS, DP], tl.float32)
    to_values = tl.zeros([ROWS * COLUMNS, VP], tl.float32)
    y0, x0, columns, inverse, count = _span(y, x, ly, lx, ry, rx, ROWS, COLUMNS)
    earliest = time - queried
    if CAUSAL:
        earliest = tl.maximum(earliest, frame)
    first = earliest + ((frame - earliest) % st + st) % st
    frames = tl.maximum(tl.cdiv(time - first, st), 0)
    if OWN_FRAME:
        first, frames = frame, tl.where(frame >= time - queried, 1, 0)
    start, turn = 0, 0  # all frames' cells of one place come before the next place, so that they share a mask
    for _ in range(frames * tl.cdiv(count, CELLS)):
        n = start + tl.arange(0, CELLS)
        listed = n < count
        qy, qx, places = _near(n, y0, x0, columns, inverse, cy, cx, width, sy, sx)
        places += (first + turn * st - time + queried) * plane
        queries, upstream = read(q, places, listed, qc, D, DP), read(grad, places, listed, gc, V, VP)
        norm, minus = tl.load(lse + places, mask=listed, other=0.0) * LOG2E, tl.load(delta + places, mask=listed,
                                                                                    other=0.0)
        if MARKED:
            if turn == 0:
                mask = tl.dot(marks, tl.trans(_penalties(y, x, qy, qx, listed, ry, rx, keys, ROWS, COLUMNS)))
        scores = _scores(keys, queries, mask, ky, kx, qy, qx, listed, ry, rx, MARKED, WINDOW, SELF, EVEN, PRECISION)
        weights = tl.exp2(scores * (scale * LOG2E) - norm[None, :])  # keys are the rows here, queries the columns
        to_values = tl.dot(weights.to(upstream.dtype), upstream, to_values, input_precision=PRECISION)
        inner = weights * (tl.dot(values, tl.trans(upstream), input_precision=PRECISION) - minus[None, :])
        to_keys = tl.dot(inner.to(queries.dtype), queries, to_keys, input_precision=PRECISION)
        turn = tl.where(turn + 1 == frames, 0, turn + 1)
        start += tl.where(turn == 0, CELLS, 0)
    write(grad_k + group * time * plane * D, cells, exist, to_keys * scale, D, DP, CONTINUE)
    write(grad_v + group * time * plane * V, cells, exist, to_values, V, VP, CONTINUE)
