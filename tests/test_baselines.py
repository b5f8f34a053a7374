"""Rivals and matching: nearest cells against brute force, gradients of the minimum, and what each memory holds."""

import pytest
import torch

from sstlib.config import named_model
from sstlib.model import build
from sstlib.model.baselines import STM
from sstlib.model.matching import (
    FAR,
    RADII,
    FeatureMatching,
    ReferenceMatching,
    best_other,
    nearest,
    nearest_in_windows,
)

OBJECTS = 3


def cells(height: int = 7, width: int = 29, channels: int = 4, seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    query, keys = torch.randn(2, 2, channels, height, width, generator=random, dtype=torch.float64)
    labels = torch.randint(-1, 2, (2, height, width), generator=random)  # object 2 is nowhere
    return query, keys, labels


def test_nearest_is_the_minimum_over_all_keys_of_the_object():
    query, keys, labels = cells()
    query.requires_grad_()
    keys.requires_grad_()
    result = nearest(query.flatten(2), keys.flatten(2), labels.flatten(1), OBJECTS)
    distance = (query.flatten(2)[..., :, None] - keys.flatten(2)[..., None, :]).square().sum(1)
    for o in range(2):
        expected = distance.masked_fill((labels.flatten(1) != o)[:, None], torch.inf).amin(2)
        torch.testing.assert_close(result[:, o], expected)
        for got, want in zip(torch.autograd.grad(result[:, o].sum(), (query, keys), retain_graph=True),
                             torch.autograd.grad(expected.sum(), (query, keys), retain_graph=True)):
            torch.testing.assert_close(got, want)
    assert (result[:, 2] == FAR).all()


def test_nearest_in_windows_is_the_minimum_within_each_radius():
    query, keys, labels = cells()
    result = nearest_in_windows(query, keys, labels, OBJECTS)
    y, x = torch.meshgrid(torch.arange(7), torch.arange(29), indexing="ij")
    apart = torch.maximum((y.flatten()[:, None] - y.flatten()).abs(), (x.flatten()[:, None] - x.flatten()).abs())
    distance = (query.flatten(2)[..., :, None] - keys.flatten(2)[..., None, :]).square().sum(1)
    for number, radius in enumerate(RADII):
        for o in range(OBJECTS):
            out = (labels.flatten(1) != o)[:, None] | (apart > radius)
            expected = distance.masked_fill(out, torch.inf).amin(2).clamp(max=FAR).view(2, 7, 29)
            torch.testing.assert_close(result[:, o, number], expected)


@pytest.mark.parametrize("objects", [2, 3, 5])
def test_best_other_is_the_largest_of_the_other_objects(objects):
    scores = torch.randn(2, objects, 3, 7)
    others = torch.stack([torch.cat([scores[:, :o], scores[:, o + 1:]], 1).amax(1) for o in range(objects)], 1)
    torch.testing.assert_close(best_other(scores), others)
    assert best_other(scores[:, :1]).count_nonzero() == 0


@pytest.mark.parametrize("halved", [False, True])
@torch.no_grad()
def test_feature_matching_is_zero_on_itself_and_one_where_an_object_is_nowhere(halved):
    _, keys, labels = cells()
    keys, labels = keys.float(), labels.clamp(min=0)
    labels[:, :, 10:] = 0
    maps = FeatureMatching(halved)(keys, [(keys, labels), (keys + 9, labels)], (keys, labels), OBJECTS)
    assert maps.shape == (2, OBJECTS, 14, 7, 29) and FeatureMatching.maps == 14
    own = labels == 1
    assert maps[:, 1, 0][own].max() < 1e-4
    assert maps[:, 1, 7][own].min() > 0
    assert (maps[:, 2, :7] == 1).all()
    torch.testing.assert_close(maps[:, 0, 7:], torch.minimum(maps[:, 1, :7], maps[:, 2, :7]))
    assert (maps[:, 1, 1:6] >= maps[:, 1, 2:7] - 1e-6).all()


@pytest.mark.parametrize("name, halved", [("cfbi-r101", True), ("sst-r101-cfbi", True), ("cfbi-tiny", False)])
def test_windows_are_searched_at_half_the_resolution_where_cells_are_of_4_pixels(name, halved):
    with torch.device("meta"):
        assert build(named_model(name)).feature_matching.halved == halved


@torch.no_grad()
def test_reference_matching_reads_the_reference_mask():
    torch.manual_seed(0)
    matching = ReferenceMatching(6)
    matching.sharpness.fill_(200.0)
    keys = matching.keys(torch.randn(1, 6, 5, 7))
    memberships = torch.nn.functional.one_hot(torch.randint(0, 3, (1, 35)), 3).permute(0, 2, 1).float()
    maps = matching(keys, keys.flatten(2), memberships)
    torch.testing.assert_close(maps[:, :, 0].flatten(2), memberships, atol=1e-2, rtol=0)
    torch.testing.assert_close(maps[:, :, :1] + maps[:, :, 2:3], torch.ones_like(maps[:, :, :1]))
    assert (maps[:, :, 1].flatten(2)[memberships > 0] > 1 - 1e-5).all()


@torch.no_grad()
def test_stm_keeps_the_given_every_fifth_and_the_latest_frame():
    network = build(named_model("stm-tiny")).eval()
    features = network.extract(torch.rand(1, 3, 33, 49))
    masks = torch.zeros(1, 3, 33, 49)
    masks[:, 1, 4:20, 6:30] = masks[:, 2, 22:30, 6:30] = 1
    masks[:, 0] = 1 - masks[:, 1] - masks[:, 2]
    memory = None
    for t in range(64):
        memory = network.remember(memory, features, masks, given=[1] if t == 3 else ())
    assert [r.time for r in memory.recent] == [25, 30, 35, 40, 45, 50, 55, 60, 63]
    assert len(memory.recent) == STM.CAPACITY + 1
    assert [r.time for r in memory.references] == [0, 3]


@torch.no_grad()
def test_recurrence_carries_a_state_that_depends_on_all_frames():
    torch.manual_seed(0)
    network = build(named_model("recurrent-tiny")).eval()
    masks = torch.zeros(1, 2, 33, 49)
    masks[:, 1, 4:20, 6:30] = 1
    masks[:, 0] = 1 - masks[:, 1]
    seen = [network.extract(torch.rand(1, 3, 33, 49)) for _ in range(4)]

    def hidden(order):
        memory = None
        for t in order:
            memory = network.remember(memory, seen[t], masks)
        return memory.state["hidden"], len(memory.recent)

    (a, count), (b, _) = hidden([0, 1, 2, 3]), hidden([0, 2, 1, 3])
    assert count == 1 and (a - b).abs().max() > 1e-5
