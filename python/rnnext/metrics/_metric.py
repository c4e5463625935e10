"""What all metrics have in common: the base class, the weighted mean over rows, and checks of labels and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext.losses import as_floats, same_rank, weights_of_losses
from rnnext.parameters import Array


class Metric:
    """A name and a state. A subclass defines `update_state`, `result`, `reset_state`, and `get_config` if it has arguments."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__.lower()

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        """Take a batch in.

        `y_true` is its labels, `y_pred` the outputs `[B, K]`, or `[B, T, K]` of a model with an output for each step; labels
        `[B, T]` of steps with one output come as `[B, T, 1]`. `sample_weight` is None, `[B]`, or `[B, T]`: for outputs of steps
        with a mask it is 0 where there is no token, elsewhere 1 in `metrics` and the given weight in `weighted_metrics`.
        """
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


class Averaged(Metric):
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


class Mean(Averaged):
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


class MeanMetricWrapper(Averaged):
    """The weighted mean of what a function of `(y_true, y_pred)` returns for each row."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, **options: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None))
        self._fn = fn
        self._options = options

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        values = self._fn(y_true, y_pred, **self._options)
        self._add(as_floats(self.name, "the function's result", values), sample_weight)


def as_pair(owner: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Array, Array]:
    """Both as float32 arrays of the same shape; nothing is ever broadcast."""
    labels, predictions = as_floats(owner, "y_true", y_true), as_floats(owner, "y_pred", y_pred)
    if labels.shape != predictions.shape:
        given = labels.shape, predictions.shape
        labels, predictions = same_rank(labels, predictions)
        if labels.shape != predictions.shape:
            raise ValueError(f"{owner}: y_true has shape {given[0]}, expected {given[1]} as y_pred")
    return labels, predictions


def as_scores(owner: str, y_pred: npt.ArrayLike) -> Array:
    """The predictions as float32, their last axis the scores of the classes."""
    scores = as_floats(owner, "y_pred", y_pred)
    if not scores.ndim or not scores.shape[-1]:
        raise ValueError(f"{owner}: y_pred has shape {scores.shape}, expected [B, C]")
    return scores


def ratio(numerator: Any, denominator: Any) -> npt.NDArray[np.float64]:
    """Quotients, 0 where the denominator is 0."""
    a, b = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)
