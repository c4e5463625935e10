"""The engine's options of the cells: values, all gradients against the float64 reference, the same bits however it is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import EPSILON, FORMS, GRADIENTS, NORMS, ONLY_LSTM, TERMS, VALUES, assert_same_bits, forms

from rnnext import _core, reference

pytestmark = pytest.mark.usefixtures("_same_threads_afterwards")


OPTIONS: dict[str, tuple[str, ...]] = {
    "mask": ("recurrent_mask",),
    "zoneout_h": ("zoneout_h",),
    "clip": ("clip",),
    "norms": NORMS,
    "mask_zoneout_clip": ("recurrent_mask", "zoneout_h", "clip"),
    "zoneout_c": ("zoneout_c",),
    "zoneout": ("zoneout_h", "zoneout_c"),
    "peephole": ("peephole",),
    "coupled": ("coupled",),
    "projection": ("projection",),
    "coupled_peephole_clip": ("coupled", "peephole", "clip"),
    "projection_mask_zoneout": ("projection", "recurrent_mask", "zoneout_h", "zoneout_c"),
    "norms_peephole_coupled": (*NORMS, "peephole", "coupled"),
    "all_but_coupled": ("recurrent_mask", "zoneout_h", "zoneout_c", "peephole", "clip", "projection", *NORMS),
    "all": ("recurrent_mask", "zoneout_h", "zoneout_c", "peephole", "coupled", "clip", "projection", *NORMS),
}
CASES = [
    (cell, writes, option)
    for cell, writes in FORMS
    for option, names in OPTIONS.items()
    if cell == "lstm" or option in {"norms", "all"} or not ONLY_LSTM & set(names)
]
cases = pytest.mark.parametrize(("cell", "writes", "option"), CASES)
WINDOWS = ("whole", "right_padded", "left_padded", "anywhere")


def random_window(window: str, batch: int, steps: int) -> dict[str, np.ndarray]:
    """A row of length 0 and one of length T are among them."""
    rng = np.random.default_rng([batch, steps, len(window)])
    lengths = rng.integers(0, steps + 1, batch)
    lengths[:2] = (0, steps)
    starts = {"left_padded": steps - lengths, "anywhere": rng.integers(0, steps - lengths + 1)}
    return {
        "whole": {},
        "right_padded": {"lengths": lengths},
        "left_padded": {"starts": starts["left_padded"]},
        "anywhere": {"starts": starts["anywhere"], "lengths": lengths},
    }[window]


def random_arguments(
    cell: str, option: str, shape: tuple[int, int, int, int], *, states: bool = True, bias: bool = True
) -> dict[str, Any]:
    """For shape (T, B, I, H), at scales that keep gates away from saturation; read-only. A projected h is 2/3 as wide."""
    steps, batch, inputs, units = shape
    rng = np.random.default_rng([*shape, len(cell), len(option)])
    names = {name for name in OPTIONS.get(option, ()) if cell == "lstm" or name not in ONLY_LSTM}
    width = (4 if cell == "lstm" else 3) * units
    out = (2 * units + 2) // 3 if "projection" in names else units

    def normal(scale: float, *of: int, mean: float = 0.0) -> np.ndarray:
        return mean + scale * rng.standard_normal(of)

    arguments: dict[str, Any] = {
        "x": normal(1.0, batch, steps, inputs),
        "kernel": normal(inputs**-0.5, inputs, width),
        "recurrent_kernel": normal(out**-0.5, out, width),
        "bias": normal(0.5, *((2, width) if cell == "gru_reset_after" else (width,))),
        "h0": normal(0.5, batch, out),
        "c0": normal(0.5, batch, units),
        "recurrent_mask": rng.integers(0, 2, (batch, out)) / 0.5,
        "zoneout_h": rng.uniform(0, 1, (batch, steps, out)),
        "zoneout_c": rng.integers(0, 2, (batch, steps, units)),
        "peephole": normal(0.5, 3, units),
        "projection": normal(units**-0.5, units, out),
        "kernel_norm": normal(0.2, width, mean=0.7),
        "recurrent_norm": normal(0.2, width, mean=0.7),
        "state_norm": np.stack([normal(0.2, units, mean=1.0), normal(0.2, units)]),
    }
    dropped = (ONLY_LSTM | {"recurrent_mask", "zoneout_h", *NORMS}) - names | (set() if cell == "lstm" else {"c0"})
    arguments = {name: value.astype(np.float32) for name, value in arguments.items() if name not in dropped}
    for value in arguments.values():
        value.flags.writeable = False
    for name in (*(() if bias else ("bias",)), *(() if states else ("h0", "c0"))):
        if name in arguments:
            arguments[name] = None
    return arguments | {name: value for name, value in {"coupled": True, "clip": 0.9}.items() if name in names}


def random_upstream(arguments: dict[str, Any], *, return_sequences: bool) -> dict[str, np.ndarray]:
    batch, steps, _ = arguments["x"].shape
    out, width = arguments["recurrent_kernel"].shape
    rng = np.random.default_rng([batch, steps, out, width])
    shapes: dict[str, tuple[int, ...]] = {"dy": (batch, steps, out) if return_sequences else (batch, out)}
    if return_sequences:
        shapes["dh_T"] = (batch, out)
    if "c0" in arguments:
        shapes["dc_T"] = (batch, width // 4)
    return {name: rng.standard_normal(shape).astype(np.float32).astype(arguments["x"].dtype) for name, shape in shapes.items()}


def run(cell: Any, arguments: dict[str, Any], module: Any = _core, **options: Any) -> dict[str, Any]:
    """Values and gradients by name, from the engine or from the reference."""
    *values, tape = module.recurrent_forward(cell, **arguments, **options)
    gradients = module.recurrent_backward(
        tape, **random_upstream(arguments, return_sequences=options.get("return_sequences", False))
    )
    terms = [name for name in TERMS if name in arguments]
    assert len(gradients) == (7 if terms else 6)
    found = dict(zip((*VALUES, *GRADIENTS), (*values, *gradients[:6]), strict=True))
    if terms:
        assert gradients[6].keys() == set(terms)
        found |= {f"d{name}": gradients[6][name] for name in terms}
    return found


def assert_agree(
    cell: str,
    arguments: dict[str, Any],
    shape: tuple[int, int, int, int],
    dtypes: Any = (np.float32, np.float64),
    **options: Any,
) -> None:
    """For each type of elements; arguments and what comes back to the outputs are numbers that all of them have.

    The norm of an error grows with the root of the longest sum: I + G·H in a step, T·B in a gradient; see test_engine.py.
    Normalising divides what there is of error by the spread of what is normalised, which may be small.
    """
    expected = run(cell, arguments, reference, **options)
    steps, batch, inputs, units = shape
    longest_sum = max(inputs + 4 * units, steps * batch)
    for dtype in dtypes:
        given = {name: a.astype(dtype) if isinstance(a, np.ndarray) else a for name, a in arguments.items()}
        actual = run(cell, given, **options)
        times = (192 if "kernel_norm" in arguments else 2) * float(np.finfo(dtype).eps)
        assert actual.keys() == expected.keys()
        for name, wanted in expected.items():
            got = actual[name]
            if wanted is None or (arguments["h0"] is None and name in {"dh0", "dc0"}):
                assert got is None, name
                continue
            assert got.shape == wanted.shape, name
            assert got.dtype == dtype, name
            assert got.flags.c_contiguous, name
            error = np.linalg.norm(got - wanted)
            allowed = times * np.sqrt(longest_sum) * max(np.linalg.norm(wanted), 0.5)
            assert error <= allowed, (
                f"{name}: error {error:.3g}, allowed {allowed:.3g}, norm {np.linalg.norm(wanted):.3g}, {dtype}, {options}"
            )
            assert not got[wanted == 0].any(), f"{name}: not 0 where it must be, {dtype}, {options}"


# ---------------------------------------------------------------- reference = engine


@cases
@pytest.mark.parametrize("shape", [(6, 7, 5, 5), (7, 9, 8, 16), (9, 17, 20, 37)], ids=lambda s: "T{}-B{}-I{}-H{}".format(*s))
@pytest.mark.parametrize("window", WINDOWS)
def test_values_and_gradients(cell: str, writes: bool, option: str, shape: tuple[int, int, int, int], window: str) -> None:
    """Direction, outputs, bias and states go round, so that each meets each.

    A window has two of the four pairs of direction and outputs at one shape, the other two at another.
    """
    turn = CASES.index((cell, writes, option)) + shape[0] + 5 * WINDOWS.index(window)
    for n in ((0, 3), (1, 2))[(shape[0] + WINDOWS.index(window)) % 2]:
        bits = turn + 3 * n
        arguments = random_arguments(cell, option, shape, states=bits % 7 != 0, bias=bits % 5 != 0)
        options = {"reverse": bool(n & 1), "return_sequences": not n & 2, "update_gate_writes": writes}
        assert_agree(cell, arguments, shape, **options, **random_window(window, shape[1], shape[0]))


@cases
def test_large_shapes(cell: str, writes: bool, option: str) -> None:
    """Past the engine's blocks of tokens, inputs, units."""
    # Of so many pre-activations some lie so near ±clip that float32 puts them on the other side of it.
    dtypes = (np.float64,) if "clip" in OPTIONS[option] else (np.float32, np.float64)
    for shape, window in (((8, 33, 70, 130), "whole"), ((5, 40, 300, 67), "anywhere"), ((6, 1, 20, 200), "whole")):
        lengths = random_window(window, shape[1], shape[0]) if shape[1] > 1 else {}
        arguments = random_arguments(cell, option, shape)
        assert_agree(cell, arguments, shape, dtypes, update_gate_writes=writes, return_sequences=True, **lengths)


@cases
@pytest.mark.parametrize("steps", [1, 4])
def test_no_state_is_a_state_of_zeros(cell: str, writes: bool, option: str, steps: int) -> None:
    """A missing state is multiplied with nothing; with one step the recurrent weights are not even read."""
    shape = (steps, 21, 12, 37)
    arguments = random_arguments(cell, option, shape, states=False)
    options: dict[str, Any] = {"update_gate_writes": writes, "return_sequences": True}
    options |= random_window("anywhere", shape[1], steps)
    assert_agree(cell, arguments, shape, **options)
    out, width = arguments["recurrent_kernel"].shape
    zeros = {"h0": np.zeros((21, out), np.float32)} | (
        {"c0": np.zeros((21, width // 4), np.float32)} if "c0" in arguments else {}
    )
    found, expected = run(cell, arguments, **options), run(cell, {**arguments, **zeros}, **options)
    for name in found:
        if name not in {"dh0", "dc0"}:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@forms
def test_shares_that_are_broadcast(cell: str, writes: bool) -> None:
    """Shares for all positions alike, or one number for everything, as arrays with strides of 0."""
    shape = (6, 7, 5, 21)
    arguments = random_arguments(cell, "zoneout", shape)
    for name in ("zoneout_h", "zoneout_c"):
        if name in arguments:
            for part in (arguments[name][:, :1], arguments[name][:1], np.float32(0.3)):
                spread = np.broadcast_to(part, arguments[name].shape)
                options = {"update_gate_writes": writes, "return_sequences": True}
                assert_agree(cell, {**arguments, name: spread}, shape, **options)
                whole = run(cell, {**arguments, name: spread.copy()}, **options)
                assert_same_bits(run(cell, {**arguments, name: spread}, **options), whole)


@forms
def test_options_that_change_nothing(cell: str, writes: bool) -> None:
    """A mask of ones, shares of zero and a clip that nothing reaches give the plain cell's numbers."""
    shape = (6, 7, 5, 21)
    arguments = random_arguments(cell, "", shape)
    neutral: dict[str, Any] = {"recurrent_mask": np.ones((7, 21)), "zoneout_h": np.zeros((7, 6, 21)), "clip": 1e6}
    if cell == "lstm":
        neutral |= {"zoneout_c": np.zeros((7, 6, 21)), "peephole": np.zeros((3, 21)), "projection": np.eye(21)}
    neutral = {name: value.astype(np.float32) if isinstance(value, np.ndarray) else value for name, value in neutral.items()}
    plain = run(cell, arguments, update_gate_writes=writes, return_sequences=True)
    given = run(cell, {**arguments, **neutral}, update_gate_writes=writes, return_sequences=True)
    for name, wanted in plain.items():
        if wanted is not None:
            np.testing.assert_allclose(given[name], wanted, rtol=0, atol=2e-6 * (1 + np.abs(wanted).max()), err_msg=name)


@cases
def test_all_rows_empty(cell: str, writes: bool, option: str) -> None:
    shape = (4, 3, 2, 9)
    arguments = random_arguments(cell, option, shape)
    options: dict[str, Any] = {"lengths": np.zeros(3, np.int64), "update_gate_writes": writes}
    found = run(cell, arguments, **options)
    np.testing.assert_array_equal(found["h_T"], arguments["h0"])
    np.testing.assert_array_equal(found["dh0"], random_upstream(arguments, return_sequences=False)["dy"])
    assert not any(np.any(found[name]) for name in found if name[0] == "d" and name not in {"dh0", "dc0"})


# ---------------------------------------------------------------- the same bits, however it is run


@cases
@pytest.mark.parametrize(
    "shape", [(12, 33, 20, 37), (30, 1, 20, 200), (10, 5, 40, 120)], ids=lambda s: "T{}-B{}-I{}-H{}".format(*s)
)
def test_bits_do_not_depend_on_the_number_of_threads(
    cell: str, writes: bool, option: str, shape: tuple[int, int, int, int]
) -> None:
    arguments = random_arguments(cell, option, shape)
    window = random_window("anywhere", shape[1], shape[0]) if shape[1] > 1 else {}
    options = {"update_gate_writes": writes, "return_sequences": True, **window}
    _core.set_num_threads(1)
    expected = run(cell, arguments, **options)
    for count in (1, 2, 3):
        _core.set_num_threads(count)
        assert_same_bits(run(cell, arguments, **options), expected)


@cases
@pytest.mark.parametrize("window", ["whole", "anywhere"])
def test_values_without_a_tape(cell: str, writes: bool, option: str, window: str) -> None:
    for shape in ((9, 5, 8, 33), (70, 20, 5, 9)):  # the second past a block, which is 64 steps at most
        arguments = random_arguments(cell, option, shape)
        for return_sequences in (False, True):
            options: dict[str, Any] = {
                "update_gate_writes": writes,
                "return_sequences": return_sequences,
                **random_window(window, shape[1], shape[0]),
            }
            *values, tape = _core.recurrent_forward(cell, **arguments, **options, keep_tape=False)  # type: ignore[arg-type]
            assert tape is None
            *expected, tape = _core.recurrent_forward(cell, **arguments, **options)  # type: ignore[arg-type]
            assert tape is not None
            assert_same_bits(dict(zip(VALUES, values, strict=True)), dict(zip(VALUES, expected, strict=True)))


@cases
def test_a_row_does_not_depend_on_its_batch(cell: str, writes: bool, option: str) -> None:
    shape = (9, 17, 8, 33)
    arguments = random_arguments(cell, option, shape)
    options = {"update_gate_writes": writes, "return_sequences": True}
    whole = _core.recurrent_forward(cell, **arguments, **options)[:3]  # type: ignore[arg-type]
    rows = {"x", "h0", "c0", "recurrent_mask", "zoneout_h", "zoneout_c"}
    for b in (0, 7, 16):
        one = {name: value[b : b + 1] if name in rows else value for name, value in arguments.items()}
        alone = _core.recurrent_forward(cell, **one, **options)[:3]  # type: ignore[arg-type]
        for got, wanted in zip(alone, whole, strict=True):
            if wanted is not None:
                np.testing.assert_array_equal(got, wanted[b : b + 1])


@cases
@pytest.mark.parametrize("padded", [False, True])
def test_ids_are_their_vectors(cell: str, writes: bool, option: str, padded: bool) -> None:
    """Ids give the numbers of their vectors; also where rows begin alike but masks or shares of their own make them differ."""
    shape = (11, 9, 12, 37)
    arguments = random_arguments(cell, option, shape, states=not padded)
    rng = np.random.default_rng(3)
    table = rng.standard_normal((30, 12)).astype(np.float32)
    ids = rng.integers(0, 30, (9, 11)).astype(np.int32)
    options: dict[str, Any] = {"update_gate_writes": writes}
    if padded:
        ids[:, :6] = 4
    else:
        options |= {"lengths": np.array([0, 11, 3, 7, 11, 1, 5, 2, 9]), "return_sequences": True}
    plain = run(cell, {**arguments, "x": table[ids]}, **options)
    *values, tape = _core.recurrent_forward(cell, **{**arguments, "x": (ids, table)}, **options)  # type: ignore[arg-type]
    assert_same_bits(dict(zip(VALUES, values, strict=True)), {name: plain[name] for name in VALUES})
    upstream = random_upstream({**arguments, "x": table[ids]}, return_sequences=not padded)
    assert tape is not None
    (rows, dtable), *gradients = _core.recurrent_backward(tape, **upstream)  # type: ignore[misc, arg-type]
    expected = np.zeros((30, 12))
    np.add.at(expected, ids, plain["dx"])
    used = np.unique(ids if padded else np.concatenate([row[:n] for row, n in zip(ids, options["lengths"], strict=True)]))
    np.testing.assert_array_equal(rows, used)
    pairs = [("dtable", dtable, expected[rows])]
    pairs += [(name, got, plain[name]) for name, got in zip(GRADIENTS[1:], gradients, strict=False) if got is not None]
    if any(name in arguments for name in TERMS):
        pairs += [(f"d{name}", got, plain[f"d{name}"]) for name, got in gradients[5].items()]
    for name, got, wanted in pairs:
        error = np.linalg.norm(got - wanted)
        assert error <= 2 * EPSILON * np.sqrt(9 * 11) * max(np.linalg.norm(wanted), 0.5), name


# ---------------------------------------------------------------- errors


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


LSTM_NORMS = {"kernel_norm": zeros(16), "recurrent_norm": zeros(16), "state_norm": zeros(2, 4)}
GRU_NORMS = {"kernel_norm": zeros(12), "recurrent_norm": zeros(12)}


# For B=2, T=5, I=3, H=4.
@pytest.mark.parametrize(
    ("cell", "change", "error", "message"),
    [
        (
            "lstm",
            {"recurrent_mask": zeros(2, 5)},
            ValueError,
            r"recurrent_mask has shape \(2, 5\), expected \(2, 4\) = \[B, H\]",
        ),
        ("lstm", {"recurrent_mask": zeros(2, 5, 4)}, ValueError, r"recurrent_mask has shape \(2, 5, 4\), expected \[B, H\]"),
        ("lstm", {"recurrent_mask": np.zeros((2, 4))}, TypeError, "recurrent_mask has dtype float64, expected float32"),
        ("lstm", {"zoneout_h": zeros(2, 5, 3)}, ValueError, r"zoneout_h has shape \(2, 5, 3\), expected \(2, 5, 4\)"),
        ("lstm", {"zoneout_h": zeros(2, 4)}, ValueError, r"zoneout_h has shape \(2, 4\), expected \[B, T, H\]"),
        ("lstm", {"zoneout_h": np.zeros((2, 5, 4))}, TypeError, "zoneout_h has dtype float64, expected float32"),
        ("lstm", {"zoneout_c": zeros(2, 1, 4)}, ValueError, r"zoneout_c has shape \(2, 1, 4\), expected \(2, 5, 4\)"),
        ("lstm", {"zoneout_c": np.zeros((2, 5, 4))}, TypeError, "zoneout_c has dtype float64, expected float32"),
        ("lstm", {"peephole": zeros(12)}, ValueError, r"peephole has shape \(12,\), expected \[3, H\]"),
        ("lstm", {"peephole": zeros(3, 5)}, ValueError, r"peephole has shape \(3, 5\), expected \(3, 4\) = \[3, H\]"),
        ("lstm", {"peephole": np.zeros((3, 4))}, TypeError, "peephole has dtype float64, expected float32"),
        ("lstm", {"projection": zeros(4, 3)}, ValueError, r"projection has shape \(4, 3\), expected \(4, 4\)"),
        ("lstm", {"projection": zeros(4)}, ValueError, r"projection has shape \(4,\), expected \[H, P\]"),
        ("lstm", {"projection": zeros(5, 4)}, ValueError, r"kernel has shape \([34], 16\), expected \([34], 20\)"),
        ("lstm", {"projection": np.zeros((4, 4))}, TypeError, "projection has dtype float64, expected float32"),
        ("lstm", {"clip": 0.0}, ValueError, "clip is 0.0, expected a number above 0, or None"),
        ("gru_reset_after", {"clip": -1.0}, ValueError, "clip is -1.0, expected a number above 0, or None"),
        ("lstm", {"clip": float("nan")}, ValueError, "clip is nan"),
        ("lstm", {"clip": float("inf")}, ValueError, "clip is inf, expected a number above 0, or None"),
        ("lstm", {"clip": "a"}, TypeError, "clip is 'a', expected a number above 0, or None"),
        (
            "lstm",
            {**LSTM_NORMS, "kernel_norm": zeros(12)},
            ValueError,
            r"kernel_norm has shape \(12,\), expected \(16,\) = \[G\*H\]",
        ),
        (
            "lstm",
            {**LSTM_NORMS, "recurrent_norm": zeros(4, 4)},
            ValueError,
            r"recurrent_norm has shape \(4, 4\), expected \[G\*H\]",
        ),
        ("lstm", {**LSTM_NORMS, "state_norm": zeros(4)}, ValueError, r"state_norm has shape \(4,\), expected \[2, H\]"),
        ("lstm", {**LSTM_NORMS, "state_norm": zeros(2, 5)}, ValueError, r"state_norm has shape \(2, 5\), expected \(2, 4\)"),
        ("lstm", {**LSTM_NORMS, "state_norm": np.zeros((2, 4))}, TypeError, "state_norm has dtype float64, expected float32"),
        ("lstm", {**LSTM_NORMS, "norm_epsilon": 0.0}, ValueError, "norm_epsilon is 0.*expected a number above 0"),
        ("lstm", {**LSTM_NORMS, "norm_epsilon": float("inf")}, ValueError, "norm_epsilon is inf, expected a number above 0"),
        *(
            ("lstm", {**LSTM_NORMS, missing: None}, ValueError, f"{missing} is None, expected an array like the other norms")
            for missing in LSTM_NORMS
        ),
        *(
            ("gru_reset_after", {**GRU_NORMS, missing: None}, ValueError, f"{missing} is None, expected an array like")
            for missing in GRU_NORMS
        ),
        *(
            (cell, change, ValueError, f"{next(iter(change))} was given, but a GRU has no such term")
            for cell in ("gru_reset_after", "gru_reset_before")
            for change in (
                {"peephole": zeros(3, 4)},
                {"coupled": True},
                {"projection": zeros(4, 4)},
                {"zoneout_c": zeros(2, 5, 4)},
                {"state_norm": zeros(2, 4), **GRU_NORMS},
            )
        ),
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


def test_backward_errors_with_a_projection() -> None:
    """h and what goes with it are as wide as the projection, c is not."""
    arguments = random_arguments("lstm", "projection", (5, 2, 3, 4))  # P is 3
    tape = _core.recurrent_forward("lstm", **arguments, return_sequences=True)[3]
    assert tape is not None
    for change, message in (
        ({"dy": zeros(2, 5, 4)}, r"dy has shape \(2, 5, 4\), expected \(2, 5, 3\)"),
        ({"dy": None, "dh_T": zeros(2, 4)}, r"dh_T has shape \(2, 4\), expected \(2, 3\)"),
        ({"dy": None, "dc_T": zeros(2, 3)}, r"dc_T has shape \(2, 3\), expected \(2, 4\)"),
    ):
        with pytest.raises(ValueError, match="recurrent_backward: " + message):
            _core.recurrent_backward(tape, **change)  # type: ignore[arg-type]
    for name, value in (
        ("h0", zeros(2, 4)),
        ("c0", zeros(2, 3)),
        ("recurrent_mask", zeros(2, 4)),
        ("zoneout_h", zeros(2, 5, 4)),
    ):
        with pytest.raises(ValueError, match=f"recurrent_forward: {name} has shape"):
            _core.recurrent_forward("lstm", **{**arguments, name: value})


def test_a_copy_that_there_is_no_memory_for_is_said() -> None:
    """The kernels cannot read this view in place, and its copy would be larger than the address space."""
    x = np.broadcast_to(zeros(1, 1, 1), (2**20, 2**20, 2**8))
    with pytest.raises(MemoryError):
        _core.recurrent_forward("lstm", x, zeros(2**8, 8), zeros(2, 8), None)
    with pytest.raises(MemoryError):
        _core.scale_steps(x, np.broadcast_to(zeros(1, 1, 1), (2**20, 1, 2**8)))
