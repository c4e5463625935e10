"""What rnnext is asked to do, through its public API. Each function returns what a contender's process then calls and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnext
from rnnext.bench.engine import engine_time
from rnnext.parameters import Array

_Call = Callable[[], object]
_Batches = Sequence[tuple[Any, Array]]


def recurrent(cell: str, units: int, *, return_sequences: bool = False, **options: Any) -> Any:
    """A layer by the cell's name."""
    if cell == "lstm":
        return rnnext.layers.LSTM(units, return_sequences=return_sequences, **options)
    return rnnext.layers.GRU(units, return_sequences=return_sequences, reset_after=cell == "gru_after", **options)


def tutorial(cell: str, sizes: Sequence[int]) -> rnnext.Sequential:
    """The tutorial's model, compiled; `sizes` are those of vocabulary, embedding and state."""
    vocabulary, embedding, units = sizes
    head = rnnext.layers.Dense(1, activation="sigmoid")
    model = rnnext.Sequential([rnnext.layers.Embedding(vocabulary, embedding), recurrent(cell, units), head])
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def layer(
    cell: str, shape: Sequence[int], options: Mapping[str, Any] | None = None, *, both_directions: bool = False, threads: int
) -> _Call:
    """Forward and backward of a layer, as a user calls it."""
    rnnext.set_num_threads(threads)
    steps, batch, inputs, units = shape
    rng = np.random.default_rng(0)
    module = recurrent(cell, units, return_sequences=True, **(options or {}))
    if both_directions:
        module = rnnext.layers.Bidirectional(module)
    module.build((batch, steps, inputs))
    x = rng.standard_normal((batch, steps, inputs)).astype(getattr(module, "dtype", np.float32))
    dy = rng.standard_normal(module.compute_output_shape(x.shape)).astype(x.dtype)

    def run() -> object:
        _, backprop = module.forward(x, training=True)
        return backprop(dy)

    return run


def train(cell: str, sizes: Sequence[int], batches: _Batches, at_once: int = 1, *, threads: int) -> _Call:
    """Training steps of the tutorial's model on one batch after the other, `at_once` steps in a call."""
    rnnext.set_num_threads(threads)
    model = tutorial(cell, sizes)
    position = 0

    def run() -> None:
        nonlocal position
        for _ in range(at_once):
            x, y = batches[position % len(batches)]
            model.train_on_batch(x, y)
            position += 1

    return run


def fit(cell: str, sizes: Sequence[int], x: Any, y: Array, batch: int, *, threads: int) -> _Call:
    """An epoch of the tutorial's program; three steps have been made before."""
    rnnext.set_num_threads(threads)
    model = tutorial(cell, sizes)
    model.fit(x[: 3 * batch], y[: 3 * batch], batch_size=batch, verbose=0)
    return lambda: model.fit(x, y, batch_size=batch, verbose=0)


def outside_engine(cell: str, sizes: Sequence[int], x: Any, y: Array, batch: int, *, threads: int) -> Callable[[], float]:
    """A function that runs an epoch and returns how many milliseconds of a step fit spends in Python and NumPy."""
    epoch = fit(cell, sizes, x, y, batch, threads=threads)

    def milliseconds() -> float:
        with engine_time() as seconds:
            begin = time.perf_counter()
            epoch()
            whole = time.perf_counter() - begin
        return (whole - sum(seconds)) / -(-len(x) // batch) * 1e3

    return milliseconds


def process(cell: str, sizes: Sequence[int], data: str, steps: int, batch: int, threads: int) -> _Call:
    """The tutorial's whole program on the arrays x, y of a file: fit with validation, on `steps` batches for each."""
    rnnext.set_num_threads(threads)

    def run() -> None:
        with np.load(data) as arrays:
            x, y = arrays["x"], arrays["y"]
        rows = steps * batch
        tutorial(cell, sizes).fit(x[:rows], y[:rows], batch_size=batch, validation_data=(x[-rows:], y[-rows:]), verbose=0)

    return run


def predict(
    cell: str, sizes: Sequence[int], weights: Sequence[Array], x: npt.NDArray[np.int32], batch: int, *, threads: int
) -> _Call:
    """predict on all rows of x, `batch` at a time; for a single row the model is called directly."""
    rnnext.set_num_threads(threads)
    model = tutorial(cell, sizes)
    model.set_weights(weights)
    return (lambda: model(x)) if len(x) == 1 else (lambda: model.predict(x, batch_size=batch, verbose=0))


def forward(cell: str, weights: Sequence[Array], x: Array, *, threads: int) -> _Call:
    """All states of a layer, without a backward pass."""
    rnnext.set_num_threads(threads)
    module = recurrent(cell, weights[1].shape[0], return_sequences=True)
    module.build(x.shape)
    module.set_weights(weights)
    return lambda: module(x)
