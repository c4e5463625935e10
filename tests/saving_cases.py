"""What the tests of saving share: a model that was trained for an epoch, and its data."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnext import Sequential
from rnnext.layers import GRU, LSTM, Dense, Dropout, Embedding, SpatialDropout1D
from rnnext.utils import set_random_seed

V, T = 30, 8


def data(rows: int = 48) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, V, (rows, T)).astype(np.int32), rng.integers(0, 2, rows)


def trained(optimizer: Any = "adam", **options: Any) -> Sequential:
    set_random_seed(1)
    model = Sequential(
        [
            Embedding(V, 6, mask_zero=True),
            SpatialDropout1D(0.2),
            GRU(5, return_sequences=True),
            LSTM(4, go_backwards=True),
            Dropout(0.3),
            Dense(1, "sigmoid"),
        ],
        name="reviews",
    )
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], **options)
    model.fit(*data(), batch_size=10, verbose=0)
    return model
