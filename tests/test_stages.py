"""Long runs in legs: what a leg leaves for the next one, on this machine or another."""

import json
import re
from pathlib import Path

import pytest
import torch

from sstlib import paths, weights
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.config.presets import HELD_OUT, PRESETS
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.training import train
from sstlib.training.loop import probe_masks
from sstlib.training.start import first_network, freeze, source_files

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
        assert config.data.held_out == HELD_OUT and len(HELD_OUT) == 6
        before = legs.get(f"sst-photo-{number - 1}")
        same = before is None or before.model == config.model
        parts = "" if same else "parts:"  # what is new in the network begins with nothing
        assert before is None or config.training.start == f"{parts}stages/sst-photo-{number - 1}"
    assert len({config.training.seed for config in legs.values()}) == len(legs)
    assert config.model == MODELS["sst-photo"]


LEGS = {
    "sst-small": ["sst-small-1", "sst-small-2"],
    "sst-small-davis2016": ["sst-small-1", *(f"sst-small-davis2016-{number}" for number in (1, 2, 3))],
    "sst-small-occlusion": ["sst-small-1", "sst-small-2", "sst-small-3"],
    "sst-photo": ["sst-small-1", "sst-small-2", *(f"sst-photo-{number}" for number in (1, 2, 3, 4))]
}


@pytest.mark.parametrize("name", weights.released())
def test_every_leg_of_a_release_has_its_recipe(name):
    """What its weights tell of their training is what the preset trains; only where it starts has another name now."""
    legs = LEGS[name]
    for number, (run, leg) in enumerate(zip(weights.lineage(name), legs, strict=True)):
        recipe, made = PRESETS[leg].to_dict(), run["run"]
        for part in ("model", "training", "data"):
            assert {key: recipe[part][key] for key in made[part] if key != "start"} == {
                key: value for key, value in made[part].items() if key != "start"}, (leg, part)
        before = f"(parts:)?(stages/{legs[number - 1]}|sst-small(,backbone:wheel)?)" if number else ""
        assert re.fullmatch(before, recipe["training"]["start"]), leg


@pytest.mark.parametrize("start, files", [
    ("", []), ("sst-small", ["sst-small"]), ("parts:sst-small,backbone:sst-photo", ["sst-small", "sst-photo"]),
    ("backbone:here.pth", [Path("here.pth")])])
def test_a_start_reads_the_files_that_it_names(start, files):
    assert source_files(start) == [one if isinstance(one, Path) else weights.find(one) for one in files]


def test_a_leg_whose_start_is_not_there_says_how_to_make_it(tmp_path, capsys):
    assert main(["train", "sst-small-2", "--out", str(tmp_path / "run")]) == 2 and not any(tmp_path.iterdir())
    message = capsys.readouterr().err
    assert "'stages/sst-small-1'" in message and "sst train sst-small-1, then sst release" in message


def test_the_third_leg_teaches_the_presence_head_alone():
    """And of it what is made of the comparison. Masks are those of the second leg, but for what is held back."""
    config = PRESETS["sst-photo-3"]
    torch.manual_seed(0)
    network = freeze(build(config.model), config.training.freeze)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"presence.compared.weight", "presence.compared.bias"}
    assert PRESETS["sst-photo-2"].model == config.model.replace(presence_compared=False, presence_gate=0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_recipe_can_be_probed(name):
    """At each checkpoint: with the recipe's own kind of generated clips, whatever it holds out of real ones."""
    data = PRESETS[name].data.replace(height=32, width=48, frames=3)
    _, truth, predicted = probe_masks(build(MODELS["sst-tiny"]), data, 0)
    assert truth.shape == predicted.shape == (3, 32, 48) and truth[0].any()


def test_the_papers_setting_is_cfbis_recipe_on_davis_with_a_quarter_of_its_steps():
    """Values of CFBI's configuration and of what SST's changes in it, as both were published."""
    paper, rival = PRESETS["sst-paper"], PRESETS["cfbi"]
    assert paper.model == MODELS["sst-r101-paper"] and rival.model.method == "cfbi"
    assert paper.training.replace(steps=1) == rival.training.replace(steps=1)
    training, data = paper.training, paper.data
    assert (training.steps, training.batch, training.optimizer, training.learning_rate, training.warmup) == (
        25_000, 8, "sgd", 0.01, 1000)
    assert (training.schedule, training.weight_decay, training.clip_norm) == ("poly", 15e-5, 5.0)
    assert training.hardest == 0.15
    assert (training.own_masks_from, training.jaccard, training.ema) == (0.5, 0.0, 0.0)
    assert (data.height, data.width, data.frames, data.objects, data.max_gap) == (465, 465, 5, 5, 3)
    assert (data.real, data.real_ratio, data.reference, data.crop, data.pasted, data.relit) == (
        "davis2017", 1.0, "anywhere", "cfbi", 0.0, False)


@pytest.mark.parametrize("name", ["sst-paper", "cfbi"])
def test_frozen_normalization_does_not_start_from_nothing(name, tmp_path, monkeypatch):
    """ResNet-18 in the place of 101: the rule is the same, and its weights are made in a moment."""
    config = PRESETS[name].replace(model=PRESETS[name].model.replace(backbone="resnet18", output_stride=8,
                                                                     decoder="small"))
    for start in ("", "parts:sst-small"):
        monkeypatch.setattr(weights, "graft", lambda *_: None)
        monkeypatch.setattr(weights, "lineage", lambda *_: [])
        with pytest.raises(ValueError, match="frozen normalization.*--pretrained.*backbone_norm=group"):
            first_network(config.replace(training=config.training.replace(start=start)))
    learned = config.replace(model=config.model.replace(backbone_norm="group"))
    assert first_network(learned)[1] == []
    trunk = build(config.model).backbone.backbone
    state = {key: torch.rand_like(value) if value.is_floating_point() else value
             for key, value in trunk.state_dict().items()}
    torch.save(state, tmp_path / "resnet18.pth")
    written = tmp_path / "run.json"
    written.write_text(json.dumps(config.to_dict()))
    trained = []
    monkeypatch.setattr("sstlib.training.train", lambda config, *_, **__: trained.append(first_network(config)[0]))
    assert main(["train", str(written), "--pretrained", str(tmp_path / "resnet18.pth"), "--out", str(tmp_path)]) == 0
    assert torch.equal(trained[0].backbone.backbone.state_dict()["bn1.running_var"], state["bn1.running_var"])


def test_help_lists_the_presets(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    message = re.sub(r"-\n +", "-", capsys.readouterr().out)  # names are broken at their hyphens
    assert all(re.search(rf"\b{name}\b", message) for name in PRESETS)
