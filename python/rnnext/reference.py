"""LSTM and GRU in float64 NumPy, as a textbook would write them: what the engine is tested against.

First the textbook's equations on the concatenation [h, x]; then the cells with Keras's weights, each one's backward step right
below its forward step, an option a term in them; last the loop over time, which knows rows, lengths, positions and zoneout, and
no gate. Symbols and derivations: docs/equations.md. Slow on purpose: nothing here trades a line of the equations for speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.int64]
CellName: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]
State: TypeAlias = tuple[Array, ...]  # (h, c) for an LSTM, (h,) for a GRU
Record: TypeAlias = tuple[Any, ...]  # what a forward step leaves for its backward step
WeightGradients: TypeAlias = dict[str, Array]  # by the name of the weight


def sigmoid(x: npt.ArrayLike) -> Array:
    """σ(x) = 1 / (1 + e^-x) = e^x / (1 + e^x), whichever does not overflow."""
    x = np.asarray(x, np.float64)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1.0) / (1.0 + e))


# ---------------------------------------------------------------- the textbook's equations, on the concatenation [h, x]


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
    """A layer's weights in Keras's layout, and its options. An option that is not used has a value that changes nothing."""

    kernel: Array  # [I, G*H]; gates i f c o (LSTM), z r h (GRU)
    recurrent_kernel: Array  # [P, G*H]; P, the width of h, is H where nothing is projected
    bias: Array  # [G*H]; reset after: [2, 3*H], row 0 input, row 1 recurrent
    peephole: Array  # [3, H]; how the gates i, f, o see the cell state; LSTM only, as the next one
    projection: Array  # [H, P]
    kernel_norm: Array  # [G*H]; scales of the normalised products
    recurrent_norm: Array  # [G*H]
    state_norm: Array  # [2, H]; scale and shift of the normalised cell state; LSTM only
    norm_epsilon: float | None  # None: nothing is normalised
    clip: float  # pre-activations stay within ±clip
    coupled: bool  # LSTM: f = 1 - i
    update_gate_writes: bool  # GRU: z lets the candidate in instead of keeping h_prev


def _split(a: Array, gates: int) -> list[Array]:
    return np.split(a, gates, axis=-1)


def _join(*gates: Array) -> Array:
    return np.concatenate(gates, axis=-1)


class Normal(NamedTuple):
    """LN(v) = (v - mean) / spread, spread = sqrt(variance + ε); v itself where nothing is normalised."""

    value: Array
    spread: Array | None


def normalise(v: Array, epsilon: float | None) -> Normal:
    """LN(v) over the last axis, ε being added to the variance; v itself if it is None."""
    if epsilon is None:
        return Normal(v, None)
    deviation = v - v.mean(axis=-1, keepdims=True)
    spread = np.sqrt((deviation**2).mean(axis=-1, keepdims=True) + epsilon)
    return Normal(deviation / spread, spread)


def normalise_backward(normal: Normal, d: Array) -> Array:
    """Only the part of d that changes neither v's mean nor its spread reaches v."""
    n, spread = normal
    if spread is None:
        return d
    return np.asarray((d - d.mean(axis=-1, keepdims=True) - n * (d * n).mean(axis=-1, keepdims=True)) / spread)


class Product(NamedTuple):
    """LN(v M) ⊙ scale."""

    v: Array
    matrix: Array
    scale: Array
    normal: Normal

    @property
    def value(self) -> Array:
        """The numbers."""
        return self.normal.value * self.scale


def product(v: Array, matrix: Array, scale: Array, epsilon: float | None) -> Product:
    """LN(v M) ⊙ scale, with what its backward step needs."""
    return Product(v, matrix, scale, normalise(v @ matrix, epsilon))


def product_backward(p: Product, d: Array) -> tuple[Array, Array, Array]:
    """(dv, dmatrix, dscale)."""
    da = normalise_backward(p.normal, d * p.scale)
    return da @ p.matrix.T, p.v.T @ da, (d * p.normal.value).sum(axis=0)


def _hold(w: Weights, a: Array) -> Array:
    return np.clip(a, -w.clip, w.clip)


def _sigmoid_backward(w: Weights, ds: Array, s: Array, a: Array) -> Array:
    """da of s = σ(a held within ±clip)."""
    return ds * s * (1 - s) * (np.abs(a) < w.clip)


def _tanh_backward(w: Weights, dt: Array, t: Array, a: Array) -> Array:
    """da of t = tanh(a held within ±clip)."""
    return dt * (1 - t**2) * (np.abs(a) < w.clip)


def lstm_step(w: Weights, x: Array, state: State, mask: Array) -> tuple[State, Record]:
    """i, f, o = σ(x W + (m ⊙ h_prev) U + b), g = tanh(likewise); c = f ⊙ c_prev + i ⊙ g; h = o ⊙ tanh(c).

    With peepholes i and f see p ⊙ c_prev besides, o sees p ⊙ c; coupled: f = 1 - i; projected: h = (o ⊙ tanh(c)) R;
    normalised: LN(x W) ⊙ scale, LN(h U) ⊙ scale and tanh(LN(c) ⊙ scale + shift).
    """
    h_prev, c_prev = state
    p_i, p_f, p_o = w.peephole
    from_x = product(x, w.kernel, w.kernel_norm, w.norm_epsilon)
    from_h = product(mask * h_prev, w.recurrent_kernel, w.recurrent_norm, w.norm_epsilon)
    a_i, a_f, a_g, a_o = _split(from_x.value + from_h.value + w.bias, 4)
    a_i, a_f = a_i + p_i * c_prev, a_f + p_f * c_prev
    i, g = sigmoid(_hold(w, a_i)), np.tanh(_hold(w, a_g))
    f = 1 - i if w.coupled else sigmoid(_hold(w, a_f))
    c = f * c_prev + i * g
    a_o = a_o + p_o * c
    o = sigmoid(_hold(w, a_o))
    normal_c = normalise(c, w.norm_epsilon)
    tanh_c = np.tanh(normal_c.value * w.state_norm[0] + w.state_norm[1])
    h = (o * tanh_c) @ w.projection
    return (h, c), (from_x, from_h, mask, c_prev, (a_i, a_f, a_g, a_o), (i, f, g, o), c, normal_c, tanh_c)


def lstm_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, WeightGradients]:
    """Return (dx, (dh_prev, dc_prev), gradients of the weights) for dstate = (dh, dc)."""
    from_x, from_h, mask, c_prev, (a_i, a_f, a_g, a_o), (i, f, g, o), c, normal_c, tanh_c = record
    dh, dc = dstate
    p_i, p_f, p_o = w.peephole
    dm = dh @ w.projection.T  # h = m R with m = o ⊙ tanh(s)
    do, ds = dm * tanh_c, dm * o * (1 - tanh_c**2)
    dstate_norm = np.stack([(ds * normal_c.value).sum(axis=0), ds.sum(axis=0)])  # s = LN(c) ⊙ scale + shift
    da_o = _sigmoid_backward(w, do, o, a_o)
    dc = dc + normalise_backward(normal_c, ds * w.state_norm[0]) + da_o * p_o
    di, df, dg = dc * g, dc * c_prev, dc * i  # c = f ⊙ c_prev + i ⊙ g
    if w.coupled:
        di, df = di - df, np.zeros_like(df)
    da_i, da_f, da_g = _sigmoid_backward(w, di, i, a_i), _sigmoid_backward(w, df, f, a_f), _tanh_backward(w, dg, g, a_g)
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    da = _join(da_i, da_f, da_g, da_o)
    dx, dkernel, dkernel_norm = product_backward(from_x, da)
    dread, drecurrent_kernel, drecurrent_norm = product_backward(from_h, da)
    return (
        dx,
        (dread * mask, dc_prev),
        {
            "kernel": dkernel,
            "recurrent_kernel": drecurrent_kernel,
            "bias": da.sum(axis=0),
            "peephole": np.stack([(da_i * c_prev).sum(axis=0), (da_f * c_prev).sum(axis=0), (da_o * c).sum(axis=0)]),
            "projection": (o * tanh_c).T @ dh,
            "kernel_norm": dkernel_norm,
            "recurrent_norm": drecurrent_norm,
            "state_norm": dstate_norm,
        },
    )


def gru_reset_after_step(w: Weights, x: Array, state: State, mask: Array) -> tuple[State, Record]:
    """z, r = σ(x W + b + h U + b'); n = tanh(x W_n + b_n + r ⊙ (h U_n + b'_n)); h_new = z ⊙ h_prev + (1 - z) ⊙ n.

    h is m ⊙ h_prev. With update_gate_writes h_new = (1 - z) ⊙ h_prev + z ⊙ n.
    """
    (h_prev,) = state
    from_x = product(x, w.kernel, w.kernel_norm, w.norm_epsilon)
    from_h = product(mask * h_prev, w.recurrent_kernel, w.recurrent_norm, w.norm_epsilon)
    x_z, x_r, x_n = _split(from_x.value + w.bias[0], 3)
    h_z, h_r, h_n = _split(from_h.value + w.bias[1], 3)
    a_z, a_r = x_z + h_z, x_r + h_r
    z, r = sigmoid(_hold(w, a_z)), sigmoid(_hold(w, a_r))
    a_n = x_n + r * h_n
    n = np.tanh(_hold(w, a_n))
    keep = 1 - z if w.update_gate_writes else z
    h = keep * h_prev + (1 - keep) * n
    return (h,), (from_x, from_h, mask, h_prev, (a_z, a_r, a_n), (z, r, n), h_n)


def gru_reset_after_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, WeightGradients]:
    """Return (dx, (dh_prev,), gradients of the weights) for dstate = (dh,)."""
    from_x, from_h, mask, h_prev, (a_z, a_r, a_n), (z, r, n), h_n = record
    (dh,) = dstate
    keep, dz, dn = _gru_output_backward(w, dh, h_prev, z, n)
    da_n = _tanh_backward(w, dn, n, a_n)
    dr, dh_n = da_n * h_n, da_n * r  # a_n = x_n + r ⊙ h_n
    da_z, da_r = _sigmoid_backward(w, dz, z, a_z), _sigmoid_backward(w, dr, r, a_r)
    da_x, da_h = _join(da_z, da_r, da_n), _join(da_z, da_r, dh_n)
    dx, dkernel, dkernel_norm = product_backward(from_x, da_x)
    dread, drecurrent_kernel, drecurrent_norm = product_backward(from_h, da_h)
    return (
        dx,
        (dh * keep + dread * mask,),
        {
            "kernel": dkernel,
            "recurrent_kernel": drecurrent_kernel,
            "bias": np.stack([da_x.sum(axis=0), da_h.sum(axis=0)]),
            "kernel_norm": dkernel_norm,
            "recurrent_norm": drecurrent_norm,
        },
    )


def gru_reset_before_step(w: Weights, x: Array, state: State, mask: Array) -> tuple[State, Record]:
    """z, r = σ(x W + h U + b); n = tanh(x W_n + (r ⊙ h) U_n + b_n); h_new = z ⊙ h_prev + (1 - z) ⊙ n.

    h is m ⊙ h_prev. With update_gate_writes h_new = (1 - z) ⊙ h_prev + z ⊙ n.
    """
    (h_prev,) = state
    gates = [2 * h_prev.shape[1]]  # where U's columns of z and r end
    (U_zr, U_n), (norm_zr, norm_n) = (np.split(v, gates, axis=-1) for v in (w.recurrent_kernel, w.recurrent_norm))
    from_x = product(x, w.kernel, w.kernel_norm, w.norm_epsilon)
    from_h = product(mask * h_prev, U_zr, norm_zr, w.norm_epsilon)
    x_z, x_r, x_n = _split(from_x.value + w.bias, 3)
    h_z, h_r = _split(from_h.value, 2)
    a_z, a_r = x_z + h_z, x_r + h_r
    z, r = sigmoid(_hold(w, a_z)), sigmoid(_hold(w, a_r))
    from_rh = product(r * (mask * h_prev), U_n, norm_n, w.norm_epsilon)
    a_n = x_n + from_rh.value
    n = np.tanh(_hold(w, a_n))
    keep = 1 - z if w.update_gate_writes else z
    h = keep * h_prev + (1 - keep) * n
    return (h,), (from_x, from_h, from_rh, mask, h_prev, (a_z, a_r, a_n), (z, r, n))


def gru_reset_before_step_backward(w: Weights, record: Record, dstate: State) -> tuple[Array, State, WeightGradients]:
    """Return (dx, (dh_prev,), gradients of the weights) for dstate = (dh,)."""
    from_x, from_h, from_rh, mask, h_prev, (a_z, a_r, a_n), (z, r, n) = record
    (dh,) = dstate
    keep, dz, dn = _gru_output_backward(w, dh, h_prev, z, n)
    da_n = _tanh_backward(w, dn, n, a_n)
    drh, dU_n, dnorm_n = product_backward(from_rh, da_n)
    dr = drh * (mask * h_prev)
    da_z, da_r = _sigmoid_backward(w, dz, z, a_z), _sigmoid_backward(w, dr, r, a_r)
    dread, dU_zr, dnorm_zr = product_backward(from_h, _join(da_z, da_r))
    da = _join(da_z, da_r, da_n)
    dx, dkernel, dkernel_norm = product_backward(from_x, da)
    return (
        dx,
        (dh * keep + (drh * r + dread) * mask,),
        {
            "kernel": dkernel,
            "recurrent_kernel": _join(dU_zr, dU_n),
            "bias": da.sum(axis=0),
            "kernel_norm": dkernel_norm,
            "recurrent_norm": _join(dnorm_zr, dnorm_n),
        },
    )


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
    step: Callable[[Weights, Array, State, Array], tuple[State, Record]]
    step_backward: Callable[[Weights, Record, State], tuple[Array, State, WeightGradients]]


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
    """What a forward pass keeps for its backward pass."""

    cell: Cell
    weights: Weights
    has_bias: bool
    terms: tuple[str, ...]  # the options with weights that were given
    return_sequences: bool
    x_shape: tuple[int, ...]
    steps: list[Step]
    records: list[Record]  # by step
    zoneout: State  # by state, [B, T, its width]
    carried_from: Index  # [B], the first position of y behind a row's last step


def recurrent_forward(
    cell: CellName,
    x: npt.ArrayLike,  # [B, T, I]
    kernel: npt.ArrayLike,  # [I, G*H]
    recurrent_kernel: npt.ArrayLike,  # [P, G*H]; P, the width of h, is H without a projection
    bias: npt.ArrayLike | None,  # [G*H]; reset after: [2, 3*H]
    h0: npt.ArrayLike | None = None,  # [B, P]; None is zeros
    c0: npt.ArrayLike | None = None,  # [B, H]; LSTM only
    *,
    starts: npt.ArrayLike | None = None,  # [B]; None is zeros
    lengths: npt.ArrayLike | None = None,  # [B]; None is T - starts
    reverse: bool = False,
    update_gate_writes: bool = False,
    return_sequences: bool = False,
    recurrent_mask: npt.ArrayLike | None = None,  # [B, P], what products read of h is multiplied by
    zoneout_h: npt.ArrayLike | None = None,  # [B, T, P], at a token's position: the share of the old state that stays
    zoneout_c: npt.ArrayLike | None = None,  # [B, T, H]; LSTM only
    peephole: npt.ArrayLike | None = None,  # [3, H]; of i, f, o; LSTM only
    coupled: bool = False,  # LSTM only
    clip: float | None = None,
    projection: npt.ArrayLike | None = None,  # [H, P]; LSTM only
    kernel_norm: npt.ArrayLike | None = None,  # [G*H]; all norms or none
    recurrent_norm: npt.ArrayLike | None = None,  # [G*H]
    state_norm: npt.ArrayLike | None = None,  # [2, H]; scale, shift; LSTM only
    norm_epsilon: float = 1e-3,
) -> tuple[Array, Array, Array | None, Tape]:
    """Run a layer: (y, h_T, c_T, tape), y [B, T, P] with return_sequences, else h_T [B, P]; c_T is None for a GRU.

    Row b reads `lengths[b]` tokens from position `starts[b]` on, with `reverse` the last of them first. Outputs before a row's
    first step are 0, those after its last step carry its last state. ValueError where a shape or a length does not fit, or
    where a cell does not have an option.
    """
    form = CELLS[cell]
    tokens = np.asarray(x, np.float64)
    if tokens.ndim != 3:
        raise ValueError(f"x has shape {tokens.shape}, expected [B, T, I] (3 dimensions)")
    terms = {"peephole": peephole, "projection": projection}
    norms = {"kernel_norm": kernel_norm, "recurrent_norm": recurrent_norm, "state_norm": state_norm}
    if form.states == 1:
        only_lstm = {
            "c0": c0,
            "zoneout_c": zoneout_c,
            "coupled": coupled or None,
            **terms,
            "state_norm": norms.pop("state_norm"),
        }
        for name, given in only_lstm.items():
            if given is not None:
                raise ValueError(f"{name} was given, but a GRU has no {'cell state' if name == 'c0' else 'such term'}")
    if any(given is not None for given in norms.values()):
        for name, given in norms.items():
            if given is None:
                raise ValueError(f"{name} is None, expected an array like the other norms, or none of them")
        if not norm_epsilon > 0:
            raise ValueError(f"norm_epsilon is {norm_epsilon}, expected a number above 0")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip is {clip}, expected a number above 0, or None")
    batch, positions, inputs = tokens.shape
    outputs = len(np.asarray(recurrent_kernel))
    units = outputs if projection is None else len(np.asarray(projection))
    width = form.gates * units
    weights = Weights(
        _expect("kernel", kernel, (inputs, width)),
        _expect("recurrent_kernel", recurrent_kernel, (outputs, width)),
        _expect("bias", bias, (2, width) if form.bias_rows == 2 else (width,)),
        _expect("peephole", peephole, (3, units)),
        np.eye(units) if projection is None else _expect("projection", projection, (units, outputs)),
        _expect("kernel_norm", kernel_norm, (width,), default=1.0),
        _expect("recurrent_norm", recurrent_norm, (width,), default=1.0),
        _expect("state_norm", state_norm, (2, units), default=[[1.0], [0.0]]),
        None if kernel_norm is None else norm_epsilon,
        np.inf if clip is None else clip,
        coupled,
        update_gate_writes,
    )
    widths = (outputs, units)[: form.states]
    state = _expect_states({"h0": h0, "c0": c0}, batch, widths)
    mask = _expect("recurrent_mask", recurrent_mask, (batch, outputs), default=1.0)
    zoneout = tuple(
        _expect(name, given, (batch, positions, size))
        for (name, given), size in zip((("zoneout_h", zoneout_h), ("zoneout_c", zoneout_c)), widths, strict=False)
    )
    steps, carried_from = _schedule(batch, positions, starts, lengths, reverse)

    y = np.zeros((batch, positions, outputs))
    records = []
    for rows, at, to in steps:
        new_state, record = form.step(weights, tokens[rows, at], tuple(v[rows] for v in state), mask[rows])
        for value, new_value, shares in zip(state, new_state, zoneout, strict=True):
            stays = shares[rows, at]
            value[rows] = stays * value[rows] + (1 - stays) * new_value
        y[rows, to] = state[0][rows]
        records.append(record)
    for b in range(batch):
        y[b, carried_from[b] :] = state[0][b]

    given_terms = tuple(name for name, given in {**terms, **norms}.items() if given is not None)
    tape = Tape(
        form, weights, bias is not None, given_terms, return_sequences, tokens.shape, steps, records, zoneout, carried_from
    )
    return y if return_sequences else state[0], state[0], state[1] if form.states == 2 else None, tape


_Gradients: TypeAlias = tuple[Array, Array, Array, Array | None, Array, Array | None]
_GradientsWithTerms: TypeAlias = tuple[Array, Array, Array, Array | None, Array, Array | None, WeightGradients]


def recurrent_backward(
    tape: Tape,
    dy: npt.ArrayLike | None,  # of y's shape
    dh_T: npt.ArrayLike | None = None,  # [B, P], added to dy's part
    dc_T: npt.ArrayLike | None = None,  # [B, H]; LSTM only
) -> _Gradients | _GradientsWithTerms:
    """Gradients (dx, dkernel, drecurrent_kernel, dbias, dh0, dc0); dbias is None without a bias, dc0 for a GRU.

    Where options with weights were given (peephole, projection, norms), a dict of their gradients by name is the seventh.
    """
    batch, positions, _ = tape.x_shape
    units, outputs = tape.weights.projection.shape
    if dc_T is not None and tape.cell.states == 1:
        raise ValueError("dc_T was given, but a GRU has no cell state")
    doutput = _expect("dy", dy, (batch, positions, outputs) if tape.return_sequences else (batch, outputs))
    dstate = _expect_states({"dh_T": dh_T, "dc_T": dc_T}, batch, (outputs, units)[: tape.cell.states])
    if tape.return_sequences:
        for b in range(batch):
            dstate[0][b] += doutput[b, tape.carried_from[b] :].sum(axis=0)
    else:
        dstate[0][...] += doutput

    dx = np.zeros(tape.x_shape)
    names = ("kernel", "recurrent_kernel", "bias", *tape.terms)
    dweights = {name: np.zeros_like(getattr(tape.weights, name)) for name in names}
    for (rows, at, to), record in zip(reversed(tape.steps), reversed(tape.records), strict=True):
        if tape.return_sequences:
            dstate[0][rows] += doutput[rows, to]
        stays = [shares[rows, at] for shares in tape.zoneout]
        dnew = tuple((1 - share) * d[rows] for share, d in zip(stays, dstate, strict=True))
        dx[rows, at], dprevious, dpart = tape.cell.step_backward(tape.weights, record, dnew)
        for d, share, new_d in zip(dstate, stays, dprevious, strict=True):
            d[rows] = share * d[rows] + new_d
        for name, total in dweights.items():
            total += dpart[name]

    dkernel, drecurrent_kernel, dbias = (dweights[name] for name in ("kernel", "recurrent_kernel", "bias"))
    dc0 = dstate[1] if tape.cell.states == 2 else None
    gradients = dx, dkernel, drecurrent_kernel, dbias if tape.has_bias else None, dstate[0], dc0
    return (*gradients, {name: dweights[name] for name in tape.terms}) if tape.terms else gradients


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


def _expect(name: str, value: npt.ArrayLike | None, shape: tuple[int, ...], *, default: npt.ArrayLike = 0.0) -> Array:
    """A float64 copy of `value`, for None `default`; a ValueError names a wrong shape, which broadcasting would hide."""
    array = np.broadcast_to(default, shape).astype(np.float64) if value is None else np.array(value, np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def _expect_states(given: dict[str, npt.ArrayLike | None], batch: int, widths: tuple[int, ...]) -> State:
    return tuple(_expect(name, value, (batch, width)) for (name, value), width in zip(given.items(), widths, strict=False))
