"""Penalties on weights, added to the loss, by Keras's names: each a number and its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnext.parameters import Array

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get", "l1", "l1_l2", "l2", "serialize"]


def _factor(owner: object, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{type(owner).__name__}: {name} is {value!r}, expected a number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{type(owner).__name__}: {name} is {value}, expected a finite number from 0 on")
    return float(value)


class Regularizer:
    """A penalty for a weight w. Keras differentiates what is called; here a subclass says its `gradient` as well."""

    def __call__(self, w: Array) -> float:
        """The penalty."""
        raise NotImplementedError(f"{type(self).__name__}: __call__ is not defined")

    def gradient(self, w: Array) -> Array:
        """Its gradient for w, of w's shape."""
        raise NotImplementedError(f"{type(self).__name__}: gradient is not defined")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """A regularizer with these arguments."""
        return cls(**config)


class L1L2(Regularizer):
    """l1 · Σ |w| + l2 · Σ w². As in Keras the gradient of |w| at 0 is 0."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor(self, "l1", l1)
        self.l2 = _factor(self, "l2", l2)

    def __call__(self, w: Array) -> float:
        penalty = self.l1 * float(np.abs(w).sum(dtype=np.float64)) if self.l1 else 0.0
        return penalty + (self.l2 * float(np.square(w).sum(dtype=np.float64)) if self.l2 else 0.0)

    def gradient(self, w: Array) -> Array:
        d: Array = np.float32(self.l1) * np.sign(w) + np.float32(2 * self.l2) * w
        return d

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1 · Σ |w|."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """l2 · Σ w²."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


l1, l2, l1_l2 = L1, L2, L1L2  # as in Keras

_NAMES: dict[str, type[Regularizer]] = {"L1": L1, "L2": L2, "L1L2": L1L2, "l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2}


def _class(name: object) -> type[Regularizer]:
    if not isinstance(name, str) or name not in _NAMES:
        raise ValueError(f"regularizers.get: no regularizer {name!r}, expected one of {', '.join(sorted(_NAMES))}")
    return _NAMES[name]


def get(identifier: str | Mapping[str, Any] | type[Regularizer] | Regularizer | None) -> Regularizer | None:
    """A regularizer from a name ("l2", "L2"), from what `serialize` returned, or from a class.

    One that is given passes through; None is no penalty. ValueError for a name that is not known.
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, str):
        return _class(identifier)()
    if isinstance(identifier, Mapping):
        config = identifier.get("config", {})
        try:
            return _class(identifier.get("class_name")).from_config(config)
        except TypeError as error:
            raise ValueError(f"regularizers.get: the config of {identifier['class_name']} is {config!r} ({error})") from error
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    raise TypeError(f"regularizers.get: identifier is {identifier!r}, expected a name, a dict, a Regularizer or None")


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """The class's name and its arguments, for `get`; None for None. ValueError for a class that is none of this module's."""
    if regularizer is None:
        return None
    name = type(regularizer).__name__
    if _NAMES.get(name) is not type(regularizer):
        raise ValueError(f"regularizers.serialize: regularizer is a {name}, expected one of this module's, to be read again")
    return {"class_name": name, "config": regularizer.get_config()}
