"""Losses by Keras's names, with their gradients.

B rows, C classes, K outputs. A loss reduces the last axis of `y_pred`, so that there is one loss per row `[B]` (or per step,
`[B, T]`), and then takes their weighted mean or sum. Elementwise work is float32, as in Keras; sums are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._checks import named, number, positive
from rnnext.parameters import Array

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PerSample",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "resolve",
    "serialize",
    "sparse_categorical_crossentropy",
]

Reduction: TypeAlias = Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]

_REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")
# Probabilities are kept from 0 and 1 as in Keras, in float32.
_LEAST = np.float32(1e-7)
_MOST = np.float32(1 - 1e-7)
_SLACK = 1e-6  # what soft labels, computed in float32, may be outside of 0 to 1


class PerSample(NamedTuple):
    """The losses of the rows before they are reduced, and the way back.

    `losses` have the shape of y_pred without its last axis. `backprop` turns their gradients, of that shape or one number for
    all, into that of y_pred. `valid`, of the same shape, is False where a row does not count: its loss is left out of the sum
    and of the number that a mean divides by. None: all rows count.
    """

    losses: Array  # [...], the shape of y_pred without its last axis
    backprop: Callable[[Array | float], Array]  # d losses, [...] or a number for all of them -> d y_pred
    valid: npt.NDArray[np.bool_] | None = None  # [...], False where a row does not count; None: all do


def as_floats(owner: str, argument: str, values: npt.ArrayLike) -> Array:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: {argument} cannot be a float32 array ({error})") from error


def same_rank(y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both with the same number of axes, where they differ by a last axis of size 1; unchanged otherwise.

    Keras's rule: `[B]` becomes `[B, 1]` beside a `[B, 1]`; in all other cases the 1 goes.
    """
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return (y_true, y_pred[:, None]) if y_pred.ndim == 1 else (y_true[..., 0], y_pred)
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        return (y_true[:, None], y_pred) if y_true.ndim == 1 else (y_true, y_pred[..., 0])
    return y_true, y_pred


def _aligned(owner: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Array, Array]:
    """Both as float32 arrays of the same shape; nothing is ever broadcast."""
    given_true, given_pred = as_floats(owner, "y_true", y_true), as_floats(owner, "y_pred", y_pred)
    if given_true.shape == given_pred.shape:
        labels, predictions = given_true, given_pred
    else:
        labels, predictions = same_rank(given_true, given_pred)
        if labels.shape != predictions.shape:
            hint = ""
            if owner == "CategoricalCrossentropy" and given_true.shape in (given_pred.shape[:-1], (*given_pred.shape[:-1], 1)):
                hint = "; sparse_categorical_crossentropy takes labels that are numbers of classes"
            raise ValueError(f"{owner}: y_true has shape {given_true.shape}, expected {given_pred.shape} as y_pred{hint}")
    if not predictions.ndim or not predictions.size:
        raise ValueError(f"{owner}: y_pred has shape {given_pred.shape}, expected [B, K] with at least one row and output")
    return labels, predictions


def _check_probabilities(owner: str, y_true: Array) -> None:
    least, most = np.minimum.reduce(y_true, axis=None), np.maximum.reduce(y_true, axis=None)
    if not (least >= -_SLACK and most <= 1 + _SLACK):  # so that NaN is caught, too
        found = "NaN" if np.isnan(least) else f"values from {least:g} to {most:g}"
        raise ValueError(f"{owner}: y_true has {found}, expected labels from 0 to 1")


def _mean_of_last(values: Array) -> Array:
    if values.shape[-1] == 1:
        return values.reshape(values.shape[:-1])
    return np.asarray(np.add.reduce(values, axis=-1, dtype=np.float64) / values.shape[-1], np.float32)


def _column(d_losses: Array | float) -> Array:
    """Gradients of the losses as they multiply `[..., K]`."""
    return np.asarray(d_losses, np.float32)[..., None]


def weights_of_losses(owner: str, sample_weight: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    """Weights of the losses, of their shape `[B]` or `[B, T]`. A weight per row holds for all of the row's steps."""
    given = weights = as_floats(owner, "sample_weight", sample_weight)
    while weights.ndim > 1 and weights.shape != shape[: weights.ndim] and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"{owner}: sample_weight has shape {given.shape}, expected {shape}, one for each loss, or {shape[:1]}")
    if np.isnan(weights).any():
        raise ValueError(f"{owner}: sample_weight has NaN, expected numbers")
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


def _as_float32(dy: Array) -> Array:
    """What somebody's own loss may have computed in float64, as layers take it."""
    return np.asarray(dy, np.float32)


class Loss:
    """Per-row losses, their weights and their reduction.

    `reduction`: "sum_over_batch_size" (or "mean": the weighted sum divided by the number of losses), "sum", or
    "mean_with_sample_weight" (divided by the sum of the weights). A subclass defines `per_sample`, and `get_config` if it has
    arguments of its own.
    """

    def __init__(self, name: str | None = None, reduction: Reduction = "sum_over_batch_size") -> None:
        if reduction not in _REDUCTIONS:
            hint = "; the functions, as binary_crossentropy, return the losses unreduced" if reduction in (None, "none") else ""
            raise ValueError(
                f"{type(self).__name__}: reduction is {reduction!r}, expected one of {', '.join(map(repr, _REDUCTIONS))}{hint}"
            )
        self.name = name or type(self).__name__
        self.reduction: Reduction = reduction

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        """The losses of the rows, and the function from their gradients to that of `y_pred`: for a subclass to define.

        `y_pred` is `[B, K]`, or `[B, T, K]` of a model with an output for each step; `y_true` are the batch's labels as they
        were given, but labels `[B, T]` of steps with one output come as `[B, T, 1]`. The losses are `[B]` or `[B, T]`.

        It should raise ValueError for labels that do not fit. To find that out before anything is changed, it is called once
        with predictions that are made up; labels of the steps of a list of sequences are then end to end, `[N]` or `[N, ...]`.
        """
        also = "; it has Keras's call alone, which does not say the gradient" if hasattr(self, "call") else ""
        raise NotImplementedError(
            f"{type(self).__name__}: per_sample is not defined, expected the losses with their gradient,"
            f" as docs/training.md shows{also}"
        )

    def forward(
        self,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[float, Callable[[], Array]]:
        """The loss and its way back: `backprop()` is the gradient for `y_pred`, of its shape.

        `sample_weight` is `[B]`, `[B, 1]`, of the shape of the losses, or one number; `mask` `[B, T]` says which steps count,
        and with it only those are in the number of losses. ValueError names an argument of a wrong shape, or with labels that
        are NaN or out of range.
        """
        losses, backprop, valid = self.per_sample(y_true, y_pred)
        if mask is not None:
            steps = np.broadcast_to(mask.reshape(mask.shape + (1,) * (losses.ndim - mask.ndim)), losses.shape)
            valid = steps if valid is None else valid & steps
        if sample_weight is None and valid is None:
            share = 1.0 if self.reduction == "sum" else 1.0 / losses.size
            return float(np.add.reduce(losses, axis=None, dtype=np.float64)) * share, lambda: _as_float32(backprop(share))
        if sample_weight is None:
            weights: Array = np.ones(losses.shape, np.float32)
        else:
            weights = weights_of_losses(type(self).__name__, sample_weight, losses.shape)
        count = losses.size
        if valid is not None:
            weights, count = weights * valid, int(np.count_nonzero(valid))
        match self.reduction:
            case "sum":
                divisor = 1.0
            case "mean_with_sample_weight":
                divisor = float(weights.sum(dtype=np.float64))
            case _:
                divisor = float(count)
        share = 1.0 / divisor if divisor else 0.0  # no weight at all: no loss, as in Keras
        value = float(np.sum(losses * weights, dtype=np.float64)) * share
        return value, lambda: _as_float32(backprop(weights * np.float32(share)))

    def __call__(
        self,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
    ) -> float:
        """The loss alone; arguments and errors as for `forward`."""
        return self.forward(y_true, y_pred, sample_weight, mask)[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """A loss with these arguments."""
        return cls(**config)


class BinaryCrossentropy(Loss):
    """-y log p - (1 - y) log(1 - p), the mean over the last axis; `y_true` from 0 to 1, of the shape of `y_pred`.

    `from_logits`: `y_pred` is what the sigmoid would be taken of. Otherwise probabilities are kept between 1e-7 and 1 - 1e-7,
    and where that changes one its gradient is 0. `label_smoothing` s turns y into (1 - s) y + s / 2.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: Reduction = "sum_over_batch_size",
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(name, reduction)
        number(self, "label_smoothing", label_smoothing, 0, 1)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        y, p = _aligned("BinaryCrossentropy", y_true, y_pred)
        _check_probabilities("BinaryCrossentropy", y)
        shape, K = np.shape(y_pred), p.shape[-1]
        if self.label_smoothing:
            y = y * np.float32(1 - self.label_smoothing) + np.float32(0.5 * self.label_smoothing)
        if self.from_logits:
            z = p
            e = np.exp(-np.abs(z))  # neither it nor anything made of it overflows
            losses = np.maximum(z, 0) - z * y + np.log1p(e)

            def backprop(d_losses: Array | float) -> Array:
                sigmoid = np.where(z >= 0, np.float32(1), e) / (1 + e)
                dp: Array = (sigmoid - y) * (_column(d_losses) / K)
                return dp.reshape(shape)

        else:
            q = np.minimum(np.maximum(p, _LEAST), _MOST)
            rest = 1 - q
            losses = -(y * np.log(q) + (1 - y) * np.log(rest))

            def backprop(d_losses: Array | float) -> Array:
                dp: Array = (q - y) / (q * rest) * (q == p) * (_column(d_losses) / K)
                return dp.reshape(shape)

        return PerSample(_mean_of_last(losses), backprop)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


def _log_softmax(z: Array) -> Array:
    shifted = z - np.maximum.reduce(z, axis=-1, keepdims=True)
    total = np.add.reduce(np.exp(shifted), axis=-1, keepdims=True, dtype=np.float64)
    return shifted - np.log(total).astype(np.float32)


def _row_sums(p: Array) -> Array:
    return np.add.reduce(p, axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)


class CategoricalCrossentropy(Loss):
    """-Σ y log p over the C classes of the last axis; `y_true` one-hot or probabilities, of the shape of `y_pred`.

    `from_logits`: `y_pred` is what the softmax would be taken of. Otherwise each row is divided by its sum, and then kept
    between 1e-7 and 1 - 1e-7; where that changes a probability its own gradient is 0. `label_smoothing` s turns y into
    (1 - s) y + s / C.
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        reduction: Reduction = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(name, reduction)
        number(self, "label_smoothing", label_smoothing, 0, 1)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        y, p = _aligned("CategoricalCrossentropy", y_true, y_pred)
        shape, C = np.shape(y_pred), p.shape[-1]
        if C == 1:
            raise ValueError(
                f"CategoricalCrossentropy: y_pred has shape {shape}, expected at least two classes; for one output there is"
                f" binary_crossentropy"
            )
        _check_probabilities("CategoricalCrossentropy", y)
        if self.label_smoothing:
            y = y * np.float32(1 - self.label_smoothing) + np.float32(self.label_smoothing / C)
        if self.from_logits:
            log_p = _log_softmax(p)

            def backprop(d_losses: Array | float) -> Array:
                return (np.exp(log_p) * _row_sums(y) - y) * _column(d_losses)

        else:
            total = _row_sums(p)
            r = p / total
            q = np.minimum(np.maximum(r, _LEAST), _MOST)
            log_p = np.log(q)

            def backprop(d_losses: Array | float) -> Array:
                dr = -y / q * (q == r)
                dp: Array = (dr - _row_sums(dr * r)) / total * _column(d_losses)
                return dp

        return PerSample(-np.add.reduce(y * log_p, axis=-1), backprop)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


def _class_numbers(
    owner: str, y_true: npt.ArrayLike, shape: tuple[int, ...], ignore_class: int | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_] | None]:
    """Labels `[N]` as whole numbers from 0 to C-1, and where they count (None: everywhere); the others are then 0."""
    given = np.asarray(y_true)
    if given.dtype.kind not in "buif":
        raise TypeError(f"{owner}: y_true has dtype {given.dtype}, expected whole numbers")
    if given.shape != shape[:-1] and given.shape != (*shape[:-1], 1):
        raise ValueError(
            f"{owner}: y_true has shape {given.shape}, expected {shape[:-1]}, a class for each row of y_pred {shape}"
        )
    labels = given.reshape(-1)
    valid = None if ignore_class is None else labels != ignore_class
    if valid is not None:
        labels = np.where(valid, labels, 0)
    C = shape[-1]
    least, most = np.minimum.reduce(labels), np.maximum.reduce(labels)
    numbers = labels.astype(np.intp) if least >= 0 and most < C else None  # NaN fails the test
    if numbers is None or (labels.dtype.kind == "f" and np.any(numbers != labels)):
        wrong = int(np.argmin((labels >= 0) & (labels < C) & (labels == np.floor(labels))))
        where = ", ".join(map(str, np.unravel_index(wrong, shape[:-1]))) if shape[:-1] else ""
        raise ValueError(f"{owner}: y_true[{where}] is {labels[wrong]}, expected a class from 0 to {C - 1}, as y_pred has {C}")
    return numbers, valid


class SparseCategoricalCrossentropy(Loss):
    """-log p of the right class; `y_true`, numbers of classes from 0 to C-1, is `[B]` or `[B, 1]` beside a `y_pred` `[B, C]`,
    and `[B, T]` or `[B, T, 1]` beside a `[B, T, C]`.

    `from_logits` and probabilities as for `CategoricalCrossentropy`. Rows with the label `ignore_class` do not count.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: Reduction = "sum_over_batch_size",
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(name, reduction)
        self.from_logits = from_logits
        self.ignore_class = ignore_class

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        owner = "SparseCategoricalCrossentropy"
        given = as_floats(owner, "y_pred", y_pred)
        if not given.ndim or not given.size:
            raise ValueError(f"{owner}: y_pred has shape {given.shape}, expected [B, C] with at least one row and class")
        shape = given.shape
        labels, valid = _class_numbers(owner, y_true, shape, self.ignore_class)
        p = given.reshape(-1, shape[-1])
        rows = np.arange(len(p))
        if self.from_logits:
            log_p = _log_softmax(p)
            losses = -log_p[rows, labels]

            def backprop(d_losses: Array | float) -> Array:
                dp = np.exp(log_p)
                dp[rows, labels] -= 1
                return dp.reshape(shape) * _column(d_losses)

        else:
            total = _row_sums(p)
            r = p / total
            right = r[rows, labels]
            q = np.minimum(np.maximum(right, _LEAST), _MOST)
            losses = -np.log(q)

            def backprop(d_losses: Array | float) -> Array:
                d_right = -1 / q * (q == right)
                dp: Array = np.broadcast_to(-(d_right * right)[:, None], p.shape).copy()  # through the row's sum
                dp[rows, labels] += d_right
                dp /= total
                return dp.reshape(shape) * _column(d_losses)

        if valid is None:
            return PerSample(losses.reshape(shape[:-1]), backprop)
        return PerSample(np.where(valid, losses, np.float32(0)).reshape(shape[:-1]), backprop, valid.reshape(shape[:-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class}


def _differences(owner: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    y, p = _aligned(owner, y_true, y_pred)
    if np.isnan(np.minimum.reduce(y, axis=None)):
        raise ValueError(f"{owner}: y_true has NaN, expected numbers")
    return p - y


class MeanSquaredError(Loss):
    """(p - y)², the mean over the last axis; `y_true` of the shape of `y_pred`."""

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "mean_squared_error") -> None:
        super().__init__(name, reduction)

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        difference = _differences("MeanSquaredError", y_true, y_pred)
        shape, K = np.shape(y_pred), difference.shape[-1]
        return PerSample(
            _mean_of_last(difference * difference),
            lambda d_losses: (difference * (_column(d_losses) * (2 / K))).reshape(shape),
        )


class MeanAbsoluteError(Loss):
    """|p - y|, the mean over the last axis; `y_true` of the shape of `y_pred`."""

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "mean_absolute_error") -> None:
        super().__init__(name, reduction)

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        difference = _differences("MeanAbsoluteError", y_true, y_pred)
        shape, K = np.shape(y_pred), difference.shape[-1]
        return PerSample(
            _mean_of_last(np.abs(difference)),
            lambda d_losses: (np.sign(difference) * (_column(d_losses) / K)).reshape(shape),
        )


class Huber(Loss):
    """(p - y)² / 2 where |p - y| is at most `delta`, delta (|p - y| - delta / 2) beyond, the mean over the last axis.

    `y_true` is of the shape of `y_pred`.
    """

    def __init__(self, delta: float = 1.0, reduction: Reduction = "sum_over_batch_size", name: str = "huber_loss") -> None:
        super().__init__(name, reduction)
        self.delta = positive(self, "delta", delta)

    def per_sample(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> PerSample:
        difference = _differences("Huber", y_true, y_pred)
        shape, K = np.shape(y_pred), difference.shape[-1]
        slope = np.clip(difference, np.float32(-self.delta), np.float32(self.delta))
        return PerSample(
            _mean_of_last(slope * (difference - np.float32(0.5) * slope)),
            lambda d_losses: (slope * (_column(d_losses) / K)).reshape(shape),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


def binary_crossentropy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """The loss of each row, unreduced; as `BinaryCrossentropy`."""
    return BinaryCrossentropy(from_logits, label_smoothing).per_sample(y_true, y_pred).losses


def categorical_crossentropy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0
) -> Array:
    """The loss of each row, unreduced; as `CategoricalCrossentropy`."""
    return CategoricalCrossentropy(from_logits, label_smoothing).per_sample(y_true, y_pred).losses


def sparse_categorical_crossentropy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, from_logits: bool = False, ignore_class: int | None = None
) -> Array:
    """The loss of each row, unreduced, 0 for those ignored; as `SparseCategoricalCrossentropy`."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class).per_sample(y_true, y_pred).losses


def mean_squared_error(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """The loss of each row, unreduced; as `MeanSquaredError`."""
    return MeanSquaredError().per_sample(y_true, y_pred).losses


def mean_absolute_error(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """The loss of each row, unreduced; as `MeanAbsoluteError`."""
    return MeanAbsoluteError().per_sample(y_true, y_pred).losses


def huber(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, delta: float = 1.0) -> Array:
    """The loss of each row, unreduced; as `Huber`."""
    return Huber(delta).per_sample(y_true, y_pred).losses


_OF_FUNCTION: dict[Callable[..., Array], type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    huber: Huber,
}
_NAMES: dict[str, type[Loss]] = {
    **{kind.__name__: kind for kind in _OF_FUNCTION.values()},
    **{function.__name__: kind for function, kind in _OF_FUNCTION.items()},
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
}


def get(identifier: str | Mapping[str, Any] | Loss | type[Loss] | Callable[..., Any]) -> Loss:
    """A loss from a name ("binary_crossentropy", "BinaryCrossentropy", "bce"), from one of this module's functions, from what
    `serialize` returned, or from a class; a loss passes through. ValueError for a name, TypeError for a function that is not
    known: a loss of one's own needs a gradient and is a subclass of `Loss`.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str | Mapping):
        return named("losses.get", "loss", _NAMES, identifier)
    known: Any = identifier
    if not (isinstance(identifier, type) and issubclass(identifier, Loss)):
        known = next((kind for function, kind in _OF_FUNCTION.items() if function is identifier), None)
    if known is None:
        raise TypeError(
            f"losses.get: identifier is {identifier!r}, expected a name, a dict, a loss or one of this module's functions;"
            f" other losses are subclasses of Loss, as they need a gradient (docs/training.md shows one)"
        )
    loss: Loss = known()
    return loss


def kind_of_labels(y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> Literal["binary", "sparse", "categorical"]:
    """What labels of that shape mean beside predictions of that shape, by Keras's rule.

    One output is binary. Otherwise labels with an axis less, or with a last axis of 1, are numbers of classes; else one-hot.
    """
    if len(y_pred_shape) < 2 or y_pred_shape[-1] == 1:
        return "binary"
    return "sparse" if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1 else "categorical"


def resolve(identifier: Any, y_true_shape: Sequence[int], y_pred_shape: Sequence[int]) -> Loss:
    """As `get`; "crossentropy" and "ce" become the cross-entropy that the shapes ask for."""
    if not isinstance(identifier, str) or identifier.lower() not in ("crossentropy", "ce"):
        return get(identifier)
    match kind_of_labels(y_true_shape, y_pred_shape):
        case "binary":
            return BinaryCrossentropy()
        case "sparse":
            return SparseCategoricalCrossentropy()
        case _:
            return CategoricalCrossentropy()


def serialize(loss: Loss) -> dict[str, Any]:
    """The class's name and its arguments, for `get`."""
    if not isinstance(loss, Loss):
        raise TypeError(f"losses.serialize: loss is {loss!r}, expected an instance of a loss class")
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
