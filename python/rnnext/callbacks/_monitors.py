"""Callbacks that follow a number in the logs and know whether it has improved."""

from __future__ import annotations

import math
import os
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from rnnext import metrics
from rnnext.callbacks._callbacks import Callback, Logs, checked_number, checked_save_freq
from rnnext.parameters import Array, NotFiniteError

Mode: TypeAlias = Literal["auto", "min", "max"]

_RISING = (
    metrics.Accuracy,
    metrics.AUC,
    metrics.BinaryAccuracy,
    metrics.CategoricalAccuracy,
    metrics.F1Score,
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
    metrics.RootMeanSquaredError,
    metrics.SparseCategoricalCrossentropy,
)


class Monitor(Callback):
    """A number in the logs and its best value so far; what to do about it is up to the subclass.

    `mode` says whether less ("min") or more ("max") is better; "auto" knows this of losses and of this package's metrics.
    """

    def __init__(self, monitor: str, mode: Mode, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode is {mode!r}, expected 'auto', 'min' or 'max'")
        if not isinstance(monitor, str):
            raise TypeError(f"{type(self).__name__}: monitor is {monitor!r}, expected a name, as 'val_loss'")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(checked_number(self, "min_delta", min_delta))
        self.best: float | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        of_validation = self.monitor.startswith("val_") and self.monitor.removeprefix("val_") in self.model.metrics_names
        if of_validation and not self.params["validation"]:
            raise ValueError(f"{type(self).__name__}: monitor is {self.monitor!r}, but fit got no validation data")
        if not self._open_logs or self.mode == "auto":
            self._value(self._made_up_logs(self.params["validation"]))
        self.sign = 1.0 if self._rising() else -1.0
        self.best = None

    def _made_up_logs(self, validation: bool) -> Logs:
        """Logs with every name that the real ones will have, except what a user's own callbacks may add."""
        names = self.model.metrics_names
        return dict.fromkeys([*names, *(f"val_{name}" for name in names if validation), "learning_rate"], 1.0)

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)

    def _value(self, logs: Logs | None) -> float:
        if not logs or self.monitor not in logs:
            others = "; mode 'min' or 'max' for what a callback adds" if self._open_logs and self.mode == "auto" else ""
            raise ValueError(
                f"{type(self).__name__}: monitor is {self.monitor!r}, expected one of {', '.join(logs or ())}{others}"
            )
        return logs[self.monitor]

    def _is_due(self, logs: Logs | None) -> bool:
        """Whether the epoch has what is followed: with `validation_freq` some have no validation."""
        waits = self.monitor.startswith("val_") and self.params["validation"] and "val_loss" not in (logs or {})
        return not waits or self.monitor in (logs or {})

    def _rising(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        metric = self.model.named_metrics.get(name)
        if isinstance(metric, (*_RISING, *_FALLING)):
            return isinstance(metric, _RISING)
        raise ValueError(f"{type(self).__name__}: mode is 'auto', expected 'min' or 'max' for monitor {self.monitor!r}")

    def _better(self, value: float, than: float | None) -> bool:
        if than is None:
            return True
        # As in Keras: both sides as float32, which decides whether exactly `min_delta` is enough.
        with np.errstate(over="ignore"):
            lessened, reference = np.float32(value - self.sign * self.min_delta), np.float32(than)
        improved = lessened > reference if self.sign > 0 else lessened < reference
        return bool(improved) or (math.isnan(than) and not math.isnan(value))


class EarlyStopping(Monitor):
    """Stops when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    `mode` says whether less ("min") or more ("max") is better; "auto" knows this of losses and of this package's metrics. Only
    an improvement that beats `baseline` restarts the waiting. Epochs before `start_from_epoch` do not count.
    `restore_best_weights` restores the best epoch's weights at the end, whether training was stopped early or not.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: Mode = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = checked_number(self, "patience", patience, 0)
        self.verbose = verbose
        if baseline is not None:
            checked_number(self, "baseline", baseline)
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = checked_number(self, "start_from_epoch", start_from_epoch, 0)
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch < self.start_from_epoch or not self._is_due(logs):
            return
        value = self._value(logs)
        self.wait += 1
        if self._better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self._better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        names = ("wait", "stopped_epoch", "best_epoch", "best_weights")
        return {**super().get_state(), **{name: getattr(self, name) for name in names}}


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights alone, as `Sequential.save` and `save_weights` do: a folder, or a file.

    Every `save_freq` steps, or at the end of each epoch; with `save_best_only` only if `monitor` is better than ever before and
    than `initial_value_threshold`. The path may have places for numbers, as "model-{epoch:02d}-{val_loss:.2f}"; epoch and batch
    are counted from 1 there. A model that has diverged is not written, with a warning, so that a good one stays. To continue an
    interrupted training use `BackupAndRestore`.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: Mode = "auto",
        save_freq: Literal["epoch"] | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        if not self.filepath:
            raise ValueError("ModelCheckpoint: filepath is empty, expected a path")
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = checked_save_freq(self, save_freq)
        if initial_value_threshold is not None:
            checked_number(self, "initial_value_threshold", initial_value_threshold)
        self.initial_value_threshold = initial_value_threshold
        self.batches = 0  # since the model was saved

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.save_best_only:
            super().on_train_begin(logs)
            if self.monitor.startswith("val_") and self.save_freq != "epoch":
                raise ValueError(
                    f"ModelCheckpoint: monitor is {self.monitor!r} and save_freq is {self.save_freq}, expected 'epoch': there "
                    "is no validation after single steps"
                )
        at_end = self.save_freq == "epoch"
        follows = self.save_best_only and self.monitor.startswith("val_")
        logs = self._made_up_logs(at_end and self.params["validation"] and (follows or self.params["validation_freq"] == 1))
        places = {"epoch": 1, **({} if at_end else {"batch": 1}), **logs}
        self._path(defaultdict(float, places) if self._open_logs else places)
        self.best = self.initial_value_threshold
        self.batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self.batches += 1
        if self.batches >= self.save_freq:
            self.batches = 0
            self._save(self.epoch, {"batch": batch + 1}, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, {}, logs)

    def _save(self, epoch: int, batch: dict[str, int], logs: Logs | None) -> None:
        said, best = f"Epoch {epoch + 1}: saving model", self.best
        if self.save_best_only:
            if not self._is_due(logs):
                return
            best = self._value(logs)
            if not self._better(best, self.best):
                if self.verbose:
                    print(f"Epoch {epoch + 1}: {self.monitor} did not improve from {self.best:.5f}")
                return
            said = f"Epoch {epoch + 1}: {self.monitor} is {best:.5f} (before: {self.best}), saving model"
        path = self._path({"epoch": epoch + 1, **batch, **(logs or {})})
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        except NotFiniteError:
            warnings.warn(
                f"ModelCheckpoint: {path} is not written: the model has diverged, weights are NaN or infinite", stacklevel=2
            )
        else:
            self.best = best
            if self.verbose:
                print(f"{said} to {path}")

    def _path(self, places: Mapping[str, float]) -> Path:
        try:
            return Path(self.filepath.format_map(places))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath is {self.filepath!r} ({error!r}), expected places for numbers named "
                f"{', '.join(places)}"
            ) from error

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "batches": self.batches, "epoch": getattr(self, "epoch", 0)}


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    The rate does not go below `min_lr`. The `cooldown` epochs after a reduction do not count. The logs get the rate, as
    "learning_rate".
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: Mode = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 <= checked_number(self, "factor", factor) < 1:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}, expected less than 1, at least 0")
        self.factor = factor
        self.patience = checked_number(self, "patience", patience, 0)
        self.verbose = verbose
        self.cooldown = checked_number(self, "cooldown", cooldown, 0)
        self.min_lr = checked_number(self, "min_lr", min_lr, 0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.wait = 0
        self.cooldown_counter: float = 0
        optimizer = self.model.optimizer
        assert optimizer is not None
        try:
            optimizer.learning_rate = optimizer.learning_rate
        except TypeError as error:  # a schedule says it
            raise TypeError(f"ReduceLROnPlateau: the optimizer's learning rate cannot be reduced ({error})") from error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        assert optimizer is not None
        assert logs is not None
        logs["learning_rate"] = before = float(optimizer.learning_rate)
        if not self._is_due(logs):
            return
        value = self._value(logs)
        if self.cooldown_counter:
            self.cooldown_counter = max(self.cooldown_counter - 1, 0)
            self.wait = 0
        if self._better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and before > self.min_lr:
                optimizer.learning_rate = max(before * self.factor, self.min_lr)
                self.wait, self.cooldown_counter = 0, self.cooldown
                if self.verbose:
                    print(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {optimizer.learning_rate}.")

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "wait": self.wait, "cooldown_counter": self.cooldown_counter}
