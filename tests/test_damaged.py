"""Damaged configurations, weights, checkpoints and records: one line that names the file, nothing half-written, no
hang; seeds are fixed.
"""

import io
import json
import random

import pytest
import torch

from sstlib import paths
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.experiments import run
from sstlib.experiments.records import RunRecord
from sstlib.model import build
from sstlib.provenance import provenance
from sstlib.reproduction.task import Task, read_record
from sstlib.training import checkpoint, loop

pytestmark = pytest.mark.slow
CONFIG = RunConfig(MODELS["sst-tiny"], TrainingConfig(steps=2, batch=2, checkpoint_every=1),
                   DataConfig(height=32, width=48, frames=2, objects=1))
ODD = [
    None, True, False, 0, -1, 2.5, 1e308, -1e308, 10**30, "", "x", "0", "nan", [], [1], [[]], {}, {"a": 1}, "\x00",
    "é" * 500, [None] * 70
]


def cut_and_flipped(content, rng):
    """The bytes cut off, with some of them changed, or with a stretch moved, doubled or zeroed."""
    content, kind = bytearray(content), rng.randrange(5)
    start = rng.randrange(max(1, len(content)))
    if kind == 0:
        del content[start:]
    elif kind == 1:
        for _ in range(rng.choice([1, 1, 8, 64])):
            if content:
                content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 2:
        content[start:start + rng.randrange(1, 200)] = b""
    elif kind == 3:
        content[start:start] = content[:rng.randrange(1, 400)]
    else:
        content[start:start + 50] = bytes(min(50, len(content) - start))
    return bytes(content)


def changed(value, rng):
    """Plain values with one of them, anywhere, replaced by an odd one, left out or renamed."""
    value = json.loads(json.dumps(value))
    where = value
    while isinstance(where, dict) and where:
        key = rng.choice(list(where))
        if not isinstance(where[key], dict) or not where[key] or rng.random() < 0.2:
            break
        where = where[key]
    kind = rng.randrange(4)
    if kind == 0:
        where.pop(key)
    elif kind == 1:
        where[rng.choice(["", "x" * 300, key + "s", "\n"])] = where.pop(key)
    else:
        where[key] = rng.choice(ODD)
    return value


def damaged_text(value, rng):
    """A JSON file with something wrong in it, or nothing."""
    if rng.random() < 0.4:
        return cut_and_flipped(json.dumps(value, indent=1).encode(), rng)
    return json.dumps(changed(value, rng)).encode()


def ends_well(arguments, capsys, *, names):
    """Status 0, or 2 with one line that names the file and is none of the net below the readers."""
    status = main(arguments)
    message = capsys.readouterr().err
    assert status in (0, 2), message
    if status == 2:
        assert message.count("\n") == 1 and len(message) < 1500, message
        assert "SST_DEBUG" not in message and names in message, message
    return status


def test_configurations(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sstlib.training.train", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    refused = 0
    for seed in range(150):
        (tmp_path / "run.json").write_bytes(damaged_text(CONFIG.to_dict(), random.Random(seed)))
        refused += ends_well(["train", "run.json", "--out", "run"], capsys, names="run.json") == 2
        assert [path.name for path in tmp_path.iterdir()] == ["run.json"], seed
    assert refused > 100


def test_every_configuration_that_is_taken_makes_a_network_or_says_why_not():
    from sstlib.config.fields import kinds
    from sstlib.config.values import Flag, OneOf, Whole

    built = 0
    for seed in range(150):
        rng, values = random.Random(seed), MODELS["sst-tiny"].to_dict()
        for name, kind in rng.sample(sorted(kinds(type(MODELS["sst-tiny"])).items()), 5):
            if isinstance(kind, Whole):
                values[name] = rng.choice([kind.least, kind.least + 1, 7, 12, 24, 60])
            elif isinstance(kind, OneOf):
                values[name] = rng.choice(list(kind.names))
            elif isinstance(kind, Flag):
                values[name] = rng.random() < 0.5
        try:
            config = type(MODELS["sst-tiny"]).from_dict(values)
            with torch.device("meta"):
                build(config)
            built += 1
        except ValueError as error:
            assert "\n" not in str(error)
    assert built > 40


def odd_weights(network, facts, rng, path):
    """A weights file with other tensors, other metadata or other bytes."""
    from safetensors.torch import save

    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    metadata = {
        "config": json.dumps(network.config.to_dict()), **{key: json.dumps(value) for key, value in facts.items()}
    }
    kind, name = rng.randrange(6), rng.choice(list(tensors))
    if kind == 0:
        tensors[name].view(-1)[0] = rng.choice([float("nan"), float("inf")])
    elif kind == 1:
        tensors[name] = tensors[name].to(rng.choice([torch.float16, torch.float64, torch.int32]))
    elif kind == 2:
        tensors[name] = torch.zeros(rng.choice([(0,), (1, 2, 3), ()]))
    elif kind == 3:
        metadata["config"] = damaged_text(network.config.to_dict(), rng).decode("latin-1").replace("\x00", "")
    elif kind == 4:
        key = rng.choice([*facts])
        metadata[key] = damaged_text(facts[key], rng).decode("latin-1").replace("\x00", "") if isinstance(
            facts[key], dict) else json.dumps(rng.choice(ODD))
    content = save(tensors, metadata)
    if kind == 5:
        size = int.from_bytes(content[:8], "little")
        head = rng.choice([size + 1, size - 1, 0, 2**63, 2**32, len(content)]).to_bytes(
            8, "little") if rng.random() < 0.3 else content[:8]
        content = head + cut_and_flipped(
            content[8:8 + size], rng) + content[8 + size:] if rng.random() < 0.7 else cut_and_flipped(content, rng)
    path.write_bytes(content)


def test_weights(tmp_path, monkeypatch, capsys):
    for name in ("WEIGHTS", "RUNS", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    folder, network = tmp_path / "run", build(CONFIG.model)
    facts = {"run": CONFIG.to_dict(), "step": 2, "origin": provenance("generated")}
    checkpoint.write_curve(folder / "curve.csv",
                     [{"step": 2, "loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.1, "seconds": 2.0}])
    refused = 0
    for seed in range(150):
        odd_weights(network, facts, random.Random(seed), folder / "weights.safetensors")
        status = ends_well(["release", str(folder), "sst-odd", "--data", "generated"], capsys,
                           names="weights.safetensors")
        assert (status == 0) == (paths.WEIGHTS / "sst-odd.safetensors").exists(), seed
        (paths.WEIGHTS / "sst-odd.safetensors").unlink(missing_ok=True)
        refused += status == 2
    assert refused > 100


def test_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "PROBE_CLIPS", 1)
    monkeypatch.setattr(loop._Run, "go", lambda run, *_: run.average)
    folder = tmp_path / "run"
    run_once(folder)
    whole = (folder / "checkpoint" / "last.pt").read_bytes()
    (tmp_path / "run.json").write_text(json.dumps(CONFIG.to_dict()))
    refused = 0
    for seed in range(100):
        rng = random.Random(seed)
        content = cut_and_flipped(whole, rng) if rng.random() < 0.4 else odd_checkpoint(whole, rng)
        (folder / "checkpoint" / "last.pt").write_bytes(content)
        refused += ends_well(["train", str(tmp_path / "run.json"), "--out", str(folder)], capsys, names="last.pt") == 2
        assert (folder / "checkpoint" / "last.pt").read_bytes() == content, seed
    assert refused > 60


def run_once(folder):
    """A checkpoint, without a step."""
    from sstlib.training.processes import Place

    state = loop._Run(CONFIG, folder, Place(0, 1, torch.device("cpu")))
    state.step, state.seconds = 1, 1.0
    state.curve = [{"step": 1, "loss": 1.0, "seconds": 1.0}]
    state.save()


def odd_checkpoint(whole, rng):
    state = torch.load(io.BytesIO(whole), weights_only=True)
    key = rng.choice(list(state))
    if key == "config":
        state["config"] = changed(state["config"], rng)
    elif isinstance(state[key], dict) and rng.random() < 0.7:
        inner = rng.choice(list(state[key]))
        state[key][inner] = rng.choice([None, 5, "x", [], {}, torch.zeros(3), torch.full((2, 2), float("nan"))])
    elif rng.random() < 0.3:
        state.pop(key)
    else:
        state[key] = rng.choice([*ODD, torch.zeros(3), torch.zeros(5056, dtype=torch.uint8)])
    buffer = io.BytesIO()
    torch.save(state if rng.random() < 0.9 else rng.choice([[], 5, None, {"config": 5}]), buffer)
    return buffer.getvalue()


def test_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "executed")
    one = run("base", 0)
    record = RunRecord("short", "base", 0, one.config.to_dict(), {"J&F": 0.5, "J": 0.4, "F": 0.6}, {"parameters": 7},
                       provenance("generated"))
    path, refused = record.write(), 0
    whole = json.loads(path.read_text())
    for seed in range(150):
        content = damaged_text(whole, random.Random(seed))
        path.write_bytes(content)
        refused += ends_well(["sweep", "history", "--list"], capsys, names="base-seed0.json") == 2
        assert path.read_bytes() == content, seed
    assert refused > 60


def test_records_of_notebooks(tmp_path):
    stamp = {"fingerprint": "one", "parameters": {}, "commit": "0", "versions": {}}
    task = Task("one", ("none",), tmp_path / "one.ipynb", tmp_path / "one.json", tmp_path / "one.log", stamp=stamp)
    task.output.write_text("{}")
    from sstlib.paths.digests import sha256

    whole = stamp | {"finished": "2026-01-01T00:00:00Z", "seconds": 1.0, "digest": sha256(task.output)}
    for seed in range(100):
        task.record.write_bytes(damaged_text(whole, random.Random(seed)))
        assert isinstance(read_record(task.record), dict) and task.done() in (True, False)
