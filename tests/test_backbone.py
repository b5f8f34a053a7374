"""Backbones: sizes, names and wiring against independent formulas, where cells lie, and how published weights are
loaded.
"""

import hashlib

import loops
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sstlib.config import named_model
from sstlib.model import build
from sstlib.model.backbone import SmallBackbone
from sstlib.model.layers import FilterResponseNorm, upsample
from sstlib.model.resnet import ASPP, DEPTHS, FrozenBatchNorm, ResNet, ResNetFeatures
from sstlib.weights.published import load_pretrained

# torchvision's parameter counts less those of the classifier
COUNTS = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032, "resnet101": 42_500_160}


@pytest.mark.parametrize("name", COUNTS)
def test_resnets_have_torchvision_s_names_and_counts(name):
    with torch.device("meta"):
        state = ResNet(name).state_dict()
    assert sum(v.numel() for k, v in state.items() if "running" not in k) == COUNTS[name]
    last = "conv3" if name in ("resnet50", "resnet101") else "conv2"
    expected = {
        "conv1.weight", "bn1.running_var", f"layer3.{DEPTHS[name][2] - 1}.{last}.weight",
        "layer2.0.downsample.0.weight", "layer4.0.downsample.1.running_mean", "layer4.1.bn2.bias"
    }
    assert expected <= set(state)
    assert ("layer1.0.downsample.0.weight" in state) == (last == "conv3")


def reference_resnet(state: dict[str, torch.Tensor], name: str, image: torch.Tensor) -> torch.Tensor:
    """torchvision's ResNet (stride 32) written down once more, from the names of its parameters alone."""
    def norm(x, key):
        return F.batch_norm(x, *(state[f"{key}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    x = F.max_pool2d(F.relu(norm(F.conv2d(image, state["conv1.weight"], stride=2, padding=3), "bn1")), 3, 2, 1)
    for stage, depth in enumerate(DEPTHS[name], 1):
        for number in range(depth):
            key, y = f"layer{stage}.{number}", x
            strided = 2 if stage > 1 and number == 0 else 1
            convolutions = 3 if f"{key}.conv3.weight" in state else 2
            for i in range(1, convolutions + 1):
                weight = state[f"{key}.conv{i}.weight"]
                stride = strided if i == (2 if convolutions == 3 else 1) else 1
                y = norm(F.conv2d(y, weight, stride=stride, padding=weight.shape[-1] // 2), f"{key}.bn{i}")
                y = F.relu(y) if i < convolutions else y
            if f"{key}.downsample.0.weight" in state:
                x = norm(F.conv2d(x, state[f"{key}.downsample.0.weight"], stride=strided), f"{key}.downsample.1")
            x = F.relu(x + y)
    return x


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@torch.no_grad()
def test_resnet_without_dilation_is_torchvision_s(name):
    torch.manual_seed(0)
    network = ResNet(name, output_stride=32)
    for key, value in network.state_dict().items():
        value.copy_(
            torch.rand_like(value) +
            0.5 if "running_var" in key else value if value.dim() > 1 else torch.randn_like(value))
    image = torch.randn(1, 3, 65, 97)
    expected = reference_resnet(network.state_dict(), name, image)
    torch.testing.assert_close(network(image)[1], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("stride, dilations", [(8, [1, 2, (4, 8, 16)]), (16, [1, 1, (2, 4, 8)]), (32, [1, 1,
                                                                                                       (1, 1, 1)])])
def test_dilation_keeps_the_output_stride(stride, dilations):
    with torch.device("meta"):
        network = ResNet("resnet101", stride)
        low, deep = network(torch.empty(1, 3, 465, 849))
    assert low.shape == (1, 256, 117, 213)
    cells = {8: (59, 107), 16: (30, 54), 32: (15, 27)}[stride]
    assert deep.shape == (1, 2048, *cells)
    assert [network.layer2[1].conv2.dilation[0], network.layer3[1].conv2.dilation[0]] == dilations[:2]
    assert tuple(block.conv2.dilation[0] for block in network.layer4) == dilations[2]


@pytest.mark.parametrize("size, low, deep", [((465, 465), (117, 117), (30, 30)), ((481, 849), (121, 213), (31, 54))])
def test_shape_trace_of_the_paper_s_backbone(size, low, deep):
    with torch.device("meta"):
        network = build(named_model("sst-r101-paper"))
        result = network.backbone.backbone(torch.empty(1, 3, *size))
        features = network.extract(torch.empty(1, 3, *size))
    assert result[1].shape == (1, 2048, *deep)
    assert network.backbone.aspp(result[1]).shape == (1, 256, *deep)
    assert features.low.shape == (1, 256, *low) and features.embedding.shape == (1, 100, *low)
    assert features.derived["tokens"].shape == (1, 1, *low, 64)


def test_frozen_batch_norm_is_batch_norm_in_evaluation_and_never_trains():
    frozen, norm = FrozenBatchNorm(5), torch.nn.BatchNorm2d(5).eval()
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = torch.rand(5) + 0.5
        getattr(frozen, name).copy_(value)
        getattr(norm, name).data.copy_(value)
    x = torch.randn(2, 5, 3, 7)
    torch.testing.assert_close(frozen.train()(x), norm(x))
    assert not list(frozen.parameters())


@pytest.mark.parametrize("last", [False, True])
@torch.no_grad()
def test_filter_response_norm_is_its_formula(last):
    norm = FilterResponseNorm(5, threshold=True, last=last)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x = 1e-3 * (torch.randn(2, 3, 4, 7, 5) if last else torch.randn(2, 5, 4, 7))  # so that the 1e-6 counts
    y = norm(x)
    gain, bias, threshold = (p.flatten() for p in (norm.gain, norm.bias, norm.threshold))
    for c in range(5):
        cells = x[1, 2, :, :, c] if last else x[1, c]
        expected = cells / cells.square().mean().add(1e-6).sqrt() * gain[c] + bias[c]
        torch.testing.assert_close(y[1, 2, :, :, c] if last else y[1, c], expected.clamp(min=float(threshold[c])))


@pytest.mark.parametrize("height, width", [(37, 53), (16, 24), (1, 3), (65, 8)])
def test_small_backbone_covers_every_pixel(height, width):
    network = SmallBackbone(8, 16)
    low, embedding, coarse = network(torch.rand(2, 3, height, width))
    for level, stride, channels in zip((low, embedding, coarse), (4, 8, 16), network.channels):
        assert level.shape == (2, channels, -(-height // stride), -(-width // stride))


@torch.no_grad()
def test_an_odd_frame_is_seen_as_if_its_last_row_and_column_were_there_twice():
    network, frame = SmallBackbone(8, 16), torch.rand(1, 3, 37, 53)
    twice = frame[..., [*range(37), 36], :][..., [*range(53), 52]]
    torch.testing.assert_close(network(frame), network(twice))


def test_enlarging_puts_cells_back_where_they_were():
    ramp = torch.arange(40.0).expand(1, 1, 33, 40) + 3 * torch.arange(33.0)[:, None]
    blocks = F.avg_pool2d(ramp, 4, ceil_mode=True)
    back = upsample(blocks, (33, 40), 4)
    torch.testing.assert_close(back[..., 2:28, 2:-2], ramp[..., 2:28, 2:-2])
    centered = torch.arange(41.0).expand(1, 1, 33, 41) + 3 * torch.arange(33.0)[:, None]
    torch.testing.assert_close(upsample(centered[..., ::4, ::4], (33, 41), centered=True), centered)


def test_published_weights_load_by_name_from_file_and_url(tmp_path, monkeypatch):
    torch.manual_seed(0)
    source, target = ResNet("resnet18", norm="frozen"), ResNetFeatures("resnet18", 8, 16, "frozen")
    state = {f"module.{k}": v for k, v in source.state_dict().items()
             } | {"module.fc.weight": torch.zeros(2), "module.bn1.num_batches_tracked": torch.tensor(1)}
    path = tmp_path / "published.pth"
    torch.save({"state_dict": state}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    load_pretrained(target, path, digest)
    for key, value in source.state_dict().items():
        assert torch.equal(target.backbone.state_dict()[key], value)
    monkeypatch.setattr("sstlib.paths.CACHE", tmp_path / "cache")
    load_pretrained(ResNet("resnet18"), path.as_uri(), digest[:8])
    assert [p.name for p in (tmp_path / "cache" / "pretrained").iterdir()] == ["published.pth"]
    with pytest.raises(ValueError, match="a checksum is needed"):
        load_pretrained(ResNet("resnet18"), path.as_uri())
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        load_pretrained(target, path, digest)
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        load_pretrained(target, tmp_path / "nowhere.pth")


def test_deeplab_weights_fill_backbone_and_neck_and_leave_the_head_alone(tmp_path):
    torch.manual_seed(0)
    source, target = (ResNetFeatures("resnet18", 4, 16, "frozen") for _ in range(2))
    state = {k: v for k, v in source.state_dict().items() if not k.startswith("embed.")}
    head = target.embed[0].weight.clone()
    torch.save({"model": state | {"decoder.last_conv.8.weight": torch.zeros(21, 256, 1, 1)}}, tmp_path / "deeplab.pth")
    load_pretrained(
        target, f"{tmp_path / 'deeplab.pth'}#{hashlib.sha256((tmp_path / 'deeplab.pth').read_bytes()).hexdigest()}")
    assert all(torch.equal(target.state_dict()[key], value) for key, value in state.items())
    assert torch.equal(target.embed[0].weight, head)
    with pytest.raises(ValueError, match="SHA-256"):
        load_pretrained(target, f"{tmp_path / 'deeplab.pth'}#{'0' * 64}")
    torch.save(state | {"aspp.extra": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit ResNetFeatures: unexpected aspp.extra"):
        load_pretrained(target, tmp_path / "other.pth")


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path):
    torch.save(ResNet("resnet18").state_dict(), tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"does not fit ResNet: .*missing layer1\.2\.conv1\.weight"):
        load_pretrained(ResNet("resnet34"), tmp_path / "small.pth")
    state = ResNet("resnet18").state_dict()
    torch.save(state | {"conv1.weight": state["conv1.weight"][:, :, :5]}, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"ResNet: conv1.weight is \(64, 3, 5, 7\), expected \(64, 3, 7, 7\)$"):
        load_pretrained(ResNet("resnet18"), tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="text.pth is no file of tensors"):
        load_pretrained(ResNet("resnet18"), tmp_path / "text.pth")


@torch.no_grad()
def test_pyramid_pooling_joins_its_branches():
    torch.manual_seed(0)
    pyramid = ASPP(6, 4, 3, 5, (2, 3), "frozen").eval()
    x = torch.randn(2, 6, 7, 11)
    parts = [F.conv2d(x, pyramid.aspp1.atrous_conv.weight)]
    parts += [
        F.conv2d(x, branch.atrous_conv.weight, padding=rate, dilation=rate)
        for branch, rate in ((pyramid.aspp2, 2), (pyramid.aspp3, 3))
    ]
    parts.append(F.conv2d(x.mean((2, 3), keepdim=True), pyramid.global_avg_pool[1].weight).expand(-1, -1, 7, 11))
    scale = (1 + 1e-5) ** -0.5
    joined = F.conv2d(torch.cat([F.relu(part * scale) for part in parts], 1), pyramid.conv1.weight)
    torch.testing.assert_close(pyramid(x), F.relu(joined * scale))


@torch.no_grad()
def test_at_stride_4_the_neck_is_deeplab_s_over_stride_16():
    torch.manual_seed(0)
    network, image = ResNetFeatures("resnet18", 4, 8, "group").eval(), torch.rand(1, 3, 33, 49)
    low, deep = network.backbone(network.normalize(image))
    assert low.shape[2:] == (9, 13) and deep.shape[2:] == (3, 4)
    pyramid, decoder, embed = network.aspp, network.decoder, network.embed
    assert [getattr(pyramid, f"aspp{n}").atrous_conv.dilation[0] for n in (1, 2, 3, 4)] == [1, 6, 12, 18]
    assert pyramid.dropout.p == 0.1
    rectified = lambda x, groups: F.relu(F.group_norm(x, groups))
    wide = torch.from_numpy(loops.stretched(pyramid(deep).numpy(), (9, 13))).float()
    x = torch.cat([wide, rectified(F.conv2d(low, decoder.conv1.weight), 8)], 1)
    for number in (0, 4):
        x = rectified(F.conv2d(x, decoder.last_conv[number].weight, padding=1), 8)
    x = rectified(F.conv2d(x, embed[0].weight, embed[0].bias, padding=1, groups=256), 32)
    x = rectified(F.conv2d(x, embed[3].weight, embed[3].bias), 2)  # four channels a group
    levels = network(image)
    assert torch.equal(levels.low, low)
    torch.testing.assert_close(levels.embedding, x, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(levels.coarse, loops.halved(levels.embedding.numpy()), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_mean_of_a_frame_passes_a_pyramid_of_response_norms():
    """Which would leave nothing but signs of a single cell."""
    pooled = ASPP(6, 4, 64, 5, (2,), "frn").global_avg_pool(torch.randn(1, 6, 3, 5))
    assert ((pooled > 0.1) & (pooled < 0.9)).sum() > 5


def test_convolutions_of_a_resnet_start_spread_by_their_fan_out():
    deviation = ResNet("resnet18", norm="group").layer2[0].conv1.weight.std().item()
    assert deviation == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
