"""From ONNX: the weights of a whole graph or of an LSTM or GRU node. `_onnx_graph.py` writes graphs.

A node's weights are ours transposed, with a leading axis of directions. An LSTM has its gates in the order i o f c, a GRU in
ours, z r h. `linear_before_reset` is our `reset_after`; peepholes, `clip` and `input_forget` are our `peephole`, `clip` and
`coupled`. Needs the package onnx; no graph is run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._persistence import damage_in
from rnnext.interop._weights import (
    CellName,
    Tensors,
    expect_convertible,
    in_branches,
    in_order,
    layer_values,
    leaves,
    listed,
    needed,
    weighted_layers,
)
from rnnext.layers import AttentionPooling1D, BigramEmbedding, Layer
from rnnext.models import Sequential, model_to_fill
from rnnext.ops import CellWeights
from rnnext.parameters import Array

_Path: TypeAlias = str | os.PathLike[str]

_FROM_ONNX = {"lstm": (0, 2, 3, 1), "gru": (0, 1, 2)}
PEEPHOLES = [0, 2, 1]  # i f o from i o f, and back
_ACTIVATIONS = {"lstm": ["Sigmoid", "Tanh", "Tanh"], "gru": ["Sigmoid", "Tanh"]}
QUERY = "/query"  # ends the name of an attention's query
_EMBEDDINGS, _BIGRAMS = "/embeddings", "/bigrams"
PAIRS, ROWS = "/pairs", "/rows"  # the pairs' numbers, first id · V + second id, ascending; the rows of their vectors
NO_PAIR = np.iinfo(np.int64).max  # fills up the numbers after the last pair
_KNOWN = {"clip", "peepholes", "coupled", "zero_output_for_mask"}  # options of a layer that a graph can express
CONFIG = "rnnext.config"  # the key of the layers' description in the metadata


class OnnxNode(NamedTuple):
    """An LSTM or GRU node: its weights as `rnnext.ops` takes them, one entry for each direction, and what it computes."""

    name: str
    cell: CellName
    weights: list[CellWeights]
    direction: Literal["forward", "reverse", "bidirectional"]
    reset_after: bool  # GRU: linear_before_reset
    clip: float | None = None  # bound of the pre-activations
    coupled: bool = False  # LSTM: input_forget, f = 1 - i


def from_onnx(source: Any, model: Sequential | None = None) -> Sequential:
    """The model of an ONNX graph (a path, the bytes, or a ModelProto).

    A graph that `to_onnx` wrote describes its layers; any other one needs `model`, whose weights are set and which is returned.
    The nodes with weights must correspond, in the graph's order, to the layers with weights: Gather to Embedding, LSTM and GRU
    nodes of one direction to LSTM and GRU, of both directions to a Bidirectional, Gemm or MatMul with Add to Dense; of Branches
    each inner layer counts by itself. All other nodes are ignored.
    ValueError for what does not fit; then nothing has changed.
    """
    who = "from_onnx"
    proto, what = _read(who, source)
    constants = _constants(who, proto)
    if model is None:
        model = _model_of(who, proto, what, sum(np.size(array) for array in constants.values()))
    stack = [part for layer in weighted_layers(who, model) for part in in_branches(layer)]
    found = _weighted(who, proto, what, constants)
    kinds = [kind for kind, _, _ in found]
    if len(found) != len(stack):
        raise ValueError(
            f"{who}: {what} has {len(found)} nodes with weights ({listed(kinds)}), expected {len(stack)}:"
            f" {listed(layer.name for layer in stack)}"
        )
    values: list[Array] = []
    for layer, (kind, name, weights) in zip(stack, found, strict=True):
        parts = leaves(layer)
        if kind != type(parts[0]).__name__:
            raise ValueError(f"{who}: node {name} is a {kind}, expected {type(parts[0]).__name__} as {layer.name}")
        arrays = _of_node(who, layer, weights) if isinstance(weights, OnnxNode) else weights
        ours = [weight for part in parts for weight in part.weights]
        if len(arrays) != len(ours):
            has = "no bias" if len(arrays) < len(ours) else "a bias"
            raise ValueError(f"{who}: node {name} has {has}, expected use_bias={len(ours) < len(arrays)} in {layer.name}")
        for array, weight in zip(arrays, ours, strict=True):
            if array.shape != weight.shape:
                raise ValueError(f"{who}: node {name} gives {weight.name} the shape {array.shape}, expected {weight.shape}")
        values += arrays
    model.set_weights(values)
    return model


def weights_from_onnx(source: Any, node: str | None = None) -> OnnxNode:
    """The LSTM or GRU node of that name, or the only one, of an ONNX graph (a path, the bytes, or a ModelProto).

    `rnnext.ops.lstm(x, node.weights, clip=node.clip, coupled=node.coupled)` and `rnnext.ops.gru(x, node.weights,
    clip=node.clip, reset_after=node.reset_after)` compute the same. ValueError if there is no such node, or if it has other
    activations.
    """
    who = "weights_from_onnx"
    proto, what = _read(who, source)
    there = [one for one in proto.graph.node if one.op_type in ("LSTM", "GRU")]
    chosen = [one for one in there if node in (None, one.name)]
    if len(chosen) != 1:
        wanted = "one LSTM or GRU node" if node is None else f"a node {node!r}"
        raise ValueError(f"{who}: {what} has {listed(one.name or one.op_type for one in there)}, expected {wanted}")
    return _recurrent(Tensors(who, what, _constants(who, proto)), chosen[0])


def _read(who: str, source: Any) -> tuple[Any, str]:
    onnx = needed("onnx")
    from google.protobuf.message import DecodeError

    if isinstance(source, onnx.ModelProto):
        return source, "the ONNX graph"
    what = "the ONNX graph" if isinstance(source, bytes) else str(source)
    try:
        proto = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(os.fspath(source))
        onnx.checker.check_model(proto)
        return proto, what
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{who}: {what}: not an ONNX model, or a damaged one ({error})") from error


def _constants(who: str, proto: Any) -> dict[str, npt.NDArray[Any]]:
    """The arrays in a graph: initializers and the values of Constant nodes."""
    tensors = {one.name: one for one in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {name: _array(who, name, tensor) for name, tensor in tensors.items()}


def _array(who: str, name: str, tensor: Any) -> npt.NDArray[Any]:
    numpy_helper = needed("onnx.numpy_helper")

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{who}: {name}, of shape {tuple(tensor.dims)}, is damaged ({error})") from error


def _attributes(node: Any) -> dict[str, Any]:
    helper = needed("onnx.helper")

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _recurrent(tensors: Tensors, node: Any) -> OnnxNode:
    who, name = tensors.who, node.name or node.op_type
    cell: CellName = "lstm" if node.op_type == "LSTM" else "gru"
    given = _attributes(node)
    direction = given.get("direction", b"forward").decode()
    directions = 2 if direction == "bidirectional" else 1
    activations = [one.decode() for one in given.get("activations", [])]
    if activations not in ([], _ACTIVATIONS[cell] * directions):
        expected = ", ".join(_ACTIVATIONS[cell])
        raise ValueError(f"{who}: node {name} has the activations {', '.join(activations)}, expected {expected}")
    inputs = [*node.input, *[""] * 8]
    gates = 4 if cell == "lstm" else 3
    recurrent = tensors.get(inputs[2], None)
    if recurrent.ndim != 3 or recurrent.shape[0] != directions or recurrent.shape[1] != gates * recurrent.shape[2]:
        raise ValueError(f"{who}: {inputs[2]} has shape {recurrent.shape}, expected ({directions}, {gates}H, H) of node {name}")
    units = recurrent.shape[2]
    if given.get("hidden_size", units) != units:
        raise ValueError(
            f"{who}: {inputs[2]} has shape {recurrent.shape}, expected H={given['hidden_size']}, node {name}'s hidden_size"
        )
    kernel = tensors.get(inputs[1], None)
    if kernel.ndim != 3 or kernel.shape[:2] != (directions, gates * units):
        raise ValueError(
            f"{who}: {inputs[1]} has shape {kernel.shape}, expected ({directions}, {gates * units}, I) = [D, {gates}H, I]"
        )
    bias = tensors.get(inputs[3], (directions, 2 * gates * units), f"[D, {2 * gates}H]") if inputs[3] else None
    peepholes = tensors.get(inputs[7], (directions, 3 * units), "[D, 3H]") if inputs[7] and cell == "lstm" else None
    reset_after = cell == "gru" and bool(given.get("linear_before_reset", 0))
    order, weights = _FROM_ONNX[cell], list[CellWeights]()
    for d in range(directions):
        two = None if bias is None else in_order(bias[d].reshape(2, -1), order)
        weights.append(
            CellWeights(
                in_order(kernel[d].T, order),
                in_order(recurrent[d].T, order),
                two if two is None or reset_after else two[0] + two[1],
                None if peepholes is None else peepholes[d].reshape(3, -1)[PEEPHOLES],
            )
        )
    coupled = cell == "lstm" and bool(given.get("input_forget", 0))
    return OnnxNode(name, cell, weights, direction, reset_after, given.get("clip") or None, coupled)


def _of_node(who: str, layer: Layer, node: OnnxNode) -> list[Array]:
    """What to assign to the layer's weights."""
    parts = leaves(layer)
    backwards = bool(getattr(layer, "go_backwards", False))
    expected = "bidirectional" if len(parts) == 2 else "forward"
    if node.direction != expected and not (node.direction == "reverse" and backwards):
        raise ValueError(f"{who}: node {node.name} has direction {node.direction}, expected {expected} as {layer.name}")
    values: list[Array] = []
    for part, weights in zip(parts, node.weights, strict=True):
        given = cell_options(who, part)
        if given["reset_after"] != node.reset_after:
            raise ValueError(
                f"{who}: node {node.name} has linear_before_reset={int(node.reset_after)}, expected"
                f" {int(given['reset_after'])} as {part.name} has reset_after={given['reset_after']}: the forms compute"
                " different things"
            )
        for option in ("clip", "coupled"):
            theirs, ours = getattr(node, option), given[option]
            if (theirs or 0) != np.float32(ours or 0):
                name = "input_forget" if option == "coupled" else option
                raise ValueError(f"{who}: node {node.name} has {name}={theirs}, expected {option}={ours} as {part.name} has")
        values += layer_values(who, f"node {node.name}", part, weights)
    return values


def cell_options(who: str, layer: Layer) -> dict[str, Any]:
    """The options of a recurrent layer that a node has besides weights and direction. ValueError for others in use."""
    expect_convertible(who, layer, _KNOWN)
    config = layer.get_config()
    return {
        "reset_after": bool(config.get("reset_after", False)),
        "clip": config["clip"],
        "coupled": bool(config.get("coupled", False)),
    }


def _weighted(who: str, proto: Any, what: str, constants: Mapping[str, npt.NDArray[Any]]) -> list[tuple[str, str, Any]]:
    """The nodes with weights, in the graph's order: (our layer's class, the node's name, an OnnxNode or a list of arrays)."""
    tensors = Tensors(who, what, constants)
    reads: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            reads.setdefault(name, []).append(node)

    def floats(name: str, dimensions: int) -> bool:
        return name in constants and constants[name].dtype.kind == "f" and constants[name].ndim == dimensions

    found: list[tuple[str, str, Any]] = []
    for node in proto.graph.node:
        name, given = node.name or node.output[0], _attributes(node)
        if node.op_type == "Mul" and floats(node.input[1], 1) and node.input[1].endswith(QUERY):  # of to_onnx's
            owner = node.input[1].removesuffix(QUERY)
            known = [f"{owner}/{part}" for part in ("kernel", "bias")]
            found.append(
                (AttentionPooling1D.__name__, name, [tensors.get(n, None) for n in (*known, node.input[1]) if n in constants])
            )
        elif node.op_type == "MatMul" and node.input[1].removesuffix("/kernel") + QUERY in constants:
            continue  # of an attention, taken with its query
        elif node.op_type in ("LSTM", "GRU"):
            found.append((node.op_type, name, _recurrent(tensors, node)))
        elif node.op_type == "Gather" and floats(node.input[0], 2):
            owner = node.input[0].removesuffix(_EMBEDDINGS)
            if owner + _BIGRAMS in constants:
                table = tensors.get(node.input[0], None)
                bigrams = tensors.get(owner + _BIGRAMS, None)
                found.append((BigramEmbedding.__name__, name, [table, bigrams, _pairs(tensors, owner, table, bigrams)]))
            elif not (node.input[0].endswith(_BIGRAMS) and node.input[0].removesuffix(_BIGRAMS) + _EMBEDDINGS in constants):
                found.append(("Embedding", name, [tensors.get(node.input[0], None)]))
        elif node.op_type == "Gemm" and floats(node.input[1], 2):
            if given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1 or given.get("transA", 0):
                raise ValueError(f"{who}: node {name} has alpha, beta or transA, expected a plain product")
            kernel = tensors.get(node.input[1], None)
            bias = [tensors.get(node.input[2], None)] if len(node.input) > 2 else []
            found.append(("Dense", name, [kernel.T if given.get("transB") else kernel, *bias]))
        elif node.op_type == "MatMul" and floats(node.input[1], 2):
            added = [n for one in reads.get(node.output[0], []) if one.op_type == "Add" for n in one.input if floats(n, 1)]
            found.append(("Dense", name, [tensors.get(n, None) for n in (node.input[1], *added)]))
    return found


def _pairs(tensors: Tensors, owner: str, table: Array, bigrams: Array) -> Array:
    """The pairs [N, 2] of a BigramEmbedding, a row for each of their vectors."""
    count = len(bigrams)
    numbers, rows = (tensors.whole_numbers(owner + name)[:count] for name in (PAIRS, ROWS))
    good = (numbers >= 0) & (numbers < len(table) ** 2)
    if sorted(rows) != list(range(count)) or good.sum() != count:
        raise ValueError(
            f"{tensors.who}: {owner}{PAIRS} and {owner}{ROWS} begin with numbers of other pairs than those of the {count} rows"
            f" of {owner}{_BIGRAMS}, expected each row once, and numbers below {len(table)}²"
        )
    pairs = np.empty((count, 2), np.float32)
    pairs[rows] = np.stack(np.divmod(numbers, len(table)), axis=1)
    return pairs


def _model_of(who: str, proto: Any, what: str, numbers: int) -> Sequential:
    """The model that the graph describes, whose weights are to be set to what the graph has, so many numbers."""
    text = next((one.value for one in proto.metadata_props if one.key == CONFIG), None)
    if text is None:
        raise ValueError(
            f"{who}: {what} does not say its layers, expected a graph of to_onnx's, or model=, a Sequential to fill"
        )
    with damage_in(f"{who}: {what}: the description of its layers"):
        return model_to_fill(json.loads(text), numbers)
