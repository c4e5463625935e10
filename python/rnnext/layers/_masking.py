"""A mask made from the inputs' values."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnext._checks import number
from rnnext.layers._layer import (
    Backprop,
    Layer,
    Mask,
    RowShape,
    Shape,
    check_dtype,
    check_mask,
    check_rank,
    float_input,
    output_gradient,
)
from rnnext.parameters import Array, Gradients


class Masking(Layer):
    """Masks the steps of x [B, T, I] whose features all equal `mask_value`, beside those that are masked already.

    What it masks is 0 in the output, as in Keras.
    """

    def __init__(
        self,
        mask_value: float = 0.0,
        *,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        check_dtype(self, dtype, "float32")
        self.mask_value = number(self.name, "mask_value", mask_value)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, I]")
        shown = self._tokens(x)[:, :, None]

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            return Gradients(np.where(shown, output_gradient(self, dy, x.shape), np.float32(0)), [])

        return np.where(shown, x, np.float32(0)), backprop

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask:
        tokens = self._tokens(x)
        return tokens if mask is None else tokens & check_mask(self, mask, *tokens.shape)

    def _tokens(self, x: Array) -> Mask:
        tokens: Mask = (x != np.float32(self.mask_value)).any(axis=-1)
        return tokens

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, I)")
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
