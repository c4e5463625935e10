"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnext import _core, activations, constraints, initializers, regularizers
from rnnext._checks import flag, whole_number
from rnnext.initializers import first_values
from rnnext.layers._layer import (
    Backprop,
    Layer,
    Mask,
    RowShape,
    Shape,
    check_dtype,
    check_features,
    float_input,
    output_gradient,
)
from rnnext.parameters import Array, Gradients, Parameter


class Dense(Layer):
    """y = activation(x W + b) over the last axis of x: [B, F] -> [B, units], [B, T, F] -> [B, T, units].

    Weights: kernel [F, units], bias [units].
    """

    def __init__(
        self,
        units: int,
        activation: str | Callable[[Array], Array] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        check_dtype(self, dtype, "float32")
        self.units = whole_number(self.name, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = flag(self.name, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        features = input_shape[-1]
        if len(input_shape) < 2 or features is None:
            raise ValueError(f"{self.name}: input has shape {input_shape}, expected (B, ..., F) with F known")
        kernel = Parameter(
            f"{self.name}/kernel",
            first_values(self.kernel_initializer, (features, self.units)),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if not self.use_bias:
            return [kernel]
        bias = Parameter(
            f"{self.name}/bias",
            first_values(self.bias_initializer, (self.units,)),
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )
        return [kernel, bias]

    @property
    def kernel(self) -> Parameter:
        """W. AttributeError before the weights are made."""
        return self.weight("kernel")

    @property
    def bias(self) -> Parameter | None:
        """b; None without. AttributeError before the weights are made."""
        return self.weight("bias") if self.use_bias else None

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, "[B, ..., F]")
        self.build(x.shape)
        kernel = self.weights[0].value
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(f"{self.name}: x has shape {x.shape}, expected [B, ..., F] with F={kernel.shape[0]}")
        rows = x.reshape(-1, kernel.shape[0])
        a = _core.matmul(rows, kernel)
        if self.use_bias:
            a += self.weights[1].value
        y = self.activation.forward(a).reshape(*x.shape[:-1], self.units)

        def backprop(dy: Any, *, need_dx: bool = True) -> Gradients:
            da = self.activation.backward(output_gradient(self, dy, y.shape), y).reshape(-1, self.units)
            dx = _core.matmul(da, kernel.T).reshape(x.shape) if need_dx else None
            if not self.trainable:
                return Gradients(dx, [])
            dkernel = _core.matmul_transposed(rows, da)
            return Gradients(dx, self.of_trainable([dkernel, da.sum(axis=0)] if self.use_bias else [dkernel]))

        return y, backprop

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            raise ValueError(f"{self.name}: input has shape {input_shape}, expected (B, ..., F)")
        check_features(self, input_shape, "F")
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation.name,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }
