"""LSTM and GRU in float64 NumPy, as a textbook would write them: what the engine is tested against.

First the textbook's equations on the concatenation [h, x]; then the cells with Keras's weights, each one's backward step right
below its forward step; last the loop over time, which knows rows, lengths and positions and no gate. Symbols and derivations:
docs/equations.md. Slow on purpose: nothing here trades a line of the equations for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]
CellName: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]
State: TypeAlias = tuple[Array, ...]  # (h, c) for an LSTM, (h,) for a GRU
Record: TypeAlias = tuple[Array, ...]  # what a forward step leaves for its backward step


def sigmoid(x: npt.ArrayLike) -> Array:
    """σ(x) = 1 / (1 + e^-x) = e^x / (1 + e^x), whichever does not overflow."""
    x = np.asarray(x, np.float64)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1.0) / (1.0 + e))


# ---------------------------------------------------------------- the document's equations


def lstm_document(
    x: npt.ArrayLike,  # [B, T, I]
    *,
    W_f: npt.ArrayLike,  # each W [H, H+I], each b [H]
    W_i: npt.ArrayLike,
    W_o: npt.ArrayLike,
    W_C: npt.ArrayLike,
    b_f: npt.ArrayLike,
    b_i: npt.ArrayLike,
    b_o: npt.ArrayLike,
    b_C: npt.ArrayLike,
    h0: npt.ArrayLike,  # [B, H]
    C0: npt.ArrayLike,  # [B, H]
) -> tuple[Array, Array, Array]:
    """Return (all h [B, T, H], the last h [B, H], the last C [B, H]); every W acts on the concatenation [h, x]."""
    steps, h, C = np.asarray(x, np.float64), np.asarray(h0, np.float64), np.asarray(C0, np.float64)
    W_f, W_i, W_o, W_C = (np.asarray(W, np.float64) for W in (W_f, W_i, W_o, W_C))
    outputs = np.empty((*steps.shape[:2], h.shape[1]))
    for t in range(steps.shape[1]):
        hx = np.concatenate([h, steps[:, t]], axis=1)
        f = sigmoid(hx @ W_f.T + b_f)
        i = sigmoid(hx @ W_i.T + b_i)
        o = sigmoid(hx @ W_o.T + b_o)
        C_new = np.tanh(hx @ W_C.T + b_C)
        C = f * C + i * C_new
        h = o * np.tanh(C)
        outputs[:, t] = h
    return outputs, h, C


def gru_document(
    x: npt.ArrayLike,  # [B, T, I]
    *,
    W_z: npt.ArrayLike,  # each W [H, H+I], each b [H]
    W_r: npt.ArrayLike,
    W_h: npt.ArrayLike,
    b_z: npt.ArrayLike,
    b_r: npt.ArrayLike,
    b_h: npt.ArrayLike,
    h0: npt.ArrayLike,  # [B, H]
) -> tuple[Array, Array]:
    """Return (all h [B, T, H], the last h [B, H]); every W acts on the concatenation [h, x], W_h on [r ⊙ h, x]."""
    steps, h = np.asarray(x, np.float64), np.asarray(h0, np.float64)
    W_z, W_r, W_h = (np.asarray(W, np.float64) for W in (W_z, W_r, W_h))
    outputs = np.empty((*steps.shape[:2], h.shape[1]))
    for t in range(steps.shape[1]):
        hx = np.concatenate([h, steps[:, t]], axis=1)
        z = sigmoid(hx @ W_z.T + b_z)
        r = sigmoid(hx @ W_r.T + b_r)
        h_new = np.tanh(np.concatenate([r * h, steps[:, t]], axis=1) @ W_h.T + b_h)
        h = (1 - z) * h + z * h_new
        outputs[:, t] = h
    return outputs, h


# ---------------------------------------------------------------- the cells, one step forward and one step backward


class Weights(NamedTuple):
    """A layer's weights in Keras's layout, and what its update gate means."""

    kernel: Array  # [I, G*H]; gates i f c o (LSTM), z r h (GRU)
    recurrent_kernel: Array  # [H, G*H]
    bias: Array  # [G*H]; reset after: [2, 3*H], row 0 input, row 1 recurrent
    update_gate_writes: bool  # GRU: z lets the candidate in instead of keeping h_prev


def _split(a: Array, gates: int) -> list[Array]:
    return np.split(a, gates, axis=-1)


def _join(*gates: Array) -> Array:
    return np.concatenate(gates, axis=-1)


def lstm_step(w: Weights, x: Array, state: State) -> tuple[State, Record]:
    """i, f, o = σ(x W + h_prev U + b), g = tanh(likewise); c = f ⊙ c_prev + i ⊙ g; h = o ⊙ tanh(c)."""
    h_prev, c_prev = state
    a_i, a_f, a_g, a_o = _split(x @ w.kernel + h_prev @ w.recurrent_kernel + w.bias, 4)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    tanh_c = np.tanh(c)
    h = o * tanh_c
    return (h, c), (x, h_prev, c_prev, i, f, g, o, tanh_c)


def lstm_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, State]:
    """Return (dx, (dh_prev, dc_prev), (dkernel, drecurrent_kernel, dbias)) for dstate = (dh, dc)."""
    x, h_prev, c_prev, i, f, g, o, tanh_c = record
    dh, dc = dstate
    do = dh * tanh_c  # h = o ⊙ tanh(c)
    dc = dc + dh * o * (1 - tanh_c**2)
    df, dc_prev = dc * c_prev, dc * f  # c = f ⊙ c_prev + i ⊙ g
    di, dg = dc * g, dc * i
    da = _join(di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o))
    dh_prev = da @ w.recurrent_kernel.T
    return da @ w.kernel.T, (dh_prev, dc_prev), (x.T @ da, h_prev.T @ da, da.sum(axis=0))


def gru_reset_after_step(w: Weights, x: Array, state: State) -> tuple[State, Record]:
    """z, r = σ(x W + b + h_prev U + b'); n = tanh(x W_n + b_n + r ⊙ (h_prev U_n + b'_n)); h = z ⊙ h_prev + (1 - z) ⊙ n.

    With update_gate_writes h = (1 - z) ⊙ h_prev + z ⊙ n.
    """
    (h_prev,) = state
    x_z, x_r, x_n = _split(x @ w.kernel + w.bias[0], 3)
    h_z, h_r, h_n = _split(h_prev @ w.recurrent_kernel + w.bias[1], 3)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    n = np.tanh(x_n + r * h_n)
    keep = 1 - z if w.update_gate_writes else z
    h = keep * h_prev + (1 - keep) * n
    return (h,), (x, h_prev, z, r, n, h_n)


def gru_reset_after_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, State]:
    """Return (dx, (dh_prev,), (dkernel, drecurrent_kernel, dbias)) for dstate = (dh,)."""
    x, h_prev, z, r, n, h_n = record
    (dh,) = dstate
    keep, dz, dn = _gru_output_backward(w, dh, h_prev, z, n)
    da_n = dn * (1 - n**2)  # n = tanh(x_n + r ⊙ h_n)
    dr, dh_n = da_n * h_n, da_n * r
    da_z, da_r = dz * z * (1 - z), dr * r * (1 - r)
    da_x, da_h = _join(da_z, da_r, da_n), _join(da_z, da_r, dh_n)
    dh_prev = dh * keep + da_h @ w.recurrent_kernel.T
    dbias = np.stack([da_x.sum(axis=0), da_h.sum(axis=0)])
    return da_x @ w.kernel.T, (dh_prev,), (x.T @ da_x, h_prev.T @ da_h, dbias)


def gru_reset_before_step(w: Weights, x: Array, state: State) -> tuple[State, Record]:
    """z, r = σ(x W + h_prev U + b); n = tanh(x W_n + (r ⊙ h_prev) U_n + b_n); h = z ⊙ h_prev + (1 - z) ⊙ n.

    With update_gate_writes h = (1 - z) ⊙ h_prev + z ⊙ n.
    """
    (h_prev,) = state
    x_z, x_r, x_n = _split(x @ w.kernel + w.bias, 3)
    U_z, U_r, U_n = _split(w.recurrent_kernel, 3)
    z, r = sigmoid(x_z + h_prev @ U_z), sigmoid(x_r + h_prev @ U_r)
    n = np.tanh(x_n + (r * h_prev) @ U_n)
    keep = 1 - z if w.update_gate_writes else z
    h = keep * h_prev + (1 - keep) * n
    return (h,), (x, h_prev, z, r, n)


def gru_reset_before_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, State]:
    """Return (dx, (dh_prev,), (dkernel, drecurrent_kernel, dbias)) for dstate = (dh,)."""
    x, h_prev, z, r, n = record
    (dh,) = dstate
    U_z, U_r, U_n = _split(w.recurrent_kernel, 3)
    keep, dz, dn = _gru_output_backward(w, dh, h_prev, z, n)
    da_n = dn * (1 - n**2)  # n = tanh(x_n + (r ⊙ h_prev) U_n)
    drh = da_n @ U_n.T
    dr = drh * h_prev
    da_z, da_r = dz * z * (1 - z), dr * r * (1 - r)
    dh_prev = dh * keep + drh * r + da_z @ U_z.T + da_r @ U_r.T
    da = _join(da_z, da_r, da_n)
    drecurrent = _join(h_prev.T @ da_z, h_prev.T @ da_r, (r * h_prev).T @ da_n)
    return da @ w.kernel.T, (dh_prev,), (x.T @ da, drecurrent, da.sum(axis=0))


def _gru_output_backward(w: Weights, dh: Array, h_prev: Array, z: Array, n: Array) -> tuple[Array, Array, Array]:
    """(keep, dz, dn) of h = keep ⊙ h_prev + (1 - keep) ⊙ n, which both forms share."""
    keep = 1 - z if w.update_gate_writes else z
    dkeep = dh * (h_prev - n)
    return keep, -dkeep if w.update_gate_writes else dkeep, dh * (1 - keep)


# ---------------------------------------------------------------- the loop over time


class Cell(NamedTuple):
    """What the loop needs of a cell."""

    gates: int
    states: int
    bias_rows: int
    step: Callable[[Weights, Array, State], tuple[State, Record]]
    step_backward: Callable[[Weights, Record, State], tuple[Array, State, State]]


CELLS: dict[CellName, Cell] = {
    "lstm": Cell(4, 2, 1, lstm_step, lstm_step_backward),
    "gru_reset_after": Cell(3, 1, 2, gru_reset_after_step, gru_reset_after_step_backward),
    "gru_reset_before": Cell(3, 1, 1, gru_reset_before_step, gru_reset_before_step_backward),
}


class Step(NamedTuple):
    """The rows that take part in a step, and the position in x and in y that each of them is at."""

    rows: Index
    inputs: Index
    outputs: Index


@dataclass(frozen=True)
class Tape:
    """What a forward pass leaves for its backward pass."""

    cell: Cell
    weights: Weights
    has_bias: bool
    return_sequences: bool
    x_shape: tuple[int, ...]
    steps: list[Step]
    records: list[Record]  # by step
    carried_from: Index  # [B], the first position of y behind a row's last step


def recurrent_forward(
    cell: CellName,
    x: npt.ArrayLike,  # [B, T, I]
    kernel: npt.ArrayLike,  # [I, G*H]
    recurrent_kernel: npt.ArrayLike,  # [H, G*H]
    bias: npt.ArrayLike | None,  # [G*H]; reset after: [2, 3*H]
    h0: npt.ArrayLike | None = None,  # [B, H]; None is zeros
    c0: npt.ArrayLike | None = None,  # [B, H]; LSTM only
    *,
    starts: npt.ArrayLike | None = None,  # [B]; None is zeros
    lengths: npt.ArrayLike | None = None,  # [B]; None is T - starts
    reverse: bool = False,
    update_gate_writes: bool = False,
    return_sequences: bool = False,
) -> tuple[Array, Array, Array | None, Tape]:
    """Run a layer: (y, h_T, c_T, tape), y [B, T, H] with return_sequences, else h_T [B, H]; c_T is None for a GRU.

    Row b reads `lengths[b]` tokens from position `starts[b]` on, with `reverse` the last of them first. Outputs before a row's
    first step are 0, those after its last step carry its last state. ValueError where a shape or a length does not fit.
    """
    form = CELLS[cell]
    tokens = np.asarray(x, np.float64)
    if tokens.ndim != 3:
        raise ValueError(f"x has shape {tokens.shape}, expected [B, T, I] (3 dimensions)")
    batch, positions, inputs = tokens.shape
    units = len(np.asarray(recurrent_kernel))
    width = form.gates * units
    weights = Weights(
        _expect("kernel", kernel, (inputs, width)),
        _expect("recurrent_kernel", recurrent_kernel, (units, width)),
        _expect("bias", bias, (2, width) if form.bias_rows == 2 else (width,)),
        update_gate_writes,
    )
    state = _expect_states(form, {"h0": h0, "c0": c0}, (batch, units))
    steps, carried_from = _schedule(batch, positions, starts, lengths, reverse)

    y = np.zeros((batch, positions, units))
    records = []
    for rows, at, to in steps:
        new_state, record = form.step(weights, tokens[rows, at], tuple(v[rows] for v in state))
        for value, new_value in zip(state, new_state, strict=True):
            value[rows] = new_value
        y[rows, to] = new_state[0]
        records.append(record)
    for b in range(batch):
        y[b, carried_from[b] :] = state[0][b]

    tape = Tape(form, weights, bias is not None, return_sequences, tokens.shape, steps, records, carried_from)
    return y if return_sequences else state[0], state[0], state[1] if form.states == 2 else None, tape


def recurrent_backward(
    tape: Tape,
    dy: npt.ArrayLike | None,  # of y's shape
    dh_T: npt.ArrayLike | None = None,  # [B, H], added to what dy says
    dc_T: npt.ArrayLike | None = None,  # [B, H]; LSTM only
) -> tuple[Array, Array, Array, Array | None, Array, Array | None]:
    """Gradients (dx, dkernel, drecurrent_kernel, dbias, dh0, dc0); dbias is None without a bias, dc0 for a GRU."""
    batch, positions, _ = tape.x_shape
    units = len(tape.weights.recurrent_kernel)
    doutput = _expect("dy", dy, (batch, positions, units) if tape.return_sequences else (batch, units))
    dstate = _expect_states(tape.cell, {"dh_T": dh_T, "dc_T": dc_T}, (batch, units))
    if tape.return_sequences:
        for b in range(batch):
            dstate[0][b] += doutput[b, tape.carried_from[b] :].sum(axis=0)
    else:
        dstate[0][...] += doutput

    dx = np.zeros(tape.x_shape)
    dweights = [np.zeros_like(w) for w in (tape.weights.kernel, tape.weights.recurrent_kernel, tape.weights.bias)]
    for (rows, at, to), record in zip(reversed(tape.steps), reversed(tape.records), strict=True):
        if tape.return_sequences:
            dstate[0][rows] += doutput[rows, to]
        dx[rows, at], dprevious, dpart = tape.cell.step_backward(tape.weights, record, tuple(d[rows] for d in dstate))
        for d, new_d in zip(dstate, dprevious, strict=True):
            d[rows] = new_d
        for total, part in zip(dweights, dpart, strict=True):
            total += part

    dkernel, drecurrent_kernel, dbias = dweights
    return dx, dkernel, drecurrent_kernel, dbias if tape.has_bias else None, dstate[0], dstate[1] if len(dstate) == 2 else None


def _schedule(
    batch: int, positions: int, starts: npt.ArrayLike | None, lengths: npt.ArrayLike | None, reverse: bool
) -> tuple[list[Step], Index]:
    """The steps of a batch, and the position of y from which on each row carries its last state."""
    first = np.zeros(batch, np.int64) if starts is None else np.asarray(starts, np.int64)
    count = positions - first if lengths is None else np.asarray(lengths, np.int64)
    for name, given in (("starts", first), ("lengths", count)):
        if given.shape != (batch,) or (given < 0).any():
            raise ValueError(f"{name} is {given}, expected [B] numbers >= 0 with B={batch}")
    if (first + count > positions).any():
        raise ValueError(f"starts + lengths is {first + count}, expected at most {positions} = T")
    first_output = positions - first - count if reverse else first
    steps = []
    for s in range(count.max(initial=0)):
        rows = np.flatnonzero(count > s)
        at = first + count - 1 - s if reverse else first + s
        steps.append(Step(rows, at[rows], first_output[rows] + s))
    return steps, first_output + count


def _expect(name: str, value: npt.ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """A float64 copy of `value`, zeros for None; a ValueError names a wrong shape, which broadcasting would otherwise hide."""
    array = np.zeros(shape) if value is None else np.array(value, np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def _expect_states(cell: Cell, given: dict[str, npt.ArrayLike | None], shape: tuple[int, int]) -> State:
    for name in list(given)[cell.states :]:
        if given[name] is not None:
            raise ValueError(f"{name} was given, but a GRU has no cell state")
    return tuple(_expect(name, given[name], shape) for name in list(given)[: cell.states])
