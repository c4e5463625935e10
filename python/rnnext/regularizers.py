"""Penalties on weights that are added to the loss, with Keras's names: each a number and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnext._checks import named, number
from rnnext.parameters import Array

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get", "l1", "l1_l2", "l2", "serialize"]


class Regularizer:
    """A penalty on a weight w. Keras differentiates `__call__`; here a subclass also defines `gradient`."""

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
        self.l1 = number(self, "l1", l1, 0, expected="a finite number from 0 on")
        self.l2 = number(self, "l2", l2, 0, expected="a finite number from 0 on")

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


def get(identifier: str | Mapping[str, Any] | type[Regularizer] | Regularizer | None) -> Regularizer | None:
    """A regularizer from a name ("l2", "L2"), from what `serialize` returned, or from a class.

    A Regularizer is returned as it is, None means no penalty. ValueError for an unknown name, TypeError for anything else.
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, str | Mapping):
        return named("regularizers.get", "regularizer", _NAMES, identifier)
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    raise TypeError(f"regularizers.get: identifier is {identifier!r}, expected a name, a dict, a Regularizer or None")


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Class name and arguments, for `get`; None for None. ValueError for a class that is not from this module."""
    if regularizer is None:
        return None
    name = type(regularizer).__name__
    if _NAMES.get(name) is not type(regularizer):
        raise ValueError(f"regularizers.serialize: regularizer is a {name}, expected one of this module's, to be read again")
    return {"class_name": name, "config": regularizer.get_config()}
