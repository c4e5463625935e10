"""Losses: values against formulas in float64, gradients against their central differences, labels and shapes refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, losses
from rnnext.layers import Dense

B, T, C = 6, 3, 4
LEAST, MOST = float(np.float32(1e-7)), float(np.float32(1 - 1e-7))


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def binary(y: Any, p: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> Any:
    y = y * (1 - label_smoothing) + label_smoothing / 2
    p = 1 / (1 + np.exp(-p)) if from_logits else np.clip(p, LEAST, MOST)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=-1)


def categorical(y: Any, p: Any, from_logits: bool = False, label_smoothing: float = 0.0) -> Any:
    y = y * (1 - label_smoothing) + label_smoothing / y.shape[-1]
    p = softmax(p) if from_logits else np.clip(p / p.sum(axis=-1, keepdims=True), LEAST, MOST)
    return -(y * np.log(p)).sum(axis=-1)


def sparse(y: Any, p: Any, from_logits: bool = False, ignore_class: int | None = None) -> Any:
    counts = np.ones(y.shape, bool) if ignore_class is None else y != ignore_class
    return categorical(np.eye(p.shape[-1])[np.where(counts, y, 0)], p, from_logits) * counts


def squared(y: Any, p: Any) -> Any:
    return ((p - y) ** 2).mean(axis=-1)


def absolute(y: Any, p: Any) -> Any:
    return np.abs(p - y).mean(axis=-1)


def huber(y: Any, p: Any, delta: float = 1.0) -> Any:
    size = np.abs(p - y)
    return np.where(size <= delta, size**2 / 2, delta * size - delta**2 / 2).mean(axis=-1)


# class, its formula, options, kind of labels
CASES: list[tuple[Any, Callable[..., Any], dict[str, Any], str]] = [
    (losses.BinaryCrossentropy, binary, {}, "binary"),
    (losses.BinaryCrossentropy, binary, {"label_smoothing": 0.2}, "binary"),
    (losses.BinaryCrossentropy, binary, {"from_logits": True}, "binary"),
    (losses.BinaryCrossentropy, binary, {"from_logits": True, "label_smoothing": 0.1}, "binary"),
    (losses.CategoricalCrossentropy, categorical, {}, "soft"),
    (losses.CategoricalCrossentropy, categorical, {"label_smoothing": 0.2}, "soft"),
    (losses.CategoricalCrossentropy, categorical, {"from_logits": True}, "soft"),
    (losses.CategoricalCrossentropy, categorical, {"from_logits": True, "label_smoothing": 0.3}, "soft"),
    (losses.SparseCategoricalCrossentropy, sparse, {}, "sparse"),
    (losses.SparseCategoricalCrossentropy, sparse, {"from_logits": True}, "sparse"),
    (losses.SparseCategoricalCrossentropy, sparse, {"ignore_class": 1}, "sparse"),
    (losses.SparseCategoricalCrossentropy, sparse, {"from_logits": True, "ignore_class": 0}, "sparse"),
    (losses.MeanSquaredError, squared, {}, "real"),
    (losses.MeanAbsoluteError, absolute, {}, "real"),
    (losses.Huber, huber, {}, "real"),
    (losses.Huber, huber, {"delta": 0.3}, "real"),
]
REDUCTIONS: list[Any] = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]


def examples(labels: str, options: dict[str, Any], shape: tuple[int, ...], rng: Any) -> tuple[Any, Any]:
    """Labels and predictions in float64, whose float32 is exact so that both sides see the same numbers."""
    if labels == "binary":
        y = rng.integers(0, 2, shape).astype(np.float64)
        y.flat[0] = 0.25
    elif labels == "soft":
        y = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    elif labels == "sparse":
        y = rng.integers(0, shape[-1], shape[:-1])
        y.flat[:2] = (0, 1)
    else:
        y = rng.standard_normal(shape)
    real = labels == "real" or options.get("from_logits")
    p = 2 * rng.standard_normal(shape) if real else rng.uniform(0.05, 0.95, shape)  # not sums of 1: they are divided by it
    return y.astype(np.float32).astype(y.dtype), p.astype(np.float32).astype(np.float64)


def weighted(values: Any, weights: Any, reduction: str, counts: Any) -> float:
    total = (values * weights * counts).sum()
    if reduction == "sum":
        return float(total)
    return float(total / ((weights * counts).sum() if reduction == "mean_with_sample_weight" else counts.sum()))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("kind", "formula", "options", "labels", "shape"),
    [
        (*case, shape)
        for case in CASES
        for shape in ((B, C), (B, T, C), (B, 1), (1, C))
        if shape[-1] > 1 or case[-1] in ("binary", "real")  # one class is nothing to learn
    ],
)
def test_values_and_gradients(
    kind: Any, formula: Any, options: dict[str, Any], labels: str, shape: tuple[int, ...], reduction: Any
) -> None:
    """The gradient along random directions is the central difference of the formula in float64."""
    rng = np.random.default_rng(0)
    y, p = examples(labels, options, shape, rng)
    loss = kind(**options, reduction=reduction)
    for weights in (None, rng.uniform(0, 2, shape[:-1]).astype(np.float32)):
        ones = np.ones(shape[:-1]) if weights is None else weights.astype(np.float64)
        ignored = options.get("ignore_class")
        counts = np.ones(shape[:-1]) if ignored is None else (y != ignored).astype(np.float64)

        def value(at: Any, ones: Any = ones, counts: Any = counts) -> float:
            return weighted(formula(y, at, **options), ones, reduction, counts) if counts.any() else 0.0

        given_y, given_p = y.copy(), p.astype(np.float32)
        found, backprop = loss.forward(given_y, given_p, weights)
        assert isinstance(found, float)
        assert math.isclose(found, value(p), rel_tol=2e-6, abs_tol=1e-6)
        assert loss(given_y, given_p, weights) == found
        gradient = backprop()
        assert gradient.shape == shape
        assert gradient.dtype == np.float32
        for _ in range(3):
            direction = rng.standard_normal(shape)
            step = 1e-5
            wanted = (value(p + step * direction) - value(p - step * direction)) / (2 * step)
            scale = np.linalg.norm(gradient.astype(np.float64)) * np.linalg.norm(direction)
            along = float((gradient.astype(np.float64) * direction).sum())
            assert abs(along - wanted) <= 2e-6 * scale + 1e-8, (along, wanted)
        np.testing.assert_array_equal(backprop(), gradient)
        np.testing.assert_array_equal(given_y, y)
        np.testing.assert_array_equal(given_p, p.astype(np.float32))


@pytest.mark.parametrize(("kind", "formula", "options", "labels"), CASES)
def test_functions_are_unreduced(kind: Any, formula: Any, options: dict[str, Any], labels: str) -> None:
    y, p = examples(labels, options, (B, C), np.random.default_rng(1))
    function = getattr(losses, kind().name.removesuffix("_loss"))
    values = function(y, p, **options)
    assert values.shape == (B,)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, formula(y, p, **options), rtol=3e-6, atol=1e-6)


def test_by_hand() -> None:
    y, p = [1, 0, 1, 0], [[0.8], [0.4], [0.5], [0.1]]
    wanted = -(math.log(0.8) + math.log(0.6) + math.log(0.5) + math.log(0.9)) / 4
    assert math.isclose(losses.BinaryCrossentropy()(y, p), wanted, rel_tol=1e-6)
    one = losses.SparseCategoricalCrossentropy()([1], [[1.0, 3.0]])
    assert math.isclose(one, -math.log(0.75), rel_tol=1e-6)
    assert math.isclose(losses.CategoricalCrossentropy()([[0, 1]], [[1.0, 3.0]]), one)
    assert losses.MeanSquaredError()([[1, 2]], [[3, 5]]) == 6.5
    assert losses.MeanAbsoluteError()([[1, 2]], [[3, 5]]) == 2.5


@pytest.mark.parametrize("y_shape", [(B,), (B, 1)])
@pytest.mark.parametrize("p_shape", [(B,), (B, 1)])
@pytest.mark.parametrize("kind", [losses.BinaryCrossentropy, losses.MeanSquaredError, losses.MeanAbsoluteError])
def test_a_last_axis_of_one_is_never_broadcast(kind: Any, y_shape: tuple[int, ...], p_shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    y, p = rng.integers(0, 2, B), rng.random(B).astype(np.float32)
    value, backprop = kind().forward(y.reshape(y_shape), p.reshape(p_shape))
    expected, along = kind().forward(y[:, None], p[:, None])
    assert math.isclose(value, expected, rel_tol=1e-6)
    assert backprop().shape == p_shape
    np.testing.assert_allclose(backprop().ravel(), along().ravel(), rtol=1e-6)


def test_steps_with_and_without_a_last_axis() -> None:
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 2, (B, T)), rng.random((B, T, 1)).astype(np.float32)
    value, backprop = losses.BinaryCrossentropy().forward(y, p)
    assert math.isclose(value, losses.BinaryCrossentropy()(y[..., None], p), rel_tol=1e-6)
    assert backprop().shape == (B, T, 1)


def test_weights_of_rows_and_steps() -> None:
    rng = np.random.default_rng(4)
    y, p = rng.integers(0, C, (B, T)), rng.random((B, T, C)).astype(np.float32)
    rows = rng.random(B).astype(np.float32)
    loss = losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    expected = loss(y, p, np.repeat(rows[:, None], T, axis=1))
    for weights in (rows, rows[:, None], rows[:, None, None], np.repeat(rows[:, None, None], T, axis=1)):
        assert math.isclose(loss(y, p, weights), expected, rel_tol=1e-6)
    assert math.isclose(loss(y, p, 3.0), loss(y, p), rel_tol=1e-6)


def test_no_weight_is_no_loss() -> None:
    p = np.full((2, 3), 0.3, np.float32)
    for loss, y in (
        (losses.SparseCategoricalCrossentropy(ignore_class=2), [2, 2]),
        (losses.SparseCategoricalCrossentropy(ignore_class=-1), [-1, -1]),
    ):
        value, backprop = loss.forward(y, p)
        assert value == 0
        assert not backprop().any()
    weighted_mean = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    value, backprop = weighted_mean.forward(p + 1, p, [0, 0])
    assert value == 0
    assert not backprop().any()


@pytest.mark.parametrize("logit", [-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("label", [0, 1])
def test_logits_of_any_size(logit: float, label: int) -> None:
    z = np.array([[logit]], np.float32)
    wanted = max(logit, 0) - logit * label + math.log1p(math.exp(-abs(logit)))
    value, backprop = losses.BinaryCrossentropy(from_logits=True).forward([label], z)
    assert math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-30)  # below it float32 has few digits
    sigmoid = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    assert math.isclose(backprop().item(), sigmoid - label, rel_tol=1e-5, abs_tol=1e-7)
    pair = np.array([[0, logit]], np.float32)
    for loss, y in (
        (losses.CategoricalCrossentropy(from_logits=True), np.eye(2)[[label]]),
        (losses.SparseCategoricalCrossentropy(from_logits=True), [label]),
    ):
        value, backprop = loss.forward(y, pair)
        assert math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-7)
        np.testing.assert_allclose(backprop(), [[label - sigmoid, sigmoid - label]], rtol=1e-5, atol=1e-7)


def test_probabilities_are_kept_from_zero_and_one() -> None:
    """Where that changes a probability, the loss is flat."""
    p = np.array([[0.0], [1.0], [1e-8], [0.5]], np.float32)
    value, backprop = losses.BinaryCrossentropy(reduction="sum").forward([1, 0, 1, 1], p)
    assert math.isclose(value, -2 * math.log(LEAST) - math.log(1 - MOST) + math.log(2), rel_tol=1e-6)
    assert backprop().ravel().tolist() == [0, 0, 0, -2]
    q = np.array([[1.0, 0.0, 0.0]], np.float32)
    for loss, y in (
        (losses.CategoricalCrossentropy(), [[0, 1, 0]]),
        (losses.SparseCategoricalCrossentropy(), [1]),
    ):
        value, backprop = loss.forward(y, q)
        assert math.isclose(value, -math.log(LEAST), rel_tol=1e-6)
        assert not backprop().any()


def test_nan_predictions_are_a_nan_loss() -> None:
    p = np.array([[0.5], [np.nan]], np.float32)
    for loss in (losses.BinaryCrossentropy(), losses.BinaryCrossentropy(True), losses.MeanSquaredError()):
        value, backprop = loss.forward([0, 1], p)
        assert math.isnan(value)
        assert np.isnan(backprop()).ravel().tolist() == [False, True]


P1 = np.full((B, 1), 0.5, np.float32)
PC = np.full((B, C), 0.25, np.float32)
NAN = float("nan")


@pytest.mark.parametrize(
    ("loss", "y", "p", "weights", "error", "message"),
    [
        (
            "bce",
            np.zeros(B - 1),
            P1,
            None,
            ValueError,
            r"BinaryCrossentropy: y_true has shape \(5,\), expected \(6, 1\) as y_pred",
        ),
        ("bce", np.zeros((1, B)), P1, None, ValueError, r"y_true has shape \(1, 6\), expected \(6, 1\)"),
        ("bce", np.zeros(B), PC, None, ValueError, r"y_true has shape \(6,\), expected \(6, 4\)"),
        ("bce", np.zeros((B, 1)), PC, None, ValueError, r"y_true has shape \(6, 1\), expected \(6, 4\)"),
        ("mse", np.zeros((B, 1)), PC, None, ValueError, r"MeanSquaredError: y_true has shape \(6, 1\), expected \(6, 4\)"),
        ("mse", 0.0, P1, None, ValueError, r"y_true has shape \(\), expected \(6, 1\)"),
        ("bce", np.full(B, 2), P1, None, ValueError, "y_true has values from 2 to 2, expected labels from 0 to 1"),
        ("bce", [0, 1, -1, 0, 1, 1], P1, None, ValueError, "y_true has values from -1 to 1"),
        ("bce", [0, 1, NAN, 0, 1, 1], P1, None, ValueError, "BinaryCrossentropy: y_true has NaN"),
        ("categorical_crossentropy", np.full((B, C), NAN), PC, None, ValueError, "y_true has NaN"),
        ("mse", [0, 1, NAN, 0, 1, 1], P1, None, ValueError, "MeanSquaredError: y_true has NaN"),
        ("bce", ["a"] * B, P1, None, TypeError, "y_true cannot be a float32 array"),
        ("bce", [[0], [0, 1]], P1, None, TypeError, "y_true cannot be a float32 array"),
        ("bce", np.zeros((0, 1)), np.zeros((0, 1)), None, ValueError, r"y_pred has shape \(0, 1\), expected \[B, K\]"),
        ("categorical_crossentropy", np.zeros(B), PC, None, ValueError, "sparse_categorical_crossentropy takes labels"),
        ("categorical_crossentropy", np.zeros((B, 1)), P1, None, ValueError, "at least two classes"),
        (
            "sparse_categorical_crossentropy",
            np.zeros(B - 1),
            PC,
            None,
            ValueError,
            r"shape \(5,\), expected \(6,\), a class for each",
        ),
        ("sparse_categorical_crossentropy", np.eye(C)[[0] * B], PC, None, ValueError, r"y_true has shape \(6, 4\)"),
        ("sparse_categorical_crossentropy", [0, 1, 4, 0, 9, 0], PC, None, ValueError, r"y_true\[2\] is 4, expected .* 0 to 3"),
        (
            "sparse_categorical_crossentropy",
            [0, 1, 2, -1, 0, 0],
            PC,
            None,
            ValueError,
            r"y_true\[3\] is -1, expected .* 0 to 3",
        ),
        ("sparse_categorical_crossentropy", [0, 1.5, 2, 0, 0, 0], PC, None, ValueError, r"y_true\[1\] is 1.5"),
        ("sparse_categorical_crossentropy", [0, 1, NAN, 0, 0, 0], PC, None, ValueError, r"y_true\[2\] is nan"),
        ("sparse_categorical_crossentropy", ["a"] * B, PC, None, TypeError, "y_true has dtype <U1"),
        ("bce", np.zeros(B), P1, np.ones(B - 1), ValueError, r"sample_weight has shape \(5,\), expected \(6,\)"),
        ("bce", np.zeros(B), P1, np.ones((B, 2)), ValueError, r"sample_weight has shape \(6, 2\), expected \(6,\)"),
        ("bce", np.zeros(B), P1, np.ones((1, B)), ValueError, r"sample_weight has shape \(1, 6\)"),
        ("bce", np.zeros(B), P1, np.ones(1), ValueError, r"sample_weight has shape \(1,\)"),
        ("bce", np.zeros(B), P1, np.full(B, NAN), ValueError, "sample_weight has NaN"),
        ("bce", np.zeros(B), P1, ["x"] * B, TypeError, "sample_weight cannot be"),
    ],
)
def test_refusals(loss: str, y: Any, p: Any, weights: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        losses.get(loss).forward(y, p, weights)


def test_the_place_of_a_wrong_label_in_a_sequence() -> None:
    y = np.zeros((B, T), int)
    y[4, 2] = 7
    with pytest.raises(ValueError, match=r"y_true\[4, 2\] is 7"):
        losses.SparseCategoricalCrossentropy()(y, np.full((B, T, C), 0.25, np.float32))


@pytest.mark.parametrize(("kind", "formula", "options", "labels"), CASES)
def test_names_and_configs(kind: Any, formula: Any, options: dict[str, Any], labels: str) -> None:
    loss = kind(**options, reduction="sum", name="own")
    again = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert type(again) is kind
    assert (
        again.get_config()
        == loss.get_config()
        == {"name": "own", "reduction": "sum", **kind().get_config(), **loss.get_config()}
    )
    name = kind().name
    function = name.removesuffix("_loss")  # Keras's huber_loss is made by huber
    for identifier in (function, kind.__name__, kind, getattr(losses, function)):
        found = losses.get(identifier)
        assert type(found) is kind
        assert found.name == name
    assert losses.get(loss) is loss


def test_short_names_and_own_losses() -> None:
    for short, kind in {"bce": "BinaryCrossentropy", "mse": "MeanSquaredError", "mae": "MeanAbsoluteError"}.items():
        assert type(losses.get(short)).__name__ == type(losses.get(short.upper())).__name__ == kind

    class Halved(losses.Loss):
        def per_sample(self, y_true: Any, y_pred: Any) -> losses.PerSample:
            values, backprop, valid = losses.MeanSquaredError().per_sample(y_true, y_pred)
            return losses.PerSample(values / 2, lambda d: backprop(d) / 2, valid)

    assert losses.get(Halved)([[0.0]], [[2.0]]) == 2
    assert losses.get(Halved()).forward([[0.0]], [[2.0]])[1]().tolist() == [[2.0]]


class LogCosh(losses.Loss):
    """The one of docs/training.md."""

    def per_sample(self, y_true: Any, y_pred: Any) -> losses.PerSample:
        difference = y_pred - np.reshape(y_true, y_pred.shape)

        def backprop(d_losses: Any) -> Any:
            return np.tanh(difference) * np.asarray(d_losses)[..., None] / difference.shape[-1]

        return losses.PerSample(np.log(np.cosh(difference)).mean(axis=-1), backprop)


def test_a_loss_of_ones_own_trains_a_model() -> None:
    y, p = np.array([0, 1, 2]), np.array([[0.5], [1.25], [-1]], np.float32)
    value, backprop = LogCosh().forward(y, p, [1, 2, 1])
    step = 1e-3
    for n, slope in enumerate(backprop()[:, 0]):
        moved = p.astype(np.float64)
        moved[n] += step
        assert slope == pytest.approx((LogCosh()(y, moved, [1, 2, 1]) - value) / step, abs=1e-3)
    model = Sequential([Dense(1)])
    model.compile("sgd", LogCosh())
    history = model.fit(p, y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_a_loss_without_gradient_is_refused_before_training() -> None:
    class Own(losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return abs(y_true - y_pred)

    model = Sequential([Dense(1)])
    model.compile("sgd", Own())
    with pytest.raises(NotImplementedError, match=r"Own: per_sample is not .* docs/training\.md shows; it has Keras's call"):
        model.fit(np.zeros((2, 3)), [0, 1], verbose=0)
    assert not model.built
    with pytest.raises(NotImplementedError, match=r"Loss: per_sample is not defined, .* docs/training\.md shows$"):
        losses.Loss()([0], [[1]])


def test_crossentropy_by_shapes() -> None:
    def resolved(*shapes: tuple[int, ...]) -> str:
        assert type(losses.resolve("ce", *shapes)) is type(losses.resolve("crossentropy", *shapes))
        return losses.resolve("ce", *shapes).name

    assert resolved((8,), (8, 1)) == resolved((8, 1), (8, 1)) == "binary_crossentropy"
    assert (
        resolved((8,), (8, 3)) == resolved((8, 1), (8, 3)) == resolved((8, 2), (8, 2, 3)) == "sparse_categorical_crossentropy"
    )
    assert resolved((8, 3), (8, 3)) == "categorical_crossentropy"
    assert losses.resolve("mse", (8,), (8, 3)).name == "mean_squared_error"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.get("hinge"), ValueError, "no loss 'hinge', expected one of .*binary_crossentropy"),
        (lambda: losses.get({"class_name": "MeanSquaredError", "config": {"x": 1}}), ValueError, "config of MeanSquaredError"),
        (lambda: losses.get(None), TypeError, "identifier is None"),  # type: ignore[arg-type]
        (lambda: losses.get(lambda y, p: 0), TypeError, "subclasses of Loss"),
        (lambda: losses.get(int), TypeError, "identifier is <class 'int'>"),
        (lambda: losses.MeanSquaredError("average"), ValueError, "reduction is 'average'"),  # type: ignore[arg-type]
        (lambda: losses.MeanSquaredError(None), ValueError, "reduction is None.*unreduced"),  # type: ignore[arg-type]
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), ValueError, "label_smoothing is 1.5"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing="a"), TypeError, "label_smoothing is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: losses.Huber(0), ValueError, "Huber: delta is 0, expected more than 0"),
        (lambda: losses.serialize("mse"), TypeError, "loss is 'mse'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_identifiers_and_options(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "formula", "options", "labels"), CASES)
def test_values_are_keras(kind: Any, formula: Any, options: dict[str, Any], labels: str) -> None:
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    rng = np.random.default_rng(5)
    shapes = [(B, C), (B, T, C), *([(B, 1), (B, T, 1)] if labels in ("binary", "real") else [])]
    for shape in shapes:
        y, p = examples(labels, options, shape, rng)
        p = p.astype(np.float32)
        if labels != "real" and not options.get("from_logits"):
            p.reshape(-1, shape[-1])[0] = 0  # clipped; in the softmax's losses beside a 1
            p.reshape(-1, shape[-1])[0, -1] = 1
        targets = [y, *([y[..., 0]] if shape[-1] == 1 else []), *([y[..., None]] if labels == "sparse" else [])]
        for target in targets:
            for reduction in REDUCTIONS:
                theirs = getattr(keras.losses, kind.__name__)(**options, reduction=reduction)
                ours = kind(**options, reduction=reduction)
                per_loss = rng.uniform(0, 2, ours.per_sample(target, p).losses.shape).astype(np.float32)
                for weights in (None, per_loss, per_loss[..., None]):
                    expected = float(theirs(target, p, None if weights is None else weights))
                    assert math.isclose(ours(target, p, weights), expected, rel_tol=1e-5, abs_tol=1e-6), (shape, reduction)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "formula", "options", "labels"), CASES)
def test_gradients_are_those_of_keras_with_torch(kind: Any, formula: Any, options: dict[str, Any], labels: str) -> None:
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    if keras.backend.backend() != "torch":
        pytest.skip("gradients are compared with Keras on PyTorch")
    torch = pytest.importorskip("torch")
    y, p = examples(labels, options, (B, C), np.random.default_rng(6))
    p = p.astype(np.float32)
    if labels == "binary" and not options.get("from_logits"):
        p[0], p[1] = 0, 1
    weights = np.linspace(0, 2, B, dtype=np.float32)
    for reduction in REDUCTIONS:
        at = torch.tensor(p, requires_grad=True)
        getattr(keras.losses, kind.__name__)(**options, reduction=reduction)(torch.tensor(y), at, weights).backward()
        gradient = kind(**options, reduction=reduction).forward(y, p, weights)[1]()
        np.testing.assert_allclose(gradient, at.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_steps_that_count_are_those_of_mask_and_labels() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    y = rng.integers(0, 4, (3, 5))
    y[0, :2] = y[2, 4] = -1
    mask = np.arange(5) < np.array([5, 3, 2])[:, None]
    counts = mask & (y >= 0)
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    value, backprop = loss.forward(y, p, mask=mask)
    each = -np.log(np.take_along_axis(p, np.maximum(y, 0)[..., None], axis=-1)[..., 0])
    assert value == pytest.approx(each[counts].mean(), rel=1e-6)
    alone, alone_backprop = losses.SparseCategoricalCrossentropy().forward(y[counts], p[counts])
    assert value == pytest.approx(alone, rel=1e-6)
    np.testing.assert_allclose(backprop()[counts], alone_backprop(), rtol=1e-5)
    assert not backprop()[~counts].any()
