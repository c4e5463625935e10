"""Metrics from names, functions and descriptions, and descriptions of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnext import losses
from rnnext._checks import named
from rnnext.losses import Loss, kind_of_labels
from rnnext.metrics import _accuracies
from rnnext.metrics._accuracies import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from rnnext.metrics._auc import AUC
from rnnext.metrics._counts import F1Score, FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives
from rnnext.metrics._losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)
from rnnext.metrics._metric import Mean, MeanMetricWrapper, Metric

_CLASSES: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "auc": AUC,
    "binary_accuracy": BinaryAccuracy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_accuracy": CategoricalAccuracy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "f1_score": F1Score,
    "false_negatives": FalseNegatives,
    "false_positives": FalsePositives,
    "mean": Mean,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "precision": Precision,
    "recall": Recall,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "true_negatives": TrueNegatives,
    "true_positives": TruePositives,
}
_NAMES: dict[str, type[Metric]] = {
    **_CLASSES,
    **{kind.__name__: kind for kind in _CLASSES.values()},
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
}


def get(identifier: str | Mapping[str, Any] | Metric | type[Metric] | Callable[..., Any]) -> Metric:
    """A metric from a name ("auc", "AUC", "binary_accuracy"), from what `serialize` returned, from a class, or from a function
    of `(y_true, y_pred)` that returns a value for each row; a metric passes through. ValueError for a name that is not known.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str | Mapping):
        return named("metrics.get", "metric", _NAMES, identifier)
    if isinstance(identifier, type):
        if issubclass(identifier, Metric):
            return identifier()
    elif callable(identifier):
        kind = _CLASSES.get(getattr(identifier, "__name__", ""))
        own = getattr(identifier, "__module__", None) in (_accuracies.__name__, losses.__name__)
        return kind() if kind is not None and own else MeanMetricWrapper(identifier)
    raise TypeError(f"metrics.get: identifier is {identifier!r}, expected a name, a dict, a metric or a function")


def resolve(identifier: Any, loss: Loss | None, y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> Metric:
    """As `get`, for a model's metrics; one that is given by its name keeps it.

    "accuracy" and "acc", "crossentropy" and "ce" become the binary, categorical or sparse form that the shapes ask for, as in
    Keras. If the loss takes logits so do they: unlike in Keras, accuracy then is that of logits above 0.
    """
    if not isinstance(identifier, str):
        return _one_number(get(identifier), y_pred_shape)
    from_logits = bool(getattr(loss, "from_logits", False))
    kind = kind_of_labels(y_true_shape, y_pred_shape)
    metric: Metric
    match identifier.lower(), kind:
        case (("accuracy" | "acc"), "binary"):
            metric = BinaryAccuracy(threshold=0.0 if from_logits else 0.5)
        case (("accuracy" | "acc"), "sparse"):
            metric = SparseCategoricalAccuracy()
        case (("accuracy" | "acc"), _):
            metric = CategoricalAccuracy()
        case (("crossentropy" | "ce"), "binary"):
            metric = BinaryCrossentropy(from_logits=from_logits)
        case (("crossentropy" | "ce"), "sparse"):
            metric = SparseCategoricalCrossentropy(from_logits=from_logits)
        case (("crossentropy" | "ce"), _):
            metric = CategoricalCrossentropy(from_logits=from_logits)
        case _:
            metric = _one_number(get(identifier), y_pred_shape)
    metric.name = identifier
    return metric


def _one_number(metric: Metric, y_pred_shape: Sequence[int]) -> Metric:
    """The same; ValueError for one that has a number for each of several outputs."""
    if isinstance(metric, F1Score) and metric.average is None and len(y_pred_shape) > 1 and y_pred_shape[-1] > 1:
        raise ValueError(
            f"F1Score: average is None and there are {y_pred_shape[-1]} outputs, expected 'micro', 'macro' or 'weighted'"
        )
    return metric


def serialize(metric: Metric) -> dict[str, Any]:
    """The class's name and its arguments, for `get`. TypeError for what wraps a function, which cannot be written down."""
    if not isinstance(metric, Metric) or isinstance(metric, MeanMetricWrapper):
        raise TypeError(f"metrics.serialize: metric is {metric!r}, expected an instance of a metric class")
    return {"class_name": type(metric).__name__, "config": metric.get_config()}
