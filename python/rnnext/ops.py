"""LSTM and GRU as functions of plain arrays, in PyTorch's shapes, for training loops of one's own.

Several layers and both directions in one call; what comes back are the outputs, the last states and the backward pass. Weights
have Keras's layout, as everywhere at this package's border: a sequence with (kernel [I, G*H], recurrent_kernel [H, G*H], bias)
for each layer and direction in PyTorch's order, the first layer's forward direction, its backward one, the second layer's
forward one, ...; a bias may be None. With D directions the layers behind the first have I = D*H. The weights of the rarer terms
are the further fields of `CellWeights`, for all layers and directions or for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core
from rnnext._checks import number, positive
from rnnext.parameters import Array


class CellWeights(NamedTuple):
    """The weights of a layer in one direction. Functions that take them also take any tuple of the first three or more."""

    kernel: Array  # [I, G*H]
    recurrent_kernel: Array  # [P, G*H]; P, the width of h, is H where nothing is projected
    bias: Array | None = None  # [G*H]; of a GRU with reset_after [2, 3H], row 0 of the input, row 1 of the state
    peephole: Array | None = None  # [3, H], how i, f, o see c; LSTM only, as the next one
    projection: Array | None = None  # [H, P]: h = (o ⊙ tanh(c)) R
    kernel_norm: Array | None = None  # [G*H], scales of the normalised products; all norms or none
    recurrent_norm: Array | None = None  # [G*H]
    state_norm: Array | None = None  # [2, H], scale and shift of the normalised c; LSTM only


GivenWeights: TypeAlias = Sequence[Sequence[npt.ArrayLike | None]]
_Cell: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]
_ONLY_LSTM = ("peephole", "projection", "state_norm")


class OpGradients(NamedTuple):
    """What the backward pass of a call returns; each gradient has the shape of what it is the gradient of."""

    inputs: Array | None  # None without need_dx
    weights: list[CellWeights]
    initial_state: tuple[Array, ...]  # (dh0, dc0) for an LSTM, (dh0,) for a GRU, each [layers*D, B, ...]; given or not


class OpBackprop(Protocol):
    """The backward pass of one call. It can be called any number of times."""

    def __call__(
        self, doutputs: Array | None, dstate: Sequence[Array | None] | Array | None = None, *, need_dx: bool = True
    ) -> OpGradients:
        """Gradients for those of the outputs and of the last states; None is zeros."""


def lstm(
    x: Array,
    weights: GivenWeights,
    *,
    initial_state: Sequence[Array] | None = None,
    lengths: npt.ArrayLike | None = None,
    batch_first: bool = False,
    bidirectional: bool = False,
    dropout: float = 0.0,
    generator: np.random.Generator | None = None,
    coupled: bool = False,
    clip: float | None = None,
    norm_epsilon: float = 1e-3,
) -> tuple[Array, tuple[Array, Array], OpBackprop]:
    """(outputs, (h_n, c_n), backprop) of an LSTM over x [T, B, I], or [B, T, I] with `batch_first`.

    outputs [T, B, D*P] (or [B, T, D*P]) are the last layer's states h, forward and backward side by side; P is H unless there
    is a projection. h_n [layers*D, B, P], c_n [layers*D, B, H] and the entries of `initial_state` (h0, c0) are in the order of
    the weights. Row b has `lengths[b]` tokens from the beginning on: its states stop there, the backward direction starts
    there, and the outputs after them are zeros, as those of PyTorch's pad_packed_sequence; a row without tokens keeps its
    initial state. Gates are in the order i f g o, bias [4H]. `dropout` is the probability that a value between two layers is
    dropped, the others being scaled up; `generator` draws it in every call, so give it in training only. `coupled` makes
    f = 1 - i, `clip` bounds the pre-activations, `norm_epsilon` is added to variances where there are norms.
    The dtype of x, float32 or float64, is that of the computation and of all results; other floats are converted to it.
    ValueError or TypeError names the array that does not fit. x and the weights must stay as they are until `backprop` is done.
    """
    options = {"coupled": coupled, **_options("lstm", clip, norm_epsilon)}
    between = _Between("lstm", dropout, generator)
    outputs, states, backprop = _run(
        "lstm", "lstm", x, weights, initial_state, lengths, batch_first, bidirectional, between, options
    )
    return outputs, (states[0], states[1]), backprop


def gru(
    x: Array,
    weights: GivenWeights,
    *,
    initial_state: Array | None = None,
    lengths: npt.ArrayLike | None = None,
    batch_first: bool = False,
    bidirectional: bool = False,
    reset_after: bool = True,
    update_gate: Literal["keep", "write"] = "keep",
    dropout: float = 0.0,
    generator: np.random.Generator | None = None,
    clip: float | None = None,
    norm_epsilon: float = 1e-3,
) -> tuple[Array, Array, OpBackprop]:
    """(outputs, h_n, backprop) of a GRU, as for `lstm`, except that h is its only state and its gates are in the order z r n.

    `reset_after` and `update_gate` are those of `layers.GRU`; the bias is [2, 3H], or [3H] without `reset_after`.
    """
    if update_gate not in ("keep", "write"):
        raise ValueError(f"gru: update_gate is {update_gate!r}, expected 'keep' or 'write'")
    cell: _Cell = "gru_reset_after" if reset_after else "gru_reset_before"
    options = {"update_gate_writes": update_gate == "write", **_options("gru", clip, norm_epsilon)}
    between = _Between("gru", dropout, generator)
    outputs, states, backprop = _run(
        "gru", cell, x, weights, initial_state, lengths, batch_first, bidirectional, between, options
    )
    return outputs, states[0], backprop


def _run(
    who: str,
    cell: _Cell,
    x: object,
    weights: GivenWeights,
    initial_state: Sequence[Array] | Array | None,
    lengths: npt.ArrayLike | None,
    batch_first: bool,
    bidirectional: bool,
    between: _Between,
    options: dict[str, Any],
) -> tuple[Array, tuple[Array, ...], OpBackprop]:
    dtype = _kind_of(x)
    inputs = _floats(f"{who}: x", x, dtype)
    if inputs.ndim != 3:
        raise ValueError(f"{who}: x has shape {inputs.shape}, expected {'[B, T, I]' if batch_first else '[T, B, I]'}")
    inputs = np.ascontiguousarray(inputs if batch_first else inputs.swapaxes(0, 1))
    rows, steps, _ = inputs.shape
    directions = 2 if bidirectional else 1
    cells = check_weights(who, cell, weights, inputs.shape[2], directions, dtype)
    width, gates_width = cells[0].recurrent_kernel.shape  # of h, and of all gates
    names = ("h", "c") if cell == "lstm" else ("h",)
    state_shapes = [(len(cells), rows, width), (len(cells), rows, gates_width // 4)][: len(names)]
    given = _states(f"{who}: initial_state", names, initial_state, state_shapes, dtype)
    # Zeros instead of None, since the engine gives no gradient for a state that is not there.
    state = [np.zeros(shape, dtype) if s is None else s for s, shape in zip(given, state_shapes, strict=True)]
    tokens = _lengths(who, lengths, rows, steps)
    behind = None if tokens is None else np.arange(steps) >= tokens[:, None]  # [B, T]

    tapes: list[Any] = []
    last: list[tuple[Array, ...]] = []
    scales: list[Any] = [None]  # of what each layer reads
    y = inputs
    for first in range(0, len(cells), directions):
        if first:
            scales.append(between.draw(y.shape, dtype))
            y = y if scales[-1] is None else y * scales[-1]
        parts = []
        for n in range(first, first + directions):
            backwards = n > first
            part, h_n, c_n, tape = _core.recurrent_forward(
                cell,
                y,
                **_by_name(cells[n]),
                h0=state[0][n],
                c0=None if len(state) == 1 else state[1][n],
                lengths=tokens,
                reverse=backwards,
                return_sequences=True,
                **options,
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
        dlast = _states(f"{who}: dstate", names, dstate, state_shapes, dtype)
        dy = None if doutputs is None else _floats(f"{who}: doutputs", doutputs, dtype)
        expected = (rows, steps, directions * width) if batch_first else (steps, rows, directions * width)
        if dy is not None and dy.shape != expected:
            raise ValueError(f"{who}: doutputs has shape {dy.shape}, expected {expected}, that of the outputs")
        if dy is not None and not batch_first:
            dy = dy.swapaxes(0, 1)
        dweights: list[CellWeights] = []
        dinitial: list[tuple[Array, ...]] = []
        for n in reversed(range(len(cells))):
            layer, direction = divmod(n, directions)
            part = None if dy is None else dy[..., direction * width : (direction + 1) * width]
            if part is not None and direction:
                part = part[:, ::-1]
            elif part is not None and behind is not None:
                part = np.where(behind[:, :, None], dtype.type(0), part)
            dx, dkernel, drecurrent_kernel, dbias, dh0, dc0, *more = _core.recurrent_backward(
                tapes[n],
                None if part is None else np.ascontiguousarray(part),
                *(None if s is None else s[n] for s in dlast),
                need_dx=need_dx or n >= directions,
            )
            dweights.append(CellWeights(dkernel, drecurrent_kernel, dbias, **(more[0] if more else {})))
            dinitial.append(tuple(d for d in (dh0, dc0) if d is not None))
            if direction == directions - 1:
                below: Any = dx
            elif below is not None:
                below = below + dx
            if direction == 0:
                dy = below if scales[layer] is None else below * scales[layer]
        if dy is not None and not batch_first:
            dy = np.ascontiguousarray(dy.swapaxes(0, 1))
        return OpGradients(dy, dweights[::-1], tuple(np.stack(d) for d in zip(*dinitial[::-1], strict=True)))

    if not batch_first:
        y = y.swapaxes(0, 1)
    return np.ascontiguousarray(y), tuple(np.stack(s) for s in zip(*last, strict=True)), backprop


class _Between:
    """The dropout between two layers."""

    def __init__(self, who: str, rate: float, generator: np.random.Generator | None) -> None:
        self.rate, self.generator = number(who, "dropout", rate, 0, 1), generator
        if rate and not isinstance(generator, np.random.Generator):
            raise TypeError(f"{who}: dropout is {rate} and generator {generator!r}, expected a numpy.random.Generator")

    def draw(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """Draw what values are multiplied by; None if nothing is dropped."""
        if not self.rate or self.generator is None:
            return None
        kept = self.generator.random(shape, dtype=np.float32) >= self.rate
        scale: Array = np.where(kept, dtype.type(1 / (1 - self.rate) if self.rate < 1 else 0), dtype.type(0))
        return scale


def _options(who: str, clip: float | None, norm_epsilon: float) -> dict[str, Any]:
    for name, value in (("clip", clip), ("norm_epsilon", norm_epsilon)):
        if value is not None or name != "clip":
            positive(who, name, value, "a number above 0")
    return {"clip": clip, "norm_epsilon": norm_epsilon}


def check_weights(
    who: str,
    cell: _Cell,
    weights: GivenWeights,
    inputs: int | None,
    directions: int,
    dtype: npt.DTypeLike | None = None,
) -> list[CellWeights]:
    """The weights as C-contiguous arrays of `dtype` (None: float64 if the first one is, else float32).

    `inputs` is the first layer's I (None: any). ValueError or TypeError names the first array that does not fit.
    """
    if not weights or len(weights) % directions:
        raise ValueError(
            f"{who}: weights has {len(weights)} entries, expected layers * directions with {directions} directions"
        )
    gates = 4 if cell == "lstm" else 3
    checked: list[CellWeights] = []
    if dtype is None:
        dtype = _kind_of(weights[0][0])
    for n, given in enumerate(weights):
        place = f"{who}: weights[{n}]"
        if isinstance(given, np.ndarray) or not 3 <= len(given) <= len(CellWeights._fields):
            raise ValueError(f"{place} has {len(given)} entries, expected (kernel, recurrent_kernel, bias or None)")
        if given[0] is None or given[1] is None:
            raise TypeError(f"{place}: kernel or recurrent_kernel is None, expected arrays")
        found = CellWeights(
            *(
                None if w is None else _floats(f"{place}: {name}", w, dtype)
                for name, w in zip(CellWeights._fields, given, strict=False)
            )  # type: ignore[arg-type]
        )
        first = checked[0] if checked else found
        for name in CellWeights._fields[3:]:
            has, expected = getattr(found, name) is not None, getattr(first, name) is not None
            if has and cell != "lstm" and name in _ONLY_LSTM:
                raise ValueError(f"{place}: {name} is given, which a GRU does not have")
            if has != expected:
                raise ValueError(f"{place}: {name} is {'' if has else 'not '}given, expected as in the first: all or none")
        _check_shapes(place, cell, gates, found, first, inputs if n < directions else directions * _width(first))
        inputs = found.kernel.shape[0] if n < directions else inputs
        checked.append(found)
    return checked


def _by_name(weights: CellWeights) -> dict[str, Any]:
    return {name: array for name, array in weights._asdict().items() if array is not None or name == "bias"}


def _width(weights: CellWeights) -> int:
    """The width of h."""
    return int(weights.recurrent_kernel.shape[0])


def _check_shapes(place: str, cell: _Cell, gates: int, found: CellWeights, first: CellWeights, features: int | None) -> None:
    """ValueError names the first array that does not fit the others."""
    recurrent_kernel, projection = found.recurrent_kernel, found.projection
    if projection is not None and projection.ndim != 2:
        raise ValueError(f"{place}: projection has shape {projection.shape}, expected [H, P]")
    units = recurrent_kernel.shape[0] if projection is None else projection.shape[0]
    if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != gates * units:
        form = f"[H, {gates}H]" if projection is None else f"[P, {gates}H] with H={units} as the projection has"
        raise ValueError(f"{place}: recurrent_kernel has shape {recurrent_kernel.shape}, expected {form}")
    if recurrent_kernel.shape != first.recurrent_kernel.shape:
        raise ValueError(
            f"{place}: recurrent_kernel has shape {recurrent_kernel.shape}, expected {first.recurrent_kernel.shape} as the"
            " first has"
        )
    kernel, width = found.kernel, gates * units
    if kernel.ndim != 2 or kernel.shape != (kernel.shape[0] if features is None else features, width):
        raise ValueError(
            f"{place}: kernel has shape {kernel.shape}, expected ({'I' if features is None else features},"
            f" {width}) = [I, {gates}H]"
        )
    two = cell == "gru_reset_after"
    for name, shape, form in (
        ("bias", (2, width) if two else (width,), "[2, 3H]" if two else f"[{gates}H]"),
        ("peephole", (3, units), "[3, H]"),
        ("projection", (units, recurrent_kernel.shape[0]), "[H, P]"),
        ("kernel_norm", (width,), f"[{gates}H]"),
        ("recurrent_norm", (width,), f"[{gates}H]"),
        ("state_norm", (2, units), "[2, H]"),
    ):
        array = getattr(found, name)
        if array is not None and array.shape != shape:
            raise ValueError(f"{place}: {name} has shape {array.shape}, expected {shape} = {form}")
    norms = [name for name in CellWeights._fields[5:] if cell == "lstm" or name not in _ONLY_LSTM]
    missing = [name for name in norms if getattr(found, name) is None]
    if missing and len(missing) < len(norms):
        raise ValueError(f"{place}: {missing[0]} is not given, expected {', '.join(norms)} together or none")


def _kind_of(value: object) -> np.dtype[Any]:
    return np.dtype(np.float64 if getattr(value, "dtype", None) == np.float64 else np.float32)


def _floats(name: str, value: object, dtype: npt.DTypeLike) -> Array:
    """The value as a C-contiguous array of `dtype`. TypeError unless it holds floats."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return np.ascontiguousarray(array, dtype=dtype)


def _states(
    name: str,
    states: tuple[str, ...],
    given: Sequence[Array | None] | Array | None,
    shapes: Sequence[tuple[int, int, int]],
    dtype: npt.DTypeLike,
) -> list[Array | None]:
    if given is None:
        return [None] * len(states)
    arrays = (given,) if isinstance(given, np.ndarray) else tuple(given)
    if len(arrays) != len(states):
        raise ValueError(f"{name} has {len(arrays)} arrays, expected {len(states)}: {', '.join(states)}")
    checked = [None if a is None else _floats(f"{name}[{n}]", a, dtype) for n, a in enumerate(arrays)]
    for n, array in enumerate(checked):
        if array is not None and array.shape != shapes[n]:
            raise ValueError(f"{name}[{n}] has shape {array.shape}, expected {shapes[n]} = [layers * directions, B, H]")
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
