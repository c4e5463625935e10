"""When callbacks are called and with what, and when EarlyStopping stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, metrics
from rnnext.callbacks import Callback, EarlyStopping, History
from rnnext.layers import GRU, Dense, Embedding
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


def test_order_of_calls() -> None:
    model, x, y = model_and_data()
    recorder = Recorder()
    model.fit(x, y, batch_size=30, epochs=3, initial_epoch=1, validation_data=(x, y), callbacks=[recorder], verbose=0)
    training = {"loss", "accuracy"}
    everything = training | {"val_loss", "val_accuracy"}
    steps = [("batch_begin", 0), ("batch_end", 0, training), ("batch_begin", 1), ("batch_end", 1, training)]
    expected: list[Any] = [("train_begin",)]
    for epoch in (1, 2):
        expected += [("epoch_begin", epoch), *steps, ("epoch_end", epoch, everything)]
    assert recorder.calls == [*expected, ("train_end", everything)]
    assert recorder.model is model
    assert recorder.params == {"epochs": 3, "steps": 2, "verbose": 0, "validation": True}


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
    """Epochs done with these values of the monitor; the weights say which epoch they are of."""
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
    """Also where training came to its planned end, which Keras forgets."""
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


def test_early_stopping_refuses_before_training() -> None:
    model, x, y = model_and_data()
    before = model.get_weights()
    with pytest.raises(ValueError, match="monitor is 'val_loss', but fit got no validation data"):
        model.fit(x, y, callbacks=[EarlyStopping()], verbose=0)
    with pytest.raises(ValueError, match="mode is 'auto', expected 'min' or 'max' for monitor 'val_speed'"):
        model.fit(x, y, callbacks=[EarlyStopping("val_speed")], validation_split=0.2, verbose=0)
    for got, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ValueError, match="mode is 'up', expected 'auto', 'min' or 'max'"):
        EarlyStopping(mode="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="monitor is 'val_speed', expected one of loss, accuracy, val_loss, val_accuracy"):
        model.fit(x, y, callbacks=[EarlyStopping("val_speed", mode="max")], validation_split=0.2, verbose=0)
