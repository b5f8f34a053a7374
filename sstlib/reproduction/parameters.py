"""Parameters of notebooks from the command line, checked for the declared type and range; relative paths are taken from
the working directory.

The comment beside a parameter in the notebook states its range: "at least 1", "above 0", "at most 8", "one of 0, 2, 4
or 8", "needed with video". If it mentions a file or folder, the value is a path; if it mentions released weights, it
may also be the name of a release.
"""

import re
from pathlib import Path
from typing import Any

from sstlib.config.values import LARGEST, Flag, Kind, Number, OneOf, Text, Whole, assigned, require_once
from sstlib.reproduction.notebooks import choose, declared, require_known

KINDS: dict[str, Kind] = {"int": Whole(-LARGEST), "float": Number(), "bool": Flag(), "str": Text()}
NUMBER = r"(-?\d+(?:\.\d+)?)"
FORM = "NOTEBOOK:NAME=VALUE, as 03_training:steps=200"


def parse_parameters(given: list[str]) -> dict[str, dict[str, Any]]:
    """Values by notebook and parameter from NOTEBOOK:NAME=VALUE, paths absolute.

    Raises:
        ValueError: not of that form, an unknown notebook or parameter, one with two values, or a value of another type
            or out of range.
        FileNotFoundError: a file that is not there.
    """
    values: dict[str, dict[str, Any]] = {}
    texts: dict[str, str] = {}
    for text in given:
        name, key, value = assigned(text, "--parameter", FORM, ":")
        [(notebook, path)] = choose([name]).items()
        require_once(texts, f"{notebook}:{key}={value}", "--parameter")
        known = declared(path)
        require_known(key, known, f"notebook {notebook} has no parameter {key!r}")
        values.setdefault(notebook, {})[key] = _read(value, *known[key], f"parameter {text!r}")
    for notebook, chosen in values.items():
        _require_companions(notebook, chosen)
    return values


def _read(text: str, declared_type: str, comment: str, name: str) -> Any:
    """The value of a text for a parameter of that type and comment."""
    kind = KINDS.get(declared_type, Kind())
    value = kind.check(kind.read(text), f"{name}: it")
    if listed := re.search(r"\bone of (.+? or [^,;:]+)", comment):
        OneOf(names=re.split(r", | or ", listed[1].strip())).check(str(value), f"{name}: it")
    low, above, high = (re.search(rf"\b{words} {NUMBER}", comment) for words in ("at least", "above", "at most"))
    if isinstance(kind, Whole | Number):
        ends = {end: float(match[1]) for end, match in (("least", low or above), ("most", high)) if match}
        Number(**ends, above=bool(above)).check(value, f"{name}: it")
    return _located(value, comment, name) if declared_type == "str" else value


def _located(value: str, comment: str, name: str) -> str:
    """A path, made absolute from the working directory; any other text unchanged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it should hold weights, and does not.
    """
    released = re.search(r"\breleased\b", comment)
    if not (value or released) or not re.search(r"\b(file|folder)\b", comment):
        return value
    path = Path(value).expanduser()
    if released:
        from sstlib import weights

        weights.facts(path if value else "")
    if path.exists():
        return str(path.resolve())
    if released:
        return value
    raise FileNotFoundError(f"{name}: there is no {path.absolute()}; paths are taken from the folder in "
                            "which the command runs")


def _require_companions(notebook: str, values: dict[str, Any]) -> None:
    """Raises a ValueError if only one of two parameters is given of which one is "needed with" the other, or if a mask
    does not fit its clip.
    """
    for name, (_, comment) in declared(choose([notebook])[notebook]).items():
        needed = re.search(r"\bneeded with (\w+)", comment)
        if needed and values.get(name) and not values.get(needed[1]):
            raise ValueError(f"{notebook}:{name} is given without {needed[1]}, which it is of; add -p "
                             f"{notebook}:{needed[1]}=..., or leave it out")
        if not needed or not values.get(needed[1]):
            continue
        if not values.get(name):
            raise ValueError(f"{notebook}:{needed[1]} is given without {name}, {comment}; add -p {notebook}:{name}=...")
        _require_mask(values[needed[1]], values[name])


def _require_mask(clip: str, mask: str) -> None:
    """Raises a ValueError if the first frame's mask has another size, or holds no object."""
    from sstlib.movies import open_clip

    labels = open_clip(clip, mask, progress=True).label(0)
    if labels is None or not ((labels > 0) & (labels < 255)).any():
        raise ValueError(f"{mask}: no pixel of the mask belongs to an object; ids are 1 to 254, or white on black")
