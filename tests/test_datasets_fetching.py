"""Fetching with resume and checksum from a local server; unpacking that no archive can turn against its user."""

import hashlib
import http.server
import stat
import threading
import zipfile

import numpy as np
import pytest

from sstlib import cli
from sstlib.datasets import fetching
from sstlib.paths.downloads import download

CONTENT = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; /short breaks off in the middle, /whole knows no ranges."""

    def do_GET(self):
        start = 0
        wanted = self.headers.get("Range")
        if wanted and "whole" not in self.path:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                return self.end_headers()
        self.server.ranges.append(wanted)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:start + 1000] if "short" in self.path else CONTENT[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.ranges = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()


def test_a_download_is_whole_and_checked(tmp_path, server):
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = download(f"{server.url}/data.zip", tmp_path, digest, quiet=True)
    assert path.read_bytes() == CONTENT and [p.name for p in tmp_path.iterdir()] == ["data.zip"]
    with pytest.raises(ValueError, match="data.zip: SHA-256"):
        download(f"{server.url}/data.zip", tmp_path, "0" * 64, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["data.zip", "whole.zip"])
def test_a_download_goes_on_where_it_stopped(tmp_path, server, path):
    (tmp_path / f"{path}.part").write_bytes(CONTENT[:1234])
    assert download(f"{server.url}/{path}", tmp_path, quiet=True).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]


def test_a_part_that_is_all_there_is_taken(tmp_path, server):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert download(f"{server.url}/data.zip", tmp_path, quiet=True).read_bytes() == CONTENT


def test_a_part_of_another_file_is_not_taken_for_this_one(tmp_path, server):
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"more")
    with pytest.raises(OSError, match="has 5000 bytes.*data.zip.part had 5004"):
        download(f"{server.url}/data.zip", tmp_path, quiet=True)
    assert download(f"{server.url}/data.zip", tmp_path, quiet=True).read_bytes() == CONTENT


def test_a_connection_that_breaks_again_and_again_ends_in_a_whole_file(tmp_path, server):
    for _ in range(4):
        with pytest.raises(OSError, match=r"of 5000 bytes|IncompleteRead"):
            download(f"{server.url}/short.zip", tmp_path, quiet=True)
    path = download(f"{server.url}/short.zip", tmp_path,
                             hashlib.sha256(CONTENT).hexdigest(), quiet=True)
    assert path.read_bytes() == CONTENT and server.ranges == [None, *(f"bytes={n}000-" for n in range(1, 5))]


def test_a_broken_download_stays_a_part_and_says_so(tmp_path, server):
    with pytest.raises(OSError, match=r"1000 of 5000 bytes|IncompleteRead"):
        download(f"{server.url}/short.zip", tmp_path, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["short.zip.part"]
    with pytest.raises(OSError, match="cannot be reached"):
        download("http://127.0.0.1:9/data.zip", tmp_path, quiet=True)


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_outer_folder_is_left_out_and_trees_are_joined(tmp_path):
    first = packed(
        tmp_path / "a.zip",
        {"DAVIS/JPEGImages/480p/bear/00000.jpg": b"1", "DAVIS/ImageSets/2017/val.txt": b"bear", "__MACOSX/x": b""},
    )
    second = packed(
        tmp_path / "b.zip", {"DAVIS/JPEGImages/480p/cows/00000.jpg": b"2", "DAVIS/ImageSets/2017/test-dev.txt": b"cows"}
    )
    for archive in (first, second):
        assert fetching.unpack(archive, tmp_path / "out" / "DAVIS", 1 << 20) == 2
    result = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert result == ["DAVIS/ImageSets/2017/test-dev.txt", "DAVIS/ImageSets/2017/val.txt",
                      "DAVIS/JPEGImages/480p/bear/00000.jpg", "DAVIS/JPEGImages/480p/cows/00000.jpg"]


def test_what_is_packed_again_is_unpacked_alike(tmp_path, capsys):
    """In further folders, and with what a Mac or Windows puts beside files."""
    members = {"JPEGImages/480p/bear/00000.jpg": b"1", "ImageSets/2017/val.txt": b"bear"}
    clutter = {".DS_Store": b"", "__MACOSX/DAVIS/._val.txt": b"", "mine/sets/DAVIS/Thumbs.db": b"",
               "mine/sets/DAVIS/ImageSets/._2017": b""}
    archive = packed(tmp_path / "a.zip", {f"mine/sets/DAVIS/{name}": text for name, text in members.items()} | clutter)
    assert fetching.unpack(archive, tmp_path / "out", 1 << 20) == 2
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*")
            if path.is_file()} == members
    packed(tmp_path / "b.zip", {"notes.txt": b""})
    assert cli.main(["data", "fetch", "davis2017", "--zip", str(tmp_path / "b.zip"), "--into",
                     str(tmp_path / "other")]) == 0
    assert f"nothing of davis2017 is in {tmp_path / 'other'} yet: {tmp_path / 'other'}" in capsys.readouterr().err


def test_no_picture_is_replaced_by_another(tmp_path):
    """Masks of DAVIS 2016 have the names of those of 2017."""
    name = "Annotations/480p/bear/00000.png"
    first, second = (packed(tmp_path / f"{n}.zip", {f"DAVIS/{name}": n, "DAVIS/README.md": n}) for n in "12")
    for archive in (first, first):
        fetching.unpack(archive, tmp_path / "DAVIS", 1 << 20)
    with pytest.raises(ValueError, match="00000.png is another picture than that of the zip, .* nothing was unpacked"):
        fetching.unpack(second, tmp_path / "DAVIS", 1 << 20)
    assert (tmp_path / "DAVIS" / name).read_bytes() == (tmp_path / "DAVIS/README.md").read_bytes() == b"1"
    assert not list(tmp_path.glob(".*"))


def test_a_split_folder_is_kept(tmp_path):
    fetching.unpack(packed(tmp_path / "valid.zip", {"valid/meta.json": b"{}"}), tmp_path / "out", 1 << 20)
    assert (tmp_path / "out/valid/meta.json").is_file()


def linked():
    member = zipfile.ZipInfo("DAVIS/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize("members, message", [
    ({"ok.txt": b"1", "../evil.txt": b"2"}, "evil.txt.*would leave"),
    ({"a/../../evil.txt": b"2"}, "would leave"),
    ({"/etc/evil.txt": b"2"}, "would leave"),
    ({"..\\evil.txt": b"2"}, "would leave"),
    ({"C:\\evil.txt": b"2"}, "would leave"),
    ({"bomb": bytes(3 << 20)}, "holds more than"),
    ({}, "no files"),
])
def test_harmful_zips_are_refused_whole(tmp_path, members, message):
    archive = packed(tmp_path / "bad.zip", members)
    with pytest.raises(ValueError, match=f"bad.zip.*{message}"):
        fetching.unpack(archive, tmp_path / "out", 1 << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]


def test_links_in_zips_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(linked(), "/etc/passwd")
    with pytest.raises(ValueError, match="bad.zip.*is a link"):
        fetching.unpack(tmp_path / "bad.zip", tmp_path / "out", 1 << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path):
    archive = packed(tmp_path / "bad.zip", {"DAVIS/bomb": bytes(3 << 20)})
    size = (3 << 20).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(size, (1 << 10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="bad.zip: not a whole zip"):
        fetching.unpack(archive, tmp_path / "out", 1 << 20)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]


def test_damaged_zips_leave_nothing(tmp_path):
    whole = packed(tmp_path / "bad.zip", {f"JPEGImages/{n}.jpg": CONTENT for n in range(3)}).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:400] + bytes(200) + whole[600:], b"no zip"):
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(ValueError, match="bad.zip: not a whole zip"):
            fetching.unpack(tmp_path / "bad.zip", tmp_path / "out", 1 << 30)
        assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]
    with pytest.raises(FileNotFoundError, match="absent.zip"):
        fetching.unpack(tmp_path / "absent.zip", tmp_path / "out", 1 << 30)


def test_the_command_prints_terms_and_unpacks(tmp_path, capsys):
    archive = packed(tmp_path / "valid.zip", {"valid/meta.json": b"{}"})
    assert cli.main(["data", "fetch", "youtube2019", "--zip", str(archive), "--into", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "non-commercial" in printed and "1 files" in printed
    assert (tmp_path / "out/valid/meta.json").is_file()


@pytest.mark.parametrize("arguments, message", [
    (["fetch", "davis2018"], "unknown data set 'davis2018'"),
    (["fetch", "youtube2018"], "cannot be fetched without an account"),
    (["fetch", "davis2017", "--zip", "absent.zip"], "absent.zip: no such zip"),
    (["fetch", "davis2017", "--zip", "absent.zip", "--sha256", "a", "--sha256", "b"], "2 checksums for 1 zips"),
])
def test_bad_requests_end_in_one_line(arguments, message, capsys):
    assert cli.main(["data", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_list_says_what_is_there_and_what_is_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SST_DAVIS", str(tmp_path))
    assert cli.main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert "sst-occlusion\n  train: " in printed and "terms: " in printed
    assert "not there: train, val, test-dev (" in printed
