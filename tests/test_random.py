"""One seed determines all generators, in the order of their creation; two numbers in a checkpoint carry on from anywhere."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rnnext import _random
from rnnext.utils import set_random_seed, to_categorical


@pytest.fixture(autouse=True)
def _restored() -> Any:
    state, legacy, python = _random.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    _random.set_state(state)
    np.random.set_state(legacy)  # noqa: NPY002
    random.setstate(python)


def draws(count: int) -> list[float]:
    return [_random.generator().random() for _ in range(count)]


def test_a_seed_repeats_and_another_differs() -> None:
    _random.set_seed(7)
    first = draws(3)
    _random.set_seed(7)
    assert draws(3) == first
    _random.set_seed(8)
    assert draws(3) != first
    assert len(set(first)) == 3


def test_state_goes_through_json() -> None:
    _random.set_seed(2**70)
    draws(2)
    state = json.loads(json.dumps(_random.get_state()))
    expected = draws(3)
    _random.set_seed(0)
    _random.set_state(state)
    assert draws(3) == expected


def test_int_seeds_leave_the_global_state_alone() -> None:
    _random.set_seed(1)
    expected = draws(2)
    _random.set_seed(1)
    first = _random.generator(5).random()
    assert _random.generator(np.int64(5)).random() == first
    given = np.random.default_rng(0)
    assert _random.generator(given) is given
    assert draws(2) == expected


def test_a_block_has_a_source_of_its_own() -> None:
    _random.set_seed(1)
    expected = draws(4)
    _random.set_seed(1)
    found = draws(1)
    with _random.seeded(9):
        inside = draws(2)
        assert _random.get_state() == {"entropy": 9, "derived": 2}
        with ThreadPoolExecutor(1) as pool:  # another thread's is the global one
            found += pool.submit(draws, 1).result()
        _random.set_state({"entropy": 9, "derived": 0})
        assert draws(2) == inside
    with pytest.raises(RuntimeError), _random.seeded(9):
        raise RuntimeError
    assert found + draws(2) == expected
    with _random.seeded(9):
        assert draws(2) == inside


def test_without_a_seed_processes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    entropies = set()
    for _ in range(2):
        monkeypatch.setattr(_random._global, "entropy", None)
        entropies.add(_random.get_state()["entropy"])
    assert len(entropies) == 2


def test_threads_never_get_the_same_generator() -> None:
    _random.set_seed(3)
    expected = set(draws(400))
    _random.set_seed(3)
    with ThreadPoolExecutor(8) as pool:
        found = [value for part in pool.map(lambda _: draws(50), range(8)) for value in part]
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("1", TypeError)])
def test_wrong_seeds(seed: Any, error: type[Exception]) -> None:
    before = _random.get_state()
    with pytest.raises(error, match="set_seed: seed is"):
        _random.set_seed(seed)
    with pytest.raises(error, match="generator: seed is"):
        _random.generator(seed)
    with pytest.raises(error, match="seed is"):
        set_random_seed(seed)
    assert _random.get_state() == before


def test_wrong_states() -> None:
    before = _random.get_state()
    with pytest.raises(ValueError, match=r"keys \['seed'\], expected"):
        _random.set_state({"seed": 1})
    with pytest.raises(TypeError, match="derived is '1'"):
        _random.set_state({"entropy": 1, "derived": "1"})
    assert _random.get_state() == before


def test_set_random_seed_covers_python_and_numpy() -> None:
    found = []
    for _ in range(2):
        set_random_seed(11)
        found.append((draws(1), random.random(), np.random.rand()))  # noqa: NPY002
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="4294967296, expected 0 to 4294967295"):
        set_random_seed(2**32)


def test_to_categorical() -> None:
    expected = [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(to_categorical([0, 2, 1]), expected)
    np.testing.assert_array_equal(to_categorical(np.array([[0.0], [2.0], [1.0]])), expected)
    assert to_categorical([[0, 1], [1, 0]], 4).shape == (2, 2, 4)
    assert to_categorical(1).shape == (2,)
    assert to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "classes", "error", "message"),
    [
        ([0, 3], 3, ValueError, "numbers from 0 to 3, expected 0 to 2"),
        ([-1, 0], None, ValueError, "numbers from -1 to 0, expected 0 to 0"),
        ([0.5], None, ValueError, "x has 0.5, expected whole numbers"),
        ([float("nan")], 2, ValueError, "x has nan"),
        ([], None, ValueError, "x is empty"),
        (["a"], None, TypeError, "x has dtype <U1"),
    ],
)
def test_to_categorical_refuses(x: Any, classes: int | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        to_categorical(x, classes)


@pytest.mark.filterwarnings("ignore")
def test_to_categorical_is_keras() -> None:
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    for x, classes in (([0, 2, 1], None), ([[0], [3]], 5), ([[0, 1], [1, 2]], None), (2, None)):
        expected = keras.utils.to_categorical(x, classes)
        found = to_categorical(x, classes)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
