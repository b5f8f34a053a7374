"""Long runs in legs: what a leg leaves for the next one, on this machine or another."""

import pytest
import torch

from sstlib import paths, weights
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.training import train
from sstlib.training.loop import probe_masks
from sstlib.training.presets import HELD_OUT, PRESETS
from sstlib.training.start import first_network

PHOTO = RunConfig(MODELS["sst-tiny"], TrainingConfig(steps=9, start="parts:sst-small,backbone:wheel"),
                  DataConfig(real="davis2016", real_ratio=0.5, photo_ratio=0.3))


@pytest.fixture
def leg(tmp_path, monkeypatch):
    """A folder as `sst train` leaves it in the middle of a leg; and where stages go."""
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path / "weights")
    torch.manual_seed(0)
    before = {"name": "first", "step": 3, "run": PHOTO.to_dict()}
    weights.save(build(PHOTO.model), tmp_path / "run" / "weights.safetensors", run=PHOTO.to_dict(), step=5,
                 origin=provenance("davis2016"), training_seconds=60.0, ancestry=[before])
    return tmp_path / "run"


def test_a_stage_is_half_the_size_and_the_next_leg_starts_from_it(leg, capsys):
    assert main(["release", str(leg), "first-leg", "--stage"]) == 0
    path = paths.WEIGHTS / "stages" / "first-leg.safetensors"
    assert capsys.readouterr().out.strip() == str(
        path) and path.stat().st_size < 0.75 * (leg / "weights.safetensors").stat().st_size
    network, runs = first_network(RunConfig(PHOTO.model, TrainingConfig(start="stages/first-leg")))
    whole = weights.load(leg / "weights.safetensors").state_dict()
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, whole[name].half().float())
    assert [run["step"] for run in runs] == [3, 5] and runs[1]["run"] == PHOTO.to_dict()
    facts = weights.facts("stages/first-leg")
    assert facts["trained_on"] == "davis2016+photographs" and "COCO" in facts["terms"] and "Non-commercial" in facts[
        "terms"]
    assert weights.released() == []


def test_a_stage_is_made_of_a_run_alone(leg, capsys):
    assert main(["release", str(leg), "first-leg", "--stage", "--data", "davis2016"]) == 2
    assert "--stage goes with RUN and NAME alone" in capsys.readouterr().err
    assert not (paths.WEIGHTS / "stages").exists()


def test_a_small_backbone_starts_as_a_released_one_and_stays(tmp_path):
    small = MODELS["sst-small"]
    config = RunConfig(
        small.replace(profile="strict", layers=("local(radius=1)",), matching="none", decoder_width=16),
        TrainingConfig(steps=1, batch=1, start="backbone:sst-small", freeze=("backbone.",)),
        DataConfig(height=32, width=32, frames=2))
    with pytest.raises(ValueError, match="sst-small has no .* of this shape in its backbone"):
        train(config.replace(model=config.model.replace(embedding=32)), tmp_path / "other", quiet=True)
    network, released = train(config, tmp_path / "run", quiet=True), weights.load("sst-small")
    for name, value in released.backbone.state_dict().items():
        assert torch.equal(network.backbone.state_dict()[name], value), name
    assert not torch.equal(network.project.weight, released.project.weight), "the rest is its own"


def test_legs_follow_each_other_and_leave_the_held_out_alone():
    legs = {name: config for name, config in PRESETS.items() if name.startswith("sst-photo-")}
    assert [*legs] == [f"sst-photo-{number}" for number in range(1, len(legs) + 1)]
    for number, config in enumerate(legs.values(), 1):
        assert config.model == legs["sst-photo-1"].model and config.data.held_out == HELD_OUT and len(HELD_OUT) == 6
        assert number == 1 or config.training.start == f"stages/sst-photo-{number - 1}"
    assert len({config.training.seed for config in legs.values()}) == len(legs)


@pytest.mark.parametrize("name", PRESETS)
def test_every_recipe_can_be_probed(name):
    """At each checkpoint: with the recipe's own kind of generated clips, whatever it holds out of real ones."""
    data = PRESETS[name].data.replace(height=32, width=48, frames=3)
    _, truth, predicted = probe_masks(build(MODELS["sst-tiny"]), data, 0)
    assert truth.shape == predicted.shape == (3, 32, 48) and truth[0].any()
