"""Losses as metrics: their means over the rows so far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnext import losses
from rnnext.losses import Loss, weights_of_losses
from rnnext.metrics._metric import Averaged, as_pair
from rnnext.parameters import Array


class _AveragedLoss(Averaged):
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


class RootMeanSquaredError(Averaged):
    """The root of the mean of (y_pred - y_true)², of arrays of one shape."""

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def update_state(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> None:
        labels, predictions = as_pair("RootMeanSquaredError", y_true, y_pred)
        self._add(np.square(predictions - labels), sample_weight)

    def result(self) -> float:
        return math.sqrt(super().result())
