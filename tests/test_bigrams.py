"""BigramEmbedding: against its definition with Python's integers, its gradients, what is dropped, in a model and in files."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, layers
from rnnext.layers import LSTM, BigramEmbedding, ConcatPooling1D, Dense, SpatialDropout1D
from rnnext.models import load_model

V, D, B, T, BUCKETS = 23, 4, 5, 7, 61


def some_ids() -> np.ndarray:
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    ids[2] = ids[1]
    ids[3, 3:] = 0
    return ids


def made(**options: Any) -> BigramEmbedding:
    layer = BigramEmbedding(V, D, **{"buckets": BUCKETS, **options})
    layer.build((None, None))
    rng = np.random.default_rng(5)
    layer.set_weights([rng.standard_normal(w.shape).astype(np.float32) for w in layer.weights])
    return layer


def bucket(before: int, after: int) -> int:
    key = (before * V + after) * 0x9E3779B97F4A7C15 % 2**64
    return (key >> 32) * BUCKETS >> 32


def pair_of(ids: np.ndarray, b: int, t: int, reserved: int = 2) -> int | None:
    return bucket(int(ids[b, t - 1]), int(ids[b, t])) if t and min(ids[b, t - 1], ids[b, t]) >= reserved else None


def expected(ids: np.ndarray, words: np.ndarray, pairs: np.ndarray, reserved: int = 2) -> np.ndarray:
    y = words[ids]
    for b, t in np.ndindex(*ids.shape):
        if (found := pair_of(ids, b, t, reserved)) is not None:
            y[b, t] += pairs[found]
    return y


@pytest.mark.parametrize("reserved", [0, 2])
def test_values(reserved: int) -> None:
    ids, layer = some_ids(), made(reserved=reserved)
    np.testing.assert_array_equal(layer(ids), expected(ids, *layer.get_weights(), reserved))


def test_pairs_say_nothing_in_the_beginning() -> None:
    layer = BigramEmbedding(V, D)
    ids = some_ids()
    np.testing.assert_array_equal(layer(ids), layer.weights[0].value[ids])
    assert [w.name for w in layer.weights] == ["bigram_embedding/embeddings", "bigram_embedding/bigrams"]
    assert layer.weights[1].shape == (1 << 18, D)


def test_buckets_are_used_alike() -> None:
    layer = BigramEmbedding(20000, 2, buckets=1000)
    ids = np.random.default_rng(0).integers(2, 20000, (100, 1001)).astype(np.int32)
    counts = np.bincount(layer._buckets_of(ids).ravel(), minlength=1001)
    assert counts[0] == 100
    assert len(counts) == 1001
    assert counts[1:].min() > 50
    assert counts[1:].max() < 160


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4, "bigrams_dropout": 0.3}, {"bigrams_dropout": 0.5}])
@pytest.mark.parametrize("gathers", [False, True])
def test_gradients(options: dict[str, Any], gathers: bool) -> None:
    """y is linear in both tables: the gradient of <dy, y> is found by unit vectors, of what was drawn."""
    ids, layer = some_ids(), made(seed=3, **options)
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
    tables = layer.get_weights()

    def with_tables(*values: np.ndarray) -> np.ndarray:
        layer.set_weights(values)
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
    layer = made(dropout=0.5, bigrams_dropout=0.5, seed=1)
    words, pairs = layer.get_weights()
    layer.set_weights([np.ones_like(words), np.full_like(pairs, 10)])
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
    layer = made(dropout=0.2, bigrams_dropout=0.3, reserved=1, seed=4, name="pairs", bigrams_initializer="uniform")
    described = layers.serialize(layer)
    assert layers.serialize(layers.deserialize(copy.deepcopy(described))) == described


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"buckets": 0}, ValueError, "bigram_embedding: buckets is 0, expected at least 1"),
        ({"bigrams_dropout": 2}, ValueError, "bigrams_dropout is 2, expected 0 to 1"),
        ({"reserved": -1}, ValueError, "reserved is -1, expected at least 0"),
        ({"weights": [np.zeros((V, D))]}, ValueError, "set_weights got 1 arrays, expected 2"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BigramEmbedding(V, D, **options)
