"""`sst annotate VIDEO`: draw masks on a video in the browser, and propagate them through it."""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments, _extras, _runs
from sstlib.config.values import require_place

HELP = "draw masks on a video in the browser (JupyterLab), carry them through it, correct and export them"
EXAMPLES = """examples:
  sst annotate dog.mp4 --out dog                            draw in the browser; the same command goes on later
  sst segment dog.mp4 --mask dog/drawn --out masks          what was drawn, carried through the video here
  sst annotate dog.mp4 --out dog --ip 0.0.0.0 --port 8888 --no-browser                in a container
"""
NOTEBOOK = "annotate.ipynb"
DRAWN, MASKS = "drawn", "masks"  # folders beneath --out
PATIENCE = 120  # seconds in which a server must answer, even on a busy machine


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of frames")
    _arguments.close_with(parser, EXAMPLES)
    drawing = parser.add_argument_group("drawing")
    drawing.add_argument("--mask", metavar="FILE", help="a mask of the first frame to begin with")
    drawing.add_argument("--out", type=_arguments.new_folder, metavar="DIR",
                         help=f"what is drawn is kept in DIR/{DRAWN} as it changes, for sst segment --mask, and the "
                              f"same command goes on from there; Export writes the masks of all frames to DIR/{MASKS}, "
                              "unless told otherwise there")
    drawing.add_argument("--weights", default="sst-small", metavar="NAME",
                         help="released weights by name, or a file (default sst-small)")
    server = parser.add_argument_group("server", "which the browser talks to")
    server.add_argument("--no-browser", action="store_true", help="print the address alone")
    server.add_argument("--ip", default="127.0.0.1", metavar="ADDRESS",
                        help="where the server listens (default 127.0.0.1, this machine alone; 0.0.0.0 in a container "
                             "whose port is published)")
    server.add_argument("--port", type=_arguments.whole(0, 65535), default=0, metavar="N",
                        help="port of the server (default: any that is free)")


def run(arguments: argparse.Namespace) -> int:
    """Opens the widget on the video and waits until it is interrupted."""
    from sstlib.movies import is_movie

    _extras.require(["jupyterlab", "anywidget"] + ["av"] * is_movie(arguments.video))
    code = cell(arguments)
    with tempfile.TemporaryDirectory(prefix="sst-annotate-") as folder:
        scratch = Path(folder)
        (scratch / "root").mkdir()
        write_notebook(scratch / "root" / NOTEBOOK, code, [])
        with served(scratch, arguments.ip, arguments.port) as (server, address, token):
            write_notebook(scratch / "root" / NOTEBOOK, code, executed(scratch, address, token, code))
            response(f"{address}/api/contents/{NOTEBOOK}/trust?token={token}")  # else its widget would not show
            page = f"{address}/doc/tree/{NOTEBOOK}?token={token}"
            place = f"; what is drawn is in {arguments.out / DRAWN}" if arguments.out else ""
            print(f"draw at {page}\nCtrl+C ends it{place}", flush=True)
            if not arguments.no_browser:
                webbrowser.open(page)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # as a container is stopped
            try:
                server.wait()
            except KeyboardInterrupt:
                print()
    return 0


def cell(arguments: argparse.Namespace) -> str:
    """The code of the notebook, after everything that it names was checked.

    Raises:
        FileNotFoundError: no such video, mask or weights.
        ValueError: one that cannot be read, or a folder for results that holds other files.
    """
    from sstlib.datasets.fetching import DESKTOP
    from sstlib.explorers.saving import DrawnFolder
    from sstlib.movies import open_clip
    from sstlib.weights import find

    if arguments.mask is not None and Path(arguments.mask).is_dir():
        raise ValueError(f"--mask {arguments.mask} is a folder, and drawing begins with one mask, that of the first "
                         "frame; name its file")
    with _runs.noting():
        clip = open_clip(arguments.video, arguments.mask, progress=True)
    clip.frame(0), clip.label(0)
    weights = find(arguments.weights)
    options = ""
    if arguments.out is not None:
        out = require_place(arguments.out, folder=True).absolute()
        others = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if others := {name for name in others if not name.startswith(".")} - {DRAWN, MASKS, *DESKTOP}:
            raise ValueError(f"{arguments.out} holds something already ({min(others)}); give another folder, or one in "
                             "which this command was at work")
        drawn = DrawnFolder(out / DRAWN, clip).read(clip.frame(0).shape[:2])  # refuses what another clip left there
        if drawn.frames and arguments.mask is not None:
            print(f"note: drawing goes on from what is in {arguments.out / DRAWN}, and {arguments.mask} is not taken; "
                  "for that give another folder", file=sys.stderr)
        options = f",\n    drawn={str(out / DRAWN)!r}, folder={str(out / MASKS)!r}"
    mask = None if arguments.mask is None else str(Path(arguments.mask).absolute())
    return f"""from sstlib import movies, weights
from sstlib.explorers import InteractiveSegmentation

session = InteractiveSegmentation(
    weights.load({str(Path(weights).absolute())!r}),
    movies.open_clip({str(Path(arguments.video).absolute())!r}, {mask!r}){options})
session"""


def write_notebook(path: Path, code: str, outputs: list) -> None:
    """Writes a notebook of one folded cell and its outputs."""
    import nbformat.v4 as form

    made = form.new_code_cell(code, outputs=outputs, execution_count=1 if outputs else None)
    made.metadata["jupyter"] = {"source_hidden": True}
    notebook = form.new_notebook(cells=[made])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(form.writes(notebook), encoding="utf-8")


@contextmanager
def served(scratch: Path, ip: str, port: int) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """A JupyterLab for one notebook that ignores the user's settings: its process, address and token.

    Raises:
        ValueError: no server can listen at the address, or it does not answer.
    """
    try:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((ip, port))
            port = free.getsockname()[1]
    except OSError as error:
        message = f"no server can listen at {ip}:{port} ({error.strerror}); give another --ip or --port"
        raise ValueError(message) from None
    token, log, host = secrets.token_hex(16), scratch / "server.log", "127.0.0.1" if ip == "0.0.0.0" else ip
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
              "JUPYTER_DATA_DIR": "data", "JUPYTERLAB_SETTINGS_DIR": "settings",
              "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = os.environ | {name: str(scratch / place) for name, place in places.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.ip={ip}", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={scratch / 'root'}", "--LabApp.news_url=None",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # as in a container
        command.append("--allow-root")
    quiet = scratch / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with open(log, "w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_for_answer(server, f"http://{host}:{port}/api?token={token}", log)
        yield server, f"http://{host}:{port}", token
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_answer(server: subprocess.Popen, address: str, log: Path) -> None:
    """Waits until the server answers.

    Raises:
        ValueError: it has ended, or takes too long.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise ValueError(f"JupyterLab did not start: {last[0] if last else 'it said nothing'}")


def response(address: str, content: dict[str, Any] | None = None) -> bytes:
    """The server's response to a request."""
    request = urllib.request.Request(address, json.dumps(content or {}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def wait_for_kernel(client: Any) -> None:
    """Waits until a kernel replies; its client takes one that is slow to start for dead, so it is asked again.

    Raises:
        ValueError: it does not reply.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            return client.wait_for_ready(PATIENCE)
        except RuntimeError:
            time.sleep(0.5)
    raise ValueError(f"the kernel did not start within {PATIENCE} s")


def executed(scratch: Path, address: str, token: str, code: str) -> list:
    """Runs the code in a kernel of the notebook, so that the page opens with the widget: the cell's outputs.

    Raises:
        ValueError: the error of the code.
    """
    import nbformat.v4 as form
    from jupyter_client import BlockingKernelClient

    wanted = {"path": NOTEBOOK, "name": NOTEBOOK, "type": "notebook", "kernel": {"name": "python3"}}
    kernel = json.loads(response(f"{address}/api/sessions?token={token}", wanted))["kernel"]["id"]
    client = BlockingKernelClient(connection_file=str(scratch / "runtime" / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    outputs: list = []

    def take(message: dict) -> None:
        if message["msg_type"] in ("execute_result", "display_data"):
            outputs.append(form.output_from_msg(message))

    try:
        wait_for_kernel(client)
        reply = client.execute_interactive(code, output_hook=take, timeout=10 * PATIENCE)["content"]
    finally:
        client.stop_channels()
    if reply["status"] != "ok":
        raise ValueError(f"{reply['ename']}: {reply['evalue']}")
    return outputs
