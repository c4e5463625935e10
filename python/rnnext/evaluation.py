"""How good predicted probabilities are: accuracy with its confidence interval, each class's figures, confusion, calibration.

Knows arrays of probabilities and class numbers; knows no model, no text and no picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bin", "ClassFigures", "Evaluation", "evaluate", "wilson_interval"]

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
_LEAST = 1e-7  # the least probability whose logarithm is taken, as in Keras
_WRONG_SUM = 1e-3  # how far from 1 no rounding puts the sum of a row
_ROUNDING = 1e-5  # how far outside 0 to 1 float32 may put a probability


def wilson_interval(hits: int, rows: int) -> tuple[float, float]:
    """The 95 % confidence interval (Wilson 1927) of a share, from `hits` in `rows` trials; (0, 1) without rows."""
    if not 0 <= hits <= rows:
        raise ValueError(f"wilson_interval: hits is {hits}, expected 0 to {rows}, the rows")
    if not rows:
        return 0.0, 1.0
    share, square = hits / rows, _Z95 * _Z95
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z95 / (1 + square / rows) * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))  # share: against rounding


@dataclass(frozen=True)
class ClassFigures:
    """One class. A figure is None where the class was never predicted, or does not occur."""

    rows: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """The predictions with probabilities from `low` to `high`: their mean probability, and the share that was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % confidence interval."""
        return wilson_interval(round(self.accuracy * self.rows), self.rows)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`. Labels are in the order of the probabilities' columns."""

    labels: tuple[str, ...]
    confusion: npt.NDArray[np.int64]  # [C, C], rows are the true classes and columns the predicted ones
    loss: float  # mean cross-entropy, in nats
    bins: tuple[Bin, ...]  # ten between 1 / C and 1, without those that are empty

    @property
    def rows(self) -> int:
        """The number of texts."""
        return int(self.confusion.sum())

    @property
    def hits(self) -> int:
        """The number of texts that got their true label."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of texts that got their true label."""
        return self.hits / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % confidence interval."""
        return wilson_interval(self.hits, self.rows)

    @property
    def majority(self) -> float:
        """The accuracy of always predicting the most frequent label."""
        return float(self.confusion.sum(axis=1).max() / self.rows)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: how far probabilities are from shares of right predictions, on average over texts."""
        return sum(each.rows * abs(each.confidence - each.accuracy) for each in self.bins) / self.rows

    @property
    def classes(self) -> dict[str, ClassFigures]:
        """Precision, recall and F1 of each label."""
        found = {}
        for n, label in enumerate(self.labels):
            hits, rows, named = (int(count) for count in (self.confusion[n, n], *_margins(self.confusion, n)))
            found[label] = ClassFigures(
                rows,
                precision=hits / named if named else None,
                recall=hits / rows if rows else None,
                f1=2 * hits / (rows + named) if rows + named else None,
            )
        return found

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the labels that occur or were predicted."""
        return float(np.mean([each.f1 for each in self.classes.values() if each.f1 is not None]))

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON can hold them."""
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "majority": self.majority,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "calibration_error": self.calibration_error,
            "labels": {label: vars(each).copy() for label, each in self.classes.items()},
            "confusion": self.confusion.tolist(),
        }


def _margins(confusion: npt.NDArray[np.int64], n: int) -> tuple[int, int]:
    return int(confusion[n].sum()), int(confusion[:, n].sum())


def evaluate(truth: npt.ArrayLike, probabilities: npt.ArrayLike, labels: Sequence[Any] | None = None) -> Evaluation:
    """Compare probabilities [N, C] with true class numbers [N]; `labels` names the C classes (default: their numbers).

    TypeError or ValueError for arrays or names that do not fit each other, or that are not probabilities or class numbers.
    """
    y, p = _checked(truth, probabilities)
    C = p.shape[1]
    names = tuple(str(label) for label in (range(C) if labels is None else labels))
    if len(names) != C:
        raise ValueError(f"evaluate: labels has {len(names)} names, expected {C}, one for each column of probabilities")
    if repeated := [name for n, name in enumerate(names) if name in names[:n]]:
        raise ValueError(f"evaluate: labels has {repeated[0]!r} twice, expected a name of its own for each class")
    predicted = p.argmax(axis=1)
    of_truth = p[np.arange(len(y)), y].astype(np.float64)
    return Evaluation(
        names,
        np.bincount(y * C + predicted, minlength=C * C).reshape(C, C).astype(np.int64),
        float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        _bins(p.max(axis=1).astype(np.float64), predicted == y, 1 / C),
    )


def _checked(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    p, y = np.asarray(probabilities), np.asarray(truth)
    if p.dtype.kind != "f" or p.ndim != 2 or p.shape[1] < 2:
        both = "; of a model with one output p: np.hstack([1 - p, p])" if p.shape[1:] == (1,) else ""
        raise ValueError(f"evaluate: probabilities is {p.dtype} {p.shape}, expected floats [N, C] with C of 2 or more{both}")
    if y.shape != p.shape[:1] or not len(y):
        raise ValueError(f"evaluate: truth has shape {y.shape}, expected ({len(p)},) as probabilities has, 1 or more")
    if y.dtype.kind not in "iu":
        raise TypeError(f"evaluate: truth has dtype {y.dtype}, expected integers, the numbers of the classes")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"evaluate: truth has numbers from {y.min()} to {y.max()}, expected 0 to {p.shape[1] - 1}")
    if not np.isfinite(p).all():
        raise ValueError("evaluate: probabilities has numbers that are not finite")
    if p.min() < -_ROUNDING or p.max() > 1 + _ROUNDING:
        raise ValueError(f"evaluate: probabilities has numbers from {p.min():g} to {p.max():g}, expected 0 to 1")
    sums = p.sum(axis=1, dtype=np.float64)
    for row in np.flatnonzero(np.abs(sums - 1) > _WRONG_SUM)[:1]:
        raise ValueError(f"evaluate: probabilities[{row}] sums to {sums[row]:g}, expected 1")
    return y.astype(np.int64), p


def _bins(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], least: float) -> tuple[Bin, ...]:
    edges = np.linspace(least, 1, 11)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, 9)
    found = []
    for n in range(10):
        chosen = place == n
        if rows := int(chosen.sum()):
            mean, share = float(confidence[chosen].mean()), float(right[chosen].mean())
            found.append(Bin(float(edges[n]), float(edges[n + 1]), rows, mean, share))
    return tuple(found)
