"""Outputs counted by whether they are found positive and whether they are labelled so, and the ratios of these counts."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._checks import number, whole_number_or_none
from rnnext.losses import weights_of_losses
from rnnext.metrics._metric import Metric, as_pair, as_scores, ratio
from rnnext.parameters import Array

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
        labels, scores = as_pair(owner, y_true, y_pred)
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
        outputs = as_scores("F1Score", y_pred).shape[-1] if np.ndim(y_pred) > 1 else 1
        labels, scores = as_pair("F1Score", y_true, y_pred)
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
        scores = ratio(2 * true_positives, found + labelled)
        if self.average == "weighted":
            return float(ratio(scores @ labelled, labelled.sum()))
        return float(scores.mean()) if self.average is not None or len(scores) == 1 else scores

    def reset_state(self) -> None:
        self._counts = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "threshold": self.threshold}
