"""Averaged weights and accumulated gradients: by their definition, as Keras's, for rows, saved and loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnext import optimizers
from rnnext.parameters import Parameter, RowGradient

RNG = np.random.default_rng(0)
GRADIENTS = RNG.standard_normal((12, 6, 4)).astype(np.float32)
START = RNG.standard_normal((6, 4)).astype(np.float32)


def of_rows(gradient: np.ndarray, step: int) -> RowGradient:
    """The gradient by rows, of a few rows that are others in each step."""
    rows = np.flatnonzero(np.random.default_rng(step).integers(0, 2, 6))
    return RowGradient(rows, gradient[rows], gradient.shape)


def walked(optimizer: optimizers.Optimizer, form: Any = lambda g, step: g) -> tuple[Parameter, list[np.ndarray]]:
    """Train on GRADIENTS; return the parameter and its value after each batch."""
    parameter, values = Parameter("p", START), []
    for step, gradient in enumerate(GRADIENTS):
        optimizer.apply([form(gradient, step)], [parameter])
        values.append(parameter.value.copy())
    return parameter, values


def averages(values: list[np.ndarray], momentum: float, at: list[int]) -> np.ndarray:
    """The moving average of the values after the steps `at`, each weighted by the steps since the one before."""
    average, last = values[at[0] - 1].astype(np.float64), at[0]
    for step in at[1:]:
        kept = momentum ** (step - last)
        average, last = kept * average + (1 - kept) * values[step - 1], step
    return average


@pytest.mark.parametrize("form", [lambda g, step: g, of_rows], ids=["dense", "rows"])
@pytest.mark.parametrize(("frequency", "at"), [(1, [*range(1, 13)]), (5, [1, 5, 10, 12]), (4, [1, 4, 8, 12]), (50, [1, 12])])
def test_the_average_is_that_of_its_definition(frequency: int, at: list[int], form: Any) -> None:
    optimizer = optimizers.Adam(0.1, use_ema=True, ema_momentum=0.7, ema_frequency=frequency)
    parameter, values = walked(optimizer, form)
    np.testing.assert_array_equal(values[-1], walked(optimizers.Adam(0.1), form)[1][-1])  # it changes nothing by itself
    optimizer.use_averages(True)
    np.testing.assert_allclose(parameter.value, averages(values, 0.7, at), rtol=2e-6, atol=1e-7)
    optimizer.use_averages(True)
    optimizer.use_averages(False)
    np.testing.assert_array_equal(parameter.value, values[-1])
    optimizer.finalize_variable_values([parameter])
    np.testing.assert_allclose(parameter.value, averages(values, 0.7, at), rtol=2e-6, atol=1e-7)


def test_large_arrays_are_averaged_in_pieces() -> None:
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    parameter = Parameter("p", np.zeros((300, 301), np.float32))
    gradient = RNG.standard_normal(parameter.shape).astype(np.float32)
    for _ in range(2):
        optimizer.apply([gradient], [parameter])
    optimizer.finalize_variable_values([parameter])
    np.testing.assert_allclose(parameter.value, -1.5 * gradient, rtol=1e-6)


def test_a_step_is_for_the_weights_and_not_for_their_averages() -> None:
    plain, swapped = (optimizers.SGD(0.1, momentum=0.9, use_ema=True) for _ in range(2))
    _, values = walked(plain)
    parameter = Parameter("p", START)
    for gradient in GRADIENTS:
        swapped.apply([gradient], [parameter])
        swapped.use_averages(True)
    swapped.use_averages(False)
    np.testing.assert_array_equal(parameter.value, values[-1])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "options",
    [
        {"use_ema": True, "ema_momentum": 0.8},
        {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 5},
        {"gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 5, "global_clipnorm": 0.5, "weight_decay": 0.1},
    ],
    ids=["ema", "ema_overwrite", "accumulated", "accumulated_clipped"],
)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_as_keras(name: str, options: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras")
    ours, theirs = getattr(optimizers, name)(0.05, **options), getattr(keras.optimizers, name)(0.05, **options)
    parameter, variable = Parameter("p", START), keras.Variable(START)
    for n in range(13):
        if n < 12:
            ours.apply([GRADIENTS[n]], [parameter])
            theirs.apply([keras.ops.convert_to_tensor(GRADIENTS[n])], [variable])
        else:
            ours.finalize_variable_values([parameter])
            theirs.finalize_variable_values([variable])
        assert ours.iterations == int(theirs.iterations) if n < 12 else True
        np.testing.assert_allclose(parameter.value, keras.ops.convert_to_numpy(variable), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("form", [lambda g, step: g, of_rows], ids=["dense", "rows"])
def test_accumulated_steps_are_steps_with_means(form: Any) -> None:
    _, values = walked(optimizers.Adam(0.1, gradient_accumulation_steps=3, clipnorm=0.8), form)
    plain, parameter = optimizers.Adam(0.1, clipnorm=0.8), Parameter("p", START)
    np.testing.assert_array_equal(values[1], START)
    for step in range(0, 12, 3):
        dense = [g.dense() if isinstance(g, RowGradient) else g for g in (form(GRADIENTS[n], n) for n in range(step, step + 3))]
        plain.apply([np.mean(dense, axis=0)], [parameter])
        np.testing.assert_allclose(values[step + 2], parameter.value, rtol=1e-5, atol=1e-6)


def test_arrays_and_rows_together() -> None:
    def mixed(gradient: np.ndarray, step: int) -> Any:
        return of_rows(gradient, step) if step % 2 else gradient

    _, values = walked(optimizers.SGD(1.0, gradient_accumulation_steps=12), mixed)
    expected = np.mean([GRADIENTS[n] if n % 2 == 0 else of_rows(GRADIENTS[n], n).dense() for n in range(12)], axis=0)
    np.testing.assert_allclose(values[-1], START - expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [lambda g, step: g, of_rows], ids=["dense", "rows"])
@pytest.mark.parametrize("options", [{"use_ema": True, "ema_frequency": 4}, {"gradient_accumulation_steps": 4}])
@pytest.mark.parametrize("at", [0, 1, 6, 11])
def test_a_state_goes_on_bit_for_bit(options: dict[str, Any], form: Any, at: int) -> None:
    whole, values = walked(first := optimizers.Adam(0.1, **options), form)
    first.finalize_variable_values([whole])
    before, parameter = optimizers.Adam(0.1, **options), Parameter("p", START)
    for step in range(at):
        before.apply([form(GRADIENTS[step], step)], [parameter])
    state = before.state()
    again, copy = optimizers.Adam(0.1, **options), Parameter("p", parameter.value)
    again.load_state(state, [copy])
    for step in range(at, 12):
        again.apply([form(GRADIENTS[step], step)], [copy])
        np.testing.assert_array_equal(copy.value, values[step])
    again.finalize_variable_values([copy])
    np.testing.assert_array_equal(copy.value, whole.value)


def test_refused() -> None:
    for options, message in (
        ({"use_ema": True, "ema_momentum": 1.5}, "ema_momentum is 1.5, expected 0 to 1"),
        ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency is 0, expected at least 1, or None"),
        ({"ema_frequency": 0}, "ema_frequency is 0, expected at least 1"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps is 1, expected at least 2, or None"),
    ):
        with pytest.raises(ValueError, match=f"Adam: {message}"):
            optimizers.Adam(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Adam: use_ema is False, expected True"):
        optimizers.Adam().use_averages(True)
    accumulating = optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"SGD: the gradient of p is not a float32 array of the shape \(6, 4\)"):
        accumulating.apply([np.zeros((6, 5), np.float32)], [Parameter("p", START)])
    parameter = Parameter("p", START)
    accumulating.apply([GRADIENTS[0]], [parameter])
    state = accumulating.state()
    for name, array in (("0/accumulated", np.zeros(3, np.float32)), ("0/accumulated_rows", np.array([3, 1]))):
        with pytest.raises(ValueError, match="the state's accumulated gradient of p does not fit its shape"):
            optimizers.SGD(gradient_accumulation_steps=2).load_state({**state, name: array}, [parameter])
    averaging = optimizers.SGD(use_ema=True)
    averaging.apply([GRADIENTS[0]], [parameter])
    state = averaging.state()
    del state["0/average"]
    with pytest.raises(ValueError, match="SGD: the state has no average of p"):
        optimizers.SGD(use_ema=True).load_state(state, [parameter])
