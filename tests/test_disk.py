"""A disk that is full, read-only or out of inodes, and inputs and outputs that vanish meanwhile: one line, and nothing
half-written.
"""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from squares import write_frames

from sstlib import paths, weights
from sstlib.cli import main
from sstlib.config import named_model
from sstlib.inference import Prediction
from sstlib.model import build
from sstlib.movies import Incomplete, Timing, VideoWriter, open_clip, write_video
from sstlib.sessions import Clip, MaskFolder, carry, state
from sstlib.sessions.exports import FORMATS, Exports, LiveExports
from sstlib.video import ArraySequence, read_mask, write_mask

SHAPE, COUNT = (48, 64), 6
DRAWS = np.random.default_rng(0)
FRAMES = DRAWS.integers(0, 256, (COUNT, *SHAPE, 3), np.uint8)
OBJECT = DRAWS.random(SHAPE).astype(np.float32)
PREDICTION = Prediction((OBJECT > 0.5).astype(np.uint8), np.stack([1 - OBJECT, OBJECT]), (0, 1), {1: 1.0}, {1: 0.0},
                        {1: 1.0})


class Disk:
    """Room for so many bytes; every file that is written atomically takes its part."""

    def __init__(self, monkeypatch, room=sys.maxsize):
        self.room, self._opened = room, os.fdopen
        monkeypatch.setattr(paths.os, "fdopen", self.fdopen)

    def fdopen(self, descriptor, mode, **text):
        file = self._opened(descriptor, mode, **text)
        return Limited(self, file) if mode in ("w", "wb") else file


class Limited:
    def __init__(self, disk, file):
        self.disk, self.file = disk, file

    def write(self, content):
        if len(content) > self.disk.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.disk.room -= len(content)
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))


def made(out, kind, live=False):
    """One form of a clip's masks, beside them."""
    shutil.rmtree(out, ignore_errors=True)
    clip = Clip(ArraySequence(FRAMES), {0: PREDICTION.labels})
    exports = LiveExports(out, [kind], "clip", SHAPE, Timing(), {}, {1}) if live else Exports(clip, out, [kind])
    for _ in carry(((t, PREDICTION, FRAMES[t]) for t in range(COUNT)), [MaskFolder(clip, out, []), exports]):
        pass


@pytest.mark.parametrize("live", [False, True], ids=["", "live"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_nothing_half_written_of_any_form(tmp_path, monkeypatch, name, live):
    disk, out = Disk(monkeypatch), tmp_path / "out"
    made(out, FORMATS[name], live)
    whole, needed = files(out), sys.maxsize - disk.room
    masks = [f"{t:05d}.png" for t in range(COUNT)]
    for share in (0, 0.5, 0.8, 0.99):
        disk.room = int(share * needed)
        with pytest.raises(paths.NotWritten, match="out/.* cannot be written: No space left on device; make room"):
            made(out, FORMATS[name], live)
        assert set(files(out)) <= set(masks)
    disk.room = needed
    made(out, FORMATS[name], live)
    assert files(out) == whole


def test_a_full_disk_leaves_the_state_that_was(tmp_path, monkeypatch):
    state.write(tmp_path / "state", {"done": 1})
    Disk(monkeypatch, 10)
    with pytest.raises(paths.NotWritten, match="state cannot be written"):
        state.write(tmp_path / "state", {"done": 2})
    assert files(tmp_path) == ["state"] and state.read(tmp_path / "state") == {"done": 1}


@pytest.fixture
def mounted(tmp_path):
    """Mounts a file system in memory with some options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a small file system")
        return folder
    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["overlay", "prores", "coco"])
def test_a_file_system_that_is_really_full_is_told_likewise(mounted, name):
    out = mounted("size=28k") / "out"
    with pytest.raises(paths.NotWritten, match="No space left on device"):
        made(out, FORMATS[name])
    assert set(files(out)) <= {f"{t:05d}.png" for t in range(COUNT)}


def test_a_file_system_without_inodes_is_full_as_well(mounted):
    out = mounted("nr_inodes=9") / "out"
    with pytest.raises(paths.NotWritten, match="cannot be written: .*make room, for bytes and for files"):
        made(out, FORMATS["objects"])
    assert set(files(out)) <= {f"{t:05d}.png" for t in range(COUNT)}


def test_a_device_stays_one_and_a_full_one_is_named(tmp_path):
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        device.open("wb").close()
    except OSError:
        pytest.skip("devices can be made by root alone")
    with pytest.raises(paths.NotWritten, match=f"{device} cannot be written: No space left"):
        with paths.atomic_write(device, "w") as file:
            file.write("whole")
    assert device.is_char_device() and files(tmp_path) == ["full"]


def test_a_pipe_gets_the_whole_or_nothing(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RuntimeError), paths.atomic_write(pipe, "w") as file:
        file.write("half")
        raise RuntimeError
    with paths.atomic_write(pipe, "w") as file:
        file.write("whole")
    assert os.read(reading, 100) == b"whole" and pipe.is_fifo()
    os.close(reading)


def test_a_link_that_leads_to_itself_is_no_fault(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    paths.refuse_inputs({"--csv": tmp_path / "loop"}, [tmp_path])
    with paths.atomic_write(tmp_path / "loop", "w") as file:
        file.write("whole")
    assert (tmp_path / "loop").read_text() == "whole" and files(tmp_path) == ["loop"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path, exists):
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if exists:
        target.parent.mkdir()
        target.write_text("before")
    link.symlink_to(target)
    with paths.atomic_write(link, "w") as file:
        file.write("after")
    assert link.is_symlink() and target.read_text() == "after"


def test_what_is_read_meanwhile_has_errors_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere") as caught, paths.atomic_write(tmp_path / "new"):
        open(tmp_path / "nowhere")
    assert not isinstance(caught.value, paths.NotWritten) and not files(tmp_path)


def test_a_folder_that_vanishes_while_a_file_is_written_is_named(tmp_path):
    with pytest.raises(paths.NotWritten, match="a/file cannot be written: .*its folder was removed meanwhile"):
        with paths.atomic_write(tmp_path / "a" / "file", "w") as file:
            file.write("half")
            shutil.rmtree(tmp_path / "a")
    assert not files(tmp_path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file of small weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(build(named_model("sst-tiny").replace(matching="reference")).eval(), path)
    return path


@pytest.fixture
def sst(tmp_path, monkeypatch, network, capsys):
    """Runs the command in a folder with frames/, clip.mp4 with sound, mask.png and fixed/."""
    monkeypatch.chdir(tmp_path)
    write_frames("frames", FRAMES)
    write_video("clip.mp4", FRAMES)
    write_mask("mask.png", PREDICTION.labels)
    os.mkdir("fixed")

    def run(video, *more):
        status = main(["segment", video, "--mask", "mask.png", "--out", "out", "--weights", str(network), *more])
        return status, capsys.readouterr().err
    return run


def after(number, action, monkeypatch):
    """Does something when so many masks are written."""
    count = iter(range(1, 999))

    def writing(path, labels):
        write_mask(path, labels)
        if next(count) == number:
            action()
    monkeypatch.setattr("sstlib.sessions.sinks.write_mask", writing)


VANISHED = {  # what is removed after three masks, options, and words of the error
    "the folder of frames": ("frames", "frames", [], "frames/0000.*no such image"),
    "a frame": ("frames", "frames/00005.png", [], "frames/00005.png: no such image"),
    "the video": ("clip.mp4", "clip.mp4", ["--overlay"], "clip.mp4: there is no such file any more"),
    "the folder of masks": ("frames", "out", [], "out: the folder of masks was removed meanwhile"),
    "the folder of masks, at the end": ("frames", "out", ["--stop", "3"], "00000.png: 3 of 3 masks were removed"),
    "a mask": ("frames", "out/00001.png", ["--export", "coco"], "out/00001.png: 1 of 6 masks were removed"),
    "the corrections": ("frames", "fixed", ["--corrections", "fixed"], "the folder of corrections was removed"),
}


@pytest.mark.parametrize("video, place, more, words", VANISHED.values(), ids=VANISHED)
def test_what_vanishes_meanwhile_is_named(sst, tmp_path, monkeypatch, video, place, more, words):
    def remove():
        shutil.rmtree(place) if os.path.isdir(place) else os.unlink(place)
    after(3, remove, monkeypatch)
    status, error = sst(video, *more)
    lines = [line for line in error.splitlines() if line.startswith("sst segment: ")]
    assert status == 2 and len(lines) == 1 and "Traceback" not in error
    pytest.raises(ValueError, exec, "raise ValueError(lines[0])", {"lines": lines}).match(words)
    assert not [name for name in files(tmp_path) if name.endswith(".part") or "overlay" in name]


def test_a_folder_that_may_not_be_written_into_is_refused_before_work_starts(sst, mounted, monkeypatch, network,
                                                                             capsys):
    folder = mounted("ro")
    monkeypatch.setattr(weights, "load", lambda *given: pytest.fail("said too late"))
    for place in (folder, folder / "out"):
        status = main(["segment", "frames", "--mask", "mask.png", "--out", str(place), "--weights", str(network)])
        error = capsys.readouterr().err
        assert status == 2 and "may not be written into; name another place" in error and error.count("\n") == 1


def test_once_there_is_room_the_same_command_goes_on(sst, monkeypatch):
    disk = Disk(monkeypatch)
    after(4, lambda: setattr(disk, "room", 0), monkeypatch)
    status, error = sst("frames", "--threads", "1")
    assert status == 2 and "out/00004.png cannot be written: No space left on device; make room" in error
    assert error.count("\n") == 1
    assert [name for name in files("out") if name != ".sst-segment.safetensors"] == [f"{t:05d}.png" for t in range(4)]
    disk.room = sys.maxsize
    assert sst("frames", "--threads", "1")[0] == 0
    shutil.move("out", "resumed")
    assert sst("frames", "--threads", "1")[0] == 0
    for t in range(COUNT):
        np.testing.assert_array_equal(read_mask(f"resumed/{t:05d}.png"), read_mask(f"out/{t:05d}.png"))


def test_what_a_killed_run_left_half_written_is_no_part_of_the_next(sst, tmp_path):
    for name in (".objects.part/7/00000.png", ".alpha.part/00000.png", ".00001.png.abcdefgh.part", ".mine.part",
                 ".coco.json.abcdefgh.part", "..sst-segment.safetensors.ab_def8_.part", ".overlay.mp4.abcdefgh.part",
                 "../.sheet.png.abcdefgh.part"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"half")
    assert sst("frames", "--export", "objects", "--sheet", "sheet.png")[0] == 0
    names = files(tmp_path)
    assert [name for name in names if name.endswith(".part")] == ["out/.mine.part"]
    assert "out/objects/1/00000.png" in names and "out/objects/7" not in names


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_that_then_goes_on(sst, tmp_path, monkeypatch, name):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as of what runs in the background")
    after(2, lambda: os.kill(os.getpid(), getattr(signal, name)), monkeypatch)
    before = signal.getsignal(getattr(signal, name))
    status, error = sst("frames", "--export", "cutout")
    assert status == 130 and "the same command goes on from there" in error and "Traceback" not in error
    assert files("out") == [".sst-segment.safetensors", "00000.png", "00001.png"]
    assert signal.getsignal(getattr(signal, name)) is before
    monkeypatch.undo()
    os.chdir(tmp_path)
    assert sst("frames", "--export", "cutout")[0] == 0 and len(files("out")) == 2 * COUNT + 1


def test_sound_that_is_damaged_is_a_note_and_the_picture_is_whole(tmp_path, recwarn):
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        sound = container.add_stream("ac3", rate=48000, layout="mono")
        for frame in FRAMES:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame)))
        for n in range(6):
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 1536), np.float32), "fltp", "mono")
            piece.sample_rate, piece.pts = 48000, 1536 * n
            for packet in sound.encode(piece):
                damaged = av.Packet(b"\x0b\x77" + b"\xff" * (packet.size - 2))
                damaged.stream, damaged.pts, damaged.dts = sound, packet.pts, packet.dts
                damaged.time_base = packet.time_base
                container.mux(damaged)
        container.mux(video.encode())
    clip = open_clip(tmp_path / "a.mkv")
    with pytest.warns(Incomplete, match="the sound ends early: .*a.mkv"):
        with VideoWriter(tmp_path / "b.mp4", Timing.of(clip)) as writer:
            for frame in FRAMES:
                writer.write(frame)
    assert len(open_clip(tmp_path / "b.mp4")) == COUNT


def test_a_folder_that_a_variable_names_need_not_be_there_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("SST_CACHE", str(tmp_path / "later"))
    assert paths._named("SST_CACHE", tmp_path) == tmp_path / "later" and not list(tmp_path.iterdir())
    monkeypatch.setenv("SST_CACHE", "")
    assert paths._named("SST_CACHE", tmp_path) == tmp_path
    (tmp_path / "later").touch()
    monkeypatch.setenv("SST_CACHE", str(tmp_path / "later"))
    with pytest.raises(ValueError, match="SST_CACHE names .*later, which is a file; name a folder"):
        paths._named("SST_CACHE", tmp_path)
