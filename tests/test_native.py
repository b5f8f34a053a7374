"""What programs ask of the system's memory, and what a compiler refuses."""

import subprocess
import sys

import pytest

from sstlib import native

FAULTS = """
import resource, sys, torch
from sstlib.native import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):  # the heap finds its shape in a few rounds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.ones(1 << 24)
    b = a + a
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it takes effect with glibc")
def test_freed_memory_is_used_again():
    repeated, fresh = (int(
        subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
                       for how in ("keep", "return"))
    assert repeated < fresh / 10, "tensors take the pages of those before them"


@pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler, or SST_NATIVE=0")
def test_what_does_not_compile_is_told_by_its_first_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sstlib.paths.CACHE", tmp_path / "cache")
    source = tmp_path / "broken.cpp"
    source.write_text("#warning beware\nint sum(int a) { return a + nowhere; }\n")
    assert native.load(source) is None and not list((tmp_path / "cache").rglob("*.so"))
    [notice] = capsys.readouterr().err.splitlines()
    assert notice.startswith("sstlib: broken.cpp did not compile") and "broken.cpp:2" in notice and "nowhere" in notice


@pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler, or SST_NATIVE=0")
def test_a_compiler_that_says_nothing_and_a_library_that_is_damaged_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sstlib.paths.CACHE", tmp_path / "cache")
    source = tmp_path / "whole.cpp"
    source.write_text('extern "C" int one() { return 1; }\n')
    with monkeypatch.context() as patched:
        patched.setattr(native, "compiler", lambda: "false")
        assert native.load(source) is None
    assert "whole.cpp did not compile with false (exit status 1)" in capsys.readouterr().err
    native.load.cache_clear()
    assert native.load(source).one() == 1
    [whole] = (tmp_path / "cache").rglob("*.so")
    library = tmp_path / "other" / "native" / whole.name
    library.parent.mkdir(parents=True)
    library.write_bytes(b"cut off")
    monkeypatch.setattr("sstlib.paths.CACHE", tmp_path / "other")
    native.load.cache_clear()
    assert native.load(source) is None
    assert f"whole.cpp was compiled and cannot be loaded ({library}: " in capsys.readouterr().err


@pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler")
def test_a_header_that_changes_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("sstlib.paths.CACHE", tmp_path / "cache")
    source = tmp_path / "number.cpp"
    source.write_text('#include "number.h"\nextern "C" int number() { return NUMBER; }\n')
    for number in (3, 5):
        (tmp_path / "number.h").write_text(f"#define NUMBER {number}\n")
        assert native.load.__wrapped__(source).number() == number
