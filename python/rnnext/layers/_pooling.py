"""Pooling over the steps that have a token."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnext.layers._layer import Backprop, Layer, Mask, Shape, check_mask, check_rank, float_input
from rnnext.parameters import Array, Gradients


class _Pooling1D(Layer):
    def __init__(self, *, keepdims: bool = False, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.keepdims = keepdims

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, D)")
        rows, _, features = input_shape
        return (rows, 1, features) if self.keepdims else (rows, features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}

    def _finish(self, y: Array) -> Array:
        return y[:, None] if self.keepdims else y


class GlobalMaxPooling1D(_Pooling1D):
    """The greatest value of each feature over the steps: [B, T, D] -> [B, D].

    With a mask over the steps that have a token, and 0 for a row without any; Keras's layer does not look at a mask.
    """

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, D]")
        candidates = x
        if mask is not None:
            candidates = np.where(check_mask(self, mask, *x.shape[:2])[:, :, None], x, np.float32(-np.inf))
        if x.shape[1] == 0:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected at least one step")
        best = candidates.argmax(axis=1)[:, None]
        y = np.take_along_axis(candidates, best, axis=1)[:, 0]
        empty = None if mask is None else ~mask.any(axis=1)
        if empty is not None:
            y[empty] = 0

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dx = np.zeros_like(x)
            np.put_along_axis(dx, best, dy.reshape(y.shape)[:, None], axis=1)
            if empty is not None:
                dx[empty] = 0
            return Gradients(dx, [])

        return self._finish(y), backprop


class GlobalAveragePooling1D(_Pooling1D):
    """The mean of each feature over the steps: [B, T, D] -> [B, D]; with a mask over those that have a token, 0 if none has."""

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, D]")
        rows, steps, _ = x.shape
        weights = np.full((rows, steps), 1 / max(steps, 1), np.float32)
        if mask is not None:
            counts = check_mask(self, mask, rows, steps).sum(axis=1, keepdims=True)
            weights = (mask / np.maximum(counts, 1)).astype(np.float32)
        # Step after step, so that padding behind the tokens changes no bit; NumPy does so along any axis but the last.
        y: Array = np.add.reduce(x * weights[:, :, None], axis=1)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            return Gradients(weights[:, :, None] * dy.reshape(y.shape)[:, None, :], [])

        return self._finish(y), backprop
