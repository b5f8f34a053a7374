"""Pages without a kernel: JavaScript's patterns are Python's, and a record says what the network's layers say."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_browser import browser  # noqa: F401 - a fixture
from test_lookups import watched

from sstlib import routes
from sstlib.connectivity import Dense, Grid, Local, Strided
from sstlib.explorers import pages
from sstlib.explorers.reaching import STACKS

SCRIPT = Path(pages.__file__).with_name("explore.js")
SIZES = [(3, 5, 7), (1, 4, 1), (4, 2, 3), (2, 7, 5)]
ASK = """
import {{ STACKS, arrival, pairs }} from {script};
const said = {cases}.map(([name, options, cell, size, hops]) => {{
  const layers = Array.from({{ length: hops }}, (_, hop) => STACKS[name][hop % STACKS[name].length]);
  return [arrival(layers, options, cell, size), layers.map((layer) => pairs(layer, options, size))];
}});
console.log(JSON.stringify([Object.keys(STACKS), said]));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node; the browser's test asks the page itself")
def test_patterns_of_the_script_are_the_librarys(tmp_path):
    cases = [(name, {"radius": radius, "stride": stride, "causal": causal}, [size[0] // 2, size[1] - 1, size[2] // 3],
              size, hops)
             for name in STACKS for radius, stride in ((0, 1), (1, 3), (2, 2)) for causal in (False, True)
             for size in SIZES for hops in (1, 2, 3)]
    module = tmp_path / "explore.mjs"
    module.write_text(SCRIPT.read_text())
    asking = tmp_path / "ask.mjs"
    asking.write_text(ASK.format(script=json.dumps(module.as_uri()), cases=json.dumps(cases)))
    done = subprocess.run(["node", str(asking)], capture_output=True, text=True, check=True)
    names, message = json.loads(done.stdout)
    assert names == list(STACKS) and len(message) == len(cases)
    for (name, options, cell, size, hops), (reached, pairs) in zip(cases, message):
        stack = STACKS[name](options["radius"], options["stride"], options["causal"])
        layers = [stack[hop % len(stack)] for hop in range(hops)]
        expected = routes.arrival(layers, tuple(cell), size).ravel()
        assert_array_equal(reached, expected, f"{name} {options} {size} {hops}")
        assert pairs == [layer.pairs(size) for layer in layers]


@pytest.mark.parametrize("causal", [True, False])
def test_a_record_holds_what_the_layers_ask_and_answer_with(causal):
    look, patterns = watched(causal), (Dense(), Strided(2))
    record = json.loads(json.dumps(pages.recorded_attention(look, patterns=patterns)))
    assert record["objects"] == ["background", "object 3", "object 7"] and record["cells"] == [5, 7]
    stored = [np.frombuffer(base64.b64decode(text), "<f4").reshape(2, 35, -1) for text in record["stored"]]
    assert len({content.tobytes() for content in stored}) == len(stored), "what is equal is held once"
    for t, query in enumerate(record["queries"]):
        assert query["frame"] == t == query["times"][-1]
        for number, (part, inputs) in enumerate(zip(query["layers"], look.inputs(t), strict=True)):
            for name in ("query", "key"):
                whole = np.stack([stored[index] for index in part[name]], 1)
                assert_array_equal(whole, getattr(inputs, name).flatten(2, 3).numpy())
            for name, pattern in (f"own {number}", inputs.connectivity), ("1", Dense()), ("2", Strided(2)):
                products = record["relations"][str(inputs.size[0])][name]
                mask = np.zeros((inputs.size[0] * 35,) * 2, bool)
                for axes in products:
                    along = [np.reshape([*map(int, axis)], (n, n)) for axis, n in zip(axes, inputs.size)]
                    mask |= np.kron(np.kron(*along[:2]), along[2]).astype(bool)
                assert_array_equal(mask, pattern.mask(*inputs.size).numpy())
    assert record["start"]["query"] == 4


def test_the_page_needs_nothing_but_itself():
    page = pages.explorer_page(None)
    assert "attention" not in re.findall(r'<div data-explorer="(\w+)"', page)
    full = pages.explorer_page(pages.recorded_attention(watched()))
    assert re.findall(r'<div data-explorer="(\w+)"', full) == ["patterns", "attention"]
    for text in (page, full):
        assert not re.search(r"""(?:src|href)=["'](?!data:)|https?:|import\(|@import|url\(""", text)


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme, head, causal",
                         [(390, "light", "-1", True), (1400, "dark", "1", True), (1400, "light", "-1", False)])
def test_the_page_works_offline_in_a_browser(browser, tmp_path, width, scheme, head, causal):  # noqa: F811
    look = watched(causal)
    file = tmp_path / "explorer.html"
    file.write_text(pages.explorer_page(pages.recorded_attention(look, patterns=(Grid(), Dense()))))
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, errors, outside = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: outside.append(request.url))
    page.goto(file.as_uri())

    def state(which):
        return json.loads(page.locator(f'[data-explorer="{which}"]').get_attribute("data-state"))

    def click(which, frame, y, x, size):
        canvas = page.locator(f'[data-explorer="{which}"] canvas[data-frame="{frame}"]')
        box = canvas.bounding_box()
        canvas.click(position={"x": (x + 0.5) / size[1] * box["width"], "y": (y + 0.5) / size[0] * box["height"]})

    def press(which, frame, *keys):
        page.locator(f'[data-explorer="{which}"] canvas[data-frame="{frame}"]').focus()
        for key in keys:
            page.keyboard.press(key)

    patterns = page.locator('[data-explorer="patterns"]')
    patterns.locator('select[name="stack"]').select_option("Local, then strided")
    patterns.locator('input[name="radius"]').fill("1")
    patterns.locator('input[name="causal"]').check()
    click("patterns", 2, 6, 0, (7, 9))
    message = state("patterns")
    assert message["cell"] == [2, 6, 0] and (message["radius"], message["causal"], message["hops"]) == (1, True, 2)
    layers = [Local(1, causal=True), Strided(3, causal=True)]
    assert_array_equal(message["reached"], routes.arrival(layers, (2, 6, 0), (4, 7, 9)).ravel())
    assert message["cost"] == sum(layer.pairs((4, 7, 9)) for layer in layers)
    press("patterns", 1, "ArrowRight", "ArrowRight", "ArrowDown")
    assert state("patterns")["cell"] == [1, 6, 2], "the keyboard moves the cell, within the frame"
    attention = page.locator('[data-explorer="attention"]')
    for name, place in (("layer", 1), ("head", int(head) + 1), ("pattern", 2), ("object", 2)):
        attention.locator(f'select[name="{name}"]').select_option(index=place)
    click("attention", 1, 4, 6, (5, 7))  # of the buffer of frames 3 to 5: frame 4
    seen, chosen = state("attention"), None if head == "-1" else int(head)
    assert seen["cell"] == [4, 6] and seen["query"] == 3
    for index, pattern in enumerate((None, Grid(), Dense())):
        lookup = look.look(3, 1, chosen, (4, 6), pattern)
        np.testing.assert_allclose(seen["affinities"][index], lookup.affinity, rtol=1e-6)
    np.testing.assert_allclose(seen["weights"], lookup.weights.ravel(), rtol=1e-6, atol=1e-12)
    expected = look.routes(3, (4, 6), chosen, 2, 3, Dense())
    assert [tuple(map(tuple, stops)) for _, stops in seen["routes"]] == [cells for _, cells in expected]
    np.testing.assert_allclose([weight for weight, _ in seen["routes"]], [weight for weight, _ in expected])
    assert attention.locator("li").count() == 3
    assert "frame 4, row 5, column 7" in attention.locator("li").first.inner_text()
    attention.locator('select[name="pattern"]').select_option(index=0)
    expected = look.routes(3, (4, 6), chosen, 2, 3)
    again = state("attention")["routes"]
    assert [tuple(map(tuple, stops)) for _, stops in again] == [cells for _, cells in expected]
    press("attention", 1, "ArrowUp", "ArrowLeft")  # to frame 3 of frames 2 to 4; from there on its own buffer's last
    assert state("attention")["cell"] == [3, 5] and state("attention")["query"] == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not errors and outside == [file.as_uri()]
    context.close()
