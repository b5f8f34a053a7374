"""Triton kernels of Grid, whose lines pair up few cells: the time line forward and backward, and whole rows and columns
backward.

A cell's time line holds that cell in every other frame, so it has no matrix product: programs hold a few neighboring
cells in several frames at a time, channels side by side. The forward kernel ends what the rows and columns began.
"""

from typing import no_type_check

import triton
import triton.language as tl

from sstlib.attention.triton.kernel_parts import LOG2E, NEVER, counted, head_of, keep, ranked, read, write


@triton.jit
@no_type_check
def _stack(base, cells, exist, frames, real, plane, stride, D: tl.constexpr, PADDED: tl.constexpr):
    """The channels of cells in several frames (cell, frame, channel), zeros beyond, in float32: a thread has all
    frames of a cell.
    """
    d = tl.arange(0, PADDED)[None, None, :]
    at = (frames[None, :, None] * plane + cells[:, None, None]) * stride + d
    return tl.load(base + at, mask=real[None, :, None] & exist[:, None, None] & (d < D), other=0.0).to(tl.float32)


@triton.jit
@no_type_check
def forward(q, k, v, partial, lse, out, terms, key_term, query_term, best, argmax, qb, qh, qc, kb, kh, kc, vb, vh, vc,
            scale, slope, heads, per_head, queried, time, plane, D: tl.constexpr, DP: tl.constexpr, V: tl.constexpr,
            VP: tl.constexpr, CELLS: tl.constexpr, FRAMES: tl.constexpr, CAUSAL: tl.constexpr, OBJECTS: tl.constexpr,
            OBJECTS_P: tl.constexpr, MODE: tl.constexpr, REMEMBER: tl.constexpr):
    """Output, log-sum-exp and best ranking scores of some cells in all frames, from what the other lines left."""
    group = tl.program_id(1).to(tl.int64)
    cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    exist = cells < plane
    q = head_of(q, group, heads, qb, qh)
    k = head_of(k, group, heads, kb, kh)
    v = head_of(v, group, heads, vb, vh)
    terms += (group if per_head else group // heads) * OBJECTS * time * plane
    o = tl.arange(0, OBJECTS_P)[None, :]
    for frame in range(queried):
        now, places = time - queried + frame, frame * plane + cells
        rows = group * queried * plane + places
        queries = read(q, places, exist, qc, D, DP).to(tl.float32)
        top, total = tl.load(lse + rows, mask=exist, other=0.0) * LOG2E, tl.full([CELLS], 1.0, tl.float32)
        summed = read(partial + group * queried * plane * V, places, exist, V, V, VP)
        record = tl.full([CELLS, OBJECTS_P], -float("inf") if MODE == "add" else 0.0, tl.float32)
        holder = tl.full([CELLS, OBJECTS_P], -1, tl.int32)
        query_side = tl.zeros([CELLS], tl.float32)
        if MODE == "sigmoid":
            query_side = tl.load(query_term + rows, mask=exist, other=0.0)
        seen = now + 1 if CAUSAL else time
        for start in range(0, seen, FRAMES):
            frames = start + tl.arange(0, FRAMES)
            real = (frames < seen) & (frames != now)
            scores = tl.sum(_stack(k, cells, exist, frames, real, plane, kc, D, DP) * queries[:, None, :], 2)
            scores = tl.where(real[None, :], scores, NEVER)
            new = tl.maximum(top, tl.max(scores, 1) * (scale * LOG2E))
            shrink, weights = tl.exp2(top - new), tl.exp2(scores * (scale * LOG2E) - new[:, None])
            top, total = new, total * shrink + tl.sum(weights, 1)
            summed = summed * shrink[:, None] + tl.sum(
                weights[:, :, None] * _stack(v, cells, exist, frames, real, plane, vc, V, VP), 1)
            if OBJECTS > 0:
                earlier = (frames < now)[None, :] & exist[:, None]
                others, side = frames[None, :] * plane + cells[:, None], tl.zeros([CELLS, FRAMES], tl.float32)
                if MODE == "sigmoid":
                    side = tl.load(key_term + group * time * plane + others, mask=earlier, other=0.0)
                for number in tl.static_range(OBJECTS):
                    term = tl.load(terms + number * time * plane + others, mask=earlier, other=0.0)
                    rank = ranked(tl.where(earlier, scores, NEVER), term, side, query_side[:, None], scale, slope, MODE)
                    peak, at = tl.max(rank, 1, return_indices=True, return_indices_tie_break_left=False)
                    peak = counted(peak, scale, MODE)
                    better = (o == number) & (peak[:, None] > record)
                    record = tl.where(better, peak[:, None], record)
                    holder = tl.where(better, ((start + at) * plane + cells)[:, None], holder)
        write(out + group * queried * plane * V, places, exist, summed / total[:, None], V, VP, False)
        tl.store(lse + rows, (top + tl.log2(total)) / LOG2E, mask=exist)
        if OBJECTS > 0:
            keep(best, record, group, places, exist, queried * plane, OBJECTS, OBJECTS_P)
            if REMEMBER:
                keep(argmax, holder, group, places, exist, queried * plane, OBJECTS, OBJECTS_P)


@triton.jit
@no_type_check
def backward(q, k, v, grad, lse, delta, partial_q, partial_k, partial_v, grad_q, grad_k, grad_v, qb, qh, qc, kb, kh, kc,
             vb, vh, vc, gb, gh, gc, scale, heads, queried, time, plane, D: tl.constexpr, DP: tl.constexpr,
             V: tl.constexpr, VP: tl.constexpr, CELLS: tl.constexpr, FRAMES: tl.constexpr, CAUSAL: tl.constexpr):
    """Gradients of some cells in all frames: the time line's, added to the other lines' partial ones."""
    group = tl.program_id(1).to(tl.int64)
    cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    exist = cells < plane
    q = head_of(q, group, heads, qb, qh)
    k = head_of(k, group, heads, kb, kh)
    v = head_of(v, group, heads, vb, vh)
    grad = head_of(grad, group, heads, gb, gh)
    partial_q += group * queried * plane * D
    grad_q += group * queried * plane * D
    d, e = tl.arange(0, DP)[None, None, :], tl.arange(0, VP)[None, None, :]
    for start in range(0, time, FRAMES):
        frames = start + tl.arange(0, FRAMES)
        real = frames < time
        keys, values = _stack(k, cells, exist, frames, real, plane, kc, D,
                              DP), _stack(v, cells, exist, frames, real, plane, vc, V, VP)
        others = group * time * plane + frames[None, :, None] * plane + cells[:, None, None]
        mask = real[None, :, None] & exist[:, None, None]
        to_keys = tl.load(partial_k + others * D + d, mask=mask & (d < D), other=0.0)
        to_values = tl.load(partial_v + others * V + e, mask=mask & (e < V), other=0.0)
        for frame in range(queried):
            now, places = time - queried + frame, frame * plane + cells
            rows = group * queried * plane + places
            related = real & (frames != now)
            if CAUSAL:
                related = related & (frames < now)
            queries = read(q, places, exist, qc, D, DP).to(tl.float32)
            upstream = read(grad, places, exist, gc, V, VP).to(tl.float32)
            norm, minus = tl.load(lse + rows, mask=exist, other=0.0) * LOG2E, tl.load(
                delta + rows, mask=exist, other=0.0)
            scores = tl.sum(keys * queries[:, None, :], 2)
            weights = tl.where(related[None, :], tl.exp2(scores * (scale * LOG2E) - norm[:, None]), 0.0)
            inner = weights * (tl.sum(values * upstream[:, None, :], 2) - minus[:, None]) * scale
            to_values += weights[:, :, None] * upstream[:, None, :]
            to_keys += inner[:, :, None] * queries[:, None, :]
            summed = read(partial_q, places, exist, D, D, DP) + tl.sum(inner[:, :, None] * keys, 1)
            if start + FRAMES < time:
                write(partial_q, places, exist, summed, D, DP, False)
            else:
                write(grad_q, places, exist, summed, D, DP, False)
        tl.debug_barrier()  # the next frames' turn reads what this one wrote
        tl.store(grad_k + others * D + d, to_keys.to(grad_k.dtype.element_ty), mask=mask & (d < D))
        tl.store(grad_v + others * V + e, to_values.to(grad_v.dtype.element_ty), mask=mask & (e < V))


@triton.jit
@no_type_check
def backward_row(q, k, v, grad, lse, delta, grad_q, grad_k, grad_v, qb, qh, qc, kb, kh, kc, vb, vh, vc, gb, gh, gc,
                 scale, heads, queried, time, plane, lines, length, apart, step, D: tl.constexpr, DP: tl.constexpr,
                 V: tl.constexpr, VP: tl.constexpr, CELLS: tl.constexpr, SELF: tl.constexpr, CONTINUE: tl.constexpr,
                 PRECISION: tl.constexpr):
    """Gradients of one whole row or column of a frame: its `length` cells are `step` apart, its neighbors' `apart`
    from them.
    """
    group, frame = tl.program_id(1).to(tl.int64), tl.program_id(0) // lines
    n = tl.arange(0, CELLS)
    exist, cells = n < length, frame * plane + tl.program_id(0) % lines * apart + n * step
    queries_exist = n < tl.where(frame < time - queried, 0, length)  # not in a frame that is not queried
    places = cells - (time - queried) * plane
    rows = group * queried * plane + places
    queries = read(head_of(q, group, heads, qb, qh), places, queries_exist, qc, D, DP)
    upstream = read(head_of(grad, group, heads, gb, gh), places, queries_exist, gc, V, VP)
    keys = read(head_of(k, group, heads, kb, kh), cells, exist, kc, D, DP)
    values = read(head_of(v, group, heads, vb, vh), cells, exist, vc, V, VP)
    norm, minus = tl.load(lse + rows, mask=queries_exist, other=0.0) * LOG2E, tl.load(
        delta + rows, mask=queries_exist, other=0.0)
    related = exist[None, :] & queries_exist[:, None]
    if not SELF:
        related = related & (n[:, None] != n[None, :])
    scores = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
    weights = tl.where(related, tl.exp2(scores * (scale * LOG2E) - norm[:, None]), 0.0)
    inner = weights * (tl.dot(upstream, tl.trans(values), input_precision=PRECISION) - minus[:, None])
    weights, inner = weights.to(upstream.dtype), inner.to(queries.dtype)
    to_queries = tl.dot(inner, keys, input_precision=PRECISION) * scale
    write(grad_q + group * queried * plane * D, places, queries_exist, to_queries, D, DP, CONTINUE)
    write(grad_k + group * time * plane * D, cells, exist,
          tl.dot(tl.trans(inner), queries, input_precision=PRECISION) * scale, D, DP, CONTINUE)
    write(grad_v + group * time * plane * V, cells, exist, tl.dot(tl.trans(weights), upstream,
                                                                  input_precision=PRECISION), V, VP, CONTINUE)
