"""Convolution blocks without gradients against PyTorch's own, in float64 and with gradients; and when they are not
taken.
"""

import copy

import pytest
import torch
import torch.nn.functional as F

from sstlib.config import named_model
from sstlib.model import build, unroll
from sstlib.model.backbone import SmallBackbone
from sstlib.model.decoder import SmallDecoder
from sstlib.model.fast import convolution
from sstlib.model.fast.convolution import (
    Convolution3,
    Pending,
    convolved,
    fits,
    halved,
    normalized,
    rectified,
    summed,
)
from sstlib.model.layers import ResidualBlock, group_norm

needs_kernels = pytest.mark.skipif(convolution.library() is None, reason="no C++ compiler here")
SIZES = [(1, 1, 1), (2, 3, 23), (1, 29, 5), (3, 4, 8), (2, 37, 41)]  # batch, height, width


def image(batch: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Anything but centered: convolutions meet the outputs of ReLU."""
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, channels, height, width, generator=random) +
            1.5).contiguous(memory_format=torch.channels_last)


def lively(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def near(result: torch.Tensor, exact: torch.Tensor, share: float = 1e-5) -> None:
    """Equal up to a share of the largest value, which is how rounding of sums goes."""
    torch.testing.assert_close(result.double(), exact.double(), rtol=0, atol=share * float(exact.abs().max()))


@needs_kernels
@pytest.mark.parametrize("batch, height, width", SIZES)
@pytest.mark.parametrize("inputs, outputs, dilation", [(16, 16, 1), (70, 64, 1), (33, 48, 2), (17, 32, 3), (96, 16, 2)])
@torch.no_grad()
def test_winograd_is_the_convolution(batch, height, width, inputs, outputs, dilation):
    torch.manual_seed(0)
    layer, x = Convolution3(inputs, outputs, dilation), image(batch, inputs, height, width)
    assert fits(x, layer)
    exact = F.conv2d(x.double(), layer.weight.double(), padding=dilation, dilation=dilation)
    result, moments = convolved(layer, x)
    near(result, exact)
    assert torch.equal(layer(x.contiguous()), result) and result.is_contiguous(memory_format=torch.channels_last)
    near(moments.double().sum(1), torch.stack([exact.sum((2, 3)), exact.square().sum((2, 3))], 1))
    affine = torch.randn(batch, 2, inputs)
    before = F.relu(x * affine[:, 0, :, None, None] + affine[:, 1, :, None, None])
    near(
        convolved(layer, Pending(x, affine))[0],
        F.conv2d(before.double(), layer.weight.double(), padding=dilation, dilation=dilation))


@needs_kernels
@pytest.mark.parametrize("batch, height, width", SIZES)
@torch.no_grad()
def test_normalization_to_come_is_group_normalization(batch, height, width):
    torch.manual_seed(0)
    norm, x, other = lively(group_norm(48)), image(batch, 48, height, width), image(batch, 48, height, width, 1)
    exact = F.group_norm(x.double(), norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
    near(halved(normalized(norm, x)), F.avg_pool2d(F.relu(exact), 2, ceil_mode=True))
    near(halved(x), F.avg_pool2d(x, 2, ceil_mode=True))
    near(halved(x[:, :23]), F.avg_pool2d(x[:, :23], 2, ceil_mode=True))
    near(rectified(normalized(norm, x.clone())), F.relu(exact))
    near(rectified(normalized(norm, x.clone()), other), F.relu(exact + other))


@needs_kernels
@torch.no_grad()
def test_what_is_the_same_everywhere_is_normalized_to_the_bias():
    """Its variance is 0, and rounding must not make it less."""
    norm = lively(group_norm(48))
    for level in torch.linspace(10, 100, 50):
        result = rectified(normalized(norm, level.expand(1, 48, 5, 7)))
        torch.testing.assert_close(result, F.relu(norm.bias).view(1, 48, 1, 1).expand_as(result), rtol=0, atol=0.1)


@needs_kernels
@torch.no_grad()
def test_a_convolution_to_one_channel_is_nine_shifted_sums():
    torch.manual_seed(0)
    layer, x = torch.nn.Conv2d(32, 1, 3, padding=1), image(2, 32, 7, 11)
    near(summed(layer, x), layer(x))


@pytest.fixture(params=["halved", "dilated", "backbone", "narrow backbone", "decoder"])
def blocks(request):
    """A module of each kind that has a way of its own without gradients, and its input."""
    torch.manual_seed(0)
    if request.param == "decoder":
        inputs = (torch.rand(2, 48, 23, 37), torch.randn(2, 24, 12, 19), torch.randn(2, 3, 20, 12, 19),
                  torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool))
        return lively(SmallDecoder(24, 20, 8, 48, 32)), inputs
    if "backbone" in request.param:  # the narrow one has some channels that fill no vectors
        return lively(SmallBackbone(8 if "narrow" in request.param else 32, 48)), (torch.rand(2, 3, 61, 94),)
    return lively(ResidualBlock(32, 48, request.param == "halved",
                                1 + (request.param == "dilated"))), (image(2, 32, 13, 22),)


@needs_kernels
def test_blocks_without_gradients_give_what_they_give_with_them(blocks, monkeypatch):
    module, inputs = blocks
    with_gradients = module(*inputs)
    calls, taken = [], convolution.library().convolve
    monkeypatch.setattr(convolution.library(), "convolve", lambda *arguments: (calls.append(1), taken(*arguments)))
    with torch.no_grad():
        without = module(*inputs)
    lanes = convolution.library().lanes()
    assert len(calls) == sum(
        isinstance(m, Convolution3) and m.in_channels >= lanes and m.out_channels % lanes == 0
        for m in module.modules())
    for result, expected in zip(*((x if isinstance(x, tuple) else (x,)) for x in (without, with_gradients))):
        near(result, expected.detach())


@needs_kernels
@torch.no_grad()
def test_any_number_of_threads_and_any_batch_give_the_same_bits():
    torch.manual_seed(0)
    block, x = lively(ResidualBlock(32, 64, dilation=2)), image(3, 32, 45, 61)
    expected = block(x)
    assert all(torch.equal(block(x[b:b + 1]), expected[b:b + 1]) for b in range(3))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(block(x), expected)
    finally:
        torch.set_num_threads(threads)


@needs_kernels
def test_filters_follow_the_weights():
    torch.manual_seed(0)
    layer, x = Convolution3(16, 16), image(1, 16, 9, 13)

    def check(module):
        with torch.no_grad():
            near(module(x), F.conv2d(x, module.weight, padding=1))

    check(layer)
    transformed = layer.transformed
    check(layer)
    assert layer.transformed is transformed
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    layer(x).sum().backward()
    optimizer.step()
    check(layer)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.mul_(-1)
    check(other)
    check(layer)
    layer.load_state_dict(other.state_dict())
    check(layer)
    assert list(layer.state_dict()) == ["weight"]
    with torch.inference_mode():
        inside = Convolution3(16, 16)
        near(inside(x), F.conv2d(x, inside.weight, padding=1))
        inside.weight.mul_(2)
        near(inside(x), F.conv2d(x, inside.weight, padding=1))


def test_kernels_are_left_out_where_they_cannot_do_it(monkeypatch):
    layer, x = Convolution3(16, 16), image(1, 16, 9, 13)
    assert not fits(x, layer)  # a gradient is wanted
    assert not fits(x.clone().requires_grad_(), copy.deepcopy(layer).requires_grad_(False))
    with torch.no_grad():
        usable = convolution.library() is not None
        assert fits(x, layer) == usable
        assert not fits(x.double(), layer) and not fits(x.to("meta"), layer) and not fits(x, Convolution3(
            16, 17)) and not fits(x, Convolution3(3, 16)) and not fits(x, copy.deepcopy(layer).double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not fits(x, layer) and layer(x).dtype == torch.bfloat16
        monkeypatch.setattr(convolution, "library", lambda: None)
        assert not fits(x, layer)
        near(layer(x), F.conv2d(x, layer.weight, padding=1))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_a_trace_computes_what_is_put_into_it():
    layer, x, other = Convolution3(16, 16), image(1, 16, 9, 13), image(1, 16, 9, 13, 1)
    near(torch.jit.trace(layer, x)(other), layer(other))


@needs_kernels
@torch.no_grad()
def test_a_network_segments_alike_without_the_kernels(monkeypatch):
    torch.manual_seed(0)
    network = lively(build(named_model("sst-small"))).eval()
    frames, masks = torch.rand(1, 4, 3, 61, 94), torch.rand(1, 3, 61, 94).softmax(1)
    fast = unroll(network, frames, masks).softmax(2)
    monkeypatch.setattr(convolution, "library", lambda: None)
    torch.testing.assert_close(fast, unroll(network, frames, masks).softmax(2), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(0, 16, 4, 6), (2, 16, 0, 6), (2, 16, 4, 0)])
def test_nothing_is_left_to_pytorch(shape):
    """The kernels divide by the number of cells, which ended the interpreter."""
    assert not fits(torch.zeros(shape), Convolution3(16, 16), torch.nn.GroupNorm(4, 16))


@torch.no_grad()
def test_a_batch_of_no_frames_has_features():
    features = build(named_model("sst-small")).eval().extract(torch.zeros(0, 3, 48, 80))
    assert features.embedding.shape[0] == 0 and features.embedding.shape[2:] == (6, 10)
