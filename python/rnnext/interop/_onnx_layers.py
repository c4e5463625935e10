"""Layers of a model as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnext import layers
from rnnext.interop._onnx import NO_PAIR, PAIRS, ROWS, cell_options
from rnnext.interop._onnx_nodes import Graph
from rnnext.interop._weights import cell_of, cell_weights, leaves
from rnnext.layers import Bidirectional, Layer


def reads_ids(stack: Sequence[Layer]) -> bool:
    first = next(iter(stack), None)
    if isinstance(first, layers.Branches):
        return any(reads_ids(branch) for branch in first.branches)
    return isinstance(first, layers.Embedding)


class Flow(NamedTuple):
    """What one layer passes to the next: names in the graph, and the number of x's axes."""

    x: str
    axes: int
    mask: str | None  # [B, T]
    lengths: str | None  # [B], if the mask is that of rows padded at their end


def layer_nodes(graph: Graph, layer: Layer, flow: Flow) -> Flow:
    if type(layer) not in _LAYERS:
        raise ValueError(
            f"to_onnx: {layer.name} is a {type(layer).__name__}, expected one of {', '.join(k.__name__ for k in _LAYERS)}"
        )
    found: Flow = _LAYERS[type(layer)](graph, layer, flow)
    return found


def _nothing(graph: Graph, layer: Any, flow: Flow) -> Flow:
    return flow


def _embedding(graph: Graph, layer: Any, flow: Flow) -> Flow:
    table = graph.constant(layer.weights[0].value, name=layer.weights[0].name)
    mask, lengths = flow.mask, flow.lengths
    if layer.mask_zero:
        tokens = graph.node("Not", [graph.node("Equal", [flow.x, graph.constant(0, np.int32)])])
        mask, lengths = tokens if mask is None else graph.node("And", [mask, tokens]), None
    return Flow(graph.node("Gather", [table, flow.x], axis=0), 3, mask, lengths)


def _bigrams(graph: Graph, layer: Any, flow: Flow) -> Flow:
    """Look up each token's pair among the pairs' sorted numbers, by binary search, since ONNX has no operator for it."""
    _, bigrams, pairs = layer.weights
    found = _embedding(graph, layer, flow)
    numbers = pairs.value.astype(np.int64) @ np.array([layer.input_dim, 1])
    order = np.argsort(numbers, kind="stable")
    halvings = len(order).bit_length()
    padding = (0, (1 << halvings) - len(order))
    known = graph.constant(np.pad(numbers[order], padding, constant_values=NO_PAIR), np.int64, name=f"{layer.name}{PAIRS}")
    rows = graph.constant(np.pad(order, padding), np.int64, name=f"{layer.name}{ROWS}")
    ids = graph.number(flow.x, "int64")
    behind = graph.node("Pad", [ids, graph.constant([0, 1, 0, 0], np.int64), graph.constant(-1, np.int64)])
    before = graph.node("Slice", [behind, *(graph.constant([n], np.int64) for n in (0, -1, 1))])
    # Of a first token it is below 0, which is no pair's number.
    wanted = graph.node("Add", [graph.node("Mul", [before, graph.constant(layer.input_dim, np.int64)]), ids])
    zero = graph.constant(0, np.int64)
    place = graph.node("Mul", [ids, zero])  # how many numbers are known to be smaller
    for size in (1 << bit for bit in reversed(range(halvings))):
        at = graph.node("Add", [place, graph.constant(size - 1, np.int64)])
        less = graph.node("Less", [graph.node("Gather", [known, at]), wanted])
        place = graph.node("Add", [place, graph.node("Where", [less, graph.constant(size, np.int64), zero])])
    there = graph.node("Equal", [graph.node("Gather", [known, place]), wanted])
    vectors = graph.node("Gather", [graph.constant(bigrams.value, name=bigrams.name), graph.node("Gather", [rows, place])])
    scale = graph.node("Mul", [graph.wide(there), graph.constant(layer.bigrams_scale)])
    return found._replace(x=graph.node("Add", [found.x, graph.node("Mul", [vectors, scale])]))


def _beside(graph: Graph, layer: Any, flow: Flow) -> Flow:
    ends = []
    for branch in layer.branches:
        end = flow
        for part in branch:
            end = layer_nodes(graph, part, end)
        ends.append(end)
    return ends[0]._replace(x=graph.node("Concat", [end.x for end in ends], axis=-1))


_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
}


def _dense(graph: Graph, layer: Any, flow: Flow) -> Flow:
    kernel, *bias = (graph.constant(weight.value, name=weight.name) for weight in layer.weights)
    y = graph.node("MatMul", [flow.x, kernel])
    if bias:
        y = graph.node("Add", [y, bias[0]])
    return _activation(graph, layer, flow._replace(x=y))


def _activation(graph: Graph, layer: Any, flow: Flow) -> Flow:
    y, name = flow.x, layer.activation.name
    if name == "softmax":
        y = graph.node("Softmax", [y], axis=-1)
    elif name == "relu6":
        y = graph.node("Clip", [y, graph.constant(0, np.float32), graph.constant(6, np.float32)])
    elif name != "linear":
        kind, attributes = _ACTIVATIONS[name]
        y = graph.node(kind, [y], **attributes)
    return flow._replace(x=y)


def _masking(graph: Graph, layer: Any, flow: Flow) -> Flow:
    same = graph.number(graph.node("Equal", [flow.x, graph.constant(layer.mask_value, np.float32)]), "int32")
    tokens = graph.node("Equal", [graph.node("ReduceMin", [same], axes=[2], keepdims=0), graph.constant(0, np.int32)])
    x = graph.node("Mul", [flow.x, graph.wide(tokens)])
    return Flow(x, 3, tokens if flow.mask is None else graph.node("And", [flow.mask, tokens]), None)


def _flatten(graph: Graph, layer: Any, flow: Flow) -> Flow:
    if flow.lengths is not None:
        raise ValueError(f"to_onnx: lengths is True, but {layer.name} needs as many steps in all rows, expected False")
    return Flow(graph.node("Flatten", [flow.x], axis=1), 2, None, None)


def _repeat(graph: Graph, layer: Any, flow: Flow) -> Flow:
    step = graph.node("Unsqueeze", [flow.x, graph.constant([1], np.int64)])
    return Flow(graph.node("Expand", [step, graph.constant([1, layer.n, 1], np.int64)]), 3, None, None)


def _recurrent_layer(graph: Graph, layer: Any, flow: Flow) -> Flow:
    """The node. Where there is a mask, tokens are moved together before it and its outputs moved back after it."""
    x, mask, lengths = flow.x, flow.mask, flow.lengths
    parts: list[Any] = leaves(layer)
    both = isinstance(layer, Bidirectional)
    kinds = [(type(part), part.units, cell_options("to_onnx", part)) for part in parts]
    if kinds[0] != kinds[-1]:
        raise ValueError(f"to_onnx: {layer.name} has two directions that differ, expected the same cell, options and units")
    backwards, apart = not both and layer.go_backwards, False
    zeros = both or layer.zero_output_for_mask
    if mask is not None and (lengths is None or (backwards and layer.return_sequences)):
        apart = True
        if backwards:
            x, mask, backwards = graph.turned(x), graph.turned(mask), False
        steps, positions = graph.steps_of(x)
        # The places of the tokens in their order, then the other places in any order.
        worth = graph.node("Mul", [graph.number(mask, "int64"), graph.node("Sub", [steps, positions])])
        places = graph.node("TopK", [worth, steps])
        x = graph.node("GatherND", [x, graph.node("Unsqueeze", [places, graph.constant([2], np.int64)])], batch_dims=1)
        counts = graph.node("ReduceSum", [graph.number(mask, "int64"), graph.constant([1], np.int64)], keepdims=0)
        lengths = graph.number(counts, "int32")
    time_first = graph.node("Transpose", [x], perm=[1, 0, 2])
    direction = "bidirectional" if both else "reverse" if backwards else "forward"
    outputs = graph.recurrent(
        layer.name,
        cell_of(parts[0]),
        [cell_weights(part) for part in parts],
        time_first,
        lengths,
        (),
        direction,
        **kinds[0][2],
    )
    if not layer.return_sequences:
        return Flow(_merged(graph, layer, graph.node("Transpose", [outputs[1]], perm=[1, 0, 2]), 1), 2, None, None)
    y = _merged(graph, layer, graph.node("Transpose", [outputs[0]], perm=[2, 0, 1, 3]), 2)
    if apart and mask is not None:
        # Each place gets the output of the last token up to it, zeros before the first token.
        padded = graph.node("Pad", [y, graph.constant([0, 1, 0, 0, 0, 0], np.int64)])
        reached = graph.node("CumSum", [graph.number(mask, "int64"), graph.constant(1, np.int64)])
        y = graph.node("GatherND", [padded, graph.node("Unsqueeze", [reached, graph.constant([2], np.int64)])], batch_dims=1)
    elif backwards:
        y = graph.turned(y)
    if zeros and mask is not None:
        y = graph.node("Mul", [y, graph.wide(mask)])
    return Flow(y, 3, mask, None if apart else lengths)


def _merged(graph: Graph, layer: Any, y: str, axis: int) -> str:
    """y [B, (T,) D, H] without the axis of directions."""
    mode = str(layer.merge_mode) if isinstance(layer, Bidirectional) else "concat"
    if mode == "concat":
        return graph.node("Reshape", [y, graph.constant([0] * axis + [-1], np.int64)])
    if mode == "sum":
        return graph.node("ReduceSum", [y, graph.constant([axis], np.int64)], keepdims=0)
    return graph.node({"mul": "ReduceProd", "ave": "ReduceMean"}[mode], [y], axes=[axis], keepdims=0)


def _maximum(graph: Graph, layer: Any, flow: Flow) -> Flow:
    x, keep = flow.x, int(getattr(layer, "keepdims", False))
    if flow.mask is None:
        return Flow(graph.node("ReduceMax", [x], axes=[1], keepdims=keep), 2 + keep, None, None)
    wide = graph.node("Unsqueeze", [flow.mask, graph.constant([2], np.int64)])
    candidates = graph.node("Where", [wide, x, graph.constant(-np.inf)])
    best = graph.node("ReduceMax", [candidates], axes=[1], keepdims=keep)
    empty = graph.node("Equal", [best, graph.constant(-np.inf)])
    return Flow(graph.node("Where", [empty, graph.constant(0), best]), 2 + keep, None, None)


def _average(graph: Graph, layer: Any, flow: Flow) -> Flow:
    x, keep = flow.x, int(getattr(layer, "keepdims", False))
    if flow.mask is None:
        return Flow(graph.node("ReduceMean", [x], axes=[1], keepdims=keep), 2 + keep, None, None)
    steps = graph.constant([1], np.int64)
    wide = graph.wide(flow.mask)
    count = graph.node("Max", [graph.node("ReduceSum", [wide, steps], keepdims=keep), graph.constant(1)])
    total = graph.node("ReduceSum", [graph.node("Mul", [x, wide]), steps], keepdims=keep)
    return Flow(graph.node("Div", [total, count]), 2 + keep, None, None)


def _last(graph: Graph, flow: Flow) -> str:
    """The output at each row's last token, [B, D], 0 for a row without any."""
    one = graph.constant([1], np.int64)
    if flow.mask is None:
        steps = graph.constant([-1], np.int64)
        last = graph.node("Slice", [flow.x, steps, graph.constant([np.iinfo(np.int64).max], np.int64), one])
        return graph.node("Squeeze", [last, one])
    at = graph.node("Mul", [graph.number(flow.mask, "int64"), graph.node("Add", [graph.steps_of(flow.x)[1], one])])
    place = graph.node("ReduceMax", [at], axes=[1], keepdims=1)  # 0: no token
    padded = graph.node("Pad", [flow.x, graph.constant([0, 1, 0, 0, 0, 0], np.int64)])
    return graph.node("GatherND", [padded, place], batch_dims=1)


def _several(graph: Graph, layer: Any, flow: Flow) -> Flow:
    parts = [_last(graph, flow), _maximum(graph, layer, flow).x, _average(graph, layer, flow).x]
    return Flow(graph.node("Concat", parts, axis=1), 2, None, None)


def _attention(graph: Graph, layer: Any, flow: Flow) -> Flow:
    *projection, query = (graph.constant(weight.value, name=weight.name) for weight in layer.weights)
    u = flow.x
    if projection:
        u = graph.node("Tanh", [graph.node("Add", [graph.node("MatMul", [u, projection[0]]), projection[1]])])
    scores = graph.node("ReduceSum", [graph.node("Mul", [u, query]), graph.constant([2], np.int64)], keepdims=1)
    if flow.mask is None:
        share = graph.node("Softmax", [scores], axis=1)
    else:  # in a row without tokens all shares are 1/T, and then masked like those of all steps without a token
        tokens = graph.node("Unsqueeze", [flow.mask, graph.constant([2], np.int64)])
        shown = graph.node("Where", [tokens, scores, graph.constant(np.finfo(np.float32).min)])
        share = graph.node("Mul", [graph.node("Softmax", [shown], axis=1), graph.wide(flow.mask)])
    weighted = graph.node("Mul", [flow.x, share])
    return Flow(graph.node("ReduceSum", [weighted, graph.constant([1], np.int64)], keepdims=0), 2, None, None)


def _each_step(graph: Graph, layer: Any, flow: Flow) -> Flow:
    if not isinstance(layer.layer, layers.Dense | layers.Dropout | layers.Activation):
        raise ValueError(f"to_onnx: {layer.name} has a {type(layer.layer).__name__}, expected a Dense, Dropout or Activation")
    return layer_nodes(graph, layer.layer, flow)


_LAYERS: dict[type[Layer], Any] = {
    layers.Activation: _activation,
    layers.AttentionPooling1D: _attention,
    layers.Bidirectional: _recurrent_layer,
    layers.BigramEmbedding: _bigrams,
    layers.Branches: _beside,
    layers.ConcatPooling1D: _several,
    layers.Dense: _dense,
    layers.Dropout: _nothing,
    layers.Embedding: _embedding,
    layers.Flatten: _flatten,
    layers.GRU: _recurrent_layer,
    layers.GlobalAveragePooling1D: _average,
    layers.GlobalMaxPooling1D: _maximum,
    layers.LSTM: _recurrent_layer,
    layers.Masking: _masking,
    layers.RepeatVector: _repeat,
    layers.SpatialDropout1D: _nothing,
    layers.TimeDistributed: _each_step,
}
