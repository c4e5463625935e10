"""An activation function as a layer of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnext import activations
from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, float_input, output_gradient
from rnnext.parameters import Array, Gradients


class Activation(Layer):
    """y = activation(x), of the same shape: those that Dense has."""

    def __init__(
        self,
        activation: str | Callable[[Array], Array] | None,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.activation = activations.get(activation)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        activation = self.activation
        y = activation.forward(float_input(self, x, "[B, ...]"))
        return y, lambda dy, need_dx=True: Gradients(activation.backward(output_gradient(self, dy, y.shape), y), [])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": self.activation.name}
