"""What LSTM and GRU have in common: Keras's weights, states and windows in front of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from rnnext import _core, _random, constraints, initializers, regularizers
from rnnext._checks import flag, number, whole_number, whole_number_or_none
from rnnext.initializers import first_values
from rnnext.layers._dropout import drawn_places, drawn_scale
from rnnext.layers._layer import (
    Backprop,
    Gather,
    Layer,
    Mask,
    RowShape,
    Shape,
    check_dtype,
    check_features,
    check_mask,
    check_rank,
    float_input,
    real_array,
)
from rnnext.layers._segments import Played, Segments, State, play_back
from rnnext.layers._terms import Terms
from rnnext.layers._windows import Holes, Window, from_lengths, from_mask
from rnnext.parameters import Array, Gradients, Parameter, RowGradient

_Weights: TypeAlias = dict[str, Any]  # arrays by the engine's names
Cell: TypeAlias = Literal["lstm", "gru_reset_after", "gru_reset_before"]


@dataclass(frozen=True)
class _Drawn:
    """What dropout and zoneout drew for a training step."""

    recurrent_kernel: Array | None = None  # with dropped weights
    recurrent_mask: Array | None = None  # [B, H], multiplies the h that the products read
    zones: dict[str, Array] = field(default_factory=dict)  # [B, T, H] by name, 1 where the old state stays


@dataclass
class _Kept:
    """Packed weights, and what they were packed from."""

    key: object  # versions of weights and table
    packed: _core.PackedCell
    whole: bool = False  # the projected vocabulary included
    tokens: int = 0  # read since they were packed


class Recurrent(Layer):
    """What LSTM and GRU share: windows, states, the call of the engine. LSTM's docstring explains the options of both."""

    largest_vocabulary: ClassVar[int] = 256 << 20  # bytes of a projected vocabulary
    gates: ClassVar[int]
    state_count: ClassVar[int]  # 2: h and c, 1: h
    equations: Cell  # as the engine calls them
    update_gate_writes = False
    weight_names: list[str]  # of the weights, as the engine calls them

    def __init__(
        self,
        units: int,
        *,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        kernel_constraint: Any,
        recurrent_constraint: Any,
        bias_constraint: Any,
        dropout: float,
        recurrent_dropout: float,
        recurrent_weight_dropout: float,
        zoneout_h: float,
        zoneout_c: float,
        terms: Terms,
        seed: int | None,
        dtype: Any,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        zero_output_for_mask: bool,
        segment: int | None,
        truncate: bool,
        name: str | None,
        trainable: bool,
        input_shape: RowShape | None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.units = whole_number(self.name, "units", units)
        self.use_bias = flag(self.name, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.regularizers = tuple(map(regularizers.get, (kernel_regularizer, recurrent_regularizer, bias_regularizer)))
        self.constraints = tuple(map(constraints.get, (kernel_constraint, recurrent_constraint, bias_constraint)))
        self.dropout = number(self.name, "dropout", dropout, 0, 1)
        self.recurrent_dropout = number(self.name, "recurrent_dropout", recurrent_dropout, 0, 1)
        self.recurrent_weight_dropout = number(self.name, "recurrent_weight_dropout", recurrent_weight_dropout, 0, 1)
        self.zoneout = {
            name: number(self.name, name, rate, 0, 1)
            for name, rate in (("zoneout_h", zoneout_h), ("zoneout_c", zoneout_c))[: self.state_count]
        }
        self.terms = terms.check(self)
        self.seed = whole_number_or_none(self.name, "seed", seed, 0)
        self.zoned = any(self.zoneout.values())
        self.dtype = check_dtype(self, dtype, "float32", "float64")
        self.takes_gather = self.dtype == np.float32  # as a table of embeddings is
        self.return_sequences = flag(self.name, "return_sequences", return_sequences)
        self.return_state = flag(self.name, "return_state", return_state)
        self.several_outputs = "return_state=True" if self.return_state else None
        self.go_backwards = flag(self.name, "go_backwards", go_backwards)
        self.stateful = flag(self.name, "stateful", stateful)
        self.zero_output_for_mask = flag(self.name, "zero_output_for_mask", zero_output_for_mask)
        self.segment = whole_number_or_none(self.name, "segment", segment)
        self.truncate = flag(self.name, "truncate", truncate)
        if self.truncate and segment is None:
            raise ValueError(f"{self.name}: truncate is {truncate} and segment is None, expected the steps of a segment")
        if segment is not None and self.zoned:
            raise ValueError(f"{self.name}: segment is {segment} and there is zoneout, expected one of them")
        drawing = (self.dropout, self.recurrent_dropout, self.recurrent_weight_dropout, self.zoned)
        self.generator = _random.generator(seed) if any(drawing) else None
        self._kept: _Kept | None = None

    # ------------------------------------------------------------ weights

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(f"{self.name}: input has shape {input_shape}, expected (B, T, I) with I known")
        width = self.gates * self.units
        first = {
            "kernel": first_values(self.kernel_initializer, (input_shape[2], width), self.dtype),
            "recurrent_kernel": first_values(self.recurrent_initializer, (self.outputs, width), self.dtype),
        }
        if self.use_bias:
            first["bias"] = self._make_bias()
        penalties = dict(
            zip(("kernel", "recurrent_kernel", "bias"), zip(self.regularizers, self.constraints, strict=True), strict=True)
        )
        first |= self.terms.weights(self.state_count, self.gates, self.units, self.kernel_initializer, self.dtype)
        self.weight_names = list(first)
        made = []
        for name, value in first.items():
            regularizer, constraint = penalties.get(name, (None, None))
            made.append(
                Parameter(f"{self.name}/{name}", value, regularizer=regularizer, constraint=constraint, dtype=self.dtype)
            )
        return made

    def _make_bias(self) -> Array:
        return first_values(self.bias_initializer, (self.gates * self.units,), self.dtype)

    @property
    def cell(self) -> Recurrent:
        """The layer itself: Keras has the weights, as `kernel`, in a layer within the layer, `lstm.cell.kernel`."""
        return self

    @property
    def kernel(self) -> Parameter:
        """What multiplies the inputs. AttributeError before the weights are made."""
        return self.weight("kernel")

    @property
    def recurrent_kernel(self) -> Parameter:
        """What multiplies the state before. AttributeError before the weights are made."""
        return self.weight("recurrent_kernel")

    @property
    def bias(self) -> Parameter | None:
        """The biases; None without. AttributeError before the weights are made."""
        return self.weight("bias") if self.use_bias else None

    @property
    def states(self) -> list[Array] | None:
        """Of a stateful layer the last call's states, as `initial_state` takes them; None if there are none."""
        return list(self.kept_states) or None

    @property
    def outputs(self) -> int:
        """The width of h: that of the projection, if there is one."""
        return self.terms.projection or self.units

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
        last states. `mask` [B, T] or `lengths` [B] say where there is a token; elsewhere a row's state does not change.
        `initial_state`: (h, c) of an LSTM, h of a GRU, each [B, H] (None: zeros). Neither x nor the weights may change until
        `backprop` is done. TypeError or ValueError for an argument that does not fit.
        """
        if training and self.generator is not None:
            return self._forward_dropped(x, mask, lengths, initial_state, self.generator)
        return self._run(x, mask, lengths, initial_state, keep=True)

    def _forward_dropped(
        self,
        x: Any,
        mask: Mask | None,
        lengths: Any,
        initial_state: Sequence[Array] | Array | None,
        generator: np.random.Generator,
    ) -> tuple[Any, Backprop]:
        """`forward` with dropout, which is drawn once for all steps, and zoneout, which is drawn for each step."""
        values: Any = x if isinstance(x, Gather) else float_input(self, x, "[B, T, I]", self.dtype)
        self.build(x.shape)
        scale: Any = None
        if self.dropout:  # what is dropped of a row of the table differs between the rows of the batch
            scale = drawn_scale(generator, self.dropout, (x.shape[0], 1, x.shape[2])).astype(self.dtype, copy=False)
            values = _core.scale_steps(x.table.current_rows(x.ids)[x.ids] if isinstance(x, Gather) else values, scale)
        recurrent_kernel = weight_scale = recurrent_mask = None
        rows, steps = x.shape[:2]
        if self.recurrent_weight_dropout:
            kernel = self.weights[1].value
            weight_scale = drawn_scale(generator, self.recurrent_weight_dropout, kernel.shape)
            recurrent_kernel = kernel * weight_scale
        if self.recurrent_dropout:
            recurrent_mask = drawn_scale(generator, self.recurrent_dropout, (rows, self.outputs)).astype(self.dtype)
        zones = {
            name: drawn_places(generator, rate, (rows, steps, width), self.dtype)
            for (name, rate), width in zip(self.zoneout.items(), (self.outputs, self.units), strict=False)
            if rate
        }
        drawn = _Drawn(recurrent_kernel, recurrent_mask, zones)
        y, undo = self._run(values, mask, lengths, initial_state, keep=True, drawn=drawn)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            found = undo(dy, need_dx=need_dx)
            dx: Any = found.inputs
            dweights: list[Any] = found.weights
            if scale is not None and dx is not None:
                dx = _core.scale_steps(dx, scale)
                if isinstance(x, Gather):
                    dx = RowGradient(*_core.sum_rows(x.ids, dx, x.table.shape[0]), x.table.shape)
            if weight_scale is not None:
                dweights = [
                    d * weight_scale if weight is self.weights[1] else d
                    for d, weight in zip(dweights, self.trainable_weights, strict=True)
                ]
            return Gradients(dx, dweights, found.initial_state)

        return y, backprop

    def __call__(
        self,
        x: Any,
        *,
        training: bool = False,
        mask: Mask | None = None,
        lengths: Any = None,
        initial_state: Sequence[Array] | Array | None = None,
    ) -> Any:
        """y alone. The weights are packed once until they change; several threads may call at once, unless `stateful`."""
        if training and self.generator is not None:
            return self.forward(x, training=True, mask=mask, lengths=lengths, initial_state=initial_state)[0]
        return self._run(x, mask, lengths, initial_state, keep=False)[0]

    def step(self, x: Any, state: Sequence[Array] | Array | None = None) -> tuple[Array, ...]:
        """The states after one more step x [B, I] of a stream, from those before it (None: zeros).

        (h, c) for an LSTM, (h,) for a GRU, new arrays [B, H]; h is the output. They are, bit for bit, the states that the layer
        has at this step of the whole sequence. The weights are packed once until they change. ValueError for shapes that do not
        fit, and with `go_backwards`.
        """
        if self.go_backwards:
            raise ValueError(f"{self.name}: go_backwards is True, expected False: a stream has no end to start from")
        x = float_input(self, x, "[B, I]", self.dtype)
        self.build((None, None, x.shape[1]))
        if x.shape[1] != self.weights[0].shape[0]:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected [B, I] with I={self.weights[0].shape[0]}")
        given = self._initial_state(state, len(x), "state")
        options: dict[str, Any] = {"table": None, "weights": {}, "packed": self._packed(None, 0), "reverse": False}
        return self._walk(x[:, None], Window(), given, between=self._expected_zones(len(x), 1), **options)[1]

    def _run(
        self,
        x: Any,
        mask: Mask | None,
        lengths: Any,
        initial_state: Sequence[Array] | Array | None,
        *,
        keep: bool,
        drawn: _Drawn | None = None,
    ) -> tuple[Any, Backprop]:
        gather = x if isinstance(x, Gather) else None
        values: Any = x.ids if gather is not None else float_input(self, x, "[B, T, I]", self.dtype)
        shape = x.shape
        self.build(shape)
        if shape[2] != self.weights[0].shape[0]:
            raise ValueError(f"{self.name}: x has shape {shape}, expected [B, T, I] with I={self.weights[0].shape[0]}")
        window, holes = self._window(mask, lengths, *shape[:2])
        if holes is not None:
            values = holes.together(values[:, ::-1] if self.go_backwards else values)
        state = self._initial_state(initial_state, shape[0], "initial_state")
        given = len(state)
        if self.stateful and initial_state is None:
            state = self._state_before(shape[0])
        tokens = self._tokens(mask, lengths, shape[1]) if self.zero_output_for_mask and self.return_sequences else None
        reverse = self.go_backwards and holes is None
        y, last, play = self._compute(values, window, state, gather, keep=keep, drawn=drawn, reverse=reverse)
        if holes is not None and self.return_sequences:
            y = holes.apart(y)
        if tokens is not None:
            y = np.where(tokens, y, y.dtype.type(0))
        if self.stateful:
            self.kept_states = tuple(h.copy() for h in last)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            return self._backward(play, dy, gather, holes, tokens, given, need_dx)

        return (y, *last) if self.return_state else y, backprop

    def _compute(
        self,
        values: Any,
        window: Window,
        state: State,
        gather: Gather | None,
        *,
        keep: bool,
        drawn: _Drawn | None,
        reverse: bool,
    ) -> tuple[Array, State, Any]:
        """(y, last states, backward pass) of x, or of ids where there is a `gather`.

        In one of three ways: without a tape from packed weights (no backward pass), with a tape, or in segments.
        """
        table = None if gather is None else gather.table
        weights = self._values() if keep else {}  # without a tape packed weights are used
        between: dict[str, Any] = self._expected_zones(*values.shape[:2]) if drawn is None else dict(drawn.zones)
        if drawn is not None and drawn.recurrent_kernel is not None:
            weights["recurrent_kernel"] = drawn.recurrent_kernel
        if drawn is not None and drawn.recurrent_mask is not None:
            between["recurrent_mask"] = drawn.recurrent_mask
        walk = partial(self._walk, table=table, weights=weights, reverse=reverse, between=between)
        if not keep:
            packed = self._packed(table if gather is None or gather.lasting else None, values.size)
            y, last, _ = walk(values, window, state, packed=packed)
            return y, last, None
        record = partial(walk, packed=None)
        if self.segment is None or self.segment >= values.shape[1]:
            y, last, tape = record(values, window, state)
            return y, last, partial(play_back, tape)
        without_tape = partial(walk, packed=self._packed(None, 0)) if drawn is None else partial(record, keep_tape=False)
        segments = Segments(
            without_tape,
            record,
            values,
            window,
            steps=self.segment,
            reverse=reverse,
            return_sequences=self.return_sequences,
            truncate=self.truncate,
        )
        y, last = segments.forward(state)
        return y, last, segments.backward

    def _walk(
        self,
        values: Any,
        window: Window,
        state: State,
        *,
        table: Parameter | None,
        weights: _Weights,
        packed: tuple[_core.PackedCell, bool] | None,
        reverse: bool,
        between: dict[str, Any],
        keep_tape: bool = True,
    ) -> tuple[Array, State, Any]:
        """The engine's (y, last states, tape) for x or ids. No tape with `packed`, which is what `_packed` returned."""
        h0, c0 = (*state, None, None)[:2]
        options: dict[str, Any] = {
            "starts": window.starts,
            "lengths": window.lengths,
            "reverse": reverse,
            "return_sequences": self.return_sequences,
            **between,
        }
        tape: Any = None
        whole = packed is not None and packed[1]
        inputs = values if table is None or whole else (values, table.current_rows(values))
        if packed is None:
            options |= {**self._cell_options(), "keep_tape": keep_tape}
            y, h_T, c_T, tape = _core.recurrent_forward(self.equations, inputs, h0=h0, c0=c0, **weights, **options)
        else:
            y, h_T, c_T = _core.recurrent_infer(packed[0], inputs, h0, c0, **options)
        return y, (h_T,) if c_T is None else (h_T, c_T), tape

    def _cell_options(self) -> dict[str, Any]:
        return {"update_gate_writes": self.update_gate_writes, **self.terms.options()}

    def _expected_zones(self, rows: int, steps: int) -> dict[str, Array]:
        """Zoneout outside training: each unit keeps a share of its state, by name [B, T, H]."""
        if not self.zoned:
            return {}
        return {
            name: np.broadcast_to(np.full(width, rate, self.dtype), (rows, steps, width))
            for (name, rate), width in zip(self.zoneout.items(), (self.outputs, self.units), strict=False)
            if rate
        }

    def _values(self) -> _Weights:
        return {"bias": None, **{name: weight.value for name, weight in zip(self.weight_names, self.weights, strict=True)}}

    def _pack(self, weights: _Weights, vocabulary: Array | None = None) -> _core.PackedCell:
        return _core.PackedCell(self.equations, vocabulary=vocabulary, **weights, **self._cell_options())

    def _packed(self, table: Parameter | None, tokens: int) -> tuple[_core.PackedCell, bool]:
        """The present weights, packed, and whether the whole table has been projected with them.

        Projecting it pays once half as many tokens were read since the last change as the table has rows. It is not done if the
        result would take more than `largest_vocabulary` bytes.
        """
        key = (*(weight.version for weight in self.weights), None if table is None else (table, table.version))
        kept = self._kept
        if kept is None or kept.key != key:
            kept = _Kept(key, self._pack(self._values()))
            self._kept = kept
        kept.tokens += tokens
        if table is None or kept.whole or kept.tokens < table.shape[0] // 2:
            return kept.packed, kept.whole
        if table.shape[0] * (self.gates + 1) * self.units * 4 > self.largest_vocabulary:
            return kept.packed, False
        whole = self._pack(self._values(), table.value)
        self._kept = _Kept(key, whole, whole=True)
        return whole, True

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, without the packed weights, which can be made again."""
        return {**vars(self), "_kept": None}

    def _window(self, mask: Mask | None, lengths: Any, rows: int, positions: int) -> tuple[Window, Holes | None]:
        """Where the engine finds the tokens; where a mask has holes, after they were moved together (and reversed)."""
        if lengths is not None:
            if mask is not None:
                raise ValueError(f"{self.name}: mask and lengths were both given, expected one of them")
            window = from_lengths(self, lengths, rows, positions)
            return (window.read_backwards(positions) if self.go_backwards else window), None
        if mask is None:
            return Window(), None
        found = from_mask(check_mask(self, mask, rows, positions))
        if found is not None:
            return (found.read_backwards(positions) if self.go_backwards else found), None
        holes = Holes(mask[:, ::-1] if self.go_backwards else mask)
        return holes.window, holes

    def _tokens(self, mask: Mask | None, lengths: Any, positions: int) -> Mask | None:
        """Which outputs belong to a token, [B, T, 1]; None: all."""
        if lengths is not None:
            mask = np.arange(positions) < np.asarray(lengths)[:, None]
        if mask is None:
            return None
        return (mask[:, ::-1] if self.go_backwards else mask)[:, :, None]

    def reset_state(self) -> None:
        """Forget the last call's states: the next call starts from zeros, as each does of a layer that is not `stateful`."""
        self.kept_states = ()

    reset_states = reset_state  # Keras's older name

    def _state_before(self, rows: int) -> State:
        """The last call's final states; () means zeros. ValueError if they belong to another number of rows."""
        if self.kept_states and len(self.kept_states[0]) != rows:
            raise ValueError(
                f"{self.name}: x has {rows} rows, expected {len(self.kept_states[0])} as in the call before, whose states are"
                f" kept; reset_state() forgets them"
            )
        return self.kept_states

    def _initial_state(self, given: Sequence[Array] | Array | None, rows: int, argument: str) -> tuple[Array, ...]:
        if given is None:
            return ()
        states = (given,) if isinstance(given, np.ndarray) else tuple(given)
        if len(states) != self.state_count:
            raise ValueError(f"{self.name}: {argument} has {len(states)} arrays, expected {self.state_count} of shape [B, H]")
        for state, width in zip(states, (self.outputs, self.units), strict=False):
            if not isinstance(state, np.ndarray) or state.shape != (rows, width):
                raise ValueError(f"{self.name}: {argument} has shape {np.shape(state)}, expected ({rows}, {width}) = [B, H]")
        return tuple(real_array(self, argument, state, self.dtype) for state in states)

    def _backward(
        self,
        play: Callable[..., Played],
        dy: Any,
        gather: Gather | None,
        holes: Holes | None,
        tokens: Mask | None,
        states: int,
        need_dx: bool,
    ) -> Gradients:
        """Gradients for dy, which has y's form; entries of a tuple may be None."""
        doutput, *dlast = dy if isinstance(dy, tuple) else (dy,)
        doutput, *dlast = (None if d is None else real_array(self, "dy", d, self.dtype) for d in (doutput, *dlast))
        if not self.return_sequences and doutput is not None and dlast and dlast[0] is not None:
            doutput, dlast[0] = doutput + dlast[0], None  # the output is the last state
        if tokens is not None and doutput is not None:
            doutput = np.where(tokens, doutput, doutput.dtype.type(0))
        if holes is not None and self.return_sequences and doutput is not None:
            doutput = holes.apart_backward(doutput)
        dx, dweights, dh0, dc0 = play(doutput, *dlast, need_dx=need_dx)
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

    def generators(self) -> dict[str, np.random.Generator]:
        return {} if self.generator is None else {self.name: self.generator}

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        """The mask of the outputs: reversed like them with `go_backwards`; None without `return_sequences`."""
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

    @property
    def turns(self) -> bool:
        return self.go_backwards

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, I)")
        check_features(self, input_shape, "I")
        rows, steps, _ = input_shape
        return (rows, steps, self.outputs) if self.return_sequences else (rows, self.outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            **{
                f"{which}_{what}": module.serialize(given)
                for what, module, all_given in (
                    ("regularizer", regularizers, self.regularizers),
                    ("constraint", constraints, self.constraints),
                )
                for which, given in zip(("kernel", "recurrent", "bias"), all_given, strict=True)
            },
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "recurrent_weight_dropout": self.recurrent_weight_dropout,
            **self.zoneout,
            **self.terms.config(self.state_count),
            "seed": self.seed,
            "dtype": self.dtype.name,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
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
