"""`sst`: one module of this package a command. A module gives HELP, `configure(parser)` and `run(arguments) -> exit
status`.
"""

import argparse
import importlib
import io
import os
import pkgutil
import re
import struct
import sys
import zipfile
import zlib
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from sstlib import __version__
from sstlib.cli import _extras
from sstlib.cli._status import BAD_INPUT, FAILED, INTERRUPTED, PIPE_CLOSED

DEBUG = "SST_DEBUG"  # set to 1 it shows where an error was raised
# What reading damaged input may raise beside ValueError and OSError. Readers should turn these into messages of their
# own; this catches what they miss.
DAMAGED = (ArithmeticError, EOFError, LookupError, MemoryError, RecursionError, TypeError, struct.error,
           zipfile.BadZipFile, zlib.error)
# Errors of packages that need not be imported, by name
DAMAGED_BY_NAME = {"SafetensorError", "UnpicklingError", "OutOfMemoryError"}
# Options of one value that one might expect to accept several
MEANT_TOGETHER = ("against", "at", "base", "corrections", "mask", "only", "seed")


class UsageError(ValueError):
    """A command line that cannot be read."""


class Given(argparse.Action):
    """Stores an option's value. Given again, a list is extended and a single value replaced, so that it can follow
    those of a shell alias; two different values for an option of `MEANT_TOGETHER` are refused, as the first would be
    ignored.
    """

    before: tuple[Any, Any] = None, None  # the namespace that was last parsed into, and the value

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        place, known = self.before
        if option_string and place is namespace:
            if isinstance(values, list):
                values = [*known, *values]
            elif values != known and self.dest in MEANT_TOGETHER:
                raise argparse.ArgumentError(self, f"it is given twice, as {known} and {values}; give it once")
        self.before = namespace, values
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage, which --help shows. An argument that begins with
    a minus and a digit is a value, such as a point left of the frame: no option begins so (the default from Python
    3.14).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"-\.?\d")
        for name in (None, "store"):
            self.register("action", name, Given)

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument (--[\w-]+)\b.*: expected .*argument", message):
            message += f" (one that begins with - is given as {match[1]}=-...)"
        raise UsageError(f"{self.prog}: {message}; {self.prog} --help shows what there is")


def commands() -> list[str]:
    """Names of the commands, which are the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; a command imports what it needs only when it runs."""
    parser = Parser(prog="sst", description="sst: sparse spatiotemporal transformers for video object segmentation")
    parser.add_argument("--version", action="version", version=f"sstlib {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands():
        module = importlib.import_module(f"{__name__}.{name}")
        command = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 2 with one line for bad input, 1 with one line for a fault of this
    program, 130 for an interrupt, 141 if the reader of the output has gone.
    """
    command = "sst"
    _take_streams()
    try:
        argv = _with_home(sys.argv[1:] if argv is None else argv)
        _refuse_empty(argv)
        arguments = build_parser().parse_args(argv)
        command = f"sst {arguments.command}"
        with _words_aside(arguments):
            status = arguments.run(arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _let_go()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        _tell(f"{command}: interrupted")
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG, "0") not in ("", "0"):
            raise
        _tell(one_line(command, error))
        expected = isinstance(error, (ValueError, OSError, *DAMAGED)) or _named_damaged(error) or _extras.lacking(error)
        return BAD_INPUT if expected else FAILED


def _with_home(argv: list[str]) -> list[str]:
    """The command line with ~ expanded where a shell does not: in quotes, or in --out=~/dog. Otherwise a folder named ~
    would be made, and one day removed by rm -r ~.
    """
    parts = [re.fullmatch(r"(--[\w-]+=)?(~(?:/.*)?)", text, re.DOTALL) for text in argv]
    return [f"{part[1] or ''}{os.path.expanduser(part[2])}" if part else text for part, text in zip(parts, argv)]


def _refuse_empty(argv: list[str]) -> None:
    """Raises a UsageError for an empty argument, such as a shell variable that is not set: as a path it would mean the
    current folder.
    """
    for before, text in zip(["the command", *argv], argv):
        if not text or text.startswith("--") and text.endswith("=") and text.count("=") == 1:
            raise UsageError(f"sst: what follows {text.rstrip('=') or before} is empty; give a value, or leave it out")


def _words_aside(arguments: argparse.Namespace) -> AbstractContextManager:
    """Redirects printed text to standard error if an option writes its file to standard output, which nothing else may
    be mixed into.
    """
    from sstlib.paths import STREAMS

    piped = any(STREAMS.get(value) == 1 for value in vars(arguments).values() if isinstance(value, Path))
    return redirect_stdout(sys.stderr) if piped else nullcontext()


def _take_streams() -> None:
    """Opens standard streams that were closed on the null device: otherwise the next file to be opened would get such a
    stream's number, and FFmpeg's messages would end up in it. Characters that an output cannot encode are escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115 - open as long as the program runs
        elif number and isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _tell(line: str) -> None:
    """Prints a line on standard error, whether or not anybody reads it."""
    try:
        print(line, file=sys.stderr)
    except OSError:
        _let_go()


def _let_go() -> None:
    """Leads broken output streams to the null device, as Python would complain of them when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def one_line(command: str, error: Exception) -> str:
    """The line that is printed for an error: its message if that was written for users, otherwise also its type and how
    to see the traceback.
    """
    text = "; ".join(filter(None, (line.strip() for line in str(error).splitlines()))) or type(error).__name__
    if isinstance(error, UsageError):
        return text
    if package := _extras.lacking(error):
        return f"{command}: {_extras.instruction([package])}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return f"{command}: there is not enough memory for this ({text[:200]}); make it smaller"
    if isinstance(error, (ValueError, OSError)):
        return f"{command}: {text}"
    damaged = isinstance(error, DAMAGED) or _named_damaged(error)
    where = "something that was read is damaged, or this is a fault of sstlib" if damaged \
        else "this is a fault of sstlib"
    return f"{command}: {type(error).__name__}: {text[:300]} ({where}; {DEBUG}=1 shows the traceback)"


def _named_damaged(error: Exception) -> bool:
    return type(error).__name__ in DAMAGED_BY_NAME or (isinstance(error, RuntimeError)
                                                       and "can't allocate memory" in str(error))
