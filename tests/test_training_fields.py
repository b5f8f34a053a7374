"""Every field of a run's configuration does something: changed alone, it changes the first steps, the clips, or the
network.

A field that is added belongs into one of the lists here, or the tests fail; one that cannot show in the first steps
names the test of it.
"""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from test_photographs import write_photographs

from sstlib import video
from sstlib.config import MODELS, DataConfig, ModelConfig, RunConfig, TrainingConfig
from sstlib.datasets import samples as drawing
from sstlib.datasets import training_batch
from sstlib.model import build, unroll
from sstlib.training import loop, schedule, train
from sstlib.training.losses import segmentation_loss

MODEL = MODELS["sst-tiny"].replace(layers=("local(radius=1)",), history=1, width=8, embedding=8, decoder_width=8)
TRAINING = TrainingConfig(steps=4, batch=2, warmup=1, learning_rate=0.01, weight_decay=0.1, clip_norm=0.2, ema=0.15,
                          hardest=0.2, own_masks_from=0.5, checkpoint_every=100)
RUN = RunConfig(MODEL, TRAINING, DataConfig(height=24, width=32, frames=3, objects=2))
STEPS = 3


@pytest.fixture(autouse=True)
def little_beside_the_steps(monkeypatch):
    monkeypatch.setattr(loop, "PROBE_CLIPS", 1)
    monkeypatch.setattr(loop._Run, "picture", lambda run: None)
    monkeypatch.setattr(loop, "training_clip", drawn)


drawn = functools.cache(loop.training_clip)  # the runs of this file share most of their clips


@pytest.fixture(scope="module")
def first_steps(tmp_path_factory):
    """A function from a configuration to the curve of its first steps and the weights after them; each is run once."""
    @functools.cache
    def run(config):
        folder = tmp_path_factory.mktemp("run")
        train(config, folder, until=STEPS, quiet=True)
        curve = np.genfromtxt(folder / "curve.csv", delimiter=",", names=True)
        return {"rows": [tuple(row[name] for name in ("loss", "gradient_norm", "learning_rate")) for row in curve],
                "weights": load_file(folder / "weights.safetensors"), "folder": folder}
    return run


def with_training(**changes):
    return RUN.replace(training=TRAINING.replace(**changes))


def same(one, other):
    return one["rows"] == other["rows"] and all(
        torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())


# A field of training: another value, and the first step of which something must differ; STEPS: the averaged weights
# alone
FIRST_STEPS = {
    "steps": (9, 1),
    "batch": (1, 0),
    "optimizer": ("sgd", 1),
    "learning_rate": (0.02, 0),
    "schedule": ("poly", 2),
    "warmup": (2, 0),
    "weight_decay": (0.5, 1),
    "clip_norm": (100.0, 1),
    "ema": (0.05, STEPS),
    "precision": ("bfloat16", 0),
    "jaccard": (0.1, 0),
    "hardest": (0.9, 1),
    "own_masks_from": (1.0, 2),
    "feedback": ("hard", 2),
    "freeze": (("backbone.",), 0),
}


@pytest.mark.parametrize("field", FIRST_STEPS)
def test_a_field_of_training_changes_the_first_steps(first_steps, field):
    value, first = FIRST_STEPS[field]
    one, other = first_steps(RUN), first_steps(with_training(**{field: value}))
    assert not same(one, other)
    assert one["rows"][:first] == other["rows"][:first]
    if first < STEPS:
        assert one["rows"][first] != other["rows"][first]


def test_start_and_seed_change_the_first_loss_each_in_its_way(first_steps, monkeypatch):
    base = first_steps(RUN)
    start = str(base["folder"] / "weights.safetensors")
    started = first_steps(with_training(start=start))
    assert started["rows"][0][0] != base["rows"][0][0]
    other_clips = first_steps(with_training(start=start, seed=1))
    assert other_clips["rows"][0][0] != started["rows"][0][0], "the weights are the same, so the clips must differ"
    fields = []

    def always_of_seed_0(data, seed, position):
        fields.append((data, seed, position))
        return drawn(data, 0, position)

    monkeypatch.setattr(loop, "training_clip", always_of_seed_0)
    other_weights = first_steps.__wrapped__(with_training(seed=2))
    assert other_weights["rows"][0][0] != base["rows"][0][0], "the clips are the same, so the weights must differ"
    clips = STEPS * TRAINING.batch
    assert fields[:clips] == [(RUN.data, 2, position) for position in range(clips)
                              ], "each position once, of the data and the seed asked for"


@pytest.mark.parametrize("parts", [1, 2])
def test_accumulate_is_the_number_of_backward_passes_a_step(first_steps, monkeypatch, parts):
    """It changes no more than rounding, so that what it does is counted."""
    sizes = []
    monkeypatch.setattr(loop, "segmentation_loss",
                        lambda logits, *rest: sizes.append(len(logits)) or segmentation_loss(logits, *rest))
    result = first_steps.__wrapped__(with_training(accumulate=parts))
    assert sizes == [TRAINING.batch // parts * (RUN.data.frames - 1)] * parts * STEPS
    np.testing.assert_allclose(result["rows"], first_steps(RUN)["rows"], rtol=2e-3)


@pytest.mark.parametrize("every, written", [(1, [1, 2, 3]), (2, [2, 3]), (100, [3])])
def test_checkpoint_every_is_how_often_a_run_is_saved(monkeypatch, tmp_path, every, written):
    saved = []
    monkeypatch.setattr(loop._Run, "save", lambda run: saved.append(run.step))
    train(with_training(checkpoint_every=every), tmp_path, until=STEPS, quiet=True)
    assert saved == written


def test_presence_weighs_the_loss_of_its_head(first_steps):
    """By as much as the weights differ, in the first step; and the head learns from it."""
    runs = [first_steps(with_training(presence=weight).replace(model=MODEL.replace(presence=True)))
            for weight in (0.0, 0.1, 0.4)]
    losses, norms = zip(*(run["rows"][0][:2] for run in runs))
    assert losses[1] > losses[0] and len(set(norms)) == 3
    np.testing.assert_allclose(losses[2] - losses[0], 4 * (losses[1] - losses[0]), rtol=1e-3)
    assert not torch.equal(runs[0]["weights"]["presence.out.bias"], runs[2]["weights"]["presence.out.bias"])


def test_clips_begin_at_frame_numbers_that_only_an_absolute_time_code_tells_apart(first_steps):
    """The numbers are drawn anew each step, the same in a run that is started again, and fill their range."""
    absolute = MODEL.replace(width=16)
    for model, equal in ((absolute, False), (absolute.replace(encoding_time="buffer"), True)):
        one, other = (first_steps(with_training(latest_start=n).replace(model=model)) for n in (0, 1000))
        assert same(one, other) == equal
    config = TRAINING.replace(latest_start=6)
    drawn_numbers = [schedule.first_frame(config, step) for step in range(200)]
    assert set(drawn_numbers) == set(range(7)) and drawn_numbers[5:] == [
        schedule.first_frame(config, step) for step in range(5, 200)]
    assert drawn_numbers != [schedule.first_frame(config.replace(seed=config.seed + 1), step) for step in range(200)]
    assert {schedule.first_frame(TRAINING, step) for step in range(9)} == {0}


ELSEWHERE = {
    "latest_start": test_clips_begin_at_frame_numbers_that_only_an_absolute_time_code_tells_apart,
    "presence": test_presence_weighs_the_loss_of_its_head,
    "start": test_start_and_seed_change_the_first_loss_each_in_its_way,
    "seed": test_start_and_seed_change_the_first_loss_each_in_its_way,
    "accumulate": test_accumulate_is_the_number_of_backward_passes_a_step,
    "checkpoint_every": test_checkpoint_every_is_how_often_a_run_is_saved,
}


def names(config):
    return {field.name for field in dataclasses.fields(config)}


def test_no_field_is_forgotten():
    assert names(TrainingConfig) == {*FIRST_STEPS, *ELSEWHERE}
    assert names(DataConfig) == set(CLIPS)
    assert names(ModelConfig) == {*NETWORKS, "presence_gate"}  # of use alone: tests/test_finding_again.py
    assert names(RunConfig) == {"model", "training", "data"}


def disturb(monkeypatch):
    """Losses are scaled by random numbers, as dropout would change them, so that the state of the generator matters."""
    monkeypatch.setattr(loop, "segmentation_loss", lambda logits, *rest: (0.5 + torch.rand(
        ())) * segmentation_loss(logits, *rest))


RECIPES = {
    "modern": {"ema": 0.9},
    "sgd": {"optimizer": "sgd", "schedule": "poly", "accumulate": 2},
    "bfloat16": {"precision": "bfloat16", "ema": 0.0},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_whatever_the_recipe_a_resumed_run_ends_in_the_same_state(recipe, tmp_path, monkeypatch):
    disturb(monkeypatch)
    config, states = with_training(**RECIPES[recipe]), []
    for name, stops in (("whole", ()), ("resumed", (1, 2))):
        for stop in (*stops, None):
            train(config, tmp_path / name, until=stop, quiet=True)
        states.append(torch.load(tmp_path / name / "checkpoint" / "last.pt", weights_only=True))
    whole, resumed = states
    assert whole.keys() == resumed.keys() >= {"network", "average", "optimizer", "random", "step", "curve"}
    for state in states:
        seconds = [row["seconds"] for row in state["curve"]]
        assert state.pop("seconds") == seconds[-1] and seconds == sorted(seconds) and seconds[0] > 0
        state["curve"] = [
            {key: row[key] for key in ("step", "loss", "gradient_norm", "learning_rate")} for row in state["curve"]
        ]
    assert_equal(whole, resumed, "checkpoint")
    average = whole["average"]
    assert all(
        torch.equal(value, average[name])
        for name, value in load_file(tmp_path / "resumed" / "weights.safetensors").items())


def assert_equal(one, other, place):
    """Equal to the last bit, whatever is nested in what."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_equal(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other)):
            assert_equal(*pair, f"{place}/{number}")
    else:
        assert one == other, place


REAL = {"real": "davis2016", "real_ratio": 1.0}
CUT_OUTS = {"photo_ratio": 1.0, "frames": 8, "height": 48, "width": 64}
CLIPS = {  # a field of data: another value, and what else differs from RUN.data in both
    "height": (28, {}), "width": (40, {}), "frames": (2, {}), "objects": (1, {"objects": 3}),
    "difficulty": ("hard", {}), "real": ("davis2017", REAL),
    "real_ratio": (0.3, REAL), "max_gap": (6, REAL), "reference": ("anywhere", REAL), "held_out": (("bear",), REAL),
    "occluded": (1.0, {}), "photo_ratio": (1.0, {}), "hidden": (1.0, CUT_OUTS), "crop": ("cfbi", REAL),
    "pasted": (0.0, REAL), "relit": (False, REAL),
}


@pytest.fixture
def davis(tmp_path, monkeypatch):
    """Training splits of 2016, of two clips, and of 2017, of a third one."""
    for number, name in enumerate(("bear", "cows", "flamingo")):
        for t in range(12):
            labels = np.zeros((40, 56), np.uint8)
            labels[8:30, 4 + 2 * t:20 + 2 * t] = 1
            for part in ("JPEGImages", "Annotations"):
                (tmp_path / part / "480p" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng((number, t)).integers(0, 256, (40, 56, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg")
            video.write_mask(tmp_path / f"Annotations/480p/{name}/{t:05d}.png", labels)
    for year, listed in (("2016", "bear\ncows\n"), ("2017", "flamingo\n")):
        (tmp_path / "ImageSets" / year).mkdir(parents=True)
        (tmp_path / "ImageSets" / year / "train.txt").write_text(listed)
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    monkeypatch.setenv("SST_PHOTOGRAPHS", str(write_photographs(tmp_path / "photographs")))
    drawing.real_mixture.cache_clear()
    yield
    drawing.real_mixture.cache_clear()


@pytest.mark.parametrize("field", CLIPS)
def test_a_field_of_the_data_changes_the_clips(davis, field):
    value, both = CLIPS[field]
    data = RUN.data.replace(**both)
    (frames,
     labels), (others,
               truths) = (training_batch(one, seed=0, batch=6) for one in (data, data.replace(**{field: value})))
    if field in ("height", "width", "frames"):
        axis = {"frames": 1, "height": 2, "width": 3}[field]
        expected = [*labels.shape]
        expected[axis] = value
        assert list(truths.shape) == expected
    else:
        assert not torch.equal(frames, others)
    again = training_batch(data, seed=0, batch=6)
    assert torch.equal(frames, again[0]) and torch.equal(labels, again[1])


NETWORKS = {  # a field of the model: another value, and what else differs from MODEL in both
    "method": ("stm", {}), "layers": (("grid",), {}), "history": (2, {}), "keep_reference": (True, {}),
    "encoding": ("none", {}), "encoding_base": (20.0, {}), "encoding_axes": ("sum", {}),
    "encoding_time": ("buffer", {"width": 16}), "affinity": ("weight", {}), "heads": (4, {}),
    "width": (16, {}), "feedforward": (3, {}), "scaled": (True, {}),
    "causal": (True, {"layers": ("local(radius=1)",) * 2, "history": 2}),
    "norm": ("frn", {}), "profile": ("cfbi+sst", {}), "warped": ("features", {}),
    "matching": ("reference", {}), "backbone": ("resnet18", {}),
    "backbone_width": (16, {}), "embedding": (16, {}), "backbone_norm": ("group", {"backbone": "resnet18"}),
    "landmarks": (1, {"matching": "centered"}), "landmark_every": (1, {"matching": "centered", "landmarks": 1}),
    "presence": (True, {}), "presence_compared": (True, {"presence": True, "matching": "centered"}),
    "output_stride": (16, {"backbone": "resnet18"}), "decoder": ("ensembler", {}), "decoder_width": (16, {}),
}


def shapes(config):
    with torch.device("meta"):
        return {name: value.shape for name, value in build(config).state_dict().items()}


@pytest.mark.parametrize("field", NETWORKS)
@torch.no_grad()
def test_a_field_of_the_model_changes_its_weights_or_what_it_makes_of_them(field):
    value, both = NETWORKS[field]
    config = MODEL.replace(**both)
    other = config.replace(**{field: value})
    if shapes(config) != shapes(other):
        return
    torch.manual_seed(0)
    one, two = build(config).eval(), build(other).eval()
    for parameter in one.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    two.load_state_dict(one.state_dict())
    frames, masks = torch.rand(1, 4, 3, 33, 41), torch.nn.functional.one_hot((torch.rand(1, 33, 41) * 3).long(),
                                                                             3).permute(0, 3, 1, 2).float()
    apart = (unroll(one, frames, masks) - unroll(two, frames, masks)).abs()
    assert apart[:, -1].max() > 1e-4
