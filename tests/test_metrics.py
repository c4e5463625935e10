"""Metrics against numbers by hand and explicit sums, in one batch and in many; Keras's own where it is installed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rnnext import losses, metrics

N, C = 50, 4


def close(found: float, wanted: float, tolerance: float = 1e-6) -> bool:
    return isinstance(found, float) and math.isclose(found, wanted, rel_tol=0, abs_tol=tolerance)


def roc_by_pairs(y: Any, p: Any, w: Any = None) -> float:
    """The share of pairs of a positive and a negative that are in the right order, ties being half."""
    w = np.ones(len(y)) if w is None else w
    order = np.sign(p[y == 1][:, None] - p[y == 0][None, :]) / 2 + 0.5
    weight = w[y == 1][:, None] * w[y == 0][None, :]
    return float((order * weight).sum() / weight.sum())


def data(classes: int = 1, seed: int = 0) -> tuple[Any, Any, Any]:
    """Labels, probabilities, weights; some probabilities lie on thresholds of AUC, some are 0 and 1."""
    rng = np.random.default_rng(seed)
    p = rng.random((N, classes)).astype(np.float32)
    p.flat[:6] = (0, 1, 0.5, 1 / 199, 100 / 199, 0.5)
    y = (rng.random((N, classes)) < 0.3 + 0.4 * p).astype(np.int64)
    return y, p, rng.uniform(0, 2, N).astype(np.float32)


def test_mean() -> None:
    mean = metrics.Mean("loss")
    assert mean.name == "loss"
    assert mean.result() == 0
    mean.update_state([1, 3, 5, 7])
    assert mean.result() == 4
    mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    assert close(mean.result(), 20 / 6)
    mean.reset_state()
    mean.update_state(2.0, sample_weight=30)
    mean.update_state(np.float32(5), sample_weight=10)
    assert mean.result() == 2.75
    mean.reset_state()
    assert mean([[1, 2], [3, 6]], sample_weight=[1, 0]) == 1.5
    assert mean(np.zeros(0)) == 1.5


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_accuracies_by_hand(shape: tuple[int, ...]) -> None:
    y, p = np.array([1, 1, 0, 0]).reshape(shape), np.array([0.98, 0.5, 0.0, 0.6]).reshape(shape)
    for labels in (y, y.ravel(), y.reshape(4, 1)):
        assert metrics.BinaryAccuracy()(labels, p) == 0.5
        assert close(metrics.BinaryAccuracy()(labels, p, sample_weight=[1, 0, 0, 1]), 0.5)
        assert metrics.BinaryAccuracy(threshold=0.4)(labels, p) == 0.75
        assert metrics.Accuracy()(labels, [[1], [2], [0], [0]]) == 0.75


def test_class_accuracies_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    one_hot = [[0, 0, 1], [0, 1, 0]]
    for labels in ([2, 1], [[2], [1]], np.array([2.0, 1.0])):
        assert metrics.SparseCategoricalAccuracy()(labels, scores) == 0.5
        assert close(metrics.SparseCategoricalAccuracy()(labels, scores, [0.7, 0.3]), 0.3)
        assert metrics.SparseTopKCategoricalAccuracy(k=2)(labels, scores) == 1
        assert metrics.SparseTopKCategoricalAccuracy(k=1)(labels, scores) == 0.5
    assert metrics.CategoricalAccuracy()(one_hot, scores) == 0.5
    assert metrics.TopKCategoricalAccuracy(k=1)(one_hot, scores) == 0.5
    assert metrics.TopKCategoricalAccuracy(k=2)(one_hot, scores) == 1
    assert metrics.SparseTopKCategoricalAccuracy(k=1)([0, 1], [[0.5, 0.5], [0.5, 0.5]]) == 1  # ties are both among the first
    assert metrics.SparseTopKCategoricalAccuracy(k=2)([-1, 2], [[0.5, 0.5], [0.5, 0.5]]) == 0  # no such class
    assert metrics.SparseTopKCategoricalAccuracy(k=2)([0], [[np.nan, 0.5]]) == 0


def test_weights_of_steps() -> None:
    """A row's accuracy is the mean over its steps; weights per step count as what they are."""
    y, p = np.array([[1, 1], [0, 1]]), np.array([[[0.9], [0.1]], [[0.2], [0.3]]])
    assert metrics.BinaryAccuracy()(y, p) == 0.5
    assert metrics.BinaryAccuracy()(y, p, [1, 0]) == 0.5
    assert metrics.BinaryAccuracy()(y, p, [[1, 0], [1, 0]]) == 1
    assert metrics.BinaryAccuracy()(y, p, [[0, 3], [1, 0]]) == 0.25


def test_precision_and_recall_by_hand() -> None:
    y, p = [0, 1, 1, 1], [1, 0, 1, 1]
    assert close(metrics.Precision()(y, p), 2 / 3)
    assert close(metrics.Recall()(y, p), 2 / 3)
    assert metrics.Precision()(y, p, sample_weight=[0, 0, 1, 0]) == 1
    assert close(metrics.Recall()(y, p, sample_weight=[1, 3, 1, 0]), 0.25)
    assert metrics.Precision()([0, 1], [0.1, 0.2]) == 0
    assert metrics.Recall()([0, 0], [0.1, 0.9]) == 0
    assert metrics.Precision(thresholds=0)([0, 1], [-3.0, 2.0]) == 1
    assert metrics.Precision(top_k=2)([0, 0, 1, 1], [1, 1, 1, 1]) == 0
    assert metrics.Precision(top_k=4)([0, 0, 1, 1], [1, 1, 1, 1]) == 0.5
    scores = [[0.1, 0.6, 0.9], [0.8, 0.7, 0.2]]
    assert metrics.Recall(class_id=1)([[0, 1, 0], [0, 1, 0]], scores) == 1
    assert metrics.Recall(class_id=1, top_k=1)([[0, 1, 0], [0, 1, 0]], scores) == 0
    assert metrics.Precision(top_k=2, thresholds=0.75)([[0, 1, 1], [0, 1, 0]], scores) == 0.5


def test_f1_by_hand() -> None:
    y, p = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]]), np.array([[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
    f1 = metrics.F1Score(threshold=0.5)
    assert f1.result() == 0
    np.testing.assert_allclose(f1(y, p), [1 / 2, 4 / 5, 2 / 3])
    np.testing.assert_allclose(f1(y, p, sample_weight=[0, 0, 1]), [0.6667, 6 / 7, 2 / 3], atol=1e-4)
    f1.reset_state()
    np.testing.assert_allclose(f1(y, p, sample_weight=[0, 0, 1]), [1, 1, 0])
    assert metrics.F1Score()([[1, 0], [0, 1]], [[0.0, 0.0], [0.3, 0.4]])[1] == 1  # nothing is the greatest of zeros
    assert metrics.F1Score(threshold=0.5)([1, 0, 1], [[0.9], [0.2], [0.4]]) == pytest.approx(2 / 3)
    steps = np.arange(8).reshape(2, 4, 1) % 3 == 0
    counted = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    by_steps = metrics.F1Score(threshold=0.5)(steps, np.full((2, 4, 1), 0.9), sample_weight=counted)
    assert by_steps == pytest.approx(2 * 2 / (6 + 2))


def test_auc_approaches_the_share_of_ordered_pairs() -> None:
    y, p, w = data()
    y, p = y[:, 0], p[:, 0]
    fine = 200_001
    assert close(metrics.AUC(fine)(y, p), roc_by_pairs(y, p), 1e-6)
    assert close(metrics.AUC(fine)(y, p, w), roc_by_pairs(y, p, w), 1e-6)
    assert close(metrics.AUC(thresholds=np.unique(p))(y, p), roc_by_pairs(y, p), 1e-6)
    logits = 3 * p - 1
    assert close(metrics.AUC(fine, from_logits=True)(y, logits), roc_by_pairs(y, logits), 1e-4)


def test_auc_by_hand() -> None:
    """With three thresholds, at -ε, 0.5 and 1 + ε, the curve has one point inside: recall 0.5, false positives 0."""
    y, p = [0, 0, 1, 1], [0, 0.5, 0.3, 0.9]
    assert metrics.AUC(3)(y, p) == 0.75
    assert metrics.AUC(3, summation_method="minoring")(y, p) == 0.5
    assert metrics.AUC(3, summation_method="majoring")(y, p) == 1
    assert metrics.AUC(3)(y, p, [1, 0, 0, 1]) == 1
    # precision is 1 at recall 0.5; from there to recall 1 it falls to 0.5, tp growing by 1 while all positives grow by 3
    wanted = (1 + (1 / 3) * (1 + (2 - 4 / 3) * math.log(4))) / 2
    assert close(metrics.AUC(3, curve="PR")(y, p), wanted)
    assert metrics.AUC()([0, 1], [0.1, 0.9]) == 1
    assert metrics.AUC()([1, 1], [0.1, 0.9]) == 0
    assert metrics.AUC().result() == 0


def test_auc_of_several_labels() -> None:
    y, p, _ = data(3)
    each = [metrics.AUC()(y[:, label], p[:, label]) for label in range(3)]
    assert close(metrics.AUC(multi_label=True)(y, p), sum(each) / 3)
    weighted = metrics.AUC(multi_label=True, num_labels=3, label_weights=[1, 0, 3])(y, p)
    assert close(weighted, (each[0] + 3 * each[2]) / 4)
    first = metrics.AUC(label_weights=[1, 0, 0])(y, p)
    assert close(first, each[0])


METRICS: list[tuple[Any, dict[str, Any], str]] = [
    (metrics.Accuracy, {}, "rounded"),
    (metrics.BinaryAccuracy, {}, "binary"),
    (metrics.BinaryAccuracy, {"threshold": 0.3}, "binary"),
    (metrics.BinaryAccuracy, {}, "labels"),
    (metrics.CategoricalAccuracy, {}, "one-hot"),
    (metrics.SparseCategoricalAccuracy, {}, "sparse"),
    (metrics.TopKCategoricalAccuracy, {"k": 2}, "one-hot"),
    (metrics.SparseTopKCategoricalAccuracy, {"k": 2}, "sparse"),
    (metrics.BinaryCrossentropy, {}, "binary"),
    (metrics.BinaryCrossentropy, {"label_smoothing": 0.1, "from_logits": True}, "binary"),
    (metrics.CategoricalCrossentropy, {"label_smoothing": 0.1}, "one-hot"),
    (metrics.SparseCategoricalCrossentropy, {"from_logits": True}, "sparse"),
    (metrics.MeanSquaredError, {}, "labels"),
    (metrics.MeanAbsoluteError, {}, "binary"),
    (metrics.AUC, {}, "binary"),
    (metrics.AUC, {"num_thresholds": 17}, "binary"),
    (metrics.AUC, {"num_thresholds": 2}, "binary"),
    (metrics.AUC, {"curve": "PR"}, "binary"),
    (metrics.AUC, {"curve": "PR", "summation_method": "majoring"}, "binary"),
    (metrics.AUC, {"summation_method": "minoring"}, "binary"),
    (metrics.AUC, {"from_logits": True}, "binary"),
    (metrics.AUC, {"thresholds": [0.1, 0.45, 0.5]}, "binary"),
    (metrics.AUC, {"thresholds": [0.5], "curve": "PR"}, "binary"),
    (metrics.AUC, {"multi_label": True, "num_labels": C}, "labels"),
    (metrics.AUC, {"multi_label": True, "num_labels": C, "curve": "PR", "label_weights": [1.0, 2.0, 0.0, 3.0]}, "labels"),
    (metrics.AUC, {"label_weights": [1.0, 2.0, 0.0, 3.0]}, "labels"),
    (metrics.AUC, {}, "labels"),
    (metrics.Precision, {}, "binary"),
    (metrics.Precision, {"thresholds": 0.3}, "labels"),
    (metrics.Precision, {"top_k": 2}, "labels"),
    (metrics.Precision, {"top_k": 2, "thresholds": 0.6}, "labels"),
    (metrics.F1Score, {"threshold": 0.5}, "binary"),
    (metrics.F1Score, {}, "binary"),
    (metrics.F1Score, {"average": "micro", "threshold": 0.3}, "labels"),
    (metrics.F1Score, {"average": "macro"}, "labels"),
    (metrics.F1Score, {"average": "weighted", "threshold": 0.5}, "labels"),
    (metrics.F1Score, {"average": "macro"}, "one-hot"),
    (metrics.RootMeanSquaredError, {}, "labels"),
    (metrics.RootMeanSquaredError, {}, "binary"),
    (metrics.TruePositives, {}, "binary"),
    (metrics.TrueNegatives, {"thresholds": 0.3}, "binary"),
    (metrics.FalsePositives, {"thresholds": 0.6}, "labels"),
    (metrics.FalseNegatives, {}, "labels"),
    (metrics.Recall, {}, "binary"),
    (metrics.Recall, {"class_id": 2}, "labels"),
    (metrics.Recall, {"class_id": 2, "top_k": 3}, "labels"),
]


def batches(labels: str) -> list[tuple[Any, Any, Any]]:
    """Three batches of labels, predictions and weights."""
    y, p, w = data(1 if labels in ("binary", "rounded") else C)
    if labels == "rounded":
        p = p.round()
    elif labels == "sparse":
        y = y.argmax(axis=-1)
    elif labels == "one-hot":
        y = np.eye(C)[y.argmax(axis=-1)]
    return [(y[part], p[part], w[part]) for part in (slice(0, 7), slice(7, 8), slice(8, N))]


def test_each_number_of_a_flat_array_counts() -> None:
    metric = metrics.RootMeanSquaredError()
    metric.update_state([0.0] * 4, [1.0] * 4)
    metric.update_state([0.0], [3.0])
    assert metric.result() == pytest.approx((13 / 5) ** 0.5)
    metric.reset_state()
    metric.update_state([0.0, 0.0], [1.0, 2.0], [3.0, 1.0])
    assert metric.result() == pytest.approx((7 / 4) ** 0.5)


@pytest.mark.parametrize(("kind", "options", "labels"), METRICS)
def test_batches_add_up(kind: Any, options: dict[str, Any], labels: str) -> None:
    parts = batches(labels)
    for weighted in (False, True):
        metric, whole = kind(**options), kind(**options)
        for _ in range(2):
            metric.reset_state()
            for y, p, w in parts:
                metric.update_state(y, p, w if weighted else None)
        y, p, w = (np.concatenate(all_of) for all_of in zip(*parts, strict=True))
        before = y.copy(), p.copy()
        whole.update_state(y, p, w if weighted else None)
        assert close(metric.result(), whole.result())
        np.testing.assert_array_equal(y, before[0])
        np.testing.assert_array_equal(p, before[1])
        # a weight of 2 is the row twice, a weight of 0 its absence
        counts = np.arange(len(y)) % 3
        repeated, by_weight = kind(**options), kind(**options)
        repeated.update_state(np.repeat(y, counts, axis=0), np.repeat(p, counts, axis=0))
        by_weight.update_state(y, p, counts)
        assert close(by_weight.result(), repeated.result())


@pytest.mark.parametrize(("kind", "options", "labels"), METRICS)
def test_names_and_configs(kind: Any, options: dict[str, Any], labels: str) -> None:
    metric = kind(**options, name="own")
    written = json.loads(json.dumps(metrics.serialize(metric)))
    again = metrics.get(written)
    assert type(again) is kind
    assert again.name == "own"
    assert again.get_config() == metric.get_config()
    assert options.items() <= metric.get_config().items()
    for y, p, w in batches(labels):
        assert metric(y, p, w) == again(y, p, w)
    name = kind().name
    for identifier in (name, kind.__name__, kind):
        assert type(metrics.get(identifier)) is kind
    assert metrics.get(metric) is metric


def test_ignored_rows_do_not_count() -> None:
    p = np.full((3, 2), 0.5)
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    assert close(metric([0, -1, 1], p), math.log(2))
    metric.reset_state()
    assert close(metric([0, -1, 1], p, [1, 5, 0]), math.log(2))


def test_functions_as_metrics() -> None:
    def miss(y_true: Any, y_pred: Any) -> Any:
        return np.abs(np.asarray(y_true) - y_pred).max(axis=-1)

    metric = metrics.get(miss)
    assert metric.name == "miss"
    assert metric([[0, 0], [0, 0]], [[1, 2], [3, 4]]) == 3
    assert metric([[0, 0]], [[0, 9]], [2]) == 6
    assert type(metrics.get(metrics.binary_accuracy)) is metrics.BinaryAccuracy
    assert type(metrics.get(losses.mean_squared_error)) is metrics.MeanSquaredError
    assert metrics.mean_squared_error is losses.mean_squared_error
    with pytest.raises(TypeError, match="serialize: metric is <MeanMetricWrapper name=miss>"):
        metrics.serialize(metric)


@pytest.mark.parametrize(
    ("y_shape", "p_shape", "accuracy", "crossentropy"),
    [
        ((8,), (8, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ((8, 1), (8, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ((8, 5), (8, 5, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ((8,), (8, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
        ((8, 1), (8, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
        ((8, 5), (8, 5, 3), metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy),
        ((8, 3), (8, 3), metrics.CategoricalAccuracy, metrics.CategoricalCrossentropy),
    ],
)
def test_resolve(y_shape: Any, p_shape: Any, accuracy: Any, crossentropy: Any) -> None:
    for logits in (False, True):
        loss = losses.BinaryCrossentropy(from_logits=logits)
        for name in ("accuracy", "acc", "Accuracy"):
            found = metrics.resolve(name, loss, y_shape, p_shape)
            assert type(found) is accuracy
            assert found.name == name
            if accuracy is metrics.BinaryAccuracy:
                assert found.get_config()["threshold"] == (0 if logits else 0.5)
        for name in ("crossentropy", "ce"):
            found = metrics.resolve(name, loss, y_shape, p_shape)
            assert type(found) is crossentropy
            assert found.name == name
            assert found.get_config()["from_logits"] is logits


def test_resolve_keeps_what_is_definite() -> None:
    shapes = (8,), (8, 1)
    own = metrics.AUC(name="own")
    assert metrics.resolve(own, None, *shapes) is own
    assert own.name == "own"
    assert type(metrics.resolve("AUC", None, *shapes)) is metrics.AUC
    assert metrics.resolve("AUC", None, *shapes).name == "AUC"
    assert metrics.resolve(metrics.AUC, None, *shapes).name == "auc"
    assert type(metrics.resolve("mse", losses.MeanSquaredError(), *shapes)) is metrics.MeanSquaredError


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: metrics.BinaryAccuracy()([0, 1], [[0.5]]), ValueError, r"y_true has shape \(2,\), expected \(1, 1\)"),
        (lambda: metrics.BinaryAccuracy()([0, 1], [[0.5, 0.5]] * 2), ValueError, r"y_true has shape \(2,\), expected \(2, 2\)"),
        (lambda: metrics.BinaryAccuracy()([0, 1], [0.1, 0.2], [1]), ValueError, r"sample_weight has shape \(1,\)"),
        (lambda: metrics.BinaryAccuracy()(["a"], [0.1]), TypeError, "y_true cannot be a float32 array"),
        (lambda: metrics.AUC()([0, 1, 1], [[0.5]] * 2), ValueError, r"AUC: y_true has shape \(3,\), expected \(2, 1\)"),
        (lambda: metrics.Recall()([0, 1, 1], [[0.5]] * 2), ValueError, r"Recall: y_true has shape \(3,\), expected \(2, 1\)"),
        (lambda: metrics.CategoricalAccuracy()([0, 1], [[0.5, 0.5]] * 2), ValueError, r"y_true has shape \(2,\)"),
        (
            lambda: metrics.SparseCategoricalAccuracy()([0], [[0.5, 0.5]] * 2),
            ValueError,
            r"y_true has shape \(1,\), expected \(2,\)",
        ),
        (lambda: metrics.SparseCategoricalAccuracy()(0, 0.5), ValueError, r"y_pred has shape \(\), expected \[B, C\]"),
        (lambda: metrics.AUC()([0, 1], [-2.0, 3.0]), ValueError, "values from -2 to 3, expected 0 to 1; from_logits=True"),
        (lambda: metrics.AUC()([0, 1], [0.5, NAN]), ValueError, "AUC: y_pred has NaN"),
        (lambda: metrics.AUC(multi_label=True)([0, 1], [0.1, 0.5]), ValueError, r"shape \(2,\), expected \[B, L\]"),
        (lambda: metrics.AUC(multi_label=True, num_labels=3)([[0, 1]], [[0.1, 0.5]]), ValueError, r"expected \[B, 3\]"),
        (lambda: metrics.AUC(label_weights=[1, 2])([0], [0.5]), ValueError, "one output for each of 2 label_weights"),
        (lambda: metrics.AUC(1), ValueError, "num_thresholds is 1, expected at least 2"),
        (lambda: metrics.AUC(2.5), TypeError, "num_thresholds is 2.5"),  # type: ignore[arg-type]
        (lambda: metrics.AUC(curve="LIFT"), ValueError, "curve is 'LIFT', expected 'ROC' or 'PR'"),  # type: ignore[arg-type]
        (lambda: metrics.AUC(summation_method="x"), ValueError, "summation_method is 'x'"),  # type: ignore[arg-type]
        (lambda: metrics.AUC(thresholds=[0.5, 2]), ValueError, r"thresholds is \[0.5, 2\]"),
        (lambda: metrics.AUC(num_labels=3), ValueError, "num_labels is 3, expected None"),
        (lambda: metrics.Precision(thresholds=[0.1, 0.5]), TypeError, r"thresholds is \[0.1, 0.5\], expected one"),  # type: ignore[arg-type]
        (lambda: metrics.F1Score("mean"), ValueError, "F1Score: average is 'mean', expected None, 'micro'"),  # type: ignore[arg-type]
        (lambda: metrics.F1Score(threshold=2), ValueError, "F1Score: threshold is 2, expected 0 to 1"),
        (lambda: metrics.F1Score()([[0, 1]], [[0, 1, 0]]), ValueError, r"F1Score: y_true has shape \(1, 2\), expected"),
        (
            lambda: metrics.resolve(metrics.F1Score(), None, (4, 3), (4, 3)),
            ValueError,
            "average is None and there are 3 outputs",
        ),
        (lambda: metrics.resolve("f1_score", None, (4, 3), (4, 3)), ValueError, "average is None and there are 3 outputs"),
        (lambda: metrics.Precision(thresholds=1.5), ValueError, "thresholds is 1.5, expected 0 to 1"),
        (lambda: metrics.Precision(top_k=0), ValueError, "Precision: top_k is 0, expected at least 1"),
        (lambda: metrics.Precision(class_id=-1), ValueError, "Precision: class_id is -1, expected at least 0"),
        (lambda: metrics.Recall(class_id="a"), TypeError, "Recall: class_id is 'a', expected a whole number"),  # type: ignore[arg-type]
        (lambda: metrics.AUC(thresholds="a"), TypeError, "AUC: thresholds is 'a', expected numbers from 0 to 1"),
        (lambda: metrics.BinaryCrossentropy(label_smoothing="a"), TypeError, "label_smoothing is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: metrics.Precision(top_k=3)([[0, 1]], [[0, 1]]), ValueError, r"shape \(1, 2\), expected at least top_k, 3"),
        (lambda: metrics.Precision(class_id=2)([[0, 1]], [[0, 1]]), ValueError, r"shape \(1, 2\), expected .* class_id 2"),
        (lambda: metrics.TopKCategoricalAccuracy(k=1.5), TypeError, "k is 1.5"),  # type: ignore[arg-type]
        (lambda: metrics.get("f2"), ValueError, "no metric 'f2', expected one of .*auc"),
        (lambda: metrics.get({"class_name": "AUC", "config": {"x": 1}}), ValueError, "config of AUC is {'x': 1}"),
        (lambda: metrics.get(None), TypeError, "identifier is None"),  # type: ignore[arg-type]
        (lambda: metrics.get(int), TypeError, "identifier is <class 'int'>"),
    ],
)
def test_refusals(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_refused_batch_changes_nothing() -> None:
    metric = metrics.AUC()
    metric.update_state([0, 1, 1], [0.4, 0.3, 0.9])
    before = metric.result()
    with pytest.raises(ValueError, match="sample_weight has shape"):
        metric.update_state([0, 1], [0.1, 0.2], [1, 1, 1])
    assert metric.result() == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "options", "labels"), METRICS)
def test_results_are_keras(kind: Any, options: dict[str, Any], labels: str) -> None:
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    for weighted in (False, True):
        for trailing in ((), (1,)):
            if kind in (metrics.BinaryCrossentropy, metrics.F1Score) and trailing == ():
                continue  # Keras's takes [B, 1] alone
            theirs, ours = getattr(keras.metrics, kind.__name__)(**options), kind(**options)
            for y, p, w in batches(labels):
                target = y.reshape(len(y), *trailing) if labels in ("binary", "sparse", "rounded") else y
                weights = w if weighted else None
                theirs.update_state(target, p, weights)
                ours.update_state(target, p, weights)
            tolerance = (
                1e-5 if isinstance(ours, metrics.SparseCategoricalCrossentropy | metrics.CategoricalCrossentropy) else 1e-6
            )
            expected = keras.ops.convert_to_numpy(theirs.result()).item()
            assert close(ours.result(), expected, tolerance * max(1, expected)), (weighted, trailing)
