"""BigramEmbedding: against its definition, its gradients, what is dropped, in a model, in files; which pairs are frequent."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, layers
from rnnext.layers import LSTM, BigramEmbedding, ConcatPooling1D, Dense, SpatialDropout1D, frequent_pairs
from rnnext.models import load_model

V, D, B, T = 23, 4, 5, 7
PAIRS = np.random.default_rng(8).permutation([(a, b) for a in range(V) for b in range(V) if (3 * a + b) % 3])


def some_ids() -> np.ndarray:
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    ids[2] = ids[1]
    ids[3, 3:] = 0
    return ids


def made(**options: Any) -> BigramEmbedding:
    layer = BigramEmbedding(V, D, **{"pairs": PAIRS, **options})
    layer.build((None, None))
    rng = np.random.default_rng(5)
    tables = [rng.standard_normal(w.shape).astype(np.float32) for w in layer.weights[:2]]
    layer.set_weights([*tables, PAIRS])
    return layer


def expected(ids: np.ndarray, words: np.ndarray, bigrams: np.ndarray, scale: float = 1.0) -> np.ndarray:
    numbers = {tuple(pair): n for n, pair in enumerate(PAIRS.tolist())}
    y = words[ids]
    for b, t in np.ndindex(*ids.shape):
        n = numbers.get((int(ids[b, t - 1]), int(ids[b, t]))) if t else None
        if n is not None:
            y[b, t] += np.float32(scale) * bigrams[n]
    return y


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_values(scale: float) -> None:
    ids, layer = some_ids(), made(bigrams_scale=scale)
    np.testing.assert_array_equal(layer(ids), expected(ids, *layer.get_weights()[:2], scale))


def test_pairs_say_nothing_in_the_beginning() -> None:
    layer = BigramEmbedding(V, D, pairs=PAIRS)
    ids = some_ids()
    np.testing.assert_array_equal(layer(ids), layer.weights[0].value[ids])
    assert [w.name.partition("/")[2] for w in layer.weights] == ["embeddings", "bigrams", "pairs"]
    assert [w.name.partition("/")[2] for w in layer.trainable_weights] == ["embeddings", "bigrams"]


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4, "bigrams_dropout": 0.3}, {"bigrams_dropout": 0.5}])
@pytest.mark.parametrize("gathers", [False, True])
def test_gradients(options: dict[str, Any], gathers: bool) -> None:
    """y is linear in both tables: unit vectors find the gradient of <dy, y>, given the dropout that was drawn."""
    ids, layer = some_ids(), made(seed=3, bigrams_scale=2, **options)
    drawn = copy.deepcopy(layer.generator)
    dy = np.random.default_rng(4).standard_normal((B, T, D)).astype(np.float32)
    y, backprop = layer.forward(ids, training=True)
    found = backprop(dy).weights
    if gathers:
        layer.generator = copy.deepcopy(drawn)
        gather = layer.gather(ids, training=True)
        recurrent = LSTM(3)
        out, undo = recurrent.forward(gather)
        found = gather.backprop(undo(np.ones_like(out)).inputs).weights
        dy = recurrent.forward(y)[1](np.ones_like(out)).inputs
    tables = layer.get_weights()[:2]
    assert len(found) == 2

    def with_tables(*values: np.ndarray) -> np.ndarray:
        layer.set_weights([*values, PAIRS])
        layer.generator = copy.deepcopy(drawn)
        again: np.ndarray = layer.forward(ids, training=True)[0]
        return again

    for n, gradient in enumerate(found):
        wanted = np.zeros_like(tables[n])
        for row in range(len(wanted)):
            unit = [np.zeros_like(table) for table in tables]
            unit[n][row] = 1
            wanted[row] = (dy * with_tables(*unit)).sum(axis=(0, 1))
        assert gradient.shape == wanted.shape
        assert (np.diff(gradient.rows) > 0).all()
        np.testing.assert_allclose(gradient.dense(), wanted, rtol=1e-5, atol=1e-6)


def test_rows_are_dropped_at_all_their_places() -> None:
    ids = np.tile(np.arange(2, V, dtype=np.int32), (3, 1))
    pairs = np.stack([ids[0, :-1], ids[0, 1:]], axis=1)
    layer = BigramEmbedding(V, D, pairs=pairs, dropout=0.5, bigrams_dropout=0.5, seed=1)
    layer.build((None, None))
    layer.set_weights([np.ones((V, D)), np.full((len(pairs), D), 10), pairs])
    y = layer.forward(ids, training=True)[0]
    assert set(np.unique(y[:, 1:])) == {0, 2, 20, 22}
    np.testing.assert_array_equal(y[0], y[1])
    np.testing.assert_array_equal(layer(ids)[:, 1:], np.full((3, V - 3, D), 11))


def test_frozen() -> None:
    layer = made(trainable=False)
    y, backprop = layer.forward(some_ids())
    assert backprop(np.ones_like(y)).weights == []


@pytest.mark.parametrize("between", [False, True])
def test_in_a_model(between: bool, tmp_path: Path) -> None:
    embedding = made(dropout=0.2, bigrams_dropout=0.2, mask_zero=True)
    dropout = [SpatialDropout1D(0.1)] if between else []
    model = Sequential([embedding, *dropout, LSTM(6, return_sequences=True), ConcatPooling1D(), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    rng = np.random.default_rng(0)
    rows = [rng.integers(2, V, n % 9).astype(np.int32) for n in range(60)]
    y = np.array([any(a == 5 and b > 9 for a, b in pairwise(row)) for row in rows])
    before = model.evaluate(rows, y, verbose=0)
    model.fit(rows, y, 8, 20, verbose=0)
    assert model.evaluate(rows, y, verbose=0) < before
    # Small batches one after the other: none must see the table of another.
    together = model.predict(rows, 60, verbose=0)
    np.testing.assert_array_equal(model.predict(rows, 1, verbose=0), together)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(rows, verbose=0), together)


def test_configuration() -> None:
    layer = made(dropout=0.2, bigrams_dropout=0.3, seed=4, name="pairs", bigrams_initializer="uniform", bigrams_scale=0.5)
    described = layers.serialize(layer)
    assert layers.serialize(layers.deserialize(copy.deepcopy(described))) == described


def test_frequent_pairs() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 9, n).astype(np.int32) for n in [0, 1, 2, *rng.integers(0, 30, 40)]]
    counts = Counter((int(a), int(b)) for row in rows for a, b in pairwise(row) if min(a, b) >= 2)
    wanted = [pair for pair, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= 3]
    assert [tuple(pair) for pair in frequent_pairs(rows, 1000, min_count=3).tolist()] == wanted
    assert [tuple(pair) for pair in frequent_pairs(rows, 5, min_count=3).tolist()] == wanted[:5]
    assert (frequent_pairs(rows, 1000, reserved=0) == 0).any()
    assert frequent_pairs([], 5).shape == frequent_pairs([np.zeros(0, np.int32)], 5).shape == (0, 2)
    assert frequent_pairs([np.array([5, 5], np.int32), np.array([5], np.int32)], 5, min_count=1).tolist() == [[5, 5]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pairs": 0}, ValueError, "bigram_embedding: pairs is 0, expected at least 1"),
        ({"pairs": [[1, 2, 3]]}, ValueError, r"pairs has shape \(1, 3\)"),
        ({"pairs": [[0.5, 2.0]]}, ValueError, "dtype float64, expected ids"),
        ({"pairs": [[1, V]]}, ValueError, "pairs has ids 1 to 23, expected 0 to 22"),
        ({"pairs": 3, "bigrams_dropout": 2}, ValueError, "bigrams_dropout is 2, expected 0 to 1"),
        ({"pairs": 3, "bigrams_scale": 0}, ValueError, "bigrams_scale is 0, expected a number above 0"),
        ({"pairs": 3, "weights": [np.zeros((V, D))]}, ValueError, "set_weights got 1 arrays, expected 3"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BigramEmbedding(V, D, **options)
    with pytest.raises(ValueError, match="input_dim is 16777217, expected at most 16777216"):
        BigramEmbedding((1 << 24) + 1, D, pairs=1)
