"""The shape of a model's input, said beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnext.layers._layer import Backprop, Layer, Mask, Shape
from rnnext.parameters import Gradients


class InputLayer(Layer):
    """Says the shape of one row of the input (None: any size), so that a model can be built before it sees data."""

    def __init__(
        self, shape: Sequence[int | None], *, dtype: str | None = None, name: str | None = None, trainable: bool = True
    ) -> None:
        super().__init__(name=name, trainable=trainable)
        self.shape: Shape = tuple(shape)
        self.dtype = dtype

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Any, Backprop]:
        """x as it is. ValueError if a row of it has another shape."""
        self.compute_output_shape(x.shape)
        return x, lambda dy, need_dx=True: Gradients(dy, [])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        row = tuple(input_shape[1:])
        if len(row) != len(self.shape) or any(None not in (a, b) and a != b for a, b in zip(self.shape, row, strict=True)):
            raise ValueError(f"{self.name}: input has shape {tuple(input_shape)}, expected {(None, *self.shape)}")
        return (input_shape[0], *(a if b is None else b for a, b in zip(self.shape, row, strict=True)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": list(self.shape), "dtype": self.dtype}


def Input(shape: Sequence[int | None], *, dtype: str | None = None, name: str | None = None) -> InputLayer:  # noqa: N802 - Keras's name
    """The first entry of a Sequential's list, as in Keras: `Input(shape=(200,))`."""
    return InputLayer(shape, dtype=dtype, name=name)
