"""Sizes, masks and random weights that the tests of single layers share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

T, B, D, H, V = 6, 5, 4, 7, 23
LENGTHS = np.array([T, 3, 1, 0, T - 1])
RIGHT = np.arange(T) < LENGTHS[:, None]
HOLES = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]], bool)
MASKS: dict[str, np.ndarray | None] = {"no": None, "right": RIGHT, "left": RIGHT[:, ::-1].copy(), "holes": HOLES}
masked = pytest.mark.parametrize("mask", sorted(MASKS))
sequences = pytest.mark.parametrize("return_sequences", [False, True])


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def built(layer: Any, *shape: int | None) -> Any:
    """The layer with random weights."""
    layer.build(shape)
    rng = np.random.default_rng(5)
    layer.set_weights([normal(rng, *w.shape, scale=0.5) for w in layer.weights])
    return layer
