"""First link of the chain of trust: the textbook's equations and finite differences hold the float64 reference to account."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import forms

from rnnext import reference

B, T, I, H = 4, 5, 3, 4  # noqa: E741 - the symbols of docs/equations.md

WINDOWS: dict[str, dict[str, Any]] = {
    "whole": {},
    "right_padded": {"lengths": np.array([5, 0, 3, 1])},
    "left_padded": {"starts": np.array([0, 5, 2, 4])},
    "anywhere": {"starts": np.array([0, 1, 1, 3]), "lengths": np.array([5, 0, 3, 1])},
}
STATES = {"lstm": 2, "gru_reset_after": 1, "gru_reset_before": 1}
GRADIENTS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")  # in the order backward returns them

windows = pytest.mark.parametrize("window", WINDOWS)


def random_arguments(cell: str, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Everything that has a gradient, all of it random and away from zero on average."""
    rng = np.random.default_rng(seed)
    gates = 4 if cell == "lstm" else 3
    shapes = {
        "x": (B, T, I),
        "kernel": (I, gates * H),
        "recurrent_kernel": (H, gates * H),
        "bias": (2, gates * H) if cell == "gru_reset_after" else (gates * H,),
        "h0": (B, H),
        "c0": (B, H),
    }
    if cell != "lstm":
        del shapes["c0"]
    return {name: rng.normal(0.3, 0.7, shape) for name, shape in shapes.items()}


def concatenated(kernel: np.ndarray, recurrent_kernel: np.ndarray, gate: int) -> np.ndarray:
    """The textbook's W of a gate, [H, H+I]: the state's columns first."""
    block = slice(gate * H, (gate + 1) * H)
    return np.concatenate([recurrent_kernel[:, block], kernel[:, block]], axis=0).T


def test_lstm_is_the_textbooks() -> None:
    a = random_arguments("lstm")
    weights = {f"W_{gate}": concatenated(a["kernel"], a["recurrent_kernel"], n) for n, gate in enumerate("ifCo")}
    biases = {f"b_{gate}": a["bias"][n * H : (n + 1) * H] for n, gate in enumerate("ifCo")}
    h, h_T, C_T = reference.lstm_document(a["x"], **weights, **biases, h0=a["h0"], C0=a["c0"])
    y, *states, _ = reference.recurrent_forward("lstm", **a, return_sequences=True)
    for expected, actual in zip((h, h_T, C_T), (y, *states), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("writes", [True, False])
def test_gru_is_the_textbooks(writes: bool) -> None:
    a = random_arguments("gru_reset_before")
    weights = {f"W_{gate}": concatenated(a["kernel"], a["recurrent_kernel"], n) for n, gate in enumerate("zrh")}
    biases = {f"b_{gate}": a["bias"][n * H : (n + 1) * H] for n, gate in enumerate("zrh")}
    if not writes:  # 1 - σ(a) = σ(-a)
        weights["W_z"], biases["b_z"] = -weights["W_z"], -biases["b_z"]
    h, h_T = reference.gru_document(a["x"], **weights, **biases, h0=a["h0"])
    y, last, _, _ = reference.recurrent_forward("gru_reset_before", **a, update_gate_writes=writes, return_sequences=True)
    np.testing.assert_allclose(y, h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, h_T, rtol=0, atol=1e-12)


def test_reset_forms_agree_without_a_reset() -> None:
    """With r = 1 it does not matter whether r is applied before or after the product."""
    a = random_arguments("gru_reset_before")
    a["bias"][H : 2 * H] = 100.0
    after = {**a, "bias": np.stack([a["bias"], np.zeros(3 * H)])}
    np.testing.assert_allclose(
        reference.recurrent_forward("gru_reset_after", **after)[0],
        reference.recurrent_forward("gru_reset_before", **a)[0],
        rtol=0,
        atol=1e-12,
    )


@forms
@pytest.mark.parametrize("reverse", [False, True])
@windows
def test_a_row_is_what_it_is_alone(cell: Any, writes: bool, reverse: bool, window: str) -> None:
    """Each row's tokens alone, without lengths, give the outputs and gradients that the row has in the batch."""
    a = random_arguments(cell)
    options: dict[str, Any] = {"update_gate_writes": writes, "return_sequences": True}
    y, h_T, c_T, tape = reference.recurrent_forward(cell, **a, **WINDOWS[window], reverse=reverse, **options)
    rng = np.random.default_rng(1)
    dy, dh_T, dc_T = rng.normal(size=(B, T, H)), rng.normal(size=(B, H)), rng.normal(size=(B, H)) if cell == "lstm" else None
    gradients = reference.recurrent_backward(tape, dy, dh_T, dc_T)
    summed = [np.zeros_like(g) for g in gradients[1:4] if g is not None]

    starts = WINDOWS[window].get("starts", np.zeros(B, int))
    lengths = WINDOWS[window].get("lengths", T - starts)
    for b, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        one = {k: v[b : b + 1] if k in {"x", "h0", "c0"} else v for k, v in a.items()}
        order = slice(None, None, -1 if reverse else 1)
        one["x"] = one["x"][:, start : start + length][:, order]
        alone, last, last_c, alone_tape = reference.recurrent_forward(cell, **one, **options)
        before = T - start - length if reverse else start
        np.testing.assert_array_equal(y[b, :before], 0.0)
        np.testing.assert_allclose(y[b, before : before + length], alone[0], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(y[b, before + length :], np.broadcast_to(h_T[b], (T - before - length, H)))
        np.testing.assert_allclose(h_T[b], last[0] if length else a["h0"][b], rtol=0, atol=1e-12)
        if c_T is not None and last_c is not None and dc_T is not None:
            np.testing.assert_allclose(c_T[b], last_c[0], rtol=0, atol=1e-12)

        last_gradient = dh_T[b : b + 1] + dy[b : b + 1, before + length :].sum(axis=1)
        one_dy = dy[b : b + 1, before : before + length]
        expected = reference.recurrent_backward(alone_tape, one_dy, last_gradient, None if dc_T is None else dc_T[b : b + 1])
        dx = np.zeros((T, I))
        dx[start : start + length] = expected[0][0, order]
        np.testing.assert_allclose(gradients[0][b], dx, rtol=0, atol=1e-12)
        for total, part in zip(summed, expected[1:4], strict=True):
            total += part
        for whole, part in zip(gradients[4:], expected[4:], strict=True):
            if whole is not None and part is not None:
                np.testing.assert_allclose(whole[b], part[0], rtol=0, atol=1e-12)
    for whole, total in zip(gradients[1:4], summed, strict=True):
        np.testing.assert_allclose(whole, total, rtol=0, atol=1e-11)


def check_gradients(cell: Any, arguments: dict[str, np.ndarray], options: dict[str, Any], *, seed: int) -> None:
    """For each argument, central differences and backward give the same derivative along a random direction."""
    rng = np.random.default_rng(seed)
    y, h_T, _, tape = reference.recurrent_forward(cell, **arguments, **options)
    upstream = [rng.normal(size=y.shape), *(rng.normal(size=h_T.shape) for _ in range(STATES[cell]))]

    def loss(name: str, change: np.ndarray) -> float:
        outputs = reference.recurrent_forward(cell, **{**arguments, name: arguments[name] + change}, **options)
        return sum(float((d * out).sum()) for d, out in zip(upstream, outputs[: len(upstream)], strict=True))  # type: ignore[operator]

    gradients = dict(zip(GRADIENTS, reference.recurrent_backward(tape, *upstream), strict=True))
    for name, value in arguments.items():
        gradient = gradients[name]
        assert gradient is not None
        assert gradient.shape == value.shape
        direction = rng.normal(size=value.shape)
        direction /= np.linalg.norm(direction)
        step = 1e-5
        numeric = (loss(name, step * direction) - loss(name, -step * direction)) / (2 * step)
        analytic = float((gradient * direction).sum())
        # ε|L|/step of rounding and step² of truncation, both near 1e-10
        assert abs(numeric - analytic) < 1e-8 * (1 + np.linalg.norm(gradient)), (
            f"d{name}: numeric {numeric}, analytic {analytic}"
        )
    absent = {name for name, gradient in gradients.items() if gradient is None}
    assert absent == set(GRADIENTS) - set(arguments)


@forms
@windows
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_gradients_are_the_finite_differences(
    cell: Any, writes: bool, window: str, reverse: bool, return_sequences: bool
) -> None:
    options = {
        **WINDOWS[window],
        "reverse": reverse,
        "update_gate_writes": writes,
        "return_sequences": return_sequences,
    }
    check_gradients(cell, random_arguments(cell), options, seed=1)


@forms
def test_gradients_without_bias_and_states(cell: Any, writes: bool) -> None:
    arguments = random_arguments(cell)
    for name in ("bias", "h0", "c0"):
        arguments.pop(name, None)
    y, h_T, _, tape = reference.recurrent_forward(cell, **arguments, bias=None, update_gate_writes=writes)
    zeros = {k: np.zeros_like(v) for k, v in random_arguments(cell).items() if k in {"bias", "h0", "c0"}}
    with_zeros = reference.recurrent_forward(cell, **arguments, **zeros, update_gate_writes=writes)
    np.testing.assert_array_equal(y, with_zeros[0])
    gradients = reference.recurrent_backward(tape, np.ones_like(y))
    assert gradients[3] is None
    for g, expected in zip(gradients, reference.recurrent_backward(with_zeros[3], np.ones_like(h_T)), strict=True):
        if g is not None and expected is not None:
            np.testing.assert_array_equal(g, expected)


@forms
def test_an_empty_batch_and_no_tokens(cell: Any, writes: bool) -> None:
    a = random_arguments(cell)
    y, h_T, _, tape = reference.recurrent_forward(cell, **{**a, "x": a["x"][:, :0]}, update_gate_writes=writes)
    np.testing.assert_array_equal(h_T, a["h0"])
    gradients = reference.recurrent_backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(gradients[4], np.ones_like(h_T))
    assert not any(np.any(g) for g in gradients[1:4])
    none = {k: v[:0] if k in {"x", "h0", "c0"} else v for k, v in a.items()}
    assert reference.recurrent_forward(cell, **none, return_sequences=True)[0].shape == (0, T, H)


def test_sigmoid_over_all_magnitudes() -> None:
    x = np.array([-np.inf, -1e4, -700.0, -40.0, -1.0, 0.0, 1.0, 40.0, 1e4, np.inf, np.nan])
    expected = np.array([0.0, 0.0, np.exp(-700.0), np.exp(-40.0), 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1, 1, 1, np.nan])
    np.testing.assert_allclose(reference.sigmoid(x), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("cell", "change", "message"),
    [
        ("lstm", {"x": np.zeros((2, 5))}, r"x has shape \(2, 5\), expected \[B, T, I\]"),
        ("lstm", {"kernel": np.zeros((4 * H, I))}, r"kernel has shape \(16, 3\), expected \(3, 16\)"),
        ("lstm", {"recurrent_kernel": np.zeros((H, 3 * H))}, r"recurrent_kernel has shape"),
        ("gru_reset_after", {"bias": np.zeros(3 * H)}, r"bias has shape \(12,\), expected \(2, 12\)"),
        ("gru_reset_before", {"bias": np.zeros((2, 3 * H))}, r"bias has shape \(2, 12\), expected \(12,\)"),
        ("gru_reset_before", {"c0": np.zeros((B, H))}, r"c0 was given, but a GRU has no cell state"),
        ("lstm", {"h0": np.zeros((1, H))}, r"h0 has shape \(1, 4\), expected \(4, 4\)"),
        ("lstm", {"lengths": [1, 2, 3]}, r"lengths is"),
        ("lstm", {"lengths": [1, 2, 3, -1]}, r"lengths is"),
        ("lstm", {"lengths": [1, 2, 3, 3], "starts": [0, 0, 0, 3]}, r"starts \+ lengths is .* expected at most 5 = T"),
    ],
)
def test_errors_say_what_came(cell: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference.recurrent_forward(cell, **{**random_arguments(cell), **change})


# ---------------------------------------------------------------- frameworks, where they are installed


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after"])
def test_values_and_gradients_are_torchs(cell: Any) -> None:
    torch = pytest.importorskip("torch", reason="a comparison with PyTorch needs PyTorch, which rnnext itself does not")
    a = random_arguments(cell)
    order = [0, 1, 2, 3] if cell == "lstm" else [1, 0, 2]  # our gates in PyTorch's order: i f g o, r z n

    def gates(w: np.ndarray) -> np.ndarray:
        return np.concatenate([w[..., g * H : (g + 1) * H] for g in order], axis=-1).T

    biases = a["bias"] if cell == "gru_reset_after" else np.stack([a["bias"], np.zeros_like(a["bias"])])
    values = (a["kernel"], a["recurrent_kernel"], biases[0], biases[1])
    layer = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(I, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(np.ascontiguousarray(gates(value))))
    x = torch.tensor(a["x"], requires_grad=True)
    states = [torch.tensor(a[name][None], requires_grad=True) for name in ("h0", "c0")[: STATES[cell]]]
    expected, _ = layer(x, tuple(states) if cell == "lstm" else states[0])
    y, _, _, tape = reference.recurrent_forward(cell, **a, return_sequences=True)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-12)

    dy = np.random.default_rng(1).normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    dx, dkernel, drecurrent, dbias, *dstates = reference.recurrent_backward(tape, dy)
    assert dbias is not None
    ours = [dx, gates(dkernel), gates(drecurrent), *(gates(row) for row in np.atleast_2d(dbias))]
    theirs = [x.grad, *(p.grad for p in list(layer.parameters())[: len(ours) - 1])]
    pairs = [*zip(ours, theirs, strict=True), *((d, s.grad[0]) for d, s in zip(dstates, states, strict=False))]
    for actual, wanted in pairs:
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", STATES)
@pytest.mark.parametrize("reverse", [False, True])
def test_values_are_keras(cell: Any, reverse: bool) -> None:
    """Layout, gate order, `go_backwards` order and a right-padding mask are Keras's."""
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    a = random_arguments(cell)
    form = {} if cell == "lstm" else {"reset_after": cell == "gru_reset_after"}
    build = keras.layers.LSTM if cell == "lstm" else keras.layers.GRU
    layer = build(H, return_sequences=True, go_backwards=reverse, dtype="float64", **form)
    states = [a[name] for name in ("h0", "c0")[: STATES[cell]]]
    mask = None if reverse else np.arange(T) < np.array([5, 2, 3, 1])[:, None]
    layer.build(a["x"].shape)
    layer.set_weights([a["kernel"], a["recurrent_kernel"], a["bias"]])
    expected = keras.ops.convert_to_numpy(layer(a["x"], initial_state=states, mask=mask))
    lengths = None if mask is None else mask.sum(axis=1)
    y = reference.recurrent_forward(cell, **a, lengths=lengths, reverse=reverse, return_sequences=True)[0]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)  # some of Keras's backends compute parts in float32
