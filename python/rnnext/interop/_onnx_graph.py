"""To ONNX: a whole model as one graph, and LSTM and GRU nodes alone. `_onnx.py` is the way back and tells the layouts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import layers, saving
from rnnext.interop._onnx import CONFIG, NO_PAIR, PAIRS, PEEPHOLES, ROWS, cell_options
from rnnext.interop._weights import CellName, cell_of, cell_weights, checked_cells, in_order, leaves, weighted_layers
from rnnext.layers import Bidirectional, Layer
from rnnext.models import Sequential
from rnnext.ops import CellWeights, GivenWeights
from rnnext.parameters import Array

_Path: TypeAlias = str | os.PathLike[str]

_TO_ONNX = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # which of our gate blocks stand in the node, in its order
_OPSET, _IR_VERSION = 17, 8  # what runtimes of the last years know


def to_onnx(model: Sequential, path: _Path | None = None, *, lengths: bool = False) -> Any:
    """The model as one ONNX graph, a ModelProto, written to `path` if there is one. Dropout, which only trains, is left out.

    Its input is "input": ids [B, T] (int32) or x [B, T, I]; its output "output". B and T may vary from call to call. With
    `lengths` a second input "lengths" [B] (int32) says how many tokens each row has, from the beginning on: what a list of
    sequences is to `predict`; outputs of steps behind them mean nothing. `mask_zero` is in the graph, for padding on either
    side and anywhere. `update_gate="write"` is converted exactly, by negating the update gate. ValueError for a layer or an
    option that has no counterpart.
    """
    who = "to_onnx"
    weighted_layers(who, model)
    shape: Sequence[int | None] = model.input_shape or ()
    ids = _reads_ids(model.layers)
    graph = _Graph()
    steps = len(shape) == (2 if ids else 3)
    graph.input("input", "int32" if ids else "float32", ["B", "T", *shape[2:]] if steps else ["B", *shape[1:]])
    flow = _Flow("input", len(shape), None, None)
    if lengths:
        if not steps:
            raise ValueError(f"{who}: lengths is True, but the model's input has shape {tuple(shape)}, expected one with steps")
        graph.input("lengths", "int32", ["B"])
        flow = flow._replace(lengths="lengths", mask=graph.before("input", "lengths"))
    for layer in model.layers:
        flow = _layer(graph, layer, flow)
    graph.node("Identity", [flow.x], output="output")
    axes: list[Any] = ["B", *model.output_shape[1:]]
    if steps and flow.axes == 3 and model.output_shape[1] == shape[1]:
        axes[1] = "T"
    proto = graph.model(model.name, {"output": ("float32", axes)})
    config = {"model": model.get_config(), "input_shape": list(shape)}
    proto.metadata_props.add(key=CONFIG, value=json.dumps(config))
    return _finished(proto, path)


def weights_to_onnx(
    weights: GivenWeights,
    cell: CellName,
    path: _Path | None = None,
    *,
    bidirectional: bool = False,
    reset_after: bool = True,
    update_gate: str = "keep",
    clip: float | None = None,
    coupled: bool = False,
) -> Any:
    """LSTM or GRU nodes alone, with the weights that `rnnext.ops` takes: a ModelProto, written to `path` if there is one.

    A node for each layer, named "layer_0", "layer_1", ...; the graph's inputs are "x" [T, B, I], "lengths" [B] (int32, the
    nodes' sequence_lens), "h_0" and, of an LSTM, "c_0" [layers*D, B, H]; its outputs "outputs" [T, B, D*H], "h_n" and "c_n",
    all as those of `rnnext.ops`, with zeros behind a row's length. ONNX Runtime's last states of an empty row are zeros.
    Weights in float64 make a graph in double precision.
    """
    who = "weights_to_onnx"
    cells = checked_cells(
        who,
        cell,
        weights,
        bidirectional=bidirectional,
        reset_after=reset_after,
        update_gate=update_gate,
        known=("peephole",),
    )
    if coupled and cell != "lstm":
        raise ValueError(f"{who}: coupled is {coupled}, which a GRU does not have")
    options: dict[str, Any] = {"reset_after": reset_after, "clip": clip, "coupled": coupled}
    directions, units = 2 if bidirectional else 1, cells[0].recurrent_kernel.shape[0]
    dtype = cells[0].kernel.dtype.name
    graph = _Graph()
    state_names = ["h", "c"] if cell == "lstm" else ["h"]
    graph.input("x", dtype, ["T", "B", cells[0].kernel.shape[0]])
    graph.input("lengths", "int32", ["B"])
    for name in state_names:
        graph.input(f"{name}_0", dtype, [len(cells), "B", units])
    y, last = "x", list[list[str]]()
    for first in range(0, len(cells), directions):
        number = first // directions
        bounds = [graph.constant([n], np.int64) for n in (first, first + directions, 0)]
        states = [graph.node("Slice", [f"{name}_0", *bounds]) for name in state_names]
        direction = "bidirectional" if bidirectional else "forward"
        outputs = graph.recurrent(
            f"layer_{number}", cell, cells[first : first + directions], y, "lengths", states, direction, **options
        )
        last.append(outputs[1:])
        beside = graph.node("Transpose", [outputs[0]], perm=[0, 2, 1, 3])  # [T, D, B, H] -> [T, B, D, H]
        y = graph.node("Reshape", [beside, graph.constant([0, 0, directions * units], np.int64)])
    graph.node("Identity", [y], output="outputs")
    found: dict[str, tuple[str, list[Any]]] = {"outputs": (dtype, ["T", "B", directions * units])}
    for name, parts in zip(state_names, zip(*last, strict=True), strict=True):
        graph.node("Concat", list(parts), output=f"{name}_n", axis=0)
        found[f"{name}_n"] = (dtype, [len(cells), "B", units])
    return _finished(graph.model(cell, found), path)


def _reads_ids(stack: Sequence[Layer]) -> bool:
    first = next((layer for layer in stack if not isinstance(layer, layers.InputLayer)), None)
    if isinstance(first, layers.Branches):
        return any(_reads_ids(branch) for branch in first.branches)
    return isinstance(first, layers.Embedding)


def _finished(proto: Any, path: _Path | None) -> Any:
    import onnx

    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        saving.write_file(path, proto.SerializeToString())
    return proto


class _Graph:
    """A graph that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def input(self, name: str, dtype: str, shape: Sequence[Any]) -> None:
        self.inputs.append(_value(name, dtype, shape))

    def constant(self, value: Any, dtype: Any = np.float32, name: str | None = None) -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(np.array(value, dtype))
        return name

    def node(self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """A node; the name of its output, a TopK's second one."""
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.nodes)}"
        outputs = [f"{output}_values", output] if kind == "TopK" else [output]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=f"{output}_node", **attributes))
        return output

    def recurrent(
        self,
        name: str,
        cell: CellName,
        weights: Sequence[CellWeights],
        x: str,
        lengths: str | None,
        states: Sequence[str],
        direction: str,
        *,
        reset_after: bool,
        clip: float | None,
        coupled: bool,
    ) -> list[str]:
        """A node over x [T, B, I]: the names of Y [T, D, B, H] and of the last states [D, B, H]."""
        from onnx import helper

        order, dtype = _TO_ONNX[cell], weights[0].kernel.dtype
        arrays: dict[str, list[Array]] = {"W": [], "R": [], "B": [], "P": []}
        for one in weights:
            zeros = np.zeros(one.kernel.shape[1], dtype)
            bias = zeros if one.bias is None else one.bias
            arrays["W"].append(in_order(one.kernel, order).T)
            arrays["R"].append(in_order(one.recurrent_kernel, order).T)
            arrays["B"].append(in_order(bias if bias.ndim == 2 else np.stack([bias, zeros]), order).ravel())
            if one.peephole is not None:
                arrays["P"].append(one.peephole[PEEPHOLES].ravel())
        if all(one.bias is None for one in weights):
            arrays["B"] = []
        w, r, b, p = (
            self.constant(np.stack(parts), dtype, name=f"{name}/{letter}") if parts else "" for letter, parts in arrays.items()
        )
        inputs = [x, w, r, b, lengths or "", *[*states, "", ""][:2], p]
        while not inputs[-1]:
            inputs.pop()
        outputs = [f"{name}/Y", f"{name}/Y_h", *([f"{name}/Y_c"] if cell == "lstm" else [])]
        form: dict[str, Any] = {"linear_before_reset": int(reset_after)} if cell == "gru" else {}
        form |= {"input_forget": 1} if coupled else {}
        form |= {} if clip is None else {"clip": float(clip)}
        self.nodes.append(
            helper.make_node(
                cell.upper(),
                inputs,
                outputs,
                name=name,
                hidden_size=weights[0].recurrent_kernel.shape[0],
                direction=direction,
                **form,
            )
        )
        return outputs

    # ------------------------------------------------------------ masks

    def wide(self, mask: str) -> str:
        """The mask as numbers, [B, T, 1]."""
        return self.number(self.node("Unsqueeze", [mask, self.constant([2], np.int64)]), "float32")

    def steps_of(self, x: str) -> tuple[str, str]:
        """(T as [1], the numbers 0 ... T-1 as [1, T]) of x [B, T, ...]."""
        size = self.node("Slice", [self.node("Shape", [x]), *(self.constant([n], np.int64) for n in (1, 2))])
        last = self.node("Squeeze", [size])
        count = self.node("Range", [self.constant(0, np.int64), last, self.constant(1, np.int64)])
        return size, self.node("Unsqueeze", [count, self.constant([0], np.int64)])

    def before(self, x: str, lengths: str) -> str:
        """The mask [B, T] of rows that have so many tokens, from the beginning on."""
        wide = self.number(self.node("Unsqueeze", [lengths, self.constant([1], np.int64)]), "int64")
        return self.node("Less", [self.steps_of(x)[1], wide])

    def turned(self, x: str) -> str:
        """x [B, T, ...] with its steps from the last to the first."""
        least = np.iinfo(np.int64).min
        return self.node("Slice", [x, *(self.constant([n], np.int64) for n in (-1, least, 1, -1))])

    def number(self, x: str, dtype: str) -> str:
        """x in another type."""
        return self.node("Cast", [x], to=_type(dtype))

    def model(self, name: str, outputs: dict[str, tuple[str, list[Any]]]) -> Any:
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(array, label) for label, array in self.constants.items()]
        described = [_value(label, *what) for label, what in outputs.items()]
        graph = helper.make_graph(self.nodes, name, self.inputs, described, constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="rnnext"
        )


def _type(dtype: str) -> int:
    from onnx import helper

    found: int = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return found


def _value(name: str, dtype: str, shape: Sequence[Any]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, _type(dtype), shape)


# ---------------------------------------------------------------- layers as nodes


class _Flow(NamedTuple):
    """What goes from layer to layer: names in the graph, and the axes of x."""

    x: str
    axes: int
    mask: str | None  # [B, T]
    lengths: str | None  # [B], where the mask is that of rows padded behind


def _layer(graph: _Graph, layer: Layer, flow: _Flow) -> _Flow:
    if type(layer) not in _LAYERS:
        raise ValueError(
            f"to_onnx: {layer.name} is a {type(layer).__name__}, expected one of {', '.join(k.__name__ for k in _LAYERS)}"
        )
    found: _Flow = _LAYERS[type(layer)](graph, layer, flow)
    return found


def _nothing(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    return flow


def _embedding(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    table = graph.constant(layer.weights[0].value, name=layer.weights[0].name)
    mask, lengths = flow.mask, flow.lengths
    if layer.mask_zero:
        tokens = graph.node("Not", [graph.node("Equal", [flow.x, graph.constant(0, np.int32)])])
        mask, lengths = tokens if mask is None else graph.node("And", [mask, tokens]), None
    return _Flow(graph.node("Gather", [table, flow.x], axis=0), 3, mask, lengths)


def _bigrams(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    """The pairs' numbers in order; that of each token is looked for by halving, as no operator of ONNX's looks one up."""
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
    # A first token's is below 0, and none of the pairs'.
    wanted = graph.node("Add", [graph.node("Mul", [before, graph.constant(layer.input_dim, np.int64)]), ids])
    zero = graph.constant(0, np.int64)
    place = graph.node("Mul", [ids, zero])  # so many numbers are known to be less
    for size in (1 << bit for bit in reversed(range(halvings))):
        at = graph.node("Add", [place, graph.constant(size - 1, np.int64)])
        less = graph.node("Less", [graph.node("Gather", [known, at]), wanted])
        place = graph.node("Add", [place, graph.node("Where", [less, graph.constant(size, np.int64), zero])])
    there = graph.node("Equal", [graph.node("Gather", [known, place]), wanted])
    vectors = graph.node("Gather", [graph.constant(bigrams.value, name=bigrams.name), graph.node("Gather", [rows, place])])
    scale = graph.node("Mul", [graph.wide(there), graph.constant(layer.bigrams_scale)])
    return found._replace(x=graph.node("Add", [found.x, graph.node("Mul", [vectors, scale])]))


def _beside(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    ends = []
    for branch in layer.branches:
        end = flow
        for part in branch:
            end = _layer(graph, part, end)
        ends.append(end)
    return ends[0]._replace(x=graph.node("Concat", [end.x for end in ends], axis=-1))


def _dense(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    kernel, *bias = (graph.constant(weight.value, name=weight.name) for weight in layer.weights)
    y = graph.node("MatMul", [flow.x, kernel])
    if bias:
        y = graph.node("Add", [y, bias[0]])
    name = layer.activation.name
    if name == "softmax":
        y = graph.node("Softmax", [y], axis=-1)
    elif name != "linear":
        y = graph.node({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[name], [y])
    return flow._replace(x=y)


def _recurrent_layer(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    """The node, over tokens that were moved together where there is a mask, and its outputs moved apart again."""
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
        # The tokens' places in their order, then those of no token, whatever they are.
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
        return _Flow(_merged(graph, layer, graph.node("Transpose", [outputs[1]], perm=[1, 0, 2]), 1), 2, None, None)
    y = _merged(graph, layer, graph.node("Transpose", [outputs[0]], perm=[2, 0, 1, 3]), 2)
    if apart and mask is not None:
        # Each place has the output of the last token up to it, the first of all zeros.
        padded = graph.node("Pad", [y, graph.constant([0, 1, 0, 0, 0, 0], np.int64)])
        reached = graph.node("CumSum", [graph.number(mask, "int64"), graph.constant(1, np.int64)])
        y = graph.node("GatherND", [padded, graph.node("Unsqueeze", [reached, graph.constant([2], np.int64)])], batch_dims=1)
    elif backwards:
        y = graph.turned(y)
    if zeros and mask is not None:
        y = graph.node("Mul", [y, graph.wide(mask)])
    return _Flow(y, 3, mask, None if apart else lengths)


def _merged(graph: _Graph, layer: Any, y: str, axis: int) -> str:
    """y [B, (T,) D, H] without the axis of directions."""
    mode = str(layer.merge_mode) if isinstance(layer, Bidirectional) else "concat"
    if mode == "concat":
        return graph.node("Reshape", [y, graph.constant([0] * axis + [-1], np.int64)])
    if mode == "sum":
        return graph.node("ReduceSum", [y, graph.constant([axis], np.int64)], keepdims=0)
    return graph.node({"mul": "ReduceProd", "ave": "ReduceMean"}[mode], [y], axes=[axis], keepdims=0)


def _maximum(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    x, keep = flow.x, int(getattr(layer, "keepdims", False))
    if flow.mask is None:
        return _Flow(graph.node("ReduceMax", [x], axes=[1], keepdims=keep), 2 + keep, None, None)
    wide = graph.node("Unsqueeze", [flow.mask, graph.constant([2], np.int64)])
    candidates = graph.node("Where", [wide, x, graph.constant(-np.inf)])
    best = graph.node("ReduceMax", [candidates], axes=[1], keepdims=keep)
    empty = graph.node("Equal", [best, graph.constant(-np.inf)])
    return _Flow(graph.node("Where", [empty, graph.constant(0), best]), 2 + keep, None, None)


def _average(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    x, keep = flow.x, int(getattr(layer, "keepdims", False))
    if flow.mask is None:
        return _Flow(graph.node("ReduceMean", [x], axes=[1], keepdims=keep), 2 + keep, None, None)
    steps = graph.constant([1], np.int64)
    wide = graph.wide(flow.mask)
    count = graph.node("Max", [graph.node("ReduceSum", [wide, steps], keepdims=keep), graph.constant(1)])
    total = graph.node("ReduceSum", [graph.node("Mul", [x, wide]), steps], keepdims=keep)
    return _Flow(graph.node("Div", [total, count]), 2 + keep, None, None)


def _last(graph: _Graph, flow: _Flow) -> str:
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


def _several(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    parts = [_last(graph, flow), _maximum(graph, layer, flow).x, _average(graph, layer, flow).x]
    return _Flow(graph.node("Concat", parts, axis=1), 2, None, None)


def _attention(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    *projection, query = (graph.constant(weight.value, name=weight.name) for weight in layer.weights)
    u = flow.x
    if projection:
        u = graph.node("Tanh", [graph.node("Add", [graph.node("MatMul", [u, projection[0]]), projection[1]])])
    scores = graph.node("ReduceSum", [graph.node("Mul", [u, query]), graph.constant([2], np.int64)], keepdims=1)
    if flow.mask is None:
        share = graph.node("Softmax", [scores], axis=1)
    else:  # a row without tokens has shares of 1/T, which are hidden as those of all other steps
        tokens = graph.node("Unsqueeze", [flow.mask, graph.constant([2], np.int64)])
        shown = graph.node("Where", [tokens, scores, graph.constant(np.finfo(np.float32).min)])
        share = graph.node("Mul", [graph.node("Softmax", [shown], axis=1), graph.wide(flow.mask)])
    weighted = graph.node("Mul", [flow.x, share])
    return _Flow(graph.node("ReduceSum", [weighted, graph.constant([1], np.int64)], keepdims=0), 2, None, None)


def _each_step(graph: _Graph, layer: Any, flow: _Flow) -> _Flow:
    if not isinstance(layer.layer, layers.Dense | layers.Dropout):
        raise ValueError(f"to_onnx: {layer.name} has a {type(layer.layer).__name__}, expected a Dense or a Dropout")
    return flow if isinstance(layer.layer, layers.Dropout) else _dense(graph, layer.layer, flow)


_LAYERS: dict[type[Layer], Any] = {
    layers.AttentionPooling1D: _attention,
    layers.Bidirectional: _recurrent_layer,
    layers.BigramEmbedding: _bigrams,
    layers.Branches: _beside,
    layers.ConcatPooling1D: _several,
    layers.Dense: _dense,
    layers.Dropout: _nothing,
    layers.Embedding: _embedding,
    layers.GRU: _recurrent_layer,
    layers.GlobalAveragePooling1D: _average,
    layers.GlobalMaxPooling1D: _maximum,
    layers.InputLayer: _nothing,
    layers.LSTM: _recurrent_layer,
    layers.SpatialDropout1D: _nothing,
    layers.TimeDistributed: _each_step,
}
