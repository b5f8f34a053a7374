"""Compiled C++ loaded through ctypes: built on first use, cached by content, and never required.

Plain C functions over raw pointers compile in a few seconds with any C++ compiler; an extension that includes
PyTorch's headers takes half a minute, needs ninja, and must be rebuilt for every PyTorch version.
SST_CXXFLAGS adds flags behind the library's own, such as -march=haswell to try another processor's code. What the
library uses of PyTorch beneath its public names is beside this, in `pytorch`.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sstlib import paths
from sstlib.paths.digests import sha256

FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp",
         *os.environ.get("SST_CXXFLAGS", "").split())

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


@functools.cache
def compiler() -> str | None:
    """Path of the C++ compiler ($CXX, c++, g++ or clang++), or None, with one line of notice saying what that costs.

    Raises:
        ValueError: SST_NATIVE is neither 0 nor 1.
    """
    wanted = os.environ.get("SST_NATIVE") or "1"
    if wanted not in ("0", "1"):
        raise ValueError(f"SST_NATIVE is {wanted!r}; expected 0 (no C++) or 1")
    if wanted == "0":
        return None
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        if program := shutil.which(name):
            return program
    print("sstlib: no C++ compiler found (tried $CXX, c++, g++, clang++); PyTorch implementations are used instead, "
          "with the same results and less speed", file=sys.stderr)
    return None


@functools.cache
def load(source: Path, flags: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """Compiles `source` (a .cpp file) unless a library of the same content (headers beside it, too), flags
    and compiler is cached, and loads it.

    Returns None where there is no compiler, where SST_NATIVE=0 forbids native code, or where the compiler fails or
    what it made cannot be loaded (one line of notice with the first error).
    """
    cxx = compiler()
    if cxx is None:
        return None
    headers = sorted(source.parent.glob("*.h"))
    key = sha256(*map(sha256, (source, *headers, repr(FLAGS + flags), _identity(cxx))))
    library = paths.CACHE / "native" / f"{source.stem}-{key[:16]}.so"
    if not library.exists():
        error = _compile(cxx, source, flags, library)
        if error is not None:
            print(f"sstlib: {source.name} did not compile with {cxx} ({error}); PyTorch implementations are used "
                  "instead",
                  file=sys.stderr)
            return None
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # damaged, or where nothing may be executed
        print(f"sstlib: {source.name} was compiled and cannot be loaded ({error}); PyTorch implementations are used "
              "instead. Remove that file to have it made again; SST_CACHE names another place", file=sys.stderr)
        return None


def _identity(cxx: str) -> bytes:
    """What decides the machine code besides the source: the compiler's version and the processor -march=native sees."""
    target = subprocess.run([cxx, "-march=native", "-E", "-v", "-x", "c++", os.devnull], capture_output=True, text=True)
    lines = [line for line in target.stderr.splitlines() if "cc1" in line or "version" in line]
    return "\n".join(lines).encode()


def _compile(cxx: str, source: Path, flags: tuple[str, ...], library: Path) -> str | None:
    """Builds beside the final name, then renames: two processes may compile at once and neither sees half a file."""
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=library.parent, suffix=".so")
    except OSError as error:
        return f"the cache cannot be written, {error}; SST_CACHE names another"
    os.close(descriptor)
    run = subprocess.run([cxx, *FLAGS, *flags, str(source), "-o", scratch], capture_output=True, text=True)
    if run.returncode:
        os.unlink(scratch)
        return next((line for line in run.stderr.splitlines() if "error" in line),
                    run.stderr.strip()[:200] or f"exit status {run.returncode}")
    os.replace(scratch, library)
    return None


def keep_freed_memory() -> None:
    """Lets a program keep what it frees, which takes effect with glibc and harms nowhere else.

    A large tensor is otherwise given back to the system and its pages are cleared anew for the next one, which took
    longer in a training step than many of the operations on them. For programs to decide, not for libraries: memory
    that was needed once stays taken.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
