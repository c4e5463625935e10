"""One step after the other: a stream's states are those of the whole sequence, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import layer_cases
import numpy as np
import pytest
from layer_cases import normal

from rnnext import _core
from rnnext.layers import GRU, LSTM

T, B, D, H = 9, 3, 5, 33

FORMS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "lstm_without_bias": lambda *a, **k: LSTM(*a, use_bias=False, **k),
    "gru_reset_after": GRU,
    "gru_reset_after_write": lambda *a, **k: GRU(*a, update_gate="write", **k),
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
    "gru_reset_before_write": lambda *a, **k: GRU(*a, reset_after=False, update_gate="write", **k),
}
forms = pytest.mark.parametrize("form", sorted(FORMS))


def built(layer: Any, width: int = D) -> Any:
    return layer_cases.built(layer, None, None, width)


@forms
@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_steps_are_the_whole_sequence(form: str, rows: int, given: bool, return_sequences: bool) -> None:
    layer = built(FORMS[form](H, return_sequences=return_sequences))
    whole = built(FORMS[form](H, return_sequences=True, return_state=True))
    rng = np.random.default_rng(1)
    x = normal(rng, rows, T, D)
    state = tuple(normal(rng, rows, H) for _ in range(layer.state_count)) if given else None
    y, *last = whole(x, initial_state=state)
    for t in range(T):
        state = layer.step(x[:, t], state)
        assert isinstance(state, tuple)
        np.testing.assert_array_equal(state[0], y[:, t])
    assert state is not None
    for got, wanted in zip(state, last, strict=True):
        np.testing.assert_array_equal(got, wanted)


@forms
def test_a_step_returns_new_arrays_and_changes_none(form: str) -> None:
    layer = built(FORMS[form](H))
    rng = np.random.default_rng(1)
    x, first = normal(rng, B, D), tuple(normal(rng, B, H) for _ in range(layer.state_count))
    before = [array.copy() for array in (x, *first)]
    one, two = layer.step(x, first), layer.step(x, first)
    for old, a, b in zip(first, one, two, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, old)
        assert not np.shares_memory(a, b)
    for got, wanted in zip((x, *first), before, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_steps_follow_the_weights_and_pack_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[Any] = []
    pack = _core.PackedCell
    monkeypatch.setattr(_core, "PackedCell", lambda *a, **k: packed.append(pack(*a, **k)) or packed[-1])
    layer = built(LSTM(H))
    x = normal(np.random.default_rng(1), B, D)
    state = layer.step(x)
    for _ in range(4):
        state = layer.step(x, state)
    assert len(packed) == 1
    layer.weights[2].assign(layer.weights[2].value + 1)
    np.testing.assert_array_equal(layer.step(x)[0], layer(x[:, None]))
    assert len(packed) == 2


def test_a_first_step_makes_the_weights_and_any_layout_is_read() -> None:
    layer = LSTM(H)
    x = normal(np.random.default_rng(1), D, B).T
    h, c = layer.step(x)
    assert [w.shape for w in layer.weights] == [(D, 4 * H), (H, 4 * H), (4 * H,)]
    np.testing.assert_array_equal(layer.step(x.astype(np.float64), None)[0], h)
    np.testing.assert_array_equal(GRU(H).step(x[:0])[0], np.zeros((0, H), np.float32))
    np.testing.assert_array_equal(layer.step(np.ascontiguousarray(x))[1], c)


X, STATE = np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LSTM(4).step(X[:, None]), ValueError, r"lstm: x has shape \(2, 1, 3\), expected \[B, I\] \(2 dimensions\)"),
        (lambda: LSTM(4).step(X[0]), ValueError, r"lstm: x has shape \(3,\), expected \[B, I\]"),
        (lambda: built(LSTM(4)).step(X), ValueError, r"lstm: x has shape \(2, 3\), expected \[B, I\] with I=5"),
        (lambda: LSTM(4).step(X.astype(int)), TypeError, "lstm: x has dtype int64, expected float32"),
        (lambda: LSTM(4).step([[1.0]]), TypeError, "lstm: x is a list, expected a NumPy array"),
        (lambda: LSTM(4).step(X, STATE), ValueError, "lstm: state has 1 arrays, expected 2"),
        (lambda: LSTM(4).step(X, (STATE, STATE[:1])), ValueError, r"lstm: state has shape \(1, 4\), expected \(2, 4\)"),
        (lambda: GRU(4).step(X, (STATE, STATE)), ValueError, "gru: state has 2 arrays, expected 1"),
        (lambda: GRU(4, go_backwards=True).step(X), ValueError, "gru: go_backwards is True, expected False"),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
