"""To ONNX: a whole model as one graph, and LSTM and GRU nodes alone. `_onnx.py` reads them, and describes the layouts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from rnnext import saving
from rnnext.interop._onnx import CONFIG
from rnnext.interop._onnx_layers import Flow, layer_nodes, reads_ids
from rnnext.interop._onnx_nodes import Graph
from rnnext.interop._weights import CellName, checked_cells, needed, weighted_layers
from rnnext.models import Sequential
from rnnext.ops import GivenWeights

_Path: TypeAlias = str | os.PathLike[str]


def to_onnx(model: Sequential, path: _Path | None = None, *, lengths: bool = False) -> Any:
    """The model as one ONNX graph, a ModelProto, written to `path` if that is given. Dropout, which only trains, is left out.

    The input "input" is ids [B, T] (int32) or x [B, T, I]; the output is "output". B and T may vary from call to call. With
    `lengths` a second input "lengths" [B] (int32) says how many tokens each row has, from the beginning on, as the sequences of
    a list have for `predict`. Outputs at steps after them mean nothing (with `go_backwards` a row's outputs are at the end, and
    those before them mean nothing). `mask_zero` is in the graph, for padding on either side and in between.
    `update_gate="write"` is converted exactly, by negating the update gate. ValueError for a layer or an option that has no
    counterpart.
    """
    who = "to_onnx"
    weighted_layers(who, model)
    shape: Sequence[int | None] = model.input_shape or ()
    ids = reads_ids(model.layers)
    graph = Graph()
    steps = len(shape) == (2 if ids else 3)
    graph.input("input", "int32" if ids else "float32", ["B", "T", *shape[2:]] if steps else ["B", *shape[1:]])
    flow = Flow("input", len(shape), None, None)
    if lengths:
        if not steps:
            raise ValueError(f"{who}: lengths is True, but the model's input has shape {tuple(shape)}, expected one with steps")
        graph.input("lengths", "int32", ["B"])
        flow = flow._replace(lengths="lengths", mask=graph.before("input", "lengths"))
    for layer in model.layers:
        flow = layer_nodes(graph, layer, flow)
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
    """LSTM or GRU nodes alone, with the weights that `rnnext.ops` takes: a ModelProto, written to `path` if that is given.

    A node for each layer, named "layer_0", "layer_1", ...; the graph's inputs are "x" [T, B, I], "lengths" [B] (int32, the
    nodes' sequence_lens), "h_0" and, of an LSTM, "c_0" [layers*D, B, H]; its outputs "outputs" [T, B, D*H], "h_n" and "c_n",
    all as those of `rnnext.ops`, with zeros after a row's length. ONNX Runtime's last states of an empty row are zeros.
    float64 weights make a graph in double precision. ValueError for weights that do not fit or have no counterpart.
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
    graph = Graph()
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


def _finished(proto: Any, path: _Path | None) -> Any:
    onnx = needed("onnx")

    onnx.checker.check_model(proto, full_check=True)
    if path is not None:
        saving.write_file(path, proto.SerializeToString())
    return proto
