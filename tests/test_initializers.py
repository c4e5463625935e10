"""Initial weights: distributions, seeds, names, what is written down and what is refused."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import numpy as np
import pytest

from rnnext import _random, initializers

RANDOM = (
    initializers.RandomNormal,
    initializers.RandomUniform,
    initializers.TruncatedNormal,
    initializers.VarianceScaling,
    initializers.GlorotUniform,
    initializers.GlorotNormal,
    initializers.HeUniform,
    initializers.HeNormal,
    initializers.LecunUniform,
    initializers.LecunNormal,
    initializers.Orthogonal,
)
FIXED = (initializers.Zeros, initializers.Ones, initializers.Constant, initializers.Identity)
SHAPE = (300, 500)  # 150,000 numbers: the standard deviation is known to 0.2 %, the mean to 0.3 % of it


@pytest.fixture(autouse=True)
def _seeded() -> Any:
    state = _random.get_state()
    _random.set_seed(0)
    yield
    _random.set_state(state)


# kind, arguments, standard deviation, the largest possible magnitude
FAN_IN, FAN_OUT = SHAPE
CUT = 0.87962566103423978  # standard deviation of a standard normal within ±2
DISTRIBUTIONS: list[tuple[Any, dict[str, Any], float, float]] = [
    (initializers.RandomNormal, {}, 0.05, math.inf),
    (initializers.RandomNormal, {"stddev": 2.0}, 2.0, math.inf),
    (initializers.RandomUniform, {}, 0.05 / math.sqrt(3), 0.05),
    (initializers.TruncatedNormal, {}, 0.05 * CUT, 0.1),
    (initializers.GlorotUniform, {}, math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    (initializers.GlorotNormal, {}, math.sqrt(2 / (FAN_IN + FAN_OUT)), 2 / CUT * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (initializers.HeUniform, {}, math.sqrt(2 / FAN_IN), math.sqrt(6 / FAN_IN)),
    (initializers.HeNormal, {}, math.sqrt(2 / FAN_IN), 2 / CUT * math.sqrt(2 / FAN_IN)),
    (initializers.LecunUniform, {}, math.sqrt(1 / FAN_IN), math.sqrt(3 / FAN_IN)),
    (initializers.LecunNormal, {}, math.sqrt(1 / FAN_IN), 2 / CUT * math.sqrt(1 / FAN_IN)),
    (initializers.VarianceScaling, {"mode": "fan_out", "scale": 3.0}, math.sqrt(3 / FAN_OUT), 2 / CUT * math.sqrt(3 / FAN_OUT)),
    (initializers.VarianceScaling, {"distribution": "untruncated_normal"}, math.sqrt(1 / FAN_IN), math.inf),
    (initializers.Orthogonal, {}, math.sqrt(1 / FAN_OUT), 1.0),
]


@pytest.mark.parametrize(("kind", "arguments", "stddev", "limit"), DISTRIBUTIONS)
def test_distributions(kind: Any, arguments: dict[str, Any], stddev: float, limit: float) -> None:
    values = kind(**arguments)(SHAPE)
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    assert abs(values.std() / stddev - 1) < 0.01
    assert abs(values.mean()) < 0.015 * stddev
    largest = np.abs(values).max()
    assert largest <= limit * (1 + 1e-6)
    if limit < math.inf and kind is not initializers.Orthogonal:
        assert largest > 0.99 * limit


def test_means_and_limits() -> None:
    assert abs(initializers.RandomNormal(3.0, 0.1)((400, 400)).mean() - 3) < 0.002
    assert abs(initializers.TruncatedNormal(-3.0, 0.1)((400, 400)).mean() + 3) < 0.002
    values = initializers.RandomUniform(2.0, 5.0)((400, 400))
    assert 2 <= values.min() < 2.01
    assert 4.99 < values.max() <= 5


def test_fans_of_other_ranks() -> None:
    """Of three sizes and more, the last two are a convolution's inputs and outputs, the others its window; one is both fans."""
    assert abs(np.abs(initializers.GlorotUniform()((5, 40, 60))).max() / math.sqrt(6 / (5 * 100)) - 1) < 0.01
    assert abs(np.abs(initializers.GlorotUniform()((4000,))).max() / math.sqrt(6 / 8000) - 1) < 0.01
    assert initializers.GlorotUniform()(()).shape == ()


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (100, 400), (2, 3, 4), (1, 1), (5, 1)])
@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    matrix = initializers.Orthogonal(gain)(shape).astype(np.float64).reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), rtol=0, atol=1e-6)


def test_orthogonal_is_uniform_over_rotations() -> None:
    """Without the signs of R's diagonal, the first entry would have one sign; with them, it has mean 0 and variance 1/n."""
    entries = np.array([initializers.Orthogonal(seed=seed)((4, 4))[0, 0] for seed in range(2000)])
    assert abs(entries.mean()) < 0.05
    assert abs(entries.var() - 0.25) < 0.03


def test_fixed_values() -> None:
    assert initializers.Zeros()((2, 3)).tolist() == [[0] * 3] * 2
    assert initializers.Ones()((2,)).tolist() == [1, 1]
    assert initializers.Constant(2.5)((1, 2)).tolist() == [[2.5, 2.5]]
    assert initializers.Identity(2.0)((2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]
    table = np.arange(6.0).reshape(3, 2)
    assert initializers.Constant(table)((3, 2)).tolist() == table.tolist()
    assert initializers.Constant([1, 2])((2, 2)).tolist() == [[1, 2], [1, 2]]
    for kind in FIXED:
        first = kind()((2, 2))
        first += 1
        assert kind()((2, 2)).tolist() != first.tolist()


@pytest.mark.parametrize("kind", RANDOM)
def test_seeds(kind: Any) -> None:
    seeded = kind(seed=3)
    np.testing.assert_array_equal(seeded((4, 5)), seeded((4, 5)))
    np.testing.assert_array_equal(seeded((4, 5)), kind(seed=3)((4, 5)))
    assert np.any(seeded((4, 5)) != kind(seed=4)((4, 5)))
    free = kind()
    _random.set_seed(1)
    first, second = free((4, 5)), free((4, 5))
    assert np.any(first != second)
    _random.set_seed(1)
    np.testing.assert_array_equal(free((4, 5)), first)


def test_dtypes() -> None:
    assert initializers.GlorotUniform()((2, 2), dtype="float64").dtype == np.float64
    assert initializers.Zeros()((2, 2), dtype=None).dtype == np.float32
    with pytest.raises(TypeError, match="dtype is int32"):
        initializers.Zeros()((2, 2), dtype="int32")


@pytest.mark.parametrize("kind", [*RANDOM, *FIXED])
def test_names_and_configs(kind: Any) -> None:
    name = kind.__name__
    snake = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
    for identifier in (name, snake, kind, kind()):
        assert type(initializers.get(identifier)) is kind
    options = {"seed": 5} if kind in RANDOM else {}
    written = json.loads(json.dumps(initializers.serialize(kind(**options))))
    assert written["class_name"] == name
    again = initializers.get(written)
    assert isinstance(again, initializers.Initializer)
    assert again.get_config() == kind(**options).get_config()
    np.testing.assert_array_equal(again((3, 3)), kind(**options)((3, 3)))


def test_other_names_and_functions() -> None:
    for name, kind in {
        "zero": initializers.Zeros,
        "one": initializers.Ones,
        "normal": initializers.RandomNormal,
        "uniform": initializers.RandomUniform,
        "OrthogonalInitializer": initializers.Orthogonal,
        "IdentityInitializer": initializers.Identity,
    }.items():
        assert type(initializers.get(name)) is kind
    assert initializers.VarianceScaling(distribution="normal").distribution == "truncated_normal"

    def own(shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, 7, dtype)

    assert initializers.get(own) is own
    with pytest.raises(TypeError, match="serialize: initializer is <function"):
        initializers.serialize(own)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: initializers.get("glorot"), ValueError, "no initializer 'glorot', expected one of .*glorot_uniform"),
        (lambda: initializers.get({"config": {}}), ValueError, "no initializer None"),
        (lambda: initializers.get({"class_name": "Zeros", "config": {"x": 1}}), ValueError, "config of Zeros is {'x': 1}"),
        (lambda: initializers.get(3), TypeError, "identifier is 3"),  # type: ignore[arg-type]
        (lambda: initializers.get(int), TypeError, "identifier is <class 'int'>"),
        (lambda: initializers.Orthogonal()((3,)), ValueError, r"Orthogonal: shape is \(3,\), expected at least two"),
        (lambda: initializers.Identity()((3,)), ValueError, r"Identity: shape is \(3,\), expected two sizes"),
        (lambda: initializers.Constant([1, 2])((2, 3)), ValueError, r"value has shape \(2,\), expected .* \(2, 3\)"),
        (lambda: initializers.Zeros()((2, -1)), ValueError, r"Zeros: shape is \(2, -1\)"),
        (lambda: initializers.Zeros()(3), TypeError, "Zeros: shape is 3"),  # type: ignore[arg-type]
        (lambda: initializers.HeNormal(seed=-1), ValueError, "HeNormal: seed is -1"),
        (lambda: initializers.HeNormal(seed=1.5), TypeError, "HeNormal: seed is 1.5"),  # type: ignore[arg-type]
        (lambda: initializers.RandomUniform(1, 0), ValueError, "maxval is 0, expected at least minval, 1"),
        (lambda: initializers.RandomUniform("a"), TypeError, "RandomUniform: minval is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: initializers.RandomNormal(stddev=-1), ValueError, "RandomNormal: stddev is -1, expected at least 0"),
        (lambda: initializers.TruncatedNormal(math.nan), ValueError, "TruncatedNormal: mean is nan, expected a finite number"),
        (lambda: initializers.Orthogonal(gain="a"), TypeError, "Orthogonal: gain is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: initializers.Identity("a"), TypeError, "Identity: gain is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: initializers.VarianceScaling("a"), TypeError, "scale is 'a', expected a number"),  # type: ignore[arg-type]
        (lambda: initializers.VarianceScaling(0), ValueError, "scale is 0"),
        (lambda: initializers.VarianceScaling(mode="fan"), ValueError, "mode is 'fan'"),  # type: ignore[arg-type]
        (lambda: initializers.VarianceScaling(distribution="x"), ValueError, "distribution is 'x'"),  # type: ignore[arg-type]
    ],
)
def test_refusals(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_nothing_is_drawn_where_weights_will_come_from_a_file() -> None:
    elsewhere: list[np.ndarray] = []
    glorot = initializers.GlorotUniform()
    state = _random.get_state()
    with initializers.without_drawing(12):
        found = initializers.first_values(initializers.Orthogonal(), (3, 4), np.float64)
        assert (found.shape, found.dtype, found.any()) == ((3, 4), np.float64, False)
        with pytest.raises(ValueError, match=r"a weight has shape \(13,\), expected at most the 12 numbers that there are"):
            initializers.first_values(glorot, (13,))
        assert _random.get_state() == state
        thread = threading.Thread(target=lambda: elsewhere.append(initializers.first_values(glorot, (50, 50))))
        thread.start()
        thread.join()
    assert elsewhere[0].any()
    assert initializers.first_values(glorot, (13,)).any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "arguments", "stddev", "limit"), DISTRIBUTIONS)
def test_distributions_are_keras(kind: Any, arguments: dict[str, Any], stddev: float, limit: float) -> None:
    """The same moments and quantiles; the numbers themselves are another generator's."""
    keras = pytest.importorskip("keras", reason="a comparison with Keras needs Keras, which rnnext itself does not")
    theirs = keras.ops.convert_to_numpy(getattr(keras.initializers, kind.__name__)(**arguments, seed=1)(SHAPE))
    ours = kind(**arguments, seed=1)(SHAPE)
    places = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(ours, places), np.quantile(theirs, places), rtol=0, atol=0.02 * stddev)
    assert type(initializers.get(keras.initializers.serialize(keras.initializers.Orthogonal()))) is initializers.Orthogonal
