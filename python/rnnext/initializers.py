"""First values of the weights, with Keras's names and distributions (the numbers are NumPy's, not Keras's).

An int as `seed` gives the same array at each call, as in Keras. Without a seed each call draws from the global state, so that
one initializer may serve several layers.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import _random
from rnnext._checks import named, number, positive, whole_number_or_none
from rnnext.parameters import Array

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

InitializerFunction: TypeAlias = Callable[..., Array]

_TRUNCATED_STDDEV = 0.87962566103423978  # the standard deviation of a standard normal cut off at ±2


def _finished(values: npt.NDArray[Any], dtype: npt.DTypeLike | None) -> Array:
    """The array in the type asked for, C-contiguous; None is float32, as Keras's default."""
    item = np.dtype(np.float32 if dtype is None else dtype)
    if item.kind != "f":
        raise TypeError(f"initializer: dtype is {item}, expected a float type")
    return np.asarray(values, item, order="C")


def _checked_shape(owner: object, shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in shape)
    except TypeError:
        raise TypeError(f"{type(owner).__name__}: shape is {shape!r}, expected a tuple of int") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"{type(owner).__name__}: shape is {sizes}, expected sizes of at least 0")
    return sizes


class Initializer:
    """Makes the first values of a weight. A subclass defines `__call__` and, if it has arguments, `get_config`."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        """A new array of that shape."""
        raise NotImplementedError(f"{type(self).__name__}: __call__ is not defined")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """An initializer with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Zeros(Initializer):
    """All zero."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        return _finished(np.zeros(_checked_shape(self, shape), np.float32), dtype)


class Ones(Initializer):
    """All one."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        return _finished(np.ones(_checked_shape(self, shape), np.float32), dtype)


class Constant(Initializer):
    """All `value`, a number or an array that broadcasts to the shape (ready-made word vectors, say)."""

    def __init__(self, value: npt.ArrayLike = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        values = np.asarray(self.value, np.float64 if np.ndim(self.value) == 0 else None)
        try:
            full = np.broadcast_to(values, sizes)
        except ValueError:
            raise ValueError(f"Constant: value has shape {values.shape}, expected what broadcasts to {sizes}") from None
        return _finished(full.copy(), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"value": np.asarray(self.value).tolist()}


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, square or not, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number(self, "gain", gain)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        if len(sizes) != 2:
            raise ValueError(f"Identity: shape is {sizes}, expected two sizes")
        return _finished(self.gain * np.eye(*sizes), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Standard normal numbers within two standard deviations; those beyond are drawn again."""
    values = rng.standard_normal(shape).reshape(-1)
    beyond = np.flatnonzero(np.abs(values) >= 2)
    while beyond.size:
        values[beyond] = rng.standard_normal(beyond.size)
        beyond = beyond[np.abs(values[beyond]) >= 2]
    return values.reshape(shape)


class RandomNormal(Initializer):
    """Normal, with mean `mean` and standard deviation `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = number(self, "mean", mean)
        self.stddev = number(self, "stddev", stddev)
        if self.stddev < 0:
            raise ValueError(f"{type(self).__name__}: stddev is {stddev}, expected at least 0")
        self.seed = whole_number_or_none(self, "seed", seed, 0)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        return _finished(self.mean + self.stddev * _random.generator(self.seed).standard_normal(sizes), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class TruncatedNormal(RandomNormal):
    """As `RandomNormal`, but numbers further than `2 * stddev` from the mean are drawn again."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        return _finished(self.mean + self.stddev * _truncated_normal(_random.generator(self.seed), sizes), dtype)


class RandomUniform(Initializer):
    """Uniform from `minval` to `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval = number(self, "minval", minval)
        self.maxval = number(self, "maxval", maxval)
        if minval > maxval:
            raise ValueError(f"RandomUniform: maxval is {maxval}, expected at least minval, {minval}")
        self.seed = whole_number_or_none(self, "seed", seed, 0)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        return _finished(_random.generator(self.seed).uniform(self.minval, self.maxval, sizes), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit: the last two sizes, each times the product of those before (a convolution's window)."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


class VarianceScaling(Initializer):
    """Mean 0 and variance `scale / n`, where n is the number of inputs, of outputs, or their mean, by `mode`.

    `distribution`: "truncated_normal" (or "normal"; cut off at two standard deviations, the variance being that after the cut),
    "untruncated_normal", "uniform".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
        distribution: Literal["truncated_normal", "normal", "untruncated_normal", "uniform"] = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        positive(self, "scale", scale)
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"{type(self).__name__}: mode is {mode!r}, expected 'fan_in', 'fan_out' or 'fan_avg'")
        name = str(distribution).lower()
        if name not in ("truncated_normal", "normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"{type(self).__name__}: distribution is {distribution!r}, expected 'truncated_normal', 'untruncated_normal'"
                f" or 'uniform'"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = "truncated_normal" if name == "normal" else name
        self.seed = whole_number_or_none(self, "seed", seed, 0)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        fan_in, fan_out = _fans(sizes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        rng = _random.generator(self.seed)
        match self.distribution:
            case "uniform":
                limit = math.sqrt(3 * variance)
                values = rng.uniform(-limit, limit, sizes)
            case "untruncated_normal":
                values = math.sqrt(variance) * rng.standard_normal(sizes)
            case _:
                values = math.sqrt(variance) / _TRUNCATED_STDDEV * _truncated_normal(rng, sizes)
        return _finished(values, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed}


class _NamedScaling(VarianceScaling):
    """A `VarianceScaling` in which everything but the seed is fixed."""

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_NamedScaling):
    """Uniform within ±√(6 / (fan_in + fan_out))."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(_NamedScaling):
    """Truncated normal with variance 2 / (fan_in + fan_out)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(_NamedScaling):
    """Uniform within ±√(6 / fan_in)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(_NamedScaling):
    """Truncated normal with variance 2 / fan_in."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(_NamedScaling):
    """Uniform within ±√(3 / fan_in)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(_NamedScaling):
    """Truncated normal with variance 1 / fan_in."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class Orthogonal(Initializer):
    """`gain` times a matrix whose rows, or columns if those are fewer, are orthonormal; uniform over all such matrices.

    All sizes but the last are taken together as rows. A recurrent kernel `[H, G*H]` is one such matrix, as in Keras.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = number(self, "gain", gain)
        self.seed = whole_number_or_none(self, "seed", seed, 0)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
        sizes = _checked_shape(self, shape)
        if len(sizes) < 2:
            raise ValueError(f"Orthogonal: shape is {sizes}, expected at least two sizes")
        rows, columns = math.prod(sizes[:-1]), sizes[-1]
        normal = _random.generator(self.seed).standard_normal((max(rows, columns), min(rows, columns)))
        Q, R = np.linalg.qr(normal)
        Q *= np.where(np.diag(R) < 0, -1.0, 1.0)  # else Q would depend on how the library chooses signs
        return _finished(self.gain * (Q if rows >= columns else Q.T).reshape(sizes), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


# Keras's other names for them.
constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros

_CLASSES: tuple[type[Initializer], ...] = (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
)
# GlorotUniform is also glorot_uniform; and the other names that Keras knows.
_NAMES: dict[str, type[Initializer]] = {
    **{kind.__name__: kind for kind in _CLASSES},
    **{re.sub(r"\B([A-Z])", r"_\1", kind.__name__).lower(): kind for kind in _CLASSES},
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
    "normal": RandomNormal,
    "one": Ones,
    "uniform": RandomUniform,
    "zero": Zeros,
}


def get(identifier: str | Mapping[str, Any] | type[Initializer] | InitializerFunction) -> InitializerFunction:
    """An initializer from a name ("glorot_uniform", "GlorotUniform"), from what `serialize` returned, or from a class.

    An initializer is returned as it is, and so is any function that takes `(shape, dtype)`. ValueError for an unknown name.
    """
    if isinstance(identifier, str | Mapping):
        return named("initializers.get", "initializer", _NAMES, identifier)
    if isinstance(identifier, type):
        if issubclass(identifier, Initializer):
            return identifier()
    elif callable(identifier):
        return identifier
    raise TypeError(f"initializers.get: identifier is {identifier!r}, expected a name, a dict, an initializer or a function")


# Where weights will be set from a file: how many numbers that has.
_numbers_to_come: ContextVar[int | None] = ContextVar("rnnext_numbers_to_come", default=None)


@contextlib.contextmanager
def without_drawing(numbers: int) -> Iterator[None]:
    """In this block, and this thread, layers get zeros from `first_values`: their weights will be set to `numbers` numbers.

    Nothing is drawn then, which takes seconds for a large layer. A weight of more numbers is a ValueError, since a damaged file
    may describe layers that no memory can hold.
    """
    token = _numbers_to_come.set(numbers)
    try:
        yield
    finally:
        _numbers_to_come.reset(token)


def first_values(initializer: InitializerFunction, shape: Sequence[int], dtype: npt.DTypeLike | None = "float32") -> Array:
    """What a layer's weight starts from: what the initializer makes, or zeros inside `without_drawing`. It is to be copied."""
    numbers = _numbers_to_come.get()
    if numbers is None:
        return initializer(shape, dtype)
    if math.prod(shape) > numbers:
        raise ValueError(
            f"a weight has shape {tuple(shape)}, expected at most the {numbers} numbers that there are for all weights"
        )
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def serialize(initializer: InitializerFunction) -> dict[str, Any]:
    """The class's name and its arguments, for `get`.

    TypeError for a function, which cannot be written down, ValueError for a class that is not from this module.
    """
    if not isinstance(initializer, Initializer):
        raise TypeError(f"initializers.serialize: initializer is {initializer!r}, expected an instance of an initializer class")
    name = type(initializer).__name__
    if _NAMES.get(name) is not type(initializer):
        raise ValueError(f"initializers.serialize: initializer is a {name}, expected one of this module's, to be read again")
    return {"class_name": name, "config": initializer.get_config()}
