"""Registries: what there is of a kind, one entry each that carries all about it.

Commands, tables, figures, benchmarks and tests ask the registry, so that what is added there is in all of them.
"""

import importlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Named(Protocol):
    """An entry: a frozen dataclass, one of whose fields is its name."""

    @property
    def name(self) -> str:
        """What commands and configurations call it by."""
        ...


E = TypeVar("E", bound=Named)


class Registry(dict[str, E]):
    """Entries of a kind by name, in the order in which tables show them."""

    def __init__(self, kind: str, *entries: E) -> None:
        """Args:
            kind: what messages call an entry, as "data set".
            entries: the library's own.
        """
        super().__init__()
        self.kind = kind
        for entry in entries:
            self.add(entry)

    def add(self, entry: E, before: str = "") -> E:
        """Enters one more, at the end or before another.

        Raises:
            ValueError: the name is taken, or there is no such other.
        """
        if entry.name in self:
            raise ValueError(f"there is a {self.kind} {entry.name!r} already; give yours another name")
        later = list(self)[list(self).index(self.find(before).name):] if before else []
        self[entry.name] = entry
        for name in later:
            self[name] = self.pop(name)
        return entry

    def find(self, name: str) -> E:
        """The entry of that name.

        Raises:
            ValueError: there is none; with the names that there are.
        """
        if name not in self:
            raise ValueError(f"unknown {self.kind} {name!r}; known: {', '.join(self)}")
        return self[name]


def lazily(place: str) -> Callable[..., Any]:
    """A function that is imported when it is called, so that a registry costs no more than its names.

    Args:
        place: of the function, as "package.module:function".
    """
    module, _, name = place.partition(":")
    return lambda *arguments, **options: getattr(importlib.import_module(module), name)(*arguments, **options)
