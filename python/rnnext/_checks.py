"""Checks of arguments: numbers, flags, and names of classes. Knows nothing of the package.

Errors begin with `who`: a text, or an object in place of its class's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_REAL = (int, float, np.integer, np.floating)


def _owner(who: object) -> str:
    return who if isinstance(who, str) else type(who).__name__


def whole_number(who: object, name: str, value: object, least: int = 1, alternative: str = "") -> int:
    """The value as an int. TypeError or ValueError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{_owner(who)}: {name} is {value!r}, expected a whole number{alternative}")
    if value < least:
        raise ValueError(f"{_owner(who)}: {name} is {value}, expected at least {least}{alternative}")
    return int(value)


def whole_number_or_none(who: object, name: str, value: object, least: int = 1) -> int | None:
    """The same, or None."""
    return None if value is None else whole_number(who, name, value, least, ", or None")


def number(
    who: object,
    name: str,
    value: object,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    finite: bool = True,
    expected: str | None = None,
) -> float:
    """The value as a float. TypeError or ValueError, which says what was `expected`, unless it is from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, _REAL):
        raise TypeError(f"{_owner(who)}: {name} is {value!r}, expected a number")
    try:
        found = float(value)
    except OverflowError:  # of a whole number
        found = math.inf if value > 0 else -math.inf
    if not least <= value <= most or (finite and math.isinf(found)):  # the value as it came: a float may round it
        if expected is None:
            bound = f", at least {least:g}" if least > -math.inf else ""
            expected = f"{least:g} to {most:g}" if most < math.inf else f"a finite number{bound}"
        raise ValueError(f"{_owner(who)}: {name} is {value}, expected {expected}")
    return found


def positive(who: object, name: str, value: object, expected: str = "more than 0 and finite") -> float:
    """The value as a float. TypeError or ValueError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, _REAL):
        raise TypeError(f"{_owner(who)}: {name} is {value!r}, expected a number above 0")
    found = number(who, name, value, expected=expected)
    if found <= 0:
        raise ValueError(f"{_owner(who)}: {name} is {value}, expected {expected}")
    return found


def flag(who: object, name: str, value: object) -> bool:
    """The value as a bool. TypeError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{_owner(who)}: {name} is {value!r}, expected True or False")
    return bool(value)


def named(who: str, what: str, names: Mapping[str, type[T]], identifier: str | Mapping[str, Any]) -> T:
    """An instance of the class with that name, or the one that `serialize` described. ValueError if there is none."""
    name = identifier if isinstance(identifier, str) else identifier.get("class_name")
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"{who}: no {what} {name!r}, expected one of {', '.join(sorted(names))}")
    kind: Any = names[name]
    config = {} if isinstance(identifier, str) else identifier.get("config", {})
    try:
        found: T = kind.from_config(config)
    except TypeError as error:
        raise ValueError(f"{who}: the config of {name} is {config!r} ({error})") from error
    return found
