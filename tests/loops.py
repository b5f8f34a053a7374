"""Parts of the networks as loops over cells in float64: what tests hold the methods' own code against.

Written from the paper's formulas. Arrays are (channels, height, width), or (object, channels, height, width).
"""

import math

import numpy as np


def numbers(tensor):
    return tensor.detach().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(scores):
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]


def cells(height, width):
    return [(y, x) for y in range(height) for x in range(width)]


def convolution(x, layer, apart=1, stride=1):
    """The kernel lies centered on every `stride`-th cell, its own cells `apart` from each other; outside of the
    picture is 0.
    """
    weight, bias = numbers(layer.weight), 0 if layer.bias is None else numbers(layer.bias)
    (_, height, width), side = x.shape, weight.shape[2]
    out = np.zeros((len(weight), -(-height // stride), -(-width // stride)))
    for row, column in cells(*out.shape[1:]):
        out[:, row, column] = bias
        for j, i in cells(side, side):
            y, z = stride * row + apart * (j - side // 2), stride * column + apart * (i - side // 2)
            if 0 <= y < height and 0 <= z < width:
                out[:, row, column] += weight[:, :, j, i] @ x[:, y, z]
    return out


def group_norm(x, layer, groups=None):
    """Eight groups of channels, as far as they divide into so many, unless it is said how many."""
    weight, bias, out = numbers(layer.weight), numbers(layer.bias), np.empty_like(x)
    each = len(x) // (groups or math.gcd(len(x), 8))
    for c in range(len(x)):
        group = x[c // each * each:(c // each + 1) * each]
        out[c] = (x[c] - group.mean()) / math.sqrt(group.var() + layer.eps) * weight[c] + bias[c]
    return out


def residual_block(x, block, apart=1):
    """relu(skip + norm(conv(relu(norm(conv))))); the second convolution may be dilated."""
    y = np.maximum(group_norm(convolution(x, block.conv1), block.norm1), 0)
    skip = convolution(x, block.skip) if hasattr(block.skip, "weight") else x
    return np.maximum(group_norm(convolution(y, block.conv2, apart), block.norm2) + skip, 0)


def halved(x):
    """Means of blocks of two by two cells, of what there is of them at the far border."""
    return blocks(x, 2)


def blocks(x, side):
    height, width = (-(-n // side) for n in x.shape[-2:])
    out = np.empty((*x.shape[:-2], height, width))
    for row, column in cells(height, width):
        out[..., row, column] = x[..., side * row:side * (row + 1), side * column:side * (column + 1)].mean((-2, -1))
    return out


def between(x, row, column):
    """The value at a place between cells, by the four around it; beyond the border as at the border."""
    height, width = x.shape[-2:]
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = int(row), int(column)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = row - top, column - left
    return ((1 - v) * ((1 - u) * x[..., top, left] + u * x[..., top, right])
            + v * ((1 - u) * x[..., down, left] + u * x[..., down, right]))


def enlarged(x, size, factor):
    """Cells that are blocks of `factor` pixels: pixel p lies at cell (p + 1/2) / factor - 1/2."""
    out = np.empty((*x.shape[:-2], *size))
    for row, column in cells(*size):
        out[..., row, column] = between(x, (row + 0.5) / factor - 0.5, (column + 0.5) / factor - 0.5)
    return out


def stretched(x, size):
    """Cells that are points, the first and last of which lie on those of the result."""
    steps = [(old - 1) / (new - 1) for old, new in zip(x.shape[-2:], size)]
    out = np.empty((*x.shape[:-2], *size))
    for row, column in cells(*size):
        out[..., row, column] = between(x, row * steps[0], column * steps[1])
    return out


def stretched_smoothly(x, size):
    """As `stretched`, by Keys' cubic with a = -0.75 through sixteen cells; the border is repeated."""
    def weigh(d):
        d = abs(d)
        return 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

    height, width = x.shape[-2:]
    steps = [(old - 1) / (new - 1) for old, new in zip((height, width), size)]
    out = np.zeros((*x.shape[:-2], *size))
    for row, column in cells(*size):
        y, z = row * steps[0], column * steps[1]
        for j, i in cells(4, 4):
            v, u = int(y) + j - 1, int(z) + i - 1
            out[..., row, column] += weigh(y - v) * weigh(z - u) * x[...,
                                                                     min(max(v, 0), height - 1),
                                                                     min(max(u, 0), width - 1)]
    return out


def best_of_others(scores):
    """For each object of (object, ...) the largest value of another; 0 where there is no other."""
    out = np.zeros_like(scores)
    for o in range(len(scores)):
        for place in np.ndindex(scores.shape[1:]):
            others = [scores[other][place] for other in range(len(scores)) if other != o]
            out[o][place] = max(others) if others else 0
    return out


def dice(prediction, truth):
    """Of two masks, by their pixels."""
    return 2 * float((prediction & truth).sum()) / float(prediction.sum() + truth.sum())
