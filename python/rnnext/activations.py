"""Activation functions of dense layers, each followed by its backward pass, which needs only the function's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnnext import _core
from rnnext.parameters import Array


class Activation(NamedTuple):
    """A function of an array, and its backward pass."""

    name: str
    forward: Callable[[Array], Array]  # x -> y
    backward: Callable[[Array, Array], Array]  # (dy, y) -> dx


def linear(x: Array) -> Array:
    """y = x."""
    return x


def _linear_backward(dy: Array, y: Array) -> Array:
    return dy


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    y: Array = np.maximum(x, np.float32(0))
    return y


def _relu_backward(dy: Array, y: Array) -> Array:
    dx: Array = np.where(y > 0, dy, np.float32(0))  # not a product: 0 times inf is NaN
    return dx


def relu6(x: Array) -> Array:
    """y = min(max(x, 0), 6)."""
    y: Array = np.clip(x, np.float32(0), np.float32(6))
    return y


def _relu6_backward(dy: Array, y: Array) -> Array:
    dx: Array = np.where((y > 0) & (y < 6), dy, np.float32(0))
    return dx


def leaky_relu(x: Array) -> Array:
    """y = x for x > 0, else 0.2 x."""
    y: Array = np.where(x > 0, x, np.float32(0.2) * x)
    return y


def _leaky_relu_backward(dy: Array, y: Array) -> Array:
    dx: Array = np.where(y > 0, dy, np.float32(0.2) * dy)
    return dx


def elu(x: Array) -> Array:
    """y = x for x > 0, else e^x - 1."""
    y: Array = np.where(x > 0, x, np.expm1(np.minimum(x, np.float32(0))))
    return y


def _elu_backward(dy: Array, y: Array) -> Array:
    dx: Array = dy * (np.minimum(y, np.float32(0)) + 1)
    return dx


# Klambauer et al. 2017: with these, outputs keep the unit variance of a layer's inputs.
_SELU_SCALE, _SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)


def selu(x: Array) -> Array:
    """y = 1.0507 x for x > 0, else 1.0507 · 1.6733 (e^x - 1)."""
    y: Array = _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, np.float32(0))))
    return y


def _selu_backward(dy: Array, y: Array) -> Array:
    dx: Array = dy * np.where(y > 0, _SELU_SCALE, y + _SELU_SCALE * _SELU_ALPHA)
    return dx


def softplus(x: Array) -> Array:
    """y = log(1 + e^x)."""
    y: Array = np.maximum(x, np.float32(0)) + np.log1p(np.exp(-np.abs(x)))  # nothing overflows
    return y


def _softplus_backward(dy: Array, y: Array) -> Array:
    dx: Array = dy * -np.expm1(-y)
    return dx


def softsign(x: Array) -> Array:
    """y = x / (1 + |x|)."""
    y: Array = x / (1 + np.abs(x))
    return y


def _softsign_backward(dy: Array, y: Array) -> Array:
    dx: Array = dy * np.square(1 - np.abs(y))
    return dx


def exponential(x: Array) -> Array:
    """y = e^x."""
    y: Array = np.exp(x)
    return y


def _exponential_backward(dy: Array, y: Array) -> Array:
    return dy * y


def hard_sigmoid(x: Array) -> Array:
    """y = x / 6 + 1 / 2, limited to 0 to 1."""
    y: Array = np.clip(x / np.float32(6) + np.float32(0.5), np.float32(0), np.float32(1))
    return y


def _hard_sigmoid_backward(dy: Array, y: Array) -> Array:
    dx: Array = np.where((y > 0) & (y < 1), dy / np.float32(6), np.float32(0))
    return dx


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x), as the engine computes it: within 3 ulp, and nothing overflows."""
    return _core.sigmoid(x)


def _sigmoid_backward(dy: Array, y: Array) -> Array:
    return dy * y * (1 - y)


def tanh(x: Array) -> Array:
    """y = tanh(x), as the engine computes it: within 3 ulp."""
    return _core.tanh(x)


def _tanh_backward(dy: Array, y: Array) -> Array:
    return dy * (1 - y * y)


def softmax(x: Array) -> Array:
    """y = e^x / Σ e^x over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y: Array = e / e.sum(axis=-1, keepdims=True)
    return y


def _softmax_backward(dy: Array, y: Array) -> Array:
    dx: Array = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    return dx


_ALL = {
    form.name: form
    for form in (
        Activation("linear", linear, _linear_backward),
        Activation("relu", relu, _relu_backward),
        Activation("relu6", relu6, _relu6_backward),
        Activation("leaky_relu", leaky_relu, _leaky_relu_backward),
        Activation("elu", elu, _elu_backward),
        Activation("selu", selu, _selu_backward),
        Activation("softplus", softplus, _softplus_backward),
        Activation("softsign", softsign, _softsign_backward),
        Activation("exponential", exponential, _exponential_backward),
        Activation("hard_sigmoid", hard_sigmoid, _hard_sigmoid_backward),
        Activation("sigmoid", sigmoid, _sigmoid_backward),
        Activation("tanh", tanh, _tanh_backward),
        Activation("softmax", softmax, _softmax_backward),
    )
}


def get(identifier: str | Callable[[Array], Array] | None) -> Activation:
    """The activation with that name, or of one of this module's functions; None means linear. ValueError for anything else."""
    name = identifier if isinstance(identifier, str) else getattr(identifier, "__name__", "")
    if identifier is None:
        name = "linear"
    if name not in _ALL:
        raise ValueError(f"activation is {identifier!r}, expected one of {', '.join(map(repr, _ALL))}")
    return _ALL[name]
