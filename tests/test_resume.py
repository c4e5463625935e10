"""A run that was stopped at any moment and started again ends as one that was not, bit for bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from rnnext import Sequential, TextClassifier, _random, metrics, optimizers, saving
from rnnext.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    SwapEMAWeights,
)
from rnnext.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, Input, SpatialDropout1D
from rnnext.optimizers.schedules import CosineDecay
from rnnext.utils import set_random_seed

V, T, ROWS, SIZE, EPOCHS = 50, 6, 44, 8, 4
STEPS = -(-ROWS // SIZE)


class Killed(BaseException):
    """Stands for a kill: nothing in `fit` catches it."""


class Kill(Callback):
    """Stops the run in a step or at an epoch's end; steps are counted through all epochs."""

    def __init__(self, at: float = -1) -> None:
        self.at = at

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.epoch * STEPS + batch == self.at:
            raise Killed

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) * STEPS - 0.5 == self.at:
            raise Killed

    def get_state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def set_state(self, state: Any) -> None:
        self.epoch = state["epoch"]


class Numbered:
    """Batches by number, which are put in another order after each epoch."""

    def __init__(self) -> None:
        self.x, self.y = rows()
        self.rng = np.random.default_rng(4)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, n: int) -> Any:
        return self.x[n * SIZE : (n + 1) * SIZE], self.y[n * SIZE : (n + 1) * SIZE]

    def on_epoch_end(self) -> None:
        order = self.rng.permutation(ROWS)
        self.x, self.y = self.x[order], self.y[order]


def stream() -> Iterator[Any]:
    x, y = rows()
    rng = np.random.default_rng(5)
    while True:
        chosen = rng.integers(0, ROWS, SIZE)
        yield x[chosen], y[chosen]


def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, V, (ROWS, T)).astype(np.int32), rng.integers(0, 2, ROWS)


def model_of(optimizer: Any) -> Sequential:
    set_random_seed(3)
    model = Sequential([Embedding(V, 5, mask_zero=True), SpatialDropout1D(0.2), GRU(4), Dropout(0.3), Dense(1, "sigmoid")])
    model.compile(
        optimizer, "binary_crossentropy", metrics=["accuracy", metrics.AUC(30)], weighted_metrics=[metrics.Precision()]
    )
    return model


Run = Callable[[Path, float], Any]


def run(
    folder: Path, at: float, optimizer: Any = "adam", save_freq: Any = "epoch", feed: str = "rows", more: Any = tuple
) -> Any:
    """One start of the same program, killed at a step."""
    model = model_of(optimizer() if callable(optimizer) else optimizer)
    x, y = rows()
    callbacks = [BackupAndRestore(folder / "backup", save_freq), *(make(folder) for make in more()), Kill(at)]
    options: dict[str, Any] = {"epochs": EPOCHS, "callbacks": callbacks, "verbose": 0}
    if feed == "rows":
        history = model.fit(x, y, SIZE, validation_split=0.1, class_weight={1: 2.0}, **options)
    elif feed == "numbered":
        history = model.fit(Numbered(), validation_data=(x, y), **options)
    elif feed == "some_steps":  # of rows, which a pass ends with a short epoch; measured now and then, on what changes
        some = {"steps_per_epoch": STEPS - 2, "validation_data": Numbered(), "validation_freq": 2, "validation_steps": 2}
        history = model.fit(x, y, SIZE, **some, **options)
    elif feed == "generators":
        some = {"steps_per_epoch": STEPS, "validation_data": stream(), "validation_steps": 3}
        history = model.fit(stream(), **some, **options)
    else:
        history = model.fit(stream(), steps_per_epoch=STEPS, validation_data=(x, y), **options)
    assert model.optimizer is not None
    state = {name: array.tobytes() for name, array in model.optimizer.state().items()}
    return [w.tobytes() for w in model.get_weights()], state, history.history, history.epoch, _random.get_state()


def monitors() -> list[Callable[[Path], Callback]]:
    return [
        lambda _: EarlyStopping("loss", patience=1, restore_best_weights=True, min_delta=0.02),
        lambda _: ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
        lambda folder: CSVLogger(folder / "log.csv"),
        lambda folder: ModelCheckpoint(folder / "best", save_best_only=True),
        lambda _: LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    ]


CASES: dict[str, dict[str, Any]] = {
    "epochs": {},
    "steps": {"save_freq": 2},
    "each_step": {"save_freq": 1, "optimizer": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True)},
    "callbacks": {"save_freq": 4, "more": monitors},
    "schedule": {
        "save_freq": 5,
        "optimizer": lambda: optimizers.AdamW(CosineDecay(1e-3, 15, warmup_target=0.1, warmup_steps=5)),
    },
    "ema": {
        "save_freq": 4,
        "optimizer": lambda: optimizers.Adam(0.05, use_ema=True, ema_momentum=0.8, ema_frequency=3, ema_overwrite_frequency=9),
        "more": lambda: [lambda _: SwapEMAWeights(swap_on_epoch=True)],
    },
    "ema_epochs": {
        "optimizer": lambda: optimizers.Adam(0.05, use_ema=True),
        "more": lambda: [lambda _: SwapEMAWeights(swap_on_epoch=True)],
    },
    "accumulated": {"save_freq": 1, "optimizer": lambda: optimizers.SGD(0.5, momentum=0.9, gradient_accumulation_steps=4)},
    "numbered": {"save_freq": 4, "feed": "numbered"},
    "stream": {"save_freq": 4, "feed": "stream"},
    "some_steps": {"save_freq": 3, "feed": "some_steps"},
    "some_steps_of_epochs": {"feed": "some_steps", "more": lambda: monitors()[1:]},
    "generators": {"save_freq": 4, "feed": "generators"},
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(case: str, tmp_path: Path) -> None:
    """Stopped again and again: in the first step, within epochs, at their end before and after the checkpoint, at the last."""
    expected = run(tmp_path / "whole", -1, **CASES[case]) if (tmp_path / "whole").mkdir() is None else None
    parts = tmp_path / "parts"
    parts.mkdir()
    stops = [0, 1, 4, STEPS - 0.5, STEPS, STEPS + 4, 2 * STEPS + 3, 3 * STEPS - 0.5, 4 * STEPS - 1, 4 * STEPS - 0.5]
    if CASES[case].get("feed") == "some_steps":  # epochs have four steps and two
        stops = [0, 3, STEPS - 0.5, STEPS, STEPS + 1, 2 * STEPS + 3, 3 * STEPS - 0.5, 3 * STEPS + 1, 4 * STEPS - 0.5]
    for at in stops:
        try:
            found = run(parts, at, **CASES[case])
        except Killed:
            found = None
        if found is not None:
            break  # it was stopped early before that step
    else:
        found = run(parts, -1, **CASES[case])
    assert repr(found) == repr(expected)  # a number's type too
    assert not (parts / "backup").exists()
    for path in (tmp_path / "whole").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (parts / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_stateful_layers_go_on_from_their_states(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 6 * SIZE, 3, 2)).astype(np.float32)

    def trained(folder: str, at: float) -> list[bytes]:
        set_random_seed(1)
        cells = [LSTM(4, return_sequences=True, stateful=True), Bidirectional(GRU(3, stateful=True)), Dense(1)]
        model = Sequential([Input(batch_shape=(SIZE, 3, 2)), *cells])
        model.compile("sgd", "mse")
        watchers = [BackupAndRestore(tmp_path / folder, save_freq=1), Kill(at)]
        model.fit(x, y[:, 0, 0], epochs=2, shuffle=False, callbacks=watchers, verbose=0)
        return [weight.tobytes() for weight in model.get_weights()]

    expected = trained("whole", -1)
    for at in (3, STEPS + 2):
        with pytest.raises(Killed):
            trained("parts", at)
    assert trained("parts", -1) == expected


def test_a_training_that_has_diverged_goes_on_as_well(tmp_path: Path) -> None:
    x, y = np.full((2 * SIZE, 2), 1e30, np.float32), np.zeros(2 * SIZE)

    def trained(folder: str, at: float) -> tuple[list[bytes], str]:
        model = Sequential([Input((2,)), Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        watchers = [BackupAndRestore(tmp_path / folder), Kill(at)]
        with np.errstate(all="ignore"):
            history = model.fit(x, y, batch_size=SIZE, epochs=3, callbacks=watchers, verbose=0).history
        assert np.isnan(model.get_weights()[0]).all()
        return [weight.tobytes() for weight in model.get_weights()], str(history)

    expected = trained("whole", -1)
    with pytest.raises(Killed):
        trained("parts", STEPS + 1)
    assert trained("parts", -1) == expected


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_resume import CASES, EPOCHS, monitors, run
from rnnext import saving
folder, at_write = Path(sys.argv[1]), int(sys.argv[2])
fsync, count = os.fsync, 0
def syncing(descriptor):  # a kill in the middle of writing a file
    global count
    count += 1
    if count == at_write:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = syncing
print("started", flush=True)
found = run(folder, -1, save_freq=2, more=monitors)
(folder / "result").write_text(repr(found))
"""


def ended(folder: Path, at_write: int = 0, seconds: float | None = None) -> int:
    """The program's end: by itself, in the n-th writing of a file, or some time after its imports."""
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", program, str(folder), str(at_write)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        return process.wait(60)


def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert ended(whole) == 0
    for at_write in (1, 4, 6):  # between a checkpoint's writing and its taking its place
        assert ended(parts, at_write) == -signal.SIGKILL
    rng = random.Random(0)
    for _ in range(3):  # and whenever it may be
        assert ended(parts, seconds=rng.uniform(0.0, 0.08)) in (0, -signal.SIGKILL)
    assert ended(parts) == 0
    assert (parts / "result").read_text() == (whole / "result").read_text()
    assert (parts / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()
    assert not (parts / "backup").exists()


# ---------------------------------------------------------------- two trainings, one after the other


class KillAfter(Callback):
    """Stops the program when it has done some steps, whichever training they belong to."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == -1:
            raise Killed


def classified(folder: Path, steps: int, patience: int) -> Any:
    texts = [f"{'good' if n % 3 else 'bad'} w{n % 7} w{n % 5} only{n}" for n in range(60)]
    one, two = (BackupAndRestore(folder / name, 2, delete_checkpoint=False) for name in ("one", "two"))
    kill = KillAfter(steps)
    options: dict[str, Any] = {"units": 3, "embedding_dim": 4, "epochs": 5, "batch_size": 8, "learning_rate": 0.05}
    options |= {"rare_dropout": 2, "validation_fraction": 0.1, "refit": True, "patience": patience, "random_state": 4}
    classifier = TextClassifier(**options)
    labels = [n % 3 % 2 if n % 4 else n % 2 for n in range(60)]
    classifier.fit(texts, labels, callbacks=[one, kill], refit_callbacks=[two, kill])
    weights = [w.tobytes() for w in classifier.model_.get_weights()]
    return weights, classifier.history_, classifier.vectorizer_.vocabulary


@pytest.mark.parametrize(("patience", "epochs"), [(5, 5), (1, None)], ids=["all epochs", "stopped early"])
def test_a_classifier_goes_on_in_either_training(tmp_path: Path, patience: int, epochs: int | None) -> None:
    whole = classified(tmp_path / "whole", 10**6, patience)
    assert (len(whole[1]["loss"]) == epochs) if epochs else (len(whole[1]["loss"]) < 5)
    found, second = None, []
    for _ in range(60):
        with contextlib.suppress(Killed):
            found = classified(tmp_path / "parts", 4, patience)
            break
        second.append((tmp_path / "parts" / "two" / "training.safetensors").exists())
    assert repr(found) == repr(whole)
    assert second[0] != second[-1]  # killed in both


# ---------------------------------------------------------------- what is refused


def checkpoint(folder: Path) -> Path:
    with pytest.raises(Killed):
        run(folder, 4, save_freq=2)
    path = folder / "backup" / "training.safetensors"
    assert path.exists()
    return path


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "not a safetensors file, or a damaged one"),
        (lambda _: b"", "not a safetensors file, or a damaged one"),
        (flipped, "damaged, its checksum does not fit"),
        (lambda _: safetensors.numpy.save({"x": np.zeros(3)}), "not a checkpoint of a training"),
    ],
    ids=["cut", "empty", "flipped", "foreign"],
)
def test_a_damaged_checkpoint_is_refused(damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    content = path.read_bytes()
    with pytest.raises(ValueError, match=f"training.safetensors: {message}"):
        run(tmp_path, -1, save_freq=2)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "sgd"}, "of another training: its optimizer is 'Adam', expected 'SGD'"),
        ({"more": lambda: monitors()[:1]}, "of another training: its callbacks is"),
        ({"feed": "numbered"}, "of another training: its steps is 5, expected 6"),
        ({"optimizer": lambda: optimizers.Adam(amsgrad=True)}, "of another training: its optimizer_config is"),
    ],
    ids=["optimizer", "callbacks", "data", "slots"],
)
def test_a_checkpoint_of_another_training_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    checkpoint(tmp_path)
    with pytest.raises(ValueError, match=f"training.safetensors: .*{message}"):
        run(tmp_path, -1, **{"save_freq": 2, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "its loss is"),
        ({"optimizer": optimizers.Adam(0.01, beta_1=0.5)}, "its optimizer_config is"),
        ({"optimizer": optimizers.Adam(CosineDecay(0.01, 9))}, "its optimizer_config is"),
        ({"labels": 1 - rows()[1]}, "its labels is"),
        ({"class_weight": {0: 9.0}}, "its labels is"),
        ({"validation_data": rows()}, "its validation is False, expected True"),
        ({"optimizer": optimizers.Adam(0.5)}, None),  # which callbacks may have changed, too
        ({"epochs": 5}, None),
    ],
    ids=["loss", "options", "schedule", "labels", "weights", "validation", "rate", "epochs"],
)
def test_data_loss_and_options_must_be_the_same(change: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    x, y = rows()

    def fit(loss: str = "binary_crossentropy", optimizer: Any = None, labels: Any = y, at: float = np.inf, **more: Any) -> None:
        model = Sequential([Embedding(V, 3), GRU(3), Dense(1, "sigmoid")])
        model.compile(optimizer or optimizers.Adam(0.01), loss)
        watchers = [BackupAndRestore(tmp_path / "backup"), LambdaCallback(on_epoch_begin=lambda epoch, _: 1 // (epoch < at))]
        model.fit(x, labels, SIZE, callbacks=watchers, verbose=0, **{"epochs": 3, **more})

    with pytest.raises(ZeroDivisionError):
        fit(at=2)
    if message is None:
        fit(**change)
        return
    with pytest.raises(ValueError, match=f"training.safetensors: of another training: {message}"):
        fit(**change)
    assert (tmp_path / "backup" / "training.safetensors").exists()


@pytest.mark.parametrize("append", [False, True])
def test_a_log_has_each_epoch_once(append: bool, tmp_path: Path) -> None:
    """Also where the checkpoint is of the first epoch, before the log's first row."""
    x, y = rows()
    log = tmp_path / "log.csv"

    def fit(at: float) -> None:
        model = Sequential([Embedding(V, 3), GRU(3), Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy")
        stop = LambdaCallback(on_epoch_end=lambda epoch, _: 1 // (epoch < at))
        watchers = [CSVLogger(log, append=append), stop, BackupAndRestore(tmp_path / "backup", STEPS - 1)]
        model.fit(x, y, SIZE, epochs=3, callbacks=watchers, verbose=0)

    if append:
        log.write_text("epoch,loss\n7,0.5\n")
    for at in (0, 1):
        with pytest.raises(ZeroDivisionError):
            fit(at)
    fit(np.inf)
    lines = log.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *["7"] * append, "0", "1", "2"]


def test_a_log_that_is_gone_does_not_make_the_checkpoint_damaged(tmp_path: Path) -> None:
    x, y = rows()
    logs = [tmp_path / "a.csv", tmp_path / "b.csv"]

    def fit(at: float) -> None:
        model = Sequential([Embedding(V, 3), GRU(3), Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy")
        stop = LambdaCallback(on_epoch_begin=lambda epoch, _: 1 // (epoch < at))
        watchers = [*map(CSVLogger, logs), stop, BackupAndRestore(tmp_path / "backup")]
        model.fit(x, y, SIZE, epochs=4, callbacks=watchers, verbose=0)

    with pytest.raises(ZeroDivisionError):
        fit(2)
    before = logs[0].read_text() + "9,9\n"
    logs[0].write_text(before)
    logs[1].unlink()
    with pytest.raises(ValueError, match=r"training.safetensors: CSVLogger cannot continue: .*b\.csv: has 0 bytes, expected"):
        fit(np.inf)
    assert logs[0].read_text() == before


def test_nothing_is_half_loaded(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    state, arrays = saving.state_from_file(path)
    del arrays[next(name for name in arrays if name.endswith("/velocity"))]
    path.write_bytes(saving.state_to_bytes(state, arrays))
    model = model_of(optimizers.Adam())
    x, y = rows()
    model.fit(x, y, verbose=0)
    assert model.optimizer is not None
    before = [w.tobytes() for w in model.get_weights()]
    held = {name: array.tobytes() for name, array in model.optimizer.state().items()}
    watchers = [BackupAndRestore(path.parent, 2), Kill()]
    with pytest.raises(ValueError, match="the state has no velocity of"):
        model.fit(x, y, SIZE, validation_split=0.1, class_weight={1: 2.0}, callbacks=watchers, verbose=0)
    assert [w.tobytes() for w in model.get_weights()] == before
    assert {name: array.tobytes() for name, array in model.optimizer.state().items()} == held


def test_what_a_killed_write_left_is_cleaned_up(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    (path.parent / ".training.safetensors.abc").write_bytes(b"half")
    (path.parent / "mine").write_bytes(b"")
    run(tmp_path, -1, save_freq=2)
    assert os.listdir(path.parent) == ["mine"]


def test_a_checkpoint_that_is_kept_says_that_all_is_done(tmp_path: Path) -> None:
    x, y = rows()
    ends = []
    for epochs in (2, 2, 3):
        model = model_of("adam")
        backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
        history = model.fit(x, y, SIZE, epochs=epochs, callbacks=backup, verbose=0)
        assert history.epoch == list(range(epochs))
        ends.append([w.tobytes() for w in model.get_weights()])
    model = model_of("adam")
    model.fit(x, y, SIZE, epochs=3, verbose=0)
    assert ends[0] == ends[1]
    assert ends[2] == [w.tobytes() for w in model.get_weights()]


def test_arguments() -> None:
    for save_freq in (0, -1, True, "step", 1.5):
        with pytest.raises(ValueError, match=r"BackupAndRestore: save_freq is .*, expected 'epoch' or a number of steps"):
            BackupAndRestore("folder", save_freq)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backup_dir is empty"):
        BackupAndRestore("")
    with pytest.raises(ValueError, match="save_training: sequential is not being trained, expected a call from a callback"):
        Sequential([Dense(1)]).save_training("x")
