"""The optimizers against their equations in float64, rows against whole arrays, and bits that must not depend on anything.

The tests in this process run what RNNEXT_ISA names; `test_every_isa` runs the comparison with the equations under all of them,
by starting this file as a program.
"""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnnext import _core, optimizers
from rnnext.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop, schedules
from rnnext.parameters import Gradient, Parameter, RowGradient

pytestmark = pytest.mark.usefixtures("_same_threads_afterwards")

EPSILON = float(np.finfo(np.float32).eps)
PERIOD = 1024  # steps after which the engine brings a table to date of its own accord
F64 = npt.NDArray[np.float64]
Make = Callable[[], Optimizer]

# Every rule, with and without what it may do without, each with weight decay somewhere, and betas for which idle steps are
# summed in one run, in several, one by one, or not at all.
RULES: dict[str, Make] = {
    "sgd": lambda: SGD(0.1),
    "sgd_decay": lambda: SGD(0.1, weight_decay=0.02),
    "sgd_momentum": lambda: SGD(0.01, 0.9),
    "sgd_nesterov_decay": lambda: SGD(0.01, 0.98, True, weight_decay=0.1),
    "rmsprop": lambda: RMSprop(0.01),
    "rmsprop_decay": lambda: RMSprop(0.01, 0.95, weight_decay=0.1),
    "rmsprop_momentum": lambda: RMSprop(0.002, momentum=0.9),
    "rmsprop_centered_decay": lambda: RMSprop(0.002, 0.9, 0.5, 1e-5, True, weight_decay=0.1),
    "adam": lambda: Adam(0.01),
    "adam_amsgrad_decay": lambda: Adam(0.01, amsgrad=True, weight_decay=0.1),
    "adam_99": lambda: Adam(0.01, beta_2=0.99),
    "adam_95": lambda: Adam(0.01, beta_2=0.95, epsilon=1e-3),
    "adam_forgetful": lambda: Adam(0.01, beta_1=0.9, beta_2=0.3, epsilon=1e-3),
    "adam_no_momentum": lambda: Adam(0.01, beta_1=0.0, weight_decay=0.1),
    "adam_no_velocity": lambda: Adam(0.001, beta_1=0.9, beta_2=0.0, epsilon=0.1),
    "adamw": lambda: AdamW(0.01),
}
rules = pytest.mark.parametrize("rule", RULES)


# ---------------------------------------------------------------- the equations, in float64


class Reference:
    """An optimizer written down from the equations, for whole gradients."""

    def __init__(self, like: Optimizer, values: Sequence[npt.ArrayLike]) -> None:
        self.like = like
        self.p: list[F64] = [np.array(value, np.float64) for value in values]
        self.slots: list[dict[str, F64]] = [{} for _ in self.p]
        self.t = 0

    def clipped(self, gradients: Sequence[F64]) -> list[F64]:
        o = self.like
        if o.clipvalue is not None:
            return [np.clip(g, -o.clipvalue, o.clipvalue) for g in gradients]
        if o.clipnorm is not None:
            return [g * min(1.0, o.clipnorm / max(float(np.linalg.norm(g)), 1e-300)) for g in gradients]
        if o.global_clipnorm is not None:
            norm = math.sqrt(sum(float(np.sum(g * g)) for g in gradients))
            return [g * min(1.0, o.global_clipnorm / max(norm, 1e-300)) for g in gradients]
        return list(gradients)

    def step(self, gradients: Sequence[npt.ArrayLike]) -> None:
        self.t += 1
        for k, g in enumerate(self.clipped([np.asarray(g, np.float64) for g in gradients])):
            p = self.p[k]
            p -= p * (self.like.weight_decay or 0.0) * self.like.learning_rate
            p += self.movement(self.slots[k], g)

    def movement(self, s: dict[str, F64], g: F64) -> F64:
        o, zero = self.like, np.zeros_like(g)
        lr = o.learning_rate
        if isinstance(o, SGD):
            m = s["m"] = o.momentum * s.get("m", zero) - lr * g
            return o.momentum * m - lr * g if o.nesterov else m
        if isinstance(o, RMSprop):
            v = s["v"] = o.rho * s.get("v", zero) + (1 - o.rho) * g**2
            a = s["a"] = o.rho * s.get("a", zero) + (1 - o.rho) * g
            m = s["m"] = o.momentum * s.get("m", zero) + lr * g / np.sqrt((v - a**2 if o.centered else v) + o.epsilon)
            return -m
        assert isinstance(o, Adam)
        m = s["m"] = o.beta_1 * s.get("m", zero) + (1 - o.beta_1) * g
        v = s["v"] = o.beta_2 * s.get("v", zero) + (1 - o.beta_2) * g**2
        top = s["top"] = np.maximum(s.get("top", zero), v)
        alpha = lr * math.sqrt(1 - o.beta_2**self.t) / (1 - o.beta_1**self.t)
        return -alpha * m / (np.sqrt(top if o.amsgrad else v) + o.epsilon)


def assert_close(actual: npt.NDArray[np.float32], expected: F64, start: npt.NDArray[np.float32], steps: int) -> None:
    """Each step may round the value once, and the moments and what follows from them a few times."""
    moved = float(np.abs(expected - start).max())
    bound = EPSILON * (0.5 * steps * float(np.abs(expected).max()) + 32 * moved)
    error = float(np.abs(actual - expected).max())
    assert error <= bound, f"off by {error:.3g}, expected at most {bound:.3g}"


SHAPES = [(13, 7), (5,), (3, 2, 9), (1,), (0, 4), ()]


def parameters(shapes: Sequence[tuple[int, ...]] = SHAPES, seed: int = 1) -> list[Parameter]:
    rng = np.random.default_rng(seed)
    return [Parameter(f"w{k}", rng.normal(size=shape).astype(np.float32)) for k, shape in enumerate(shapes)]


def run(make: Make, steps: int = 25) -> None:
    """Steps with changing learning rates against the equations."""
    ours, optimizer, rng = parameters(), make(), np.random.default_rng(2)
    start = [each.value.copy() for each in ours]
    reference = Reference(optimizer, start)
    for t in range(steps):
        if t % 5 == 4:
            optimizer.learning_rate *= 0.7 if t % 2 else 1.2
        gradients: list[Gradient] = [
            np.asarray(rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 1), np.float32) for shape in SHAPES
        ]
        optimizer.apply(gradients, ours)
        reference.step([np.asarray(g) for g in gradients])
    assert optimizer.iterations == steps
    for each, first, expected in zip(ours, start, reference.p, strict=True):
        if expected.size:
            assert_close(each.value, expected, first, steps)


@rules
def test_equations(rule: str) -> None:
    run(RULES[rule])


@pytest.mark.parametrize("clipping", ["clipnorm", "clipvalue", "global_clipnorm"])
@pytest.mark.parametrize("limit", [0.01, 3.0, 1e6])
@pytest.mark.parametrize("kind", [SGD, RMSprop, Adam, AdamW])
def test_clipping(kind: type[Optimizer], clipping: str, limit: float) -> None:
    run(lambda: kind.from_config({"learning_rate": 0.01, "weight_decay": 0.05, clipping: limit}))


# ---------------------------------------------------------------- rows


def row_gradient(rng: np.random.Generator, shape: tuple[int, ...], rows: npt.ArrayLike) -> RowGradient:
    named = np.unique(np.asarray(rows, np.int64))
    values = rng.normal(size=(len(named), *shape[1:])) * 10.0 ** rng.uniform(-6, 0)
    return RowGradient(named, values.astype(np.float32), shape)


TABLE = (40, 11)


@cache  # drawn once for all rules: an optimizer changes no gradient
def row_steps(steps: int) -> list[tuple[int, list[RowGradient | npt.NDArray[np.float32]]]]:
    """Row gradients of the table, most rows of which are left alone for long, and a whole gradient beside them."""
    rng = np.random.default_rng(3)
    found: list[tuple[int, list[RowGradient | npt.NDArray[np.float32]]]] = []
    for t in range(steps):
        few = 6 if t % 400 > 40 else TABLE[0]
        by_rows = row_gradient(rng, TABLE, rng.integers(0, few, size=3))
        found.append((t, [by_rows, rng.normal(size=(4, 3)).astype(np.float32)]))
    return found


def new_learning_rate(t: int) -> float | None:
    return 10.0 ** np.random.default_rng(t).uniform(-4, -2) if t % 50 == 49 else None


LONG = PERIOD + 300


@rules
@pytest.mark.parametrize("clipping", [{}, {"global_clipnorm": 0.5}])
def test_rows_are_as_with_the_whole_gradient(rule: str, clipping: dict[str, float]) -> None:
    def make() -> Optimizer:
        return type(RULES[rule]()).from_config({**RULES[rule]().get_config(), **clipping})

    by_rows, whole = parameters([TABLE, (4, 3)]), parameters([TABLE, (4, 3)])
    start = [each.value.copy() for each in whole]
    optimizer, other = make(), make()
    reference = Reference(other, start)
    for t, gradients in row_steps(LONG):
        if rate := new_learning_rate(t):
            optimizer.learning_rate = other.learning_rate = rate
        dense = [g.dense() if isinstance(g, RowGradient) else g for g in gradients]
        optimizer.apply(gradients, by_rows)
        other.apply(dense, whole)
        reference.step(dense)
    for each, one, first, expected in zip(by_rows, whole, start, reference.p, strict=True):
        assert_close(each.value, expected, first, LONG)
        assert_close(one.value, expected, first, LONG)


def trained(rule: str, look: Callable[[int, list[Parameter]], None] = lambda t, p: None) -> list[Any]:
    """The bits after LONG steps by rows, if `look` looks at the parameters after each."""
    ours, optimizer = parameters([TABLE, (4, 3)]), RULES[rule]()
    for t, gradients in row_steps(LONG):
        if rate := new_learning_rate(t):
            optimizer.learning_rate = rate
        optimizer.apply(gradients, ours)
        look(t, ours)
    return [each.value.copy() for each in ours] + list(optimizer.state().values())


@cache
def undisturbed(rule: str) -> list[Any]:
    """The bits after LONG steps in which nobody looks and nothing is interrupted."""
    return trained(rule)


def assert_same_bits(a: Sequence[npt.NDArray[Any]], b: Sequence[npt.NDArray[Any]]) -> None:
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


@rules
def test_looking_changes_nothing(rule: str) -> None:
    rng = np.random.default_rng(9)

    def look(t: int, ours: list[Parameter]) -> None:
        if t % 3 == 0:
            ours[0].current_rows(rng.integers(-5, TABLE[0] + 5, size=(4, 6)).astype(np.int32))
        if t % 101 == 100:
            assert np.shares_memory(ours[0].value, ours[0].storage)

    assert_same_bits(undisturbed(rule), trained(rule, look))


@rules
def test_rows_that_are_looked_at_are_current(rule: str) -> None:
    """Some rows on demand have the bits that reading the whole table would give them."""
    ours, optimizer = parameters([TABLE, (4, 3)]), RULES[rule]()
    rng = np.random.default_rng(5)
    for t, gradients in row_steps(400):
        optimizer.apply(gradients, ours)
        if t % 40 == 39:
            ids = rng.integers(0, TABLE[0], size=(2, 5)).astype(np.int32)
            seen = ours[0].current_rows(ids)[ids].copy()
            np.testing.assert_array_equal(seen, ours[0].value[ids])


@rules
def test_resuming_changes_nothing(rule: str) -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), RULES[rule]()
    stop = {0, 1, 7, 333, PERIOD - 1, PERIOD, PERIOD + 5}
    for t, gradients in row_steps(LONG):
        if rate := new_learning_rate(t):
            optimizer.learning_rate = rate
        optimizer.apply(gradients, ours)
        if t in stop:
            state = {name: array.copy() for name, array in optimizer.state().items()}
            ours = [Parameter(each.name, each.value) for each in ours]
            optimizer = RULES[rule]()
            optimizer.load_state(state, ours)
            assert_same_bits(list(state.values()), list(optimizer.state().values()))
    interrupted = [each.value.copy() for each in ours] + list(optimizer.state().values())
    assert_same_bits(undisturbed(rule), interrupted)


@rules
def test_rows_and_whole_gradients_by_turns(rule: str) -> None:
    ours, optimizer = parameters([TABLE]), RULES[rule]()
    start = ours[0].value.copy()
    reference = Reference(optimizer, [start])
    rng = np.random.default_rng(6)
    for t in range(300):
        gradient = row_gradient(rng, TABLE, rng.integers(0, 40, size=3))
        optimizer.apply([gradient if t % 60 < 40 else gradient.dense()], ours)
        reference.step([gradient.dense()])
        assert (ours[0].overdue is not None) == (t % 60 < 40)
    assert_close(ours[0].value, reference.p[0], start, 300)


@rules
def test_a_parameter_left_out_does_not_move(rule: str) -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), RULES[rule]()
    for _, gradients in row_steps(30):
        optimizer.apply(gradients, ours)
    before = ours[0].value.copy()
    for _, gradients in row_steps(30):
        optimizer.apply(gradients[1:], ours[1:])
    np.testing.assert_array_equal(ours[0].value, before)


@rules
def test_what_others_write_is_kept(rule: str) -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), RULES[rule]()
    start = ours[0].value.copy()
    reference = Reference(optimizer, [each.value for each in ours])
    for t, gradients in row_steps(200):
        if t == 100:
            ours[0].assign(start)
            reference.p[0][...] = start
            np.testing.assert_array_equal(ours[0].value, start)
        optimizer.apply(gradients, ours)
        reference.step([g.dense() if isinstance(g, RowGradient) else g for g in gradients])
    assert_close(ours[0].value, reference.p[0], start, 200)


def test_two_optimizers_of_one_parameter() -> None:
    ours = parameters([TABLE])
    start = ours[0].value.copy()
    both = [Adam(0.01), SGD(0.01, 0.9)]
    references = [Reference(each, [start]) for each in both]
    references[1].p = references[0].p
    for t, gradients in row_steps(120):
        which = t // 20 % 2
        assert isinstance(gradients[0], RowGradient)
        both[which].apply(gradients[:1], ours)
        references[which].step([gradients[0].dense()])
    assert_close(ours[0].value, references[0].p[0], start, 120)


def test_ids_of_any_kind() -> None:
    ours, optimizer = parameters([TABLE]), Adam()
    for _, gradients in row_steps(50):
        optimizer.apply(gradients[:1], ours)
    overdue = ours[0].overdue
    assert overdue is not None
    overdue.settle_rows(np.array([], np.int32))
    overdue.settle_rows(np.array(7, np.int32))
    overdue.settle_rows(np.array([-1, 40, 2**31 - 1, -(2**31)], np.int32))
    overdue.settle_rows(np.arange(24, dtype=np.int32).reshape(4, 6)[::-2, ::2])
    overdue.settle_rows(np.array([2**62, 5]))
    with pytest.raises(TypeError, match="settle_rows: rows has dtype float64, expected int32 or int64"):
        overdue.settle_rows(np.zeros(3))  # type: ignore[arg-type]
    assert_same_bits([ours[0].storage[[7, 5, 18, 6]]], [ours[0].value[[7, 5, 18, 6]]])


def test_readers_in_several_threads() -> None:
    """Readers at once get what one alone would get."""
    shape = (3000, 64)
    expected, ours = parameters([shape])[0], parameters([shape])[0]
    rng = np.random.default_rng(8)
    optimizers_of = {id(expected): Adam(), id(ours): Adam()}
    for _ in range(20):
        gradient = row_gradient(rng, shape, rng.integers(0, 3000, size=500))
        for each in (expected, ours):
            optimizers_of[id(each)].apply([gradient], [each])
        batches = [rng.integers(0, 3000, size=(32, 20)).astype(np.int32) for _ in range(8)]
        whole = expected.value.copy()
        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(lambda ids: ours.current_rows(ids)[ids], batches))
        for ids, rows in zip(batches, seen, strict=True):
            np.testing.assert_array_equal(rows, whole[ids])


@rules
def test_bits_do_not_depend_on_the_number_of_threads(rule: str) -> None:
    shape = (2500, 70)  # past what wakes several threads, for steps as for rows that are behind

    def after(threads: int) -> list[npt.NDArray[Any]]:
        _core.set_num_threads(threads)
        ours = parameters([shape, (300, 300), (7,)])
        optimizer = type(RULES[rule]()).from_config({**RULES[rule]().get_config(), "global_clipnorm": 0.3})
        rng = np.random.default_rng(4)
        for _ in range(12):
            ids = rng.integers(0, 2500, size=(32, 40)).astype(np.int32)
            ours[0].current_rows(ids)
            whole: list[Gradient] = [rng.normal(size=each.shape).astype(np.float32) for each in ours[1:]]
            optimizer.apply([row_gradient(rng, shape, ids), *whole], ours)
        return [each.value.copy() for each in ours] + list(optimizer.state().values())

    alone = after(1)
    for threads in (2, 3, 5):
        assert_same_bits(alone, after(threads))


# ---------------------------------------------------------------- numbers that are not finite, and names


@pytest.mark.parametrize("clipping", [{}, {"clipvalue": 1.0}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}])
@pytest.mark.parametrize("kind", [SGD, RMSprop, Adam])
def test_nan_stays_visible(kind: type[Optimizer], clipping: dict[str, float]) -> None:
    ours = parameters([(6,), (5, 3)])
    kind.from_config(clipping).apply(
        [np.array([1, 2, np.nan, 0, 0, 0], np.float32), RowGradient(np.array([1]), np.ones((1, 3), np.float32), (5, 3))], ours
    )
    assert np.isnan(ours[0].value[2])
    assert np.isnan(ours[0].value).all() == ("clipnorm" in clipping or "global_clipnorm" in clipping)
    assert np.isnan(ours[1].value[1]).all() == ("global_clipnorm" in clipping)


def test_infinite_norms_are_treated_as_in_keras() -> None:
    for clipping, others in ({"clipnorm": 1.0}, 0.0), ({"global_clipnorm": 1.0}, math.nan):
        ours = [Parameter("w", np.zeros(2, np.float32))]
        SGD.from_config({"learning_rate": 1.0, **clipping}).apply([np.array([np.inf, 1.0], np.float32)], ours)
        np.testing.assert_array_equal(ours[0].value, [math.nan, others])


def test_excluded_from_weight_decay() -> None:
    named = [Parameter(name, np.ones(TABLE, np.float32)) for name in ("lstm/kernel", "lstm/bias", "table", "other_table")]
    optimizer = AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[named[3]], var_names=["bias", "gamma"])
    rows = RowGradient(np.array([0]), np.zeros((1, TABLE[1]), np.float32), TABLE)
    for _ in range(3):
        optimizer.apply([np.zeros(TABLE, np.float32)] * 2 + [rows] * 2, named)
    for each, expected in zip(named, [0.95**3, 1.0, 0.95**3, 1.0], strict=True):
        np.testing.assert_allclose(each.value, expected, rtol=4 * EPSILON)
    for names, kept in ((["^kernel$"], [1.0, 0.95]), (["lstm"], [0.95, 0.95]), (["^b"], [0.95, 1.0])):  # without the layer's
        pair = [Parameter(name, np.ones(TABLE, np.float32)) for name in ("lstm/kernel", "lstm/bias")]
        other = AdamW(0.1, weight_decay=0.5)
        other.exclude_from_weight_decay(var_names=names)
        other.apply([np.zeros(TABLE, np.float32)] * 2, pair)
        for each, expected in zip(pair, kept, strict=True):
            np.testing.assert_allclose(each.value, expected, rtol=4 * EPSILON)
    with pytest.raises(ValueError, match="exclude_from_weight_decay is called after the first step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])
    with pytest.raises(TypeError, match="var_names is one str"):
        Adam().exclude_from_weight_decay(var_names="bias")


def test_versions_and_overdue() -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), Adam()
    for t, gradients in row_steps(3):
        optimizer.apply(gradients, ours)
        assert [each.version for each in ours] == [t + 1, t + 1]
    assert ours[0].overdue is not None
    assert ours[1].overdue is None
    ours[0].value  # noqa: B018
    assert ours[0].version == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))])
def test_a_copy_has_nothing_put_off(copied: Callable[[Parameter], Parameter]) -> None:
    (table,), (whole,), rng = parameters([TABLE]), parameters([TABLE]), np.random.default_rng(5)
    optimizer, reference = Adam(0.01), Adam(0.01)
    for rows in ([1, 3], [2]):
        gradient = row_gradient(rng, TABLE, rows)
        optimizer.apply([gradient], [table])
        reference.apply([gradient.dense()], [whole])
        again = copied(table)
        assert again.overdue is None
        assert again.value.tobytes() == table.value.tobytes()
    before = again.value.tobytes()
    optimizer.apply([gradient], [table])
    reference.apply([gradient.dense()], [whole])
    np.testing.assert_allclose(table.value, whole.value, atol=1e-6)
    assert again.value.tobytes() == before


def test_nothing_to_do() -> None:
    optimizer = Adam()
    optimizer.apply([], [])
    assert optimizer.iterations == 0
    assert set(optimizer.state()) == {"iterations", "learning_rate"}
    optimizer.apply([RowGradient(np.array([], np.int64), np.zeros((0, 11), np.float32), TABLE)], parameters([TABLE]))
    assert optimizer.iterations == 1


@pytest.mark.parametrize("kind", [SGD, RMSprop, Adam, AdamW])
def test_names_and_configurations(kind: type[Optimizer]) -> None:
    name = kind.__name__
    for identifier in (name, name.lower(), name.upper()):
        assert type(optimizers.get(identifier)) is kind
    optimizer = kind.from_config({"learning_rate": 0.5, "weight_decay": 0.25, "clipnorm": 2.0, "name": "mine"})
    assert optimizers.get(optimizer) is optimizer
    optimizer.learning_rate = 0.125
    described = optimizers.serialize(optimizer)
    again = optimizers.get(described)
    assert type(again) is kind
    assert optimizers.serialize(again) == described
    assert (again.name, again.learning_rate, again.weight_decay, again.clipnorm) == ("mine", 0.125, 0.25, 2.0)
    assert kind.from_config({}).name == name.lower()


def test_rate_and_steps_are_numbers_with_the_methods_of_keras() -> None:
    optimizer = SGD(0.25)
    rate = optimizer.learning_rate
    assert rate == 0.25
    assert (f"{rate:.3f}", repr(rate), json.dumps({"rate": rate})) == ("0.250", "0.25", '{"rate": 0.25}')
    assert (type(rate.numpy()), rate.numpy()) == (np.float64, 0.25)
    assert type(rate * 2) is type(copy.deepcopy(rate)) is float
    for value in (0.5, np.float32(0.5), np.array(0.5)):
        rate.assign(value)
        assert optimizer.learning_rate == 0.5
        rate.assign(rate)
        assert optimizer.learning_rate == rate == 0.25
    with pytest.raises(ValueError, match="SGD: learning_rate is -1"):
        rate.assign(-1)
    with pytest.raises(TypeError, match="SGD: learning_rate is 'low', expected a number"):
        rate.assign("low")  # type: ignore[arg-type]
    steps = optimizer.iterations
    assert (steps, repr(steps), json.dumps({"steps": steps}), steps.numpy() + 1) == (0, "0", '{"steps": 0}', 1)
    assert type(steps.numpy()) is np.int64
    assert type(steps + 1) is type(copy.deepcopy(steps)) is int
    scheduled = SGD(schedules.ExponentialDecay(0.5, 10, 0.5))
    assert scheduled.learning_rate.numpy() == 0.5
    with pytest.raises(TypeError, match="a schedule says it"):
        scheduled.learning_rate.assign(0.1)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Adam("0.1"), TypeError, "Adam: learning_rate is '0.1', expected a number"),  # type: ignore[arg-type]
        (lambda: SGD(True), TypeError, "SGD: learning_rate is True, expected a number"),
        (lambda: SGD(-1.0), ValueError, "SGD: learning_rate is -1.0, expected a finite number, at least 0"),
        (lambda: SGD(math.nan), ValueError, "SGD: learning_rate is nan"),
        (lambda: SGD(momentum=1.5), ValueError, "SGD: momentum is 1.5, expected 0 to 1"),
        (lambda: RMSprop(rho=2.0), ValueError, "RMSprop: rho is 2.0, expected 0 to 1"),
        (lambda: RMSprop(epsilon=-1.0), ValueError, "RMSprop: epsilon is -1.0"),
        (lambda: Adam(beta_1=1.0), ValueError, "Adam: beta_1 is 1"),
        (lambda: AdamW(beta_2=-0.1), ValueError, "AdamW: beta_2 is -0.1"),
        (lambda: AdamW(weight_decay=None), TypeError, "AdamW: weight_decay is None"),  # type: ignore[arg-type]
        (lambda: SGD(nesterov="a"), TypeError, "SGD: nesterov is 'a', expected True or False"),  # type: ignore[arg-type]
        (lambda: RMSprop(centered=None), TypeError, "RMSprop: centered is None, expected True or False"),  # type: ignore[arg-type]
        (lambda: AdamW(amsgrad="a"), TypeError, "AdamW: amsgrad is 'a', expected True or False"),  # type: ignore[arg-type]
        (lambda: Adam(use_ema=0.5), TypeError, "Adam: use_ema is 0.5, expected True or False"),  # type: ignore[arg-type]
        (lambda: Adam(clipnorm=0.0), ValueError, "Adam: clipnorm is 0, expected more than 0"),
        (lambda: Adam(clipnorm=1.0, clipvalue=1.0), ValueError, "expected at most one of them"),
        (lambda: optimizers.get("adamm"), ValueError, "'adamm' is not known, expected one of adam, adamw, rmsprop, sgd"),
        (lambda: optimizers.get({"config": {}}), ValueError, "None is not known"),
        (lambda: optimizers.get(3), TypeError, "identifier is a int"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def rows_of(rows: npt.ArrayLike, values: npt.ArrayLike, shape: tuple[int, ...] = TABLE) -> RowGradient:
    return RowGradient(np.asarray(rows), np.asarray(values), shape)


GOOD = np.zeros((4, 3), np.float32)
ROW = np.zeros((1, 11), np.float32)


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        ([GOOD], ValueError, "Adam: 1 gradients for 2 parameters"),
        ([np.zeros((11, 40), np.float32), GOOD], ValueError, r"gradient of w0 has shape \(11, 40\), expected \(40, 11\)"),
        ([rows_of([0], ROW), np.zeros(12, np.float32)], ValueError, "gradient of w1 has shape"),
        ([rows_of([0], ROW), GOOD.astype(np.float64)], TypeError, "gradient of w1 has dtype float64, expected float32"),
        ([rows_of([0], ROW), None], TypeError, "gradient of w1 is a NoneType"),
        ([rows_of([0], ROW, (41, 11)), GOOD], ValueError, r"gradient of w0 is of the shape \(41, 11\), expected \(40, 11\)"),
        ([rows_of([0, 1], ROW), GOOD], ValueError, r"gradient of w0 has shape \(1, 11\), expected \(2, 11\)"),
        (
            [rows_of([40], ROW), GOOD],
            ValueError,
            "rows of the gradient of w0 has 40 at 0, expected ascending rows from 0 to 39",
        ),
        ([rows_of([-1], ROW), GOOD], ValueError, "rows of the gradient of w0 has -1 at 0"),
        ([rows_of([3, 3], np.zeros((2, 11), np.float32)), GOOD], ValueError, "rows of the gradient of w0 has 3 at 1"),
        ([rows_of(np.array([0], np.int32), ROW), GOOD], TypeError, "rows of the gradient of w0 has dtype int32"),
    ],
)
def test_bad_gradients(gradients: list[Any], error: type[Exception], message: str) -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), Adam()
    for _, good in row_steps(5):
        optimizer.apply(good, ours)
    before = [*optimizer.state().values(), *(each.value.copy() for each in ours)]
    with pytest.raises(error, match=message):
        optimizer.apply(gradients, ours)
    assert_same_bits([*optimizer.state().values(), *(each.value for each in ours)], before)
    with pytest.raises(error, match=message):
        Adam().apply(gradients, parameters([TABLE, (4, 3)]))


def test_what_the_engine_refuses() -> None:
    rule = _core.OptimizerRule("sgd")
    p = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        _core.OptimizedParameter(None, "p", p, (None, None, None), decays=False)  # type: ignore[arg-type]
    one = _core.OptimizedParameter(rule, "p", p, (None, None, None), decays=False)
    options = {"rate": 0.1, "decay": 0.0, "clipnorm": 0.0, "global_clipnorm": 0.0, "clipvalue": 0.0}
    gradient = np.ones(3, np.float32)
    for parameters, error, message in (
        ([one, p], TypeError, "apply: parameters has a ndarray at 1, expected OptimizedParameters alone"),
        ([one, None], TypeError, "apply: parameters has a NoneType at 1, expected OptimizedParameters alone"),
        ([one, one], ValueError, "apply: parameters has p twice, expected each parameter once"),
    ):
        with pytest.raises(error, match=message):
            _core.optimizer_step(rule, parameters, [gradient, gradient], **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.optimizer_step(None, [one], [gradient], **options)  # type: ignore[arg-type]
    assert (p == 1).all()


def test_bad_parameters() -> None:
    one, other = parameters([(3,), (3,)])
    g = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="names one twice: w0, w0"):
        Adam().apply([g, g], [one, one])
    with pytest.raises(TypeError, match="parameters has a ndarray"):
        Adam().apply([g], [g])  # type: ignore[list-item]
    optimizer = Adam()
    optimizer.apply([g], [one])
    with pytest.raises(ValueError, match="w1 was not among the parameters of the first step"):
        optimizer.apply([g, g], [one, other])
    with pytest.raises(ValueError, match="names one twice"):
        optimizer.apply([g, g], [one, one])


def bad_states() -> Iterator[tuple[str, Callable[[dict[str, Any]], object], str]]:
    yield "no iterations", lambda s: s.pop("iterations"), "the state has no iterations"
    yield "wrong rate", lambda s: s.update(learning_rate=np.zeros(2)), "the state's learning_rate is"
    yield "negative", lambda s: s.update(iterations=np.array([-1])), "iterations is -1"
    yield "missing slot", lambda s: s.pop("1/velocity"), "the state has no velocity of w1"
    yield "wrong shape", lambda s: s.update({"1/momentum": np.zeros(3, np.float32)}), "momentum of w1 has shape"
    yield "wrong dtype", lambda s: s.update({"1/momentum": np.zeros((4, 3))}), "dtype float64"
    yield "unknown", lambda s: s.update({"1/speed": np.zeros(3)}), "speed of w1, which is not known"
    yield "unknown name", lambda s: s.update(speed=np.zeros(3)), "'speed', which is not known"
    yield "too many", lambda s: s.update({"2/momentum": np.zeros(3)}), "the state has 2, but there are 2 parameters"
    yield "no steps", lambda s: s.pop("0/rates"), "rates of w0 is missing"
    yield "no anchor", lambda s: s.pop("0/anchor"), "anchor of w0 is missing"
    yield "uneven", lambda s: s.update({"0/decays": np.zeros(1)}), "decays of w0 has shape"
    yield "future", lambda s: s.update({"0/last": np.full(40, 9, np.int32)}), "last of w0 has step 9, expected 0 to 5"
    yield "endless", lambda s: s.update({"0/rates": np.zeros(5000), "0/decays": np.zeros(5000)}), "rates of w0 has 5000 steps"


@pytest.mark.parametrize(("spoil", "message"), [pytest.param(*rest, id=name) for name, *rest in bad_states()])
def test_bad_states(spoil: Callable[[dict[str, Any]], object], message: str) -> None:
    ours, optimizer = parameters([TABLE, (4, 3)]), Adam()
    for _, gradients in row_steps(5):
        optimizer.apply(gradients, ours)
    state = dict(optimizer.state())
    spoil(state)
    before = [*optimizer.state().values(), *(each.value.copy() for each in ours)]
    with pytest.raises(ValueError, match=message):
        optimizer.load_state(state, ours)
    assert_same_bits([*optimizer.state().values(), *(each.value for each in ours)], before)


# ---------------------------------------------------------------- Keras itself


def keras_twins() -> Iterator[tuple[str, Mapping[str, Any]]]:
    clippings: list[dict[str, float]] = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.1}, {"global_clipnorm": 0.5}]
    for clipping in clippings:
        for decay in {}, {"weight_decay": 0.1}:
            common = {**clipping, **decay}
            yield "SGD", {"momentum": 0.0, **common}
            yield "SGD", {"momentum": 0.9, **common}
            yield "SGD", {"momentum": 0.9, "nesterov": True, **common}
            yield "RMSprop", common
            yield "RMSprop", {"momentum": 0.9, "centered": True, "epsilon": 1e-4, **common}
            yield "Adam", common
            yield "Adam", {"amsgrad": True, "beta_2": 0.9, **common}
            yield "AdamW", common


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "config"), list(keras_twins()))
def test_steps_are_those_of_keras(name: str, config: dict[str, Any]) -> None:
    keras = pytest.importorskip("keras")
    ours = parameters([TABLE, (4, 3)])
    theirs = [keras.Variable(each.value.copy(), name=each.name) for each in ours]
    start = [each.value.copy() for each in ours]
    mine = optimizers.get({"class_name": name, "config": config})
    twin = getattr(keras.optimizers, name)(**config)
    for each in mine, twin:
        each.exclude_from_weight_decay(var_names=["w1"])
    for t, gradients in row_steps(30):
        if t in (10, 20):
            mine.learning_rate *= 2.0
            twin.learning_rate = mine.learning_rate
        mine.apply(gradients, ours)
        dense = [g.dense() if isinstance(g, RowGradient) else g for g in gradients]
        twin.apply([keras.ops.convert_to_tensor(g) for g in dense], theirs)
    assert int(twin.iterations) == mine.iterations
    for each, other, first in zip(ours, theirs, start, strict=True):
        expected = keras.ops.convert_to_numpy(other)
        moved = np.abs(expected - first).max()
        # Keras takes 1 - β₂ᵗ in float32: 6e-5 of a movement in the first step.
        assert np.abs(each.value - expected).max() <= 1e-4 * moved + 30 * EPSILON * np.abs(expected).max()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_defaults_are_those_of_keras(name: str) -> None:
    keras = pytest.importorskip("keras")
    theirs = getattr(keras.optimizers, name)().get_config()
    theirs["learning_rate"] = round(theirs["learning_rate"], 9)  # a float32 there
    ours = optimizers.get(name).get_config()
    assert ours.pop("ema_frequency") == 1  # which Keras does not have: at each step
    theirs["name"] = ours["name"]  # numbered there
    assert ours == {key: theirs[key] for key in ours}


# ---------------------------------------------------------------- every instruction set


def available_isas() -> list[str]:
    available = _core.config()["isas_available"]
    assert isinstance(available, list)
    return available


@pytest.mark.parametrize("isa", available_isas())
def test_every_isa(isa: str) -> None:
    ran = subprocess.run(
        [sys.executable, __file__], env={**os.environ, "RNNEXT_ISA": isa}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [isa]


if __name__ == "__main__":
    for make in RULES.values():
        run(make)
    for name in ("sgd_nesterov_decay", "rmsprop_centered_decay", "adam_99"):  # a kernel each
        test_rows_are_as_with_the_whole_gradient(name, {"global_clipnorm": 0.5})
    print(_core.isa())
