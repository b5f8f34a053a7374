"""What configurations are made of: fields with their type and range in one line, read, written and checked alike."""

import dataclasses
import difflib
import functools
import math
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sstlib.config.entries import Registry
from sstlib.config.values import LARGEST, Flag, Kind, Number, OneOf, Text, Texts, Whole, assigned, require_once, shown

C = TypeVar("C", bound="Config")


def whole(default: int, least: int = 0, most: int = LARGEST) -> Any:
    """A field for a whole number."""
    return field(default=default, metadata={"kind": Whole(least, most)})


def number(default: float, least: float | int = -math.inf, most: float | int = math.inf, above: bool = False) -> Any:
    """A field for a finite number; `above` leaves `least` itself out."""
    return field(default=default, metadata={"kind": Number(least, most, above)})


def share(default: float) -> Any:
    """A field for a share, 0 to 1."""
    return number(default, 0, 1)


def choice(*names: str) -> Any:
    """A field for one of some names, the first of which is the default."""
    return field(default=names[0], metadata={"kind": OneOf(names)})


def entry(registry: Registry[Any]) -> Any:
    """A field for the name of an entry, the first of which is the default."""
    return field(default=next(iter(registry)), metadata={"kind": OneOf(registry)})


def texts(*default: str, least: int = 0, most: int = 1000) -> Any:
    """A field for a list of texts."""
    return field(default=default, metadata={"kind": Texts(least, most)})


class Config:
    """Reading, writing and checking shared by all configurations."""

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            object.__setattr__(self, name, kind.check(getattr(self, name), name))
        self._agree()

    def _agree(self) -> None:
        """Raises a ValueError that begins with a field's name, where fields that are right alone do not go together."""

    @classmethod
    def from_dict(cls: type[C], values: Any, source: str = "") -> C:
        """Builds the configuration from plain values (JSON); nested configurations are dictionaries.

        Args:
            values: by name; those that are left out take their defaults.
            source: where they come from, before every message: "run.json: ".

        Raises:
            ValueError: no dictionary, a key that the configuration does not have (with the nearest one that it has), or
                a value of another type or out of range.
        """
        known = kinds(cls)
        if not isinstance(values, dict):
            raise ValueError(f"{source}the configuration is {shown(values)}; expected {Part(cls).says}")
        for key in values:
            if key not in known:
                raise ValueError(f"{source}{shown(key)[1:-1]}: {cls.__name__} has no key {shown(key)}; "
                                 f"{_nearest(key, known)}")
        try:
            return cls(**{key: known[key].check(value, key) for key, value in values.items()})
        except ValueError as error:
            raise ValueError(f"{source}{error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values: dictionaries, lists, strings and numbers, ready for JSON."""
        return {f.name: _field_to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def differences(self: C, other: C) -> dict[str, tuple[Any, Any]]:
        """The fields in which another configuration differs, as PART.KEY: the value here and the value there."""
        changes = {}
        for name in kinds(type(self)):
            own, others = getattr(self, name), getattr(other, name)
            if isinstance(own, Config):
                changes |= {f"{name}.{key}": values for key, values in own.differences(others).items()}
            elif own != others:
                changes[name] = own, others
        return changes

    def replace(self: C, **changes: Any) -> C:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_changes(self: C, changes: list[str], option: str = "--set") -> C:
        """A copy with texts KEY=VALUE, or PART.KEY=VALUE where a configuration has parts.

        Raises:
            ValueError: not of that form, an unknown key, one with two values, or a value that the field does not take.
        """
        values, known = self.to_dict(), kinds(type(self))
        texts: dict[str, str] = {}
        parts = {name: kind for name, kind in known.items() if isinstance(kind, Part)}
        form = f"PART.KEY=VALUE with PART one of {', '.join(parts)}" if parts else "KEY=VALUE"
        for change in changes:
            part, name, text = assigned(change, option, form, "." if parts else "", parts)
            require_once(texts, change, option)
            inner = kinds(parts[part].config) if parts else known
            target = values[part] if parts else values
            target[name] = inner[name].read(text) if name in inner else text
        return type(self).from_dict(values)


@dataclass(frozen=True)
class Part(Kind):
    """A configuration within another."""

    config: type[Config] = Config

    @property
    def says(self) -> str:
        return f"an object with the keys {', '.join(kinds(self.config))}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.config | dict)

    def check(self, value: Any, name: str) -> Any:
        value = super().check(value, name)
        return self.config.from_dict(value, f"{name}.") if isinstance(value, dict) else value


@functools.cache
def kinds(config: type[Config]) -> dict[str, Kind]:
    """What each field of a configuration takes, by name: as its line says, or else as its type does."""
    types = typing.get_type_hints(config)
    return {f.name: f.metadata.get("kind") or _kind_of(types[f.name]) for f in dataclasses.fields(config)}


def _kind_of(annotation: Any) -> Kind:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return Part(annotation)
    return {bool: Flag(), str: Text()}.get(annotation, Kind())


def _nearest(key: Any, known: dict[str, Kind]) -> str:
    near = difflib.get_close_matches(str(key)[:80], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def _field_to_plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Puts a key before what is said against the thing that its value names: a pattern, a data set, a file. Or a part,
    as "model.", before what begins with a key.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{key}{'' if key.endswith('.') else ': '}{error}") from error


def require(given: Any, name: str, allowed: tuple[Any, ...]) -> None:
    """Raises a ValueError that names the field, what was given and what is allowed."""
    if given not in allowed:
        raise ValueError(f"{name} is {given!r}; expected one of {', '.join(map(repr, allowed))}")
