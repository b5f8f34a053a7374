"""What finds an object again: centered matching, landmarks that do not grow in number, and what is told of its
presence.
"""

import pytest
import torch
import torch.nn.functional as F

from sstlib import weights
from sstlib.config import DataConfig, ModelConfig, RunConfig, TrainingConfig, named_model
from sstlib.model import build, unroll
from sstlib.model.matching import ReferenceMatching
from sstlib.model.memory import Remembered
from sstlib.model.presence import FADE, RETURN, followed, unlikeness
from sstlib.model.propagator import unroll_all
from sstlib.training import train
from sstlib.training.start import first_network, freeze

TINY = named_model("sst-tiny")
FULL = TINY.replace(matching="centered", landmarks=2, landmark_every=3, presence=True)


def fresh(config, seed=0):
    torch.manual_seed(seed)
    return build(config).eval()


def one_object(time=12, size=(32, 48)):
    frames = torch.rand(1, time, 3, *size, generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(time, *size, dtype=torch.long)
    for t in range(time):
        labels[t, 8:20, 6 + t:20 + t] = 1
    return frames, F.one_hot(labels, 2).permute(0, 3, 1, 2).float()[None]


def test_centered_keys_start_as_the_features_less_their_mean():
    matching = ReferenceMatching(130, centered=True, landmarks=True)
    assert matching.sharpness == matching.landmark_sharpness == 10
    coarse = torch.randn(2, 130, 4, 5)
    expected = (coarse - coarse.mean((2, 3), keepdim=True))[:, :112]
    torch.testing.assert_close(matching.keys(coarse), expected / expected.square().sum(1, keepdim=True).sqrt())
    shifted = matching.keys(coarse + 10 * torch.randn(1, 130, 1, 1))
    torch.testing.assert_close(shifted, matching.keys(coarse), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_landmarks_are_the_latest_of_every_so_many_frames():
    network = fresh(FULL)
    frames, truth = one_object()
    memory = None
    for t in range(12):
        features = network.extract(frames[:, t])
        memory = network.remember(memory, features, truth[:, t])
        assert [mark.time for mark in memory.landmarks] == list(range(3, t + 1, 3))[-2:]
    mark = memory.landmarks[-1]  # frame 9: at stride 8 the match is 2x3 cells, half of that is kept
    keys = network.extract(frames[:, 9]).derived["match"]
    torch.testing.assert_close(mark.content["match"], F.normalize(F.avg_pool2d(keys, 2, ceil_mode=True), dim=1))
    torch.testing.assert_close(mark.memberships, F.avg_pool2d(F.avg_pool2d(truth[:, 9], 8), 4, ceil_mode=True))


@torch.no_grad()
def test_an_object_that_landmarks_show_elsewhere_changes_its_evidence():
    """They are matched with by a sharpness of their own, after the maps of the reference frames."""
    network = fresh(FULL)
    frames, truth = one_object(5)
    memory = None
    for t in range(4):
        memory = network.remember(memory, network.extract(frames[:, t]), truth[:, t])
    features = network.extract(frames[:, 4])
    references, landmarks = network._matched(features, memory)
    query = features.derived["match"].flatten(2).mT
    keys = torch.cat([mark.content["match"].flatten(2) for mark in memory.landmarks], 2)
    seen = torch.cat([mark.memberships.flatten(2) for mark in memory.landmarks], 2)
    network.matching.landmark_sharpness.fill_(3.0)
    read = torch.einsum("bqk,bok->boq", (3.0 * query @ keys).softmax(-1),
                        seen).unflatten(-1, features.derived["match"].shape[2:])
    again = network._matched(features, memory)
    torch.testing.assert_close(again[0], references)
    assert not torch.allclose(again[1], landmarks)
    maps = network.matching(features.derived["match"], keys, seen, landmarks=True)
    torch.testing.assert_close(maps[:, :, 0], read)


@torch.no_grad()
def test_before_the_first_landmark_no_evidence_is_of_one():
    network, (frames, truth) = fresh(FULL), one_object(5)
    memory = network.remember(None, network.extract(frames[:, 0]), truth[:, 0])
    matched = []
    for t in range(1, 5):
        features = network.extract(frames[:, t])
        matched.append(bool(network._matched(features, memory)[1].any()))
        memory = network.remember(memory, features, truth[:, t])
    assert matched == [False, False, False, True]


def test_both_sides_of_a_match_learn():
    network, (frames, truth) = fresh(FULL), one_object(2)
    given, now = (network.extract(frames[:, t]) for t in range(2))
    shares = network._matched(now, network.remember(None, given, truth[:, 0]))[0][:, 1, 0]
    keys = [features.derived["match"] for features in (given, now)]
    assert all(gradient.any() for gradient in torch.autograd.grad(shares.square().sum(), keys))


@torch.no_grad()
def test_an_object_out_of_sight_claims_nothing_and_the_background_all():
    network, frames, truth = fresh(FULL), *one_object(4)
    before = unroll(network, frames, truth[:, 0], truth)
    network.presence.out.bias.copy_(torch.tensor([-30.0, 0.0]))
    after, logits = unroll_all(network, frames, truth[:, 0], truth)
    assert after.argmax(2).max() == 0 and logits.shape == (1, 3, 2, 2)
    torch.testing.assert_close(after[:, :, 0], before[:, :, 0])
    lost = F.logsigmoid(torch.tensor([-30.0])) - F.logsigmoid(torch.tensor([3.0]))
    torch.testing.assert_close(after[:, :, 1] - before[:, :, 1], lost.expand_as(after[:, :, 1]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_a_mask_holds_is_compared_with_all_given_masks_of_the_object():
    """Object 1 was given in frame 0 and anew in frame 2; means are taken cell by cell here."""
    network = fresh(FULL.replace(presence_compared=True))
    frames, truth = one_object(4, size=(32, 64))
    memory = None
    for t in range(3):
        memory = network.remember(memory, network.extract(frames[:, t]), truth[:, t], [1] if t == 2 else ())
    features = network.extract(frames[:, 3])
    share = torch.rand(1, 2, 8, 16, generator=torch.Generator().manual_seed(4))
    result = unlikeness(share, features, memory)
    assert len(memory.references) == 1 and result.shape == (1, 2, 2)
    kinds = ((features.embedding, network.extract(frames[:, 2]).embedding),
             (features.derived["match"], network.extract(frames[:, 2]).derived["match"]))
    for kind, (now, then) in enumerate(kinds):
        means = []
        for maps, masks in ((now, share), (then, truth[:, 2])):
            factor = masks.shape[-1] // maps.shape[-1]
            total = 0
            for y in range(maps.shape[2]):
                for x in range(maps.shape[3]):
                    cell = masks[0, 1, y * factor:(y + 1) * factor, x * factor:(x + 1) * factor].mean()
                    total = total + cell * maps[0, :, y, x]
            means.append(total)
        cosine = means[0] @ means[1] / means[0].norm() / means[1].norm()
        assert result[0, 1, kind].exp().item() == pytest.approx(10.1 - 10 * cosine.item(), abs=1e-3)


def test_presence_teaches_what_the_decoder_sees_and_not_what_it_draws():
    network, (frames, truth) = fresh(FULL), one_object(2)
    torch.nn.init.normal_(network.presence.out.weight)
    given, now = (network.extract(frames[:, t]) for t in range(2))
    network.segment(now, network.remember(None, given, truth[:, 0]))
    seen, drawn = network.decoder.down.skip.weight, network.decoder.sharpen[-1].weight
    gradients = torch.autograd.grad(now.presence.sum(), (seen, drawn), allow_unused=True)
    assert gradients[0].any() and gradients[1] is None


@torch.no_grad()
def test_comparing_changes_nothing_until_it_is_learned_and_then_presence_alone(tmp_path):
    frames, truth = one_object(4)
    before = fresh(FULL, seed=1)
    before.presence.out.weight.normal_()
    path = weights.save(before, tmp_path / "before.safetensors", step=7)
    network, _ = first_network(RunConfig(FULL.replace(presence_compared=True), TrainingConfig(start=f"parts:{path}")))
    expected, logits = unroll_all(before, frames, truth[:, 0])
    result, same = unroll_all(network.eval(), frames, truth[:, 0])
    assert torch.equal(result, expected) and torch.equal(same, logits)
    network.presence.compared.weight.normal_()
    changed = unroll_all(network, frames, truth[:, 0], truth)[1]
    assert not torch.equal(changed, unroll_all(before, frames, truth[:, 0], truth)[1])


def test_an_object_is_out_of_sight_below_a_share_of_its_usual_presence_and_back_on_trial_above_a_bar():
    logits = [-3.0, 8.0, 10.0, 6.0, 12.0, 2.0, -1.0, -0.9, 2.0, -0.9, 9.0, 9.0, -1.0]
    level, usual, seen = torch.zeros(1, 1), 0.0, True
    shown = []
    for logit in logits:
        level = followed(torch.tensor([[logit]]), level, 0.4)
        if not usual:
            usual = max(logit, 1.0)
        elif not seen:
            seen = logit > -1.0
        elif logit < 0.4 * usual:
            usual, seen = 0.95 * usual, False
        else:
            usual = 0.7 * usual + 0.3 * logit
        assert level.item() == pytest.approx(usual if seen else -usual)
        shown.append(seen)
    assert shown == [True] * 5 + [False] * 2 + [True, False, True, True, True, False]


def test_what_has_changed_for_good_is_in_sight_for_good_after_a_while():
    level = torch.tensor([[10.0]])
    shown = [bool((level := followed(torch.tensor([[2.0]]), level, 0.4)) > 0) for _ in range(40)]
    assert not shown[0] and sum(shown[:20]) == 10 and all(shown[35:])


def says(network, rows):
    """Makes the presence head say these logits of objects 1, 2, ... in the frames to come, whatever they show; and of
    the background, whose number means nothing, that it is out of sight after the first.
    """
    rows = iter([(5.0, *rows[0]), *((-5.0, *row) for row in rows[1:])])
    network.presence.forward = lambda *_: torch.tensor([next(rows)])[..., None].expand(1, -1, 2)


@torch.no_grad()
def test_the_gate_takes_an_object_out_of_masks_and_memory_and_leaves_the_others():
    frames, truth = one_object(6)
    truth = torch.cat([truth, torch.zeros_like(truth[:, :, :1])], 2)
    truth[:, :, 2, 24:, :24], truth[:, :, 0, 24:, :24] = 1.0, 0.0
    rows = [(9.0, 9.0), (2.0, 9.0), (RETURN, 9.0), (3.0, 9.0), (4.0, 9.0)]
    network = fresh(FULL.replace(presence_gate=0.4), seed=3)
    says(network, rows)
    logits = unroll(network, frames, truth[:, 0])[0]
    assert [bool((one[1] == -20).all()) for one in logits] == [False, True, True, False, False]
    assert (logits[:, [0, 2]] != -20).all()
    network = fresh(FULL, seed=3)
    says(network, rows)
    without = unroll(network, frames, truth[:, 0])[0]
    assert torch.equal(logits[0], without[0]) and torch.equal(logits[1, [0, 2]], without[1, [0, 2]])
    assert not torch.equal(logits[2, 2], without[2, 2])  # memory has another mask by then


@torch.no_grad()
def test_an_object_that_joins_or_is_corrected_is_in_sight_again():
    network, (frames, truth) = fresh(FULL.replace(presence_gate=0.4)), one_object(6)
    says(network, [(9.0,), (0.0,), (-5.0,), (9.0, -5.0), (9.0, -9.0)])
    more = torch.cat([truth, torch.zeros_like(truth[:, :, :1])], 2)
    more[:, :, 2, :4], more[:, :, :2, :, :4] = 1.0, 0.0
    levels, memory = [], network.remember(None, network.extract(frames[:, 0]), truth[:, 0])
    for t, (masks, given) in enumerate([(truth, ()), (truth, ()), (more, [1, 2]), (more, ()), (more, ())], 1):
        features = network.extract(frames[:, t])
        network.segment(features, memory)
        memory = network.remember(memory, features, masks[:, t], given)
        levels.append(memory.state["level"][0, 1:].tolist())
    assert levels == [[9.0], [pytest.approx(-9 * FADE)], [0.0, 0.0], [9.0, 1.0], [9.0, pytest.approx(-FADE)]]
    assert memory.select([0, 2]).state["level"].tolist()[0][1:] == [pytest.approx(-FADE)]


def test_the_gate_is_of_use_alone_and_training_does_not_see_it(tmp_path):
    runs = [RunConfig(FULL.replace(presence_gate=gate), TrainingConfig(steps=2, batch=1, warmup=0, own_masks_from=0.0),
                      DataConfig(height=32, width=48, frames=4, objects=1)) for gate in (0.0, 1.0)]
    one, two = (train(run, tmp_path / str(run.model.presence_gate), quiet=True).state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)


@torch.no_grad()
def test_presence_is_read_from_the_features_and_only_where_there_is_a_head():
    frames, truth = one_object(3)
    for config, expected in ((FULL, (1, 2, 2)), (TINY, None)):
        network = fresh(config)
        features = network.extract(frames[:, 1])
        network.segment(features, network.remember(None, network.extract(frames[:, 0]), truth[:, 0]))
        assert (None if features.presence is None else tuple(features.presence.shape)) == expected
    assert unroll_all(fresh(TINY), frames, truth[:, 0])[1] is None


@pytest.mark.parametrize("changes, message", [
    (dict(matching="none"), "landmarks is 2, and matching is 'none'"),
    (dict(presence=False, presence_compared=True), "presence_compared gives the presence head"),
    (dict(presence=False, presence_gate=0.4), "presence_gate is 0.4, and there is no presence head"),
    (dict(decoder="ensembler"), "presence is read off the small decoder, and decoder is 'ensembler'")])
def test_parts_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FULL.replace(**changes)


def test_a_run_goes_on_from_what_fits_of_another_model(tmp_path):
    source = fresh(TINY.replace(matching="reference"), seed=1)
    path = weights.save(source, tmp_path / "source.safetensors", step=7)
    config = RunConfig(FULL, TrainingConfig(start=f"parts:{path}"))
    network, runs = first_network(config)
    own, others = network.state_dict(), source.state_dict()
    wider = own["decoder.evidence.weight"].shape[1] - others["decoder.evidence.weight"].shape[1]
    assert wider == ReferenceMatching.maps and runs[-1]["step"] == 7
    assert torch.equal(own["decoder.evidence.weight"][:, :-wider], others["decoder.evidence.weight"])
    assert (own["decoder.evidence.weight"][:, -wider:] == 0).all()
    assert torch.equal(own["backbone.stage8.0.conv1.weight"], others["backbone.stage8.0.conv1.weight"])
    assert own["matching.key.weight"].shape != others["matching.key.weight"].shape  # and so it is not taken
    assert torch.equal(own["matching.sharpness"], others["matching.sharpness"])
    unlike = weights.save(fresh(ModelConfig(width=32, heads=4, backbone_width=16, embedding=24, decoder_width=24)),
                          tmp_path / "unlike.safetensors")
    taken = weights.graft(fresh(FULL), unlike)
    assert not any(name.startswith("backbone") for name in taken)


@torch.no_grad()
def test_nothing_is_taken_over_from_a_run_that_diverged(tmp_path):
    source = fresh(TINY)
    next(source.parameters()).view(-1)[0] = float("nan")
    path = weights.save(source, tmp_path / "source.safetensors")
    with pytest.raises(ValueError, match="holds numbers that are not finite"):
        weights.graft(fresh(TINY), path)


def test_frozen_parameters_stay_and_the_others_learn(tmp_path):
    run = RunConfig.from_dict({
        "model": FULL.to_dict(), "data": {"height": 32, "width": 48, "frames": 3, "objects": 1},
        "training": {"steps": 2, "batch": 1, "warmup": 0, "ema": 0.0, "freeze": ["backbone."], "weight_decay": 0.5}
    })
    torch.manual_seed(run.training.seed)
    first = build(run.model).state_dict()
    after = train(run, tmp_path, quiet=True).state_dict()
    changed = {name for name in first if not torch.equal(first[name], after[name])}
    assert not any(name.startswith("backbone.") for name in changed)
    assert {"decoder.evidence.weight", "presence.out.weight", "matching.key.weight"} <= changed
    with pytest.raises(ValueError, match="freeze names 'trunk', with which no parameter's name begins"):
        freeze(build(run.model), ("trunk",))
    with pytest.raises(ValueError, match="leaves no parameter that learns"):
        freeze(build(run.model), ("",))


def test_a_cell_half_somebody_s_keeps_its_key_and_one_that_is_less_does_not():
    """Of the four cells of each coarse one object 0 covers one and two, object 1 two and one, object 2 one each."""
    memberships = torch.zeros(1, 3, 2, 4)
    memberships[0, 0, 0, 0] = memberships[0, 1, 1, :2] = memberships[0, 2, 0, 1] = 1
    memberships[0, 0, :, 2] = memberships[0, 1, 0, 3] = memberships[0, 2, 1, 3] = 1
    frame = Remembered(0, memberships, {"match": torch.ones(1, 5, 1, 2)}, {})
    assert frame.only([0]).content["match"][0, 0, 0].tolist() == [0, 1], "a quarter, and half"
    assert frame.only([0, 1]).content["match"][0, 0, 0].tolist() == [1, 1]
    assert frame.only([2]).content["match"][0, 0, 0].tolist() == [0, 0]
