"""A long sequence in segments: only the states at their borders are kept, and each segment is computed again on the way back.

Knows steps, windows and states; does not know a layer's arguments. Everything here counts in the order in which the steps are
walked: segment n is the steps from n * steps on, which lie at the end of x where `reverse` is set, and outputs have that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext.layers._windows import Window
from rnnext.parameters import Array

State: TypeAlias = tuple[Array, ...]  # (h, c) or (h,); () is zeros
Played: TypeAlias = tuple[Any, list[Array | None], Array | None, Array | None]  # of x, weights, h0, c0


def play_back(tape: Any, dy: Array | None, dh: Array | None = None, dc: Array | None = None, *, need_dx: bool = True) -> Played:
    """The engine's gradients; those of the weights in the layer's order, None for a bias that it does not have."""
    dx, dkernel, drecurrent, dbias, dh0, dc0, *dterms = _core.recurrent_backward(tape, dy, dh, dc, need_dx=need_dx)
    return dx, [dkernel, drecurrent, dbias, *(dterms[0].values() if dterms else ())], dh0, dc0


class Walk(Protocol):
    """The engine with a layer's weights."""

    def __call__(self, x: npt.NDArray[Any], window: Window, state: State, /) -> tuple[Array, State, Any]:
        """(y, last states, tape) of x [B, T, I] or ids [B, T]."""


class Segments:
    """One call of a layer, cut into segments of `steps`.

    `forward` comes first; `backward` may be called any number of times. With `truncate` a row's gradient is cut at each border
    between two of its steps. At a border in its padding there is nothing to cut: the gradient passes on to the row's own steps,
    so that padding does not silence a row.
    """

    def __init__(
        self,
        walk: Walk,  # without a tape
        record: Walk,  # the same, with a tape
        x: npt.NDArray[Any],
        window: Window,
        *,
        steps: int,
        reverse: bool,
        return_sequences: bool,
        truncate: bool,
    ) -> None:
        self._walk = walk
        self._record = record
        self._x = x
        rows, self._positions = x.shape[:2]
        self._steps = steps
        self._reverse = reverse
        self._return_sequences = return_sequences
        self._truncate = truncate
        starts = np.zeros(rows, np.int64) if window.starts is None else window.starts
        lengths = self._positions - starts if window.lengths is None else window.lengths
        self._whole = window.starts is None and window.lengths is None
        self._begin = self._positions - starts - lengths if reverse else starts  # [B], a row's first step
        self._end = self._begin + lengths
        self._states: list[State] = []  # before each segment

    def forward(self, state: State) -> tuple[Array, State]:
        """(y, last states)."""
        self._states.clear()
        y: Any = None
        for a, b in self._borders():
            self._states.append(state)
            part, state, _ = self._walk(*self._cut(a, b), state)
            if not self._return_sequences:
                y = part
                continue
            if y is None:
                y = np.empty((len(part), self._positions, part.shape[2]), part.dtype)
            y[:, a:b] = part
        return y, state

    def backward(self, dy: Array | None, dh: Array | None = None, dc: Array | None = None, *, need_dx: bool = True) -> Played:
        """What `play_back` returns for these arguments."""
        if not self._return_sequences and dy is not None:
            dh, dy = dy, None  # y is the last h
        inputs = None if not need_dx else _TableSum(self._x) if self._x.ndim == 2 else np.zeros_like(self._x)
        sums: list[Array | None] = []
        for n, (a, b) in reversed([*enumerate(self._borders())]):
            if sums and dy is None and not any(d is not None and d.any() for d in (dh, dc)):
                continue  # no gradient reaches this segment
            dpart = None if dy is None else dy[:, a:b]
            dx, dweights, dh, dc = self._play(a, b, self._states[n], dpart, dh, dc, need_dx=need_dx)
            if isinstance(inputs, _TableSum):
                inputs.add(*dx)
            elif inputs is not None:
                inputs[:, self._where(a, b)] = dx
            for total, part in zip(sums, dweights, strict=False):
                if total is not None and part is not None:
                    total += part
            sums = sums or dweights
            if self._truncate and n > 0:
                crossing = (self._begin < a) & (self._end > a)
                for d in (dh, dc):
                    if d is not None:
                        d[crossing] = 0
        return (inputs.rows_and_values() if isinstance(inputs, _TableSum) else inputs), sums, dh, dc

    def _play(
        self, a: int, b: int, state: State, dy: Array | None, dh: Array | None, dc: Array | None, *, need_dx: bool
    ) -> Played:
        """One segment, forward with a tape and backward. The tape is freed before the next one is made."""
        _, _, tape = self._record(*self._cut(a, b), state)
        return play_back(tape, dy, dh, dc, need_dx=need_dx)

    def _borders(self) -> Iterator[tuple[int, int]]:
        """First step and end of each segment."""
        for a in range(0, self._positions, self._steps):
            yield a, min(a + self._steps, self._positions)

    def _where(self, a: int, b: int) -> slice:
        """Where steps a to b are in x."""
        return slice(self._positions - b, self._positions - a) if self._reverse else slice(a, b)

    def _cut(self, a: int, b: int) -> tuple[npt.NDArray[Any], Window]:
        """x and window of steps a to b. A row that begins later is empty and starts at their end, so its outputs are 0."""
        x = np.ascontiguousarray(self._x[:, self._where(a, b)])
        if self._whole:
            return x, Window()
        begin, end = (np.clip(step - a, 0, b - a) for step in (self._begin, self._end))
        return x, Window(b - a - end if self._reverse else begin, end - begin)


class _TableSum:
    """The sum of several gradients for some rows of a table."""

    def __init__(self, ids: npt.NDArray[np.int32]) -> None:
        self._rows = np.unique(ids).astype(np.int64)
        self._used = np.zeros(len(self._rows), np.bool_)
        self._values: Any = None  # [rows, I]

    def add(self, rows: npt.NDArray[np.int64], values: Array) -> None:
        if self._values is None:
            self._values = np.zeros((len(self._rows), values.shape[1]), values.dtype)
        places = np.searchsorted(self._rows, rows)
        self._values[places] += values
        self._used[places] = True

    def rows_and_values(self) -> tuple[npt.NDArray[np.int64], Array]:
        """The rows that were used, ascending, and their sums."""
        return self._rows[self._used], self._values[self._used]
