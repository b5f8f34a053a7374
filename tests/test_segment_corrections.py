"""`sst segment --corrections`: what a folder of masks may hold, what is said of each, and what is refused in a line."""

import functools
import os
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import squares
from PIL import Image

from sstlib.cli import main
from sstlib.video import Reading, read_mask, write_mask

SHAPE = (32, 48)
DRAWS = np.random.default_rng(0)
FRAMES = DRAWS.integers(0, 256, (6, *SHAPE, 3), np.uint8)
FIXED = Path("fixed/00003.png")
BLUE, GREEN = (0, 0, 255), (0, 200, 100)  # none of the palette's


square = functools.partial(squares.square, SHAPE)


def colored(**columns):
    """A picture of squares on black, by their color's name here and their column."""
    picture = np.zeros((*SHAPE, 3), np.uint8)
    for color, column in columns.items():
        picture[square(1, column) > 0] = {"blue": BLUE, "green": GREEN}[color]
    return Image.fromarray(picture)


@pytest.fixture
def sst(tmp_path, monkeypatch, tiny_weights, capsys):
    """Runs the command in a folder of frames/, fixed/, one.png with object 7 and two.png with 1 and 2."""
    monkeypatch.chdir(tmp_path)
    squares.write_frames("frames", FRAMES)
    Path("fixed").mkdir()
    write_mask("one.png", square(7))
    write_mask("two.png", square(1) | square(2, 30))

    def run(*options, mask="one.png", folder="fixed"):
        status = main(["segment", "frames", "--mask", mask, "--out", "out", "--weights", str(tiny_weights), "--threads",
                       "1", *(["--corrections", folder] if folder else []), *options])
        message = capsys.readouterr()
        return status, message.out, message.err
    return run


def old(path):
    """As if it had been written a while ago, so that nobody waits for the rest of it."""
    os.utime(path, (time.time() - 9,) * 2)


def half(path):
    path.write_bytes(Path("one.png").read_bytes()[:60])


def saved(picture):
    return lambda: picture.save(FIXED)


BEFORE = {  # what is done, options, words of the line; found before work starts
    "no folder": (lambda: shutil.rmtree("fixed"), [], "fixed: no such folder of corrections; make one"),
    "a file": (lambda: (shutil.rmtree("fixed"), shutil.copy("one.png", "fixed")), [], "fixed: is a file, not a folder"),
    "a name that is no frame": (lambda: write_mask("fixed/mask.png", square()), [], "no frame 'mask' among .*00000 to"),
    "a number without zeros": (lambda: write_mask("fixed/3.png", square()), [], "no frame '3' .*: rename it"),
    "a copy": (lambda: write_mask("fixed/00003 (1).png", square()), [], r"no frame '00003 \(1\)'"),
    "a frame beyond the end": (lambda: write_mask("fixed/00006.png", square()), [], r"no frame '00006' .*to 00005\)"),
    "a frame before the start": (lambda: write_mask("fixed/00001.png", square()), ["--start", "2"],
                                 r"no frame '00001' among those that are segmented \(00002 to 00005\)"),
    "a frame behind the stop": (lambda: write_mask(FIXED, square()), ["--stop", "3"], r"'00003'.*\(00000 to 00002\)"),
    "a frame between strides": (lambda: write_mask(FIXED, square()), ["--stride", "2"], "no frame '00003' among those"),
    "two of one frame": (lambda: (write_mask(FIXED, square()), Image.fromarray(square()).save("fixed/00003.bmp")), [],
                         "00003.png: 00003.bmp is of the same frame; keep one"),
    "a sheet among them": (lambda: None, ["--sheet", "fixed/sheet.png"], "sheet.png.*fixed"),
}
REFUSED = {  # what is done, the mask of the first frame, words of the line
    "another size": (lambda: write_mask(FIXED, square()[:-2]), "one.png", "is 48x30 pixels, the frame is 48x32; draw"),
    "turned": (lambda: write_mask(FIXED, square().T), "one.png", "is 32x48 pixels, the frame is 48x32"),
    "half-written": (lambda: half(FIXED), "one.png", "00003.png: not an image, or damaged"),
    "nothing in the file": (FIXED.touch, "one.png", "00003.png: "),
    "text": (lambda: FIXED.write_text("a mask"), "one.png", "00003.png: "),
    "soft": (saved(Image.fromarray(FRAMES[0, :, :, 0])), "one.png", "mask holds the samples"),
    "a photograph": (saved(Image.fromarray(FRAMES[3])), "one.png", "holds the samples of a picture"),
    "colors on no background": (saved(Image.new("RGB", SHAPE[::-1], BLUE)), "one.png", "paint the background black"),
    "colors that are nobody's": (saved(colored(blue=5)), "two.png", "cannot be known which objects.*--out"),
    "a color that the clip has not": (lambda: (colored(blue=5).save("colors.png"), colored(green=5).save(FIXED)),
                                      "colors.png", "color #00C864, which the clip's reading does not know"),
    "white on black for one of two": (saved(Image.fromarray(square() * 255)), "two.png",
                                      "there are objects 1, 2; save the id"),
    "white all over": (saved(Image.fromarray(0 * square() + 255)), "two.png", "has no background"),
    "white all over for the only one": (saved(Image.fromarray(0 * square() + 255)), "one.png", "has no background"),
    "one bit for one of two": (saved(Image.fromarray(square() > 0)), "two.png", "there are objects 1, 2; save the id"),
}


@pytest.mark.parametrize("done, options, words", BEFORE.values(), ids=BEFORE)
def test_corrections_of_nothing_are_refused_before_work_starts(sst, done, options, words):
    done()
    status, _, error = sst(*options)
    assert status == 2 and error.count("\n") == 1 and not Path("out").exists()
    assert re.search(words, error), error


@pytest.mark.parametrize("done, mask, words", REFUSED.values(), ids=REFUSED)
def test_a_correction_that_cannot_be_and_is_there_is_named_before_work_starts(sst, done, mask, words):
    done()
    old(FIXED)
    status, _, error = sst(mask=mask)
    assert status == 2 and error.count("\n") == 1 and "00003.png" in error and not Path("out").exists()
    assert re.search(words, error), error


@pytest.mark.parametrize("done, mask, words", REFUSED.values(), ids=REFUSED)
def test_a_correction_that_cannot_be_is_named_at_its_frame_and_the_run_goes_on_without_it(sst, done, mask, words,
                                                                                          monkeypatch):
    """One that comes while the frames before it are segmented."""
    from sstlib.sessions import Corrections

    done()
    FIXED.rename("later")
    begin = Corrections.__init__

    def begins(*given):
        begin(*given)
        Path("later").rename(FIXED)
        old(FIXED)

    with monkeypatch.context() as patch:
        patch.setattr(Corrections, "__init__", begins)
        status, _, error = sst(mask=mask)
    assert status == 2 and error.count("\n") == 1 and "00003.png" in error and not Path("out/00003.png").exists()
    assert re.search(words, error), error
    FIXED.unlink()
    status, out, error = sst(mask=mask)
    assert status == 0 and "goes on with the run" in out and "6 masks are in out" in out, error


def shown(t=3):
    return read_mask(f"out/{t:05d}.png", Reading("ids"))


SAVED = {  # masks of the only object, 7, as programs save them
    "by palette": lambda: write_mask(FIXED, square(7, 20)),
    "white on black": saved(Image.fromarray(square(255, 20))), "one bit": saved(Image.fromarray(square(1, 20) > 0)),
    "white on black in colors": saved(Image.fromarray(square(255, 20)).convert("RGB")),
}


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_the_only_object_is_corrected_however_its_mask_was_saved(sst, save):
    save()
    status, out, error = sst()
    assert status == 0, error
    assert "fixed/00003.png: corrects 1 object: 7 = 144 pixels\n" in out
    np.testing.assert_array_equal(shown() == 7, square(7, 20) == 7)
    assert set(np.unique(shown())) <= {0, 7}


def test_colors_mean_in_a_correction_what_they_mean_in_the_clips_masks(sst):
    colored(blue=5, green=30).save("colors.png")  # by their codes: blue is object 1, green 2
    colored(green=20).save(FIXED)
    status, out, error = sst(mask="colors.png")
    assert status == 0, error
    assert "corrects 1 object: 2 = 144 pixels" in out
    np.testing.assert_array_equal(shown() == 2, square(1, 20) == 1)


def test_an_index_of_another_color_than_in_the_clips_masks_is_of_no_object(sst):
    """As programs write it that keep the colors of a frame: object 2 alone is 1, and would have corrected that."""
    def indexed(labels, *colors):
        image = Image.fromarray(labels)
        image.putpalette([value for color in ((0, 0, 0), *colors) for value in color])
        return image

    indexed(square(1) | square(2, 30), BLUE, GREEN).save("indexed.png")
    indexed(square(1, 20), GREEN).save(FIXED)
    old(FIXED)
    status, out, error = sst(mask="indexed.png")
    assert status == 2 and not Path("out").exists()
    assert error.endswith("fixed/00003.png: index 1 of its palette is #00C864, and #0000FF in the clip's own masks, so "
                          "that it cannot be known which object it is; save all masks of a clip with one palette, or "
                          "gray by id\n")
    indexed(square(2, 20), BLUE, GREEN).save(FIXED)
    old(FIXED)
    status, out, error = sst(mask="indexed.png")
    assert status == 0 and "corrects 1 object: 2 = 144 pixels" in out, error


def test_soft_edges_are_read_by_the_threshold_that_the_clips_masks_are_read_by(sst):
    def soft(column):
        return Image.fromarray(square(255, column)).resize((24, 16)).resize(SHAPE[::-1])

    soft(5).save("soft.png")
    soft(20).save(FIXED)
    old(FIXED)
    status, out, error = sst("--threshold", "100", mask="soft.png")
    assert status == 0, error
    np.testing.assert_array_equal(shown(), np.asarray(soft(20)) >= 100)
    half(FIXED)
    old(FIXED)
    status, out, error = sst("--threshold", "100", "--overwrite", mask="soft.png")
    assert status == 2 and "00003.png: not an image, or damaged" in error
    write_mask(FIXED, square(1, 20))  # an id below the threshold
    status, out, error = sst("--threshold", "100", "--overwrite", mask="soft.png")
    assert status == 0 and "corrects 1 object: 1 = 144 pixels" in out, error


def test_what_joins_or_corrects_nothing_is_said_and_what_is_no_picture_is_left_alone(sst):
    write_mask(FIXED, square(9, 20))
    write_mask("fixed/00004.png", 0 * square())
    Path("fixed/00005.json").write_text("{}")
    for name in (".DS_Store", "notes.txt", ".00005.png.abcdefgh.part", "00005.png~"):
        Path("fixed", name).write_text("")
    status, out, error = sst()
    assert status == 0 and "00003.png: corrects 1 object: 9 = 144 pixels\n" in out, error
    assert "fixed/00004.png: corrects no object, and nothing by it; for one that is gone there is --absent" in out
    assert "fixed: 00005.json is no picture, and not taken; " in error
    assert (shown() == 9).any()


def test_a_correction_that_is_being_written_is_waited_for(sst):
    write_mask("whole.png", square(7, 20))
    whole = Path("whole.png").read_bytes()
    FIXED.write_bytes(whole[:60])
    rest = threading.Timer(0.5, lambda: FIXED.write_bytes(whole))
    read = []

    def begins(*given):
        if not read:
            os.utime(FIXED)
            rest.start()
        read.append(given)
        return read_labels(*given)

    from sstlib.sessions import Corrections

    read_labels = Corrections._labels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Corrections, "_labels", begins)
        status, out, error = sst()
    rest.join()
    assert status == 0 and len(read) >= 2, error
    np.testing.assert_array_equal(shown() == 7, square(7, 20) == 7)
