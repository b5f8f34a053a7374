"""The small decoder as loops over cells."""

import loops
import numpy as np
import pytest
import torch
from loops import numbers

from sstlib.config import named_model
from sstlib.decoder import build_decoder
from test_rival_oracles import near


def gated(x, gate, instance, background):
    """Channels times 1 + tanh of a linear map of what the object looks like, to which the background adds a code of its own."""
    code = numbers(gate.linear.weight) @ instance + numbers(gate.linear.bias) + (numbers(gate.background) if background else 0)
    return x * (1 + np.tanh(code))[:, None, None]


def decoded(decoder, low, shared, evidence, instance, background, factor, enlarge):
    """Logits of one object at stride 4."""
    x = loops.convolution(evidence, decoder.evidence) + loops.convolution(shared, decoder.shared)
    x = np.maximum(loops.group_norm(x, decoder.fuse_norm), 0)
    x = loops.residual_block(gated(x, decoder.gate8, instance, background), decoder.block8)
    around = loops.residual_block(x, decoder.down)
    around = loops.residual_block(gated(around, decoder.gate16, instance, background), decoder.block16)
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
    low, shared, evidence = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((6, *size), (4, 5, 7), (3, 7, 5, 7)))
    instance = torch.randn(2, 3, 12, dtype=torch.float64)
    found = decoder(low, shared, evidence, instance, torch.ones(2, 3, dtype=torch.bool))
    for clip in range(2):
        for o in range(3):
            given = (numbers(x) for x in (low[clip], shared[clip], evidence[clip, o], instance[clip, o]))
            near(found[clip, o], decoded(decoder, *given, o == 0, factor, enlarge))
