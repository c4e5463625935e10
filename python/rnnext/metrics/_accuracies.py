"""How often predictions are right: for each row, as functions, and over the rows so far, as metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext._checks import whole_number
from rnnext.losses import as_floats
from rnnext.metrics._metric import Averaged, as_pair, as_scores
from rnnext.parameters import Array


def _ones(matches: npt.ArrayLike) -> Array:
    return np.asarray(matches, np.float32)


def accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """1 where `y_pred` equals `y_true`, of the same shape."""
    labels, predictions = as_pair("accuracy", y_true, y_pred)
    return _ones(labels == predictions)


def binary_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, threshold: float = 0.5) -> Array:
    """1 where `y_pred > threshold` equals `y_true`, of the same shape."""
    labels, predictions = as_pair("binary_accuracy", y_true, y_pred)
    return _ones((predictions > threshold) == labels)


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
    scores = as_scores("categorical_accuracy", y_pred)
    labels = _one_hot("categorical_accuracy", y_true, scores.shape)
    return _ones(np.argmax(scores, axis=-1) == labels)


def sparse_categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """1 for each row where the largest of `y_pred` `[B, C]` is at the place that `y_true` `[B]` or `[B, 1]` says."""
    scores = as_scores("sparse_categorical_accuracy", y_pred)
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
    scores = as_scores("top_k_categorical_accuracy", y_pred)
    return _in_top_k(_one_hot("top_k_categorical_accuracy", y_true, scores.shape), scores, k)


def sparse_top_k_categorical_accuracy(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, k: int = 5) -> Array:
    """1 for each row where the class `y_true`, `[B]` or `[B, 1]`, is among the k largest of `y_pred` `[B, C]`."""
    scores = as_scores("sparse_top_k_categorical_accuracy", y_pred)
    return _in_top_k(_class_labels("sparse_top_k_categorical_accuracy", y_true, scores.shape), scores, k)


class Accuracy(Averaged):
    """How often predictions equal labels."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(accuracy(y_true, y_pred), sample_weight)


class BinaryAccuracy(Averaged):
    """How often `y_pred > threshold` equals the label, 0 or 1. For logits the threshold is 0."""

    def __init__(self, name: str = "binary_accuracy", *, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(binary_accuracy(y_true, y_pred, self.threshold), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(Averaged):
    """How often the class with the highest score is that of the one-hot labels."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(categorical_accuracy(y_true, y_pred), sample_weight)


class SparseCategoricalAccuracy(Averaged):
    """How often the class with the highest score is the one whose number the label is."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(sparse_categorical_accuracy(y_true, y_pred), sample_weight)


class TopKCategoricalAccuracy(Averaged):
    """How often the class of the one-hot labels is among those with the k highest scores."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = whole_number(self, "k", k)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(top_k_categorical_accuracy(y_true, y_pred, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class SparseTopKCategoricalAccuracy(Averaged):
    """How often the class whose number the label is is among those with the k highest scores."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = whole_number(self, "k", k)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        self._add(sparse_top_k_categorical_accuracy(y_true, y_pred, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}
