"""What a value from outside may be: type and range, checked in one way whether it comes from a command, a file or
code.
"""

import ast
import json
import math
import numbers
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 2**31 - 1  # of a whole number that says nothing else


def shown(value: Any) -> str:
    """A value as a message quotes it: in one line, of bounded length."""
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())
    except (ValueError, RecursionError):  # a number of more digits than Python prints, a list within lists without end
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def scaled(count: int) -> str:
    """A count with its unit: 12.3 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return str(count) if count else ""


@dataclass(frozen=True)
class Kind:
    """Any value; the subclasses know better. `check` returns the value in its normal form, `read` makes one of a text,
    unchecked.
    """

    @property
    def says(self) -> str:
        """What is expected, to end a message with."""
        return "a value"

    def fits(self, value: Any) -> bool:
        """Whether the value is of this kind."""
        return True

    def normalized(self, value: Any) -> Any:
        """A value that fits, in its normal form."""
        return value

    def read(self, text: str) -> Any:
        """The value that a text on the command line means: JSON, or what Python writes, or else the text itself."""
        for reader in (json.loads, ast.literal_eval):
            try:
                return reader(text)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                pass
        return text

    def check(self, value: Any, name: str) -> Any:
        """The value in its normal form.

        Raises:
            ValueError: it is of another type or out of range; names it, what was given and what is expected.
        """
        if not self.fits(value):
            raise ValueError(f"{name} is {shown(value)}; expected {self.says}{self._advice(value)}")
        return self.normalized(value)

    def _advice(self, value: Any) -> str:
        return ""


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number; neither True nor 2.0 is one."""

    least: int = 0
    most: int = LARGEST

    @property
    def says(self) -> str:
        bounds = [f"at least {self.least}"] * (self.least > -LARGEST) + [f"at most {self.most}"] * (self.most < LARGEST)
        return "a whole number" + " of " * bool(bounds) + " and ".join(bounds)

    def fits(self, value: Any) -> bool:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and self.least <= value <= self.most

    def normalized(self, value: Any) -> int:
        return int(value)

    def _advice(self, value: Any) -> str:
        whole = isinstance(value, float) and value.is_integer() and self.fits(int(value))
        if self.most == LARGEST and isinstance(value, numbers.Integral) and value > LARGEST:
            return f" and at most {LARGEST}"  # which goes without saying else
        return f", written {int(value)}" if whole else ""


@dataclass(frozen=True)
class Number(Kind):
    """A finite number; whole ones are meant as well."""

    least: float | int = -math.inf
    most: float | int = math.inf
    above: bool = False  # `least` itself is out of range

    @property
    def says(self) -> str:
        low = f"above {self.least:g}" if self.above else f"of at least {self.least:g}"
        high = f"at most {self.most:g}"
        limits = [low] * math.isfinite(self.least) + [high] * math.isfinite(self.most)
        return " and ".join(["a finite number"] * (not limits) + ["a number " + " and ".join(limits)] * bool(limits))

    def fits(self, value: Any) -> bool:
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and self.least <= number <= self.most and not (self.above and number == self.least)

    def normalized(self, value: Any) -> float:
        return float(value)


@dataclass(frozen=True)
class Flag(Kind):
    """True or false; no text and no number is either."""

    @property
    def says(self) -> str:
        return "true or false"

    def fits(self, value: Any) -> bool:
        return isinstance(value, bool)

    def read(self, text: str) -> Any:
        return {"true": True, "false": False}.get(text.strip().lower(), text)


@dataclass(frozen=True)
class Text(Kind):
    """Any text."""

    @property
    def says(self) -> str:
        return "a text"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)

    def read(self, text: str) -> Any:
        value = super().read(text) if text.startswith('"') else text
        return value if isinstance(value, str) else text


@dataclass(frozen=True)
class OneOf(Text):
    """One of a few names."""

    names: Collection[str] = ()  # a registry's entries, whichever there are when a value is checked

    @property
    def says(self) -> str:
        return f"one of {', '.join(map(repr, self.names))}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names


@dataclass(frozen=True)
class Texts(Kind):
    """A list of texts; a single one is a list of one."""

    least: int = 0
    most: int = 1000

    @property
    def says(self) -> str:
        return f"a list of {self.least} to {self.most} texts"

    def fits(self, value: Any) -> bool:
        items = self.normalized(value) if isinstance(value, str | list | tuple) else None
        return items is not None and self.least <= len(items) <= self.most and all(
            isinstance(item, str) for item in items)

    def normalized(self, value: Any) -> tuple:
        return (value,) if isinstance(value, str) else tuple(value)

    def read(self, text: str) -> Any:
        return super().read(text) if text.startswith(("[", '"')) else text or []


@dataclass(frozen=True)
class Fields(Kind):
    """Values by name."""

    @property
    def says(self) -> str:
        return "an object, {...}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, dict)


def assigned(text: str, option: str, form: str, sign: str = "", parts: Collection[str] = ()) -> tuple[str, str, str]:
    """The part, the key and the value that a text KEY=VALUE names; where there are parts, `sign` stands before the key.

    Raises:
        ValueError: not of that `form`, or none of the parts where they are listed.
    """
    key, equals, value = text.partition("=")
    part, _, name = key.partition(sign) if sign else ("", "", key)
    if not (equals and name) or sign and not (part and (not parts or part in parts)):
        raise ValueError(f"{option} {text}: expected {form}")
    return part, name, value


def require_once(known: dict[str, str], text: str, option: str) -> None:
    """Notes a text KEY=VALUE among those known by key; raises a ValueError where the key has another value there."""
    key, _, _ = text.partition("=")
    if known.setdefault(key, text) != text:
        raise ValueError(f"{option} {text}: there is {known[key]}, too; give one of the two")


def parse_json(text: str | bytes, source: str) -> Any:
    """JSON from outside, strictly: each key once, no NaN and no Infinity.

    Raises:
        ValueError: it is none; names `source`, a file or a part of one.
    """
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
            raise ValueError(f"the key {shown(twice)} is there twice")
        return content

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no number in JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"{source} is not JSON that can be read: nested too deeply") from None
    except ValueError as error:  # of json, of the text's encoding, and of the two functions above
        raise ValueError(f"{source} is not JSON: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: no such file.
        ValueError: not JSON, or another value than an object.
    """
    content = parse_json(path.read_bytes(), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {shown(content)}; expected a JSON object, {{...}}")
    return content


def sides(size: Any) -> tuple[int, int, int]:
    """The size (time, height, width) of a buffer, itself once checked.

    Raises:
        ValueError: not three whole numbers of at least 1.
    """
    given = list(size) if isinstance(size, Iterable) else []
    lengths = [Whole(1).check(length, "a side of the buffer") for length in given]
    if len(lengths) != 3:
        raise ValueError(f"the size of a buffer is {size!r}; expected (time, height, width)")
    time, height, width = lengths
    return time, height, width


def require_place(path: Path | str, folder: bool = False) -> Path:
    """A path at which a file (or a folder) can be written, checked before there is anything to write.

    Raises:
        ValueError: a folder stands where a file shall be, or a file where a folder, or it means what is there only once
            folders are made that it leads through and back; names it.
        PermissionError: the nearest folder that is there cannot be written into.
    """
    path = Path(path)
    if ".." in path.parts and os.path.exists(os.path.realpath(path)) and not path.exists():
        raise ValueError(f"{path} leads through a folder that is not there, to {os.path.realpath(path)}; name that")
    if folder and path.is_symlink() and not path.exists():
        raise ValueError(f"{path} is a link to {path.readlink()}, which is not there; make that, or name another place")
    if path.exists() and path.is_dir() != folder:
        raise ValueError(f"{path} is a {'file; expected a folder' if folder else 'folder; expected a file'} to write; "
                         "name another place")
    nearest = next(parent for parent in (*[path] * folder, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise ValueError(f"{path} cannot be written: {nearest} is a file; name another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: {nearest} may not be written into; name another place")
    return path
