"""Models, data and comparisons that the tests of Sequential share."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnext import Sequential
from rnnext.layers import LSTM, Dense, Embedding

V, T, D = 40, 9, 6


def tutorial(cell: Any = LSTM, units: int = 5, *, compiled: bool = True, **options: Any) -> Sequential:
    model = Sequential([Embedding(V, D, **options), cell(units), Dense(1, activation="sigmoid")])
    if compiled:
        model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def data(rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, V, (rows, T)).astype(np.int32), rng.integers(0, 2, rows)


X, Y = data()


def ragged(rows: int = 50) -> tuple[list[np.ndarray], np.ndarray]:
    x, y = data(rows)
    return [row[: n % (T + 1)] for n, row in enumerate(x)], y


def bits(model: Sequential) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name)
