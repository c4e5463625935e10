"""Activation functions of dense layers, each derivative right below its function and taken from the function's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnnext import _core
from rnnext.parameters import Array


class Activation(NamedTuple):
    """A function of an array, and the gradient for its argument."""

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
        Activation("sigmoid", sigmoid, _sigmoid_backward),
        Activation("tanh", tanh, _tanh_backward),
        Activation("softmax", softmax, _softmax_backward),
    )
}


def get(identifier: str | Callable[[Array], Array] | None) -> Activation:
    """The activation of that name, or of one of this module's functions; None is linear. ValueError otherwise."""
    name = identifier if isinstance(identifier, str) else getattr(identifier, "__name__", "")
    if identifier is None:
        name = "linear"
    if name not in _ALL:
        raise ValueError(f"activation is {identifier!r}, expected one of {', '.join(map(repr, _ALL))}")
    return _ALL[name]
