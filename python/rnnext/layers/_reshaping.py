"""Layers that put the same numbers into another shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnext._checks import whole_number
from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, Shape, check_rank, float_input, output_gradient
from rnnext.parameters import Array, Gradients


class Flatten(Layer):
    """All that a row has side by side: [B, T, D] -> [B, T * D]. A mask ends here: what is masked is there like the rest."""

    def __init__(self, *, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, ...]")
        y = x.reshape(len(x), math.prod(x.shape[1:]))
        return y, lambda dy, need_dx=True: Gradients(output_gradient(self, dy, y.shape).reshape(x.shape), [])

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rows, *sizes = input_shape
        known = [size for size in sizes if size is not None]
        return (rows, math.prod(known) if len(known) == len(sizes) else None)


class RepeatVector(Layer):
    """Each row's vector in n steps: [B, D] -> [B, n, D]."""

    def __init__(self, n: int, *, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.n = whole_number(self.name, "n", n)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, D]")
        y = np.repeat(x[:, None], self.n, axis=1)
        return y, lambda dy, need_dx=True: Gradients(output_gradient(self, dy, y.shape).sum(axis=1), [])

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, D)")
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
