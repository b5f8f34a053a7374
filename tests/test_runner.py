"""Tasks are done by exit status and record alone; what failed says why; what was stopped goes on; nothing stays
behind.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from safetensors.numpy import save_file

from sstlib import cli, paths, reproduction
from sstlib.movies import write_video
from sstlib.provenance import tree_digest
from sstlib.reproduction import engine, notebooks, report
from sstlib.reproduction.task import START_FAILED, execute, read_record

ROOT = Path(__file__).parents[1]
PARAMETERS = ("steps: int = 3  # how many\nrate: float = 0.5  # how fast\nlabel: str = 'x'  # name\n"
              "wide: bool = False  # or narrow")
OWN_CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def write_notebook(folder, name, *sources, parameters=PARAMETERS):
    cells = [new_markdown_cell(f"# {name}: does it run?\n\nIt costs $\\frac{{1}}{{2}}$ a second."),
             new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell{number}"
    folder.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def environment(home):
    return os.environ | {"SSTVOS_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def reproduce(home, *arguments):
    return subprocess.run([sys.executable, "-m", "sstlib", "reproduce", *arguments], env=environment(home),
                          capture_output=True, text=True, timeout=240)


def statuses(output):
    return dict(re.findall(r"^  (\d\d_\w+) +(ran|reused|failed)", output, re.MULTILINE))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty repository, for what runs in this process."""
    for name in ("NOTEBOOKS", "DATA", "RESULTS", "RUNS", "TABLES", "WEIGHTS", "EXECUTED", "REPORT"):
        folder = tmp_path / ("" if name in ("NOTEBOOKS", "DATA", "RESULTS") else "results") / name.lower()
        monkeypatch.setattr(paths, name, folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("SST_DAVIS", raising=False)
    return tmp_path


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Makes a task that runs a module of the given source."""

    def make(source, **options):
        (tmp_path / "job.py").write_text(source)
        output = tmp_path / "out" / "result.txt"
        values = {"output": output, "record": output.with_suffix(".json"), "log": tmp_path / "logs" / "job.log",
                  "stamp": {"fingerprint": "one"}, "partial": output.with_name(".result")} | options
        return reproduction.Task("job", ("job", str(values["partial"] or output)), **values)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return make


# One task, without Dask


def test_a_task_is_done_when_its_record_describes_its_output(task):
    job = task("import sys; open(sys.argv[1], 'w').write('whole')")
    assert not job.done()
    assert execute(job).status == "ran" and job.done()
    assert sorted(path.name for path in job.output.parent.iterdir()) == ["result.json", "result.txt"]
    job.output.write_text("changed by hand")
    assert not job.done()


def test_another_fingerprint_is_not_done(task):
    source = "import sys; open(sys.argv[1], 'w').write('whole')"
    execute(task(source))
    assert not task(source, stamp={"fingerprint": "two"}).done()


def test_a_failure_keeps_what_was_made_apart_and_shows_its_error(task):
    outcome = execute(job := task("import sys; open(sys.argv[1], 'w').write('half'); sys.exit('no such luck')"))
    assert outcome.status == "failed" and outcome.error == "no such luck" and outcome.attempts == 1
    assert not job.done() and [path.name for path in job.output.parent.iterdir()] == ["result.failed.txt"]
    assert execute(task("import sys; open(sys.argv[1], 'w').write('whole')")).status == "ran"
    assert sorted(path.name for path in job.output.parent.iterdir()) == ["result.json", "result.txt"]


def test_a_killed_process_failed_whatever_it_wrote(task):
    outcome = execute(job := task("import os, sys; open(sys.argv[1], 'w').write('whole'); os.kill(os.getpid(), 9)"))
    assert outcome.status == "failed" and "SIGKILL" in outcome.error and not job.done()


def test_status_zero_without_a_record_failed(task):
    outcome = execute(task("pass", stamp=None, partial=None))
    assert outcome.status == "failed" and "without its record" in outcome.error


@pytest.mark.parametrize("starts, status, attempts", [(2, "ran", 3), (3, "failed", 3)])
def test_only_a_failed_start_is_tried_again(task, tmp_path, starts, status, attempts):
    source = f"""
import pathlib, sys
tries = pathlib.Path({str(tmp_path)!r}, "tries")
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
if len(tries.read_text()) <= {starts}:
    sys.exit({START_FAILED})
open(sys.argv[1], "w").close()
"""
    outcome = execute(task(source))
    assert (outcome.status, outcome.attempts) == (status, attempts)


def test_a_stopped_task_ends_with_its_children(task, tmp_path):
    source = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(child.pid))
open(sys.argv[1], "w").write("half")
child.wait()
"""
    pid = tmp_path / "pid"
    outcome = execute(job := task(source), stopped=lambda: pid.exists() and job.partial.exists())
    assert outcome.status == "interrupted" and outcome.seconds < 30
    assert not list(job.output.parent.iterdir()) and gone(int(pid.read_text()))


def test_a_task_sees_one_thread_and_this_library(task, tmp_path):
    source = ("import os, sys, sstlib; "
              "open(sys.argv[1], 'w').write(os.environ['OMP_NUM_THREADS'] + ' ' + sstlib.__file__)")
    execute(job := task(source))
    assert job.output.read_text() == f"1 {ROOT / 'sstlib' / '__init__.py'}"


def test_a_task_finds_what_the_environment_names_also_in_another_folder(task, tmp_path, monkeypatch):
    """As a notebook, which runs in its own: `SST_PATTERNS=cone.py sst reproduce` failed there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SST_PATTERNS", os.pathsep.join(["cone.py", str(tmp_path / "two.py")]))
    monkeypatch.setenv("SST_DAVIS", "DAVIS")
    monkeypatch.delenv("SST_PHOTOGRAPHS", raising=False)
    source = ("import os, sys; names = 'SST_PATTERNS', 'SST_DAVIS', 'SST_PHOTOGRAPHS'; "
              "open(sys.argv[1], 'w').write(' '.join(os.environ.get(name, '-') for name in names))")
    execute(job := task(source))
    first, davis, photographs = job.output.read_text().split(" ")
    assert first.split(os.pathsep) == [str(tmp_path / "here" / "cone.py"), str(tmp_path / "two.py")]
    assert davis == str(tmp_path / "here" / "DAVIS") and photographs == "-"


def gone(pid, within=10.0):
    """Whether a process has ended; one that waits for its parent to collect it has."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


# Parameters, fingerprints, the committed form


def test_parameters_take_the_declared_types(home):
    write_notebook(paths.NOTEBOOKS, "00_one")
    given = ["00_one:steps=1_000", "00_one:rate=1", "00_one:label=1", "00_one:wide=true"]
    assert reproduction.parse_parameters(given) == {"00_one": {"steps": 1000, "rate": 1, "label": "1", "wide": True}}


@pytest.mark.parametrize("given, message", [
    ("00_one:stpes=3", "no parameter 'stpes'; did you mean 'steps'"),
    ("00_oen:steps=3", "no notebook '00_oen'.* did you mean '00_one'"),
    ("00_one:steps=many", "it is 'many'; expected a whole number"),
    ("00_one:steps=2.5", "it is 2.5; expected a whole number"),
    ("00_one:rate=true", "it is True; expected a finite number"),
    ("00_one:wide=1", "it is '1'; expected true or false"),
    ("steps=3", "--parameter steps=3: expected NOTEBOOK:NAME=VALUE"),
    (":steps=3", "expected NOTEBOOK:NAME=VALUE"), ("00_one:=3", "expected NOTEBOOK:"),
    ("00_one:steps", "expected NOTEBOOK:NAME"),
])
def test_wrong_parameters_are_named(home, given, message):
    write_notebook(paths.NOTEBOOKS, "00_one")
    with pytest.raises(ValueError, match=message):
        reproduction.parse_parameters([given])


RANGED = ("steps: int = 3  # training steps, at least 2 and at most 8\nrate: float = 0.5  # how fast, above 0\nwhich: "
          "int = 0  # frames, one of 0, 2 or 4\n"
          "score: str = 'J&F'  # which score, one of J&F, J or F\nvideo: str = ''  # a video file or a folder of "
          "frames; empty: none\n"
          "mask: str = ''  # file with the first mask; needed with video\nnetwork: str = 'sst-small'  # released "
          "weights, or a file")


@pytest.fixture
def ranged(home, tmp_path, monkeypatch):
    """A notebook whose comments say what its parameters take, and a user who stands elsewhere, beside a video and
    its mask.
    """
    write_notebook(paths.NOTEBOOKS, "00_one", "print(video)", parameters=RANGED)
    (tmp_path / "desk" / "clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "desk")
    for name in ("clip/00000.jpg", "mask.png"):
        Image.new("L", (16, 16), 1).save(name)
    write_video("video.mp4", np.zeros((2, 16, 16, 3), np.uint8))
    return tmp_path / "desk"


@pytest.mark.parametrize(
    "given, message",
    [("steps=1", "it is 1; expected a number of at least 2 and at most 8"), ("steps=9", "it is 9; expected"),
     ("rate=0", "it is 0.0; expected a number above 0"), ("rate=1e999", "it is inf; expected"),
     ("rate=-1", "it is -1.0"), ("which=3", "it is '3'; expected one of '0', '2', '4'"),
     ("score=G", "it is 'G'; expected one of 'J&F', 'J', 'F'"),
     ("video=movie.mp4", "there is no .*desk/movie.mp4; paths are taken from the folder in which the command runs"),
     ("mask=notes.txt", "there is no"), ("video=video.mp4", "00_one:video is given without mask"),
     ("network=sst-huge", "no weights 'sst-huge'"), ("steps=" + "(" * 5000, "expected a whole number")])
def test_parameters_out_of_range_and_missing_files_are_refused_before_anything_runs(ranged, given, message, capsys):
    assert cli.main(["reproduce", "--only", "00_one", "-p", f"00_one:{given}"]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and re.search(message, output)
    assert not paths.EXECUTED.exists()


def test_a_parameter_for_a_notebook_that_does_not_run_is_refused(ranged, capsys):
    write_notebook(paths.NOTEBOOKS, "01_two")
    assert cli.main(["reproduce", "--only", "01_two", "-p", "00_one:steps=4"]) == 2
    assert "00_one:... is for a notebook that --only leaves out" in capsys.readouterr().err


def test_a_file_is_found_where_the_user_stands_and_its_content_is_what_counts(ranged):
    def fingerprint_of(*given):
        [task] = reproduction.notebook_tasks(reproduction.choose([]),
                                             reproduction.parse_parameters([f"00_one:{one}" for one in given]))
        return task.stamp["fingerprint"]

    assert reproduction.parse_parameters(["00_one:video=clip", "00_one:mask=mask.png"]) == {
        "00_one": {"video": str(ranged / "clip"), "mask": str(ranged / "mask.png")}}

    def weights(size):
        save_file({"x": np.zeros(size, np.float32)}, ranged / "own.safetensors", {"config": "{}"})

    def picture(file):
        (ranged / file).parent.mkdir(exist_ok=True)
        Image.new("L", (16, 16), 2).save(ranged / file, format="PNG")

    weights(1)
    for given, change, to in ((("video=video.mp4", "mask=mask.png"), picture, "mask.png"),
                              (("video=clip", "mask=mask.png"), picture, "clip/00000.jpg"),
                              (("video=clip", "mask=mask.png"), picture, "clip/deep/00001.jpg"),
                              (("network=own.safetensors",), weights, 2)):
        before = fingerprint_of(*given)
        assert fingerprint_of(*given) == before
        change(to)
        assert fingerprint_of(*given) != before, to


def test_a_digest_is_of_the_files_of_all_patterns_and_no_others(tmp_path):
    def digest_after(name, text):
        (tmp_path / name).write_text(text)
        return tree_digest(tmp_path, "*.py", "*.cpp")

    digests = [digest_after(name, "") for name in ("a.py", "b.cpp", "c.txt")]
    digests += [digest_after(name, "1") for name in ("c.txt", "a.py", "b.cpp")]
    assert digests[1] == digests[2] == digests[3] and len(set(digests)) == 4


def test_figures_of_a_run_with_parameters_stand_beside_its_executed_copy(tmp_path, monkeypatch):
    drawing = ("from sstlib.plots import figure, save, styled\n@styled\ndef draw():\n    return figure(2, 2)\n"
               "print(save(draw(), 'picture'))")
    write_notebook(tmp_path / "notebooks", "00_draws", drawing)
    published = tmp_path / "results" / "figures" / "picture.png"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"as published")
    done = reproduce(tmp_path, "--only", "00_draws", "-p", "00_draws:steps=5")
    assert statuses(done.stdout) == {"00_draws": "ran"}, done.stdout + done.stderr
    assert published.read_bytes() == b"as published"
    assert (tmp_path / "results" / "executed" / "00_draws-figures" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert statuses(reproduce(tmp_path, "--only", "00_draws").stdout) == {"00_draws": "ran"}
    assert published.read_bytes().startswith(b"\x89PNG")


def fingerprint(parameters=None):
    [task] = reproduction.notebook_tasks(reproduction.choose([]), {"00_one": parameters or {}})
    return task.stamp["fingerprint"]


def test_the_fingerprint_follows_source_parameters_and_records_but_not_outputs(home):
    path = write_notebook(paths.NOTEBOOKS, "00_one", "1 + 1")
    first = fingerprint()
    content = nbformat.read(path, as_version=4)
    content.cells[-1].outputs = [new_output("stream", text="2")]
    content.cells[-1].execution_count = 7
    nbformat.write(content, path)
    assert fingerprint() == first != fingerprint({"steps": 4})
    (paths.RUNS / "short").mkdir(parents=True)
    (paths.RUNS / "short" / "base-seed0.json").write_text("{}")
    assert (second := fingerprint()) != first
    write_notebook(paths.NOTEBOOKS, "00_one", "1 + 2")
    assert fingerprint() not in (first, second)


def test_two_equal_executions_have_one_tidy_form(home):
    path = write_notebook(paths.NOTEBOOKS, "00_one", "print(1)", "2")
    executions = []
    for run, pieces in enumerate((["a", "b"], ["ab"])):
        content = nbformat.read(path, as_version=4)
        content.metadata["papermill"] = {"start_time": run}
        content.metadata["widgets"] = {"state": run}
        content.cells[2].outputs = [new_output("stream", text=text) for text in pieces]
        content.cells[2].metadata["execution"] = {"iopub.execute_input": run}
        data = {"text/plain": "2", "image/png": "aGk=", notebooks.WIDGET: {"model_id": run}}
        content.cells[3].outputs = [new_output("execute_result", data, execution_count=5 + run)]
        content.cells[3].execution_count = 5 + run
        executions.append(notebooks.tidy(content))
    assert executions[0] == executions[1]
    assert [cell.execution_count for cell in executions[0].cells[1:]] == [1, 2, 3]
    assert executions[0].cells[1].metadata.tags == ["parameters"]
    assert executions[0].cells[3].outputs[0].data == {"text/plain": "2", "image/png": "aGk="}
    nbformat.validate(executions[0])


def test_the_summary_counts_and_gathers_the_runs_of_a_sweep():
    outcomes = [reproduction.Outcome(f"short/base-seed{seed}", "reused") for seed in range(3)]
    text = reproduction.summary([
        *outcomes,
        reproduction.Outcome("short/base-seed3", "failed", 2.0),
        reproduction.Outcome("00_one", "ran", 1.25)
    ])
    assert "short (3 runs)" in text and "base-seed1" not in text and "short/base-seed3" in text
    assert text.splitlines()[-1].strip() == "1 ran, 3 reused, 1 failed"


# Notebooks on Dask, in processes of their own


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A repository of notebooks that succeed, fail and are killed, and how its reproduction went."""
    home = tmp_path_factory.mktemp("home")
    write_notebook(home / "notebooks", "00_good", "print('steps', steps)")
    write_notebook(home / "notebooks", "01_fails", "raise RuntimeError('broken on purpose')", "print('never')")
    write_notebook(home / "notebooks", "02_killed", "import os\nos.kill(os.getpid(), 9)", "print('never')")
    return home, reproduce(home, "--only", "00_good", "01_fails", "02_killed")


def test_outcomes_and_exit_status_of_notebooks(first):
    home, done = first
    assert done.returncode == 1, done.stderr
    assert statuses(done.stdout) == {"00_good": "ran", "01_fails": "failed", "02_killed": "failed"}
    assert "cell [2] raised RuntimeError: broken on purpose" in done.stdout
    assert "cell [2] ended its kernel" in done.stdout
    executed = home / "results" / "executed"
    assert sorted(path.name for path in executed.glob("*.*")) == [
        "00_good.ipynb", "00_good.json", "01_fails.failed.ipynb", "02_killed.failed.ipynb"]
    assert "steps 3" in (executed / "00_good.ipynb").read_text()
    assert "IPKernelApp] WARNING" not in "".join(path.read_text() for path in (executed / "logs").iterdir())


def test_the_report_shows_what_ran_and_why_something_failed(first):
    page = (first[0] / "results" / "report" / "index.html").read_text()
    assert "steps 3" in page and "broken on purpose" in page and "never" not in page
    assert page.count("<section") == 3 and 'class="formula"' in page
    assert not re.search(r"""(?:src|href)=["']https?:""", page) and "<script" not in page and "MathJax" not in page


def test_the_second_run_reuses_what_is_done_and_runs_what_changed(first):
    home, _ = first
    write_notebook(home / "notebooks", "01_fails", "print('mended')")
    done = reproduce(home, "--only", "00_good", "01_fails", "--in-place")
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(done.stdout) == {"00_good": "reused", "01_fails": "ran"}
    assert not (home / "results" / "executed" / "01_fails.failed.ipynb").exists()
    written = nbformat.read(home / "notebooks" / "01_fails.ipynb", as_version=4)
    assert written.cells[2].outputs[0].text == "mended\n" and "papermill" not in written.metadata
    again = reproduce(home, "--only", "00_good", "01_fails")
    assert statuses(again.stdout) == {"00_good": "reused", "01_fails": "reused"}


def test_an_unknown_parameter_is_refused_before_anything_runs(home, capsys):
    write_notebook(paths.NOTEBOOKS, "00_good")
    assert cli.main(["reproduce", "-p", "00_good:stpes=4"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "did you mean 'steps'" in message
    assert not paths.RESULTS.exists()


def test_interrupted_and_started_again_it_goes_on_where_it_stopped(tmp_path):
    slow = (f"import os, pathlib, time\nhere = pathlib.Path({str(tmp_path)!r})\n"
            "(here / 'pid').write_text(str(os.getpid()))\n")
    write_notebook(tmp_path / "notebooks", "00_quick", "print(1)")
    write_notebook(tmp_path / "notebooks", "01_slow", slow + "while not (here / 'go').exists():\n    time.sleep(0.05)")
    arguments = ("reproduce", "--only", "00_quick", "01_slow", "--workers", "2")
    running = subprocess.Popen([sys.executable, "-m", "sstlib", *arguments], env=environment(tmp_path),
                               start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               preexec_fn=interruptible)
    until = time.monotonic() + 300
    while not ((tmp_path / "pid").exists() and (tmp_path / "results" / "executed" / "00_quick.json").exists()):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C in a terminal: to the whole group
    output = running.communicate(timeout=60)[0].decode()
    assert running.returncode == 130 and "interrupted" in output and "Traceback" not in output, output
    assert gone(int((tmp_path / "pid").read_text()))
    assert not list((tmp_path / "results" / "executed").glob(".*"))
    (tmp_path / "go").touch()
    done = reproduce(tmp_path, *arguments[1:])
    assert statuses(done.stdout) == {"00_quick": "reused", "01_slow": "ran"}


def interruptible():
    """A shell without job control starts its background jobs with interrupts ignored; a terminal does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_scheduler_by_address_does_the_work(tmp_path):
    write_notebook(tmp_path / "notebooks", "00_good", "import os\nprint('parameter', steps, "
                                                      "os.environ.get('OMP_NUM_THREADS'))")
    (tmp_path / "cluster.py").write_text(OWN_CLUSTER)
    with subprocess.Popen([sys.executable, str(tmp_path / "cluster.py")], env=environment(tmp_path / "elsewhere"),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as cluster:
        address = cluster.stdout.readline().strip()
        done = reproduce(tmp_path, "--only", "00_good", "-p", "00_good:steps=5", "--scheduler", address)
        cluster.stdin.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "parameter 5 1" in (tmp_path / "results" / "executed" / "00_good.ipynb").read_text()
    assert read_record(tmp_path / "results" / "executed" / "00_good.json")["parameters"] == {"steps": 5}


@pytest.mark.slow
def test_a_scheduler_that_dies_takes_its_tasks_along_and_leaves_nothing_behind(tmp_path):
    mark = (f"import os, pathlib, time\npathlib.Path({str(tmp_path)!r}, 'pid').write_text(str(os.getpid()))\n"
            "time.sleep(120)")
    write_notebook(tmp_path / "notebooks", "00_slow", mark)
    (tmp_path / "cluster.py").write_text(OWN_CLUSTER)
    cluster = subprocess.Popen([sys.executable, str(tmp_path / "cluster.py")], env=environment(tmp_path / "elsewhere"),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    arguments = ("reproduce", "--only", "00_slow", "--scheduler", cluster.stdout.readline().strip())
    with cluster, subprocess.Popen([sys.executable, "-m", "sstlib", *arguments], env=environment(tmp_path), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        until = time.monotonic() + 180
        while not (tmp_path / "pid").exists():
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        cluster.kill()
        output = running.communicate(timeout=120)[0]
    assert running.returncode == 1 and "lost with its worker or scheduler" in output, output
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_scheduler_that_does_not_answer_is_named(home, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT", 0.5)
    write_notebook(paths.NOTEBOOKS, "00_good")
    with reproduction.Engine("tcp://127.0.0.1:9") as unreachable, pytest.raises(
            OSError, match="no Dask scheduler "
            "answers at 'tcp://127.0.0.1:9'"):
        unreachable.run(reproduction.notebook_tasks(reproduction.choose([]), {}))


# The report


def test_the_report_of_no_executions_says_so(home):
    write_notebook(paths.NOTEBOOKS, "00_one")
    paths.TABLES.mkdir(parents=True)
    (paths.TABLES / "encoding.md").write_text("| variant | J&F |\n| --- | --- |\n| none | 61.5 |\n")
    page = report.write(reproduction.notebook_tasks(reproduction.choose([]), {}), []).read_text()
    assert "not executed yet" in page and "<td>61.5</td>" in page


@pytest.mark.parametrize(
    "latex", [r"q_n^\top k_m", r"\frac{\exp(x)}{\sum_{m'} \exp(y)}", r"\lVert q - k \rVert^2", r"O(T H W \sqrt{HW})"])
def test_formulas_are_drawn(latex):
    drawn = report.formula(latex)
    assert drawn.startswith("<svg") and "NaN" not in drawn and "$" not in drawn


def test_a_formula_beyond_drawing_stays_readable():
    assert report.formula(r"\undefinedmacro{x}") == r"<code class='formula'>\undefinedmacro{x}</code>"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1400])
def test_the_report_fits_a_phone_and_asks_the_network_for_nothing(first, width):
    from playwright.sync_api import sync_playwright

    page_file = (first[0] / "results" / "report" / "index.html").as_uri()
    urls = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: urls.append(request.url))
        page.goto(page_file)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert [url for url in urls if not url.startswith(("file:", "data:"))] == []
