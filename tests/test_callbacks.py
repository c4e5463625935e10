"""When callbacks are called and with what, and when EarlyStopping stops."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, _core, metrics
from rnnext.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SwapEMAWeights,
    TerminateOnNaN,
)
from rnnext.callbacks._callbacks import HOOKS
from rnnext.layers import GRU, Dense, Embedding
from rnnext.models import load_model
from rnnext.optimizers import SGD
from rnnext.optimizers.schedules import ExponentialDecay
from rnnext.utils import set_random_seed


def model_and_data() -> tuple[Sequential, np.ndarray, np.ndarray]:
    set_random_seed(0)
    model = Sequential([Embedding(20, 4), GRU(3), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    return model, rng.integers(0, 20, (40, 5)), rng.integers(0, 2, 40)


class Recorder(Callback):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append(("train_begin",))

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append(("train_end", set(logs)))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch_begin", epoch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch_end", epoch, set(logs)))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.calls.append(("batch_begin", batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls.append(("batch_end", batch, set(logs)))

    def on_test_begin(self, logs: Any = None) -> None:
        self.calls.append(("test_begin",))

    def on_test_end(self, logs: Any = None) -> None:
        self.calls.append(("test_end", set(logs)))


def test_order_of_calls() -> None:
    model, x, y = model_and_data()
    recorder = Recorder()
    model.fit(x, y, batch_size=30, epochs=3, initial_epoch=1, validation_data=(x, y), callbacks=[recorder], verbose=0)
    training = {"loss", "accuracy"}
    everything = training | {"val_loss", "val_accuracy"}
    steps = [("batch_begin", 0), ("batch_end", 0, training), ("batch_begin", 1), ("batch_end", 1, training)]
    expected: list[Any] = [("train_begin",)]
    for epoch in (1, 2):
        validated = [("test_begin",), ("test_end", training)]
        expected += [("epoch_begin", epoch), *steps, *validated, ("epoch_end", epoch, everything)]
    assert recorder.calls == [*expected, ("train_end", everything)]
    assert recorder.model is model
    assert recorder.params == {"epochs": 3, "steps": 2, "verbose": 0, "validation": True, "validation_freq": 1}


def test_history() -> None:
    model, x, y = model_and_data()
    history = model.fit(x, y, epochs=3, verbose=0)
    assert isinstance(history, History)
    assert model.history is history
    assert history.epoch == [0, 1, 2]
    assert {name: len(values) for name, values in history.history.items()} == {"loss": 3, "accuracy": 3}
    assert all(type(value) is float for values in history.history.values() for value in values)
    again = model.fit(x, y, epochs=3, initial_epoch=3, verbose=0)
    assert again.history == {}
    assert again.epoch == []


def test_what_callbacks_log_is_in_the_history() -> None:
    class Rate(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["rate"] = 0.5

    model, x, y = model_and_data()
    assert model.fit(x, y, epochs=2, callbacks=Rate(), verbose=0).history["rate"] == [0.5, 0.5]


def test_batches_by_the_other_names_of_their_hooks() -> None:
    class Recorded(Callback):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.calls.append(batch)

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.calls.append(set(logs))

    model, x, y = model_and_data()
    recorded, ends = Recorded(), []
    told = LambdaCallback(on_batch_end=lambda batch, logs: ends.append(batch))
    model.fit(x, y, batch_size=20, callbacks=[recorded, told], verbose=0)
    assert recorded.calls == [0, {"loss", "accuracy"}, 1, {"loss", "accuracy"}]
    assert ends == [0, 1]


def all_hooks(calls: list[Any]) -> LambdaCallback:
    def note(name: str) -> Any:
        return lambda *given: calls.append((name.removeprefix("on_"), *given[:-1], set(given[-1])))

    return LambdaCallback(**{name: note(name) for name in HOOKS})


def test_hooks_of_evaluate_and_predict() -> None:
    model, x, y = model_and_data()
    numbers, calls = {"loss", "accuracy"}, list[Any]()
    tests = [("test_batch_begin", 0, set()), ("test_batch_end", 0, numbers)]
    tests += [("test_batch_begin", 1, set()), ("test_batch_end", 1, numbers)]
    watcher = all_hooks(calls)
    model.evaluate(x, y, len(x) // 2, callbacks=[watcher], verbose=0)
    assert calls == [("test_begin", set()), *tests, ("test_end", numbers)]
    assert watcher.params == {"epochs": 1, "steps": 2, "verbose": 0}
    assert watcher.model is model
    calls.clear()
    predictions = model.predict(x, len(x) // 2, callbacks=watcher, verbose=0)
    batches = [each for n in (0, 1) for each in (("predict_batch_begin", n, set()), ("predict_batch_end", n, {"outputs"}))]
    assert calls == [("predict_begin", set()), *batches, ("predict_end", set())]
    assert predictions.shape == (len(x), 1)
    calls.clear()
    model.fit(x, y, len(x), validation_data=(x, y), validation_batch_size=len(x) // 2, callbacks=watcher, verbose=0)
    assert [call for call in calls if "test" in call[0]] == [("test_begin", set()), *tests, ("test_end", numbers)]
    for method in (model.evaluate, model.predict):
        with pytest.raises(TypeError, match=f"{method.__name__}: callbacks has a int, expected a Callback"):
            method(x, callbacks=[3])


def test_logs_are_a_dict_at_every_hook() -> None:
    """They have the keys that Keras's guide lists."""
    seen: dict[str, Any] = {}
    names = [name for name in HOOKS if not name.startswith(("on_batch_", "on_predict_"))]
    hooks = {name: lambda *given, name=name: seen.setdefault(name, list(given[-1].keys())) for name in names}
    model, x, y = model_and_data()
    model.fit(x, y, validation_data=(x, y), callbacks=LambdaCallback(**hooks), verbose=0)
    assert {name: bool(keys) for name, keys in seen.items()} == {name: name.endswith("_end") for name in names}


@pytest.mark.parametrize(
    ("freq", "validated"), [(2, [1, 3]), (3, [2]), ([1, 4], [0, 3]), ((2,), [1])], ids=["second", "third", "list", "tuple"]
)
def test_callbacks_pass_over_epochs_without_validation(freq: Any, validated: list[int], tmp_path: Path) -> None:
    model, x, y = model_and_data()
    stop = EarlyStopping(patience=1, mode="max", baseline=1e9, restore_best_weights=True)
    reduce = ReduceLROnPlateau("val_loss", patience=1, factor=0.5, mode="max", min_delta=1e9)
    kept = ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.9f}", save_best_only=True, mode="min", save_weights_only=True)
    log = CSVLogger(tmp_path / "log.csv")
    history = model.fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=freq, callbacks=[stop, reduce, kept, log], verbose=0
    )
    assert history.validated == validated[: len(history.validated)]
    assert len(history.history["val_loss"]) == len(history.validated)
    assert history.epoch == list(range(4 if len(validated) < 2 else validated[1] + 1))  # the second one was no better
    assert {int(path.name.split("-")[0]) - 1 for path in tmp_path.glob("*-*")} <= set(validated)
    assert len(history.history["learning_rate"]) == len(history.epoch)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("val_loss")
    assert [n for n, row in enumerate(rows[1:]) if row.split(",")[column] != "NA"] == history.validated


def test_a_place_that_some_epochs_do_not_have_is_refused(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    options: dict[str, Any] = {"validation_data": (x, y), "validation_freq": 2, "verbose": 0}
    with pytest.raises(ValueError, match=r"ModelCheckpoint: filepath is .*val_loss.* expected places for numbers named epoch"):
        model.fit(x, y, callbacks=ModelCheckpoint(tmp_path / "{val_loss}"), **options)
    for freq, error, message in (
        (0, ValueError, "validation_freq is 0, expected at least 1, or a list of them"),
        ("2", TypeError, "validation_freq is '2', expected a whole number, or a list of them"),
        ([0.5], TypeError, "validation_freq is 0.5, expected a whole number"),
    ):
        with pytest.raises(error, match=message):
            model.fit(x, y, **{**options, "validation_freq": freq})


def test_stop_training_ends_within_the_epoch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    model, x, y = model_and_data()
    history = model.fit(x, y, batch_size=8, epochs=5, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
    assert model.optimizer is not None
    assert model.optimizer.iterations == 2
    assert model.fit(x, y, epochs=1, verbose=0).epoch == [0]  # the next fit starts anew


def run(stop: EarlyStopping, values: list[float]) -> int:
    """The number of epochs done when the monitor has these values; the weight after each is the epoch's number."""
    model = Sequential([Dense(1, use_bias=False)])
    model.build((None, 1))
    stop.set_model(model)
    stop.set_params({"validation": True})
    stop.on_train_begin()
    for epoch, value in enumerate(values):
        model.set_weights([np.full((1, 1), epoch)])
        stop.on_epoch_end(epoch, {stop.monitor: value})
        if model.stop_training:
            break
    stop.on_train_end()
    return epoch + 1


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 1, 1, 0], 4),
        ({}, [3, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 2, 2], 4),
        ({"patience": 2}, [3, 4, 2, 4, 4, 0], 5),
        ({"min_delta": 0.5}, [3, 2.6, 1], 2),
        ({"min_delta": -0.5}, [3, 2.6, 1], 2),  # as in Keras its sign is of no matter
        ({"min_delta": 0.1}, [0.5, 0.4, 0.3, 0.2], 2),  # exactly `min_delta` is not enough, whatever the last bit says
        ({"min_delta": 0.1, "mode": "max"}, [0.6, 0.7, 0.9], 2),
        ({}, [1, 1 - 1e-9, 0.5], 2),  # the same number of float32
        ({}, [float("inf"), 1e300, 1, 0, 0], 2),  # infinity, in float32
        ({"mode": "max"}, [1, 2, 3, 3], 4),
        ({"mode": "min"}, [1, 2, 3], 2),
        ({"baseline": 1.0, "patience": 2}, [3, 2, 1.5], 3),
        ({"baseline": 2.5, "patience": 2}, [3, 2, 1.5, 1, 1, 1], 6),
        ({"start_from_epoch": 3}, [1, 2, 3, 4, 5], 5),
        ({"patience": 1}, [float("nan"), 2, 1, 1], 4),
        ({"patience": 2}, [float("nan")] * 5, 3),
    ],
)
def test_early_stopping(options: dict[str, Any], values: list[float], epochs: int) -> None:
    assert run(EarlyStopping(**options), values) == min(epochs, len(values))


def test_the_best_weights_come_back() -> None:
    """They come back after the last planned epoch as well, where Keras forgets them."""
    for values, best in (([3, 1, 2, 2], 1), ([3, 2, 1], 2), ([1, 2], 0)):
        for patience in (0, 5):
            stop = EarlyStopping(patience=patience, restore_best_weights=True)
            run(stop, [float(value) for value in values])
            assert stop.best_epoch == best
            assert stop.model.get_weights()[0][0, 0] == best
    stop = EarlyStopping()
    run(stop, [1, 2])
    assert stop.model.get_weights()[0][0, 0] == 1


def test_early_stopping_says_when(capsys: pytest.CaptureFixture[str]) -> None:
    run(EarlyStopping(verbose=1), [1, 2, 3])
    assert capsys.readouterr().out == "Epoch 2: early stopping\n"


@pytest.mark.parametrize(
    ("monitor", "rising"),
    [("val_accuracy", True), ("accuracy", True), ("val_auc", True), ("good", True), ("val_loss", False), ("mae", False)],
)
def test_auto_mode_knows_the_metrics(monitor: str, rising: bool) -> None:
    model, x, y = model_and_data()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "auc", metrics.Precision(name="good"), "mae"])
    stop = EarlyStopping(monitor)
    model.fit(x, y, validation_split=0.2, callbacks=[stop], verbose=0)
    assert (stop.sign > 0) is rising


def test_what_a_callback_of_ones_own_adds_may_be_named_like_a_validation() -> None:
    class Adds(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            assert logs is not None
            logs["val_f1"] = [0.5, 0.7, 0.6][epoch]

    model, x, y = model_and_data()
    for options in ({}, {"validation_split": 0.2}):
        stop = EarlyStopping("val_f1", mode="max", patience=1)
        model.fit(x, y, epochs=3, callbacks=[Adds(), stop], verbose=0, **options)
        assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (0.7, 1, 2)
    with pytest.raises(ValueError, match="monitor is 'val_accuracy', but fit got no validation data"):
        model.fit(x, y, callbacks=[Adds(), EarlyStopping("val_accuracy", mode="max")], verbose=0)


def test_early_stopping_refuses_before_training() -> None:
    model, x, y = model_and_data()
    before = model.get_weights()
    with pytest.raises(ValueError, match="monitor is 'val_loss', but fit got no validation data"):
        model.fit(x, y, callbacks=[EarlyStopping()], verbose=0)
    with pytest.raises(ValueError, match="mode is 'auto', expected 'min' or 'max' for monitor 'learning_rate'"):
        model.fit(x, y, callbacks=[EarlyStopping("learning_rate")], verbose=0)
    names = "expected one of loss, accuracy, val_loss, val_accuracy, learning_rate"
    for callbacks, hint in (([], "$"), ([Recorder()], "; mode 'min' or 'max' for what a callback adds$")):
        with pytest.raises(ValueError, match=f"EarlyStopping: monitor is 'val_acc', {names}{hint}"):
            model.fit(x, y, callbacks=[EarlyStopping("val_acc"), *callbacks], validation_split=0.2, verbose=0)
    for got, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ValueError, match="mode is 'up', expected 'auto', 'min' or 'max'"):
        EarlyStopping(mode="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="monitor is 'val_speed', expected one of loss, accuracy, val_loss, val_accuracy"):
        model.fit(x, y, callbacks=[EarlyStopping("val_speed", mode="max")], validation_split=0.2, verbose=0)
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0


def test_what_another_callback_logs_can_be_followed(tmp_path: Path) -> None:
    class Speed(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_speed"] = 0.5

    model, x, y = model_and_data()
    watchers = [
        Speed(),
        LearningRateScheduler(lambda epoch: 0.25),
        EarlyStopping("val_speed", mode="max"),
        ModelCheckpoint(tmp_path / "{val_speed}-{learning_rate}", "val_speed", save_best_only=True, mode="max"),
    ]
    assert model.fit(x, y, epochs=3, validation_split=0.2, callbacks=watchers, verbose=0).epoch == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["0.5-0.25"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(patience="3"), TypeError, "EarlyStopping: patience is '3', expected a number"),
        (lambda: EarlyStopping(patience=-1), ValueError, "EarlyStopping: patience is -1, expected a number from 0 on"),
        (lambda: EarlyStopping(patience=float("nan")), ValueError, "EarlyStopping: patience is nan"),
        (lambda: EarlyStopping(baseline="low"), TypeError, "EarlyStopping: baseline is 'low', expected a number"),
        (lambda: EarlyStopping(baseline=float("nan")), ValueError, "EarlyStopping: baseline is nan, expected a number"),
        (lambda: EarlyStopping(min_delta="a"), TypeError, "EarlyStopping: min_delta is 'a', expected a number"),
        (lambda: EarlyStopping(start_from_epoch=None), TypeError, "EarlyStopping: start_from_epoch is None"),
        (lambda: EarlyStopping(monitor=3), TypeError, "EarlyStopping: monitor is 3, expected a name"),
        (lambda: ModelCheckpoint(""), ValueError, "ModelCheckpoint: filepath is empty, expected a path"),
        (
            lambda: ModelCheckpoint("m", initial_value_threshold="a"),
            TypeError,
            "ModelCheckpoint: initial_value_threshold is 'a', expected a number",
        ),
        (lambda: ReduceLROnPlateau(factor="a"), TypeError, "ReduceLROnPlateau: factor is 'a', expected a number"),
        (lambda: ReduceLROnPlateau(patience=None), TypeError, "ReduceLROnPlateau: patience is None, expected a number"),
        (lambda: ReduceLROnPlateau(cooldown="1"), TypeError, "ReduceLROnPlateau: cooldown is '1', expected a number"),
        (lambda: ReduceLROnPlateau(min_lr=-1), ValueError, "ReduceLROnPlateau: min_lr is -1, expected a number from 0 on"),
        (lambda: CSVLogger("a.csv", separator="::"), ValueError, "CSVLogger: separator is '::', expected one character"),
        (lambda: LambdaCallback(on_epoch_end=3), TypeError, "LambdaCallback: on_epoch_end is 3, expected a function"),
    ],
)
def test_arguments_are_checked_at_once(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# ---------------------------------------------------------------- ModelCheckpoint


def test_a_checkpoint_at_each_epoch(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    weights: list[Any] = []
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    path = tmp_path / "runs" / "model-{epoch:02d}-{val_loss:.4f}"
    history = model.fit(x, y, epochs=2, validation_split=0.2, callbacks=[watch, ModelCheckpoint(path)], verbose=0).history
    for n, expected in enumerate(weights):
        loaded = load_model(tmp_path / "runs" / f"model-{n + 1:02d}-{history['val_loss'][n]:.4f}")
        for got, wanted in zip(loaded.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
        assert loaded.optimizer is not None
        assert loaded.optimizer.iterations == n + 1
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_checkpoint_every_few_steps(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    saved = ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_weights_only=True, save_freq=3)
    model.fit(x, y, batch_size=10, epochs=2, callbacks=saved, verbose=0)  # 4 steps an epoch
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-3", "2-2"]
    model.load_weights(tmp_path / "1-3")


@pytest.mark.parametrize(
    ("options", "values", "saved"),
    [
        ({"mode": "min"}, [3, 2, 2, 2.5, 1], [0, 1, 4]),
        ({"mode": "max"}, [3, 2, 4, 4, 5], [0, 2, 4]),
        ({"mode": "min", "initial_value_threshold": 2.0}, [3, 2, 1.5], [2]),
        ({"mode": "min"}, [float("nan"), float("nan"), 2, float("nan"), 1], [0, 2, 4]),
    ],
)
def test_the_best_is_saved(options: dict[str, Any], values: list[float], saved: list[int], tmp_path: Path) -> None:
    model = Sequential([Dense(1, use_bias=False)])
    model.build((None, 1))
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}", save_best_only=True, save_weights_only=True, **options)
    checkpoint.set_model(model)
    checkpoint.set_params({"validation": True})
    checkpoint.on_train_begin()
    for epoch, value in enumerate(values):
        checkpoint.on_epoch_end(epoch, {"val_loss": value})
    assert sorted(int(path.name) - 1 for path in tmp_path.iterdir()) == saved


def test_checkpoints_refuse_before_training(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    with pytest.raises(ValueError, match="ModelCheckpoint: monitor is 'val_loss', but fit got no validation data"):
        model.fit(x, y, callbacks=ModelCheckpoint(tmp_path / "m", save_best_only=True), verbose=0)
    best = ModelCheckpoint(tmp_path / "m", save_best_only=True, save_freq=2)
    with pytest.raises(ValueError, match="there is no validation after single steps"):
        model.fit(x, y, validation_split=0.2, callbacks=best, verbose=0)
    for template, names in (
        ("{auc}", "epoch, loss, accuracy"),
        ("{val_loss}", "epoch, loss, accuracy"),
        ("{batch}", "epoch, loss, accuracy"),
        ("{epoch:.2z}", "epoch"),
        ("{epoch", "epoch"),
        ("{}", "epoch"),
        ("{epoch.x}", "epoch"),
    ):
        with pytest.raises(ValueError, match=rf"ModelCheckpoint: filepath is '.*{re.escape(template)}' .* named {names}"):
            model.fit(x, y, callbacks=ModelCheckpoint(tmp_path / template), verbose=0)
    each = ModelCheckpoint(tmp_path / "{val_loss}", save_freq=2)
    with pytest.raises(ValueError, match=r"named epoch, batch, loss, accuracy, learning_rate$"):
        model.fit(x, y, validation_split=0.2, callbacks=each, verbose=0)
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- learning rates


def rates_of(callback: Any, values: list[float]) -> list[float]:
    """The learning rate after each epoch when val_loss has these values; the callback is ours or Keras's."""
    model = SimpleNamespace(metrics_names=["loss"], optimizer=SimpleNamespace(learning_rate=1.0))
    callback.set_model(model)
    callback.set_params({"validation": True, "epochs": len(values)})
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch, {})
        callback.on_epoch_end(epoch, {"val_loss": value})
        rates.append(float(model.optimizer.learning_rate))
    return rates


PLATEAUS: list[tuple[dict[str, Any], list[float], list[float]]] = [
    ({"patience": 2, "factor": 0.5}, [3, 3, 3, 3, 3, 2, 2, 2], [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]),
    ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 0.1, 0.1, 0.01, 0.01, 0.001]),
    ({"patience": 0.5, "cooldown": 1.5}, [3, 3, 3, 3, 3, 3], [1, 0.1, 0.1, 0.01, 0.01, 0.001]),
    ({"patience": 1, "min_lr": 0.05}, [3, 3, 3, 3], [1, 0.1, 0.05, 0.05]),
    ({"patience": 1, "min_delta": 0.5}, [3, 2.8, 2.4], [1, 0.1, 0.1]),
    ({"patience": 1, "min_delta": 0.1}, [0.5, 0.4, 0.3], [1, 0.1, 0.1]),
    ({"patience": 1, "min_delta": 0.1, "mode": "max"}, [0.6, 0.7, 0.8], [1, 0.1, 0.1]),
    ({"patience": 1, "min_delta": 0}, [1, 1 - 1e-9, 1 - 2e-9], [1, 0.1, 0.01]),
    ({"patience": 1, "mode": "max"}, [1, 2, 2, 3], [1, 1, 0.1, 0.1]),
]


@pytest.mark.parametrize(("options", "values", "rates"), PLATEAUS)
def test_reduce_on_plateau(options: dict[str, Any], values: list[float], rates: list[float]) -> None:
    assert rates_of(ReduceLROnPlateau(**options), values) == pytest.approx(rates)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("options", "values", "rates"), PLATEAUS)
def test_reduce_on_plateau_as_keras(options: dict[str, Any], values: list[float], rates: list[float]) -> None:
    keras = pytest.importorskip("keras")
    assert rates_of(keras.callbacks.ReduceLROnPlateau(**{"mode": "min", **options}), values) == pytest.approx(rates)


def test_rates_as_the_callbacks_of_tutorials_set_them() -> None:
    class Halve(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            assert self.model.optimizer is not None
            rate = self.model.optimizer.learning_rate
            rate.assign(rate.numpy() / 2)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert self.model.optimizer is not None
            logs["rate"] = self.model.optimizer.learning_rate

    model, x, y = model_and_data()
    model.compile(SGD(1.0), "mse")
    assert model.fit(x, y, epochs=3, callbacks=Halve(), verbose=0).history["rate"] == [0.5, 0.25, 0.125]


def test_rates_are_set_and_logged() -> None:
    model, x, y = model_and_data()
    given: list[tuple[int, float]] = []

    def halved(epoch: int, rate: float) -> float:
        given.append((epoch, rate))
        return rate / 2

    model.compile(SGD(0.8), "binary_crossentropy")
    history = model.fit(x, y, epochs=3, callbacks=LearningRateScheduler(halved), verbose=0)
    assert given == [(0, 0.8), (1, 0.4), (2, 0.2)]
    assert history.history["learning_rate"] == [0.4, 0.2, 0.1]
    model.fit(x, y, callbacks=LearningRateScheduler(lambda epoch: 0.3), verbose=0)
    assert model.optimizer is not None
    assert model.optimizer.learning_rate == 0.3
    with pytest.raises(ValueError, match="schedule returned None for epoch 0, expected a number"):
        model.fit(x, y, callbacks=LearningRateScheduler(lambda epoch: None), verbose=0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="factor is 1, expected less than 1"):
        ReduceLROnPlateau(factor=1)
    model.compile(SGD(ExponentialDecay(0.1, 10, 0.5)), "binary_crossentropy")
    with pytest.raises(TypeError, match=r"ReduceLROnPlateau: the optimizer's learning rate cannot be .* a schedule says it"):
        model.fit(x, y, callbacks=ReduceLROnPlateau("loss"), verbose=0)
    assert model.optimizer.iterations == 0


# ---------------------------------------------------------------- a fit within a fit, errors in the middle


def test_a_callback_may_fit_the_model_itself(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    inner = []

    class Fits(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            inner.append(self.model.fit(x[:4], y[:4], epochs=2, verbose=0))
            if epoch == 2:
                self.model.stop_training = True

    stops = LambdaCallback(on_epoch_end=lambda epoch, _: setattr(model, "stop_training", epoch == 2))
    history = model.fit(x, y, epochs=5, callbacks=[stops, Fits(), BackupAndRestore(tmp_path / "backup")], verbose=0)
    assert model.history is history
    assert history.epoch == [0, 1, 2]
    assert [each.epoch for each in inner] == [[0, 1]] * 3


def test_an_error_in_a_validation_leaves_the_weights_themselves() -> None:
    model, x, y = model_and_data()
    model.compile(SGD(0.5, use_ema=True, ema_momentum=0.5), "binary_crossentropy")
    learned: list[Any] = []

    def fails(*_: Any) -> None:
        raise OSError("disk full")

    keeps = LambdaCallback(on_train_batch_end=lambda *_: learned.append([w.copy() for w in model.get_weights()]))
    with pytest.raises(OSError, match="disk full"):
        model.fit(
            x,
            y,
            validation_data=(x, y),
            callbacks=[keeps, SwapEMAWeights(), LambdaCallback(on_test_batch_end=fails)],
            verbose=0,
        )
    for weight, expected in zip(model.get_weights(), learned[-1], strict=True):
        np.testing.assert_array_equal(weight, expected)


# ---------------------------------------------------------------- CSVLogger


def test_rows_of_a_log(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    path = tmp_path / "log.csv"
    first = model.fit(x, y, epochs=2, callbacks=CSVLogger(path), verbose=0).history
    expected = ["epoch,accuracy,loss,val_accuracy,val_loss"]
    expected += [f"{n},{first['accuracy'][n]},{first['loss'][n]},NA,NA" for n in range(2)]
    assert path.read_text().splitlines() == expected
    log = CSVLogger(path, append=True)
    more = model.fit(x, y, epochs=3, initial_epoch=2, validation_split=0.5, callbacks=log, verbose=0).history
    expected.append(",".join(str(v) for v in (2, *(more[key][0] for key in expected[0].split(",")[1:]))))
    assert path.read_text().splitlines() == expected
    model.fit(x, y, callbacks=CSVLogger(path, separator=";"), verbose=0)
    assert path.read_text().splitlines()[0] == "epoch;accuracy;loss;val_accuracy;val_loss"
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(FileNotFoundError, match=r"CSVLogger: filename is .*, but there is no such folder"):
        model.fit(x, y, callbacks=CSVLogger(tmp_path / "none" / "log.csv"), verbose=0)
    with pytest.raises(IsADirectoryError, match=r"CSVLogger: filename is .*, which is a folder, expected a file"):
        model.fit(x, y, callbacks=CSVLogger(tmp_path), verbose=0)


@pytest.mark.filterwarnings("default")
def test_a_log_is_as_that_of_keras(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    for name, make in (("ours", CSVLogger), ("theirs", keras.callbacks.CSVLogger)):
        for append in (False, True):
            log = make(str(tmp_path / name), append=append)
            log.on_train_begin()
            for epoch in range(2):
                log.on_epoch_end(epoch, {"loss": 0.5 / (epoch + 1), "accuracy": 0.25})
            log.on_train_end()
    assert (tmp_path / "ours").read_text() == (tmp_path / "theirs").read_text()


# ---------------------------------------------------------------- TerminateOnNaN, LambdaCallback, SwapEMAWeights


def test_a_loss_that_is_no_number_ends_training(capsys: pytest.CaptureFixture[str]) -> None:
    model, x, y = model_and_data()
    wrong = [np.full((3, 1), np.nan), [0]]
    spoil = LambdaCallback(on_train_batch_begin=lambda batch, logs: model.layers[-1].set_weights(wrong) if batch else None)
    history = model.fit(x, y, batch_size=10, epochs=3, callbacks=[spoil, TerminateOnNaN()], verbose=0)
    assert history.epoch == [0]
    assert model.optimizer is not None
    assert model.optimizer.iterations == 2
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match="TerminateOnNaN: the loss is nan at batch 0"):
        model.fit(x, y, callbacks=TerminateOnNaN(raise_error=True), verbose=0)


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_checkpoint_leaves_a_good_model_where_it_is(
    weights_only: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training that has diverged ends by TerminateOnNaN, as without the checkpoint."""
    model, x, y = model_and_data()
    (model.save_weights if weights_only else model.save)(tmp_path / "model")
    good = model.get_weights()
    weight = model.weights[-1]
    spoil = LambdaCallback(on_train_batch_begin=lambda batch, logs: weight.assign(np.full(weight.shape, np.nan)))
    checkpoint = ModelCheckpoint(tmp_path / "model", verbose=1, save_weights_only=weights_only)
    with pytest.warns(UserWarning, match=r"ModelCheckpoint: .*model is not written: the model has diverged"):
        history = model.fit(x, y, epochs=3, callbacks=[spoil, TerminateOnNaN(), checkpoint], verbose=0)
    assert history.epoch == [0]
    assert "saving model" not in capsys.readouterr().out
    model.load_weights(tmp_path / "model")
    for found, expected in zip(model.get_weights(), good, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_best_value_is_that_of_a_model_that_was_written(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    weight = model.weights[-1]
    spoil = LambdaCallback(on_epoch_end=lambda epoch, logs: weight.assign(np.full(weight.shape, np.nan)))
    checkpoint = ModelCheckpoint(tmp_path / "model", monitor="loss", save_best_only=True)
    with pytest.warns(UserWarning, match="is not written: the model has diverged"):
        model.fit(x, y, epochs=1, callbacks=[spoil, checkpoint], verbose=0)
    assert checkpoint.best is None


def test_functions_at_every_hook() -> None:
    model, x, y = model_and_data()
    calls: list[str] = []
    steps = ("train_batch_begin", "train_batch_end")
    hooks = ("train_begin", "epoch_begin", *steps, "test_begin", "test_end", "epoch_end", "train_end")
    told: dict[str, Any] = {f"on_{hook}": lambda *args, hook=hook, **logs: calls.append(hook) for hook in hooks}
    model.fit(x, y, validation_split=0.2, callbacks=LambdaCallback(**told), verbose=0)
    assert calls == list(hooks)
    with pytest.raises(TypeError, match="LambdaCallback: on_coffee is no hook, expected on_epoch_begin"):
        LambdaCallback(on_coffee=print)


def test_validation_with_averages(tmp_path: Path) -> None:
    model, x, y = model_and_data()
    model.compile(SGD(1.0, use_ema=True, ema_momentum=0.9), "binary_crossentropy")
    ends: list[Any] = []
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append((model.get_weights(), logs["val_loss"])))
    options: dict[str, Any] = {"batch_size": 10, "epochs": 2, "validation_data": (x, y), "verbose": 0}
    saved = ModelCheckpoint(tmp_path / "{epoch}", save_weights_only=True)
    model.fit(x, y, callbacks=[watch, SwapEMAWeights(swap_on_epoch=True), saved], **options)
    averaged = model.evaluate(x, y, 10, verbose=0)
    assert ends[-1][1] == averaged  # validation had the averages, which the model has at the end
    model.load_weights(tmp_path / "2")
    assert model.evaluate(x, y, 10, verbose=0) == averaged  # as has what was saved
    model.set_weights(ends[-1][0])
    assert model.evaluate(x, y, 10, verbose=0) != averaged  # but not what was trained on
    plain, _, _ = model_and_data()
    with pytest.raises(ValueError, match="use_ema is False, expected True"):
        plain.fit(x, y, callbacks=SwapEMAWeights(), verbose=0)


# ---------------------------------------------------------------- Ctrl-C


class CtrlC(Callback):
    """Sends SIGINT to this process, as Ctrl-C does, as a step or a validation begins."""

    def __init__(self, hook: str, epoch: int = 1) -> None:
        self.hook, self.at, self.ended = hook, epoch, False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.hook == "step" and (self.epoch, batch) == (self.at, 1):
            os.kill(os.getpid(), signal.SIGINT)

    def on_test_begin(self, logs: Any = None) -> None:
        if self.hook == "validation" and self.epoch == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def on_train_end(self, logs: Any = None) -> None:
        self.ended = True


@pytest.mark.usefixtures("_own_handler")
@pytest.mark.parametrize(("hook", "steps"), [("step", 6), ("validation", 8)])
def test_ctrl_c_waits_for_the_step(hook: str, steps: int, tmp_path: Path) -> None:
    model, x, y = model_and_data()
    pressed = CtrlC(hook)
    callbacks = [pressed, BackupAndRestore(tmp_path / "backup")]
    options: dict[str, Any] = {"batch_size": 10, "epochs": 3, "validation_data": (x, y), "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=callbacks, **options)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert pressed.ended
    assert model.interrupted
    assert model.history is not None
    assert model.history.epoch == [0]
    assert model.optimizer is not None
    assert model.optimizer.iterations == steps
    assert np.isfinite(model.predict(x, verbose=0)).all()
    again, _, _ = model_and_data()
    callbacks = [CtrlC("never"), BackupAndRestore(tmp_path / "backup")]
    history = again.fit(x, y, callbacks=callbacks, **options)  # and what was kept is there to go on from
    assert not again.interrupted
    whole, _, _ = model_and_data()
    assert history.history == whole.fit(x, y, **options).history


@pytest.mark.usefixtures("_own_handler")
def test_ctrl_c_waits_for_a_batch_that_is_trained_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = model_and_data()
    model.predict(x, verbose=0)  # packs weights, which are stale after the step
    step = _core.optimizer_step

    def pressed(*arguments: Any, **options: Any) -> None:
        step(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_core, "optimizer_step", pressed)
    with pytest.raises(KeyboardInterrupt):
        model.train_on_batch(x, y)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole, _, _ = model_and_data()
    whole.train_on_batch(x, y)
    for _ in range(2):
        assert (model.predict(x, verbose=0) == whole.predict(x, verbose=0)).all()
        assert model.optimizer is not None
        assert whole.optimizer is not None
        assert model.optimizer.iterations == whole.optimizer.iterations
        assert model.train_on_batch(x, y) == whole.train_on_batch(x, y)


@pytest.mark.usefixtures("_own_handler")
def test_a_second_ctrl_c_does_not_wait() -> None:
    model, x, y = model_and_data()

    def twice(batch: int, logs: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=LambdaCallback(on_train_batch_begin=twice), verbose=0)
    assert model.optimizer is not None
    assert model.optimizer.iterations == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("_own_handler")
def test_signals_of_others_are_left_alone() -> None:
    model, x, y = model_and_data()
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        model.fit(x, y, epochs=2, batch_size=10, validation_data=(x, y), callbacks=CtrlC("step"), verbose=0)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == [signal.SIGINT]
    thread = threading.Thread(target=lambda: model.fit(x, y, verbose=0))  # where no handler can be set
    thread.start()
    thread.join(60)
    assert model.history is not None
    assert model.history.epoch == [0]
