"""What is chosen where the caller does not say, and the model that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Layer,
    SpatialDropout1D,
)
from rnnext.models import Sequential
from rnnext.optimizers import Adam


@dataclass(frozen=True)
class Settings:
    """All choices, none of them open."""

    unit: Literal["word", "char"]
    max_tokens: int
    min_count: int
    maxlen: int
    cell: str
    units: int
    embedding_dim: int
    bidirectional: bool
    pooling: str
    embedding_dropout: float
    dropout: float
    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    patience: int
    average: float


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "lang": ("en", "zh"),
    "unit": ("word", "char"),
    "cell": ("lstm", "gru"),
    "pooling": ("last", "max", "mean", "concat", "attention"),
}
_SHARES = ("embedding_dropout", "dropout", "average", "validation_fraction")
_COUNTS = ("units", "embedding_dim", "epochs", "batch_size", "patience")


def _check(name: str, value: Any) -> None:
    """What no layer or other room checks, or would call by another name."""
    if name in _CHOICES and value not in _CHOICES[name]:
        expected = " or ".join(", ".join(map(repr, _CHOICES[name])).rsplit(", ", 1))
        raise ValueError(f"TextClassifier: {name} is {value!r}, expected {expected}")
    if name in _SHARES or name in _COUNTS:
        kind = float if name in _SHARES else int
        if isinstance(value, bool) or not isinstance(value, int | np.integer | (float | np.floating if kind is float else int)):
            raise TypeError(f"TextClassifier: {name} is {value!r}, expected a {'number' if kind is float else 'whole number'}")
        if not (0 <= value < 1 if kind is float else value >= 1):
            raise ValueError(f"TextClassifier: {name} is {value}, expected {'0 to below 1' if kind is float else 'at least 1'}")


def settings_for(lang: str, rows: int, given: Mapping[str, Any]) -> Settings:
    """The preset for so many texts of a language, with what was given in place of it; errors name what does not fit."""
    for name, value in {"lang": lang, **given}.items():
        if value is not None or name == "lang":
            _check(name, value)
    preset: dict[str, Any] = {
        "unit": "word",
        "max_tokens": 20000,
        "min_count": 2,
        "maxlen": 400,
        "cell": "gru",
        "units": 64,
        "embedding_dim": 64,
        "bidirectional": True,
        "pooling": "concat",
        "embedding_dropout": 0.3,
        "dropout": 0.4,
        "epochs": 5 if rows >= 10000 else 12,
        "batch_size": 32,
        "learning_rate": 0.002,
        "validation_fraction": 0.1,
        "patience": 3,
        "average": 0.99,
    }
    return Settings(**preset | {name: value for name, value in given.items() if value is not None})


_POOLINGS: Mapping[str, type[Layer]] = {
    "concat": ConcatPooling1D,
    "max": GlobalMaxPooling1D,
    "mean": GlobalAveragePooling1D,
    "attention": AttentionPooling1D,
}


def build(settings: Settings, vocabulary: int, classes: int, steps: int) -> Sequential:
    """The model, compiled for so many steps: a logistic unit for two classes, a softmax for more."""
    recurrent: Layer
    sequences = settings.pooling != "last"
    recurrent = (LSTM if settings.cell == "lstm" else GRU)(settings.units, return_sequences=sequences)
    if settings.bidirectional:
        recurrent = Bidirectional(recurrent)
    layers = [
        Embedding(vocabulary, settings.embedding_dim),
        SpatialDropout1D(settings.embedding_dropout),
        recurrent,
        *([_POOLINGS[settings.pooling]()] if sequences else []),
        Dropout(settings.dropout),
        Dense(1, activation="sigmoid") if classes == 2 else Dense(classes, activation="softmax"),
    ]
    model = Sequential(layers)
    loss = "binary_crossentropy" if classes == 2 else "sparse_categorical_crossentropy"
    averaged: dict[str, Any] = (
        {"use_ema": True, "ema_momentum": settings.average, "ema_frequency": 8} if settings.average else {}
    )
    # Recurrent gradients now and then explode; one such step costs an epoch.
    model.compile(
        loss=loss,
        optimizer=Adam(settings.learning_rate, global_clipnorm=1.0, **averaged),
        weighted_metrics=["accuracy"],
    )
    return model
