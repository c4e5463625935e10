"""What may look at a training run between its steps, with Keras's hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from rnnext.parameters import Array

if TYPE_CHECKING:
    from rnnext.models import Sequential

Logs: TypeAlias = Mapping[str, float]


class Callback:
    """Does nothing at every hook; subclasses override those that they need. `model` and `params` are set by fit."""

    model: Sequential
    params: dict[str, object]

    def set_model(self, model: Sequential) -> None:
        self.model = model

    def set_params(self, params: dict[str, object]) -> None:
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

    `restore_best_weights` brings the best epoch's weights back at the end, whether training was stopped early or not.
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
        rising = mode == "max" or (mode == "auto" and monitor.endswith(("acc", "accuracy", "auc")))
        self.sign = 1.0 if rising else -1.0
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
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

    def _better(self, value: float, than: float) -> bool:
        return not np.isnan(value) and (np.isnan(than) or self.sign * (value - than) > self.min_delta)
