"""Group normalization where channels are last: PyTorch's own in float64, in the layout that convolutions go on with."""

import pytest
import torch
import torch.nn.functional as F

from sstlib.model.layers import GroupNorm, ResidualBlock, group_norm

SHAPES = [(1, 6, 5, 7), (2, 13, 31, 17), (2, 32, 23, 47)]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(shape, dtype, tolerance):
    groups = 1 if shape[1] == 13 else 2
    generator = torch.Generator().manual_seed(sum(shape))
    x, upstream = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    norm = GroupNorm(groups, shape[1])
    norm.weight.data, norm.bias.data = (torch.randn(shape[1], generator=generator) for _ in range(2))
    norm = norm.to(dtype)
    leaf = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    output = norm(leaf)
    assert output.dtype == dtype and output.is_contiguous(memory_format=torch.channels_last)
    computed = output.detach(), *torch.autograd.grad(output, (leaf, norm.weight, norm.bias), upstream)
    exact = [t.detach().double().requires_grad_() for t in (x, norm.weight, norm.bias)]
    truth = F.group_norm(exact[0], groups, *exact[1:])
    for value, expected in zip(computed, (truth.detach(), *torch.autograd.grad(truth, exact, upstream.double())),
                               strict=True):
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(value.double() / scale, expected / scale, rtol=tolerance, atol=tolerance)


def test_without_gradient_the_layout_stays():
    x = torch.randn(2, 16, 9, 11).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert group_norm(16)(x).is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_a_residual_block_starts_as_the_identity():
    x = torch.rand(2, 16, 5, 7)
    torch.testing.assert_close(ResidualBlock(16, 16, dilation=2)(x), x)


@pytest.mark.parametrize("channels, groups", [(16, 8), (12, 4), (13, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert group_norm(channels).num_groups == groups
