"""Layers that hold other layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, Shape, check_mask, given_array, output_gradient
from rnnext.parameters import Gradients, Parameter

_Wrapper = TypeVar("_Wrapper", bound="Wrapper")


class Wrapper(Layer):
    """A layer whose weights are those of its `parts`; their names begin with its own."""

    def __init__(self, parts: Sequence[Layer], *, name: str | None, trainable: bool, input_shape: RowShape | None) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.parts = tuple(parts)
        self.stateful = any(part.stateful for part in parts)
        self.rename(self.name)

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        for part in self.parts:
            part.build(input_shape)
        return [weight for part in self.parts for weight in part.weights]

    def with_parts(self) -> list[Layer]:
        return [self, *(inner for part in self.parts for inner in part.with_parts())]

    def discard_weights(self) -> None:
        super().discard_weights()
        for part in self.parts:
            part.discard_weights()

    def rename(self, name: str) -> None:
        self.name = name
        for part in self.parts:
            part.rename(f"{name}/{own_name(part)}")

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [weight for part in self.parts for weight in part.trainable_weights] if self.trainable else []

    def generators(self) -> dict[str, np.random.Generator]:
        return {name: generator for part in self.parts for name, generator in part.generators().items()}


class TimeDistributed(Wrapper):
    """The layer applied to each step: [B, T, ...] -> [B, T, ...]. It sees B * T rows and no mask."""

    def __init__(
        self, layer: Layer, *, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None
    ) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"TimeDistributed: layer is a {type(layer).__name__}, expected a layer")
        if layer.several_outputs is not None:
            raise ValueError(f"TimeDistributed: {layer.name} has {layer.several_outputs}, expected a layer with one output")
        super().__init__([layer], name=name, trainable=trainable, input_shape=input_shape)
        self.vocabulary = layer.vocabulary

    @property
    def layer(self) -> Layer:
        """The layer that is applied to each step."""
        return self.parts[0]

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        return super().make_weights(self._of_a_step(input_shape))

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Any, Backprop]:
        rows, positions, steps = self._steps_of(x, mask)
        of_steps, undo = self.layer.forward(steps, training=training)
        y = of_steps.reshape(rows, positions, *of_steps.shape[1:])

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dy = output_gradient(self, dy, y.shape).reshape(of_steps.shape)
            dx, dweights, _ = undo(dy, need_dx=need_dx)
            dx = dx.reshape(x.shape) if isinstance(dx, np.ndarray) else None
            return Gradients(dx, dweights if self.trainable else [])

        return y, backprop

    def __call__(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> Any:
        rows, positions, steps = self._steps_of(x, mask)
        y = self.layer(steps, training=training)
        return y.reshape(rows, positions, *y.shape[1:])

    def _steps_of(self, x: Any, mask: Mask | None) -> tuple[int, int, Any]:
        """B, T and x as B * T rows."""
        x = given_array(self, x, "[B, T, ...]")
        self._of_a_step(x.shape)
        rows, positions = x.shape[:2]
        if mask is not None:
            check_mask(self, mask, rows, positions)
        self.build(x.shape)
        return rows, positions, x.reshape(rows * positions, *x.shape[2:])

    def _of_a_step(self, shape: Shape) -> Shape:
        if len(shape) < 3:
            raise ValueError(f"{self.name}: input has shape {shape}, expected (B, T, ...) with 3 axes or more")
        return (None, *shape[2:])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:2], *self.layer.compute_output_shape(self._of_a_step(input_shape))[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": description_of(self.layer)}

    @classmethod
    def from_config(cls: type[_Wrapper], config: dict[str, Any]) -> _Wrapper:
        return cls(**{**config, "layer": layer_of(config["layer"])})


def own_name(part: Layer) -> str:
    """A part's name without that of the layer that holds it."""
    return part.name.rpartition("/")[2]


def description_of(part: Layer) -> dict[str, Any]:
    """A part, under its own name, as `layer_of` can make it again."""
    from rnnext.layers import serialize  # here: it knows all layers, so it is imported after them

    described = serialize(part)
    config: Any = described["config"]
    return {**described, "config": {**config, "name": own_name(part)}}


def layer_of(description: dict[str, Any]) -> Layer:
    """The layer, without weights, that `description_of` described."""
    from rnnext.layers import deserialize

    return deserialize(description)
