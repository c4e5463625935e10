"""Masks and lengths in the engine's form: the tokens of row b are the `lengths[b]` positions from `starts[b]` on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnext.layers._layer import Layer, Mask
from rnnext.parameters import Array

_I64 = npt.NDArray[np.int64]


class Window(NamedTuple):
    """Where the tokens are, [B] each. None as in the engine: from position 0, up to the last."""

    starts: _I64 | None = None
    lengths: _I64 | None = None

    def read_backwards(self, positions: int) -> Window:
        """The same for reading backwards: rows without tokens start at the end, so that all their outputs lie behind it."""
        if self.lengths is None or self.lengths.all():
            return self
        starts = np.zeros_like(self.lengths) if self.starts is None else self.starts
        return Window(np.where(self.lengths == 0, positions, starts), self.lengths)


def from_lengths(layer: Layer, lengths: Any, rows: int, positions: int) -> Window:
    """The first `lengths[b]` steps of each row. TypeError or ValueError unless all are whole numbers from 0 to T."""
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{layer.name}: lengths has dtype {array.dtype}, expected integers")
    if array.shape != (rows,):
        raise ValueError(f"{layer.name}: lengths has shape {array.shape}, expected ({rows},) = [B]")
    for row in np.flatnonzero((array < 0) | (array > positions))[:1]:
        raise ValueError(f"{layer.name}: lengths has {array[row]} at row {row}, expected 0 to {positions} = T")
    return Window(lengths=np.ascontiguousarray(array, dtype=np.int64))


def from_mask(mask: Mask) -> Window | None:
    """The window of a mask [B, T]; None if a row has a hole between its tokens."""
    positions = mask.shape[1]
    lengths = np.count_nonzero(mask, axis=1)
    starts = mask.argmax(axis=1) if positions else np.zeros(len(mask), np.int64)
    ends = positions - mask[:, ::-1].argmax(axis=1) if positions else starts
    if ((ends - starts != lengths) & (lengths > 0)).any():
        return None
    if (starts == 0).all():
        return Window(lengths=None if (lengths == positions).all() else lengths)
    return Window(starts, lengths)


class Holes:
    """Masks with holes: the tokens are moved together before the engine sees them, and the results moved back.

    A step without a token leaves the state as it is, so its output repeats the one before it (0 before a row's first token; a
    row without any repeats its initial state).
    """

    def __init__(self, mask: Mask) -> None:
        counts = np.count_nonzero(mask, axis=1)
        rank = np.cumsum(mask, axis=1) - 1
        self.window = Window(lengths=counts)
        self.order = np.argsort(~mask, axis=1, kind="stable")  # [B, T], the tokens' positions first
        self.before = (rank < 0) & (counts > 0)[:, None]  # [B, T], no token yet
        self.rank = np.maximum(rank, 0)  # [B, T], which token's output a position repeats

    def together(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """x [B, T] or [B, T, D] with each row's tokens first."""
        return np.take_along_axis(x, self.order if x.ndim == 2 else self.order[:, :, None], axis=1)

    def together_backward(self, dx: Array) -> Array:
        """The gradient of the input of `together`."""
        spread = np.empty_like(dx)
        np.put_along_axis(spread, self.order[:, :, None], dx, axis=1)
        return spread

    def apart(self, y: Array) -> Array:
        """The outputs at all positions, [B, T, H], from those of the tokens that were moved together."""
        y = np.take_along_axis(y, self.rank[:, :, None], axis=1)
        y[self.before] = 0
        return y

    def apart_backward(self, dy: Array) -> Array:
        """The gradient of the input of `apart`: a position's goes to the token whose output it repeats."""
        together = np.zeros_like(dy)
        rows, positions = np.nonzero(~self.before)
        np.add.at(together, (rows, self.rank[rows, positions]), dy[rows, positions])
        return together
