"""The channels-last group normalization against PyTorch's own in float64."""

import pytest
import torch
import torch.nn.functional as F

from sstlib import group_norm, native
from sstlib.group_norm import GroupNorm

SHAPES = [(1, 6, 5, 7), (3, 8, 1, 1), (2, 13, 31, 17), (2, 32, 23, 47)]  # one block of cells and several


def problem(shape, dtype, offset=0.0):
    generator = torch.Generator().manual_seed(sum(shape))
    x = (torch.randn(shape, generator=generator) + offset).to(dtype).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(shape, generator=generator).to(dtype), *(torch.randn(shape[1], generator=generator) for _ in range(2))


def expected(x, upstream, weight, bias, groups, residual=False, relu=False):
    leaves = [t.double().contiguous().requires_grad_() for t in (x, weight, bias, *[x.flip(0)] * residual)]
    y = F.group_norm(leaves[0], groups, *leaves[1:3]) + (leaves[3] if residual else 0)
    y = y.relu() if relu else y
    return y.detach(), *torch.autograd.grad(y, leaves, upstream.double())


def computed(x, upstream, weight, bias, groups, residual=False, relu=False):
    norm = GroupNorm(groups, x.shape[1], relu)
    norm.weight.data, norm.bias.data = weight, bias
    leaves = [t.detach().requires_grad_() for t in (x, *[x.flip(0)] * residual)]
    y = norm(*leaves)
    assert y.dtype == x.dtype and y.is_contiguous(memory_format=torch.channels_last)
    return y.detach(), *torch.autograd.grad(y, (leaves[0], norm.weight, norm.bias, *leaves[1:]), upstream)


needs_library = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")


@needs_library
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(shape, dtype, tolerance):
    groups = 1 if shape[1] == 13 else 2
    given = problem(shape, dtype)
    if shape[-1] * shape[1] // groups == 4:
        tolerance = max(tolerance, 1e-4)  # few values a group: a deviation near 0 multiplies rounding
    for found, truth in zip(computed(*given, groups), expected(*given, groups), strict=True):
        scale = truth.abs().max().clamp(min=1)
        torch.testing.assert_close(found.double() / scale, truth / scale, rtol=tolerance, atol=tolerance)


@needs_library
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("residual", [False, True])
def test_addition_and_relu_go_along(residual, dtype, tolerance):
    given = problem((2, 32, 23, 47), dtype)
    for found, truth in zip(computed(*given, 4, residual, True), expected(*given, 4, residual, True), strict=True):
        scale = truth.abs().max()
        wrong = (found.double() - truth).abs() > tolerance * scale
        assert wrong.double().mean() < (1e-3 if dtype == torch.bfloat16 else 1e-6)  # rounding may carry a value across ReLU's corner


@needs_library
def test_a_mean_far_from_zero_keeps_its_digits():
    given = problem((2, 8, 29, 31), torch.float32, offset=1000.0)
    torch.testing.assert_close(computed(*given, 4)[0].double(), expected(*given, 4)[0], rtol=1e-3, atol=1e-3)


@needs_library
def test_any_number_of_threads_gives_the_same_bits():
    given, before = problem((2, 16, 41, 43), torch.float32), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(computed(*given, 8))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@needs_library
def test_the_operators_are_sound_for_compile_and_autograd():
    x, upstream, weight, bias = problem((2, 6, 5, 7), torch.float32)
    x, weight, bias = (t.requires_grad_() for t in (x, weight, bias))
    for residual, relu in ((None, False), (x.detach().flip(0).requires_grad_(), True)):
        torch.library.opcheck(group_norm.normalize, (x, weight, bias, residual, 2, 1e-5, relu))
        y, mean, inverse, affine = group_norm.normalize(x, weight, bias, residual, 2, 1e-5, relu)
        saved = (x.detach(), y.detach() if relu else None, None, weight.detach(), mean, inverse)
        torch.library.opcheck(group_norm.normalize_backward, (upstream, *saved, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_compiler_pytorch_computes_the_same(dtype, monkeypatch):
    given = problem((2, 8, 9, 11), dtype)
    monkeypatch.setattr(group_norm, "_library", lambda: None)
    for found, truth in zip(computed(*given, 4, True), expected(*given, 4, True), strict=True):
        torch.testing.assert_close(found.double(), truth, rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=5e-2 if dtype == torch.bfloat16 else 1e-4)
