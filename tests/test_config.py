"""Every value of a configuration is checked by type and range, wherever it comes from, and refused in one line that
names it.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

from sstlib import weights
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, ModelConfig, RunConfig, TrainingConfig
from sstlib.config.fields import kinds
from sstlib.config.values import LARGEST, Flag, Kind, Number, OneOf, Text, Texts, Whole, shown
from sstlib.model import build
from sstlib.training import checkpoint

PARTS = {"model": ModelConfig, "training": TrainingConfig, "data": DataConfig}
FIELDS = [(part, name, kind) for part, config in PARTS.items() for name, kind in kinds(config).items()]
EACH_FIELD = pytest.mark.parametrize("part, name, kind", FIELDS, ids=[f"{part}.{name}" for part, name, _ in FIELDS])


def wrong_values(kind):
    """Values that no field of this kind may take."""
    always = [None, {}, [1], [["grid"]], {"a": 1}]
    if isinstance(kind, Whole):
        return [
            *always, kind.least - 1, kind.most + 1, True, False,
            float(kind.least), 1.5, "1", "many",
            float("nan"), 10**400
        ]
    if isinstance(kind, Number):
        low = kind.least if kind.above else kind.least - abs(kind.least) * 1e-6 - 1e-6
        return [
            *always, low, kind.most * 1.001 if kind.most < 1e300 else float("inf"), True, "0.5",
            float("nan"),
            float("inf"),
            float("-inf"), 10**400
        ]
    if isinstance(kind, Flag):
        return [*always, 0, 1, 0.0, "true", "False", "maybe", ""]
    if isinstance(kind, OneOf):
        return [*always, "", "none of these", next(iter(kind.names)).upper(), 1, True, [*kind.names][:1]]
    if isinstance(kind, Texts):
        return [None, {}, 5, True, [5], ["grid", None], ["x"] * (kind.most + 1), *([[]] if kind.least else [])]
    return [*always, 5, True, 1.5]


def test_json_round_trip_is_the_identity():
    config = RunConfig(model=ModelConfig(layers=("grid", "strided(stride=3)"), history=2))
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_key_names_the_nearest_known_one():
    with pytest.raises(ValueError,
                       match=r"^run.json: model.histroy: ModelConfig has no key 'histroy'; did you mean 'history'"):
        RunConfig.from_dict({"model": {"histroy": 3}}, "run.json: ")


@pytest.mark.parametrize("field, value", [("encoding", "sinus"), ("method", "sam"), ("history", 0), ("heads", 7),
                                          ("output_stride", 4)])
def test_bad_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        ModelConfig(**{field: value})


@EACH_FIELD
def test_each_field_says_what_it_takes_and_takes_its_default(part, name, kind):
    assert type(kind) is not Kind, "a field needs a kind: whole(...), number(...), choice(...), texts(...), bool or str"
    default = next(field.default for field in dataclasses.fields(PARTS[part]) if field.name == name)
    assert kind.check(default, name) == default


@EACH_FIELD
def test_each_field_refuses_other_types_and_what_is_out_of_range(part, name, kind):
    for value in wrong_values(kind):
        with pytest.raises(ValueError, match=rf"^it: {part}\.{name} is ") as refused:
            RunConfig.from_dict({part: {name: value}}, "it: ")
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 400 and "; expected " in str(refused.value)


@EACH_FIELD
def test_each_field_takes_the_ends_of_its_range(part, name, kind):
    together = {
        "batch": {"accumulate": 1}, "accumulate": {"batch": 100_000}, "real_ratio": {"real": "davis2016"},
        "held_out": {"real": "davis2016"}, "heads": {"width": 2048}, "output_stride": {"backbone": "resnet18"},
        "landmarks": {"matching": "centered"}
    }.get(name, {})
    if part == "model" and name == "width":
        together = {"heads": 1}
    ends = [kind.least, kind.most] if isinstance(kind, Whole) else list(kind.names) if isinstance(kind, OneOf) else []
    for value in ends:
        assert getattr(PARTS[part].from_dict({name: value, **together}), name) == value


def test_whole_numbers_are_meant_where_any_number_is():
    config = TrainingConfig.from_dict({"learning_rate": 1, "ema": 0})
    assert (config.learning_rate, config.ema) == (1.0, 0.0) and type(config.learning_rate) is float


@pytest.mark.parametrize("text, part, name, value",
                         [("model.causal=False", "model", "causal", False),
                          ("model.causal=true", "model", "causal", True),
                          ("model.layers=grid", "model", "layers", ("grid",)),
                          ('model.layers=["grid","dense"]', "model", "layers", ("grid", "dense")),
                          ('model.encoding="none"', "model", "encoding", "none"),
                          ("training.start=5", "training", "start", "5"),
                          ("training.start=a=b", "training", "start", "a=b"),
                          ("training.ema=0", "training", "ema", 0.0),
                          ("training.learning_rate=1e-2", "training", "learning_rate", 0.01),
                          ("training.learning_rate=.5", "training", "learning_rate", 0.5),
                          ("training.steps=1_000", "training", "steps", 1000),
                          ("training.freeze=", "training", "freeze", ())])
def test_a_text_means_what_its_field_takes(text, part, name, value):
    result = getattr(getattr(RunConfig().with_changes([text]), part), name)
    assert result == value and type(result) is type(value)


def test_fields_that_do_not_go_together_are_named():
    for part, values, message in [("model", {"heads": 7}, "model.width 64 does not divide into 7 heads"),
                                  ("training", {"accumulate": 3}, "training.batch 4 does not divide into 3 accumulated "
                                   "parts"),
                                  ("data", {"real_ratio": 0.5}, "data.real_ratio is 0.5, and real names no data set"),
                                  ("data", {"held_out": "bear"},
                                   r"data.held_out is \['bear'\], and real names no data set")]:
        with pytest.raises(ValueError, match=f"^{message}"):
            RunConfig.from_dict({part: values})


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "Traceback" not in message, message
    return message


CHANGES = {
    "training.steps=1e1": "training.steps is 10.0; expected a whole number of at least 1 and at most 1000000000, "
    "written 10",
    "training.batch=2.0": "training.batch is 2.0",
    "training.accumulate=0": "training.accumulate is 0",
    "training.checkpoint_every=0": "training.checkpoint_every is 0",
    "training.learning_rate=nan": "training.learning_rate is 'nan'",
    "training.learning_rate=NaN": "training.learning_rate is nan",
    "training.learning_rate=-Infinity": "training.learning_rate is -inf",
    "training.learning_rate=1e999": "training.learning_rate is inf",
    "data.frames=1": "data.frames is 1; expected a whole number of at least 2 and at most 1000",
    "model.heads=0": "model.heads is 0",
    "model.history=1.5": "model.history is 1.5",
    "training.ema=2": "training.ema is 2; expected a number of at least 0",
    "training.jaccard=-3": "training.jaccard "
    "is -3",
    "training.clip_norm=0": "training.clip_norm is 0; expected a number above 0",
    "data.held_out=bear": "data.held_out "
    "is ['bear']",
    "training.seed=18446744073709551616": "training.seed is 18446744073709551616; expected a whole number of at least "
                                          f"0 and at most {LARGEST}",
    "data.objects=0": "data.objects is 0; expected a whole number of at least 1 and at most 254",
    "model.causal=maybe": "model.causal is 'maybe'; expected true or false",
    "model.causal=1": "model.causal is '1'",
    "training.seed=true": "training.seed is True",
    "training.seed=-1": "training.seed is -1",
    "model=3": "--set model=3: expected PART.KEY=VALUE",
    "=3": "--set =3: expected",
    "model.=3": "--set model.=3: "
    "expected",
    "a=b=c": "--set a=b=c: expected",
    "model": "--set model: expected",
    "": "what follows --set is empty",
    "modle.history=3": "expected PART.KEY=VALUE with PART "
    "one of model, training, data",
    "model.history.x=3": "ModelConfig has no key 'history.x'",
    "training.steps=": "training.steps is ''",
    "model.layers=[]": "model.layers is []",
    "training.steps={[]:1}": "training.steps is '{[]:1}'",
    "training.steps=" + "9" * 5000: "training.steps is",
    "training.steps=" + "[" * 9000: "training.steps is '[[[[",
    "model.layers=gird": "model.layers: unknown connectivity 'gird'",
    "data.difficulty=esay": "data.difficulty: unknown preset of generated clips 'esay'",
    "data.photo_ratio=0.5": "data.photo_ratio: no photographs with masks: set SST_PHOTOGRAPHS",
    "training.start=esay": "training.start: no weights 'esay'",
    "training.start=backbone:esay": "training.start: no weights 'esay'",
}


@pytest.mark.parametrize("change, message", CHANGES.items(), ids=[change[:40] for change in CHANGES])
def test_a_change_on_the_command_line_is_refused_before_anything_is_made(change, message, tmp_path, monkeypatch,
                                                                         capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tiny", "--out", "run", "--set", change]) == 2
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())


FILES = {
    "[]": "holds []; expected a JSON object",
    "null": "holds None",
    "5": "holds 5",
    '"tiny"': "holds 'tiny'",
    "": "is not JSON",
    "{": "is not JSON",
    '{"training": 5}': "training is 5; expected an object with the keys steps, batch",
    '{"training": null}': "training is None",
    '{"model": []}': "model is []",
    '{"training": {"steps": 5, "steps": 6}}': "the key 'steps' is there twice",
    '{"training": {"learning_rate": NaN}}': "NaN is no number",
    '{"training": {"learning_rate": -Infinity}}': "-Infinity is no number",
    '{"training": {"learning_rate": 1e400}}': "training.learning_rate is inf",
    '{"training": {"steps": ' + "1" * 300 + "}}": "training.steps is 1111",
    '{"training": {"steps": ' + "1" * 5000 + "}}": "is not JSON",
    '{"steps": 5}': "RunConfig has no key 'steps'",
    '{"model": {"training": {}}}': "ModelConfig has no key 'training'",
    '{"model": {"layers": "grid", "causal": "False"}}': "model.causal is 'False'",
    '{"model": ' * 100_000: "nested too deeply",
    "\xff\xfe{}": "is not JSON",
    '{"model": {"' + "x" * 1000 + '": 1}}': "ModelConfig has no key 'xxxx",
    '{"model": {"layers": ["grid", "gird"]}}': "run.json: model.layers: unknown connectivity 'gird'",
    '{"data": {"difficulty": "easy+esay"}}': "run.json: data.difficulty: unknown preset of generated clips 'esay'",
    '{"data": {"real": "daivs", "real_ratio": 0.5}}': "run.json: data.real: unknown data set 'daivs'",
    '{"training": {"start": "esay"}}': "run.json: training.start: no weights 'esay'",
    '{"training": {"start": "backbone:esay"}}': "run.json: training.start: no weights 'esay'",
    '{"training": {"start": "run.json"}}': "run.json: training.start: run.json is not a safetensors file",
    '{"training": {"freeze": ["esay"]}}': "run.json: training.freeze names 'esay'",
}


@pytest.mark.parametrize("text, message", FILES.items(), ids=[repr(text[:40]) for text in FILES])
def test_a_file_is_refused_by_its_name_before_anything_is_made(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    assert main(["train", "run.json", "--out", "run"]) == 2
    output = one_line(capsys)
    assert output.startswith("sst train: run.json") and message in output and len(output) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_key_that_the_command_changes_is_not_said_to_be_of_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text('{"model": {"layers": ["gird"]}}')
    assert main(["train", "run.json", "--set", "model.layers=lokal"]) == 2
    assert one_line(capsys).startswith("sst train: model.layers: unknown connectivity 'lokal'")


def test_a_pattern_in_weights_that_nobody_knows_is_named_by_file_and_key(tmp_path):
    network = build(MODELS["sst-tiny"])
    network.config = Plain(network.config.to_dict() | {"layers": ["gird"]})
    path = weights.save(network, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"bad.safetensors: config.layers: unknown connectivity 'gird'"):
        weights.load(path)


@EACH_FIELD
def test_weights_and_checkpoints_are_refused_by_the_same_rules(part, name, kind, tmp_path):
    value = next(value for value in wrong_values(kind) if value is not None)
    if part == "model":
        network = build(MODELS["sst-tiny"])
        network.config = Plain(network.config.to_dict() | {name: value})
        path = weights.save(network, tmp_path / "bad.safetensors")
        with pytest.raises(ValueError, match=rf"bad.safetensors: config.{name} is .*expected"):
            weights.load(path)
    config = RunConfig().to_dict()
    config[part][name] = value
    checkpoint.save(tmp_path / "last.pt", STATE | {"config": config})
    with pytest.raises(ValueError, match=rf"last.pt: config.{part}.{name} is .*expected"):
        checkpoint.load(tmp_path / "last.pt", RunConfig())


STATE = {
    "step": 1, "curve": [], "seconds": 1.0, "network": {}, "average": {}, "optimizer": {},
    "random": torch.get_rng_state()
}


class Plain(dict):
    """Stands where a configuration is asked for its values."""

    def to_dict(self):
        return dict(self)


def test_what_was_written_before_a_field_existed_means_its_default(tmp_path):
    config = RunConfig().to_dict()
    config["model"].pop("matching")
    checkpoint.save(tmp_path / "last.pt", STATE | {"config": config})
    assert checkpoint.load(tmp_path / "last.pt", RunConfig())["step"] == 1
    with pytest.raises(ValueError, match="of a run with model.matching = 'none', this one has 'reference'"):
        checkpoint.load(tmp_path / "last.pt", RunConfig(ModelConfig(matching="reference")))


OPTIONS = [["train", "tiny", "--threads", "-2"], ["train", "tiny", "--threads", "0"],
           ["train", "tiny", "--threads", "2.5"], ["train", "tiny", "--workers", "-1"],
           ["train", "tiny", "--workers", "many"], ["train", "tiny", "--profile", "0"], ["sweep", "--workers", "0"],
           ["sweep", "--seed", "-1"], ["sweep", "--seed", "1.5"], ["reproduce", "--workers", "-1"],
           ["reproduce", "--only"], ["release", "sst-small", "--threads", "0"], ["model", "sst-tiny", "--objects", "0"],
           ["model", "sst-tiny", "--depth", "0"], ["model", "sst-tiny", "--threads", "nan"],
           ["model", "sst-tiny", "--stream", "1e3"], ["model", "sst-tiny", "--set", "history=1.5"],
           ["model", "sst-tiny", "--set", "=3"], ["model", "sst-tiny", "--size", "0x0"],
           ["model", "sst-tiny", "--set", "layers=gird"],
           ["bench", "attention", "--json", "b.json", "--device", "cuda:99"],
           ["bench", "attention", "--json", "b.json", "--device", "gpu"],
           ["bench", "attention", "--json", "b.json", "--device", "cpu:1:2"], ["nonsense"], [], ["train"],
           ["train", "tiny", "--nonsense"]]


@pytest.mark.parametrize("arguments", OPTIONS, ids=" ".join)
def test_options_are_checked_while_they_are_read(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    message = one_line(capsys)
    assert message.startswith("sst")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[]", "{}", '{"parts": {}, "left_out": {}, "rows": 5}', '{"parts": {}, "left_out": '
                                                                                          '{}, "rows": [{"part": '
                                                                                          '"S1"}]}',
                                  '{"parts": [], "left_out": {}, "rows": []}', "{"])
def test_a_record_that_cannot_be_merged_with_is_refused_before_anything_is_measured(text, tmp_path, capsys):
    (tmp_path / "record.json").write_text(text)
    assert main(["bench", "attention", "--quick", "--sizes", "S1", "--merge", "--json",
                 str(tmp_path / "record.json")]) == 2
    assert "record.json" in one_line(capsys) and (tmp_path / "record.json").read_text() == text


def test_kinds_say_what_they_expect():
    assert Number().says == "a finite number" and Number(0, 1).says == "a number of at least 0 and at most 1"
    assert Whole(2).says == "a whole number of at least 2" and Whole(-LARGEST).says == "a whole number"
    assert Text().says == "a text"


def test_a_value_is_quoted_in_one_line():
    """Of arrays and tensors Python shows several."""
    assert shown(np.eye(2)) == "array([[1., 0.], [0., 1.]])" and shown("a\nb") == "'a\\nb'"
