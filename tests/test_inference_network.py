"""What a segmenter does with a network that is not its own: shares the weights, changes nothing; and the size that
it works at.
"""

import inspect
import time
from pathlib import Path

import loops
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sstlib import weights
from sstlib.cli import main
from sstlib.clocks import resident_megabytes
from sstlib.config import named_model
from sstlib.inference import Segmenter, enlarged, sharing_weights, winners
from sstlib.model import build
from sstlib.video import read_mask, write_mask

HEIGHT, WIDTH = 41, 67
RNG = np.random.default_rng(3)
FRAMES = RNG.integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8)
GIVEN = np.zeros((HEIGHT, WIDTH), np.uint8)
GIVEN[3:18, 5:20], GIVEN[20:35, 40:55] = 1, 2
OPTIONS = [{}, {"keep_reference": True}, {"history": 1}, {"history": 5, "flip": True}]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(named_model("sst-tiny").replace(matching="reference"))


def carried(segmenter: Segmenter, frames=FRAMES) -> list[np.ndarray]:
    return [segmenter.step(frame, GIVEN if t == 0 else None).memberships for t, frame in enumerate(frames)]


def unrolled(network, **changes) -> list[np.ndarray]:
    """The same from a network that was built with other options."""
    other = build(network.config.replace(**changes)).eval()
    other.load_state_dict(network.state_dict())
    return carried(Segmenter(other))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_the_callers_network_stays_as_it_is(network, options, training):
    network.train(training)
    network.backbone.eval()  # some parts in another mode, as with frozen normalization
    modes, config = {name: module.training for name, module in network.named_modules()}, network.config
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    carried(Segmenter(network, **options))
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert network.config is config and all(layer.config is config for layer in network.layers)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_segmenter_computes_in_evaluation_mode_whatever_the_caller_does(network):
    network.decoder.low = nn.Sequential(network.decoder.low, nn.Dropout(0.5))
    expected = carried(Segmenter(network.eval()))
    segmenter = Segmenter(network.train())
    network.train()
    np.testing.assert_array_equal(carried(segmenter), expected)


def test_weights_are_shared_and_training_goes_on(network):
    segmenter = Segmenter(network.train())
    before = carried(segmenter)[1]
    sum(p.square().sum() for p in network.parameters()).backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    segmenter.memories, segmenter.size, segmenter.ids = [None], None, [0]
    after = carried(segmenter)[1]
    np.testing.assert_array_equal(carried(Segmenter(network))[1], after)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("options", [{"keep_reference": True}, {"history": 1}, {"history": 4}])
def test_options_reach_every_module_and_do_what_the_configuration_does(network, options):
    segmenter = Segmenter(network, **options)
    np.testing.assert_array_equal(carried(segmenter), unrolled(network, **options))
    assert all(module.config == network.config.replace(**options) for module in segmenter.network.modules()
               if hasattr(module, "config"))


def test_buffers_are_shared_as_parameters_are(network):
    network.backbone.counted = nn.BatchNorm2d(3)
    twin = sharing_weights(network, history=2)
    assert all(twin.state_dict(keep_vars=True)[name] is own for name, own in network.state_dict(keep_vars=True).items())


def test_segmenters_of_one_network_are_independent(network):
    alone = [carried(Segmenter(network, **options)) for options in OPTIONS]
    together = [Segmenter(network, **options) for options in OPTIONS]
    for t, frame in enumerate(FRAMES):
        for expected, segmenter in zip(alone, together):
            np.testing.assert_array_equal(segmenter.step(frame, GIVEN if t == 0 else None).memberships, expected[t])


def test_a_network_that_has_computed_may_be_shared(network):
    """Filters that a network keeps, made in whatever mode, are no hindrance."""
    with torch.inference_mode():
        network.eval().extract(torch.rand(1, 3, HEIGHT, WIDTH))
    network.extract(torch.rand(1, 3, HEIGHT, WIDTH))
    np.testing.assert_array_equal(carried(Segmenter(network)), carried(Segmenter(network)))


@pytest.mark.parametrize("options, message", [
    ({"history": 0}, "history is 0"), ({"longest": 9}, "at least 16, or 0"),
    ({"longest": -3}, "longest is -3"), ({"scales": ()}, "one or more"),
    ({"scales": (1.0, float("inf"))}, "a scale is inf"), ({"scales": (0.0,)}, "a scale is 0.0")])
def test_options_out_of_range_are_refused(network, options, message):
    with pytest.raises(ValueError, match=message):
        Segmenter(network, **options)


@pytest.mark.parametrize("change, words", [
    (lambda network: network.half(), "is of torch.float16; "),
    (lambda network: network.decoder.half() and network, "is of torch.float16 and torch.float32; "),
    (lambda network: network.double(), "is of torch.float64; .* half precision under torch.autocast")])
def test_a_network_of_another_precision_is_refused(network, change, words):
    with pytest.raises(ValueError, match=f"the network {words}"):
        Segmenter(change(network))


@pytest.mark.filterwarnings("ignore:`torch.jit")  # by what torch.compile imports
def test_a_wrapped_network_is_refused_and_how_to_unwrap_it_is_said(network):
    wrapped = torch.compile(network)
    with pytest.raises(ValueError, match="is a OptimizedModule; .* without a wrapper, as torch.compile's _orig_mod"):
        inspect.unwrap(Segmenter.__init__)(object.__new__(Segmenter), wrapped)
    Segmenter(wrapped._orig_mod)


@pytest.mark.parametrize("given, options, words", [
    (None, {}, "the network is a NoneType"), ("sst-small", {}, "the network is a str; give one .* weights.load"),
    (..., {"scales": 1.5}, "scales are 1.5; give one or more"), (..., {"scales": (1, 9)}, "a scale is 9; .* at most 8"),
    (torch.nn.Linear(2, 2), {}, "the network is a Linear"), (..., {"flip": "no"}, "flip is 'no'; expected true or")])
def test_what_is_of_another_type_is_refused_also_where_types_are_not_checked(network, given, options, words):
    create = inspect.unwrap(Segmenter.__init__)
    with pytest.raises(ValueError, match=words):
        create(object.__new__(Segmenter), network if given is ... else given, **options)


@pytest.mark.parametrize("frame, labels, words", [
    (None, GIVEN, "NoneType and ndarray"), ("0.png", None, "str and None"), (FRAMES[0], [[1]], "ndarray and list"),
    (FRAMES[0], np.ma.masked_equal(GIVEN, 0), "ndarray and MaskedArray"),
    (np.ma.masked_equal(FRAMES[0], 0), GIVEN, "MaskedArray and ndarray")])
def test_what_are_no_arrays_is_refused(network, frame, labels, words):
    with pytest.raises(ValueError, match=f"frame and labels are plain arrays of NumPy; these are {words}"):
        inspect.unwrap(Segmenter._check)(Segmenter(network), frame, labels, set())


def test_the_working_size_is_what_the_weights_are_for(network, tmp_path):
    assert weights.load("sst-small").longest == weights.LONGEST == 854
    network.longest = 48
    loaded = weights.load(weights.save(network, tmp_path / "small.safetensors"))
    assert loaded.longest == 48
    segmenter, requested, whole = Segmenter(loaded), Segmenter(loaded, longest=32), Segmenter(loaded, longest=0)
    for one, expected in ((segmenter, (29, 48)), (requested, (20, 32)), (whole, (HEIGHT, WIDTH))):
        prediction = one.step(FRAMES[0], GIVEN)
        assert one.working_size == prediction.memberships.shape[1:] == expected
        assert np.array_equal(prediction.labels, GIVEN)  # to the pixel, whatever the working size
        prediction = one.step(FRAMES[1])
        assert prediction.labels.shape == prediction.probabilities.shape[1:] == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(prediction.labels, prediction.probabilities.argmax(0))
    small = Segmenter(loaded)
    small.step(FRAMES[0, :20, :30], GIVEN[:20, :30])
    assert small.working_size == (20, 30)  # never enlarged


def test_large_frames_are_reduced_as_sharply_as_by_other_programs(network):
    """A bilinear filter blurs: clips that follow a reduced copy to a hundredth drift by points."""
    fine = np.random.default_rng(0).integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8)
    fine = np.kron(fine, np.ones((2, 2, 1), np.uint8))
    segmenter = Segmenter(network, longest=WIDTH)
    segmenter.step(fine, np.kron(GIVEN, np.ones((4, 4), np.uint8)))
    seen = segmenter._seen(torch.from_numpy(fine).permute(2, 0, 1)[None], 1.0, False)[0].permute(1, 2, 0).numpy() * 255
    apart = {how: np.abs(seen - np.asarray(Image.fromarray(fine).resize((WIDTH, HEIGHT), how), np.float32)).max()
             for how in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)}
    assert apart[Image.Resampling.BICUBIC] <= 1 < 5 < apart[Image.Resampling.BILINEAR]


@pytest.mark.parametrize("longest, scale, in_bytes", [(48, 1.0, True), (48, 0.5, True), (0, 0.5, False),
                                                      (48, 1.5, False)])
def test_bytes_are_what_a_frame_beyond_the_working_size_is_reduced_in(network, longest, scale, in_bytes):
    """A view that is small by its own scale, or enlarged, is not rounded."""
    segmenter = Segmenter(network, longest=longest)
    segmenter.step(FRAMES[0], GIVEN)
    levels = 255 * segmenter._seen(torch.from_numpy(FRAMES[0]).permute(2, 0, 1)[None], scale, False)
    assert torch.allclose(levels, levels.round(), atol=1e-3) == in_bytes


@pytest.mark.parametrize("longest", ["854", 3, -1, None, True, 8.5])
def test_a_file_with_a_working_size_that_is_none_is_refused(network, tmp_path, longest):
    with pytest.raises(ValueError, match="other.safetensors: longest is"):
        weights.load(weights.save(network, tmp_path / "other.safetensors", longest=longest))


def test_winners_at_another_size_are_those_of_the_enlarged_logits():
    memberships = torch.rand(4, 7, 9).softmax(0)
    memberships[:, 0, 0] = 0  # void: nobody's
    ids, size = [0, 7, 3, 200], (23, 31)
    labels, _ = winners(memberships, ids, size)
    expected = torch.tensor(ids, dtype=torch.uint8)[enlarged(memberships, size).argmax(0)]
    assert torch.equal(labels, expected)
    logarithms = memberships.clamp_min(torch.finfo(torch.float32).tiny).log().numpy()
    np.testing.assert_allclose(enlarged(memberships, (21, 27)), loops.enlarged(logarithms, (21, 27), 3), atol=1e-3)
    memberships[:, 3, 3] = 0.25
    labels, best = winners(memberships, ids)
    assert labels[3, 3] == 0 == labels[0, 0] and torch.equal(best, memberships.amax(0))
    assert torch.equal(labels, torch.tensor(ids, dtype=torch.uint8)[memberships.argmax(0)])


def test_masks_given_on_a_large_frame_are_kept_to_the_pixel(network):
    """Thin things that the working size cannot show, void and objects that are corrected among them."""
    network.longest = 20
    segmenter = Segmenter(network)
    thin = np.zeros((HEIGHT, WIDTH), np.uint8)
    thin[::2, 10] = 9
    thin[30:38, 30:60], thin[:, 60:] = 4, 255
    first = segmenter.step(FRAMES[0], thin)
    assert np.array_equal(first.labels, np.where(thin == 255, 0, thin)) and first.ids == (0, 4, 9)
    np.testing.assert_allclose(first.memberships[:, :, :15].sum(0), 1, atol=1e-5)
    segmenter.step(FRAMES[1])
    moved = np.zeros_like(thin)
    moved[5, 3:40], moved[:, 60:] = 9, 255
    corrected = segmenter.step(FRAMES[2], moved)
    assert np.array_equal(corrected.labels[:, :60] == 9, moved[:, :60] == 9)
    np.testing.assert_allclose(corrected.memberships.sum(0), 1, atol=1e-5)


def test_the_command_says_at_which_size_it_works(network, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(FRAMES[:2]):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{t}.png")
    write_mask(tmp_path / "first.png", GIVEN)
    network.longest = 48
    weights.save(network, tmp_path / "small.safetensors")
    options = {}
    for extra in ((), ("--longest", "0"), ("--longest", "32"), ("--threads", "1")):
        out = tmp_path / "-".join(["out", *extra])
        assert main([
            "segment",
            str(tmp_path / "frames"), "--mask",
            str(tmp_path / "first.png"), "--weights",
            str(tmp_path / "small.safetensors"), "--out",
            str(out), *extra
        ]) == 0
        options[extra] = capsys.readouterr().out
        assert read_mask(out / "1.png").shape == (HEIGHT, WIDTH)
    assert "67x41 are worked on at 48x29, the size that the weights are for; --longest 0 takes them in full" in options[
        ()]
    assert "worked on" not in options["--longest", "0"] and "at 32x20, as --longest says" in options["--longest", "32"]


def large(size: tuple[int, int], objects: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame in smooth colors, and masks side by side."""
    rows, columns = np.arange(size[0], dtype=np.uint16)[:, None], np.arange(size[1], dtype=np.uint16)
    frame = np.stack([(rows + 0 * columns) // 16, (columns + 0 * rows) // 16, (rows + columns) // 32],
                     2).astype(np.uint8)
    masks = np.zeros(size, np.uint8)
    masks[size[0] // 3:size[0] // 2] = 1 + columns * objects // size[1]
    return frame, masks


@pytest.mark.slow
def test_large_frames_cost_hardly_more_than_those_of_the_working_size():
    """By the processor's clock, so that what other programs take does not count."""
    trained, seconds = weights.load("sst-small"), {}
    for size in ((480, 854), (1080, 1920)):
        segmenter, (frame, masks) = Segmenter(trained), large(size, 1)
        segmenter.step(frame, masks)
        marks = [time.process_time()]
        for _ in range(9):
            segmenter.step(frame)
            marks.append(time.process_time())
        seconds[size] = np.median(np.diff(marks)[3:])
    assert seconds[1080, 1920] < 1.3 * seconds[480, 854]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory as Linux counts it")
def test_four_thousand_pixels_and_six_objects_take_bounded_memory():
    segmenter, (frame, masks) = Segmenter(weights.load("sst-small")), large((2160, 3840), 6)
    before = resident_megabytes()
    Path("/proc/self/clear_refs").write_text("5")
    for t in range(5):
        segmenter.step(frame, masks if t == 0 else None)
    assert resident_megabytes("VmHWM") - before < 800  # probabilities in full size alone would be 232 a copy
