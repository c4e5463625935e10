"""Figures of predictions against their definitions, and against scikit-learn's where it is installed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rnnext.evaluation import evaluate, wilson_interval


def predictions(N: int = 500, C: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(C), N).astype(np.float32)
    return np.array([rng.choice(C, p=row / row.sum()) for row in p.astype(np.float64)]), p


def test_figures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    y, p = predictions()
    found, predicted = evaluate(y, p, "abc"), p.argmax(axis=1)
    assert found.labels == ("a", "b", "c")
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, predicted))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, predicted))
    assert found.loss == pytest.approx(metrics.log_loss(y, p), rel=1e-6)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(y, predicted)
    for n, each in enumerate(found.classes.values()):
        assert (each.rows, each.precision, each.recall, each.f1) == pytest.approx((rows[n], precision[n], recall[n], f1[n]))


def test_rounding_is_no_mistake() -> None:
    assert evaluate([0], np.array([[1 + 2e-7, -1e-7]], np.float32)).loss == pytest.approx(0, abs=1e-6)


def test_what_is_not_there_has_no_figure() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.3, 0.7, 0.0]])
    found = evaluate(np.array([0, 1, 1]), p)
    assert found.labels == ("0", "1", "2")
    none = found.classes["2"]
    assert (none.rows, none.precision, none.recall, none.f1) == (0, None, None, None)
    assert found.classes["1"].precision == 1
    assert found.classes["1"].recall == 0.5
    assert found.majority == pytest.approx(2 / 3)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert json.loads(json.dumps(found.to_dict()))["labels"]["2"]["f1"] is None
    assert math.isfinite(evaluate(np.array([2]), p[:1]).loss)


def test_intervals() -> None:
    assert wilson_interval(0, 0) == (0, 1)
    for hits, rows in ((0, 10), (10, 10), (50, 100), (1, 3)):
        low, high = wilson_interval(hits, rows)
        assert 0 <= low <= hits / rows <= high <= 1
        for bound in (low, high):  # whose own 95 % just reach what was seen
            if 0 < bound < 1:
                assert abs(hits / rows - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / rows), rel=1e-6)
    assert wilson_interval(8500, 10000)[1] - wilson_interval(8500, 10000)[0] == pytest.approx(0.014, abs=2e-4)


def test_calibration() -> None:
    y, p = predictions(20_000, 2)  # drawn from their own probabilities
    honest = evaluate(y, p)
    assert sum(each.rows for each in honest.bins) == 20_000
    assert honest.calibration_error < 0.02
    for each in honest.bins:
        assert each.low - 1e-6 <= each.confidence <= each.high + 1e-6
        assert 0.5 <= each.low < each.high <= 1
        assert each.interval == wilson_interval(round(each.accuracy * each.rows), each.rows)
    assert evaluate(np.zeros(4, int), np.array([[1.0, 0.0]] * 4)).bins[0].rows == 4
    sure = evaluate(np.array([0, 1]), np.array([[0.99, 0.01]] * 2))
    assert sure.calibration_error == pytest.approx(0.49)


@pytest.mark.parametrize(
    ("truth", "probabilities", "labels", "error", "message"),
    [
        ([0], [[1, 0]], None, ValueError, r"probabilities is int64 \(1, 2\), expected floats \[N, C\]"),
        ([0], [[1.0]], None, ValueError, r"\(1, 1\), .* of a model with one output p: np\.hstack"),
        ([0, 1], [[1.0, 0.0]], None, ValueError, r"truth has shape \(2,\), expected \(1,\)"),
        ([], np.zeros((0, 2)), None, ValueError, "1 or more"),
        ([0.0], [[1.0, 0.0]], None, TypeError, "truth has dtype float64, expected integers"),
        ([2], [[1.0, 0.0]], None, ValueError, "truth has numbers from 2 to 2, expected 0 to 1"),
        ([0], [[np.nan, 0.0]], None, ValueError, "not finite"),
        ([0], [[5.0, 0.0]], None, ValueError, "probabilities has numbers from 0 to 5, expected 0 to 1"),
        ([0, 0], [[0.5, 0.5], [0.2, 0.2]], None, ValueError, r"probabilities\[1\] sums to 0\.4, expected 1"),
        ([0], [[-0.25, 1.0]], None, ValueError, "probabilities has numbers from -0.25 to 1, expected 0 to 1"),
        ([0], [[1.0, 0.0]], ["a"], ValueError, "labels has 1 names, expected 2"),
        ([0], [[1.0, 0.0]], ["a", "a"], ValueError, "labels has 'a' twice, expected a name of its own"),
    ],
)
def test_refused(truth: Any, probabilities: Any, labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate(truth, probabilities, labels)


@pytest.mark.parametrize(("hits", "rows"), [(6, 5), (-1, 5), (1, -5), (1, 0)])
def test_hits_that_cannot_be(hits: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"wilson_interval: hits is {hits}, expected 0 to {rows}, the rows"):
        wilson_interval(hits, rows)
