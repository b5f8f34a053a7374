"""Notebooks in a real JupyterLab and a real browser: run all, move a slider, click on the picture, and ask the
kernel what it saw.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from sstlib import paths

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which(
    "google-chrome")
WITH_EXPLORER = sorted(
    path.stem for path in paths.NOTEBOOKS.glob("*.ipynb") if "_explorer(" in path.read_text(encoding="utf-8"))
PROBE = """
import json, os
first = globals().get("looking") or explorer
def probe(change=None):
    with open("seen.part", "w") as file:
        json.dump(first.values, file)
    os.replace("seen.part", "seen.json")
first.screen.observe(probe, names="picture")
probe()
print("all cells ran")
"""
READY = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  for (let i = 0; i < 300 && !panel.sessionContext.session?.kernel; i++)
    await new Promise(done => setTimeout(done, 100));
  await panel.sessionContext.session.kernel.info;
}"""


@contextlib.contextmanager
def jupyterlab(root: Path, scratch: Path):
    """A JupyterLab on loopback that reads and writes no settings of the user's; gives its address with the token."""
    settings = scratch / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "JUPYTER_CONFIG_DIR": scratch / "config", "JUPYTER_RUNTIME_DIR": scratch / "runtime",
        "IPYTHONDIR": scratch / "ipython", "JUPYTERLAB_SETTINGS_DIR": scratch / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": scratch / "workspaces", "PYTHONPATH": paths.ROOT, "OMP_NUM_THREADS": 1,
        "SSTVOS_HOME": root
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=test",
        f"--ServerApp.root_dir={root}", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    ]
    with open(scratch / "lab.log", "w") as log:
        server = subprocess.Popen(command, env={**os.environ, **{k: str(v) for k, v in variables.items()}}, stdout=log,
                                  stderr=log)
        try:
            wait_for(
                lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=test", timeout=1).close() or True,
                90)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            if server.poll() is None:
                server.kill()
                server.wait()


def wait_for(seen, seconds=20.0):
    """What `seen` returns once that is true; errors meanwhile count as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            value = seen()
            if value:
                return value
        time.sleep(0.1)
    raise TimeoutError(f"not seen within {seconds:.0f} s")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    if not CHROMIUM:
        pytest.skip("needs chromium; set CHROMIUM to its path")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM,
                                        args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_lab_serves_saves_nothing_by_itself_and_leaves_nothing_behind(tmp_path):
    """Run All and two minutes of reading would else change the notebooks, which are tracked."""
    command = ["make", "lab", f"BIN={Path(sys.executable).parent}", "STAMP=Makefile"]
    places = dict.fromkeys(["HOME", "TMPDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"], str(tmp_path))
    surroundings = os.environ | places | {"JUPYTER_TOKEN": "test", "BROWSER": "true"}
    server = subprocess.Popen(command, cwd=paths.ROOT, env=surroundings, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        url = next(address[0] for line in server.stdout if (address := re.search(r"http://127\.0\.0\.1:\d+", line)))
        settings = f"{url}/lab/api/settings/@jupyterlab/docmanager-extension:plugin?token=test"
        with wait_for(lambda: urllib.request.urlopen(settings, timeout=5), 90) as answer:
            assert json.load(answer)["schema"]["properties"]["autosave"]["default"] is False
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)
    assert not list(tmp_path.glob("tmp.*")), "its settings"


def open_and_run(page, url, name):
    page.goto(f"{url}/doc/tree/{name}?token=test&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    page.evaluate(READY)  # before the session is ready, "run all" would ask for a kernel and wait for ever
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector('.jp-OutputArea-output:has-text("all cells ran")', timeout=180_000)


@pytest.mark.parametrize("name", WITH_EXPLORER)
def test_explorer_in_jupyterlab(browser, tmp_path, name):
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    root = tmp_path / "root"
    root.mkdir()
    nbformat.write(notebook, root / "copy.ipynb")
    shots = Path(os.environ.get("SST_SCREENSHOTS", tmp_path))
    page = browser.new_page(viewport={"width": 1300, "height": 1500})
    errors, outside = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: outside.append(request.url))

    def seen():
        return json.loads((root / "seen.json").read_text())

    with jupyterlab(root, tmp_path) as url:
        open_and_run(page, url, "copy.ipynb")
        start = seen()
        handle = page.locator(".jp-OutputArea .widget-slider .noUi-handle").first
        handle.scroll_into_view_if_needed()
        handle.focus()
        handle.press("ArrowRight")
        moved = wait_for(lambda: seen() if seen() != start else None)
        page.wait_for_timeout(300)
        page.screenshot(path=str(shots / f"{name}_slider.png"))
        picture = page.locator("img.sst-picker").first
        box = picture.bounding_box()
        page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.4 * box["height"])
        clicked = wait_for(lambda: seen() if seen() != moved else None)
        page.wait_for_timeout(300)
        page.screenshot(path=str(shots / f"{name}_click.png"))
        page.set_viewport_size({"width": 390, "height": 1500})
        page.wait_for_timeout(500)
        assert 600 < picture.bounding_box()["width"] < 700, "its words can be read, and it scrolls"
        assert picture.evaluate("image => image.parentElement.scrollWidth > image.parentElement.clientWidth")
        page.screenshot(path=str(shots / f"{name}_phone.png"))
        page.close()
    assert not errors
    assert not [address for address in outside if address.startswith("http") and not address.startswith(url)]
    assert sum(moved[key] != start[key] for key in start) == 1
    assert all(clicked[key] == moved[key] for key in ("stack", "hops", "layer", "head")
               if key in moved), "a click picks a cell, no more"


@pytest.mark.parametrize("name", WITH_EXPLORER)
def test_static_page_shows_the_explorer(browser, tmp_path, name):
    order = '["text/html","image/svg+xml","image/png","image/jpeg","text/markdown","text/plain"]'
    subprocess.run([
        sys.executable, "-m", "nbconvert", "--to", "html", "--no-input",
        f"--NbConvertBase.display_data_priority={order}", "--output-dir",
        str(tmp_path),
        str(paths.NOTEBOOKS / f"{name}.ipynb")
    ], check=True, capture_output=True)
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / f"{name}.html").as_uri())
    outputs = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", 4).cells
    pictures = sum("image/png" in output.get("data", {}) for cell in outputs for output in cell.get("outputs", []))
    widths = page.evaluate("[...document.querySelectorAll('.jp-OutputArea img')].map(image => image.naturalWidth)")
    page.screenshot(path=str(Path(os.environ.get("SST_SCREENSHOTS", tmp_path)) / f"{name}_page.png"), full_page=True)
    context.close()
    assert len(widths) == pictures and all(width > 300 for width in widths)
