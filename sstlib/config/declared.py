"""What a frozen dataclass declares, and whether its objects keep to it.

What is found out about such an object, as about a pattern, is kept for all that equal it: two of different fields must
not be equal, and a value that a class seems to set must be the one that its objects have.
"""

import copy
import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar

Instance = TypeVar("Instance")


def fault(owner: type, name: str, value: Any) -> str:
    """What is wrong with the value of a field: it has another type than declared, or the class seems to set another
    default. An empty text where nothing is.
    """
    [field] = (field for field in dataclasses.fields(owner) if field.name == name)
    declared = field.type.__name__ if isinstance(field.type, type) else field.type  # tuple[int, ...] is none
    seeming = getattr(owner, name, field.default)
    if not (seeming is field.default or field.default is dataclasses.MISSING or
            isinstance(seeming, types.MemberDescriptorType)):  # of slots
        return (f"class {owner.__name__} sets {name} to {seeming!r}, which changes no field; declare its type, as in "
                f"{name}: {declared} = {seeming!r}, in a class below @dataclass(frozen=True)")
    return "" if fits(owner, name, value) else f"{owner.__name__}: {name} is {value!r}; expected {declared}"


def distinguished(instance: Instance) -> Instance:
    """The object itself.

    Raises:
        ValueError: it equals one of another field or attribute, or cannot be compared.
    """
    kind = type(instance)
    try:
        hash(instance)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be told from others by its fields ({error}); let them be numbers, "
                         "texts or tuples") from None
    for name in (*(field.name for field in dataclasses.fields(instance)), *vars(instance)):
        object.__setattr__(other := copy.copy(instance), name, float("nan"))  # which equals nothing
        if other == instance and not isinstance(getattr(kind, name, None), functools.cached_property):
            raise ValueError(f"{kind.__name__} equals one of another {name}, and would be taken for it; declare {name} "
                             "as a field that is compared, of a @dataclass(frozen=True) without an __eq__ of its own")
    return instance


def fits(owner: type, name: str, value: Any) -> bool:
    """Whether a value is of the type that a class declares a field with; what a declaration leaves open fits."""
    return name not in _hints(owner) or _is(value, _hints(owner)[name])


@functools.lru_cache(maxsize=64)
def _hints(owner: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except Exception:  # such as a name that is known only where the class was defined
        return {}


def _is(value: Any, hint: Any) -> bool:
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_is(value, one) for one in of)
    if origin is typing.Literal:
        return value in of
    if origin is tuple:
        repeated = of[:1] * len(value) if of[-1:] == (...,) and isinstance(value, tuple) else of
        return isinstance(value, tuple) and len(value) == len(repeated) and all(map(_is, value, repeated))
    if hint is float:
        hint = int | float
    if isinstance(value, bool):  # which Python takes for a number
        return hint in (bool, Any, object)
    return hint is Any or not isinstance(hint, type | types.UnionType) or isinstance(value, hint)
