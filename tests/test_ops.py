"""`rnnext.ops` against the float64 reference, layer by layer, and against PyTorch where it is installed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from rnnext import ops, reference

T, B, I, H, P = 7, 5, 4, 6, 3  # noqa: E741 - the symbols of docs/equations.md
LENGTHS = np.array([T, 3, 1, 0, T - 1])
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("lstm", {}),
    "gru_reset_after": ("gru_reset_after", {}),
    "gru_reset_before": ("gru_reset_before", {"reset_after": False}),
    "gru_reset_after_write": ("gru_reset_after", {"update_gate": "write"}),
    "gru_reset_before_write": ("gru_reset_before", {"reset_after": False, "update_gate": "write"}),
    "lstm_projection": ("lstm", {}),
    "lstm_peephole": ("lstm", {"coupled": True, "clip": 0.6}),
    "lstm_norm_all": ("lstm", {"coupled": True, "clip": 0.9, "norm_epsilon": 1e-2}),
    "gru_norm": ("gru_reset_after", {"clip": 0.9}),
    "gru_norm_before": ("gru_reset_before", {"reset_after": False, "norm_epsilon": 1e-2}),
}
forms = pytest.mark.parametrize("form", sorted(FORMS))
both = pytest.mark.parametrize("bidirectional", [False, True])
several = pytest.mark.parametrize("layers", [1, 2])
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
ragged = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def width_of(form: str) -> int:
    """The width of h: the projection's where there is one, else the number of units."""
    return P if "projection" in form or "all" in form else H


def random_weights(form: str, layers: int, bidirectional: bool, *, bias: bool = True) -> list[ops.CellWeights]:
    rng = np.random.default_rng(1)
    cell = FORMS[form][0]
    gates, directions, width = 4 if cell == "lstm" else 3, 2 if bidirectional else 1, width_of(form)
    found = []
    for n in range(layers * directions):
        features = I if n < directions else directions * width
        shape = (2, gates * H) if cell == "gru_reset_after" else (gates * H,)
        b = normal(rng, *shape, scale=0.4) if bias else None
        kernel, recurrent_kernel = normal(rng, features, gates * H, scale=0.4), normal(rng, width, gates * H, scale=0.4)
        more = {}
        if "peephole" in form or "all" in form:
            more["peephole"] = normal(rng, 3, H)
        if width < H:
            more["projection"] = normal(rng, H, P)
        if "norm" in form:
            more |= {"kernel_norm": normal(rng, gates * H), "recurrent_norm": normal(rng, gates * H)}
            more |= {"state_norm": normal(rng, 2, H)} if cell == "lstm" else {}
        found.append(ops.CellWeights(kernel, recurrent_kernel, b, **more))
    return found


def converted(weights: list[ops.CellWeights], dtype: str) -> list[ops.CellWeights]:
    return [ops.CellWeights(*(None if w is None else w.astype(dtype) for w in given)) for given in weights]


def further(weights: ops.CellWeights) -> dict[str, np.ndarray]:
    """Those of the rarer terms."""
    return {name: w for name, w in weights._asdict().items() if w is not None and name in ops.CellWeights._fields[3:]}


def call(form: str, x: np.ndarray, weights: Any, state: Any = None, **options: Any) -> Any:
    cell, more = FORMS[form]
    if cell == "lstm":
        return ops.lstm(x, weights, initial_state=state, **more, **options)
    y, h_n, backprop = ops.gru(x, weights, initial_state=None if state is None else state[0], **more, **options)
    return y, (h_n,), backprop


class Expected:
    """The same from the reference in float64, batch first: a layer and a direction at a time, each row by itself.

    A row is cut to its tokens and turned round by hand, so that nothing here rests on lengths or `reverse`.
    """

    def __init__(self, form: str, x: np.ndarray, weights: Any, state: Any, lengths: Any, bidirectional: bool) -> None:
        cell, more = FORMS[form]
        self.directions, self.width = 2 if bidirectional else 1, width_of(form)
        options = {name: value for name, value in more.items() if name in ("coupled", "clip", "norm_epsilon")}
        width = self.width
        self.lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
        self.last = [np.zeros(s.shape) for s in state]
        self.tapes: list[list[Any]] = []
        self.weights = weights
        y = x.astype(np.float64)
        for first in range(0, len(weights), self.directions):
            outputs = np.zeros((*x.shape[:2], self.directions * width))
            for n in range(first, first + self.directions):
                d = n - first
                tapes = []
                for b, count in enumerate(self.lengths):
                    row = y[b : b + 1, :count]
                    part, *ends, tape = reference.recurrent_forward(
                        cell,  # type: ignore[arg-type]
                        row[:, ::-1] if d else row,
                        *weights[n][:3],
                        *(s[n, b : b + 1] for s in state),
                        **further(weights[n]),
                        **options,
                        update_gate_writes=more.get("update_gate") == "write",
                        return_sequences=True,
                    )
                    outputs[b, :count, d * width : (d + 1) * width] = part[0, ::-1] if d else part[0]
                    for last, end in zip(self.last, ends, strict=False):
                        last[n, b] = end[0]
                    tapes.append(tape)
                self.tapes.append(tapes)
            y = outputs
        self.outputs = y

    def backward(self, dy: np.ndarray, dlast: Any) -> tuple[np.ndarray, list[Any], list[np.ndarray]]:
        dinitial = [np.zeros_like(last) for last in self.last]
        dweights: list[Any] = [None] * len(self.weights)
        for first in range(len(self.weights) - self.directions, -1, -self.directions):
            below = np.zeros((*dy.shape[:2], self.weights[first][0].shape[0]))
            for n in range(first, first + self.directions):
                d = n - first
                total = [None if w is None else np.zeros(w.shape) for w in self.weights[n]]
                names = list(further(self.weights[n]))
                for b, count in enumerate(self.lengths):
                    part = dy[b : b + 1, :count, d * self.width : (d + 1) * self.width]
                    dx, dk, du, db, dh0, dc0, *rest = reference.recurrent_backward(
                        self.tapes[n][b], part[:, ::-1] if d else part, *(s[n, b : b + 1] for s in dlast)
                    )
                    more: Any = rest[0] if rest else {}
                    assert list(more) == names
                    found = ops.CellWeights(dk, du, db, **more)
                    below[b, :count] += dx[0, ::-1] if d else dx[0]
                    total = [None if t is None else t + f for t, f in zip(total, found, strict=True)]
                    for target, found_state in zip(dinitial, (dh0, dc0), strict=False):
                        target[n, b] = found_state[0]
                dweights[n] = ops.CellWeights(*total)  # type: ignore[arg-type]
            dy = below
        return dy, dweights, dinitial


def assert_close(actual: Any, expected: Any, what: str, *, normalised: bool = False) -> None:
    """To the precision of what came out; half of it behind normalisations, which divide by deviations below 1."""
    assert actual.shape == expected.shape, what
    tolerance = (1e-11 if actual.dtype == np.float64 else 1e-5) * (2 if normalised else 1)
    error, allowed = np.abs(actual - expected).max(initial=0), tolerance * max(1.0, np.abs(expected).max(initial=0))
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"


@forms
@both
@several
@ragged
def test_everything_against_the_reference(form: str, bidirectional: bool, layers: int, lengths: Any) -> None:
    """For each type of elements and order of axes: all have the same numbers."""
    rng = np.random.default_rng(0)
    cell = FORMS[form][0]
    given, width = random_weights(form, layers, bidirectional), width_of(form)
    states = 2 if cell == "lstm" else 1
    x, dy = normal(rng, B, T, I), normal(rng, B, T, width * (2 if bidirectional else 1))
    state, dlast = ([normal(rng, len(given), B, w) for w in (width, H)[:states]] for _ in range(2))
    expected = Expected(form, x, given, state, lengths, bidirectional)
    dx, dweights, dinitial = expected.backward(dy, dlast)

    for batch_first, dtype in itertools.product((False, True), ("float32", "float64")):
        case = f"{dtype}, {'batch' if batch_first else 'time'} first"
        order = (0, 1, 2) if batch_first else (1, 0, 2)
        options = {"lengths": lengths, "batch_first": batch_first, "bidirectional": bidirectional}
        initial, ends = ([s.astype(dtype) for s in each] for each in (state, dlast))
        read = np.ascontiguousarray(x.astype(dtype).transpose(order))
        y, last, backprop = call(form, read, converted(given, dtype), initial, **options)
        assert_close(y.transpose(order), expected.outputs, f"outputs, {case}")
        for n in range(states):
            assert_close(last[n], expected.last[n], f"last state {n}, {case}")
        if lengths is not None:
            assert not y.transpose(order)[np.arange(T) >= lengths[:, None]].any()

        for _ in range(2):  # the tape can be played back again
            gradients = backprop(dy.astype(dtype).transpose(order), ends if cell == "lstm" else ends[0])
        assert_close(gradients.inputs.transpose(order), dx, f"dx, {case}")
        for n, (found, wanted) in enumerate(zip(gradients.weights, dweights, strict=True)):
            for name, a, b in zip(found._fields, found, wanted, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    assert_close(a, b, f"{name} of {n}, {case}", normalised="norm" in form)
        for n, (a, b) in enumerate(zip(gradients.initial_state, dinitial, strict=True)):
            assert_close(a, b, f"initial state {n}, {case}")


@forms
@both
def test_what_is_not_given_is_zeros(form: str, bidirectional: bool) -> None:
    rng = np.random.default_rng(0)
    cell = FORMS[form][0]
    weights = random_weights(form, 2, bidirectional, bias=False)
    x = normal(rng, T, B, I)
    zeros = [np.zeros((len(weights), B, w), np.float32) for w in (width_of(form), H)[: 2 if cell == "lstm" else 1]]
    y, last, backprop = call(form, x, weights, bidirectional=bidirectional)
    y_given, last_given, backprop_given = call(form, x, weights, zeros, bidirectional=bidirectional)
    np.testing.assert_array_equal(y, y_given)
    for a, b in zip(last, last_given, strict=True):
        np.testing.assert_array_equal(a, b)
    dlast = [normal(rng, *s.shape) for s in zeros]
    found = backprop(None, dlast, need_dx=False)
    wanted = backprop_given(np.zeros_like(y), dlast)
    assert found.inputs is None
    assert all(given.bias is None for given in found.weights)
    for a, b in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)
        np.testing.assert_allclose(a[1], b[1], atol=1e-6)
    for a, b in zip(found.initial_state, wanted.initial_state, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["lstm", "gru_reset_after", "lstm_projection"])
def test_dropout_between_layers(form: str, dtype: str) -> None:
    """It is that of the outputs of all layers but the last, by what the generator draws."""
    rng, width = np.random.default_rng(0), width_of(form)
    weights = converted(random_weights(form, 3, True), dtype)
    x, dy = normal(rng, B, T, I).astype(dtype), normal(rng, B, T, 2 * width).astype(dtype)
    options: Any = {"batch_first": True, "bidirectional": True, "lengths": LENGTHS}
    y, _, backprop = call(form, x, weights, dropout=0.4, generator=np.random.default_rng(5), **options)
    gradients = backprop(dy)

    drawn, undo, value = np.random.default_rng(5), [], x
    for n in range(3):
        if n:
            scale = np.where(drawn.random(value.shape, dtype=np.float32) >= 0.4, 1 / 0.6, 0.0).astype(dtype)
            assert 0.2 < (scale == 0).mean() < 0.6
            value = value * scale
        value, _, back = call(form, value, weights[2 * n : 2 * n + 2], **options)
        undo.append((back, scale if n else None))
    assert_close(y, value, "outputs")
    d, dweights = dy, []
    for back, scale in undo[::-1]:
        found = back(d)
        dweights = found.weights + dweights
        d = found.inputs if scale is None else found.inputs * scale
    assert_close(gradients.inputs, d, "dx")
    for a, b in zip(gradients.weights, dweights, strict=True):
        assert_close(a.kernel, b.kernel, "kernel")
        assert_close(a.recurrent_kernel, b.recurrent_kernel, "recurrent_kernel")
    plain = call(form, x, weights, dropout=0.0, **options)[0]
    np.testing.assert_array_equal(call(form, x, weights, **options)[0], plain)
    none = call(form, x, weights[:2], dropout=1, generator=np.random.default_rng(5), **options)[0]
    np.testing.assert_array_equal(none, call(form, x, weights[:2], **options)[0])


GOOD = random_weights("lstm", 2, True)
PROJECTED = random_weights("lstm_norm_all", 2, True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((T, I), np.float32)}, ValueError, r"x has shape \(7, 4\), expected \[T, B, I\]"),
        ({"x": np.zeros((T, B, I), np.int32)}, TypeError, "x has dtype int32, expected float32"),
        ({"weights": []}, ValueError, "weights has 0 entries"),
        ({"weights": GOOD[:3]}, ValueError, "weights has 3 entries"),
        ({"weights": [GOOD[0][:2], *GOOD[1:]]}, ValueError, r"weights\[0\] has 2 entries, expected \(kernel"),
        (
            {"weights": random_weights("gru_reset_after", 2, True)},
            ValueError,
            r"weights\[0\]: recurrent_kernel has shape \(6, 18\)",
        ),
        ({"weights": [*GOOD[:3], (GOOD[3][0].T, *GOOD[3][1:])]}, ValueError, r"weights\[3\]: kernel has shape \(24, 12\)"),
        ({"weights": [(GOOD[0][0], GOOD[0][1].T, None), *GOOD[1:]]}, ValueError, r"expected \[H, 4H\]"),
        (
            {"weights": [(*GOOD[0][:2], GOOD[0][2][:5]), *GOOD[1:]]},
            ValueError,
            r"bias has shape \(5,\), expected \(24,\) = \[4H\]",
        ),
        ({"weights": [*GOOD[:2], *random_weights("lstm", 1, True)]}, ValueError, r"weights\[2\]: kernel has shape \(4, 24\)"),
        ({"initial_state": [np.zeros((4, B, H), np.float32)]}, ValueError, "initial_state has 1 arrays, expected 2: h, c"),
        ({"initial_state": [np.zeros((4, H, B), np.float32)] * 2}, ValueError, r"initial_state\[0\] has shape \(4, 6, 5\)"),
        ({"weights": [(None, *GOOD[0][1:]), *GOOD[1:]]}, TypeError, r"weights\[0\]: kernel or recurrent_kernel is None"),
        ({"weights": [PROJECTED[0], *GOOD[1:]]}, ValueError, r"weights\[1\]: peephole is not given, expected as in the first"),
        ({"weights": [*GOOD[:3], PROJECTED[3]]}, ValueError, r"weights\[3\]: peephole is given, expected as in the first"),
        (
            {"weights": [w._replace(projection=w.projection.T) for w in PROJECTED]},
            ValueError,
            r"weights\[0\]: recurrent_kernel has shape \(3, 24\), expected \[P, 4H\] with H=3 as the projection has",
        ),
        (
            {"weights": [w._replace(projection=np.ones((H, H))) for w in PROJECTED]},
            ValueError,
            r"projection has shape \(6, 6\)",
        ),
        ({"weights": [w._replace(peephole=np.ones((2, H))) for w in PROJECTED]}, ValueError, r"peephole has shape \(2, 6\)"),
        (
            {"weights": [w._replace(state_norm=None) for w in PROJECTED]},
            ValueError,
            "state_norm is not given, expected kernel_n",
        ),
        ({"weights": [w._replace(kernel_norm=np.ones(3)) for w in PROJECTED]}, ValueError, r"kernel_norm has shape \(3,\)"),
        ({"clip": 0.0}, ValueError, "clip is 0.0, expected a number above 0"),
        ({"clip": "1"}, TypeError, "clip is '1', expected a number"),
        ({"norm_epsilon": -1.0}, ValueError, "norm_epsilon is -1.0, expected a number above 0"),
        ({"dropout": 1.5}, ValueError, "dropout is 1.5, expected 0 to 1"),
        ({"dropout": "a"}, TypeError, "dropout is 'a', expected a number"),
        ({"dropout": 0.5}, TypeError, "dropout is 0.5 and generator None, expected a numpy.random.Generator"),
        ({"lengths": [1, 2]}, ValueError, r"lengths has shape \(2,\), expected \(5,\)"),
        ({"lengths": [T + 1] * B}, ValueError, "expected 0 to 7 = T"),
        ({"lengths": [0.5] * B}, TypeError, "lengths has dtype float64"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"x": np.zeros((T, B, I), np.float32), "weights": GOOD, "bidirectional": True, **change}
    with pytest.raises(error, match=message):
        ops.lstm(**arguments)


def test_gradients_that_do_not_fit_are_named() -> None:
    y, _, backprop = ops.lstm(np.zeros((T, B, I), np.float32), GOOD, bidirectional=True)
    with pytest.raises(ValueError, match=r"doutputs has shape \(5, 7, 12\), expected \(7, 5, 12\)"):
        backprop(y.swapaxes(0, 1))
    with pytest.raises(ValueError, match=r"dstate\[1\] has shape"):
        backprop(y, (None, np.zeros((1, B, H), np.float32)))
    peephole = random_weights("gru_reset_after", 1, False)[0]._replace(peephole=np.zeros((3, H), np.float32))
    with pytest.raises(ValueError, match=r"weights\[0\]: peephole is given, which a GRU does not have"):
        ops.gru(np.zeros((T, B, I), np.float32), [peephole])
    with pytest.raises(ValueError, match="update_gate is 'read'"):
        ops.gru(np.zeros((T, B, I), np.float32), GOOD, update_gate="read")  # type: ignore[arg-type]


# ---------------------------------------------------------------- PyTorch


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # PyTorch's, of its own speed
@pytest.mark.parametrize("cell", ["lstm", "gru", "projection"])
@both
@several
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@dtypes
def test_everything_against_pytorch(
    cell: str, bidirectional: bool, layers: int, packed: bool, batch_first: bool, bias: bool, dtype: str
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from rnnext.interop import weights_from_torch, weights_to_torch

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    kind, width, size = torch.nn.GRU if cell == "gru" else torch.nn.LSTM, H, {}
    if cell == "projection":
        cell, width, size = "lstm", P, {"proj_size": P}
    module = kind(I, H, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, **size)
    module = module.to(getattr(torch, dtype))
    weights = weights_from_torch(module.state_dict(), cell)  # type: ignore[arg-type]
    lengths = np.array([T, 3, 1, 2, T - 1]) if packed else None  # PyTorch takes no empty rows
    x = normal(rng, *((B, T) if batch_first else (T, B)), I).astype(dtype)
    states = [normal(rng, len(weights), B, w).astype(dtype) for w in (width, H)[: 2 if cell == "lstm" else 1]]

    their_x = torch.tensor(x, requires_grad=True)
    their_states = [torch.tensor(s, requires_grad=True) for s in states]
    entered: Any = their_x
    if packed:
        entered = torch.nn.utils.rnn.pack_padded_sequence(their_x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    theirs, their_last = module(entered, tuple(their_states) if cell == "lstm" else their_states[0])
    if packed:
        theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs, batch_first)
    their_last = their_last if cell == "lstm" else (their_last,)

    options: Any = {"lengths": lengths, "batch_first": batch_first, "bidirectional": bidirectional}
    y, last, backprop = call("lstm" if cell == "lstm" else "gru_reset_after", x, weights, states, **options)
    assert_close(y, theirs.detach().numpy(), "outputs")
    for a, b in zip(last, their_last, strict=True):
        assert_close(a, b.detach().numpy(), "last state")

    dy, dlast = normal(rng, *y.shape).astype(dtype), [normal(rng, *s.shape).astype(dtype) for s in states]
    torch.autograd.backward([theirs, *their_last], [torch.tensor(dy), *(torch.tensor(d) for d in dlast)])
    gradients = backprop(dy, dlast)
    assert gradients.inputs is not None
    assert_close(gradients.inputs, their_x.grad.numpy(), "dx")
    for a, b in zip(gradients.initial_state, their_states, strict=True):
        assert_close(a, b.grad.numpy(), "initial state")
    found = weights_to_torch(gradients.weights, cell, bidirectional=bidirectional)  # type: ignore[arg-type]
    assert found.keys() == dict(module.named_parameters()).keys()
    for name, parameter in module.named_parameters():
        # Keras's LSTM has one bias, whose gradient is that of either of PyTorch's two
        a = found[name.replace("bias_hh", "bias_ih")] if cell == "lstm" else found[name]
        assert_close(a, parameter.grad.numpy(), name)
