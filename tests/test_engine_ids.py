"""Ids in place of vectors, rows that begin alike, weights packed beforehand: all of it must be the plain path's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import EPSILON, forms

from rnnext import _core, reference

pytestmark = pytest.mark.usefixtures("_same_threads_afterwards")


def weights(cell: str, inputs: int, units: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([inputs, units, seed])
    width = (4 if cell == "lstm" else 3) * units
    shapes = {
        "kernel": ((inputs, width), inputs**-0.5),
        "recurrent_kernel": ((units, width), units**-0.5),
        "bias": ((2, width) if cell == "gru_reset_after" else (width,), 0.5),
    }
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, (shape, scale) in shapes.items()}


def vectors(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng([rows, width]).standard_normal((rows, width)).astype(np.float32)


def padded_ids(batch: int, steps: int, vocabulary: int, *, pad: int = 3, right: bool = False) -> np.ndarray:
    """Ids that begin (or end) with different numbers of one id; a row of nothing else and a row without are among them."""
    rng = np.random.default_rng([batch, steps])
    ids = rng.integers(0, vocabulary, (batch, steps)).astype(np.int32)
    counts = rng.integers(0, steps, batch)
    counts[:2] = (steps, 0)
    for row, count in zip(ids, counts, strict=True):
        row[steps - count :] = pad if right else row[steps - count :]
        row[:count] = row[:count] if right else pad
    return ids


def assert_close(actual: np.ndarray, expected: np.ndarray, terms: int, name: str) -> None:
    """Relative to the norm, growing with the root of the longest sum."""
    error, norm = np.linalg.norm(actual - expected), np.linalg.norm(expected)
    assert error <= 4 * EPSILON * np.sqrt(terms) * max(norm, 0.5), f"{name}: error {error:.3g}, norm {norm:.3g}"


def bits(results: Any) -> list[bytes]:
    """All arrays in a nest of tuples, as bytes."""
    if isinstance(results, tuple | list):
        return [one for part in results for one in bits(part)]
    return [] if results is None or isinstance(results, _core.Tape) else [np.ascontiguousarray(results).tobytes()]


@forms
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_ids_are_their_vectors(cell: str, writes: bool, return_sequences: bool, reverse: bool) -> None:
    batch, steps, vocabulary, inputs, units = 7, 11, 30, 12, 33
    rng = np.random.default_rng(1)
    ids, table, w = (
        rng.integers(0, vocabulary, (batch, steps)).astype(np.int32),
        vectors(vocabulary, inputs),
        weights(cell, inputs, units),
    )
    options: dict[str, Any] = {
        "lengths": np.array([0, 11, 3, 7, 11, 1, 5]),
        "reverse": reverse,
        "update_gate_writes": writes,
        "return_sequences": return_sequences,
    }
    *values, tape = _core.recurrent_forward(cell, (ids, table), **w, **options)  # type: ignore[arg-type]
    *plain, plain_tape = _core.recurrent_forward(cell, table[ids], **w, **options)  # type: ignore[arg-type]
    assert bits(values) == bits(plain)
    dy = rng.standard_normal(values[0].shape).astype(np.float32)
    assert tape is not None
    assert plain_tape is not None
    (rows, dtable), *gradients = _core.recurrent_backward(tape, dy)  # type: ignore[misc]
    dx, *plain_gradients = _core.recurrent_backward(plain_tape, dy)
    expected = np.zeros_like(table)
    np.add.at(expected, ids, dx)
    used = np.unique(np.concatenate([row[:n] for row, n in zip(ids, options["lengths"], strict=True)]))
    np.testing.assert_array_equal(rows, used)
    assert_close(dtable, expected[rows], batch * steps, "dtable")
    for name, got, wanted in zip(("dkernel", "drecurrent", "dbias", "dh0", "dc0"), gradients, plain_gradients, strict=True):
        if wanted is not None:
            assert_close(got, wanted, batch * steps, name)


@forms
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(37, 40, 33), (5, 30, 100), (70, 25, 7)], ids=lambda s: "B{}-T{}-H{}".format(*s))
def test_rows_that_begin_alike(cell: str, writes: bool, reverse: bool, shape: tuple[int, int, int]) -> None:
    """Their common prefix is computed once: the same bits as row by row and for any threads, the reference's gradients."""
    batch, steps, units = shape
    inputs, vocabulary = 12, 50
    ids, table, w = (
        padded_ids(batch, steps, vocabulary, right=reverse),
        vectors(vocabulary, inputs),
        weights(cell, inputs, units),
    )
    options: dict[str, Any] = {"reverse": reverse, "update_gate_writes": writes}
    dy = np.random.default_rng(2).standard_normal((batch, units)).astype(np.float32)
    results = []
    for threads in (1, 3, 8):
        _core.set_num_threads(threads)
        y, h_T, c_T, tape = _core.recurrent_forward(cell, (ids, table), **w, **options)  # type: ignore[arg-type]
        assert tape is not None
        results.append((y, h_T, c_T, _core.recurrent_backward(tape, dy)))
    assert all(bits(result) == bits(results[0]) for result in results)

    zeros = np.zeros((batch, units), np.float32)
    y, h_T, c_T, apart = _core.recurrent_forward(cell, (ids, table), **w, h0=zeros, **options)  # type: ignore[arg-type]
    assert apart is not None
    assert bits((y, h_T, c_T)) == bits(results[0][:3])
    assert tape is not None
    if batch > 5:
        assert tape.nbytes < 0.8 * apart.nbytes, "nothing was walked together: the test tests nothing"
        assert results[0][3][4] is None

    *_, reference_tape = reference.recurrent_forward(cell, table[ids], **w, **options)  # type: ignore[arg-type]
    dx, *expected = reference.recurrent_backward(reference_tape, dy)
    dtable = np.zeros(table.shape)
    np.add.at(dtable, ids, dx)
    (rows, values), *gradients = results[0][3]  # type: ignore[misc]
    np.testing.assert_array_equal(rows, np.unique(ids))
    assert_close(values, dtable[rows], batch * steps, "dtable")
    for name, got, wanted in zip(("dkernel", "drecurrent", "dbias"), gradients, expected, strict=False):
        assert_close(got, wanted, batch * steps, name)


@pytest.mark.parametrize("outputs", [2, 9, 20])
def test_rows_that_begin_alike_with_a_projection(outputs: int) -> None:
    """A projection narrower than the state, as wide, and wider, against the same rows without a common prefix."""
    batch, steps, inputs, units = 40, 30, 3, 9
    rng = np.random.default_rng(4)
    ids, table = padded_ids(batch, steps, 20), vectors(20, inputs)
    shapes = {"kernel": (inputs, 4 * units), "recurrent_kernel": (outputs, 4 * units), "projection": (units, outputs)}
    w = {name: (0.4 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    dy = rng.standard_normal((batch, outputs)).astype(np.float32)
    found = []
    for h0 in (None, np.zeros((batch, outputs), np.float32)):
        y, h_T, c_T, tape = _core.recurrent_forward("lstm", (ids, table), **w, bias=None, h0=h0)
        assert tape is not None
        (_, values), dkernel, drecurrent, *_, others = _core.recurrent_backward(tape, dy)
        found.append(((y, h_T, c_T), (values, dkernel, drecurrent, *others.values()), tape.nbytes))
    together, apart = found
    assert together[2] < 0.8 * apart[2], "nothing was walked together: the test tests nothing"
    assert bits(together[0]) == bits(apart[0])
    for got, wanted in zip(together[1], apart[1], strict=True):
        assert_close(got, wanted, batch * steps, "a gradient")


@forms
@pytest.mark.parametrize("lengths", [None, np.array([3, 9, 0, 7])])
def test_packed_weights_give_the_same_bits(cell: str, writes: bool, lengths: np.ndarray | None) -> None:
    inputs, units, vocabulary = 20, 33, 40
    w, table = weights(cell, inputs, units), vectors(vocabulary, inputs)
    ids = padded_ids(4, 9, vocabulary)
    states = [vectors(4, units)] * (2 if cell == "lstm" else 1)
    packed = _core.PackedCell(cell, **w, update_gate_writes=writes)  # type: ignore[arg-type]
    whole = _core.PackedCell(cell, **w, vocabulary=table, update_gate_writes=writes)  # type: ignore[arg-type]
    for given in ([], states):
        for reverse in (False, True):
            for return_sequences in (False, True):
                options: dict[str, Any] = {"lengths": lengths, "reverse": reverse, "return_sequences": return_sequences}
                plain = _core.recurrent_forward(
                    cell,  # type: ignore[arg-type]
                    table[ids],
                    *w.values(),
                    *given,
                    update_gate_writes=writes,
                    keep_tape=False,
                    **options,
                )
                for weights_, x in ((packed, table[ids]), (packed, (ids, table)), (whole, ids)):
                    assert bits(_core.recurrent_infer(weights_, x, *given, **options)) == bits(plain)


def test_packed_weights_check_what_they_get() -> None:
    w, table = weights("lstm", 3, 4), vectors(5, 3)
    with pytest.raises(ValueError, match=r"PackedCell: vocabulary has shape \(5, 2\), expected \(5, 3\)"):
        _core.PackedCell("lstm", **w, vocabulary=table[:, :2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"PackedCell: kernel has shape \(3, 12\), expected \(3, 16\)"):
        _core.PackedCell("lstm", **{**w, "kernel": w["kernel"][:, :12]})  # type: ignore[arg-type]
    packed = _core.PackedCell("lstm", **w)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="recurrent_infer: x has width 2, expected 3"):
        _core.recurrent_infer(packed, np.zeros((1, 2, 2), np.float32))
    whole = _core.PackedCell("lstm", **w, vocabulary=table)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="recurrent_infer: ids has 5 at row 0, position 1, expected 0 to 4"):
        _core.recurrent_infer(whole, np.array([[0, 5]], np.int32))
    with pytest.raises(TypeError, match="recurrent_infer: ids has dtype int64, expected int32"):
        _core.recurrent_infer(whole, np.array([[0, 1]]))
