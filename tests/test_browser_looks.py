"""The drawing widget on a page of its own, with the real kernel's side behind it: how it looks, and plays, wide and
narrow, light and dark. JupyterLab is left out; `test_browser_drawing` has it.
"""

import base64
import functools
import os
from pathlib import Path

import pytest
from test_browser import browser  # noqa: F401 - a fixture

from sstlib import weights
from sstlib.explorers import InteractiveSegmentation
from sstlib.synthetic import random_spec, render
from sstlib.video import ArraySequence

pytestmark = pytest.mark.browser
TRAITS = ("clip", "objects", "strip", "progress", "status", "folder")  # and frame, which here the page alone changes
MOUNT = """async ([source, style, state]) => {
  const listeners = {}, bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join(''));
  const fire = (name, ...values) => (listeners[name] ?? []).forEach((listener) => listener(...values));
  const exchange = async (message) => {
    const { traits, sent } = await window.kernel(message);
    for (const [name, value] of Object.entries(traits)) {
      if (JSON.stringify(state[name]) === JSON.stringify(value)) continue;
      state[name] = value;
      fire('change:' + name);
    }
    for (const [content, buffers] of sent) fire('msg:custom', content, buffers.map(bytes));
  };
  const model = {
    get: (name) => state[name], set: (name, value) => { state[name] = value; },
    save_changes: () => exchange({ frame: state.frame }),
    send: (content, _, buffers) => exchange({ content, buffers: buffers.map(text) }),
    on: (name, listener) => { (listeners[name] ??= []).push(listener); }, off: () => {},
  };
  document.head.append(Object.assign(document.createElement('style'), { textContent: style }));
  const widget = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  widget.default.render({ model, el: document.querySelector('main') });
  setInterval(() => exchange({}), 50);
}"""
LOOKS = """(selector) => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const over = (colors) => {  // what is seen of colors laid over each other, on white
    context.fillStyle = '#fff';
    context.fillRect(0, 0, 1, 1);
    for (const [color, share] of colors) {
      Object.assign(context, { globalAlpha: share, fillStyle: color });
      context.fillRect(0, 0, 1, 1);
    }
    context.globalAlpha = 1;
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const sample = document.body.appendChild(Object.assign(document.createElement('i'), { style: 'color: Canvas' }));
  const canvas = getComputedStyle(sample).color;  // of the scheme, which a canvas does not know
  sample.remove();
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);  // of sRGB, as WCAG has it
  const light = (color) => color.reduce((sum, c, n) => sum + linear(c / 255) * [0.2126, 0.7152, 0.0722][n], 0);
  const under = (node) => {
    const above = [];
    for (let one = node; one; one = one.parentElement) above.unshift([getComputedStyle(one).backgroundColor, 1]);
    return [[canvas, 1], ...above];
  };
  const contrast = (node, style) => {
    const ground = under(node), text = [style.color, Number(style.opacity)];
    const [a, b] = [over(ground), over([...ground, text])].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const root = document.querySelector(selector), inside = root.getBoundingClientRect();
  const result = { texts: [], targets: [], outside: [] };
  for (const node of root.querySelectorAll('*')) {
    const box = node.getBoundingClientRect(), name = node.getAttribute('aria-label') ?? node.textContent.slice(0, 60);
    if (!box.width || node.closest('.sst-layers')) continue;
    if (box.left < inside.left - 0.5 || box.right > inside.right + 0.5)
      result.outside.push([box.left, box.right, node.tagName, name]);
    const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (words && !node.disabled) result.texts.push([contrast(node, getComputedStyle(node)), name]);
    if (node.placeholder) result.texts.push([contrast(node, getComputedStyle(node, '::placeholder')), name]);
    if (node.matches('button, label, summary, input:not(label input)'))
      result.targets.push([box.width, box.height, name]);
  }
  for (const node of [root, document.documentElement])
    if (node.scrollWidth > node.clientWidth) result.outside.push([node.clientWidth, node.scrollWidth, node.tagName]);
  return result;
}"""
BODY = """<!DOCTYPE html><meta name="viewport" content="width=device-width"><style>:root { color-scheme: light dark; }
body { margin: 12px; }</style><main></main>"""


def faults(page):
    """What of the widget lies outside of it, is hard to read (contrast below 4.5) or to hit (lower or narrower than 40
    pixels where it is narrow, else than 32)."""
    looks = page.evaluate(LOOKS, ".sst-annotator")
    assert len(looks["texts"]) > 40 and len(looks["targets"]) > 20, "there is something to judge"
    least = 39.5 if page.viewport_size["width"] < 600 else 31.5
    return (looks["outside"] + [text for text in looks["texts"] if text[0] < 4.5]
            + [target for target in looks["targets"] if min(target[:2]) < least])


class Bench:
    """A page with the widget alone, and the kernel's side of it here."""

    def __init__(self, context, widget):
        self.page, self.widget, self.sent, self.errors = context.new_page(), widget, [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        widget.send = lambda content, buffers=(): self.sent.append(
            (content, [base64.b64encode(bytes(one)).decode() for one in buffers]))
        self.page.expose_function("kernel", self.exchange)
        self.page.set_content(BODY)
        self.page.evaluate(MOUNT, [widget._esm, widget._css, self.traits() | {"frame": widget.frame}])
        self.settle()

    def traits(self):
        return {name: getattr(self.widget, name) for name in TRAITS}

    def exchange(self, message):
        """Takes what the page says, if anything, and gives what is new here."""
        if "content" in message:
            buffers = [memoryview(base64.b64decode(one)) for one in message["buffers"]]
            self.widget._handle_custom_msg(message["content"], buffers)
        if "frame" in message:
            self.widget.frame = message["frame"]
        sent, self.sent = self.sent, []
        return {"traits": self.traits(), "sent": sent}

    def listen(self, selector):
        """A function that gives what a screen reader has been told of an element since it was last asked."""
        self.page.evaluate("""(selector) => { const node = document.querySelector(selector); window.spoken = [];
            new MutationObserver(() => { if (node.ariaLive === 'polite') spoken.push(node.textContent); })
                .observe(node, { childList: true }); }""", selector)
        return lambda: self.page.evaluate("spoken.splice(0)")

    def settle(self):
        self.page.wait_for_selector('.sst-stage[aria-busy="false"]')


@functools.cache
def session():
    """A clip with long names, segmented but for what comes after a correction: all that the widget can show at once."""
    clip = render(random_spec("easy", 1, frames=10, objects=2), 1)
    names = [f"a_frame_of_a_long_name_{t:05d}" for t in range(10)]
    sequence = ArraySequence(clip.frames, name="clip", frame_names=names)
    made = InteractiveSegmentation(weights.load("sst-small"), sequence, {0: clip.labels[0]}, rate=3)
    made.segment()
    made.wait(300)
    made.annotations.rename(2, "an object of a name that is far too long for its field")
    made.draw(6, clip.labels[6])
    made.status = "/".join(["a_folder_of_a_name_without_a_space"] * 9)
    return made


@pytest.fixture(params=[(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")], ids=str)
def bench(browser, request):  # noqa: F811
    width, scheme = request.param
    session().frame = 0
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 600)
    opened = Bench(context, session())
    yield opened
    context.close()
    assert not opened.errors


def test_nothing_overflows_and_all_can_be_read_and_hit(bench, request):
    stage = bench.page.locator(".sst-stage")
    place = stage.bounding_box()
    bench.page.get_by_text("Keyboard and touch").click()
    bench.page.get_by_role("button", name="Box").click()
    assert bench.page.get_by_label("find the object in the box").is_visible() and stage.bounding_box() == place
    width, scheme = request.node.callspec.params["bench"]
    if folder := os.environ.get("SST_SCREENSHOTS"):
        bench.page.screenshot(path=str(Path(folder) / f"widget_{scheme}_{width}.png"), full_page=True)
    assert not faults(bench.page)
    bench.page.evaluate("document.querySelector('.sst-time').style.setProperty('--count', 900)")  # as of a longer clip
    assert not faults(bench.page)


@pytest.mark.parametrize("bench", [(390, "dark")], indirect=True)
def test_plays_pauses_and_steps_and_says_so(bench):
    """By keyboard alone; a frame is read aloud when one steps to it, and not while the clip plays."""
    page, keyboard, name = bench.page, bench.page.keyboard, "a_frame_of_a_long_name_{:05d} ({} of 10)".format
    spoken = bench.listen(".sst-place")
    page.get_by_role("button", name="Play").focus()
    keyboard.press("Enter")
    page.wait_for_selector('[aria-label="Pause (K)"]')
    page.wait_for_function("document.querySelector('.sst-slider').value >= 2")
    keyboard.press("k")
    page.wait_for_selector('[aria-label="Play (K)"]')
    t = int(page.locator(".sst-slider").input_value())
    assert 2 <= t < 9 and spoken() == [f"{name(0, 1)}, playing", name(t, t + 1)]
    page.wait_for_timeout(600)
    assert page.locator(".sst-slider").input_value() == str(t), "it stands still"
    for key, to in (("ArrowRight", t + 1), ("ArrowLeft", t), ("ArrowLeft", t - 1)):
        keyboard.press(key)
        assert spoken() == [name(to, to + 1)]
    page.locator(".sst-slider").focus()
    keyboard.press("End")
    assert page.locator(".sst-slider").get_attribute("aria-valuetext") == f"frame {name(9, 10).split()[0]}"
    assert spoken() == [], "the slider says it"
    keyboard.press("k")
    page.wait_for_selector('[aria-label="Pause (K)"]')
    page.wait_for_selector('[aria-label="Play (K)"]')
    assert page.locator(".sst-slider").input_value() == "9", "from the first to the last"


@pytest.mark.parametrize("bench", [(1400, "light")], indirect=True)
def test_segmenting_is_read_aloud_when_it_is_done(bench):
    """And not frame by frame."""
    spoken = bench.listen(".sst-status")
    bench.page.get_by_role("button", name="Carry the masks").click()
    bench.page.wait_for_function("document.querySelector('.sst-status').textContent.startsWith('object 1')")
    texts = spoken()
    assert texts[-1] == bench.widget.status and len(texts) <= 2, texts
