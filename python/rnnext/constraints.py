"""Constraints that weights satisfy after each step of the optimizer, with Keras's names and formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnext._checks import named, number
from rnnext.parameters import Array

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

_EPSILON = np.float32(1e-7)  # Keras's; avoids a division by a norm of 0


class Constraint:
    """Maps a weight w to the weight, of the same shape, that replaces it."""

    def __call__(self, w: Array) -> Array:
        """A new array; w stays as it is."""
        raise NotImplementedError(f"{type(self).__name__}: __call__ is not defined")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Constraint:
        """A constraint with these arguments."""
        return cls(**config)


class NonNeg(Constraint):
    """max(w, 0)."""

    def __call__(self, w: Array) -> Array:
        positive: Array = np.maximum(w, np.float32(0))
        return positive


class MinMaxNorm(Constraint):
    """Norms along `axis` moved between `min_value` and `max_value`: by the share `rate` of the distance in each step.

    `axis=0` of a kernel [I, H] constrains what comes into each unit.
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        self.min_value = number(self, "min_value", min_value, finite=False)
        self.max_value = number(self, "max_value", max_value, finite=False)
        self.rate = number(self, "rate", rate, 0, 1)
        if not 0 <= min_value <= max_value:
            raise ValueError(
                f"{type(self).__name__}: min_value is {min_value} and max_value {max_value},"
                f" expected 0 <= min_value <= max_value"
            )
        axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
        if not all(isinstance(each, int) for each in axes):
            raise TypeError(f"{type(self).__name__}: axis is {axis!r}, expected the number of an axis, or several")
        self.axis = axis if isinstance(axis, int) else axes

    def __call__(self, w: Array) -> Array:
        try:
            norms = np.sqrt(np.square(w).sum(axis=self.axis, keepdims=True))
        except ValueError as error:
            expected = f"of {', '.join(map(str, range(w.ndim)))} for a weight of shape {w.shape}"
            raise ValueError(f"{type(self).__name__}: axis is {self.axis}, expected some {expected}") from error
        desired = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        scaled: Array = (w * (desired / (_EPSILON + norms))).astype(np.float32)
        return scaled

    def get_config(self) -> dict[str, Any]:
        axis = self.axis if isinstance(self.axis, int) else list(self.axis)
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": axis}


class MaxNorm(MinMaxNorm):
    """Norms along `axis` limited to `max_value`."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(max_value=max_value, axis=axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: config[name] for name in ("max_value", "axis")}


class UnitNorm(MinMaxNorm):
    """Norms along `axis` scaled to 1."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(min_value=1.0, max_value=1.0, axis=axis)

    def get_config(self) -> dict[str, Any]:
        return {"axis": super().get_config()["axis"]}


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm  # as in Keras

_NAMES: dict[str, type[Constraint]] = {
    "MaxNorm": MaxNorm,
    "MinMaxNorm": MinMaxNorm,
    "NonNeg": NonNeg,
    "UnitNorm": UnitNorm,
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}


def get(identifier: str | Mapping[str, Any] | type[Constraint] | Constraint | None) -> Constraint | None:
    """A constraint from a name ("max_norm", "MaxNorm"), from what `serialize` returned, or from a class.

    A Constraint is returned as it is, None means no constraint. ValueError for an unknown name, TypeError for anything else.
    """
    if identifier is None or isinstance(identifier, Constraint):
        return identifier
    if isinstance(identifier, str | Mapping):
        return named("constraints.get", "constraint", _NAMES, identifier)
    if isinstance(identifier, type) and issubclass(identifier, Constraint):
        return identifier()
    raise TypeError(f"constraints.get: identifier is {identifier!r}, expected a name, a dict, a Constraint or None")


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """Class name and arguments, for `get`; None for None. ValueError for a class that is not from this module."""
    if constraint is None:
        return None
    name = type(constraint).__name__
    if _NAMES.get(name) is not type(constraint):
        raise ValueError(f"constraints.serialize: constraint is a {name}, expected one of this module's, to be read again")
    return {"class_name": name, "config": constraint.get_config()}
