"""Where fit's batches come from: rows, batches by number, iterables, memory maps, token files; the same numbers from each."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, data
from rnnext._feeds import RowsFeed
from rnnext._inputs import examples_of
from rnnext.data import TokenFile, TokenWriter
from rnnext.layers import GRU, LSTM, Dense, Embedding
from rnnext.utils import PyDataset, set_random_seed

V, T, ROWS, SIZE = 30, 7, 42, 8


def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, V, (ROWS, T)).astype(np.int32), rng.integers(0, 2, ROWS)


def ragged() -> tuple[list[np.ndarray], np.ndarray]:
    x, y = rows()
    return [row[: n % (T + 1)] for n, row in enumerate(x)], y


def tutorial() -> Sequential:
    set_random_seed(2)
    model = Sequential([Embedding(V, 5), GRU(4), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def batches() -> list[tuple[Any, Any]]:
    x, y = rows()
    return [(x[n : n + SIZE], y[n : n + SIZE]) for n in range(0, ROWS, SIZE)]


class Numbered:
    """Has the methods of Keras's PyDataset without being one."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __len__(self) -> int:
        return len(batches())

    def __getitem__(self, n: int) -> Any:
        self.calls.append(n)
        return batches()[n]

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")


class Derived(PyDataset):
    """A subclass of PyDataset, as programs written for Keras have it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.epochs = 0

    def __len__(self) -> int:
        return len(batches())

    def __getitem__(self, index: int) -> Any:
        return batches()[index]

    def on_epoch_end(self) -> None:
        self.epochs += 1


def test_a_py_dataset_of_ones_own() -> None:
    given = Derived(workers=2, use_multiprocessing=True, max_queue_size=4)
    assert (given.workers, given.use_multiprocessing, given.max_queue_size) == (2, True, 4)
    assert given.num_batches == len(batches())
    model, same = tutorial(), tutorial()
    found = model.fit(given, epochs=2, shuffle=False, validation_data=Derived(), verbose=0).history
    assert found == same.fit(Numbered(), epochs=2, shuffle=False, validation_data=Numbered(), verbose=0).history
    assert given.epochs == 2
    with pytest.raises(NotImplementedError, match="PyDataset: __len__, the number of batches, is not defined"):
        tutorial().fit(PyDataset(), verbose=0)


class Again:
    """An iterable that can be iterated again and again."""

    def __iter__(self) -> Iterator[Any]:
        return iter(batches())


def once(epochs: int = 1) -> Iterator[Any]:
    for _ in range(epochs):
        yield from batches()


def outcome(model: Sequential, *args: Any, **options: Any) -> Any:
    set_random_seed(3)  # the order of the rows is drawn
    history = model.fit(*args, **{"epochs": 2, "verbose": 0, **options})
    return [w.tobytes() for w in model.get_weights()], history.history


class Frame:
    """Is to NumPy what pandas's DataFrame is."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, *given: Any, **options: Any) -> np.ndarray:
        return np.array(self.values, *given, **options)


@pytest.mark.parametrize("kind", ["frame", "tensor"])
def test_what_numpy_makes_an_array_of(kind: str) -> None:
    make: Any = Frame if kind == "frame" else pytest.importorskip("torch", reason="tensors are PyTorch's").tensor
    x, y = rows()
    results = []
    for given in ((x, y), (make(x), make(y))):
        model = tutorial()
        history = model.fit(*given, batch_size=SIZE, validation_data=given, verbose=0)
        results.append((history.history, model.evaluate(*given, verbose=0)))
        np.testing.assert_array_equal(model.predict(given[0], verbose=0), model(x))
    assert results[0] == results[1]


def test_all_feeds_train_alike() -> None:
    x, y = rows()
    expected = outcome(tutorial(), x, y, SIZE, shuffle=False, validation_data=(x, y), validation_batch_size=SIZE)
    steps = len(batches())
    for feed, options in (
        (Numbered(), {"shuffle": False}),
        (Again(), {}),
        (Again(), {"steps_per_epoch": steps}),
        (once(2), {"steps_per_epoch": steps}),
    ):
        assert outcome(tutorial(), feed, validation_data=Numbered(), **options) == expected
    assert outcome(tutorial(), Again(), validation_data=Again()) == expected
    weighted = [(*batch, np.ones(len(batch[1]))) for batch in batches()]
    again = type("Weighted", (), {"__iter__": lambda self: iter(weighted)})()
    assert outcome(tutorial(), again, validation_data=(x, y), validation_batch_size=SIZE)[0] == expected[0]


def test_batches_of_like_length() -> None:
    """`pool` batches' rows in the order of their lengths, cut, and the batches in a random order; each row once an epoch."""
    rng = np.random.default_rng(0)
    x = [np.full(n, row % V, np.int32) for row, n in enumerate(rng.integers(1, 40, 100))]
    feed = RowsFeed(examples_of((x, np.arange(100), None), who="test"), 8, shuffle=True, pool=4)
    orders = []
    for _ in range(2):
        feed.begin(0, 0)
        orders.append([chosen for _, chosen in feed.pieces(np.random.default_rng(len(orders)))])
    assert [len(chosen) for chosen in orders[0]].count(8) == 12
    assert not all(np.array_equal(a, b) for a, b in zip(*orders, strict=True))
    for order in orders:
        assert sorted(np.concatenate(order)) == list(range(100))
        spread = [np.ptp([len(x[n]) for n in chosen]) for chosen in order]
        assert np.mean(spread) < 15  # of 38
    feed.begin(0, 5)
    rest = [chosen for _, chosen in feed.pieces(np.random.default_rng(1))]
    assert all(np.array_equal(a, b) for a, b in zip(rest, orders[1][5:], strict=True))
    model, (rows, y) = tutorial(), ragged()
    outcome(model, rows, y, SIZE, pool=3)
    for given, options in (((rows, y), {"shuffle": False}), (batches()[0], {})):
        with pytest.raises(ValueError, match="pool is 3, expected 1 unless x is a list of sequences and shuffle is True"):
            model.fit(*given, pool=3, **options)
    with pytest.raises(ValueError, match="pool is given, expected None"):
        model.fit(Again(), pool=3)
    with pytest.raises(ValueError, match="pool is 0"):
        model.fit(rows, y, pool=0)


def test_batches_by_number_are_shuffled_as_a_whole() -> None:
    feed = Numbered()
    outcome(tutorial(), feed)
    calls, count = feed.calls[1:], len(feed)  # the first is taken to see what comes
    epochs = [calls[1 : count + 1], calls[count + 3 : -1]]
    assert calls == ["begin", *epochs[0], "end", "begin", *epochs[1], "end"]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(count))
    few = Numbered()
    outcome(tutorial(), few, steps_per_epoch=2, shuffle=False)
    assert few.calls[1:] == ["begin", 0, 1, "end"] * 2


def test_steps_of_a_stream() -> None:
    model = tutorial()
    model.fit(Again(), epochs=3, steps_per_epoch=4, verbose=0)  # two passes, begun anew within an epoch
    assert model.optimizer is not None
    assert model.optimizer.iterations == 12
    with pytest.warns(UserWarning, match="fit: x has no more batches, training ends before epoch 3"):
        history = model.fit(once(), epochs=5, steps_per_epoch=4, verbose=0)
    assert history.epoch == [0, 1]
    assert model.optimizer.iterations == 12 + 6
    with pytest.warns(UserWarning, match="training ends before epoch 2"):
        assert model.fit(once(), epochs=2, verbose=0).epoch == [0]


@pytest.mark.parametrize("pool", [1, 2])
def test_steps_of_rows_go_on_to_the_end_of_a_pass(pool: int) -> None:
    """As in Keras: 6 batches are 4 and 2, in one order; the next pass has another one."""
    lengths = np.random.default_rng(0).integers(1, 9, ROWS)
    examples = examples_of(([np.full(n, row) for row, n in enumerate(lengths)], np.arange(ROWS), None), who="test")

    def chosen(epochs: int, skip: int = 0, state: Any = None) -> list[Any]:
        feed, generator = RowsFeed(examples, SIZE, shuffle=True, pool=pool, steps=4, first=1), np.random.default_rng(5)
        found = []
        for epoch in range(1, 1 + epochs):
            feed.begin(epoch, 0)
            states.append(generator.bit_generator.state)
            found.append([tuple(rows) for _, rows in feed.pieces(generator)])
        if state is not None:
            generator.bit_generator.state = state
            feed.begin(epochs, skip)
            found[-1] = [tuple(rows) for _, rows in feed.pieces(generator)]
        return found

    states: list[Any] = []
    epochs = chosen(5)
    assert [len(batches) for batches in epochs] == [4, 2, 4, 2, 4]
    for first, second in (epochs[:2], epochs[2:4]):
        assert sorted(row for batch in [*first, *second] for row in batch) == list(range(ROWS))
    assert epochs[0] != epochs[2] != epochs[4]
    for epoch in range(5):  # a run that goes on within an epoch has the generator as it was at the epoch's begin
        assert chosen(epoch + 1, 1, states[epoch])[-1] == epochs[epoch][1:]


def test_steps_of_a_validation() -> None:
    """An iterator's first batches for each validation, an iterable's too; of rows as many batches as there are."""
    x, y = rows()
    some = outcome(tutorial(), x, y, validation_data=(x[: 3 * SIZE], y[: 3 * SIZE]), validation_batch_size=SIZE)
    assert len(some[1]["val_loss"]) == 2
    for given in (once(2), Again(), Numbered(), iter(batches()[:3]), (x, y)):
        options = {"validation_batch_size": SIZE} if isinstance(given, tuple) else {}
        assert outcome(tutorial(), x, y, validation_data=given, validation_steps=3, **options) == some
    all_of_them = outcome(tutorial(), x, y, validation_data=(x, y), validation_batch_size=SIZE)
    for given in (once(1), Again(), Numbered()):
        assert outcome(tutorial(), x, y, validation_data=given, validation_steps=50) == all_of_them
    assert outcome(tutorial(), x, y, validation_split=0.5, validation_steps=1) == outcome(
        tutorial(), x, y, validation_split=0.5, validation_batch_size=ROWS
    )  # without batch_size all rows make a batch


def test_a_validation_without_a_batch() -> None:
    class Exhausted:
        def __init__(self) -> None:
            self.batches = once()

        def __iter__(self) -> Iterator[Any]:
            return self.batches

    x, y = rows()
    with pytest.warns(UserWarning, match="fit: validation_data has no more batches, epoch 2 is not validated"):
        history = tutorial().fit(x, y, validation_data=Exhausted(), epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 1


def test_steps_of_an_evaluation_and_a_prediction() -> None:
    model, (x, y) = tutorial(), rows()
    some, part = model.evaluate(x[: 2 * SIZE], y[: 2 * SIZE], SIZE, 0), model.predict(x[: 2 * SIZE], SIZE, 0)
    for make in (once, Again, Numbered):
        assert model.evaluate(make(), steps=2, verbose=0) == some
        np.testing.assert_array_equal(model.predict(make(), steps=2, verbose=0), part)
    assert model.evaluate(x, y, SIZE, 0, steps=2) == some
    np.testing.assert_array_equal(model.predict(x, SIZE, 0, steps=2), part)
    np.testing.assert_array_equal(model.predict(x, steps=2, verbose=0), model.predict(x, verbose=0))
    whole = model.predict(x, verbose=0)
    for alone in ((one for one, _ in batches()), ((one,) for one, _ in batches()), ([one, two] for one, two in batches())):
        np.testing.assert_array_equal(model.predict(alone, verbose=0), whole)
    for wrong, options, message in (
        (iter([]), {}, "predict: x hands out no batch, expected x or"),
        (once(), {"batch_size": 3}, "predict: batch_size is given, expected None: x hands out batches"),
        (iter([(x, y, y, y)]), {}, "predict: a batch of x has another form than"),
        (x, {"steps": 0}, "predict: steps is 0, expected at least 1"),
        (iter([(x + V, y)]), {}, "embedding: x has id"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(wrong, verbose=0, **options)


def test_predictions_of_steps_of_batches() -> None:
    """Where rows have different numbers of steps they are a list, as those of a list of sequences are."""
    set_random_seed(0)
    model = Sequential([Embedding(V, 5), GRU(4, return_sequences=True), Dense(2)])
    x, _ = ragged()
    expected = model.predict(x, verbose=0)
    parts = [x[:10], x[10:]]
    together = [np.stack([row for row in x if len(row) == n]) for n in (3, 5)]
    for found, wanted in (
        (model.predict(((part,) for part in parts), verbose=0), expected),
        (model.predict(iter(together), verbose=0), [row for part in together for row in model.predict(part, verbose=0)]),
    ):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_class_weights_of_batches() -> None:
    x, y = rows()
    options: dict[str, Any] = {"class_weight": {0: 0.5, 1: 3.0}}
    assert outcome(tutorial(), Again(), **options) == outcome(tutorial(), x, y, SIZE, shuffle=False, **options)


def test_what_is_refused() -> None:
    x, y = rows()
    for args, options, message in (
        ((Again(), y), {}, "fit: y is given, expected None: x hands out batches"),
        ((Again(), None, 8), {}, "fit: batch_size is given, expected None"),
        ((Again(),), {"validation_split": 0.1}, "fit: validation_split is 0.1, expected 0"),
        ((x, y), {"steps_per_epoch": 0}, "fit: steps_per_epoch is 0, expected at least 1"),
        ((x, y), {"validation_data": (x, y), "validation_steps": 0}, "fit: validation_steps is 0, expected at least 1"),
        ((x, y), {"validation_data": iter([]), "validation_steps": 2}, "fit: validation_data hands out no batch"),
        ((Again(),), {"steps_per_epoch": 0}, "fit: steps_per_epoch is 0, expected at least 1"),
        ((iter([]),), {}, "fit: x hands out no batch"),
        ((iter([x]),), {}, "fit: a batch of x has another form than"),
        ((iter([(x + V, y)]),), {}, "embedding: x has id"),
        ((iter([(x, y[1:])]),), {}, "fit: y has shape"),
    ):
        model = tutorial()
        with pytest.raises(ValueError, match=message):
            model.fit(*args, verbose=0, **options)
        assert model.optimizer is not None
        assert model.optimizer.iterations == 0
    with pytest.raises(TypeError, match="fit: validation_data is an iterator, which is used up by one epoch"):
        tutorial().fit(x, y, validation_data=once(), verbose=0)
    for wrong in ({"x": x}, 3, "text"):
        with pytest.raises(TypeError, match="fit: x"):
            tutorial().fit(wrong, y, verbose=0)


# ---------------------------------------------------------------- memory maps


@pytest.mark.parametrize("dtype", ["int32", "uint16", "int64"])
def test_mapped_ids_are_not_copied(dtype: str, tmp_path: Path) -> None:
    x, y = rows()
    np.save(tmp_path / "x.npy", x.astype(dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    from rnnext._inputs import rows_of

    assert np.shares_memory(rows_of(mapped, who="fit").flat, mapped)
    assert outcome(tutorial(), mapped, y, SIZE) == outcome(tutorial(), x, y, SIZE)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_mapped_vectors_are_not_copied(dtype: str, tmp_path: Path) -> None:
    def model() -> Sequential:
        set_random_seed(2)
        made = Sequential([LSTM(4), Dense(1, "sigmoid")])
        made.compile("adam", "binary_crossentropy")
        return made

    x = (10 * np.random.default_rng(0).standard_normal((ROWS, T, 3))).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    asked = model()
    asked.build((None, T, 3))
    from rnnext._inputs import rows_of

    taken = asked.as_input(rows_of(mapped, who="fit"))
    assert np.shares_memory(taken.flat, mapped)
    assert taken.batch(slice(0, 3)).x.dtype == np.float32
    options: dict[str, Any] = {"validation_split": 0.2}
    assert outcome(model(), mapped, rows()[1], SIZE, **options) == outcome(model(), x, rows()[1], SIZE, **options)
    np.testing.assert_array_equal(asked.predict(mapped, verbose=0), asked.predict(x, verbose=0))


def test_a_number_that_is_none_is_found_in_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnext._inputs._CHECKED_AT_ONCE", 10)
    x = np.zeros((9, 2, 3), np.float32)
    x[7, 1, 2] = np.inf
    np.save(tmp_path / "x.npy", x)
    model = Sequential([LSTM(2), Dense(1)])
    with pytest.raises(ValueError, match="predict: x has inf at 7, 1, 2, expected finite numbers"):
        model.predict(np.load(tmp_path / "x.npy", mmap_mode="r"), verbose=0)


# ---------------------------------------------------------------- token files


def test_a_token_file_is_its_sequences(tmp_path: Path) -> None:
    x, y = ragged()
    file = TokenFile.write(tmp_path / "tokens", x, y)
    assert len(file) == ROWS
    np.testing.assert_array_equal(file.labels, y)
    assert file.labels.dtype == np.int64
    assert file.ids_range == (min(row.min(initial=V) for row in x), max(row.max(initial=0) for row in x))
    for n, (ids, label) in enumerate(file):
        np.testing.assert_array_equal(ids, x[n])
        assert label == y[n]
    np.testing.assert_array_equal(file[-1][0], x[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]
    assert TokenFile.write(tmp_path / "tokens", x, y + 0.5).labels.dtype == np.float32


def test_training_from_a_token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_KEPT", 50)  # so that memory is given back all the time
    x, y = ragged()
    file = TokenFile.write(tmp_path / "tokens", x, y)
    options: dict[str, Any] = {"validation_split": 0.2, "class_weight": {1: 2.0}}
    model, other = tutorial(), tutorial()
    assert outcome(model, file, batch_size=SIZE, **options) == outcome(other, x, y, SIZE, **options)
    assert outcome(model, x, y, validation_data=file) == outcome(other, x, y, validation_data=(x, y))
    assert outcome(model, file, 1 - y) == outcome(other, x, 1 - y)
    assert model.evaluate(file, verbose=0) == other.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(model.predict(file, verbose=0), other.predict(x, verbose=0))
    with pytest.raises(ValueError, match=rf"embedding: x has id {V} at row 1, position 0, expected 0 to {V - 1}"):
        model.fit(TokenFile.write(tmp_path / "more", [[1], [V]], [0, 1]), verbose=0)


def test_a_token_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "tokens"

    def interrupted() -> None:
        with TokenWriter(path) as writer:
            writer.add([1, 2], 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    with pytest.raises(ValueError, match="labels has 1 labels, expected one for each row, which are more"):
        TokenFile.write(path, [[1], [2]], [0])
    with pytest.raises(ValueError, match="labels has more labels than there are rows"):
        TokenFile.write(path, [[1]], [0, 1])
    with pytest.raises(ValueError, match=r"there is no row for .*tokens, expected at least one"):
        TokenFile.write(path, [], [])
    for ids, label, error, message in (
        ([[1]], 0, TypeError, r"ids has shape \(1, 1\)"),
        ([0.5], 0, TypeError, "dtype float64, expected a sequence of whole numbers"),
        ([1, -1], 0, ValueError, "ids are from -1 to 1, expected 0 to"),
        ([1], "good", TypeError, "label is 'good', expected a number"),
        ([1], None, TypeError, "label is None, expected a number"),
        ([1], float("nan"), ValueError, "label is nan, expected a finite number"),
        ([1], 2**53 + 1, ValueError, "label is 9007199254740993, expected a finite number, at most 2"),
        ([1], 10**400, ValueError, "label is 10+, expected a finite number, at most 2"),
    ):
        with pytest.raises(error, match=message):
            TokenFile.write(path, [ids], [label])  # type: ignore[list-item, arg-type]
    assert not list(tmp_path.iterdir())


def test_a_token_file_keeps_its_permissions_and_errors_name_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    TokenFile.write(path, [[1]], [0])
    path.chmod(0o600)
    TokenFile.write(path, [[2]], [0])
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError) as found:
        TokenFile.write(tmp_path / "none" / "tokens", [[1]], [0])
    assert found.value.filename == str(tmp_path / "none" / "tokens")
    with pytest.raises(FileNotFoundError) as found, TokenWriter(path):
        (tmp_path / "mine").read_text()  # what the caller reads meanwhile is called by its own name
    assert found.value.filename == str(tmp_path / "mine")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        for rows in (3_000, 10_000):  # the disk is full at the end, or while rows are written
            with pytest.raises(OSError, match="File too large") as full:
                TokenFile.write(path, [[1]] * rows, [0] * rows)
            assert full.value.filename == str(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["tokens"]


def test_a_token_file_replaces_nothing_but_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FileExistsError, match=r"TokenWriter: path is '.*', expected a file's, or one where nothing is"):
            TokenFile.write(path, [[1]], [0])
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("tokens")
    TokenFile.write(tmp_path / "link", [[1]], [0])
    assert (tmp_path / "link").is_symlink()
    assert len(TokenFile(tmp_path / "tokens")) == 1


def test_a_damaged_token_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    TokenFile.write(path, *ragged())
    content = path.read_bytes()
    offsets = len(content) - 8 * ROWS - 8 * (ROWS + 1)
    for damaged, message in (
        (content[:-1], "damaged, it has .* bytes, expected"),
        (content[:20], "not a token file"),
        (b"PK" + content[2:], "not a token file"),
        (content[:8] + bytes(8) + content[16:], "damaged, its header says 0 rows"),
        (content[:offsets] + b"\x01" + content[offsets + 1 :], "damaged, its offsets do not ascend"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"tokens: {message}"):
            TokenFile(path)
    with pytest.raises(FileNotFoundError):
        TokenFile(tmp_path / "none")
    path.write_bytes(content[:48] + b"\xff\xff\xff\xff" + content[52:])  # the first id is -1, which the header does not know
    with pytest.raises(ValueError, match="tokens: damaged, it has ids from -1 to"):
        tutorial().predict(TokenFile(path), verbose=0)


MEMORY = """
import resource, sys
import numpy as np
from rnnext import Sequential
from rnnext.data import TokenFile
from rnnext.layers import Dense, Embedding, GlobalAveragePooling1D
model = Sequential([Embedding(1000, 2), GlobalAveragePooling1D(), Dense(1, "sigmoid")])
model.compile("sgd", "binary_crossentropy")
small = [np.arange(10)] * 4
model.fit(small, [0, 1, 0, 1], verbose=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = TokenFile(sys.argv[1])
model.fit(file, batch_size=8, verbose=0)
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_file_is_not_in_memory(tmp_path: Path) -> None:
    """A file of 128 MiB, written and trained on, takes a third of that."""
    ids = np.arange(1 << 16, dtype=np.int32) % 1000
    path = tmp_path / "tokens"
    TokenFile.write(path, (ids for _ in range(512)), (n % 2 for n in range(512)))
    assert os.path.getsize(path) > 128 << 20
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=120)
    before, peak = map(int, done.stdout.split())
    assert (peak - before) << 10 < 128 << 20
