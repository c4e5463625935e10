"""Models, inputs and comparisons that the tests of `interop` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential
from rnnext.layers import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    RepeatVector,
    SpatialDropout1D,
    TimeDistributed,
)

T, B, D, H, V = 9, 6, 5, 7, 30
LENGTHS = np.array([T, 4, 1, 0, T - 1, 5])
CELLS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "lstm_without_bias": lambda *a, **k: LSTM(*a, use_bias=False, **k),
    "gru": GRU,
    "gru_without_bias": lambda *a, **k: GRU(*a, use_bias=False, **k),
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
    "gru_write": lambda *a, **k: GRU(*a, update_gate="write", **k),
    "gru_reset_before_write": lambda *a, **k: GRU(*a, reset_after=False, update_gate="write", **k),
}
RESET_AFTER = [name for name in sorted(CELLS) if "before" not in name]
cells = pytest.mark.parametrize("cell", sorted(CELLS))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def filled(*layers: Any, shape: tuple[int | None, ...] = (None, None)) -> Sequential:
    """A model with random weights."""
    model = Sequential(list(layers))
    if not model.built:
        model.build(shape)
    rng = np.random.default_rng(3)
    model.set_weights([normal(rng, *w.shape, scale=0.5) for w in model.weights])
    return model


def classifier(cell: str, **options: Any) -> Sequential:
    return filled(Embedding(V, D, **options), Dropout(0.1), CELLS[cell](H), Dense(1, activation="sigmoid"))


def ids(*, empty: bool = True) -> np.ndarray:
    """Ids with zeros before, behind and between."""
    x = np.random.default_rng(4).integers(1, V, (B, T)).astype(np.int32)
    x[0, :3] = x[1, 4:] = x[2, ::2] = 0
    if empty:
        x[3] = 0
    return x


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-6) -> None:
    assert actual.shape == expected.shape
    error, allowed = np.abs(actual - expected).max(initial=0), tolerance * max(1.0, np.abs(expected).max(initial=0))
    assert error <= allowed, f"error {error:.3g}, allowed {allowed:.3g}"


def emptied(model: Sequential) -> Sequential:
    """The same layers, with all weights 0."""
    copy = Sequential.from_config(model.get_config())
    copy.build(model.input_shape or ())
    copy.set_weights([np.zeros(w.shape) for w in copy.weights])
    return copy


def random_weights(cell: str, layers: int, bidirectional: bool, *, reset_after: bool = True) -> list[Any]:
    rng = np.random.default_rng(1)
    gates, directions = 4 if cell == "lstm" else 3, 2 if bidirectional else 1
    bias = (2, gates * H) if cell == "gru" and reset_after else (gates * H,)
    found = []
    for n in range(layers * directions):
        features = D if n < directions else directions * H
        parts = [normal(rng, *shape, scale=0.4) for shape in ((features, gates * H), (H, gates * H), bias)]
        found.append(tuple(parts))
    return found


def assert_refused(call: Callable[[], object], message: str, model: Sequential, error: type[Exception] = ValueError) -> None:
    """Assert that the call raises an error with this message and leaves the model as it was."""
    before = model.get_weights()
    with pytest.raises(error, match=message):
        call()
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


STACKS: dict[str, Callable[[str], Sequential]] = {
    "tutorial": lambda cell: classifier(cell),
    "masked": lambda cell: classifier(cell, mask_zero=True),
    "two_layers": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), CELLS[cell](H), Dense(3, activation="softmax")
    ),
    "backwards": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), CELLS[cell](H, go_backwards=True), Dense(1)
    ),
    "tags_backwards": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True, go_backwards=True), Dense(4)
    ),
    "tags": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True), Dense(4, activation="softmax")
    ),
    "average": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        SpatialDropout1D(0.2),
        CELLS[cell](H, return_sequences=True),
        GlobalAveragePooling1D(),
        Dense(4, activation="relu"),
        Dense(1, activation="tanh", use_bias=False),
    ),
    "maximum": lambda cell: filled(Embedding(V, D), CELLS[cell](H, return_sequences=True), GlobalMaxPooling1D(), Dense(1)),
    "unmasked_average": lambda cell: filled(
        Embedding(V, D), CELLS[cell](H, return_sequences=True, go_backwards=True), GlobalAveragePooling1D(), Dense(1)
    ),
    "both": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        Bidirectional(CELLS[cell](H, return_sequences=True), merge_mode="mul"),
        Bidirectional(CELLS[cell](H)),
        Dense(1),
    ),
    "tags_both": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        Bidirectional(CELLS[cell](H, return_sequences=True)),
        Bidirectional(CELLS[cell](H, return_sequences=True), merge_mode="ave"),
        TimeDistributed(Dense(4, activation="softmax")),
    ),
    "unmasked_both": lambda cell: filled(
        Embedding(V, D), Bidirectional(CELLS[cell](H, zero_output_for_mask=True), merge_mode="sum"), Dense(1)
    ),
    "activations": lambda cell: filled(
        Embedding(V, D, mask_zero=True),
        CELLS[cell](H, return_sequences=True),
        Activation("softsign"),
        TimeDistributed(Activation("exponential")),
        CELLS[cell](H),
        Dense(3),
        Activation("softmax"),
    ),
    "repeated": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H), RepeatVector(3), CELLS[cell](2), Dense(1, activation="exponential")
    ),
    "tags_zero": lambda cell: filled(
        Embedding(V, D, mask_zero=True), CELLS[cell](H, return_sequences=True, zero_output_for_mask=True), Dense(2)
    ),
}
stacks = pytest.mark.parametrize("stack", sorted(STACKS))
