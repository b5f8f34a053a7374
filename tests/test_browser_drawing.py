"""The drawing widget in a real JupyterLab and a real browser: by mouse, touch and keyboard, and what the kernel has."""

import copy
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from test_browser import READY, browser, jupyterlab, wait_for  # noqa: F401 - browser is a fixture
from test_browser_looks import faults

from sstlib.cli import main
from sstlib.explorers import annotator
from sstlib.explorers.drawn import labels_of, mask_bytes
from sstlib.synthetic import random_spec, render
from sstlib.video import Reading, is_signed, read_mask, write_mask, write_picture
from sstlib.weights import find

pytestmark = pytest.mark.browser
SETUP = """
import json, os
from sstlib.explorers import Annotator, InteractiveSegmentation
from sstlib.synthetic import ClipSpec, random_spec, render
from sstlib.video import ArraySequence, write_mask
{clip}
def probe(*message):
    for t, labels in annotator.masks.items():
        write_mask(f"{t}.png", labels)
    names = ("objects", "status", "frame", "strip", "progress")
    seen = {"frames": list(annotator.masks)} | {name: getattr(annotator, name) for name in names}
    with open("seen.part", "w") as file:
        json.dump(seen, file)
    os.replace("seen.part", "seen.json")
annotator.on_msg(probe)
annotator.observe(probe, names=["frame", "progress"])
probe()
"""
DRAWING = """
clip = render(ClipSpec(frames=4, height=480, width=854, objects=2), 3)
annotator = Annotator(ArraySequence(clip.frames, name="clip"))
"""
KEEPING = DRAWING.replace('"))\n', '"), drawn="drawn")\n')
SEGMENTING = """
import torch
from sstlib import movies, weights
torch.set_num_threads(1)
annotator = InteractiveSegmentation(weights.load("{weights}"), movies.open_clip("frames"), rate=20)
"""
FRAMES = """([name, seconds]) => {
  const end = performance.now() + 1000 * seconds;
  requestAnimationFrame(function tick(now) {
    performance.mark(name);
    if (now < end) requestAnimationFrame(tick);
  });
}"""
BARE = """<canvas class="sst-layers" width="854" height="480" style="width: {width}px"></canvas><script>
  const canvas = document.querySelector('canvas'), context = canvas.getContext('2d'), scale = 854 / {width};
  let from = null;
  canvas.onpointerdown = canvas.onpointerup = () => { from = null; };
  canvas.onpointermove = (event) => {
    const to = [event.offsetX * scale, event.offsetY * scale];
    context.beginPath();
    if (from) { context.moveTo(...from); context.lineTo(...to); context.stroke(); }
    from = to;
  };
</script>"""


def write_notebook(path, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


@functools.cache
def CLIP():
    return render(random_spec("easy", 1, frames=10, objects=2), 1)


class Lab:
    """A notebook in JupyterLab with a drawing widget in it, and what its kernel tells."""

    def __init__(self, page, url, root, size):
        self.page, self.root, self.size, self.errors = page, root, size, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())  # that what is not saved would be lost
        page.goto(f"{url}/copy.ipynb?token=test&reset")
        self.run("notebook:run-all-cells")

    def run(self, command):
        """Runs cells, until the widget can be drawn on."""
        page = self.page
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.evaluate(READY)
        page.evaluate("command => void window.jupyterapp.commands.execute(command)", command)
        failed = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]'
        page.wait_for_selector(f".sst-annotator .sst-stage, {failed}")
        assert not page.locator(failed).count(), page.locator(failed).first.inner_text()
        self.root_node = page.locator(".sst-annotator").first
        self.stage = self.root_node.locator(".sst-stage")
        self.settle()
        self.stage.scroll_into_view_if_needed()

    def settle(self):
        """Until the frame that was gone to is on the screen, with its mask; before, strokes on it are refused."""
        self.page.wait_for_selector('.sst-annotator .sst-stage[aria-busy="false"]')

    def reload(self):
        """The page anew, with the notebook as it is saved: without what its cells gave."""
        self.page.reload()
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.page.evaluate(READY)
        assert not self.page.locator(".sst-annotator").count()

    def tinted(self):
        """Where the mask that is on the screen has an object."""
        alpha = self.page.evaluate("""() => { const { width, height } = document.querySelector('.sst-mask');
            const { data } = document.querySelector('.sst-mask').getContext('2d').getImageData(0, 0, width, height);
            let text = '';
            for (let n = 3; n < data.length; n += 4) text += data[n] ? '#' : '.';
            return text; }""")
        return np.reshape(np.frombuffer(alpha.encode(), np.uint8) == ord("#"), self.size[::-1])

    def seen(self):
        return json.loads((self.root / "seen.json").read_text())

    def mask(self, t=0):
        return read_mask(self.root / f"{t}.png", Reading("ids"))

    def until(self, seen):
        return wait_for(lambda: seen(self.seen()) and self.seen(), 60)

    def click(self, label):
        self.root_node.get_by_role("button", name=label).first.click()

    def place(self, x, y):
        """Where a point of the frame is on the page."""
        box = self.page.locator(".sst-layers").first.bounding_box()
        return box["x"] + x * box["width"] / self.size[0], box["y"] + y * box["height"] / self.size[1]

    def stroke(self, *points):
        """Draws by mouse from point to point of the frame."""
        self.stage.scroll_into_view_if_needed()
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=8)
        self.page.mouse.up()

    def touch(self, *moments):
        """Fingers on the screen: of each moment, where they are on the frame."""
        session = self.page.context.new_cdp_session(self.page)
        for n, points in enumerate([*moments, []]):
            places = [dict(zip("xy", self.place(*point)), id=k) for k, point in enumerate(points)]
            kind = "touchEnd" if not points else "touchMove" if n else "touchStart"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
        session.detach()

    def paint(self, mask):
        """Draws over a mask by mouse, line by line; what the brush is too thick for is left."""
        inner = mask.copy()
        for _ in range(3):
            padded = np.pad(inner, 1)
            inner &= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        for row in range(0, self.size[1], 6):
            columns = np.flatnonzero(inner[row])
            if len(columns):
                self.stroke((columns[0], row), (columns[-1], row))

    def looks(self, name):
        """Screenshots wide and narrow, light and dark, to be looked at, and without what needs no eye to be wrong."""
        for theme in ("Light", "Dark"):
            self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
                               f"JupyterLab {theme}")
            for width in (1400, 390):
                self.page.set_viewport_size({"width": width, "height": 1100})
                self.page.wait_for_timeout(700)
                self.root_node.scroll_into_view_if_needed()
                self.shot(f"{name}_{theme.lower()}_{width}")
                assert not faults(self.page)

    def shot(self, name):
        folder = Path(os.environ.get("SST_SCREENSHOTS", self.root.parent))
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=str(folder / f"{name}.png"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One JupyterLab for all tests: its address and its folder."""
    scratch = tmp_path_factory.mktemp("server")
    (scratch / "root").mkdir()
    with jupyterlab(scratch / "root", scratch) as url:
        yield url, scratch / "root"


@pytest.fixture
def lab(browser, server, request):  # noqa: F811
    url, root = server
    folder = root / request.node.originalname
    folder.mkdir()
    setup, size = getattr(request, "param", (DRAWING, (854, 480)))
    if setup == SEGMENTING:
        for t, frame in enumerate(CLIP().frames):
            write_picture(folder / "frames" / f"{t:05d}.png", Image.fromarray(frame))
    setup = setup.replace("{weights}", str(find("sst-small")))
    write_notebook(folder / "copy.ipynb", SETUP.replace("{clip}", setup), "annotator")
    context = browser.new_context(viewport={"width": 1400, "height": 1100}, has_touch=True)
    context.set_default_timeout(180_000)
    opened = Lab(context.new_page(), f"{url}/doc/tree/{folder.name}", folder, size)
    yield opened
    context.close()
    assert not opened.errors


def distance(points, x, y):
    """Of each pixel's center to a line from point to point."""
    least = np.full(np.broadcast(x, y).shape, np.inf)
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / (length or 1), 0, 1)
        least = np.minimum(least, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    return least


def overlap(result, expected):
    return (result & expected).sum() / (result | expected).sum()


def brushed(*points, radius=14):
    rows, columns = np.mgrid[:480, :854] + 0.5
    return distance(points, columns, rows) <= radius


def test_shapes_and_masks_are_exact(browser):  # noqa: F811
    """What the browser sets is what brute force over all pixels sets, and its PNG is read and written to the bit."""
    page = browser.new_page()
    page.evaluate("""async (source) => {
        window.sst = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
        window.shape = (draw) => { const labels = new Uint8Array(23 * 31); draw(labels, 31, 23); return [...labels]; };
    }""", annotator.Annotator._esm)
    rows, columns = np.mgrid[:23, :31] + 0.5
    rng = np.random.default_rng(5)
    for _ in range(40):
        ends, radius = rng.uniform(-5, 36, (2, 2)), rng.uniform(0.8, 9)
        line = [*ends.tolist(), radius]
        drawn = page.evaluate("(line) => shape((...grid) => sst.capsule(...grid, ...line, 7))", line)
        expected = distance(ends, columns, rows) <= radius
        np.testing.assert_array_equal(np.reshape(drawn, (23, 31)), 7 * expected)
    for count in (3, 4, 7, 12):
        corners = rng.uniform(-4, 35, (count, 2))
        drawn = page.evaluate("(corners) => shape((...grid) => sst.polygon(...grid, corners, 3))", corners.tolist())
        inside = np.zeros((23, 31), bool)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0)):
            inside ^= ((y0 <= rows) != (y1 <= rows)) & (x0 + (rows - y0) / (y1 - y0) * (x1 - x0) < columns)
        np.testing.assert_array_equal(np.reshape(drawn, (23, 31)), 3 * inside)
    blocks = np.kron(rng.integers(0, 4, (5, 7), np.uint8), np.ones((6, 5), np.uint8))
    for mask in (rng.integers(0, 256, (23, 31), np.uint8), blocks):
        decoded = page.evaluate("async (png) => [...await sst.decode(new Uint8Array(png))]", [*mask_bytes(mask)])
        np.testing.assert_array_equal(np.reshape(decoded, mask.shape), mask)
        png = page.evaluate("async ([values, ...size]) => [...await sst.encode(new Uint8Array(values), ...size)]",
                            [mask.ravel().tolist(), *mask.shape[::-1]])
        np.testing.assert_array_equal(labels_of(bytes(png)), mask)
    page.close()


def test_draws_by_mouse_touch_and_keyboard(lab):
    line = [(200, 100), (400, 300)]
    lab.stroke(*line)
    lab.until(lambda seen: seen["frames"] == [0])
    assert overlap(lab.mask() == 1, brushed(*line)) > 0.97 and set(np.unique(lab.mask())) == {0, 1}
    lab.click("Add an object")
    lab.touch([(500, 100)], [(520, 100)], [(600, 200)])
    lab.until(lambda seen: len(seen["objects"]) == 2 and (lab.mask() == 2).any())
    assert overlap(lab.mask() == 2, brushed((500, 100), (520, 100), (600, 200))) > 0.97
    lab.shot("drawing_two_objects")
    before = lab.mask()
    lab.touch([(300, 300), (500, 300)], [(250, 300), (550, 300)], [(200, 300), (600, 300)])  # two fingers
    width = lab.page.locator(".sst-layers").bounding_box()["width"]
    assert width > 1.7 * lab.stage.bounding_box()["width"], "zoomed, not drawn"
    lab.stroke((400, 240), (420, 240))
    lab.until(lambda seen: (lab.mask() != before).any())
    assert overlap((lab.mask() == 2) & (before != 2), brushed((400, 240), (420, 240)) & (before != 2)) > 0.97
    lab.stage.focus()
    for key in ("f", "z", "e"):
        lab.page.keyboard.press(key)
    lab.until(lambda seen: (lab.mask() == before).all())
    lab.stroke((300, 200), (300, 200))
    lab.until(lambda seen: (lab.mask() != before).any())
    np.testing.assert_array_equal(lab.mask() != before, (before > 0) & (lab.mask() == 0))
    lab.page.keyboard.press("p")
    for point in ((700, 300), (800, 300), (750, 400)):
        lab.page.mouse.click(*lab.place(*point))
    lab.page.keyboard.press("Enter")
    rows, columns = np.mgrid[:480, :854] + 0.5
    triangle = (rows > 300) & (rows < 400) & (abs(columns - 750) < (400 - rows) / 2)
    lab.until(lambda seen: (lab.mask()[300:400, 700:800] > 0).any())
    assert overlap((lab.mask() == 2) & (columns > 650), triangle) > 0.97
    before = lab.mask()
    for key in ("b", "1", *["Shift+ArrowDown"] * 4, " ", *["Shift+ArrowDown"] * 3, " "):
        lab.page.keyboard.press(key)
    lab.until(lambda seen: (lab.mask() != before).any())
    assert 30 + 14 < np.ptp(np.nonzero(lab.mask() != before)[0]) < 30 + 32
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == 2, "no shortcut of the notebook's"
    lab.page.keyboard.press(".")
    lab.until(lambda seen: seen["frame"] == 1)
    lab.page.keyboard.press("x")
    lab.root_node.get_by_label("find the object in the box").uncheck()
    lab.stroke((100, 50), (200, 90))
    lab.until(lambda seen: seen["frames"] == [0, 1])
    rows, columns = np.nonzero(lab.mask(1) == 1)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert abs(box - [100, 50, 200, 90]).max() <= 1


def test_objects_files_and_a_second_view(lab, tmp_path):
    lab.stroke((200, 100), (300, 100))
    lab.until(lambda seen: seen["frames"] == [0])
    name = lab.root_node.get_by_label("name of object 1")
    name.fill("dog")
    name.press("Tab")
    lab.until(lambda seen: seen["objects"] == [{"id": 1, "name": "dog"}])
    with lab.page.expect_download() as download:
        lab.click("Save this frame")
    download.value.save_as(tmp_path / "saved.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "saved.png"), lab.mask())
    assert is_signed(tmp_path / "saved.png") and download.value.suggested_filename == "00000.png"
    given = np.zeros((480, 854), np.uint8)
    given[100:200, 30:700] = 5
    write_mask(tmp_path / "given.png", given)
    lab.page.set_input_files(".sst-annotator input[type=file]", str(tmp_path / "given.png"))
    lab.until(lambda seen: len(seen["objects"]) == 2)
    np.testing.assert_array_equal(lab.mask(), given)
    lab.page.wait_for_function("""() => { const canvas = document.querySelector('.sst-mask');
        return canvas.getContext('2d').getImageData(350, 150, 1, 1).data[3] > 0; }""")
    lab.root_node.get_by_role("button", name="Remove object 5").click()
    lab.until(lambda seen: seen["frames"] == [])
    lab.page.wait_for_function("""() => { const canvas = document.querySelector('.sst-mask');
        return canvas.getContext('2d').getImageData(350, 150, 1, 1).data[3] === 0; }""")


def test_what_was_drawn_outlives_a_reload_of_the_page(lab):
    """Nothing was saved: the kernel has it, with all that can be undone, and the cell that shows the widget does."""
    lab.stroke((200, 100), (400, 300))
    lab.until(lambda seen: seen["frames"] == [0])
    lab.reload()
    lab.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    lab.run("notebook:run-cell")
    wait_for(lambda: (lab.tinted() == (lab.mask() == 1)).all())
    assert overlap(lab.tinted(), brushed((200, 100), (400, 300))) > 0.97
    lab.click("Undo")
    lab.until(lambda seen: seen["frames"] == [])
    wait_for(lambda: not lab.tinted().any())


@pytest.mark.parametrize("lab", [(KEEPING, (854, 480))], indirect=True)
def test_what_is_kept_in_a_folder_outlives_the_kernel(lab):
    lab.stroke((200, 100), (400, 300))
    lab.until(lambda seen: seen["frames"] == [0])
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lab.reload()
    lab.run("notebook:run-all-cells")
    wait_for(lambda: lab.tinted().any())
    assert overlap(lab.tinted(), brushed((200, 100), (400, 300))) > 0.97


def bare(lab):
    """The same strokes on a page of nothing but a canvas: the gaps that a browser has on this machine, now."""
    other = copy.copy(lab)
    other.page = lab.page.context.new_page()
    other.page.set_content(BARE.replace("{width}", str(round(lab.stage.bounding_box()["width"]))))
    other.stage = other.page.locator("canvas")
    return other


def stroke_for(lab, seconds, name, rng):
    """Strokes, while the page marks its frames with a name."""
    lab.page.bring_to_front()
    lab.page.wait_for_timeout(300)
    lab.page.evaluate(FRAMES, [name, seconds])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lab.stroke(*rng.uniform((0, 0), (854, 480), (4, 2)).tolist())


def frames_of(events, name):
    """Of each frame that was marked with this name, how long it lasted, and for how long the busiest thread of those
    that draw it had the processor meanwhile; both in ms."""
    marks = sorted((event["ts"], event["pid"]) for event in events if event["name"] == name)
    times, page = np.array([ts for ts, _ in marks]), marks[0][1]
    threads = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"
               and (event["args"]["name"] == "VizCompositorThread" or event["pid"] == page)}
    busy = []
    for thread in sorted(threads):
        tasks = [(event["ts"], event.get("tdur", 0)) for event in events
                 if event["name"] == "RunTask" and (event["pid"], event["tid"]) == thread]
        starts, spent = np.reshape(tasks, (-1, 2)).T
        busy.append(np.histogram(starts, times, weights=spent)[0])
    return np.stack([np.diff(times), np.max(busy, 0)]) / 1000


def test_drawing_does_not_stall(lab, browser):  # noqa: F811
    """Frames of the page while strokes go on for ten seconds, SST_SECONDS for longer, by turns with a bare page. Where
    others use the processor, both pages wait for it: so no frame may need 100 ms of it, and none may last so long where
    the bare page shows that there was nothing to wait for."""
    turns, rng = round(float(os.environ.get("SST_SECONDS", 10)) / 5), np.random.default_rng(0)
    names, pages = ("widget", "bare"), (lab, bare(lab))
    browser.start_tracing(page=lab.page,
                          categories=["-*", "disabled-by-default-devtools.timeline", "blink.user_timing"])
    for turn in range(turns):
        for name, page in zip(names, pages):
            stroke_for(page, 5, f"{name} {turn}", rng)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    widget, control = (np.concatenate([frames_of(events, f"{name} {turn}") for turn in range(turns)], 1)
                       for name in names)
    for name, (lasted, busy) in zip(names, (widget, control)):
        worst = np.argsort(lasted)[-3:]
        print(f"{name}: {len(lasted)} frames, median {np.median(lasted):.1f} ms, largest {lasted[worst].round(1)} of "
              f"which busy {busy[worst].round(1)}; busiest {busy.max():.1f}; {np.sum(lasted > 100)} over 100 ms")
    assert widget.shape[1] > 50 * turns and widget[1].sum() > 0
    assert widget[1].max() < 100
    assert widget[0].max() < 100 or control[0].max() > 50


@pytest.mark.parametrize("lab", [(SEGMENTING, (432, 240))], indirect=True)
def test_segments_scrubs_corrects_and_exports(lab, tmp_path):
    """As a person does: masks drawn, segmented, looked through, corrected, exported; the command does alike."""
    truth = CLIP().labels
    for identity in (1, 2):
        lab.click("Add an object")
        lab.until(lambda seen: len(seen["objects"]) == identity)
        lab.paint(truth[0] == identity)
    lab.until(lambda seen: overlap(lab.mask() > 0, truth[0] > 0) > 0.6)
    lab.click("Carry the masks")
    lab.page.wait_for_function("document.querySelector('.sst-annotator progress').value > 0")
    lab.shot("segmenting_runs")
    lab.until(lambda seen: not seen["progress"]["running"] and seen["progress"]["done"] == 10)
    lab.page.wait_for_function("document.querySelector('.sst-slider').value === '9'")  # it follows
    lab.shot("segmenting_done")
    slider = lab.root_node.locator(".sst-slider")
    slider.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        slider.press(key)
    lab.until(lambda seen: seen["frame"] == 4)
    lab.settle()
    assert 0.5 < overlap(lab.tinted(), truth[4] > 0)
    lab.page.keyboard.press("2")
    lab.stroke((40, 40), (80, 40))
    lab.until(lambda seen: seen["frames"] == [0, 4] and seen["progress"]["done"] == 4)
    lab.click("Carry the masks")
    lab.until(lambda seen: not seen["progress"]["running"] and seen["progress"]["done"] == 10)
    lab.shot("segmenting_corrected")
    lab.click("Play")
    lab.until(lambda seen: seen["frame"] == 9)
    lab.root_node.get_by_label("folder for the masks").fill("exported")
    lab.root_node.get_by_label("overlay").check()
    lab.root_node.get_by_role("button", name="Write the masks").click()
    lab.until(lambda seen: "10 masks are in" in seen["status"])
    for t in (0, 4):
        write_mask(tmp_path / "given" / f"{t:05d}.png", lab.mask(t))
    threads, root = torch.get_num_threads(), lab.root
    assert main(["segment", str(root / "frames"), "--mask", str(tmp_path / "given"), "--out", str(tmp_path / "command"),
                 "--threads", "1", "--overlay"]) == 0
    torch.set_num_threads(threads)
    assert sorted(path.name for path in (root / "exported").iterdir()) == sorted(
        path.name for path in (tmp_path / "command").iterdir())
    for path in (tmp_path / "command").glob("*.png"):
        assert (root / "exported" / path.name).read_bytes() == path.read_bytes(), path.name
    lab.looks("segmenting")


def test_the_command_opens_the_widget_and_keeps_what_is_drawn(browser, tmp_path):  # noqa: F811
    for t, frame in enumerate(CLIP().frames[:3]):
        write_picture(tmp_path / "frames" / f"{t}.png", Image.fromarray(frame))
    command = [sys.executable, "-m", "sstlib", "annotate", str(tmp_path / "frames"), "--out", str(tmp_path / "out"),
               "--no-browser"]
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what a shell runs in the background
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as running:
        try:
            address = running.stdout.readline().removeprefix("draw at ").strip()
            assert address.startswith("http://127.0.0.1:") and "Ctrl+C" in running.stdout.readline()
            page = browser.new_page(viewport={"width": 1400, "height": 1100})
            page.set_default_timeout(180_000)
            page.goto(address)
            page.wait_for_selector(".sst-annotator .sst-stage")  # with nothing to run by hand
            page.wait_for_timeout(1000)
            box = page.locator(".sst-layers").bounding_box()
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            wait_for(lambda: (tmp_path / "out" / "drawn" / "0.png").exists(), 60)
            page.screenshot(path=str(Path(os.environ.get("SST_SCREENSHOTS", tmp_path)) / "annotate.png"))
            page.close()
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    mask = read_mask(tmp_path / "out" / "drawn" / "0.png", Reading("ids"))
    assert mask[120, 216] == 1 and not mask[:80].any()
