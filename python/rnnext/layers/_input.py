"""The shape of a model's input, declared before there are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnext._checks import whole_number_or_none
from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, Shape, check_row_shape
from rnnext.parameters import Gradients


class InputLayer(Layer):
    """Declares the shape of one row of the input (None: any size), so that a model can be built before it sees data.

    `input_shape` is another name of `shape`, as in Keras. `batch_size` only matters to a model with stateful layers.
    """

    def __init__(
        self,
        shape: RowShape | None = None,
        *,
        input_shape: RowShape | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, trainable=trainable)
        given = input_shape if shape is None else shape
        if given is None or (shape is not None and input_shape is not None):
            raise ValueError(f"{self.name}: shape and input_shape are both given or both None, expected one of them")
        self.shape = check_row_shape(self.name, "shape", given)
        self.batch_size = whole_number_or_none(self.name, "batch_size", batch_size)
        self.dtype = dtype

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Any, Backprop]:
        """x as it is. ValueError if a row of it has another shape."""
        self.compute_output_shape(x.shape)
        return x, lambda dy, need_dx=True: Gradients(dy, [])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        row = tuple(input_shape[1:])
        if len(row) != len(self.shape) or any(None not in (a, b) and a != b for a, b in zip(self.shape, row, strict=True)):
            raise ValueError(f"{self.name}: input has shape {tuple(input_shape)}, expected {(None, *self.shape)}")
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": list(self.shape), "batch_size": self.batch_size, "dtype": self.dtype}


def Input(  # noqa: N802 - Keras's name
    shape: RowShape | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    name: str | None = None,
    *,
    batch_shape: RowShape | None = None,
) -> InputLayer:
    """The first entry of a Sequential's list, as in Keras: `Input(shape=(200,))`.

    `batch_shape` is `batch_size` and shape in one, as Keras wants them for stateful layers: in a model that has some, `fit`,
    `evaluate` and `predict` use batches of that size. ValueError unless one of `shape` and `batch_shape` is given.
    """
    if (shape is None) == (batch_shape is None):
        raise ValueError("Input: shape and batch_shape are both given or both None, expected one of them")
    if batch_shape is not None:
        if isinstance(batch_shape, str) or not isinstance(batch_shape, Sequence) or not batch_shape:
            raise ValueError(f"Input: batch_shape is {batch_shape!r}, expected (B, ...)")
        batch_size, *row = batch_shape
        shape = tuple(row)
    assert shape is not None
    return InputLayer(shape, batch_size=batch_size, dtype=dtype, name=name)
