"""Options of LSTM and GRU that are terms of their equations.

Gradients against finite differences in float64, what is drawn, and models that have them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnnext import Sequential, _core
from rnnext.layers import GRU, LSTM, Bidirectional, Dense, Embedding
from rnnext.models import load_model
from rnnext.optimizers import Adam
from rnnext.utils import set_random_seed

CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lstm": (LSTM, {}),
    "gru_after": (GRU, {}),
    "gru_before": (GRU, {"reset_after": False}),
    "gru_before_write": (GRU, {"reset_after": False, "update_gate": "write"}),
}
BOTH: dict[str, dict[str, Any]] = {
    "none": {},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "zoneout_h": {"zoneout_h": 0.3},
    "layer_norm": {"layer_norm": True},
    "clip": {"clip": 0.8},
    "both": {"recurrent_dropout": 0.4, "zoneout_h": 0.3, "layer_norm": True, "clip": 0.8},
}
LSTM_ONLY: dict[str, dict[str, Any]] = {
    "zoneout_c": {"zoneout_c": 0.3},
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "projection": {"projection": 3},
    "wide": {"projection": 7},
    "all": {**BOTH["both"], "zoneout_c": 0.3, "peepholes": True, "coupled": True, "projection": 3, "dropout": 0.2},
}
CASES = [(cell, option) for cell in CELLS for option in (BOTH | LSTM_ONLY if cell == "lstm" else BOTH)]
LENGTHS = np.array([6, 2, 0, 4])
B, T, D, H = 4, 6, 3, 5


def made(cell: str, option: str, **more: Any) -> Any:
    kind, options = CELLS[cell]
    return kind(H, **options, **(BOTH | LSTM_ONLY)[option], seed=3, **more)


def scattered(layer: Any, rng: np.random.Generator) -> None:
    """Move all weights so that none is exactly 0 or 1."""
    layer.set_weights([w + 0.3 * rng.standard_normal(w.shape) for w in layer.get_weights()])


@pytest.mark.parametrize("more", [{"return_sequences": True}, {"go_backwards": True}], ids=["sequences", "backwards"])
@pytest.mark.parametrize(("cell", "option"), CASES)
def test_gradients(cell: str, option: str, more: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    layer = made(cell, option, dtype="float64", return_state=True, **more)
    x = rng.standard_normal((B, T, D))
    layer.build(x.shape)
    scattered(layer, rng)
    state = [0.5 * rng.standard_normal((B, n)) for n in (layer.outputs, H)[: layer.state_count]]
    first = copy.deepcopy(layer.generator)
    values = [w.value.copy() for w in layer.weights]

    def run() -> Any:
        layer.set_weights(values)
        layer.generator = copy.deepcopy(first)
        return layer.forward(x, training=True, lengths=LENGTHS, initial_state=state)

    outputs, backprop = run()
    assert all(out.dtype == np.float64 for out in outputs)
    upstream = tuple(rng.standard_normal(out.shape) for out in outputs)
    found = backprop(upstream)

    def loss() -> float:
        return sum(float((out * d).sum()) for out, d in zip(run()[0], upstream, strict=True))

    arrays = [(x, found.inputs), *zip(values, found.weights, strict=True), *zip(state, found.initial_state, strict=True)]
    for array, gradient in arrays:
        assert gradient.shape == array.shape
        for place in np.ndindex(array.shape):
            value = array[place]
            array[place] = value + 1e-6
            above = loss()
            array[place] = value - 1e-6
            below = loss()
            array[place] = value
            assert gradient[place] == pytest.approx((above - below) / 2e-6, abs=2e-7, rel=2e-6)


def expect_steps_as_whole(layer: Any) -> npt.NDArray[np.float32]:
    """Assert that single steps end in the states of a call with the whole sequence; return the input."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((B, T, D)).astype(np.float32)
    layer.build(x.shape)
    scattered(layer, rng)
    state = None
    for t in range(T):
        state = layer.step(x[:, t], state)
    for step, whole in zip(state, layer(x)[1:], strict=True):
        np.testing.assert_array_equal(step, whole)
    return x


@pytest.mark.parametrize(("cell", "option"), CASES)
def test_steps_of_a_stream_are_the_layer(cell: str, option: str) -> None:
    layer = made(cell, option, return_state=True)
    x = expect_steps_as_whole(layer)
    for with_tape, without in zip(layer.forward(x)[0], layer(x), strict=True):
        np.testing.assert_array_equal(with_tape, without)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_is_normalised_alike_at_every_step(cell: str) -> None:
    """Every other step computes its products from the last unit to the first; sums over the units must not turn with them."""
    kind, options = CELLS[cell]
    several_vectors = 83  # of every instruction set
    expect_steps_as_whole(kind(several_vectors, **options, layer_norm=True, seed=3, return_state=True))


@pytest.mark.parametrize(
    ("cell", "option"), [(c, o) for c, o in CASES if "zoneout_h" not in (BOTH | LSTM_ONLY)[o] and o != "zoneout_c"]
)
def test_segments_are_the_layer(cell: str, option: str) -> None:
    rng = np.random.default_rng(2)
    whole, cut = made(cell, option, return_sequences=True), made(cell, option, return_sequences=True, segment=2)
    x = rng.standard_normal((B, T, D)).astype(np.float32)
    for layer in (whole, cut):
        layer.build(x.shape)
    scattered(whole, rng)
    cut.set_weights(whole.get_weights())
    y, backprop = whole.forward(x, training=True, lengths=LENGTHS)
    y_cut, backprop_cut = cut.forward(x, training=True, lengths=LENGTHS)
    np.testing.assert_array_equal(y, y_cut)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    found, found_cut = backprop(dy), backprop_cut(dy)
    for a, b in zip([found.inputs, *found.weights], [found_cut.inputs, *found_cut.weights], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def splitmix64(seed: np.uint64, count: int) -> npt.NDArray[np.uint64]:
    """Steele, Lea, Flood 2014: the first numbers of the generator with that seed."""
    z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_drawn(cell: str) -> None:
    kind, options = CELLS[cell]
    layer = kind(64, **options, recurrent_dropout=0.25, zoneout_h=0.5, return_sequences=True, seed=5)
    x = np.random.default_rng(3).standard_normal((50, 7, D)).astype(np.float32)
    layer.build(x.shape)
    again = np.random.default_rng(5)
    mask = np.where(again.random((50, 64), dtype=np.float32) >= 0.25, np.float32(1 / 0.75), np.float32(0))
    bits = splitmix64(again.integers(1 << 64, dtype=np.uint64), 50 * 7 * 64 // 4).view(np.uint16).reshape(7, 50, 64)
    zone = (bits < 1 << 15).astype(np.float32).swapaxes(0, 1)
    assert zone.mean() == pytest.approx(0.5, abs=0.02)
    weights = dict(zip(("kernel", "recurrent_kernel", "bias"), layer.get_weights(), strict=True))
    expected = _core.recurrent_forward(
        layer.equations,
        x,
        **weights,
        update_gate_writes=layer.update_gate_writes,
        return_sequences=True,
        recurrent_mask=mask,
        zoneout_h=zone,
    )[0]
    np.testing.assert_array_equal(layer.forward(x, training=True)[0], expected)
    kept = np.diff(expected, axis=1) == 0  # a unit that was zoned out stands still
    np.testing.assert_array_equal(kept, zone[:, 1:] == 1)
    share = np.full(zone.shape, np.float32(0.5))
    expected = _core.recurrent_forward(
        layer.equations, x, **weights, update_gate_writes=layer.update_gate_writes, return_sequences=True, zoneout_h=share
    )[0]
    np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize(("cell", "option"), CASES)
def test_models_learn_and_are_kept(cell: str, option: str, tmp_path: Path) -> None:
    set_random_seed(0)
    rng = np.random.default_rng(4)
    x = rng.integers(1, 20, (64, 9))
    y = (x == 7).any(axis=1).astype(np.float32)
    model = Sequential([Embedding(20, 8), Bidirectional(made(cell, option)), Dense(1, activation="sigmoid")])
    model.compile(Adam(0.01), "binary_crossentropy")
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, batch_size=16, epochs=40, verbose=0)
    assert model.evaluate(x, y, verbose=0) < before
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.layers[1].get_config() == model.layers[1].get_config()


def test_weights_by_name() -> None:
    layer = LSTM(4, projection=2, peepholes=True, layer_norm=True, dtype="float64")
    layer.build((None, None, 3))
    assert {w.name.split("/")[1]: w.shape for w in layer.weights} == {
        "kernel": (3, 16),
        "recurrent_kernel": (2, 16),
        "bias": (16,),
        "peephole": (3, 4),
        "projection": (4, 2),
        "kernel_norm": (16,),
        "recurrent_norm": (16,),
        "state_norm": (2, 4),
    }
    assert all(w.value.dtype == np.float64 for w in layer.weights)
    assert layer.compute_output_shape((None, 7, 3)) == (None, 2)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_what_tells_keras_how_to_compute_is_taken(kind: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    plain, told = kind(3, name="same"), kind(3, name="same", unroll=True, use_cudnn=False)
    assert told.get_config() == plain.get_config()
    told.build(x.shape)
    plain.build(x.shape)
    told.set_weights(plain.get_weights())
    np.testing.assert_array_equal(told(x), plain(x))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="lstm: clip is 0, expected a number above 0"):
        LSTM(3, clip=0)
    with pytest.raises(TypeError, match="gru: norm_epsilon is '1', expected a number above 0"):
        GRU(3, norm_epsilon="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="gru: norm_epsilon is None, expected a number above 0"):
        GRU(3, layer_norm=True, norm_epsilon=None)  # type: ignore[arg-type]
    for option in ("layer_norm", "peepholes", "coupled"):
        with pytest.raises(TypeError, match=f"lstm: {option} is 'False', expected True or False"):
            LSTM(3, **{option: "False"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lstm: projection is 0, expected at least 1"):
        LSTM(3, projection=0)
    with pytest.raises(ValueError, match=r"lstm: zoneout_c is 1\.5, expected 0 to 1"):
        LSTM(3, zoneout_c=1.5)
    with pytest.raises(ValueError, match="lstm: segment is 5 and there is zoneout, expected one of them"):
        LSTM(3, zoneout_h=0.1, segment=5)
    with pytest.raises(ValueError, match="gru: dtype is 'float16', expected 'float32' or 'float64'"):
        GRU(3, dtype="float16")
    with pytest.raises(ValueError, match=r"initial_state has shape \(2, 3\), expected \(2, 2\)"):
        LSTM(3, projection=2)(np.zeros((2, 4, 1), np.float32), initial_state=[np.zeros((2, 3)), np.zeros((2, 3))])
    model = Sequential([LSTM(3, dtype="float64"), Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(TypeError, match="lstm/kernel has dtype float64, expected float32: models are trained in float32"):
        model.fit(np.zeros((4, 2, 1), np.float32), np.zeros(4), verbose=0)
