"""Paired scenes: the same clip with an object hidden for any number of frames, and the truth of what is hidden."""

from dataclasses import replace

import numpy as np
import pytest

from sstlib.evaluation.occlusion_windows import Windows, first_copied, follow, passage
from sstlib.synthetic import ClipSpec
from sstlib.synthetic.paired import LENGTHS, PairedScene, find_scene, shows
from sstlib.synthetic.render import as_wished
from sstlib.synthetic.spec import BACK

SMALL = ClipSpec(frames=34, height=96, width=160, size=16.0, deformation=0.4, camera=0.4, appearance=0.2, likeness=0.5)
SOME = (0, 1, 5, 12)
REACH = 5  # pixels around the occluder that its edge, its blur and its shadow may touch at this size


@pytest.fixture(scope="module")
def scene():
    return find_scene(SMALL, (3, 5), SOME)


@pytest.fixture(scope="module")
def clips(scene):
    return {length: scene.clip(length) for length in SOME}


def test_the_target_is_hidden_from_the_onset_for_the_length_and_is_whole_again_after(scene, clips):
    for length, clip in clips.items():
        share = clip.visible_share[:, 0]
        assert np.flatnonzero(share == 0).tolist() == list(range(scene.onset, scene.onset + length))
        assert (share[: scene.onset - 3] == 1).all() and (share[scene.onset + length + 3 :] >= 0.98).all()
        if length:
            assert len(Windows.of(share).back) == BACK


def test_until_the_target_is_hidden_all_lengths_are_the_same_to_the_byte(scene, clips):
    for length in (5, 12):
        np.testing.assert_array_equal(clips[length].frames[: scene.onset], clips[1].frames[: scene.onset])
        np.testing.assert_array_equal(clips[length].labels[: scene.onset], clips[1].labels[: scene.onset])


def test_away_from_the_occluder_all_lengths_are_the_same_to_the_byte_in_every_frame(clips):
    control = clips[0]
    for clip in (clips[5], clips[12]):
        near = clip.amodal[:, -1] | control.amodal[:, -1]
        for side in (near, near.swapaxes(1, 2)):  # it may be just outside of the frame
            side[:, [0, -1]] = True
        for _ in range(REACH):
            near[:, 1:] |= near[:, :-1].copy()
            near[:, :-1] |= near[:, 1:].copy()
            near[:, :, 1:] |= near[:, :, :-1].copy()
            near[:, :, :-1] |= near[:, :, 1:].copy()
        assert 0.4 < (~near).mean()
        assert (clip.frames == control.frames).all(-1)[~near].all() and (clip.labels == control.labels)[~near].all()
        assert not (clip.frames == control.frames).all()


def test_whole_objects_are_where_they_are_at_every_length(clips):
    """What is hidden is exactly known: full masks of all but the occluder do not depend on whether it hides them."""
    for clip in clips.values():
        np.testing.assert_array_equal(clip.amodal[:, :-1], clips[0].amodal[:, :-1])
        over = clip.amodal[:, -1]
        np.testing.assert_array_equal(clip.labels == 1, clip.full(1) & ~over)  # nothing else is above the target


def test_the_scene_does_not_know_how_long_it_will_be_hidden(scene):
    """Other lengths leave the clip of a length as it is, but for the onset, which must leave room for the longest."""
    fewer = PairedScene(scene.spec, scene.seed, scene.attempt, (0, 5, 12))
    np.testing.assert_array_equal(fewer.clip(5).frames, scene.clip(5).frames)


def test_the_occluder_has_a_random_stream_of_its_own(scene, clips):
    """A scene without its occluder's draws is the one that the seed makes: the same paths, camera, light and noise."""
    other = PairedScene(scene.spec, scene.seed, scene.attempt, (0, 1))  # comes at another time
    clip = other.clip(0)
    assert other.onset != scene.onset
    np.testing.assert_array_equal(clip.amodal[:, :-1], clips[0].amodal[:, :-1])
    np.testing.assert_array_equal(clip.scene.gain, clips[0].scene.gain)
    np.testing.assert_array_equal(clip.scene.grain.numpy(), clips[0].scene.grain.numpy())


def test_a_scene_is_the_same_every_time_and_another_with_another_seed(scene, clips):
    again = PairedScene(SMALL, (3, 5), scene.attempt, SOME)
    assert again == scene
    np.testing.assert_array_equal(again.clip(5).frames, clips[5].frames)
    assert not np.array_equal(PairedScene(SMALL, (3, 6), scene.attempt, SOME).clip(5).frames, clips[5].frames)


def test_a_scene_that_fails_at_one_length_is_taken_at_none(monkeypatch, scene):
    attempts = []

    def fussy(clip, onset):
        attempts.append(clip.spec.occlusion)
        return attempts != [5, 0]  # the first scene is good at 5 and not at 0

    monkeypatch.setattr("sstlib.synthetic.paired.shows", fussy)
    assert find_scene(SMALL, scene.seed, (0, 5)).attempt == 1 and attempts == [5, 0, 5, 0]


def test_what_is_not_as_wished_is_refused(clips, scene):
    for clip in clips.values():
        assert shows(clip, scene.onset)
    assert not shows(clips[5], scene.onset + 1)
    cut = replace(clips[12], labels=clips[12].labels.copy())
    cut.labels[-9:][cut.labels[-9:] == 1] = 0  # does not come back
    assert not shows(cut, scene.onset)
    late = replace(clips[5], labels=clips[5].labels.copy())
    late.labels[scene.onset + 5:, :, ::16] = 0  # comes back and is never whole
    assert as_wished(late) and not shows(late, scene.onset)
    touched = replace(clips[0], labels=clips[0].labels.copy())
    touched.labels[20, :, ::16] = 0  # a little of the control's target is missing
    assert not shows(touched, scene.onset)


@pytest.mark.parametrize("hidden, missing, good", [([9, 10, 11, 12, 13], 40, True), ([9, 10, 11, 12, 14], 40, False),
                                                   ([9, 10, 11, 12, 13], 5, False)])
def test_a_target_is_given_nearly_whole_and_hidden_in_frames_in_a_row(clips, hidden, missing, good):
    """Of the given one one column in so many is missing."""
    labels = np.where(clips[5].full(1), 1, clips[5].labels).astype(np.uint8)
    for t, step in [(0, missing), *((t, 1) for t in hidden)]:
        columns = labels[t, :, ::step]
        columns[columns == 1] = 0
    assert as_wished(replace(clips[5], labels=labels)) == good


def test_clips_pass_into_the_measure(clips):
    tracks = [follow(first_copied(clip.labels), clip.labels, clip.full(1)) for clip in (clips[5], clips[0])]
    result = passage(*tracks)
    assert 0 < result.claimed and result.before == result.before_control and result.swapped == 0


def test_bad_wishes_are_named(monkeypatch):
    with pytest.raises(ValueError, match="occlusion is 3"):
        find_scene(replace(SMALL, occlusion=3), 0)
    with pytest.raises(ValueError, match="expected 0, the control"):
        find_scene(SMALL, 0, (1, 2))
    with pytest.raises(ValueError, match="good for occlusions of 0, 1, 5, 12 frames, not 4"):
        PairedScene(SMALL, (0,), 0, SOME).clip(4)
    with pytest.raises(ValueError, match=r"34 frames are too few .* expected at least 50"):
        find_scene(SMALL, 0, LENGTHS)
    monkeypatch.setattr("sstlib.synthetic.paired.TRIES", 2)
    with pytest.raises(ValueError, match=r"none of 2 scenes .* make it smaller or slower"):
        find_scene(replace(SMALL, speed=60.0), 0, SOME)
