"""Keras's hooks, several callbacks as one, and the history that every run keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rnnext._checks import number

if TYPE_CHECKING:
    from rnnext.models import Sequential

Logs: TypeAlias = dict[str, float]

HOOKS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_begin",
    "on_train_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_batch_begin",
    "on_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
)


class Callback:
    """Does nothing at any hook; subclasses override those that they need. `model` and `params` are set by fit, evaluate and
    predict.

    A callback with a state also overrides `get_state` and `set_state`, so that an interrupted run (`BackupAndRestore`)
    continues with it.
    """

    model: Sequential
    params: dict[str, Any]  # epochs, steps of an epoch, verbose; of fit whether there is validation and how often
    _open_logs: bool = True  # whether a user's own callback may add to the logs; set by fit

    def set_model(self, model: Sequential) -> None:
        """Called before the first hook, with the model that is trained, evaluated or asked to predict."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before the first hook, with what `params` is then."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch; `logs` are that epoch's results."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation; `logs` are loss and metrics, those of the validation named val_..."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step, counted from 0 in its epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step; `logs` are the epoch's loss and metrics so far."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Keras's other name for `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Keras's other name for `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an epoch's validation, or an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After it; `logs` are its results, without val_."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of it, counted from 0."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of it; `logs` are loss and metrics so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of it, counted from 0."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After a batch of it; `logs` are its "outputs"."""

    def get_state(self) -> dict[str, Any]:
        """What the callback needs to continue: values that JSON can hold and NumPy arrays, in dicts with str keys and lists."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where `get_state` was called; called after `on_train_begin`."""


class CallbackList(Callback):
    """Several callbacks as one, called in their order. TypeError for other objects."""

    def __init__(self, callbacks: Sequence[Callback], *, who: str = "fit") -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"{who}: callbacks has a {type(callback).__name__}, expected a Callback")
        self.callbacks = list(callbacks)
        # Steps are short: only callbacks that look at them are called, and only for these are a step's results computed.
        self.at_batch_begin = [c for c in callbacks if _overrides(c, "on_train_batch_begin", "on_batch_begin")]
        self.at_batch_end = [c for c in callbacks if _overrides(c, "on_train_batch_end", "on_batch_end")]
        self.at_test_batch_end = [c for c in callbacks if _overrides(c, "on_test_batch_end")]

    def set_model(self, model: Sequential) -> None:
        self.model = model
        open_logs = any(_may_log(callback) for callback in self.callbacks)
        for callback in self.callbacks:
            callback._open_logs = open_logs
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

    def on_test_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_begin(logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.at_test_batch_end:
            callback.on_test_batch_end(batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_begin(logs)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_end(logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_begin(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_end(batch, logs)


def _overrides(callback: Callback, *hooks: str) -> bool:
    """Whether the callback's class, or the callback itself, does something at one of the hooks."""
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook) for hook in hooks)


def _may_log(callback: Callback) -> bool:
    """Whether the callback has a function of the user's own that may add to the logs, as a metric to be monitored."""
    functions = [getattr(callback, hook) for hook in ("on_train_batch_end", "on_batch_end", "on_test_end", "on_epoch_end")]
    return not all(str(getattr(each, "__module__", "")).startswith("rnnext.callbacks.") for each in functions)


def checked_number(callback: Callback, name: str, value: float, least: float = -math.inf) -> float:
    """The value as it came. TypeError or ValueError unless it is a number of at least `least`, or infinity."""
    expected = "a number" + (f" from {least:g} on" if least > -math.inf else "")
    number(callback, name, value, least, finite=False, expected=expected)
    return value


def checked_save_freq(callback: Callback, save_freq: Literal["epoch"] | int) -> Literal["epoch"] | int:
    """`save_freq` itself. ValueError unless it is 'epoch' or a number of steps."""
    if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
        raise ValueError(
            f"{type(callback).__name__}: save_freq is {save_freq!r}, expected 'epoch' or a number of steps, at least 1"
        )
    return save_freq


class History(Callback):
    """What fit returns: `history` has a number for each epoch under "loss" and each metric's name; `epoch` numbers the epochs.

    A model keeps its history, but not the other way round: there is no `history.model`.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.validated: list[int] = []  # those of them that have a validation

    def set_model(self, model: Sequential) -> None:
        """Does nothing: if both held each other, the model's memory would have to wait for the garbage collector."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch, self.validated = {}, [], []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        if "val_loss" in (logs or {}):
            self.validated.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def plot(self, names: Sequence[str] | None = None, *, axes: Any = None) -> Any:
        """Loss and metrics over the epochs, training beside validation: an array of matplotlib axes, one for each name."""
        from rnnext.plots import plot_history

        validated = None
        if self.validated != self.epoch:
            validated = [n for n, epoch in enumerate(self.epoch, 1) if epoch in self.validated]
        return plot_history(self.history, names, axes=axes, validated=validated)

    def get_state(self) -> dict[str, Any]:
        return {"history": self.history, "epoch": self.epoch, "validated": self.validated}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.history, self.epoch, self.validated = dict(state["history"]), list(state["epoch"]), list(state["validated"])
