"""Dropout: in training each value is set to 0 with probability `rate` and the others are scaled up by 1 / (1 - rate)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _core, _random
from rnnext._checks import number, whole_number_or_none
from rnnext.layers._layer import Backprop, Layer, Mask, RowShape, Shape, check_rank, float_input, output_gradient
from rnnext.parameters import Array, Gradients

Rates: TypeAlias = npt.NDArray[np.float64]


def drawn_scale(generator: np.random.Generator, rate: float | Rates, shape: tuple[int, ...]) -> Array:
    """Draw what values are multiplied by: 0 with probability `rate`, else 1 / (1 - rate). Rates broadcast to the shape."""
    kept = generator.random(shape, dtype=np.float32) >= rate
    share = np.asarray(1 - rate, np.float64)
    scale: Array = np.where(kept, (1 / np.where(share > 0, share, np.inf)).astype(np.float32), np.float32(0))
    return scale


def drawn_places(generator: np.random.Generator, rate: float, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> Array:
    """Draw 1 with probability `rate`, else 0, for each row, step and unit: [B, T, H], stored step by step, as it is read.

    These are as many numbers as a layer's outputs, so the engine's threads draw them, from one number of the generator's.
    """
    rows, steps, units = shape
    seed = int(generator.integers(1 << 64, dtype=np.uint64))
    places = _core.draw_places(seed, rate, rows * steps * units, float64=np.dtype(dtype) == np.float64)
    by_row: Array = places.reshape(steps, rows, units).swapaxes(0, 1)
    return by_row


class Dropout(Layer):
    """In training sets each value of x to 0 with the probability `rate`, and multiplies the rest by 1 / (1 - rate).

    Outside training x is passed on as it is. `noise_shape` is the shape of what is drawn: its entries are None for x's own
    size, and 1 along an axis whose entries are dropped together.
    """

    axes = "[B, ...]"

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, input_shape=input_shape)
        self.rate = number(self.name, "rate", rate, 0, 1)
        self.noise_shape = None if noise_shape is None else self._checked_noise(noise_shape)
        self.seed = whole_number_or_none(self.name, "seed", seed, 0)
        self.generator = _random.generator(seed)

    def _checked_noise(self, noise_shape: object) -> tuple[int | None, ...]:
        if not isinstance(noise_shape, Sequence) or not all(type(size) in (int, type(None)) for size in noise_shape):
            raise TypeError(f"{self.name}: noise_shape is {noise_shape!r}, expected a tuple of int and None")
        if len(noise_shape) < 2 or any(size is not None and size < 1 for size in noise_shape):
            raise ValueError(
                f"{self.name}: noise_shape is {noise_shape!r}, expected for each axis of x {self.axes} None or a size from 1 on"
            )
        return tuple(noise_shape)

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Array, Backprop]:
        x = float_input(self, x, self.axes)
        if not training or self.rate == 0:
            return x, lambda dy, need_dx=True: Gradients(output_gradient(self, dy, x.shape), [])
        scale = drawn_scale(self.generator, self.rate, self._drawn_shape(x.shape))
        return x * scale, lambda dy, need_dx=True: Gradients(output_gradient(self, dy, x.shape) * scale, [])

    def _drawn_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        noise = shape if self.noise_shape is None else self.noise_shape
        if len(noise) != len(shape) or any(n not in (None, 1, size) for n, size in zip(noise, shape, strict=True)):
            raise ValueError(f"{self.name}: noise_shape is {noise}, expected for each axis of x {shape} None, 1 or its size")
        return tuple(size if n is None else n for n, size in zip(noise, shape, strict=True))

    def generators(self) -> dict[str, np.random.Generator]:
        return {self.name: self.generator}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "noise_shape": self.noise_shape, "seed": self.seed}


class SpatialDropout1D(Dropout):
    """Dropout of whole features of x [B, T, D]: the same ones, drawn as [B, 1, D], in all steps of a row."""

    axes = "[B, T, D]"

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: RowShape | None = None,
    ) -> None:
        super().__init__(rate, (None, 1, None), seed, name=name, trainable=trainable, input_shape=input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        check_rank(self, input_shape, "(B, T, D)")
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config
