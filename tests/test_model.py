"""What must hold of every method whatever its weights: batches, objects, memory, and SST's cached and partial
computations.
"""

from unittest import mock

import pytest
import torch

from sstlib import weights
from sstlib.config import MODELS, ModelConfig, named_model
from sstlib.model import build, own_memberships, unroll
from sstlib.model.memory import pool_instances
from sstlib.model.propagator import ABSENT, Propagator

METHODS = {name: config for name, config in MODELS.items() if name.endswith("-tiny")}
TINY = named_model("sst-tiny")
SST_VARIANTS = {
    "plain": TINY,
    "causal": TINY.replace(causal=True),
    "reference kept": TINY.replace(keep_reference=True, history=1),
    "reference kept, causal": TINY.replace(keep_reference=True, history=1, causal=True),
    "matching": TINY.replace(matching="reference", encoding_time="buffer"),
    "centered, landmarks, presence": TINY.replace(matching="centered", landmarks=2, landmark_every=2, presence=True),
    "frn, weight": TINY.replace(norm="frn", affinity="weight"),
    "features warped": TINY.replace(warped="features", causal=True),
    "cfbi+sst": TINY.replace(profile="cfbi+sst"),
    "grid, strided": TINY.replace(layers=("grid", "strided(stride=3)", "dense"), scaled=True),
}
SIZE = (37, 53)


def lively(config: ModelConfig, seed: int = 0):
    """A network whose every weight matters: freshly built ones have blocks that start as the identity."""
    torch.manual_seed(seed)
    network = build(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def clip(batch: int = 2, time: int = 5, objects: int = 3, seed: int = 1):
    """Random frames and memberships of every frame, hard and in rectangles."""
    random = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, time, 3, *SIZE, generator=random)
    labels = torch.zeros(batch, time, *SIZE, dtype=torch.long)
    for b in range(batch):
        for t in range(time):
            for o in range(1, objects):
                y, x = torch.randint(0, 25, (2,), generator=random).tolist()
                labels[b, t, y:y + 11, x:x + 17] = o
    return frames, torch.nn.functional.one_hot(labels, objects).permute(0, 1, 4, 2, 3).float()


@pytest.fixture(params=[*METHODS, *SST_VARIANTS])
def network(request):
    """Every tiny method and every option of SST."""
    return lively({**METHODS, **SST_VARIANTS}[request.param])


@torch.no_grad()
def test_two_clips_are_twice_one(network):
    frames, truth = clip()
    both = unroll(network, frames, truth[:, 0])
    assert both.shape == (2, 4, 3, *SIZE)
    for b in range(2):
        torch.testing.assert_close(unroll(network, frames[b:b + 1], truth[b:b + 1, 0]), both[b:b + 1], rtol=1e-4,
                                   atol=1e-4)


@torch.no_grad()
def test_objects_permuted_are_masks_permuted(network):
    frames, truth = clip(objects=4)
    # No cell is shared evenly
    truth = (6 * truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))).softmax(2)
    order = [0, 3, 1, 2]
    masks = unroll(network, frames, truth[:, 0], truth)
    torch.testing.assert_close(unroll(network, frames, truth[:, 0, order], truth[:, :, order]), masks[:, :, order],
                               rtol=1e-4, atol=1e-4)
    assert (masks - masks[:, :, order]).abs().max() > 1e-3


@torch.no_grad()
def test_a_network_saved_and_loaded_gives_the_same_bits(network, tmp_path):
    frames, truth = clip(batch=1, time=3)
    loaded = weights.load(weights.save(network, tmp_path / "network.safetensors"))
    assert torch.equal(unroll(loaded, frames, truth[:, 0]), unroll(network, frames, truth[:, 0]))


@torch.no_grad()
def test_half_precision_stays_near(network):
    frames, truth = clip(batch=1, time=3)
    exact = unroll(network, frames, truth[:, 0]).softmax(2)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = unroll(network, frames, truth[:, 0]).float().softmax(2)
    assert 0 < (rounded - exact).abs().mean() < 0.02


@torch.no_grad()
def test_an_absent_object_changes_nothing(network):
    frames, truth = clip()
    more = torch.cat([truth, torch.zeros_like(truth[:, :, :1])], 2)
    masks = unroll(network, frames, truth[:, 0], truth)
    padded = unroll(network, frames, more[:, 0], more)
    torch.testing.assert_close(padded[:, :, :3], masks, rtol=1e-4, atol=1e-4)
    assert (padded[:, :, 3] == ABSENT).all()


@torch.no_grad()
def test_an_object_may_join_and_leave(network):
    frames, truth = clip(batch=1)
    seen = [network.extract(frames[:, t]) for t in range(4)]
    first = truth[:, 0, :2].clone()
    first[:, 0] = 1 - first[:, 1]
    memory = network.remember(None, seen[0], first)
    assert network.segment(seen[1], memory).shape == (1, 2, *SIZE)
    joined = network.remember(memory, seen[1], truth[:, 1], given=True)
    logits = network.segment(seen[2], joined)
    assert logits.shape == (1, 3, *SIZE) and (logits[:, 2] != ABSENT).all()
    left = network.remember(joined, seen[2], truth[:, 2]).select([0, 2])
    assert network.segment(seen[3], left).shape == (1, 2, *SIZE)
    for frame in left.recent:
        torch.testing.assert_close(frame.memberships.sum(1), torch.ones_like(frame.memberships[:, 0]))
    with pytest.raises(ValueError, match="2 objects were given to a memory of 3"):
        network.remember(joined, seen[2], first)


@torch.no_grad()
def test_memory_stays_bounded(network):
    def size(memory):
        remaining = {id(r): r for r in (*memory.references, *memory.recent)}.values()
        return sum(x.numel() for r in remaining for x in (r.memberships, *r.content.values(), *r.objects.values()))

    frames, truth = clip(batch=1, time=2)
    features = network.extract(frames[:, 0])
    memory, sizes = None, []
    for t in range(30):
        memory = network.remember(memory, features, truth[:, 0], given=t % 3 == 0)
        features.encoded = None
        sizes.append(size(memory))
    assert max(sizes[-15:]) == max(sizes) == max(sizes[-4:]) and memory.time == 30


def test_every_weight_learns(network):
    frames, truth = clip(batch=1)
    logits = unroll(network, frames, truth[:, 0], truth)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), truth[:, 1:].flatten(0, 1)).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.count_nonzero()]
    assert not idle


@pytest.mark.parametrize("variant", [name for name, config in SST_VARIANTS.items() if not config.causal])
@torch.no_grad()
def test_the_last_layer_for_the_current_frame_alone_equals_all_frames(variant):
    network = lively(SST_VARIANTS[variant])
    frames, truth = clip()
    memory = None
    for t in range(3):
        memory = network.remember(memory, network.extract(frames[:, t]), truth[:, t])
    features = network.extract(frames[:, 3])
    logits = network.segment(features, memory)
    last = network.layers[-1]
    alone = last.forward

    def for_all_frames(x, key, value, memberships, labels):
        assert x.shape[1] == 1
        y, *evidence = alone(whole, key, value, memberships, labels)
        return y[:, -1:], *evidence

    whole = network.extract(frames[:, 3]).derived["tokens"]
    buffer = torch.cat([*(r.content["tokens"] for r in network.buffer(memory)), whole], 1)
    whole = buffer + network._positions([r.time for r in network.buffer(memory)] + [memory.time], buffer)
    seen = torch.stack([r.memberships for r in network.buffer(memory)], 2)
    memberships = torch.cat([seen, torch.zeros_like(seen[:, :, :1])], 2)
    labels = torch.cat([seen.argmax(1), torch.full_like(seen[:, 0, :1], -1, dtype=torch.long)], 1)
    for layer in network.layers[:-1]:
        whole, *_ = layer(whole, *layer.keys_and_values(whole), memberships, labels)
    last.forward = for_all_frames
    features.encoded = None
    torch.testing.assert_close(network.segment(features, memory), logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cached_causal_mode_equals_the_whole_clip_under_a_sliding_causal_mask():
    network = lively(TINY.replace(causal=True, history=2))
    frames, truth = clip(batch=1, time=6)
    features = [network.extract(frames[:, t]) for t in range(6)]
    memory, stepped = None, []
    for t in range(6):
        stepped.append(network.encode(features[t], memory)[0])
        memory = network.remember(memory, features[t], truth[:, t])
    x = torch.cat([f.derived["tokens"] for f in features], 1)
    x = x + network._positions(list(range(6)), x)
    height, width = x.shape[2:4]
    ago = torch.arange(6).repeat_interleave(height * width)
    ago = ago[:, None] - ago[None]
    from sstlib.connectivity import Local
    mask = Local(radius=2).mask(6, height, width) & (ago >= 0) & (ago <= 2)
    for layer in network.layers:
        key, value = (part.flatten(2, 4) for part in layer.keys_and_values(x))
        scores = layer.heads(layer.query(x)).flatten(2, 4) @ key.transpose(2, 3)
        read = (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).unflatten(2, x.shape[1:4])
        x = layer.norm1(x + layer.out(read.permute(0, 2, 3, 4, 1, 5).flatten(-2)))
        x = layer.norm2(x + layer.feedforward(x))
    for t in range(6):
        torch.testing.assert_close(stepped[t], x[:, t].permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_history_is_what_the_current_frame_sees():
    frames, truth = clip(batch=1, time=6)
    other = frames.clone()
    other[:, 1] = 1 - other[:, 1]
    for history, same in ((1, True), (2, True), (4, False)):
        network = lively(TINY.replace(history=history, causal=False))
        a, b = (unroll(network, f, truth[:, 0], truth)[:, -1] for f in (frames, other))
        assert torch.equal(a, b) == same


@torch.no_grad()
def test_unroll_feeds_back_its_own_masks_or_the_teachers():
    network = lively(TINY)
    frames, truth = clip(batch=1, time=4)
    free, taught = unroll(network, frames, truth[:, 0]), unroll(network, frames, truth[:, 0], truth)
    torch.testing.assert_close(free[:, 0], taught[:, 0])
    assert (free[:, 1] - taught[:, 1]).abs().max() > 1e-4
    own = torch.stack([truth[:, 0], *(own_memberships(free[:, t]) for t in range(3))], 1)
    torch.testing.assert_close(unroll(network, frames, truth[:, 0], own), free)


def test_sizes_that_differ_are_refused():
    network = lively(TINY)
    frames, truth = clip(batch=1, time=2)
    with pytest.raises(ValueError, match=r"\(20, 53\) pixels, the frame \(37, 53\)"):
        network.remember(None, network.extract(frames[:, 0]), truth[:, 0, :, :20])


def test_a_clip_that_begins_later_counts_its_frames_from_there():
    network = lively(TINY)
    frames, truth = clip(batch=1, time=2)
    memory = network.remember(None, network.extract(frames[:, 0]), truth[:, 0], start=7)
    later = network.remember(memory, network.extract(frames[:, 1]), truth[:, 1])
    assert [memory.time, memory.recent[-1].time, later.time, later.recent[-1].time] == [8, 7, 9, 8]


@torch.no_grad()
def test_the_first_keys_of_a_causal_clip_that_begins_later_are_of_its_number():
    """They were of frame 0, as far before the next one as the clip begins late."""
    network = lively(TINY.replace(causal=True))
    frames, truth = clip(batch=1, time=1)
    features = network.extract(frames[:, 0])
    for start in (0, 7):
        tokens = features.derived["tokens"]
        key, value = network.layers[0].keys_and_values(tokens + network._positions([start], tokens))
        content = network.remember(None, features, truth[:, 0], start=start).recent[0].content
        torch.testing.assert_close((content["key0"], content["value0"]), (key, value))
    assert network._positions([start], tokens.bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_what_is_left_of_a_given_frame_is_seen_where_no_recent_one_is():
    network = lively(TINY.replace(causal=True, keep_reference=True, history=1))
    frames, truth = clip(batch=1, time=4)
    memory = None
    for t in range(3):
        features = network.extract(frames[:, t])
        memory = network.remember(memory, features, truth[:, t])
    assert [frame.time for frame in network.buffer(memory)] == [0, 2]
    assert [frame.time for frame in network.buffer(memory.forget([1]))] == [0]
    assert network.encode(features, memory) is network.encode(features, memory), "a frame is encoded once"


def test_keys_start_as_queries():
    """So that attention is a similarity of cells before anything is learned."""
    for layer in build(TINY).layers:
        assert torch.equal(layer.key.weight, layer.query.weight) and torch.equal(layer.key.bias, layer.query.bias)


@pytest.mark.parametrize("method", ["sst", "recurrent", "stm"])
def test_the_strict_profile_alone_leaves_the_previous_mask_out(method):
    """And its complement."""
    with torch.device("meta"):
        strict, masked = (build(named_model(f"{method}-tiny").replace(profile=profile)).decoder.evidence.in_channels
                          for profile in ("strict", "strict+mask"))
    assert masked == strict + 2


@pytest.mark.parametrize("hard", [False, True])
def test_masks_that_are_fed_back_have_no_gradient(hard):
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    own = own_memberships(logits, hard)
    assert not own.requires_grad and hard == (set(own.unique().tolist()) == {0, 1})
    assert torch.equal(own.argmax(1), logits.argmax(1)) and own.sum(1).allclose(torch.ones(()))


@pytest.mark.parametrize("length", [1, 5, 23, 27, 480, 854])
def test_a_fitting_side_is_the_nearest_whose_cells_reach_the_border(length):
    centered, other = (mock.Mock(centered=one) for one in (True, False))
    assert Propagator.fitting(centered, length) == min(range(17, 1000, 16), key=lambda side: abs(side - length))
    assert Propagator.fitting(other, length) == length


def test_embeddings_are_summed_in_and_outside_of_objects_and_not_at_all_of_absent_ones():
    embedding, memberships = torch.rand(2, 3, 2, 5), torch.rand(2, 3, 2, 5)
    memberships[1, 2] = 0  # absent from the second clip
    expected = torch.zeros(2, 3, 2, 4)  # the last is the area
    for b, o, y, x in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 5))).tolist():
        inside, cell = memberships[b, o, y, x], torch.cat([embedding[b, :, y, x], torch.ones(1)])
        if (b, o) != (1, 2):
            expected[b, o] += torch.stack([inside * cell, (1 - inside) * cell])
    torch.testing.assert_close(pool_instances(embedding, memberships), expected)
