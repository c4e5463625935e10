"""LSTM and GRU in segments against the same layer whole; truncated gradients against a loop of calls with states cut off."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import layer_cases
import numpy as np
import pytest
from layer_cases import normal, sequences

from rnnext import _core
from rnnext.layers import GRU, LSTM, Dense, Embedding, deserialize, serialize
from rnnext.models import Sequential
from rnnext.parameters import RowGradient
from rnnext.utils import set_random_seed

pytestmark = pytest.mark.usefixtures("_same_threads_afterwards")

T, B, D, H, V = 11, 6, 4, 7, 23

FORMS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "gru_reset_after": GRU,
    "gru_reset_after_write": lambda *a, **k: GRU(*a, update_gate="write", **k),
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
}
forms = pytest.mark.parametrize("form", sorted(FORMS))
backwards = pytest.mark.parametrize("go_backwards", [False, True])
segments = pytest.mark.parametrize("segment", [1, 3, 4, T, T + 5])  # T is no multiple of 3 and 4

LENGTHS = np.array([T, 3, 1, 0, T - 1, 6])
RIGHT = np.arange(T) < LENGTHS[:, None]
MIDDLE = (np.arange(T) >= 4) & (np.arange(T) < 4 + np.minimum(LENGTHS, 6)[:, None])
HOLES = np.random.default_rng(7).random((B, T)) < np.array([1, 0.5, 0.1, 0, 0.8, 0.3])[:, None]
WINDOWS: dict[str, dict[str, Any]] = {
    "whole": {},
    "lengths": {"lengths": LENGTHS},
    "right": {"mask": RIGHT},
    "left": {"mask": RIGHT[:, ::-1].copy()},
    "middle": {"mask": MIDDLE},
    "holes": {"mask": HOLES},
}
windows = pytest.mark.parametrize("window", sorted(WINDOWS))


def built(layer: Any, width: int = D) -> Any:
    return layer_cases.built(layer, None, None, width)


def flat(gradients: Any) -> list[np.ndarray]:
    inputs = gradients.inputs
    first = [inputs.rows, inputs.values] if isinstance(inputs, RowGradient) else [inputs]
    return [*first, *gradients.weights, *gradients.initial_state]


def assert_close(found: Any, expected: Any) -> None:
    """Assert that they are equal but for the rounding of sums in another order."""
    for got, wanted in zip(flat(found), flat(expected), strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        assert np.linalg.norm(got - wanted) <= 2e-6 * max(float(np.linalg.norm(wanted)), 1.0)


def assert_same_bits(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


# ---------------------------------------------------------------- against the whole


@forms
@windows
@backwards
@sequences
@segments
def test_segments_are_the_whole(form: str, window: str, go_backwards: bool, return_sequences: bool, segment: int) -> None:
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences, "return_state": True}
    whole, cut = built(FORMS[form](H, **options)), built(FORMS[form](H, segment=segment, **options))
    rng = np.random.default_rng(1)
    x = normal(rng, B, T, D)
    for states in (None, [normal(rng, B, H) for _ in range(whole.state_count)]):
        expected, whole_backprop = whole.forward(x, initial_state=states, **WINDOWS[window])
        found, backprop = cut.forward(x, initial_state=states, **WINDOWS[window])
        assert_same_bits(list(found), list(expected))
        upstream = tuple(normal(rng, *y.shape) for y in expected)
        assert_close(backprop(upstream), whole_backprop(upstream))
        for dy in ((upstream[0], *[None] * whole.state_count), (None, *upstream[1:]), (None,) * (1 + whole.state_count)):
            assert_close(backprop(dy), whole_backprop(dy))
        again, wanted = backprop(upstream, need_dx=False), whole_backprop(upstream, need_dx=False)
        assert again.inputs is None
        assert_close(again._replace(inputs=x), wanted._replace(inputs=x))


@forms
@windows
@backwards
@sequences
def test_a_gather_in_segments(form: str, window: str, go_backwards: bool, return_sequences: bool) -> None:
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    whole, cut = built(FORMS[form](H, **options)), built(FORMS[form](H, segment=3, **options))
    embedding = Embedding(V, D)
    embedding.build((None, None))
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    ids[:, : T // 2] = 0  # rows that begin alike, which the engine may walk once
    gather = embedding.gather(ids)
    expected, whole_backprop = whole.forward(gather, **WINDOWS[window])
    found, backprop = cut.forward(gather, **WINDOWS[window])
    np.testing.assert_array_equal(found, expected)
    dy = normal(np.random.default_rng(3), *found.shape)
    gradients = backprop(dy)
    assert (np.diff(gradients.inputs.rows) > 0).all()
    assert_close(gradients, whole_backprop(dy))
    assert backprop(dy, need_dx=False).inputs is None


@forms
def test_rows_that_begin_alike(form: str) -> None:
    ids = np.random.default_rng(2).integers(1, V, (40, 60)).astype(np.int32)
    ids[:, :50] = 0
    embedding = Embedding(V, D)
    gather = embedding.gather(ids)
    whole, cut = built(FORMS[form](H)), built(FORMS[form](H, segment=16))
    expected, whole_backprop = whole.forward(gather)
    found, backprop = cut.forward(gather)
    np.testing.assert_array_equal(found, expected)
    assert_close(backprop(expected), whole_backprop(expected))


@pytest.mark.parametrize("make", [LSTM, GRU])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_model_learns_the_same(make: Any, mask_zero: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(1, V, (40, T)).astype(np.int32), rng.integers(0, 2, 40)
    for n, row in enumerate(x):
        row[: n % T] = 0
    found = []
    for options in ({}, {"segment": 4}):
        set_random_seed(3)
        model = Sequential([Embedding(V, D, mask_zero=mask_zero), make(H, **options), Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy")
        history = model.fit(x, y, epochs=3, batch_size=8, verbose=0)
        found.append([*model.get_weights(), np.array(history.history["loss"], np.float32)])
    for got, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@forms
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_bits_repeat_with_any_number_of_threads(form: str, truncate: bool, rows: int) -> None:
    layer = built(FORMS[form](120, return_sequences=True, segment=9, truncate=truncate), 40)
    x = normal(np.random.default_rng(1), rows, 40, 40)
    lengths = np.arange(40, 40 - rows, -1)

    def run(threads: int) -> list[np.ndarray]:
        _core.set_num_threads(threads)
        y, backprop = layer.forward(x, lengths=lengths)
        return [y, *flat(backprop(y)), *flat(backprop(y))]  # played back twice

    expected = run(1)
    half = (len(expected) - 1) // 2
    assert_same_bits(expected[1 : 1 + half], expected[1 + half :])
    for threads in (1, 2, 3, 5):
        assert_same_bits(run(threads), expected)


# ---------------------------------------------------------------- truncated


def chunked(layer: Any, x: np.ndarray, dy: np.ndarray, states: Any, mask: np.ndarray | None, steps: int) -> Any:
    """Gradients of a loop of calls, each given the last state of the call before as its initial state."""
    count = x.shape[1]
    places = [slice(a, min(a + steps, count)) for a in range(0, count, steps)]
    dx, weights, initial = np.zeros_like(x), None, ()
    for n, out in enumerate(places):
        where = slice(count - out.stop, count - out.start) if layer.go_backwards else out
        (_, *states), backprop = layer.forward(x[:, where], mask=None if mask is None else mask[:, where], initial_state=states)
        gradients = backprop((dy[:, out], *[None] * layer.state_count))
        dx[:, where] = gradients.inputs
        initial = gradients.initial_state if n == 0 else initial
        parts = gradients.weights
        weights = parts if weights is None else [a + b for a, b in zip(weights, parts, strict=True)]
    return gradients._replace(inputs=dx, weights=weights, initial_state=initial)


@forms
@backwards
@pytest.mark.parametrize("segment", [1, 3, 4, T, T + 5])
@pytest.mark.parametrize("padded", [False, True])
def test_truncated_gradients_are_those_of_a_loop(form: str, go_backwards: bool, segment: int, padded: bool) -> None:
    options = {"go_backwards": go_backwards, "return_sequences": True, "return_state": True}
    whole, cut = built(FORMS[form](H, **options)), built(FORMS[form](H, segment=segment, truncate=True, **options))
    rng = np.random.default_rng(1)
    x, dy = normal(rng, B, T, D), normal(rng, B, T, H)
    states = [normal(rng, B, H) for _ in range(whole.state_count)]
    mask = None
    if padded:  # before the first step, in the order in which they are walked; every row has one
        mask = np.arange(T) < np.maximum(LENGTHS, 1)[:, None]
        mask = mask if go_backwards else mask[:, ::-1].copy()
    y, backprop = cut.forward(x, mask=mask, initial_state=states)
    assert_same_bits(list(y), list(whole.forward(x, mask=mask, initial_state=states)[0]))
    found = backprop((dy, *[None] * whole.state_count))
    expected = chunked(whole, x, dy, states, mask, segment)
    if padded:  # the initial state's gradient is not cut off by the padding; the loop cuts it
        begun = mask[:, ::-1][:, :segment].any(axis=1) if go_backwards else mask[:, :segment].any(axis=1)
        for got, wanted in zip(found.initial_state, expected.initial_state, strict=True):
            assert (got.any(axis=1)).all()
            np.testing.assert_allclose(got[begun], wanted[begun], rtol=1e-5, atol=1e-6)
        found, expected = found._replace(initial_state=()), expected._replace(initial_state=())
    assert_close(found, expected)


@forms
@backwards
@sequences
def test_padding_does_not_silence_a_truncated_row(form: str, go_backwards: bool, return_sequences: bool) -> None:
    """A row that ended before the last segment has the gradients that it has alone."""
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences, "segment": 3, "truncate": True}
    layer = built(FORMS[form](H, **options))
    rng = np.random.default_rng(1)
    x, states = normal(rng, B, T, D), [normal(rng, B, H) for _ in range(layer.state_count)]
    mask = RIGHT[:, ::-1].copy() if go_backwards else RIGHT  # padding comes last
    y, backprop = layer.forward(x, mask=mask, initial_state=states)
    dy = normal(rng, *y.shape)
    if return_sequences:
        dy[~RIGHT] = 0  # outputs are in the order of the steps
    gradients = backprop(dy)
    total = [np.zeros_like(g) for g in gradients.weights]
    for row, length in enumerate(LENGTHS):
        if not length:
            continue
        own = slice(T - length, T) if go_backwards else slice(0, length)
        _, back = layer.forward(x[row : row + 1, own], initial_state=[state[row : row + 1] for state in states])
        alone = back(dy[row : row + 1, :length] if return_sequences else dy[row : row + 1])
        np.testing.assert_allclose(gradients.inputs[row, own], alone.inputs[0], rtol=1e-5, atol=1e-6)
        for got, wanted in zip(gradients.initial_state, alone.initial_state, strict=True):
            np.testing.assert_allclose(got[row], wanted[0], rtol=1e-5, atol=1e-6)
        total = [a + b for a, b in zip(total, alone.weights, strict=True)]
    for got, wanted in zip(gradients.weights, total, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@forms
def test_truncated_last_states_reach_the_last_segment_only(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = built(FORMS[form](H, segment=4, truncate=True))
    x = normal(np.random.default_rng(1), B, T, D)
    y, backprop = layer.forward(x)
    made = []
    run = _core.recurrent_forward
    monkeypatch.setattr(_core, "recurrent_forward", lambda *a, **k: made.append(a) or run(*a, **k))
    gradients = backprop(np.ones_like(y))
    assert gradients.inputs[:, 8:].any(axis=(1, 2)).all()
    assert not gradients.inputs[:, :8].any()
    assert len(made) == 1  # nothing is computed again for gradients of 0


# ---------------------------------------------------------------- what is kept


def test_what_is_kept_is_a_fraction_of_a_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, steps, units, segment = 2, 2000, 32, 50
    x = normal(np.random.default_rng(1), rows, steps, D)
    whole, cut = built(LSTM(units)), built(LSTM(units, segment=segment))
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0
    run = _core.recurrent_forward

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal most
        results = run(*args, **options)
        alive.add(results[3])
        most = max(most, sum(tape.nbytes for tape in alive))
        return results

    monkeypatch.setattr(_core, "recurrent_forward", counted)
    _, backprop = whole.forward(x)
    tape = most
    assert tape > rows * steps * units * 4
    del backprop
    assert not alive

    most = 0
    cut(x[:, :1])  # packs the weights, which stay with the layer
    tracemalloc.start()
    y, backprop = cut.forward(x)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert most == 0
    assert kept < tape / 20
    backprop(np.ones_like(y))
    assert 0 < most < tape / 20
    assert not alive


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_arguments(make: Any) -> None:
    layer = make(3, segment=5, truncate=True)
    assert layer.get_config()["segment"] == 5
    assert layer.get_config()["truncate"] is True
    assert serialize(deserialize(serialize(layer))) == serialize(layer)
    assert make.from_config({"units": 3}).segment is None
    with pytest.raises(ValueError, match="truncate is True and segment is None, expected the steps of a segment"):
        make(3, truncate=True)
    with pytest.raises(ValueError, match="segment is 0, expected at least 1"):
        make(3, segment=0)
    with pytest.raises(TypeError, match=r"segment is 2.5, expected a whole number"):
        make(3, segment=2.5)


def test_no_steps() -> None:
    layer = built(LSTM(H, segment=2))
    y, backprop = layer.forward(np.zeros((B, 0, D), np.float32))
    assert not y.any()
    assert backprop(y).inputs.shape == (B, 0, D)
