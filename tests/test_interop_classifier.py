"""What a text classifier is made of by default, to ONNX as one graph; what of it Keras and PyTorch do not have is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, TextClassifier, interop
from rnnext.layers import (
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    BigramEmbedding,
    Branches,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    TimeDistributed,
)

V, D, H, B, T = 13, 4, 3, 6, 9
LENGTHS = np.array([T, 4, 1, 0, T - 1, 5], np.int32)
ALL_PAIRS = np.random.default_rng(8).permutation([(a, b) for a in range(V) for b in range(V)])


def filled(*layers: Any) -> Sequential:
    """A model with random weights, and the pairs as they are."""
    model = Sequential(list(layers))
    model.build((None, None))
    rng = np.random.default_rng(3)
    values = [w.value if w.name.endswith("/pairs") else rng.standard_normal(w.shape) for w in model.weights]
    model.set_weights(values)
    return model


def ids() -> np.ndarray:
    """Ids with zeros before, behind and between, and a row of nothing else."""
    x = np.random.default_rng(4).integers(1, V, (B, T)).astype(np.int32)
    x[0, :3] = x[1, 4:] = x[2, ::2] = x[3] = 0
    return x


def assert_equal_weights(copy: Sequential, model: Sequential) -> None:
    for a, b in zip(copy.weights, model.weights, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.value, b.value)


def padded(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    lengths = np.array([len(row) for row in rows], np.int32)
    x = np.zeros((len(rows), lengths.max()), np.int32)
    for to, row in zip(x, rows, strict=True):
        to[: len(row)] = row
    return {"input": x, "lengths": lengths}


# ---------------------------------------------------------------- to ONNX and back


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, 2),
        ({"wide": False, "bidirectional": False}, 2),  # as for many long texts
        ({"cell": "gru", "pooling": "attention"}, 3),
        ({"pooling": "last", "wide": False}, 2),
        ({"pooling": "max"}, 2),
        ({"bigrams": 0, "pooling": "mean"}, 3),
        ({"vectors": True}, 2),
        ({"lang": "zh"}, 2),
    ],
    ids=lambda value: "_".join(map(str, value)) or "default" if isinstance(value, dict) else None,
)
def test_a_classifier_is_one_graph(run: Any, options: dict[str, Any], labels: int) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(30)]
    texts = [" ".join(rng.choice(words, rng.integers(2, 12))) for _ in range(60)]
    if "vectors" in options:
        options = {"vectors": {word: rng.standard_normal(3).astype(np.float32) for word in words}}
    classifier = TextClassifier(units=4, embedding_dim=5, epochs=2, random_state=0, verbose=0, **options)
    classifier.fit(texts, [n % labels for n in range(60)])
    model = classifier.model_
    graph = interop.to_onnx(model, lengths=True)
    rows = [*classifier.vectorizer_.transform([*texts, "w1 w2 never seen"]), np.zeros(0, np.int32)]
    expected = model.predict(rows, verbose=0)
    assert np.abs(run(graph, **padded(rows))[0] - expected).max() <= 1e-6
    copy = interop.from_onnx(graph)
    assert_equal_weights(copy, model)
    np.testing.assert_array_equal(copy.predict(rows, verbose=0), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 31, 32, 33, V * V])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_pairs_are_found(run: Any, count: int, mask_zero: bool) -> None:
    """Any number of pairs, in any order, at the first and the last place; of equal pairs the first counts."""
    pairs = ALL_PAIRS[:count]
    if count == 33:
        pairs = np.concatenate([pairs, pairs[:5]])
    model = filled(
        BigramEmbedding(V, D, pairs=pairs, bigrams_scale=0.3, mask_zero=mask_zero),
        LSTM(H, return_sequences=True),
        ConcatPooling1D(),
        Dense(2),
    )
    x = np.concatenate([ids(), np.random.default_rng(5).integers(0, V, (50, T)).astype(np.int32)])
    assert np.abs(run(interop.to_onnx(model), input=x)[0] - model.predict(x, verbose=0)).max() <= 1e-5
    graph = interop.to_onnx(model, lengths=True)
    rows = [row[:count] for row, count in zip(ids(), LENGTHS, strict=True)]
    assert np.abs(run(graph, input=ids(), lengths=LENGTHS)[0] - model.predict(rows, verbose=0)).max() <= 1e-5
    assert_equal_weights(interop.from_onnx(graph), model)


def branched() -> Sequential:
    return filled(
        Branches([[Embedding(V, D)], [BigramEmbedding(V, 2, pairs=ALL_PAIRS[:40]), Dropout(0.5)]]),
        Branches(
            [
                [Bidirectional(LSTM(H, return_sequences=True)), Dropout(0.5), TimeDistributed(Dense(3))],
                [Dense(2, activation="tanh"), Branches([[Dense(1)], [LSTM(2, return_sequences=True)]])],
            ]
        ),
        Branches([AttentionPooling1D(), [AttentionPooling1D(2), Dense(2)], GlobalAveragePooling1D()]),
        Dense(1),
    )


def test_branches_within_branches(run: Any) -> None:
    model = branched()
    rows = [row[:count] for row, count in zip(ids(), LENGTHS, strict=True)]
    graph = interop.to_onnx(model, lengths=True)
    assert np.abs(run(graph, input=ids(), lengths=LENGTHS)[0] - model.predict(rows, verbose=0)).max() <= 1e-5
    assert_equal_weights(interop.from_onnx(graph), model)
    other = Sequential.from_config(model.get_config())
    other.build((None, None))
    assert_equal_weights(interop.from_onnx(graph, other), model)


@pytest.mark.parametrize(
    ("tensor", "value", "message"),
    [
        ("pairs", None, "has no words/pairs, found words/embeddings"),
        ("rows", None, "has no words/rows, found"),
        (
            "pairs",
            np.zeros((40, 2), np.int64),
            r"words/pairs has shape \(40, 2\) and dtype int64, expected",
        ),
        ("pairs", np.zeros(64, np.float32), r"words/pairs has shape \(64,\) and dtype float32, expected \[N\] whole numbers"),
        ("pairs", np.full(64, V * V), "words/pairs and words/rows begin with numbers of other pairs than those of the 40 rows"),
        ("pairs", np.zeros(39, np.int64), "words/pairs and words/rows begin with numbers of other pairs"),
        ("rows", np.zeros(64, np.int64), "words/pairs and words/rows begin with .* expected each row once"),
        ("bigrams", np.zeros((39, D), np.float32), "words/rows begin with numbers of other pairs than those of the 39 rows"),
        ("bigrams", np.zeros((40, D + 1), np.float32), r"gives words/bigrams the shape \(40, 5\), expected \(40, 4\)"),
        ("embeddings", np.zeros((V, D + 1), np.float32), r"gives words/embeddings the shape \(13, 5\), expected \(13, 4\)"),
    ],
)
def test_pairs_that_do_not_fit(onnx: Any, tensor: str, value: np.ndarray | None, message: str) -> None:
    model = filled(BigramEmbedding(V, D, pairs=ALL_PAIRS[:40], name="words"), LSTM(H), Dense(1))
    graph = interop.to_onnx(model)
    kept = [one for one in graph.graph.initializer if one.name != f"words/{tensor}"]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    if value is not None:
        graph.graph.initializer.append(onnx.numpy_helper.from_array(value, f"words/{tensor}"))
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"from_onnx: .*{message}"):
        interop.from_onnx(graph, model)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_graph_with_pairs_is_not_one_without(onnx: Any) -> None:
    with_pairs = filled(BigramEmbedding(V, D, pairs=ALL_PAIRS[:40]), LSTM(H), Dense(1))
    without = filled(Embedding(V, D, name="words"), LSTM(H), Dense(1))
    with pytest.raises(ValueError, match="is a BigramEmbedding, expected Embedding as words"):
        interop.from_onnx(interop.to_onnx(with_pairs), without)
    with pytest.raises(ValueError, match="is a Embedding, expected BigramEmbedding as bigram_embedding"):
        interop.from_onnx(interop.to_onnx(without), with_pairs)


# ---------------------------------------------------------------- PyTorch and Keras


def test_branches_of_torch() -> None:
    model = filled(
        Embedding(V, D),
        Branches([[Bidirectional(LSTM(H, return_sequences=True)), ConcatPooling1D()], [GlobalAveragePooling1D(), Dense(2)]]),
        Dense(1),
    )
    names = {"branches/dense": "beside"}
    state = interop.to_torch(model, names=names)
    assert list(state) == [
        "embedding.weight",
        *(
            f"branches.bidirectional.{kind}_{of}_l0{way}"
            for way in ("", "_reverse")
            for kind in ("weight", "bias")
            for of in ("ih", "hh")
        ),
        "beside.weight",
        "beside.bias",
        "dense.weight",
        "dense.bias",
    ]
    copy = Sequential.from_config(model.get_config())
    copy.build((None, None))
    assert_equal_weights(interop.from_torch(state, copy, names=names), model)


OURS_ALONE: dict[str, Callable[[], Sequential]] = {
    "BigramEmbedding": lambda: filled(BigramEmbedding(V, D, pairs=ALL_PAIRS[:40], name="mine"), LSTM(H), Dense(1)),
    "AttentionPooling1D": lambda: filled(
        Embedding(V, D), LSTM(H, return_sequences=True), AttentionPooling1D(name="mine"), Dense(1)
    ),
    "Branches": lambda: filled(Embedding(V, D), Branches([LSTM(H), LSTM(H)], name="mine"), Dense(1)),
    "ConcatPooling1D": lambda: filled(Embedding(V, D), LSTM(H, return_sequences=True), ConcatPooling1D(name="mine"), Dense(1)),
}


@pytest.mark.parametrize("kind", ["BigramEmbedding", "AttentionPooling1D"])
def test_what_torch_does_not_have(kind: str) -> None:
    model = OURS_ALONE[kind]()
    message = f"mine is a {kind}, which PyTorch does not have, expected Embedding, LSTM, GRU, Dense, .*to_onnx"
    with pytest.raises(ValueError, match=f"to_torch: {message}"):
        interop.to_torch(model)
    with pytest.raises(ValueError, match=f"from_torch: {message}"):
        interop.from_torch({}, model)
    pairs = BigramEmbedding(V, D, pairs=ALL_PAIRS[:40], name="mine")
    with pytest.raises(ValueError, match="to_torch: branches/mine is a BigramEmbedding"):
        interop.to_torch(filled(Branches([pairs, Embedding(V, D)]), LSTM(H)))


@pytest.mark.parametrize("kind", sorted(OURS_ALONE))
def test_what_keras_does_not_have(kind: str, tmp_path: Any) -> None:
    pytest.importorskip("h5py", reason="h5py comes with Keras")
    model = OURS_ALONE[kind]()
    message = f"mine is a {kind}, which has no counterpart in Keras; .*LSTM, .* have one, and to_onnx"
    with pytest.raises(ValueError, match=f"to_keras: {message}"):
        interop.to_keras(model, tmp_path / "a.keras")
    assert not any(tmp_path.iterdir())
    import h5py

    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((1, 1))
    with pytest.raises(ValueError, match=f"from_keras: {message}"):
        interop.from_keras(tmp_path / "a.weights.h5", model)
