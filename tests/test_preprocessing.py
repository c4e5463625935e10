"""pad_sequences: Keras's results, and errors that name the row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnext
from rnnext.preprocessing.sequence import pad_sequences

ROWS = [[1], [2, 3], [4, 5, 6], []]
NESTED = [[[1.5, 2]], [[3, 4], [5, 6], [7, 8]], []]
WORDS = [["a"], ["b", "cc"], ["d", "e", "fff"]]


def test_defaults_are_in_front() -> None:
    padded = pad_sequences(ROWS)
    assert padded.dtype == np.int32
    np.testing.assert_array_equal(padded, [[0, 0, 1], [0, 2, 3], [4, 5, 6], [0, 0, 0]])


@pytest.mark.parametrize(
    ("padding", "truncating", "expected"),
    [
        ("pre", "pre", [[0, 1], [2, 3], [5, 6], [0, 0]]),
        ("pre", "post", [[0, 1], [2, 3], [4, 5], [0, 0]]),
        ("post", "pre", [[1, 0], [2, 3], [5, 6], [0, 0]]),
        ("post", "post", [[1, 0], [2, 3], [4, 5], [0, 0]]),
    ],
)
def test_sides(padding: Any, truncating: Any, expected: list[list[int]]) -> None:
    for rows in (ROWS, [np.array(row, np.int64) for row in ROWS], [tuple(row) for row in ROWS]):
        np.testing.assert_array_equal(pad_sequences(rows, 2, padding=padding, truncating=truncating), expected)


def test_vectors_for_steps() -> None:
    padded = pad_sequences(NESTED, 2, dtype="float32", value=-1.0)
    np.testing.assert_array_equal(padded, [[[-1, -1], [1.5, 2]], [[5, 6], [7, 8]], [[-1, -1], [-1, -1]]])
    assert padded.dtype == np.float32


def test_strings() -> None:
    assert pad_sequences(WORDS, 2, dtype=object, value="-").tolist() == [["-", "a"], ["b", "cc"], ["e", "fff"]]
    assert pad_sequences(WORDS, dtype="<U3", value="pad", padding="post")[0].tolist() == ["a", "pad", "pad"]


def test_edges() -> None:
    assert pad_sequences([[], []]).shape == (2, 0)
    assert pad_sequences([[], []], 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert pad_sequences([], 3).shape == (0, 3)
    assert pad_sequences(ROWS, 0).shape == (4, 0)
    assert pad_sequences([range(3), np.array([True])]).tolist() == [[0, 1, 2], [0, 0, 1]]
    assert pad_sequences([[1.9, -1.9]]).tolist() == [[1, -1]]
    assert pad_sequences(np.arange(6).reshape(2, 3), np.int64(2)).tolist() == [[1, 2], [4, 5]]
    assert rnnext.utils.pad_sequences is pad_sequences


def test_rows_are_copied() -> None:
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    padded = pad_sequences(rows)
    padded[:] = 0
    assert rows.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (3, {}, TypeError, "sequences is a int"),
        ("abc", {}, TypeError, "sequences is a str"),
        ((row for row in ROWS), {}, TypeError, "sequences is a generator"),
        ([[1], 2], {}, TypeError, r"sequences\[1\] is 2"),
        ([[1], "ab"], {}, TypeError, r"sequences\[1\] is 'ab'"),
        ([[1], np.array(2)], {}, TypeError, r"sequences\[1\] is array\(2\)"),
        ([[1], [None]], {}, TypeError, r"sequences\[1\] cannot be an array of int32"),
        ([[1], [2**31]], {}, ValueError, r"sequences\[1\] cannot be an array of int32"),
        ([[1], np.array([2**32])], {}, ValueError, r"sequences\[1\] cannot be .*values from 4294967296"),
        ([[1], [float("nan")]], {}, ValueError, r"sequences\[1\] cannot be an array of int32"),
        ([[1], np.array([np.nan])], {}, ValueError, r"sequences\[1\] cannot be an array of int32"),
        ([["a"]], {}, ValueError, r"sequences\[0\] cannot be an array of int32"),
        ([[1], [[2]]], {}, ValueError, r"sequences\[1\] has items of shape \(1,\), expected \(\)"),
        ([[[1, 2]], [[1]]], {}, ValueError, r"sequences\[1\] has items of shape \(1,\), expected \(2,\)"),
        ([[], [[1, 2], [3]]], {}, ValueError, r"sequences\[1\] has items of different shapes"),
        ([], {}, ValueError, "sequences is empty"),
        (ROWS, {"maxlen": -1}, ValueError, "maxlen is -1"),
        (ROWS, {"maxlen": 2.0}, TypeError, "maxlen is 2.0"),
        (ROWS, {"padding": "left"}, ValueError, "padding is 'left', expected 'pre' or 'post'"),
        (ROWS, {"truncating": None}, ValueError, "truncating is None"),
        (ROWS, {"value": "x"}, ValueError, "value is 'x', expected a number with dtype int32"),
        (ROWS, {"value": float("nan")}, ValueError, "value is nan, expected what int32 can hold"),
    ],
)
def test_refusals(rows: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pad_sequences(rows, **options)


@pytest.mark.filterwarnings("ignore")
def test_is_keras() -> None:
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 99, length) for length in rng.integers(0, 9, 20)]
    cases: list[tuple[Any, dict[str, Any]]] = [
        (ROWS, {}),
        (arrays, {}),
        ([row.tolist() for row in arrays], {"dtype": "int64"}),
        (arrays, {"dtype": "float32", "value": 0.5}),
        (NESTED, {"dtype": "float32"}),
        ([np.asarray(row, np.float64).reshape(-1, 2) for row in NESTED], {"dtype": "float64", "value": -1}),
        (WORDS, {"dtype": object, "value": "pad"}),
        (WORDS, {"dtype": "<U3", "value": "pad"}),
        ([[], []], {}),
        (np.arange(12).reshape(3, 4), {}),
    ]
    for rows, options in cases:
        for maxlen in (None, 1, 2, 5, 12):
            for padding in ("pre", "post"):
                for truncating in ("pre", "post"):
                    sides = {"maxlen": maxlen, "padding": padding, "truncating": truncating}
                    expected = keras.preprocessing.sequence.pad_sequences(rows, **sides, **options)
                    found = pad_sequences(rows, **sides, **options)
                    np.testing.assert_array_equal(found, expected)
                    assert found.dtype == expected.dtype
