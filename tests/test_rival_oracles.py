"""Each rival against its definition as loops over cells: what it keeps of a frame, and what it tells the decoder of
each object.
"""

import math

import loops
import numpy as np
import pytest
import torch
from loops import numbers, sigmoid

from sstlib.config import named_model
from sstlib.model import build
from sstlib.model.matching import RADII, FeatureMatching, ReferenceMatching, nearest

SIZE = (37, 51)  # 5 x 7 cells, 3 x 4 of them at half the resolution
OBJECTS = 3


def lively(name, **changes):
    """A network in float64 whose every weight matters and no score saturates."""
    torch.manual_seed(0)
    small = {"width": 8, "embedding": 6, "backbone_width": 8, "decoder_width": 8}
    network = build(named_model(name).replace(**small | changes)).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def soft_masks(frames, objects=OBJECTS, seed=2):
    """Memberships (1, object, height, width) a frame that sum to one, in which every object leads somewhere."""
    random = torch.Generator().manual_seed(seed)
    rough = 4 * torch.randn(frames, objects, 6, 8, generator=random, dtype=torch.float64)
    return list(torch.nn.functional.interpolate(rough, SIZE, mode="nearest").softmax(1).unsqueeze(1))


class Seen(torch.nn.Module):
    """Stands in a decoder's place and keeps what it is given."""

    def forward(self, low, shared, evidence, instance, known):
        self.given = tuple(numbers(x[0]) for x in (low, shared, evidence, instance, known))
        return torch.arange(evidence.shape[1] * low[0, 0].numel(),
                            dtype=low.dtype).view(1, evidence.shape[1], *low.shape[2:]).square().sin()


def pixels(frames):
    return torch.rand(frames, 1, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@torch.no_grad()
def carried(network, frames=4, given=None, masks=None):
    """The features of a clip, its cells' memberships, and the memory before its last frame.

    `given` are the objects, by frame, whose masks replace what was remembered of them; all, at the first."""
    masks = soft_masks(frames) if masks is None else masks
    features = [network.extract(frame) for frame in pixels(frames)]
    memory = None
    for t in range(frames - 1):
        memory = network.remember(memory, features[t], masks[t], given=(given or {}).get(t, ()))
    return features, [loops.blocks(numbers(m[0]), 8) for m in masks], memory


def near(result, expected):
    np.testing.assert_allclose(numbers(result) if torch.is_tensor(result) else result, expected, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_recurrence_is_a_gated_unit_of_each_object():
    network = lively("recurrent-tiny")
    features, masks, memory = carried(network)
    hidden = np.zeros((OBJECTS, 8, 5, 7))
    for t in range(3):
        embedding = numbers(features[t].embedding[0])
        for o in range(OBJECTS):
            seen = np.concatenate([embedding, masks[t][o:o + 1], 1 - masks[t][o:o + 1]])
            gates = sigmoid(loops.convolution(np.concatenate([seen, hidden[o]]), network.update))
            reset, update = gates[:8], gates[8:]
            fresh = np.tanh(loops.convolution(np.concatenate([seen, reset * hidden[o]]), network.candidate))
            hidden[o] = (1 - update) * hidden[o] + update * fresh
    near(memory.state["hidden"][0], hidden)
    shared, evidence = network.evidence(features[3], memory)
    embedding = numbers(features[3].embedding[0])
    near(shared[0], embedding)
    for o in range(OBJECTS):
        near(evidence[0, o], np.maximum(loops.convolution(np.concatenate([embedding, hidden[o]]), network.look), 0))


def stm_reading(network, masks, times, now):
    """What the frame `now` reads of each object in the frames `times`: softmax(q k / sqrt(channels)) over all of
    their cells.
    """
    coarse = [numbers(network.backbone(frame).coarse[0]) for frame in pixels(now + 1)]
    keys, views = ([loops.convolution(x, layer) for x in coarse] for layer in (network.key, network.seen))
    channels, height, width = keys[0].shape
    first, block = network.value
    values = {}
    for t in times:
        mask = loops.halved(masks[t])
        joined = [np.concatenate([views[t], mask[o:o + 1], 1 - mask[o:o + 1]]) for o in range(OBJECTS)]
        values[t] = [loops.residual_block(loops.convolution(x, first), block) for x in joined]
    read = np.zeros((OBJECTS, channels, height, width))
    places = [(t, y, x) for t in times for y, x in loops.cells(height, width)]
    for row, column in loops.cells(height, width):
        query = keys[now][:, row, column]
        weights = loops.softmax([query @ keys[t][:, y, x] / math.sqrt(channels) for t, y, x in places])
        for o in range(OBJECTS):
            read[o, :, row, column] = sum(weight * values[t][o][:, y, x] for weight, (t, y, x) in zip(weights, places))
    return views[now], read


@torch.no_grad()
@pytest.mark.parametrize("given", [0, 1])
def test_stm_reads_values_by_scaled_dense_attention(given):
    network, size = lively("stm-tiny"), (5, 7)
    features, masks, memory = carried(network, frames=5, given={given: [1, 2]})
    seen, read = stm_reading(network, masks, [given, 3], now=4)
    shared, evidence = network.evidence(features[4], memory)
    near(shared[0], np.concatenate([numbers(features[4].embedding[0]), loops.enlarged(seen, size, 2)]))
    near(evidence[0], loops.enlarged(read, size, 2))


def squashed(distance, bias):
    return 2 * (sigmoid(distance + bias) - 0.5)


def nearest_maps(matching, query, references, previous, radii, objects=OBJECTS):
    """CFBI's maps (object, 1 + radii, height, width): the nearest cell of each object in all references, and in
    windows before.
    """
    height, width = query.shape[1:]
    out = np.empty((objects, 1 + len(radii), height, width))
    for (row, column), o in ((cell, o) for cell in loops.cells(height, width) for o in range(objects)):
        bias = numbers(matching.background if o == 0 else matching.foreground)
        features = query[:, row, column]
        everywhere = [((features - keys[:, y, x])**2).sum() for keys, labels in references
                      for y, x in loops.cells(height, width) if labels[y, x] == o]
        out[o, 0, row, column] = squashed(min(everywhere, default=5e4), bias)
        for number, radius in enumerate(radii, 1):
            keys, labels = previous
            window = [((features - keys[:, y, x]) ** 2).sum() for y, x in loops.cells(height, width)
                      if labels[y, x] == o and max(abs(y - row), abs(x - column)) <= radius]
            out[o, number, row, column] = squashed(min(window, default=5e4), bias)
    others = np.stack([
        np.min([out[other] for other in range(objects) if other != o], 0) if objects > 1 else np.ones_like(out[o])
        for o in range(objects)
    ])
    return np.concatenate([out, others], 1)


def test_cfbi_tells_the_nearest_cell_of_each_object_and_of_all_others():
    network = lively("cfbi-tiny")
    matching = network.feature_matching
    with torch.no_grad():
        matching.background.fill_(0.4)
        matching.foreground.fill_(-0.3)
        features, masks, memory = carried(network, given={1: [1, 2]})
        shared, evidence = network.evidence(features[3], memory)
    embeddings, labels = [numbers(f.embedding[0]) for f in features], [m.argmax(0) for m in masks]
    near(shared[0], embeddings[3])
    for o in range(OBJECTS):
        near(evidence[0, o, :6], embeddings[2] * masks[2][o])
        near(evidence[0, o, 6:12], embeddings[2] * (1 - masks[2][o]))
    expected = nearest_maps(matching, embeddings[3], [(embeddings[1], labels[1])], (embeddings[2], labels[2]), RADII)
    near(evidence[0, :, 12:], expected)
    assert len(np.unique(expected.round(6))) > 100, "saturated maps compare nothing"


def test_windows_end_at_their_radius_and_each_object_has_its_own_bias():
    """On frames that are wider than the widest window, with few cells of each object, one of which is nowhere in the
    latest frame.
    """
    random = torch.Generator().manual_seed(5)
    query, first, latest = torch.rand(3, 1, 2, 3, 29, generator=random, dtype=torch.float64)
    matching = FeatureMatching(halved=False).double()
    with torch.no_grad():
        matching.background.fill_(0.5)
        matching.foreground.fill_(-0.7)
    labels = torch.zeros(2, 1, 3, 29, dtype=torch.long)
    labels[0, 0, 1, 2:5], labels[0, 0, 2, 20], labels[1, 0, 0, 13] = 1, 2, 1
    result = matching(query, [(first, labels[0])], (latest, labels[1]), OBJECTS)
    expected = nearest_maps(matching, numbers(query[0]), [(numbers(first[0]), labels[0, 0])],
                            (numbers(latest[0]), labels[1, 0]), range(2, 13, 2))
    near(result[0], expected)
    alone = matching(query, [(first, 0 * labels[0])], (latest, 0 * labels[1]), 1)
    assert torch.equal(alone[:, :, 7:], torch.ones_like(alone[:, :, 7:])), "where there is no other object, it is far"


def test_at_stride_4_windows_are_searched_on_every_second_cell():
    random = torch.Generator().manual_seed(6)
    query, latest = torch.rand(2, 1, 2, 9, 13, generator=random, dtype=torch.float64)
    labels = torch.randint(0, 2, (1, 9, 13), generator=random)
    matching = FeatureMatching(halved=True).double()
    with torch.no_grad():
        matching.foreground.fill_(-0.3)

    def every_second(x):
        """Cell i averaged with its neighbors 2 i - 1 and 2 i + 1 along both axes."""
        out = np.empty((len(x), 5, 7))
        for row, column in loops.cells(5, 7):
            out[:, row, column] = x[:, max(2 * row - 1, 0):2 * row + 2,
                                    max(2 * column - 1, 0):2 * column + 2].mean((1, 2))
        return out

    small = [every_second(numbers(x[0])) for x in (query, latest)]
    result = matching(query, [(latest, labels)], (latest, labels), 2)
    reference = (numbers(latest[0]), labels[0])
    expected = nearest_maps(matching, numbers(query[0]), [reference], reference, (), 2)
    near(result[0][:, [0, 7]], expected)
    distances = raw_windows(small[0], small[1], labels[0, ::2, ::2])
    biases = [numbers(matching.background), numbers(matching.foreground)]
    near(result[0][:, 1:7], np.stack([squashed(loops.stretched(distances[o], (9, 13)), biases[o]) for o in range(2)]))


def raw_windows(query, keys, labels, objects=2):
    """Least squared distances (object, radius, height, width), before they are squashed."""
    height, width = query.shape[1:]
    out = np.empty((objects, len(RADII), height, width))
    for (row, column), o, (number, radius) in (
        (c, o, r) for c in loops.cells(height, width) for o in range(objects) for r in enumerate(RADII)):
        out[o, number, row, column] = min(
            (((query[:, row, column] - keys[:, y, x])**2).sum() for y, x in loops.cells(height, width)
             if labels[y, x] == o and max(abs(y - row), abs(x - column)) <= radius), default=5e4)
    return out


def test_equally_near_keys_and_many_queries_change_nothing():
    random = torch.Generator().manual_seed(7)
    query, keys = torch.rand(1, 2, 1031, generator=random,
                             dtype=torch.float64), torch.rand(1, 2, 7, generator=random, dtype=torch.float64)
    labels = torch.tensor([[0, 1, 1, 0, 2, 2, 1]])
    result = nearest(query, torch.cat([keys, keys], 2), torch.cat([labels, labels], 1), OBJECTS)
    for o in range(OBJECTS):
        for n in (0, 500, 1023, 1024, 1030):
            near(result[0, o, n],
                 min(float(((query[0, :, n] - keys[0, :, m])**2).sum()) for m in range(7) if labels[0, m] == o))


def matched(cosines, sharpness, memberships):
    """Maps of one cell: what softmax reads of each object's memberships, its best likeness, and both for the others."""
    weights = loops.softmax([sharpness * c for c in cosines])
    read = [sum(w * m for w, m in zip(weights, members)) for members in memberships]
    best = [max((1 + c) / 2 * m for c, m in zip(cosines, members)) for members in memberships]
    return [[read[o], best[o],
             sum(read) - read[o],
             max((b for other, b in enumerate(best) if other != o), default=0)] for o in range(len(read))]


@pytest.mark.parametrize("objects", [1, 2, 4])
@torch.no_grad()
def test_matching_with_references_is_attention_by_cosine(objects):
    torch.manual_seed(0)
    matching = ReferenceMatching(4).double()
    matching.sharpness.fill_(3.0)
    coarse_cells, references = torch.randn(1, 4, 11, 13,
                                           dtype=torch.float64), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    memberships = torch.rand(1, objects, 30, dtype=torch.float64)
    keys = torch.cat([k.flatten(1) for k in matching.keys(references)], 1)[None]
    result = matching(matching.keys(coarse_cells), keys, memberships)
    unit = [loops.convolution(numbers(x), matching.key) for x in (coarse_cells[0], *references)]
    unit = [x / np.sqrt((x ** 2).sum(0)) for x in unit]
    stored = [k[:, y, x] for k in unit[1:] for y, x in loops.cells(3, 5)]
    for row, column in loops.cells(11, 13):
        cosines = [float(unit[0][:, row, column] @ key) for key in stored]
        near(result[0, :, :, row, column], matched(cosines, 3.0, numbers(memberships[0])))


@pytest.mark.parametrize("name", ["recurrent-tiny", "stm-tiny", "cfbi-tiny", "sst-tiny"])
@torch.no_grad()
def test_what_the_decoder_is_told_beside_the_evidence(name):
    """The latest masks and their complements, matching with the references, and each object's mean embeddings in both
    kinds of frames.

    Object 2 joins at frame 2: from then on it and the background are known from there, object 1 from frame 0; what a
    reference shows of others belongs to nobody, and its cells that are mostly nobody's match nothing.
    """
    network = lively(name, matching="reference")
    network.decoder = Seen()
    masks = soft_masks(5)
    masks[0][:, 0] += masks[0][:, 2]
    masks[0][:, 2] = 0
    for t in (1, 3):
        masks[t][:, 2] *= 0.5
    features, members, memory = carried(network, frames=5, given={2: [2]}, masks=masks)
    evidence = numbers(network.evidence(features[4], memory)[1][0])
    logits = network.segment(features[4], memory)
    low, shared, inputs, instance, known = network.decoder.given
    near(low, numbers(features[4].low[0]))
    assert known.tolist() == [True, True, True]
    channels = evidence.shape[1]
    near(inputs[:, :channels], evidence)
    near(inputs[:, channels], members[3])
    near(inputs[:, channels + 1], 1 - members[3])
    units = [numbers(f.derived["match"][0]) for f in features]
    shown = {
        0: loops.halved(members[0] * np.reshape([0, 1, 0], (3, 1, 1))),
        2: loops.halved(members[2] * np.reshape([1, 0, 1], (3, 1, 1)))
    }
    stored = [units[t][:, y, x] * (shown[t][:, y, x].sum() >= 0.5) for t in shown for y, x in loops.cells(3, 4)]
    assert 0 < sum(not key.any() for key in stored) < len(stored)
    weights = np.concatenate([share.reshape(OBJECTS, -1) for share in shown.values()], 1)
    maps = np.empty((OBJECTS, 4, 3, 4))
    for row, column in loops.cells(3, 4):
        maps[:, :, row, column] = matched([float(units[4][:, row, column] @ key) for key in stored],
                                          float(network.matching.sharpness), weights)
    near(inputs[:, channels + 2:], loops.enlarged(maps, (5, 7), 2))
    near(instance, pooled([numbers(f.embedding[0]) for f in features], members, given=(2, 0, 2), latest=3))
    scores = numbers(network.decoder(features[4].low, *(torch.zeros(1, OBJECTS),) * 4)[0])
    near(logits[0], loops.enlarged(scores, SIZE, 4))


def pooled(embeddings, members, given, latest):
    """Mean embeddings in and outside of each object, in the frame in which it was given, then in the latest frame."""
    rows = []
    for o in range(OBJECTS):
        row = []
        for t in (given[o], latest):
            for weigh in (lambda m: m, lambda m: 1 - m):
                total, area = np.zeros(len(embeddings[0])), 0.0
                for y, x in loops.cells(*members[t].shape[1:]) if members[t][o].any() else ():
                    total += weigh(members[t][o, y, x]) * embeddings[t][:, y, x]
                    area += weigh(members[t][o, y, x])
                row.append(total / (area + 1e-5))
        rows.append(np.concatenate(row))
    return np.stack(rows)


@torch.no_grad()
def test_cells_of_a_centered_backbone_lie_on_every_sixteenth_pixel_and_logits_on_every_fourth():
    torch.manual_seed(0)
    changes = {"backbone": "resnet18", "output_stride": 16, "backbone_norm": "group"}
    network = build(named_model("cfbi-tiny").replace(**changes)).eval()
    network.decoder = Seen()
    masks = torch.rand(1, OBJECTS, 33, 49)
    first, second = (network.extract(frame) for frame in torch.rand(2, 1, 3, 33, 49))
    memory = network.remember(None, first, masks)
    near_single = lambda result, expected: np.testing.assert_allclose(numbers(result), numbers(expected), atol=1e-5)
    near_single(memory.recent[0].memberships, masks[..., ::16, ::16])
    decoded = network.decoder(second.low, *(torch.zeros(1, OBJECTS),) * 4)
    near_single(network.segment(second, memory)[..., ::4, ::4], decoded)


@torch.no_grad()
def test_an_object_that_was_never_given_has_no_chance():
    network = lively("cfbi-tiny")
    network.decoder = Seen()
    masks = soft_masks(3)
    masks[0][:, 1] = 0
    features, _, memory = carried(network, frames=3, masks=masks)
    logits = network.segment(features[2], memory)
    assert network.decoder.given[4].tolist() == [True, False, True]
    assert (logits[:, 1] == -20).all() and (logits[:, [0, 2]] > -2).all()


@torch.no_grad()
def test_each_object_stays_in_the_latest_frame_in_which_it_was_given():
    network = lively("cfbi-tiny")
    features, masks, memory = network.extract(pixels(1)[0]), soft_masks(8), None
    stored = {}
    for t, mask in enumerate(masks):
        memory = network.remember(memory, features, mask, given={3: [1], 5: [2], 6: [1]}.get(t, ()))
        stored[t] = [(frame.time, [o for o, holds in enumerate(frame.held) if holds]) for frame in memory.references]
    assert stored[2] == [(0, [0, 1, 2])]
    assert stored[4] == [(0, [2]), (3, [0, 1])]
    assert stored[5] == [(3, [1]), (5, [0, 2])]
    assert stored[7] == [(5, [2]), (6, [0, 1])]
    assert [frame.time for frame in memory.recent] == [7]
