"""Sequential: its gradient, its repeatability, what fit, evaluate and predict accept and refuse."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from model_cases import D, T, V, X, assert_same, bits, data, ragged, tutorial

import rnnext
from rnnext import Sequential, _progress, initializers, metrics
from rnnext._inputs import Batch
from rnnext.callbacks import TerminateOnNaN
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    Branches,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    SpatialDropout1D,
    TimeDistributed,
)
from rnnext.losses import BinaryCrossentropy, SparseCategoricalCrossentropy
from rnnext.parameters import RowGradient
from rnnext.utils import set_random_seed


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = rnnext.get_num_threads()
    set_random_seed(11)
    yield
    rnnext.set_num_threads(before)


# ---------------------------------------------------------------- the whole gradient


STACKS: dict[str, Callable[[], list[Any]]] = {
    "tutorial_lstm": lambda: [Embedding(V, D), LSTM(5), Dense(1, "sigmoid")],
    "tutorial_gru": lambda: [Embedding(V, D, mask_zero=True), GRU(5), Dense(1, "sigmoid")],
    "two_layers": lambda: [Embedding(V, D, mask_zero=True), GRU(5, return_sequences=True), LSTM(4), Dense(1, "sigmoid")],
    "backwards": lambda: [
        Embedding(V, D, mask_zero=True),
        LSTM(5, return_sequences=True, go_backwards=True),
        GRU(4),
        Dense(1, "sigmoid"),
    ],
    "no_gather": lambda: [Embedding(V, D), Dense(5, "tanh"), GRU(4), Dense(1, "sigmoid")],
    "average": lambda: [Embedding(V, D, mask_zero=True), LSTM(4, return_sequences=True), GlobalAveragePooling1D(), Dense(1)],
    "of_steps": lambda: [Embedding(V, D, mask_zero=True), LSTM(4, return_sequences=True), Dense(1, "sigmoid")],
    "floats": lambda: [LSTM(5, return_sequences=True), GlobalAveragePooling1D(), Dense(1, "sigmoid")],
    "hidden_first": lambda: [Dense(5, "tanh"), LSTM(4), Dense(1, "sigmoid")],
}


@pytest.mark.parametrize("name", sorted(STACKS))
def test_gradient_of_the_loss_is_that_of_finite_differences(name: str) -> None:
    model = Sequential(STACKS[name]())
    x, y = data(8)
    x[2, 4:] = 0
    x[3] = 0
    if name in ("floats", "hidden_first"):
        x = np.random.default_rng(2).standard_normal((8, T, D)).astype(np.float32)
    model(x)
    rng = np.random.default_rng(3)
    model.set_weights([(0.5 * rng.standard_normal(w.shape)).astype(np.float32) for w in model.weights])
    loss = BinaryCrossentropy(from_logits=name == "average")
    labels = np.broadcast_to(y[:, None, None], (8, T, 1)) if name == "of_steps" else y

    def value() -> float:
        return loss.forward(labels, model.forward(Batch(x, None), training=True)[0])[0]

    y_pred, _, backward = model.forward(Batch(x, None), training=True)
    gradients = backward(loss.forward(labels, y_pred)[1]())
    assert len(gradients) == len(model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        dense = gradient.dense() if isinstance(gradient, RowGradient) else gradient
        before = weight.value.copy()
        for _ in range(2):
            direction = rng.standard_normal(weight.shape).astype(np.float32)
            slope, step = 0.0, np.float32(1 / 64)
            for factor, share in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
                weight.assign(before + np.float32(factor) * step * direction)
                slope += share * value() / float(step)
            weight.assign(before)
            expected = float(np.sum(dense.astype(np.float64) * direction))
            allowed = 1e-3 * float(np.linalg.norm(dense)) + 2e-5
            assert slope == pytest.approx(expected, abs=allowed), weight.name


def test_gathering_changes_nothing_but_the_last_bits() -> None:
    """Embedding and LSTM in a model (rows of the table, projected once) against the same model with the vectors copied."""
    for cell in (LSTM, GRU):
        gathering = tutorial(cell, mask_zero=True)
        copying = Sequential([Embedding(V, D, mask_zero=True), Dropout(0.0), cell(5), Dense(1, "sigmoid")])
        copying.set_weights(gathering.get_weights())
        x, y = data(16)
        x[3, 5:] = 0
        results = []
        for model in (gathering, copying):
            y_pred, _, backward = model.forward(Batch(x, None), training=True)
            gradients = backward(BinaryCrossentropy().forward(y, y_pred)[1]())
            results.append([y_pred, *(g.dense() if isinstance(g, RowGradient) else g for g in gradients)])
        for got, wanted in zip(*results, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


def test_gradients_before_the_first_learner_are_not_computed() -> None:
    model = Sequential([Dropout(0.1), Dense(3), LSTM(4), Dense(1)])
    x = np.ones((2, 5, 3), np.float32)
    model(x)
    asked: list[bool] = []
    for layer in model.layers:
        forward = layer.forward

        def spied(*args: Any, forward: Any = forward, **options: Any) -> Any:
            y, backprop = forward(*args, **options)

            def noted(dy: Any, *, need_dx: bool = True) -> Any:
                asked.append(need_dx)
                return backprop(dy, need_dx=need_dx)

            return y, noted

        layer.forward = spied  # type: ignore[method-assign]
    y, _, backward = model.forward(Batch(x, None), training=True)
    backward(np.ones_like(y))
    assert asked == [True, True, False]  # from the last layer to the first that learns
    model.layers[1].trainable = False
    asked.clear()
    y, _, backward = model.forward(Batch(x, None), training=True)
    assert len(backward(np.ones_like(y))) == 5
    assert asked == [True, False]


# ---------------------------------------------------------------- repeatability


def trained(threads: int, x: Any, y: Any, make: Callable[[], Sequential]) -> list[bytes]:
    rnnext.set_num_threads(threads)
    set_random_seed(3)
    model = make()
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    return bits(model)


@pytest.mark.parametrize("form", ["padded", "ragged"])
@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_a_run_repeats_bit_for_bit_with_any_number_of_threads(cell: Any, form: str) -> None:
    x, y = (data if form == "padded" else ragged)(70)

    def make() -> Sequential:
        layers = [Embedding(V, D), SpatialDropout1D(0.3), cell(33), Dropout(0.3), Dense(1, "sigmoid")]
        model = Sequential(layers if form == "ragged" else [layers[0], *layers[2:]])
        model.compile("adam", "binary_crossentropy")
        return model

    expected = trained(1, x, y, make)
    assert all(trained(threads, x, y, make) == expected for threads in (1, 2, 3, 5, 8))
    set_random_seed(4)
    other = make()
    other.fit(x, y, epochs=2, batch_size=16, verbose=0)
    assert bits(other) != expected


def test_another_process_computes_the_same_bits() -> None:
    program = (
        "import hashlib, numpy as np, rnnext\n"
        "from rnnext.layers import *\n"
        "rnnext.utils.set_random_seed(5)\n"
        "model = rnnext.Sequential([Embedding(40, 6), GRU(5), Dropout(0.5), Dense(1, 'sigmoid')])\n"
        "model.compile('adam', 'binary_crossentropy')\n"
        "rng = np.random.default_rng(0)\n"
        "model.fit(rng.integers(0, 40, (50, 9)), rng.integers(0, 2, 50), verbose=0)\n"
        "print(hashlib.sha256(b''.join(w.tobytes() for w in model.get_weights())).hexdigest())\n"
    )
    runs = {subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout for _ in range(2)}
    assert len(runs) == 1


# ---------------------------------------------------------------- predict


PREDICTORS: dict[str, Callable[[], list[Any]]] = {
    "tutorial": lambda: [Embedding(V, D), LSTM(17), Dense(1, "sigmoid")],
    "classes": lambda: [Embedding(V, D), GRU(17), Dense(30, "relu"), Dense(5, "softmax")],
    "average": lambda: [Embedding(V, D), GRU(9, return_sequences=True), GlobalAveragePooling1D(), Dense(2, "softmax")],
    "maximum": lambda: [Embedding(V, D), Dropout(0.5), LSTM(9, go_backwards=True), Dense(2)],
}


@pytest.mark.parametrize("name", sorted(PREDICTORS))
@pytest.mark.parametrize("form", ["padded", "ragged"])
def test_predictions_are_those_of_each_row_alone_bit_for_bit(name: str, form: str) -> None:
    model = Sequential(PREDICTORS[name]())
    x, _ = (data if form == "padded" else ragged)(70)
    together = model.predict(x, verbose=0)
    for n in range(len(x)):
        np.testing.assert_array_equal(model.predict(x[n : n + 1], verbose=0)[0], together[n])
    for batch_size in (1, 7, 64):
        np.testing.assert_array_equal(model.predict(x, batch_size, verbose=0), together)


@pytest.mark.parametrize("layer", [lambda: Dense(3), lambda: AttentionPooling1D(2), lambda: TimeDistributed(Dense(3))])
def test_the_order_of_x_in_memory_changes_no_bit(layer: Callable[[], Any]) -> None:
    model, x = Sequential([layer()]), np.random.default_rng(0).standard_normal((20, 30, 9)).astype(np.float32)
    together = model.predict(x, verbose=0)
    for batch_size in (1, 7, 20):
        np.testing.assert_array_equal(model.predict(np.asfortranarray(x), batch_size, verbose=0), together)


def test_predictions_of_steps_have_the_length_of_their_row() -> None:
    model = Sequential([Embedding(V, D), GRU(4, return_sequences=True), Dense(3, "softmax")])
    x, _ = ragged()
    y = model.predict(x, batch_size=8, verbose=0)
    assert [len(row) for row in y] == [len(row) for row in x]
    for row, wanted in zip(x[1:T], y[1:T], strict=True):
        np.testing.assert_array_equal(model.predict(row[None], verbose=0)[0], wanted)


def test_predictions_with_one_output_for_all_steps() -> None:
    model = Sequential([Embedding(V, D), GlobalMaxPooling1D(keepdims=True), Dense(1)])
    model.compile("sgd", "mse")
    x, y = [np.array([3, 1]), np.array([2]), np.array([5, 6, 7])], np.arange(3.0).reshape(3, 1, 1)
    assert model.predict(x, verbose=0).shape == (3, 1, 1)
    for row, wanted in zip(x, model.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(model.predict(row[None], verbose=0)[0], wanted)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


def test_a_layer_that_is_used_again_predicts_with_the_vocabulary_that_is_before_it_now() -> None:
    """Whether or not a new table lies where one that is gone has lain."""
    shared, other, x = LSTM(3), LSTM(3), data(20)[0]
    shared.build((None, None, 4))
    other.build((None, None, 4))
    other.set_weights(shared.get_weights())
    for n in range(100):
        model = Sequential([Embedding(V, 4, embeddings_initializer=initializers.RandomNormal(seed=n)), shared])
        found = model.predict(x, verbose=0)
        np.testing.assert_allclose(found, other(model.layers[0](x)), atol=1e-6)
        del model


def test_a_model_that_nobody_holds_is_gone_at_once() -> None:
    """Not when the garbage collector next comes by: cross-validation makes one after the other."""
    x, y = data()
    model = tutorial()
    history = model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.evaluate(x, y, verbose=0)
    left = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert left() is None
    finally:
        gc.enable()
    assert history.history["loss"]


def test_predict_from_many_threads_at_once() -> None:
    x, y = data(60)
    models = []
    for _ in range(2):
        set_random_seed(1)
        models.append(tutorial(units=33))
        models[-1].fit(x[:32], y[:32], verbose=0)  # leaves rows of the table whose steps are put off
    wanted, model = models[0].predict(x, verbose=0), models[1]
    found: list[Any] = [None] * 8

    def work(n: int) -> None:
        found[n] = [model.predict(x, batch_size=5 + n, verbose=0) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in found:
        for result in results:
            np.testing.assert_array_equal(result, wanted)


def test_a_model_is_called_like_a_function() -> None:
    model = tutorial()
    x, _ = data(5)
    np.testing.assert_array_equal(model(x), model.predict(x, verbose=0))
    mask = np.arange(T) < 4
    np.testing.assert_array_equal(model(x, mask=np.broadcast_to(mask, x.shape)), model(x[:, :4]))
    np.testing.assert_array_equal(model([list(row) for row in x]), model(x))


# ---------------------------------------------------------------- kinds of input


def test_ragged_ids_train_as_their_masked_padding_does() -> None:
    x, y = ragged(48)
    padded = np.zeros((48, T), np.int32)
    for n, row in enumerate(x):
        padded[n, : len(row)] = row + 1
    results = []
    for given in ([row + 1 for row in x], padded):
        set_random_seed(1)
        model = Sequential([Embedding(V + 1, D, mask_zero=True), LSTM(5), Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        history = model.fit(given, y, epochs=3, verbose=0, validation_split=0.25)
        results.append((history.history, model.get_weights()))
    for name, values in results[0][0].items():
        np.testing.assert_allclose(values, results[1][0][name], rtol=1e-6)
    for got, wanted in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["array", "list of vectors", "whole numbers", "float64"])
def test_models_of_floats(kind: str) -> None:
    rng = np.random.default_rng(0)
    x: Any = rng.standard_normal((40, T, D)).astype(np.float32)
    if kind == "list of vectors":
        x = [row[: 1 + n % T] for n, row in enumerate(x)]
    elif kind == "whole numbers":
        x = (x * 3).astype(np.int64)
    elif kind == "float64":
        x = x.astype(np.float64)
    model = Sequential([GRU(6), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, rng.integers(0, 2, 40), epochs=2, verbose=0, validation_split=0.2)
    assert len(history.history["val_loss"]) == 2
    assert model.predict(x, verbose=0).shape == (40, 1)


def test_rows_without_steps() -> None:
    model = tutorial()
    y = np.zeros(3, int)
    model.fit([[], [1, 2], []], y, verbose=0)
    predicted = model.predict([[], [1, 2], []], verbose=0)
    np.testing.assert_array_equal(predicted[0], predicted[2])
    np.testing.assert_array_equal(model.predict([[], []], verbose=0), predicted[[0, 2]])
    np.testing.assert_array_equal(model.predict(np.zeros((1, 0), np.int32), verbose=0)[0], predicted[0])


TURNING: dict[str, Callable[[], list[Any]]] = {
    "once": lambda: [LSTM(4, return_sequences=True, go_backwards=True)],
    "before_others": lambda: [
        GRU(4, return_sequences=True, go_backwards=True),
        Bidirectional(LSTM(3, return_sequences=True)),
    ],
    "twice": lambda: [LSTM(4, return_sequences=True, go_backwards=True), GRU(3, return_sequences=True, go_backwards=True)],
    "branches": lambda: [Branches([LSTM(n, return_sequences=True, go_backwards=True) for n in (2, 3)])],
}


def test_ids_in_rows_of_rows() -> None:
    """Documents of sentences of words: the layers see what they see of one sentence after the other."""
    x = np.random.default_rng(0).integers(0, V, (4, 3, T))
    words, sentence = Embedding(V, D), LSTM(5)
    model = Sequential([TimeDistributed(words), TimeDistributed(sentence), GRU(4), Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    predicted = model.predict(x, verbose=0)
    sentences = sentence(words(x.reshape(12, T))).reshape(4, 3, 5)
    np.testing.assert_allclose(predicted, model.layers[3](model.layers[2](sentences)), rtol=1e-6)
    before = model.get_weights()
    model.fit(x, [0, 1, 0, 1], verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        assert (a != b).any()
    np.testing.assert_array_equal(model.predict([x[0], x[1, :2]], verbose=0)[0], model.predict(x, verbose=0)[0])
    x[2, 1, 4] = V
    for given, place in ((x, "row 2, position 1, 4"), ([x[0, :1], x[2]], "row 1, position 1, 4")):
        with pytest.raises(ValueError, match=f"time_distributed: x has id {V} at {place}, expected 0 to {V - 1}"):
            model.predict(given, verbose=0)


def test_labels_of_steps_in_lists() -> None:
    """A list of sequences with a label for each step trains as its padding under a mask does."""
    rng = np.random.default_rng(0)
    lengths = [3, 7, 1, 5, 0, 7]
    x = [rng.integers(1, V, n) for n in lengths]
    y = [rng.integers(0, 3, n) for n in lengths]
    padded_x, padded_y = np.zeros((6, 7), np.int32), np.zeros((6, 7), np.int32)
    for n, length in enumerate(lengths):
        padded_x[n, :length], padded_y[n, :length] = x[n], y[n]
    results = []
    for given in ((x, y), (padded_x, padded_y)):
        set_random_seed(1)
        model = Sequential([Embedding(V, D, mask_zero=True), GRU(5, return_sequences=True), Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(*given, epochs=3, verbose=0, sample_weight=np.linspace(0.5, 2, 6))
        results.append((history.history, model.evaluate(*given, verbose=0), model.get_weights()))
    assert results[0][0]["accuracy"] == results[1][0]["accuracy"]
    np.testing.assert_allclose(results[0][0]["loss"], results[1][0]["loss"], rtol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)
    for got, wanted in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
    steps = np.concatenate(model.predict(x, verbose=0)), np.concatenate(y)
    loss, accuracy = model.evaluate(x, y, verbose=0)  # of the steps that there are
    assert loss == pytest.approx(SparseCategoricalCrossentropy()(steps[1], steps[0]), rel=1e-6)
    assert accuracy == pytest.approx(float((steps[0].argmax(axis=1) == steps[1]).mean()))
    weights = np.linspace(0.5, 2, 6)
    each = np.repeat(weights, lengths)
    loss, accuracy = model.evaluate(x, y, sample_weight=weights, verbose=0)
    assert loss == pytest.approx(SparseCategoricalCrossentropy()(steps[1], steps[0], each), rel=1e-6)
    expected = model.evaluate(x, y, verbose=0)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match=r"y\[1\] has 6 labels, expected 7, one for each step of x\[1\]"):
        model.fit(x, [y[0], y[1][:-1], *y[2:]], verbose=0)


@pytest.mark.parametrize("rows", ["padded", "masked", "lists", "lists of one length"])
def test_labels_of_steps_with_one_output_need_no_last_axis(rows: str) -> None:
    rng = np.random.default_rng(0)
    x: Any = rng.integers(1, V, (6, 7))
    y: Any = rng.integers(0, 2, (6, 7))
    x[:3, 4:] = 0
    if rows == "lists":
        x, y = ([row[: 7 - n] for n, row in enumerate(array)] for array in (x, y))
    elif rows == "lists of one length":
        x, y = list(x), list(y)
    results = []
    for labels in (y, [each[:, None] for each in y] if "lists" in rows else y[..., None]):
        set_random_seed(1)
        model = Sequential([Embedding(V, D, mask_zero=rows == "masked"), GRU(5, return_sequences=True), Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "auc"])
        history = model.fit(x, labels, epochs=2, batch_size=4, verbose=0, sample_weight=np.linspace(0.5, 2, 6))
        results.append((history.history, model.evaluate(x, labels, verbose=0), bits(model)))
    assert results[0] == results[1]


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("stack", TURNING)
def test_steps_in_lists_are_those_of_each_row_alone_whatever_turns_them(stack: str, mask_zero: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = [3, 7, 1, 5, 0, 7]
    x = [rng.integers(0, 4, n) for n in lengths]
    y = [rng.integers(0, 2, (n, 1)) for n in lengths]
    model = Sequential([Embedding(V, D, mask_zero=mask_zero), *TURNING[stack](), Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    alone = [model.predict([row], verbose=0)[0] for row in x]
    assert_same(dict(enumerate(model.predict(x, verbose=0))), dict(enumerate(alone)))
    if mask_zero:  # steps that do not count are those of the mask, turned round with the outputs
        kept = [(row if stack == "twice" else row[::-1]) != 0 for row in x]
        alone, y_kept = ([row[k] for row, k in zip(rows, kept, strict=True)] for rows in (alone, y))
    else:
        y_kept = y
    p, labels = np.concatenate(alone), np.concatenate(y_kept)
    expected = BinaryCrossentropy()(labels, p), float(((p > 0.5) == labels).mean())
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)
    assert model.evaluate(x, y, 4, verbose=0)[1] == pytest.approx(expected[1])
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-6)
    history = model.fit(x[1:2] * 2 + x[:1], y[1:2] * 2 + y[:1], verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_a_batch_without_any_step_changes_nothing() -> None:
    x = [np.array([1, 2, 3]), np.array([4, 5]), np.array([], np.int64), np.array([], np.int64)]
    y = [np.ones((len(row), 1)) for row in x]
    model = Sequential([Embedding(V, D), GRU(3, return_sequences=True), Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    assert model.evaluate(x, y, 2, verbose=0) == model.evaluate(x[:2], y[:2], verbose=0)
    assert model.fit(x, y, 2, shuffle=False, epochs=2, verbose=0).history["loss"][1] > 0
    assert model.optimizer is not None
    assert model.optimizer.iterations == 2


def test_branches_that_turn_some_steps_take_no_rows_of_different_length() -> None:
    model = Sequential([Embedding(V, D), Branches([[LSTM(3, return_sequences=True, go_backwards=True)], [Dense(2)]])])
    assert model.predict(X, verbose=0).shape == (50, T, 5)
    with pytest.raises(ValueError, match="branches: go_backwards turns the steps of some branches, expected all or none"):
        model.predict([[1], [2, 3]], verbose=0)


@pytest.mark.parametrize("name", ["crossentropy", "ce"])
def test_crossentropy_is_the_one_that_the_labels_ask_for(name: str) -> None:
    x, y = data(12)
    expected = {1: "BinaryCrossentropy", 3: "SparseCategoricalCrossentropy"}
    for units, loss in expected.items():
        model = Sequential([Embedding(V, D), GRU(3), Dense(units, "sigmoid" if units == 1 else "softmax")])
        model.compile("adam", name, metrics=[name, "acc"])
        history = model.fit(x, y, verbose=0)
        assert type(model.loss).__name__ == loss
        assert set(history.history) == {"loss", name, "acc"}
        assert history.history[name] == pytest.approx(history.history["loss"], rel=1e-6)
    model.compile("adam", name)
    model.fit(x, rnnext.utils.to_categorical(y, 3), verbose=0)
    assert type(model.loss).__name__ == "CategoricalCrossentropy"


# ---------------------------------------------------------------- arguments of fit and evaluate


def test_validation_split_takes_the_last_rows_unshuffled() -> None:
    x, y = data(50)
    first, second = tutorial(), tutorial()
    second.set_weights(first.get_weights())
    set_random_seed(2)
    split = first.fit(x, y, epochs=2, validation_split=0.3, verbose=0)
    set_random_seed(2)
    apart = second.fit(x[:35], y[:35], epochs=2, validation_data=(x[35:], y[35:]), verbose=0)
    assert_same(split.history, apart.history)
    third = tutorial()
    third.set_weights(first.get_weights())
    fourth = tutorial()
    fourth.set_weights(first.get_weights())
    validation = x[:20], y[:20]
    set_random_seed(3)
    both = third.fit(x, y, validation_split=0.3, validation_data=validation, verbose=0)  # as in Keras: nothing is split off
    set_random_seed(3)
    assert_same(both.history, fourth.fit(x, y, validation_data=validation, verbose=0).history)


def test_weights_of_rows_and_classes() -> None:
    """A weight of 2 is the row twice; metrics do not see weights, weighted metrics do; validation knows no class weights."""
    x, y = data(23)
    once, twice, classes = tutorial(), tutorial(), tutorial()
    for model in (once, twice, classes):
        model.set_weights(once.get_weights())
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy", "auc"])
    weights = np.where(y == 1, 2.0, 1.0)
    double = np.concatenate([np.arange(23), np.flatnonzero(y == 1)])
    found = once.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    wanted = twice.evaluate(x[double], y[double], verbose=0, return_dict=True)
    assert found["weighted_accuracy"] == pytest.approx(wanted["accuracy"])
    assert found["auc"] == pytest.approx(wanted["auc"])
    assert found["loss"] * 23 == pytest.approx(wanted["loss"] * len(double), rel=1e-6)
    assert found["accuracy"] == once.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert found["accuracy"] != found["weighted_accuracy"]
    by_row = once.fit(x, y, sample_weight=weights, shuffle=False, verbose=0, validation_data=(x, y))
    keys: dict[Any, float] = {0.0: 1.0, np.True_: 2.0}  # as np.unique finds them
    by_class = classes.fit(x, y, class_weight=keys, shuffle=False, verbose=0, validation_data=(x, y))
    assert_same(by_class.history, by_row.history)
    assert bits(once) == bits(classes)


def test_weighted_validation() -> None:
    x, y = data(20)
    weights = np.linspace(0, 2, 20)
    model = tutorial()
    history = model.fit(x, y, validation_data=(x, y, weights), verbose=0)
    assert history.history["val_loss"][-1] == model.evaluate(x, y, sample_weight=weights, verbose=0)[0]


def test_results_of_evaluate() -> None:
    x, y = data()
    model = tutorial()
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]
    predicted = model.predict(x, verbose=0)[:, 0]
    assert accuracy == pytest.approx(float(((predicted > 0.5) == y).mean()))
    assert loss == pytest.approx(BinaryCrossentropy()(y, predicted), rel=1e-6)
    assert model.evaluate(x, y, batch_size=7, verbose=0) == pytest.approx([loss, accuracy], rel=1e-6)
    model.compile("adam", "mse")
    assert isinstance(model.evaluate(x, y, verbose=0), float)


def test_names_of_metrics() -> None:
    x, y = data()
    model = tutorial()
    given = [metrics.AUC(), metrics.AUC(curve="PR"), metrics.AUC(name="pr"), "acc", metrics.BinaryAccuracy(name="loss")]
    model.compile("adam", "binary_crossentropy", metrics=given, weighted_metrics=["acc", metrics.AUC()])
    history = model.fit(x, y, validation_split=0.2, verbose=0).history
    names = ["loss", "auc", "auc_1", "pr", "acc", "loss_1", "weighted_acc", "weighted_auc"]
    assert list(history) == [*names, *(f"val_{name}" for name in names)]
    assert model.metrics_names == names
    assert model.named_metrics["auc_1"] is given[1]
    assert [metric.name for metric in model.metrics[:3]] == ["loss", "auc", "auc"]
    assert model.metrics[2] is given[1]
    assert model.metrics[0].result() == history["val_loss"][-1]
    assert tutorial(compiled=False).metrics == []


@pytest.mark.parametrize("first", ["embedding", "input"])
def test_lists_of_one_array(first: str) -> None:
    """As for models of several inputs and outputs, where no list of sequences can be meant."""
    x, y = data()
    weights = np.linspace(0, 2, len(x))

    def made() -> Sequential:
        set_random_seed(0)
        layers = tutorial().layers if first == "embedding" else [Input((T, D)), LSTM(3), Dense(1, "sigmoid")]
        model = Sequential(layers)
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model

    rows: Any = x if first == "embedding" else np.random.default_rng(0).random((len(x), T, D), np.float32)
    plain, wrapped = made(), made()
    options: dict[str, Any] = {"shuffle": False, "verbose": 0}
    expected = plain.fit(rows, y, sample_weight=weights, validation_data=(rows, y), **options)
    found = wrapped.fit([rows], [y], sample_weight=[weights], validation_data=([rows], (y,)), **options)
    assert_same(found.history, expected.history)
    assert wrapped.evaluate([rows], [y], verbose=0) == plain.evaluate(rows, y, verbose=0)
    assert wrapped.test_on_batch([rows], [y]) == plain.test_on_batch(rows, y)
    for predict in (lambda m, a: m.predict(a, verbose=0), lambda m, a: m.predict_on_batch(a), lambda m, a: m(a)):
        np.testing.assert_array_equal(predict(wrapped, [rows]), predict(plain, rows))
    assert wrapped.predict([rows[0]], verbose=0).shape == (1, 1)  # a sequence
    assert wrapped.train_on_batch([rows], [y]) == plain.train_on_batch(rows, y)
    assert bits(wrapped) == bits(plain)


def test_shuffling() -> None:
    """Every row once an epoch, each epoch another order, and none where it is not wanted."""
    x = np.arange(30)[:, None] % V
    y = np.zeros(30, int)
    for shuffle in (True, False):
        model = tutorial()
        forward, seen = model.forward, []

        def spied(batch: Batch, *, training: bool, forward: Any = forward, seen: Any = seen) -> Any:
            seen.extend(batch.x[:, 0].tolist())
            return forward(batch, training=training)

        model.forward = spied  # type: ignore[method-assign]
        model.fit(x, y, epochs=2, batch_size=8, shuffle=shuffle, verbose=0)
        assert sorted(seen[:30]) == sorted(seen[30:]) == list(range(30))
        assert (seen[:30] == list(range(30))) is not shuffle
        assert (seen[:30] == seen[30:]) is not shuffle


def test_train_on_batch_is_a_step_of_fit() -> None:
    x, y = data(32)
    one, other = tutorial(), tutorial()
    other.set_weights(one.get_weights())
    history = one.fit(x, y, shuffle=False, verbose=0, class_weight={0: 3})
    found = other.train_on_batch(x, y, class_weight={0: 3}, return_dict=True)
    assert found == {name: values[0] for name, values in history.history.items()}
    assert bits(one) == bits(other)
    assert other.test_on_batch(x, y) == other.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(other.predict_on_batch(x), other.predict(x, verbose=0))


@pytest.mark.parametrize("verbose", ["auto", 0, 1, 2])
def test_one_line_an_epoch_where_there_is_no_terminal(verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = data()
    model = tutorial()
    model.fit(x, y, epochs=3, verbose=verbose, validation_split=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (0 if verbose == 0 else 3)
    for n, line in enumerate(lines, 1):
        assert line.startswith(f"Epoch {n}/3 - ")
        assert "ms/step - loss: " in line
        assert "val_accuracy: " in line
    model.predict(x, verbose=verbose)
    assert capsys.readouterr().out == ""
    model.evaluate(x, y, verbose=verbose)
    assert len(capsys.readouterr().out.splitlines()) == (verbose != 0)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    model = tutorial()
    monkeypatch.setattr(_progress.Progress, "_interval", 0.0)
    monkeypatch.setattr(sys, "stdout", _Terminal())
    model.fit(x, y, batch_size=10, epochs=2)
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert "5/5 [" in shown
    assert "step/s" in shown
    assert "accuracy: 0." in shown
    assert "Epoch 2/2 - " in shown
    monkeypatch.setattr(sys, "stdout", _Terminal())
    model.fit(x, y, verbose=2)
    assert "[" not in sys.stdout.getvalue()  # type: ignore[attr-defined]


class _Writer:
    """What programs put in standard output's place, to write it elsewhere."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text)

    def flush(self) -> None:
        """Nothing is kept back."""


@pytest.mark.parametrize("kind", ["none", "a writer", "closed"])
def test_a_standard_output_that_is_no_file(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    model, writer, closed = tutorial(), _Writer(), io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", {"none": None, "a writer": writer, "closed": closed}[kind])
    model.predict(x)
    rnnext.TextClassifier(units=4, embedding_dim=4, epochs=1).fit(["a b", "c d"], [0, 1])
    assert not writer.lines
    if kind != "closed":
        model.fit(x, y)
        model.evaluate(x, y)
    assert ("Epoch 1/1 - " in "".join(writer.lines)) == (kind == "a writer")


def test_metrics_leave_out_batches_without_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    """Which AUC would refuse, before a callback can see the loss."""
    model = tutorial()
    model.compile("sgd", "binary_crossentropy", metrics=["auc"])
    model.layers[-1].weights[1].assign([np.nan])
    history = model.fit(*data(), epochs=3, callbacks=TerminateOnNaN(), verbose=0)
    assert capsys.readouterr().out == "Batch 0: Invalid loss, terminating training\n"
    assert np.isnan(history.history["loss"]).all()


def test_evaluate_takes_batches_as_fit_does() -> None:
    x, y = data()
    model = tutorial()
    model.fit(x, y, verbose=0)
    expected = model.evaluate(x, y, 10, verbose=0)
    pieces = [(x[n : n + 10], y[n : n + 10]) for n in range(0, 50, 10)]
    assert model.evaluate(iter(pieces), verbose=0) == expected
    assert model.evaluate(pieces_by_number(pieces), verbose=0) == expected
    assert model.evaluate(iter(pieces), steps=2, verbose=0) == model.evaluate(x[:20], y[:20], 10, verbose=0)
    fresh = Sequential([LSTM(3), Dense(1)])
    fresh.compile("sgd", "mse")
    assert np.isfinite(fresh.evaluate(iter([(np.ones((4, 3, 2), np.float32), np.ones(4))]), verbose=0))


class pieces_by_number:  # noqa: N801 - a PyDataset's form
    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, number: int) -> Any:
        return self.pieces[number]


# ---------------------------------------------------------------- as a whole


def test_a_model_learns_what_can_be_learned() -> None:
    """Whether id 7 is in the row: no evidence for a gradient, but all parts together do what they are for."""
    x, _ = data(400)
    y = (x == 7).any(axis=1).astype(int)
    for cell in (LSTM, GRU):
        model = Sequential([Embedding(V, 8), cell(16, return_sequences=True), GlobalMaxPooling1D(), Dense(1, "sigmoid")])
        model.compile(rnnext.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy", "auc"])
        history = model.fit(x[:300], y[:300], epochs=25, validation_data=(x[300:], y[300:]), verbose=0).history
        assert history["val_accuracy"][-1] > 0.95
        assert history["val_auc"][-1] > 0.95
