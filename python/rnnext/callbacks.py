"""What may look at a training run between its steps, with Keras's hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rnnext import metrics
from rnnext.parameters import Array

if TYPE_CHECKING:
    from rnnext.models import Sequential

Logs: TypeAlias = dict[str, float]

_RISING = (
    metrics.Accuracy,
    metrics.AUC,
    metrics.BinaryAccuracy,
    metrics.CategoricalAccuracy,
    metrics.Precision,
    metrics.Recall,
    metrics.SparseCategoricalAccuracy,
    metrics.SparseTopKCategoricalAccuracy,
    metrics.TopKCategoricalAccuracy,
)
_FALLING = (
    metrics.BinaryCrossentropy,
    metrics.CategoricalCrossentropy,
    metrics.MeanAbsoluteError,
    metrics.MeanSquaredError,
    metrics.SparseCategoricalCrossentropy,
)


class Callback:
    """Does nothing at every hook; subclasses override those that they need. `model` and `params` are set by fit."""

    model: Sequential
    params: dict[str, Any]  # epochs, steps of an epoch, verbose, and whether there is validation

    def set_model(self, model: Sequential) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch; `logs` are its results."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation; `logs` are loss and metrics, with val_ before those of the validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step, counted from 0 in its epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step; `logs` are the epoch's loss and metrics so far."""


class CallbackList(Callback):
    """Several as one, called in their order. TypeError if one is no callback."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"fit: callbacks has a {type(callback).__name__}, expected a Callback")
        self.callbacks = list(callbacks)
        # A step is short: only those that look at it are asked, and its results are made for them alone.
        self.at_batch_begin = [c for c in callbacks if type(c).on_train_batch_begin is not Callback.on_train_batch_begin]
        self.at_batch_end = [c for c in callbacks if type(c).on_train_batch_end is not Callback.on_train_batch_end]

    def set_model(self, model: Sequential) -> None:
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        for callback in self.callbacks:
            callback.set_params(params)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.at_batch_begin:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.at_batch_end:
            callback.on_train_batch_end(batch, logs)


class History(Callback):
    """What fit returns: `history["loss"]` has one number for each epoch, as has every metric; `epoch` has their numbers."""

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class EarlyStopping(Callback):
    """Stops when `monitor` has not got better for `patience` epochs.

    `mode` says whether better is less or more; "auto" knows it of losses and of this package's metrics. `baseline` is to be
    passed for the waiting to start anew. Epochs before `start_from_epoch` are not looked at. `restore_best_weights` brings the
    best epoch's weights back at the end, whether training was stopped early or not.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: Literal["auto", "min", "max"] = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"EarlyStopping: mode is {mode!r}, expected 'auto', 'min' or 'max'")
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.monitor.startswith("val_") and not self.params["validation"]:
            raise ValueError(f"EarlyStopping: monitor is {self.monitor!r}, but fit got no validation data")
        self.sign = 1.0 if self._rising() else -1.0
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best: float | None = None
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch < self.start_from_epoch:
            return
        if not logs or self.monitor not in logs:
            raise ValueError(f"EarlyStopping: monitor is {self.monitor!r}, expected one of {', '.join(logs or ())}")
        value = logs[self.monitor]
        self.wait += 1
        if self.best is None or self._better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)

    def _rising(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        metric = self.model.named_metrics.get(name)
        if isinstance(metric, (*_RISING, *_FALLING)):
            return isinstance(metric, _RISING)
        raise ValueError(f"EarlyStopping: mode is 'auto', expected 'min' or 'max' for monitor {self.monitor!r}")

    def _better(self, value: float, than: float) -> bool:
        return not np.isnan(value) and (np.isnan(than) or self.sign * (value - than) > self.min_delta)
