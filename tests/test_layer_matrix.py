"""LSTM and GRU with all their options at once against the float64 reference: values and all gradients.

cell × reset form × direction × merge × where the tokens are × kind of dropout × states × two layers. The reference walks
tokens that were moved together and turned round by hand; what is drawn is drawn again from copies of the layers' generators.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnext import reference
from rnnext.layers import GRU, LSTM, Bidirectional
from rnnext.layers._dropout import drawn_places, drawn_scale

T, B, D, H = 5, 4, 3, 4

CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lstm": (LSTM, {}),
    "gru_reset_after": (GRU, {}),
    "gru_reset_before": (GRU, {"reset_after": False}),
    "gru_reset_before_write": (GRU, {"reset_after": False, "update_gate": "write"}),
}
DIRECTIONS = ["forward", "backward", "concat", "sum", "mul", "ave", "none"]
_RIGHT = np.arange(T) < np.array([T, 3, 1, 0])[:, None]
TOKENS = {
    "all": np.ones((B, T), bool),
    "right": _RIGHT,
    "left": _RIGHT[:, ::-1].copy(),
    "holes": np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool),
}
DROPOUTS: dict[str, dict[str, Any]] = {
    "no": {},
    "inputs": {"dropout": 0.4},
    "weights": {"recurrent_weight_dropout": 0.4, "dropout": 0.2},
    "recurrent": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout_h": 0.3, "recurrent_dropout": 0.2},
}


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.5 * rng.standard_normal(shape)).astype(np.float32)


# ---------------------------------------------------------------- in float64


def walked(layer: Any, x: np.ndarray, tokens: np.ndarray, states: list[np.ndarray], drawn: Any) -> Any:
    """(y [B, T, H] in the order computed, last states, backward) of one direction."""
    x = np.asarray(x, np.float64)
    weights = [w.value.astype(np.float64) for w in layer.weights]
    scale, weight_scale = np.ones((B, 1, x.shape[2])), np.ones_like(weights[1])
    if layer.dropout:
        scale = drawn_scale(drawn, layer.dropout, scale.shape).astype(np.float64)
    if layer.recurrent_weight_dropout:
        weight_scale = drawn_scale(drawn, layer.recurrent_weight_dropout, weight_scale.shape).astype(np.float64)
    weights[1] = weights[1] * weight_scale
    recurrent_mask = np.ones((B, H))
    if layer.recurrent_dropout:
        recurrent_mask = drawn_scale(drawn, layer.recurrent_dropout, (B, H)).astype(np.float64)
    zones = {name: drawn_places(drawn, rate, (B, T, H), np.float64) for name, rate in layer.zoneout.items() if rate}
    shown = tokens[:, ::-1] if layer.go_backwards else tokens
    counts = np.cumsum(shown, axis=1)
    holes = (np.diff(np.pad(shown, ((0, 0), (1, 1))).astype(int), axis=1) > 0).sum(axis=1).max() > 1
    orders = [np.flatnonzero(row)[:: -1 if layer.go_backwards else 1] for row in tokens]
    lengths = np.array([len(order) for order in orders])

    def together(values: np.ndarray, *, moved: bool) -> np.ndarray:
        """A row's tokens in the order that they are read in, from its beginning on; or what was drawn for them."""
        found = np.zeros_like(values)
        for row, value, order in zip(found, values, orders, strict=True):
            row[: len(order)] = value[: len(order)] if moved else value[order]
        return found

    out, *last, tape = reference.recurrent_forward(
        layer.equations,
        together(x * scale, moved=False),
        *weights,
        *states,
        lengths=lengths,
        return_sequences=True,
        update_gate_writes=layer.update_gate_writes,
        recurrent_mask=recurrent_mask,
        # With holes tokens are moved together before anything is drawn.
        **{name: together(zone, moved=holes) for name, zone in zones.items()},
    )
    y = np.zeros((B, T, H))
    for b, p in np.ndindex(B, T):
        if counts[b, p]:
            y[b, p] = out[b, counts[b, p] - 1]
        elif not lengths[b]:  # its initial state at all positions
            y[b, p] = states[0][b]
    if layer.zero_output_for_mask:
        y = y * shown[:, :, None]

    def backward(dy: np.ndarray | None, dlast: list[np.ndarray]) -> Any:
        dout, dh = np.zeros((B, T, H)), np.array(dlast[0], np.float64)
        for b, p in np.ndindex(B, T):
            if dy is None or (layer.zero_output_for_mask and not shown[b, p]):
                continue
            if counts[b, p]:
                dout[b, counts[b, p] - 1] += dy[b, p]
            elif not lengths[b]:
                dh[b] += dy[b, p]
        found = reference.recurrent_backward(tape, dout, dh, *dlast[1:])
        dx = np.zeros_like(x)
        for b, order in enumerate(orders):
            dx[b, order] = found[0][b, : len(order)]
        dweights: list[Any] = list(found[1:4])
        dweights[1] = dweights[1] * weight_scale
        return dx * scale, dweights, [d for d in found[4:6] if d is not None]

    return y, [d for d in last if d is not None], backward


def expected(layer: Any, x: np.ndarray, tokens: np.ndarray, states: list[np.ndarray], drawn: list[Any]) -> Any:
    """(outputs, backward) of a layer in one direction or both: its outputs and last states as a list."""
    parts = layer.parts if isinstance(layer, Bidirectional) else [layer]
    each = len(states) // len(parts)
    runs = [
        walked(part, x, tokens, states[n * each : (n + 1) * each], generator)
        for n, (part, generator) in enumerate(zip(parts, drawn, strict=True))
    ]
    ys = [y if layer.return_sequences else last[0] for y, last, _ in runs]
    lasts = [state for _, last, _ in runs for state in last]

    def turned(y: Any) -> Any:
        return y[:, ::-1] if layer.return_sequences else y

    def backward(douts: list[np.ndarray]) -> Any:
        merged, dlast = douts[: len(outputs) - len(lasts)], douts[len(outputs) - len(lasts) :]
        dys = unmerge(*merged)
        found = []
        for n, (dy, (_, _, back)) in enumerate(zip(dys, runs, strict=True)):
            dends = [np.array(d, np.float64) for d in dlast[n * each : (n + 1) * each]]
            if not layer.return_sequences:
                dends[0] = dends[0] + dy
            found.append(back(dy if layer.return_sequences else None, dends))
        dx = sum(d for d, _, _ in found)
        return dx, [w for _, weights, _ in found for w in weights], [s for _, _, dstates in found for s in dstates]

    if len(parts) == 1:
        outputs = [ys[0], *lasts]
        unmerge: Callable[..., Any] = lambda d: [d]  # noqa: E731
        return outputs, backward
    f, b = ys[0], turned(ys[1])
    match layer.merge_mode:
        case "concat":
            merged, unmerge = [np.concatenate([f, b], axis=-1)], lambda d: [d[..., :H], turned(d[..., H:])]
        case "sum":
            merged, unmerge = [f + b], lambda d: [d, turned(d)]
        case "ave":
            merged, unmerge = [(f + b) / 2], lambda d: [d / 2, turned(d / 2)]
        case "mul":
            merged, unmerge = [f * b], lambda d: [d * b, turned(d * f)]
        case _:
            merged, unmerge = [f, b], lambda d, e: [d, turned(e)]
    outputs = [*merged, *lasts]
    return outputs, backward


# ---------------------------------------------------------------- the matrix


def made(cell: str, direction: str, features: int, rng: np.random.Generator, **options: Any) -> Any:
    kind, more = CELLS[cell]
    if kind is LSTM and "zoneout_h" in options:
        options["zoneout_c"] = 0.4
    layer = kind(H, go_backwards=direction == "backward", return_state=True, **more, **options)
    if direction not in ("forward", "backward"):
        layer = Bidirectional(layer, merge_mode=None if direction == "none" else direction)
    layer.build((None, None, features))
    layer.set_weights([normal(rng, *w.shape) for w in layer.weights])
    return layer


def assert_near(found: Any, wanted: Any, what: str) -> None:
    assert found.shape == wanted.shape, what
    error, allowed = np.linalg.norm(found - wanted), 5e-6 * max(float(np.linalg.norm(wanted)), 1.0)
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_values_and_gradients_are_the_reference(cell: str, direction: str, depth: int) -> None:
    turn = sorted(CELLS).index(cell) + DIRECTIONS.index(direction) + depth
    for place, dropout in itertools.product(TOKENS, DROPOUTS):
        # Goes round, so that it meets any four of the others.
        with_states = (turn + [*TOKENS].index(place) + [*DROPOUTS].index(dropout)) % 2 == 1
        rng = np.random.default_rng(11)
        case = f"{place}, {dropout} dropout, {'with' if with_states else 'without'} states"
        first = made(cell, direction, D, rng, return_sequences=depth == 2, **DROPOUTS[dropout])
        stack = [first]
        if depth == 2:
            width = 2 * H if direction == "concat" else H
            stack.append(made(cell, direction, width, rng, return_sequences=True, **DROPOUTS[dropout]))
        x, mask = normal(rng, B, T, D), None if place == "all" else TOKENS[place]
        tokens, exact_x = TOKENS[place], x.astype(np.float64)
        undo = []
        for n, layer in enumerate(stack):
            parts = layer.parts if isinstance(layer, Bidirectional) else [layer]
            drawn = [copy.deepcopy(part.generator) for part in parts]
            zeros = [np.zeros((B, H), np.float32) for part in parts for _ in range(part.state_count)]
            states = [normal(rng, *s.shape) for s in zeros] if with_states else zeros
            outputs, backprop = layer.forward(x, training=True, mask=mask, initial_state=states if with_states else None)
            wanted, backward = expected(layer, exact_x, tokens, states, drawn)
            for m, (got, exact) in enumerate(zip(outputs, wanted, strict=True)):
                assert_near(got, exact, f"{case}: output {m} of layer {n}")
            undo.append((layer, backprop, backward, outputs))
            mask = layer.compute_mask(x, mask)
            tokens = tokens[:, ::-1] if direction == "backward" else tokens
            x, exact_x = outputs[0], wanted[0]  # with merge_mode=None the first of both
        dx: Any = None
        for n, (layer, backprop, backward, outputs) in reversed([*enumerate(undo)]):
            dy = [normal(rng, *y.shape) for y in outputs]
            if dx is not None:
                dy[0] = dx
            gradients = backprop(tuple(dy))
            exact_dx, dweights, dstates = backward([d.astype(np.float64) for d in dy])
            dx = gradients.inputs
            assert_near(dx, exact_dx, f"{case}: x of layer {n}")
            for parameter, got, exact in zip(layer.weights, gradients.weights, dweights, strict=True):
                assert_near(got, exact, f"{case}: {parameter.name} of layer {n}")
            assert len(gradients.initial_state) == (len(dstates) if with_states else 0)
            for got, exact in zip(gradients.initial_state, dstates, strict=False):
                assert_near(got, exact, f"{case}: initial state of layer {n}")
