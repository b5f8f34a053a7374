"""Parameters of notebooks as a command line gives them: of the declared type, within the declared range, and files
where the user stands.

What a notebook's comment beside a parameter says is what holds: "at least 1", "above 0", "at most 8", "one of 0, 2, 4
or 8", "needed with video"; one that speaks of a file or a folder means a path, and one that speaks of released weights
means their names, too.
"""

import ast
import re
from pathlib import Path
from typing import Any

from sstlib.config.values import Number
from sstlib.reproduction.notebooks import choose, declared, require_known

TYPES = {"int": int, "float": (int, float), "bool": bool, "list": (list, tuple), "tuple": (list, tuple), "dict": dict}
NUMBER = r"(-?\d+(?:\.\d+)?)"


def parse_parameters(given: list[str]) -> dict[str, dict[str, Any]]:
    """Values by notebook and parameter from NOTEBOOK:NAME=VALUE, paths absolute.

    Raises:
        ValueError: not of that form, an unknown notebook or parameter, or a value of another type or out of range.
        FileNotFoundError: a file that is not there.
    """
    values: dict[str, dict[str, Any]] = {}
    for text in given:
        match = re.fullmatch(r"([^:=]+):([^:=]+)=(.*)", text, re.DOTALL)
        if not match:
            raise ValueError(f"parameter {text!r} is not of the form NOTEBOOK:NAME=VALUE, as 03_training:steps=200 is")
        [(notebook, path)] = choose([match[1]]).items()
        known = declared(path)
        require_known(match[2], known, f"notebook {notebook} has no parameter {match[2]!r}")
        kind, comment = known[match[2]]
        value = _typed(match[3], kind, text)
        _require_range(value, comment, text)
        values.setdefault(notebook, {})[match[2]] = _located(value, comment, text) if kind == "str" else value
    for notebook, chosen in values.items():
        _require_companions(notebook, chosen)
    return values


def _typed(value: str, kind: str, text: str) -> Any:
    """The value as the declared type; a bare word stays a string where the type allows it."""
    if kind == "str":
        return value
    try:
        parsed = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        parsed = value
    fits = isinstance(parsed, TYPES.get(kind.split("[")[0], object))
    if not fits or isinstance(parsed, bool) and kind in ("int", "float"):
        raise ValueError(f"parameter {text!r}: {value!r} is not of type {kind}, which the notebook declares")
    return parsed


def _require_range(value: Any, comment: str, text: str) -> None:
    """Raises a ValueError for a value outside of what the comment says."""
    if listed := re.search(r"\bone of (.+? or [^,;:]+)", comment):
        names = re.split(r", | or ", listed[1].strip())
        if str(value) not in names:
            raise ValueError(f"parameter {text!r}: {value!r} is not one of {', '.join(names)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, above, high = (re.search(rf"\b{words} {NUMBER}", comment) for words in ("at least", "above", "at most"))
        ends = {name: float(match[1]) for name, match in (("least", low or above), ("most", high)) if match}
        Number(**ends, above=bool(above)).check(value, f"parameter {text!r}: it")


def _located(value: str, comment: str, text: str) -> str:
    """A path from where the user stands as an absolute one; any other text as it is.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if not value or not re.search(r"\b(file|folder)\b", comment):
        return value
    path = Path(value).expanduser()
    if path.exists():
        return str(path.resolve())
    if re.search(r"\breleased\b", comment):
        from sstlib import weights

        weights.find(value)
        return value
    raise FileNotFoundError(f"parameter {text!r}: there is no {path.absolute()}; paths are taken from the folder in "
                            "which the command runs")


def _require_companions(notebook: str, values: dict[str, Any]) -> None:
    """Raises a ValueError where a parameter lacks that its comment calls needed with one that is given, or where such
    a mask does not fit its clip.
    """
    for name, (_, comment) in declared(choose([notebook])[notebook]).items():
        needed = re.search(r"\bneeded with (\w+)", comment)
        if not needed or not values.get(needed[1]):
            continue
        if not values.get(name):
            raise ValueError(f"{notebook}:{needed[1]} is given without {name}, {comment}; add -p {notebook}:{name}=...")
        _require_mask(values[needed[1]], values[name])


def _require_mask(clip: str, mask: str) -> None:
    """Raises a ValueError where the first frame's mask is of another size, or holds no object."""
    from sstlib.movies import open_clip

    labels = open_clip(clip, mask, progress=True).label(0)
    if labels is None or not ((labels > 0) & (labels < 255)).any():
        raise ValueError(f"{mask}: no pixel of the mask belongs to an object; ids are 1 to 254, or white on black")
