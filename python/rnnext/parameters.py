"""Trainable arrays and their gradients: what layers, optimizers and models hand to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float32]


class Overdue(Protocol):
    """Updates of a parameter that its optimizer has put off: steps that moved only rows nobody has read since."""

    def settle(self) -> None:
        """Apply them all."""

    def settle_rows(self, rows: npt.NDArray[np.int32]) -> None:
        """Apply those of the given rows; `rows` may have any shape and order, and name a row more than once."""


class Penalty(Protocol):
    """A term of the loss that depends on one weight: `rnnext.regularizers`."""

    def __call__(self, w: Array) -> float:
        """The term."""

    def gradient(self, w: Array) -> Array:
        """Its gradient, of w's shape."""


class Parameter:
    """A named array that training changes: float32, or float64 if `dtype` says so.

    `value` is owned, C-contiguous and only ever changed in place, so that everyone who holds it sees the change. `version`
    counts the changes, so that whatever was derived from the value (packed weights, a projected vocabulary) can tell when it is
    stale. Updates that an optimizer has put off (`overdue`) are applied before the value is read. Training adds the penalty
    `regularizer(value)` to the loss, and replaces the value by `constraint(value)` after each step.
    """

    def __init__(
        self,
        name: str,
        value: Array,
        *,
        trainable: bool = True,
        regularizer: Penalty | None = None,
        constraint: Callable[[Array], Array] | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.name = name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.version = 0
        self.overdue: Overdue | None = None
        self._value: Array = np.array(value, dtype=dtype, order="C", copy=True)
        self._shown: Array | None = None  # the same memory, read-only

    @property
    def value(self) -> Array:
        """The array, up to date. It is read-only: changes go through `assign`, so that `version` counts them."""
        if self.overdue is not None:
            self.overdue.settle()
        shown = self._shown
        if shown is None or shown.base is not self._value:  # a deep copy has copies of both
            self._shown = shown = self._value.view()
            shown.flags.writeable = False
        return shown

    def current_rows(self, rows: npt.NDArray[np.int32]) -> Array:
        """The whole array, of which only the given rows are sure to be up to date."""
        if self.overdue is not None:
            self.overdue.settle_rows(rows)
        return self._value

    @property
    def storage(self) -> Array:
        """The array as it is in memory, without the updates that were put off: for the optimizer that put them off."""
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """That of `value`."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """That of `value`: float32, or float64 where the constructor was told so."""
        return self._value.dtype

    @property
    def path(self) -> str:
        """The name, which has the layer's in front, as a path of Keras has."""
        return self.name

    def numpy(self) -> Array:
        """A copy of `value`."""
        return np.array(self.value)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """A copy of `value`, for NumPy's functions."""
        return np.array(self.value, dtype)

    def assign(self, value: npt.ArrayLike) -> None:
        """Copy `value` into the array. ValueError for a wrong shape; then nothing has changed."""
        array = np.asarray(value, dtype=self._value.dtype)
        if array.shape != self.shape:
            raise ValueError(f"{self.name}: value has shape {array.shape}, expected {self.shape}")
        if self.overdue is not None:
            self.overdue.settle()
        self._value[...] = array
        self.touch()

    def touch(self) -> None:
        """Record that `value` was changed in place."""
        self.version += 1

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which no optimizer has put anything off for."""
        if self.overdue is not None:
            self.overdue.settle()
        return {**vars(self), "overdue": None, "_shown": None}

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self.shape})"


class NotFiniteError(ValueError):
    """A weight has NaN or infinity, as where a training has diverged."""


@dataclass(frozen=True)
class RowGradient:
    """A gradient that is zero except in some rows, such as an embedding's."""

    rows: npt.NDArray[np.int64]  # [N], strictly increasing
    values: Array  # [N, ...]
    shape: tuple[int, ...]  # of the whole gradient, [V, ...]

    def dense(self) -> Array:
        """The whole gradient, zeros included."""
        full = np.zeros(self.shape, np.float32)
        full[self.rows] = self.values
        return full


Gradient: TypeAlias = Array | RowGradient


def dense(gradient: Gradient) -> Array:
    """The whole gradient, zeros included."""
    return gradient.dense() if isinstance(gradient, RowGradient) else gradient


def sum_of(a: Gradient, b: Gradient) -> Gradient:
    """a + b. A row that only one of them has is taken from that one."""
    if not isinstance(a, RowGradient) or not isinstance(b, RowGradient):
        return dense(a) + dense(b)
    if np.array_equal(a.rows, b.rows):
        return RowGradient(a.rows, a.values + b.values, a.shape)
    rows = np.union1d(a.rows, b.rows)
    values = np.zeros((len(rows), *a.shape[1:]), np.float32)
    for part in (a, b):
        values[np.searchsorted(rows, part.rows)] += part.values
    return RowGradient(rows, values, a.shape)


class Gradients(NamedTuple):
    """What a backward pass returns."""

    inputs: Gradient | None  # of the input's shape; the table's rows where it was a Gather; None where it was ids
    weights: list[Gradient]  # aligned with the layer's trainable_weights
    initial_state: tuple[Array, ...] = ()  # aligned with the states that were given
