"""What all conversions share: gate blocks, the meaning of the update gate, a model's layers, tensors looked up by name.

Knows no framework.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext.layers import GRU, LSTM, Bidirectional, Branches, Layer, TimeDistributed
from rnnext.models import Sequential
from rnnext.ops import CellWeights, GivenWeights, check_weights
from rnnext.parameters import Array

CellName: TypeAlias = Literal["lstm", "gru"]


# Options of a recurrent layer that every conversion handles, or that only matter in training.
_CONVERTED = {"name", "trainable", "units", "use_bias", "unit_forget_bias", "return_sequences", "go_backwards", "reset_after"}
_CONVERTED |= {"update_gate", "segment", "truncate", "dropout", "recurrent_dropout", "recurrent_weight_dropout", "seed"}
_CONVERTED |= {"input_length"}


def needed(module: str) -> Any:
    """A module of another framework. ModuleNotFoundError says how to get it."""
    try:
        importlib.import_module(module.partition(".")[0])  # which an error is to name
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}, which this needs: pip install 'rnnext[interop]'", name=error.name) from error


def in_order(array: Array, order: Sequence[int]) -> Array:
    """The gate blocks of the last axis in another order."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[n] for n in order], axis=-1)


def with_other_update_gate(weights: CellWeights) -> CellWeights:
    """The GRU whose update gate means the opposite: 1 - σ(a) = σ(-a), so the z blocks are negated, which is exact."""
    units = weights.recurrent_kernel.shape[0]

    def negated(array: Array) -> Array:
        return np.concatenate([-array[..., :units], array[..., units:]], axis=-1)

    bias = None if weights.bias is None else negated(weights.bias)
    return weights._replace(kernel=negated(weights.kernel), recurrent_kernel=negated(weights.recurrent_kernel), bias=bias)


def gates_of(who: str, cell: object) -> int:
    """The number of gates; ValueError if there is no such cell."""
    if cell not in ("lstm", "gru"):
        raise ValueError(f"{who}: cell is {cell!r}, expected 'lstm' or 'gru'")
    return 4 if cell == "lstm" else 3


def checked_cells(
    who: str,
    cell: CellName,
    weights: GivenWeights,
    *,
    bidirectional: bool,
    reset_after: bool,
    update_gate: str,
    known: Container[str],
) -> list[CellWeights]:
    """Weights as `rnnext.ops` takes them, checked, as those of an update gate that keeps. ValueError for terms not `known`."""
    gates_of(who, cell)
    if update_gate not in ("keep", "write"):
        raise ValueError(f"{who}: update_gate is {update_gate!r}, expected 'keep' or 'write'")
    form: Any = cell if cell == "lstm" else "gru_reset_after" if reset_after else "gru_reset_before"
    checked = check_weights(who, form, weights, None, 2 if bidirectional else 1)
    for name in CellWeights._fields[3:]:
        if getattr(checked[0], name) is not None and name not in known:
            raise ValueError(f"{who}: weights[0]: {name} is given, which has no counterpart on the other side")
    return [with_other_update_gate(w) for w in checked] if update_gate == "write" else checked


# ---------------------------------------------------------------- a model's layers


def is_recurrent(layer: Layer) -> bool:
    return isinstance(layer, LSTM | GRU)


def in_branches(layer: Layer) -> list[Layer]:
    """The layers with weights inside Branches; of another layer itself, if it has weights."""
    if not isinstance(layer, Branches):
        return [layer] if layer.weights else []
    return [found for part in layer.parts for found in in_branches(part)]


def leaves(layer: Layer) -> list[Layer]:
    """The layers that have weights of their own: both directions, the wrapped layer, else the layer itself."""
    return (
        [leaf for part in layer.parts for leaf in leaves(part)]
        if isinstance(layer, Bidirectional | TimeDistributed)
        else [layer]
    )


def expect_convertible(who: str, layer: Layer, known: Container[str] = ()) -> None:
    """ValueError if the layer uses an option that changes what it computes and is not `known` to the conversion."""
    arguments = inspect.signature(type(layer)).parameters
    for option, value in layer.get_config().items():
        only_trains = option.endswith(("initializer", "regularizer", "constraint"))
        plain = not value or value == getattr(arguments.get(option), "default", None)
        if not plain and not only_trains and option not in _CONVERTED and option not in known:
            raise ValueError(f"{who}: {layer.name} has {option}={value!r}, which has no counterpart on the other side")


def cell_of(layer: Layer) -> CellName:
    return "lstm" if isinstance(layer, LSTM) else "gru"


def cell_weights(layer: Layer) -> CellWeights:
    """A recurrent layer's weights, as those of an update gate that keeps."""
    assert isinstance(layer, LSTM | GRU)
    weights = CellWeights(**dict(zip(layer.weight_names, layer.get_weights(), strict=True)))
    return with_other_update_gate(weights) if getattr(layer, "update_gate", "keep") == "write" else weights


def layer_values(who: str, what: str, layer: Layer, weights: CellWeights) -> list[Array]:
    """What to assign to a recurrent layer's weights, from the weights of `what`, whose update gate keeps.

    ValueError if one of the two has a bias, a projection or the like that the other does not have.
    """
    assert isinstance(layer, LSTM | GRU)
    for name, array in weights._asdict().items():
        if (array is not None) != (name in layer.weight_names):
            has = f"has a {name}, expected none" if array is not None else f"has no {name}, expected one"
            raise ValueError(f"{who}: {what} {has} as {layer.name} has {', '.join(layer.weight_names)}")
    if getattr(layer, "update_gate", "keep") == "write":
        weights = with_other_update_gate(weights)
    return [getattr(weights, name) for name in layer.weight_names]


def weighted_layers(who: str, model: Sequential) -> list[Layer]:
    """The model's layers that have weights. ValueError if the model has not been built."""
    if not isinstance(model, Sequential):
        raise TypeError(f"{who}: model is a {type(model).__name__}, expected a Sequential")
    if not model.built:
        raise ValueError(f"{who}: {model.name} has no weights yet, call build first")
    return [layer for layer in model.layers if layer.weights]


# ---------------------------------------------------------------- tensors by name


class Tensors:
    """The named arrays of a source, and which of them were asked for."""

    def __init__(self, who: str, source: str, arrays: Mapping[str, Any]) -> None:
        self.who = who
        self.source = source
        self.arrays = arrays
        self.asked: set[str] = set()

    def _array(self, name: str) -> npt.NDArray[Any]:
        """The array of that name. ValueError if there is none, TypeError if it cannot be read."""
        if name not in self.arrays:
            raise ValueError(f"{self.who}: {self.source} has no {name}, found {listed(self.arrays)}")
        self.asked.add(name)
        try:
            return np.asarray(self.arrays[name])
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{self.who}: {name} cannot be read as an array ({error})") from error

    def whole_numbers(self, name: str) -> npt.NDArray[np.int64]:
        """The array of that name, [N] whole numbers. ValueError if it is something else."""
        array = self._array(name)
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise ValueError(f"{self.who}: {name} has shape {array.shape} and dtype {array.dtype}, expected [N] whole numbers")
        return array.astype(np.int64)

    def get(self, name: str, shape: tuple[int, ...] | None, means: str = "") -> Array:
        """The array of that name as float64 or float32. ValueError for another shape, which `means` explains; TypeError unless
        it holds floats.
        """
        array = self._array(name)
        if array.dtype.kind != "f":
            raise TypeError(f"{self.who}: {name} has dtype {array.dtype}, expected floats")
        if shape is not None and array.shape != shape:
            raise ValueError(f"{self.who}: {name} has shape {array.shape}, expected {shape}{means and f' = {means}'}")
        return array if array.dtype == np.float64 else array.astype(np.float32)

    def expect_all_asked(self) -> None:
        """ValueError if there are arrays that nobody asked for: they belong to another model."""
        extra = [name for name in self.arrays if name not in self.asked]
        if extra:
            raise ValueError(f"{self.who}: {self.source} has {listed(extra)}, which the model has no place for")


def listed(names: Iterable[str], most: int = 12) -> str:
    """A list of names for an error, cut off after `most` of them."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "nothing"
