"""The segmenter: whose ids come back, what a given mask changes, what is refused, and what lies in the folder
afterwards.
"""

from unittest import mock

import loops
import numpy as np
import pytest
import torch
from PIL import Image

from sstlib import weights
from sstlib.benchmarks.frames import streamed
from sstlib.cli import main
from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.model import build, unroll
from sstlib.model.propagator import ABSENT
from sstlib.sessions import segment_sequence
from sstlib.synthetic.endless import endless_video
from sstlib.video import ArraySequence, read_mask, write_mask

HEIGHT, WIDTH = 41, 67
RNG = np.random.default_rng(3)
FRAMES = RNG.integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)


def labels(**boxes: tuple[int, int]) -> np.ndarray:
    """Labels with a square of 15 pixels an object, as id7=(row, column)."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name, (y, x) in boxes.items():
        drawn[y:y + 15, x:x + 15] = int(name[2:])
    return drawn


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(named_model("sst-tiny").replace(matching="reference")).eval()


def test_steps_equal_the_unrolled_network(network):
    segmenter, given = Segmenter(network), labels(id1=(3, 5), id2=(20, 40))
    stepped = [segmenter.step(frame, given if t == 0 else None) for t, frame in enumerate(FRAMES)]
    clip = torch.from_numpy(FRAMES).permute(0, 3, 1, 2)[None].float() / 255
    memberships = torch.nn.functional.one_hot(torch.from_numpy(given).long(), 3).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = unroll(network, clip, memberships).softmax(2)[0].numpy()
    assert np.array_equal(stepped[0].labels, given)
    for t in range(1, len(FRAMES)):
        np.testing.assert_allclose(stepped[t].probabilities, expected[t - 1], atol=1e-5)
        assert np.array_equal(stepped[t].labels, stepped[t].probabilities.argmax(0))
        for i in (1, 2):  # the mean over the mask, and of an empty one, that the object is nowhere
            inside, own = stepped[t].labels == i, expected[t - 1][i]
            confidence = own[inside].mean() if inside.any() else 1 - own.max()
            assert stepped[t].confidence[i] == pytest.approx(confidence, abs=1e-5)


def test_ids_are_the_callers_and_need_not_be_contiguous(network):
    segmenter = Segmenter(network)
    plain = Segmenter(network)
    for t, frame in enumerate(FRAMES):
        odd = segmenter.step(frame, labels(id9=(3, 5), id200=(20, 40)) if t == 0 else None)
        even = plain.step(frame, labels(id1=(3, 5), id2=(20, 40)) if t == 0 else None)
        assert odd.ids == (0, 9, 200) and set(odd.confidence) == {9, 200}
        assert np.array_equal(odd.labels, np.array([0, 9, 200], np.uint8)[even.labels])
        assert all(0 <= c <= 1 for c in odd.confidence.values())


def test_objects_join_are_corrected_and_leave(network):
    segmenter = Segmenter(network)
    segmenter.step(FRAMES[0], labels(id3=(3, 5)))
    segmenter.step(FRAMES[1])
    joined = segmenter.step(FRAMES[2], labels(id8=(20, 40)))
    assert joined.ids == (0, 3, 8)
    assert np.array_equal(joined.labels == 8, labels(id8=(20, 40)) == 8)
    void = labels(id3=(0, 30))
    void[:, 60:] = 255
    before = segmenter.step(FRAMES[3]).labels
    corrected = segmenter.step(FRAMES[4], void)
    assert np.array_equal(corrected.labels[:, :60] == 3, void[:, :60] == 3)
    before_it_left, looks = segmenter.memories[0].recent[-1].memberships, segmenter.memories[0].reference
    segmenter.remove(8)
    assert torch.equal(segmenter.memories[0].reference, looks[:, :2]), "what it looked like is not the background's"
    left = segmenter.memories[0].recent[-1].memberships  # where it was is background from now on
    torch.testing.assert_close(left[:, 0], before_it_left[:, 0] + before_it_left[:, 2])
    assert before_it_left[:, 2].any() and torch.equal(left[:, 1], before_it_left[:, 1])
    after = segmenter.step(FRAMES[5])
    assert after.ids == (0, 3) and not (after.labels == 8).any()
    assert before.shape == after.labels.shape == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"object 8 cannot be removed; the objects are \[3\]"):
        segmenter.remove(8)


def test_without_any_object_all_is_background_until_one_joins(network):
    segmenter = Segmenter(network)
    segmenter.step(FRAMES[0], labels(id3=(3, 5)))
    segmenter.step(FRAMES[1])
    segmenter.remove(3)
    for given in (None, labels()):
        empty = segmenter.step(FRAMES[2], given)
        assert empty.ids == (0,) and not empty.labels.any() and empty.presence == empty.doubt == {}
        assert (empty.probabilities == 1).all()
    joined = segmenter.step(FRAMES[3], labels(id8=(20, 40)))
    assert np.array_equal(joined.labels, labels(id8=(20, 40))) and joined.ids == (0, 8)
    assert set(segmenter.step(FRAMES[4]).presence) == {8}


def test_an_object_may_be_nowhere_and_return(network):
    segmenter = Segmenter(network)
    segmenter.step(FRAMES[0], labels(id1=(3, 5), id2=(20, 40)))
    network_segment = segmenter.network.segment
    segmenter.network.segment = lambda features, memory: network_segment(features, memory) + torch.tensor(
        [50.0, 0, -50])[:, None, None]
    lost = segmenter.step(FRAMES[1])
    assert not lost.labels.any() and lost.confidence[2] > 0.99
    assert segmenter.step(FRAMES[2]).ids == (0, 1, 2)
    inside = torch.from_numpy(labels(id2=(9, 20)) > 0)
    segmenter.network.segment = lambda features, memory: network_segment(features, memory) + 50 * torch.stack(
        [~inside, inside & ~inside, inside])
    assert np.array_equal(segmenter.step(FRAMES[3]).labels, labels(id2=(9, 20)))


def test_a_background_that_no_given_mask_shows_is_no_absent_object(network):
    segmenter = Segmenter(network)
    segmenter.step(FRAMES[0], np.ones((HEIGHT, WIDTH), np.uint8))
    segmenter.network.segment = watched = mock.Mock(wraps=segmenter.network.segment)
    assert segmenter.step(FRAMES[1]).ids == (0, 1) and watched.call_count == 1
    with torch.inference_mode():
        logits = network.segment(*watched.call_args.args)
    assert (logits[:, 0] != ABSENT).all()


@pytest.mark.parametrize(
    "options",
    [{"flip": True}, {"scales": (1.0, 1.3)}, {"longest": 40}, {"aggregation": "soft"}, {"aggregation": "hard"},
     {"keep_reference": True}, {"flip": True, "scales": (0.8, 1.2), "longest": 48, "aggregation": "soft"}])
def test_options_keep_size_and_probabilities(network, options):
    segmenter = Segmenter(network, **options)
    for t, frame in enumerate(FRAMES[:4]):
        prediction = segmenter.step(frame, labels(id1=(3, 5), id2=(20, 40)) if t == 0 else None)
        assert prediction.labels.shape == (HEIGHT, WIDTH) and prediction.probabilities.shape == (3, HEIGHT, WIDTH)
        np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-5)
    assert network.config.keep_reference is False


def test_flip_makes_the_prediction_mirror_with_the_frame(network):
    given = labels(id1=(3, 5), id2=(20, 40))
    ahead, mirrored = Segmenter(network, flip=True), Segmenter(network, flip=True)
    for t, frame in enumerate(FRAMES[:3]):
        a = ahead.step(frame, given if t == 0 else None)
        b = mirrored.step(frame[:, ::-1], given[:, ::-1] if t == 0 else None)
        np.testing.assert_allclose(a.probabilities, b.probabilities[..., ::-1], atol=1e-5)


def test_several_scales_are_the_mean_of_what_each_size_of_the_frame_gives(network):
    """What the network says of the enlarged frame is read at the places of the frame's own pixels."""
    given, scale = labels(id1=(3, 5), id2=(20, 40)), 1.3
    plain, large, both = (Segmenter(network, scales=scales) for scales in ((1.0,), (scale,), (1.0, scale)))
    segment, logits_of = large.network.segment, []
    large.network.segment = lambda *seen: logits_of.append(segment(*seen)) or logits_of[-1]
    for t in (0, 1):
        one, other, mean = (s.step(FRAMES[t], given if t == 0 else None).memberships for s in (plain, large, both))
    np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)
    [logits] = logits_of[0].numpy()
    assert logits.shape[1:] == (round(scale * HEIGHT), round(scale * WIDTH))
    tall, wide = logits.shape[1] / HEIGHT, logits.shape[2] / WIDTH
    for row, column in ((0, 0), (7, 50), (20, 33), (HEIGHT - 1, WIDTH - 1)):
        at = loops.between(logits, (row + 0.5) * tall - 0.5, (column + 0.5) * wide - 0.5)
        np.testing.assert_allclose(other[:, row, column], loops.softmax(at), atol=1e-5)


def test_soft_aggregation_is_cutie_s_formula(network):
    segmenter = Segmenter(network, aggregation="soft")
    p = torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1)
    odds = torch.tensor([0.5 * 0.7, 0.5, 0.3])
    odds = odds / (1 - odds)
    torch.testing.assert_close(segmenter._merge([p]).flatten(), odds / odds.sum())
    certain = segmenter._merge([torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)]).flatten()
    torch.testing.assert_close(certain, torch.tensor([0.0, 1.0, 0.0]))


def test_naive_goes_on_with_probabilities_and_hard_with_the_winner(network):
    given, seen = labels(id1=(3, 5), id2=(20, 40)), {}
    for aggregation in ("naive", "hard"):
        segmenter = Segmenter(network, aggregation=aggregation)
        segmenter.step(FRAMES[0], given)
        remember = segmenter.network.remember

        def watched(memory, features, remaining, given):
            seen[aggregation] = remaining
            return remember(memory, features, remaining, given)

        segmenter.network.remember = watched
        prediction = segmenter.step(FRAMES[1])
        expected = prediction.probabilities
        if aggregation == "hard":
            expected = (expected.argmax(0) == np.arange(3)[:, None, None]).astype(np.float32)
        np.testing.assert_array_equal(seen[aggregation][0].numpy(), expected)
    with pytest.raises(ValueError, match="aggregation is 'mean'; expected one of 'naive', 'hard', 'soft'"):
        Segmenter(network, aggregation="mean")


@pytest.mark.parametrize("frame, given, message", [
    (FRAMES[0], None, "came without labels"),
    (FRAMES[0], np.zeros((HEIGHT, WIDTH), np.uint8), "no object"),
    (FRAMES[0], np.full((HEIGHT, WIDTH), 255, np.uint8), "no object: 0 is background, 255 void; give ids 1..254"),
    (FRAMES[0], np.zeros((9, 9), np.uint8), r"labels have shape \(9, 9\), the frame \(41, 67\)"),
    (FRAMES[0], np.full((HEIGHT, WIDTH), 300), "0..254"),
    (FRAMES[0], np.ones((HEIGHT, WIDTH)), "whole numbers"),
    (FRAMES[0] / 255, labels(id1=(3, 5)), r"the frame is float64 of shape \(41, 67, 3\); give RGB as uint8"),
    (FRAMES[0][..., 0], labels(id1=(3, 5)), r"of shape \(41, 67\)"),
])
def test_bad_first_frames_are_refused(network, frame, given, message):
    with pytest.raises(ValueError, match=message):
        Segmenter(network).step(frame, given)


def test_a_video_that_changes_size_is_refused(network):
    segmenter = Segmenter(network)
    segmenter.step(FRAMES[0], labels(id1=(3, 5)))
    with pytest.raises(ValueError, match="67x20 pixels, the ones before were 67x41"):
        segmenter.step(FRAMES[1][:20])
    assert segmenter.step(FRAMES[1]).labels.shape == (HEIGHT, WIDTH)


def test_a_mask_in_the_middle_goes_both_ways(network):
    sequence = ArraySequence(FRAMES)
    given = {3: labels(id4=(3, 5))}
    result = dict(segment_sequence(network, sequence, given))
    assert list(result) == [3, 4, 5, 2, 1, 0]
    backward = Segmenter(network)
    for t in (3, 2, 1, 0):
        expected = backward.step(FRAMES[t], given.get(t))
        assert np.array_equal(result[t].labels, expected.labels)
    assert list(dict(segment_sequence(network, ArraySequence(FRAMES, labels(id4=(3, 5)))))) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"clip has frames 0..5; masks were given for \[9\]"):
        list(segment_sequence(network, sequence, {9: labels(id4=(3, 5))}))


def test_a_sequence_that_changes_size_is_named_with_its_frame(network):
    class Cropped(ArraySequence):
        def frame(self, t):
            return super().frame(t)[:20 if t == 2 else None]

    result = []
    with pytest.raises(ValueError, match="^clip, frame 00002: this frame is 67x20 pixels"):
        for t, _ in segment_sequence(network, Cropped(FRAMES, labels(id7=(3, 5)))):
            result.append(t)
    assert result == [0, 1]


def folder_of_frames(folder, count: int = 4):
    folder.mkdir()
    for t in range(count):
        Image.fromarray(FRAMES[t]).save(folder / f"frame{t}.png")
    return folder


def test_the_command_writes_masks_and_an_overlay(network, tmp_path, capsys):
    weights.save(network, tmp_path / "tiny.safetensors")
    frames, out = folder_of_frames(tmp_path / "frames"), tmp_path / "out"
    write_mask(tmp_path / "first.png", labels(id7=(3, 5)))
    common = [str(frames), "--weights", str(tmp_path / "tiny.safetensors"), "--out", str(out), "--overwrite"]
    assert main(["segment", *common, "--mask", str(tmp_path / "first.png"), "--overlay"]) == 0
    assert sorted(
        p.name for p in out.iterdir()) == ["frame0.png", "frame1.png", "frame2.png", "frame3.png", "overlay.mp4"]
    segmenter = Segmenter(network)
    for t in range(4):
        expected = segmenter.step(FRAMES[t], labels(id7=(3, 5)) if t == 0 else None)
        assert np.array_equal(read_mask(out / f"frame{t}.png"), expected.labels)
    assert main(["segment", *common, "--mask", str(tmp_path / "first.png"), "--at", "2"]) == 0
    assert np.array_equal(read_mask(out / "frame2.png"), labels(id7=(3, 5)))
    (tmp_path / "several").mkdir()
    for t in (1, 3):
        write_mask(tmp_path / "several" / f"frame{t}.png", labels(**{f"id{t}": (3 * t, 5)}))
    assert main(["segment", *common, "--mask", str(tmp_path / "several")]) == 0
    assert np.array_equal(read_mask(out / "frame3.png") == 3, labels(id3=(9, 5)) == 3)
    assert main(["segment", *common, "--mask", str(tmp_path / "several"), "--at", "1"]) == 2
    assert "4 masks" in capsys.readouterr().out


@pytest.mark.parametrize("change, message", [
    ({"--mask": "nowhere.png"}, "nowhere.png: no such"),
    ({"--weights": "nowhere"}, "no weights 'nowhere'"),
    ({"VIDEO": "nowhere"}, "nowhere"),
    ({"--at": "9"}, "frames 0..3"),
    ({"--mask": "empty.png"}, "hold no object"),
    ({"--mask": "small.png"}, "draw it on a frame"),
    ({"--mask": "color.png"}, "color"),
    ({"--mask": "large.png"}, "values up to 300"),
    ({"--weights": "other.safetensors"}, "does not fit the network"),
    pytest.param({"--device": "cuda"}, "no device 'cuda' here", marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason="needs a machine without")),
])
def test_the_command_says_what_is_wrong_and_writes_nothing(network, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    weights.save(network, tmp_path / "tiny.safetensors")
    folder_of_frames(tmp_path / "frames")
    write_mask("first.png", labels(id7=(3, 5)))
    write_mask("empty.png", labels())
    write_mask("small.png", labels(id7=(3, 5))[:20])
    Image.fromarray(FRAMES[0]).save("color.png")
    Image.fromarray(labels(id7=(3, 5)).astype(np.uint16) * 300 // 7).save("large.png")
    other = build(named_model("sst-tiny"))
    other.config = other.config.replace(width=32)
    weights.save(other, tmp_path / "other.safetensors")
    arguments = {
        "VIDEO": "frames", "--weights": "tiny.safetensors", "--mask": "first.png", "--out": "out", "--at": "0"
    } | change
    video_folder = arguments.pop("VIDEO")
    assert main(["segment", video_folder, *(part for pair in arguments.items() for part in pair)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_memory_is_flat_over_five_thousand_frames():
    """What is held between frame 200 and 5,000 of a stream differs by less than 2%; `sst model sst-small --stream
    5000` shows it at 480p.
    """
    torch.manual_seed(0)
    segmenter = Segmenter(build(named_model("sst-small")))
    rows = list(streamed(segmenter, endless_video(96, 160), 5000, 200))
    held = [row["held_megabytes"] for row in rows]
    assert len(rows) == 25 and max(held) < 1.02 * min(held)
