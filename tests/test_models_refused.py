"""Sequential: what fit, evaluate and predict refuse, and that nothing has changed then."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_cases import D, T, V, X, Y, bits, tutorial

import rnnext
from rnnext import Sequential
from rnnext.callbacks import Callback, EarlyStopping
from rnnext.layers import GRU, LSTM, Dense, Embedding, Input
from rnnext.utils import set_random_seed

NAN = np.full((50, T, D), np.nan, np.float32)


def fit(*data: Any, **options: Any) -> Callable[[Sequential], Any]:
    return lambda model: model.fit(*data, verbose=options.pop("verbose", 0), **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (fit(X + V, Y), ValueError, f"embedding: x has id .* at row 0, position 0, expected 0 to {V - 1}"),
        (fit(np.where(X[3, 2] == X, -1, X), Y), ValueError, "embedding: x has id -1 at row"),
        (fit([[1, 2], [3, V]], [0, 1]), ValueError, f"embedding: x has id {V} at row 1, position 1, expected 0 to {V - 1}"),
        (fit(X + 0.5, Y), ValueError, r"embedding: x has \d+\.5 at row 0, position 0, expected integers, the ids of a vocab"),
        (fit([[1.0, 2.0], [3.0, 4.25]], [0, 1]), ValueError, "embedding: x has 4.25 at row 1, position 1, expected integers"),
        (fit(X + float(1 << 24), Y), ValueError, "embedding: x has .* at row 0, position 0, expected integers"),
        (fit(X + float(V), Y), ValueError, f"embedding: x has id .* at row 0, position 0, expected 0 to {V - 1}"),
        (
            fit(X, Y, validation_data=(X + 0.5, Y)),
            ValueError,
            r"embedding: validation_data\[0\] has .*\.5 at row 0, position 0, expected integers",
        ),
        (fit(X[0], Y), ValueError, r"fit: x has shape \(9,\), expected at least 2 dimensions"),
        (fit(NAN, Y), ValueError, "fit: x has nan at 0, 0, 0, expected finite numbers"),
        (fit(list(NAN), Y), ValueError, "fit: x has nan at 0, 0, 0, expected finite numbers"),
        (fit(X[:, :, None] + 0.5, Y), ValueError, r"embedding: input has shape \(None, 9, 1\), expected \(B, T\)"),
        (fit("text", Y), TypeError, "fit: x is a str, expected a NumPy array or a list of sequences"),
        (fit(["text"], [0]), TypeError, r"fit: x\[0\] is a str, expected a sequence of ids or of vectors"),
        (fit([[1], [[2]]], [0, 1]), ValueError, r"fit: x\[1\] has shape \(1, 1\), expected \(T\)"),
        (fit([[1], [2.5]], [0, 1]), TypeError, r"fit: x\[1\] has dtype float64, expected int64"),
        (fit([], []), ValueError, "fit: x is empty"),
        (fit(X[:0], Y[:0]), ValueError, "fit: x is empty"),
        (fit([X], Y[:1]), ValueError, r"fit: y has shape \(1,\), expected 50 labels"),
        (fit(X, [Y[:2]]), ValueError, r"fit: y has shape \(1, 2\), expected 50 labels"),
        (fit(X, Y, sample_weight=[Y[:2]]), ValueError, r"fit: sample_weight has shape \(1, 2\), expected \(50,\)"),
        (fit(X, Y[:-1]), ValueError, r"fit: y has shape \(49,\), expected 50 labels, one for each row of x"),
        (
            fit(X, Y + 1),
            ValueError,
            "fit: y does not fit the model's output .*: y_true has values from 1 to 2",
        ),
        (fit(X, np.stack([Y, Y], 1)), ValueError, r"fit: y does not fit .* y_true has shape \(50, 2\)"),
        (fit(X, np.where(Y, np.nan, 0)), ValueError, "fit: y has nan at .*, expected finite numbers"),
        (fit(X, ["a"] * 50), TypeError, "fit: y has dtype <U1, expected numbers"),
        (fit(X, None), ValueError, "fit: y has shape .*, expected 50 labels"),
        (fit(np.full((50, 9, 2), 1e39), Y), ValueError, r"fit: x has 1e\+39 at 0, 0, 0, expected finite numbers of float32"),
        (fit(X, Y, sample_weight=[1e39] * 50), ValueError, "fit: sample_weight has numbers that are .* beyond float32"),
        (
            fit(X, Y, class_weight={0: 1e39}),
            ValueError,
            r"fit: class_weight has 1e\+39 for class 0, expected 0 to",
        ),
        (
            fit(X, Y, sample_weight=[1e30] * 50, class_weight={0: 1e30}),
            ValueError,
            "times class_weight is beyond",
        ),
        (fit(X, Y, sample_weight=[[1], [1, 2]]), ValueError, "fit: sample_weight has entries of different shapes"),
        (lambda m: m([[1], [2, 3]], mask=np.ones((2, 2), bool)), ValueError, "mask is given, expected None"),
        (lambda m: m.evaluate(iter([])), ValueError, "evaluate: x hands out no batch"),
        (lambda m: m.evaluate(iter([(X, Y)]), Y), ValueError, "evaluate: y is given, expected None: x hands out"),
        (lambda m: m.evaluate(X, Y, steps=0), ValueError, "evaluate: steps is 0, expected at least 1"),
        (lambda m: m.predict_on_batch(3), TypeError, "predict_on_batch: x is a int"),
        (lambda m: m.test_on_batch(X, None), ValueError, "evaluate: y has shape"),
        (fit(X, [[0]] * 49 + [[0, 1]]), ValueError, "fit: y has rows of different length"),
        (fit(X, Y, sample_weight=Y[:-1]), ValueError, r"fit: sample_weight has shape \(49,\), expected \(50,\)"),
        (fit(X, Y, sample_weight=Y - 1), ValueError, "fit: sample_weight has numbers that are negative"),
        (fit(X, Y, sample_weight=["a"] * 50), TypeError, "fit: sample_weight has dtype <U1, expected numbers"),
        (fit(X, Y, sample_weight=np.ones((50, T))), ValueError, "fit: y does not fit .*sample_weight has shape"),
        (fit(X, Y, class_weight={"a": 1}), TypeError, "fit: class_weight has the key 'a', expected class numbers"),
        (fit(X, Y, class_weight={0.5: 1}), TypeError, "fit: class_weight has the key 0.5, expected class numbers"),
        (fit(X, Y, validation_data={"a": 1}), TypeError, "fit: validation_data is a dict, expected"),
        (fit(X, Y, validation_data=5), TypeError, "fit: validation_data is a int, expected"),
        (fit(X, Y, validation_data="ab"), TypeError, "fit: validation_data is a str, expected"),
        (fit(X, Y, validation_data=(X, Y), validation_batch_size=0), ValueError, "fit: validation_batch_size is 0, expected"),
        (fit(X, Y, class_weight={0: -1}), ValueError, "fit: class_weight has -1 for class 0, expected 0 to"),
        (fit(X, Y, class_weight=[1, 2]), TypeError, "fit: class_weight is a list, expected a dict"),
        (fit(X, Y, batch_size=0), ValueError, "fit: batch_size is 0, expected at least 1"),
        (fit(X, Y, batch_size=2.0), TypeError, "fit: batch_size is 2.0, expected a whole number"),
        (fit(X, Y, epochs=-1), ValueError, "fit: epochs is -1, expected at least 0"),
        (fit(X, Y, epochs="3"), TypeError, "fit: epochs is '3', expected a whole number"),
        (fit(X, Y, verbose=3), ValueError, "verbose is 3, expected 'auto', 0, 1 or 2"),
        (fit(X, Y, shuffle="no"), TypeError, "fit: shuffle is 'no', expected True or False"),
        (fit(X, Y, callbacks=5), TypeError, "callbacks is a int, expected a list of Callbacks"),
        (fit(X, Y, callbacks=[print]), TypeError, "fit: callbacks has a builtin_function_or_method, expected a Callback"),
        (fit(X, Y, validation_split=1.5), ValueError, "fit: validation_split is 1.5, expected more than 0 and less than 1"),
        (fit(X, Y, validation_split=0.99), ValueError, "fit: validation_split is 0.99 of 50 rows"),
        (fit(X, Y, validation_split="half"), TypeError, "fit: validation_split is 'half', expected a number"),
        (fit(X, Y, validation_data=X), ValueError, "fit: validation_data has another form than"),
        (fit(X, Y, validation_data=(X + V, Y)), ValueError, r"embedding: validation_data\[0\] has id"),
        (fit(X, Y, validation_data=(X, Y[1:])), ValueError, r"fit: validation_data\[1\] has shape \(49,\)"),
        (fit(X, Y, validation_data=(X, Y, Y[1:])), ValueError, r"fit: validation_data\[2\] has shape \(49,\)"),
        (lambda m: m.evaluate(X, Y[:-1], verbose=0), ValueError, r"evaluate: y has shape \(49,\), expected 50"),
        (lambda m: m.train_on_batch(X + V, Y), ValueError, "embedding: x has id"),
        (lambda m: m.predict(X + V, verbose=0), ValueError, "embedding: x has id"),
        (lambda m: m.predict(X, batch_size=-1), ValueError, "predict: batch_size is -1"),
        (lambda m: m(X + V), ValueError, "embedding: x has id"),
        (lambda m: m(X, mask=np.ones((50, 2), bool)), ValueError, r"lstm: mask has shape \(50, 2\), expected \(50, 9\)"),
        (lambda m: m.compile("adam", "mse", metrics=3), TypeError, "compile: metrics is 3, expected a list"),
        (
            lambda m: m.compile("adam", "mse", ["accuracy"]),
            ValueError,
            r"compile: loss_weights is \['accuracy'\], expected None",
        ),
        (
            lambda m: m.compile("adam", ["mse", "mae"]),
            TypeError,
            r"losses.get: identifier is \['mse', 'mae'\], expected a name",
        ),
        (lambda m: m.compile("adam", "mse", metrics=["best"]), ValueError, "no metric 'best', expected one of"),
        (lambda m: m.compile("best", "mse"), ValueError, "'best' is not known, expected one of"),
        (lambda m: m.compile("adam", "best"), ValueError, "no loss 'best', expected one of"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_changes(
    call: Callable[[Sequential], Any], error: type[Exception], message: str
) -> None:
    model = tutorial()
    model.fit(X, Y, verbose=0)
    before, optimizer = bits(model), model.optimizer
    assert optimizer is not None
    steps = optimizer.iterations
    with pytest.raises(error, match=message):
        call(model)
    assert bits(model) == before
    assert model.optimizer is optimizer
    assert optimizer.iterations == steps
    model.fit(X, Y, verbose=0)


def test_a_metric_that_does_not_fit_is_said_before_anything_changes() -> None:
    model = Sequential([Embedding(V, 3), GRU(4), Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    before = bits(model)
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match="sparse_categorical_accuracy: y_true has shape"):
            train(X, np.eye(3)[Y])  # type: ignore[operator]
    assert bits(model) == before
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0


def test_unbuilt_models_stay_unbuilt_by_wrong_data() -> None:
    model = Sequential([GRU(3), Dense(1, "sigmoid")])
    model.compile("adam", "crossentropy", metrics=["accuracy"])
    x = np.zeros((4, T, D), np.float32)
    for wrong, labels in ((x, [0, 1]), (x[:, 0], [0, 1, 0, 1]), (x, [0, 1, 2, 3])):
        with pytest.raises(ValueError, match=r"fit: y|gru: input has shape"):
            model.fit(wrong, labels, verbose=0)
        assert not model.built
        assert not model.weights
    model.fit(x[:, :, :2], [0, 1, 0, 1], verbose=0)
    with pytest.raises(ValueError, match=r"gru: input has shape \(None, 9, 6\), expected I=2"):
        model.predict(x)


def test_not_compiled() -> None:
    model = tutorial(compiled=False)
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="sequential is not compiled yet, call compile"):
            call(X, Y)
    assert model.predict(X, verbose=0).shape == (50, 1)


def test_compiled_without_a_loss() -> None:
    model = tutorial(compiled=False)
    model.compile(metrics=["accuracy"])
    assert (model.compiled, model.loss, model.metrics_names) == (True, None, ["loss"])
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"sequential is compiled without a loss, expected compile\(loss='binary_cross"):
            call(X, Y)
    before = model.predict(X, verbose=0)
    copied = pickle.loads(pickle.dumps(model))
    assert (copied.compiled, copied.loss) == (True, None)
    np.testing.assert_array_equal(copied.predict(X, verbose=0), before)


def test_a_list_of_one_array_for_a_model_that_does_not_know_its_input() -> None:
    model = Sequential([LSTM(2), Dense(1)])
    model.compile("adam", "mse")
    vectors = np.zeros((50, T, D), np.float32)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"x is a list of one array \(50, 9, 6\), expected the array itself"):
            call([vectors], Y)
    assert not model.built


class _Interrupt(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_a_model_that_works(tmp_path: Any) -> None:
    model = tutorial()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, callbacks=_Interrupt(), verbose=0)
    assert model.optimizer is not None
    assert model.optimizer.iterations == 2
    model.save(tmp_path / "model")
    loaded = rnnext.models.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    for each in (model, loaded):
        set_random_seed(1)
        each.fit(X, Y, batch_size=8, verbose=0)
    assert bits(loaded) == bits(model)


def test_a_refused_fit_makes_no_weights() -> None:
    x, y = np.zeros((4, 5, 3), np.float32), np.zeros(4)
    model, other = (Sequential([LSTM(4), Dense(1)]) for _ in range(2))
    for each in (model, other):
        each.compile("adam", "mse")
    set_random_seed(1)
    with pytest.raises(ValueError, match=r"lstm: input has shape \(None, 5, 2\), expected"):
        model.fit(x, y, validation_data=(x[:, :, :2], y), verbose=0)
    assert not model.built
    model.fit(x[:, :, :2], y, verbose=0)
    set_random_seed(1)
    other.fit(x[:, :, :2], y, verbose=0)
    assert bits(model) == bits(other)


def test_a_refused_fit_leaves_the_history() -> None:
    model = tutorial()
    history = model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="val_loss"):
        model.fit(X, Y, callbacks=[EarlyStopping("val_loss")], verbose=0)
    assert model.history is history


def test_batches_of_another_size_than_a_stateful_models_input_says() -> None:
    x, y = np.ones((8, 5, 2), np.float32), np.zeros((8, 1))
    model = Sequential([Input(batch_shape=(4, 5, 2)), LSTM(4, stateful=True), Dense(1)])
    model.compile("adam", "mse")
    before = bits(model)
    for call in (
        lambda: model.fit(x[:2], y[:2], verbose=0),
        lambda: model.predict(x[:2], verbose=0),
        lambda: model.evaluate(x[:6], y[:6], verbose=0),
        lambda: model.train_on_batch(x, y),
        lambda: model(x[:2]),
        lambda: model.fit(x, y, shuffle=False, validation_data=(x[:2], y[:2]), verbose=0),
    ):
        with pytest.raises(
            ValueError, match=r"(x|validation_data\[0\]) has [268] rows, expected .*4.*: sequential is stateful"
        ):
            call()
    assert bits(model) == before
    model = Sequential([LSTM(4, stateful=True), Dense(1)])
    model.compile("adam", "mse")
    for options in ({"validation_data": (x[:2], y[:2])}, {"validation_data": (x, y), "validation_batch_size": 2}):
        with pytest.raises(ValueError, match="fit: validation has batches of 2 rows, expected 4 as in training"):
            model.fit(x, y, batch_size=4, verbose=0, **options)
    assert not model.built
