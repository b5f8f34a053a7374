"""Every command explains itself; bad input ends with one line and exit status 2; a run is told apart by sweep,
variant and seed.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shlex
import struct
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sstlib import cli, experiments, native, paths
from sstlib.cli._extras import EXTRAS
from sstlib.config import RunConfig
from sstlib.experiments import SWEEPS, RunRecord
from sstlib.reproduction import runs as sweep

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", cli.commands())
def test_help_says_what_a_command_does(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"sstlib {project['version']}\n"


BAD = {
    "evaluate a missing folder": ["evaluate", "nowhere", "nowhere-else"],
    "train on no configuration": ["train", "no-such-preset"],
    "train with an unknown key": ["train", "tiny", "--set", "training.stpes=3"],
    "an unknown sweep": ["sweep", "encodign"],
    "an unknown variant": ["sweep", "encoding", "--only", "encoding-nnoe"],
    "an unknown seed": ["sweep", "encoding", "--seed", "99"],
    "an unknown notebook": ["reproduce", "--only", "01_conectivity"],
    "a parameter without its notebook": ["reproduce", "-p", "steps=3"],
    "parameters in place": ["reproduce", "--in-place", "-p", "01_connectivity:frames=3"],
    "no workers": ["reproduce", "--only", "01_connectivity", "--workers", "0"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input_ends_with_one_line_and_status_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"sst {arguments[0]}: ") and message.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more, words", [
    (["--pretrained", "a.pth", "--set", "training.start=sst-small"], "means --set training.start=backbone:a.pth, and"),
    (["--profile", "1", "--out", "run"], "--profile trains nothing; leave one of them out"),
])
def test_options_of_which_one_would_be_passed_over_are_refused(more, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sstlib.benchmarks.training.profile_steps", lambda *rest: pytest.fail("was timed"))
    assert cli.main(["train", "tiny", *more]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv, words", [
    ("segment dog.mp4 --mask a.png --mask b.png --out masks", "argument --mask: it is given twice, as a.png and b.png"),
    ("segment dog.mp4 --at 3 --at=4 --mask a.png", "argument --at: it is given twice, as 3 and 4"),
    ("sweep encoding --only encoding-none --only base --list", "it is given twice, as encoding-none and base"),
    ("evaluate a b --against c --against=d", "argument --against: it is given twice, as c and d"),
    ("train tiny --set training.steps=1 --set training.steps=2 --out run",
     "--set training.steps=2: there is training.steps=1, too; give one of the two"),
    ("reproduce -p 01_connectivity:frames=3 -p 01_connectivity:frames=4",
     "--parameter 01_connectivity:frames=4: there is 01_connectivity:frames=3, too"),
])
def test_of_two_values_none_is_lost_without_a_word(argv, words, capsys, tmp_path, monkeypatch):
    """Two masks were taken for the second alone."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv.split()) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_is_given_again_goes_on_or_says_the_same():
    parser = cli.build_parser()
    for _ in range(2):
        again = parser.parse_args("reproduce --only 01 02 --workers 2 --only 03 --workers 2".split())
        assert again.only == ["01", "02", "03"] and again.workers == 2
    scales = parser.parse_args("segment dog.mp4 --mask a.png --scales 1.3 --scales 1.5".split()).scales
    assert scales == [1.3, 1.5], "the default is replaced"
    alias = "segment dog.mp4 --mask a.png --weights sst-photo --out here"
    assert parser.parse_args(f"{alias} --weights sst-small".split()).weights == "sst-small"
    assert RunConfig().with_changes(["training.steps=7", "training.steps=7"]).training.steps == 7


def test_tasks_at_a_time_are_not_passed_over_beside_a_scheduler(capsys):
    assert cli.main(["reproduce", "--only", "01_connectivity", "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2"]) == 2
    assert "2 tasks at a time are of a cluster on this machine" in capsys.readouterr().err


def test_only_releases_are_calibrated(tiny_weights, capsys):
    """Of a file, the card and all else was written beside it."""
    assert cli.main(["calibrate", "sst-small", str(tiny_weights)]) == 2
    assert f"{str(tiny_weights)!r} is no release" in capsys.readouterr().err


def test_a_davis_folder_that_is_none_is_found_before_anything_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SST_DAVIS", str(tmp_path / "typo"))
    assert cli.main(["reproduce", "--only", "01_connectivity"]) == 2
    assert "typo" in capsys.readouterr().err


def test_the_readme_lists_every_command():
    listed = re.search(r"`sst --help` lists the commands: (.+)\.", (ROOT / "README.md").read_text())[1]
    assert sorted(listed.split(", ")) == cli.commands()


@pytest.mark.parametrize("argv, before", [
    (["segment", "frames", "--mask", "m.png", "--out", ""], "--out"), (["segment", "frames", "--out=", "x"], "--out"),
    (["segment", ""], "segment"), (["evaluate", "masks", ""], "masks"), ([""], "the command")])
def test_a_value_that_is_nothing_is_refused_and_is_not_the_current_folder(argv, before, capsys):
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == f"sst: what follows {before} is empty; give a value, or leave it out\n"


ENVIRONMENT = {
    "SSTVOS_HOME": ("file", ["model"], "SSTVOS_HOME names .*file, which is a file; name a folder"),
    "SST_CACHE": ("file", ["model"], "SST_CACHE names .*file"),
    "SST_FIGURES": ("file", ["model"], "SST_FIGURES names .*file"),
    "SST_NATIVE": ("perhaps", ["model", "sst-tiny", "--size", "32x48", "--time"], "SST_NATIVE is"),
    "WORLD_SIZE": ("two", ["train", "tiny", "--out", "run"], "WORLD_SIZE, which torchrun sets, is 'two'; expected a "
                   "whole number"),
    "LOCAL_RANK": ("-1", ["train", "tiny", "--out", "run"], "LOCAL_RANK, which torchrun sets, is -1; expected a whole "
                   "number"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_bad_environment_ends_with_one_line_and_status_2(name, tmp_path):
    value, arguments, message = ENVIRONMENT[name]
    (tmp_path / "file").write_text("")
    environment = os.environ | {"PYTHONPATH": str(ROOT), name: str(tmp_path / value) if value == "file" else value}
    done = subprocess.run([sys.executable, "-m", "sstlib", *arguments], env=environment, cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and re.search(message, done.stderr), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_cache_that_cannot_be_written_costs_speed_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "file" / "cache")
    (tmp_path / "code.cpp").write_text("extern \"C\" int one() { return 1; }")
    assert native.load.__wrapped__(tmp_path / "code.cpp") is None
    assert "the cache cannot be written" in capsys.readouterr().err or native.compiler() is None


@pytest.mark.parametrize(
    "error, status, message",
    [(ValueError("a line\n  and another"), 2, "sst model: a line; and another"),
     (KeyError("J&F"), 2, "KeyError: 'J&F' "
      "(something that "
      "was read is damaged"), (RecursionError("maximum"), 2, "SST_DEBUG=1 shows the traceback"),
     (MemoryError(), 2, "not enough memory"), (struct.error("unpack"), 2, "damaged"),
     (zipfile.BadZipFile("no zip"), 2, "damaged"),
     (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 2, "invalid"),
     (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2,
      "not enough memory"), (torch.OutOfMemoryError("CUDA out of memory"), 2, "not enough memory"),
     (AssertionError("never"), 1, "AssertionError: never (this is a fault of sstlib; SST_DEBUG=1"),
     (RuntimeError("mat1 and mat2"), 1, "this is a fault of sstlib"),
     (AttributeError("no x"), 1, "this is a fault of "
      "sstlib")], ids=repr)
def test_what_nobody_expected_is_one_line_and_all_of_it_when_asked(error, status, message, monkeypatch, capsys):
    def fails(arguments):
        raise error

    monkeypatch.setattr("sstlib.cli.model.run", fails)
    monkeypatch.delenv("SST_DEBUG", raising=False)
    assert cli.main(["model"]) == status
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and message in printed
    monkeypatch.setenv("SST_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["model"])


def record_of(run):
    metrics = {"J": 0.5, "F": 0.5, "J&F": 0.5, "sequences": {}}
    cost = {"training_seconds": 1.0, "frames_per_second": 9.0, "parameters": 7, "peak_megabytes": 1.0}
    return RunRecord(run.experiment, run.variant, run.seed, run.config.to_dict(), metrics, cost)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def test_all_sweeps_together_have_each_run_once():
    selected = [run.record_path for _, run in sweep.select(list(SWEEPS))]
    assert sorted(selected) == sorted({run.record_path for each in SWEEPS.values() for run in each.runs()})


@pytest.mark.parametrize("name", SWEEPS)
def test_a_task_of_a_sweep_makes_exactly_its_run(name, runs, monkeypatch, capsys):
    import sstlib.experiments.execute as execution

    made = []
    monkeypatch.setattr(execution, "execute", lambda run: (made.append(run), record_of(run), record_of(run).write())[1])
    for sweep_name, run in sweep.select([name])[::4]:
        task = sweep.task(sweep_name, run)
        assert task.command[0] == "sstlib" and not task.done()
        assert cli.main(list(task.command[1:])) == 0
        assert made[-1] == run and sweep.task(sweep_name, run).done()
        assert cli.main(list(task.command[1:])) == 0 and "is done" in capsys.readouterr().out
    assert len(made) == len(sweep.select([name])[::4])


def test_the_list_tells_done_from_missing(runs, capsys):
    run = experiments.run("base", 0)
    record_of(run).write()
    assert cli.main(["sweep", "history", "--only", "base", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["done", "history", "short/base-seed0"] and lines[1].startswith("missing")
    values = json.loads(run.record_path.read_text())
    values["config"]["training"]["steps"] = 1
    run.record_path.write_text(json.dumps(values))
    cli.main(["sweep", "history", "--only", "base", "--seed", "0", "--list"])
    assert capsys.readouterr().out.startswith("missing")


def test_reproduction_of_what_is_all_recorded_reuses_it_and_writes_tables_and_report(
        runs, tmp_path, monkeypatch, capsys):
    for name, folder in {"NOTEBOOKS": "notebooks", "EXECUTED": "executed", "REPORT": "report",
                         "TABLES": "tables"}.items():
        monkeypatch.setattr(paths, name, tmp_path / folder)
    monkeypatch.delenv("SST_DAVIS", raising=False)
    monkeypatch.setattr(paths, "davis", lambda: None)
    monkeypatch.setattr("sstlib.weights.released", list)  # no attention is recorded
    monkeypatch.setattr("sstlib.reproduction.docstrings.make", lambda folder: f"API reference: {folder}")
    for _, run in sweep.select(list(SWEEPS)):
        record_of(run).write()
    assert cli.main(["reproduce"]) == 0
    message = capsys.readouterr().out
    assert "no DAVIS folder" in message and "0 ran" in message
    assert f"API reference: {tmp_path / 'report' / 'api'}" in message
    assert f"short ({len(list(runs.rglob('*.json')))} runs)  reused" in message
    page = (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / "tables" / "encoding.csv").is_file() and "not run yet" in page  # short runs are in no table


def leaves(parser, name="sst"):
    """All parsers that take options, by what is typed for them."""
    below = next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)
    yield name, parser
    for word, one in below.choices.items() if below else ():
        yield from leaves(one, f"{name} {word}")


PARSERS = dict(list(leaves(cli.build_parser()))[1:])


@pytest.mark.parametrize("name", PARSERS)
def test_help_holds_each_option_in_a_group_with_what_it_does_and_ends_with_an_example(name):
    parser = PARSERS[name]
    untitled = {"options", "positional arguments"}
    loose = [action.option_strings for group in parser._action_groups if group.title in untitled
             for action in group._group_actions if action.option_strings and action.dest != "help"]
    assert not loose, f"{name}: not in a group"
    unsaid = [action.dest for action in parser._actions if not action.help and not isinstance(
        action, argparse._SubParsersAction)]
    assert not unsaid, f"{name}: nothing said of them"
    shown = parser.format_help()
    assert re.search(rf"\nexamples?:\n(  .*\n)*?  (.* )?{'sst' if len(name.split()) < 3 else name}\b", shown)
    assert max(map(len, (parser.epilog or "").splitlines())) <= 120


@pytest.mark.parametrize("name", PARSERS)
def test_examples_of_help_can_be_read(name):
    """Each line that begins with the command is taken by its parser; files need not be there."""
    lines = re.findall(r"^  (?:\w+=\S+ )?(sst .+?)(?:  .*)?$", PARSERS[name].epilog, re.M)
    for line in lines:
        words = shlex.split(line)[1:]
        try:
            cli.build_parser().parse_args(words)
        except SystemExit:
            assert "--help" in words, line
    assert lines


def test_whatever_an_extra_brings_is_named_with_it():
    """By the name that is imported, of every package of every extra that commands and notebooks need."""
    modules = {}
    for module, distributions in importlib.metadata.packages_distributions().items():
        for name in distributions:
            modules.setdefault(canonicalize_name(name), set()).add(module)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for extra in {*extras} - {"test", "browser"}:
        for requirement in map(Requirement, extras[extra]):
            own = modules.get(canonicalize_name(requirement.name), set())
            assert requirement.name == "sstlib" or not own or any(EXTRAS.get(module) == extra for module in own), \
                requirement.name
    for package, extra in EXTRAS.items():
        error = ModuleNotFoundError("no", name=f"{package}.part")
        assert cli.one_line("sst", error) == \
            f"sst: this needs {package}, which is not installed: pip install 'sstlib[{extra}]'"


def test_all_that_is_missing_is_named_before_a_video_is_read(tmp_path, monkeypatch, capsys):
    (tmp_path / "clip.mp4").write_bytes(b"")
    for package in ("av", "cv2", "jupyterlab"):
        monkeypatch.setitem(sys.modules, package, None)
    out = ["--out", str(tmp_path / "out")]
    boxed = ["segment", str(tmp_path / "clip.mp4"), "--box", "1,2,3,4", *out]
    for command, words in [
        (boxed, "av and cv2, which are not installed: pip install 'sstlib[video,prompts]'"),
        (["segment", str(tmp_path), "--mask", "0.png", "--export", "webm", *out], "av, which is not installed"),
        (["annotate", str(tmp_path / "clip.mp4")],
         "jupyterlab and av, which are not installed: pip install 'sstlib[notebooks,video]'"),
        (["segment", str(tmp_path / "notes.txt"), "--mask", "0.png", *out], "no such video file or folder"),
    ]:
        assert cli.main(command) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
