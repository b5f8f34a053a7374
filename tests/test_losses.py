"""Losses against their definitions, written as loops."""

import pytest
import torch

from sstlib.training import losses


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 5, 7), generator=generator)
    labels[0, 0, :2] = labels[1, :2] = 255
    return logits, labels


def test_cross_entropy_is_of_valid_pixels_only_and_weighs_images_alike(scene):
    logits, labels = scene
    means = []
    for image in range(2):
        each = [-logits[image, :, y, x].log_softmax(0)[labels[image, y, x]]
                for y in range(5) for x in range(7) if labels[image, y, x] != 255]
        means.append(sum(each) / len(each))
    torch.testing.assert_close(losses.segmentation_loss(logits, labels), sum(means) / 2)


@pytest.mark.parametrize("jaccard", [0.0, 1.0])
def test_an_image_of_void_alone_costs_nothing(scene, jaccard):
    logits, labels = scene
    labels[1] = 255
    alone = losses.segmentation_loss(logits[:1], labels[:1], jaccard=jaccard)
    torch.testing.assert_close(losses.segmentation_loss(logits, labels, jaccard=jaccard), alone / 2)


@pytest.mark.parametrize("share, count", [(0.3, 10), (0.001, 1)])
def test_bootstrapping_keeps_the_hardest_pixels_of_each_image(scene, share, count):
    logits, labels = scene
    hardest = []
    for image in range(2):
        each = [-logits[image, :, y, x].log_softmax(0)[labels[image, y, x]]
                for y in range(5) for x in range(7) if labels[image, y, x] != 255]
        hardest += sorted(each, reverse=True)[:count]
    torch.testing.assert_close(losses.segmentation_loss(logits, labels, share), torch.stack(hardest).mean())


def test_soft_jaccard_of_certain_masks_is_one_minus_jaccard():
    labels = torch.tensor([[[0, 1, 1, 1], [0, 0, 2, 255]]])
    predicted = torch.tensor([[[0, 0, 1, 1], [0, 0, 2, 1]]])
    logits = 1000.0 * torch.nn.functional.one_hot(predicted, 4).permute(0, 3, 1, 2).double()
    # object 1: 2 of 3 pixels, the void one aside; object 2: perfect; object 3 is not in the frame and does not count
    expected = ((1 - 2 / 3) + (1 - 1)) / 2
    torch.testing.assert_close(losses.segmentation_loss(logits, labels, jaccard=1.0).item(), expected)


def test_a_frame_without_objects_has_no_jaccard_term():
    logits = torch.randn(1, 2, 3, 5, requires_grad=True)
    losses.segmentation_loss(logits, torch.zeros(1, 3, 5, dtype=torch.long), jaccard=1.0).backward()
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_share_outside_its_range_is_refused(scene, share):
    with pytest.raises(ValueError, match="share"):
        losses.segmentation_loss(*scene, share=share)


def test_presence_is_judged_by_what_is_seen_and_how_well():
    """Two clips of three frames and two objects; object 2 of the second clip is not in its first frame."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, 3, 4, 6), generator=generator)
    labels[0, 1][labels[0, 1] == 1] = 0  # hidden
    labels[1, 0][labels[1, 0] == 2] = 1
    labels[1, 2, 0] = 255
    logits = 4 * torch.nn.functional.one_hot(labels[:, 1:] % 255, 3).permute(0, 1, 4, 2, 3).double() + torch.randn(
        2, 2, 3, 4, 6, generator=generator)
    logits[1, 1, 2] += 9  # claims all
    presence = torch.randn(2, 2, 3, 2, generator=generator).double()
    result = []
    for clip in range(2):
        for frame in range(2):
            for o in (1, 2) if clip == 0 else (1,):
                truth, valid = labels[clip, frame + 1] == o, labels[clip, frame + 1] != 255
                claimed = (logits[clip, frame].argmax(0) == o) & valid
                union = int((truth | claimed).sum())
                similarity = int((truth & claimed).sum()) / union if union else 1.0
                for question, answer in enumerate((bool(truth.any()), similarity >= 0.5)):
                    probability = torch.sigmoid(presence[clip, frame, o, question])
                    result.append((-torch.log(probability if answer else 1 - probability), question, answer))
    assert {(q, a) for _, q, a in result} >= {(0, True), (0, False), (1, True), (1, False)}
    expected = sum(loss for loss, _, _ in result) / (len(result) / 2)
    torch.testing.assert_close(losses.presence_loss(presence, logits, labels).double(), expected, rtol=1e-5, atol=0)


def test_a_mask_is_as_good_in_void_as_elsewhere():
    """One pixel of object 1 and void around it, all of which the mask claims: its J is 1."""
    labels = torch.tensor([[[[1, 1, 0, 0]], [[1, 255, 255, 255]]]])
    logits = torch.tensor([-5.0, 5.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 1, 4)
    assert losses.presence_loss(torch.full((1, 1, 2, 2), 20.0), logits, labels) < 1e-6
    labels[:, 0] = 0
    assert losses.presence_loss(torch.randn(1, 1, 2, 2), logits, labels) == 0, "nobody is asked about"
