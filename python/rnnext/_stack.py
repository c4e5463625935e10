"""Layers one behind the other: their weights and shapes, and one batch through all of them, forward and backward.

Knows no loss, no epoch and no file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from rnnext import _random, layers
from rnnext._checks import flag
from rnnext._inputs import Batch, Rows, first_that_is_no_id
from rnnext.layers._layer import Backprop, Layer, Mask, Shape, Weighted, turned
from rnnext.parameters import Array, Gradient, Parameter, dense

Backward: TypeAlias = Callable[[Array], list[Gradient]]


class Stack(Weighted):
    """What a Sequential is without its training: layers, each fed with the output of the one before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._trainable = True
        self._layers: list[Layer] = []  # with the InputLayer, if there is one
        self.input_shape: Shape | None = None  # batch axis included; None until it is known
        self.output_shape: Shape = ()
        self._last_shapes: tuple[Shape, Shape] | None = None  # of the rows that were checked last

    # ------------------------------------------------------------ layers

    @property
    def layers(self) -> list[Layer]:
        """As in Keras without the `Input` in front, which has no weights and computes nothing."""
        return [layer for layer in self._layers if not isinstance(layer, layers.InputLayer)]

    @property
    def built(self) -> bool:
        """Whether all weights are there."""
        return self.input_shape is not None

    def add(self, layer: Layer) -> None:
        """Put a layer at the end. Its weights are made when those of the others are; one that has weights keeps them.

        As in Keras the first one's `input_shape` becomes an `Input` before it; that of another says nothing.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: add got a {type(layer).__name__}, expected a layer")
        parts = layer.with_parts()
        seen = {id(part) for other in self._layers for part in other.with_parts()}
        for part in parts:
            if id(part) in seen:
                raise ValueError(f"{self.name}: {part.name} is in the model already")
            seen.add(id(part))
        if layer.several_outputs is not None:
            raise ValueError(
                f"{self.name}: {layer.name} has {layer.several_outputs}, but a layer of a Sequential has one output"
            )
        taken = {other.name for other in self._layers}
        if layer.given_name in taken:
            raise ValueError(f"{self.name}: there is a layer named {layer.given_name!r} already")
        if layer.name in taken and any(part.models for part in parts):  # whose files know it by its name
            raise ValueError(
                f"{self.name}: there is a layer named {layer.name!r} already, and this one has its name in another model, too,"
                f" expected different names: give one of them a name=..."
            )
        before, name = list(self._layers), layer.name
        if name in taken:
            layer.rename(next(free for n in range(1, len(taken) + 2) if (free := f"{name}_{n}") not in taken))
        if not before and layer.given_input_shape is not None:
            self._layers.append(layers.InputLayer(layer.given_input_shape))
        self._layers.append(layer)
        shape = self.input_shape or _declared_shape(self._layers)
        try:
            if shape is not None and isinstance(self._layers[0], layers.Embedding) and not self._tells_features(shape):
                self.input_shape, self.output_shape = None, ()  # the first data will tell
            elif shape is not None:
                self.build(shape)
        except Exception:
            self._layers = before
            layer.rename(name)
            raise
        for part in parts:
            part.models += 1

    def pop(self) -> Layer:
        """Take the last layer away. IndexError if there is none."""
        layer = self._layers.pop()
        for part in layer.with_parts():
            part.models -= 1
        self._last_shapes = None
        if not self._layers:
            self.input_shape = None
        elif self.input_shape is not None:
            self.build(self.input_shape)
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name or at that place; ValueError if there is none."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"{self.name}: index is {index}, expected less than {len(self.layers)}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"{self.name}: no layer {name!r}, expected one of {', '.join(layer.name for layer in self.layers)}")

    # ------------------------------------------------------------ shapes

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The output's shape, batch axis included (None: any size). ValueError names the layer that does not take its input."""
        shape = tuple(input_shape)
        if not self._layers:
            raise ValueError(f"{self.name}: there are no layers yet")
        for layer in self._layers:
            shape = layer.compute_output_shape(shape)
        return shape

    @contextlib.contextmanager
    def making_weights(self) -> Iterator[None]:
        """Take back the weights that are made in this block if it fails, and what was drawn for them."""
        shapes, drawn = (self.input_shape, self.output_shape), _random.get_state()
        fresh = [layer for layer in self._layers if not layer.built]
        try:
            yield
        except Exception:
            for layer in fresh:
                layer.discard_weights()
            if fresh:
                _random.set_state(drawn)
                (self.input_shape, self.output_shape), self._last_shapes = shapes, None
            raise

    def build(self, input_shape: Shape) -> None:
        """Make all weights that are not there yet, for inputs of that shape; none if a layer does not take its input."""
        shape = tuple(input_shape)
        output_shape = self.compute_output_shape(shape)
        with self.making_weights():
            self._build_layers(shape)
        self.input_shape, self.output_shape = shape, output_shape
        self._last_shapes = None

    def _tells_features(self, shape: Shape) -> bool:
        """Whether that shape says how many features each layer gets; behind a Flatten they depend on the number of steps."""
        for layer in self._layers[:-1]:
            shape = layer.compute_output_shape(shape)
            if shape[-1] is None:
                return False
        return True

    def _build_layers(self, shape: Shape) -> None:
        for layer in self._layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    # ------------------------------------------------------------ weights

    @property
    def weights(self) -> list[Parameter]:
        """All weights, layer by layer, in Keras's order."""
        return [weight for layer in self.layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Those that training changes."""
        return [weight for layer in self.layers for weight in layer.trainable_weights] if self.trainable else []

    @property
    def trainable(self) -> bool:
        """Whether the model is trained at all; setting it says so to all layers, too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag(self.name, "trainable", value)
        for layer in self.layers:
            layer.trainable = value

    def get_config(self) -> dict[str, Any]:
        """Name and layers, as JSON can hold them. ValueError for a layer that is none of this package's."""
        frozen = {} if self.trainable else {"trainable": False}
        return {"name": self.name, **frozen, "layers": [layers.serialize(layer) for layer in self._layers]}

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], None] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print layers, output shapes and numbers of parameters, with `show_trainable` also which layers are trained.

        `line_length`, `positions` and `expand_nested` are taken, and nothing depends on them: columns are as wide as what is in
        them, and no model is in another.
        """
        show = print_fn or print
        rows = [("Layer (type)", "Output shape", "Param #", "Trainable")]
        shape = self.input_shape
        for layer in self.layers:
            shape = None if shape is None else layer.compute_output_shape(shape)
            parameters = f"{layer.count_params():,}" if layer.built else "? (unbuilt)"
            kind, trained = f"{layer.name} ({type(layer).__name__})", "yes" if layer.trainable else "no"
            rows.append((kind, "?" if shape is None else str(shape), parameters, trained))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" + show_trainable * f"  {d}" for a, b, c, d in rows]
        rule = "-" * len(lines[0])
        total, trainable = self.count_params(), sum(weight.storage.size for weight in self.trainable_weights)
        size = f"{total * 4 / 1e6:.1f} MB"
        for line in (f'Model: "{self.name}"', lines[0], rule, *lines[1:], rule):
            show(line)
        show(f"Parameters: {total:,} ({size}), trainable {trainable:,}, not trainable {total - trainable:,}")

    # ------------------------------------------------------------ data

    def check_rows(self, rows: Rows, *, name: str) -> Shape:
        """The shape of the outputs for such rows.

        ValueError or TypeError if the model does not take them: their shape, or ids that are not in the vocabulary.
        """
        output = self._output_shape_of(rows)
        first, ids = self._first(), rows.flat
        if first is None or first.vocabulary is None or not ids.size:
            return output
        if (rows.dtype or ids.dtype).kind not in "iu":
            index = first_that_is_no_id(ids)
            assert index is not None  # else they would be integers by now
            row, *position = rows.place(index)
            raise ValueError(
                f"{first.name}: {name} has {ids.flat[index]} at row {row}, position {', '.join(map(str, position))},"
                " expected integers, the ids of a vocabulary"
            )
        low, high = rows.range
        if low < 0 or high >= first.vocabulary:
            at = int(np.argmax((ids < 0) | (ids >= first.vocabulary)))
            row, *position = rows.place(at)
            raise ValueError(
                f"{first.name}: {name} has id {int(ids.flat[at])} at row {row}, position {', '.join(map(str, position))},"
                f" expected 0 to {first.vocabulary - 1} (input_dim={first.vocabulary})"
            )
        return output

    @property
    def vocabulary(self) -> int | None:
        """The ids that the rows are of are below this; None if they are no ids."""
        first = self._first()
        return None if first is None else first.vocabulary

    def steps_have_outputs(self, rows: Rows) -> bool:
        """Whether the rows are sequences of different length, with an output for each of their steps."""
        output = self._output_shape_of(rows)
        return rows.offsets is not None and len(output) > 2 and output[1] is None

    @property
    def turns(self) -> bool:
        """Whether outputs for each step have the opposite order, so that those of shorter rows lie at the end."""
        return turned(self.layers)

    def _output_shape_of(self, rows: Rows) -> Shape:
        shape = (None, *rows.row_shape)
        known = self._last_shapes
        if known is None or known[0] != shape:
            self._last_shapes = known = shape, self.compute_output_shape(shape)
        return known[1]

    def only_input(self, x: object) -> object:
        """The array alone where x is a list of it, as for a model of several inputs; everything else as it is.

        A list of one sequence is told from it by the axes: a sequence has one less than what the model takes.
        """
        shape = self.input_shape or (_declared_shape(self._layers) if self._layers else None)
        if shape is not None and isinstance(x, list | tuple) and len(x) == 1 and getattr(x[0], "ndim", 0) == len(shape):
            return x[0]
        return x

    def as_input(self, rows: Rows) -> Rows:
        """The rows in the type that the first layer takes.

        Integers become floats where there is no vocabulary; where there is one, floats that are all whole, as padding made by
        hand has them, become integers. `check_rows` refuses others.
        """
        floats = (rows.dtype or rows.flat.dtype).kind == "f"
        if floats == (self.vocabulary is None) or (floats and first_that_is_no_id(rows.flat) is not None):
            return rows
        return rows.converted(np.dtype(np.int32 if floats else np.float32))

    def _first(self) -> Layer | None:
        return next(iter(self.layers), None)

    # ------------------------------------------------------------ one batch of rows that were checked

    def forward(self, batch: Batch, *, training: bool) -> tuple[Array, Mask | None, Backward]:
        """(y, mask, backward): backward turns the gradient for y into those of the trainable weights, in their order.

        mask says which of the steps in y count; None: all, or y has no steps.
        """
        x, mask = batch
        undo: list[Backprop] = []
        y: Any
        for layer, gathers in _steps(self._layers):
            if gathers:
                y = layer.gather(x, training=training, checked=True)
                undo.append(y.backprop)
            else:
                y, backprop = layer.forward(x, training=training, mask=mask)
                undo.append(backprop)
            mask = layer.compute_mask(x, mask)
            x = y

        def backward(dy: Any) -> list[Gradient]:
            if not self.trainable:
                return []
            found: list[list[Gradient]] = []
            # Nobody needs the gradients before the first layer that learns.
            first = next((n for n, layer in enumerate(self._layers) if layer.trainable_weights), len(undo))
            for n in range(len(undo) - 1, first - 1, -1):
                gradients = undo[n](dy, need_dx=n > first)
                found.append(gradients.weights)
                dy = gradients.inputs
            return [gradient for weights in reversed(found) for gradient in weights]

        return x, mask if x.ndim > 2 else None, backward

    def infer(self, batch: Batch) -> tuple[Array, Mask | None]:
        """(y, mask) with nothing kept for a backward pass. Each row's bits are its own, whatever rows come along.

        Dropout, which does nothing here, is left out, so that a Gather comes past it.
        """
        x, mask = batch
        y: Any
        for layer, gathers in _steps([layer for layer in self._layers if not isinstance(layer, layers.Dropout)]):
            y = layer.gather(x, checked=True) if gathers else layer(x, mask=mask)
            mask = layer.compute_mask(x, mask)
            x = y
        return x, mask if x.ndim > 2 else None


# ---------------------------------------------------------------- what weights say of themselves


def penalty(learned: Sequence[Parameter]) -> float:
    """What the regularizers add to the loss."""
    return sum(weight.regularizer(weight.value) for weight in learned if weight.regularizer is not None)


def with_penalty(gradients: list[Gradient], learned: Sequence[Parameter]) -> list[Gradient]:
    """The gradients of the weights, with those of the penalty added."""
    return [
        gradient if weight.regularizer is None else dense(gradient) + weight.regularizer.gradient(weight.value)
        for gradient, weight in zip(gradients, learned, strict=True)
    ]


def constrain(learned: Sequence[Parameter]) -> None:
    """Put what the constraints make of the weights in their place."""
    for weight in learned:
        if weight.constraint is not None:
            weight.assign(weight.constraint(weight.value))


# ---------------------------------------------------------------- layers in turn


def _steps(stack: Sequence[Layer]) -> Iterator[tuple[Any, bool]]:
    """Each layer, and whether the one behind it takes its rows of a table without their being copied together."""
    for layer, following in zip(stack, [*stack[1:], None], strict=True):
        yield layer, isinstance(layer, layers.Embedding) and following is not None and following.takes_gather


def _declared_shape(stack: Sequence[Layer]) -> Shape | None:
    """The input's shape as the first layer says it."""
    first = stack[0]
    if isinstance(first, layers.InputLayer):
        return (None, *first.shape)
    return (None, first.input_length) if isinstance(first, layers.Embedding) else None
