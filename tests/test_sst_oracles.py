"""SST's encoder and its evidence about objects (Eq. 2 to 4) as loops over cells, from the first frame on, without
any memory or cache.
"""

import loops
import numpy as np
import pytest
import torch
from loops import cells, numbers, sigmoid
from test_rival_oracles import OBJECTS, carried, lively, nearest_maps, soft_masks

from sstlib.model.matching import RADII

HEIGHT, WIDTH = 5, 7
CONNECTED = {  # whether a key (frame, row, column) is in I_p of a query, frames of a buffer
    "local(radius=1)": lambda q, k: abs(q[1] - k[1]) <= 1 and abs(q[2] - k[2]) <= 1,
    "grid": lambda q, k: sum(a != b for a, b in zip(q, k)) <= 1,
    "strided(stride=2)": lambda q, k: (q[1] - k[1]) % 2 == (q[2] - k[2]) % 2 == 0,
    "dense": lambda q, k: True,
}
AFFINITY = {  # of a query to a key with this score and softmax weight
    "distance": lambda q, k, score, weight: 2 * (1 - sigmoid(((q - k) ** 2).sum())),
    "dot": lambda q, k, score, weight: score,
    "cosine": lambda q, k, score, weight: q @ k / np.sqrt((q @ q) * (k @ k)),
    "weight": lambda q, k, score, weight: weight,
}


def linear(layer, x):
    return numbers(layer.weight) @ x + numbers(layer.bias)


def normalized(x, layer):
    """Layer normalization of one cell."""
    return (x - x.mean()) / np.sqrt(x.var() + layer.eps) * numbers(layer.weight) + numbers(layer.bias)


def response_normalized(frame, layer):
    """Filter response normalization: each channel of a frame {cell: channels} by its root mean square over the
    frame's cells.
    """
    root = np.sqrt(np.mean([x ** 2 for x in frame.values()], 0) + 1e-6)
    result = {cell: x / root * numbers(layer.gain) + numbers(layer.bias) for cell, x in frame.items()}
    return result if layer.threshold is None else {
        cell: np.maximum(x, numbers(layer.threshold)) for cell, x in result.items()
    }


def settled(layer, norm, frames):
    """A norm of the encoder over {(frame, row, column): channels}."""
    if hasattr(norm, "gain"):
        times = sorted({cell[0] for cell in frames})
        return {
            cell: x for t in times
            for cell, x in response_normalized({c: x for c, x in frames.items() if c[0] == t}, norm).items()
        }
    return {cell: normalized(x, norm) for cell, x in frames.items()}


def attended(layer, queries, keys, members, now):
    """One layer of Eq. 3 for the cells `queries` with keys {cell: channels}; evidence of frame `now` by head, object
    and cell.

    Memberships `members` are {cell: a number an object} of the frames before `now`.
    """
    heads, connected = layer.config.heads, CONNECTED[str(layer.connectivity)]
    dim = layer.config.width // heads
    scale = dim ** -0.5 if layer.config.scaled else 1.0
    split = {
        name: {cell: linear(getattr(layer, name), x).reshape(heads, dim) for cell, x in keys.items()}
        for name in ("key", "value")
    }
    out, affinity, warped = {}, np.zeros((heads, OBJECTS, HEIGHT, WIDTH)), np.zeros(
        (heads, OBJECTS, dim + 1, HEIGHT, WIDTH))
    for cell, x in queries.items():
        query, read = linear(layer.query, x).reshape(heads, dim), np.zeros((heads, dim))
        reached = [key for key in keys if connected(cell, key)]
        for head in range(heads):
            scores = [scale * query[head] @ split["key"][key][head] for key in reached]
            for key, score, weight in zip(reached, scores, loops.softmax(scores)):
                value = split["value"][key][head]
                read[head] += weight * value
                if cell[0] != now or key not in members:
                    continue
                for o in range(OBJECTS):
                    warped[head, o, :, cell[1], cell[2]] += weight * members[key][o] * np.array([*value, 1])
                place = (head, members[key].argmax(), cell[1], cell[2])
                affinity[place] = max(
                    affinity[place], AFFINITY[layer.config.affinity](query[head], split["key"][key][head], score,
                                                                     weight))
        out[cell] = x + linear(layer.out, read.ravel())
    out = settled(layer, layer.norm1, out)
    first, nonlinearity, second = layer.feedforward
    hidden = {cell: linear(first, x) for cell, x in out.items()}
    hidden = settled(layer, nonlinearity, hidden) if hasattr(
        nonlinearity, "gain") else {c: np.maximum(x, 0) for c, x in hidden.items()}
    out = settled(layer, layer.norm2, {cell: out[cell] + linear(second, hidden[cell]) for cell in out})
    return out, affinity, warped


def positions(config, time):
    """The sinusoidal code of Eq. 2 of each cell of a frame: shares of the channels for time, row and column."""
    spatial = 2 * -(-config.width // 6)
    code = {}
    for cell in cells(HEIGHT, WIDTH):
        parts = []
        for place, channels in zip((time, *cell), (config.width - 2 * spatial, spatial, spatial)):
            angles = [place / config.encoding_base ** (i / (channels / 2)) for i in range(channels // 2)]
            parts += [*np.sin(angles), *np.cos(angles)]
        code[cell] = np.array(parts)
    return code


def tokens(network, features, slots):
    """What enters the first layer, {(frame, row, column): channels}: projected embeddings and the code of each
    frame's time.
    """
    result = {}
    for t, time in slots.items():
        projected, code = loops.convolution(numbers(features[t].embedding[0]),
                                            network.project), positions(network.config, time)
        result |= {(t, *cell): projected[:, cell[0], cell[1]] + code[cell] for cell in cells(HEIGHT, WIDTH)}
    return result


def buffer(config, now):
    """The frames that frame `now` attends to, itself the last."""
    recent = list(range(max(0, now - config.history), now + 1))
    return ([0] if config.keep_reference and recent[0] > 0 else []) + recent


def encoded(network, features, members, now):
    """Encoder output of frame `now`, and maps and features of each object by layer."""
    config, seen = network.config, buffer(network.config, now)
    times = {t: {"clip": t, "none": 0, "buffer": len(seen) - 1 - n}[config.encoding_time] for n, t in enumerate(seen)}
    if not config.causal:
        known = {(t, *cell): members[t][:, cell[0], cell[1]] for t in seen[:-1] for cell in cells(HEIGHT, WIDTH)}
        x, maps = tokens(network, features, times), []
        for layer in network.layers:
            x, *result = attended(layer, x, x, known, now)
            maps.append(result)
        return {cell: value for cell, value in x.items() if cell[0] == now}, maps
    entering, maps = [
        tokens(network, features, {t: 0 if config.encoding_time == "none" else t for t in range(now + 1)})
    ], []
    for layer in network.layers:  # every frame anew, each with its own history
        after = {}
        for t in range(now + 1):
            near_frames = buffer(config, t)
            known = {
                (s, *cell): members[s][:, cell[0], cell[1]] for s in near_frames[:-1] for cell in cells(HEIGHT, WIDTH)
            }
            queries = {cell: value for cell, value in entering[-1].items() if cell[0] == t}
            keys = {cell: value for cell, value in entering[-1].items() if cell[0] in near_frames}
            out, *result = attended(layer, queries, keys, known, t)
            after |= out
        entering.append(after)
        maps.append(result)  # of the last frame, `now`
    return {cell: value for cell, value in after.items() if cell[0] == now}, maps


def evidence_of(network, maps):
    """Features, then maps of each object: by layer the affinity, the best of the others, what is warped of it and of
    all others.
    """
    features, scores = [], []
    for affinity, warped in maps:
        own = warped.swapaxes(0, 1)  # object, head, channels
        others = own.sum(0) - own
        scores += [affinity.swapaxes(0, 1), loops.best_of_others(affinity.swapaxes(0, 1))]
        if network.config.profile.startswith("strict"):
            continue
        if network.config.warped == "features":
            features += [x[:, :, :-1].reshape(OBJECTS, -1, HEIGHT, WIDTH) for x in (own, others)]
        else:
            scores += [x[:, :, -1] for x in (own, others)]
    return features, scores


VARIANTS = {
    "plain": {},
    "causal": {"causal": True},
    "causal, reference kept, no time": {"causal": True, "keep_reference": True, "history": 1, "encoding_time": "none"},
    "reference kept, time from now on": {
        "keep_reference": True, "history": 1, "encoding_time": "buffer", "affinity": "cosine"
    },
    "reference kept and still recent": {"keep_reference": True, "history": 4, "layers": ("local(radius=1)",)},
    "features warped": {"warped": "features", "affinity": "weight"},
    "grid, then dense, scaled": {"layers": ("grid", "dense"), "scaled": True, "affinity": "dot"},
    "strided, frn": {"layers": ("strided(stride=2)", "local(radius=1)"), "norm": "frn"},
    "cfbi+sst, features warped": {"profile": "cfbi+sst", "warped": "features"},
    "strict": {"profile": "strict", "warped": "features"},
    "strict, causal": {"profile": "strict+mask", "causal": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_encoder_and_evidence_are_those_of_the_equations(variant):
    changes = {"layers": ("local(radius=1)",) * 2, "history": 2, "width": 12, "encoding_base": 50.0} | VARIANTS[variant]
    network = lively("sst-tiny", **changes)
    masks = soft_masks(5)
    features, members, memory = carried(network, frames=5, masks=masks)
    expected, maps = encoded(network, features, members, now=4)
    shared, evidence = network.evidence(features[4], memory)
    whole = np.stack([expected[4, y, x] for y, x in cells(HEIGHT, WIDTH)], 1).reshape(-1, HEIGHT, WIDTH)
    near_single(shared[0], np.concatenate([numbers(features[4].embedding[0]), whole]))
    pair, scores = evidence_of(network, maps)
    if network.config.profile == "cfbi+sst":
        embeddings = [numbers(f.embedding[0]) for f in features]
        pair.append(np.stack([np.concatenate([embeddings[3] * m, embeddings[3] * (1 - m)]) for m in members[3]]))
        first, latest = ((embeddings[t], members[t].argmax(0)) for t in (0, 3))
        scores.append(nearest_maps(network.feature_matching, embeddings[4], [first], latest, RADII))
    near_single(evidence[0], np.concatenate([*pair, *scores], 1))
    if network.config.profile.startswith("strict"):
        assert evidence.shape[2] == 2 * network.config.heads * len(network.config.layers), "affinities and nothing else"
    affinities = np.concatenate([affinity.ravel() for affinity, _ in maps])
    assert len(np.unique(affinities.round(6))) > 100, "saturated affinities compare nothing"


def near_single(result, expected):
    """Positions are coded in single precision."""
    np.testing.assert_allclose(numbers(result), expected, rtol=2e-5, atol=2e-5)
