"""Penalties and constraints of weights: their formulas, and what training makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, constraints, regularizers
from rnnext.layers import GRU, LSTM, Bidirectional, Dense, Embedding
from rnnext.models import load_model
from rnnext.optimizers import SGD

W = np.array([[3, -0.5], [-4, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("given", "penalty", "gradient"),
    [
        (regularizers.L1(0.1), 0.75, [[0.1, -0.1], [-0.1, 0]]),
        (regularizers.L2(0.1), 2.525, [[0.6, -0.1], [-0.8, 0]]),
        (regularizers.L1L2(0.1, 0.2), 0.75 + 5.05, [[1.3, -0.3], [-1.7, 0]]),
        (regularizers.L1L2(), 0, np.zeros((2, 2))),
        (regularizers.get("l1"), 0.075, [[0.01, -0.01], [-0.01, 0]]),
    ],
)
def test_penalties(given: Any, penalty: float, gradient: Any) -> None:
    assert given(W) == pytest.approx(penalty)
    np.testing.assert_allclose(given.gradient(W), gradient, atol=1e-7)
    assert given.gradient(W).dtype == np.float32


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (constraints.MaxNorm(), [[1.2, -0.5], [-1.6, 0]]),
        (constraints.MaxNorm(0.25, axis=1), [[0.24660, -0.04110], [-0.25, 0]]),
        (constraints.NonNeg(), [[3, 0], [0, 0]]),
        (constraints.UnitNorm(), [[0.6, -1], [-0.8, 0]]),
        (constraints.MinMaxNorm(1, 4, rate=0.5), [[2.7, -0.75], [-3.6, 0]]),
        (constraints.MaxNorm(1, axis=[0, 1]), W / np.float32(np.sqrt(25.25))),
        (constraints.get("unit_norm"), [[0.6, -1], [-0.8, 0]]),
    ],
)
def test_constraints(given: Any, wanted: Any) -> None:
    before = W.copy()
    np.testing.assert_allclose(given(W), wanted, atol=1e-5)
    assert given(W).dtype == np.float32
    np.testing.assert_array_equal(W, before)
    assert np.isfinite(given(np.zeros((2, 2), np.float32))).all()


@pytest.mark.parametrize("module", [regularizers, constraints])
def test_names_dicts_and_classes(module: Any) -> None:
    assert module.get(None) is None
    assert module.serialize(None) is None
    for name in module.__all__:
        kind = getattr(module, name)
        if not isinstance(kind, type) or name in ("Regularizer", "Constraint"):
            continue
        if name.islower():
            assert type(module.get(name)) is kind
            continue
        given = kind()
        described = module.serialize(given)
        assert described == {"class_name": name, "config": given.get_config()}
        for again in (module.get(described), module.get(name), module.get(kind)):
            assert type(again) is kind
            assert module.serialize(again) == described
        assert module.get(given) is given
    assert type(regularizers.get("l1l2")) is regularizers.L1L2  # Keras's name since 3.15


class Own(regularizers.L2):
    pass


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: regularizers.L2(-1), ValueError, "L2: l2 is -1, expected a finite number from 0 on"),
        (lambda: regularizers.L1(float("nan")), ValueError, "L1: l1 is nan"),
        (lambda: regularizers.L1("a"), TypeError, "L1: l1 is 'a', expected a number"),
        (lambda: regularizers.get("l3"), ValueError, "no regularizer 'l3', expected one of L1, "),
        (lambda: regularizers.get(3), TypeError, "identifier is 3, expected a name"),
        (lambda: regularizers.get({"class_name": "L1", "config": {"x": 1}}), ValueError, "the config of L1 is {'x': 1}"),
        (lambda: regularizers.serialize(Own()), ValueError, "regularizer is a Own, expected one of this module's"),
        (lambda: constraints.MinMaxNorm(2, 1), ValueError, "min_value is 2 and max_value 1, expected"),
        (lambda: constraints.MinMaxNorm(rate=2), ValueError, "rate is 2, expected 0 to 1"),
        (lambda: constraints.MaxNorm("a"), TypeError, "MaxNorm: max_value is 'a', expected a number"),
        (lambda: constraints.UnitNorm("a"), TypeError, "UnitNorm: axis is 'a', expected the number of an axis"),
        (lambda: constraints.MaxNorm(axis=None), TypeError, "MaxNorm: axis is None, expected the number of an axis"),
        (
            lambda: constraints.MaxNorm(axis=5)(np.ones((2, 3), np.float32)),
            ValueError,
            r"MaxNorm: axis is 5, expected some of 0, 1 for a weight of shape \(2, 3\)",
        ),
        (
            lambda: constraints.UnitNorm((0, 0))(np.ones((2, 3), np.float32)),
            ValueError,
            r"UnitNorm: axis is \(0, 0\), expected",
        ),
        (lambda: constraints.get("max"), ValueError, "no constraint 'max', expected one of MaxNorm, "),
        (lambda: constraints.get(lambda w: w), TypeError, "expected a name, a dict, a Constraint or None"),
        (lambda: LSTM(3, kernel_regularizer="l3"), ValueError, "no regularizer 'l3'"),
        (lambda: Dense(3, bias_constraint="max"), ValueError, "no constraint 'max'"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- in training

X, Y = np.random.default_rng(0).integers(0, 9, (6, 5)).astype(np.int32), np.linspace(0, 1, 6).astype(np.float32)


def model(*, penalized: bool, trainable: bool = True) -> Sequential:
    def options(**given: Any) -> dict[str, Any]:
        return given if penalized else {}

    layers = [
        Embedding(9, 3, **options(embeddings_regularizer=regularizers.L2(0.1)), trainable=trainable),
        Bidirectional(GRU(4, **options(kernel_regularizer="l1", recurrent_regularizer="l2", bias_regularizer="l2"))),
        Dense(1, **options(kernel_regularizer=regularizers.L1L2(0.01, 0.02))),
    ]
    made = Sequential(layers)
    made.build((None, 5))
    rng = np.random.default_rng(3)
    made.set_weights([rng.standard_normal(w.shape).astype(np.float32) for w in made.weights])
    made.compile(SGD(0.1), "mse")
    return made


def test_penalties_are_added_to_the_loss_and_its_gradient() -> None:
    plain, penalized = model(penalized=False), model(penalized=True)
    weights = [w.value.astype(np.float64).copy() for w in plain.weights]
    gru = [0.01 * np.abs(weights[n]).sum() for n in (1, 4)] + [0.01 * (weights[n] ** 2).sum() for n in (2, 3, 5, 6)]
    dense = 0.01 * np.abs(weights[7]).sum() + 0.02 * (weights[7] ** 2).sum()
    penalty = 0.1 * (weights[0] ** 2).sum() + sum(gru) + dense
    assert penalized.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0) + penalty, rel=1e-6)
    assert penalized.train_on_batch(X, Y) == pytest.approx(plain.train_on_batch(X, Y) + penalty, rel=1e-6)
    gradients = {
        0: 0.2 * weights[0],  # of all rows, also of those that are not in X
        **{n: 0.01 * np.sign(weights[n]) for n in (1, 4)},
        **{n: 0.02 * weights[n] for n in (2, 3, 5, 6)},
        7: 0.01 * np.sign(weights[7]) + 0.04 * weights[7],
        8: np.zeros(1),
    }
    for n, (a, b) in enumerate(zip(penalized.weights, plain.weights, strict=True)):
        np.testing.assert_allclose(a.value, b.value - 0.1 * gradients[n], atol=1e-6, err_msg=a.name)


def test_weights_that_are_not_trained_cost_nothing() -> None:
    whole, frozen = model(penalized=True), model(penalized=True, trainable=False)
    penalty = 0.1 * float((whole.weights[0].value ** 2).sum())
    assert frozen.evaluate(X, Y, verbose=0) == pytest.approx(whole.evaluate(X, Y, verbose=0) - penalty, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_weights_are_constrained_after_each_step(optimizer: str) -> None:
    layers = [
        Embedding(9, 3, embeddings_constraint=constraints.UnitNorm(axis=1)),
        LSTM(4, kernel_constraint="non_neg", recurrent_constraint=constraints.MaxNorm(0.5), bias_constraint="non_neg"),
        Dense(1, kernel_constraint=constraints.MinMaxNorm(0.1, 0.2)),
    ]
    made = Sequential(layers)
    made.compile(optimizer, "mse")
    made.fit(X, Y, batch_size=2, epochs=2, verbose=0)
    table, kernel, recurrent, bias, dense, _ = (w.value for w in made.weights)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, atol=1e-5)
    assert kernel.min() == 0
    assert bias.min() >= 0
    assert np.linalg.norm(recurrent, axis=0).max() <= 0.5 + 1e-6
    assert 0.1 - 1e-6 <= np.linalg.norm(dense) <= 0.2 + 1e-6


def test_a_constraint_that_does_not_fit_is_said_before_the_first_step() -> None:
    made = Sequential([Dense(1, kernel_constraint=constraints.MaxNorm(axis=5))])
    made.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"MaxNorm: axis is 5, expected some of 0, 1 for a weight of shape \(5, 1\)"):
        made.fit(X, Y, verbose=0)
    assert made.optimizer is not None
    assert made.optimizer.iterations == 0


def test_a_constrained_step_is_the_plain_step_and_then_the_constraint() -> None:
    results = []
    for given in (None, "unit_norm"):
        made = Sequential([GRU(4, recurrent_constraint=given), Dense(1)])
        made.build((None, 5, 2))
        rng = np.random.default_rng(3)
        made.set_weights([rng.standard_normal(w.shape).astype(np.float32) for w in made.weights])
        made.compile("adam", "mse")
        made.train_on_batch(rng.standard_normal((6, 5, 2)).astype(np.float32), Y)
        results.append(made.get_weights())
    results[0][1] = constraints.UnitNorm()(results[0][1])
    for got, wanted in zip(results[1], results[0], strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_they_come_back_with_a_model(tmp_path: Path) -> None:
    made = model(penalized=True)
    made.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.evaluate(X, Y, verbose=0) == made.evaluate(X, Y, verbose=0)
    assert loaded.get_config() == made.get_config()
