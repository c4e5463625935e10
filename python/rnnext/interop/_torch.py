"""PyTorch: the arrays of a state_dict, or of a safetensors file of one. Nothing here imports PyTorch.

PyTorch's weights are ours transposed. An LSTM has the same order of gates, and two biases, whose sum is ours; a GRU has the
order r z n and is the form with `reset_after`, the only one that can be converted. `proj_size` is our `projection`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnnext import saving
from rnnext.interop._weights import (
    CellName,
    Tensors,
    cell_of,
    cell_weights,
    checked_cells,
    expect_convertible,
    gates_of,
    in_branches,
    in_order,
    is_recurrent,
    layer_values,
    leaves,
    weighted_layers,
)
from rnnext.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Layer
from rnnext.models import Sequential
from rnnext.ops import CellWeights, GivenWeights
from rnnext.parameters import Array

StateDict: TypeAlias = Mapping[str, Any]  # of NumPy arrays, or of whatever np.asarray takes
_Path: TypeAlias = str | os.PathLike[str]

_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # of the gates; its own inverse
# Options that a module has weights for, and options that the weights do not depend on.
_KNOWN = {"projection", "dtype", "stateful", "return_state", "zero_output_for_mask"}


def from_torch(source: StateDict | _Path, model: Sequential, *, names: Mapping[str, str] | None = None) -> Sequential:
    """Set the weights of `model`, which is returned, from a state_dict or a safetensors file of one.

    A layer takes the tensors of the module that has its name, or of the one that `names` gives for it, as
    {"lstm": "encoder.rnn"}; "" means that the state_dict is that of the module itself. Recurrent layers with the same module
    are its layers l0, l1, ... in the model's order. Embedding stands for nn.Embedding, Dense (in a TimeDistributed or not) for
    nn.Linear, LSTM and GRU for nn.LSTM (`projection`: its proj_size) and nn.GRU, a Bidirectional for both directions of one. A
    layer in Branches has the name "branches/lstm" and the module branches.lstm. Everything else about a layer (activation,
    `go_backwards`, padding) is not in a state_dict. With `update_gate="write"` the update gate is negated, which is exact.
    ValueError for a GRU with `reset_after=False` and other layers that PyTorch does not have, and for tensors that are missing,
    left over, or of another shape; then nothing has changed.
    """
    who = "from_torch"
    tensors = _tensors(who, source)
    values: list[Array] = []
    for layer, module, suffix in _modules(who, model, names):
        if isinstance(layer, LSTM | GRU):
            projected = "projection" in layer.weight_names
            sizes = _Sizes(layer.weights[0].shape[0], layer.units, layer.outputs if projected else 0)
            weights = _cell(tensors, cell_of(layer), module, suffix, sizes, biased=layer.use_bias)
            values += layer_values(who, f"{tensors.source}, {module}*_{suffix},", layer, weights)
        elif isinstance(layer, Embedding):
            values.append(tensors.get(f"{module}weight", layer.weights[0].shape, "[V, D]"))
        else:
            values.append(tensors.get(f"{module}weight", layer.weights[0].shape[::-1], "[units, F]").T)
            if len(layer.weights) == 2:
                values.append(tensors.get(f"{module}bias", layer.weights[1].shape, "[units]"))
    tensors.expect_all_asked()
    model.set_weights(values)
    return model


def to_torch(model: Sequential, path: _Path | None = None, *, names: Mapping[str, str] | None = None) -> dict[str, Array]:
    """The model's weights as a state_dict of NumPy arrays, written as safetensors to `path` if that is given.

    `names` is as in `from_torch`. `update_gate="write"` is converted exactly, by negating the update gate. ValueError for a GRU
    with `reset_after=False` and other layers that PyTorch does not have.
    """
    found: dict[str, Array] = {}
    for layer, module, suffix in _modules("to_torch", model, names):
        if is_recurrent(layer):
            part = _state(cell_of(layer), cell_weights(layer), module, suffix)
        else:
            weights = layer.get_weights()
            part = {f"{module}weight": weights[0] if isinstance(layer, Embedding) else np.ascontiguousarray(weights[0].T)}
            if len(weights) == 2:
                part[f"{module}bias"] = weights[1]
        twice = found.keys() & part.keys()
        if twice:
            raise ValueError(f"to_torch: {sorted(twice)[0]} would be of two layers; names gives both the same module")
        found |= part
    if path is not None:
        saving.write_file(path, saving.arrays_to_bytes(found))
    return found


def weights_from_torch(source: StateDict | _Path, cell: CellName, *, prefix: str = "") -> list[CellWeights]:
    """The weights of an nn.LSTM or nn.GRU with all its layers and directions, as `rnnext.ops` takes them.

    `prefix` is what its tensors' names begin with, as "encoder.rnn."; other tensors are ignored. ValueError for tensors that
    are missing or of another shape.
    """
    who = "weights_from_torch"
    gates = gates_of(who, cell)
    tensors = _tensors(who, source, prefix)
    bidirectional = f"{prefix}weight_ih_l0_reverse" in tensors.arrays
    biased = f"{prefix}bias_ih_l0" in tensors.arrays
    found = list[CellWeights]()
    while not found or any(name.startswith(f"{prefix}weight_ih_l{_layer(found, bidirectional)}") for name in tensors.arrays):
        number = _layer(found, bidirectional)
        for suffix in (f"l{number}", f"l{number}_reverse")[: 2 if bidirectional else 1]:
            recurrent, kernel = (tensors.get(f"{prefix}weight_{of}_{suffix}", None) for of in ("hh", "ih"))
            projected = f"{prefix}weight_hr_{suffix}" in tensors.arrays and cell == "lstm"
            of_h = f"[{gates}H, {'P' if projected else 'H'}]"
            for of, array, form in (("hh", recurrent, of_h), ("ih", kernel, f"[{gates}H, I]")):
                fits = array.ndim == 2 and array.shape[0] % gates == 0
                if not fits or (of == "hh" and not projected and array.shape[0] != gates * array.shape[1]):
                    raise ValueError(
                        f"{who}: {prefix}weight_{of}_{suffix} has shape {array.shape}, expected {form} of nn.{cell.upper()}"
                    )
            width = recurrent.shape[1]
            units = recurrent.shape[0] // gates
            if found:  # a layer is as wide as the first
                units, width = found[0].recurrent_kernel.shape[1] // gates, found[0].recurrent_kernel.shape[0]
                projected = found[0].projection is not None
            inputs = (2 if bidirectional else 1) * width if number else kernel.shape[-1]
            sizes = _Sizes(inputs, units, width if projected else 0)
            found.append(_cell(tensors, cell, prefix, suffix, sizes, biased=biased))
    tensors.expect_all_asked()
    return found


def weights_to_torch(
    weights: GivenWeights,
    cell: CellName,
    *,
    bidirectional: bool = False,
    update_gate: str = "keep",
    prefix: str = "",
) -> dict[str, Array]:
    """The state_dict of an nn.LSTM or nn.GRU with the weights that `rnnext.ops` takes, a GRU's with `reset_after`."""
    who = "weights_to_torch"
    cells = checked_cells(
        who, cell, weights, bidirectional=bidirectional, reset_after=True, update_gate=update_gate, known=("projection",)
    )
    found: dict[str, Array] = {}
    for n, one in enumerate(cells):
        suffix = f"l{n // 2}{'_reverse' if n % 2 else ''}" if bidirectional else f"l{n}"
        found |= _state(cell, one, prefix, suffix)
    return found


def _layer(found: list[CellWeights], bidirectional: bool) -> int:
    return len(found) // (2 if bidirectional else 1)


def _tensors(who: str, source: StateDict | _Path, prefix: str = "") -> Tensors:
    if isinstance(source, str | os.PathLike):
        return Tensors(who, str(source), _with_prefix(saving.arrays_from_file(Path(source)), prefix))
    if not isinstance(source, Mapping):
        raise TypeError(f"{who}: source is a {type(source).__name__}, expected a state_dict or the path of a safetensors file")
    return Tensors(who, "the state_dict", _with_prefix(source, prefix))


def _with_prefix(arrays: StateDict, prefix: str) -> dict[str, Any]:
    return {name: array for name, array in arrays.items() if name.startswith(prefix)}


class _Sizes(NamedTuple):
    """The sizes of a layer in one direction: I, H and P, which is 0 without a projection."""

    inputs: int
    units: int
    projected: int


def _modules(who: str, model: Sequential, names: Mapping[str, str] | None) -> list[tuple[Layer, str, str]]:
    """Each layer that has weights, with the prefix of its tensors' names and, if it is recurrent, their suffix."""
    layers = [part for layer in weighted_layers(who, model) for part in in_branches(layer)]
    unknown = [name for name in names or () if name not in [layer.name for layer in layers]]
    if unknown:
        raise ValueError(
            f"{who}: names has {unknown[0]!r}, expected layers with weights: {', '.join(layer.name for layer in layers)}"
        )
    found, stacks = list[tuple[Layer, str, str]](), dict[str, list[Layer]]()
    for layer in layers:
        module = (names or {}).get(layer.name, layer.name.replace("/", "."))
        suffixes = [""]
        parts = leaves(layer)
        if is_recurrent(parts[0]):
            stack = stacks.setdefault(module, [])
            stack.append(layer)
            if isinstance(layer, Bidirectional) != isinstance(stack[0], Bidirectional):
                raise ValueError(
                    f"{who}: {layer.name} and {stack[0].name} are one module, expected both of one or of two directions"
                )
            number = f"l{len(stack) - 1}"
            suffixes = [number, f"{number}_reverse"]
        for part, suffix in zip(parts, suffixes, strict=False):
            _expect_of_torch(who, part)
            found.append((part, module and f"{module}.", suffix))
    return found


def _expect_of_torch(who: str, layer: Layer) -> None:
    """ValueError for a layer that PyTorch does not have."""
    if is_recurrent(layer):
        expect_convertible(who, layer, _KNOWN)
        if getattr(layer, "reset_after", True) is False:
            raise ValueError(
                f"{who}: {layer.name} has reset_after=False, which cannot be converted exactly: PyTorch's GRU resets"
                " after the recurrent product"
            )
    elif type(layer) not in (Embedding, Dense):
        raise ValueError(
            f"{who}: {layer.name} is a {type(layer).__name__}, which PyTorch does not have, expected Embedding, LSTM, GRU,"
            " Dense, or layers without weights; to_onnx writes the others too"
        )


def _cell(tensors: Tensors, cell: CellName, prefix: str, suffix: str, sizes: _Sizes, *, biased: bool) -> CellWeights:
    """One layer's and direction's weights in Keras's layout."""
    inputs, units, projected = sizes
    gates, order = gates_of(tensors.who, cell), _ORDER[cell]
    name = f"{prefix}weight_hr_{suffix}"
    if name in tensors.arrays and not projected:
        raise ValueError(f"{tensors.who}: {tensors.source} has {name}, a projection (proj_size), expected a cell without")
    kernel = tensors.get(f"{prefix}weight_ih_{suffix}", (gates * units, inputs), f"[{gates}H, I]")
    form = f"[{gates}H, {'P' if projected else 'H'}]"
    recurrent = tensors.get(f"{prefix}weight_hh_{suffix}", (gates * units, projected or units), form)
    bias = projection = None
    if biased:
        two = [tensors.get(f"{prefix}bias_{of}_{suffix}", (gates * units,), f"[{gates}H]") for of in ("ih", "hh")]
        bias = two[0] + two[1] if cell == "lstm" else in_order(np.stack(two), order)
    if projected:
        projection = tensors.get(name, (projected, units), "[P, H]").T
    return CellWeights(in_order(kernel.T, order), in_order(recurrent.T, order), bias, projection=projection)


def _state(cell: CellName, weights: CellWeights, prefix: str, suffix: str) -> dict[str, Array]:
    """One layer's and direction's tensors."""
    order, bias = _ORDER[cell], weights.bias
    found = {
        f"{prefix}weight_ih_{suffix}": np.ascontiguousarray(in_order(weights.kernel, order).T),
        f"{prefix}weight_hh_{suffix}": np.ascontiguousarray(in_order(weights.recurrent_kernel, order).T),
    }
    if bias is not None:
        two = in_order(bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)]), order)
        found |= {f"{prefix}bias_ih_{suffix}": two[0].copy(), f"{prefix}bias_hh_{suffix}": two[1].copy()}
    if weights.projection is not None:
        found[f"{prefix}weight_hr_{suffix}"] = np.ascontiguousarray(weights.projection.T)
    return found
