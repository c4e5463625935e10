"""LSTM and GRU: Keras's arguments and weights in front of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from rnnext import _core, initializers
from rnnext.layers._layer import (
    Backprop,
    Gather,
    Layer,
    Mask,
    Shape,
    check_features,
    check_mask,
    check_rank,
    check_units,
    float_input,
)
from rnnext.layers._segments import Played, Segments, State
from rnnext.layers._windows import Holes, Window, from_lengths, from_mask
from rnnext.parameters import Array, Gradients, Parameter, RowGradient

_Cell: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]


@dataclass
class _Kept:
    """Packed weights, and what they were packed from."""

    key: object
    packed: _core.PackedCell
    whole: bool = False  # with the vocabulary
    tokens: int = 0  # read since


class _Recurrent(Layer):
    """What LSTM and GRU share: windows, states, the call of the engine."""

    takes_gather = True
    largest_vocabulary: ClassVar[int] = 256 << 20  # bytes of a projected vocabulary
    gates: ClassVar[int]
    states: ClassVar[int]  # h and c, or h
    cell: _Cell
    update_gate_writes = False

    def __init__(
        self,
        units: int,
        *,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        segment: int | None,
        truncate: bool,
        name: str | None,
        trainable: bool,
    ) -> None:
        super().__init__(name=name, trainable=trainable)
        self.units = check_units(self, "units", units)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.segment = None if segment is None else check_units(self, "segment", segment)
        if truncate and segment is None:
            raise ValueError(f"{self.name}: truncate is {truncate} and segment is None, expected the steps of a segment")
        self.truncate = truncate
        self._kept: _Kept | None = None

    # ------------------------------------------------------------ weights

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(f"{self.name}: input has shape {input_shape}, expected (B, T, I) with I known")
        width = self.gates * self.units
        weights = [
            Parameter(f"{self.name}/kernel", self.kernel_initializer((input_shape[2], width))),
            Parameter(f"{self.name}/recurrent_kernel", self.recurrent_initializer((self.units, width))),
        ]
        if self.use_bias:
            weights.append(Parameter(f"{self.name}/bias", self._make_bias()))
        return weights

    def _make_bias(self) -> Array:
        return self.bias_initializer((self.gates * self.units,))

    # ------------------------------------------------------------ forward and backward

    def forward(
        self,
        x: Any,
        *,
        training: bool = False,
        mask: Mask | None = None,
        lengths: Any = None,
        initial_state: Sequence[Array] | Array | None = None,
    ) -> tuple[Any, Backprop]:
        """(y, backprop) for x [B, T, I].

        y is the last state [B, H], or all states [B, T, H] with `return_sequences`; with `return_state` a tuple of that and the
        last states. `mask` [B, T] or `lengths` [B] say where there is a token; elsewhere a row's state stays as it is. Both
        x and the weights must stay as they are until `backprop` is done.
        """
        return self._run(x, mask, lengths, initial_state, keep=True)

    def __call__(
        self,
        x: Any,
        *,
        training: bool = False,
        mask: Mask | None = None,
        lengths: Any = None,
        initial_state: Sequence[Array] | Array | None = None,
    ) -> Any:
        """y alone, from weights that are packed once until they change; several threads may call at once."""
        return self._run(x, mask, lengths, initial_state, keep=False)[0]

    def step(self, x: Any, state: Sequence[Array] | Array | None = None) -> tuple[Array, ...]:
        """The state after one more step x [B, I] of a stream, from the one before it (None: zeros); the output is its first.

        (h, c) for an LSTM, (h,) for a GRU, each [B, H] and new; bit for bit the states of the layer after the whole sequence.
        The weights are packed once until they change. ValueError for shapes that do not fit, and with `go_backwards`.
        """
        if self.go_backwards:
            raise ValueError(f"{self.name}: go_backwards is True, expected False: a stream has no end to start from")
        x = float_input(self, x, "[B, I]")
        self.build((None, None, x.shape[1]))
        if x.shape[1] != self.weights[0].shape[0]:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected [B, I] with I={self.weights[0].shape[0]}")
        given = self._initial_state(state, len(x), "state")
        return self._walk(x[:, None], Window(), given, table=None, packed=self._packed(None, 0), reverse=False)[1]

    def _run(
        self, x: Any, mask: Mask | None, lengths: Any, initial_state: Sequence[Array] | Array | None, *, keep: bool
    ) -> tuple[Any, Backprop]:
        gather = x if isinstance(x, Gather) else None
        values: Any = x.ids if gather is not None else float_input(self, x, "[B, T, I]")
        shape = x.shape
        self.build(shape)
        if shape[2] != self.weights[0].shape[0]:
            raise ValueError(f"{self.name}: x has shape {shape}, expected [B, T, I] with I={self.weights[0].shape[0]}")
        window, holes = self._window(mask, lengths, *shape[:2])
        if holes is not None:
            values = holes.together(values[:, ::-1] if self.go_backwards else values)
        state = self._initial_state(initial_state, shape[0], "initial_state")
        table = None if gather is None else gather.table
        walk = partial(self._walk, table=table, reverse=self.go_backwards and holes is None)
        play: Any = None
        if not keep:
            y, last, _ = walk(values, window, state, packed=self._packed(table, values.size))
        elif self.segment is None or self.segment >= shape[1]:
            y, last, tape = walk(values, window, state, packed=None)
            play = partial(_core.recurrent_backward, tape)
        else:
            segments = Segments(
                partial(walk, packed=self._packed(None, 0)),
                partial(walk, packed=None),
                values,
                window,
                steps=self.segment,
                reverse=self.go_backwards and holes is None,
                return_sequences=self.return_sequences,
                truncate=self.truncate,
            )
            y, last = segments.forward(state)
            play = segments.backward
        if holes is not None and self.return_sequences:
            y = holes.apart(y)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            return self._backward(play, dy, gather, holes, len(state), need_dx)

        return (y, *last) if self.return_state else y, backprop

    def _walk(
        self,
        values: Any,
        window: Window,
        state: State,
        *,
        table: Parameter | None,
        packed: tuple[_core.PackedCell, bool] | None,
        reverse: bool,
    ) -> tuple[Array, State, Any]:
        """The engine's (y, last states, tape) for x or ids; with what `_packed` returned there is no tape."""
        h0, c0 = (*state, None, None)[:2]
        options: dict[str, Any] = {
            "starts": window.starts,
            "lengths": window.lengths,
            "reverse": reverse,
            "return_sequences": self.return_sequences,
        }
        tape: Any = None
        whole = packed is not None and packed[1]
        inputs = values if table is None or whole else (values, table.current_rows(values))
        if packed is None:
            y, h_T, c_T, tape = _core.recurrent_forward(
                self.cell, inputs, *self._values(), h0, c0, update_gate_writes=self.update_gate_writes, **options
            )
        else:
            y, h_T, c_T = _core.recurrent_infer(packed[0], inputs, h0, c0, **options)
        return y, (h_T,) if c_T is None else (h_T, c_T), tape

    def _values(self) -> tuple[Array, Array, Array | None]:
        kernel, recurrent_kernel, *bias = (weight.value for weight in self.weights)
        return kernel, recurrent_kernel, bias[0] if bias else None

    def _packed(self, table: Parameter | None, tokens: int) -> tuple[_core.PackedCell, bool]:
        """The weights as they are now, packed; and whether the whole table is projected with them.

        That pays once about as many tokens were read since the last change as the table has rows, and is given up where it
        would take more than `largest_vocabulary` bytes.
        """
        key = (*(weight.version for weight in self.weights), None if table is None else (id(table), table.version))
        kept = self._kept
        if kept is None or kept.key != key:
            kept = _Kept(key, _core.PackedCell(self.cell, *self._values(), update_gate_writes=self.update_gate_writes))
            self._kept = kept
        kept.tokens += tokens
        if table is None or kept.whole or kept.tokens < table.shape[0] // 2:
            return kept.packed, kept.whole
        if table.shape[0] * (self.gates + 1) * self.units * 4 > self.largest_vocabulary:
            return kept.packed, False
        whole = _core.PackedCell(self.cell, *self._values(), table.value, update_gate_writes=self.update_gate_writes)
        self._kept = _Kept(key, whole, whole=True)
        return whole, True

    def _window(self, mask: Mask | None, lengths: Any, rows: int, positions: int) -> tuple[Window, Holes | None]:
        """Where the engine finds the tokens; with holes, after they were moved together (and turned round, if need be)."""
        if lengths is not None:
            if mask is not None:
                raise ValueError(f"{self.name}: mask and lengths were both given, expected one of them")
            return from_lengths(self, lengths, rows, positions), None
        if mask is None:
            return Window(), None
        window = from_mask(check_mask(self, mask, rows, positions))
        if window is not None:
            return window, None
        holes = Holes(mask[:, ::-1] if self.go_backwards else mask)
        return holes.window, holes

    def _initial_state(self, given: Sequence[Array] | Array | None, rows: int, argument: str) -> tuple[Array, ...]:
        if given is None:
            return ()
        states = (given,) if isinstance(given, np.ndarray) else tuple(given)
        if len(states) != self.states:
            raise ValueError(f"{self.name}: {argument} has {len(states)} arrays, expected {self.states} of shape [B, H]")
        for state in states:
            if not isinstance(state, np.ndarray) or state.shape != (rows, self.units):
                raise ValueError(
                    f"{self.name}: {argument} has shape {np.shape(state)}, expected ({rows}, {self.units}) = [B, H]"
                )
        return tuple(np.asarray(state, dtype=np.float32) for state in states)

    def _backward(
        self, play: Callable[..., Played], dy: Any, gather: Gather | None, holes: Holes | None, states: int, need_dx: bool
    ) -> Gradients:
        """Gradients for dy, of y's form; entries of a tuple may be None."""
        doutput, *dlast = dy if isinstance(dy, tuple) else (dy,)
        doutput, *dlast = (None if d is None else np.asarray(d, dtype=np.float32) for d in (doutput, *dlast))
        if not self.return_sequences and doutput is not None and dlast and dlast[0] is not None:
            doutput, dlast[0] = doutput + dlast[0], None  # the output is the last state
        if holes is not None and self.return_sequences and doutput is not None:
            doutput = holes.apart_backward(doutput)
        dx, *dweights, dh0, dc0 = play(doutput, *dlast, need_dx=need_dx)
        weights = self.of_trainable([d for d in dweights if d is not None])
        initial: tuple[Any, ...] = (dh0, dc0)[:states]
        inputs: Any = dx
        if dx is None:
            pass
        elif gather is not None:
            inputs = RowGradient(dx[0], dx[1], gather.table.shape)
        elif holes is not None:
            inputs = holes.together_backward(inputs)
            inputs = inputs[:, ::-1] if self.go_backwards else inputs
        return Gradients(inputs, weights, initial)

    # ------------------------------------------------------------ what follows from the arguments

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        """That of the outputs: turned round with `go_backwards`, as they are; none without `return_sequences`."""
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, I)")
        check_features(self, input_shape, "I")
        rows, steps, _ = input_shape
        return (rows, steps, self.units) if self.return_sequences else (rows, self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "segment": self.segment,
            "truncate": self.truncate,
        }

    def _expect_activations(self, activation: object, recurrent_activation: object) -> None:
        for name, value, only in (
            ("activation", activation, "tanh"),
            ("recurrent_activation", recurrent_activation, "sigmoid"),
        ):
            if value != only and getattr(value, "__name__", None) != only:
                raise ValueError(f"{self.name}: {name} is {value!r}, expected {only!r}, the one that the engine computes")


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = σ(x W + h' U + b), g = tanh(likewise); c = f ⊙ c' + i ⊙ g; h = o ⊙ tanh(c). Weights: kernel [I, 4H],
    recurrent_kernel [H, 4H], bias [4H], gates in the order i f g o; with `unit_forget_bias` f's bias starts at 1.

    For long sequences: with `segment` training keeps the states after every so many steps only, and computes the steps between
    them again on the way back, for about a third more time; `truncate` cuts the gradients there (truncated back-propagation).
    """

    gates, states = 4, 2
    cell = "lstm"

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        segment: int | None = None,
        truncate: bool = False,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            segment=segment,
            truncate=truncate,
            name=name,
            trainable=trainable,
        )
        self._expect_activations(activation, recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _make_bias(self) -> Array:
        if not self.unit_forget_bias:
            return super()._make_bias()
        part = self.bias_initializer((self.units,))
        rest = self.bias_initializer((2 * self.units,))
        return np.concatenate([part, np.ones(self.units, np.float32), rest])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    z, r = σ(x W + h' U + b). With `reset_after` (Keras's default, PyTorch's only form) n = tanh(x W_n + b_n + r ⊙ (h' U_n +
    b'_n)), without it n = tanh(x W_n + (r ⊙ h') U_n + b_n). `update_gate="keep"`: h = z ⊙ h' + (1 - z) ⊙ n, as in Keras and
    PyTorch; `"write"`: h = (1 - z) ⊙ h' + z ⊙ n, the textbook's. Weights: kernel [I, 3H], recurrent_kernel [H, 3H], bias
    [2, 3H] (row 0 of the input, row 1 of the state) or, without `reset_after`, [3H]; gates in the order z r n. `segment` and
    `truncate` are for long sequences, as in LSTM.
    """

    gates, states = 3, 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        segment: int | None = None,
        truncate: bool = False,
        reset_after: bool = True,
        update_gate: Literal["keep", "write"] = "keep",
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            segment=segment,
            truncate=truncate,
            name=name,
            trainable=trainable,
        )
        self._expect_activations(activation, recurrent_activation)
        if update_gate not in ("keep", "write"):
            raise ValueError(f"{self.name}: update_gate is {update_gate!r}, expected 'keep' or 'write'")
        self.reset_after = reset_after
        self.update_gate = update_gate
        self.update_gate_writes = update_gate == "write"
        self.cell: _Cell = "gru_reset_after" if reset_after else "gru_reset_before"

    def _make_bias(self) -> Array:
        return self.bias_initializer((2, 3 * self.units)) if self.reset_after else super()._make_bias()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after, "update_gate": self.update_gate}
