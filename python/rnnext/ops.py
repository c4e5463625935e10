"""LSTM and GRU as functions of plain arrays, in PyTorch's shapes, for training loops of one's own.

Several layers and both directions in one call; what comes back are the outputs, the last states and the backward pass. Weights
have Keras's layout, as everywhere at this package's border: a sequence with (kernel [I, G*H], recurrent_kernel [H, G*H], bias)
for each layer and direction in PyTorch's order, the first layer's forward direction, its backward one, the second layer's
forward one, ...; a bias may be None. With D directions the layers behind the first have I = D*H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext.parameters import Array

CellWeights: TypeAlias = tuple[Array, Array, Array | None]  # kernel, recurrent_kernel, bias
_Cell: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]


class OpGradients(NamedTuple):
    """What the backward pass of a call returns, each of the form of what it is for."""

    inputs: Array | None  # None without need_dx
    weights: list[CellWeights]
    initial_state: tuple[Array, ...]  # (dh0, dc0) for an LSTM, (dh0,) for a GRU, each [layers*D, B, H]; given or not


class OpBackprop(Protocol):
    """The backward pass of one call. It can be called any number of times."""

    def __call__(
        self, doutputs: Array | None, dstate: Sequence[Array | None] | Array | None = None, *, need_dx: bool = True
    ) -> OpGradients:
        """Gradients for those of the outputs and of the last states; None is zeros."""


def lstm(
    x: Array,
    weights: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]],
    *,
    initial_state: Sequence[Array] | None = None,
    lengths: npt.ArrayLike | None = None,
    batch_first: bool = False,
    bidirectional: bool = False,
) -> tuple[Array, tuple[Array, Array], OpBackprop]:
    """(outputs, (h_n, c_n), backprop) of an LSTM over x [T, B, I], or [B, T, I] with `batch_first`.

    outputs [T, B, D*H] (or [B, T, D*H]) are the last layer's states h, forward and backward side by side; h_n, c_n and the
    entries of `initial_state` (h0, c0) are [layers*D, B, H] in the order of the weights. Row b has `lengths[b]` tokens from the
    beginning on: its states stop there, the backward direction starts there, and outputs behind are zeros, as PyTorch's
    pad_packed_sequence has them; a row without tokens keeps its initial state. Gates in the order i f g o, bias [4H].
    The dtype of x, float32 or float64, is that of the computation and of all results; other floats are turned into it.
    ValueError or TypeError names the array that does not fit. x and the weights must stay as they are until `backprop` is done.
    """
    outputs, states, backprop = _run("lstm", "lstm", x, weights, initial_state, lengths, batch_first, bidirectional, False)
    return outputs, (states[0], states[1]), backprop


def gru(
    x: Array,
    weights: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]],
    *,
    initial_state: Array | None = None,
    lengths: npt.ArrayLike | None = None,
    batch_first: bool = False,
    bidirectional: bool = False,
    reset_after: bool = True,
    update_gate: Literal["keep", "write"] = "keep",
) -> tuple[Array, Array, OpBackprop]:
    """(outputs, h_n, backprop) of a GRU; all as for `lstm`, but that h is its only state and gates come in the order z r n.

    `reset_after` and `update_gate` are those of `layers.GRU`; the bias is [2, 3H], or [3H] without `reset_after`.
    """
    if update_gate not in ("keep", "write"):
        raise ValueError(f"gru: update_gate is {update_gate!r}, expected 'keep' or 'write'")
    cell: _Cell = "gru_reset_after" if reset_after else "gru_reset_before"
    writes = update_gate == "write"
    outputs, states, backprop = _run("gru", cell, x, weights, initial_state, lengths, batch_first, bidirectional, writes)
    return outputs, states[0], backprop


def _run(
    who: str,
    cell: _Cell,
    x: object,
    weights: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]],
    initial_state: Sequence[Array] | Array | None,
    lengths: npt.ArrayLike | None,
    batch_first: bool,
    bidirectional: bool,
    writes: bool,
) -> tuple[Array, tuple[Array, ...], OpBackprop]:
    dtype = _kind_of(x)
    inputs = _floats(f"{who}: x", x, dtype)
    if inputs.ndim != 3:
        raise ValueError(f"{who}: x has shape {inputs.shape}, expected {'[B, T, I]' if batch_first else '[T, B, I]'}")
    inputs = np.ascontiguousarray(inputs if batch_first else inputs.swapaxes(0, 1))
    rows, steps, _ = inputs.shape
    directions = 2 if bidirectional else 1
    cells = check_weights(who, cell, weights, inputs.shape[2], directions, dtype)
    units = cells[0][1].shape[0]
    names = ("h", "c") if cell == "lstm" else ("h",)
    state_shape = (len(cells), rows, units)
    state = _states(f"{who}: initial_state", names, initial_state, state_shape, dtype)
    tokens = _lengths(who, lengths, rows, steps)
    behind = None if tokens is None else np.arange(steps) >= tokens[:, None]  # [B, T]

    tapes: list[Any] = []
    last: list[tuple[Array, ...]] = []
    y = inputs
    for first in range(0, len(cells), directions):
        parts = []
        for n in range(first, first + directions):
            backwards = n > first
            part, h_n, c_n, tape = _core.recurrent_forward(
                cell,
                y,
                *cells[n],
                *(None if s is None else s[n] for s in state),
                lengths=tokens,
                reverse=backwards,
                update_gate_writes=writes,
                return_sequences=True,
            )
            if backwards:
                part = part[:, ::-1]  # from the order computed to that of the tokens; zeros come to stand behind them
            elif behind is not None:
                part[behind] = 0  # where the engine repeats the last state
            parts.append(part)
            tapes.append(tape)
            last.append((h_n,) if c_n is None else (h_n, c_n))
        y = parts[0] if directions == 1 else np.concatenate(parts, axis=2)

    def backprop(
        doutputs: Array | None, dstate: Sequence[Array | None] | Array | None = None, *, need_dx: bool = True
    ) -> OpGradients:
        dlast = _states(f"{who}: dstate", names, dstate, state_shape, dtype)
        dy = None if doutputs is None else _floats(f"{who}: doutputs", doutputs, dtype)
        expected = (rows, steps, directions * units) if batch_first else (steps, rows, directions * units)
        if dy is not None and dy.shape != expected:
            raise ValueError(f"{who}: doutputs has shape {dy.shape}, expected {expected}, that of the outputs")
        if dy is not None and not batch_first:
            dy = dy.swapaxes(0, 1)
        dweights: list[CellWeights] = []
        dinitial: list[tuple[Array, ...]] = []
        for n in reversed(range(len(cells))):
            direction = n % directions
            part = None if dy is None else dy[..., direction * units : (direction + 1) * units]
            if part is not None and direction:
                part = part[:, ::-1]
            elif part is not None and behind is not None:
                part = np.where(behind[:, :, None], dtype.type(0), part)
            dx, dkernel, drecurrent_kernel, dbias, dh0, dc0 = _core.recurrent_backward(
                tapes[n],
                None if part is None else np.ascontiguousarray(part),
                *(None if s is None else s[n] for s in dlast),
                need_dx=need_dx or n >= directions,
            )
            dweights.append((dkernel, drecurrent_kernel, dbias))
            dinitial.append(tuple(d for d in (dh0, dc0) if d is not None))
            if direction == directions - 1:
                below: Any = dx
            elif below is not None:
                below = below + dx
            if direction == 0:
                dy = below
        if dy is not None and not batch_first:
            dy = np.ascontiguousarray(dy.swapaxes(0, 1))
        return OpGradients(dy, dweights[::-1], tuple(np.stack(d) for d in zip(*dinitial[::-1], strict=True)))

    if not batch_first:
        y = y.swapaxes(0, 1)
    return np.ascontiguousarray(y), tuple(np.stack(s) for s in zip(*last, strict=True)), backprop


def check_weights(
    who: str,
    cell: _Cell,
    weights: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]],
    inputs: int | None,
    directions: int,
    dtype: npt.DTypeLike | None = None,
) -> list[CellWeights]:
    """The weights as arrays of `dtype`, in one piece each; None: float64 if the first is, else float32.

    ValueError or TypeError names the first that does not fit. `inputs` is the first layer's I; None: any.
    """
    if not weights or len(weights) % directions:
        raise ValueError(
            f"{who}: weights has {len(weights)} entries, expected layers * directions with {directions} directions"
        )
    gates = 4 if cell == "lstm" else 3
    checked: list[CellWeights] = []
    units = 0
    if dtype is None:
        dtype = _kind_of(weights[0][0])
    for n, given in enumerate(weights):
        place = f"{who}: weights[{n}]"
        if isinstance(given, np.ndarray) or len(given) != 3:
            raise ValueError(f"{place} has {len(given)} entries, expected (kernel, recurrent_kernel, bias or None)")
        kernel, recurrent_kernel = (
            _floats(f"{place}: {name}", w, dtype) for name, w in zip(("kernel", "recurrent_kernel"), given[:2], strict=True)
        )
        bias = None if given[2] is None else _floats(f"{place}: bias", given[2], dtype)
        if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != gates * recurrent_kernel.shape[0]:
            raise ValueError(f"{place}: recurrent_kernel has shape {recurrent_kernel.shape}, expected [H, {gates}H]")
        units = units or recurrent_kernel.shape[0]
        if recurrent_kernel.shape[0] != units:
            raise ValueError(
                f"{place}: recurrent_kernel has shape {recurrent_kernel.shape}, expected {(units, gates * units)} as the first"
            )
        features = inputs if n < directions else directions * units
        if kernel.ndim != 2 or kernel.shape != (kernel.shape[0] if features is None else features, gates * units):
            raise ValueError(
                f"{place}: kernel has shape {kernel.shape}, expected ({'I' if features is None else features},"
                f" {gates * units}) = [I, {gates}H]"
            )
        inputs = kernel.shape[0] if n < directions else inputs
        width = (2, gates * units) if cell == "gru_reset_after" else (gates * units,)
        if bias is not None and bias.shape != width:
            form = "[2, 3H]" if cell == "gru_reset_after" else f"[{gates}H]"
            raise ValueError(f"{place}: bias has shape {bias.shape}, expected {width} = {form}")
        checked.append((kernel, recurrent_kernel, bias))
    return checked


def _kind_of(value: object) -> np.dtype[Any]:
    return np.dtype(np.float64 if getattr(value, "dtype", None) == np.float64 else np.float32)


def _floats(name: str, value: object, dtype: npt.DTypeLike) -> Array:
    """An array of `dtype` in one piece; TypeError if it is none of floats."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return np.ascontiguousarray(array, dtype=dtype)


def _states(
    name: str,
    states: tuple[str, ...],
    given: Sequence[Array | None] | Array | None,
    shape: tuple[int, int, int],
    dtype: npt.DTypeLike,
) -> list[Array | None]:
    if given is None:
        return [None] * len(states)
    arrays = (given,) if isinstance(given, np.ndarray) else tuple(given)
    if len(arrays) != len(states):
        raise ValueError(f"{name} has {len(arrays)} arrays, expected {len(states)}: {', '.join(states)}")
    checked = [None if a is None else _floats(f"{name}[{n}]", a, dtype) for n, a in enumerate(arrays)]
    for n, array in enumerate(checked):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}[{n}] has shape {array.shape}, expected {shape} = [layers * directions, B, H]")
    return checked


def _lengths(who: str, given: npt.ArrayLike | None, rows: int, steps: int) -> npt.NDArray[np.int64] | None:
    if given is None:
        return None
    lengths = np.asarray(given)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{who}: lengths has dtype {lengths.dtype}, expected integers")
    if lengths.shape != (rows,):
        raise ValueError(f"{who}: lengths has shape {lengths.shape}, expected ({rows},) = [B]")
    if ((lengths < 0) | (lengths > steps)).any():
        raise ValueError(f"{who}: lengths is {lengths}, expected 0 to {steps} = T")
    return lengths.astype(np.int64)
