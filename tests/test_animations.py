"""Animations of masks over a clip: each frame shows what the masks say, small enough, and described."""

import base64
import io
import re
import time

import numpy as np
import pytest
from PIL import Image
from test_browser import browser, wait_for  # noqa: F401 - browser is a fixture

from sstlib import plots
from sstlib.plots.animations import Animation, animated, page
from sstlib.plots.style import ACCENT
from sstlib.synthetic import random_spec, render


@pytest.fixture(scope="module")
def clip():
    return render(random_spec("occlusion", 0, frames=17, height=48, width=80, occlusion=3), 0)


@pytest.fixture(scope="module")
def rows(clip):
    return {name: (clip.frames, labels) for name, labels in
            (("truth", clip.labels), ("nothing", np.zeros_like(clip.labels)), ("copy", clip.labels))}


@pytest.fixture(scope="module")
def made(rows):
    return animated(rows)


def pages_of(animation):
    moving = Image.open(io.BytesIO(animation.avif))
    pages = []
    for t in range(moving.n_frames):
        moving.seek(t)
        pages.append(np.asarray(moving.convert("RGB")).astype(int))
    return moving, pages


def test_every_frame_is_shown_and_differs_where_the_masks_do(clip, rows, made):
    moving, pages = pages_of(made)
    assert moving.size == made.size and len(pages) == len(clip.frames)
    drawing = page(rows)
    drawing.draw_without_rendering()
    places = [axes.get_window_extent() for axes in drawing.axes]
    across, down = round(places[0].width), round(places[0].height)
    top = round(made.size[1] - places[0].y1)
    assert across / down == pytest.approx(80 / 48, rel=0.02) and across > made.size[0] / 4
    for t, picture in enumerate(pages):
        panels = [picture[top:top + down, round(place.x0):round(place.x0) + across] for place in places]
        apart = [np.abs(panel - panels[0]).mean(-1) for panel in panels]
        assert apart[2].mean() < 6, "the same masks look alike, but for parts of a pixel"
        mask = np.asarray(Image.fromarray(clip.labels[t] > 0).resize(panels[0].shape[1::-1]))
        assert apart[1][mask].mean() > 4 * apart[1][~mask].mean(), "tinted where the truth is"


def test_a_strip_says_how_far_it_is(made):
    color = np.array([int(ACCENT[at:at + 2], 16) for at in (1, 3, 5)])
    shares = [(np.abs(page[-2] - color).max(-1) < 60).mean() for page in pages_of(made)[1]]
    np.testing.assert_allclose(shares, np.linspace(0, 1, len(shares)), atol=0.03)


def test_it_shows_itself_described_and_in_a_fold(made):
    shown = made._repr_html_()
    assert shown.startswith("<details open>") and f'alt="{made.description}"' in shown
    assert base64.b64decode(re.search(r"base64,([^\"]*)", shown)[1]) == made.avif
    assert len(repr(made)) < 300, "beside the picture, notebooks keep this"
    assert "truth, nothing, copy" in made.description and "17 frames" in made.description
    assert Image.open(io.BytesIO(made.avif)).getexif()[0x010E] == made.description
    assert 'alt="A &lt;b&gt; &quot;c&quot;"' in Animation(b"", 'A <b> "c"', (1, 1))._repr_html_()


def test_it_keeps_its_limit_or_says_so(clip, made):
    rows = {"truth": (clip.frames, clip.labels)}
    small = animated(rows, limit=12_000)
    assert len(small.avif) <= 12_000 < len(made.avif) <= 150_000
    with pytest.raises(ValueError, match="do not fit into 100 bytes"):
        animated(rows, limit=100)


def test_masks_are_of_every_frame(clip):
    whole = (clip.frames, clip.labels)
    with pytest.raises(ValueError, match=r"SST: frames of shape \(17, 48, 80, 3\) with labels of shape \(16, 48, 80\)"):
        animated({"SST": (clip.frames, clip.labels[:-1])})
    with pytest.raises(ValueError, match="other: frames of .* 17 frames of 48 x 80 are expected"):
        animated({"SST": whole, "other": (clip.frames[1:], clip.labels[1:])})


def test_every_third_frame_is_shown_as_fast(clip):
    whole = {"truth": (clip.frames, clip.labels)}
    (every, pages), (third, fewer) = (pages_of(animated(whole, stride=stride)) for stride in (1, 3))
    assert len(fewer) == 6 and fewer[2].shape == pages[6].shape
    assert np.abs(fewer[2] - pages[6]).mean() < 3 < np.abs(fewer[2] - pages[2]).mean()
    for moving in (every, third):
        moving.seek(0), moving.load()
    assert third.info["duration"] == pytest.approx(3 * every.info["duration"], abs=2)


def test_equal_animations_are_equal_files(clip):
    whole = {"truth": (clip.frames[:3], clip.labels[:3])}
    first = animated(whole)
    time.sleep(1.1)  # the encoder notes the second in which it worked
    assert animated(whole) == first and len(pages_of(first)[1]) == 3


def test_a_pillow_without_its_encoder_is_named(clip, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    with pytest.raises(ValueError, match="built without AVIF.*pip install"):
        animated({"truth": (clip.frames, clip.labels)})


def test_it_is_saved_beside_figures_where_these_are_written(made, tmp_path, monkeypatch):
    monkeypatch.delenv("SST_FIGURES", raising=False)
    assert plots.save(made, "moving") is None
    path = plots.save(made, "moving", tmp_path)
    assert path.name == "moving.avif" and path.read_bytes() == made.avif


@pytest.mark.browser
def test_a_browser_shows_it_moving(browser, made):  # noqa: F811
    page = browser.new_page(viewport={"width": 390, "height": 600})
    page.set_content(made._repr_html_())
    page.wait_for_function("document.querySelector('img').complete")
    size = "(img => [img.naturalWidth, img.naturalHeight])(document.querySelector('img'))"
    assert page.evaluate(size) == [*made.size]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    first = page.locator("img").screenshot()
    wait_for(lambda: page.locator("img").screenshot() != first)  # as late as a busy machine draws the next frame
    page.close()
