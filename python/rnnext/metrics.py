"""Metrics by Keras's names: running results over the batches of an epoch.

`update_state(y_true, y_pred, sample_weight)` takes a batch in, `result()` is the value so far, `reset_state()` starts again.
Sums are float64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import losses
from rnnext._checks import named, number, whole_number, whole_number_or_none
from rnnext.losses import Loss, as_floats, kind_of_labels, same_rank, weights_of_losses
from rnnext.parameters import Array

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "F1Score",
    "FalseNegatives",
    "FalsePositives",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "get",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

_EPSILON = 1e-7  # by which the outermost thresholds of AUC lie outside of 0 to 1, as in Keras
_SLACK = 1e-6  # what probabilities, computed in float32, may be outside of 0 to 1


def _pair(owner: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Array, Array]:
    """Both as float32 arrays of the same shape; nothing is ever broadcast."""
    labels, predictions = as_floats(owner, "y_true", y_true), as_floats(owner, "y_pred", y_pred)
    if labels.shape != predictions.shape:
        given = labels.shape, predictions.shape
        labels, predictions = same_rank(labels, predictions)
        if labels.shape != predictions.shape:
            raise ValueError(f"{owner}: y_true has shape {given[0]}, expected {given[1]} as y_pred")
    return labels, predictions


def _ratio(numerator: Any, denominator: Any) -> npt.NDArray[np.float64]:
    """Quotients, 0 where the denominator is 0."""
    a, b = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


class Metric:
    """A name and a state. A subclass defines `update_state`, `result`, `reset_state`, and `get_config` if it has arguments."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__.lower()

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        """Take a batch in."""
        raise NotImplementedError(f"{type(self).__name__}: update_state is not defined")

    def result(self) -> float:
        """The value over all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__}: result is not defined")

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__}: reset_state is not defined")

    def get_state(self) -> dict[str, Any]:
        """What of the batches so far must be kept to go on: the attributes that are numbers, arrays or None.

        A subclass that remembers batches in another form says here in which, as JSON can hold it, and in `set_state`.
        """
        kinds = (type(None), int, float, np.number, np.ndarray)
        return {name: value for name, value in vars(self).items() if isinstance(value, kinds)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where `get_state` was called."""
        vars(self).update(state)

    def __call__(self, *arguments: Any, **options: Any) -> float:
        """Take a batch in and return the result so far."""
        self.update_state(*arguments, **options)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Metric:
        """A metric with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class _Averaged(Metric):
    """A weighted mean over rows; what a row has in further axes is averaged first."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.total = 0.0
        self.count = 0.0

    def _add(self, values: Array, sample_weight: npt.ArrayLike | None) -> None:
        """Values `[B, ...]` or one number; weights are `[B]`, `[B, 1]`, of the shape of the values, or one number."""
        if sample_weight is None:
            rows = len(values) if values.ndim else 1
            if values.size:
                self.total += float(np.add.reduce(values, axis=None, dtype=np.float64)) * rows / values.size
            self.count += rows
            return
        weights = weights_of_losses(type(self).__name__, sample_weight, values.shape)
        share = values.size // len(values) if values.ndim and len(values) else 1
        self.total += float(np.sum(values * weights, dtype=np.float64)) / share
        self.count += float(np.sum(weights, dtype=np.float64)) / share

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = self.count = 0.0


class Mean(_Averaged):
    """The weighted mean of values."""

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    def update_state(  # type: ignore[override]  # values, not labels and predictions, as in Keras
        self, values: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> None:
        """Take in values `[B, ...]` or one number, and weights `[B]`, of the shape of the values, or one number."""
        if isinstance(values, float) and isinstance(sample_weight, int | float):  # the loss of a training step
            self.total += values * sample_weight
            self.count += sample_weight
        else:
            self._add(as_floats("Mean", "values", values), sample_weight)


class MeanMetricWrapper(_Averaged):
    """The weighted mean of what a function of `(y_true, y_pred)` returns for each row."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, **options: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None))
        self._fn = fn
        self._options = options

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        values = self._fn(y_true, y_pred, **self._options)
        self._add(as_floats(self.name, "the function's result", values), sample_weight)


def _ones(matches: npt.ArrayLike) -> Array:
    return np.asarray(matches, np.float32)


def accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """1 where `y_pred` equals `y_true`, of the same shape."""
    labels, predictions = _pair("accuracy", y_true, y_pred)
    return _ones(labels == predictions)


def binary_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, threshold: float = 0.5) -> Array:
    """1 where `y_pred > threshold` equals `y_true`, of the same shape."""
    labels, predictions = _pair("binary_accuracy", y_true, y_pred)
    return _ones((predictions > threshold) == labels)


def _scores(owner: str, y_pred: npt.ArrayLike) -> Array:
    scores = as_floats(owner, "y_pred", y_pred)
    if not scores.ndim or not scores.shape[-1]:
        raise ValueError(f"{owner}: y_pred has shape {scores.shape}, expected [B, C]")
    return scores


def _one_hot(owner: str, y_true: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    labels = as_floats(owner, "y_true", y_true)
    if labels.shape != shape:
        raise ValueError(f"{owner}: y_true has shape {labels.shape}, expected {shape} as y_pred")
    return np.asarray(np.argmax(labels, axis=-1), np.intp)


def _class_labels(owner: str, y_true: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    labels = as_floats(owner, "y_true", y_true)
    if labels.shape not in (shape[:-1], (*shape[:-1], 1)):
        raise ValueError(
            f"{owner}: y_true has shape {labels.shape}, expected {shape[:-1]}, a class for each row of y_pred {shape}"
        )
    return labels.reshape(shape[:-1])


def categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """1 for each row where the largest of `y_pred` `[B, C]` is at the place of the largest of `y_true` `[B, C]`."""
    scores = _scores("categorical_accuracy", y_pred)
    labels = _one_hot("categorical_accuracy", y_true, scores.shape)
    return _ones(np.argmax(scores, axis=-1) == labels)


def sparse_categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """1 for each row where the largest of `y_pred` `[B, C]` is at the place that `y_true` `[B]` or `[B, 1]` says."""
    scores = _scores("sparse_categorical_accuracy", y_pred)
    labels = _class_labels("sparse_categorical_accuracy", y_true, scores.shape)
    return _ones(np.argmax(scores, axis=-1) == labels)


def _in_top_k(labels: npt.NDArray[Any], scores: Array, k: int) -> Array:
    """1 for each row where fewer than k scores are above that of the label; a label that is no class is never among them."""
    known = (labels >= 0) & (labels < scores.shape[-1])
    places = np.where(known, labels, 0).astype(np.intp)[..., None]
    right = np.take_along_axis(scores, places, axis=-1)
    above = np.count_nonzero(scores > right, axis=-1)
    return _ones(known & np.isfinite(right[..., 0]) & (above < k))


def top_k_categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, k: int = 5) -> Array:
    """1 for each row where the class of `y_true` `[B, C]` is among the k largest of `y_pred` `[B, C]`."""
    scores = _scores("top_k_categorical_accuracy", y_pred)
    return _in_top_k(_one_hot("top_k_categorical_accuracy", y_true, scores.shape), scores, k)


def sparse_top_k_categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, k: int = 5) -> Array:
    """1 for each row where the class `y_true`, `[B]` or `[B, 1]`, is among the k largest of `y_pred` `[B, C]`."""
    scores = _scores("sparse_top_k_categorical_accuracy", y_pred)
    return _in_top_k(_class_labels("sparse_top_k_categorical_accuracy", y_true, scores.shape), scores, k)


class Accuracy(_Averaged):
    """How often predictions equal labels."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(accuracy(y_true, y_pred), sample_weight)


class BinaryAccuracy(_Averaged):
    """How often `y_pred > threshold` equals the label, 0 or 1. For logits the threshold is 0."""

    def __init__(self, name: str = "binary_accuracy", *, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(binary_accuracy(y_true, y_pred, self.threshold), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(_Averaged):
    """How often the class with the highest score is that of the one-hot labels."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(categorical_accuracy(y_true, y_pred), sample_weight)


class SparseCategoricalAccuracy(_Averaged):
    """How often the class with the highest score is the one whose number the label is."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(sparse_categorical_accuracy(y_true, y_pred), sample_weight)


class TopKCategoricalAccuracy(_Averaged):
    """How often the class of the one-hot labels is among those with the k highest scores."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = whole_number(self, "k", k)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(top_k_categorical_accuracy(y_true, y_pred, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class SparseTopKCategoricalAccuracy(_Averaged):
    """How often the class whose number the label is is among those with the k highest scores."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = whole_number(self, "k", k)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(sparse_top_k_categorical_accuracy(y_true, y_pred, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class _AveragedLoss(_Averaged):
    """The weighted mean of a loss over rows; `get_config` is the loss's without its reduction."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.name)
        self._loss = loss

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        values, _, valid = self._loss.per_sample(y_true, y_pred)
        if valid is not None:
            weights: Array = np.ones(values.shape, np.float32)
            if sample_weight is not None:
                weights = weights_of_losses(type(self).__name__, sample_weight, values.shape)
            sample_weight = weights * valid
        self._add(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = {**self._loss.get_config(), "name": self.name}
        del config["reduction"]
        return config


class BinaryCrossentropy(_AveragedLoss):
    """The mean of `losses.binary_crossentropy`."""

    def __init__(self, name: str = "binary_crossentropy", *, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing, name=name))


class CategoricalCrossentropy(_AveragedLoss):
    """The mean of `losses.categorical_crossentropy`."""

    def __init__(
        self, name: str = "categorical_crossentropy", *, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing, name=name))


class SparseCategoricalCrossentropy(_AveragedLoss):
    """The mean of `losses.sparse_categorical_crossentropy`; rows of the ignored class do not count."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        *,
        from_logits: bool = False,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits, ignore_class, name=name))


class MeanSquaredError(_AveragedLoss):
    """The mean of `losses.mean_squared_error`."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(losses.MeanSquaredError(name=name))


class MeanAbsoluteError(_AveragedLoss):
    """The mean of `losses.mean_absolute_error`."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(losses.MeanAbsoluteError(name=name))


class RootMeanSquaredError(_AveragedLoss):
    """The root of the mean of `losses.mean_squared_error`."""

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(losses.MeanSquaredError(name=name))

    def result(self) -> float:
        return math.sqrt(super().result())


_Places: TypeAlias = npt.NDArray[np.bool_]


def _total(where: _Places, weights: Array | None) -> float:
    return float(np.count_nonzero(where) if weights is None else np.sum(weights, where=where, dtype=np.float64))


class _Found(Metric):
    """Outputs that are found positive or not, beside their labels."""

    def __init__(
        self,
        thresholds: float | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if thresholds is not None and not isinstance(thresholds, int | float | np.number):
            raise TypeError(f"{type(self).__name__}: thresholds is {thresholds!r}, expected one number")
        if thresholds is not None and not 0 <= thresholds <= 1:
            raise ValueError(f"{type(self).__name__}: thresholds is {thresholds}, expected 0 to 1")
        self.thresholds = None if thresholds is None else float(thresholds)
        self.top_k = whole_number_or_none(self, "top_k", top_k)
        self.class_id = whole_number_or_none(self, "class_id", class_id, 0)
        self.reset_state()

    def _places(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[_Places, _Places, Array | None]:
        """Where outputs are labelled positive, where they are found so, and what each counts (None: all 1)."""
        owner = type(self).__name__
        labels, scores = _pair(owner, y_true, y_pred)
        threshold = 0.5 if self.thresholds is None else self.thresholds
        if self.top_k is None:
            positive = scores > threshold
        else:
            if self.top_k > scores.shape[-1]:
                raise ValueError(f"{owner}: y_pred has shape {scores.shape}, expected at least top_k, {self.top_k}, outputs")
            best = np.argsort(-scores, axis=-1, kind="stable")[..., : self.top_k]
            positive = np.zeros(scores.shape, np.bool_)
            np.put_along_axis(positive, best, True, axis=-1)
            if self.thresholds is not None:
                positive &= scores > threshold
        label = labels != 0
        if self.class_id is not None:
            if scores.ndim < 2 or not 0 <= self.class_id < scores.shape[-1]:
                raise ValueError(
                    f"{owner}: y_pred has shape {scores.shape}, expected [B, C] with C above class_id {self.class_id}"
                )
            label, positive = label[..., [self.class_id]], positive[..., [self.class_id]]
        return label, positive, None if sample_weight is None else weights_of_losses(owner, sample_weight, label.shape)


class _Count(_Found):
    """How many outputs, or what they weigh together, are found and labelled in one of the four ways."""

    def __init__(self, thresholds: float | None = None, name: str | None = None) -> None:
        super().__init__(thresholds, name=name or re.sub(r"\B(?=[A-Z])", "_", type(self).__name__).lower())

    def _counts(self, label: _Places, positive: _Places) -> _Places:
        """Which outputs are counted."""
        raise NotImplementedError(f"{type(self).__name__}: _counts is not defined")

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        label, positive, weights = self._places(y_true, y_pred, sample_weight)
        self._counted += _total(self._counts(label, positive), weights)

    def result(self) -> float:
        return self._counted

    def reset_state(self) -> None:
        self._counted = 0.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.thresholds}


class TruePositives(_Count):
    """How many outputs are above `thresholds` (0.5; logits take 0) and labelled positive."""

    def _counts(self, label: _Places, positive: _Places) -> _Places:
        return label & positive


class TrueNegatives(_Count):
    """How many outputs are neither above `thresholds` (0.5; logits take 0) nor labelled positive."""

    def _counts(self, label: _Places, positive: _Places) -> _Places:
        return ~label & ~positive


class FalsePositives(_Count):
    """How many outputs are above `thresholds` (0.5; logits take 0) but not labelled positive."""

    def _counts(self, label: _Places, positive: _Places) -> _Places:
        return ~label & positive


class FalseNegatives(_Count):
    """How many outputs are labelled positive but not above `thresholds` (0.5; logits take 0)."""

    def _counts(self, label: _Places, positive: _Places) -> _Places:
        return label & ~positive


class _PositiveRatio(_Found):
    """True positives as a share of something: what precision and recall have in common."""

    def _other(self, label: _Places, positive: _Places) -> _Places:
        """What the ratio's denominator has beside the true positives."""
        raise NotImplementedError(f"{type(self).__name__}: _other is not defined")

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        label, positive, weights = self._places(y_true, y_pred, sample_weight)
        self._true_positives += _total(label & positive, weights)
        self._others += _total(self._other(label, positive), weights)

    def result(self) -> float:
        total = self._true_positives + self._others
        return self._true_positives / total if total else 0.0

    def reset_state(self) -> None:
        self._true_positives = self._others = 0.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.thresholds, "top_k": self.top_k, "class_id": self.class_id}


class Precision(_PositiveRatio):
    """The share of the outputs found positive that are labelled so, 0 if there are none.

    An output is found positive above `thresholds` (0.5; logits take 0). With `top_k` those with the k highest scores of a row
    are, and if there is a threshold, too, only those of them above it. `class_id` looks at one output alone.
    """

    def _other(self, label: _Places, positive: _Places) -> _Places:
        return ~label & positive


class Recall(_PositiveRatio):
    """The share of the outputs labelled positive that are found so, 0 if there are none.

    An output is found positive above `thresholds` (0.5; logits take 0). With `top_k` those with the k highest scores of a row
    are, and if there is a threshold, too, only those of them above it. `class_id` looks at one output alone.
    """

    def _other(self, label: _Places, positive: _Places) -> _Places:
        return label & ~positive


class F1Score(Metric):
    """The harmonic mean of precision and recall of each output, 0 if nothing is found or labelled positive.

    An output is found positive above `threshold`, or without one if it is its row's greatest. `average`: "micro" counts all
    outputs together, "macro" is the mean of their scores, "weighted" that by how often each is labelled positive. None: a score
    for each output, which a model with several does not take, as its metrics are one number.
    """

    def __init__(
        self,
        average: Literal["micro", "macro", "weighted"] | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
    ) -> None:
        super().__init__(name)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"F1Score: average is {average!r}, expected None, 'micro', 'macro' or 'weighted'")
        self.average = average
        self.threshold = None if threshold is None else number(self, "threshold", threshold, 0, 1)
        self._counts: npt.NDArray[np.float64] | None = None  # [3, C]: true positives, all found and all labelled positive

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        outputs = _scores("F1Score", y_pred).shape[-1] if np.ndim(y_pred) > 1 else 1
        labels, scores = _pair("F1Score", y_true, y_pred)
        shape, labels, scores = labels.shape, labels.reshape(-1, outputs), scores.reshape(-1, outputs)
        if self.threshold is None:
            found = (scores >= scores.max(axis=-1, keepdims=True)) & (np.abs(scores) > 1e-9)  # as Keras: none of zeros
        else:
            found = scores > self.threshold
        weights: Any = 1.0
        if sample_weight is not None:
            weights = weights_of_losses("F1Score", sample_weight, shape).reshape(-1, outputs)
        counts = np.stack([np.sum(each * weights, axis=0, dtype=np.float64) for each in (found * labels, found, labels)])
        if self._counts is not None and self._counts.shape != counts.shape:
            raise ValueError(f"F1Score: y_pred has {outputs} outputs, expected {self._counts.shape[1]} as before")
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self) -> Any:
        """The score; an array of one for each of several outputs if `average` is None."""
        if self._counts is None:
            return 0.0
        true_positives, found, labelled = self._counts.sum(axis=1, keepdims=True) if self.average == "micro" else self._counts
        scores = _ratio(2 * true_positives, found + labelled)
        if self.average == "weighted":
            return float(_ratio(scores @ labelled, labelled.sum()))
        return float(scores.mean()) if self.average is not None or len(scores) == 1 else scores

    def reset_state(self) -> None:
        self._counts = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "threshold": self.threshold}


class AUC(Metric):
    """The area under the ROC or the precision-recall curve, from counts between `num_thresholds` thresholds, as in Keras.

    The thresholds are evenly spaced from 0 to 1 unless `thresholds` names those between the two. `summation_method` says how
    the curve goes on between its points: "interpolation", or the lower ("minoring") or higher ("majoring") of the two.
    `from_logits`: the sigmoid of `y_pred` is taken first. With `multi_label` each of the L outputs has its own curve, and the
    result is the mean of the areas, weighted by `label_weights` `[L]`; otherwise these weigh the outputs in the one curve.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Literal["ROC", "PR"] = "ROC",
        summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation",
        name: str = "auc",
        *,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name)
        if str(curve).upper() not in ("ROC", "PR"):
            raise ValueError(f"AUC: curve is {curve!r}, expected 'ROC' or 'PR'")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                f"AUC: summation_method is {summation_method!r}, expected 'interpolation', 'minoring' or 'majoring'"
            )
        if thresholds is not None:
            try:
                inner = np.sort(np.asarray(thresholds, np.float64).reshape(-1))
            except (TypeError, ValueError) as error:
                raise TypeError(f"AUC: thresholds is {thresholds!r}, expected numbers from 0 to 1") from error
            if not inner.size or not (inner[0] >= 0 and inner[-1] <= 1):
                raise ValueError(f"AUC: thresholds is {thresholds!r}, expected numbers from 0 to 1")
        else:
            whole_number("AUC", "num_thresholds", num_thresholds, 2)
            inner = np.arange(1, num_thresholds - 1) / (num_thresholds - 1)
        if num_labels is not None and not multi_label:
            raise ValueError(f"AUC: num_labels is {num_labels}, expected None unless multi_label is True")
        self.curve = str(curve).upper()
        self.summation_method = summation_method
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = from_logits
        self.num_thresholds = len(inner) + 2
        self._given = None if thresholds is None else inner.tolist()
        self._thresholds = np.array([-_EPSILON, *inner, 1 + _EPSILON], np.float32)
        even = np.linspace(0, 1, self.num_thresholds)
        self._even = self._given is None or (len(inner) > 0 and bool(np.allclose(self._thresholds, even, atol=2 * _EPSILON)))
        # counts[l, y, k]: weight of the outputs l that are labelled y and lie above exactly k of the thresholds
        self._counts: npt.NDArray[np.float64] | None = None

    @property
    def thresholds(self) -> list[float]:
        """All thresholds, the two outermost ones included."""
        return [-_EPSILON, *(float(threshold) for threshold in self._thresholds[1:-1]), 1 + _EPSILON]

    def _above(self, p: Array) -> npt.NDArray[np.intp]:
        """How many of the thresholds each probability lies above."""
        if not self._even:
            return np.asarray(np.searchsorted(self._thresholds, p, side="left"), np.intp)
        steps = np.ceil(np.minimum(np.maximum(p, 0), 1) * np.float32(self.num_thresholds - 1))
        return np.asarray(np.maximum(steps, 1), np.intp)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        labels, p = _pair("AUC", y_true, y_pred)
        if not p.size:
            return
        least, most = np.minimum.reduce(p, axis=None), np.maximum.reduce(p, axis=None)
        if np.isnan(least):
            raise ValueError("AUC: y_pred has NaN, expected numbers")
        if self.from_logits:
            e = np.exp(-np.abs(p))
            p = np.where(p >= 0, np.float32(1), e) / (1 + e)
        elif least < -_SLACK or most > 1 + _SLACK:
            raise ValueError(
                f"AUC: y_pred has values from {least:g} to {most:g}, expected 0 to 1; from_logits=True takes logits"
            )
        L = 1
        if self.multi_label:
            if p.ndim != 2 or self.num_labels not in (None, p.shape[1]):
                expected = "L" if self.num_labels is None else self.num_labels
                raise ValueError(f"AUC: y_pred has shape {p.shape}, expected [B, {expected}] with multi_label")
            L = p.shape[1]
        weights = None if sample_weight is None else weights_of_losses("AUC", sample_weight, p.shape)
        if self.label_weights is not None:
            if p.ndim < 2 or p.shape[-1] != len(self.label_weights):
                raise ValueError(
                    f"AUC: y_pred has shape {p.shape}, expected one output for each of {len(self.label_weights)} label_weights"
                )
            if not self.multi_label:
                weights = (1 if weights is None else weights) * np.broadcast_to(
                    np.asarray(self.label_weights, np.float32), p.shape
                )
        if self._counts is None or len(self._counts) != L:
            if self._counts is not None:
                raise ValueError(f"AUC: y_pred has {L} outputs, expected {len(self._counts)} as before")
            self._counts = np.zeros((L, 2, self.num_thresholds + 1))
        width = self.num_thresholds + 1
        cells = self._above(p) + width * (labels != 0)
        if L > 1:
            cells = cells + 2 * width * np.arange(L)
        found = np.bincount(cells.reshape(-1), None if weights is None else weights.reshape(-1), L * 2 * width)
        self._counts += found.reshape(self._counts.shape)

    def result(self) -> float:
        if self._counts is None:
            return 0.0
        above = np.flip(np.cumsum(np.flip(self._counts[:, :, 1:], axis=-1), axis=-1), axis=-1)  # [L, 2, num_thresholds]
        total = self._counts.sum(axis=-1)  # [L, 2]
        areas = self._areas(above[:, 1], above[:, 0], total[:, 1:], total[:, :1])
        if not self.multi_label or self.label_weights is None:
            return float(areas.mean())
        return float(_ratio(areas @ self.label_weights, sum(self.label_weights)))

    def _areas(
        self,
        tp: npt.NDArray[np.float64],
        fp: npt.NDArray[np.float64],
        positives: npt.NDArray[np.float64],
        negatives: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Areas `[L]` from true and false positives `[L, num_thresholds]` and the labels' totals `[L, 1]`."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            # Davis and Goadrich 2006: between two thresholds, true and all positives grow in proportion. With P = tp + fp and
            # tp = slope P + intercept, the integral of tp/P dtp is slope (Δtp + intercept log(P_a / P_b)).
            P = tp + fp
            d_tp = tp[:, :-1] - tp[:, 1:]
            slope = _ratio(d_tp, P[:, :-1] - P[:, 1:])
            intercept = tp[:, 1:] - slope * P[:, 1:]
            both = (P[:, :-1] > 0) & (P[:, 1:] > 0)
            growth = np.where(both, _ratio(P[:, :-1], P[:, 1:]), 1.0)
            return np.asarray(_ratio(slope * (d_tp + intercept * np.log(growth)), positives).sum(axis=-1), np.float64)
        recall = _ratio(tp, positives)
        x, y = (_ratio(fp, negatives), recall) if self.curve == "ROC" else (recall, _ratio(tp, tp + fp))
        match self.summation_method:
            case "interpolation":
                heights = (y[:, :-1] + y[:, 1:]) / 2
            case "minoring":
                heights = np.minimum(y[:, :-1], y[:, 1:])
            case _:
                heights = np.maximum(y[:, :-1], y[:, 1:])
        return np.asarray(np.sum((x[:, :-1] - x[:, 1:]) * heights, axis=-1), np.float64)

    def reset_state(self) -> None:
        self._counts = None

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        if self._given is not None:
            config["thresholds"] = self._given
        return config


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
        own = getattr(identifier, "__module__", None) in (__name__, losses.__name__)
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
