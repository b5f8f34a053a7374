"""Both decoders as loops over cells: from an object's evidence to its logits at stride 4."""

import loops
import numpy as np
import pytest
import torch
from loops import numbers
from test_rival_oracles import near

from sstlib.config import named_model
from sstlib.model.decoder import Ensembler, PresenceHead, build_decoder


def gated(x, gate, instance, background):
    """Channels times 1 + tanh of a linear map of what the object looks like, to which the background adds a code of
    its own.
    """
    code = numbers(gate.linear.weight) @ instance + numbers(
        gate.linear.bias) + (numbers(gate.background) if background else 0)
    return x * (1 + np.tanh(code))[:, None, None]


def decoded(decoder, low, shared, evidence, instance, background, factor, enlarge):
    """Logits of one object at stride 4."""
    x = loops.convolution(evidence, decoder.evidence) + loops.convolution(shared, decoder.shared)
    x = np.maximum(loops.group_norm(x, decoder.fuse_norm), 0)
    x = loops.residual_block(gated(x, decoder.gate8, instance, background), decoder.block8)
    around = loops.residual_block(loops.halved(x), decoder.down)
    around = loops.residual_block(gated(around, decoder.gate16, instance, background), decoder.block16, apart=2)
    x = loops.residual_block(x + loops.enlarged(loops.convolution(around, decoder.up), x.shape[1:], 2), decoder.join)
    x = enlarge(loops.convolution(x, decoder.fine), low.shape[1:], factor) + loops.convolution(low, decoder.low)
    x = gated(x, decoder.gate4, instance, background)
    before, _, convolution, after, _, last = decoder.sharpen
    x = loops.convolution(np.maximum(loops.group_norm(x, before), 0), convolution)
    return loops.convolution(np.maximum(loops.group_norm(x, after), 0), last)[0]


@pytest.mark.parametrize("changes, size, factor, enlarge", [
    ({}, (9, 13), 2, loops.enlarged),
    ({"backbone": "resnet18", "output_stride": 16}, (17, 25), 4, lambda x, size, factor: loops.stretched(x, size)),
])
@torch.no_grad()
def test_the_small_decoder_is_what_its_layers_make_of_each_object(changes, size, factor, enlarge):
    torch.manual_seed(0)
    config = named_model("sst-tiny").replace(embedding=3, decoder_width=16, **changes)
    decoder = build_decoder(config, 4, 2, 5, 6).double().eval()
    for parameter in decoder.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    low, shared, evidence = (
        torch.randn(2, *shape, dtype=torch.float64) for shape in ((6, *size), (4, 5, 7), (3, 7, 5, 7)))
    instance = torch.randn(2, 3, 12, dtype=torch.float64)
    result = decoder(low, shared, evidence, instance, torch.ones(2, 3, dtype=torch.bool))
    for clip in range(2):
        for o in range(3):
            given = (numbers(x) for x in (low[clip], shared[clip], evidence[clip, o], instance[clip, o]))
            near(result[clip, o], decoded(decoder, *given, o == 0, factor, enlarge))


def context_gated(x, gate):
    """Channels times 1 + tanh of how their energy compares with that of all (Yang et al., 2020)."""
    alpha, beta, gamma = (numbers(part).ravel() for part in (gate.alpha, gate.beta, gate.gamma))
    energy = alpha * np.sqrt((x ** 2).sum((1, 2)) + 1e-5)
    return x * (1 + np.tanh(gamma * energy / np.sqrt((energy ** 2).mean() + 1e-5) + beta))[:, None, None]


def rectified(x, layer, groups=32):
    return np.maximum(loops.group_norm(x, layer, groups), 0)


def bottleneck(x, block, stride, apart):
    """1x1, 3x3 and 1x1 behind a context gate, beside a shortcut that goes around the gate."""
    y = rectified(loops.convolution(context_gated(x, block.gate), block.conv1), block.bn1)
    y = rectified(loops.convolution(y, block.conv2, apart, stride), block.bn2)
    y = loops.group_norm(loops.convolution(y, block.conv3), block.bn3, 32)
    if stride > 1 or len(y) != len(x):
        convolution, norm = block.downsample
        x = loops.group_norm(loops.convolution(x, convolution, stride=stride), norm, 32)
    return np.maximum(x + y, 0)


def pyramid(x, aspp):
    """A 1x1 and three dilated 3x3 convolutions and the mean over all cells, joined by a 1x1."""
    parts = []
    for number, apart in enumerate((1, 6, 12, 18), 1):
        convolution, norm = [m for m in getattr(aspp, f"aspp{number}").modules() if hasattr(m, "weight")]
        parts.append(rectified(loops.convolution(x, convolution, apart), norm))
    _, convolution, norm, _ = aspp.global_avg_pool
    pooled = rectified(loops.convolution(x.mean((1, 2))[:, None, None], convolution), norm)
    parts.append(np.broadcast_to(pooled, (len(pooled), *x.shape[1:])))
    return rectified(loops.convolution(np.concatenate(parts), aspp.conv1), aspp.bn1)


# Stride and dilation of each bottleneck: stages at 4, 8 and 16
STAGES = [(1, 1), (1, 2), (2, 1), (1, 2), (1, 4), (2, 1), (1, 2), (1, 4)]


def ensembled(decoder, low, shared, evidence, instance, features):
    """The two logits of one object at stride 4: of its own inside, and of what it says of the background."""
    def gate(x, number):
        return gated(x, decoder.gates[number], instance, background=False)

    convolution, norm, _ = decoder.prehead
    maps = rectified(loops.convolution(evidence[features:], convolution), norm, 16)
    x = np.concatenate([shared, evidence[:features], maps])
    for number, (block, (stride, apart)) in enumerate(zip(decoder.blocks, STAGES, strict=True)):
        x = bottleneck(gate(x, number), block, stride, apart)
        fine = x if number == 1 else fine if number else None
    context, convolution, norm, _ = decoder.skip
    fine = rectified(
        loops.convolution(context_gated(np.concatenate([low, loops.stretched(fine, low.shape[1:])]), context),
                          convolution), norm, 16)
    x = np.concatenate([loops.stretched_smoothly(pyramid(gate(x, 8), decoder.aspp), low.shape[1:]), fine])
    for number, (convolution, norm, _) in enumerate(decoder.refine, 9):
        x = rectified(loops.convolution(gate(x, number), convolution), norm)
    weights = [numbers(linear.weight) @ instance + numbers(linear.bias) for linear in (decoder.inside, decoder.outside)]
    return [np.einsum("c,chw->hw", weight[:-1], x) + weight[-1] for weight in weights]


@pytest.mark.parametrize("size", [(5, 7), (9, 13)], ids=["features at stride 4", "at stride 8"])
@torch.no_grad()
def test_the_ensembler_is_what_its_layers_make_of_each_object(size):
    torch.manual_seed(0)
    decoder = Ensembler(4, 2, 5, 12, 6).double().eval()
    for parameter in decoder.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    low, shared, evidence = (
        torch.randn(1, *shape, dtype=torch.float64) for shape in ((6, *size), (4, 5, 7), (4, 7, 5, 7)))
    instance, known = torch.randn(1, 4, 12, dtype=torch.float64), torch.tensor([[True, True, False, True]])
    result = decoder(low, shared, evidence, instance, known)
    each = [
        ensembled(decoder, *map(numbers, (low[0], shared[0], evidence[0, o], instance[0, o])), features=2)
        for o in range(4)
    ]
    near(result[0, 0], each[0][0] + np.minimum(each[1][1], each[3][1]))
    for o in (1, 2, 3):
        near(result[0, o], each[o][0])
    near(decoder(low, shared, evidence[:, :1], instance[:, :1], known[:, :1])[0, 0], each[0][0])
    near(decoder(low, shared, evidence[:, [0, 2]], instance[:, [0, 2]], known[:, [0, 2]])[0, 0], each[0][0])


@torch.no_grad()
def test_presence_is_told_from_what_the_decoder_saw_and_made_of_each_object():
    torch.manual_seed(0)
    head = PresenceHead(3, compared=2, hidden=5).double()
    for parameter in head.parameters():
        parameter.add_(torch.randn_like(parameter))
    around, share, compared = (torch.randn(6, 3, 4, 5).double(), torch.rand(2, 3, 8, 10).double(),
                               torch.randn(2, 3, 2).double())
    result, without = head(around, share, compared), head(around, share)
    linear = lambda layer, x: numbers(layer.weight) @ x + numbers(layer.bias)
    for clip in range(2):
        for o in range(3):
            seen, shown = numbers(around[3 * clip + o]), numbers(share[clip, o])
            x = [*seen.mean((1, 2)), *seen.max((1, 2)), np.sqrt(shown.mean()), shown.max()]
            expected = linear(head.out, np.maximum(linear(head.hidden, x), 0))
            near(without[clip, o], expected)
            near(result[clip, o], expected + linear(head.compared, numbers(compared[clip, o])))
