"""What every layer is: weights, and a forward pass that returns its own backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from rnnext._checks import flag
from rnnext.parameters import Array, Gradient, Gradients, Parameter

Mask: TypeAlias = npt.NDArray[np.bool_]
Shape: TypeAlias = tuple[int | None, ...]
RowShape: TypeAlias = Sequence[int | None]  # of an input without its batch axis, as a caller says it
_Layer = TypeVar("_Layer", bound="Layer")


class Backprop(Protocol):
    """The backward pass of one call."""

    def __call__(self, dy: Any, *, need_dx: bool = True) -> Gradients:
        """Gradients for dy, which has y's form; those of the inputs may be None without `need_dx`."""


@dataclass(frozen=True)
class Gather:
    """An embedding's output `table[ids]`, [B, T, D], whose rows have not been copied together yet."""

    ids: npt.NDArray[np.int32]  # [B, T]
    table: Parameter  # [V, D]
    backprop: Backprop  # dy is the table's RowGradient
    lasting: bool = True  # the table outlives the call, so what is derived from it is worth keeping

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, T, D], that of the array which it stands for."""
        return (*self.ids.shape, self.table.shape[1])


class _HasWeights(Protocol):
    name: str

    @property
    def weights(self) -> list[Parameter]: ...

    @property
    def trainable_weights(self) -> list[Parameter]: ...

    @property
    def non_trainable_weights(self) -> list[Parameter]: ...


class Weighted:
    """What layers and models have in common: access to their weights."""

    @property
    def non_trainable_weights(self: _HasWeights) -> list[Parameter]:
        """The weights that training leaves as they are."""
        trainable = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trainable]

    @property
    def variables(self: _HasWeights) -> list[Parameter]:
        """Another name of `weights`."""
        return self.weights

    @property
    def trainable_variables(self: _HasWeights) -> list[Parameter]:
        """Another name of `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self: _HasWeights) -> list[Parameter]:
        """Another name of `non_trainable_weights`."""
        return self.non_trainable_weights

    def count_params(self: _HasWeights) -> int:
        """The number of floats in the weights."""
        return sum(weight.storage.size for weight in self.weights)

    def get_weights(self: _HasWeights) -> list[Array]:
        """Copies of the weights, in Keras's order and layout."""
        return [weight.value.copy() for weight in self.weights]

    def set_weights(self: _HasWeights, weights: Sequence[npt.ArrayLike]) -> None:
        """Set all weights, in Keras's order and layout. TypeError or ValueError if one does not fit; then none has changed."""
        assign_all(self.name, self.weights, weights)


class Layer(Weighted):
    """A step of a model. A layer holds weights and never remembers a call: what `forward` returns is the memory.

    `y, backprop = layer.forward(x)` computes and `backprop(dy)` gives `Gradients` for inputs and weights; `layer(x)` is y
    alone and keeps nothing for a backward pass. The first axis of x is the batch. `build` makes the weights, or the first call.
    """

    takes_gather: bool = False  # forward accepts a Gather in place of the array
    vocabulary: int | None = None  # x holds ids below this number; None: x is no ids
    several_outputs: str | None = None  # the argument that makes y a tuple, as "return_state=True"
    stateful: bool = False  # y depends on the calls before
    kept_states: tuple[Array, ...] = ()  # of a stateful layer: where the next call starts; (): from zeros

    def __init__(self, *, name: str | None = None, trainable: bool = True, input_shape: RowShape | None = None) -> None:
        """`input_shape` is what an `Input` before the layer would say, where the layer is the first of a model."""
        if name is not None and (not isinstance(name, str) or not name):
            raise TypeError(f"{type(self).__name__}: name is {name!r}, expected a str that is not empty")
        self.given_name = name
        self.name = name if name is not None else _snake_case(type(self).__name__)
        self.trainable = trainable
        self.models = 0  # how many models have this layer, or a layer that holds it
        self.given_input_shape = None if input_shape is None else check_row_shape(self.name, "input_shape", input_shape)
        self.built = False
        self.weights: list[Parameter] = []

    # ------------------------------------------------------------ what a layer computes

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of that shape, batch axis included (None: any size), unless they have been made."""
        if not self.built:
            self.weights = self.make_weights(tuple(input_shape))
            self.built = True

    def make_weights(self, input_shape: Shape) -> list[Parameter]:
        """New weights in Keras's order. ValueError if the layer does not take inputs of that shape."""
        return []

    def forward(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> tuple[Any, Backprop]:
        """(y, backprop) for x; `mask` [B, T] is True where there is a token."""
        raise NotImplementedError(
            f"{type(self).__name__}: forward is not defined, expected one that returns (y, backprop), as Keras's call does not"
        )

    def __call__(self, x: Any, *, training: bool = False, mask: Mask | None = None) -> Any:
        return self.forward(x, training=training, mask=mask)[0]

    def compute_mask(self, x: Any, mask: Mask | None = None) -> Mask | None:
        """The mask of the output, from the input and its mask."""
        return mask

    @property
    def turns(self) -> bool:
        """Whether the output has the steps in reverse order, so that the steps of shorter rows are at the end."""
        return False

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The output's shape, batch axis included. ValueError if the layer does not take that input."""
        return tuple(input_shape)

    # ------------------------------------------------------------ weights and configuration

    @property
    def trainable(self) -> bool:
        """Whether training changes the layer's weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag(self.name, "trainable", value)

    def with_parts(self) -> list[Layer]:
        """The layer, and all layers inside it."""
        return [self]

    def discard_weights(self) -> None:
        """Return to the state before `build`."""
        self.weights, self.built = [], False

    def generators(self) -> dict[str, np.random.Generator]:
        """What the layer draws from, by the name of the layer: saved with a model, so that it continues where it was."""
        return {}

    def rename(self, name: str) -> None:
        """Give the layer and its weights another name."""
        for weight in self.weights:
            weight.name = f"{name}/{weight.name.rpartition('/')[2]}"
        self.name = name

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The weights that training changes."""
        return [weight for weight in self.weights if weight.trainable] if self.trainable else []

    def weight(self, name: str) -> Parameter:
        """The weight of that name, which is without the layer's. AttributeError, for properties, if there is none (yet)."""
        for weight in self.weights:
            if weight.name.rpartition("/")[2] == name:
                return weight
        yet = "" if self.built else " yet, expected build, or a first call, before"
        raise AttributeError(f"{self.name}: there is no {name}{yet}")

    def of_trainable(self, gradients: Sequence[Gradient]) -> list[Gradient]:
        """The gradients of the trainable weights, out of those of all weights."""
        if not self.trainable:
            return []
        return [gradient for gradient, weight in zip(gradients, self.weights, strict=True) if weight.trainable]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        return {"name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls: type[_Layer], config: dict[str, Any]) -> _Layer:
        """A layer with these arguments, without weights."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def turned(stack: Iterable[Layer]) -> bool:
    """Whether the layers, one after the other, reverse the order of the steps."""
    return sum(layer.turns for layer in stack) % 2 == 1


def assign_all(owner: str, parameters: Sequence[Parameter], values: Sequence[npt.ArrayLike]) -> None:
    """Check all values, then assign them. TypeError or ValueError if one does not fit; then none has been assigned."""
    if len(values) != len(parameters):
        names = ", ".join(f"{p.name} {p.shape}" for p in parameters) or "none; is it built?"
        raise ValueError(f"{owner}: set_weights got {len(values)} arrays, expected {len(parameters)}: {names}")
    arrays = [np.asarray(value) for value in values]
    for parameter, array in zip(parameters, arrays, strict=True):
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{parameter.name}: value has dtype {array.dtype}, expected numbers")
        if array.shape != parameter.shape:
            raise ValueError(f"{parameter.name}: value has shape {array.shape}, expected {parameter.shape}")
    for parameter, array in zip(parameters, arrays, strict=True):
        parameter.assign(array)


def _snake_case(name: str) -> str:
    """Keras's way from a class to a layer's name: LSTM -> lstm, SpatialDropout1D -> spatial_dropout1d."""
    parts = []
    for i, letter in enumerate(name):
        if letter.isupper() and i > 0 and (name[i - 1].islower() or name[i + 1 : i + 2].islower()):
            parts.append("_")
        parts.append(letter.lower())
    return "".join(parts)


def given_array(layer: Layer, x: object, expected: str) -> npt.NDArray[Any]:
    """x itself. TypeError unless it is a NumPy array."""
    if isinstance(x, Layer):
        raise TypeError(
            f"{layer.name}: x is the layer {x.name}, expected a NumPy array {expected}: there is no functional API,"
            " layers are put into a Sequential"
        )
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{layer.name}: x is a {type(x).__name__}, expected a NumPy array {expected}")
    return x


def float_input(layer: Layer, x: object, axes: str, dtype: npt.DTypeLike = np.float32) -> Array:
    """x as an array of `dtype`. TypeError or ValueError unless it is a float array with those axes, as "[B, T, I]"."""
    x = given_array(layer, x, axes)
    if x.dtype.kind != "f":
        raise TypeError(f"{layer.name}: x has dtype {x.dtype}, expected {np.dtype(dtype)}")
    expected = axes.count(",") + 1
    if x.ndim != expected and not (axes.startswith("[B, ...") and x.ndim >= 2):
        raise ValueError(f"{layer.name}: x has shape {x.shape}, expected {axes} ({expected} dimensions)")
    return x if x.dtype == dtype else x.astype(dtype)


def real_array(layer: Layer, name: str, value: object, dtype: npt.DTypeLike = np.float32) -> Array:
    """The value as an array of `dtype`. TypeError unless it holds real numbers: NumPy would drop an imaginary part."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{layer.name}: {name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return np.asarray(array, dtype)


def output_gradient(layer: Layer, dy: object, shape: tuple[int, ...]) -> Array:
    """dy as a float32 array. TypeError or ValueError unless it holds real numbers in the shape of the layer's output."""
    array = real_array(layer, "dy", dy)
    if array.shape != shape:
        raise ValueError(f"{layer.name}: dy has shape {array.shape}, expected {shape} as y")
    return array


def check_dtype(layer: Layer, dtype: Any, *known: str) -> np.dtype[Any]:
    """The type; None is the first of those that the layer computes in, as in Keras. ValueError for one that it does not."""
    for name in known:
        if dtype is None or dtype in (name, np.dtype(name)):
            return np.dtype(name)
    raise ValueError(f"{layer.name}: dtype is {dtype!r}, expected {' or '.join(map(repr, known))}")


def check_row_shape(owner: str, argument: str, shape: RowShape) -> Shape:
    """The shape of a row as a tuple. ValueError unless its sizes are None or at least 1."""
    if isinstance(shape, str) or not isinstance(shape, Sequence) or not all(_is_size(size) for size in shape):
        raise ValueError(f"{owner}: {argument} is {shape!r}, expected sizes from 1 on or None, as (200,)")
    return tuple(shape)


def _is_size(size: object) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)


def check_rank(layer: Layer, shape: Shape, axes: str) -> None:
    """ValueError unless a model's input to the layer has those axes, as "(B, T, I)"."""
    if len(shape) != axes.count(",") + 1:
        without_steps = len(shape) == 2 and axes.startswith("(B, T, ")
        hint = "; a recurrent layer before it needs return_sequences=True" if without_steps else ""
        raise ValueError(f"{layer.name}: input has shape {shape}, expected {axes}{hint}")


def check_features(layer: Layer, shape: Shape, symbol: str) -> None:
    """ValueError unless a model's input has as many features as the layer's kernel."""
    expected = layer.weights[0].shape[0] if layer.built else None
    if expected is not None and shape[-1] != expected:
        raise ValueError(f"{layer.name}: input has shape {shape}, expected {symbol}={expected} features as its weights have")


def check_mask(layer: Layer, mask: object, rows: int, positions: int) -> Mask:
    """The mask itself. TypeError or ValueError unless it is a boolean array [B, T]."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        what = f"has dtype {mask.dtype}" if isinstance(mask, np.ndarray) else f"is a {type(mask).__name__}"
        raise TypeError(f"{layer.name}: mask {what}, expected a NumPy array of bool [B, T]")
    if mask.shape != (rows, positions):
        raise ValueError(f"{layer.name}: mask has shape {mask.shape}, expected ({rows}, {positions}) = [B, T]")
    return mask
