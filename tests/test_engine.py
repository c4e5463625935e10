"""The chain of trust from the float64 reference to the engine: for the instruction set in use, then for every other.

The tests in this process run what RNNEXT_ISA names; the suite is run once under each. `test_every_isa` runs a short form of the
comparison under all of them from any process, by starting this file as a program.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from engine_cases import EPSILON, FORMS, GRADIENTS, VALUES, assert_same_bits, forms

from rnnext import _core, reference

pytestmark = pytest.mark.usefixtures("_same_threads_afterwards")

SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)
cells = pytest.mark.parametrize("cell", ["lstm", "gru_reset_after", "gru_reset_before"])

# (T, B, I, H). Every H meets every T; B and I go round beside them.
SMALL_SHAPES = [
    (T, (1, 2, 5, 17)[(h + 2 * t) % 4], (1, 3, 8, 20)[(h + t) % 4], H)
    for h, H in enumerate((1, 7, 8, 9, 16, 17, 33, 100))
    for t, T in enumerate((1, 2, 9))
]
LARGE_SHAPES = [
    (40, 33, 70, 130),
    (7, 3, 300, 20),
    (3, 70, 5, 260),
    (5, 95, 6, 100),
]  # past the blocks of tokens, inputs, units, rows


@dataclass(frozen=True)
class Case:
    cell: str
    writes: bool
    T: int
    B: int
    I: int  # noqa: E741 - the symbols of docs/equations.md
    H: int
    window: str = "whole"  # where a row's tokens are: "whole", "right_padded", "left_padded", "anywhere"
    reverse: bool = False
    return_sequences: bool = True
    bias: bool = True
    states: bool = True

    @property
    def gates(self) -> int:
        return 4 if self.cell == "lstm" else 3

    @property
    def options(self) -> dict[str, Any]:
        return {
            "reverse": self.reverse,
            "update_gate_writes": self.writes,
            "return_sequences": self.return_sequences,
            **random_window(self),
        }


def generator(case: Case) -> np.random.Generator:
    return np.random.default_rng([case.T, case.B, case.I, case.H, len(case.cell), len(case.window)])


def random_window(case: Case) -> dict[str, np.ndarray]:
    """Random starts and lengths; a row of length 0 and one of length T are among them where there are rows enough."""
    if case.window == "whole":
        return {}
    rng = generator(case)
    lengths = rng.integers(0, case.T + 1, case.B)
    lengths[: min(2, case.B - 1)] = (0, case.T)[: min(2, case.B - 1)]
    starts = rng.integers(0, case.T - lengths + 1)
    if case.window == "right_padded":
        return {"lengths": lengths}
    if case.window == "left_padded":
        return {"starts": case.T - lengths}
    return {"starts": starts, "lengths": lengths}


def random_arguments(case: Case) -> dict[str, Any]:
    """What recurrent_forward takes by position, at scales that keep gates away from saturation; read-only."""
    rng = generator(case)
    width = case.gates * case.H
    shapes: dict[str, tuple[tuple[int, ...], float]] = {
        "x": ((case.B, case.T, case.I), 1.0),
        "kernel": ((case.I, width), case.I**-0.5),
        "recurrent_kernel": ((case.H, width), case.H**-0.5),
        "bias": ((2, width) if case.cell == "gru_reset_after" else (width,), 0.5),
        "h0": ((case.B, case.H), 0.5),
        "c0": ((case.B, case.H), 0.5),
    }
    arguments: dict[str, Any] = {}
    for name, (shape, scale) in shapes.items():
        value = (scale * rng.standard_normal(shape)).astype(np.float32)
        value.flags.writeable = False
        arguments[name] = value
    if not case.bias:
        arguments["bias"] = None
    if not case.states:
        arguments["h0"] = arguments["c0"] = None
    if case.cell != "lstm":
        del arguments["c0"]
    return arguments


def random_upstream(case: Case) -> dict[str, Any]:
    rng = generator(case)
    rng.bit_generator.advance(1 << 40)  # other numbers than the arguments'
    shapes: dict[str, tuple[int, ...]] = {"dy": (case.B, case.T, case.H) if case.return_sequences else (case.B, case.H)}
    if case.return_sequences:
        shapes["dh_T"] = (case.B, case.H)
    if case.cell == "lstm":
        shapes["dc_T"] = (case.B, case.H)
    upstream = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for value in upstream.values():
        value.flags.writeable = False
    return upstream


def run(case: Case, module: Any = _core, **changes: Any) -> dict[str, Any]:
    """Values and gradients by name, from the engine or from the reference; `changes` replaces arguments."""
    arguments = {**random_arguments(case), **changes}
    *values, tape = module.recurrent_forward(case.cell, **arguments, **case.options)
    gradients = module.recurrent_backward(tape, **random_upstream(case))
    return dict(zip((*VALUES, *GRADIENTS), (*values, *gradients), strict=True))


def tolerance(case: Case, expected: np.ndarray) -> float:
    """The bound of an error's norm: relative, growing with the root of the longest sum, I + G·H in a step, T·B in a gradient.

    Operands are about 1 here. A lone number may cancel to almost nothing where its roundings do not, hence the floor.
    """
    longest_sum = max(case.I + case.gates * case.H, case.T * case.B)
    return float(2 * EPSILON * np.sqrt(longest_sum) * max(np.linalg.norm(expected), 0.5))


def assert_agrees_with_reference(case: Case) -> None:
    actual, expected = run(case), run(case, reference)
    for name, wanted in expected.items():
        got = actual[name]
        if wanted is None or (not case.states and name in {"dh0", "dc0"}):
            assert got is None, name
            continue
        assert got.shape == wanted.shape, name
        assert got.dtype == np.float32, name
        assert got.flags.c_contiguous, name
        error, allowed = np.linalg.norm(got - wanted), tolerance(case, wanted)
        assert error <= allowed, (
            f"{name}: error {error:.3g}, allowed {allowed:.3g}, norm {np.linalg.norm(wanted):.3g} in {case}"
        )
        assert not got[wanted == 0].any(), f"{name}: not 0 where it must be, in {case}"


# ---------------------------------------------------------------- reference = engine


def variants(case: Case, turn: int) -> Iterator[Case]:
    """The case with each kind of window; the other options go round with `turn`, so that all combinations come up."""
    for n, window in enumerate(("whole", "right_padded", "left_padded", "anywhere")):
        bits = turn + 5 * n
        yield replace(
            case,
            window=window,
            reverse=bool(bits & 1),
            return_sequences=not bits & 2,
            bias=not bits & 4,
            states=bits % 7 != 0,
        )


@forms
@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
def test_small_shapes(cell: str, writes: bool, shape: tuple[int, int, int, int]) -> None:
    for case in variants(Case(cell, writes, *shape), SMALL_SHAPES.index(shape)):
        assert_agrees_with_reference(case)


@forms
@pytest.mark.parametrize("shape", LARGE_SHAPES, ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
def test_large_shapes(cell: str, writes: bool, shape: tuple[int, int, int, int]) -> None:
    for window, reverse in (("whole", False), ("anywhere", True)):
        assert_agrees_with_reference(Case(cell, writes, *shape, window=window, reverse=reverse))


def test_one_row_and_input_weights_beyond_8_mb() -> None:
    """Weights that do not fit into the cache want more rows at a time; with one row, a block has more steps instead."""
    assert_agrees_with_reference(Case("lstm", False, 2, 1, 66_000, 8))


@forms
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_all_options(cell: str, writes: bool, reverse: bool, return_sequences: bool, bias: bool, states: bool) -> None:
    for window in ("whole", "right_padded", "left_padded", "anywhere"):
        assert_agrees_with_reference(Case(cell, writes, 6, 7, 5, 11, window, reverse, return_sequences, bias, states))


@forms
@pytest.mark.parametrize("shape", [(0, 3, 2, 5), (4, 0, 2, 5), (4, 3, 0, 5)], ids=["no_steps", "no_rows", "no_inputs"])
def test_empty_dimensions(cell: str, writes: bool, shape: tuple[int, int, int, int]) -> None:
    T, B, I, H = shape  # noqa: E741
    case = Case(cell, writes, T, B, max(I, 1), H)
    arguments = random_arguments(case)
    changes = {"x": arguments["x"][:, :, :I], "kernel": arguments["kernel"][:I]}
    actual, expected = run(case, **changes), run(case, reference, **changes)
    for name, wanted in expected.items():
        if wanted is not None:
            np.testing.assert_allclose(actual[name], wanted, rtol=0, atol=1e-5, err_msg=name)


@forms
def test_all_rows_empty(cell: str, writes: bool) -> None:
    """No token anywhere: the initial states come out, and the gradients go to them."""
    case = Case(cell, writes, 4, 3, 2, 9)
    arguments, upstream = random_arguments(case), random_upstream(case)
    y, h_T, _, tape = _core.recurrent_forward(cell, **arguments, lengths=np.zeros(3, np.int64), return_sequences=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(h_T, arguments["h0"])
    np.testing.assert_array_equal(y, np.repeat(arguments["h0"][:, None], 4, axis=1))
    assert tape is not None
    dx, dkernel, drecurrent, dbias, dh0, dc0 = _core.recurrent_backward(tape, **upstream)
    assert not any(np.any(g) for g in (dx, dkernel, drecurrent, dbias))
    np.testing.assert_allclose(dh0, upstream["dy"].sum(axis=1) + upstream["dh_T"], rtol=1e-5, atol=1e-6)
    if dc0 is not None:
        np.testing.assert_array_equal(dc0, upstream["dc_T"])


# ---------------------------------------------------------------- the same bits, however it is run

THREADED = [
    (40, 33, 70, 130),  # rows shared out
    (30, 1, 20, 200),  # one row: units shared out
    (25, 5, 40, 120),
]


@forms
@pytest.mark.parametrize("window", ["whole", "anywhere"])
@pytest.mark.parametrize("shape", THREADED, ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
def test_bits_do_not_depend_on_the_number_of_threads(
    cell: str, writes: bool, window: str, shape: tuple[int, int, int, int]
) -> None:
    case = Case(cell, writes, *shape, window=window)
    _core.set_num_threads(1)
    expected = run(case)
    for count in (1, 2, 3, 5, 8):
        _core.set_num_threads(count)
        assert_same_bits(run(case), expected)


@cells
def test_a_row_does_not_depend_on_its_batch(cell: str) -> None:
    case = Case(cell, False, 9, 17, 8, 33)
    whole = run(case)
    arguments, upstream = random_arguments(case), random_upstream(case)
    for b in (0, 7, 16):
        one = {k: v[b : b + 1] if k in {"x", "h0", "c0"} else v for k, v in arguments.items()}
        y, h_T, c_T, tape = _core.recurrent_forward(cell, **one, **case.options)  # type: ignore[arg-type]
        assert tape is not None
        dx, _, _, _, dh0, dc0 = _core.recurrent_backward(tape, **{k: v[b : b + 1] for k, v in upstream.items()})
        alone = {"y": y, "h_T": h_T, "c_T": c_T, "dx": dx, "dh0": dh0, "dc0": dc0}
        assert_same_bits(alone, {k: None if whole[k] is None else whole[k][b : b + 1] for k in alone})


@cells
def test_a_tape_plays_twice(cell: str) -> None:
    case = Case(cell, False, 9, 5, 8, 33, window="anywhere")
    upstream = random_upstream(case)
    tape = _core.recurrent_forward(cell, **random_arguments(case), **case.options)[3]  # type: ignore[arg-type]
    assert tape is not None
    first, other, again = (
        dict(zip(GRADIENTS, _core.recurrent_backward(tape, **{**upstream, "dy": dy}), strict=True))
        for dy in (upstream["dy"], -upstream["dy"], upstream["dy"])
    )
    assert_same_bits(again, first)
    assert np.any(other["dkernel"] != first["dkernel"])
    without = dict(zip(GRADIENTS, _core.recurrent_backward(tape, **upstream, need_dx=False), strict=True))
    assert_same_bits(without, {**first, "dx": None})


def test_a_tape_counts_what_it_keeps() -> None:
    case = Case("lstm", False, 9, 5, 8, 48)  # rows of 48 floats lie one behind the other

    def nbytes(**options: Any) -> int:
        tape = _core.recurrent_forward("lstm", **random_arguments(case), **options)[3]
        assert tape is not None
        return tape.nbytes

    plain = nbytes()
    assert plain >= 4 * (4 * case.T + 2 * (case.T + 1)) * case.B * case.H  # gates, h and c
    masked = nbytes(recurrent_mask=np.ones((case.B, case.H), np.float32))
    assert masked - plain == 4 * (case.T + 2) * case.B * case.H  # the mask, and all states times it
    assert nbytes(peephole=np.ones((3, case.H), np.float32)) - plain >= 4 * 3 * case.H


@forms
@pytest.mark.parametrize("window", ["whole", "anywhere"])
def test_values_without_a_tape(cell: str, writes: bool, window: str) -> None:
    # The second and third past a block of tokens, the last with rows enough to take turns.
    for shape in ((9, 5, 8, 33), (12, 33, 20, 67), (70, 2, 3, 9), (3, 95, 4, 100)):
        case = Case(cell, writes, *shape, window=window)
        arguments = random_arguments(case)
        *values, tape = _core.recurrent_forward(cell, **arguments, **case.options, keep_tape=False)  # type: ignore[arg-type]
        assert tape is None
        *expected, tape = _core.recurrent_forward(cell, **arguments, **case.options)  # type: ignore[arg-type]
        assert tape is not None
        assert_same_bits(dict(zip(VALUES, values, strict=True)), dict(zip(VALUES, expected, strict=True)))


@cells
def test_no_upstream_is_zeros(cell: str) -> None:
    case = Case(cell, False, 5, 4, 3, 9)
    tape = _core.recurrent_forward(cell, **random_arguments(case), **case.options)[3]  # type: ignore[arg-type]
    assert tape is not None
    assert not any(np.any(g) for g in _core.recurrent_backward(tape, None))
    dh_T = random_upstream(case)["dh_T"]
    by_state = dict(zip(GRADIENTS, _core.recurrent_backward(tape, None, dh_T), strict=True))
    dy = np.zeros((4, 5, 9), np.float32)
    assert_same_bits(dict(zip(GRADIENTS, _core.recurrent_backward(tape, dy, dh_T), strict=True)), by_state)


@cells
def test_inputs_are_not_written_to(cell: str) -> None:
    case = Case(cell, False, 9, 5, 8, 33, window="anywhere")
    arguments, upstream = random_arguments(case), random_upstream(case)
    for value in (*arguments.values(), *upstream.values()):
        value.flags.writeable = True
    copies = {k: v.copy() for k, v in (arguments | upstream).items()}
    tape = _core.recurrent_forward(cell, **arguments, **case.options)[3]  # type: ignore[arg-type]
    assert tape is not None
    _core.recurrent_backward(tape, **upstream)
    assert_same_bits(arguments | upstream, copies)


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """Equal arrays with other layouts in memory, by name."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, np.float32)
    wide[..., ::2] = array
    unaligned = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(np.float32).reshape(array.shape)
    return {
        "first axes exchanged": np.ascontiguousarray(array.swapaxes(0, 1)).swapaxes(0, 1),
        "last axis strided": wide[..., ::2],
        "backwards": np.ascontiguousarray(np.flip(array))[tuple(slice(None, None, -1) for _ in array.shape)],
        "Fortran": np.asfortranarray(array),
        "a part": np.pad(array, 3, constant_values=np.nan)[tuple(slice(3, -3) for _ in array.shape)],
        "unaligned": unaligned,
    }


@cells
def test_strided_inputs(cell: str) -> None:
    case = Case(cell, False, 9, 5, 8, 33)
    expected = run(case)
    arguments, upstream = random_arguments(case), random_upstream(case)
    for name in ("x", "kernel", "recurrent_kernel", "h0"):
        for layout, array in layouts(arguments[name]).items():
            np.testing.assert_array_equal(array, arguments[name], err_msg=layout)
            assert_same_bits(run(case, **{name: array}), expected)
    tape = _core.recurrent_forward(cell, **arguments, **case.options)[3]  # type: ignore[arg-type]
    assert tape is not None
    for name in ("dy", "dh_T"):
        for array in layouts(upstream[name]).values():
            gradients = dict(zip(GRADIENTS, _core.recurrent_backward(tape, **{**upstream, name: array}), strict=True))
            assert_same_bits(gradients, {k: expected[k] for k in GRADIENTS})
    repeated = np.broadcast_to(arguments["x"][:1], arguments["x"].shape)
    assert_same_bits(run(case, x=repeated), run(case, x=repeated.copy()))


# ---------------------------------------------------------------- denormals, threads of the caller, NaN


def denormals_work() -> bool:
    tiny = np.full(64, SMALLEST_NORMAL, np.float32) * np.float32(0.25)
    return bool((tiny > 0).all() and (tiny + tiny == np.float32(0.5 * SMALLEST_NORMAL)).all())


@cells
@pytest.mark.parametrize("threads", [1, 2])
def test_vanishing_gradients_and_the_callers_floating_point_mode(cell: str, threads: int) -> None:
    case = Case(cell, False, 200, 8, 5, 40, return_sequences=False)
    _core.set_num_threads(threads)
    arguments = random_arguments(case)
    arguments["recurrent_kernel"] = arguments["recurrent_kernel"] * np.float32(0.05)
    if cell == "lstm":
        arguments["bias"] = np.full(160, -1.0, np.float32)  # forgets
    else:
        arguments["bias"] = np.where(np.arange(120) < 40, -1.0, arguments["bias"]).astype(np.float32)  # writes
    assert denormals_work()
    actual, expected = run(case, **arguments), run(case, reference, **arguments)
    assert denormals_work(), "the engine left denormals flushed"

    magnitudes = np.abs(expected["dx"])
    assert ((magnitudes > 0) & (magnitudes < 0.5 * SMALLEST_NORMAL)).any(), "nothing vanishes: the test tests nothing"
    nonzero = np.abs(actual["dx"])[actual["dx"] != 0]
    assert nonzero.size > 0
    assert nonzero.min() >= SMALLEST_NORMAL, "denormals were not flushed"
    for name in GRADIENTS[:4]:
        error = np.linalg.norm(actual[name] - expected[name])
        assert error <= tolerance(case, expected[name]), name


def test_calls_from_several_threads() -> None:
    cases = [
        Case(cell, writes, 20, 3 + n, 16, 50 + n, window=("whole", "anywhere")[n % 2]) for n, (cell, writes) in enumerate(FORMS)
    ]
    expected = [run(case) for case in cases]
    for threads in (1, 2):
        _core.set_num_threads(threads)

        def work(turn: int) -> bool:
            n = turn % len(cases)
            assert_same_bits(run(cases[n]), expected[n])
            return denormals_work()

        with ThreadPoolExecutor(max_workers=4) as pool:
            assert all(pool.map(work, range(40)))


def test_the_gil_is_released() -> None:
    """One thread runs while another is inside a call, which it could not if the call kept the GIL."""
    case = Case("lstm", False, 100, 32, 64, 128)
    arguments = random_arguments(case)
    _core.set_num_threads(1)
    inside = [False]
    done = threading.Event()

    def work() -> None:
        for _ in range(5):
            inside[0] = True
            _core.recurrent_forward("lstm", **arguments)
            inside[0] = False
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    seen = 0
    while not done.is_set():
        seen += inside[0]
    worker.join()
    assert seen > 100


@forms
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_stays_alone(cell: str, writes: bool, bad: float) -> None:
    case = Case(cell, writes, 9, 7, 8, 33)
    x = random_arguments(case)["x"].copy()
    lengths = np.array([0, 9, 7, 9, 5, 1, 3])
    expected = run(case, lengths=lengths)
    for row in (1, 4):  # inside the row's tokens, and behind them
        x[row, lengths[row] - 1 if row == 1 else lengths[row] :] = bad
    actual = run(case, x=x, lengths=lengths)
    others = np.arange(7) != 1
    for name in (*VALUES, "dx", "dh0", "dc0"):
        if expected[name] is not None:
            np.testing.assert_array_equal(actual[name][others], expected[name][others], err_msg=name)
    if np.isnan(bad):
        assert np.isnan(actual["h_T"][1]).all()
        assert np.isnan(actual["dkernel"]).any(), "a NaN gradient must not look healthy"


# ---------------------------------------------------------------- sigmoid and tanh


def magnitudes() -> np.ndarray:
    """Every exponent of float32 with 257 mantissas, both signs, and the range where the functions bend, densely."""
    mantissas = np.linspace(0, (1 << 23) - 1, 257).astype(np.uint32)
    bits = (np.arange(255, dtype=np.uint32)[:, None] << np.uint32(23)) | mantissas
    positive = np.concatenate([bits.ravel().view(np.float32), np.linspace(0, 100, 200_001, dtype=np.float32)])
    return np.concatenate([positive, -positive])


def ulps(actual: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the exact results, or of the smallest normal number where those are smaller."""
    scale = np.maximum(np.abs(exact), SMALLEST_NORMAL)
    return np.abs(actual - exact) / np.spacing(scale.astype(np.float32)).astype(np.float64)


def test_sigmoid_accuracy() -> None:
    x = magnitudes()
    exact = reference.sigmoid(x)
    actual = _core.sigmoid(x)
    normal = x > -86.5  # e^-x stays finite and the result above twice the smallest normal number
    worst = ulps(actual, exact)[normal] - np.maximum(-x[normal] * 0.25, 0)  # log2e is rounded once: 1.3e-8 |x| of e^-x
    assert worst.max() <= 4, f"{worst.max():.2f} ulp at {x[normal][worst.argmax()]!r}"
    assert np.abs(actual - exact).max() <= 1e-7
    assert np.abs(actual - exact)[~normal].max() <= 2 * SMALLEST_NORMAL
    assert actual.min() >= 0
    assert actual.max() <= 1


def test_tanh_accuracy() -> None:
    x = magnitudes()
    exact = np.tanh(x.astype(np.float64))
    actual = _core.tanh(x)
    normal = (np.abs(x) >= SMALLEST_NORMAL) | (x == 0)  # the engine flushes denormals
    worst = ulps(actual, exact)[normal]
    assert worst.max() <= 4, f"{worst.max():.2f} ulp at {x[normal][worst.argmax()]!r}"
    assert np.abs(actual - exact)[~normal].max() <= SMALLEST_NORMAL
    assert np.abs(actual).max() <= 1


def test_sigmoid_and_tanh_at_the_ends() -> None:
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0], np.float32)
    np.testing.assert_allclose(_core.sigmoid(x), [0, 1, np.nan, 0.5, 0.5], rtol=0, atol=2 * SMALLEST_NORMAL)
    np.testing.assert_array_equal(_core.tanh(x), [-1, 1, np.nan, 0, 0])
    for function in (_core.sigmoid, _core.tanh):  # wherever a number stands in a vector, and however many there are
        y = np.linspace(-3, 3, 40, dtype=np.float32)
        for n in range(41):
            np.testing.assert_array_equal(function(y[40 - n :]), function(y)[40 - n :])
        np.testing.assert_array_equal(function(y.reshape(2, 4, 5)[:, ::-1]), function(y).reshape(2, 4, 5)[:, ::-1])


# ---------------------------------------------------------------- errors


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


# For B=2, T=5, I=3, H=4.
@pytest.mark.parametrize(
    ("cell", "change", "error", "message"),
    [
        ("lstm", {"x": zeros(2, 5)}, ValueError, r"x has shape \(2, 5\), expected \[B, T, I\] \(3 dimensions\)"),
        ("lstm", {"x": np.zeros((2, 5, 3))}, TypeError, "x has dtype float64, expected float32"),
        ("lstm", {"x": [[[0.0] * 3] * 5] * 2}, TypeError, "x is a list, expected a NumPy array"),
        ("lstm", {"x": zeros(2, 5, 4)}, ValueError, r"kernel has shape \(3, 16\), expected \(4, 16\)"),
        ("lstm", {"kernel": zeros(16, 3)}, ValueError, r"kernel has shape \(16, 3\), expected \(3, 16\) = \[I, G\*H\]"),
        ("lstm", {"kernel": zeros(3, 12)}, ValueError, r"kernel has shape \(3, 12\), expected \(3, 16\)"),
        ("lstm", {"kernel": np.zeros((3, 16))}, TypeError, "kernel has dtype float64"),
        ("lstm", {"kernel": zeros(48)}, ValueError, r"kernel has shape \(48,\).*2 dimensions"),
        ("lstm", {"recurrent_kernel": zeros(16, 4)}, ValueError, r"recurrent_kernel has shape \(16, 4\), expected \(16, 64\)"),
        ("lstm", {"recurrent_kernel": zeros(4, 12)}, ValueError, r"recurrent_kernel has shape \(4, 12\), expected \(4, 16\)"),
        ("lstm", {"recurrent_kernel": np.zeros((4, 16), int)}, TypeError, "recurrent_kernel has dtype int64"),
        ("gru_reset_after", {"recurrent_kernel": zeros(4, 16)}, ValueError, r"recurrent_kernel has shape .*\(4, 12\)"),
        ("gru_reset_before", {"kernel": zeros(3, 16)}, ValueError, r"kernel has shape \(3, 16\), expected \(3, 12\)"),
        ("lstm", {"bias": zeros(2, 16)}, ValueError, "bias has shape"),
        ("lstm", {"bias": zeros(12)}, ValueError, r"bias has shape \(12,\), expected \(16,\)"),
        ("lstm", {"bias": np.zeros(16)}, TypeError, "bias has dtype float64"),
        ("gru_reset_after", {"bias": zeros(12)}, ValueError, "bias has shape"),
        ("gru_reset_before", {"bias": zeros(2, 12)}, ValueError, "bias has shape"),
        ("lstm", {"h0": zeros(2, 5)}, ValueError, r"h0 has shape \(2, 5\), expected \(2, 4\) = \[B, H\]"),
        ("lstm", {"h0": zeros(1, 4)}, ValueError, "h0 has shape"),
        ("lstm", {"c0": zeros(3, 4)}, ValueError, "c0 has shape"),
        ("lstm", {"c0": np.zeros((2, 4))}, TypeError, "c0 has dtype float64"),
        ("gru_reset_after", {"c0": zeros(2, 4)}, ValueError, "c0 was given, but a GRU has no cell state"),
        ("lstm", {"lengths": np.array([1, 6])}, ValueError, "lengths has 6 at row 1, expected 0 to 5 = T"),
        ("lstm", {"lengths": np.array([-1, 5])}, ValueError, "lengths has -1 at row 0"),
        ("lstm", {"starts": np.array([0, 6])}, ValueError, "starts has 6 at row 1"),
        ("lstm", {"starts": np.array([0, -1])}, ValueError, "starts has -1 at row 1"),
        (
            "lstm",
            {"starts": np.array([0, 3]), "lengths": np.array([5, 3])},
            ValueError,
            r"starts \+ lengths is 3 \+ 3 at row 1",
        ),
        ("lstm", {"lengths": np.array([1, 2, 3])}, ValueError, r"lengths has shape \(3,\), expected \(2,\)"),
        ("lstm", {"lengths": np.array([1, 2], np.int32)}, TypeError, "lengths has dtype int32, expected int64"),
        ("lstm", {"lengths": np.array([1.0, 2.0])}, TypeError, "lengths has dtype float64"),
        ("elman", {}, ValueError, "cell is 'elman', expected 'lstm'"),
    ],
)
def test_forward_errors(cell: str, change: dict[str, Any], error: type[Exception], message: str) -> None:
    width = 16 if cell == "lstm" else 12
    arguments: dict[str, Any] = {
        "x": zeros(2, 5, 3),
        "kernel": zeros(3, width),
        "recurrent_kernel": zeros(4, width),
        "bias": None,
    }
    with pytest.raises(error, match="recurrent_forward: .*" + message):
        _core.recurrent_forward(cell, **{**arguments, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cell", "return_sequences", "change", "error", "message"),
    [
        ("lstm", True, {"dy": zeros(2, 4)}, ValueError, r"dy has shape \(2, 4\), expected \[B, T, H\] \(3 dimensions\)"),
        ("lstm", True, {"dy": zeros(2, 4, 5)}, ValueError, r"dy has shape \(2, 4, 5\), expected \(2, 5, 4\)"),
        ("lstm", False, {"dy": zeros(2, 5, 4)}, ValueError, "dy has shape"),
        ("lstm", False, {"dy": zeros(4, 2)}, ValueError, r"dy has shape \(4, 2\), expected \(2, 4\)"),
        ("lstm", False, {"dy": np.zeros((2, 4))}, TypeError, "dy has dtype float64, expected float32"),
        ("lstm", True, {"dh_T": zeros(2, 5)}, ValueError, r"dh_T has shape \(2, 5\), expected \(2, 4\)"),
        ("lstm", True, {"dc_T": zeros(1, 4)}, ValueError, "dc_T has shape"),
        ("lstm", True, {"dc_T": np.zeros((2, 4))}, TypeError, "dc_T has dtype float64"),
        ("gru_reset_before", True, {"dc_T": zeros(2, 4)}, ValueError, "dc_T was given, but a GRU has no cell state"),
    ],
)
def test_backward_errors(
    cell: str, return_sequences: bool, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    width = 16 if cell == "lstm" else 12
    tape = _core.recurrent_forward(
        cell,  # type: ignore[arg-type]
        zeros(2, 5, 3),
        zeros(3, width),
        zeros(4, width),
        None,
        return_sequences=return_sequences,
    )[3]
    with pytest.raises(error, match="recurrent_backward: .*" + message):
        _core.recurrent_backward(tape, **{"dy": None, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -1, 1025, 100_000])
def test_thread_count_errors(count: int) -> None:
    before = _core.get_num_threads()
    with pytest.raises(ValueError, match=f"set_num_threads: count is {count}, expected 1 to 1024"):
        _core.set_num_threads(count)
    assert _core.get_num_threads() == before
    with pytest.raises(ValueError, match=f"fma_rates: threads is {count}, expected 1 to 1024"):
        _core.fma_rates(count)
    with pytest.raises(ValueError, match=f"read_bandwidth: threads is {count}, expected 1 to 1024"):
        _core.read_bandwidth(count)


def test_sum_rows_of_no_table() -> None:
    with pytest.raises(ValueError, match="sum_rows: table_rows is -1, expected at least 0"):
        _core.sum_rows(np.zeros((2, 3), np.int32), zeros(2, 3, 4), -1)


def test_elementwise_errors() -> None:
    for name in ("sigmoid", "tanh"):
        with pytest.raises(TypeError, match=f"{name}: x has dtype float64, expected float32"):
            getattr(_core, name)(np.zeros(3))


# ---------------------------------------------------------------- the other instruction sets


def available_isas() -> list[str]:
    available = _core.config()["isas_available"]
    assert isinstance(available, list)
    return available


def run_under(isa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RNNEXT_ISA": isa}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 0, 3), (9, 130, 67)])
def test_steps_are_scaled_alike(dtype: Any, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x, scale = rng.standard_normal(shape).astype(dtype), rng.standard_normal((shape[0], 1, shape[2])).astype(dtype)
    y = _core.scale_steps(x, scale)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x * scale)
    np.testing.assert_array_equal(_core.scale_steps(x[::2, :, ::2], scale[::2, :, ::2]), (x * scale)[::2, :, ::2])
    with pytest.raises(ValueError, match=r"scale_steps: scale has shape .*, expected .* = \[B, 1, D\]"):
        _core.scale_steps(x, scale[1:])
    with pytest.raises(TypeError, match=r"scale_steps: scale has dtype int64, expected float"):
        _core.scale_steps(x, scale.astype(np.int64))


def test_more_than_there_can_be_is_a_memory_error() -> None:
    for count in (1 << 60, (1 << 61) + (1 << 60), (1 << 63) - 1):
        with pytest.raises(MemoryError):
            _core.draw_places(1, 0.5, count)


@pytest.mark.parametrize("count", [0, 1, 7, 200_001])
def test_drawn_places(count: int) -> None:
    places = _core.draw_places(2**64 - 1, 0.3, count)
    assert places.dtype == np.float32
    assert set(places.tolist()) <= {0.0, 1.0}
    _core.set_num_threads(1)
    np.testing.assert_array_equal(_core.draw_places(2**64 - 1, 0.3, count, float64=True), places)
    assert not _core.draw_places(5, 0.0, count).any()
    assert _core.draw_places(5, 1.0, count).all()


def test_drawn_places_are_independent() -> None:
    rate, count = 0.3, 400_000
    one, other = _core.draw_places(0, rate, count), _core.draw_places(1, rate, count)
    tolerance = 5 * np.sqrt(rate * (1 - rate) / count)  # five standard errors of a mean
    assert abs(one.mean() - rate) < tolerance
    for pair in (one * other, *(one[lag:] * one[:-lag] for lag in (1, 2, 3, 4, 100))):
        assert abs(pair.mean() - rate**2) < tolerance
    for wrong, message in ((1.5, "rate is 1.5"), (float("nan"), "rate is nan")):
        with pytest.raises(ValueError, match=f"draw_places: {message}.*, expected 0 to 1"):
            _core.draw_places(0, wrong, 4)
    with pytest.raises(ValueError, match="draw_places: count is -1, expected at least 0"):
        _core.draw_places(0, 0.5, -1)


def test_the_isa_in_use() -> None:
    config = _core.config()
    assert config["isa"] == _core.isa()
    assert _core.isa() == (os.environ.get("RNNEXT_ISA") or available_isas()[-1])
    assert config["threads"] == _core.get_num_threads()


@pytest.mark.parametrize("isa", available_isas())
def test_every_isa(isa: str) -> None:
    ran = run_under(isa, __file__)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [isa]


def test_a_wrong_isa_is_refused() -> None:
    compiled = _core.config()["isas_compiled"]
    assert isinstance(compiled, list)
    missing = [isa for isa in compiled if isa not in available_isas()]
    for isa, message in [("sse9", "expected one of: "), *((isa, "which this CPU lacks") for isa in missing)]:
        ran = run_under(isa, "-c", "import rnnext._core")
        assert ran.returncode != 0
        assert f"RNNEXT_ISA is '{isa}'" in ran.stderr
        assert message in ran.stderr


def compact_comparison() -> None:
    """A few hundred numbers of everything, in about a second: what test_every_isa runs."""
    for turn, (cell, writes) in enumerate(FORMS):
        for n, shape in enumerate([(9, 5, 20, 33), (2, 17, 3, 7), (12, 33, 70, 130)]):
            for case in variants(Case(cell, writes, *shape), turn + n):
                assert_agrees_with_reference(case)
    case = Case("lstm", False, 12, 33, 70, 130, window="anywhere")
    expected = run(case)
    for count in (1, 3):
        _core.set_num_threads(count)
        assert_same_bits(run(case), expected)
    test_sigmoid_accuracy()
    test_tanh_accuracy()
    test_sigmoid_and_tanh_at_the_ends()


if __name__ == "__main__":
    compact_comparison()
    print(_core.isa())
