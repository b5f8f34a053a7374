"""Where `sst segment` computes and in which precision; devices that this machine lacks are made believe."""

import io
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from squares import write_frames
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sstlib import clocks, synthetic, training, weights
from sstlib.benchmarks import machine
from sstlib.cli import _arguments, _runs, main
from sstlib.config import named_model
from sstlib.inference import Segmenter
from sstlib.model.sst import EncoderLayer
from sstlib.sessions import Clip, Session, precision
from sstlib.video import ArraySequence, Reading, read_mask, write_mask

SIZE = (32, 48)
FRAMES = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), np.uint8)
LABELS = np.zeros(SIZE, np.uint8)
LABELS[8:20, 5:17] = 1


@pytest.fixture
def sst(tmp_path, monkeypatch, tiny_weights, capsys):
    """Runs the command on five frames, from a folder or standard input; its exit status and what it says."""
    monkeypatch.chdir(tmp_path)
    write_frames("frames", FRAMES)
    write_mask("mask.png", LABELS)

    def run(*more, out="out", video="frames"):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(FRAMES.tobytes()), isatty=lambda: False))
        more += ("--size", "48x32") if video == "-" else ()
        status = main(["segment", video, "--mask", "mask.png", "--out", out, "--weights", str(tiny_weights),
                       "--threads", "1", *map(str, more)])
        message = capsys.readouterr()
        return status, message.out, message.err
    return run


def masks(folder):
    return np.stack([read_mask(path, Reading("ids")) for path in sorted(folder.glob("*.png"))])


def has(monkeypatch, *devices):
    """Makes believe that the machine has these devices and no others."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in devices)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2 * ("cuda" in devices))
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *given: True)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in devices)
    # Which PyTorch up to 2.9 asks before it computes in bfloat16
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda *given: True)


@pytest.mark.parametrize("devices, wanted, taken", [
    ([], "auto", "cpu"), (["mps"], "auto", "mps"), (["cuda"], "auto", "cuda"), (["cuda", "mps"], "auto", "cuda"),
    ([], None, "cpu"), (["mps"], None, "cpu"), (["cuda", "mps"], None, "cuda"), (["cuda"], "cuda:1", "cuda:1"),
    (["cuda", "mps"], "mps", "mps"), (["cuda", "mps"], "cpu", "cpu")])
def test_the_device_is_the_one_asked_for_or_the_best(sst, monkeypatch, devices, wanted, taken):
    has(monkeypatch, *devices)
    monkeypatch.setattr(weights, "load", lambda name, device: pytest.fail(f"loaded on {device}"))
    with pytest.raises(pytest.fail.Exception, match=f"loaded on {taken}$"):
        sst(*(["--device", wanted] if wanted else []))


@pytest.mark.parametrize("devices, options, words", [
    ([], ["--device", "mps"], "no device 'mps' here"), ([], ["--device", "cuda"], "no device 'cuda' here"),
    (["mps"], ["--device", "cuda"], "no device 'cuda' here"), (["cuda"], ["--device", "mps"], "no device 'mps' here"),
    (["cuda"], ["--device", "cuda:2"], "no device 'cuda:2' here"),
    ([], ["--device", "mps:0"], "expected auto, cpu, cuda, cuda:NUMBER or mps"),
    (["cuda"], ["--device", "cpu", "--precision", "float16"], "precision is 'float16', in which cpu does not compute"),
    ([], ["--device", "auto", "--precision", "float16"], "take float32 or bfloat16"),
    ([], ["--precision", "float64"], "argument --precision: invalid choice: 'float64'"),
    ([], ["--history", "0"], "argument --history: it is 0")])
def test_what_is_not_there_is_refused_in_a_line_before_anything_is_read(sst, monkeypatch, tmp_path, devices, options,
                                                                        words):
    has(monkeypatch, *devices)
    monkeypatch.setattr(weights, "load", lambda *given: pytest.fail("too late"))
    status, out, error = sst(*options)
    assert status == 2 and words in error and error.count("\n") == 1 and not out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 3])
def test_every_gpu_that_is_there_is_taken_and_no_other(monkeypatch, count):
    has(monkeypatch, "cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    names = ["cuda", *(f"cuda:{number}" for number in range(count))]
    assert [_arguments.usable_device(name) for name in names] == names
    with pytest.raises(ValueError, match=f"no device 'cuda:{count}' here"):
        _arguments.usable_device(f"cuda:{count}")


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_is_autocast_on_the_device(monkeypatch, device, name):
    has(monkeypatch, "cuda", "mps")
    kind = device.partition(":")[0]
    with precision.within(name, device)():
        assert torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == getattr(torch, name)
    assert not torch.is_autocast_enabled(kind)


def test_a_device_that_would_quietly_compute_in_float32_is_refused(monkeypatch, tiny_weights):
    has(monkeypatch)
    with pytest.raises(ValueError, match="precision is 'bfloat16', in which cuda does not compute; take float32"):
        precision.within("bfloat16", "cuda")
    has(monkeypatch, "cuda")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *given: False)
    with pytest.raises(ValueError, match="in which cuda:1 does not compute; take float32"):
        precision.within("bfloat16", "cuda:1")
    clip = Clip(ArraySequence(FRAMES), {0: LABELS})
    taken = precision.faster(weights.load(tiny_weights), "cuda", clip, {})
    assert taken == ("float32", "cuda does not compute in bfloat16")


def test_attention_chooses_its_precision_itself_on_mps_too(monkeypatch):
    layer = EncoderLayer(named_model("sst-tiny"), named_model("sst-tiny").layers[0])
    layer.query = nn.Identity()
    monkeypatch.setattr(layer, "heads", lambda x: x)  # without a device, its tensors can do nothing

    def attention(query, *given, **options):
        pytest.fail(f"on {query.device.type}, autocast {torch.is_autocast_enabled('mps')}")

    monkeypatch.setattr(layer, "attention", attention)
    with FakeTensorMode(), torch.autocast("mps", torch.float16):
        x, key = torch.empty(1, 2, 3, 4, 16, device="mps"), torch.empty(1, 2, 2, 3, 4, 8, device="mps")
        assert torch.is_autocast_enabled("mps")
        with pytest.raises(pytest.fail.Exception, match="on mps, autocast False"):
            layer.attend(x, key, key, None, None)


@pytest.fixture
def steps(monkeypatch):
    """Whether autocast is on, and for what, inside of every step that is taken."""
    seen, step = [], Segmenter.step

    def watched(self, *given):
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return step(self, *given)

    monkeypatch.setattr(Segmenter, "step", watched)
    return seen


@pytest.mark.parametrize("options, on, words", [
    ([], False, ""), (["--precision", "float32"], False, ""),
    (["--precision", "bfloat16"], True, "computed on cpu in bfloat16\n"),
    (["--precision", "float32", "--device", "auto"], False, "computed on cpu in float32\n")])
@pytest.mark.parametrize("video", ["frames", "-"])
def test_steps_are_computed_in_the_precision_that_is_said(sst, monkeypatch, steps, video, options, on, words):
    has(monkeypatch)
    status, out, _ = sst(*options, video=video)
    assert status == 0 and words in out and ("computed on" in out) == bool(words)
    assert [seen[0] for seen in steps] == [on] * 5 and (not on or {seen[1] for seen in steps} == {torch.bfloat16})
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_fewer_than_one_label_in_a_thousand_is_another_in_bfloat16(seed):
    made = synthetic.render(synthetic.random_spec("mixed", seed, frames=20), seed)
    clip = Clip(ArraySequence(np.asarray(made.frames)), {0: np.asarray(made.labels)[0]})
    network = weights.load("sst-small")
    full, half = (list(Session(network, clip, precision=precision.within(name, "cpu")))
                  for name in ("float32", "bfloat16"))
    different = [np.mean(a.labels != b.labels) for (_, a, _), (_, b, _) in zip(full, half)]
    assert len(different) == 20 and np.mean(different) < 1e-3
    assert any((a.memberships != b.memberships).any() for (_, a, _), (_, b, _) in zip(full, half))


class Clock:
    """A clock that steps put on, by so much in each precision, and hardly for a frame that comes with its mask."""

    def __init__(self, monkeypatch, **seconds):
        self.now, self.seconds, self.order = 0.0, seconds, []
        monkeypatch.setitem(clocks.CLOCKS, "wall", lambda: self.now)
        monkeypatch.setattr(precision, "Segmenter", lambda network, **options: self)

    def step(self, frame, labels):
        name = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
        self.order.append(name)
        self.now += 0.001 if labels is not None else next(self.seconds[name])


@pytest.mark.parametrize("full, half, choice", [
    ([1.25, 1.3, 5], [9, 1, 1], "bfloat16"), ([1.19, 5, 5], [1, 1, 1], "float32"), ([1, 1, 1], [2, 2, 2], "float32"),
    ([9, 9, 1.1], [1, 1, 1], "float32"), ([3, 3, 3], [3, 2, 3], "bfloat16")])
def test_bfloat16_is_taken_where_its_best_step_is_a_fifth_faster(monkeypatch, tiny_weights, full, half, choice):
    clock = Clock(monkeypatch, float32=iter(full), bfloat16=iter(half))
    clip = Clip(ArraySequence(FRAMES), {0: 0 * LABELS, 2: LABELS})
    taken, why = precision.faster(weights.load(tiny_weights), "cpu", clip, {})
    assert taken == choice and clock.order == ["float32", "bfloat16"] * 4
    assert f"a step takes {min(full):.3g} s in float32, {min(half):.3g} s in bfloat16" in why


@pytest.mark.parametrize("video", ["frames", "-"])
@pytest.mark.parametrize("ratio, choice", [(float("inf"), "float32"), (0.0, "bfloat16")])
def test_what_auto_measures_changes_nothing_of_the_masks(sst, tmp_path, monkeypatch, steps, video, ratio, choice):
    monkeypatch.setattr(precision, "FASTER", ratio)
    for out, name in (("own", choice), ("auto", "auto")):
        status, message, _ = sst("--precision", name, out=out, video=video)
        assert status == 0
    assert f"computed on cpu in {choice}: a step takes " in message and " s in bfloat16" in message
    assert len(steps) == 5 + 8 + 5 and {on for on, _ in steps[-5:]} == {choice == "bfloat16"}
    np.testing.assert_array_equal(masks(tmp_path / "own"), masks(tmp_path / "auto"))


def test_a_run_that_was_interrupted_keeps_its_precision(sst, tmp_path, monkeypatch):
    assert sst("--precision", "bfloat16", out="whole")[0] == 0
    count, step = itertools.count(), Segmenter.step

    def interrupted(self, *given):
        if next(count) == 3:
            raise KeyboardInterrupt
        return step(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Segmenter, "step", interrupted)
        assert sst("--precision", "bfloat16")[0] == 130
    status, _, error = sst("--precision", "float32")
    assert status == 2 and "differs in: --precision (was 'bfloat16', is 'float32')" in error and error.count("\n") == 1
    status, _, error = sst("--precision", "bfloat16", "--history", 1)
    assert status == 2 and "differs in: --history (was None, is 1)" in error
    monkeypatch.setattr(precision, "faster", lambda *given: pytest.fail("measured anew"))
    status, out, _ = sst("--precision", "auto")
    assert status == 0 and "computed on cpu in bfloat16: the interrupted run was\n" in out and "goes on with" in out
    assert [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.png"))] == [
        path.read_bytes() for path in sorted((tmp_path / "whole").glob("*.png"))]


def test_the_state_of_an_interrupted_run_is_read_onto_the_device(tmp_path, monkeypatch):
    (tmp_path / _runs.STATE).touch()

    def opened(path, framework, device):
        pytest.fail(f"read onto {device}")

    monkeypatch.setattr("safetensors.safe_open", opened)
    with pytest.raises(pytest.fail.Exception, match="read onto cuda:1"):
        _runs.interrupted_state(tmp_path, True, "cuda:1")


@pytest.mark.parametrize("video", ["frames", "-"])
def test_history_is_of_how_many_frames_there_is_attention_to(sst, tmp_path, tiny_weights, video):
    assert sst("--history", 1, video=video)[0] == 0
    carried = []
    for history in (1, None):
        segmenter = Segmenter(weights.load(tiny_weights), history=history)
        labels = [segmenter.step(frame, None if t else LABELS).labels for t, frame in enumerate(FRAMES)]
        carried.append(np.stack(labels))
    np.testing.assert_array_equal(masks(tmp_path / "out"), carried[0])
    assert (carried[0] != carried[1]).any()


@pytest.mark.parametrize("times, name, noted", [(24.0, "bfloat16", True), (1.1, "bfloat16", False),
                                                (24.0, "float32", False)])
def test_a_recipe_in_a_precision_that_the_processor_emulates_is_noted(tmp_path, capsys, monkeypatch, times, name,
                                                                      noted):
    monkeypatch.setattr(machine, "convolution_in_bfloat16", lambda: times)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "train", lambda *run, **options: None)
    assert main(["train", "tiny", "--out", str(tmp_path), "--set", f"training.precision={name}"]) == 0
    assert ("24 times as long as in float32" in capsys.readouterr().err) == noted


def test_float32_and_bfloat16_are_timed_on_one_convolution(monkeypatch):
    seconds = iter([0.5, 2.0])
    monkeypatch.setattr(machine.clocks, "least", lambda run, rounds: (run(), next(seconds))[1])
    assert machine.convolution_in_bfloat16() == 4
