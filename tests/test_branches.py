"""Branches: its layers one by one, the gradients of all of them together, on arrays, on gathers and on ids; in files."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, layers
from rnnext.layers import (
    GRU,
    LSTM,
    Bidirectional,
    BigramEmbedding,
    Branches,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    TimeDistributed,
)
from rnnext.models import load_model

B, T, D, H, V = 4, 6, 3, 5, 19
PAIRS = [(a, b) for a in range(V) for b in range(0, V, 2)]
MASK = np.arange(T) < np.array([T, 2, 0, 4])[:, None]


def wide(dropout: float = 0.0, pooling: Any = ConcatPooling1D) -> Branches:
    return Branches(
        [
            [Bidirectional(GRU(H, return_sequences=True)), pooling()],
            [Dropout(dropout, seed=1), GlobalAveragePooling1D()],
            LSTM(2),
        ]
    )


def some_x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B, T, D)).astype(np.float32)


def test_outputs_side_by_side() -> None:
    x, layer = some_x(), wide()
    y = layer(x, mask=MASK)
    assert y.shape == (B, 6 * H + D + 2)
    assert layer.compute_output_shape((None, None, D)) == (None, 6 * H + D + 2)
    (both, pool), (_, mean), (lstm,) = layer.branches
    np.testing.assert_array_equal(y[:, : 6 * H], pool(both(x, mask=MASK), mask=MASK))
    np.testing.assert_array_equal(y[:, 6 * H : 6 * H + D], mean(x, mask=MASK))
    np.testing.assert_array_equal(y[:, 6 * H + D :], lstm(x, mask=MASK))
    np.testing.assert_array_equal(layer.forward(x, mask=MASK)[0], y)
    assert layer.compute_mask(x, MASK) is None


@pytest.mark.parametrize("mask", [None, MASK])
def test_gradients(mask: np.ndarray | None) -> None:
    x, layer = some_x(), wide(0.3, GlobalAveragePooling1D)  # a maximum has no gradient where it changes places
    layer.build(x.shape)
    drawn = copy.deepcopy(layer.parts[2].generator)  # type: ignore[attr-defined]
    y, backprop = layer.forward(x, training=True, mask=mask)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    gradients = backprop(dy)
    values = [x, *layer.get_weights()]
    assert len(gradients.weights) == len(layer.weights) == 9
    for n, gradient in enumerate([gradients.inputs, *gradients.weights]):
        direction = np.random.default_rng(n).standard_normal(values[n].shape).astype(np.float32)
        slope = 0.0
        for factor, weight in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
            moved = [v + np.float32(factor / 128) * direction if m == n else v for m, v in enumerate(values)]
            layer.set_weights(moved[1:])
            layer.parts[2].generator = copy.deepcopy(drawn)  # type: ignore[attr-defined]
            slope += weight * 128 * float((dy * layer.forward(moved[0], training=True, mask=mask)[0]).sum(dtype=np.float64))
        assert (gradient * direction).sum() == pytest.approx(slope, rel=2e-3, abs=2e-3)
    assert backprop(dy, need_dx=False).inputs is None


@pytest.mark.parametrize("embedding", [Embedding, partial(BigramEmbedding, pairs=PAIRS)])
def test_a_gather_is_what_it_stands_for(embedding: Any) -> None:
    ids = np.random.default_rng(3).integers(0, V, (B, T)).astype(np.int32)
    table, layer = embedding(V, D), wide()
    gather = table.gather(ids)
    x, undo_x = table.forward(ids)
    y, backprop = layer.forward(gather, mask=MASK)
    expected, backprop_x = layer.forward(x, mask=MASK)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(gather, mask=MASK), expected, rtol=1e-5, atol=1e-6)
    found, wanted = backprop(np.ones_like(y)), backprop_x(np.ones_like(y))
    for a, b in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]
    for a, b in zip(gather.backprop(found.inputs).weights, undo_x(wanted.inputs).weights, strict=True):
        np.testing.assert_allclose(a.dense(), b.dense(), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]


def test_in_a_model(tmp_path: Path) -> None:
    """Ids through two tables, one of them frozen, then two branches behind a Gather."""
    vectors = np.random.default_rng(0).standard_normal((V, 2)).astype(np.float32)
    tables = Branches([[BigramEmbedding(V, D, pairs=PAIRS, dropout=0.1)], [Embedding(V, 2, weights=vectors, trainable=False)]])
    pooled = Branches([[LSTM(H, return_sequences=True), GlobalMaxPooling1D()], [Dropout(0.1), GlobalAveragePooling1D()]])
    model = Sequential([tables, pooled, Dropout(0.1), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, V, n % 9 + 1).astype(np.int32) for n in range(60)]
    y = np.array([5 in row for row in rows])
    first = model.evaluate(rows, y, verbose=0)
    model.fit(rows, y, 8, 20, verbose=0)
    assert model.evaluate(rows, y, verbose=0) < first
    names = [weight.name for weight in model.weights]
    assert names[0] == "branches/bigram_embedding/embeddings"
    assert names[3] == "branches/embedding/embeddings"
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(model.weights[3].value, vectors)
    with pytest.raises(ValueError, match="branches: x has id 19 at row 0, position 0, expected 0 to 18"):
        model.predict([[V]], verbose=0)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(rows, verbose=0), model.predict(rows, verbose=0))
    assert loaded.layers[0].parts[1].trainable is False  # type: ignore[attr-defined]


def test_sequences_and_names() -> None:
    layer = Branches([Dense(2), [Dense(3, name="mine")], Dense(4)], name="three")
    assert layer(some_x()).shape == (B, T, 9)
    assert layer.compute_mask(some_x(), MASK) is MASK
    assert [part.name for part in layer.parts] == ["three/dense", "three/mine", "three/dense_1"]
    described = layers.serialize(layer)
    again = layers.deserialize(copy.deepcopy(described))
    assert layers.serialize(again) == described
    assert layers.serialize(layers.deserialize(layers.serialize(wide(0.5)))) == layers.serialize(wide(0.5))


@pytest.mark.parametrize(
    ("branches", "error", "message"),
    [
        (Dense(1), TypeError, "expected a list of lists of layers"),
        ([], TypeError, "expected a list of lists of layers"),
        ([[]], ValueError, "a branch is empty"),
        ([["dense"]], TypeError, "a branch has a str, expected a layer"),
        ([[LSTM(2, return_state=True)]], ValueError, "lstm has return_state=True"),
        ([[same := Dense(2)], [same]], ValueError, "a layer is there twice"),
    ],
)
def test_refused(branches: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Branches(branches)


def test_outputs_that_do_not_go_together() -> None:
    layer = Branches([[LSTM(2)], [TimeDistributed(Dense(2))]])
    with pytest.raises(ValueError, match="branches: outputs of the branches have shapes"):
        Sequential([layer]).build((None, T, D))
