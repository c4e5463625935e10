"""Each layer against central differences, LSTM and GRU against the float64 reference, masks against rows without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from layer_cases import HOLES, LENGTHS, MASKS, RIGHT, B, D, H, T, V, built, masked, normal, sequences

from rnnext import Sequential, activations, layers, reference
from rnnext.layers import (
    GRU,
    LSTM,
    Activation,
    AttentionPooling1D,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Gather,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Masking,
    RepeatVector,
    SpatialDropout1D,
)
from rnnext.parameters import RowGradient

FORMS: dict[str, Callable[..., Any]] = {
    "lstm": LSTM,
    "gru_reset_after": GRU,
    "gru_reset_after_write": lambda *a, **k: GRU(*a, update_gate="write", **k),
    "gru_reset_before": lambda *a, **k: GRU(*a, reset_after=False, **k),
    "gru_reset_before_write": lambda *a, **k: GRU(*a, reset_after=False, update_gate="write", **k),
}
forms = pytest.mark.parametrize("form", sorted(FORMS))
backwards = pytest.mark.parametrize("go_backwards", [False, True])


def assert_directional(value: Callable[[np.ndarray], Any], at: np.ndarray, gradient: Any, dy: np.ndarray, name: str) -> None:
    """⟨dy, y⟩ along random directions: its slope by central differences of fourth order, and by the gradient.

    What is allowed is the differences' own error: a share of the slope, and float32's rounding of y over the step.
    """
    gradient = gradient.dense() if isinstance(gradient, RowGradient) else gradient
    assert gradient.shape == at.shape, name
    rng = np.random.default_rng(3)
    step = np.float32(1 / 128)
    for _ in range(3):
        direction = normal(rng, *at.shape)
        slope = 0.0
        for factor, weight in ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12)):
            y = value(at + np.float32(factor) * step * direction).astype(np.float64)
            slope += weight * float(np.sum(y * dy)) / float(step)
        expected = float(np.sum(gradient.astype(np.float64) * direction))
        allowed = 2e-4 * float(np.linalg.norm(gradient)) + 1e-5 * float(np.abs(dy).sum())
        assert slope == pytest.approx(expected, abs=allowed), f"{name}: differences {slope}, gradient {expected}"


def check_gradients(layer: Any, x: np.ndarray, *, inputs: bool = True, training: bool = False, **options: Any) -> None:
    """Inputs and every weight of a layer whose output is one array."""
    y, backprop = layer.forward(x, training=training, **options)
    dy = normal(np.random.default_rng(4), *y.shape)
    gradients = backprop(dy)
    if inputs:
        assert_directional(lambda moved: layer.forward(moved, training=training, **options)[0], x, gradients.inputs, dy, "x")
    assert len(gradients.weights) == len(layer.trainable_weights)
    for parameter, gradient in zip(layer.weights, gradients.weights, strict=True):
        before = parameter.value.copy()

        def moved_weight(value: np.ndarray, parameter: Any = parameter) -> Any:
            parameter.assign(value)
            return layer.forward(x, training=training, **options)[0]

        assert_directional(moved_weight, before, gradient, dy, parameter.name)
        parameter.assign(before)


# ---------------------------------------------------------------- LSTM and GRU


@forms
@masked
@backwards
@sequences
def test_recurrent_gradients(form: str, mask: str, go_backwards: bool, return_sequences: bool) -> None:
    layer = built(FORMS[form](H, go_backwards=go_backwards, return_sequences=return_sequences), None, None, D)
    check_gradients(layer, normal(np.random.default_rng(1), B, T, D), mask=MASKS[mask])


@forms
@backwards
def test_recurrent_gradients_with_lengths(form: str, go_backwards: bool) -> None:
    layer = built(FORMS[form](H, go_backwards=go_backwards, return_sequences=True), None, None, D)
    check_gradients(layer, normal(np.random.default_rng(1), B, T, D), lengths=LENGTHS)


@forms
def test_recurrent_gradients_without_bias(form: str) -> None:
    check_gradients(built(FORMS[form](H, use_bias=False), None, None, D), normal(np.random.default_rng(1), B, T, D))


@forms
@masked
@backwards
@sequences
def test_gradients_of_initial_and_last_states(form: str, mask: str, go_backwards: bool, return_sequences: bool) -> None:
    layer = built(
        FORMS[form](H, go_backwards=go_backwards, return_sequences=return_sequences, return_state=True), None, None, D
    )
    rng = np.random.default_rng(1)
    x, states = normal(rng, B, T, D), [normal(rng, B, H, scale=0.5) for _ in range(layer.state_count)]
    outputs, backprop = layer.forward(x, mask=MASKS[mask], initial_state=states)
    upstream = tuple(normal(rng, *y.shape) for y in outputs)
    gradients = backprop(upstream)
    dy = np.concatenate([d.reshape(-1) for d in upstream])

    def flat(*given: np.ndarray) -> np.ndarray:
        return np.concatenate([y.reshape(-1) for y in layer(x, mask=MASKS[mask], initial_state=given)])

    for n, state in enumerate(states):
        assert_directional(
            lambda moved, n=n: flat(*(moved if m == n else other for m, other in enumerate(states))),
            state,
            gradients.initial_state[n],
            dy,
            f"state {n}",
        )
    # What is not given upstream is 0.
    alone = backprop((None, *upstream[1:]))
    zero = backprop((np.zeros_like(upstream[0]), *upstream[1:]))
    for got, wanted in zip([alone.inputs, *alone.weights], [zero.inputs, *zero.weights], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def reference_run(layer: Any, x: np.ndarray, dy: np.ndarray, states: list[np.ndarray], **window: Any) -> list[np.ndarray]:
    weights = [w.value for w in layer.weights]
    options = {"return_sequences": layer.return_sequences, "update_gate_writes": layer.update_gate_writes, **window}
    y, _, _, tape = reference.recurrent_forward(layer.equations, x, *weights, *states, reverse=layer.go_backwards, **options)
    dx, dkernel, drecurrent_kernel, dbias, dh0, dc0 = reference.recurrent_backward(tape, dy)
    return [y, dx, dkernel, drecurrent_kernel, dbias, dh0] + ([] if dc0 is None else [dc0])


def layer_run(layer: Any, x: np.ndarray, dy: np.ndarray, states: list[np.ndarray], **window: Any) -> list[np.ndarray]:
    y, backprop = layer.forward(x, initial_state=states, **window)
    gradients = backprop(dy)
    return [y, gradients.inputs, *gradients.weights, *gradients.initial_state]


@forms
@backwards
@sequences
@pytest.mark.parametrize("window", ["whole", "lengths", "right", "left"])
def test_recurrent_layers_equal_the_reference(form: str, go_backwards: bool, return_sequences: bool, window: str) -> None:
    layer = built(FORMS[form](H, go_backwards=go_backwards, return_sequences=return_sequences), None, None, D)
    rng = np.random.default_rng(2)
    x, states = normal(rng, B, T, D), [normal(rng, B, H, scale=0.5) for _ in range(layer.state_count)]
    dy = normal(rng, B, T, H) if return_sequences else normal(rng, B, H)
    ours = {"whole": {}, "lengths": {"lengths": LENGTHS}, "right": {"mask": RIGHT}, "left": {"mask": MASKS["left"]}}[window]
    theirs: dict[str, Any] = {} if window == "whole" else {"lengths": LENGTHS}
    if window != "whole":  # an empty row has its initial state everywhere
        theirs["starts"] = np.where(LENGTHS > 0, T - LENGTHS if window == "left" else 0, T if go_backwards else 0)
    found, expected = layer_run(layer, x, dy, states, **ours), reference_run(layer, x, dy, states, **theirs)
    for name, got, wanted in zip(["y", "x", "kernel", "recurrent", "bias", "h0", "c0"], found, expected, strict=False):
        error = np.linalg.norm(got - wanted)
        assert error <= 2e-6 * max(np.linalg.norm(wanted), 1), f"{name}: {error}"


@forms
@pytest.mark.parametrize("other", [[1, 1, 1], [0, 1, 1], [1, 0, 1]])
def test_a_row_without_tokens_repeats_its_initial_state_whatever_the_others_are(form: str, other: list[int]) -> None:
    layer = built(FORMS[form](H, go_backwards=True, return_sequences=True), None, None, D)
    x, state = normal(np.random.default_rng(2), 2, 3, D), [np.full((2, H), 0.5, np.float32)] * layer.state_count
    y = layer(x, mask=np.array([[0, 0, 0], other], bool), initial_state=state)
    np.testing.assert_array_equal(y[0], np.full((3, H), 0.5, np.float32))


@forms
@backwards
@sequences
def test_a_row_with_holes_is_its_tokens_moved_together(form: str, go_backwards: bool, return_sequences: bool) -> None:
    layer = built(FORMS[form](H, go_backwards=go_backwards, return_sequences=return_sequences), None, None, D)
    rng = np.random.default_rng(2)
    x, states = normal(rng, B, T, D), [normal(rng, B, H, scale=0.5) for _ in range(layer.state_count)]
    y, backprop = layer.forward(x, mask=HOLES, initial_state=states)
    dy = normal(rng, *y.shape)
    gradients = backprop(dy)
    total = [np.zeros_like(g) for g in gradients.weights]
    for row, mask in enumerate(HOLES):
        tokens = np.flatnonzero(mask)
        first = [state[row : row + 1] for state in states]
        walked = mask[::-1] if go_backwards else mask
        steps = np.cumsum(walked)  # tokens seen at each position of the output
        if not len(tokens):
            wanted = first[0][0] if not return_sequences else np.broadcast_to(first[0][0], (T, H))
            np.testing.assert_array_equal(y[row], wanted)
            assert not gradients.inputs[row].any()
            continue
        short, back = layer.forward(x[row : row + 1, tokens], initial_state=first)
        if return_sequences:
            expected = np.concatenate([np.zeros((1, H), np.float32), short[0]])[steps]
            np.testing.assert_array_equal(y[row], expected)
            dshort = np.zeros_like(short)
            for position, count in enumerate(steps):
                if count:
                    dshort[0, count - 1] += dy[row, position]
        else:
            np.testing.assert_array_equal(y[row], short[0])
            dshort = dy[row : row + 1]
        alone = back(dshort)
        np.testing.assert_allclose(gradients.inputs[row, tokens], alone.inputs[0], rtol=1e-5, atol=1e-6)
        assert not gradients.inputs[row, ~mask].any()
        for state, wanted in zip(gradients.initial_state, alone.initial_state, strict=True):
            np.testing.assert_allclose(state[row], wanted[0], rtol=1e-5, atol=1e-6)
        for n, gradient in enumerate(alone.weights):
            total[n] += gradient
    for got, wanted in zip(gradients.weights, total, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@forms
def test_what_is_masked_changes_nothing(form: str) -> None:
    layer = built(FORMS[form](H, return_sequences=True), None, None, D)
    rng = np.random.default_rng(2)
    x = normal(rng, B, T, D)
    for mask in (RIGHT, MASKS["left"], HOLES):
        other = np.where(mask[:, :, None], x, normal(rng, B, T, D))
        np.testing.assert_array_equal(layer(x, mask=mask), layer(other, mask=mask))


@forms
@masked
@backwards
@sequences
def test_a_gather_is_the_array_that_it_stands_for(form: str, mask: str, go_backwards: bool, return_sequences: bool) -> None:
    layer = built(FORMS[form](H, go_backwards=go_backwards, return_sequences=return_sequences), None, None, D)
    embedding = built(Embedding(V, D), None, None)
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    gather = embedding.gather(ids)
    assert isinstance(gather, Gather)
    assert gather.shape == (B, T, D)
    y, backprop = layer.forward(gather, mask=MASKS[mask])
    x, embed_backprop = embedding.forward(ids)
    expected, array_backprop = layer.forward(x, mask=MASKS[mask])
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    dy = normal(np.random.default_rng(3), *y.shape)
    found, wanted = backprop(dy), array_backprop(dy)
    for got, gradient in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_allclose(got, gradient, rtol=1e-5, atol=1e-5)
    (table,) = gather.backprop(found.inputs).weights
    (expected_table,) = embed_backprop(wanted.inputs).weights
    np.testing.assert_allclose(table.dense(), expected_table.dense(), rtol=1e-5, atol=1e-5)
    assert backprop(dy, need_dx=False).inputs is None


def test_masks_of_outputs() -> None:
    assert LSTM(H).compute_mask(None, RIGHT) is None
    assert LSTM(H, return_sequences=True).compute_mask(None, None) is None
    np.testing.assert_array_equal(LSTM(H, return_sequences=True).compute_mask(None, RIGHT), RIGHT)
    turned = LSTM(H, return_sequences=True, go_backwards=True).compute_mask(None, RIGHT)
    np.testing.assert_array_equal(turned, RIGHT[:, ::-1])
    ids = np.array([[0, 3, 0, 1]])
    np.testing.assert_array_equal(Embedding(V, D, mask_zero=True).compute_mask(ids), [[False, True, False, True]])
    assert Embedding(V, D).compute_mask(ids) is None
    both = Embedding(V, D, mask_zero=True).compute_mask(ids, np.array([[True, True, True, False]]))
    np.testing.assert_array_equal(both, [[False, True, False, False]])
    assert GlobalMaxPooling1D().compute_mask(None, RIGHT) is None


def test_any_layout_of_x_is_read_rightly_and_never_written() -> None:
    layer = built(LSTM(H), None, None, D)
    x = normal(np.random.default_rng(0), B, T, D)
    expected = layer(x)
    for other in (np.asfortranarray(x), x.astype(np.float64), x[:, ::-1].copy()[:, ::-1]):
        other.flags.writeable = False
        before = other.copy()
        y, backprop = layer.forward(other)
        np.testing.assert_array_equal(y, expected)
        backprop(np.ones_like(y))
        np.testing.assert_array_equal(other, before)


# ---------------------------------------------------------------- the others


@pytest.mark.parametrize("activation", ["linear", "relu", "softplus", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("shape", [(B, D), (B, T, D)])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_dense_gradients(activation: str, shape: tuple[int, ...], use_bias: bool, training: bool) -> None:
    x = normal(np.random.default_rng(1), *shape)
    layer = built(Dense(3, activation, use_bias), *shape)
    if activation == "relu":  # away from its kink
        a = built(Dense(3, None, use_bias), *shape)(x)
        assert np.abs(a).min() > 0
        y, backprop = layer.forward(x, training=training)
        dy = normal(np.random.default_rng(2), *y.shape)
        gradients, linear = backprop(dy), built(Dense(3, None, use_bias), *shape).forward(x)[1](dy * (a > 0))
        np.testing.assert_allclose(y, np.maximum(a, 0), rtol=1e-5, atol=1e-6)
        for got, wanted in zip([gradients.inputs, *gradients.weights], [linear.inputs, *linear.weights], strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
        return
    check_gradients(layer, x, training=training)


@pytest.mark.parametrize("name", ["relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "hard_sigmoid"])
def test_derivatives_from_outputs(name: str) -> None:
    """By central differences, away from kinks."""
    activation = activations.get(name)
    x, step = np.array([-7.5, -4, -2, -0.5, 0.7, 2, 4, 7], np.float32), np.float32(1 / 64)
    differences = (activation.forward(x + step) - activation.forward(x - step)) / (2 * step)
    np.testing.assert_allclose(activation.backward(np.full_like(x, 3), activation.forward(x)), 3 * differences, atol=3e-4)


def test_no_gradient_where_relu_is_zero() -> None:
    y = np.array([[0, 2, 0, 3]], np.float32)
    dx = activations.get("relu").backward(np.array([[np.inf, np.inf, np.nan, -1]], np.float32), y)
    np.testing.assert_array_equal(dx, np.array([[0, np.inf, 0, -1]], np.float32), strict=True)


def test_a_row_of_dense_does_not_depend_on_the_others() -> None:
    for units in (1, 2, 5, 64):
        layer = built(Dense(units, "sigmoid"), None, 100)
        x = normal(np.random.default_rng(1), 67, 100)
        together = layer(x)
        for n in range(len(x)):
            np.testing.assert_array_equal(layer(x[n : n + 1])[0], together[n])
    for name in ("relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "exponential", "hard_sigmoid"):
        layer = built(Dense(5, name), None, 100)
        together = layer(x)
        np.testing.assert_array_equal(np.concatenate([layer(x[n : n + 1]) for n in range(len(x))]), together)


def test_embedding_gradients() -> None:
    layer = built(Embedding(V, D), None, None)
    ids = np.random.default_rng(2).integers(0, V, (B, T)).astype(np.int32)
    y, backprop = layer.forward(ids)
    np.testing.assert_array_equal(y, layer.weights[0].value[ids])
    (gradient,) = backprop(np.ones_like(y)).weights
    assert (np.diff(gradient.rows) > 0).all()
    assert set(gradient.rows) == set(ids.reshape(-1))
    check_gradients(layer, ids, inputs=False)
    assert layer.forward(ids)[1](y).inputs is None


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind", [GlobalAveragePooling1D, GlobalMaxPooling1D])
@masked
def test_pooling(kind: Any, mask: str, keepdims: bool) -> None:
    x = normal(np.random.default_rng(1), B, T, D)
    given = np.ones((B, T), bool) if MASKS[mask] is None else MASKS[mask]
    layer = kind(keepdims=keepdims)
    y = layer(x, mask=MASKS[mask])
    assert y.shape == layer.compute_output_shape(x.shape)
    for row in range(B):
        tokens = x[row, given[row]]
        expected = np.zeros(D) if not len(tokens) else tokens.max(0) if kind is GlobalMaxPooling1D else tokens.mean(0)
        np.testing.assert_allclose(y.reshape(B, D)[row], expected, rtol=1e-5, atol=1e-6)
    if kind is GlobalMaxPooling1D:
        x = x.argsort(axis=1).astype(np.float32)  # no two steps near each other
    check_gradients(layer, x, mask=MASKS[mask])


@pytest.mark.parametrize("activation", ["linear", "exponential", "sigmoid", "softmax"])
@masked
def test_activations_of_their_own(activation: str, mask: str) -> None:
    x = normal(np.random.default_rng(1), B, T, D)
    layer = Activation(activation)
    np.testing.assert_array_equal(layer(x), activations.get(activation).forward(x))
    check_gradients(layer, x, mask=MASKS[mask])
    assert layer.compute_mask(x, MASKS[mask]) is MASKS[mask]


@masked
def test_masking(mask: str) -> None:
    """A step counts unless all its features are that value, or it was masked before."""
    x = normal(np.random.default_rng(1), B, T, D)
    x[0, 2:4] = x[1, 0] = x[2] = 0.1
    x[3, :, 0] = 0.1  # one of the features
    layer, given = Masking(0.1), np.ones((B, T), bool) if MASKS[mask] is None else MASKS[mask]
    equal = (x == np.float32(0.1)).all(axis=2)
    assert equal.sum() == 3 + T
    found = layer.compute_mask(x, MASKS[mask])
    np.testing.assert_array_equal(found, given & ~equal, strict=True)
    np.testing.assert_array_equal(layer(x, mask=MASKS[mask]), np.where(equal[:, :, None], np.float32(0), x))
    dy = normal(np.random.default_rng(2), B, T, D)
    np.testing.assert_array_equal(layer.forward(x)[1](dy).inputs, np.where(equal[:, :, None], np.float32(0), dy))


def test_shapes() -> None:
    x = normal(np.random.default_rng(1), B, T, D)
    check_gradients(Flatten(), x)
    check_gradients(RepeatVector(3), x[:, 0])
    np.testing.assert_array_equal(Flatten()(x[:, :, None]), x.reshape(B, T * D))
    np.testing.assert_array_equal(RepeatVector(2)(x[:, 0]), np.stack([x[:, 0], x[:, 0]], 1))
    assert Flatten().compute_output_shape((None, None, D)) == (None, None)
    assert Flatten().compute_mask(x, np.ones((B, T), bool)) is None
    assert RepeatVector(2).compute_mask(x[:, 0], np.ones((B, T), bool)) is None
    assert Flatten()(x[:0]).shape == (0, T * D)


@pytest.mark.parametrize("features", [1, D])
@pytest.mark.parametrize("kind", [GlobalAveragePooling1D, ConcatPooling1D, AttentionPooling1D])
def test_averages_do_not_depend_on_padding(kind: Any, features: int) -> None:
    x = normal(np.random.default_rng(1), 1, 29, features)
    padded = np.concatenate([x, np.zeros((1, 40, features), np.float32)], axis=1)
    together = np.concatenate([padded, padded + 1])
    mask = np.zeros((2, 69), bool)
    mask[:, :29] = True
    layer = kind()
    np.testing.assert_array_equal(layer(together, mask=mask)[0], layer(x)[0])


def test_dropout() -> None:
    x = np.ones((200, 50), np.float32)
    layer = Dropout(0.25, seed=1)
    np.testing.assert_array_equal(layer(x), x)
    y, backprop = layer.forward(x, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(float((y == 0).mean()) - 0.25) < 0.02
    np.testing.assert_array_equal(backprop(2 * x).inputs, 2 * y)  # what fell out in the forward pass does in the backward pass
    assert (layer(x, training=True) != y).any()
    np.testing.assert_array_equal(Dropout(0.25, seed=1)(x, training=True), y)
    assert not Dropout(1)(x, training=True).any()
    np.testing.assert_array_equal(Dropout(0)(x, training=True), x)
    shared = Dropout(0.5, noise_shape=(None, 1), seed=0)(x, training=True)
    assert (shared == shared[:, :1]).all()
    whole = Dropout(0.5, noise_shape=(200, 1), seed=0)(x, training=True)
    np.testing.assert_array_equal(whole, shared)


def test_spatial_dropout_drops_features_of_all_steps() -> None:
    y = SpatialDropout1D(0.5, seed=0)(np.ones((30, T, D), np.float32), training=True)
    assert (y == y[:, :1]).all()
    assert len(np.unique(y[:, 0], axis=0)) > 4


# ---------------------------------------------------------------- what is refused, and what it says


X = np.zeros((2, 5, 3), np.float32)
IDS = np.zeros((2, 5), np.int32)


class Own(layers.Layer):
    """A layer as one of Keras."""

    def call(self, x: np.ndarray) -> np.ndarray:
        return x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LSTM(3)(np.zeros((2, 5), "float32")), ValueError, r"lstm: x has shape \(2, 5\), expected \[B, T, I\]"),
        (
            lambda: GRU(3)(np.zeros((2, 5, 3, 1), "float32")),
            ValueError,
            r"gru: x has shape \(2, 5, 3, 1\), expected \[B, T, I\]",
        ),
        (lambda: LSTM(3)(IDS), TypeError, "lstm: x has dtype int32, expected float32"),
        (lambda: LSTM(3)([[1.0]]), TypeError, "lstm: x is a list, expected a NumPy array"),
        (lambda: built(LSTM(3), None, None, 4)(X), ValueError, r"lstm: x has shape \(2, 5, 3\), expected .* I=4"),
        (lambda: LSTM(3)(X, mask=np.ones((2, 5))), TypeError, "lstm: mask has dtype float64, expected .* bool"),
        (lambda: LSTM(3)(X, mask=np.ones((2, 4), bool)), ValueError, r"lstm: mask has shape \(2, 4\), expected \(2, 5\)"),
        (lambda: LSTM(3)(X, lengths=[1, 2, 3]), ValueError, r"lstm: lengths has shape \(3,\), expected \(2,\)"),
        (lambda: LSTM(3)(X, lengths=[1, 6]), ValueError, "lstm: lengths has 6 at row 1, expected 0 to 5"),
        (lambda: LSTM(3)(X, lengths=[1, -1]), ValueError, "lstm: lengths has -1 at row 1, expected 0 to 5"),
        (lambda: LSTM(3)(X, lengths=[1.0, 2.0]), TypeError, "lstm: lengths has dtype float64, expected integers"),
        (
            lambda: LSTM(3)(X, lengths=[1, 2], mask=np.ones((2, 5), bool)),
            ValueError,
            "lstm: mask and lengths were both given",
        ),
        (lambda: LSTM(3)(X, initial_state=[X[:, 0]]), ValueError, "lstm: initial_state has 1 arrays, expected 2"),
        (
            lambda: GRU(3)(X, initial_state=np.zeros((2, 4), "f4")),
            ValueError,
            r"shape \(2, 4\), expected \(2, 3\)",
        ),
        (lambda: LSTM(0), ValueError, "lstm: units is 0, expected at least 1"),
        (lambda: LSTM(2.0), TypeError, "lstm: units is 2.0, expected a whole number"),
        (lambda: LSTM(3, activation="relu"), ValueError, "lstm: activation is 'relu', expected 'tanh'"),
        (lambda: GRU(3, update_gate="no"), ValueError, "gru: update_gate is 'no', expected 'keep' or 'write'"),
        (lambda: LSTM(3).build((None, None, None)), ValueError, r"expected \(B, T, I\) with I known"),
        (lambda: Embedding(5, 2)(np.zeros((2, 5), "float32")), TypeError, "embedding: x has dtype float32, expected integers"),
        (lambda: Embedding(5, 2)(IDS + 5), ValueError, "embedding: x has id 5 at row 0, position 0, expected 0 to 4"),
        (lambda: Embedding(5, 2)(IDS - 1), ValueError, "embedding: x has id -1 at row 0, position 0, expected 0 to 4"),
        (lambda: Embedding(5, 2)(IDS[0]), ValueError, r"embedding: x has shape \(5,\), expected \[B, T\]"),
        (lambda: Dense(2)(np.zeros(3, "float32")), ValueError, r"dense: x has shape \(3,\), expected"),
        (lambda: built(Dense(2), None, 4)(X), ValueError, r"dense: x has shape \(2, 5, 3\), expected .* F=4"),
        (lambda: Dense(2, activation="no"), ValueError, "activation is 'no', expected one of"),
        (lambda: Dropout(1.5), ValueError, "dropout: rate is 1.5, expected 0 to 1"),
        (lambda: Dropout("half"), TypeError, "dropout: rate is 'half', expected a number"),
        (lambda: Dropout(0.5, noise_shape=3), TypeError, "dropout: noise_shape is 3, expected a tuple of int and None"),
        (lambda: Dropout(0.5, noise_shape="ab"), TypeError, "dropout: noise_shape is 'ab', expected a tuple"),
        (
            lambda: Dropout(0.5, noise_shape=(None, True)),
            TypeError,
            r"dropout: noise_shape is \(None, True\), expected a tuple",
        ),
        (lambda: Dropout(0.5, noise_shape=(None, 0)), ValueError, r"noise_shape is \(None, 0\), expected for each axis of x"),
        (lambda: Dropout(0.5, noise_shape=[-3, 1]), ValueError, r"noise_shape is \[-3, 1\], expected for each axis of x"),
        (lambda: Dropout(0.5, noise_shape=()), ValueError, r"noise_shape is \(\), expected for each axis of x \[B, ...\]"),
        (
            lambda: Dropout(0.5, noise_shape=(2, 4, 3))(X, training=True),
            ValueError,
            r"dropout: noise_shape is \(2, 4, 3\), expected for each axis of x \(2, 5, 3\) None, 1 or its size",
        ),
        (lambda: Dropout(0.5, noise_shape=(2, 1))(X, training=True), ValueError, r"dropout: noise_shape is \(2, 1\)"),
        (
            lambda: SpatialDropout1D(0.5)(IDS.astype("f4")),
            ValueError,
            r"spatial_dropout1d: x has shape \(2, 5\), expected \[B, T, D\]",
        ),
        (
            lambda: GlobalMaxPooling1D()(X[:, 0]),
            ValueError,
            r"pooling1d: x has shape \(2, 3\), expected \[B, T, D\]",
        ),
        (lambda: GlobalMaxPooling1D()(X[:, :0]), ValueError, "expected at least one step"),
        (lambda: layers.Input((4,))(X), ValueError, r"input_layer: input has shape \(2, 5, 3\), expected \(None, 4\)"),
        (lambda: Masking("0"), TypeError, "masking: mask_value is '0', expected a number"),
        (lambda: Masking(np.nan), ValueError, "masking: mask_value is nan, expected a finite number"),
        (lambda: Masking()(X[0]), ValueError, r"masking: x has shape \(5, 3\), expected \[B, T, I\]"),
        (lambda: Masking()(IDS[:, :, None]), TypeError, "masking: x has dtype int32, expected float32"),
        (lambda: Masking().compute_output_shape((2, 5)), ValueError, r"masking: input has shape \(2, 5\), expected"),
        (lambda: Masking().compute_mask(X, np.ones((2, 4), bool)), ValueError, "masking: mask has shape"),
        (lambda: RepeatVector(0), ValueError, "repeat_vector: n is 0, expected at least 1"),
        (lambda: RepeatVector(2)(X), ValueError, r"repeat_vector: x has shape \(2, 5, 3\), expected \[B, D\]"),
        (lambda: Activation("gelu"), ValueError, "activation is 'gelu', expected one of"),
        (lambda: LSTM(3, name=""), TypeError, "LSTM: name is '', expected a str"),
        (lambda: setattr(LSTM(3), "trainable", "no"), TypeError, "lstm: trainable is 'no', expected True or False"),
        (lambda: setattr(Sequential(), "trainable", 2), TypeError, "sequential: trainable is 2, expected True or False"),
        (lambda: LSTM(3).kernel, AttributeError, "lstm: there is no kernel yet, expected build"),
        (lambda: Embedding(5, 2)(layers.Input((3,))), TypeError, "embedding: x is the layer input_layer, .* no functional API"),
        (lambda: LSTM(3)(layers.Input((3, 2))), TypeError, "lstm: x is the layer input_layer, .* no functional API"),
        (lambda: Own()(X), NotImplementedError, r"Own: forward is not defined, expected one that returns \(y, backprop\)"),
    ],
)
def test_errors_name_argument_value_and_expectation(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


BACKWARD: dict[str, tuple[Callable[[], Any], np.ndarray]] = {
    "Activation": (lambda: Activation("linear"), X),
    "AttentionPooling1D": (AttentionPooling1D, X),
    "ConcatPooling1D": (ConcatPooling1D, X),
    "Dense": (lambda: Dense(2), X),
    "Dropout": (lambda: Dropout(0.5), X),
    "Dropout of nothing": (lambda: Dropout(0.0), X),
    "Embedding": (lambda: Embedding(4, 2), IDS),
    "Flatten": (Flatten, X),
    "GlobalAveragePooling1D": (GlobalAveragePooling1D, X),
    "GlobalMaxPooling1D": (lambda: GlobalMaxPooling1D(keepdims=True), X),
    "LSTM": (lambda: LSTM(2), X),
    "Masking": (Masking, X),
    "RepeatVector": (lambda: RepeatVector(4), X[:, 0]),
    "SpatialDropout1D": (lambda: SpatialDropout1D(0.5), X),
    "TimeDistributed": (lambda: layers.TimeDistributed(Dense(2)), X),
}


@pytest.mark.parametrize("name", sorted(BACKWARD))
def test_a_gradient_of_another_shape_is_refused(name: str) -> None:
    make, x = BACKWARD[name]
    y, backprop = make().forward(x, training=True)
    for shape in ((1,) * y.ndim, (*y.shape[:-1], 1), (y.size,), (3, *y.shape[1:])):
        with pytest.raises(ValueError, match=r"dy has shape|dy has .* entries"):
            backprop(np.ones(shape, np.float32))
    with pytest.raises(TypeError, match="dy has dtype complex128, expected float32"):
        backprop(np.ones(y.shape, complex))
    found, expected = backprop(np.ones(y.shape).tolist()), backprop(np.ones(y.shape, np.float32))
    if x is not IDS:
        np.testing.assert_array_equal(found.inputs, expected.inputs, strict=True)
        assert found.inputs.dtype == np.float32


def test_weights_by_their_names() -> None:
    lstm, gru, dense, embedding = LSTM(3), GRU(3, use_bias=False), Dense(2), Embedding(4, 2)
    model = Sequential([embedding, lstm, layers.RepeatVector(2), gru, dense])
    model.build((None, 5))
    assert [lstm.kernel, lstm.recurrent_kernel, lstm.bias] == lstm.weights
    assert [gru.kernel, gru.recurrent_kernel, gru.bias] == [*gru.weights, None]
    assert [dense.kernel, dense.bias] == dense.weights
    assert [embedding.embeddings] == embedding.weights
    assert lstm.cell.kernel is lstm.kernel
    lstm.rename("other")
    assert lstm.kernel.path == "other/kernel"
    dense.kernel.assign(np.ones((3, 2)))
    np.testing.assert_array_equal(np.asarray(dense.kernel), np.ones((3, 2), np.float32), strict=True)
    np.asarray(dense.kernel)[...] = 7  # a copy
    assert dense.kernel.numpy().sum() == np.sum(dense.kernel) == 6


def test_nothing_is_set_if_one_weight_does_not_fit() -> None:
    layer = built(LSTM(H), None, None, D)
    before = layer.get_weights()
    for wrong, error in ((before[2][:-1], ValueError), (np.array(["x"] * 4 * H), TypeError)):
        with pytest.raises(error, match="lstm/bias: value has"):
            layer.set_weights([before[0] + 1, before[1] + 1, wrong])
    with pytest.raises(ValueError, match="set_weights got 2 arrays, expected 3"):
        layer.set_weights(before[:2])
    for got, wanted in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_gradients_of_trainable_weights_only() -> None:
    x = normal(np.random.default_rng(1), B, T, D)
    for make in (lambda **k: LSTM(H, **k), lambda **k: Dense(H, **k)):
        whole = built(make(), None, None, D).forward(x)
        gradients = whole[1](np.ones_like(whole[0]))
        frozen = built(make(trainable=False), None, None, D)
        y, backprop = frozen.forward(x)
        found = backprop(np.ones_like(y))
        assert found.weights == []
        np.testing.assert_array_equal(found.inputs, gradients.inputs)
        part = built(make(), None, None, D)
        part.weights[0].trainable = False
        y, backprop = part.forward(x)
        found = backprop(np.ones_like(y), need_dx=False)
        assert found.inputs is None
        for got, wanted in zip(found.weights, gradients.weights[1:], strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_layers_as_configurations() -> None:
    examples = [
        LSTM(3, return_sequences=True, unit_forget_bias=False, kernel_initializer="he_normal", name="memory"),
        GRU(3, reset_after=False, update_gate="write", go_backwards=True),
        Dense(2, "softmax", use_bias=False),
        Embedding(5, 2, mask_zero=True, input_length=7),
        Dropout(0.3, noise_shape=(None, 1), seed=3),
        SpatialDropout1D(0.2, seed=4),
        GlobalAveragePooling1D(keepdims=True),
        Activation("softsign"),
        Masking(-1),
        RepeatVector(4),
        Flatten(),
        layers.Input((None, 3)),
    ]
    for layer in examples:
        described = layers.serialize(layer)
        again = layers.deserialize(described)
        assert type(again) is type(layer)
        assert layers.serialize(again) == described

    class Own(Dense):
        pass

    with pytest.raises(ValueError, match="own: is a Own, expected one of this module's layers"):
        layers.serialize(Own(2))
    with pytest.raises(ValueError, match="layer class is 'Nothing', expected one of"):
        layers.deserialize({"class_name": "Nothing", "config": {}})


def test_forget_bias_starts_at_one() -> None:
    layer = LSTM(3)
    layer.build((None, None, 2))
    np.testing.assert_array_equal(layer.weights[2].value.reshape(4, 3), [[0] * 3, [1] * 3, [0] * 3, [0] * 3])
    layer = LSTM(3, unit_forget_bias=False)
    layer.build((None, None, 2))
    assert not layer.weights[2].value.any()
