"""Triton kernels: attention of tiles of cells over the part of the buffer that a product pattern connects them with.

A pattern with strides is a lattice of every stride-th cell in each residue class; `ly`, `lx` count its cells, and a window
holds `ry` and `rx` of them on either side. A tile is rows x columns of one lattice in one frame. Keys stream by in tiles of
their own under a running maximum and sum (online softmax), scores in registers, so that no attention map is stored. Object
affinity keeps the best ranking score of each object beside them. Each program owns what it writes: results do not depend on
the order of programs. LINE is one cell with the same cell of each other frame (the time line of Grid), without a matrix product.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check  # a tensor of Triton is none of Python
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
def _read(base, cells, exist, stride, D: tl.constexpr, PADDED: tl.constexpr):
    """The channels of cells, zeros beyond."""
    d = tl.arange(0, PADDED)
    return tl.load(base + cells[:, None] * stride + d[None, :], mask=exist[:, None] & (d[None, :] < D), other=0.0)


@triton.jit
@no_type_check
def _write(base, cells, exist, values, D: tl.constexpr, PADDED: tl.constexpr, ADD: tl.constexpr):
    """Writes the channels of cells, or adds to what an earlier kernel wrote."""
    d = tl.arange(0, PADDED)
    at, mask = base + cells[:, None] * D + d[None, :], exist[:, None] & (d[None, :] < D)
    if ADD:
        values += tl.load(at, mask=mask, other=0.0)
    tl.store(at, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def _scores(a, b, scale, ay, ax, by, bx, exist, ry, rx, WINDOW: tl.constexpr, SELF: tl.constexpr):
    """Scaled scores of tiles a and b, -inf where not connected."""
    scores = tl.dot(a, tl.trans(b), input_precision="ieee") * scale
    connected = exist
    dy, dx = ay[:, None] - by[None, :], ax[:, None] - bx[None, :]
    if WINDOW:
        connected = connected & (dy <= ry) & (-dy <= ry) & (dx <= rx) & (-dx <= rx)
    if not SELF:
        connected = connected & ((dy != 0) | (dx != 0))
    return tl.where(connected, scores, -float("inf"))


@triton.jit
@no_type_check
def _span(y, x, ly, lx, ry, rx, ROWS: tl.constexpr, COLUMNS: tl.constexpr, OTHER_ROWS: tl.constexpr, OTHER_COLUMNS: tl.constexpr):
    """Origin and count, along both axes, of the tiles within reach of one."""
    y0, x0 = tl.maximum(y - ry, 0), tl.maximum(x - rx, 0)
    rows, columns = tl.minimum(y + ROWS + ry, ly) - y0, tl.minimum(x + COLUMNS + rx, lx) - x0
    exists = (y < ly) & (x < lx)
    return y0, x0, tl.where(exists, tl.cdiv(rows, OTHER_ROWS), 0), tl.maximum(tl.cdiv(columns, OTHER_COLUMNS), 1)


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
def _best(scores, term, key_term, query_term, slope, MODE: tl.constexpr, LINE: tl.constexpr):
    """Each query's best ranking score for one object (see affinity.py), and the key of the tile that has it."""
    if not LINE:
        term, key_term, query_term = term[None, :], key_term[None, :], query_term[:, None]
    if MODE == "add":
        ranked = scores + term
    elif MODE == "multiply":
        ranked = scores * term
    else:
        ranked = term * 2 * tl.sigmoid(slope * (scores + key_term) - query_term)
    ranked = tl.where(scores == -float("inf"), -float("inf"), ranked)
    if LINE:
        found, at = ranked, tl.arange(0, scores.shape[0])
    else:
        found, at = tl.max(ranked, 1, return_indices=True)
    return found, at


@triton.jit
@no_type_check
def _begin(out, lse, cells, exist, V: tl.constexpr, VP: tl.constexpr, CONTINUE: tl.constexpr):
    """Maximum, sum of weights and weighted sum of values before any key, or where an earlier kernel ended."""
    top = tl.full(cells.shape, -float("inf"), tl.float32)
    total = tl.zeros(cells.shape, tl.float32)
    summed = tl.zeros([cells.shape[0], VP], tl.float32)
    if CONTINUE:
        top, total = tl.load(lse + cells, mask=exist, other=0.0), total + 1
        summed = _read(out, cells, exist, V, V, VP)
    return top, total, summed


@triton.jit
@no_type_check
def _softmax(scores, values, top, total, summed, LINE: tl.constexpr):
    """The running maximum, sum of weights and weighted sum of values after one more tile of keys."""
    new = tl.maximum(top, scores if LINE else tl.max(scores, 1))
    base = tl.where(new == -float("inf"), 0.0, new)
    shrink = tl.exp(top - base)
    if LINE:
        weights = tl.exp(scores - base)
        total = total * shrink + weights
        summed = summed * shrink[:, None] + weights[:, None] * values.to(tl.float32)
    else:
        weights = tl.exp(scores - base[:, None])
        total = total * shrink + tl.sum(weights, 1)
        summed = summed * shrink[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
    return new, total, summed


@triton.jit
@no_type_check
def forward(q, k, v, out, lse, terms, key_term, query_term, best, argmax, qb, qh, qc, kb, kh, kc, vb, vh, vc, scale, slope,
            heads, per_head, queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x,
            D: tl.constexpr, DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
            KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr, WINDOW: tl.constexpr,
            SELF: tl.constexpr, LINE: tl.constexpr, CONTINUE: tl.constexpr, OBJECTS: tl.constexpr, OBJECTS_P: tl.constexpr,
            MODE: tl.constexpr, REMEMBER: tl.constexpr):
    """Output, log-sum-exp and best ranking scores of one tile; CONTINUE goes on where an earlier kernel ended."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, ROWS, COLUMNS)
    qy, qx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS, COLUMNS)
    now, cells = time - queried + frame, cells + frame * plane
    q += group // heads * qb + group % heads * qh
    k += group // heads * kb + group % heads * kh
    v += group // heads * vb + group % heads * vh
    queries = _read(q, cells, exist, qc, D, DP)
    rows = group * queried * plane + cells
    top, total, summed = _begin(out + group * queried * plane * V, lse + group * queried * plane, cells, exist, V, VP, CONTINUE)
    o = tl.arange(0, OBJECTS_P)
    record = tl.full([ROWS * COLUMNS, OBJECTS_P], -float("inf") if MODE == "add" else 0.0, tl.float32)
    holder = tl.full([ROWS * COLUMNS, OBJECTS_P], -1, tl.int32)
    terms += (group if per_head else group // heads) * OBJECTS * time * plane
    asked = tl.zeros([ROWS * COLUMNS], tl.float32)
    if MODE == "sigmoid":
        asked = tl.load(query_term + rows, mask=exist, other=0.0)
    y0, x0, many_y, many_x = _span(y, x, ly, lx, ry, rx, ROWS, COLUMNS, KEY_ROWS, KEY_COLUMNS)
    first, frames = _frames(now, time, st, CAUSAL, OWN_FRAME)
    for i in range(frames * many_y * many_x):
        other = first + i // (many_y * many_x) * st
        step = i % (many_y * many_x)
        ky0, kx0 = y0 + step // many_x * KEY_ROWS, x0 + step % many_x * KEY_COLUMNS
        ky, kx, there, places = _tile(ky0, kx0, cy, cx, ly, lx, width, sy, sx, KEY_ROWS, KEY_COLUMNS)
        places += other * plane
        keys, values = _read(k, places, there, kc, D, DP), _read(v, places, there, vc, V, VP)
        if LINE:
            scores = tl.sum(queries.to(tl.float32) * keys.to(tl.float32), 1) * scale
            scores = tl.where(there & (SELF or other != now), scores, -float("inf"))
        else:
            scores = _scores(queries, keys, scale, qy, qx, ky, kx, there[None, :], ry, rx, WINDOW, SELF)
        top, total, summed = _softmax(scores, values, top, total, summed, LINE)
        if OBJECTS > 0:
            if other < now:
                side = tl.zeros_like(places).to(tl.float32)
                if MODE == "sigmoid":
                    side = tl.load(key_term + group * time * plane + places, mask=there, other=0.0)
                for number in tl.static_range(OBJECTS):
                    term = tl.load(terms + number * time * plane + places, mask=there, other=0.0)
                    found, at = _best(scores, term, side, asked, slope, MODE, LINE)
                    row, column = ky0 + at // KEY_COLUMNS, kx0 + at % KEY_COLUMNS
                    cell = other * plane + (row * sy + cy) * width + column * sx + cx
                    better = (o[None, :] == number) & (found[:, None] > record)
                    record = tl.where(better, found[:, None], record)
                    holder = tl.where(better, cell[:, None], holder)
    _write(out + group * queried * plane * V, cells, exist, summed / total[:, None], V, VP, False)
    tl.store(lse + rows, top + tl.log(total), mask=exist)
    if OBJECTS > 0:
        at = (group * OBJECTS + o[None, :]) * queried * plane + cells[:, None]
        tl.store(best + at, record, mask=exist[:, None] & (o[None, :] < OBJECTS))
        if REMEMBER:
            tl.store(argmax + at, holder, mask=exist[:, None] & (o[None, :] < OBJECTS))


@triton.jit
@no_type_check
def backward_query(q, k, v, grad, lse, delta, grad_q, qb, qh, qc, kb, kh, kc, vb, vh, vc, gb, gh, gc, scale,
                   heads, queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x,
                   D: tl.constexpr, DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                   KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr,
                   WINDOW: tl.constexpr, SELF: tl.constexpr, LINE: tl.constexpr, CONTINUE: tl.constexpr):
    """Gradient of one tile of queries, the weights computed again from the log-sum-exp."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, ROWS, COLUMNS)
    qy, qx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, ROWS, COLUMNS)
    now, cells = time - queried + frame, cells + frame * plane
    k += group // heads * kb + group % heads * kh
    v += group // heads * vb + group % heads * vh
    queries = _read(q + group // heads * qb + group % heads * qh, cells, exist, qc, D, DP)
    upstream = _read(grad + group // heads * gb + group % heads * gh, cells, exist, gc, V, VP)
    rows = group * queried * plane + cells
    norm, minus = tl.load(lse + rows, mask=exist, other=0.0), tl.load(delta + rows, mask=exist, other=0.0)
    summed = tl.zeros([ROWS * COLUMNS, DP], tl.float32)
    y0, x0, many_y, many_x = _span(y, x, ly, lx, ry, rx, ROWS, COLUMNS, KEY_ROWS, KEY_COLUMNS)
    first, frames = _frames(now, time, st, CAUSAL, OWN_FRAME)
    for i in range(frames * many_y * many_x):
        other = first + i // (many_y * many_x) * st
        step = i % (many_y * many_x)
        ky, kx, there, places = _tile(y0 + step // many_x * KEY_ROWS, x0 + step % many_x * KEY_COLUMNS, cy, cx, ly, lx, width, sy, sx,
                                      KEY_ROWS, KEY_COLUMNS)
        places += other * plane
        keys, values = _read(k, places, there, kc, D, DP), _read(v, places, there, vc, V, VP)
        if LINE:
            scores = tl.sum(queries.to(tl.float32) * keys.to(tl.float32), 1) * scale
            weights = tl.where(there & (SELF or other != now), tl.exp(scores - norm), 0.0)
            inner = weights * (tl.sum(upstream.to(tl.float32) * values.to(tl.float32), 1) - minus) * scale
            summed += inner[:, None] * keys.to(tl.float32)
        else:
            scores = _scores(queries, keys, scale, qy, qx, ky, kx, there[None, :], ry, rx, WINDOW, SELF)
            weights = tl.exp(scores - norm[:, None])
            inner = weights * (tl.dot(upstream, tl.trans(values), input_precision="ieee") - minus[:, None]) * scale
            summed += tl.dot(inner.to(keys.dtype), keys, input_precision="ieee")
    _write(grad_q + group * queried * plane * D, cells, exist, summed, D, DP, CONTINUE)


@triton.jit
@no_type_check
def backward_key(q, k, v, grad, lse, delta, grad_k, grad_v, qb, qh, qc, kb, kh, kc, vb, vh, vc, gb, gh, gc, scale,
                 heads, queried, time, height, width, st, sy, sx, ry, rx, tiles_y, tiles_x,
                 D: tl.constexpr, DP: tl.constexpr, V: tl.constexpr, VP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                 KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, OWN_FRAME: tl.constexpr,
                 WINDOW: tl.constexpr, SELF: tl.constexpr, LINE: tl.constexpr, CONTINUE: tl.constexpr):
    """Gradients of one tile of keys and values: the relations are symmetric but for time, so that queries stream by."""
    group, plane = tl.program_id(1).to(tl.int64), height * width
    frame, cy, cx, ly, lx, y, x = _place(height, width, sy, sx, tiles_y, tiles_x, KEY_ROWS, KEY_COLUMNS)
    ky, kx, exist, cells = _tile(y, x, cy, cx, ly, lx, width, sy, sx, KEY_ROWS, KEY_COLUMNS)
    cells += frame * plane
    q += group // heads * qb + group % heads * qh
    grad += group // heads * gb + group % heads * gh
    keys = _read(k + group // heads * kb + group % heads * kh, cells, exist, kc, D, DP)
    values = _read(v + group // heads * vb + group % heads * vh, cells, exist, vc, V, VP)
    to_keys = tl.zeros([KEY_ROWS * KEY_COLUMNS, DP], tl.float32)
    to_values = tl.zeros([KEY_ROWS * KEY_COLUMNS, VP], tl.float32)
    y0, x0, many_y, many_x = _span(y, x, ly, lx, ry, rx, KEY_ROWS, KEY_COLUMNS, ROWS, COLUMNS)
    earliest = time - queried
    if CAUSAL:
        earliest = tl.maximum(earliest, frame)
    first = earliest + ((frame - earliest) % st + st) % st
    frames = tl.maximum(tl.cdiv(time - first, st), 0)
    if OWN_FRAME:
        first, frames = frame, tl.where(frame >= time - queried, 1, 0)
    for i in range(frames * many_y * many_x):
        now = first + i // (many_y * many_x) * st
        step = i % (many_y * many_x)
        qy, qx, there, places = _tile(y0 + step // many_x * ROWS, x0 + step % many_x * COLUMNS, cy, cx, ly, lx, width, sy, sx,
                                      ROWS, COLUMNS)
        places += (now - time + queried) * plane
        queries, upstream = _read(q, places, there, qc, D, DP), _read(grad, places, there, gc, V, VP)
        rows = group * queried * plane + places
        norm, minus = tl.load(lse + rows, mask=there, other=0.0), tl.load(delta + rows, mask=there, other=0.0)
        if LINE:
            scores = tl.sum(queries.to(tl.float32) * keys.to(tl.float32), 1) * scale
            weights = tl.where(there & (SELF or now != frame), tl.exp(scores - norm), 0.0)
            inner = weights * (tl.sum(upstream.to(tl.float32) * values.to(tl.float32), 1) - minus) * scale
            to_values += weights[:, None] * upstream.to(tl.float32)
            to_keys += inner[:, None] * queries.to(tl.float32)
        else:  # keys are the rows here, queries the columns
            scores = _scores(keys, queries, scale, ky, kx, qy, qx, there[None, :], ry, rx, WINDOW, SELF)
            weights = tl.exp(scores - norm[None, :])
            to_values += tl.dot(weights.to(upstream.dtype), upstream, input_precision="ieee")
            inner = weights * (tl.dot(values, tl.trans(upstream), input_precision="ieee") - minus[None, :]) * scale
            to_keys += tl.dot(inner.to(queries.dtype), queries, input_precision="ieee")
    _write(grad_k + group * time * plane * D, cells, exist, to_keys, D, DP, CONTINUE)
    _write(grad_v + group * time * plane * V, cells, exist, to_values, V, VP, CONTINUE)


@triton.jit
@no_type_check
def exponentials(out, rounds, BLOCK: tl.constexpr):
    """A chain of exponentials of numbers in registers: the machine's limit."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = n.to(tl.float32) * -1e-6
    for _ in range(rounds):
        x = tl.exp2(-x)
    tl.store(out + n, x)
