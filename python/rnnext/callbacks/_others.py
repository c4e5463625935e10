"""Callbacks that set the learning rate, write results to a file, stop at NaN, call a function, or swap in averages."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnext.callbacks._callbacks import HOOKS, Callback, Logs


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, rate)`, or `schedule(epoch)`; the logs get it afterwards.

    For a rate that changes from step to step see `rnnext.optimizers.schedules`.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        assert optimizer is not None
        try:
            rate = self.schedule(epoch, optimizer.learning_rate)
        except TypeError:  # a function of the epoch alone, as Keras allows
            rate = self.schedule(epoch)
        if isinstance(rate, bool) or not hasattr(rate, "__float__"):
            raise ValueError(f"LearningRateScheduler: schedule returned {rate!r} for epoch {epoch}, expected a number")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        assert self.model.optimizer is not None
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class CSVLogger(Callback):
    """Writes a row for each epoch: its number, counted from 0, and its logs by name, NA for what an epoch does not have.

    With `append` rows are added to the file, else it is replaced when the first epoch has ended. A resumed run
    (`BackupAndRestore`) continues after the rows that it had written by its checkpoint.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"CSVLogger: separator is {separator!r}, expected one character")
        self.filename = Path(filename)
        self.sep = separator
        self.append = append
        self.keys: list[str] | None = None  # of the columns; None before the first row
        self._size: int | None = None  # of the file, to which it is to be cut before the next row

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.filename.absolute().parent.is_dir():
            raise FileNotFoundError(f"CSVLogger: filename is {self.filename}, but there is no such folder")
        if self.filename.is_dir():
            raise IsADirectoryError(f"CSVLogger: filename is {self.filename}, which is a folder, expected a file")
        self.keys = self._size = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self._cut()
        first = self.keys is None
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]  # as Keras: a later run may have them
        behind = not first or (self.append and self.filename.exists() and self.filename.stat().st_size > 0)
        with open(self.filename, "a" if behind else "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.sep)
            if not behind:
                writer.writerow(["epoch", *self.keys])
            writer.writerow([epoch, *(logs.get(key, "NA") for key in self.keys)])

    def get_state(self) -> dict[str, Any]:
        replaced = self.keys is None and not self.append  # by the first row
        return {"keys": self.keys, "size": None if replaced else self._size_now() if self._size is None else self._size}

    def set_state(self, state: Mapping[str, Any]) -> None:
        size = state["size"]
        if size is not None and (found := self._size_now()) < size:
            raise ValueError(f"{self.filename}: has {found} bytes, expected the {size} that had been written at the checkpoint")
        self.keys, self._size = state["keys"], size

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._cut()

    def _size_now(self) -> int:
        return self.filename.stat().st_size if self.filename.exists() else 0

    def _cut(self) -> None:
        """Take off the rows of epochs that are done again."""
        if self._size is not None and self._size_now() > self._size:
            os.truncate(self.filename, self._size)
        self._size = None


class TerminateOnNaN(Callback):
    """Stops training when the loss is not a finite number; with `raise_error` by a RuntimeError."""

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: the loss is {loss} at batch {batch}")
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """Calls each given function at the hook whose name it was given under, with that hook's arguments."""

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **hooks: Callable[..., Any],
    ) -> None:
        given = [on_epoch_begin, on_epoch_end, on_train_begin, on_train_end, on_train_batch_begin, on_train_batch_end]
        if unknown := hooks.keys() - set(HOOKS):
            raise TypeError(f"LambdaCallback: {', '.join(sorted(unknown))} is no hook, expected {', '.join(HOOKS)}")
        for name, function in [*zip(HOOKS, given, strict=False), *hooks.items()]:
            if function is not None:
                if not callable(function):
                    raise TypeError(f"LambdaCallback: {name} is {function!r}, expected a function")
                setattr(self, name, function)


class SwapEMAWeights(Callback):
    """Validates with the averages of an optimizer that has `use_ema=True`, in the weights' place.

    With `swap_on_epoch` the model has the averages from the end of each epoch to the beginning of the next, for the callbacks
    after this one, as ModelCheckpoint. After training fit leaves them in the model, with this callback or without.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch

    def _use(self, use: bool) -> None:
        optimizer = self.model.optimizer
        assert optimizer is not None
        optimizer.use_averages(use)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._use(False)  # ValueError if the optimizer has none

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._use(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._use(True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._use(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._use(False)
