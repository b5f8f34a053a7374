"""A run can be trusted: stopped anywhere it ends with the same bits, shared between processes it has the same curve."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from PIL import Image

from sstlib import paths, weights
from sstlib.benchmarks import training as profiling
from sstlib.cli import main
from sstlib.config import MODELS, DataConfig, RunConfig, TrainingConfig
from sstlib.config.presets import read_config
from sstlib.datasets import samples as training_data
from sstlib.model import SST, STM
from sstlib.model.resnet import ResNet
from sstlib.training import Diverged, Stopped, checkpoint, loop, schedule, train
from sstlib.training.processes import Place, Positions

CONFIG = RunConfig(MODELS["sst-tiny"],
                   TrainingConfig(steps=6, batch=2, checkpoint_every=2, warmup=2, own_masks_from=0.5, ema=0.9),
                   DataConfig(height=40, width=56, frames=3, objects=2))


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    monkeypatch.setattr(loop, "PROBE_CLIPS", 1)


def tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def losses_of(folder):
    return np.genfromtxt(folder / "curve.csv", delimiter=",", names=True)["loss"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    train(CONFIG, folder, quiet=True)
    return folder


@pytest.mark.parametrize("stops", [(1,), (3, 4)])
def test_stopped_and_resumed_runs_end_with_the_same_bits(undisturbed, tmp_path, stops):
    for stop in stops:
        train(CONFIG, tmp_path, until=stop, quiet=True)
    train(CONFIG, tmp_path, quiet=True)
    assert_same_bits(undisturbed, tmp_path)


def assert_same_bits(one, other):
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    np.testing.assert_array_equal(losses_of(one), losses_of(other))


TRAIN = """
import json, pathlib, sys, torch
torch.set_num_threads(1)
from sstlib.config import RunConfig
from sstlib.training import loop, train
loop.PROBE_CLIPS = 1
train(RunConfig.from_dict(json.loads(pathlib.Path(sys.argv[2]).read_text())), sys.argv[1], quiet=True)
"""


def start(folder, *launcher, config=CONFIG):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"
    }
    script = folder.parent / f"{folder.name}.py"
    script.write_text(TRAIN)
    written = script.with_suffix(".json")
    written.write_text(json.dumps(config.to_dict()))
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), str(folder),
         str(written)], env=environment, stderr=subprocess.PIPE, text=True)


def test_killed_at_any_moment_it_ends_with_the_same_bits(undisturbed, tmp_path):
    folder, kills = tmp_path / "run", 0
    for seconds in (0.05, 0.6):  # after the first checkpoint appeared: while learning, or while writing the next one
        process = start(folder)
        while process.poll() is None and not (folder / "checkpoint" / "last.pt").exists():
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += process.returncode == -signal.SIGKILL
    assert kills, "the run ended before it could be killed"
    with start(folder) as process:
        assert process.wait() == 0, process.stderr.read()
    assert_same_bits(undisturbed, folder)
    assert {path.name for path in folder.iterdir()} >= {"checkpoint", "curve.csv", "weights.safetensors"}


def test_two_runs_are_not_at_work_in_one_folder(tmp_path):
    """Both would begin at nothing and take turns in writing checkpoints, with the work of one for nothing."""
    folder = tmp_path / "run"
    with paths.alone(folder, make=True):
        with pytest.raises(ValueError, match="run: another run is at work in this folder; wait for it"):
            train(CONFIG, folder, until=1, quiet=True)
        assert not os.listdir(folder)
    train(CONFIG, folder, until=1, quiet=True)
    with paths.alone(folder):  # it is free again
        assert losses_of(folder).size == 1


def test_standard_output_is_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tiny", "--out", "-"]) == 2
    assert "- is standard output, and a folder is needed" in capsys.readouterr().err and not os.listdir()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_have_the_curve_of_one(tmp_path, accumulate):
    config = CONFIG.replace(training=CONFIG.training.replace(batch=4, accumulate=accumulate))
    train(config, tmp_path / "one", quiet=True)
    folder = tmp_path / "run"
    with start(folder, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", config=config) as process:
        assert process.wait() == 0, process.stderr.read()
    np.testing.assert_allclose(losses_of(folder), losses_of(tmp_path / "one"), rtol=2e-3)


def test_accumulated_parts_have_the_curve_of_the_whole_batch(undisturbed, tmp_path):
    train(CONFIG.replace(training=CONFIG.training.replace(accumulate=2)), tmp_path, quiet=True)
    np.testing.assert_allclose(losses_of(tmp_path), losses_of(undisturbed), rtol=2e-3)


def test_workers_do_not_change_what_is_learned(undisturbed, tmp_path):
    train(CONFIG, tmp_path, workers=1, quiet=True)
    assert_same_bits(undisturbed, tmp_path)


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "segmentation_loss", lambda logits, *rest: logits.sum() * (float("nan")
                                                                                         if torch.rand(()) >= 0 else 0))
    with pytest.raises(Diverged, match="step 0: loss nan.*none yet.*learning_rate"):
        train(CONFIG, tmp_path, quiet=True)
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_diverged_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    steps = []

    def grows_from_step_3(logits, *rest):
        steps.append(logits)
        return logits.square().mean() * 0 + (50.0 if len(steps) > 3 else 0.5)

    monkeypatch.setattr(loop, "segmentation_loss", grows_from_step_3)
    with pytest.raises(Diverged,
                       match="step 4: a mean loss of 20.3 over 5 steps; the last good checkpoint is .*last.pt"):
        monkeypatch.setattr(loop, "PATIENCE", 5)
        train(CONFIG.replace(training=CONFIG.training.replace(steps=30)), tmp_path)
    assert checkpoint.load(tmp_path / "checkpoint" / "last.pt",
                           CONFIG.replace(training=CONFIG.training.replace(steps=30)))["step"] == 2
    message = capsys.readouterr().err
    assert "loss " in message and "frames/s, J " in message and "nan" not in message


def test_checkpoint_of_another_configuration_is_refused_by_name(undisturbed):
    with pytest.raises(ValueError, match=r"training.learning_rate = 0.001, this one has 0.5"):
        train(CONFIG.replace(training=CONFIG.training.replace(learning_rate=0.5)), undisturbed, quiet=True)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_folder_that_cannot_be_is_refused_before_the_first_step(tmp_path, monkeypatch, capsys, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    monkeypatch.setattr(loop.Clips, "__getitem__", lambda *_: pytest.fail("a clip was drawn"))
    assert main(["train", "tiny", "--out", place]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "file" in message and "name another place" in message
    assert (tmp_path / "file").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_what_a_run_starts_from_is_not_overwritten_by_it(undisturbed, tmp_path, capsys):
    shutil.copyfile(undisturbed / "weights.safetensors", tmp_path / "weights.safetensors")
    before = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for start in (str(tmp_path / "weights.safetensors"), str(tmp_path / "link" / "weights.safetensors"), str(tmp_path),
                  f"backbone:{tmp_path / 'weights.safetensors'}"):
        config, run = tmp_path / "config.json", CONFIG.replace(training=CONFIG.training.replace(start=start))
        config.write_text(json.dumps(run.to_dict()))
        with pytest.raises(ValueError, match="which is read"):
            train(run, tmp_path)
        assert main(["train", str(config), "--out", str(tmp_path)]) == 2
        assert "weights.safetensors would be replaced" in capsys.readouterr().err
    assert (tmp_path / "weights.safetensors").read_bytes() == before and not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("command",
                         [["train", "run.json", "--profile", "1", "--json"], ["bench", "attention", "--json"],
                          ["model", "sst-tiny", "--json"]], ids=lambda command: command[0])
def test_a_record_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    for target in ("folder", "run.json/record.json", *["run.json"] * (command[0] == "train")):
        assert main([*command, target]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and target.split("/")[0] in message
    assert (tmp_path / "run.json").read_text() == "{}" and len(list(tmp_path.iterdir())) == 2


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint" / "last.pt"
    path.parent.mkdir()
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="last.pt is damaged, or no checkpoint; delete it"):
        train(CONFIG, tmp_path, quiet=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    monkeypatch.setattr(
        torch, "save", lambda state, file: (file.write(b"half"),
                                            (_ for _ in ()).throw(OSError(28, "No space left on device")))[1])
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"step": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"] and torch.load(path, weights_only=True) == {"step": 1}


@pytest.fixture
def stopped(tmp_path):
    """A run after its first checkpoint."""
    train(CONFIG, tmp_path / "run", until=2, quiet=True)
    return tmp_path / "run"


@contextlib.contextmanager
def files_of_at_most(size):
    """Every write beyond so many bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("file", ["curve.csv", "weights.safetensors"], ids=["weights", "checkpoint"])
def test_a_run_on_a_full_disk_says_so_and_goes_on_later(undisturbed, stopped, file):
    before = (stopped / "checkpoint" / "last.pt").read_bytes()
    with files_of_at_most(max(100_000, (stopped / file).stat().st_size + 1000)):
        with pytest.raises(Stopped,
                           match="after step 4: cannot write .*last.pt is whole; start the same command again"):
            train(CONFIG, stopped, quiet=True)
    assert (stopped / "checkpoint" / "last.pt").read_bytes() == before
    assert not list(stopped.rglob("*.part"))
    train(CONFIG, stopped, quiet=True)
    assert_same_bits(undisturbed, stopped)


def test_a_dead_worker_ends_the_run_which_goes_on_later(undisturbed, stopped, monkeypatch):
    def killed(*clip):
        os.kill(os.getpid(), signal.SIGKILL)

    before = (stopped / "checkpoint" / "last.pt").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "training_clip", killed)
        with pytest.raises(Stopped, match="a process that renders clips died.*last.pt is whole; start the same command "
                                          "again"):
            train(CONFIG, stopped, workers=1, quiet=True)
    assert (stopped / "checkpoint" / "last.pt").read_bytes() == before
    train(CONFIG, stopped, quiet=True)
    assert_same_bits(undisturbed, stopped)


def write_davis(folder):
    for part, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (folder / part / "480p" / "cow").mkdir(parents=True)
        for t in range(9):
            picture = np.zeros((48, 64), np.uint8)
            picture[10:30, 10 + t:40 + t] = 255
            Image.fromarray(picture if ending == "png" else np.stack([picture] * 3, 2)).save(
                folder / part / "480p" / "cow" / f"{t:05d}.{ending}")
    (folder / "ImageSets" / "2016").mkdir(parents=True)
    (folder / "ImageSets" / "2016" / "train.txt").write_text("cow\n")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_vanished_data_folder_ends_the_run_which_goes_on_later(tmp_path, monkeypatch, capsys, workers):
    data, run = tmp_path / "DAVIS", tmp_path / "run"
    write_davis(data)
    monkeypatch.setenv("SST_DAVIS", str(data))
    # Nothing read before is kept
    monkeypatch.setattr(training_data, "real_mixture", training_data.real_mixture.__wrapped__)
    config = CONFIG.replace(data=CONFIG.data.replace(real="davis2016", real_ratio=1.0, objects=1))
    train(config, run, until=2, quiet=True)
    before = (run / "checkpoint" / "last.pt").read_bytes()
    (data / "JPEGImages").rename(tmp_path / "elsewhere")
    written = tmp_path / "config.json"
    written.write_text(json.dumps(config.to_dict()))
    assert main(["train", str(written), "--out", str(run), "--workers", str(workers)]) == 1
    message = capsys.readouterr().err
    for part in ("after step 2: a clip cannot be read", "no resolution's folder holds sequence 'cow'",
                 "when the data are back"):
        assert part in message
    assert (run / "checkpoint" / "last.pt").read_bytes() == before
    (tmp_path / "elsewhere").rename(data / "JPEGImages")
    train(config, run, quiet=True)
    train(config, tmp_path / "whole", quiet=True)
    assert_same_bits(tmp_path / "whole", run)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 3 clips does not divide over 2 processes"):
        Place(0, 2, torch.device("cpu")).share(3)


def test_positions_of_a_run_are_those_of_each_step_after_another():
    assert list(Positions(range(3, 6), 4, range(2, 4))) == [14, 15, 18, 19, 22, 23]
    assert len(Positions(range(10**9), 4, range(4))) == 4 * 10**9, "a long run takes no memory before its first step"


def test_shares_of_the_processes_are_the_batch():
    assert [i for rank in range(3) for i in Place(rank, 3, torch.device("cpu")).share(6)] == list(range(6))


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_learning_rate_warms_up_and_falls_to_a_thousandth(name):
    config = TrainingConfig(steps=100, warmup=10, learning_rate=1.0, schedule=name)
    rates = [schedule.learning_rate(config, step) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == rates[9] == 1.0
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:]))
    assert rates[100] == pytest.approx(1e-3)


def test_bootstrapping_anneals_over_the_first_half():
    config = TrainingConfig(steps=100, hardest=0.15)
    assert [schedule.hardest_share(config, step) for step in (0, 25, 50, 99)] == pytest.approx([1, 0.575, 0.15, 0.15])


def test_weights_carry_their_configuration_and_refuse_others(undisturbed, tmp_path):
    path = undisturbed / "weights.safetensors"
    network = weights.load(path)
    assert network.config == CONFIG.model and not network.training
    assert all(torch.equal(value, tensors(undisturbed)[name]) for name, value in network.state_dict().items())
    other = weights.save(network, tmp_path / "other.safetensors")
    facts = {f"fact{n}": n for n in range(20)}
    twice = [weights.save(network, tmp_path / f"{n}.safetensors", **facts).read_bytes() for n in range(2)]
    assert twice[0] == twice[1] and weights.facts(tmp_path / "0.safetensors").items() >= facts.items()
    values = tensors(undisturbed)
    values.pop(next(iter(values)))
    with pytest.raises(ValueError, match="missing"):
        weights.load_tensors(network, values, str(other))
    for ancestry in (5, None, {"name": "a"}, [1]):
        with pytest.raises(ValueError, match="other.safetensors: ancestry in its metadata is .*expected a list"):
            weights.lineage(weights.save(network, other, ancestry=ancestry))


def test_a_network_is_loaded_by_release_folder_file_and_hub(undisturbed, tmp_path, monkeypatch):
    requests = []

    def download(repository, file, revision=None):
        requests.append((repository, file, revision))
        if repository != "someone/sst-test":
            raise OSError("404: no such repository")
        return str(undisturbed / "weights.safetensors")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    monkeypatch.setattr(paths, "WEIGHTS", tmp_path)
    shutil.copyfile(undisturbed / "weights.safetensors", tmp_path / "sst-test.safetensors")
    for given in ("sst-test", str(undisturbed), str(undisturbed / "weights.safetensors"), "someone/sst-test",
                  "someone/sst-test@v1"):
        network = SST.from_pretrained(given)
        assert isinstance(network, SST) and not network.training
        assert all(torch.equal(value,
                               tensors(undisturbed)[name]) for name, value in network.state_dict().items()), given
    assert requests == [("someone/sst-test", "model.safetensors", revision) for revision in (None, "v1")]
    with pytest.raises(FileNotFoundError, match="neither here nor on the Hugging Face hub .404"):
        SST.from_pretrained("someone/else")
    shutil.copyfile(undisturbed / "weights.safetensors", tmp_path / "another.safetensors")
    with pytest.raises(ValueError, match=r"holds 2 files of weights \(another.safetensors, sst-test.safetensors\)"):
        SST.from_pretrained(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="give a .safetensors file, a folder with one, a repository"):
        SST.from_pretrained(f"{tmp_path.name}/a/b")
    with pytest.raises(ValueError, match="is a SST, not a STM"):
        STM.from_pretrained("sst-test")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="pip install 'sstlib.hub.'"):
        SST.from_pretrained("someone/sst-test")


def test_unknown_weights_list_the_released_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights 'sst-huge'"):
        weights.load("sst-huge")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="broken.safetensors is not a safetensors file"):
        weights.load(broken)


def test_progress_leaves_pictures_of_a_held_out_clip(undisturbed):
    pictures = sorted(path.name for path in (undisturbed / "probe").iterdir())
    assert pictures == ["000002.png", "000004.png", "000006.png"]


def test_command_line_changes_fields_and_refuses_unknown_ones():
    config = read_config("tiny").with_changes(["training.steps=7", "model.encoding=none", 'model.layers=["grid"]'])
    assert (config.training.steps, config.model.encoding, config.model.layers) == (7, "none", ("grid",))
    with pytest.raises(ValueError, match="no key 'step'; did you mean 'steps'"):
        config.with_changes(["training.step=7"])
    with pytest.raises(ValueError, match="expected PART.KEY=VALUE"):
        config.with_changes(["steps=7"])
    with pytest.raises(ValueError, match="neither a preset .* nor a JSON file"):
        read_config("medium")


def test_a_resumed_run_keeps_the_size_that_its_first_weights_are_for(undisturbed, tmp_path):
    first = weights.load(undisturbed / "weights.safetensors")
    first.longest = 48
    start = str(weights.save(first, tmp_path / "first.safetensors"))
    config = CONFIG.replace(training=CONFIG.training.replace(start=start, steps=2, warmup=0))
    for until in (1, 2):
        train(config, tmp_path / "run", until=until, quiet=True)
        assert weights.load(tmp_path / "run" / "weights.safetensors").longest == 48


def test_a_run_starts_from_the_weights_that_it_names(undisturbed, tmp_path):
    start = str(undisturbed / "weights.safetensors")
    config = CONFIG.replace(training=CONFIG.training.replace(start=start, learning_rate=1e-12, steps=1, warmup=0))
    train(config, tmp_path, quiet=True)
    for name, value in tensors(tmp_path).items():
        torch.testing.assert_close(value, tensors(undisturbed)[name], atol=1e-6, rtol=0)
    [before, own] = weights.lineage(tmp_path / "weights.safetensors")
    assert (before["name"], before["step"], own["step"]) == (undisturbed.name, CONFIG.training.steps, 1)
    train(config.replace(training=config.training.replace(steps=1)), tmp_path, quiet=True)
    assert len(weights.lineage(tmp_path / "weights.safetensors")) == 2, "a resumed run keeps what it knew of its start"
    with pytest.raises(ValueError, match=r"of another model.*here: \{'history': \([0-9]+, 1\)\}"):
        train(config.replace(model=config.model.replace(history=1)), tmp_path / "other", quiet=True)


def event(name, own, caller=None, number=-1):
    return types.SimpleNamespace(name=name, self_cpu_time_total=own * 1e6, cpu_parent=caller, sequence_nr=number)


def test_an_operation_counts_where_its_outermost_named_caller_does():
    node = event("autograd::engine::evaluate_function: ConvolutionBackward0", 0.5)
    backward = event("aten::convolution_backward", 2, node)
    inside = event("aten::copy_", 1, backward)
    update = event("Optimizer.step#AdamW.step", 0, None)
    events = [
        node, backward, inside, update,
        event("aten::mul_", 3, update),
        event("aten::mul", 4),
        event("aten::native_group_norm", 5),
        event("sstlib::attend_backward", 6),
        event("data", 7),
        event("aten::_foreach_lerp_", 8),
        event("cudaLaunchKernel", 9)
    ]
    around = event("attention", 0)
    events += [around, event("aten::mm", 10, around, number=7), event("sstlib::attend", 11, around, number=8)]
    events += [
        event("aten::mm", 12, event("autograd::engine::evaluate_function: MmBackward0", 0, number=7)),
        event("aten::mm", 13, number=9)
    ]
    result = {stage: seconds for stage, seconds in profiling.stage_seconds(events).items() if seconds}
    assert result == {
        "attention, forward": 11, "attention's projections, matching": 22, "matrix products": 13, "convolution": 3,
        "optimizer, clipping, average": 11, "elementwise, sums, copies": 4, "normalization": 5,
        "attention, backward": 6, "data (waiting for clips)": 7
    }


def test_profile_accounts_for_the_whole_step(tmp_path, capsys):
    out = tmp_path / "profile.json"
    changes = ["data.height=40", "data.width=56", "data.frames=3", "data.objects=2"]
    assert main([
        "train", "tiny", "--profile", "2", "--workers", "0", "--json",
        str(out), *(w for c in changes for w in ("--set", c))
    ]) == 0
    record = json.loads(out.read_text())
    stages = record["stages"]
    assert sum(stages.values()) == pytest.approx(record["seconds_a_profiled_step"])
    assert all(stages[stage] > 0 for stage in profiling.STAGES)
    assert record["frames_per_second"] == pytest.approx(2 * 3 / record["seconds_a_step"])
    assert "in convolution and attention" in capsys.readouterr().out
    assert main(["train", "tiny", "--profile", "0"]) == 2 and "at least 1" in capsys.readouterr().err


def test_a_run_starts_from_published_weights_of_its_backbone(tmp_path):
    source = ResNet("resnet18")
    source.bn1.running_mean.fill_(0.1)  # else its statistics are those of nothing
    torch.save(source.state_dict(), tmp_path / "published.pth")
    model = CONFIG.model.replace(backbone="resnet18", output_stride=16)
    training = CONFIG.training.replace(start=f"backbone:{tmp_path / 'published.pth'}", learning_rate=1e-12, steps=1,
                                       warmup=0)
    train(CONFIG.replace(model=model, training=training), tmp_path / "run", quiet=True)
    result = tensors(tmp_path / "run")
    for name, value in source.state_dict().items():
        torch.testing.assert_close(result[f"backbone.backbone.{name}"], value, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        train(CONFIG.replace(training=training), tmp_path / "other", quiet=True)
