"""SubwordEmbedding: against its definition, its gradients, in a model, in files, in a graph; which runs of letters it has."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnext
from rnnext import Sequential, interop, layers
from rnnext.layers import LSTM, Branches, ConcatPooling1D, Dense, Embedding, SpatialDropout1D, SubwordEmbedding, frequent_ngrams
from rnnext.models import load_model

V, D, R, B, T = 11, 4, 9, 5, 7
_RNG = np.random.default_rng(8)
PARTS = np.unique(np.stack([_RNG.integers(2, V, 40), _RNG.integers(0, R, 40)], axis=1), axis=0)
PARTS = _RNG.permutation(PARTS[PARTS[:, 0] != 5])  # ids 0, 1 and 5 have none


def some_ids() -> np.ndarray:
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    ids[2] = ids[1]
    ids[3, 3:] = 0
    return ids


def made(**options: Any) -> SubwordEmbedding:
    layer = SubwordEmbedding(V, D, **{"rows": R, "parts": PARTS, **options})
    layer.build((None, None))
    layer.set_weights([np.random.default_rng(5).standard_normal((R, D)).astype(np.float32), PARTS])
    return layer


def test_values() -> None:
    layer, ids = made(), some_ids()
    table = layer.get_weights()[0].astype(np.float64)
    expected = np.zeros((V, D))
    for word in np.unique(PARTS[:, 0]):
        expected[word] = table[PARTS[PARTS[:, 0] == word, 1]].mean(axis=0)
    np.testing.assert_allclose(layer(ids), expected[ids], rtol=1e-5, atol=1e-6)
    assert not layer(np.array([[0, 1, 5]], np.int32)).any()
    gathered = layer.gather(ids)
    np.testing.assert_array_equal(gathered.table.value[gathered.ids], layer(ids))
    # An id's vector is the same bits whatever others are in the batch.
    for row in range(B):
        np.testing.assert_array_equal(layer(ids[row : row + 1])[0], layer(ids)[row])


def test_weights() -> None:
    layer = SubwordEmbedding(V, D, rows=R, parts=PARTS)
    layer.build((None, None))
    assert [w.name.partition("/")[2] for w in layer.weights] == ["embeddings", "parts"]
    assert [w.shape for w in layer.weights] == [(R, D), PARTS.shape]
    assert [w.name.partition("/")[2] for w in layer.trainable_weights] == ["embeddings"]
    other = SubwordEmbedding(V, D, rows=R, parts=len(PARTS), weights=made().get_weights())
    np.testing.assert_array_equal(other(some_ids()), made()(some_ids()))


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4}, {"dropout": 0.9}])
@pytest.mark.parametrize("gathers", [False, True])
def test_gradients(options: dict[str, Any], gathers: bool) -> None:
    """y is linear in the table: the gradient of <dy, y> is found by unit vectors, of what was drawn."""
    ids, layer = some_ids(), made(seed=3, **options)
    drawn = copy.deepcopy(layer.generator)
    dy = np.random.default_rng(4).standard_normal((B, T, D)).astype(np.float32)
    y, backprop = layer.forward(ids, training=True)
    (gradient,) = backprop(dy).weights
    if gathers:
        layer.generator = copy.deepcopy(drawn)
        gather = layer.gather(ids, training=True)
        recurrent = LSTM(3)
        out, undo = recurrent.forward(gather)
        (gradient,) = gather.backprop(undo(np.ones_like(out)).inputs).weights
        dy = recurrent.forward(y)[1](np.ones_like(out)).inputs
    wanted = np.zeros((R, D), np.float32)
    for row in range(R):
        unit = np.zeros((R, D))
        unit[row] = 1
        layer.set_weights([unit, PARTS])
        layer.generator = copy.deepcopy(drawn)
        wanted[row] = (dy * layer.forward(ids, training=True)[0]).sum(axis=(0, 1))
    assert isinstance(gradient, rnnext.parameters.RowGradient)
    assert gradient.shape == (R, D)
    assert (np.diff(gradient.rows) > 0).all()
    np.testing.assert_allclose(gradient.dense(), wanted, rtol=1e-5, atol=1e-6)


def test_words_are_dropped_at_all_their_places() -> None:
    ids = np.tile(np.arange(2, 42, dtype=np.int32), (3, 1))
    parts = np.array([(n, row) for n in range(2, 42) for row in (n, 0)])  # each has a part of its own, and one with all others
    layer = SubwordEmbedding(42, 1, "ones", rows=42, parts=parts, seed=1, dropout=0.5)
    y = layer.forward(ids, training=True)[0][..., 0]
    np.testing.assert_array_equal(y, y[:1].repeat(3, axis=0))
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_array_equal(layer(ids), np.ones((3, 40, 1)))
    assert list(layer.generators()) == ["subword_embedding"]
    assert SubwordEmbedding(3, 1, rows=1, parts=1).generators() == {}


def test_frozen() -> None:
    y, backprop = made(trainable=False).forward(some_ids())
    assert backprop(np.ones_like(y)).weights == []


def test_threads_change_no_bit() -> None:
    before = rnnext.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            rnnext.set_num_threads(threads)
            y, backprop = made(seed=1, dropout=0.2).forward(np.tile(some_ids(), (40, 9)), training=True)
            dy = np.random.default_rng(4).standard_normal(y.shape).astype(np.float32)
            found.append((y, backprop(dy).weights[0].dense()))
    finally:
        rnnext.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["alone", "dropout between", "in branches"])
def test_in_a_model(form: str, tmp_path: Path) -> None:
    embedding: Any = made(dropout=0.2, mask_zero=True)
    if form == "in branches":
        embedding = Branches([[embedding], [Embedding(V, 2, mask_zero=True)]])
    dropout = [SpatialDropout1D(0.1)] if form == "dropout between" else []
    model = Sequential([embedding, *dropout, LSTM(6, return_sequences=True), ConcatPooling1D(), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    rng = np.random.default_rng(0)
    rows = [rng.integers(2, V, n % 9).astype(np.int32) for n in range(60)]
    y = np.array([(row > 8).any() for row in rows])
    before = model.evaluate(rows, y, verbose=0)
    model.fit(rows, y, 8, 20, verbose=0)
    assert model.evaluate(rows, y, verbose=0) < before
    together = model.predict(rows, 60, verbose=0)
    np.testing.assert_array_equal(model.predict(rows, 1, verbose=0), together)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(rows, verbose=0), together)


def test_configuration() -> None:
    layer = made(dropout=0.2, seed=4, name="letters", mask_zero=True)
    described = layers.serialize(layer)
    assert layers.serialize(layers.deserialize(copy.deepcopy(described))) == described


def model_with(embedding: layers.Layer, *, beside: bool) -> Sequential:
    first = Branches([[Embedding(V, 2, name="words")], [embedding]]) if beside else embedding
    model = Sequential([first, LSTM(3, return_sequences=True), ConcatPooling1D(), Dense(2)])
    model.build((None, None))
    return model


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_to_onnx_it_is_a_plain_table(run: Any, beside: bool, mask_zero: bool) -> None:
    model = model_with(made(dropout=0.1, mask_zero=mask_zero), beside=beside)
    graph = interop.to_onnx(model)
    expected = model.predict(some_ids(), verbose=0)
    assert np.abs(run(graph, input=some_ids())[0] - expected).max() <= 1e-6
    plain = interop.from_onnx(graph)
    np.testing.assert_array_equal(plain.predict(some_ids(), verbose=0), expected)
    assert not any("SubwordEmbedding" in str(layer.get_config()) for layer in plain.layers)
    with pytest.raises(ValueError, match="is a Embedding, expected SubwordEmbedding as"):
        interop.from_onnx(graph, model)


def test_what_torch_and_keras_do_not_have(tmp_path: Path) -> None:
    model = model_with(made(name="mine"), beside=False)
    with pytest.raises(ValueError, match=r"to_torch: mine is a SubwordEmbedding, which PyTorch does not have, .*to_onnx"):
        interop.to_torch(model)
    pytest.importorskip("h5py", reason="h5py comes with Keras")
    with pytest.raises(ValueError, match=r"to_keras: mine is a SubwordEmbedding, which has no counterpart in Keras; .*to_onnx"):
        interop.to_keras(model, tmp_path / "a.keras")


def test_frequent_ngrams() -> None:
    """Of the words that were seen, more than once among them, the most frequent first; of all words that have them."""
    words = ["", "[UNK]", "banana", "bans", "cab", "an", "urban"]
    assert frequent_ngrams(words, 4, 9, sizes=(3,)).tolist() == [[2, 0], [2, 1], [3, 0], [3, 1], [6, 1]]  # <ba, ban
    found = frequent_ngrams(words, 7, 99, sizes=(2, 3))
    assert sorted(set(found[:, 1].tolist())) == list(range(found[:, 1].max() + 1))
    assert found[found[:, 1] == 0, 0].tolist() == [2, 3, 5, 6]  # an, of which four words have one, banana it twice
    assert frequent_ngrams(words, 7, 1, sizes=(2, 3)).tolist() == [[2, 0], [3, 0], [5, 0], [6, 0]]
    assert frequent_ngrams(words, 7, 99, sizes=(3,), min_count=4).shape == frequent_ngrams(words, 7, 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rows": 0, "parts": PARTS}, ValueError, "subword_embedding: rows is 0, expected at least 1"),
        ({"rows": 1.5, "parts": PARTS}, TypeError, "rows is 1.5"),
        ({"rows": (1 << 24) + 1, "parts": 3}, ValueError, "rows is 16777217, expected at most 16777216"),
        ({"rows": R, "parts": 0}, ValueError, "parts is 0, expected at least 1"),
        ({"rows": R, "parts": [[1, 2, 3]]}, ValueError, r"parts has shape \(1, 3\)"),
        ({"rows": R, "parts": [[0.5, 2.0]]}, ValueError, "dtype float64, expected numbers"),
        ({"rows": R, "parts": [[1, 2], [V, 2]]}, ValueError, "parts has ids 1 to 11, expected 0 to 10"),
        ({"rows": R, "parts": [[1, -1]]}, ValueError, "parts has rows -1 to -1, expected 0 to 8"),
        ({"rows": R, "parts": 3, "weights": [np.zeros((R, D))]}, ValueError, "set_weights got 1 arrays, expected 2"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SubwordEmbedding(V, D, **options)
    with pytest.raises(ValueError, match="input_dim is 16777217, expected at most 16777216"):
        SubwordEmbedding((1 << 24) + 1, D, rows=1, parts=1)
