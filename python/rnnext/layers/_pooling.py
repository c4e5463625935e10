"""Pooling over the steps that have a token."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnext import _core, initializers
from rnnext._checks import flag, whole_number_or_none
from rnnext.initializers import first_values
from rnnext.layers._layer import (
    Backprop,
    Layer,
    Mask,
    RowShape,
    Shape,
    check_features,
    check_mask,
    check_rank,
    float_input,
    output_gradient,
)
from rnnext.parameters import Array, Gradients, Parameter


class _Pooling1D(Layer):
    def __init__(
        self, *, keepdims: bool = False, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.keepdims = flag(self.name, "keepdims", keepdims)

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

    With a mask: over the steps that have a token, 0 for a row without any. Keras's layer ignores masks.
    """

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, D]")
        candidates = x
        if mask is not None:
            candidates = np.where(check_mask(self, mask, *x.shape[:2])[:, :, None], x, np.float32(-np.inf))
        if x.shape[1] == 0:
            if mask is None:
                raise ValueError(f"{self.name}: x has shape {x.shape}, expected at least one step")
            none = np.zeros((x.shape[0], x.shape[2]), np.float32)  # all rows are without a token
            return self._finish(none), lambda dy, need_dx=True: Gradients(np.zeros_like(x), [])
        best = candidates.argmax(axis=1)[:, None]
        y = np.take_along_axis(candidates, best, axis=1)[:, 0]
        empty = None if mask is None else ~mask.any(axis=1)
        if empty is not None:
            y[empty] = 0

        finished = self._finish(y)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dx = np.zeros_like(x)
            dy = output_gradient(self, dy, finished.shape).reshape(y.shape)
            np.put_along_axis(dx, best, dy[:, None], axis=1)
            if empty is not None:
                dx[empty] = 0
            return Gradients(dx, [])

        return finished, backprop


class GlobalAveragePooling1D(_Pooling1D):
    """The mean of each feature over the steps: [B, T, D] -> [B, D].

    With a mask: over the steps that have a token, 0 for a row without any.
    """

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, D]")
        rows, steps, features = x.shape
        weights = np.full((rows, steps), 1 / max(steps, 1), np.float32)
        if mask is not None:
            counts = check_mask(self, mask, rows, steps).sum(axis=1, keepdims=True)
            weights = (mask / np.maximum(counts, 1)).astype(np.float32)
        y = self._finish(_sum_of_steps(x, weights))

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dy = output_gradient(self, dy, y.shape).reshape(rows, 1, features)
            return Gradients(weights[:, :, None] * dy, [])

        return y, backprop


class ConcatPooling1D(Layer):
    """The last step, the greatest values and the means side by side: [B, T, D] -> [B, 3D] (Howard & Ruder 2018).

    With a mask: over the steps that have a token, 0 for a row without any.
    """

    def __init__(self, *, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self._greatest = GlobalMaxPooling1D(name=self.name)
        self._mean = GlobalAveragePooling1D(name=self.name)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        greatest, greatest_backprop = self._greatest.forward(x, mask=mask)
        mean, mean_backprop = self._mean.forward(x, mask=mask)
        rows, steps, features = x.shape
        shown = np.ones((rows, steps), np.bool_) if mask is None else mask
        at = (shown * np.arange(1, steps + 1)).max(axis=1, initial=0) - 1  # -1: no token
        places = np.flatnonzero(at >= 0), at[at >= 0]
        last = np.zeros((rows, features), np.float32)
        last[places[0]] = x[places]

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dlast, dgreatest, dmean = np.split(output_gradient(self, dy, (rows, 3 * features)), 3, axis=1)
            dx: Any = greatest_backprop(dgreatest).inputs
            dx += mean_backprop(dmean).inputs
            dx[places] += dlast[places[0]]
            return Gradients(dx, [])

        return np.concatenate([last, greatest, mean], axis=1), backprop

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, D)")
        rows, _, features = input_shape
        return (rows, None if features is None else 3 * features)


class AttentionPooling1D(Layer):
    """A weighted mean of the steps: y = Σ_t a_t x_t, a = softmax_t(s_t): [B, T, D] -> [B, D].

    The score of a step is s_t = x_t · q with a learned query q [D], or with `units` s_t = tanh(x_t W + b) · q, q [units] (Yang
    et al. 2016). With a mask: over the steps that have a token, 0 for a row without any. Weights: query [D]; with `units`
    kernel [D, units], bias [units], query [units].
    """

    def __init__(
        self,
        units: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        query_initializer: Any = "glorot_uniform",
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.units = whole_number_or_none(self.name, "units", units)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.query_initializer = initializers.get(query_initializer)

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(f"{self.name}: input has shape {input_shape}, expected (B, T, D) with D known")
        features = input_shape[2]
        if self.units is None:
            return [Parameter(f"{self.name}/query", first_values(self.query_initializer, (features,)))]
        return [
            Parameter(f"{self.name}/kernel", first_values(self.kernel_initializer, (features, self.units))),
            Parameter(f"{self.name}/bias", first_values(self.bias_initializer, (self.units,))),
            Parameter(f"{self.name}/query", first_values(self.query_initializer, (self.units,))),
        ]

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, T, D]")
        self.build(x.shape)
        rows, steps, features = x.shape
        if features != self.weights[0].shape[0]:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected [B, T, D] with D={self.weights[0].shape[0]}")
        shown = np.ones((rows, steps), np.bool_) if mask is None else check_mask(self, mask, rows, steps)
        values = [weight.value for weight in self.weights]
        query = values[-1]
        u = x if self.units is None else np.tanh(self._projected(x, *values[:2]))  # [B, T, D or units]
        a = _masked_softmax((u * query).sum(axis=2), shown)  # [B, T]
        y = _sum_of_steps(np.where(shown[:, :, None], x, np.float32(0)), a)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            dy = output_gradient(self, dy, y.shape)[:, None]  # [B, 1, D]
            da = (x * dy).sum(axis=2)  # y = Σ a_t x_t
            ds = np.where(shown, a * (da - (a * da).sum(axis=1, keepdims=True)), np.float32(0))[:, :, None]  # a = softmax(s)
            dquery = (ds * u).sum(axis=(0, 1))  # s_t = u_t · q
            du = ds * query
            dx = a[:, :, None] * dy
            if self.units is None:
                return Gradients(dx + du, self.of_trainable([dquery]))
            dprojected = (du * (1 - u * u)).reshape(-1, self.units)  # u = tanh(x W + b)
            dx += _core.matmul(dprojected, values[0].T).reshape(x.shape)
            dkernel = _core.matmul_transposed(x.reshape(-1, features), dprojected)
            return Gradients(dx, self.of_trainable([dkernel, dprojected.sum(axis=0), dquery]))

        return y, backprop

    def _projected(self, x: Array, kernel: Array, bias: Array) -> Array:
        projected = _core.matmul(x.reshape(-1, kernel.shape[0]), kernel)
        return (projected + bias).reshape(*x.shape[:2], len(bias))

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, D)")
        check_features(self, input_shape, "D")
        return (input_shape[0], input_shape[2])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "query_initializer": initializers.serialize(self.query_initializer),
        }


def _sum_of_steps(x: Array, weights: Array) -> Array:
    """Σ_t weights_t x_t, step after step, so that padding behind the tokens changes no bit.

    NumPy adds so along any axis but the last in memory, which that of the steps is where there is one feature alone.
    """
    products = x * weights[:, :, None]
    if products.shape[2] == 1 and products.shape[1]:
        return np.cumsum(products, axis=1)[:, -1]
    y: Array = np.add.reduce(products, axis=1)
    return y


def _masked_softmax(s: Array, shown: Mask) -> Array:
    """e^s / Σ e^s over the steps that are shown, 0 at the others and in a row without any."""
    if s.shape[1] == 0:
        return s
    greatest = np.where(shown, s, np.float32(-np.inf)).max(axis=1, keepdims=True)
    e = np.exp(np.where(shown, s - np.where(np.isfinite(greatest), greatest, np.float32(0)), np.float32(-np.inf)))
    total = np.cumsum(e, axis=1)[:, -1:]  # step after step, so that padding changes no bit
    a: Array = e / np.where(total > 0, total, np.float32(1))
    return a
