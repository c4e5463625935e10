"""A recurrent layer in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from rnnext.layers._gru import GRU
from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, Shape
from rnnext.layers._lstm import LSTM
from rnnext.layers._wrapper import Wrapper, description_of, layer_of, own_name
from rnnext.parameters import Array, Gradients, sum_of

_MergeMode: TypeAlias = Literal["concat", "sum", "mul", "ave"] | None
_Bidirectional = TypeVar("_Bidirectional", bound="Bidirectional")


class Bidirectional(Wrapper):
    """An LSTM or GRU from each row's first token to its last, and one from its last to its first: two layers, one output.

    As in Keras both layers are new ones with the arguments of `layer`, the second with `go_backwards`; a `backward_layer` that
    is given is used itself instead. With `return_sequences` the output at a step joins both directions' outputs there, and is 0
    where there is no token. `merge_mode`: "concat" [.., 2H], "sum", "mul", "ave" [.., H], or None: both outputs.
    Weights: those of the forward layer, then those of the backward layer.
    """

    def __init__(
        self,
        layer: Layer,
        merge_mode: _MergeMode = "concat",
        weights: Sequence[Array] | None = None,
        backward_layer: Layer | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        if not isinstance(layer, LSTM | GRU):
            raise TypeError(f"Bidirectional: layer is a {type(layer).__name__}, expected an LSTM or a GRU")
        if not isinstance(backward_layer, LSTM | GRU | None):
            raise TypeError(f"Bidirectional: backward_layer is a {type(backward_layer).__name__}, expected an LSTM or a GRU")
        if merge_mode not in ("concat", "sum", "mul", "ave", None):
            raise ValueError(f"Bidirectional: merge_mode is {merge_mode!r}, expected 'concat', 'sum', 'mul', 'ave' or None")
        forward = _direction(layer, "forward", go_backwards=layer.go_backwards)
        backward: Any = backward_layer or _direction(layer, "backward", go_backwards=True)
        _check_pair(forward, backward, merge_mode)
        backward.zero_output_for_mask = backward.return_sequences
        backward.rename(_name_of(backward, "backward"))
        super().__init__([forward, backward], name=name, trainable=trainable, input_shape=input_shape)
        self.takes_gather = forward.takes_gather and backward.takes_gather
        self.merge_mode = merge_mode
        self.return_sequences = forward.return_sequences
        self.return_state = forward.return_state
        if merge_mode is None:
            self.several_outputs = "merge_mode=None"
        elif self.return_state:
            self.several_outputs = "return_state=True"
        if weights is not None:
            self.build((None, None, len(weights[0])))
            self.set_weights(weights)

    @property
    def forward_layer(self) -> Any:
        """The layer that reads rows from their first token to their last."""
        return self.parts[0]

    @property
    def backward_layer(self) -> Any:
        """The layer that reads rows from their last token to their first."""
        return self.parts[1]

    # ------------------------------------------------------------ forward and backward

    def forward(
        self,
        x: Any,
        *,
        training: bool = False,
        mask: Mask | None = None,
        lengths: Any = None,
        initial_state: Sequence[Array] | None = None,
    ) -> tuple[Any, Backprop]:
        """(y, backprop) for x [B, T, I]: y merged, or both outputs; with `return_state` followed by the forward layer's last
        states and the backward layer's. `initial_state` has as many states in that order. The rest is as in LSTM.
        """
        first, second = self._states_of(initial_state)
        options: dict[str, Any] = {"training": training, "mask": mask, "lengths": lengths}
        out_f, undo_f = self.forward_layer.forward(x, initial_state=first, **options)
        out_b, undo_b = self.backward_layer.forward(x, initial_state=second, **options)
        self.build(x.shape)
        y_f, y_b, states = self._outputs(out_f, out_b)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            (dy_f, dy_b), dlast = self._merge_backward(dy, y_f, y_b)
            dy_b, each = self._turned(dy_b), self.forward_layer.state_count
            found_f = undo_f((dy_f, *dlast[:each]) if self.return_state else dy_f, need_dx=need_dx)
            found_b = undo_b((dy_b, *dlast[each:]) if self.return_state else dy_b, need_dx=need_dx)
            weights = [*found_f.weights, *found_b.weights] if self.trainable else []
            return Gradients(_sum(found_f.inputs, found_b.inputs), weights, (*found_f.initial_state, *found_b.initial_state))

        return self._merged(y_f, y_b, states), backprop

    def __call__(
        self,
        x: Any,
        *,
        training: bool = False,
        mask: Mask | None = None,
        lengths: Any = None,
        initial_state: Sequence[Array] | None = None,
    ) -> Any:
        first, second = self._states_of(initial_state)
        options: dict[str, Any] = {"training": training, "mask": mask, "lengths": lengths}
        out_f = self.forward_layer(x, initial_state=first, **options)
        out_b = self.backward_layer(x, initial_state=second, **options)
        self.build(x.shape)
        return self._merged(*self._outputs(out_f, out_b))

    def _states_of(self, given: Sequence[Array] | None) -> tuple[Any, Any]:
        if given is None:
            return None, None
        each = self.forward_layer.state_count
        both = each + self.backward_layer.state_count
        if isinstance(given, np.ndarray) or len(given) != both:
            raise ValueError(
                f"{self.name}: initial_state has {1 if isinstance(given, np.ndarray) else len(given)} arrays, expected {both}"
                f" of shape [B, H], first those of the forward layer"
            )
        return given[:each], given[each:]

    def _outputs(self, out_f: Any, out_b: Any) -> tuple[Array, Array, tuple[Array, ...]]:
        """Both outputs in the order of the steps, and all last states."""
        y_f, *states_f = out_f if self.return_state else (out_f,)
        y_b, *states_b = out_b if self.return_state else (out_b,)
        return y_f, self._turned(y_b), (*states_f, *states_b)

    def _turned(self, y: Any) -> Any:
        """The backward layer's outputs in the order of the steps, or a gradient for them in the order computed."""
        return y if y is None or not self.return_sequences else np.asarray(y)[:, ::-1]

    def _merged(self, y_f: Array, y_b: Array, states: tuple[Array, ...]) -> Any:
        if self.merge_mode is None:
            return (y_f, np.ascontiguousarray(y_b), *states)
        y: Array
        if self.merge_mode == "concat":
            y = np.concatenate([y_f, y_b], axis=-1)
        elif self.merge_mode == "mul":
            y = y_f * y_b
        else:
            y = y_f + y_b
            if self.merge_mode == "ave":
                y /= np.float32(2)
        return (y, *states) if self.return_state else y

    def _merge_backward(self, dy: Any, y_f: Array, y_b: Array) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        """The gradients of both outputs, and of the last states; any of them may be None."""
        if self.merge_mode is None:
            return (dy[0], dy[1]), tuple(dy[2:])
        d, *dlast = dy if self.return_state else (dy,)
        if d is None:
            return (None, None), tuple(dlast)
        if self.merge_mode == "concat":
            units = self.forward_layer.outputs
            d = np.asarray(d)
            return (d[..., :units], d[..., units:]), tuple(dlast)
        if self.merge_mode == "mul":
            return (d * y_b, d * y_f), tuple(dlast)
        if self.merge_mode == "ave":
            d = d / np.float32(2)
        return (d, d), tuple(dlast)

    def reset_state(self) -> None:
        """Forget the last call's states: the next call starts from zeros, as each does of layers that are not `stateful`."""
        for part in (self.forward_layer, self.backward_layer):
            part.reset_state()

    reset_states = reset_state  # Keras's older name

    # ------------------------------------------------------------ what follows from the arguments

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the merged output; with `merge_mode=None` that of each output."""
        shape: Shape = self.forward_layer.compute_output_shape(input_shape)
        self.backward_layer.compute_output_shape(input_shape)
        if self.merge_mode != "concat":
            return shape
        return (*shape[:-1], self.forward_layer.outputs + self.backward_layer.outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layer": description_of(self.forward_layer),
            "merge_mode": self.merge_mode,
            "backward_layer": description_of(self.backward_layer),
        }

    @classmethod
    def from_config(cls: type[_Bidirectional], config: dict[str, Any]) -> _Bidirectional:
        directions = {name: layer_of(config[name]) for name in ("layer", "backward_layer")}
        return cls(**{**config, **directions})


def _direction(layer: Any, direction: str, *, go_backwards: bool) -> Any:
    """A new layer with the arguments of `layer`, its outputs 0 where there is no token."""
    options = {"go_backwards": go_backwards, "zero_output_for_mask": layer.return_sequences}
    return type(layer).from_config({**layer.get_config(), **options, "name": _name_of(layer, direction)})


def _sum(a: Any, b: Any) -> Any:
    """The sum of both directions' gradients; `a` may be overwritten."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.add(a, b, out=a)
    return None if a is None or b is None else sum_of(a, b)


def _name_of(layer: Layer, direction: str) -> str:
    return f"{direction}_{own_name(layer).removeprefix(f'{direction}_')}"


def _check_pair(forward: Any, backward: Any, merge_mode: _MergeMode) -> None:
    """ValueError if the two layers cannot be the two directions of one."""
    for argument, given, expected in (("layer", forward, False), ("backward_layer", backward, True)):
        if given.go_backwards is not expected:
            raise ValueError(f"Bidirectional: {argument} has go_backwards={given.go_backwards}, expected {expected}")
    for option in ("stateful", "return_sequences", "return_state"):
        first, second = getattr(forward, option), getattr(backward, option)
        if first != second:
            raise ValueError(
                f"Bidirectional: layer has {option}={first} and backward_layer {option}={second}, expected the same"
            )
    if merge_mode in ("sum", "mul", "ave") and forward.outputs != backward.outputs:
        raise ValueError(
            f"Bidirectional: layer has units={forward.outputs} and backward_layer units={backward.outputs}, expected the same"
            f" for merge_mode={merge_mode!r}"
        )
